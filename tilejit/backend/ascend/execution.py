"""What instructions do besides taking time: limits, bounds and races at the start, effects at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from tilejit.backend.ascend.grids import grid_of
from tilejit.backend.ascend.memory import (
    GlobalMemory,
    OutOfBounds,
    check_local,
    first_difference,
)
from tilejit.backend.ascend.overlaps import overlap_fault
from tilejit.backend.ascend.ownership import Buffers, Ownership
from tilejit.backend.ascend.pipes import Job, PipeQueue, SimulatedCore
from tilejit.backend.ascend.races import AccessHistory, Clock, Conflict, Record
from tilejit.backend.ascend.report import FindingKind, Findings, spell_op
from tilejit.backend.ascend.scalar_program import Scalar
from tilejit.ir.core import Op
from tilejit.ir.machine import Access, CoreState, Instruction, MachineKernel
from tilejit.ir.types import INT1, DType, PointerType
from tilejit.ops.machine.rules import FRACTAL_ROWS
from tilejit.ops.machine.sync import StoreAtomic
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Pipe, Space


class Execution:
    """Runs instructions on the memories of all cores and reports what is wrong with them."""

    def __init__(
        self,
        kernel: MachineKernel,
        gm: GlobalMemory,
        cores: Sequence[SimulatedCore],
        target: AscendTarget,
        findings: Findings,
    ) -> None:
        buffers = {kind: Buffers(function, target) for kind, function in kernel.functions.items()}
        self._owners = [Ownership(buffers[core.kind], target) for core in cores]
        self._gm = gm
        self._target = target
        self._findings = findings
        self._cores = cores
        self._gm_history = AccessHistory(lambda: [c for core in cores for c in _live_clocks(core)])
        self._histories: dict[tuple[int, Space], AccessHistory] = {}

    # Instructions of pipes.

    def start(self, job: Job, queue: PipeQueue) -> None:
        """Check an instruction that starts with its pipe's clock."""
        instruction, site = job.instruction, job.site
        job.is_dead = queue.core.kind not in site.facts.cores
        for text in site.facts.check(instruction, self._target):
            self._findings.add(FindingKind.LIMIT, f"{text}, in {spell_op(site.op)}", site.op, about=text)
            job.is_dead = True
        if job.is_dead:
            return
        job.accesses = site.facts.accesses(instruction)
        fault = overlap_fault(instruction, job.accesses) if site.pipe is Pipe.V else None
        if fault is not None:
            text = f"{fault}, in {spell_op(site.op)}"
            self._findings.add(FindingKind.LIMIT, text, site.op, about="overlap")
            job.is_dead = True
            return
        self._access(job.accesses, site.op, queue.core, queue.component, queue.index, queue.clock, job)

    def finish(self, job: Job) -> None:
        """Let an instruction act on both images of memory."""
        assert job.queue is not None and job.queue.core.memories is not None
        if job.is_dead:
            return
        memories = job.queue.core.memories
        stores = [a for a in job.accesses if a.is_write and a.space is Space.GM and not a.is_empty]
        for access in stores:
            self._gm.region_of(access.start).prepare_store()
        effect = partial(job.site.facts.execute, job.instruction)
        self._owners[job.queue.core.number].act(job.site.op, job.accesses, memories, effect)
        for access in stores:
            self._check_stored(job.site.op, access, job.queue.core)

    def _access(
        self,
        accesses: Sequence[Access],
        op: Op,
        core: SimulatedCore,
        component: int,
        index: int,
        clock: Clock,
        job: Job | None,
    ) -> bool:
        """Check bounds and races of the accesses of one instruction; return whether all are in bounds."""
        for access in accesses:
            if access.is_empty:
                continue
            try:
                if access.space is Space.GM:
                    self._gm.check(access)
                else:
                    check_local(access, self._target)
                beyond = self._owners[core.number].overreach(op, access)
                if beyond is not None:
                    raise OutOfBounds(beyond)
            except OutOfBounds as error:
                self._findings.add(FindingKind.BOUNDS, f"{error}, in {spell_op(op)} on {core.name}", op)
                if job is not None:
                    job.is_dead = True
                return False
        for access in accesses:
            grid = grid_of(access)
            if grid is None:
                continue
            is_gm = access.space is Space.GM
            history = self._gm_history if is_gm else self._history(core, access.space)
            atomic = job.instruction.state.atomic if job is not None and is_gm and access.is_write else ""
            chain = None if job is None else mmad_chain(job.instruction, access, self._target)
            record = Record(op, component, index, access.is_write, grid, atomic, chain)
            for conflict in history.add(record, clock):
                self._report(conflict, access.space)
        return True

    def _history(self, core: SimulatedCore, space: Space) -> AccessHistory:
        key = (core.number, space)
        history = self._histories.get(key)
        if history is None:
            history = self._histories[key] = AccessHistory(lambda: _live_clocks(core))
        return history

    def _report(self, conflict: Conflict, space: Space) -> None:
        earlier, later = conflict.earlier, conflict.later
        if space is Space.GM:
            region = self._gm.region_of(conflict.start)
            where = f"{conflict.end - conflict.start} bytes of gm from {region.describe(conflict.start)}"
        else:
            where = f"{space.value} bytes {conflict.start} to {conflict.end}"
        text = f"{_verb(later)} of {where} by {spell_op(later.op)} ({self._component(later)}) and "
        text += f"{_verb(earlier)} by {spell_op(earlier.op)} ({self._component(earlier)}) are not ordered"
        self._findings.add(FindingKind.RACE, text, later.op, earlier.op, about=space)

    def _component(self, record: Record) -> str:
        core = self._cores[record.component // PIPES_PER_CORE]
        return f"{core.name}, pipe {COMPONENT_PIPES[record.component % PIPES_PER_CORE].value}"

    def _check_stored(self, op: Op, access: Access, core: SimulatedCore) -> None:
        region = self._gm.region_of(access.start)
        if not region.is_argument or core.memories is None:
            return
        address = first_difference(access, core.memories)
        if address is not None:
            text = f"{region.describe(address)} gets a value that depends on memory that was never written, "
            text += f"from {spell_op(op)} on {core.name}{self._owners[core.number].hint}"
            self._findings.add(FindingKind.POISON, text, op)

    # The scalar unit's own accesses.

    def load(self, op: Op, values: Mapping[str, Scalar], core: SimulatedCore) -> Scalar:
        """The value of a scalar load; 0 where it is out of bounds."""
        assert core.memories is not None
        pointer = _pointer(op)
        access = Access(pointer.space, int(values["pointer"]), pointer.element.itemsize, False)
        if not self._access(
            (access,), op, core, core.scalar_component, core.scalar_index, core.scalar_knowledge(), None
        ):
            return 0
        first, second = (
            memory.view(access.space, access.start, access.run_bytes) for memory in core.memories
        )
        owners = self._owners[core.number]
        if not np.array_equal(first, second) or owners.foreign(op, access) is not None:
            text = f"a scalar depends on memory that was never written: {spell_op(op)} on {core.name}"
            text += owners.hint
            self._findings.add(FindingKind.POISON, text, op)
        return _number(first, pointer.element)

    def store(self, op: Op, values: Mapping[str, Scalar], core: SimulatedCore) -> None:
        """Do a scalar store."""
        assert core.memories is not None
        pointer = _pointer(op)
        access = Access(pointer.space, int(values["pointer"]), pointer.element.itemsize, True)
        if not self._access(
            (access,), op, core, core.scalar_component, core.scalar_index, core.scalar_knowledge(), None
        ):
            return
        if access.space is Space.GM:
            self._gm.region_of(access.start).prepare_store()
        data = np.array(values["value"], pointer.element.numpy).reshape(1).view(np.uint8)
        for memory in core.memories:
            memory.view(access.space, access.start, access.run_bytes)[:] = data
        self._owners[core.number].take(op, access)


def read_scalar(op: Op, values: Mapping[str, Scalar], gm: GlobalMemory) -> Scalar:
    """The value of a scalar load from an argument, unchecked: all that runs without values can know."""
    pointer = _pointer(op)
    region = gm.region_of(int(values["pointer"]))
    offset = int(values["pointer"]) - region.base
    return _number(region.first[offset : offset + pointer.element.itemsize], pointer.element)


def changed_state(state: CoreState, instruction: Instruction) -> CoreState:
    """The registers of the scalar unit after an op that sets one."""
    op = instruction.op
    change = _STATE_CHANGES[op.name]
    return change(state, instruction)


def _set_atomic(state: CoreState, instruction: Instruction) -> CoreState:
    kind, element = instruction.op.attributes["kind"], instruction.op.attributes["element"]
    assert isinstance(kind, StoreAtomic) and isinstance(element, DType)
    return replace(state, atomic="" if kind is StoreAtomic.NONE else kind.value, atomic_element=element)


_STATE_CHANGES: Mapping[str, Callable[[CoreState, Instruction], CoreState]] = {
    "set_atomic": _set_atomic,
    "set_deq_scale": lambda state, i: replace(state, deq_scale=float(i.values["scale"])),
    "set_saturation": lambda state, i: replace(state, saturates=bool(i.op.attributes["on"])),
}


def mmad_chain(instruction: Instruction, access: Access, target: AscendTarget) -> object:
    """What mmads share that the cube unit orders itself: a tile of enough fractals of results."""
    if access.space is not Space.L0C or instruction.op.name != "mmad":
        return None
    m, n = (-(-instruction.integer(name) // FRACTAL_ROWS) for name in "mn")
    return (access.start, m, n) if m * n >= target.mmad_barrier_fractals else None


COMPONENT_PIPES = (Pipe.S, Pipe.V, Pipe.M, Pipe.MTE1, Pipe.MTE2, Pipe.MTE3, Pipe.FIX)
PIPES_PER_CORE = len(COMPONENT_PIPES)


def _live_clocks(core: SimulatedCore) -> list[Clock]:
    """What each pipe that may still access memory surely knows when it does."""
    clocks = [queue.clock for pipe, queue in core.pipes.items() if pipe in core.accessing]
    if not core.is_finished and Pipe.S in core.accessing:
        clocks.append(core.clock)
    return clocks


def _verb(record: Record) -> str:
    return "a write" if record.is_write else "a read"


def _pointer(op: Op) -> PointerType:
    element = op.operand("pointer").type.element
    assert isinstance(element, PointerType)
    return element


def _number(data: np.ndarray, element: DType) -> Scalar:
    if element == INT1:
        return bool(data[0])
    value = data.view(element.numpy)[0]
    return float(value) if element.is_floating() else int(value)
