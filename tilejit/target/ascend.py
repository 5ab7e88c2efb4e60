"""Frozen descriptions of the Ascend 910B family (architecture V220), each number with its source.

DOC is CANN's documentation of the AscendC API and of NPU architecture version 2201; HEADERS its open-source
devkit's headers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tilejit.target.spaces import Space

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


@dataclass(frozen=True)
class AscendTarget:
    """An Ascend chip as passes, verifier and simulator see it.

    Units: ``clock_ghz`` of AIC and AIV. ``event_ids`` exist in hardware, the emitter uses
    ``emitted_event_ids`` from 0 up; likewise ``flag_ids`` of cross-core flags.
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

ASCEND_910B1 = AscendTarget("ascend910b1", 24, 1.85, _SPACES)
ASCEND_910B2 = AscendTarget("ascend910b2", 24, 1.80, _SPACES)
ASCEND_910B3 = AscendTarget("ascend910b3", 20, 1.80, _SPACES)
ASCEND_910B4 = AscendTarget("ascend910b4", 20, 1.50, _SPACES)
TARGETS: Mapping[str, AscendTarget] = {
    target.name: target for target in (ASCEND_910B1, ASCEND_910B2, ASCEND_910B3, ASCEND_910B4)
}
