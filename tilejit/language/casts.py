"""Conversions between element types."""

from __future__ import annotations

from tilejit import ops
from tilejit.frontend.context import fail
from tilejit.frontend.operators import compare, subtract
from tilejit.frontend.tile import Tile
from tilejit.frontend.values import as_number, as_tile, cast_to, emit, make_constant, wrap_integer
from tilejit.ir.types import FP32, FP64, INT32, DType, Element
from tilejit.language.creation import as_dtype
from tilejit.language.function import Operand, language_function, one_of
from tilejit.ops import CmpPredicate, Rounding

_ROUNDINGS = {"rtne": Rounding.RTNE, "rtz": Rounding.RTZ}


@language_function
def cast(
    input: Operand, dtype: Element, fp_downcast_rounding: str | None = None, bitcast: bool = False
) -> Tile:
    """Convert elements to ``dtype``: by value, or with ``bitcast`` by reading the same bits.

    Floats round to nearest even (with ``fp_downcast_rounding="rtz"`` toward zero, where they get
    narrower); float to integer truncates; anything to int1 is ``!= 0``. Also a method: ``x.to(dtype)``.
    """
    element = as_dtype(dtype, "dtype of tl.cast")
    rounding = one_of(fp_downcast_rounding or "rtne", _ROUNDINGS, "fp_downcast_rounding")
    number = as_number(input)
    if number is not None and not bitcast and isinstance(element, DType):
        wraps = isinstance(number, int) and element.is_int() and not element.is_bool()
        return make_constant(wrap_integer(int(number), element) if wraps else number, element)
    tile = as_tile(input, "input of tl.cast")
    if bitcast:
        return _bitcast(tile, element)
    if rounding is Rounding.RTZ:
        return _toward_zero(tile, element)
    return cast_to(tile, element)


def _bitcast(tile: Tile, dtype: Element) -> Tile:
    if tile.dtype == dtype:
        return tile
    if tile.dtype.primitive_bitwidth != dtype.primitive_bitwidth:
        fail(
            f"bitcast needs types of one width; got {tile.dtype} ({tile.dtype.primitive_bitwidth} bits) "
            f"and {dtype} ({dtype.primitive_bitwidth} bits)",
            "convert by value with .to(dtype)",
        )
    return emit(ops.BITCAST, {"dtype": dtype}, x=tile)


def _toward_zero(tile: Tile, target: Element) -> Tile:
    """Narrow floats toward zero: in one step from fp32, from others by way of it."""
    source = tile.dtype
    if not (
        isinstance(source, DType)
        and isinstance(target, DType)
        and source.is_floating()
        and target.is_floating()
        and (source.bits > target.bits or source == target)
    ):
        fail(
            f"fp_downcast_rounding is for casts to a narrower float; got {source} to {target}",
            "leave fp_downcast_rounding out",
        )
    if source == target:
        return tile
    single = _single_toward_zero(tile) if source == FP64 else cast_to(tile, FP32)
    return single if target == FP32 else cast_to(single, target, Rounding.RTZ)


def _single_toward_zero(tile: Tile) -> Tile:
    """Convert fp64 to fp32 toward zero: to nearest, then one step back where that went away from zero."""
    nearest = cast_to(tile, FP32)
    went_away = compare(CmpPredicate.GT, ">", emit(ops.ABS, x=cast_to(nearest, FP64)), emit(ops.ABS, x=tile))
    return _bitcast(subtract(_bitcast(nearest, INT32), cast_to(went_away, INT32)), FP32)
