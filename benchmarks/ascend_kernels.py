"""``python -m benchmarks ascend-kernels``: kernels compiled from Python, on the model of the Ascend.

Matrix products and attention are compared with machine programs written by hand after published schedules,
additions with the stages of the vendor's sample. All run on one model under the same conditions: L2 holds,
from earlier launches, the arrays that fit into it together, less those that a kernel streams past it. The
table shows for other kernels the part of their time that memory alone needs, and how busy the pipes are.
"""

from __future__ import annotations

import inspect
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike

import tilejit
from benchmarks.ascend_cases import ROOFLINE, SIGNATURES, Launch, simulated
from benchmarks.machine_programs.paged_decode import report_decode
from benchmarks.machine_programs.published import PROGRAMS, modelled, published_figures
from benchmarks.problems.record import example
from tests.kernels_ascend.case import Case
from tests.kernels_ascend.cases import CASES
from tests.kernels_ascend.mixed_kernels import ragged_attention
from tilejit import Kernel

RATIO_BAR = 1.10
PUBLISHED_BAR = 0.15
COMPILE_BAR_SECONDS = 1.0
VALUES_BAR_SECONDS = 10.0
LINES_BAR = 60
ATTENTION_LINES_BAR = 80
ATTENTION_RATIO_BAR = 1.15
_ROUNDS = 5
_BLOCKS = {"BLOCK_M": 128, "BLOCK_N": 256, "BLOCK_K": 256}
_ATTENTION_BLOCKS = {"BLOCK_M": 64, "BLOCK_N": 256}
_DTYPES: Mapping[str, DTypeLike] = {"fp16": np.float16, "fp32": np.float32}
_ROOT = Path(__file__).resolve().parents[1]
_VENDOR = (4, 5, 6)  # stages of the vendor's addition that overlap copies with work
_BAR_SIZE = 6144
_MORE_PRODUCTS: Sequence[tuple[int, int, int, DTypeLike]] = (
    (4096, 4096, 4096, np.float16), (6144, 6144, 6144, np.float16), (6144, 6144, 6144, ml_dtypes.bfloat16),
    (6144, 6100, 6144, np.float16), (6144, 6144, 6200, np.float16), (6001, 6100, 6200, np.float16),
)  # fmt: skip
_FRACTAL = 16**3  # multiplications of one fp16 fractal product, which the cube makes in a cycle


class Bars:
    """Which bars were missed so far."""

    def __init__(self) -> None:
        self.missed: list[str] = []

    def check(self, what: str, *, reached: bool) -> str:
        """Note whether a bar is reached, and say it in a word."""
        if not reached:
            self.missed.append(what)
        return "reached" if reached else "MISSED"


def report(parts: Sequence[str], *, is_quick: bool) -> int:
    """Print the ``PARTS`` asked for; 0 where every bar is reached. ``is_quick``: fewer sizes."""
    bars = Bars()
    for part in parts:
        PARTS[part](bars, is_quick)
    if bars.missed:
        print(f"missed: {', '.join(bars.missed)}")
    return 1 if bars.missed else 0


# Matrix products


def _matmul(bars: Bars, is_quick: bool) -> None:
    """The example's product beside the program written by hand."""
    kernel = example("matmul").matmul_kernel
    lines = len(inspect.getsource(kernel.fn).splitlines())
    verdict = bars.check("lines", reached=lines <= LINES_BAR)
    print(f"matmul: {lines} lines of tile code, bar {LINES_BAR}: {verdict}")
    figures = {f.shape: f for f in published_figures() if f.family == "gemm" and f.metric == "time"}
    for size in (1536, 6144) if is_quick else (1536, 3072, 6144, 7680):
        shape = f"M=N=K={size} tile 128x256x64 stepK 4"
        by_hand = PROGRAMS["gemm", shape]().simulate(extrapolate=True)
        error = modelled(figures[shape], by_hand) / figures[shape].value - 1
        ours = simulated(product(size, size, size, np.float16, np.float32))
        ratio = ours.microseconds / by_hand.microseconds
        verdict = bars.check(f"matmul {size}", reached=ratio <= RATIO_BAR)
        if size == _BAR_SIZE:
            verdict += ", " + bars.check("published gemm", reached=abs(error) <= PUBLISHED_BAR)
        print(
            f"matmul {size}^3 fp16 to fp32: {ours.microseconds:7.1f} us, by hand "
            f"{by_hand.microseconds:7.1f} us, ratio {ratio:.3f}, bar {RATIO_BAR}; by hand to published "
            f"{100 * error:+.1f} %: {verdict}",
            flush=True,
        )
    for m, n, k, dtype in () if is_quick else _MORE_PRODUCTS:
        result = simulated(product(m, n, k, dtype, dtype))
        peak = m * n * k / (_FRACTAL * result.target.cube_cores * result.cycles)
        print(f"matmul {m} x {n} x {k} {np.dtype(dtype)}: {result.microseconds:7.1f} us, "
              f"{100 * peak:.0f} % of the cube's peak", flush=True)  # fmt: skip


