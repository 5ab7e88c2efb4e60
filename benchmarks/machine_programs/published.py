"""Published measurements and the machine programs that were written after them.

``benchmarks/data/published_timings.csv`` has figures of hand-written kernels with their source. ``tag`` says
what they may be used for: physical constants of the model were fitted on rows ``fit``; rows ``predict`` are
only compared with; ``predict_runtime`` ran under a task runtime whose overhead is inside; ``host_floor`` are
dominated by their harness.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.machine_programs.add import Add, add_kernel
from benchmarks.machine_programs.data_copy import DataCopy, data_copy_kernel
from benchmarks.machine_programs.flash_fifos import flash_fifos_kernel
from benchmarks.machine_programs.flash_fifos_stages import HEAD, FifoFlashAttention
from benchmarks.machine_programs.gemm import Gemm, gemm_kernel
from benchmarks.machine_programs.paged_attention import paged_attention_kernel
from benchmarks.machine_programs.paged_tasks import PagedAttention
from tilejit.backend.ascend.result import SimulationResult as SimulationResult
from tilejit.backend.ascend.sensitivity import Effect, assumption_effects
from tilejit.backend.ascend.simulator import simulate
from tilejit.ir.machine import MachineKernel
from tilejit.ir.types import FP16
from tilejit.target.ascend import ASCEND_910B1, ASCEND_910B2, AscendTarget, MemorySpace
from tilejit.target.spaces import Pipe, Space

PUBLISHED = Path(__file__).parents[1] / "data" / "published_timings.csv"


@dataclass(frozen=True)
class Figure:
    """One published figure."""

    family: str
    shape: str
    metric: str
    value: float
    unit: str
    source: str
    tag: str


def published_figures() -> list[Figure]:
    """All figures of the table."""
    with PUBLISHED.open(newline="") as file:
        return [
            Figure(
                row["family"], row["shape"], row["metric"], float(row["value"]), row["unit"],
                row["source"], row["tag"],
            )
            for row in csv.DictReader(file)
        ]  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """A program that was measured: its kernel, its arguments, where it ran.

    ``streamed`` arrays go past L2. ``extrapolates`` overrides whether iterations that repeat are skipped:
    always where a launch is long, never where HBM's queue is all there is, since that never repeats.
    """

    kernel: MachineKernel
    arguments: Mapping[str, np.ndarray]
    cores: int
    target: AscendTarget
    streamed: tuple[str, ...] = ()
    extrapolates: bool | None = None

    def simulate(self, *, extrapolate: bool = False) -> SimulationResult:
        """Time it on the simulated chip, L2 as earlier launches leave it: it keeps arrays that all fit.

        ``extrapolate``: skip iterations that take as long as those before.
        """
        kept = [name for name in self.arguments if name not in self.streamed]
        fits = sum(self.arguments[name].nbytes for name in kept) <= self.target.timing.l2_bytes
        grid = (self.cores, 1, 1)
        resident = kept if fits else []
        return simulate(
            self.kernel, self.arguments, grid, self.target, blocks=self.cores, values=False,
            resident=resident, extrapolate=extrapolate if self.extrapolates is None else self.extrapolates,
        )  # fmt: skip


def gemm(shape: Gemm) -> Measured:
    """The GEMM on all cores of an A3, whose chips run at 1.8 GHz."""
    arguments: dict[str, np.ndarray] = {
        "a": np.zeros((shape.m, shape.k), np.float16),
        "b": np.zeros((shape.n, shape.k), np.float16),
        "c": np.zeros((shape.m, shape.n), np.float32),
    }
    return Measured(gemm_kernel(shape), arguments, shape.cores, ASCEND_910B2)


def add(shape: Add) -> Measured:
    """The addition on an A2 of 1.85 GHz; a kernel without AIC and Select may use all of UB."""
    arguments = {name: np.zeros((shape.rows, shape.columns), shape.element.numpy) for name in "xyz"}
    whole = MemorySpace(ASCEND_910B1.spaces[Space.UB].capacity_bytes, 0, 32)
    target = replace(ASCEND_910B1, spaces={**ASCEND_910B1.spaces, Space.UB: whole})
    streamed = ("x", "y") if shape.streams else ()
    return Measured(add_kernel(shape), arguments, shape.cores, target, streamed)


def data_copy(shape: DataCopy) -> Measured:
    """Loads on an A2 of 1.85 GHz."""
    arguments = {"x": np.zeros((shape.rows, shape.columns), np.float16)}
    return Measured(data_copy_kernel(shape), arguments, shape.cores, ASCEND_910B1, extrapolates=False)


def flash_attention(queries: int, keys: int, cores: int) -> Measured:
    """Flash attention on a 910B2, without the barriers that the original leaves out."""
    shape = FifoFlashAttention(queries, keys, has_all_barriers=False)
    rows = {"q": queries, "k": keys, "v": keys}
    arguments: dict[str, np.ndarray] = {
        name: np.zeros((count, HEAD), np.float16) for name, count in rows.items()
    }
    arguments["out"] = np.zeros((queries, HEAD), np.float32)
    return Measured(flash_fifos_kernel(shape), arguments, min(cores, shape.tasks), ASCEND_910B2)


def paged_attention(shape: PagedAttention) -> Measured:
    """Paged attention on a chip of 24 cores at 1.8 GHz, pages in random order."""
    pages, element = shape.batch * shape.pages, shape.element.numpy
    cache = (pages, shape.block_size, shape.kv_heads, HEAD)
    order = np.random.default_rng(0).permutation(pages).astype(np.int32)
    arguments = {
        "query": np.zeros((shape.batch, shape.heads, HEAD), element),
        "key": np.zeros(cache, element),
        "value": np.zeros(cache, element),
        "block_table": order.reshape(shape.batch, shape.pages),
        "out": np.zeros((shape.batch, shape.heads, HEAD), shape.out.numpy),
    }
    if shape.is_split:
        parts = (shape.batch, shape.heads, shape.splits)
        arguments["partial"] = np.zeros((*parts, HEAD), np.float32)
        arguments["sums"] = np.zeros(parts, np.float32)
    cores = min(ASCEND_910B2.cube_cores, shape.tasks)
    return Measured(paged_attention_kernel(shape), arguments, cores, ASCEND_910B2, extrapolates=True)


def _gemm_of(size: int) -> Callable[[], Measured]:
    return lambda: gemm(Gemm(size, size, size))


def _add_of(
    cores: int, chunk: int, buffers: int = 1, *, streams: bool = False, apart: bool = False
) -> Callable[[], Measured]:
    return lambda: add(Add(8192, 8192, cores, chunk, buffers, apart, streams))


def _copy_of(shape: DataCopy) -> Callable[[], Measured]:
    return lambda: data_copy(shape)


def _attention_of(queries: int, keys: int, cores: int) -> Callable[[], Measured]:
    return lambda: flash_attention(queries, keys, cores)


def _paged_of(shape: PagedAttention) -> Callable[[], Measured]:
    return lambda: paged_attention(shape)


_COPIES = (
    (DataCopy(Space.UB, 64, 64, 48), ""), (DataCopy(Space.UB, 64, 1024, 48), ""),
    (DataCopy(Space.UB, 64, 1024, 48, parts=4, repeats=4), "; quarters; 4 times each"),
    (DataCopy(Space.L1, 64, 64, 24), ""), (DataCopy(Space.L1, 64, 256, 24), ""),
    (DataCopy(Space.L1, 64, 1024, 24, repeats=4), "; 4 times"),
    (DataCopy(Space.L1, 64, 1024, 24, parts=4, repeats=4), "; quarters; 4 times each"),
    (DataCopy(Space.L1, 64, 256, 24, columns=12287), ""),
)  # fmt: skip
PROGRAMS: Mapping[tuple[str, str], Callable[[], Measured]] = {
    **{("gemm", f"M=N=K={n} tile 128x256x64 stepK 4"): _gemm_of(n) for n in (1536, 3072, 6144, 7680)},
    ("add", "8192x8192 case 1: 4096 a copy"): _add_of(1, 4096),
    ("add", "8192x8192 case 2: 4096 a copy"): _add_of(48, 4096),
    ("add", "8192x8192 case 3: 16384 a copy"): _add_of(48, 16384),
    ("add", "8192x8192 case 4: 16384 a copy; two slots"): _add_of(48, 16384, 2),
    ("add", "8192x8192 case 5: 16384 a copy; two slots; sources past L2"): _add_of(
        48, 16384, 2, streams=True
    ),
    ("add", "8192x8192 case 6: 16256 a copy; two slots; sources past L2; banks apart"): _add_of(
        48, 16256, 2, streams=True, apart=True
    ),
    **{
        (
            "data_copy",
            f"12288x{copy.columns} to {copy.to.name} by {copy.tile_rows}x{copy.tile_columns}{more}",
        ): _copy_of(copy)
        for copy, more in _COPIES
    },
    **{
        ("flash_attention", f"one head D=128 S0=128 S1={keys} non-causal"): _attention_of(128, keys, 1)
        for keys in (1024, 2048, 4096, 8192)
    },
    **{
        ("flash_attention", f"one head D=128 S0=512 S1={keys} non-causal"): _attention_of(512, keys, 4)
        for keys in (1024, 8192)
    },
    **{
        ("flash_attention", f"one head D=128 S0=S1={size} non-causal"): _attention_of(size, size, 24)
        for size in (1024, 4096, 16384)
    },
    **{
        ("paged_attention", f"B={b} Hq={heads} Hkv=1 D=128 block={block} ctx=8192 decode"): _paged_of(
            PagedAttention(b, heads, 1, block, 8192)
        )
        for b, heads, block in ((256, 16, 128), (64, 64, 64))
    },
    **{
        ("paged_attention", f"B=1 Hq=32 Hkv=8 D=128 block=128 ctx={context} decode"): _paged_of(
            PagedAttention(1, 32, 8, 128, context, FP16, splits)
        )
        for context, splits in ((4096, 16), (65536, 24))
    },
}
"""What makes the program of a figure, by its family and shape."""


def assumed_effects(measured: Measured) -> tuple[Effect, ...]:
    """How far the time of a program moves when a number that nobody publishes is halved or doubled."""

    def cycles(target: AscendTarget) -> float:
        return replace(measured, target=target).simulate(extrapolate=True).cycles

    return assumption_effects(cycles, measured.target)


_PIPE_OF: Mapping[str, Pipe] = {
    "cube_busy": Pipe.M,
    "l1_to_l0_busy": Pipe.MTE1,
    "load_busy": Pipe.MTE2,
    "store_busy": Pipe.FIX,
    "vector_time": Pipe.V,
    "load_time": Pipe.MTE2,
}


def modelled(figure: Figure, result: SimulationResult) -> float:
    """What the model says about a figure, in its unit; times of a task include its launch."""
    task_us = result.microseconds + result.target.timing.launch_microseconds
    if figure.metric == "time":
        return task_us
    busy_us = result.occupied_share(_PIPE_OF[figure.metric]) * result.microseconds
    return 100 * busy_us / task_us if figure.unit == "%" else busy_us
