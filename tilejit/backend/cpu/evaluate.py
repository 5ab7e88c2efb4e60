"""Evaluate inline values at points of a loop nest.

A point is a coordinate for every dimension of a value; at most one coordinate stands for several
neighbouring indices (lanes), the others for one. Every value is computed in the outermost loop where all it
depends on is known: what does not change along the lanes stays scalar, what does not change in an inner loop
is emitted before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from llvmlite import ir

from tilejit.backend.cpu.casts import convert
from tilejit.backend.cpu.elementwise import emit_elementwise
from tilejit.backend.cpu.masked import (
    loads_under_masks,
    masked_load,
    masked_store,
    stores_under_masks,
)
from tilejit.backend.cpu.values import (
    I32,
    I64,
    EmitContext,
    constant,
    from_storage,
    lane_numbers,
    lanes_of,
    llvm_storage,
    number,
    splat,
    to_storage,
    unset_lanes,
    vector_of,
)
from tilejit.diagnostics import InternalError
from tilejit.ir.core import Op, Value
from tilejit.ir.loop_plan import Buffer, LoopPlan, storage_bytes
from tilejit.ir.types import DType, Element
from tilejit.ops import control, memory, shape
from tilejit.ops.shape import reshape_dims
from tilejit.target.cpu import CpuTarget


@dataclass(frozen=True)
class Coordinate:
    """An index along one dimension, or ``lanes`` neighbouring indices from ``base`` on.

    ``level`` is the depth of the loop in whose body ``base`` is known, 0 outside all loops of the nest.
    """

    base: ir.Value | int
    level: int = 0
    lanes: int | None = None

    @property
    def first(self) -> Coordinate:
        """The index of the first lane alone."""
        return Coordinate(self.base, self.level) if self.lanes else self


Point = tuple[Coordinate, ...]
START = Coordinate(0)


@dataclass
class Emitted:
    """A value in register form and the depth of the loop that holds it."""

    value: ir.Value
    level: int


DUMMY_BYTES = 64
"""What a vector register holds."""
_Known = dict[tuple[Value, Point], Emitted]
_Splats = dict[tuple[ir.Value, int], ir.Value]


@dataclass
class Scope:
    """What is known where code is emitted: the plan, scalars computed so far, and the open loops of the
    nest.
    """

    plan: LoopPlan
    target: CpuTarget
    fp_fusion: bool
    scratch: ir.Value
    dummy: ir.Value  # DUMMY_BYTES bytes that masked-out lanes read and write
    scalars: dict[Value, ir.Value]
    grid: dict[str, tuple[ir.Value, ...]]  # program_id and num_programs, by axis
    builders: list[ir.IRBuilder] = field(default_factory=list)  # one per open loop, the first outside all

    @property
    def builder(self) -> ir.IRBuilder:
        return self.builders[-1]

    def context(self, level: int) -> EmitContext:
        return EmitContext(self.builders[level], self.target, self.fp_fusion)


class Evaluator:
    """Evaluates values within one loop nest, each once per point.

    ``computed_here`` are values whose buffers the nest itself fills: what a buffer holds is not theirs yet.
    """

    def __init__(self, scope: Scope, computed_here: frozenset[Value] = frozenset()) -> None:
        self.computed_here = computed_here
        self.scope = scope
        self._known: _Known = {}
        self._splats: _Splats = {}
        self._outside: list[
            tuple[dict[tuple[Value, Point], Emitted], dict[tuple[ir.Value, int], ir.Value]]
        ] = []

    def enter_branch(self) -> None:
        """Begin a block that does not always run: what it computes is forgotten at ``leave_branch``."""
        self._outside.append((dict(self._known), dict(self._splats)))

    def leave_branch(self) -> None:
        self._known, self._splats = self._outside.pop()

    def vector(self, value: Value, point: Point, lanes: int | None) -> ir.Value:
        """``value`` at ``point`` with all lanes present; a scalar where ``lanes`` is None."""
        return self.splat(self.at(value, point), lanes)

    def at(self, value: Value, point: Point) -> Emitted:
        """``value`` at ``point``: a vector where it differs along the lanes, else a scalar."""
        if value.type.is_scalar:
            return Emitted(self.scalar(value), 0)
        key = (value, _normal(value, point))
        if key not in self._known:
            self._known[key] = self._emit(*key)
        return self._known[key]

    def remember(self, value: Value, point: Point, emitted: Emitted) -> None:
        """Note that ``value`` was computed at ``point``."""
        self._known[value, _normal(value, point)] = emitted

    def scalar(self, value: Value) -> ir.Value:
        """A scalar computed before."""
        op = value.defining_op
        if op is not None and op.name == shape.CONSTANT.name:
            number_value = op.attributes["value"]
            assert isinstance(number_value, int | float)
            element = op.result.type.element
            return constant(element, number_value)
        if value not in self.scope.scalars:
            raise InternalError(
                f"the scalar %{value.name} is used before it is computed", op.location if op else None
            )
        return self.scope.scalars[value]

    def splat(self, emitted: Emitted, lanes: int | None) -> ir.Value:
        """The register form with all lanes present."""
        if lanes is None or lanes_of(emitted.value.type) is not None:
            return emitted.value
        key = (emitted.value, lanes)
        if key not in self._splats:
            self._splats[key] = splat(self.scope.builders[emitted.level], emitted.value, lanes)
        return self._splats[key]

    def compute(self, value: Value, point: Point) -> Emitted:
        """Compute ``value`` even where it has a buffer: for the nest that fills the buffer."""
        point = _normal(value, point)
        if (value, point) in self._known:
            return self._known[value, point]
        op = value.defining_op
        if op is None:
            raise InternalError(f"the carried value %{value.name} cannot be computed")
        return self._emit_op(op, value, point)

    def _emit(self, value: Value, point: Point) -> Emitted:
        if value in self.scope.plan.buffers and value not in self.computed_here:
            return self.read_buffer(
                self.scope.plan.buffers[value], value.type.element, value.type.shape, point
            )
        op = value.defining_op
        if op is None:
            raise InternalError(f"the tile argument %{value.name} has no buffer")
        return self._emit_op(op, value, point)

    def _emit_op(self, op: Op, value: Value, point: Point) -> Emitted:
        if op.name == memory.LOAD.name:
            return self._load(op, point)
        if op.definition.is_elementwise:
            return self._elementwise(op, [self.at(operand, point) for operand in op.operands])
        emit = _SHAPE_EMITTERS.get(op.name)
        if emit is None:
            raise InternalError(f"{op.name} cannot be evaluated inline", op.location)
        return emit(self, op, value, point)

    def _elementwise(self, op: Op, operands: Sequence[Emitted]) -> Emitted:
        level = max(operand.level for operand in operands)
        counts = {lanes for e in operands if (lanes := lanes_of(e.value.type)) is not None}
        lanes = counts.pop() if counts else None
        values = [self.splat(operand, lanes) for operand in operands]
        return Emitted(emit_elementwise(self.scope.context(level), op, values), level)

    def _arange(self, op: Op, value: Value, point: Point) -> Emitted:
        (coordinate,) = point
        builder = self.scope.builders[coordinate.level]
        start = op.attributes["start"]
        assert isinstance(start, int)
        if isinstance(coordinate.base, int):
            first: ir.Value = number(I32, coordinate.base + start)
        else:
            first = builder.trunc(coordinate.base, I32)
            first = builder.add(first, number(I32, start)) if start else first
        if coordinate.lanes is None:
            return Emitted(first, coordinate.level)
        steps = lane_numbers(*range(coordinate.lanes))
        return Emitted(builder.add(splat(builder, first, coordinate.lanes), steps), coordinate.level)

    def _splat_op(self, op: Op, value: Value, point: Point) -> Emitted:
        return Emitted(self.scalar(op.operands[0]), 0)

    def _broadcast(self, op: Op, value: Value, point: Point) -> Emitted:
        return self.at(op.operands[0], point)  # dims of size 1 are taken at 0

    def _transpose(self, op: Op, value: Value, point: Point) -> Emitted:
        order = op.attributes["order"]
        assert isinstance(order, tuple)
        return self.at(op.operands[0], tuple(point[order.index(i)] for i in range(len(order))))

    def _reshape(self, op: Op, value: Value, point: Point) -> Emitted:
        source = op.operands[0]
        if source.type.is_scalar:
            return Emitted(self.scalar(source), 0)
        mapping = reshape_dims(source.type.shape, value.type.shape)
        if mapping is not None:
            back = {s: point[t] for t, s in enumerate(mapping) if s is not None}
            return self.at(source, tuple(back.get(i, START) for i in range(source.type.rank)))
        buffer = self.scope.plan.buffers[source]
        return self.read_buffer(buffer, source.type.element, value.type.shape, point)

    def _join(self, op: Op, value: Value, point: Point) -> Emitted:
        lhs, rhs = (self.at(operand, point[:-1]) for operand in op.operands)
        last = point[-1]
        level = max(lhs.level, rhs.level, last.level)
        builder = self.scope.builders[level]
        if last.lanes is not None:
            pair: ir.Value = unset_lanes(lhs.value.type, 2)
            for lane, side in enumerate((lhs, rhs)):
                pair = builder.insert_element(pair, side.value, ir.Constant(I32, lane))
            return Emitted(pair, level)
        if isinstance(last.base, int):
            return (lhs, rhs)[last.base]
        lanes = lanes_of(lhs.value.type) or lanes_of(rhs.value.type)
        is_first = builder.icmp_signed("==", last.base, ir.Constant(I64, 0))
        return Emitted(builder.select(is_first, self.splat(lhs, lanes), self.splat(rhs, lanes)), level)

    def _split(self, op: Op, value: Value, point: Point) -> Emitted:
        return self.at(op.operands[0], (*point, Coordinate(value.index)))

    # Memory

    def read_buffer(
        self, buffer: Buffer, element: Element, shape_seen: tuple[int, ...], point: Point
    ) -> Emitted:
        """Read a buffer at a point of ``shape_seen``, which has its elements in the same row-major order."""
        pointer, level, lane_stride = self.buffer_address(buffer, shape_seen, point)
        builder = self.scope.builders[level]
        stored = llvm_storage(buffer.element)
        lanes = next((c.lanes for c in point if c.lanes), None)
        if lanes is None or lane_stride == 0:
            loaded = _plain_load(builder, pointer, stored, buffer.element)
        elif lane_stride == 1:
            loaded = _plain_load(builder, pointer, vector_of(stored, lanes), buffer.element)
        else:
            loaded = self._read_strided(builder, pointer, stored, buffer.element, lanes, lane_stride)
        value = from_storage(builder, loaded, buffer.element)
        if isinstance(element, DType) and isinstance(buffer.element, DType):
            value = convert(builder, value, buffer.element, element)
        return Emitted(value, level)

    def _read_strided(
        self,
        builder: ir.IRBuilder,
        pointer: ir.Value,
        stored: ir.Type,
        element: Element,
        lanes: int,
        stride: int,
    ) -> ir.Value:
        result: ir.Value = unset_lanes(stored, lanes)
        for lane in range(lanes):
            address = builder.gep(pointer, [ir.Constant(I64, lane * stride)], source_etype=stored)
            loaded = _plain_load(builder, address, stored, element)
            result = builder.insert_element(result, loaded, ir.Constant(I32, lane))
        return result

    def buffer_address(
        self, buffer: Buffer, shape_seen: tuple[int, ...], point: Point
    ) -> tuple[ir.Value, int, int]:
        """The address of a point's first lane, the loop that knows it, and how far apart the lanes are."""
        level = max((c.level for c in point), default=0)
        offset = buffer.offset_bytes
        base = self.scope.scratch
        stride = 1
        lane_stride = 0
        terms: list[tuple[ir.Value, int, int]] = []
        for size, coordinate in zip(reversed(shape_seen), reversed(point), strict=True):
            if coordinate.lanes:
                lane_stride = stride
            if isinstance(coordinate.base, int):
                offset += coordinate.base * stride * storage_bytes(buffer.element)
            else:
                terms.append((coordinate.base, stride, coordinate.level))
            stride *= size
        for index, step, own_level in sorted(terms, key=lambda term: term[2]):
            builder = self.scope.builders[own_level]
            scaled = builder.mul(index, ir.Constant(I64, step * storage_bytes(buffer.element)))
            base = builder.gep(base, [scaled], source_etype=ir.IntType(8))
        builder = self.scope.builders[level]
        if offset:
            base = builder.gep(base, [ir.Constant(I64, offset)], source_etype=ir.IntType(8))
        return base, level, lane_stride

    def write_buffer(self, buffer: Buffer, element: Element, point: Point, emitted: Emitted) -> None:
        """Store one chunk of a value into its buffer."""
        pointer, _, lane_stride = self.buffer_address(buffer, buffer.shape, point)
        builder = self.scope.builder
        lanes = next((c.lanes for c in point if c.lanes), None)
        value = self.splat(emitted, lanes)
        if isinstance(element, DType) and isinstance(buffer.element, DType):
            value = convert(builder, value, element, buffer.element)
        value = to_storage(builder, value, buffer.element)
        if lanes is None or lane_stride == 1:
            builder.store(value, pointer).align = storage_bytes(buffer.element)
            return
        for lane in range(lanes):
            address = builder.gep(
                pointer, [ir.Constant(I64, lane * lane_stride)], source_etype=llvm_storage(buffer.element)
            )
            one = builder.extract_element(value, ir.Constant(I32, lane))
            builder.store(one, address).align = storage_bytes(buffer.element)

    def _load(self, op: Op, point: Point) -> Emitted:
        element = op.results[0].type.element
        lane_dim = next((d for d, c in enumerate(point) if c.lanes), None)
        mask = op.optional_operand("mask")
        guard = self.at(mask, point) if mask is not None else None
        if lane_dim is not None:
            stride = self.scope.plan.accesses[op].strides[lane_dim]
            step = stride.constant if stride is not None else None
            if step == 1:
                return self._load_contiguous(op, point, point[lane_dim].lanes, guard)
            parts = [] if guard is None else [guard, self._other(op, point)]
            if step != 0 or any(lanes_of(part.value.type) is not None for part in parts):
                return self._gather(op, point, point[lane_dim].lanes, guard)
        first = tuple(c.first for c in point)
        pointer = self.at(op.operand("pointer"), first)
        return self._load_one(op, element, pointer, guard, first)

    def _load_one(
        self, op: Op, element: Element, pointer: Emitted, guard: Emitted | None, point: Point
    ) -> Emitted:
        stored = llvm_storage(element)
        if guard is None:
            builder = self.scope.builders[pointer.level]
            return Emitted(
                from_storage(builder, _plain_load(builder, pointer.value, stored, element), element),
                pointer.level,
            )
        other = self._other(op, point)
        level = max(pointer.level, guard.level, other.level)
        builder = self.scope.builders[level]
        address = builder.select(guard.value, pointer.value, self.scope.dummy)
        loaded = from_storage(builder, _plain_load(builder, address, stored, element), element)
        return Emitted(builder.select(guard.value, loaded, other.value), level)

    def _other(self, op: Op, point: Point) -> Emitted:
        other = op.optional_operand("other")
        if other is not None:
            return self.at(other, point)
        return Emitted(constant(op.results[0].type.element, 0), 0)

    def _load_contiguous(self, op: Op, point: Point, lanes: int | None, guard: Emitted | None) -> Emitted:
        element = op.results[0].type.element
        vector = vector_of(llvm_storage(element), lanes)
        pointer = self.at(op.operand("pointer"), tuple(c.first for c in point))
        if guard is None:
            builder = self.scope.builders[pointer.level]
            loaded = _plain_load(builder, pointer.value, vector, element)
            return Emitted(from_storage(builder, loaded, element), pointer.level)
        other = self._other(op, point)
        level = max(pointer.level, guard.level, other.level)
        builder = self.scope.builders[level]
        align, target = storage_bytes(element), self.scope.target
        is_uniform = lanes_of(guard.value.type) is None
        if is_uniform and not loads_under_masks(target, align) and _fits(vector, align):
            address = builder.select(guard.value, pointer.value, self.scope.dummy)
            loaded = from_storage(builder, _plain_load(builder, address, vector, element), element)
            chosen = builder.select(self.splat(guard, lanes), loaded, self.splat(other, lanes))
            return Emitted(chosen, level)
        passed = to_storage(builder, self.splat(other, lanes), element)
        call = masked_load(builder, target, pointer.value, align, self.splat(guard, lanes), passed)
        return Emitted(from_storage(builder, call, element), level)

    def _gather(self, op: Op, point: Point, lanes: int | None, guard: Emitted | None) -> Emitted:
        assert lanes is not None
        element = op.results[0].type.element
        stored = llvm_storage(element)
        pointers = self.at(op.operand("pointer"), point)
        other = self._other(op, point)
        level = max(pointers.level, other.level, guard.level if guard else 0)
        builder = self.scope.builders[level]
        addresses = self.splat(pointers, lanes)
        if guard is not None:
            mask = self.splat(guard, lanes)
            addresses = builder.select(mask, addresses, splat(builder, self.scope.dummy, lanes))
        result: ir.Value = unset_lanes(stored, lanes)
        for lane in range(lanes):
            index = ir.Constant(I32, lane)
            loaded = _plain_load(builder, builder.extract_element(addresses, index), stored, element)
            result = builder.insert_element(result, loaded, index)
        value = from_storage(builder, result, element)
        if guard is not None:
            value = builder.select(self.splat(guard, lanes), value, self.splat(other, lanes))
        return Emitted(value, level)

    def load_scalar(self, op: Op) -> ir.Value:
        """A load of one element through a scalar pointer."""
        return self._load(op, ()).value

    def split_scalar(self, op: Op, result: Value) -> ir.Value:
        """One half of a tile of two elements."""
        return self.at(op.operands[0], (Coordinate(result.index),)).value

    def store(self, op: Op, point: Point) -> None:
        """Emit one chunk of a store."""
        self.prepare_store(op, point)()

    def prepare_store(self, op: Op, point: Point) -> Callable[[], None]:
        """Evaluate all that one chunk of a store needs; what is returned emits the store itself."""
        builder = self.scope.builder
        pointer_value, stored_value = op.operand("pointer"), op.operand("value")
        element = stored_value.type.element
        mask = op.optional_operand("mask")
        guard = self.at(mask, point) if mask is not None else None
        lane_dim = next((d for d, c in enumerate(point) if c.lanes), None)
        lanes = point[lane_dim].lanes if lane_dim is not None else None
        value = to_storage(builder, self.vector(stored_value, point, lanes), element)
        if lane_dim is not None:
            stride = self.scope.plan.accesses[op].strides[lane_dim]
            if stride is None or stride.constant != 1:
                assert lanes is not None
                return self._scatter(op, point, value, guard, lanes)
        address = self.at(pointer_value, tuple(c.first for c in point)).value
        align, target = storage_bytes(element), self.scope.target
        is_uniform = guard is not None and lanes_of(guard.value.type) is None
        if is_uniform and lanes and (stores_under_masks(target, align) or not _fits(value.type, align)):
            is_uniform = False
        mask_value = None if guard is None else self.splat(guard, None if is_uniform else lanes)
        if mask_value is not None and not is_uniform and self.scope.plan.accesses[op].mask_is_fixed:
            mask_value = builder.or_(mask_value, splat(builder, self._never(), lanes))

        def write() -> None:
            if mask_value is None:
                builder.store(value, address).align = align
            elif is_uniform:
                # What lands in the dummy is never seen: masked-out loads give their ``other``.
                place = builder.select(mask_value, address, self.scope.dummy)
                builder.store(value, place).align = align
            else:
                masked_store(builder, target, address, value, align, mask_value)

        return write

    def _never(self) -> ir.Value:
        """A bit that is 0, which LLVM does not know.

        With it no mask is a constant. Where LLVM 22 knows that a mask has one lane, its AVX-512 code stores
        all bits that the lane had before it was truncated.
        """
        programs = self.scope.grid[control.NUM_PROGRAMS.name][0]
        return self.scope.builders[0].icmp_signed("<", programs, number(I32, 0))

    def _scatter(
        self, op: Op, point: Point, value: ir.Value, guard: Emitted | None, lanes: int
    ) -> Callable[[], None]:
        builder = self.scope.builder
        element = op.operand("value").type.element
        addresses = self.vector(op.operand("pointer"), point, lanes)
        if guard is not None:
            addresses = builder.select(
                self.splat(guard, lanes), addresses, splat(builder, self.scope.dummy, lanes)
            )

        def write() -> None:
            for lane in range(lanes):
                index = ir.Constant(I32, lane)
                target = builder.extract_element(addresses, index)
                builder.store(builder.extract_element(value, index), target).align = storage_bytes(element)

        return write


