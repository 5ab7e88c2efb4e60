"""What the cores of a kernel issue, for a sample of what depends on the launch.

Nothing that the scalar units do depends on the other cores or on time: so what a core issues is written down
first, as a list of steps. An instruction that is issued again is the same step; what it touches is found out
once for a kernel. An instruction with an operand that depends on the launch touches what it does for the
sample, but nothing outside the slot where it starts (the sample may break what a caller keeps to), and
nothing where an operand would be negative.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import field, replace

from tilejit.backend.ascend.execution import COMPONENT_PIPES, PIPES_PER_CORE, changed_state, mmad_chain
from tilejit.backend.ascend.grids import Grid, grid_of
from tilejit.backend.ascend.pipes import FlagKey, Job, Site, SiteKind, flag_key, site_of
from tilejit.backend.ascend.scalar_program import Place, Request, Scalar, ScalarProgram, compile_program
from tilejit.backend.ascend.verify_control import root_of
from tilejit.backend.ascend.verify_memory import Spot, SpotTable
from tilejit.backend.ascend.verify_trips import Sample, open_values
from tilejit.ir.core import Function, Op, Value
from tilejit.ir.machine import Access, CoreState, Instruction, MachineKernel
from tilejit.ir.types import DType, PointerType
from tilejit.ops.machine.buffer import BUFFER
from tilejit.records import dataclass
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Core, Pipe, Space

MOST_ISSUES = 60_000
"""Where a walk is cut off."""

_ARGUMENT_BYTES = 1 << 44
_WORKSPACE = 1 << 60
_MOST_STEPS = 20_000  # that are remembered from walk to walk
_OF_THE_SCALAR_UNIT = frozenset(
    (SiteKind.STATE, SiteKind.LOAD, SiteKind.STORE, SiteKind.CROSS_WAIT, SiteKind.ASSERT, SiteKind.PRINT)
)
_COMPONENTS = {pipe: number for number, pipe in enumerate(COMPONENT_PIPES)}


@dataclass(eq=False, slots=True)
class Step:
    """An instruction of a core with its operands: whenever it is issued, it does the same.

    ``component``: that of the pipe whose queue it goes to; -1 for what the scalar unit does itself.
    ``number`` is the same for steps that no walk can tell apart. ``event`` is the flag of a set or a wait.
    """

    job: Job
    kind: SiteKind
    component: int
    touched: tuple[Spot, ...]
    event: FlagKey | None
    number: int
    is_checked: bool = False  # its limits are


@dataclass
class _Program:
    """One function and what is known of its operands."""

    function: Function
    compiled: ScalarProgram
    sites: dict[Op, Site]
    open: set[Value]
    roots: dict[Value, Value | None] = field(default_factory=dict)
    checked: set[tuple[object, ...]] = field(default_factory=set)  # instructions whose limits are known
    touched: dict[tuple[object, ...], Sequence[tuple[Access, Grid]]] = field(default_factory=dict)

    def root(self, pointer: Value) -> Value | None:
        if pointer not in self.roots:
            self.roots[pointer] = root_of(pointer)
        return self.roots[pointer]


@dataclass(eq=False)
class CheckedCore:
    """A core of the block that is walked, and its steps so far by what they were made from."""

    number: int
    kind: Core
    sub_block: int
    program: _Program
    steps: dict[tuple[bool, CoreState], dict[tuple[object, ...], Step]] = field(default_factory=dict)


@dataclass(frozen=True)
class Walk:
    """What each core issues, in order, and the state that its scalar unit is left in."""

    steps: Sequence[Sequence[Step]]
    states: Sequence[CoreState]


class CheckedKernel:
    """A kernel made ready to be walked again and again."""

    def __init__(self, kernel: MachineKernel) -> None:
        self.is_mixed = kernel.is_mixed
        self.cores: list[CheckedCore] = []
        for kind, function in kernel.functions.items():
            sites = {op: site_of(op) for op in function.walk() if _is_yielded(op)}
            made = _Program(function, compile_program(function), sites, open_values(function))
            for sub_block in range(2 if kernel.is_mixed and kind is Core.AIV else 1):
                self.cores.append(CheckedCore(len(self.cores), kind, sub_block, made))
        self.memories: dict[tuple[int, Space], SpotTable] = {}
        self._numbers: dict[tuple[object, ...], int] = {}
        self._walked: set[tuple[tuple[int, ...], ...]] = set()

    def walk(self, sample: Sample, target: AscendTarget, *, compares_arguments: bool) -> Walk:
        """What the cores issue for a sample; ``compares_arguments``: what touches arguments has spots."""
        if len(self._numbers) > _MOST_STEPS:
            self._forget()
        for memory in self.memories.values():
            memory.forget()
        found = [self._walk_core(core, sample, target, compares_arguments) for core in self.cores]
        return Walk([steps for steps, _ in found], [state for _, state in found])

    def is_new(self, walk: Walk) -> bool:
        """Whether no walk so far was like this one."""
        known = len(self._walked)
        self._walked.add(tuple(tuple([step.number for step in steps]) for steps in walk.steps))
        return len(self._walked) > known

    def _forget(self) -> None:
        self.memories.clear()
        self._numbers.clear()
        self._walked.clear()
        for core in self.cores:
            core.steps.clear()

    def _walk_core(
        self, core: CheckedCore, sample: Sample, target: AscendTarget, compares_arguments: bool
    ) -> tuple[list[Step], CoreState]:
        program, state, sent = self._start(core, sample), CoreState(), None
        known = core.steps.setdefault((compares_arguments, state), {})
        steps: list[Step] = []
        while len(steps) <= MOST_ISSUES:
            try:
                op, _, values = program.send(sent)
            except StopIteration:
                break
            sent, issued = None, (op, *values.values())
            step = known.get(issued)
            if step is None:
                job = Job(core.program.sites[op], Instruction(op, values, state))
                step = known[issued] = self._step(core, job, target, compares_arguments)
            steps.append(step)
            if step.kind is SiteKind.LOAD:
                sent = sample.loaded(op.result.type.element, int(values["pointer"]))
            elif step.kind is SiteKind.STATE:
                state = changed_state(state, step.job.instruction)
                known = core.steps.setdefault((compares_arguments, state), {})
        return steps, state

    def _start(self, core: CheckedCore, sample: Sample) -> Generator[Request, Scalar | None, None]:
        passed: list[Scalar] = []
        function = core.program.function
        for position, value in enumerate(function.body.arguments):
            element = value.type.element
            if isinstance(element, PointerType):
                passed.append((position + 1) * _ARGUMENT_BYTES)
            else:
                passed.append(sample.of_argument(function.arguments[position], element))
        place = Place(0, 1, core.sub_block, _WORKSPACE, (sample.programs, 1, 1))
        return core.program.compiled.start(place, passed)

    def _step(self, core: CheckedCore, job: Job, target: AscendTarget, compares_arguments: bool) -> Step:
        """What is to be known of an instruction."""
        instruction, kind, op = job.instruction, job.site.kind, job.site.op
        is_event = kind in (SiteKind.SET_FLAG, SiteKind.WAIT_FLAG)
        event = flag_key(job) if is_event else None
        flag = instruction.integer("flag") if kind in (SiteKind.CROSS_SET, SiteKind.CROSS_WAIT) else None
        touched: list[Spot] = []
        is_queued = kind not in _OF_THE_SCALAR_UNIT and job.site.pipe not in (Pipe.S, Pipe.ALL)
        queue = core.number * PIPES_PER_CORE + _COMPONENTS[job.site.pipe] if is_queued else -1
        if kind in (SiteKind.EXECUTE, SiteKind.LOAD, SiteKind.STORE):
            component = core.number * PIPES_PER_CORE + _COMPONENTS[job.site.pipe]
            for access, grid in _touched(job, core.program, compares_arguments):
                is_gm = access.space is Space.GM
                memory = self._memory(-1 if is_gm else core.number, access.space)
                atomic = instruction.state.atomic if is_gm and access.is_write else ""
                chain = mmad_chain(instruction, access, target)
                touched.append(memory.spot(op, component, access.is_write, grid, atomic, chain))
        made_of = (op, instruction.state, event, flag, *touched)
        number = self._numbers.setdefault(made_of, len(self._numbers))
        return Step(job, kind, queue, tuple(touched), event, number)

    def _memory(self, number: int, space: Space) -> SpotTable:
        memory = self.memories.get((number, space))
        if memory is None:
            memory = self.memories[number, space] = SpotTable(space)
        return memory


def _touched(job: Job, program: _Program, compares_arguments: bool) -> Sequence[tuple[Access, Grid]]:
    """The bytes that an instruction touches; the same on both AIVs."""
    issued = (job.site.op, compares_arguments, job.instruction.state, *job.instruction.values.values())
    touched = program.touched.get(issued)
    if touched is None:
        found = [
            (access, grid_of(access))
            for access in _accesses(job, program)
            if compares_arguments or not _is_argument(access)
        ]
        touched = program.touched[issued] = [(access, grid) for access, grid in found if grid is not None]
    return touched


def _accesses(job: Job, program: _Program) -> Iterator[Access]:
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
        if not is_flagged:
            yield access


def _is_argument(access: Access) -> bool:
    return access.space is Space.GM and access.start < _WORKSPACE


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
