"""Emit the LLVM module of a loop plan.

The module defines ``NAME.programs(args, first, last, grid_x, grid_y, grid_z, scratch)``, which runs the
programs first to last - 1 of a grid, the x axis fastest. ``args`` points to one 8-byte slot per function
argument; ``scratch`` to memory of the thread, aligned to 64.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llvmlite import ir

from tilejit.backend.cpu.accesses import prepare_store
from tilejit.backend.cpu.elementwise import emit_elementwise
from tilejit.backend.cpu.emit_atomic import emit_atomic, emit_atomic_tile
from tilejit.backend.cpu.emit_nest import emit_nest, emit_scan
from tilejit.backend.cpu.emit_report import emit_report
from tilejit.backend.cpu.evaluate import Evaluator
from tilejit.backend.cpu.late_stores import LateStores
from tilejit.backend.cpu.scope import DUMMY_BYTES, START, Scope
from tilejit.backend.cpu.streaming import can_stream, emit_fence
from tilejit.backend.cpu.trip_count import emit_trip_count
from tilejit.backend.cpu.values import I1, I32, I64, POINTER, TargetModule, llvm_element
from tilejit.backend.cpu.whole_tiles import is_whole_tile
from tilejit.diagnostics import InternalError
from tilejit.ir.core import Op, Value
from tilejit.ir.loop_plan import (
    Ahead,
    AtomicStep,
    CopyStep,
    DotStep,
    ForStep,
    IfStep,
    LoopPlan,
    MaskedStep,
    Nest,
    PrintStep,
    ScalarStep,
    ScanStep,
    Step,
    WhileStep,
    nested_steps,
)
from tilejit.ir.types import DType
from tilejit.ops import control, memory, reduce, shape
from tilejit.options import DEFAULT_OPTIONS, CompileOptions
from tilejit.records import dataclass
from tilejit.target.cpu import CpuTarget

if TYPE_CHECKING:
    from tilejit.backend.cpu.emit_dots import DotEmitter

I8 = ir.IntType(8)


@dataclass(frozen=True)
class EmittedProgram:
    """The module of a plan, and how much scratch memory its programs need."""

    module: ir.Module
    scratch_bytes: int


def emit(plan: LoopPlan, target: CpuTarget, chosen: CompileOptions = DEFAULT_OPTIONS) -> EmittedProgram:
    """Emit a plan for a target."""
    emitter = _ProgramEmitter(TargetModule(plan.function.name, target), plan, target, chosen)
    emitter.emit()
    scratch_bytes = plan.scratch_bytes if emitter.dots is None else emitter.dots.space.most_bytes
    return EmittedProgram(emitter.function.module, scratch_bytes)


class _ProgramEmitter:
    def __init__(self, module: ir.Module, plan: LoopPlan, target: CpuTarget, chosen: CompileOptions) -> None:
        self.plan = plan
        self.target = target
        self.chosen = chosen
        signature = ir.FunctionType(ir.VoidType(), [POINTER, I64, I64, I32, I32, I32, POINTER])
        self.function = ir.Function(module, signature, f"{plan.function.name}.programs")
        for argument, name in zip(
            self.function.args,
            ("args", "first", "last", "grid_x", "grid_y", "grid_z", "scratch"),
            strict=True,
        ):
            argument.name = name

    def emit(self) -> None:
        args, first, last, *grid, scratch = self.function.args
        entry = ir.IRBuilder(self.function.append_basic_block("entry"))
        dummy = entry.alloca(ir.ArrayType(I8, DUMMY_BYTES), name="dummy")
        dummy.align = DUMMY_BYTES
        scalars = self._load_arguments(entry, args)
        program = self.function.append_basic_block("program")
        done = self.function.append_basic_block("end")
        entry.cbranch(entry.icmp_signed("<", first, last), program, done)
        builder = ir.IRBuilder(program)
        linear = builder.phi(I64, "linear")
        linear.add_incoming(first, entry.block)
        late = self._late_stores(builder)
        self.scope = Scope(
            self.plan,
            self.target,
            self.chosen.enable_fp_fusion,
            scratch,
            dummy,
            scalars,
            self._grid(builder, linear, grid),
            [builder],
            late=late,
        )
        self.dots = self._dot_emitter()
        if _fetches(self.plan.steps, Ahead.PROGRAM, Ahead.TRIP_OR_PROGRAM):
            self.scope.ahead[Ahead.PROGRAM] = self._next_ids(builder, linear, last, grid)
        if late is not None:
            following = builder.add(linear, ir.Constant(I64, 1))
            late.begin(entry.block, builder.icmp_signed("<", following, last))
        self.steps(self.plan.steps)
        if late is not None:
            late.hand_on(self.scope)
        following = builder.add(linear, ir.Constant(I64, 1))
        linear.add_incoming(following, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, last), program, done)
        ending = ir.IRBuilder(done)
        emit_fence(ending, self.plan, self.target)
        begin = ir.IRBuilder()
        begin.position_before(self.function.entry_basic_block.terminator)
        if self.dots is not None:
            self.dots.enclose(begin, ending)
        ending.ret_void()

    def _late_stores(self, builder: ir.IRBuilder) -> LateStores | None:
        """What goes from program to program of stores; None where nothing does."""
        nests = [step for step in self.plan.steps if isinstance(step, Nest)]
        host = next((nest for nest in nests if nest.stores_for is not None), None)
        if host is None or host.stores_for is None or not can_stream(self.target):
            return None
        return LateStores(builder, host, host.stores_for)

    def _dot_emitter(self) -> DotEmitter | None:
        """What emits the dots of the program; None where it has none."""
        if not any(op.name == reduce.DOT.name for op in self.plan.function.walk()):
            return None
        # A third of the emitters, which most kernels do without.
        from tilejit.backend.cpu.emit_dots import DotEmitter  # noqa: PLC0415

        return DotEmitter(self.plan, self.target, self.chosen, self.scope)

    def _load_arguments(self, builder: ir.IRBuilder, args: ir.Value) -> dict[Value, ir.Value]:
        scalars: dict[Value, ir.Value] = {}
        for number, value in enumerate(self.plan.function.body.arguments):
            slot = builder.gep(args, [ir.Constant(I64, number)], source_etype=I64)
            element = value.type.element
            if isinstance(element, DType) and element.is_bool():
                scalars[value] = builder.icmp_unsigned("!=", builder.load(slot, typ=I64), ir.Constant(I64, 0))
            else:
                scalars[value] = builder.load(slot, typ=llvm_element(element), name=value.name)
        return scalars

    def _grid(
        self, builder: ir.IRBuilder, linear: ir.Value, grid: Sequence[ir.Value]
    ) -> dict[str, tuple[ir.Value, ...]]:
        wide = [builder.zext(size, I64) for size in grid[:2]]
        rest = builder.udiv(linear, wide[0])
        ids = [builder.urem(linear, wide[0]), builder.urem(rest, wide[1]), builder.udiv(rest, wide[1])]
        return {
            control.PROGRAM_ID.name: tuple(builder.trunc(number, I32) for number in ids),
            control.NUM_PROGRAMS.name: tuple(grid),
        }

    def _next_ids(
        self, builder: ir.IRBuilder, linear: ir.Value, last: ir.Value, grid: Sequence[ir.Value]
    ) -> dict[Value, ir.Value]:
        """The ids of the program that this thread runs next; its own after the last."""
        following = builder.add(linear, ir.Constant(I64, 1))
        is_last = builder.icmp_signed(">=", following, last)
        ids = self._grid(builder, builder.select(is_last, linear, following), grid)[control.PROGRAM_ID.name]
        found: dict[Value, ir.Value] = {}
        for op in self.plan.function.walk():
            if op.name == control.PROGRAM_ID.name:
                axis = op.attributes["axis"]
                assert isinstance(axis, int)
                found[op.result] = ids[axis]
        return found

    @property
    def builder(self) -> ir.IRBuilder:
        return self.scope.builders[0]

    def steps(self, steps: Sequence[Step]) -> None:
        for step in steps:
            self.step(step)

    def step(self, step: Step) -> None:
        match step:
            case Nest():
                emit_nest(self.scope, step)
            case ScalarStep(op=op):
                self.scalar(op)
            case DotStep():
                assert self.dots is not None  # there is a dot
                self.dots.emit(step)
            case ScanStep():
                emit_scan(self.scope, step)
            case AtomicStep():
                emit_atomic_tile(self.scope, step)
            case PrintStep(op=op):
                emit_report(self.scope, op)
            case CopyStep():
                self.copy(step)
            case ForStep():
                self.for_loop(step)
            case WhileStep():
                self.while_loop(step)
            case IfStep():
                self.branch(step)
            case MaskedStep():
                self.masked(step)

    def value(self, value: Value) -> ir.Value:
        return Evaluator(self.scope).scalar(value)

    # Scalars

    def scalar(self, op: Op) -> None:
        """Compute an op whose operands and results are scalars, or a scalar view of a one-element tile."""
        scalars = self.scope.scalars
        if op.definition.is_elementwise:
            scalars[op.result] = emit_elementwise(
                self.scope.context(0), op, [self.value(v) for v in op.operands]
            )
        elif op.name in self.scope.grid:
            axis = op.attributes["axis"]
            assert isinstance(axis, int)
            scalars[op.result] = self.scope.grid[op.name][axis]
        elif op.name == memory.LOAD.name:
            scalars[op.result] = Evaluator(self.scope).load_scalar(op)
        elif op.name == memory.STORE.name:
            prepare_store(Evaluator(self.scope), op, ())()
        elif op.name in (memory.ATOMIC_RMW.name, memory.ATOMIC_CAS.name):
            scalars[op.result] = emit_atomic(self.scope, op, ())
        elif op.name in (shape.RESHAPE.name, shape.BROADCAST.name, shape.TRANSPOSE.name):
            source = op.operands[0]
            scalars[op.result] = Evaluator(self.scope).at(source, (START,) * source.type.rank).value
        elif op.name == shape.SPLAT.name:
            scalars[op.result] = self.value(op.operands[0])
        elif op.name == shape.SPLIT.name:
            for result in op.results:
                scalars[result] = Evaluator(self.scope).split_scalar(op, result)
        else:
            raise InternalError(f"{op.name} on scalars has no emitter", op.location)

    # Copies

    def copy(self, step: CopyStep) -> None:
        builder = self.builder
        pointers = [
            builder.gep(self.scope.scratch, [ir.Constant(I64, b.offset_bytes)], source_etype=I8)
            for b in (step.target, step.source)
        ]
        function = builder.module.declare_intrinsic("llvm.memcpy", [POINTER, POINTER, I64])
        builder.call(function, [*pointers, ir.Constant(I64, step.source.size_bytes), ir.Constant(I1, 0)])

    # Control flow

    def for_loop(self, step: ForStep) -> None:
        op, region = step.op, step.op.regions[0]
        lower, upper, stride = (self.value(op.operand(name)) for name in ("lower", "upper", "step"))
        trips = emit_trip_count(self.builder, op, lower, upper, stride)
        before = self.builder
        header, body, after = (
            self.function.append_basic_block(name) for name in ("for", "for.body", "for.end")
        )
        starts = [
            None if b else self.value(v) for v, b in zip(op.operand_list("inits"), step.carried, strict=True)
        ]
        if self.dots is not None:
            self.dots.prepare(step)
        entry = before.block
        before.branch(header)
        before.position_at_end(header)
        trip = before.phi(I64, "trip")
        position = before.phi(lower.type, region.arguments[0].name)
        trip.add_incoming(ir.Constant(I64, 0), entry)
        position.add_incoming(lower, entry)
        phis = self._enter(before, region.arguments[1:], op.results, starts, entry)
        self.scope.scalars[region.arguments[0]] = position
        before.cbranch(before.icmp_unsigned("<", trip, trips), body, after)
        before.position_at_end(body)
        following = before.add(trip, ir.Constant(I64, 1))
        is_last = before.icmp_unsigned(">=", following, trips)
        # Past the last trip there is none: what is fetched for it is what this trip reads.
        next_index = before.select(is_last, position, before.add(position, stride))
        if self.dots is not None:
            self.dots.enter(region.arguments[0], next_index, is_last)
        self.scope.ahead[Ahead.TRIP] = {region.arguments[0]: next_index}
        if _fetches(step.body, Ahead.TRIP_OR_PROGRAM):
            ids = self._ids_after_trip(before, is_last)
            index = before.select(is_last, lower, before.add(position, stride))
            self.scope.ahead[Ahead.TRIP_OR_PROGRAM] = {**ids, region.arguments[0]: index}
        self.steps(step.body)
        if self.dots is not None:
            self.dots.leave()
        trip.add_incoming(following, before.block)
        position.add_incoming(before.add(position, stride), before.block)
        self._yield(before, phis, region.terminator.operands)
        before.branch(header)
        before.position_at_end(after)

    def _ids_after_trip(self, builder: ir.IRBuilder, is_last: ir.Value) -> dict[Value, ir.Value]:
        """The ids of the program that runs the next trip: after the last one it is the next program."""
        return {
            value: builder.select(is_last, following, self.scope.scalars[value])
            for value, following in self.scope.ahead[Ahead.PROGRAM].items()
            if value in self.scope.scalars
        }

    def _enter(
        self,
        builder: ir.IRBuilder,
        arguments: Sequence[Value],
        results: Sequence[Value],
        starts: Sequence[ir.Value | None],
        entry: ir.Block,
    ) -> list[ir.Value | None]:
        phis: list[ir.Value | None] = []
        for argument, result, start in zip(arguments, results, starts, strict=True):
            if start is None:
                phis.append(None)
                continue
            phi = builder.phi(start.type, argument.name)
            phi.add_incoming(start, entry)
            self.scope.scalars[argument] = phi
            self.scope.scalars[result] = phi
            phis.append(phi)
        return phis

    def _yield(self, builder: ir.IRBuilder, phis: Sequence[ir.Value | None], values: Sequence[Value]) -> None:
        for phi, value in zip(phis, values, strict=True):
            if phi is not None:
                phi.add_incoming(self.value(value), builder.block)

    def while_loop(self, step: WhileStep) -> None:
        op = step.op
        condition_region, body_region = op.regions
        builder = self.builder
        header, body, after = (
            self.function.append_basic_block(n) for n in ("while", "while.body", "while.end")
        )
        starts = [
            None if b else self.value(v) for v, b in zip(op.operand_list("inits"), step.carried, strict=True)
        ]
        entry = builder.block
        builder.branch(header)
        builder.position_at_end(header)
        phis = self._enter(builder, condition_region.arguments, op.results, starts, entry)
        for argument, phi in zip(body_region.arguments, phis, strict=True):
            if phi is not None:
                self.scope.scalars[argument] = phi
        self.steps(step.condition)
        builder.cbranch(self.value(condition_region.terminator.operands[0]), body, after)
        builder.position_at_end(body)
        self.steps(step.body)
        self._yield(builder, phis, body_region.terminator.operands)
        builder.branch(header)
        builder.position_at_end(after)

    def masked(self, step: MaskedStep) -> None:
        """Find out whether the tiles are whole, and go the way that is for them."""
        builder = self.builder
        is_whole = functools.reduce(
            builder.and_,
            (is_whole_tile(Evaluator(self.scope), tile) for tile in step.tiles.values()),
        )
        blocks = [self.function.append_basic_block(name) for name in ("whole", "cut", "endmasked")]
        builder.cbranch(is_whole, *blocks[:2])
        for block, steps in zip(blocks, (step.whole_steps, step.cut_steps), strict=False):
            builder.position_at_end(block)
            self.steps(steps)
            builder.branch(blocks[2])
        builder.position_at_end(blocks[2])

    def branch(self, step: IfStep) -> None:
        builder = self.builder
        sides = [self.function.append_basic_block(name) for name in ("then", "else")]
        after = self.function.append_basic_block("endif")
        builder.cbranch(self.value(step.op.operand("condition")), *sides)
        incoming: list[tuple[list[ir.Value | None], ir.Block]] = []
        for block, steps, region in zip(
            sides, (step.then_steps, step.else_steps), step.op.regions, strict=True
        ):
            builder.position_at_end(block)
            self.steps(steps)
            values = [
                None if b else self.value(v)
                for v, b in zip(region.terminator.operands, step.results, strict=True)
            ]
            incoming.append((values, builder.block))
            builder.branch(after)
        builder.position_at_end(after)
        for number, result in enumerate(step.op.results):
            if step.results[number] is not None:
                continue
            phi = builder.phi(llvm_element(result.type.element), result.name)
            for values, block in incoming:
                phi.add_incoming(values[number], block)
            self.scope.scalars[result] = phi


def _fetches(steps: Sequence[Step], *ahead: Ahead) -> bool:
    """Whether nests among ``steps``, or inside them, fetch rows of one of these kinds."""
    return any(
        any(fetch.ahead in ahead for fetch in step.fetches)
        if isinstance(step, Nest)
        else any(_fetches(nested, *ahead) for nested in nested_steps(step))
        for step in steps
    )
