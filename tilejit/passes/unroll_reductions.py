"""Reductions and scans that the vector unit lacks become elementwise ops on rows.

Before: tile IR. After: the same with no ``reduce_custom``, ``scan`` or ``scan_custom``, and with those kinds
of ``reduce`` alone that the unit computes: sums, maxima and minima of numbers up to 32 bits.

The dimension that is combined is made the first of a matrix, so that its slices are rows. A reduction
combines neighbours, half as many at each level: the order stays what it is, and where the function does not
mind, halves are combined, which are contiguous. A scan combines each row with the one 1, 2, 4 ... rows before
it. Where there is one dimension, each element is repeated to a short row; many are first cut into segments,
which are combined side by side, and then the results of the segments are.

16-bit floats are added up in fp32. Bools are combined as int32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tilejit.ir.core import Function, Op, Value
from tilejit.ir.opdef import OpDef
from tilejit.ir.rewrite import replace_op
from tilejit.ir.types import BF16, FP16, FP32, INT1, INT32, INT64, UINT16, UINT32, UINT64, DType, product
from tilejit.ops import (
    ADD,
    AND,
    BROADCAST,
    CONSTANT,
    MAX,
    MIN,
    OR,
    REDUCE,
    REDUCE_CUSTOM,
    RESHAPE,
    SCAN,
    SCAN_CUSTOM,
    SPLAT,
    TRANSPOSE,
    XOR,
    ReduceKind,
)
from tilejit.ops.pieces import COLUMN, ROWS, STACK
from tilejit.passes.legal_values import Maker, element_of
from tilejit.passes.manager import PassContext
from tilejit.passes.unsupported import refusal
from tilejit.records import dataclass

_REPEATED = 8
"""Elements of the row that one element is repeated to: a block of 32 bits."""
_MOST_REPEATED = 64
"""Longer rows of elements are cut into segments."""
_COMBINED: Mapping[ReduceKind, OpDef] = {
    ReduceKind.SUM: ADD, ReduceKind.MAX: MAX, ReduceKind.MIN: MIN,
    ReduceKind.AND: AND, ReduceKind.OR: OR, ReduceKind.XOR: XOR,
}  # fmt: skip
_KIND_OF = {definition.name: kind for kind, definition in _COMBINED.items()}
_ON_UNIT = (ReduceKind.SUM, ReduceKind.MAX, ReduceKind.MIN)
_ON_BOOLS = {ReduceKind.OR: ReduceKind.MAX, ReduceKind.AND: ReduceKind.MIN, ReduceKind.XOR: ReduceKind.SUM}

Values = list[Value]
Combine = Callable[[Maker, Values, Values], Values]


def unroll_reductions(function: Function, context: PassContext) -> None:
    """Rewrite ``function`` in place. Raises: CompileError for functions with control flow or accesses."""
    for op in list(function.walk()):
        if op.name == REDUCE_CUSTOM.name:
            op = _known_kind(op)
        if op.name in (SCAN.name, SCAN_CUSTOM.name) and _length(op) == 1:
            replace_op(op, op.operands)
        elif op.name == REDUCE.name:
            _unroll_kind(op)
        elif op.name == REDUCE_CUSTOM.name:
            _unroll(op, _lifted(op), is_ordered=True)
        elif op.name == SCAN.name:
            _unroll(op, _combine_kind(op))
        elif op.name == SCAN_CUSTOM.name:
            _unroll(op, _lifted(op))


def _length(op: Op) -> int:
    """How many elements each result is combined of."""
    axis = op.attributes["axis"]
    assert isinstance(axis, int)
    return op.operands[0].type.shape[axis]


def _known_kind(op: Op) -> Op:
    """A reduction by a function that is one op known to ``reduce``, as that."""
    body = op.regions[0]
    if (
        len(op.results) != 1
        or len(body.ops) != 2
        or body.terminator.operands[0].defining_op is not body.ops[0]
    ):
        return op
    inner = body.ops[0]
    kind = _KIND_OF.get(inner.name)
    if kind is None or set(inner.operands) != set(body.arguments) or inner.attributes.get("propagate_nan"):
        return op
    maker = Maker(op)
    result = maker.make(REDUCE, {"axis": op.attributes["axis"], "kind": kind}, x=op.operand_list("x")[0])
    replace_op(op, [result])
    assert result.defining_op is not None
    return result.defining_op


def _unroll_kind(op: Op) -> None:
    kind, element = op.attributes["kind"], element_of(op.result)
    assert isinstance(kind, ReduceKind)
    if element == INT1:
        _reduce_bools(op, kind)
    elif kind not in _ON_UNIT or element in (UINT16, UINT32, INT64, UINT64):
        _unroll(op, _combine_kind(op))


def _reduce_bools(op: Op, kind: ReduceKind) -> None:
    """The largest of 0 and 1 says whether any is 1, the smallest whether all are, the sum how many."""
    maker = Maker(op)
    numbers = maker.cast(op.operand("x"), FP32)
    result = maker.make(REDUCE, {**op.attributes, "kind": _ON_BOOLS[kind]}, x=numbers)
    if kind is ReduceKind.XOR:
        result = maker.compute(AND, maker.cast(result, INT32), 1)
    replace_op(op, [maker.cast(result, INT1)])


# What combines two elements


def _combine_kind(op: Op) -> Combine:
    kind = op.attributes["kind"]
    assert isinstance(kind, ReduceKind)

    def combine(maker: Maker, lhs: Values, rhs: Values) -> Values:
        return [maker.compute(_COMBINED[kind], lhs[0], rhs[0])]

    return combine


def _lifted(op: Op) -> Combine:
    """The function of ``op`` on tiles: elementwise ops mean the same element by element."""
    block = op.regions[0]
    for inner in block.ops:
        if not (
            inner.definition.is_elementwise or inner.definition.is_terminator or inner.name == CONSTANT.name
        ):
            raise refusal(
                f"a function that combines elements must be made of arithmetic; got {inner.name}",
                inner.location,
                "choose with tl.where instead of loops",
            )

    def combine(maker: Maker, lhs: Values, rhs: Values) -> Values:
        known: dict[Value, Value] = {}
        for argument, value in zip(block.arguments, (*lhs, *rhs), strict=True):
            known[argument] = maker.cast(value, element_of(argument))
        shape = lhs[0].type.shape

        def tile(value: Value) -> Value:
            if value not in known:  # a scalar from outside
                known[value] = maker.make(SPLAT, {"shape": shape}, x=value)
            return known[value]

        for inner in block.ops[:-1]:
            if inner.name == CONSTANT.name:
                constant = maker.make(CONSTANT, inner.attributes)
                known[inner.result] = maker.make(SPLAT, {"shape": shape}, x=constant)
                continue
            operands = {name: tile(values[0]) for name, values in inner.named_operands().items()}
            known[inner.result] = maker.make(inner.definition, inner.attributes, **operands)
        yielded = [tile(value) for value in block.terminator.operands]
        return [maker.cast(value, element_of(old)) for value, old in zip(yielded, lhs, strict=True)]

    return combine


# Trees of rows


def _unroll(op: Op, combine: Combine, *, is_ordered: bool = False) -> None:
    """Replace a reduction or scan of one or more tiles."""
    maker, axis = Maker(op), op.attributes["axis"]
    assert isinstance(axis, int)
    given = list(op.operands)
    inputs = [maker.cast(x, _computed_in(op, element_of(x))) for x in given]
    if op.name in (REDUCE.name, REDUCE_CUSTOM.name):
        results = _Reduction(maker, combine, is_ordered).of(inputs, axis)
    else:
        results = _Scan(maker, combine, bool(op.attributes["reverse"])).of(inputs, axis)
    back = [maker.cast(y, element_of(x)) for y, x in zip(results, given, strict=True)]
    replace_op(op, back)


def _computed_in(op: Op, element: DType) -> DType:
    if element == INT1:
        return INT32
    adds = op.attributes.get("kind") is ReduceKind.SUM
    return FP32 if adds and element in (FP16, BF16) else element


def _reshape(maker: Maker, x: Value, shape: Sequence[int]) -> Value:
    if x.type.shape == tuple(shape):
        return x
    return maker.make(RESHAPE, {"shape": tuple(shape)}, x=x)


def _transpose(maker: Maker, x: Value, order: Sequence[int]) -> Value:
    if list(order) == sorted(order):
        return x
    return maker.make(TRANSPOSE, {"order": tuple(order)}, x=x)


def _repeat(maker: Maker, x: Value, columns: int) -> Value:
    """Each of n elements repeated to a row."""
    size = x.type.size
    return maker.make(BROADCAST, {"shape": (size, columns)}, x=_reshape(maker, x, (size, 1)))


def _rows(maker: Maker, tiles: Values, start: int, size: int, step: int = 1) -> Values:
    return [maker.make(ROWS, {"start": start, "size": size, "step": step}, x=tile) for tile in tiles]


def _segment(size: int) -> int:
    """How long to make the segments of so many elements; all of them where none fits."""
    if size <= _MOST_REPEATED:
        return size
    lengths = [n for n in range(_REPEATED, size // 2 + 1, _REPEATED) if size % n == 0]
    near = [n for n in lengths if n * n <= 2 * size]
    return max(near, default=size)


@dataclass
class _Reduction:
    """A reduction by a tree."""

    maker: Maker
    combine: Combine
    is_ordered: bool

    def of(self, tiles: Values, axis: int) -> Values:
        """Combine along a dimension, which goes away."""
        shape = tiles[0].type.shape
        rest = shape[:axis] + shape[axis + 1 :]
        if product(rest) == 1:
            return [_reshape(self.maker, x, rest) for x in self._line(tiles)]
        order = [axis, *(d for d in range(len(shape)) if d != axis)]
        matrices = [
            _reshape(self.maker, _transpose(self.maker, x, order), (shape[axis], product(rest)))
            for x in tiles
        ]
        return [_reshape(self.maker, x, rest) for x in self._tree(matrices)]

    def _line(self, tiles: Values) -> Values:
        """The one result of tiles of one dimension."""
        size = tiles[0].type.size
        length = _segment(size)
        if length == size:
            matrices = [_repeat(self.maker, x, _REPEATED) for x in tiles]
            return [self.maker.make(COLUMN, x=x) for x in self._tree(matrices)]
        segments = [_reshape(self.maker, x, (size // length, length)) for x in tiles]
        return self._line(self.of(segments, 1))

    def _tree(self, tiles: Values) -> Values:
        """The combination of all rows, as one row."""
        behind: list[Values] = []
        while (left := tiles[0].type.shape[0]) > 1:
            half = left // 2
            if left % 2:
                behind.append(_rows(self.maker, tiles, left - 1, 1))
            second, step = (1, 2) if self.is_ordered else (half, 1)
            first_part = _rows(self.maker, tiles, 0, half, step)
            tiles = self.combine(self.maker, first_part, _rows(self.maker, tiles, second, half, step))
        for row in reversed(behind):
            tiles = self.combine(self.maker, tiles, row)
        return tiles


@dataclass
class _Scan:
    """A scan by steps of 1, 2, 4 ... rows."""

    maker: Maker
    combine: Combine
    is_reversed: bool

    def of(self, tiles: Values, axis: int) -> Values:
        """Running combinations along a dimension."""
        shape, maker = tiles[0].type.shape, self.maker
        rest = shape[:axis] + shape[axis + 1 :]
        if product(rest) == 1:
            return [_reshape(maker, x, shape) for x in self._line(tiles)]
        order = [axis, *(d for d in range(len(shape)) if d != axis)]
        turned = [_transpose(maker, x, order) for x in tiles]
        moved = turned[0].type.shape
        matrices = self._rows([_reshape(maker, x, (shape[axis], product(rest))) for x in turned])
        back = [order.index(d) for d in range(len(shape))]
        return [_transpose(maker, _reshape(maker, x, moved), back) for x in matrices]

    def _line(self, tiles: Values) -> Values:
        """A scan of tiles of one dimension: of segments side by side, then by what was before each."""
        size, maker = tiles[0].type.size, self.maker
        length = _segment(size)
        if length == size:
            repeated = self._rows([_repeat(maker, x, _REPEATED) for x in tiles])
            return [maker.make(COLUMN, x=x) for x in repeated]
        count = size // length
        segments = [_reshape(maker, x, (count, length)) for x in tiles]
        turned = self._rows([_transpose(maker, x, (1, 0)) for x in segments])
        totals = _rows(maker, turned, 0 if self.is_reversed else length - 1, 1)
        before = self._rows([_repeat(maker, x, length) for x in totals])
        inside = [_transpose(maker, x, (1, 0)) for x in turned]
        return self._joined(inside, before, 1)

    def _rows(self, tiles: Values) -> Values:
        distance, count = 1, tiles[0].type.shape[0]
        while distance < count:
            tiles = self._joined(tiles, tiles, distance)
            distance *= 2
        return tiles

    def _joined(self, tiles: Values, before: Values, distance: int) -> Values:
        """Combine each row with the one of ``before`` so many rows earlier, or later; the others stay."""
        count, maker = tiles[0].type.shape[0], self.maker
        near, far = (0, distance) if self.is_reversed else (distance, 0)
        combined = self.combine(
            maker,
            _rows(maker, before, far, count - distance),
            _rows(maker, tiles, near, count - distance),
        )
        kept = _rows(maker, tiles, count - distance if self.is_reversed else 0, distance)
        pairs = zip(combined, kept, strict=True) if self.is_reversed else zip(kept, combined, strict=True)
        return [maker.make(STACK, lhs=lhs, rhs=rhs) for lhs, rhs in pairs]
