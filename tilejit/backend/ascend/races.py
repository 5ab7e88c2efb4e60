"""Races: accesses to common bytes that no flag, barrier or cross-core flag orders.

Vector clocks, independent of time. A component is one pipe of one core; its instructions count from 1. A
clock says for each component up to which instruction everything is known to be finished. Instructions of one
pipe start in order, but only a barrier or a flag that went out and came back tells that the earlier one is
done; an instruction has read its sources before a later one of its pipe writes.

Each memory keeps the accesses that a later one can still conflict with. An access goes when a later one
covers it and either comes from the same component or is known to follow it: whoever is not ordered after the
first is not ordered after the second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from tilejit.backend.ascend.grids import Grid, overlap
from tilejit.ir.core import Op
from tilejit.records import dataclass

P = TypeVar("P")

Clock = dict[int, int]
"""For each component the last instruction known to be finished; components not there: none."""

# A grid is filed under the pages of the first level on which it spans few of them.
_LEVEL_BITS = (12, 16, 20, 24, 30, 62)
LEVELS = len(_LEVEL_BITS)
_FEW_PAGES = 3
_PRUNE_AT = 16


def join(clock: Clock, other: Clock) -> None:
    """Add what ``other`` knows to ``clock``."""
    get = clock.get
    for component, index in other.items():
        if get(component, 0) < index:
            clock[component] = index


@dataclass(eq=False, slots=True)
class Record:
    """An access of an instruction.

    ``atomic`` names how a store combines with memory: two of one kind never conflict. ``chain`` is not None
    where the pipe orders instructions of equal chains: no conflict between them either.
    """

    op: Op
    component: int
    index: int
    is_write: bool
    grid: Grid
    atomic: str = ""
    chain: object = None


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two accesses to bytes [start, end) that nothing orders."""

    earlier: Record
    later: Record
    start: int
    end: int


def never_conflict(later: Record, earlier: Record) -> bool:
    """Whether two accesses of different instructions are in order without anyone's doing."""
    if later.component == earlier.component:
        if later.is_write and not earlier.is_write:
            return True
        if later.chain is not None and later.chain == earlier.chain:
            return True
    return bool(later.atomic) and later.atomic == earlier.atomic


def stands_for(later: Record, earlier: Record) -> bool:
    """Whether whoever conflicts with ``earlier`` does so with ``later`` too, which follows it."""
    if not later.is_write or not later.grid.covers(earlier.grid):
        return False
    # A record that some later accesses are exempt from stands only for records like it.
    is_plain = not later.atomic and later.chain is None
    return is_plain or (later.atomic == earlier.atomic and later.chain == earlier.chain)


def pages_of(grid: Grid) -> tuple[int, range]:
    """The level that a grid is filed on, and its pages there."""
    start, last = grid.start, grid.end - 1
    fitting = (n for n, bits in enumerate(_LEVEL_BITS) if (last >> bits) - (start >> bits) < _FEW_PAGES)
    level = next(fitting, LEVELS - 1)
    return level, range(start >> _LEVEL_BITS[level], (last >> _LEVEL_BITS[level]) + 1)


def pages_touched(tables: Sequence[dict[int, P]], grid: Grid) -> Iterator[P]:
    """All pages, one table of them for each level, that hold grids which may meet ``grid``."""
    for table, bits in zip(tables, _LEVEL_BITS, strict=True):
        if not table:
            continue
        first, last = grid.start >> bits, (grid.end - 1) >> bits
        if last - first < len(table):
            yield from [table[number] for number in range(first, last + 1) if number in table]
        else:
            yield from [page for number, page in table.items() if first <= number <= last]


_Page = dict[tuple[int, Grid, str, object], Record]


class AccessHistory:
    """The accesses to one memory that later ones may conflict with.

    ``live_clocks`` gives the clocks of all pipes that may still access the memory: what all of them know to
    be finished is forgotten.
    """

    def __init__(self, live_clocks: Callable[[], Sequence[Clock]]) -> None:
        self._live_clocks = live_clocks
        self._reads: tuple[dict[int, _Page], ...] = tuple({} for _ in range(LEVELS))
        self._writes: tuple[dict[int, _Page], ...] = tuple({} for _ in range(LEVELS))

    def add(self, record: Record, clock: Clock) -> list[Conflict]:
        """File an access of an instruction that starts with ``clock``; return what it conflicts with."""
        conflicts: list[Conflict] = []
        self._check(record, clock, self._writes, conflicts)
        if record.is_write:
            self._check(record, clock, self._reads, conflicts)
        self._file(record)
        return conflicts

    @property
    def size(self) -> int:
        """How many records are kept, one on several pages counted more than once."""
        tables = (*self._reads, *self._writes)
        return sum(len(page) for table in tables for page in table.values())

    def _check(
        self, record: Record, clock: Clock, tables: Sequence[dict[int, _Page]], conflicts: list[Conflict]
    ) -> None:
        grid, component, known = record.grid, record.component, clock.get
        for page in pages_touched(tables, grid):
            covered = []
            for key, other in page.items():
                of = other.component
                ordered = known(of, 0) >= other.index
                if not ordered and not self._is_own(record, other) and not never_conflict(record, other):
                    common = overlap(other.grid, grid)
                    if common is not None:
                        conflicts.append(Conflict(other, record, *common))
                if record.is_write and (ordered or of == component) and stands_for(record, other):
                    covered.append(key)
            for key in covered:
                del page[key]

    @staticmethod
    def _is_own(later: Record, earlier: Record) -> bool:
        """Operands of one instruction are its own business."""
        return later.component == earlier.component and later.index == earlier.index

    def _file(self, record: Record) -> None:
        grid = record.grid
        tables = self._writes if record.is_write else self._reads
        key = (record.component, grid, record.atomic, record.chain)
        level, numbers = pages_of(grid)
        for number in numbers:
            page = tables[level].setdefault(number, {})
            before = len(page)
            page[key] = record
            size = len(page)
            # At powers of two, so that the work stays in proportion where nothing can go.
            if before < size >= _PRUNE_AT and not size & before:
                self._prune(page)

    def _prune(self, page: _Page) -> None:
        clocks = self._live_clocks()
        done = [
            key
            for key, record in page.items()
            if all(clock.get(record.component, 0) >= record.index for clock in clocks)
        ]
        for key in done:
            del page[key]
