"""Says why a mutant that nobody reports breaks no order: what orders the nearest accesses without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tests.ascend_mutations.clocks import ALL_PIPES, Clocks
from tests.ascend_mutations.conflicts import PIPES, Conflicts, CoreTrace, component
from tests.ascend_mutations.judge import Subject, Traced
from tests.ascend_mutations.mutants import Mutant, line_numbers, spell_sync
from tilejit.ir.core import Op
from tilejit.target.spaces import Pipe

Lines = Callable[[Op], str]
SYNC_NAMES = ("set_flag", "wait_flag", "pipe_barrier", "cross_set", "cross_wait")


def proof(subject: Subject, mutant: Mutant) -> str:
    """What orders, in a mutant, the nearest of those accesses that the change could have left unordered."""
    numbers = line_numbers(subject.kernel)
    for traced in subject.traced[::-1]:
        cores, conflicts, originals = subject.mutated(mutant, traced)

        def line(op: Op, originals: Mapping[Op, Op] = originals) -> str:
            return numbers.get(originals.get(op, op), "?")

        nearest = _nearest(conflicts, _at_stake(mutant, traced, conflicts), cores)
        if nearest is not None:
            return _path(cores, conflicts, nearest, line)
    if mutant.changes_work:
        return "no slot is used again"
    return "what stands before and what stands behind touch no common bytes"


def _at_stake(mutant: Mutant, traced: Traced, conflicts: Conflicts) -> np.ndarray:
    """Which conflicting pairs the change could leave unordered."""
    pairs = conflicts.pairs
    if mutant.changes_work:
        old = {tuple(pair) for pair in traced.conflicts.pairs.tolist()}
        return np.array([tuple(pair) not in old for pair in pairs.tolist()], bool)
    at_stake = np.zeros(len(pairs), bool)
    if len(pairs):
        for order in _orders(mutant, traced.cores):
            at_stake |= order.covers(conflicts)
    span = _passed(mutant)
    if span:
        is_inside = np.array([work.op in span for work in conflicts.works], bool)
        at_stake &= is_inside[pairs].any(axis=1)
    return at_stake


def _passed(mutant: Mutant) -> frozenset[Op]:
    """The instructions that a moved flag passes; nothing where it passes a wait or a barrier."""
    if mutant.past is None:
        return frozenset()
    if not mutant.past.regions and mutant.past.name in SYNC_NAMES:
        return frozenset()
    return frozenset(mutant.past.walk())


@dataclass(frozen=True)
class _Order:
    """One order that the original gives: works below ``start`` on a pipe before those from ``end`` on.

    Numbers of works among all cores; a pipe of None is any. ``core``: only pairs with another core count.
    """

    start: int
    end: int
    source: int | None = None
    target: int | None = None
    core: int | None = None

    def covers(self, conflicts: Conflicts) -> np.ndarray:
        """Which pairs of accesses it orders by itself."""
        first, second = conflicts.pairs.T
        if self.core is None:
            return self._matches(conflicts, first, second)
        cores = conflicts.components // len(PIPES)
        found = self._matches(conflicts, first, second) & (cores[second] != self.core)
        return found | (self._matches(conflicts, second, first) & (cores[first] != self.core))

    def _matches(self, conflicts: Conflicts, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        found = first < self.start
        if self.core is None:
            found &= second >= self.end
        else:  # the work on the core of the flag: before a set, or behind a wait
            found = (first >= self.end) & (first < self.start)
        if self.source is not None:
            found &= conflicts.components[first] == self.source
        if self.target is not None:
            found &= conflicts.components[second] == self.target
        return found


def _orders(mutant: Mutant, cores: Sequence[CoreTrace]) -> Iterator[_Order]:
    """The orders that the deleted or moved op gave."""
    concerned = mutant.concerned
    first = 0
    for number, core in enumerate(cores):
        place, last = first, first + len(core.works)
        starts: dict[tuple[Pipe, Pipe, int], tuple[int, Op]] = {}
        for event in core.events:
            if event.kind == "work":
                place += 1
            elif event.kind == "set" and event.flag is not None:
                starts[event.flag] = (place, event.op)
            elif event.kind == "wait" and event.flag in starts:
                start, setter = starts.pop(event.flag)
                if concerned & {setter, event.op}:
                    source, target = event.flag[:2]
                    waiting = None if target is Pipe.S else component(number, target)
                    yield _Order(start, place, component(number, source), waiting)
            elif event.op not in concerned:
                continue
            elif event.kind == "barrier":
                pipe = None if event.pipe is Pipe.ALL else component(number, event.pipe)
                yield _Order(place, place, pipe, pipe)
            elif event.kind == "cross_set":
                yield _Order(place, first, component(number, event.pipe), core=number)
            elif event.kind == "cross_wait":
                yield _Order(last, place, core=number)
        first = last


def _nearest(conflicts: Conflicts, at_stake: np.ndarray, cores: Sequence[CoreTrace]) -> int | None:
    positions = np.flatnonzero(at_stake)
    if not len(positions):
        return None
    first, second = conflicts.pairs[positions].T
    return int(positions[np.argmin(second - first)])


def _path(cores: Sequence[CoreTrace], conflicts: Conflicts, position: int, line: Lines) -> str:
    """By which flags and barriers the second of two works comes to know that the first is done."""
    first, second = (int(number) for number in conflicts.pairs[position])
    clocks = Clocks(cores).run()
    rows, counts, components = clocks.rows, clocks.counts, conflicts.components
    if rows[second, components[first]] < counts[first]:
        first, second = second, first
    asked = (int(components[first]), int(counts[first]))
    learned = Clocks(cores, asked).run().learned
    steps: list[str] = []
    pipe = int(components[second])
    while len(steps) < len(cores) * len(PIPES):
        found = learned[pipe]
        ends = line(found.event.op)
        if found.setter is not None:
            ends = f"{line(found.setter.op)} to {ends}"
        steps.append(f"{spell_sync(found.event.op).replace('wait_flag', 'flag')} ({ends})")
        if found.source in (ALL_PIPES, asked[0]):
            break
        pipe = found.source
    space = conflicts.touches[position].space.value
    works = [f"{conflicts.works[n].op.name} at {line(conflicts.works[n].op)}" for n in (first, second)]
    return f"in {space}, {works[0]} is before {works[1]} by {', then '.join(reversed(steps))}"