def product(m: int, n: int, k: int, dtype: DTypeLike, out_dtype: DTypeLike) -> Launch:
    """The launch of the example's matrix product."""
    kernel = example("matmul").matmul_kernel
    a, b, c = np.zeros((m, k), dtype), np.zeros((k, n), dtype), np.zeros((m, n), out_dtype)
    grid = (tilejit.cdiv(m, _BLOCKS["BLOCK_M"]), tilejit.cdiv(n, _BLOCKS["BLOCK_N"]))
    arguments = dict(zip(kernel.arg_names, (a, b, c, m, n, k, k, n, n), strict=False))
    return Launch(kernel, grid, {**arguments, **_BLOCKS})


# Attention


def _flash_attention(bars: Bars, is_quick: bool) -> None:
    """Attention of one head in one loop over its keys, beside the program of four stages written by hand."""
    lines = len(inspect.getsource(ragged_attention.fn).splitlines())
    verdict = bars.check("lines of attention", reached=lines <= ATTENTION_LINES_BAR)
    print(f"flash_attention: {lines} lines of tile code, bar {ATTENTION_LINES_BAR}: {verdict}")
    figures = {f.shape: f for f in published_figures() if f.family == "flash_attention"}
    for size in (4096,) if is_quick else (4096, 16384):
        shape = f"one head D=128 S0=S1={size} non-causal"
        by_hand = PROGRAMS["flash_attention", shape]().simulate(extrapolate=True)
        error = modelled(figures[shape], by_hand) / figures[shape].value - 1
        ours = simulated(attention(size), by_hand.target.name)
        ratio = ours.microseconds / by_hand.microseconds
        verdict = bars.check(f"attention {size}", reached=ratio <= ATTENTION_RATIO_BAR)
        verdict += ", " + bars.check(f"published attention {size}", reached=abs(error) <= PUBLISHED_BAR)
        print(
            f"flash_attention S={size} D=128 fp16: {ours.microseconds:7.1f} us, by hand "
            f"{by_hand.microseconds:7.1f} us, ratio {ratio:.3f}, bar {ATTENTION_RATIO_BAR}; by hand to "
            f"published {100 * error:+.1f} %: {verdict}",
            flush=True,
        )


def attention(size: int) -> Launch:
    """The launch of attention of as many queries as keys, one head of 128 channels."""
    q, k, v = (np.zeros((size, 1, 128), np.float16) for _ in range(3))
    out, starts = np.zeros((size, 1, 128), np.float32), np.array([0, size], np.int32)
    given = (q, k, v, starts, starts, out, 0.0884, 1)
    arguments = dict(zip(ragged_attention.arg_names, given, strict=False))
    grid = (tilejit.cdiv(size, _ATTENTION_BLOCKS["BLOCK_M"]), 1, 1)
    constants = {**_ATTENTION_BLOCKS, "GROUP": 1, "D": 128, "CAUSAL": False}
    return Launch(ragged_attention, grid, {**arguments, **constants})


def _paged_decode(bars: Bars, is_quick: bool) -> None:
    """Decode over int8 pages beside the program of the original; no bar."""
    report_decode(is_quick=is_quick)


# Additions


