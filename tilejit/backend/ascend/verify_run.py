"""Runs a machine kernel without values and without time: only what is ordered, and which limits are kept.

Each core issues its program in order to the queues of its pipes; a pipe goes on as long as the flag it waits
for is raised. Vector clocks then judge every timing at once. What depends on the launch has a sample value:
an instruction with such an operand touches what it does for that value, but nothing outside the slot where
it starts (the sample may break what a caller keeps to), and nothing where an operand would be negative;
limits of these operands are not checked.

A run that would issue more than ``_MOST_ISSUES`` instructions is cut off there: loops with constant bounds
run as often as they say, and what they do wrong shows early.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field, replace
from functools import partial

from tilejit.backend.ascend.crossing import CrossFlags
from tilejit.backend.ascend.execution import COMPONENT_PIPES, PIPES_PER_CORE, changed_state, mmad_chain
from tilejit.backend.ascend.grids import Grid, grid_of
from tilejit.backend.ascend.leftovers import report_leftovers
from tilejit.backend.ascend.overlaps import overlap_fault
from tilejit.backend.ascend.pipes import (
    Job,
    PipeQueue,
    SimulatedCore,
    Site,
    SiteKind,
    flag_key,
    site_of,
    spell_flag,
)
from tilejit.backend.ascend.races import AccessHistory, Clock, Conflict, Record, join
from tilejit.backend.ascend.report import FindingKind, Findings, spell_op
from tilejit.backend.ascend.scalar_program import Place, Scalar, ScalarProgram, compile_program
from tilejit.backend.ascend.verify_control import root_of
from tilejit.backend.ascend.verify_trips import Sample, open_values
from tilejit.ir.core import Function, Op, Value
from tilejit.ir.machine import Access, Instruction, MachineKernel
from tilejit.ir.types import DType, PointerType
from tilejit.ops.machine.buffer import BUFFER
from tilejit.records import dataclass
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Core, Pipe, Space

_ARGUMENT_BYTES = 1 << 44
_WORKSPACE = 1 << 60
_MOST_ISSUES = 60_000


@dataclass
class _Program:
    """One function and what is known of its operands."""

    function: Function
    compiled: ScalarProgram
    sites: dict[Op, Site]
    open: set[Value]
    roots: dict[Value, Value | None] = field(default_factory=dict)
    checked: set[tuple[object, ...]] = field(default_factory=set)  # instructions whose limits are known
    touched: dict[tuple[object, ...], Sequence[tuple[Access, Grid, object]]] = field(default_factory=dict)

    def root(self, pointer: Value) -> Value | None:
        if pointer not in self.roots:
            self.roots[pointer] = root_of(pointer)
        return self.roots[pointer]


class CheckedKernel:
    """A kernel made ready to be run again and again."""

    def __init__(self, kernel: MachineKernel) -> None:
        self.is_mixed = kernel.is_mixed
        self.programs: dict[Core, _Program] = {}
        for kind, function in kernel.functions.items():
            sites = {op: site_of(op) for op in function.walk() if _is_yielded(op)}
            made = compile_program(function)
            self.programs[kind] = _Program(function, made, sites, open_values(function))


def run_abstractly(
    kernel: CheckedKernel,
    sample: Sample,
    target: AscendTarget,
    findings: Findings,
    *,
    compares_arguments: bool = False,
) -> None:
    """Run one block of ``kernel`` and add what is wrong to ``findings``.

    ``compares_arguments``: accesses to arguments race as others do, which is right within one program.
    """
    _Run(kernel, sample, target, findings, compares_arguments).run()


class _Run:
    """All cores of one block."""

    def __init__(
        self,
        kernel: CheckedKernel,
        sample: Sample,
        target: AscendTarget,
        findings: Findings,
        compares_arguments: bool,
    ) -> None:
        self.compares_arguments = compares_arguments
        self.target = target
        self.findings = findings
        self.sample = sample
        self.programs = kernel.programs
        self.cores: list[SimulatedCore] = []
        for kind, program in self.programs.items():
            for sub_block in range(2 if kernel.is_mixed and kind is Core.AIV else 1):
                self._add_core(kind, program, sub_block)
        self.crossing = CrossFlags(self.cores)
        self.issues = 0
        self.histories: dict[tuple[int, Space], AccessHistory] = {}

    def _add_core(self, kind: Core, program: _Program, sub_block: int) -> None:
        number = len(self.cores)
        core = SimulatedCore(number, kind, 0, sub_block, number * PIPES_PER_CORE, frozenset(Pipe))
        for position, pipe in enumerate(COMPONENT_PIPES[1:], 1):
            core.pipes[pipe] = PipeQueue(
                pipe, core, number * PIPES_PER_CORE + position, self.target.timing.queue_depth[pipe]
            )
        passed: list[Scalar] = []
        function = program.function
        for position, value in enumerate(function.body.arguments):
            element = value.type.element
            if isinstance(element, PointerType):
                passed.append((position + 1) * _ARGUMENT_BYTES)
            else:
                passed.append(self.sample.of_argument(function.arguments[position], element))
        place = Place(0, 1, sub_block, _WORKSPACE, (self.sample.programs, 1, 1))
        core.program = program.compiled.start(place, passed)
        self.cores.append(core)

    def run(self) -> None:
        """Let every core go on as far as it can until all are done or none moves."""
        for core in self.cores:
            self._fetch(core, None)
        is_moving = True
        while is_moving:
            is_moving = False
            for core in self.cores:
                while core.pending is not None and self._issue(core):
                    is_moving = True
                    self._advance(core)
                    if self.issues > _MOST_ISSUES:
                        return
        report_leftovers(self.cores, self.crossing, self.findings)

    def _fetch(self, core: SimulatedCore, sent: Scalar | None) -> None:
        assert core.program is not None
        self.issues += 1
        try:
            op, _, values = core.program.send(sent)
        except StopIteration:
            core.is_finished, core.pending = True, None
            return
        core.pending = Job(self.programs[core.kind].sites[op], Instruction(op, values, core.state))

    # The scalar unit.

    def _issue(self, core: SimulatedCore) -> bool:
        """Issue what is pending; False where it must wait."""
        job = core.pending
        assert job is not None
        kind, sent = job.site.kind, None
        if kind is SiteKind.STATE:
            core.state = changed_state(core.state, job.instruction)
        elif kind in (SiteKind.LOAD, SiteKind.STORE):
            core.scalar_index += 1
            self._touch(job, core, core.scalar_component, core.scalar_index, core.scalar_knowledge())
            if kind is SiteKind.LOAD:
                sent = self.sample.of(job.site.op.result.type.element)
        elif kind is SiteKind.CROSS_WAIT:
            if not self._cross_wait(core, job):
                return False
        elif job.site.pipe is Pipe.S and kind is SiteKind.WAIT_FLAG:
            if not self._scalar_wait(core, job):
                return False
        elif job.site.pipe is Pipe.S and kind is SiteKind.SET_FLAG:
            core.scalar_index += 1
            self._set_flag(core, job, core.scalar_knowledge())
        elif kind is SiteKind.BARRIER and job.site.pipe is Pipe.ALL:
            if not self._stop_all(core):
                return False
        elif kind not in (SiteKind.ASSERT, SiteKind.PRINT):
            job.queue, job.clock = core.pipes[job.site.pipe], core.clock
            job.queue.items.append(job)
        core.blocked_on = None
        self._fetch(core, sent)
        return True

    def _scalar_wait(self, core: SimulatedCore, job: Job) -> bool:
        flag = core.flag(flag_key(job))
        core.blocked_on = "a flag"
        if not flag.raised:
            return False
        core.issue_waits += 1
        clock = dict(core.clock)
        flag.take(clock, core.wait_component, core.issue_waits)
        clock[core.wait_component] = core.issue_waits
        core.clock = clock
        return True

    def _cross_wait(self, core: SimulatedCore, job: Job) -> bool:
        number = job.instruction.integer("flag")
        core.blocked_on = f"cross-core flag {number}"
        if not self._exists(job.site.op, number, self.target.flag_ids):
            return True
        counter = self.crossing.counter(core, number)
        if not counter.clocks:
            return False
        core.issue_waits += 1
        clock = dict(core.clock)
        counter.take(clock, core.issue_waits)
        clock[core.wait_component] = core.issue_waits
        core.clock = clock
        return True

    def _stop_all(self, core: SimulatedCore) -> bool:
        core.blocked_on = "all pipes"
        if any(queue.items for queue in core.pipes.values()):
            return False
        clock = core.scalar_knowledge()
        for queue in core.pipes.values():
            join(clock, queue.knowledge())
        core.clock = clock
        return True

    # The pipes.

    def _advance(self, core: SimulatedCore) -> None:
        """Let all pipes of a core go on until each is empty or waits for a flag."""
        is_moving = True
        while is_moving:
            is_moving = False
            for queue in core.pipes.values():
                while queue.items and self._step(core, queue, queue.items[0]):
                    queue.items.popleft()
                    is_moving = True

    def _step(self, core: SimulatedCore, queue: PipeQueue, job: Job) -> bool:
        kind = job.site.kind
        if kind is SiteKind.WAIT_FLAG and not core.flag(flag_key(job)).raised:
            return False
        queue.index += 1
        join(queue.clock, job.clock)
        if kind is SiteKind.WAIT_FLAG:
            core.flag(flag_key(job)).take(queue.clock, queue.component, queue.index)
        elif kind is SiteKind.BARRIER:
            queue.clock[queue.component] = queue.index
        elif kind is SiteKind.SET_FLAG:
            self._set_flag(core, job, queue.knowledge())
        elif kind is SiteKind.CROSS_SET:
            self._cross_set(core, job, queue.knowledge())
        else:
            self._check_limits(job)
            self._touch(job, core, queue.component, queue.index, queue.clock)
        return True

    def _exists(self, op: Op, number: int, limit: int) -> bool:
        if 0 <= number < limit:
            return True
        self.findings.add(FindingKind.LIMIT, f"flag {number} is outside 0 to {limit - 1}: {spell_op(op)}", op)
        return False

    def _set_flag(self, core: SimulatedCore, job: Job, clock: Clock) -> None:
        key, op = flag_key(job), job.site.op
        if not self._exists(op, key[2], self.target.event_ids):
            return
        flag = core.flag(key)
        component, index = flag.last_wait
        if flag.raised or clock.get(component, 0) < index:
            text = f"flag {spell_flag(key)} of {core.name} is set again by {spell_op(op)}; the wait that "
            self.findings.add(FindingKind.FLAG, text + "took the set before is not ordered before it", op)
        flag.sets += 1
        flag.raised, flag.clock, flag.last_set = True, clock, op

    def _cross_set(self, core: SimulatedCore, job: Job, clock: Clock) -> None:
        op, number = job.site.op, job.instruction.integer("flag")
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

    def _check_limits(self, job: Job) -> None:
        op, program = job.site.op, self._program_of(job)
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

    def _program_of(self, job: Job) -> _Program:
        return next(program for program in self.programs.values() if job.site.op in program.sites)

    def _touch(self, job: Job, core: SimulatedCore, component: int, index: int, clock: Clock) -> None:
        for access, grid, chain in self._grids(job, self.programs[core.kind]):
            is_gm = access.space is Space.GM
            key = (-1 if is_gm else core.number, access.space)
            history = self.histories.get(key)
            if history is None:
                cores = self.cores if is_gm else [core]
                history = self.histories[key] = AccessHistory(partial(_live_clocks, cores))
            atomic = job.instruction.state.atomic if is_gm and access.is_write else ""
            record = Record(job.site.op, component, index, access.is_write, grid, atomic, chain)
            for conflict in history.add(record, clock):
                self._report(conflict, access.space)

    def _grids(self, job: Job, program: _Program) -> Sequence[tuple[Access, Grid, object]]:
        """What an instruction touches, with its chain of mmads; the same whenever it is issued."""
        issued = (
            job.site.op,
            self.compares_arguments,
            job.instruction.state,
            *job.instruction.values.values(),
        )
        touched = program.touched.get(issued)
        if touched is None:
            found = [(access, grid_of(access)) for access in self._accesses(job, program)]
            touched = program.touched[issued] = [
                (access, grid, mmad_chain(job.instruction, access, self.target))
                for access, grid in found
                if grid is not None
            ]
        return touched

    def _report(self, conflict: Conflict, space: Space) -> None:
        earlier, later = conflict.earlier, conflict.later
        text = f"{space.value} bytes {conflict.start} to {conflict.end}: {spell_op(later.op)} and "
        text += f"{spell_op(earlier.op)} are not ordered"
        self.findings.add(FindingKind.RACE, text, later.op, earlier.op, about=space)

    def _accesses(self, job: Job, program: _Program) -> Iterator[Access]:
        op = job.site.op
        if job.site.kind in (SiteKind.LOAD, SiteKind.STORE):
            element, is_write = _pointer_type(op.operand("pointer")), job.site.kind is SiteKind.STORE
            start = job.instruction.integer("pointer")
            touched = [Access(element.space, start, element.element.itemsize, is_write)]
            names = {"pointer": is_write}
        else:
            facts = job.site.facts
            touched = list(facts.accesses(job.instruction)) if _is_plausible(job.instruction) else []
            names = dict.fromkeys(facts.reads, False) | dict.fromkeys(facts.writes, True)
        if any(value in program.open for value in op.operands):
            slots = [program.root(value) for name in names for value in op.operand_list(name)]
            touched = [clipped for access in touched for clipped in _within_a_slot(access, slots)]
        for access in touched:
            is_flagged = access.space is Space.L0C and job.site.unit_flag
            if not is_flagged and (self.compares_arguments or not self._is_argument(access)):
                yield access

    @staticmethod
    def _is_argument(access: Access) -> bool:
        return access.space is Space.GM and access.start < _WORKSPACE


def _live_clocks(cores: Sequence[SimulatedCore]) -> list[Clock]:
    """What each pipe and each scalar unit knows, and so whatever they access later."""
    clocks = [queue.clock for core in cores for queue in core.pipes.values()]
    return clocks + [core.clock for core in cores if not core.is_finished]


def _is_yielded(op: Op) -> bool:
    return op.definition.machine is not None or op.name in _OTHERS_YIELDED


_OTHERS_YIELDED = ("load", "store", "device_assert", "device_print")


def _is_plausible(instruction: Instruction) -> bool:
    return all(value >= 0 for value in instruction.values.values() if isinstance(value, int))


def _pointer_type(value: Value) -> PointerType:
    element = value.type.element
    assert isinstance(element, PointerType)
    return element


def _within_a_slot(access: Access, roots: Sequence[Value | None]) -> Iterator[Access]:
    """An access cut off at the end of the slot that it starts in; whole where it is no buffer's."""
    if access.space is Space.GM and access.start < _WORKSPACE:
        yield access
        return
    for root in roots:
        buffer = root.defining_op if root is not None else None
        if buffer is None or buffer.name != BUFFER.name or buffer.attributes["space"] is not access.space:
            continue
        attributes = buffer.attributes
        start, slot_bytes, slots = attributes["address"], attributes["slot_bytes"], attributes["slots"]
        element, elements = attributes["element"], attributes["elements"]
        assert isinstance(start, int) and isinstance(slot_bytes, int) and isinstance(slots, int)
        assert isinstance(element, DType) and isinstance(elements, int)
        start += _WORKSPACE if access.space is Space.GM else 0
        step, size = max(slot_bytes, 1), elements * element.itemsize
        number = (access.start - start) // step if slots > 1 else 0
        end = start + number * step + size
        if 0 <= number < slots and start <= access.start < end:
            yield _cut_off(access, end)
            return


def _cut_off(access: Access, end: int) -> Access:
    """The part of an access below ``end``: whole rows of the outermost dimension, where one of them fits."""
    if access.end <= end:
        return access
    if access.dims and access.dims[0][1] > 0:
        (_, stride), inner = access.dims[0], replace(access, dims=access.dims[1:])
        rows = (end - inner.end) // stride + 1
        return replace(access, dims=((rows, stride), *inner.dims)) if rows > 0 else _cut_off(inner, end)
    return Access(access.space, access.start, end - access.start, access.is_write)
