"""How the values of reductions and scans are combined, built in or by a region of the kernel's own."""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from tilejit.backend.cpu.casts import computation_type, narrow, widen
from tilejit.backend.cpu.elementwise import emit_elementwise
from tilejit.backend.cpu.evaluate import Evaluator
from tilejit.backend.cpu.scope import Scope
from tilejit.backend.cpu.values import I32, LaneBuilder, constant, lane_numbers, lanes_of, splat, unset_lanes
from tilejit.backend.cpu.vector_math import add_powers, adds_powers_by_table, emit_function
from tilejit.diagnostics import InternalError
from tilejit.ir.core import Block, Op, Value
from tilejit.ir.opdef import OpDef
from tilejit.ir.types import FP16, FP32, FP64, DType, TileType
from tilejit.ops import control, reduce, shape
from tilejit.ops import elementwise as ew
from tilejit.ops.reduce import ReduceKind

_OPS: dict[ReduceKind, OpDef] = {
    ReduceKind.SUM: ew.ADD,
    ReduceKind.MAX: ew.MAX,
    ReduceKind.MIN: ew.MIN,
    ReduceKind.XOR: ew.XOR,
    ReduceKind.AND: ew.AND,
    ReduceKind.OR: ew.OR,
}


class Combiner:
    """Combines running values with new ones; ``enter`` and ``leave`` convert to and from the type it
    computes in.
    """

    def identity(self, lanes: int | None) -> list[ir.Value] | None:
        """Running values that change nothing, None where there are none."""
        raise NotImplementedError

    def combine(self, left: Sequence[ir.Value], right: Sequence[ir.Value]) -> list[ir.Value]:
        """Combine two sets of running values, ``left`` being earlier in order."""
        raise NotImplementedError

    def accumulate(self, running: Sequence[ir.Value] | None, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        """Combine running values, if there are any yet, with what ``factors`` evaluate to."""
        return list(inputs) if running is None else self.combine(running, inputs)

    def enter(self, value: ir.Value, number: int) -> ir.Value:
        return value

    def leave(self, value: ir.Value, number: int) -> ir.Value:
        return value

    def fold(self, values: Sequence[ir.Value], width: int, target: int) -> list[ir.Value]:
        """Combine halves of vectors of ``width`` lanes until ``target`` lanes are left, 1 being a scalar."""
        raise NotImplementedError

    def fold_in_order(self, chunks: list[list[ir.Value]]) -> list[ir.Value]:
        """Combine the lanes of chunks that follow each other, always neighbours, until scalars are left.

        ``chunks``: a power of two of them, each the running values of equally many lanes.
        """
        raise NotImplementedError


def factors(scope: Scope, op: Op) -> tuple[Value, ...]:
    """What a reduction evaluates at every point: of squares that it adds up what is squared, of powers of two
    the exponent.
    """
    if op.name != reduce.REDUCE.name or op.attributes["kind"] is not ReduceKind.SUM:
        return tuple(op.operands)
    (added,) = op.operands
    term, element = added.defining_op, added.type.element
    if term is None or added.use_count != 1 or added in scope.plan.buffers:
        return (added,)
    if term.name == ew.EXP2.name and element == FP32:
        return tuple(term.operands)
    is_square = term.name == ew.MUL.name and element in (FP32, FP64) and term.operands[0] is term.operands[1]
    return (term.operands[0],) if is_square else (added,)


def make_reducer(scope: Scope, op: Op) -> Combiner:
    """The combiner of a reduction, of what ``factors`` evaluate to."""
    if factors(scope, op) == tuple(op.operands):
        return make_combiner(scope, op)
    term, element = op.operands[0].defining_op, op.operands[0].type.element
    assert term is not None and isinstance(element, DType)
    kind = _PowerCombiner if term.name == ew.EXP2.name else _SquareCombiner
    return kind(scope, ReduceKind.SUM, element)


def make_combiner(scope: Scope, op: Op) -> Combiner:
    """The combiner of a reduction or scan of its operands."""
    if op.name in (reduce.REDUCE_CUSTOM.name, reduce.SCAN_CUSTOM.name):
        return _RegionCombiner(scope, op.regions[0])
    kind = op.attributes["kind"]
    element = op.operands[0].type.element
    if not isinstance(kind, ReduceKind) or not isinstance(element, DType):
        raise InternalError("a reduction of pointers", op.location)
    return _KindCombiner(scope, kind, element)


class _KindCombiner(Combiner):
    """A built-in kind; small floats are combined in fp32 and rounded once at the end.

    Extrema of fp16 stay in fp16: LLVM would narrow those of widened values to intrinsics that become calls of
    libm, one for each lane.
    """

    def __init__(self, scope: Scope, kind: ReduceKind, element: DType) -> None:
        self.scope = scope
        self.kind = kind
        self.element = element
        stays = element == FP16 and kind in (ReduceKind.MAX, ReduceKind.MIN)
        self.computed = element if stays else computation_type(element)
        block = Block([TileType(self.computed)] * 2)
        self.op = Op(_OPS[kind], dict(zip(("lhs", "rhs"), block.arguments, strict=True)))

    def identity(self, lanes: int | None) -> list[ir.Value]:
        return [constant(self.computed, _identity(self.kind, self.computed), lanes)]

    def combine(self, left: Sequence[ir.Value], right: Sequence[ir.Value]) -> list[ir.Value]:
        context = self.scope.context(-1)
        return [emit_elementwise(context, self.op, [left[0], right[0]])]

    def enter(self, value: ir.Value, number: int) -> ir.Value:
        return value if self.computed == self.element else widen(self.scope.builder, value, self.element)

    def leave(self, value: ir.Value, number: int) -> ir.Value:
        return value if self.computed == self.element else narrow(self.scope.builder, value, self.element)

    def fold(self, values: Sequence[ir.Value], width: int, target: int) -> list[ir.Value]:
        (value,) = values
        builder = self.scope.builder
        while width > target:
            width //= 2
            halves = [self._part(value, start, width) for start in (0, width)]
            (value,) = self.combine([halves[0]], [halves[1]])
        if target == 1 and lanes_of(value.type) is not None:
            value = builder.extract_element(value, ir.Constant(I32, 0))
        return [value]

    def _part(self, value: ir.Value, start: int, count: int) -> ir.Value:
        """``count`` lanes from ``start`` on; one comes as a scalar."""
        builder, lanes = self.scope.builder, value.type.count
        if count == 1:
            return builder.extract_element(value, ir.Constant(I32, start))
        unused = unset_lanes(value.type.element, lanes)
        return builder.shuffle_vector(value, unused, lane_numbers(*range(start, start + count)))


class _SquareCombiner(_KindCombiner):
    """A sum of squares by multiply-adds: as with any sum, roundings in between are left open, and squares add
    up to infinity if one of them is.
    """

    def accumulate(self, running: Sequence[ir.Value] | None, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        (value,) = inputs
        lanes = LaneBuilder(self.scope.builder, lanes_of(value.type))
        return [lanes.mul(value, value) if running is None else lanes.fma(value, value, running[0])]


class _PowerCombiner(_KindCombiner):
    """A sum of powers of two, whose exponents come: each is as right as it would be alone."""

    def accumulate(self, running: Sequence[ir.Value] | None, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        (value,) = inputs
        context = self.scope.context(-1)
        if running is not None and adds_powers_by_table(context, lanes_of(value.type)):
            return [add_powers(context.builder, value, running[0])]
        return super().accumulate(running, [emit_function(context, "exp2", value)])


def _identity(kind: ReduceKind, element: DType) -> float:
    """The value that leaves any other unchanged. A NaN does so for max and min, which ignore NaNs."""
    if kind in (ReduceKind.MAX, ReduceKind.MIN):
        if element.is_floating():
            return float("nan")
        return element.min_value if kind is ReduceKind.MAX else element.max_value
    if kind is ReduceKind.SUM and element.is_floating():
        return -0.0
    return (1 if element.is_bool() else -1) if kind is ReduceKind.AND else 0


class _RegionCombiner(Combiner):
    """A combine function written in the kernel: its region is emitted on vectors or scalars alike."""

    def __init__(self, scope: Scope, block: Block) -> None:
        self.scope = scope
        self.block = block

    def identity(self, lanes: int | None) -> list[ir.Value] | None:
        return None

    def combine(self, left: Sequence[ir.Value], right: Sequence[ir.Value]) -> list[ir.Value]:
        known: dict[Value, ir.Value] = dict(zip(self.block.arguments, (*left, *right), strict=True))
        outside = Evaluator(self.scope)
        lanes = lanes_of(left[0].type)
        builder = self.scope.builder

        def operand(value: Value) -> ir.Value:
            found = known[value] if value in known else outside.scalar(value)
            return splat(builder, found, lanes) if lanes and lanes_of(found.type) is None else found

        for op in self.block.ops:
            if op.name == control.YIELD.name:
                return [operand(value) for value in op.operands]
            if op.name != shape.CONSTANT.name:
                inputs = [operand(value) for value in op.operands]
                known[op.result] = emit_elementwise(self.scope.context(-1), op, inputs)
        raise InternalError("a combine region without a yield")

    def fold_in_order(self, chunks: list[list[ir.Value]]) -> list[ir.Value]:
        """Combine even lanes with the odd ones beside them, of two chunks at a time where there are two."""
        while len(chunks) > 1:
            pairs = zip(chunks[::2], chunks[1::2], strict=True)
            chunks = [self._combine_neighbours([*zip(a, b, strict=True)]) for a, b in pairs]
        (values,) = chunks
        while lanes_of(values[0].type) is not None:
            values = self._combine_neighbours([(value,) for value in values])
        return values

    def _combine_neighbours(self, values: list[tuple[ir.Value, ...]]) -> list[ir.Value]:
        """Combine neighbouring lanes of values that are one vector, or two that follow each other."""
        left, right = ([self._every_other(parts, first) for parts in values] for first in (0, 1))
        return self.combine(left, right)

    def _every_other(self, parts: tuple[ir.Value, ...], first: int) -> ir.Value:
        builder, lanes = self.scope.builder, lanes_of(parts[0].type)
        if lanes is None:  # two scalars
            return parts[first]
        chosen = range(first, lanes * len(parts), 2)
        if len(chosen) == 1:
            return builder.extract_element(parts[0], ir.Constant(I32, first))
        other = parts[1] if len(parts) > 1 else unset_lanes(parts[0].type.element, lanes)
        return builder.shuffle_vector(parts[0], other, lane_numbers(*chosen))
