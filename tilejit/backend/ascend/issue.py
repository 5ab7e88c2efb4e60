"""The scalar units: each runs its program in order and issues to the queues of its pipes.

A full queue, a wait of the scalar unit, a cross-core wait and a barrier of all pipes stop issue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from tilejit.backend.ascend.costs import Cost, CostRule
from tilejit.backend.ascend.crossing import CrossFlags
from tilejit.backend.ascend.execution import Execution, changed_state, read_scalar
from tilejit.backend.ascend.memory import GlobalMemory
from tilejit.backend.ascend.pipes import Job, PipeQueue, SimulatedCore, Site, SiteKind, flag_key
from tilejit.backend.ascend.races import join
from tilejit.backend.ascend.report import FindingKind, Findings, spell_op
from tilejit.backend.ascend.scalar_program import Request, Scalar, is_mark
from tilejit.backend.ascend.signals import Signals
from tilejit.backend.ascend.timeline import Timeline
from tilejit.diagnostics import KernelError
from tilejit.ir.core import Op
from tilejit.ir.machine import Instruction
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Pipe, Space

ALL_PIPES = "all pipes"


class LoopWatcher(Protocol):
    """Who wants to know of iterations."""

    def mark(self, core: SimulatedCore, op: Op, left: int, now: float) -> None: ...


class Pipes(Protocol):
    """Who takes what is issued."""

    def advance(self, queue: PipeQueue, now: float) -> None: ...


class ScalarUnits:
    """The scalar units of all cores."""

    def __init__(
        self,
        sites: Mapping[Op, Site],
        timeline: Timeline,
        signals: Signals,
        crossing: CrossFlags,
        gm: GlobalMemory,
        target: AscendTarget,
        findings: Findings,
        execution: Execution | None,
    ) -> None:
        self._sites = sites
        self._timeline = timeline
        self._signals = signals
        self._crossing = crossing
        self._gm = gm
        self._target = target
        self._timing = target.timing
        self._findings = findings
        self._execution = execution
        self._costs: dict[tuple[Site | Scalar, ...], Cost] = {}
        self.pipes: Pipes
        self.steady: LoopWatcher | None = None

    def fetch(self, core: SimulatedCore, now: float) -> None:
        """Run the program to the next op that it yields; the op issues when the scalar ops are done."""
        if core.held_since is not None:
            self._end_hold(core, now)
        request = self.next_request(core)
        while request is not None and self.steady is not None and is_mark(request):
            self.steady.mark(core, request[0], int(request[2]["left"]), now)
            request = self.next_request(core)
        if request is None:
            core.is_finished, core.pending, core.finished_at = True, None, now
            self._timeline.record.end = max(self._timeline.record.end, now)
            return
        op, scalar_ops, values = request
        core.issued += 1
        site = self._sites[op]
        time = now + scalar_ops * self._timing.scalar_op_cycles
        job = core.pending = Job(site, Instruction(op, values, core.state), clock=core.clock)
        if self._timeline.keeps_spans:
            self._timeline.record.issued.append((core.number, job.instruction))
        if site.cost is not None:
            job.cost = self._cost(site, site.cost, job.instruction)
            time += job.cost.issue_cycles
        self._timeline.at(time, self.resume, core, core.block)

    def _cost(self, site: Site, rule: CostRule, instruction: Instruction) -> Cost:
        """What an instruction costs; inside a core its operands come again and again."""
        if site.touches_gm:
            return rule(instruction, self._target)
        key = (site, *instruction.values.values())
        price = self._costs.get(key)
        if price is None:
            price = self._costs[key] = rule(instruction, self._target)
        return price

    def next_request(self, core: SimulatedCore) -> Request | None:
        """What a core's program yields next; None at its end."""
        if core.ahead:
            return core.ahead.popleft()
        assert core.program is not None
        try:
            request = core.program.send(core.answer)
        except StopIteration:
            return None
        core.answer = None if self.steady is None else self.foresee(request)
        return request

    def foresee(self, request: Request) -> Scalar | None:
        """What a program gets for an op, where no values are simulated."""
        op, _, values = request
        if op.name != "load":
            return None
        if not values.get("mask", True):
            return values.get("other", 0)
        space = op.operand("pointer").type.element.space  # type: ignore[union-attr]
        if space is Space.GM:
            return read_scalar(op, values, self._gm)
        raise KernelError(
            f"without values, nobody knows what {spell_op(op)} reads from {space.value}",
            op.location,
            "simulate with values",
        )

    def resume(self, core: SimulatedCore, now: float) -> None:
        """Issue what is pending, or try again."""
        job = core.pending
        assert job is not None
        core.blocked_on = None
        _RULES[job.site.kind](self, core, job, now)

    def _hold(self, core: SimulatedCore, reason: PipeQueue | str, now: float) -> None:
        core.blocked_on = reason
        if core.held_since is None:
            core.held_since = now

    def _end_hold(self, core: SimulatedCore, now: float) -> None:
        assert core.held_since is not None and core.pending is not None
        core.held_cycles += now - core.held_since
        self._timeline.hold(core.number, Pipe.S, core.pending.site.op, core.held_since, now)
        core.held_since = None

    def _to_pipe(self, core: SimulatedCore, job: Job, now: float) -> None:
        queue = core.pipes[job.site.pipe]
        if len(queue.items) >= queue.depth:
            self._hold(core, queue, now)
            return
        job.queue, job.clock = queue, core.clock
        queue.items.append(job)
        if not queue.is_active:
            self.pipes.advance(queue, now)
        self.fetch(core, now)

    def _set(self, core: SimulatedCore, job: Job, now: float) -> None:
        if job.site.pipe is not Pipe.S:
            self._to_pipe(core, job, now)
            return
        core.scalar_index += 1
        self._signals.set_flag(core, job, core.scalar_knowledge(), now)
        self.fetch(core, now)

    def _wait(self, core: SimulatedCore, job: Job, now: float) -> None:
        if job.site.pipe is not Pipe.S:
            self._to_pipe(core, job, now)
            return
        flag = core.flag(flag_key(job))
        if not flag.raised:
            flag.waiter = core
            self._hold(core, "a flag", now)
            return
        core.issue_waits += 1
        clock = dict(core.clock)
        flag.take(clock, core.wait_component, core.issue_waits)
        clock[core.wait_component] = core.issue_waits
        core.clock = clock
        self.fetch(core, now)

    def _barrier(self, core: SimulatedCore, job: Job, now: float) -> None:
        if job.site.pipe is not Pipe.ALL:
            self._to_pipe(core, job, now)
            return
        queues = core.pipes.values()
        if any(queue.is_active or queue.items for queue in queues):
            self._hold(core, ALL_PIPES, now)
            return
        idle_at = max(queue.done_at for queue in queues)
        if idle_at > now:
            self._hold(core, ALL_PIPES, now)
            self._timeline.at(idle_at, self.resume, core, core.block)
            return
        clock = core.scalar_knowledge()
        for queue in queues:
            join(clock, queue.knowledge())
        core.clock = clock
        self.fetch(core, now)

    def _cross_wait(self, core: SimulatedCore, job: Job, now: float) -> None:
        flag = job.instruction.integer("flag")
        if not self._signals.exists(job.site.op, flag, self._target.flag_ids):
            self.fetch(core, now)
            return
        counter = self._crossing.counter(core, flag)
        if not counter.clocks:
            self._hold(core, f"cross-core flag {flag}", now)
            return
        core.issue_waits += 1
        clock = dict(core.clock)
        counter.take(clock, core.issue_waits)
        clock[core.wait_component] = core.issue_waits
        core.clock = clock
        self.fetch(core, now)

    def _state(self, core: SimulatedCore, job: Job, now: float) -> None:
        core.state = changed_state(core.state, job.instruction)
        self.fetch(core, now)

    def _load(self, core: SimulatedCore, job: Job, now: float) -> None:
        op, values = job.site.op, job.instruction.values
        core.scalar_index += 1
        if self.steady is None:  # else the answer was foreseen
            is_active = bool(values.get("mask", True))
            core.answer = (
                self._execution.load(op, values, core)
                if self._execution is not None and is_active
                else self.foresee((op, 0, values))
            )
        if not values.get("mask", True):
            self.fetch(core, now)
            return
        space = job.instruction.space("pointer")
        line = job.instruction.integer("pointer") // self._timing.scalar_line_bytes
        hit = space is not Space.GM or line in core.cached_lines
        core.cached_lines.add(line)
        cycles = self._timing.scalar_hit_cycles if hit else self._timing.scalar_load_cycles
        self.fetch(core, now + cycles)

    def _store(self, core: SimulatedCore, job: Job, now: float) -> None:
        core.scalar_index += 1
        values = job.instruction.values
        if self._execution is not None and values.get("mask", True):
            self._execution.store(job.site.op, values, core)
        self.fetch(core, now + self._timing.scalar_hit_cycles)

    def _assert(self, core: SimulatedCore, job: Job, now: float) -> None:
        op, values = job.site.op, job.instruction.values
        if values.get("mask", True) and not values["condition"]:
            text = f"device_assert failed on {core.name}: {op.attributes['message']}, at {spell_op(op)}"
            self._findings.add(FindingKind.ASSERTION, text, op)
        self.fetch(core, now)


_RULES: Mapping[SiteKind, Callable[[ScalarUnits, SimulatedCore, Job, float], None]] = {
    SiteKind.EXECUTE: ScalarUnits._to_pipe,
    SiteKind.SET_FLAG: ScalarUnits._set,
    SiteKind.WAIT_FLAG: ScalarUnits._wait,
    SiteKind.BARRIER: ScalarUnits._barrier,
    SiteKind.CROSS_SET: ScalarUnits._to_pipe,
    SiteKind.CROSS_WAIT: ScalarUnits._cross_wait,
    SiteKind.STATE: ScalarUnits._state,
    SiteKind.LOAD: ScalarUnits._load,
    SiteKind.STORE: ScalarUnits._store,
    SiteKind.ASSERT: ScalarUnits._assert,
    SiteKind.PRINT: lambda units, core, job, now: units.fetch(core, now),
}
"""What a scalar unit does with a job of each kind."""
