"""Flags on their way: between pipes of a core and between cores."""

from __future__ import annotations

import random
from typing import Protocol

from tilejit.backend.ascend.crossing import CrossFlags, Meeting
from tilejit.backend.ascend.pipes import EventFlag, Job, PipeQueue, SimulatedCore, flag_key, spell_flag
from tilejit.backend.ascend.races import Clock
from tilejit.backend.ascend.report import FindingKind, Findings, spell_op
from tilejit.backend.ascend.timeline import Timeline
from tilejit.ir.core import Op
from tilejit.target.ascend import AscendTarget

_LATENESS_CYCLES = (0, 300, 3000, 30000)
"""By how much flags come late where seeds vary it: up to one of these for each core, so that each at times
falls behind the others by all that flags let them run ahead.
"""


class Wakes(Protocol):
    """Who goes on when a flag arrives."""

    def advance(self, queue: PipeQueue, now: float) -> None: ...

    def resume(self, core: SimulatedCore, now: float) -> None: ...


class Signals:
    """Raises flags when the work they stand for is done."""

    def __init__(
        self,
        timeline: Timeline,
        crossing: CrossFlags,
        target: AscendTarget,
        findings: Findings,
        rng: random.Random | None,
        *,
        has_clocks: bool,
    ) -> None:
        self._timeline = timeline
        self._crossing = crossing
        self._target = target
        self._findings = findings
        self._random = rng
        self._has_clocks = has_clocks
        self._lateness: dict[int, int] = {}
        self.wakes: Wakes

    def exists(self, op: Op, number: int, limit: int) -> bool:
        """Whether a flag has a number that the chip has; reports where it has not."""
        if 0 <= number < limit:
            return True
        text = f"flag {number} is outside 0 to {limit - 1}, in {spell_op(op)}"
        self._findings.add(FindingKind.LIMIT, text, op)
        return False

    def set_flag(self, core: SimulatedCore, job: Job, clock: Clock, time: float) -> None:
        """Raise the flag of a set at ``time``, when all that it stands for is done."""
        key, op = flag_key(job), job.site.op
        if not self.exists(op, key[2], self._target.event_ids):
            return
        flag = core.flag(key)
        component, index = flag.last_wait
        is_ordered = clock.get(component, 0) >= index or not self._has_clocks
        if flag.sets > flag.waits or not is_ordered:
            text = f"flag {spell_flag(key)} of {core.name} is set again by {spell_op(op)}; the wait that "
            text += "took the set before is not ordered before it"
            self._findings.add(FindingKind.FLAG, text, op)
        flag.sets += 1
        self._timeline.at(time, self._raise, (flag, clock, op), core.block)

    def _raise(self, subject: tuple[EventFlag, Clock, Op], now: float) -> None:
        flag, clock, op = subject
        flag.raised, flag.clock, flag.last_set = True, clock, op
        waiter, flag.waiter = flag.waiter, None
        if isinstance(waiter, PipeQueue):
            self.wakes.advance(waiter, now)
        elif waiter is not None:
            self.wakes.resume(waiter, now)

    def cross_set(self, core: SimulatedCore, job: Job, clock: Clock, time: float) -> None:
        """Let a set of a cross-core flag leave its core at ``time``."""
        op, flag = job.site.op, job.instruction.integer("flag")
        if not self.exists(op, flag, self._target.flag_ids):
            return
        mode = op.attributes["mode"]
        assert isinstance(mode, int)
        meeting = self._crossing.meeting(core, flag, mode)
        self._timeline.at(time, self._arrive, (meeting, core, flag, op, clock), core.block)

    def _arrive(self, subject: tuple[Meeting, SimulatedCore, int, Op, Clock], now: float) -> None:
        meeting, core, flag, op, clock = subject
        joined = meeting.arrive(core, op, clock)
        if joined is None:
            return
        delay, limit = self._target.timing.cross_core_cycles, self._target.flag_limit
        for receiver in meeting.receivers:
            counter = self._crossing.counter(receiver, flag)
            known = joined.get(receiver.wait_component, 0) if self._has_clocks else counter.last_wait
            if counter.may_exceed(limit, known):
                text = f"cross-core flag {flag} of {receiver.name} may count beyond {limit}: "
                text += f"nothing keeps {spell_op(op)} from running that far ahead of the waits"
                self._findings.add(FindingKind.FLAG, text, op)
            # Sets of one flag arrive in their order, those of different flags in any.
            time = counter.arrives_at = max(counter.arrives_at, now + delay + self._late(receiver))
            self._timeline.at(time, self._count_up, (receiver, flag, op, joined), receiver.block)

    def _late(self, receiver: SimulatedCore) -> float:
        """By how much a set comes late to a core."""
        if self._random is None:
            return 0.0
        if receiver.number not in self._lateness:
            self._lateness[receiver.number] = self._random.choice(_LATENESS_CYCLES)
        return self._random.random() * self._lateness[receiver.number]

    def _count_up(self, subject: tuple[SimulatedCore, int, Op, Clock], now: float) -> None:
        core, flag, op, clock = subject
        counter = self._crossing.counter(core, flag)
        counter.clocks.append(clock)
        counter.last_set = op
        if core.blocked_on == f"cross-core flag {flag}":
            self.wakes.resume(core, now)