class NextTripEvaluator(Evaluator):
    """Evaluates addresses as they will be in the next trip of a loop, whose index is given.

    Scalars that follow from the index are computed again. Loads among them read what the next trip will
    read, or at the last trip what this one read, and are as safe as those.
    """

    def __init__(self, scope: Scope, known: dict[Value, ir.Value]) -> None:
        super().__init__(scope)
        self._repeated = dict(known)
        self._depends: dict[Value, bool] = dict.fromkeys(known, True)

    def scalar(self, value: Value) -> ir.Value:
        if not self._follows(value):
            return super().scalar(value)
        if value not in self._repeated:
            self._repeated[value] = self._repeat(value)
        return self._repeated[value]

    def _repeat(self, value: Value) -> ir.Value:
        op = value.defining_op
        if op is None:
            raise InternalError(f"the next value of %{value.name} is not known")
        if op.name == memory.LOAD.name:
            return self.load_scalar(op)
        return emit_elementwise(self.scope.context(-1), op, [self.scalar(v) for v in op.operands])

    def _follows(self, value: Value) -> bool:
        """Whether a scalar depends on the loop's index."""
        if value not in self._depends:
            op = value.defining_op
            self._depends[value] = op is not None and any(self._follows(v) for v in op.operands)
        return self._depends[value]


def _normal(value: Value, point: Point) -> Point:
    """The point with dims of size 1 taken at 0, so that equal points compare equal."""
    return tuple(START if size == 1 else c for size, c in zip(value.type.shape, point, strict=True))


def _fits(vector: ir.VectorType, element_bytes: int) -> bool:
    """Whether a vector may be read from, and written to, the dummy in place of memory."""
    return bool(vector.count * element_bytes <= DUMMY_BYTES)


def _plain_load(builder: ir.IRBuilder, pointer: ir.Value, stored: ir.Type, element: Element) -> ir.Value:
    loaded = builder.load(pointer, typ=stored)
    loaded.align = storage_bytes(element)
    return loaded


_SHAPE_EMITTERS = {
    shape.ARANGE.name: Evaluator._arange,
    shape.SPLAT.name: Evaluator._splat_op,
    shape.BROADCAST.name: Evaluator._broadcast,
    shape.TRANSPOSE.name: Evaluator._transpose,
    shape.RESHAPE.name: Evaluator._reshape,
    shape.JOIN.name: Evaluator._join,
    shape.SPLIT.name: Evaluator._split,
}
