"""How fast the parts of an Ascend V220 chip are: what the simulator computes time from.

Sources: DK is CANN's documentation; PTO is the cost model and the published kernel timings of pto-isa.
Numbers that nobody publishes are marked as assumptions and stand in ``ASSUMPTIONS``, so that one can see how
far a simulated time moves with each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from tilejit.target.spaces import Pipe


class Path(Enum):
    """A way that data take between two memories."""

    GM_UB = "gm->ub"
    UB_GM = "ub->gm"
    GM_L1 = "gm->l1"
    L1_GM = "l1->gm"
    L1_L0A = "l1->l0a"
    L1_L0B = "l1->l0b"
    L1_BT = "l1->bt"
    GM_L0 = "gm->l0"
    L0C_GM = "l0c->gm"
    L0C_L1 = "l0c->l1"
    UB_UB = "ub->ub"

    __hash__ = object.__hash__


# PTO's table of transfer rates, GiB/s at 1.85 GHz, except: GM to L1 86 (fitted on its GEMM of 6144: 226 MB a
# core in 1506 us), L0C to GM 78 (1750 to 1825 cycles for 128 KB in the same kernel, latency included), L1 to
# L0 as documented (DK).
_PATH_BYTES_PER_CYCLE: Mapping[Path, float] = {
    Path.GM_UB: 58.6,
    Path.UB_GM: 109.4,
    Path.GM_L1: 86.0,
    Path.L1_GM: 18.6,
    Path.L1_L0A: 256.0,
    Path.L1_L0B: 128.0,
    Path.L1_BT: 18.6,
    Path.GM_L0: 86.0,
    Path.L0C_GM: 78.0,
    Path.L0C_L1: 128.0,
    Path.UB_UB: 256.0,
}


# DK gives 32 for the queues of MTE1 and M. Assumption: the others are as deep.
_QUEUE_DEPTH: Mapping[Pipe, int] = {
    Pipe.V: 32, Pipe.M: 32, Pipe.MTE1: 32, Pipe.MTE2: 32, Pipe.MTE3: 32, Pipe.FIX: 32,
}  # fmt: skip


@dataclass(frozen=True)
class AscendTiming:
    """Rates and delays of one chip.

    Units: cycles of the core clock; bytes per cycle for the paths of one core; bytes per second for what all
    cores share. ``l2_line_bytes`` is the unit in which L2 is filled.
    """

    path_bytes_per_cycle: Mapping[Path, float] = field(default_factory=lambda: _PATH_BYTES_PER_CYCLE)
    queue_depth: Mapping[Pipe, int] = field(default_factory=lambda: _QUEUE_DEPTH)
    # Reads and writes together (DK), and what each transfer costs besides. The data_copy sample reads 302 MB
    # at 1.49 TB/s by 128 KB an instruction and at 1.37 by 8 KB, both with the launch in the time.
    hbm_bytes_per_second: float = 1.6e12
    hbm_transfer_seconds: float = 0.5e-9
    # PTO's flash attention moves 640 KB a tile in 4171 to 4261 cycles a core: 6.7 TB/s mixed; DK: about 5
    # read.
    l2_read_bytes_per_second: float = 5.0e12
    l2_total_bytes_per_second: float = 6.8e12
    l2_bytes: int = 192 << 20
    l2_line_bytes: int = 512
    # DK, data_copy sample: ND2NZ by rows of 128 B reaches 1.07 TB/s on 24 cores, which neither HBM nor the
    # path of a core limits.
    nd2nz_row_cycles: float = 5.2
    # DK, Add sample, case 1: one AIV needs 780 cycles for two copies of 8 KB, in sequence, and their sum.
    gm_latency_cycles: float = 261.0
    # PTO's L2 model: a miss costs 150 cycles more than a hit.
    hbm_latency_cycles: float = 150.0
    store_latency_cycles: float = 100.0  # assumption: a posted write is done sooner than a read
    # Assumptions on the scalar unit: one op a cycle in order; a vector, cube or flag instruction takes 2
    # cycles to build and issue. DMAs take 20: DK measures 20.6 cycles for copies of 128 B, one a row.
    scalar_op_cycles: float = 1.0
    issue_cycles: float = 2.0
    dma_issue_cycles: float = 20.0
    scalar_load_cycles: float = 200.0  # assumption: GM load that misses the data cache
    scalar_hit_cycles: float = 4.0  # assumption: from UB, or from the data cache
    scalar_line_bytes: int = 64
    # Assumption: FFTS takes this long from the set of a cross-core flag to the counter of another core.
    cross_core_cycles: float = 100.0
    # From the launch of a task to the first instruction and from the last to the end of the task. DK, Add
    # sample: time of the task less that of its cores is 9.4, 7.0, 6.5, 2.5 and 6.0 us in cases 2 to 6.
    launch_microseconds: float = 6.0


V220_TIMING = AscendTiming()


def _scaled_queues(timing: AscendTiming, factor: float) -> AscendTiming:
    """Queues other than those of MTE1 and M, whose depth is documented."""
    documented = (Pipe.MTE1, Pipe.M)
    depths = {
        pipe: depth if pipe in documented else max(1, round(depth * factor))
        for pipe, depth in timing.queue_depth.items()
    }
    return replace(timing, queue_depth=depths)


ASSUMPTIONS: Mapping[str, Callable[[AscendTiming, float], AscendTiming]] = {
    "queue_depth": _scaled_queues,
    "store_latency_cycles": lambda t, f: replace(t, store_latency_cycles=t.store_latency_cycles * f),
    "scalar_op_cycles": lambda t, f: replace(t, scalar_op_cycles=t.scalar_op_cycles * f),
    "issue_cycles": lambda t, f: replace(t, issue_cycles=t.issue_cycles * f),
    "dma_issue_cycles": lambda t, f: replace(t, dma_issue_cycles=t.dma_issue_cycles * f),
    "scalar_load_cycles": lambda t, f: replace(t, scalar_load_cycles=t.scalar_load_cycles * f),
    "scalar_hit_cycles": lambda t, f: replace(t, scalar_hit_cycles=t.scalar_hit_cycles * f),
    "cross_core_cycles": lambda t, f: replace(t, cross_core_cycles=t.cross_core_cycles * f),
}
"""The numbers that are assumed, and how to multiply each of them."""
