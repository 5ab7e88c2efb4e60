"""Vector clocks over a trace: which accesses are ordered whatever the timing.

The components are the pipes of a core. An instruction starts after those before it in its pipe have started,
and after what its pipe waited for; a flag says that all earlier work of its source pipe is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.random_machine.trace import Event, Touch
from tilejit.target.spaces import Pipe

PIPES = tuple(pipe for pipe in Pipe if pipe is not Pipe.ALL)
Clock = dict[Pipe, int]


@dataclass(frozen=True)
class Problem:
    """Something a trace does wrong, with the events concerned."""

    text: str
    first: Event | None
    second: Event | None

    def __str__(self) -> str:
        names = [event.op.name for event in (self.first, self.second) if event is not None]
        return f"{self.text}: {', '.join(names)}"


def is_small_mmad(event: Event) -> bool:
    """Whether an mmad is too short to be ordered with the next one of its pipe by its own length."""
    sizes = []
    for name in ("m", "n"):
        operation = event.op.operand(name).defining_op
        value = operation.attributes.get("value") if operation is not None else None
        if not isinstance(value, int):
            return True
        sizes.append(-(-value // 16))
    return sizes[0] * sizes[1] < 10


class _Core:
    """The clocks of the pipes, and what each byte range was last touched by."""

    def __init__(self) -> None:
        self.known: dict[Pipe, Clock] = {pipe: dict.fromkeys(PIPES, 0) for pipe in PIPES}
        self.issued: Clock = dict.fromkeys(PIPES, 0)
        self.raised: dict[tuple[Pipe, Pipe, int], tuple[Event, Clock]] = {}
        self.lowered: dict[tuple[Pipe, Pipe, int], tuple[Event, int]] = {}
        self.history: list[tuple[Event, int, Touch]] = []

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
        for touch in event.touches:
            for other, count, earlier in self.history:
                if self.conflict(other, earlier, event, touch) and self.known[pipe][other.pipe] < count:
                    yield Problem(f"race in {touch.space.value} [{touch.start}, {touch.end})", other, event)
        self.history += [(event, self.issued[pipe], touch) for touch in event.touches]
        if pipe is Pipe.S:
            self.known[pipe][pipe] = self.issued[pipe]

    @staticmethod
    def conflict(other: Event, earlier: Touch, event: Event, touch: Touch) -> bool:
        if not (earlier.is_write or touch.is_write) or earlier.space is not touch.space:
            return False
        if earlier.end <= touch.start or touch.end <= earlier.start:
            return False
        if event.atomic and event.atomic == other.atomic and earlier.is_write and touch.is_write:
            return False
        if event.pipe is other.pipe:
            if not earlier.is_write:
                return False  # a pipe starts in order: what it read it has read
            if event.op.name == other.op.name == "mmad" and not is_small_mmad(event):
                return False
        flags = (event.op.attributes.get("unit_flag", 0), other.op.attributes.get("unit_flag", 0))
        return not (all(flags) and event.pipe is not other.pipe)

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


def problems(events: Sequence[Event]) -> Iterator[Problem]:
    """Races, flags set twice or never waited for, waits that nothing answers."""
    core = _Core()
    for event in events:
        yield from core.step(event)
    for event, _ in core.raised.values():
        yield Problem("flag left raised", event, None)
