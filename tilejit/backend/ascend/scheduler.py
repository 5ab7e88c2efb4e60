"""The pipes of all cores: each takes its jobs in order, flags and barriers included, and passes time.

The scalar units (``issue``) fill the queues, flags travel by ``signals``, and all of it happens in the order
of one ``timeline``, since L2 and HBM are shared.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence

from tilejit.backend.ascend.crossing import CrossFlags
from tilejit.backend.ascend.execution import Execution
from tilejit.backend.ascend.issue import ALL_PIPES, ScalarUnits
from tilejit.backend.ascend.leftovers import report_leftovers
from tilejit.backend.ascend.memory import GlobalMemory
from tilejit.backend.ascend.pipes import Job, PipeQueue, SimulatedCore, Site, SiteKind, Work, flag_key
from tilejit.backend.ascend.races import Clock, join
from tilejit.backend.ascend.report import Findings
from tilejit.backend.ascend.signals import Signals
from tilejit.backend.ascend.steady_state import SteadyState
from tilejit.backend.ascend.timeline import Record, Span, Timeline
from tilejit.backend.ascend.traffic import Traffic
from tilejit.backend.ascend.unit_flags import LAST, Tile
from tilejit.ir.core import Op
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Pipe, Space

_NOTHING: Clock = {}


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
        resident: Collection[str],
        extrapolates: bool,
    ) -> None:
        self._cores = cores
        self._findings = findings
        self._execution = execution
        self._random = random.Random(seed) if seed else None
        self.traffic = Traffic(gm, target, resident)
        self._crossing = CrossFlags(cores)
        self.timeline = Timeline(keeps_spans=keep_spans)
        self._signals = Signals(
            self.timeline, self._crossing, target, findings, self._random, has_clocks=execution is not None
        )
        self._signals.wakes = self
        self.units = ScalarUnits(
            sites, self.timeline, self._signals, self._crossing, gm, target, findings, execution
        )
        if extrapolates:
            self.units.steady = SteadyState(
                cores, sites, self.timeline, self._crossing, self.traffic, self.units.next_request
            )
        self.units.pipes = self

    @property
    def record(self) -> Record:
        return self.timeline.record

    def run(self) -> None:
        """Run until nothing happens any more, then look for what is left over."""
        for core in self._cores:
            self.units.fetch(core, 0.0)
        self.timeline.run()
        report_leftovers(self._cores, self._crossing, self._findings)

    def let_go(self) -> None:
        """Forget what refers back to its owner, so that megabytes of memories go with the last reference."""
        for core in self._cores:
            core.let_go()
        del self._signals.wakes, self.units.pipes
        self.units.steady = None

    def resume(self, core: SimulatedCore, now: float) -> None:
        """Let a scalar unit go on."""
        self.units.resume(core, now)

    def advance(self, queue: PipeQueue, now: float) -> None:
        """Let a pipe go on with its next jobs until one takes time."""
        items, core = queue.items, queue.core
        if queue.free_at > now:
            return  # woken by a unit flag, and by time as well
        while items:
            job = items[0]
            kind = job.site.kind
            if kind is SiteKind.WAIT_FLAG:
                flag = core.flag(flag_key(job))
                if not flag.raised:
                    flag.waiter = queue
                    self._hold(queue, now)
                    return
            elif kind is SiteKind.BARRIER and queue.done_at > now:
                self._hold(queue, now)
                self.timeline.at(queue.done_at, self.advance, queue, core.block)
                return
            elif job.site.unit_flag and not self._pass_unit_flag(queue, job):
                self._hold(queue, now)
                return
            items.popleft()
            if core.blocked_on is queue:
                core.blocked_on = None
                self.timeline.at(now, self.units.resume, core, core.block)
            if queue.held_since is not None:
                self._end_hold(queue, job, now)
            queue.index += 1
            if self._execution is not None:
                self._know_issue(queue, job)
            if kind is SiteKind.EXECUTE:
                queue.is_active = True
                self.timeline.at(self._start(queue, job, now), self.advance, queue, core.block)
                return
            self._pass(queue, job, now)
        queue.is_active = False
        if core.blocked_on == ALL_PIPES:
            core.blocked_on = None
            self.timeline.at(now, self.units.resume, core, core.block)

    @staticmethod
    def _hold(queue: PipeQueue, now: float) -> None:
        queue.is_active = True
        if queue.held_since is None:
            queue.held_since = now

    def _end_hold(self, queue: PipeQueue, job: Job, now: float) -> None:
        assert queue.held_since is not None
        self.timeline.hold(queue.core.number, queue.pipe, job.site.op, queue.held_since, now)
        queue.held_since = None

    @staticmethod
    def _know_issue(queue: PipeQueue, job: Job) -> None:
        if job.clock is not queue.joined:
            join(queue.clock, job.clock)
            queue.joined = job.clock

    def _pass(self, queue: PipeQueue, job: Job, now: float) -> None:
        """Do what takes a pipe no time: flags and barriers at the head of its queue."""
        kind, core = job.site.kind, queue.core
        if kind is SiteKind.WAIT_FLAG:
            core.flag(flag_key(job)).take(queue.clock, queue.component, queue.index)
        elif kind is SiteKind.BARRIER:
            queue.clock[queue.component] = queue.index
        elif kind is SiteKind.SET_FLAG:
            self._signals.set_flag(core, job, self._knowledge(queue), max(now, queue.done_at))
        else:
            self._signals.cross_set(core, job, self._knowledge(queue), max(now, queue.done_at))

    def _knowledge(self, queue: PipeQueue) -> Clock:
        """What waits for all work of a pipe learn: where only time counts, nothing."""
        return queue.knowledge() if self._execution is not None else _NOTHING

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
                    served, more = self.traffic.transfer(access, now)
                    end, latency = max(end, served), latency + more
        if self._random is not None:
            latency += self._random.random() * cost.busy_cycles
        for tile in job.tiles:
            end = max(end, tile.full_at)
        queue.free_at = end
        # Results arrive in order, whatever the latencies.
        before = queue.done_at
        done = queue.done_at = max(before, end + latency)
        tally = queue.core.tally
        tally[Work.BUSY, queue.pipe] += end - now
        tally[Work.OCCUPIED, queue.pipe] += done - max(now, before)
        queue.core.instructions += 1
        if job.site.unit_flag:
            self._hand_over(queue, job, now, done)
        record.end = max(record.end, done)
        if cost.path is not None:
            tally[Work.BYTES, cost.path] += cost.bytes
        if self._execution is not None:
            self.timeline.at(done, self._finish, job, queue.core.block)
        if self.timeline.keeps_spans:
            record.spans.append(Span(queue.core.number, queue.pipe, job.site.op, now, end, done))
        return end

    def _finish(self, job: Job, now: float) -> None:
        assert self._execution is not None
        self._execution.finish(job)

    # Unit flags.

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
        if not is_mmad:
            job.tiles = tuple(tiles)
        return True

    def _hand_over(self, queue: PipeQueue, job: Job, now: float, done: float) -> None:
        """Let the other side of the unit flag know of an instruction that starts."""
        core = queue.core
        if queue.pipe is not Pipe.M:
            self.timeline.at(done, self._empty, (core, job.tiles, self._knowledge(queue)), core.block)
        elif job.site.unit_flag == LAST:
            core.unit_flags.fill(job.accesses, done, self._knowledge(queue))
            self.timeline.at(now, self._wake, core.pipes[Pipe.FIX], core.block)

    def _empty(self, subject: tuple[SimulatedCore, Sequence[Tile], Clock], now: float) -> None:
        core, tiles, clock = subject
        for tile in tiles:
            tile.release(clock)
        self._wake(core.pipes[Pipe.M], now)

    def _wake(self, queue: PipeQueue, now: float) -> None:
        """Let a pipe that may hold at a unit flag look again."""
        if queue.items and queue.items[0].site.unit_flag:
            self.advance(queue, now)
