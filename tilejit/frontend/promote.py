"""Triton's promotion rules: the type in which two operands meet.

A *weak* operand is a Python number written in an expression: it takes the tile's type unless its kind is
higher (bool < int < float). Tiles and *strong* scalars (results, runtime arguments, assigned names) promote
by their types alone.
"""

from __future__ import annotations

import math

from tilejit.ir.types import BF16, FP16, FP32, FP64, INT1, INT32, INT64, UINT32, UINT64, DType

_SMALLEST_FP32 = 2.0**-126
_LARGEST_FP32 = (2.0 - 2.0**-23) * 2.0**127


class PromotionError(Exception):
    """Two types that do not meet; the text is the reason, ``hint`` the way out."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def number_type(value: bool | int | float) -> DType:
    """Return the type of a number on its own: the smallest of int32, uint32, int64, uint64, or fp32 unless
    out of range.

    Raises: PromotionError for integers that no type holds.
    """
    if isinstance(value, bool):
        return INT1
    if isinstance(value, int):
        for dtype in (INT32, UINT32, INT64, UINT64):
            if dtype.min_value <= value <= dtype.max_value:
                return dtype
        raise PromotionError(f"the integer {value} fits no type", "the widest types are int64 and uint64")
    magnitude = abs(value)
    fits = not math.isfinite(value) or magnitude == 0.0 or _SMALLEST_FP32 <= magnitude <= _LARGEST_FP32
    return FP32 if fits else FP64


def promote_integers(a: DType, b: DType) -> DType:
    """C's usual arithmetic conversions: the wider type; unsigned where the widths are equal; bool counts as
    unsigned.
    """
    if a.is_int_signed() == b.is_int_signed():
        return a if a.bits > b.bits else b
    unsigned, signed = (b, a) if a.is_int_signed() else (a, b)
    return unsigned if unsigned.bits >= signed.bits else signed


def computation_type(
    a: DType, a_is_weak: bool, b: DType, b_is_weak: bool, *, is_division: bool = False
) -> DType:
    """Return the type in which an operator computes; ``is_division`` for ``/``, ``//`` and ``%``.

    Raises: PromotionError where the operands do not meet.
    """
    if a_is_weak != b_is_weak:
        weak, strong = (a, b) if a_is_weak else (b, a)
        if _rank(weak) <= _rank(strong):
            return FP32 if is_division and strong.is_floating() and strong.bits < 32 else strong
    if a.is_floating() or b.is_floating():
        if is_division:
            return FP64 if FP64 in (a, b) else FP32
        return _promote_floats(a, b)
    if is_division and a.is_int_signed() != b.is_int_signed():
        raise PromotionError(
            f"{a} and {b} differ in signedness, and neither type holds every quotient",
            "cast one side so that both are signed or both are unsigned",
        )
    return promote_integers(a, b)


def _promote_floats(a: DType, b: DType) -> DType:
    for dtype in (FP64, FP32):
        if dtype in (a, b):
            return dtype
    if FP16 in (a, b):
        return FP16
    if BF16 in (a, b):
        return BF16 if a == b else FP32
    if a.is_fp8() and b.is_fp8():
        return a if a == b else FP16
    raise PromotionError(f"{a} and {b} have no common type", "cast the fp8 tile to fp16 or fp32 first")


def _rank(dtype: DType) -> int:
    return 2 if dtype.is_floating() else 0 if dtype.is_bool() else 1


def sum_type(dtype: DType) -> DType:
    """Return the type in which ``tl.sum`` and ``tl.cumsum`` add: integers below 32 bits widen."""
    if dtype.is_int() and dtype.bits < 32:
        return INT32 if dtype.is_int_signed() else UINT32
    return dtype


def extremum_type(dtype: DType) -> DType:
    """Return the type of ``tl.max`` and ``tl.min``: below 32 bits they widen to fp32 or int32."""
    if dtype.bits < 32:
        return FP32 if dtype.is_floating() else INT32
    return dtype
