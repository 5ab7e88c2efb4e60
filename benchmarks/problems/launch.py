"""What a warm launch costs: a kernel over 16 elements, called many times."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.problems.record import (
    Arm,
    Array,
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


def _arrays(setting: Setting) -> Prepared:
    x, y = normal((2, setting.shape["N"]))
    expected = cached(lambda: x.astype(np.float64) + y)

    def tilejit() -> Arm:
        out = np.zeros_like(x)
        return _launches(x, y, out, out, expected)

    def numpy() -> Arm:
        out = np.zeros_like(x)

        def run() -> None:
            for _ in range(LAUNCHES_A_RUN):
                np.add(x, y, out=out)

        return Arm(run, lambda: out, expected, 1e-7)

    return Prepared({"tilejit": tilejit, "numpy": numpy})


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

        def run() -> None:
            for _ in range(LAUNCHES_A_RUN):
                module.add(left, right, out=result)

        return Arm(run, lambda: out, expected, 1e-7)

    return Prepared({"tilejit": tilejit, "torch": torch})


def _launches(x: object, y: object, out: object, result: Array, expected: Callable[[], Array]) -> Arm:
    kernel = example("vector_add").vector_add_kernel

    def run() -> None:
        for _ in range(LAUNCHES_A_RUN):
            kernel[(1,)](x, y, out, 16, BLOCK=16)

    return Arm(run, lambda: result, expected, 1e-7)


_SHAPES = (Shape("16", {"N": 16}, quick=True),)

PROBLEMS: tuple[Problem, ...] = (
    Problem(
        "launch", "launch", f"{LAUNCHES_A_RUN} warm launches on three arrays",
        shapes=_SHAPES, dtypes=("f32",), peers=("numpy",), prepare=_arrays,
        bars=(TimeBar(5e-6 * LAUNCHES_A_RUN),), calls_a_run=LAUNCHES_A_RUN,
    ),
    Problem(
        "launch_torch", "launch", f"{LAUNCHES_A_RUN} warm launches on three PyTorch tensors",
        shapes=_SHAPES, dtypes=("f32",), peers=("torch",), prepare=_tensors,
        bars=(TimeBar(5e-6 * LAUNCHES_A_RUN),), calls_a_run=LAUNCHES_A_RUN,
    ),
)  # fmt: skip
