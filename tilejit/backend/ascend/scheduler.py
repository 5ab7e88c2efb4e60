"""Time: the scalar units issue, the pipes run, flags travel; events of all cores in one order.

Each core's scalar unit runs its program in order and issues to the queues of its pipes; a full queue stops
it. A pipe takes its jobs in order: flags and barriers travel in the queue of their pipe. Waits of the scalar
unit, cross-core waits and barriers of all pipes stop issue.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TypeVar

from tilejit.backend.ascend.crossing import CrossFlags, Meeting
from tilejit.backend.ascend.execution import Execution, changed_state, read_scalar
from tilejit.backend.ascend.leftovers import report_leftovers
from tilejit.backend.ascend.memory import GlobalMemory
from tilejit.backend.ascend.pipes import (
    EventFlag,
    Job,
    PipeQueue,
    SimulatedCore,
    Site,
    SiteKind,
    flag_key,
    spell_flag,
)
from tilejit.backend.ascend.races import Clock, join
from tilejit.backend.ascend.report import FindingKind, Findings, spell_op
from tilejit.backend.ascend.scalar_program import Scalar
from tilejit.backend.ascend.traffic import Traffic
from tilejit.backend.ascend.unit_flags import LAST, Tile
from tilejit.diagnostics import KernelError
from tilejit.ir.core import Op
from tilejit.ir.machine import Instruction
from tilejit.target.ascend import AscendTarget
from tilejit.target.ascend_timing import Path
from tilejit.target.spaces import Pipe, Space

_JITTER_CYCLES = 2000
_Subject = TypeVar("_Subject")


@dataclass(frozen=True, slots=True)
class Span:
    """An instruction's time on its pipe, or a wait's; ``done`` is when its results are there."""

    core: int
    pipe: Pipe
    op: Op
    start: float
    end: float
    done: float


@dataclass
class Record:
    """What a run leaves besides memory.

    Units: cycles and bytes.
    """

    end: float = 0.0
    path_bytes: dict[Path, int] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)
    instructions: int = 0


class Scheduler:
    """Runs the programs of all cores to their ends."""

    def __init__(
        self,
        cores: Sequence[SimulatedCore],
        sites: Mapping[Op, Site],
        gm: GlobalMemory,
        target: AscendTarget,
        findings: Findings,
        execution: Execution | None,
        seed: int,
        keep_spans: bool,
    ) -> None:
        self._cores = cores
        self._sites = sites
        self._gm = gm
        self._target = target
        self._timing = target.timing
        self._findings = findings
        self._execution = execution
        self._random = random.Random(seed) if seed else None
        self._keep_spans = keep_spans
        self._traffic = Traffic(gm, target)
        self._crossing = CrossFlags(cores)
        self._events: list[tuple[float, int, Callable[..., None], object]] = []
        self._order = count()
        self.record = Record()
        self._issue_rules = {
            SiteKind.EXECUTE: self._issue_to_pipe,
            SiteKind.SET_FLAG: self._issue_set,
            SiteKind.WAIT_FLAG: self._issue_wait,
            SiteKind.BARRIER: self._issue_barrier,
            SiteKind.CROSS_SET: self._issue_to_pipe,
            SiteKind.CROSS_WAIT: self._issue_cross_wait,
            SiteKind.STATE: self._issue_state,
            SiteKind.LOAD: self._issue_load,
            SiteKind.STORE: self._issue_store,
            SiteKind.ASSERT: self._issue_assert,
            SiteKind.PRINT: self._fetch,
        }

    @property
    def traffic(self) -> Traffic:
        return self._traffic

    def run(self) -> None:
        """Run until nothing happens any more, then look for what is left over."""
        for core in self._cores:
            self._fetch(core, 0.0)
        events = self._events
        while events:
            now, _, action, subject = heapq.heappop(events)
            action(subject, now)
        report_leftovers(self._cores, self._crossing, self._findings)

    def _at(self, time: float, action: Callable[[_Subject, float], None], subject: _Subject) -> None:
        heapq.heappush(self._events, (time, next(self._order), action, subject))

    # The scalar unit.

    def _fetch(self, core: SimulatedCore, now: float, sent: Scalar | None = None) -> None:
        """Run the program to the next op that it yields; the op issues when the scalar ops are done."""
        assert core.program is not None
        try:
            op, scalar_ops, values = core.program.send(sent)
        except StopIteration:
            core.is_finished, core.finished_at = True, now
            self.record.end = max(self.record.end, now)
            return
        site = self._sites[op]
        time = now + scalar_ops * self._timing.scalar_op_cycles
        job = core.pending = Job(site, Instruction(op, values, core.state))
        if site.cost is not None:
            job.cost = site.cost(job.instruction, self._target)
            time += job.cost.issue_cycles
        self._at(time, self._issue, core)

    def _issue(self, core: SimulatedCore, now: float) -> None:
        job = core.pending
        assert job is not None
        core.blocked_on = None
        self._issue_rules[job.site.kind](core, now)

    def _issue_to_pipe(self, core: SimulatedCore, now: float) -> None:
        job = core.pending
        assert job is not None
        queue = core.pipes[job.site.pipe]
        if len(queue.items) >= queue.depth:
            core.blocked_on = queue
            return
        job.queue, job.clock = queue, core.clock
        queue.items.append(job)
        if not queue.is_active:
            self._advance(queue, now)
        self._fetch(core, now)

    def _issue_set(self, core: SimulatedCore, now: float) -> None:
        job = core.pending
        assert job is not None
        if job.site.pipe is not Pipe.S:
            self._issue_to_pipe(core, now)
            return
        core.scalar_index += 1
        self._set_flag(core, job, core.scalar_knowledge(), now)
        self._fetch(core, now)

    def _issue_wait(self, core: SimulatedCore, now: float) -> None:
        job = core.pending
        assert job is not None
        if job.site.pipe is not Pipe.S:
            self._issue_to_pipe(core, now)
            return
        flag = core.flag(*flag_key(job))
        if not flag.raised:
            flag.waiter, core.blocked_on = core, "a flag"
            return
        core.scalar_index += 1
        clock = dict(core.clock)
        flag.take(clock, core.scalar_component, core.scalar_index)
        core.clock = clock
        self._fetch(core, now)

    def _issue_barrier(self, core: SimulatedCore, now: float) -> None:
        job = core.pending
        assert job is not None
        if job.site.pipe is not Pipe.ALL:
            self._issue_to_pipe(core, now)
            return
        queues = core.pipes.values()
        if any(queue.is_active or queue.items for queue in queues):
            core.blocked_on = "all pipes"
            return
        idle_at = max((queue.done_at for queue in queues), default=now)
        if idle_at > now:
            self._at(idle_at, self._issue, core)
            return
        clock = core.scalar_knowledge()
        for queue in queues:
            join(clock, queue.knowledge())
        core.clock = clock
        self._fetch(core, now)

    def _issue_cross_wait(self, core: SimulatedCore, now: float) -> None:
        job = core.pending
        assert job is not None
        flag = job.instruction.integer("flag")
        if not self._flag_exists(job.site.op, flag, self._target.flag_ids):
            self._fetch(core, now)
            return
        counter = self._crossing.counter(core, flag)
        if not counter.clocks:
            core.blocked_on = f"cross-core flag {flag}"
            return
        clock = dict(core.clock)
        join(clock, counter.clocks.popleft())
        core.scalar_index += 1
        counter.waits.append(core.scalar_index)
        core.clock = clock
        self._fetch(core, now)

    def _issue_state(self, core: SimulatedCore, now: float) -> None:
        job = core.pending
        assert job is not None
        core.state = changed_state(core.state, job.instruction)
        self._fetch(core, now)

    def _issue_load(self, core: SimulatedCore, now: float) -> None:
        job = core.pending
        assert job is not None
        op, values = job.site.op, job.instruction.values
        core.scalar_index += 1
        if not values.get("mask", True):
            self._fetch(core, now, values.get("other", 0))
            return
        space = op.operand("pointer").type.element.space  # type: ignore[union-attr]
        if self._execution is not None:
            value = self._execution.load(op, values, core)
        elif space is Space.GM:
            value = read_scalar(op, values, self._gm)
        else:
            raise KernelError(
                f"without values, nobody knows what {spell_op(op)} reads from {space.value}",
                op.location,
                "simulate with values",
            )
        line = job.instruction.integer("pointer") // self._timing.scalar_line_bytes
        hit = space is not Space.GM or line in core.cached_lines
        core.cached_lines.add(line)
        cycles = self._timing.scalar_hit_cycles if hit else self._timing.scalar_load_cycles
        self._fetch(core, now + cycles, value)

    def _issue_store(self, core: SimulatedCore, now: float) -> None:
        job = core.pending
        assert job is not None
        core.scalar_index += 1
        values = job.instruction.values
        if self._execution is not None and values.get("mask", True):
            self._execution.store(job.site.op, values, core)
        self._fetch(core, now + self._timing.scalar_hit_cycles)

    def _issue_assert(self, core: SimulatedCore, now: float) -> None:
        job = core.pending
        assert job is not None
        op, values = job.site.op, job.instruction.values
        if values.get("mask", True) and not values["condition"]:
            text = f"device_assert failed on {core.name}: {op.attributes['message']}, at {spell_op(op)}"
            self._findings.add(FindingKind.ASSERTION, text, op)
        self._fetch(core, now)

    # Pipes.

    def _advance(self, queue: PipeQueue, now: float) -> None:
        """Let a pipe go on with its next jobs until one takes time."""
        items, core = queue.items, queue.core
        if queue.free_at > now:
            return  # woken by a unit flag, and by time as well
        while items:
            job = items[0]
            kind = job.site.kind
            if kind is SiteKind.WAIT_FLAG:
                flag = core.flag(*flag_key(job))
                if not flag.raised:
                    flag.waiter, queue.is_active = queue, True
                    return
            elif kind is SiteKind.BARRIER and queue.done_at > now:
                queue.is_active = True
                self._at(queue.done_at, self._advance, queue)
                return
            elif job.site.unit_flag and not self._pass_unit_flag(queue, job):
                queue.is_active = True
                return
            items.popleft()
            if core.blocked_on is queue:
                core.blocked_on = None
                self._at(now, self._issue, core)
            self._know_issue(queue, job)
            if kind is SiteKind.EXECUTE:
                queue.is_active = True
                self._at(self._start(queue, job, now), self._advance, queue)
                return
            self._pass(queue, job, now)
        queue.is_active = False
        if core.blocked_on == "all pipes":
            self._at(now, self._issue, core)

    def _pass_unit_flag(self, queue: PipeQueue, job: Job) -> bool:
        """Whether the unit flag lets an instruction start; if so, its pipe learns what that tells."""
        job.accesses = job.site.facts.accesses(job.instruction)
        flags = queue.core.unit_flags
        is_mmad = queue.pipe is Pipe.M
        tiles = flags.writable(job.accesses) if is_mmad else flags.readable(job.accesses)
        if tiles is None:
            return False
        for tile in tiles:
            join(queue.clock, tile.clock)
        job.tiles = tuple(tiles)
        return True

    def _hand_over(self, queue: PipeQueue, job: Job, now: float, done: float) -> None:
        """Let the other side of the unit flag know of an instruction that starts."""
        core = queue.core
        if queue.pipe is not Pipe.M:
            self._at(done, self._empty, (core, job.tiles, queue.knowledge()))
        elif job.site.unit_flag == LAST:
            core.unit_flags.fill(job.accesses, done, queue.knowledge())
            self._at(now, self._wake, core.pipes[Pipe.FIX])

    def _empty(self, subject: tuple[SimulatedCore, Sequence[Tile], Clock], now: float) -> None:
        core, tiles, clock = subject
        for tile in tiles:
            tile.release(clock)
        self._wake(core.pipes[Pipe.M], now)

    def _wake(self, queue: PipeQueue, now: float) -> None:
        """Let a pipe that may hold at a unit flag look again."""
        if queue.items and queue.items[0].site.unit_flag and queue.free_at <= now:
            self._advance(queue, now)

    @staticmethod
    def _know_issue(queue: PipeQueue, job: Job) -> None:
        queue.index += 1
        if job.clock is not queue.joined:
            join(queue.clock, job.clock)
            queue.joined = job.clock

    def _pass(self, queue: PipeQueue, job: Job, now: float) -> None:
        """Do what takes a pipe no time: flags and barriers at the head of its queue."""
        kind, core = job.site.kind, queue.core
        if kind is SiteKind.WAIT_FLAG:
            core.flag(*flag_key(job)).take(queue.clock, queue.component, queue.index)
        elif kind is SiteKind.BARRIER:
            queue.clock[queue.component] = queue.index
        elif kind is SiteKind.SET_FLAG:
            self._set_flag(core, job, queue.knowledge(), max(now, queue.done_at))
        else:
            self._cross_set(core, job, queue.knowledge(), max(now, queue.done_at))

    def _start(self, queue: PipeQueue, job: Job, now: float) -> float:
        """Start an instruction; return when the pipe is free again."""
        cost, record = job.cost, self.record
        end, latency = now + cost.busy_cycles, cost.latency_cycles
        if self._execution is not None:
            self._execution.start(job, queue)
        elif job.site.touches_gm:
            job.accesses = job.site.facts.accesses(job.instruction)
        if job.site.touches_gm and not job.is_dead:
            for access in job.accesses:
                if access.space is Space.GM:
                    served, more = self._traffic.transfer(access, now)
                    end, latency = max(end, served), latency + more
        if self._random is not None:
            latency += self._random.random() * cost.busy_cycles
        for tile in job.tiles:
            end = max(end, tile.full_at)
        queue.free_at = end
        # Results arrive in order, whatever the latencies.
        done = queue.done_at = max(queue.done_at, end + latency)
        queue.busy_cycles += end - now
        if job.site.unit_flag:
            self._hand_over(queue, job, now, done)
        record.instructions += 1
        record.end = max(record.end, done)
        if cost.path is not None:
            record.path_bytes[cost.path] = record.path_bytes.get(cost.path, 0) + cost.bytes
        if self._execution is not None:
            self._at(done, self._finish, job)
        if self._keep_spans:
            record.spans.append(Span(queue.core.number, queue.pipe, job.site.op, now, end, done))
        return end

    def _finish(self, job: Job, now: float) -> None:
        assert self._execution is not None
        self._execution.finish(job)

    # Flags of a core.

    def _flag_exists(self, op: Op, number: int, limit: int) -> bool:
        if 0 <= number < limit:
            return True
        self._findings.add(
            FindingKind.LIMIT, f"flag {number} is outside 0 to {limit - 1}, in {spell_op(op)}", op
        )
        return False

    def _set_flag(self, core: SimulatedCore, job: Job, clock: Clock, time: float) -> None:
        key, op = flag_key(job), job.site.op
        if not self._flag_exists(op, key[2], self._target.event_ids):
            return
        flag = core.flag(*key)
        component, index = flag.last_wait
        if flag.sets > flag.waits or clock.get(component, 0) < index:
            text = (
                f"flag {spell_flag(key)} of {core.name} is set again by {spell_op(op)}; the wait that took "
            )
            text += "the set before is not ordered before it"
            self._findings.add(FindingKind.FLAG, text, op)
        flag.sets += 1
        self._at(time, self._raise, (flag, clock, op))

    def _raise(self, subject: tuple[EventFlag, Clock, Op], now: float) -> None:
        flag, clock, op = subject
        flag.raised, flag.clock, flag.last_set = True, clock, op
        waiter, flag.waiter = flag.waiter, None
        if isinstance(waiter, PipeQueue):
            self._advance(waiter, now)
        elif waiter is not None:
            self._issue(waiter, now)

    # Flags between cores.

    def _cross_set(self, core: SimulatedCore, job: Job, clock: Clock, time: float) -> None:
        op, flag = job.site.op, job.instruction.integer("flag")
        if not self._flag_exists(op, flag, self._target.flag_ids):
            return
        mode = op.attributes["mode"]
        assert isinstance(mode, int)
        meeting = self._crossing.meeting(core, flag, mode)
        self._at(time, self._arrive, (meeting, core, flag, op, clock))

    def _arrive(self, subject: tuple[Meeting, SimulatedCore, int, Op, Clock], now: float) -> None:
        meeting, core, flag, op, clock = subject
        joined = meeting.arrive(core, op, clock)
        if joined is None:
            return
        delay = self._timing.cross_core_cycles
        if self._random is not None:
            delay += self._random.random() * _JITTER_CYCLES
        for receiver in meeting.receivers:
            counter = self._crossing.counter(receiver, flag)
            if counter.may_exceed(self._target.flag_limit, joined.get(receiver.scalar_component, 0)):
                text = (
                    f"cross-core flag {flag} of {receiver.name} may count beyond {self._target.flag_limit}: "
                )
                text += f"nothing keeps {spell_op(op)} from running that far ahead of the waits"
                self._findings.add(FindingKind.FLAG, text, op)
            # Sets of one flag arrive in their order, those of different flags in any.
            time = counter.arrives_at = max(counter.arrives_at, now + delay)
            self._at(time, self._count_up, (receiver, flag, op, joined))

    def _count_up(self, subject: tuple[SimulatedCore, int, Op, Clock], now: float) -> None:
        core, flag, op, clock = subject
        counter = self._crossing.counter(core, flag)
        counter.clocks.append(clock)
        counter.last_set = op
        if core.blocked_on == f"cross-core flag {flag}":
            self._issue(core, now)
