"""Whether a loaded tile is all there, on a regular grid in memory, found out before a dot reads it."""

from __future__ import annotations

from llvmlite import ir

from tilejit.backend.cpu.loops import index
from tilejit.backend.cpu.mask_bounds import leading_count
from tilejit.backend.cpu.scope import START, Values
from tilejit.backend.cpu.values import I1, I64, intrinsic
from tilejit.diagnostics import InternalError
from tilejit.ir.core import Value
from tilejit.ir.loop_plan import OffsetRange, Stride, WholeTile
from tilejit.ir.types import DType


def is_whole_tile(values: Values, tile: WholeTile) -> ir.Value:
    """Whether all that a tile asks for holds; of an index that would wrap round it is not asked how far."""
    builder = values.scope.builder
    result: ir.Value = ir.Constant(I1, 1)
    for condition in tile.conditions:
        result = builder.and_(result, _first(values, condition))
    for bound, size in tile.bounds:
        dim = next(dim for dim in bound.dims if dim is not None)
        count = leading_count(values, bound, dim, {}, size)
        result = builder.and_(result, builder.icmp_signed("==", count, ir.Constant(I64, size)))
    for offset in tile.offsets:
        result = builder.and_(result, _stays_in_range(values, offset))
    return result


def emit_stride(values: Values, stride: Stride) -> ir.Value | int:
    """A stride as a number, or as an i64 where it is known only at run time."""
    if stride.constant is not None:
        return stride.constant
    builder = values.scope.builder
    product: ir.Value = ir.Constant(I64, stride.coefficient)
    for factor in stride.factors:
        product = builder.mul(product, _widened(values, factor, values.at(factor, ()).value))
    return product


def _stays_in_range(values: Values, offset: OffsetRange) -> ir.Value:
    builder, element = values.scope.builder, offset.value.type.element
    if not isinstance(element, DType):
        raise InternalError("an offset that is no integer")
    zero, start = ir.Constant(I64, 0), _widened(values, offset.value, _first(values, offset.value))
    least = most = start
    for stride, size in zip(offset.strides, offset.value.type.shape, strict=True):
        distance = builder.mul(index(emit_stride(values, stride)), index(size - 1))
        most = builder.add(most, intrinsic(builder, "llvm.smax", I64, [distance, zero], [I64]))
        least = builder.add(least, intrinsic(builder, "llvm.smin", I64, [distance, zero], [I64]))
    if offset.divisor is None:
        lowest, end = index(element.min_value), index(element.max_value + 1)
    else:
        lowest, end = zero, _widened(values, offset.divisor, _first(values, offset.divisor))
    fits = builder.and_(builder.icmp_signed(">=", least, lowest), builder.icmp_signed("<", most, end))
    # Numbers of 64 bits may have come round on the way up.
    return fits if element.bits < 64 else builder.and_(fits, builder.icmp_signed(">=", most, start))


def _first(values: Values, value: Value) -> ir.Value:
    return values.at(value, (START,) * value.type.rank).value


def _widened(values: Values, value: Value, number: ir.Value) -> ir.Value:
    """An integer of at most 64 bits as an i64."""
    element = value.type.element
    if number.type == I64:
        return number
    is_signed = isinstance(element, DType) and element.is_int_signed()
    return values.scope.builder.sext(number, I64) if is_signed else values.scope.builder.zext(number, I64)
