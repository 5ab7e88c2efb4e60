"""Emit the dots of a program: where their operands lie, what is prepared before loops, what is fetched."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from tilejit.backend.cpu.dot import PackedMatrix, emit_dot, emit_packed_matrix, plan_for
from tilejit.backend.cpu.dot_amx import enclose_tiles
from tilejit.backend.cpu.dot_plan import DotPlan, casts_for_dots
from tilejit.backend.cpu.dot_shape import DotShape
from tilejit.backend.cpu.dot_split import (
    emit_prepared_rows,
    emit_split_dot,
    prepared_bytes,
    preparing_scratch_bytes,
    split_scratch_bytes,
)
from tilejit.backend.cpu.evaluate import Evaluator, NextTripEvaluator
from tilejit.backend.cpu.fetch import FetchTile
from tilejit.backend.cpu.loops import index
from tilejit.backend.cpu.nest_loops import loop
from tilejit.backend.cpu.operand import Operand, advance
from tilejit.backend.cpu.scope import START, Scope
from tilejit.backend.cpu.split_plan import SplitPlan, plan_split_dot
from tilejit.backend.cpu.values import I8, I64
from tilejit.backend.cpu.whole_tiles import emit_stride
from tilejit.backend.cpu.work_space import WorkSpace
from tilejit.diagnostics import InternalError
from tilejit.ir.core import Op, Value
from tilejit.ir.loop_plan import Buffer, DotOperand, DotStep, ForStep, LoopPlan, Stride, carried_by, dots_of
from tilejit.ir.types import DType, product
from tilejit.ops import InputPrecision
from tilejit.options import CompileOptions
from tilejit.records import dataclass
from tilejit.target.cpu import CpuTarget

_MOST_PREPARED_BYTES = 256 * 1024
"""What is prepared once for a loop, which it shares the second-level cache with."""
_MOST_ROWS = 64
"""Rows of a dot up to which its right operand is packed before a loop: more of them use a panel so often that
packing it each time costs less than fetching it from the second-level cache.
"""


@dataclass(frozen=True)
class _OpenLoop:
    """A loop whose body is emitted: its index, that of the next trip, whether this trip is the last."""

    index: Value
    following: ir.Value
    is_last: ir.Value


@dataclass(frozen=True)
class _Kept:
    """An operand prepared before a loop, for a plan. Units: ``size_bytes`` of one matrix of a batch."""

    plan: SplitPlan | DotPlan
    place: ir.Value
    size_bytes: int

    def at(self, builder: ir.IRBuilder, number: ir.Value | int) -> ir.Value:
        """Where a matrix of the batch is."""
        return advance(builder, self.place, builder.mul(index(number), index(self.size_bytes)), 1)


@dataclass(frozen=True)
class _Prepared:
    """What was prepared when a loop began: the ops that have operands, and what they take of scratch."""

    mark: int
    ops: frozenset[Op]


class DotEmitter:
    """Emits the dots of one program.

    ``target`` has no dot units where these are switched off.
    """

    def __init__(self, plan: LoopPlan, target: CpuTarget, chosen: CompileOptions, scope: Scope) -> None:
        self._plan = plan
        self.target = target if chosen.enables("dot_units") else target.without_dot_units()
        self._chosen = chosen
        self._scope = scope
        self._kept: dict[Op, _Kept] = {}
        self.space = WorkSpace(scope.scratch, plan.scratch_bytes)
        self._loops: list[_OpenLoop] = []
        self._before: list[_Prepared] = []  # for each open loop, the outermost first
        scope.casts_for_dots = casts_for_dots(plan, self.target)

    def enter(self, index_: Value, following: ir.Value, is_last: ir.Value) -> None:
        """From here on dots are in the body of a loop."""
        self._loops.append(_OpenLoop(index_, following, is_last))

    def leave(self) -> None:
        """The body of the innermost loop ends: what was prepared for it is forgotten."""
        self._loops.pop()
        before = self._before.pop()
        self.space.release(before.mark)
        self._kept = {op: kept for op, kept in self._kept.items() if op in before.ops}

    def enclose(self, begin: ir.IRBuilder, end: ir.IRBuilder) -> None:
        """Make tiles ready at the beginning of the function and free them at its end, where it uses them."""
        enclose_tiles(begin, end, self._scope.callbacks)

    def emit(self, step: DotStep) -> None:
        shape, batch = _shape_of(step)
        tile = self._fetch(step)

        def one(number: ir.Value | int) -> None:
            builder = self._scope.builder
            part = tile if tile is None or batch == 1 else tile.share(builder, index(number), batch)
            self._multiply(step, shape, part, number)

        self._each(batch, one)

    def _each(self, batch: int, one: Callable[[ir.Value | int], None]) -> None:
        """Emit ``one`` for every matrix of a batch."""
        if batch == 1:
            one(0)
            return

        def body(trip: ir.Value, _: list[ir.Value]) -> list[ir.Value]:
            one(trip)
            return []

        loop(self._scope, batch, [], body)

    def _multiply(
        self, step: DotStep, shape: DotShape, fetch: FetchTile | None, number: ir.Value | int
    ) -> None:
        """Emit the product of two matrices in the way that the op's precision and the target allow."""
        target, zero_init, builder = self.target, step.starts_at_zero, self._scope.builder
        a, b = (self._operand(step, name, number) for name in ("a", "b"))
        c = self._accumulator(step, number)
        row_scale = None
        if step.row_scale is not None:
            row_scale = self._buffered(step.row_scale, (1, shape.m), 0).pointer
        split, kept = plan_split_dot(shape, a, b, c, _precision(step), target), self._kept.get(step.op)
        if split is not None:
            if row_scale is not None:
                raise InternalError("only dots of fp32 scale rows", step.op.location)
            prepared = kept.at(builder, number) if kept is not None and kept.plan == split else None
            size_bytes = split_scratch_bytes(shape, split, a, is_prepared=prepared is not None)
            emit_split_dot(
                builder, shape, split, a, b, c, target, zero_init=zero_init, fetch=fetch,
                scratch=self.space.passing(builder, size_bytes), prepared=prepared,
            )  # fmt: skip
        else:
            packed, packs = None, self._chosen.enables("packing")
            if kept is not None and isinstance(kept.plan, DotPlan):
                packed = PackedMatrix(kept.at(builder, number), kept.plan.packed_layout)
            plan = plan_for(shape, a, b, c, target, packs=packs, packed_b=packed)
            scratch = self.space.passing(builder, plan.scratch_bytes)
            emit_dot(
                builder, shape, a, b, c, target, zero_init=zero_init, scratch=scratch, fetch=fetch,
                packs=packs, packed_b=packed, row_scale=row_scale,
            )  # fmt: skip

    def prepare(self, loop_step: ForStep) -> None:
        """Before a loop, bring what stays the same in it into the form that the dots in it want.

        Few rows of floats are split, right operands packed.
        """
        self._before.append(_Prepared(self.space.mark, frozenset(self._kept)))
        for step in dots_of(loop_step.body) if self._chosen.enables("promotion") else ():
            shape, batch = _shape_of(step)
            keeps_a, keeps_b = (self._stays(step, name, loop_step) for name in ("a", "b"))
            if step.op in self._kept or not (keeps_a or keeps_b):
                continue
            a, b = (self._facts(step, name) for name in ("a", "b"))
            c = self._accumulator(step, 0)
            split = plan_split_dot(shape, a, b, c, _precision(step), self.target)
            if split is not None and keeps_a and not step.a.transposed:
                self._keep(step, batch, prepared_bytes(shape, split), split)
            elif split is None and keeps_b:
                plan = plan_for(shape, a, b, c, self.target, packs=self._chosen.enables("packing"))
                if plan.packed_layout is not None and shape.m <= _MOST_ROWS:
                    self._keep(step, batch, plan.packed_matrix_bytes, plan)

    def _keep(self, step: DotStep, batch: int, size_bytes: int, plan: SplitPlan | DotPlan) -> None:
        """Prepare the operand of every matrix of a batch, if there is room."""
        if not 0 < batch * size_bytes <= _MOST_PREPARED_BYTES:
            return
        place = self.space.keep(self._scope.builder, batch * size_bytes)
        kept = self._kept[step.op] = _Kept(plan, place, size_bytes)

        def one(number: ir.Value | int) -> None:
            builder, where = self._scope.builder, kept.at(self._scope.builder, number)
            if isinstance(plan, SplitPlan):
                a, shape = self._operand(step, "a", number), _shape_of(step)[0]
                work = self.space.passing(builder, preparing_scratch_bytes(shape, plan, a))
                emit_prepared_rows(builder, shape, plan, a, where, self.target, scratch=work)
            else:
                emit_packed_matrix(builder, plan, self._operand(step, "b", number), where, self.target)

        self._each(batch, one)

    def _stays(self, step: DotStep, name: str, loop_step: ForStep) -> bool:
        """Whether an operand is in a buffer that is filled outside a loop."""
        operand, owner = _side(step, name), step.op.operand(name).defining_op
        inside = loop_step.op.regions[0]
        return operand.buffer is not None and owner is not None and owner.parent is not inside

    def _facts(self, step: DotStep, name: str) -> Operand:
        """An operand as far as plans depend on it, which may be known nowhere yet."""
        operand = _side(step, name)
        if operand.load is None:
            return self._operand(step, name, 0)
        element = operand.load.result.type.element
        assert isinstance(element, DType)
        strides = self._constant_strides(operand.load)
        row, column = (index(0) if stride is None else stride for stride in strides)
        facts = Operand(self._scope.scratch, element, row, column)
        return facts.transposed if operand.transposed else facts

    def _constant_strides(self, load: Op) -> tuple[int | None, int | None]:
        """Those of the rows and the columns that a dot reads, as far as they are known when compiling."""
        row, column = self._plan.in_place[load][-2:]
        return row.constant, column.constant

    def _accumulator(self, step: DotStep, number: ir.Value | int) -> Operand:
        shape, _ = _shape_of(step)
        return self._buffered(step.accumulator, (shape.m, shape.n), number)

    def _operand(self, step: DotStep, name: str, number: ir.Value | int) -> Operand:
        operand, (*_, rows, columns) = _side(step, name), step.op.operand(name).type.shape
        if operand.load is not None:
            result = self._in_memory(operand.load, number)
        else:
            assert operand.buffer is not None
            dims = (columns, rows) if operand.transposed else (rows, columns)
            result = self._buffered(operand.buffer, dims, number)
            if operand.filled_by is not None and self._constant_strides(operand.filled_by) == (None, 1):
                result = Operand(result.pointer, result.dtype, index(result.row_stride), 1)
        return result.transposed if operand.transposed else result

    def _buffered(self, buffer: Buffer, dims: tuple[int, int], number: ir.Value | int) -> Operand:
        """A matrix of a buffer, with so many rows and columns."""
        builder, element = self._scope.builder, buffer.element
        if not isinstance(element, DType):
            raise InternalError("a dot of pointers")
        offset: ir.Value = ir.Constant(I64, buffer.offset_bytes)
        if isinstance(number, ir.Value):
            size_bytes = product(dims) * element.itemsize
            offset = builder.add(offset, builder.mul(number, ir.Constant(I64, size_bytes)))
        pointer = builder.gep(self._scope.scratch, [offset], source_etype=I8)
        return Operand(pointer, element, dims[1], 1)

    def _in_memory(self, load: Op, number: ir.Value | int) -> Operand:
        """An operand in the caller's memory: the address of its first element and its strides."""
        pointer, builder = load.operand("pointer"), self._scope.builder
        address = Evaluator(self._scope).at(pointer, (START,) * pointer.type.rank).value
        element = load.result.type.element
        if not isinstance(element, DType):
            raise InternalError("a dot of pointers", load.location)
        *batch, row, column = (self._stride(stride) for stride in self._plan.in_place[load])
        if batch:
            skipped = builder.mul(index(number), index(batch[0]))
            address = advance(builder, address, skipped, element.itemsize)
        return Operand(address, element, row, column)

    def _fetch(self, step: DotStep) -> FetchTile | None:
        """The tile that the dot brings into the cache for the next one."""
        chosen = step.prefetch
        if chosen is None:
            return None
        pointer, shape_ = chosen.load.operand("pointer"), chosen.load.result.type.shape
        values: Evaluator = Evaluator(self._scope)
        if chosen.next_trip:
            loop = self._loops[-1]
            values = NextTripEvaluator(self._scope, {loop.index: loop.following})
            for argument in carried_by(pointer, loop.index):
                values.move_on(argument, loop.is_last)
        address = values.at(pointer, (START,) * len(shape_)).value
        element = chosen.load.result.type.element
        builder, line = self._scope.builder, self.target.cache_line_bytes
        *pieces, row = (
            builder.mul(index(self._stride(stride)), index(element.itemsize))
            for stride in self._plan.in_place[chosen.load][:-1]
        )
        is_small = chosen.load.result.type.size * element.itemsize <= self.target.l1_bytes // 2
        return FetchTile(
            address,
            row,
            pieces[0] if pieces else index(0),
            rows=shape_[-2],
            pieces=shape_[0] if pieces else 1,
            lines=-(-shape_[-1] * element.itemsize // line),
            line_bytes=line,
            locality=3 if is_small else 2,
        )

    def _stride(self, stride: Stride) -> ir.Value | int:
        return emit_stride(Evaluator(self._scope), stride)


def _side(step: DotStep, name: str) -> DotOperand:
    return step.a if name == "a" else step.b


def _shape_of(step: DotStep) -> tuple[DotShape, int]:
    """The matrices that a dot multiplies, and how many pairs of them."""
    a, b = (step.op.operand(name).type.shape for name in ("a", "b"))
    return DotShape(a[-2], b[-1], a[-1]), product(a[:-2])


def _precision(step: DotStep) -> InputPrecision:
    precision = step.op.attributes["input_precision"]
    assert isinstance(precision, InputPrecision)
    return precision
