"""Decode over int8 pages on the model of the Ascend, beside the program of the original and the floors.

The floors are those of the algorithm that both follow, whatever the kernel: int8 pages read once from HBM; in
L2 also one 16-bit write and read of K and V, and the write and read of scores (fp32), weights (16 bits) and
partial outputs (fp32) of the G query rows; bytes written as 16 bits by the vector cores, one repeat a cycle.
Pages lie in HBM at the start.
"""

from __future__ import annotations

import math

import numpy as np

from benchmarks.ascend_cases import Launch, simulated
from benchmarks.machine_programs.antiquant import antiquant_kernel
from benchmarks.machine_programs.antiquant_tasks import AntiquantAttention
from benchmarks.problems.record import example
from tests.kernels_ascend.mixed_kernels import paged_queries
from tilejit.backend.ascend.explain import binding
from tilejit.backend.ascend.result import SimulationResult
from tilejit.backend.ascend.simulator import simulate
from tilejit.records import dataclass
from tilejit.target.ascend import ASCEND_910B2, AscendTarget

_REPEAT_ELEMENTS = 128
"""16-bit elements that a repeat of the vector unit writes."""
_VECTOR_CORES = 2  # of an AI core


@dataclass(frozen=True)
class Decode:
    """One query token for each of B sequences, all with the same context."""

    sequences: int
    heads: int
    kv_heads: int
    context: int
    page: int = 128
    head_dim: int = 128

    @property
    def group(self) -> int:
        return self.heads // self.kv_heads

    @property
    def pages(self) -> int:
        """Of a sequence."""
        return -(-self.context // self.page)

    def arrays(self) -> dict[str, np.ndarray]:
        """What every kernel takes; pages of a sequence lie one behind the other."""
        cache = (self.sequences * self.pages, self.page, self.kv_heads, self.head_dim)
        table = np.arange(self.sequences * self.pages, dtype=np.int32).reshape(self.sequences, -1)
        q = np.zeros((self.sequences, self.heads, self.head_dim), np.float16)
        scales = np.ones((self.kv_heads, self.head_dim), np.float32)
        return {
            "q": q, "out": np.zeros_like(q), "k": np.zeros(cache, np.int8), "v": np.zeros(cache, np.int8),
            "table": table, "scale": scales,
            "contexts": np.full(self.sequences, self.context, np.int32),
        }  # fmt: skip

    def original(self, target: AscendTarget) -> SimulationResult:
        """The machine program in the schedule of the original."""
        of = self.arrays()
        shape = AntiquantAttention(
            self.heads, self.kv_heads, self.head_dim, self.page, self.pages, self.head_dim**-0.5
        )
        ends = np.arange(1, self.sequences + 1, dtype=np.int64)
        arrays = {
            "query": of["q"], "key": of["k"], "value": of["v"], "block_table": of["table"],
            "query_ends": ends, "kv_ends": ends * self.context, "scale": of["scale"],
            "offset": np.zeros_like(of["scale"]), "out": of["out"],
        }  # fmt: skip
        arguments: dict[str, np.ndarray | int] = {
            **arrays, "q_blocks": shape.query_blocks([1] * self.sequences)
        }  # fmt: skip
        cores = target.cube_cores
        return simulate(
            antiquant_kernel(shape), arguments, (cores, 1, 1), target, blocks=cores, values=False,
            extrapolate=True,
        )  # fmt: skip

    def pages_in_turn(self) -> Launch:
        """A kernel that turns whole pages into 16-bit tiles, channel by channel."""
        of, scale = self.arrays(), 1 / math.sqrt(self.head_dim)
        given = (of["q"], of["k"], of["v"], of["scale"], of["scale"], of["table"], of["contexts"], of["out"],
                 scale, self.pages, self.kv_heads)  # fmt: skip
        constants = {"GROUP": self.group, "PAGE": self.page, "D": self.head_dim, "IS_QUANTISED": True}
        arguments = dict(zip(paged_queries.arg_names, given, strict=False))
        return Launch(paged_queries, (self.kv_heads, self.sequences), {**arguments, **constants})

    def example(self, block: int) -> Launch:
        """The example's kernel, which folds the scales and multiplies fp32 tiles."""
        kernel, of = example("paged_attention").paged_attention_kernel, self.arrays()
        offset, starts = np.zeros_like(of["scale"]), np.arange(self.sequences + 1, dtype=np.int32)
        given = (of["out"], of["q"], of["k"], of["v"], of["scale"], of["scale"], offset, None, None,
                 of["table"], starts, of["contexts"], 1 / math.sqrt(self.head_dim), 1, 1 << 20)  # fmt: skip
        constants = {
            "GROUP": self.group, "HEADS": 1, "BLOCK_Q": 1, "BLOCK_N": block, "PAGE": self.page,
            "D": self.head_dim, "CAUSAL": True, "PRECISION": "int8x2",
        }  # fmt: skip
        arguments = dict(zip(kernel.arg_names, given, strict=False))
        return Launch(kernel, (self.kv_heads, 1, self.sequences), {**arguments, **constants})

    def floors(self, target: AscendTarget) -> dict[str, float]:
        """Microseconds that each resource needs at least."""
        keys, timing = self.sequences * self.kv_heads * self.context, target.timing
        elements = 2 * keys * self.head_dim
        steps = self.sequences * self.kv_heads * self.pages
        small = 2 * self.group * (keys * (4 + 2) + steps * self.head_dim * 4)
        casts = elements / (_REPEAT_ELEMENTS * _VECTOR_CORES * target.cube_cores)
        return {
            "HBM": 1e6 * elements / timing.hbm_bytes_per_second,
            "L2": 1e6 * (elements * (1 + 2 + 2) + small) / timing.l2_total_bytes_per_second,
            "casts": 1e-3 * casts / target.clock_ghz,
        }


def report_decode(*, is_quick: bool) -> None:
    """Print our kernels' times beside the original's, with the floors and what binds."""
    target = ASCEND_910B2
    alone, grouped = Decode(24, 1, 1, 2048), Decode(24, 16, 1, 2048)
    for shape in (alone,) if is_quick else (alone, grouped):
        floors = shape.floors(target)
        text = ", ".join(f"{name} {us:.1f}" for name, us in floors.items())
        print(f"paged_decode_int8 B={shape.sequences} Hq={shape.heads} Hkv={shape.kv_heads} "
              f"ctx={shape.context} D={shape.head_dim}: floors in us: {text}")  # fmt: skip
        original = shape.original(target)
        launches = {"whole pages": shape.pages_in_turn(), "the example": shape.example(64)}
        print(f"  the original: {original.microseconds:8.1f} us, {binding(original)}", flush=True)
        for name, launch in launches.items():
            ours = simulated(launch, target.name, resident=())
            ratio = ours.microseconds / original.microseconds
            print(f"  {name}: {ours.microseconds:8.1f} us, ratio {ratio:.3f} to the original, "
                  f"{ours.microseconds / max(floors.values()):.2f} of the highest floor, "
                  f"{binding(ours)}", flush=True)  # fmt: skip
