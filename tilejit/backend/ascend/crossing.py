"""Cross-core flags: counters of each core that sets on other cores raise.

A set of mode 2 by an AIC counts up on both AIVs of its block; sets by the AIVs count up on their AIC when
both have set. Mode 1 joins the two AIVs of a block, mode 0 all cores of a kind: each counts up when all have
set.

Source: CANN documentation of CrossCoreSetFlag (V220).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import field

from tilejit.backend.ascend.pipes import SimulatedCore
from tilejit.backend.ascend.races import Clock, join
from tilejit.diagnostics import InternalError
from tilejit.ir.core import Op
from tilejit.records import dataclass
from tilejit.target.spaces import Core


@dataclass(eq=False, slots=True)
class Counter:
    """A cross-core flag of one core: the clocks of the sets that no wait has taken, oldest first.

    ``waits`` has the waits that no set was known to follow yet, by their numbers among those of the core.
    """

    clocks: deque[Clock] = field(default_factory=deque)
    last_set: Op | None = None
    arrives_at: float = 0.0  # the set that is on its way, or came, last
    waits: deque[int] = field(default_factory=deque)
    last_wait: int = 0
    ahead: int = 0  # sets that have arrived or are on their way, less the waits they are known to follow

    def take(self, clock: Clock, number: int) -> None:
        """Count down for a wait, whose clock learns what the oldest set knew."""
        join(clock, self.clocks.popleft())
        self.waits.append(number)
        self.last_wait = number

    def may_exceed(self, limit: int, known: int) -> bool:
        """Count a set that knows the receiver's waits up to ``known``; can it pass ``limit``?"""
        self.ahead += 1
        while self.waits and self.waits[0] <= known:
            self.waits.popleft()
            self.ahead -= 1
        return self.ahead > limit


@dataclass(eq=False, slots=True)
class Meeting:
    """The cores that must all set a flag, and those that then count up."""

    members: tuple[SimulatedCore, ...]
    receivers: tuple[SimulatedCore, ...]
    arrived: dict[int, deque[tuple[Op, Clock]]] = field(default_factory=dict)

    def arrive(self, core: SimulatedCore, op: Op, clock: Clock) -> Clock | None:
        """Take a set; return the joined clock where it is the last one of its round."""
        self.arrived.setdefault(core.number, deque()).append((op, clock))
        if len(self.arrived) < len(self.members) or not all(self.arrived.values()):
            return None
        joined: Clock = {}
        for sets in self.arrived.values():
            join(joined, sets.popleft()[1])
        return joined

    @property
    def unmatched(self) -> list[Op]:
        """Sets that wait for the others of their round."""
        return [op for sets in self.arrived.values() for op, _ in sets]


class CrossFlags:
    """All cross-core flags of a launch."""

    def __init__(self, cores: Sequence[SimulatedCore]) -> None:
        self._cores = cores
        self._counters: dict[tuple[int, int], Counter] = {}
        self._meetings: dict[tuple[object, ...], Meeting] = {}

    def counter(self, core: SimulatedCore, flag: int) -> Counter:
        """The counter of a flag on a core."""
        return self._counters.setdefault((core.number, flag), Counter())

    @property
    def counters(self) -> list[tuple[SimulatedCore, int, Counter]]:
        return [(self._cores[number], flag, c) for (number, flag), c in self._counters.items()]

    @property
    def meetings(self) -> list[tuple[int, Meeting]]:
        """All meetings with their flags."""
        return [(int(str(key[0])), meeting) for key, meeting in self._meetings.items()]

    def shift(self, cycles: Mapping[int, float]) -> None:
        """Put off the sets that are on their way to blocks by so many cycles each."""
        for core, _, counter in self.counters:
            counter.arrives_at += cycles.get(core.block, 0.0)

    def meeting(self, core: SimulatedCore, flag: int, mode: int) -> Meeting:
        """Where a set of a core takes part."""
        key = (flag, mode, core.kind, None if mode == 0 else core.block)
        meeting = self._meetings.get(key)
        if meeting is None:
            meeting = self._meetings[key] = self._new_meeting(core, mode)
        return meeting

    def _new_meeting(self, core: SimulatedCore, mode: int) -> Meeting:
        if mode == 0:
            kin = tuple(other for other in self._cores if other.kind is core.kind)
            return Meeting(kin, kin)
        block = [other for other in self._cores if other.block == core.block]
        vectors = tuple(other for other in block if other.kind is Core.AIV)
        if mode == 1:
            return Meeting(vectors, vectors)
        if mode != 2:
            raise InternalError(f"cross-core flags have no mode {mode}")
        cubes = tuple(other for other in block if other.kind is Core.AIC)
        return Meeting(cubes, vectors) if core.kind is Core.AIC else Meeting(vectors, cubes)
