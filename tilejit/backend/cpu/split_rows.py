"""Rows of floats as integers of 16 bits, or in two parts of fewer bits, for dot units that multiply these.

int8: row = scale * (256 * high + low) with high and low of one signed byte each, so that integer sums are
exact: the row is rounded to multiples of its scale, 1/32512 of its largest magnitude. bf16: row = high + low.
A row with an element that is not finite gets the scale NaN. Whole rows of int8 keep 256 * high + low.

The unit for bytes multiplies unsigned by signed ones. The other matrix is made unsigned by adding 128 to each
element, and what that adds to the sums, 128 times the sum of the row, is taken off where they start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

import numpy as np
from llvmlite import ir

from tilejit.backend.cpu.casts import convert
from tilejit.backend.cpu.loops import emit_loop, index, internal_function
from tilejit.backend.cpu.operand import Operand, load_vector, static
from tilejit.backend.cpu.values import F32, I8, I16, I32, I64, POINTER, intrinsic, number, splat, vector_of
from tilejit.ir.types import BF16, FP32, INT8, DType
from tilejit.records import dataclass

LANES = 16
VECTOR_BYTES = 64
DEEPEST = 512
"""Longest rows whose sums of products stay within 32 bits: 32512 * 128 * 512 < 2 ** 31."""
DEEPEST_TILES = 4096
"""The same where high and low parts are summed apart; limited by what rows take on the stack."""
_STEPS = 127 * 256
_SMALLEST = 1e-34
"""Rows with no larger magnitude count as zero: the reciprocal of their scale is no fp32 number."""
_ROUND = 12582912.0  # 1.5 * 2**23: the low bits of x + this are x rounded to an integer


class SplitUnit(Enum):
    """The dot unit; ``per_word`` elements along k make a word of 32 bits."""

    INT8 = "int8"
    BF16 = "bf16"

    @property
    def per_word(self) -> int:
        return 4 if self is SplitUnit.INT8 else 2

    @property
    def element(self) -> DType:
        """What both sides of the unit are."""
        return INT8 if self is SplitUnit.INT8 else BF16

    @property
    def vector_elements(self) -> int:
        return LANES * self.per_word


@dataclass(frozen=True)
class SplitRows:
    """Rows in parts: high, low [m, padded] elements of the unit; scales [m] fp32; starts [m, 16] int32.

    ``starts``: what sums begin with, spread over the lanes of a vector or the same in all (``for_columns``).
    ``is_whole``: rows that would be split to bytes are integers of 16 bits in ``high``, and have nothing in
    ``low`` and ``starts``.
    """

    unit: SplitUnit
    m: int
    k: int
    high: ir.Value
    low: ir.Value
    scales: ir.Value
    starts: ir.Value
    is_whole: bool = False

    @property
    def itemsize(self) -> int:
        """Bytes of an element of ``high``."""
        return 2 if self.is_whole else self.unit.element.itemsize

    @property
    def padded(self) -> int:
        """k, rounded up to whole vectors; the rest is zero, and of whole rows anything."""
        return padded_depth(self.unit, self.k)

    @property
    def values(self) -> list[ir.Value]:
        return [self.high, self.low, self.scales, self.starts]

    def at(self, builder: ir.IRBuilder, row: int | ir.Value, depth: int | ir.Value = 0) -> SplitRows:
        """The rows from ``row`` on, and of them what lies at ``depth`` and beyond."""
        offset = builder.add(builder.mul(index(row), index(self.padded)), index(depth))
        part_bytes = builder.mul(offset, index(self.itemsize))
        high, low = (builder.gep(p, [part_bytes], source_etype=I8) for p in (self.high, self.low))
        scales = builder.gep(self.scales, [index(row)], source_etype=F32)
        starts = builder.gep(self.starts, [index(row)], source_etype=vector_of(I32, LANES))
        return SplitRows(self.unit, self.m, self.k, high, low, scales, starts, self.is_whole)


def padded_depth(unit: SplitUnit, k: int) -> int:
    """k, rounded up to whole vectors."""
    return -(-k // unit.vector_elements) * unit.vector_elements


def rows_bytes(unit: SplitUnit, m: int, k: int) -> int:
    """Scratch that ``m`` split rows need, in bytes."""
    return 2 * m * padded_depth(unit, k) * unit.element.itemsize + m * (4 * LANES) + -(-4 * m // 64) * 64


def rows_in(
    builder: ir.IRBuilder, unit: SplitUnit, m: int, k: int, scratch: ir.Value, *, is_whole: bool = False
) -> SplitRows:
    """Lay split rows out in ``rows_bytes`` bytes of scratch; whole ones take both parts."""
    part = m * padded_depth(unit, k) * unit.element.itemsize
    places = [0, part, 2 * part + 4 * LANES * m, 2 * part]
    high, low, scales, starts = (builder.gep(scratch, [index(p)], source_etype=I8) for p in places)
    return SplitRows(unit, m, k, high, low, scales, starts, is_whole)


def emit_split(builder: ir.IRBuilder, a: Operand, rows: SplitRows, count: int, *, for_columns: bool) -> None:
    """Emit code that splits ``count`` rows of ``a``, fp32 with elements side by side.

    ``for_columns``: sums of products are kept in a lane for each column, and not spread over the lanes.
    """
    stride = static(a.row_stride)

    def build(inner: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        pointer, high, low, scales, starts, row_stride = arguments
        source = Operand(pointer, a.dtype, row_stride if stride is None else stride, 1)
        into = SplitRows(rows.unit, rows.m, rows.k, high, low, scales, starts, rows.is_whole)

        def row(i: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
            if rows.unit is SplitUnit.INT8:
                _split_to_bytes(inner, source.at(inner, i, 0), into.at(inner, i), for_columns)
            else:
                _split_to_bf16(inner, source.at(inner, i, 0), into.at(inner, i))
            return []

        emit_loop(inner, count, [], row)

    name = f"tilejit.split.{rows.unit.value}.{count}x{rows.k}.{stride or 'r'}{'.columns' * for_columns}"
    name += ".whole" * rows.is_whole
    function = internal_function(builder.module, name, [POINTER] * 5 + [I64], build)
    builder.call(function, [a.pointer, *rows.values, index(a.row_stride)])


def _over_row(
    builder: ir.IRBuilder,
    a: Operand,
    k: int,
    carried: Sequence[ir.Value],
    body: Callable[[ir.Value, ir.Value, Sequence[ir.Value]], list[ir.Value]],
) -> list[ir.Value]:
    """Run ``body(position, elements, carried)`` over vectors of a row; elements past the end are zero."""
    whole, rest = divmod(k, LANES)

    def step(i: ir.Value, values: Sequence[ir.Value]) -> list[ir.Value]:
        position = builder.mul(i, index(LANES))
        return body(
            position, load_vector(builder, a.at(builder, 0, position).pointer, FP32, LANES, FP32), values
        )

    values = emit_loop(builder, whole, carried, step)
    if rest:
        place = a.at(builder, 0, whole * LANES).pointer
        values = body(index(whole * LANES), load_vector(builder, place, FP32, LANES, FP32, rest), values)
    return values


def _zero_tail(builder: ir.IRBuilder, row: SplitRows) -> None:
    """Clear what lies between the end of a row and the whole vectors that are read of it."""
    start = -(-row.k // LANES) * LANES
    itemsize = row.unit.element.itemsize
    for position in range(start, row.padded, LANES):
        for part in (row.high, row.low):
            place = builder.gep(part, [index(position * itemsize)], source_etype=I8)
            zero = number(vector_of(ir.IntType(8 * itemsize), LANES), 0)
            builder.store(zero, place, align=itemsize)


def _split_to_bytes(builder: ir.IRBuilder, a: Operand, row: SplitRows, for_columns: bool) -> None:
    integers, floats = vector_of(I32, LANES), vector_of(F32, LANES)

    def find_largest(_: ir.Value, x: ir.Value, values: Sequence[ir.Value]) -> list[ir.Value]:
        # As integers, magnitudes are in the order of the numbers, and NaN comes after all of them.
        magnitude = builder.and_(builder.bitcast(x, integers), number(integers, 0x7FFFFFFF))
        return [intrinsic(builder, "llvm.smax", integers, [values[0], magnitude], [integers])]

    (most,) = _over_row(builder, a, row.k, [number(integers, 0)], find_largest)
    largest = builder.bitcast(intrinsic(builder, "llvm.vector.reduce.smax", I32, [most], [integers]), F32)
    scale = builder.fmul(largest, number(F32, float(np.float32(1.0 / _STEPS))))
    # The parts of a row with an infinity say nothing: times NaN, their sums have no sign to be believed.
    scale = builder.fadd(scale, builder.fsub(largest, largest))
    usable = builder.fcmp_ordered(">", largest, number(F32, float(np.float32(_SMALLEST))))
    steps = builder.select(usable, builder.fdiv(number(F32, float(_STEPS)), largest), number(F32, 0.0))
    factor, magic = splat(builder, steps, LANES), number(floats, _ROUND)

    def split(position: ir.Value, x: ir.Value, values: Sequence[ir.Value]) -> list[ir.Value]:
        bits = builder.bitcast(intrinsic(builder, "llvm.fma", floats, [x, factor, magic], [floats]), integers)
        if row.is_whole:
            parts = [(bits, row.high, I16)]
        else:
            high = builder.lshr(builder.add(bits, number(integers, 128)), number(integers, 8))
            parts = [(high, row.high, I8), (bits, row.low, I8)]
        for part, place, element in parts:
            where = builder.gep(place, [position], source_etype=element)
            builder.store(builder.trunc(part, vector_of(element, LANES)), where, align=row.itemsize)
        if row.is_whole:
            return []
        return [builder.add(values[0], builder.sub(bits, number(integers, _bits_of(_ROUND))))]

    builder.store(scale, row.scales, align=4)
    if row.is_whole:
        _over_row(builder, a, row.k, [], split)
        return
    (sums,) = _over_row(builder, a, row.k, [number(integers, 0)], split)
    _zero_tail(builder, row)
    if for_columns:
        sums = splat(builder, intrinsic(builder, "llvm.vector.reduce.add", I32, [sums], [integers]), LANES)
    builder.store(builder.mul(sums, number(integers, -128)), row.starts, align=4)


def _bits_of(value: float) -> int:
    return int(np.float32(value).view(np.int32))


def _split_to_bf16(builder: ir.IRBuilder, a: Operand, row: SplitRows) -> None:
    def split(position: ir.Value, x: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
        high = convert(builder, x, FP32, BF16)
        low = convert(builder, builder.fsub(x, convert(builder, high, BF16, FP32)), FP32, BF16)
        for part, place in ((high, row.high), (low, row.low)):
            builder.store(part, builder.gep(place, [position], source_etype=I16), align=2)
        return []

    _over_row(builder, a, row.k, [], split)
    _zero_tail(builder, row)