def _vector_add(bars: Bars, is_quick: bool) -> None:
    """The example's addition of 8192 x 8192 halves beside the stages of the vendor's sample."""
    figures = {f.shape: f for f in published_figures() if f.family == "add" and f.metric == "time"}
    best = float("inf")
    for shape, figure in figures.items():
        if any(f"case {stage}:" in shape for stage in _VENDOR):
            result = PROGRAMS["add", shape]().simulate(extrapolate=True)
            task = modelled(figure, result)
            best = min(best, task)
            print(
                f"the vendor's add, {shape}: {task:.1f} us with launch, published {figure.value:.1f}",
                flush=True,
            )
    kernel, size, block = example("vector_add").vector_add_kernel, 8192 * 8192, 16384
    x, y, out = (np.zeros(size, np.float16) for _ in range(3))
    arguments = dict(zip(kernel.arg_names, (x, y, out, size), strict=False))
    launch = Launch(kernel, (size // block,), {**arguments, "BLOCK": block}, streamed=("x_ptr", "y_ptr"))
    result = simulated(launch, "ascend910b1")
    task = result.microseconds + result.target.timing.launch_microseconds
    verdict = bars.check("vector_add", reached=task <= RATIO_BAR * best)
    print(
        f"vector_add 8192 x 8192 fp16: {task:.1f} us with launch, ratio {task / best:.3f} to their best, "
        f"bar {RATIO_BAR}: {verdict}",
        flush=True,
    )


# The table


def _roofline(bars: Bars, is_quick: bool) -> None:
    """Kernels of the vector cores beside the limits of memory; no bar."""
    print(
        "time without launch; limit: all arrays once, through HBM, or in L2; busy: MTE2, V, MTE3, not held: S"
    )
    for name, make in ROOFLINE.items():
        for dtype_name, dtype in _DTYPES.items():
            launch = make(dtype)
            cells = []
            for where in ("HBM",) if is_quick else ("HBM", "L2"):
                cells.append(f"{where} {_limits(launch, tuple(launch.arrays) if where == 'L2' else ())}")
            print(f"{name:28} {dtype_name}  {';  '.join(cells)}", flush=True)


def _limits(launch: Launch, resident: tuple[str, ...]) -> str:
    """The time of a launch beside that of its bytes through HBM, or L2 where all is there."""
    result = simulated(launch, resident=resident)
    timing = result.target.timing
    rate = timing.l2_total_bytes_per_second if resident else timing.hbm_bytes_per_second
    limit = 1e6 * launch.bytes / rate
    pipes = {pipe.value: pipe for _, pipe in result.busy}
    shares = [result.busy_share(pipes[name]) if name in pipes else 0.0 for name in ("mte2", "v", "mte3")]
    shares.append(1 - sum(result.held.values()) / (len(result.held) * result.cycles))
    busy = " ".join(f"{100 * share:3.0f}" for share in shares)
    us = result.microseconds
    return f"{us:6.1f} us, limit {limit:5.1f}: {100 * limit / us:3.0f} %, busy {busy}"


# Compile time and values


def _compile(bars: Bars, is_quick: bool) -> None:
    """CPU seconds from a Python function to AscendC text: median in this process, and once in a new one."""
    jobs: dict[str, Callable[[], object]] = {}
    for name, make in ROOFLINE.items():
        jobs[name] = make(np.float16).ascendc
    for name, (kernel, signature) in SIGNATURES.items():
        jobs[name] = partial(_from_signature, kernel, signature)
    for case in CASES.values():
        jobs.setdefault(case.kernel.name, partial(_from_case, case))
    worst = 0.0
    next(iter(jobs.values()))()
    for name, job in jobs.items():
        seconds = []
        for _ in range(1 if is_quick else _ROUNDS):
            start = time.process_time()
            job()
            seconds.append(time.process_time() - start)
        worst = max(worst, statistics.median(seconds))
        print(f"compile {name}: {statistics.median(seconds):.2f} s", flush=True)
    verdict = bars.check("compile time", reached=worst <= COMPILE_BAR_SECONDS)
    print(f"slowest {worst:.2f} s, bar {COMPILE_BAR_SECONDS}: {verdict}")
    for name in ("matmul",) if is_quick else ("matmul", *list(ROOFLINE)[:1]):
        print(f"the same in a new process, {name}: {_alone(name):.2f} s without imports", flush=True)


def _alone(name: str) -> float:
    """Seconds of the first compilation in a new process, imports not counted."""
    command = [sys.executable, "-c", f"from benchmarks import ascend_kernels as a; a.compile_once({name!r})"]
    done = subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout)


def compile_once(name: str) -> None:
    """Compile one kernel and print the seconds that it took."""
    launch = ROOFLINE[name](np.float16) if name in ROOFLINE else None
    start = time.process_time()
    if launch is not None:
        launch.ascendc()
    else:
        _from_signature(*SIGNATURES[name])
    print(time.process_time() - start)


def _from_case(case: Case) -> str:
    """The first launch of a kernel under test."""
    constants: dict[str, Any] = dict(case.constants)
    return tilejit.compile(case.kernel, *case.arguments(), target="ascend910b", **constants).ir("ascendc")


def _from_signature(kernel: Kernel, signature: str) -> str:
    return tilejit.compile(kernel, signature=signature, target="ascend910b").ir("ascendc")


def _values(bars: Bars, is_quick: bool) -> None:
    """One core's product of 512^3, with values and races."""
    launch = product(512, 512, 512, np.float16, np.float16)
    random = np.random.default_rng(0)
    for name in ("a_ptr", "b_ptr"):
        launch.arrays[name][:] = random.standard_normal((512, 512), np.float32)
    start = time.process_time()
    launch.kernel.simulate[launch.grid](**launch.arguments, blocks=1).check()
    seconds = time.process_time() - start
    a, b, c = (launch.arrays[name].astype(np.float64) for name in ("a_ptr", "b_ptr", "c_ptr"))
    error = np.abs(c - a @ b).max() / np.abs(c).max()
    verdict = bars.check("values", reached=seconds <= VALUES_BAR_SECONDS and error < 1e-3)
    print(
        f"matmul 512^3 on one core with values: {seconds:.1f} s, bar {VALUES_BAR_SECONDS}; "
        f"error {error:.1e}: {verdict}"
    )


PARTS: Mapping[str, Callable[[Bars, bool], None]] = {
    "matmul": _matmul,
    "flash_attention": _flash_attention,
    "paged_decode_int8": _paged_decode,
    "vector_add": _vector_add,
    "compile": _compile,
    "values": _values,
    "roofline": _roofline,
}
"""What can be printed, in this order."""
