"""Matrices in memory as dots and packs see them: a pointer, an element type and two strides.

Vector loads convert on the way to the type a micro-kernel computes in, so that narrow operands need no copy
where each element is used few times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from llvmlite import ir

from tilejit.backend.cpu.casts import convert
from tilejit.backend.cpu.loops import index
from tilejit.backend.cpu.values import (
    I1,
    I8,
    I32,
    I64,
    intrinsic,
    lane_numbers,
    llvm_storage,
    number,
    splat,
    vector_of,
)  # fmt: skip
from tilejit.ir.types import DType
from tilejit.records import dataclass

Stride: TypeAlias = int | ir.Value  # in elements; a value is an i64


@dataclass(frozen=True)
class Operand:
    """A matrix in memory: element (r, c) is at ``pointer`` + r * row_stride + c * column_stride.

    Units: strides in elements. A column stride of 1 is row-major, a row stride of 1 a transposed view.
    """

    pointer: ir.Value
    dtype: DType
    row_stride: Stride
    column_stride: Stride

    @property
    def transposed(self) -> Operand:
        """The same memory with rows and columns exchanged."""
        return Operand(self.pointer, self.dtype, self.column_stride, self.row_stride)

    def at(self, builder: ir.IRBuilder, row: int | ir.Value, column: int | ir.Value) -> Operand:
        """The matrix that starts at element (row, column)."""
        offset = add_offsets(
            builder, scale(builder, row, self.row_stride), scale(builder, column, self.column_stride)
        )
        pointer = advance(builder, self.pointer, offset, self.dtype.itemsize)
        return Operand(pointer, self.dtype, self.row_stride, self.column_stride)


def is_unit(stride: Stride) -> bool:
    """True for a stride known to be 1."""
    return isinstance(stride, int) and stride == 1


def static(stride: Stride) -> int | None:
    """The stride where it is known at compile time."""
    return stride if isinstance(stride, int) else None


def strides_text(strides: Sequence[Stride | None]) -> str:
    """Strides as names of functions spell them: "r" for those that are known only at run time."""
    return "x".join(str(stride) if isinstance(stride, int) else "r" for stride in strides)


def scale(builder: ir.IRBuilder, position: int | ir.Value, stride: Stride) -> int | ir.Value:
    """Return position * stride, folded where both are known."""
    if isinstance(position, int) and isinstance(stride, int):
        return position * stride
    if is_unit(stride) or (position == 0 and isinstance(position, int)):
        return position
    if isinstance(position, int) and position == 1:
        return stride
    return builder.mul(index(position), index(stride))


def add_offsets(builder: ir.IRBuilder, first: int | ir.Value, second: int | ir.Value) -> int | ir.Value:
    """Return first + second, folded where both are known."""
    if isinstance(first, int) and isinstance(second, int):
        return first + second
    if isinstance(first, int) and first == 0:
        return second
    if isinstance(second, int) and second == 0:
        return first
    return builder.add(index(first), index(second))


def advance(builder: ir.IRBuilder, pointer: ir.Value, offset: int | ir.Value, itemsize: int) -> ir.Value:
    """Return ``pointer`` moved by ``offset`` elements of ``itemsize`` bytes."""
    if isinstance(offset, int):
        if offset == 0:
            return pointer
        return builder.gep(pointer, [ir.Constant(I64, offset * itemsize)], source_etype=I8)
    return builder.gep(pointer, [offset], source_etype=ir.IntType(8 * itemsize))


def lanes_type(dtype: DType, lanes: int) -> ir.Type:
    """The type of ``lanes`` elements in a register; one lane is the scalar itself."""
    return vector_of(llvm_storage(dtype), lanes if lanes > 1 else None)


def load_vector(
    builder: ir.IRBuilder,
    pointer: ir.Value,
    dtype: DType,
    lanes: int,
    wanted: DType,
    live_lanes: int | ir.Value | None = None,
) -> ir.Value:
    """Load ``lanes`` adjacent elements as ``wanted``; lanes from ``live_lanes`` on are zero, not read."""
    value = _load_lanes(builder, pointer, lanes_type(dtype, lanes), dtype.itemsize, lanes, live_lanes)
    return convert(builder, value, dtype, wanted)


def load_words(builder: ir.IRBuilder, place: Operand, word: DType, lanes: int, live_lanes: int) -> ir.Value:
    """Load ``lanes`` words that each hold elements of ``place``, at any address of an element; lanes from
    ``live_lanes`` on are zero, not read.
    """
    type_ = lanes_type(word, lanes)
    return _load_lanes(builder, place.pointer, type_, place.dtype.itemsize, lanes, live_lanes)


def lane_mask(builder: ir.IRBuilder, lanes: int, live_lanes: int | ir.Value) -> ir.Value:
    """The mask of the first ``live_lanes``, a number or an i32 of any size."""
    if isinstance(live_lanes, int):
        return ir.Constant(ir.VectorType(I1, lanes), [lane < live_lanes for lane in range(lanes)])
    return builder.icmp_signed("<", lane_numbers(*range(lanes)), splat(builder, live_lanes, lanes))


def _load_lanes(
    builder: ir.IRBuilder,
    pointer: ir.Value,
    type_: ir.Type,
    align: int,
    lanes: int,
    live_lanes: int | ir.Value | None,
) -> ir.Value:
    if live_lanes is None or (isinstance(live_lanes, int) and live_lanes == lanes):
        return builder.load(pointer, align=align, typ=type_)
    mask = lane_mask(builder, lanes, live_lanes)
    operands = [pointer, ir.Constant(I32, align), mask, number(type_, 0)]
    return intrinsic(builder, "llvm.masked.load", type_, operands, [type_, pointer.type])
