"""Frozen descriptions of the Ascend 910B family (architecture V220), each number with its source.

DOC is CANN's documentation of the AscendC API and of NPU architecture version 2201; HEADERS its open-source
devkit's headers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace

from tilejit.records import dataclass
from tilejit.target.ascend_limits import V220_LIMITS, InstructionLimits
from tilejit.target.ascend_timing import V220_TIMING, AscendTiming
from tilejit.target.spaces import Core, Pipe, Space

_KB = 1024


@dataclass(frozen=True)
class MemorySpace:
    """One local memory of a core.

    Units: bytes. ``reserved_bytes`` at the end belong to the system; ``alignment_bytes`` holds for every
    buffer.
    """

    capacity_bytes: int
    reserved_bytes: int
    alignment_bytes: int

    @property
    def usable_bytes(self) -> int:
        return self.capacity_bytes - self.reserved_bytes


# DOC, data paths of V220. AIC and AIV meet in GM only: L0C to UB, L1 to UB and UB to L1 do not exist (the
# devkit's DataCopy from UB to L1 is a message to another core).
_PATHS: frozenset[tuple[Space, Space]] = frozenset(
    {
        (Space.GM, Space.UB),
        (Space.UB, Space.GM),
        (Space.UB, Space.UB),
        (Space.GM, Space.L1),
        (Space.L1, Space.GM),
        (Space.GM, Space.L0A),
        (Space.GM, Space.L0B),
        (Space.L1, Space.L0A),
        (Space.L1, Space.L0B),
        (Space.L1, Space.BT),
        (Space.L1, Space.FB),
        (Space.L0C, Space.GM),
        (Space.L0C, Space.L1),
    }
)
_PIPES: Mapping[Core, frozenset[Pipe]] = {
    Core.AIC: frozenset({Pipe.S, Pipe.M, Pipe.MTE1, Pipe.MTE2, Pipe.MTE3, Pipe.FIX}),
    Core.AIV: frozenset({Pipe.S, Pipe.V, Pipe.MTE2, Pipe.MTE3}),
}


def _both_ways(*pairs: tuple[Pipe, Pipe]) -> frozenset[tuple[Pipe, Pipe]]:
    return frozenset(pairs) | frozenset((target, source) for source, target in pairs)


# DOC, SetFlag/WaitFlag: pairs of V220. HEADERS: S with MTE2 on the AIC too, and FIX to MTE2.
_FLAG_PAIRS: Mapping[Core, frozenset[tuple[Pipe, Pipe]]] = {
    Core.AIC: _both_ways(
        (Pipe.MTE2, Pipe.MTE1), (Pipe.MTE1, Pipe.M), (Pipe.M, Pipe.FIX), (Pipe.MTE2, Pipe.M),
        (Pipe.MTE1, Pipe.FIX), (Pipe.MTE1, Pipe.MTE3), (Pipe.MTE2, Pipe.MTE3), (Pipe.S, Pipe.MTE2),
    ) | {(Pipe.FIX, Pipe.MTE2)},
    Core.AIV: _both_ways(
        (Pipe.MTE2, Pipe.V), (Pipe.V, Pipe.MTE3), (Pipe.MTE2, Pipe.MTE3),
        (Pipe.S, Pipe.V), (Pipe.S, Pipe.MTE2), (Pipe.S, Pipe.MTE3),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class AscendTarget:
    """An Ascend chip as passes, verifier and simulator see it.

    ``event_ids`` exist in hardware, the emitter uses ``emitted_event_ids`` from 0 up; likewise ``flag_ids``
    of cross-core flags, whose counters hold ``flag_limit``. ``paths`` has every pair of memories between
    which data move; ``pipes`` and ``flag_pairs`` are those of each kind of core. Element types that an
    instruction takes stand in its record.

    Units: ``clock_ghz`` of AIC and AIV. ``mmad_barrier_fractals``: mmads that add to one tile of fewer
    fractals of results need a barrier between them.
    """

    name: str
    cube_cores: int
    clock_ghz: float
    spaces: Mapping[Space, MemorySpace]
    event_ids: int = 8
    emitted_event_ids: int = 6
    flag_ids: int = 16
    emitted_flag_ids: int = 11
    flag_limit: int = 15
    paths: frozenset[tuple[Space, Space]] = _PATHS
    pipes: Mapping[Core, frozenset[Pipe]] = field(default_factory=lambda: _PIPES)
    flag_pairs: Mapping[Core, frozenset[tuple[Pipe, Pipe]]] = field(default_factory=lambda: _FLAG_PAIRS)
    limits: InstructionLimits = V220_LIMITS
    timing: AscendTiming = V220_TIMING
    mmad_barrier_fractals: int = 10  # DOC, Mmad

    @property
    def vector_cores(self) -> int:
        return 2 * self.cube_cores

    def __str__(self) -> str:
        return self.name


# DOC, NPU architecture 2201. UB: the last 8 KB are scratch of Select and others unless built with
# --cce-disable-asc-reserved-ubuf; the last 256 B of UB and L1 are reserved in mixed kernels.
_SPACES: Mapping[Space, MemorySpace] = {
    Space.UB: MemorySpace(192 * _KB, 8 * _KB + 256, 32),
    Space.L1: MemorySpace(512 * _KB, 256, 32),
    Space.L0A: MemorySpace(64 * _KB, 0, 512),
    Space.L0B: MemorySpace(64 * _KB, 0, 512),
    Space.L0C: MemorySpace(128 * _KB, 0, 1024),
    Space.BT: MemorySpace(1 * _KB, 0, 64),
    Space.FB: MemorySpace(2 * _KB, 0, 64),
}

# Cores and clocks: pto-isa's table of chips.
ASCEND_910B1 = AscendTarget("ascend910b1", 24, 1.85, _SPACES)
ASCEND_910B2 = AscendTarget("ascend910b2", 24, 1.80, _SPACES)
ASCEND_910B3 = AscendTarget("ascend910b3", 20, 1.80, _SPACES)
# pto-isa halves the throughput of GM on this chip.
_B4_TIMING = replace(V220_TIMING, hbm_bytes_per_second=V220_TIMING.hbm_bytes_per_second / 2)
ASCEND_910B4 = AscendTarget("ascend910b4", 20, 1.50, _SPACES, timing=_B4_TIMING)
TARGETS: Mapping[str, AscendTarget] = {
    target.name: target for target in (ASCEND_910B1, ASCEND_910B2, ASCEND_910B3, ASCEND_910B4)
}
