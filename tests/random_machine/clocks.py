"""Vector clocks over a trace: which accesses are ordered whatever the timing.

The components are the pipes of a core. An instruction starts after those before it in its pipe have started,
and after what its pipe waited for; a flag says that all earlier work of its source pipe is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.random_machine.cells import Cells
from tests.random_machine.trace import Event, Trace
from tilejit.target.spaces import Pipe

PIPES = tuple(pipe for pipe in Pipe if pipe is not Pipe.ALL)
Clock = dict[Pipe, int]
Kind = tuple[Pipe, bool, str, bool, tuple[int, int] | None]
"""What decides whether two accesses to one byte need an order: pipe, is a write, atomic mode, under a unit
flag, tile of a long mmad."""


@dataclass(frozen=True)
class Problem:
    """Something a trace does wrong, with the events concerned."""

    text: str
    first: Event | None
    second: Event | None

    def __str__(self) -> str:
        names = [event.op.name for event in (self.first, self.second) if event is not None]
        return f"{self.text}: {', '.join(names)}"


def _conflict(earlier: Kind, later: Kind) -> bool:
    """Whether two accesses to one byte need an order."""
    pipe, is_write, atomic, has_unit_flag, long_tile = later
    other_pipe, was_write, other_atomic, had_unit_flag, other_tile = earlier
    if not (was_write or is_write):
        return False
    if atomic and atomic == other_atomic and was_write and is_write:
        return False
    if pipe is other_pipe:
        # A pipe starts in order: what it read it has read.
        return was_write and (long_tile is None or long_tile != other_tile)
    return not (has_unit_flag and had_unit_flag)


class _Core:
    """The clocks of the pipes, and who touched each cell last."""

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        self.known: dict[Pipe, Clock] = {pipe: dict.fromkeys(PIPES, 0) for pipe in PIPES}
        self.issued: Clock = dict.fromkeys(PIPES, 0)
        self.raised: dict[tuple[Pipe, Pipe, int], tuple[Event, Clock]] = {}
        self.lowered: dict[tuple[Pipe, Pipe, int], tuple[Event, int]] = {}
        # Of each kind only the last access counts: what is behind it is behind those before it.
        self.last: list[dict[Kind, tuple[int, Event]]] = [{} for _ in range(cells.count)]

    def join(self, pipe: Pipe, clock: Clock) -> None:
        mine = self.known[pipe]
        for other, count in clock.items():
            mine[other] = max(mine[other], count)

    def join_all(self, clock: Clock) -> None:
        for pipe in PIPES:
            self.join(pipe, clock)

    def step(self, event: Event) -> Iterator[Problem]:
        if event.kind == "work":
            yield from self.work(event)
        elif event.kind == "set":
            yield from self.set(event)
        elif event.kind == "wait":
            yield from self.wait(event)
        elif event.pipe is Pipe.ALL:
            self.join_all(self.issued)
        else:
            self.known[event.pipe][event.pipe] = self.issued[event.pipe]

    def work(self, event: Event) -> Iterator[Problem]:
        pipe = event.pipe
        self.issued[pipe] += 1
        known = self.known[pipe]
        touched = [
            (touch, (pipe, touch.is_write, event.atomic, event.unit_flag, event.long_tile))
            for touch in event.touches
        ]
        for touch, kind in touched:
            for cell in self.cells.of(touch):
                for other, (count, earlier) in self.last[cell].items():
                    if known[other[0]] < count and _conflict(other, kind):
                        text = f"race in {touch.space.value} [{touch.start}, {touch.end})"
                        yield Problem(text, earlier, event)
        for touch, kind in touched:
            for cell in self.cells.of(touch):
                self.last[cell][kind] = (self.issued[pipe], event)
        if pipe is Pipe.S:
            self.known[pipe][pipe] = self.issued[pipe]

    def set(self, event: Event) -> Iterator[Problem]:
        assert event.flag is not None
        pipe = event.pipe
        self.issued[pipe] += 1
        if event.flag in self.raised:
            yield Problem("flag set twice", self.raised[event.flag][0], event)
        waited = self.lowered.get(event.flag)
        if waited is not None and self.known[pipe][waited[0].pipe] < waited[1]:
            yield Problem("flag may be set before it was waited for", waited[0], event)
        self.raised[event.flag] = (event, {**self.known[pipe], pipe: self.issued[pipe]})

    def wait(self, event: Event) -> Iterator[Problem]:
        assert event.flag is not None
        self.issued[event.pipe] += 1
        if event.flag not in self.raised:
            yield Problem("wait for a flag that is not set", None, event)
            return
        _, clock = self.raised.pop(event.flag)
        if event.pipe is Pipe.S:
            self.known[Pipe.S][Pipe.S] = self.issued[Pipe.S]
            self.join_all(clock)
        else:
            self.join(event.pipe, clock)
        self.lowered[event.flag] = (event, self.issued[event.pipe])


def problems(run: Trace) -> Iterator[Problem]:
    """Races, flags set twice or never waited for, waits that nothing answers."""
    core = _Core(run.cells)
    for event in run.events:
        yield from core.step(event)
    for event, _ in core.raised.values():
        yield Problem("flag left raised", event, None)
