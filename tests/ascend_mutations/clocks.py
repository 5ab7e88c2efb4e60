"""Vector clocks over traces: which accesses are ordered whatever the timing.

The components are the pipes of all cores, and for each core how many waits for other cores it is through. An
instruction starts after those before it in its pipe have started, and after what its pipe waited for; a flag
says that all earlier work of its source pipe is done. Nothing here is shared with the simulator.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from tests.ascend_mutations.conflicts import PIPES, Conflicts, CoreTrace, component, find_conflicts
from tests.ascend_mutations.events import CrossEvent
from tests.random_machine.trace import Event
from tilejit.target.spaces import Core, Pipe, Space

MOST_CROSS_SETS = 15
LAST = 3  # the unit flag of the mmad that completes a tile
ALL_PIPES = -1  # the source of what a barrier of all pipes tells


@dataclass(frozen=True)
class Problem:
    """Something a trace does wrong, with the events concerned."""

    text: str
    first: Event | None
    second: Event | None

    def __str__(self) -> str:
        names = [event.op.name for event in (self.first, self.second) if event is not None]
        return f"{self.text}: {', '.join(names)}"


@dataclass
class Learned:
    """How a pipe learned what was asked after: at an event, from a set by pipe ``source`` or by itself."""

    event: Event
    setter: Event | None
    source: int


@dataclass
class _Flag:
    """A flag of a core: who raised it, with what clock; who lowered it last, and its count."""

    raised: tuple[Event, np.ndarray] | None = None
    lowered: tuple[Event, int, int] | None = None


@dataclass
class _Counter:
    """A cross-core flag of a core: sets not waited for, with pipes and clocks; sets so far; waits."""

    clocks: deque[tuple[Event, int, np.ndarray]] = field(default_factory=deque)
    sets: int = 0
    waits: list[int] = field(default_factory=list)


class Clocks:
    """One run of all cores.

    After ``run``: ``problems`` of flags, and for each instruction what its pipe knew at its start (``rows``)
    and its place in its pipe (``counts``). ``asked`` is a component and a count: ``learned`` then says how
    each pipe came to know that that instruction is done.
    """

    def __init__(self, cores: Sequence[CoreTrace], asked: tuple[int, int] | None = None) -> None:
        self.cores = cores
        self.asked = asked
        self.learned: dict[int, Learned] = {}
        self.width = len(cores) * (len(PIPES) + 1)
        self.known = [np.zeros(self.width, np.int32) for _ in range(len(cores) * len(PIPES))]
        self.issued = [0] * (len(cores) * len(PIPES))
        self.flags: dict[tuple[int, Pipe, Pipe, int], _Flag] = {}
        self.counters: dict[tuple[int, int], _Counter] = {}
        self.arrived: dict[tuple[object, ...], dict[int, deque[tuple[Event, np.ndarray]]]] = {}
        self.tiles: dict[tuple[int, int, int, int], tuple[Event, np.ndarray]] = {}
        self.problems: list[Problem] = []
        self.core_rows: list[list[np.ndarray]] = [[] for _ in cores]
        self.core_counts: list[list[int]] = [[] for _ in cores]
        self.places = [0] * len(cores)

    def run(self) -> Clocks:
        """Let every core go on until all are done or none moves."""
        is_moving = True
        while is_moving:
            is_moving = False
            for number, core in enumerate(self.cores):
                while self.places[number] < len(core.events):
                    if not self.step(number, core.events[self.places[number]]):
                        break
                    self.places[number] += 1
                    is_moving = True
        for number, core in enumerate(self.cores):
            if self.places[number] < len(core.events):
                self.problems.append(Problem("deadlock", None, core.events[self.places[number]]))
        for flag in self.flags.values():
            if flag.raised is not None:
                self.problems.append(Problem("flag left raised", flag.raised[0], None))
        for counter in self.counters.values():
            if counter.clocks:
                self.problems.append(Problem("cross-core flag left raised", counter.clocks[0][0], None))
        for members in self.arrived.values():
            for sets in members.values():
                if sets:
                    self.problems.append(Problem("cross-core flag not set by all", sets[0][0], None))
        return self

    @property
    def rows(self) -> np.ndarray:
        flat = [row for rows in self.core_rows for row in rows]
        return np.array(flat, np.int32).reshape(-1, self.width)

    @property
    def counts(self) -> np.ndarray:
        return np.array([count for counts in self.core_counts for count in counts], np.int32)

    def step(self, core: int, event: Event) -> bool:
        """Issue one event; False where the core must wait for another."""
        if event.kind == "cross_wait":
            return self.cross_wait(core, event)
        pipe = core * len(PIPES) if event.pipe is Pipe.ALL else component(core, event.pipe)
        if event.kind == "barrier" and event.pipe is Pipe.ALL:
            clock = np.maximum.reduce([self.done_of(other) for other in self.pipes_of(core)])
            self.join_all(core, clock, event, None, ALL_PIPES)
        elif event.kind == "barrier":
            self.learn(pipe, self.done_of(pipe), event, None, pipe)
        elif event.kind == "work":
            if event.unit_flag:
                self.take_unit_flag(core, pipe, event)
            self.issued[pipe] += 1
            self.core_rows[core].append(self.known[pipe].copy())
            self.core_counts[core].append(self.issued[pipe])
            if event.pipe is Pipe.S:
                self.learn(pipe, self.done_of(pipe), event, None, pipe)
            if event.unit_flag:
                self.give_unit_flag(core, pipe, event)
        elif event.kind == "cross_set":
            self.cross_set(core, pipe, event)
        elif event.kind == "set":
            self.set(core, pipe, event)
        else:
            self.wait(core, pipe, event)
        return True

    # What pipes know.

    def pipes_of(self, core: int) -> range:
        return range(core * len(PIPES), (core + 1) * len(PIPES))

    def done_of(self, pipe: int) -> np.ndarray:
        """What is known when all work of a pipe so far is done."""
        clock = self.known[pipe].copy()
        clock[pipe] = self.issued[pipe]
        return clock

    def learn(self, pipe: int, clock: np.ndarray, event: Event, setter: Event | None, source: int) -> None:
        mine = self.known[pipe]
        if self.asked is not None and mine[self.asked[0]] < self.asked[1] <= clock[self.asked[0]]:
            self.learned.setdefault(pipe, Learned(event, setter, source))
        np.maximum(mine, clock, out=mine)

    def join_all(self, core: int, clock: np.ndarray, event: Event, setter: Event | None, source: int) -> None:
        for pipe in self.pipes_of(core):
            self.learn(pipe, clock, event, setter, source)

    # Unit flags: the cube fills tiles of L0C that fixpipe empties.

    def take_unit_flag(self, core: int, pipe: int, event: Event) -> None:
        """Learn what the other side knew when it filled or emptied the tile."""
        for start, end in _tiles(event):
            for (other, source, low, high), (giver, clock) in self.tiles.items():
                if other == core and source != pipe and low < end and start < high:
                    self.learn(pipe, clock, event, giver, source)

    def give_unit_flag(self, core: int, pipe: int, event: Event) -> None:
        if event.op.name == "mmad" and event.op.attributes["unit_flag"] != LAST:
            return  # more is added to the tile before it is full
        for start, end in _tiles(event):
            self.tiles[core, pipe, start, end] = (event, self.done_of(pipe))

    # Flags of one core.

    def set(self, core: int, pipe: int, event: Event) -> None:
        assert event.flag is not None
        self.issued[pipe] += 1
        flag = self.flags.setdefault((core, *event.flag), _Flag())
        if flag.raised is not None:
            self.problems.append(Problem("flag set twice", flag.raised[0], event))
        if flag.lowered is not None and self.known[pipe][flag.lowered[1]] < flag.lowered[2]:
            problem = Problem("flag may be set before it was waited for", flag.lowered[0], event)
            self.problems.append(problem)
        flag.raised = (event, self.done_of(pipe))

    def wait(self, core: int, pipe: int, event: Event) -> None:
        assert event.flag is not None
        self.issued[pipe] += 1
        flag = self.flags.setdefault((core, *event.flag), _Flag())
        if flag.raised is None:
            self.problems.append(Problem("wait for a flag that is not set", None, event))
            return
        (setter, clock), flag.raised = flag.raised, None
        source = component(core, event.flag[0])
        if event.pipe is Pipe.S:
            self.known[pipe][pipe] = self.issued[pipe]
            self.join_all(core, clock, event, setter, source)
            flag.lowered = None  # what is issued later comes later
        else:
            self.learn(pipe, clock, event, setter, source)
            flag.lowered = (event, pipe, self.issued[pipe])

    # Flags between cores.

    def cross_set(self, core: int, pipe: int, event: Event) -> None:
        assert isinstance(event, CrossEvent)
        number, mode = event.flag_id, event.mode
        self.issued[pipe] += 1
        members, receivers = self.group(core, mode)
        arrived = self.arrived.setdefault((number, mode, *members), {member: deque() for member in members})
        arrived[core].append((event, self.done_of(pipe)))
        if not all(arrived.values()):
            return
        joined = np.maximum.reduce([sets.popleft()[1] for sets in arrived.values()])
        for receiver in receivers:
            counter = self.counters.setdefault((receiver, number), _Counter())
            counter.sets += 1
            through = sum(count <= joined[self.waits_of(receiver)] for count in counter.waits)
            if counter.sets - through > MOST_CROSS_SETS:
                self.problems.append(Problem("cross-core flag counts too far", None, event))
            counter.clocks.append((event, pipe, joined))

    def cross_wait(self, core: int, event: Event) -> bool:
        assert isinstance(event, CrossEvent)
        counter = self.counters.setdefault((core, event.flag_id), _Counter())
        if not counter.clocks:
            return False
        setter, source, clock = counter.clocks.popleft()
        waits = self.waits_of(core)
        own = self.known[component(core, Pipe.S)]
        clock = clock.copy()
        clock[waits] = own[waits] + 1
        counter.waits.append(int(clock[waits]))
        self.join_all(core, clock, event, setter, source)
        return True

    def waits_of(self, core: int) -> int:
        """The component that counts the waits of a core for others."""
        return len(self.cores) * len(PIPES) + core

    def group(self, core: int, mode: int) -> tuple[list[int], list[int]]:
        """The cores that must all set a flag, and those whose flag then counts up."""
        own = self.cores[core]
        kin = [n for n, other in enumerate(self.cores) if other.kind is own.kind]
        if mode == 0:
            return kin, kin
        block = [n for n, other in enumerate(self.cores) if other.block == own.block]
        vectors = [n for n in block if self.cores[n].kind is Core.AIV]
        if mode == 1:
            return vectors, vectors
        cubes = [n for n in block if self.cores[n].kind is Core.AIC]
        return (cubes, vectors) if own.kind is Core.AIC else (vectors, cubes)


def _tiles(event: Event) -> set[tuple[int, int]]:
    return {(touch.start, touch.end) for touch in event.touches if touch.space is Space.L0C}


def unordered(clocks: Clocks, conflicts: Conflicts) -> np.ndarray:
    """Which pairs of ``conflicts`` nothing orders, as positions."""
    rows, counts = clocks.rows, clocks.counts
    if len(counts) < len(conflicts.works):  # a deadlock: what never starts conflicts with nothing
        done = _started(clocks)
        places = np.cumsum(done) - 1
        keep = np.flatnonzero(done[conflicts.pairs].all(axis=1))
        first, second = places[conflicts.pairs[keep]].T
        components = conflicts.components[done]
    else:
        keep = np.arange(len(conflicts.pairs))
        first, second = conflicts.pairs.T
        components = conflicts.components
    forward = rows[second, components[first]] >= counts[first]
    is_other_core = components[first] // len(PIPES) != components[second] // len(PIPES)
    backward = is_other_core & (rows[first, components[second]] >= counts[second])
    return keep[~forward & ~backward]


def _started(clocks: Clocks) -> np.ndarray:
    flags: list[bool] = []
    for core, rows in zip(clocks.cores, clocks.core_rows, strict=True):
        flags += [True] * len(rows) + [False] * (len(core.works) - len(rows))
    return np.array(flags, bool)


def problems_of(cores: Sequence[CoreTrace], conflicts: Conflicts | None = None) -> Iterator[Problem]:
    """Flags set twice or never waited for, waits that nothing answers, races."""
    clocks = Clocks(cores).run()
    yield from clocks.problems
    conflicts = find_conflicts(cores) if conflicts is None else conflicts
    for position in unordered(clocks, conflicts):
        first, second = (conflicts.works[number] for number in conflicts.pairs[position])
        touch = conflicts.touches[position]
        yield Problem(f"race in {touch.space.value} [{touch.start}, {touch.end})", first, second)
