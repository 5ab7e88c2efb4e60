"""What a walk through a kernel remembers of accesses: the last one of each pipe to some bytes in some way.

The same few instructions touch a memory again and again, in one walk and in the next. So which of their
accesses meet is found out once for a kernel, and a walk has numbers to compare and nothing else. What may be
forgotten, and why, says ``races``.
"""

from __future__ import annotations

from dataclasses import field, replace

from tilejit.backend.ascend.grids import Grid, meet, overlap
from tilejit.backend.ascend.races import (
    LEVELS,
    Clock,
    Conflict,
    Record,
    never_conflict,
    pages_of,
    pages_touched,
    stands_for,
)
from tilejit.ir.core import Op
from tilejit.records import dataclass
from tilejit.target.spaces import Space


@dataclass(eq=False, slots=True)
class Spot:
    """Bytes that one pipe touches in one way.

    ``record`` is the access of the last instruction that did; its index is 0 where none did, or where it is
    forgotten. ``others`` are the records that an access here may meet: each with its component, whether the
    two conflict where nothing orders them, and whether this one then stands for the other.
    """

    space: Space
    record: Record
    others: list[tuple[Record, int, bool, bool]] = field(default_factory=list)

    def touch(self, op: Op, index: int, clock: Clock) -> list[Conflict]:
        """Take note of an instruction that starts with ``clock``; return what it conflicts with."""
        own, known, found = self.record, clock.get, []
        component = own.component
        for other, of, conflicts, replaces in self.others:
            last = other.index
            if not last:
                continue
            is_ordered = known(of, 0) >= last
            if conflicts and not is_ordered and not (of == component and last == index):
                later, common = replace(own, op=op, index=index), overlap(other.grid, own.grid)
                assert common is not None
                found.append(Conflict(replace(other), later, *common))
            if replaces and (is_ordered or of == component):
                other.index = 0
        own.op, own.index = op, index
        return found


class SpotTable:
    """All spots of one memory."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._spots: dict[tuple[object, ...], Spot] = {}
        self._pages: tuple[dict[int, list[Spot]], ...] = tuple({} for _ in range(LEVELS))

    def spot(self, op: Op, component: int, is_write: bool, grid: Grid, atomic: str, chain: object) -> Spot:
        """The spot that an instruction touches."""
        key = (component, is_write, grid, atomic, chain)
        spot = self._spots.get(key)
        if spot is None:
            record = Record(op, component, 0, is_write, grid, atomic, chain)
            spot = self._spots[key] = Spot(self._space, record)
            level, numbers = pages_of(grid)
            for number in numbers:
                self._pages[level].setdefault(number, []).append(spot)
            for other in self._met_by(record):
                _introduce(spot, other)
                if other is not spot:
                    _introduce(other, spot)
        return spot

    def _met_by(self, record: Record) -> dict[Spot, None]:
        """The spots with common bytes, reads of which do not meet reads."""
        grid, is_write, found = record.grid, record.is_write, dict[Spot, None]()
        start, end = grid.start, grid.end
        for page in pages_touched(self._pages, grid):
            for spot in page:
                other = spot.record
                if (is_write or other.is_write) and other.grid.start < end and start < other.grid.end:
                    found[spot] = None
        return {spot: None for spot in found if meet(grid, spot.record.grid)}

    def forget(self) -> None:
        """Begin another walk."""
        for spot in self._spots.values():
            spot.record.index = 0


def _introduce(later: Spot, earlier: Spot) -> None:
    new, old = later.record, earlier.record
    conflicts, replaces = not never_conflict(new, old), stands_for(new, old)
    if conflicts or replaces:
        later.others.append((old, old.component, conflicts, replaces))
