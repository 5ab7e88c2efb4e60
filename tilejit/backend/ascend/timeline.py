"""The order of events of all cores, and the record of what took how long."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import field
from itertools import count
from typing import TypeVar

from tilejit.ir.core import Op
from tilejit.ir.machine import Instruction
from tilejit.records import dataclass
from tilejit.target.spaces import Core, Pipe

_Subject = TypeVar("_Subject")


@dataclass(frozen=True, slots=True)
class CorePlace:
    """A core of a launch: which one of its block, and its name in words."""

    kind: Core
    block: int
    sub_block: int
    name: str


@dataclass(frozen=True, slots=True)
class Span:
    """What a pipe or the scalar unit (pipe S) did for some time: work on an op, or waiting at one.

    Units: cycles; ``done`` is when results are there, for waits it is ``end``.
    """

    core: int
    pipe: Pipe
    op: Op
    start: float
    end: float
    done: float
    is_wait: bool = False


@dataclass
class Record:
    """What a run leaves besides memory.

    Units: cycles. ``issued``, kept on request like ``spans``, has the instructions in the order of issue with
    the numbers of their cores, flags and barriers among them. ``waits`` adds up over all cores, without what
    was skipped. ``skipped_cycles`` is time that was extrapolated, of the block where it is most.
    """

    end: float = 0.0
    spans: list[Span] = field(default_factory=list)
    issued: list[tuple[int, Instruction]] = field(default_factory=list)
    waits: defaultdict[tuple[Pipe, Op], float] = field(default_factory=lambda: defaultdict(float))
    skipped_cycles: float = 0.0


class Timeline:
    """Events in the order of their times; those of one time in the order in which they were planned."""

    def __init__(self, *, keeps_spans: bool) -> None:
        self.record = Record()
        self.keeps_spans = keeps_spans
        self._events: list[tuple[float, int, int, Callable[..., None], object]] = []
        self._order = count()

    def at(
        self, time: float, action: Callable[[_Subject, float], None], subject: _Subject, block: int
    ) -> None:
        """Plan ``action(subject, time)``; ``block`` is the one that the event belongs to."""
        heapq.heappush(self._events, (time, next(self._order), block, action, subject))

    def run(self) -> None:
        """Let everything happen."""
        while self._events:
            time, _, _, action, subject = heapq.heappop(self._events)
            action(subject, time)

    def hold(self, core: int, pipe: Pipe, op: Op, start: float, end: float) -> None:
        """Take note that a pipe, or a scalar unit as pipe S, waited at an op."""
        if end > start:
            self.record.waits[pipe, op] += end - start
            if self.keeps_spans:
                self.record.spans.append(Span(core, pipe, op, start, end, end, is_wait=True))

    def shift(self, cycles: Mapping[int, float]) -> None:
        """Put off all events of blocks by so many cycles each."""
        self._events[:] = [
            (time + cycles.get(block, 0.0), order, block, action, subject)
            for time, order, block, action, subject in self._events
        ]
        heapq.heapify(self._events)
