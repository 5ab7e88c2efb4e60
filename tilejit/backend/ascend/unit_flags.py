"""Unit flags: how mmad and fixpipe hand tiles of L0C over without an event.

The last mmad of a tile (unit_flag 3) marks it full when it starts; a fixpipe with the flag waits for a full
tile, follows the mmad and empties the tile when it is done; an mmad with the flag waits until what it writes
is empty. Hardware does this in blocks of 512 bytes; here a tile is the range that the last mmad writes.

Source: CANN documentation of Mmad and Fixpipe, parameter unitFlag.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from tilejit.backend.ascend.races import Clock
from tilejit.ir.core import Op
from tilejit.ir.machine import Access
from tilejit.records import dataclass
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
    """A range of L0C between the last mmad that writes it and the fixpipes that read it, from its start on.

    ``clock`` is what the side that acted last knew: the mmad, then the fixpipe that empties it.
    """

    start: int
    end: int
    full_at: float
    clock: Clock
    is_claimed: bool = False  # fixpipes that read all of it have started
    readers: int = 0  # fixpipes that have started and are not done
    is_empty: bool = False

    def claim(self, access: Access) -> None:
        """Take note of a fixpipe that starts; the tile is claimed when its last column is read."""
        column = access.dims[0][1] if access.dims else access.run_bytes
        self.is_claimed = access.end + column > self.end
        self.readers += 1

    def release(self, clock: Clock) -> None:
        """Take note of a fixpipe that is done."""
        self.readers -= 1
        self.is_empty, self.clock = self.is_claimed and not self.readers, clock


@dataclass(eq=False, slots=True)
class UnitFlags:
    """The tiles of one core's L0C under unit flags."""

    tiles: list[Tile] = field(default_factory=list)

    def writable(self, accesses: Sequence[Access]) -> list[Tile] | None:
        """The emptied tiles that an mmad writes over; None while one of them is not empty."""
        touched = [tile for tile, _ in self._touched(accesses, writes=True)]
        return touched if all(tile.is_empty for tile in touched) else None

    def readable(self, accesses: Sequence[Access]) -> list[Tile] | None:
        """The full tiles that a fixpipe reads and now claims; None while there are none."""
        touched = self._touched(accesses, writes=False)
        full = [(tile, access) for tile, access in touched if not tile.is_claimed]
        for tile, access in full:
            tile.claim(access)
        return [tile for tile, _ in full] or None

    def fill(self, accesses: Sequence[Access], full_at: float, clock: Clock) -> None:
        """Mark what the last mmad of a tile writes as full."""
        for access in accesses:
            if access.space is Space.L0C and access.is_write:
                self.tiles = [t for t in self.tiles if t.end <= access.start or access.end <= t.start]
                self.tiles.append(Tile(access.start, access.end, full_at, clock))

    def _touched(self, accesses: Sequence[Access], *, writes: bool) -> list[tuple[Tile, Access]]:
        return [
            (tile, access)
            for access in accesses
            if access.space is Space.L0C and access.is_write == writes
            for tile in self.tiles
            if tile.start < access.end and access.start < tile.end
        ]
