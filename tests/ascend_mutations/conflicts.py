"""Which instructions of a trace touch common bytes, so that something must order them.

Flags and barriers play no part: what conflicts stays the same when they change. Of all earlier instructions
of one pipe that an instruction of the same core conflicts with, the last one stands for the others: who knows
that it is done knows that they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tests.ascend_mutations.events import Touch
from tests.random_machine.trace import Event
from tilejit.target.spaces import Core, Pipe, Space

PIPES = tuple(pipe for pipe in Pipe if pipe is not Pipe.ALL)
PIPE_NUMBERS = {pipe: number for number, pipe in enumerate(PIPES)}


@dataclass(frozen=True)
class CoreTrace:
    """What one core issues, in order."""

    events: Sequence[Event]
    kind: Core = Core.AIV
    block: int = 0
    sub_block: int = 0

    @property
    def works(self) -> list[Event]:
        """The instructions and scalar accesses."""
        return [event for event in self.events if event.kind == "work"]


@dataclass(frozen=True)
class Conflicts:
    """Pairs of instructions that must be ordered, as numbers into ``works``: all cores, one after the other.

    Shapes: ``pairs`` and ``spaces`` have one entry per pair. Of a pair on one core the first is issued first;
    between cores either may come first. ``components`` has the pipe of each instruction, see ``component``.
    """

    works: Sequence[Event]
    components: np.ndarray
    pairs: np.ndarray
    touches: Sequence[Touch]


def component(core: int, pipe: Pipe) -> int:
    """The number of a pipe of a core among all pipes."""
    return core * len(PIPES) + PIPE_NUMBERS[pipe]


def find_conflicts(cores: Sequence[CoreTrace]) -> Conflicts:
    """All pairs of instructions whose order matters."""
    works: list[Event] = []
    components: list[int] = []
    by_memory: dict[tuple[int, Space], list[tuple[int, Touch]]] = {}
    for number, core in enumerate(cores):
        for event in core.works:
            for touch in event.touches:
                memory = (-1 if touch.space is Space.GM else number, touch.space)
                by_memory.setdefault(memory, []).append((len(works), touch))
            works.append(event)
            components.append(component(number, event.pipe))
    of = np.array(components, np.int32)
    found: dict[tuple[int, int], Touch] = {}
    for touches in by_memory.values():
        for first, second, touch in _Memory(works, of, touches).pairs():
            found.setdefault((first, second), touch)
    pairs = np.array(sorted(found), np.int64).reshape(-1, 2)
    return Conflicts(works, of, pairs, [found[tuple(pair)] for pair in pairs.tolist()])


class _Memory:
    """The touches of one memory, in the order of the works."""

    def __init__(
        self, works: Sequence[Event], components: np.ndarray, touches: Sequence[tuple[int, Touch]]
    ) -> None:
        self.touches = [touch for _, touch in touches]
        self.number = np.array([number for number, _ in touches], np.int64)
        self.component = components[self.number]
        self.core = self.component // len(PIPES)
        self.start = np.array([touch.start for touch in self.touches], np.int64)
        self.end = np.array([touch.end for touch in self.touches], np.int64)
        self.is_write = np.array([touch.is_write for touch in self.touches])
        events = [works[number] for number, _ in touches]
        self.atomic = _codes(
            [
                event.atomic if touch.is_write else ""
                for event, touch in zip(events, self.touches, strict=True)
            ]
        )
        self.chain = _codes([event.long_tile or "" for event in events])
        self.is_flagged = np.array([event.unit_flag for event in events])

    def pairs(self) -> Iterator[tuple[int, int, Touch]]:
        for later in range(len(self.touches)):
            candidates = np.flatnonzero(self._may_conflict(later))
            if not len(candidates):
                continue
            is_own = self.core[candidates] == self.core[later]
            own = candidates[is_own]
            for pipe in np.unique(self.component[own]):
                yield from self._last(own[self.component[own] == pipe], later)
            for earlier in candidates[~is_own]:
                yield from self._last(np.array([earlier]), later)

    def _may_conflict(self, later: int) -> np.ndarray:
        """Which touches before one conflict with it, by their hulls."""
        before = slice(0, later)
        found = (self.start[before] < self.end[later]) & (self.end[before] > self.start[later])
        found &= self.number[before] != self.number[later]
        if not self.is_write[later]:
            found &= self.is_write[before]
        if self.atomic[later]:
            found &= self.atomic[before] != self.atomic[later]
        same_pipe = self.component[before] == self.component[later]
        # A pipe starts in order: what an instruction reads it has read before a later one writes.
        exempt = same_pipe & ~self.is_write[before]
        if self.chain[later]:
            exempt |= same_pipe & (self.chain[before] == self.chain[later])
        if self.is_flagged[later]:
            exempt |= ~same_pipe & self.is_flagged[before]
        return found & ~exempt

    def _last(self, candidates: np.ndarray, later: int) -> Iterator[tuple[int, int, Touch]]:
        for earlier in candidates[::-1]:
            if meet(self.touches[earlier], self.touches[later]):
                yield int(self.number[earlier]), int(self.number[later]), self.touches[later]
                return


def _codes(names: Sequence[object]) -> np.ndarray:
    """Equal numbers for equal names, 0 for the empty one."""
    numbers: dict[object, int] = {"": 0}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)


_met: dict[tuple[Touch, Touch], bool] = {}
_MOST_MET = 1 << 18


def meet(left: Touch, right: Touch) -> bool:
    """Whether two touches of one memory have a byte in common."""
    if left.end <= right.start or right.end <= left.start:
        return False
    if not left.dims and not right.dims:
        return True
    key = (left, right)
    known = _met.get(key)
    if known is None:
        if len(_met) > _MOST_MET:
            _met.clear()
        first, second = _starts(left), _starts(right)
        # The first run of the right one that ends behind the start of a run of the left one.
        place = np.searchsorted(second, first - _run(right), "right")
        inside = place < len(second)
        known = _met[key] = bool((second[place[inside]] < first[inside] + _run(left)).any())
    return known


def _run(touch: Touch) -> int:
    return touch.run_bytes if touch.dims else touch.end - touch.start


def _starts(touch: Touch) -> np.ndarray:
    starts = np.array([touch.start], np.int64)
    for count, stride in touch.dims:
        starts = (starts[:, None] + stride * np.arange(count)).reshape(-1)
    return np.unique(starts)
