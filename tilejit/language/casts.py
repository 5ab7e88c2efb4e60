"""Conversions between element types."""

from __future__ import annotations

from tilejit import ops
from tilejit.frontend.context import fail
from tilejit.frontend.tile import Tile
from tilejit.frontend.values import as_number, as_tile, cast_to, emit, make_constant
from tilejit.ir.types import BF16, FP16, FP32, DType, Element, PointerType
from tilejit.language.creation import as_dtype
from tilejit.language.function import Operand, language_function, one_of
from tilejit.ops import Rounding

_ROUNDINGS = {"rtne": Rounding.RTNE, "rtz": Rounding.RTZ}


@language_function
def cast(
    input: Operand, dtype: Element, fp_downcast_rounding: str | None = None, bitcast: bool = False
) -> Tile:
    """Convert elements to ``dtype``: by value, or with ``bitcast`` by reading the same bits.

    Floats round to nearest even (``fp_downcast_rounding="rtz"``: toward zero, from fp32 to narrower
    floats); float to integer truncates; anything to int1 is ``!= 0``. Also a method: ``x.to(dtype)``.
    """
    element = as_dtype(dtype, "dtype of tl.cast")
    rounding = one_of(fp_downcast_rounding or "rtne", _ROUNDINGS, "fp_downcast_rounding")
    number = as_number(input)
    if number is not None and not bitcast and isinstance(element, DType):
        return make_constant(number, element)
    tile = as_tile(input, "input of tl.cast")
    if bitcast:
        return _bitcast(tile, element)
    if rounding is Rounding.RTZ:
        _check_toward_zero(tile.dtype, element)
        if tile.dtype == element:
            return tile
    return cast_to(tile, element, rounding)


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


def _check_toward_zero(source: Element, target: Element) -> None:
    floats = (
        isinstance(source, DType)
        and isinstance(target, DType)
        and source.is_floating()
        and target.is_floating()
    )
    if floats and source == target:
        return
    narrows = source == FP32 and isinstance(target, DType) and (target in (FP16, BF16) or target.is_fp8())
    if isinstance(source, PointerType) or not narrows:
        fail(
            f"fp_downcast_rounding is for casts from fp32 to a narrower float; got {source} to {target}",
            "leave fp_downcast_rounding out",
        )
