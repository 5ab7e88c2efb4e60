"""How fast the parts of an Ascend V220 chip are: what the simulator computes time from.

``SOURCES`` says of every number whether it is published, fitted or assumed. ``ASSUMPTIONS`` and ``FITTED``
say how to multiply those that are assumed and those that are fitted, so that one can see how far a simulated
time moves with each of them. ``python -m benchmarks ascend-model --constants`` prints all of it, ``--fit``
what the fitted ones were fitted on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace
from enum import Enum

from tilejit.records import dataclass
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
    hbm_bytes_per_second: float = 1.5e12
    hbm_transfer_seconds: float = 0.5e-9
    hbm_latency_cycles: float = 150.0
    l2_read_bytes_per_second: float = 5.0e12
    l2_total_bytes_per_second: float = 6.8e12
    l2_bytes: int = 192 << 20
    l2_line_bytes: int = 512
    gm_latency_cycles: float = 261.0
    store_latency_cycles: float = 100.0
    nd2nz_row_cycles: float = 5.3
    nd2nz_unaligned_bytes_per_cycle: float = 16.0
    l0_head_cycles: float = 30.0
    local_latency_cycles: float = 20.0
    mmad_head_cycles: float = 6.0
    copy_ub_latency_cycles: float = 24.0
    scalar_op_cycles: float = 1.0
    issue_cycles: float = 2.0
    dma_issue_cycles: float = 20.0
    scalar_load_cycles: float = 200.0
    scalar_hit_cycles: float = 4.0
    scalar_line_bytes: int = 64
    cross_core_cycles: float = 100.0
    launch_microseconds: float = 6.5


V220_TIMING = AscendTiming()
Scaling = Callable[[AscendTiming, float], AscendTiming]


class Basis(Enum):
    """What a number rests on."""

    PUBLISHED = "published"
    FITTED = "fitted"
    ASSUMED = "assumed"


@dataclass(frozen=True)
class Source:
    """Where a number comes from."""

    basis: Basis
    text: str


_P, _F, _A = Basis.PUBLISHED, Basis.FITTED, Basis.ASSUMED
SOURCES: Mapping[str, Source] = {
    "gm->ub": Source(_P, "pto-isa's table of transfer rates: 100.9 GiB/s at 1.85 GHz"),
    "ub->gm": Source(_P, "the same table: 188.46 GiB/s"),
    "gm->l1": Source(_F, "the GEMM of 6144: 226 MB a core in 1506 us; pto-isa's table has 135 GiB/s, 78"),
    "l1->gm": Source(_P, "pto-isa's table: 32 GiB/s"),
    "l1->l0a": Source(_P, "CANN: 256 bytes a cycle"),
    "l1->l0b": Source(_P, "CANN: 128 bytes a cycle"),
    "l1->bt": Source(_P, "pto-isa's table: 32 GiB/s"),
    "gm->l0": Source(_A, "as fast as to L1"),
    "l0c->gm": Source(
        _F, "store share of the GEMM of 6144: 1750 to 1825 cycles for 128 KB and their latency"
    ),
    "l0c->l1": Source(_P, "pto-isa's table: 128 GiB/s and CANN's fixpipe: 128 bytes a cycle"),
    "ub->ub": Source(_P, "CANN: a repeat of 256 bytes a cycle"),
    "queue_depth": Source(_A, "CANN gives 32 for MTE1 and M; the others as deep"),
    "hbm_bytes_per_second": Source(
        _F, "CANN's data_copy: 302 MB to UB, 128 KB a load, in 202.7 us; peak 1.8"
    ),
    "hbm_transfer_seconds": Source(
        _A, "of each transfer: CANN's loads by 8 KB are 9 % slower than by 128 KB"
    ),
    "hbm_latency_cycles": Source(_P, "pto-isa's L2 model: what a miss takes longer than a hit"),
    "l2_read_bytes_per_second": Source(_P, "CANN: about 5 to 5.2 TB/s"),
    "l2_total_bytes_per_second": Source(
        _P, "CANN: about 7 TB/s mixed; pto-isa's flash attention: 640 KB a tile in 4171 to 4261 cycles, 6.7"
    ),
    "l2_bytes": Source(_P, "CANN: 192 MB"),
    "l2_line_bytes": Source(_P, "CANN: 512 bytes, the unit in which L2 is filled"),
    "gm_latency_cycles": Source(
        _F, "CANN's addition, case 1: two loads of 8 KB, their sum and its store take 780 cycles in sequence"
    ),
    "store_latency_cycles": Source(_A, "a posted write is done sooner than a read"),
    "nd2nz_row_cycles": Source(
        _F, "CANN's data_copy: rows of 128 B, 24 KB apart, in 283.5 us; rows that follow each other are one"
    ),
    "nd2nz_unaligned_bytes_per_cycle": Source(
        _F, "CANN's data_copy: rows of 512 B at odd places in 422.5 us, a block of 32 B in two cycles"
    ),
    "l0_head_cycles": Source(_F, "MTE1 share of the GEMM of 6144: 400 cycles for 16 KB to L0A and 32 to L0B"),
    "local_latency_cycles": Source(_A, "from the end of a transfer inside the core to its flag"),
    "mmad_head_cycles": Source(_P, "pto-isa's cube: 6 cycles and one for each pair of fractals"),
    "copy_ub_latency_cycles": Source(_P, "pto-isa's vector table: head 11, tail 13"),
    "scalar_op_cycles": Source(_A, "one op a cycle, in order"),
    "issue_cycles": Source(_A, "to build and issue a vector, cube or flag instruction"),
    "dma_issue_cycles": Source(_P, "CANN's data_copy: 20.6 cycles for each load of 128 B"),
    "scalar_load_cycles": Source(_A, "a load from GM that misses the data cache"),
    "scalar_hit_cycles": Source(_A, "a load from UB, or from the data cache"),
    "scalar_line_bytes": Source(_A, "lines of the data cache"),
    "cross_core_cycles": Source(_A, "from the set of a cross-core flag to the counter of another core"),
    "launch_microseconds": Source(
        _P, "CANN's addition, cases 2 to 6: task less its cores' time 9.4, 7.0, 6.5, 2.5, 6.0; the median"
    ),
}
"""Where each number comes from: paths of ``path_bytes_per_cycle`` by their names, else fields."""


def _scaled_queues(timing: AscendTiming, factor: float) -> AscendTiming:
    """Queues other than those of MTE1 and M, whose depth is documented."""
    documented = (Pipe.MTE1, Pipe.M)
    depths = {
        pipe: depth if pipe in documented else max(1, round(depth * factor))
        for pipe, depth in timing.queue_depth.items()
    }
    return replace(timing, queue_depth=depths)


def _scaled_path(path: Path) -> Scaling:
    """The rate of one path."""

    def scaled(timing: AscendTiming, factor: float) -> AscendTiming:
        rates = {**timing.path_bytes_per_cycle, path: timing.path_bytes_per_cycle[path] * factor}
        return replace(timing, path_bytes_per_cycle=rates)

    return scaled


ASSUMPTIONS: dict[str, Scaling] = {
    "queue_depth": _scaled_queues,
    "gm->l0": _scaled_path(Path.GM_L0),
    "hbm_transfer_seconds": lambda t, f: replace(t, hbm_transfer_seconds=t.hbm_transfer_seconds * f),
    "store_latency_cycles": lambda t, f: replace(t, store_latency_cycles=t.store_latency_cycles * f),
    "local_latency_cycles": lambda t, f: replace(t, local_latency_cycles=t.local_latency_cycles * f),
    "scalar_op_cycles": lambda t, f: replace(t, scalar_op_cycles=t.scalar_op_cycles * f),
    "issue_cycles": lambda t, f: replace(t, issue_cycles=t.issue_cycles * f),
    "scalar_load_cycles": lambda t, f: replace(t, scalar_load_cycles=t.scalar_load_cycles * f),
    "scalar_hit_cycles": lambda t, f: replace(t, scalar_hit_cycles=t.scalar_hit_cycles * f),
    "scalar_line_bytes": lambda t, f: replace(t, scalar_line_bytes=round(t.scalar_line_bytes * f)),
    "cross_core_cycles": lambda t, f: replace(t, cross_core_cycles=t.cross_core_cycles * f),
}
"""The numbers that are assumed, and how to multiply each of them."""

FITTED: dict[str, Scaling] = {
    "gm->l1": _scaled_path(Path.GM_L1),
    "l0c->gm": _scaled_path(Path.L0C_GM),
    "l0_head_cycles": lambda t, f: replace(t, l0_head_cycles=t.l0_head_cycles * f),
    "hbm_bytes_per_second": lambda t, f: replace(t, hbm_bytes_per_second=t.hbm_bytes_per_second * f),
    "gm_latency_cycles": lambda t, f: replace(t, gm_latency_cycles=t.gm_latency_cycles * f),
    "nd2nz_row_cycles": lambda t, f: replace(t, nd2nz_row_cycles=t.nd2nz_row_cycles * f),
    "nd2nz_unaligned_bytes_per_cycle": lambda t, f: replace(
        t, nd2nz_unaligned_bytes_per_cycle=t.nd2nz_unaligned_bytes_per_cycle * f
    ),
}
"""The numbers that are fitted on published measurements, and how to multiply each of them."""
