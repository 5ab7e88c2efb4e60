"""Runs a machine kernel on a simulated Ascend chip: its values, its time and what is wrong with it.

    result = simulate(kernel, {"x": x, "y": y, "n": n}, (64, 1, 1), ASCEND_910B1)
    result.check()
    print(result.microseconds)

Values and time come from one run: every core's scalar unit runs the function as a program and issues to the
queues of its pipes (``scheduler``), instructions act on memory when they are done (``execution``), and vector
clocks tell which accesses nothing orders (``races``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from tilejit.backend.ascend.execution import COMPONENT_PIPES, PIPES_PER_CORE, Execution
from tilejit.backend.ascend.memory import GlobalMemory, core_memories
from tilejit.backend.ascend.pipes import PipeQueue, SimulatedCore, Site, SiteKind, Work, site_of
from tilejit.backend.ascend.program_checks import static_faults
from tilejit.backend.ascend.report import FindingKind, Findings
from tilejit.backend.ascend.result import SimulationResult
from tilejit.backend.ascend.scalar_program import Place, Scalar, compile_program
from tilejit.backend.ascend.scheduler import Scheduler
from tilejit.backend.ascend.timeline import CorePlace, Record
from tilejit.diagnostics import InternalError, LaunchError
from tilejit.ir.core import Argument, ArgumentSource, Function, Op, Value
from tilejit.ir.machine import MachineKernel
from tilejit.ir.types import DType, PointerType
from tilejit.target.ascend import AscendTarget
from tilejit.target.ascend_timing import Path
from tilejit.target.spaces import Core, Pipe, Space

ArgumentValue = np.ndarray | int | float
Grid = tuple[int, int, int]
_LOCAL_SPACES = {
    Core.AIC: (Space.L1, Space.L0A, Space.L0B, Space.L0C, Space.BT, Space.FB),
    Core.AIV: (Space.UB,),
}
_VECTORS_PER_CORE = 2


def simulate(
    kernel: MachineKernel,
    arguments: Mapping[str, ArgumentValue],
    grid: Grid,
    target: AscendTarget,
    *,
    blocks: int | None = None,
    values: bool = True,
    seed: int = 0,
    keep_spans: bool = False,
    resident: Collection[str] = (),
    extrapolate: bool = False,
) -> SimulationResult:
    """Launch ``kernel`` on the simulated chip; arrays are changed in place as a launch would.

    ``blocks`` is how many blocks are launched: all cores of the chip, or as many as there are programs.
    Without ``values`` only time is simulated and arrays stay as they are. A ``seed`` other than 0 varies
    latencies and the delivery of cross-core flags. ``keep_spans`` keeps every instruction and its time, for
    ``trace``. ``resident``: arrays that L2 holds already.
    """
    if extrapolate and values:
        raise InternalError("only time can be extrapolated: simulate without values")
    launched = _blocks(kernel, grid, target) if blocks is None else blocks
    rng = np.random.default_rng(seed)
    arrays = {name: value for name, value in arguments.items() if isinstance(value, np.ndarray)}
    gm = GlobalMemory(arrays, kernel.workspace_bytes * launched, rng)
    findings = Findings(kernel.name)
    for problem, op in static_faults(kernel, target):
        findings.add(FindingKind.LIMIT, problem, op, about=problem)
    cores, sites = _make_cores(kernel, launched, arguments, grid, gm, target, marks_loops=extrapolate)
    execution = None
    if values:
        for core in cores:
            core.memories = core_memories(_LOCAL_SPACES[core.kind], gm, target, rng)
        execution = Execution(kernel, gm, cores, target, findings)
    scheduler = Scheduler(
        cores, sites, gm, target, findings, execution, seed, keep_spans, resident, extrapolate
    )
    scheduler.run()
    result = _result(kernel, target, cores, scheduler, findings, gm.workspace)
    scheduler.let_go()
    return result


def _result(
    kernel: MachineKernel,
    target: AscendTarget,
    cores: Sequence[SimulatedCore],
    scheduler: Scheduler,
    findings: Findings,
    workspace: int,
) -> SimulationResult:
    record: Record = scheduler.record
    return SimulationResult(
        kernel=kernel,
        target=target,
        cycles=record.end,
        busy=_pipe_cycles(cores, Work.BUSY),
        occupied=_pipe_cycles(cores, Work.OCCUPIED),
        cores=tuple(CorePlace(core.kind, core.block, core.sub_block, core.name) for core in cores),
        workspace=workspace,
        path_bytes={path: moved for path in Path if (moved := _moved(cores, path))},
        hbm_bytes=scheduler.traffic.hbm_bytes,
        l2_bytes=scheduler.traffic.l2_bytes,
        instructions=sum(core.instructions for core in cores),
        skipped_cycles=record.skipped_cycles,
        findings=findings.found,
        held={core.number: core.held_cycles for core in cores},
        issuing={core.number: _issuing(core, record.end) for core in cores},
        waits=record.waits,
        spans=tuple(record.spans),
        issued=tuple(record.issued),
        keeps_spans=scheduler.timeline.keeps_spans,
    )


def _issuing(core: SimulatedCore, end: float) -> float:
    """How long a scalar unit worked on its program."""
    return (core.finished_at if core.is_finished else end) - core.held_cycles


def _pipe_cycles(cores: Sequence[SimulatedCore], work: Work) -> dict[tuple[int, Pipe], float]:
    return {(core.number, pipe): core.tally.get((work, pipe), 0.0) for core in cores for pipe in core.pipes}


def _moved(cores: Sequence[SimulatedCore], path: Path) -> int:
    return round(sum(core.tally.get((Work.BYTES, path), 0.0) for core in cores))


def _blocks(kernel: MachineKernel, grid: Grid, target: AscendTarget) -> int:
    cores = target.cube_cores if Core.AIC in kernel.functions else target.vector_cores
    return max(1, min(cores, grid[0] * grid[1] * grid[2]))


def _make_cores(
    kernel: MachineKernel,
    blocks: int,
    arguments: Mapping[str, ArgumentValue],
    grid: Grid,
    gm: GlobalMemory,
    target: AscendTarget,
    *,
    marks_loops: bool,
) -> tuple[list[SimulatedCore], dict[Op, Site]]:
    """The cores of a launch with their programs at the start, and the sites of all ops."""
    cores: list[SimulatedCore] = []
    sites: dict[Op, Site] = {}
    for kind, function in kernel.functions.items():
        program = compile_program(function, marks_loops=marks_loops)
        passed = [_bind(v, a, arguments, grid, gm) for v, a in _described(function)]
        own = {op: site_of(op) for op in function.walk() if _is_yielded(op)}
        sites |= own
        accessing = frozenset(
            site.pipe
            for site in own.values()
            if site.kind in (SiteKind.EXECUTE, SiteKind.LOAD, SiteKind.STORE)
        )
        vectors = _VECTORS_PER_CORE if kernel.is_mixed and kind is Core.AIV else 1
        for block in range(blocks):
            workspace = gm.workspace + block * kernel.workspace_bytes
            for sub_block in range(vectors):
                number = len(cores)
                core = SimulatedCore(
                    number, kind, block, sub_block, number * PIPES_PER_CORE, accessing=accessing
                )
                place = Place(block, blocks, sub_block, workspace, grid)
                core.program = program.start(place, passed)
                for position, pipe in enumerate(COMPONENT_PIPES[1:], 1):
                    depth = target.timing.queue_depth[pipe]
                    core.pipes[pipe] = PipeQueue(pipe, core, number * PIPES_PER_CORE + position, depth)
                cores.append(core)
    return cores, sites


def _is_yielded(op: Op) -> bool:
    return op.definition.machine is not None or op.name in ("load", "store", "device_assert", "device_print")


def _described(function: Function) -> list[tuple[Value, Argument]]:
    values = function.body.arguments
    if len(values) != len(function.arguments):
        raise InternalError(f"{function.name}: {len(values)} values, {len(function.arguments)} descriptions")
    return list(zip(values, function.arguments, strict=True))


def _bind(
    value: Value,
    argument: Argument,
    arguments: Mapping[str, ArgumentValue],
    grid: Grid,
    gm: GlobalMemory,
) -> Scalar:
    """The number that a function argument has in this launch."""
    source = argument.source
    if source is ArgumentSource.GRID:
        return grid[argument.dimension]
    if source is ArgumentSource.WORKSPACE:
        return gm.workspace
    if argument.name not in arguments:
        raise LaunchError(f"argument {argument.name} is missing", f"pass a value for {argument.name}")
    given = arguments[argument.name]
    element = value.type.element
    if source is not ArgumentSource.VALUE or isinstance(element, PointerType):
        if not isinstance(given, np.ndarray):
            raise LaunchError(
                f"argument {argument.name} must be an array; got the number {given}",
                "pass a numpy array: simulated memory has no addresses of its own",
            )
        if source is ArgumentSource.SHAPE:
            return int(given.shape[argument.dimension])
        if source is ArgumentSource.STRIDE:
            return given.strides[argument.dimension] // given.itemsize
        return gm.addresses[argument.name]
    if isinstance(given, np.ndarray):
        raise LaunchError(f"argument {argument.name} must be a number; got an array", "pass one number")
    return _converted(given, element)


def _converted(given: int | float, element: DType) -> Scalar:
    with np.errstate(all="ignore"):
        if element.is_floating():
            return float(np.float32(given).astype(element.numpy)) if element.bits < 64 else float(given)
        if element.is_bool():
            return bool(given)
        wrapped = int(given) & ((1 << element.bits) - 1)
        signed = not element.is_int_unsigned() and wrapped >> (element.bits - 1)
        return wrapped - (1 << element.bits) if signed else wrapped
