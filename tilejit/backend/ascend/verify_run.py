"""Walks a machine kernel without values and without time: only what is ordered, and which limits are kept.

Each core issues its steps (``verify_steps``) in order to the queues of its pipes; a pipe goes on as long as
the flag it waits for is raised. Vector clocks then judge every timing at once. Limits of operands that depend
on the launch are not checked.

A walk that would issue more than ``MOST_ISSUES`` instructions is cut off there: loops with constant bounds
run as often as they say, and what they do wrong shows early. A walk that is like an earlier one is left out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from tilejit.backend.ascend.crossing import CrossFlags
from tilejit.backend.ascend.execution import COMPONENT_PIPES, PIPES_PER_CORE
from tilejit.backend.ascend.leftovers import report_leftovers
from tilejit.backend.ascend.overlaps import overlap_fault
from tilejit.backend.ascend.pipes import EventFlag, PipeQueue, SimulatedCore, SiteKind, spell_flag
from tilejit.backend.ascend.races import Clock, Conflict, join
from tilejit.backend.ascend.report import FindingKind, Findings, spell_op
from tilejit.backend.ascend.verify_steps import MOST_ISSUES, CheckedKernel, Step, Walk
from tilejit.backend.ascend.verify_trips import Sample
from tilejit.diagnostics import KernelError
from tilejit.ir.core import Op
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Pipe, Space


def run_abstractly(
    kernel: CheckedKernel,
    sample: Sample,
    target: AscendTarget,
    findings: Findings,
    *,
    compares_arguments: bool = False,
) -> None:
    """Walk one block of ``kernel`` and add what is wrong to ``findings``.

    ``compares_arguments``: accesses to arguments race as others do, which is right within one program.
    """
    try:
        walk = kernel.walk(sample, target, compares_arguments=compares_arguments)
    except KernelError:
        return  # nobody launches a kernel so: the step of a loop is 0
    run = _Run(kernel, walk, target, findings)
    if kernel.is_new(walk):
        run.run()
    else:
        run.check_limits()


class _Run:
    """All cores of one block."""

    def __init__(self, kernel: CheckedKernel, walk: Walk, target: AscendTarget, findings: Findings) -> None:
        self.kernel = kernel
        self.walk = walk
        self.target = target
        self.findings = findings
        self.cores: list[SimulatedCore] = []
        self.waiting: list[deque[tuple[Step, Clock]]] = []  # by component
        self.queues: list[PipeQueue | None] = []  # by component, too; the scalar unit has none
        for core in kernel.cores:
            self._add_core(
                core.number,
                SimulatedCore(
                    core.number, core.kind, 0, core.sub_block, core.number * PIPES_PER_CORE, frozenset(Pipe)
                ),
            )
        self.crossing = CrossFlags(self.cores)

    def _add_core(self, number: int, core: SimulatedCore) -> None:
        for position, pipe in enumerate(COMPONENT_PIPES):
            self.waiting.append(deque())
            self.queues.append(None)
            if position:
                depth = self.target.timing.queue_depth[pipe]
                queue = PipeQueue(pipe, core, core.scalar_component + position, depth)
                core.pipes[pipe] = self.queues[-1] = queue
        core.state = self.walk.states[number]
        self.cores.append(core)

    def run(self) -> None:
        """Let every core go on as far as it can until all are done or none moves."""
        places, issues, is_moving = [0] * len(self.cores), 0, True
        while is_moving:
            is_moving = False
            for core in self.cores:
                steps, first = self.walk.steps[core.number], places[core.number]
                place = first
                while place < len(steps) and self._issue(core, steps[place]):
                    place += 1
                    if issues + place - first > MOST_ISSUES:
                        return
                issues += place - first
                is_moving |= place > first
                places[core.number] = place
        self._leave(places)
        report_leftovers(self.cores, self.crossing, self.findings)

    def _leave(self, places: Sequence[int]) -> None:
        """Note how far cores and pipes have come."""
        for core in self.cores:
            steps, place = self.walk.steps[core.number], places[core.number]
            core.is_finished = place == len(steps)
            core.pending = None if core.is_finished else steps[place].job
            for queue in core.pipes.values():
                queue.items.extend(step.job for step, _ in self.waiting[queue.component])

    # The scalar unit.

    def _issue(self, core: SimulatedCore, step: Step) -> bool:
        """Issue a step; False where it must wait."""
        if step.component < 0:
            return self._execute(core, step)
        queue, waiting = self.queues[step.component], self.waiting[step.component]
        assert queue is not None
        if waiting or not self._step(core, queue, step, core.clock):
            waiting.append((step, core.clock))
        return True

    def _execute(self, core: SimulatedCore, step: Step) -> bool:
        """Let the scalar unit do a step; False where it must wait."""
        kind = step.kind
        if kind is SiteKind.LOAD or kind is SiteKind.STORE:
            core.scalar_index += 1
            if step.touched:
                self._touch(step, core.scalar_index, core.scalar_knowledge())
        elif kind is SiteKind.CROSS_WAIT:
            return self._cross_wait(core, step)
        elif kind is SiteKind.WAIT_FLAG:
            return self._scalar_wait(core, step)
        elif kind is SiteKind.SET_FLAG:
            core.scalar_index += 1
            self._set_flag(core, step, core.scalar_knowledge())
        elif kind is SiteKind.BARRIER:
            return self._stop_all(core)
        return True

    def _scalar_wait(self, core: SimulatedCore, step: Step) -> bool:
        flag = _flag(core, step)
        if not flag.raised:
            core.blocked_on = "a flag"
            return False
        core.issue_waits += 1
        clock = dict(core.clock)
        flag.take(clock, core.wait_component, core.issue_waits)
        clock[core.wait_component] = core.issue_waits
        core.clock = clock
        return True

    def _cross_wait(self, core: SimulatedCore, step: Step) -> bool:
        number = step.job.instruction.integer("flag")
        if not self._exists(step.job.site.op, number, self.target.flag_ids):
            return True
        counter = self.crossing.counter(core, number)
        if not counter.clocks:
            core.blocked_on = f"cross-core flag {number}"
            return False
        core.issue_waits += 1
        clock = dict(core.clock)
        counter.take(clock, core.issue_waits)
        clock[core.wait_component] = core.issue_waits
        core.clock = clock
        return True

    def _stop_all(self, core: SimulatedCore) -> bool:
        if any(self.waiting[queue.component] for queue in core.pipes.values()):
            core.blocked_on = "all pipes"
            return False
        clock = core.scalar_knowledge()
        for queue in core.pipes.values():
            join(clock, queue.knowledge())
        core.clock = clock
        return True

    # The pipes.

    def _resume(self, core: SimulatedCore, queue: PipeQueue) -> None:
        """Let a pipe go on until it is done or waits for a flag."""
        waiting = self.waiting[queue.component]
        while waiting and self._step(core, queue, *waiting[0]):
            waiting.popleft()

    def _step(self, core: SimulatedCore, queue: PipeQueue, step: Step, issued: Clock) -> bool:
        """Let a pipe do a step that was issued with a clock; False where it must wait for a flag."""
        kind = step.kind
        if kind is SiteKind.WAIT_FLAG:
            flag = _flag(core, step)
            if not flag.raised:
                flag.waiter = queue
                return False
        queue.index += 1
        if queue.joined is not issued:
            join(queue.clock, issued)
            queue.joined = issued
        if kind is SiteKind.EXECUTE:
            if not step.is_checked:
                self._check_limits(core, step)
            self._touch(step, queue.index, queue.clock)
        elif kind is SiteKind.WAIT_FLAG:
            flag.take(queue.clock, queue.component, queue.index)
        elif kind is SiteKind.SET_FLAG:
            self._set_flag(core, step, queue.knowledge())
        elif kind is SiteKind.BARRIER:
            queue.clock[queue.component] = queue.index
        else:
            self._cross_set(core, step, queue.knowledge())
        return True

    def _exists(self, op: Op, number: int, limit: int) -> bool:
        if 0 <= number < limit:
            return True
        self.findings.add(FindingKind.LIMIT, f"flag {number} is outside 0 to {limit - 1}: {spell_op(op)}", op)
        return False

    def _set_flag(self, core: SimulatedCore, step: Step, clock: Clock) -> None:
        key, op = step.event, step.job.site.op
        assert key is not None
        if not self._exists(op, key[2], self.target.event_ids):
            return
        flag = _flag(core, step)
        component, index = flag.last_wait
        if flag.raised or clock.get(component, 0) < index:
            text = f"flag {spell_flag(key)} of {core.name} is set again by {spell_op(op)}; the wait that "
            self.findings.add(FindingKind.FLAG, text + "took the set before is not ordered before it", op)
        flag.sets += 1
        flag.raised, flag.clock, flag.last_set = True, clock, op
        waiter, flag.waiter = flag.waiter, None
        if isinstance(waiter, PipeQueue):
            self._resume(core, waiter)

    def _cross_set(self, core: SimulatedCore, step: Step, clock: Clock) -> None:
        op, number = step.job.site.op, step.job.instruction.integer("flag")
        if not self._exists(op, number, self.target.flag_ids):
            return
        mode = op.attributes["mode"]
        assert isinstance(mode, int)
        meeting = self.crossing.meeting(core, number, mode)
        joined = meeting.arrive(core, op, clock)
        if joined is None:
            return
        for receiver in meeting.receivers:
            counter = self.crossing.counter(receiver, number)
            if counter.may_exceed(self.target.flag_limit, joined.get(receiver.wait_component, 0)):
                text = (
                    f"cross-core flag {number} of {receiver.name} may count beyond {self.target.flag_limit}: "
                )
                text += f"nothing keeps {spell_op(op)} from running that far ahead of the waits"
                self.findings.add(FindingKind.FLAG, text, op)
            counter.clocks.append(joined)
            counter.last_set = op

    # Memory and limits.

    def check_limits(self) -> None:
        """Check what is new in a walk that is not made."""
        for core, steps in zip(self.cores, self.walk.steps, strict=True):
            for step in steps:
                if step.kind is SiteKind.EXECUTE and not step.is_checked:
                    self._check_limits(core, step)

    def _check_limits(self, core: SimulatedCore, step: Step) -> None:
        step.is_checked = True
        job, program = step.job, self.kernel.cores[core.number].program
        op = job.site.op
        issued = (op, job.instruction.state, *job.instruction.values.values())
        if issued in program.checked:
            return
        program.checked.add(issued)
        unknown = {
            name for name, values in op.named_operands().items() if any(v in program.open for v in values)
        }
        for text in job.site.facts.check(job.instruction, self.target):
            if unknown and (text.partition(" of ")[0] in unknown or " of " not in text):
                continue
            self.findings.add(FindingKind.LIMIT, f"{text}, in {spell_op(op)}", op, about=text)
        if job.site.pipe is Pipe.V and not unknown:
            fault = overlap_fault(job.instruction, job.site.facts.accesses(job.instruction))
            if fault is not None:
                self.findings.add(FindingKind.LIMIT, f"{fault}, in {spell_op(op)}", op, about="overlap")

    def _touch(self, step: Step, index: int, clock: Clock) -> None:
        op = step.job.site.op
        for spot in step.touched:
            for conflict in spot.touch(op, index, clock):
                self._report(conflict, spot.space)

    def _report(self, conflict: Conflict, space: Space) -> None:
        earlier, later = conflict.earlier, conflict.later
        text = f"{space.value} bytes {conflict.start} to {conflict.end}: {spell_op(later.op)} and "
        text += f"{spell_op(earlier.op)} are not ordered"
        self.findings.add(FindingKind.RACE, text, later.op, earlier.op, about=space)


def _flag(core: SimulatedCore, step: Step) -> EventFlag:
    assert step.event is not None
    return core.flag(step.event)
