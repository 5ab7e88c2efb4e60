"""An Ascend so small that its limits are reached by small programs."""

from __future__ import annotations

from tilejit.target.ascend import AscendTarget, MemorySpace
from tilejit.target.ascend_limits import InstructionLimits
from tilejit.target.spaces import Space

TINY_ASCEND = AscendTarget(
    name="tiny",
    cube_cores=2,
    clock_ghz=1.0,
    spaces={
        Space.UB: MemorySpace(4096, 1024 + 256, 32),
        Space.L1: MemorySpace(16384, 256, 32),
        Space.L0A: MemorySpace(2048, 0, 512),
        Space.L0B: MemorySpace(2048, 0, 512),
        Space.L0C: MemorySpace(4096, 0, 1024),
        Space.BT: MemorySpace(128, 0, 64),
        Space.FB: MemorySpace(128, 0, 64),
    },
    event_ids=3,
    emitted_event_ids=2,
    flag_ids=4,
    emitted_flag_ids=3,
    flag_limit=2,
    limits=InstructionLimits(repeats=7, copy_rows=5, mmad_extent=31),
)
