"""Random interleavings of a trace on pipes that start in order, with contents for every cell of memory.

What an instruction writes is a digest of itself and of what it read when it started; it is written when the
instruction is done, at some later step. A right program ends with the contents of the in-order run.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from tests.random_machine.cells import Cells
from tests.random_machine.trace import Event, Trace
from tilejit.target.spaces import Pipe

Contents = list[int]
MODULUS = (1 << 61) - 1
_PIPES = tuple(pipe for pipe in Pipe if pipe not in (Pipe.S, Pipe.ALL))


def write(memory: Contents, cells: tuple[int, ...], digest: int, atomic: str) -> None:
    """Write a digest to cells, or add it."""
    for cell in cells:
        memory[cell] = (memory[cell] + digest) % MODULUS if atomic else digest


def digest_of(number: int, reads: tuple[int, ...], memory: Contents) -> int:
    """What event ``number`` makes of what it reads."""
    return hash((number, *[memory[cell] for cell in reads])) % MODULUS


def in_order(run: Trace) -> Contents:
    """The contents after running one event after the other."""
    cells = run.cells
    memory = [0] * cells.count
    for number, event in enumerate(run.events):
        if event.kind == "work":
            digest = digest_of(number, cells.reads[number], memory)
            write(memory, cells.writes[number], digest, event.atomic)
    return memory


@dataclass(frozen=True)
class _Step:
    """An event as interleavings run it; pipes and flags are numbers, the scalar unit's pipe is -1."""

    number: int
    kind: str
    pipe: int
    reads: tuple[int, ...] = ()
    writes: tuple[int, ...] = ()
    atomic: str = ""
    flag: int = -1
    waits_on: int = -1  # of a set: the pipe that waits for the flag
    after: tuple[int, ...] = ()  # events that hardware itself puts before this one


class Interleavings:
    """Runs one trace in many random orders that flags and pipes allow."""

    def __init__(self, run: Trace, expected: Contents) -> None:
        self.cells = run.cells
        self.expected = expected
        pipes = {event.pipe for event in run.events}
        self.pipes = [pipe for pipe in _PIPES if pipe in pipes]
        flags: dict[object, int] = {}
        self.steps = [
            self._step(number, event, after, flags)
            for (number, event), after in zip(enumerate(run.events), _hardware_order(run), strict=True)
        ]
        self.flags = len(flags)
        self.has_hardware_order = any(step.after for step in self.steps)
        self.queues = [[step for step in self.steps if step.pipe == p] for p in range(len(self.pipes))]

    def _step(self, number: int, event: Event, after: tuple[int, ...], flags: dict[object, int]) -> _Step:
        kind = event.kind
        if kind == "barrier" and event.pipe is Pipe.ALL:
            return _Step(number, "stop", -1)
        pipe = -1 if event.pipe is Pipe.S else self.pipes.index(event.pipe)
        if event.flag is None:
            cells = self.cells
            reads, writes = cells.reads[number], cells.writes[number]
            return _Step(number, kind, pipe, reads, writes, event.atomic, after=after)
        flag = flags.setdefault(event.flag, len(flags))
        waits_on = self.pipes.index(event.flag[1]) if event.flag[1] in self.pipes else -1
        return _Step(number, kind, pipe, flag=flag, waits_on=waits_on)

    def problem(self, source: random.Random) -> str | None:
        """Run in one random order; what is wrong with it, or None."""
        run = _Run(self, source)
        problem = run.run()
        if problem is None and run.memory != self.expected:
            pairs = enumerate(zip(run.memory, self.expected, strict=True))
            problem = f"{self.cells.spell(next(n for n, (a, b) in pairs if a != b))} differs"
        return problem


def _hardware_order(run: Trace) -> Iterator[tuple[int, ...]]:
    """For each event, those that hardware finishes before it starts: under unit flags, and of long mmads."""
    flagged: list[tuple[int, Event]] = []
    long_mmads: dict[tuple[int, int], int] = {}
    for number, event in enumerate(run.events):
        after = []
        if event.unit_flag:
            after += [
                other
                for other, one in flagged
                if one.pipe is not event.pipe and _share(run.cells, number, other)
            ]
            flagged.append((number, event))
        if event.long_tile is not None:
            if event.long_tile in long_mmads:
                after.append(long_mmads[event.long_tile])
            long_mmads[event.long_tile] = number
        yield tuple(after)


