"""Unit flags: how mmad and fixpipe hand tiles of L0C over without an event.

The last mmad of a tile (unit_flag 3) marks it full when it starts; a fixpipe with the flag waits for a full
tile, follows the mmad and empties the tile when it is done; an mmad with the flag waits until what it writes
is empty. Hardware does this in blocks of 512 bytes; here a tile is the range that the last mmad writes.

Source: CANN documentation of Mmad and Fixpipe, parameter unitFlag.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tilejit.backend.ascend.races import Clock
from tilejit.ir.core import Op
from tilejit.ir.machine import Access
from tilejit.target.spaces import Space

LAST = 3
"""The value of unit_flag on the last mmad of a tile, and on fixpipes."""


def unit_flag(op: Op) -> int:
    """The unit flag of an mmad or fixpipe; 0 for other ops and where it is off."""
    value = op.attributes.get("unit_flag", 0)
    assert isinstance(value, int)
    return value


@dataclass(eq=False, slots=True)
class Tile:
    """A range of L0C that is full from ``full_at`` on, or was emptied; ``clock`` orders the other side after
    it."""

    start: int
    end: int
    full_at: float
    clock: Clock
    is_full: bool = True


@dataclass(eq=False, slots=True)
class UnitFlags:
    """The tiles of one core's L0C under unit flags."""

    tiles: list[Tile] = field(default_factory=list)

    def writable(self, accesses: Sequence[Access]) -> list[Tile] | None:
        """The emptied tiles that an mmad writes over; None while one of them is full."""
        touched = self._touched(accesses, writes=True)
        return None if any(tile.is_full for tile in touched) else touched

    def readable(self, accesses: Sequence[Access]) -> list[Tile] | None:
        """The full tiles that a fixpipe reads; None while there are none."""
        full = [tile for tile in self._touched(accesses, writes=False) if tile.is_full]
        return full or None

    def fill(self, accesses: Sequence[Access], full_at: float, clock: Clock) -> None:
        """Mark what the last mmad of a tile writes as full."""
        for access in accesses:
            if access.space is Space.L0C and access.is_write:
                self.tiles = [t for t in self.tiles if t.end <= access.start or access.end <= t.start]
                self.tiles.append(Tile(access.start, access.end, full_at, clock))

    def _touched(self, accesses: Sequence[Access], *, writes: bool) -> list[Tile]:
        ranges = [(a.start, a.end) for a in accesses if a.space is Space.L0C and a.is_write == writes]
        return [t for t in self.tiles if any(t.start < end and start < t.end for start, end in ranges)]
