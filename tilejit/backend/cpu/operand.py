"""Matrices in memory as dots and packs see them: a pointer, an element type and two strides.

Vector loads convert on the way to the type a micro-kernel computes in, so that narrow operands need no copy
where each element is used few times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from llvmlite import ir

from tilejit.backend.cpu.loops import I64, index
from tilejit.diagnostics import InternalError
from tilejit.ir.types import BF16, FP16, FP32, FP64, DType, Kind

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
        return builder.gep(pointer, [ir.Constant(I64, offset * itemsize)], source_etype=ir.IntType(8))
    return builder.gep(pointer, [offset], source_etype=ir.IntType(8 * itemsize))


def memory_type(dtype: DType) -> ir.Type:
    """The LLVM type of one element in memory; bf16 and fp8 are integers of their width."""
    floats = {FP16: ir.HalfType(), FP32: ir.FloatType(), FP64: ir.DoubleType()}
    return floats.get(dtype, ir.IntType(8 * dtype.itemsize))


def widen(element: ir.Type, lanes: int) -> ir.Type:
    """A vector of ``lanes`` elements; one lane is the scalar itself."""
    return element if lanes == 1 else ir.VectorType(element, lanes)


def load_vector(
    builder: ir.IRBuilder,
    pointer: ir.Value,
    dtype: DType,
    lanes: int,
    wanted: DType,
    live_lanes: int | None = None,
) -> ir.Value:
    """Load ``lanes`` adjacent elements as ``wanted``; lanes from ``live_lanes`` on are zero, not read."""
    type_ = widen(memory_type(dtype), lanes)
    if live_lanes is None or live_lanes == lanes:
        value = builder.load(pointer, align=dtype.itemsize, typ=type_)
    else:
        value = _masked_load(builder, pointer, type_, dtype, live_lanes)
    return convert_vector(builder, value, dtype, wanted, lanes)


def convert_vector(
    builder: ir.IRBuilder, value: ir.Value, dtype: DType, wanted: DType, lanes: int
) -> ir.Value:
    """Convert elements of ``dtype`` to ``wanted``, a type that holds every value of ``dtype``."""
    target_type = widen(memory_type(wanted), lanes)
    if dtype == wanted:
        return value
    if dtype == BF16 and wanted == FP32:
        wide = builder.zext(value, widen(ir.IntType(32), lanes))
        return builder.bitcast(builder.shl(wide, splat_constant(ir.IntType(32), 16, lanes)), target_type)
    if (
        dtype.kind is Kind.FLOAT
        and dtype.bits >= 16
        and wanted.kind is Kind.FLOAT
        and dtype.bits < wanted.bits
    ):
        if dtype == BF16:
            return builder.fpext(convert_vector(builder, value, BF16, FP32, lanes), target_type)
        return builder.fpext(value, target_type)
    if dtype.kind in (Kind.SIGNED, Kind.UNSIGNED) and wanted.kind is Kind.SIGNED and dtype.bits < wanted.bits:
        extend = builder.sext if dtype.kind is Kind.SIGNED else builder.zext
        return extend(value, target_type)
    raise InternalError(f"a dot cannot widen {dtype} to {wanted}")


def splat_constant(element: ir.Type, value: int | float, lanes: int) -> ir.Constant:
    """A constant with ``value`` in every lane."""
    if lanes == 1:
        return ir.Constant(element, value)
    return ir.Constant(ir.VectorType(element, lanes), [value] * lanes)


def splat(builder: ir.IRBuilder, scalar: ir.Value, lanes: int) -> ir.Value:
    """A vector with ``scalar`` in every lane."""
    if lanes == 1:
        return scalar
    undefined = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, splat_constant(ir.IntType(32), 0, lanes))


def _masked_load(
    builder: ir.IRBuilder, pointer: ir.Value, type_: ir.VectorType, dtype: DType, live_lanes: int
) -> ir.Value:
    lanes = type_.count
    mask_type = ir.VectorType(ir.IntType(1), lanes)
    code = {"half": "f16", "float": "f32", "double": "f64"}.get(str(type_.element), str(type_.element))
    signature = ir.FunctionType(type_, [pointer.type, ir.IntType(32), mask_type, type_])
    function = builder.module.declare_intrinsic(f"llvm.masked.load.v{lanes}{code}.p0", fnty=signature)
    mask = ir.Constant(mask_type, [lane < live_lanes for lane in range(lanes)])
    zero = splat_constant(type_.element, 0, lanes)
    return builder.call(function, [pointer, ir.Constant(ir.IntType(32), dtype.itemsize), mask, zero])
