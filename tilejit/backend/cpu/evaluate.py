"""Evaluate inline values at points of a loop nest.

Every value is computed in the outermost loop where all it depends on is known: what does not change along
the lanes stays scalar, what does not change in an inner loop is emitted before it.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from tilejit.backend.cpu import division
from tilejit.backend.cpu.accesses import emit_load
from tilejit.backend.cpu.buffers import read_buffer
from tilejit.backend.cpu.casts import narrow_for_dot, narrow_pairs, widen_pairs
from tilejit.backend.cpu.elementwise import emit_elementwise
from tilejit.backend.cpu.mask_bounds import Holding
from tilejit.backend.cpu.scope import START, TRUE, Coordinate, Emitted, Point, Scope
from tilejit.backend.cpu.values import I32, I64, constant, lane_numbers, lanes_of, number, splat, unset_lanes
from tilejit.diagnostics import InternalError
from tilejit.ir.core import Block, Op, Value
from tilejit.ir.types import BF16
from tilejit.ops import elementwise as ew
from tilejit.ops import memory, shape
from tilejit.ops.elementwise import Rounding
from tilejit.ops.shape import reshape_dims

_Known = dict[tuple[Value, Point], Emitted]
_Splats = dict[tuple[ir.Value, int], ir.Value]
_Divisors = dict[ir.Value, division.Divisor]


class Evaluator:
    """Evaluates values within one loop nest, each once per point.

    ``computed_here`` are values whose buffers the nest itself fills: what a buffer holds is not theirs yet.
    While ``in_pairs``, vectors of fp32 hold the elements of even numbers first, those of bf16 are in order.
    """

    def __init__(self, scope: Scope, computed_here: frozenset[Value] = frozenset()) -> None:
        self.computed_here = computed_here
        self.scope = scope
        self.in_pairs = False
        self._known: _Known = {}
        self._splats: _Splats = {}
        self._divisors: _Divisors = {}
        self._outside: list[tuple[_Known, _Splats, _Divisors]] = []
        self._holding: dict[Value, Holding] = {}
        self._buffered: dict[Value, bool] = {}

    def take_to_hold(self, holding: Sequence[Holding]) -> None:
        """Take comparisons to be true at the lanes of their places, until this is called again."""
        self._holding = {held.value: held for held in holding}

    def enter_branch(self) -> None:
        """Begin a block that does not always run: what it computes is forgotten at ``leave_branch``."""
        self._outside.append((dict(self._known), dict(self._splats), dict(self._divisors)))

    def leave_branch(self) -> None:
        self._known, self._splats, self._divisors = self._outside.pop()

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

    def depends_on_buffers(self, value: Value) -> bool:
        """Whether ``value`` is made from tiles that are kept in buffers."""
        if value.type.is_scalar:
            return False
        if value not in self._buffered:
            op, is_kept = value.defining_op, value in self.scope.plan.buffers
            self._buffered[value] = (
                is_kept or op is None or any(self.depends_on_buffers(operand) for operand in op.operands)
            )
        return self._buffered[value]

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
        held = self._holding.get(value)
        if held is not None and held.is_at(point):
            return Emitted(TRUE, held.level)
        if value in self.scope.plan.buffers and value not in self.computed_here:
            buffer = self.scope.plan.buffers[value]
            return read_buffer(self.scope, buffer, value.type.element, value.type.shape, point)
        op = value.defining_op
        if op is None:
            raise InternalError(f"the tile argument %{value.name} has no buffer")
        return self._emit_op(op, value, point)

    def _emit_op(self, op: Op, value: Value, point: Point) -> Emitted:
        if op.name == memory.LOAD.name:
            return emit_load(self, op, point)
        if op.definition.is_elementwise:
            return self._elementwise(op, [self.at(operand, point) for operand in op.operands])
        emit = _SHAPE_EMITTERS.get(op.name)
        if emit is None:
            raise InternalError(f"{op.name} cannot be evaluated inline", op.location)
        return emit(self, op, value, point)

    def _elementwise(self, op: Op, operands: Sequence[Emitted]) -> Emitted:
        level = max(operand.level for operand in operands)
        if op.name == ew.AND.name and any(operand.value is TRUE for operand in operands):
            left = [operand.value for operand in operands if operand.value is not TRUE]
            return Emitted(left[0] if left else TRUE, level)
        counts = {lanes for e in operands if (lanes := lanes_of(e.value.type)) is not None}
        lanes = counts.pop() if counts else None
        if op.name == ew.DIV.name and lanes is not None and self._is_invariant_divisor(operands[1], level):
            return Emitted(self._divide(operands[0], operands[1], lanes, level), level)
        values = [self.splat(operand, lanes) for operand in operands]
        if self.in_pairs and op.name == ew.CAST.name and lanes is not None:
            return Emitted(_cast_pairs(self.scope.builders[level], op, values[0]), level)
        if op in self.scope.casts_for_dots:
            return Emitted(narrow_for_dot(self.scope.builders[level], values[0]), level)
        return Emitted(emit_elementwise(self.scope.context(level), op, values), level)

    def _is_invariant_divisor(self, divisor: Emitted, level: int) -> bool:
        """Whether a divisor is one number that is known outside of the loop in which it divides."""
        is_outside = divisor.level < level and lanes_of(divisor.value.type) is None
        return is_outside and division.pays(self.scope.target, divisor.value)

    def _divide(self, dividend: Emitted, divisor: Emitted, lanes: int, level: int) -> ir.Value:
        """A vector divided by one number, of which what is needed is computed in the loop that knows it."""
        if divisor.value not in self._divisors:
            builder = self.scope.builders[divisor.level]
            self._divisors[divisor.value] = division.prepare(builder, divisor.value)
        prepared = self._divisors[divisor.value]
        reciprocal = Emitted(prepared.reciprocal, divisor.level)
        a, b, y = (self.splat(value, lanes) for value in (dividend, divisor, reciprocal))
        return division.divide(self.scope.builders[level], a, b, y, prepared.is_usable)

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
        return read_buffer(self.scope, buffer, source.type.element, value.type.shape, point)

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

    def load_scalar(self, op: Op) -> ir.Value:
        """A load of one element through a scalar pointer."""
        return emit_load(self, op, ()).value

    def split_scalar(self, op: Op, result: Value) -> ir.Value:
        """One half of a tile of two elements."""
        return self.at(op.operands[0], (Coordinate(result.index),)).value


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

    def move_on(self, argument: Value, is_last: ir.Value) -> None:
        """Let what the loop carries as ``argument`` be what this trip passes on, if it is not the last."""
        body = argument.owner
        assert isinstance(body, Block)
        passed_on = self._of_this_trip(body.terminator.operands[argument.index - 1])
        here = self.scope.scalars[argument]
        self._repeated[argument] = self.scope.builder.select(is_last, here, passed_on)
        self._depends[argument] = True

    def _of_this_trip(self, value: Value) -> ir.Value:
        """A scalar of this trip that may not have been computed yet."""
        op = value.defining_op
        if op is None or value in self.scope.scalars or not op.operands:
            return super().scalar(value)
        return emit_elementwise(self.scope.context(-1), op, [self._of_this_trip(v) for v in op.operands])

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


def _cast_pairs(builder: ir.IRBuilder, op: Op, value: ir.Value) -> ir.Value:
    if op.operands[0].type.element == BF16:
        return widen_pairs(builder, value)
    return narrow_pairs(builder, value, toward_zero=op.attributes["rounding"] is Rounding.RTZ)


def _normal(value: Value, point: Point) -> Point:
    """The point with dims of size 1 taken at 0, so that equal points compare equal."""
    return tuple(START if size == 1 else c for size, c in zip(value.type.shape, point, strict=True))


_SHAPE_EMITTERS = {
    shape.ARANGE.name: Evaluator._arange,
    shape.SPLAT.name: Evaluator._splat_op,
    shape.BROADCAST.name: Evaluator._broadcast,
    shape.TRANSPOSE.name: Evaluator._transpose,
    shape.RESHAPE.name: Evaluator._reshape,
    shape.JOIN.name: Evaluator._join,
    shape.SPLIT.name: Evaluator._split,
}
