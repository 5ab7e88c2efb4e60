"""What launching costs: warm launches of a tiny kernel, and many short programs on the thread pool."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from benchmarks.problems.chain_kernel import chain_kernel
from benchmarks.problems.numba_arms import add_function, chains_function
from benchmarks.problems.record import (
    Arm,
    Array,
    Bar,
    Prepared,
    Problem,
    Setting,
    Shape,
    TimeBar,
    cached,
    example,
    normal,
    torch_for,
)
from benchmarks.problems.torch_views import tensor_of

LAUNCHES_A_RUN = 100
_BLOCK = 64
_PROGRAM_S = 20e-6
_TOLERANCE = 1e-7


def _arrays(setting: Setting) -> Prepared:
    x, y = normal((2, setting.shape["N"]))
    expected = cached(lambda: x.astype(np.float64) + y)

    def tilejit() -> Arm:
        out = np.zeros_like(x)
        return _launches(x, y, out, out, expected)

    def numpy() -> Arm:
        out = np.zeros_like(x)
        return _calls(lambda: np.add(x, y, out=out), out, expected)

    def numba() -> Arm:
        out = np.zeros_like(x)
        add = add_function()
        count = x.size

        def run() -> None:
            for _ in range(LAUNCHES_A_RUN):
                add(x, y, out, count)

        return Arm(run, lambda: out, expected, _TOLERANCE)

    def bind() -> Arm:
        out = np.zeros_like(x)
        step = example("vector_add").vector_add_kernel.bind((1,), x, y, out, x.size, BLOCK=_BLOCK)
        return _calls(step, out, expected)

    return Prepared({"tilejit": tilejit, "bind": bind, "numpy": numpy, "numba": numba})


def _tensors(setting: Setting) -> Prepared:
    x, y = normal((2, setting.shape["N"]))
    expected = cached(lambda: x.astype(np.float64) + y)

    def tilejit() -> Arm:
        module = torch_for(setting.threads)
        out = np.zeros_like(x)
        left, right, result = (tensor_of(module, array) for array in (x, y, out))
        return _launches(left, right, result, out, expected)

    def torch() -> Arm:
        module = torch_for(setting.threads)
        out = np.zeros_like(x)
        left, right, result = (tensor_of(module, array) for array in (x, y, out))
        return _calls(lambda: module.add(left, right, out=result), out, expected)

    return Prepared({"tilejit": tilejit, "torch": torch})


def _launches(x: object, y: object, out: object, result: Array, expected: Callable[[], Array]) -> Arm:
    kernel = example("vector_add").vector_add_kernel
    count = result.size

    def run() -> None:
        for _ in range(LAUNCHES_A_RUN):
            kernel[(1,)](x, y, out, count, BLOCK=_BLOCK)

    return Arm(run, lambda: result, expected, _TOLERANCE)


def _calls(call: Callable[[], object], result: Array, expected: Callable[[], Array]) -> Arm:
    def run() -> None:
        for _ in range(LAUNCHES_A_RUN):
            call()

    return Arm(run, lambda: result, expected, _TOLERANCE)


def _programs(setting: Setting) -> Prepared:
    """A grid of short programs, beside all their work in one program and Numba's parallel loop."""
    programs = setting.shape["programs"]
    steps = _steps_of(_PROGRAM_S)
    expected = cached(lambda: np.full(programs, 2.0))

    def arm(grid: int, chains: int) -> Arm:
        out = np.zeros(programs)
        return Arm(
            lambda: chain_kernel[(grid,)](out, steps, CHAINS=chains), lambda: out, expected, _TOLERANCE,
            detail=f"{steps} steps",
        )  # fmt: skip

    def numba() -> Arm:
        out = np.zeros(programs)
        chains = chains_function(setting.threads)
        return Arm(lambda: chains(out, steps), lambda: out, expected, _TOLERANCE)

    return Prepared({"tilejit": lambda: arm(programs, 1), "serial": lambda: arm(1, programs), "numba": numba})


def _steps_of(seconds: float) -> int:
    """The length of a chain that takes this long on one thread, from the least of some runs."""
    out, steps = np.zeros(64), 4096
    times = []
    for _ in range(10):
        started = time.perf_counter()
        chain_kernel[(1,)](out, steps, CHAINS=64)
        times.append(time.perf_counter() - started)
    return max(64, int(steps * seconds * out.size / min(times)))


_SHAPES = (Shape(str(_BLOCK), {"N": _BLOCK}, quick=True),)

PROBLEMS: tuple[Problem, ...] = (
    Problem(
        "launch", "launch", f"{LAUNCHES_A_RUN} warm launches on three arrays; bind: of a bound call",
        shapes=_SHAPES, dtypes=("f32",), peers=("bind", "numpy", "numba"), prepare=_arrays,
        bars=(Bar("numba", 1 / 1.5), TimeBar(5e-6)), calls_a_run=LAUNCHES_A_RUN,
    ),
    Problem(
        "launch_torch", "launch", f"{LAUNCHES_A_RUN} warm launches on three PyTorch tensors",
        shapes=_SHAPES, dtypes=("f32",), peers=("torch",), prepare=_tensors,
        bars=(TimeBar(5e-6),), calls_a_run=LAUNCHES_A_RUN,
    ),
    Problem(
        "programs", "launch", "many programs of 20 us each; serial: the same work as one program",
        shapes=(Shape("64x20us", {"programs": 64}, quick=True),), dtypes=("f64",), peers=("serial", "numba"),
        prepare=_programs,
        # Half the serial time and a tenth more, which supposes two threads.
        bars=(Bar("serial", 2 / 1.1), Bar("numba", 1.0)),
    ),
)  # fmt: skip