def _share(cells: Cells, left: int, right: int) -> bool:
    touched = {*cells.reads[left], *cells.writes[left]}
    return not touched.isdisjoint((*cells.reads[right], *cells.writes[right]))


class _Run:
    """One random order: at each step the scalar unit issues, or a pipe starts or finishes something.

    ``weights``: how likely each of these is now, 0 where it is not possible: issue, then starts, then ends.
    """

    def __init__(self, plan: Interleavings, source: random.Random) -> None:
        pipes = len(plan.pipes)
        self.plan = plan
        self.random = source
        self.memory: Contents = [0] * plan.cells.count
        self.next = 0
        self.issued, self.started = [0] * pipes, [0] * pipes
        self.running: list[list[tuple[_Step, int]]] = [[] for _ in range(pipes)]
        self.done = [False] * len(plan.steps)
        self.raised = [False] * plan.flags
        self.problem: str | None = None
        # A bias for each pipe makes long delays likely.
        self.bias = [source.choice((1, 1, 5, 30)) for _ in range(pipes)]
        self.issue_bias = source.choice((3, 30, 300))
        self.weights = [0] * (1 + 2 * pipes)

    def run(self) -> str | None:
        """Run to the end; what went wrong, or None."""
        weights, pipes, chance = self.weights, len(self.bias), self.random.random
        self.look_at_issue()
        while self.problem is None:
            total = sum(weights)
            if not total:
                return None if all(self.done) else "deadlock"
            left = chance() * total
            choice = 0
            while left >= weights[choice]:
                left -= weights[choice]
                choice += 1
            if choice == 0:
                self.issue()
            elif choice <= pipes:
                self.start(choice - 1)
            else:
                self.finish(choice - 1 - pipes)
        return self.problem

    def look_at_issue(self) -> None:
        """See whether the scalar unit can go on."""
        is_possible = self.next < len(self.plan.steps)
        if is_possible:
            step = self.plan.steps[self.next]
            if step.kind == "stop":
                is_possible = self.issued == self.started and not any(self.running)
            elif step.pipe < 0 and step.kind == "wait":
                is_possible = self.raised[step.flag]
        self.weights[0] = self.issue_bias if is_possible else 0

    def look_at(self, pipe: int) -> None:
        """See whether a pipe can start the next in its queue."""
        number = self.started[pipe]
        is_possible = number < self.issued[pipe]
        if is_possible:
            step = self.plan.queues[pipe][number]
            if step.kind == "wait":
                is_possible = self.raised[step.flag]
            elif step.kind != "work":
                is_possible = not self.running[pipe]
            elif step.after:
                is_possible = all(self.done[other] for other in step.after)
        self.weights[1 + pipe] = self.bias[pipe] if is_possible else 0

    def issue(self) -> None:
        step = self.plan.steps[self.next]
        self.next += 1
        if step.pipe >= 0:
            self.issued[step.pipe] += 1
            self.look_at(step.pipe)
        else:
            self.act(step)
        self.look_at_issue()

    def start(self, pipe: int) -> None:
        step = self.plan.queues[pipe][self.started[pipe]]
        self.started[pipe] += 1
        if step.kind == "work":
            self.running[pipe].append((step, digest_of(step.number, step.reads, self.memory)))
            self.weights[1 + len(self.bias) + pipe] = self.bias[pipe]
        else:
            self.act(step)
        self.look_at(pipe)

    def act(self, step: _Step) -> None:
        """Do what takes no time: flags, barriers, and the work of the scalar unit."""
        self.done[step.number] = True
        if step.kind == "set":
            if self.raised[step.flag]:
                self.problem = "flag set twice"
            self.raised[step.flag] = True
            if step.waits_on >= 0:
                self.look_at(step.waits_on)
        elif step.kind == "wait":
            self.raised[step.flag] = False
        elif step.kind == "work":
            digest = digest_of(step.number, step.reads, self.memory)
            write(self.memory, step.writes, digest, step.atomic)
        self.look_at_issue()

    def finish(self, pipe: int) -> None:
        running = self.running[pipe]
        step, digest = running.pop(int(self.random.random() * len(running)))
        write(self.memory, step.writes, digest, step.atomic)
        self.done[step.number] = True
        if not running:
            self.weights[1 + len(self.bias) + pipe] = 0
        for other in range(len(self.bias)) if self.plan.has_hardware_order else (pipe,):
            self.look_at(other)
        self.look_at_issue()
