"""The memory that a trace touches, cut into cells that each instruction touches as a whole or not at all."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tilejit.ir.machine import Access
from tilejit.target.spaces import Space


@dataclass(frozen=True)
class Touch:
    """Bytes [start, end) of a space that an event reads or writes."""

    space: Space
    start: int
    end: int
    is_write: bool


def touches_of(accesses: Iterable[Access]) -> tuple[Touch, ...]:
    """The byte ranges of an instruction's accesses."""
    return tuple(
        Touch(access.space, start, start + length, access.is_write)
        for access in accesses
        if not access.is_empty
        for start, length in _runs(access.start, access.run_bytes, access.dims)
    )


def _runs(start: int, length: int, dims: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The starts and lengths of contiguous runs; those that follow each other without a gap are one."""
    while dims and (dims[-1][0] == 1 or dims[-1][1] == length):
        length *= dims[-1][0]
        dims = dims[:-1]
    if not dims:
        yield start, length
        return
    count, stride = dims[0]
    for number in range(count):
        yield from _runs(start + number * stride, length, dims[1:])


class Cells:
    """Which cells each event of a trace reads and writes; a cell is the number of its byte range."""

    def __init__(self, touches: Sequence[Sequence[Touch]]) -> None:
        bounds: dict[Space, set[int]] = {}
        for touch in (touch for event in touches for touch in event):
            bounds.setdefault(touch.space, set()).update((touch.start, touch.end))
        self._edges = {space: sorted(edges) for space, edges in bounds.items()}
        self._first: dict[Space, int] = {}
        self.count = 0
        for space, edges in self._edges.items():
            self._first[space] = self.count
            self.count += len(edges)
        self.reads = [self._of(event, is_write=False) for event in touches]
        self.writes = [self._of(event, is_write=True) for event in touches]

    def _of(self, touches: Sequence[Touch], *, is_write: bool) -> tuple[int, ...]:
        found: list[int] = []
        for touch in touches:
            if touch.is_write == is_write:
                found += self.of(touch)
        return tuple(found)

    def of(self, touch: Touch) -> range:
        """The cells of one range."""
        edges, first = self._edges[touch.space], self._first[touch.space]
        return range(first + bisect_left(edges, touch.start), first + bisect_left(edges, touch.end))

    def start(self, cell: int) -> int:
        """The address of a cell."""
        space = self._space(cell)
        return self._edges[space][cell - self._first[space]]

    def spell(self, cell: int) -> str:
        """A cell in words."""
        return f"{self._space(cell).value} at {self.start(cell)}"

    def _space(self, cell: int) -> Space:
        return max(
            (space for space, first in self._first.items() if first <= cell), key=self._first.__getitem__
        )

    def above(self, space: Space, address: int) -> range:
        """The cells of a space from an address on."""
        if space not in self._edges:
            return range(0)
        first, edges = self._first[space], self._edges[space]
        return range(first + bisect_left(edges, address), first + len(edges))
