"""Random interleavings of a trace on pipes that start in order, with contents for every 32 bytes.

What an instruction writes is a digest of itself and of what it read when it started; it is written when the
instruction is done, at some later step. A right program ends with the contents of the in-order run.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from tests.random_machine.clocks import is_small_mmad
from tests.random_machine.trace import Event, Touch
from tilejit.target.spaces import Pipe, Space

Contents = dict[tuple[Space, int], int]
GRAIN_BYTES = 32
_MODULUS = (1 << 61) - 1


def _cells(touch: Touch) -> Iterator[tuple[Space, int]]:
    for grain in range(touch.start // GRAIN_BYTES, -(-touch.end // GRAIN_BYTES)):
        yield (touch.space, grain)


def _read(event: Event, number: int, memory: Contents) -> int:
    seen = tuple(memory.get(cell, 0) for t in event.touches if not t.is_write for cell in _cells(t))
    return hash((number, seen)) % _MODULUS


def _write(event: Event, digest: int, memory: Contents) -> None:
    for touch in event.touches:
        if touch.is_write:
            for cell in _cells(touch):
                if event.atomic:
                    memory[cell] = (memory.get(cell, 0) + digest) % _MODULUS
                else:
                    memory[cell] = digest


def in_order(events: Sequence[Event]) -> Contents:
    """The contents after running one event after the other."""
    memory: Contents = {}
    for number, event in enumerate(events):
        if event.kind == "work":
            _write(event, _read(event, number, memory), memory)
    return memory


class Interleaving:
    """One random run."""

    def __init__(self, events: Sequence[Event], seed: int) -> None:
        self.events = events
        self.random = random.Random(seed)
        self.memory: Contents = {}
        self.next = 0
        self.queues: dict[Pipe, deque[tuple[int, Event]]] = {pipe: deque() for pipe in Pipe}
        self.running: dict[Pipe, list[tuple[int, int]]] = {pipe: [] for pipe in Pipe}
        self.raised: set[tuple[Pipe, Pipe, int]] = set()
        self.problem: str | None = None

    def run(self) -> str | None:
        """Run to the end; what went wrong, or None."""
        # A bias for each pipe makes long delays likely.
        weights = {pipe: self.random.choice((1, 1, 5, 30)) for pipe in Pipe}
        issue_weight = self.random.choice((3, 30, 300))
        while self.problem is None:
            choices: list[tuple[int, str, Pipe]] = []
            if self.can_issue():
                choices.append((issue_weight, "issue", Pipe.S))
            for pipe, queue in self.queues.items():
                if queue and self.can_start(pipe, queue[0][1]):
                    choices.append((weights[pipe], "start", pipe))
                if self.running[pipe]:
                    choices.append((weights[pipe], "finish", pipe))
            if not choices:
                done = self.next == len(self.events) and not any(self.queues.values())
                return None if done else "deadlock"
            _, action, pipe = self.random.choices(choices, [weight for weight, _, _ in choices])[0]
            if action == "issue":
                self.issue()
            elif action == "start":
                self.start(pipe, *self.queues[pipe].popleft())
            else:
                running = self.running[pipe]
                number, digest = running.pop(self.random.randrange(len(running)))
                _write(self.events[number], digest, self.memory)
        return self.problem

    def can_issue(self) -> bool:
        if self.next == len(self.events):
            return False
        event = self.events[self.next]
        if event.kind == "barrier" and event.pipe is Pipe.ALL:
            return not any(self.queues.values()) and not any(self.running.values())
        return not (event.kind == "wait" and event.pipe is Pipe.S) or event.flag in self.raised

    def issue(self) -> None:
        number, event = self.next, self.events[self.next]
        self.next += 1
        if event.pipe is Pipe.ALL:
            return
        if event.pipe is Pipe.S:
            self.start(Pipe.S, number, event)
            return
        self.queues[event.pipe].append((number, event))

    def can_start(self, pipe: Pipe, event: Event) -> bool:
        if event.kind == "wait":
            return event.flag in self.raised
        is_in_order = event.op.name == "mmad" and not is_small_mmad(event)
        return (event.kind == "work" and not is_in_order) or not self.running[pipe]

    def start(self, pipe: Pipe, number: int, event: Event) -> None:
        if event.kind == "set":
            assert event.flag is not None
            if event.flag in self.raised:
                self.problem = "flag set twice"
            self.raised.add(event.flag)
        elif event.kind == "wait":
            assert event.flag is not None
            self.raised.remove(event.flag)
        elif event.kind == "work":
            digest = _read(event, number, self.memory)
            if pipe is Pipe.S:
                _write(event, digest, self.memory)
            else:
                self.running[pipe].append((number, digest))


def differs(events: Sequence[Event], expected: Mapping[tuple[Space, int], int], seed: int) -> str | None:
    """Run ``events`` in a random order that flags and pipes allow; what is wrong with it, or None."""
    run = Interleaving(events, seed)
    problem = run.run()
    if problem is None and run.memory != expected:
        wrong = next(cell for cell in expected if run.memory.get(cell) != expected[cell])
        problem = f"{wrong[0].value} at {wrong[1] * GRAIN_BYTES} differs"
    return problem
