"""Floats of 8 bits, of which the vector unit knows nothing: they are taken apart and put together as int32.

A number is rounded to a multiple of the last place of its format by adding and subtracting 1.5 * 2**23 of
these places. What is too large gives infinity, or NaN in formats without one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from tilejit.ir.core import Op, Value
from tilejit.ir.rewrite import replace_op
from tilejit.ir.types import FP8E4B8, FP8E4NV, FP8E5, FP8E5B16, FP32, INT32, UINT8, UINT32, DType
from tilejit.ops import ABS, ADD, AND, MAX, MIN, MUL, OR, SHL, SHR, SUB, CmpPredicate, Rounding
from tilejit.passes.legal_values import Maker, element_of, refuse
from tilejit.records import dataclass


@dataclass(frozen=True)
class _Format:
    """Bits behind the sign: exponent, then ``mantissa`` bits; ``largest`` is the code of the largest number.

    ``beyond`` is the code of what is larger, and ``nan`` that of NaN. ``is_unsigned_zero``: -0 is NaN.
    """

    mantissa: int
    bias: int
    largest: int
    beyond: int
    nan: int
    is_unsigned_zero: bool = False


_FORMATS: Mapping[DType, _Format] = {
    FP8E5: _Format(2, 15, 0x7B, 0x7C, 0x7E),
    FP8E4NV: _Format(3, 7, 0x7E, 0x7F, 0x7F),
    FP8E4B8: _Format(3, 8, 0x7F, 0x80, 0x80, is_unsigned_zero=True),
    FP8E5B16: _Format(2, 16, 0x7F, 0x80, 0x80, is_unsigned_zero=True),
}
_SIGN, _MAGNITUDE = 0x80, 0x7F
_MANTISSA, _BIAS = 23, 127
_LIMIT = 2.0**17
"""Beyond the largest number of every format."""


def decoded(maker: Maker, x: Value) -> Value:
    """fp32 of floats of 8 bits."""
    format = _FORMATS[element_of(x)]
    code = maker.cast(maker.bits(x, UINT8), INT32)
    size = maker.compute(AND, code, _MAGNITUDE)
    exponent = maker.compute(SHR, size, format.mantissa)
    hidden = maker.compute(SHL, maker.compute(MIN, exponent, 1), format.mantissa)
    digits = maker.compute(ADD, maker.compute(AND, size, (1 << format.mantissa) - 1), hidden)
    power = maker.compute(ADD, maker.compute(MAX, exponent, 1), _BIAS - format.bias - format.mantissa)
    scale = maker.bits(maker.compute(SHL, power, _MANTISSA), FP32)
    value = maker.compute(MUL, maker.cast(digits, FP32), scale)
    if format.largest < format.beyond < format.nan:
        is_infinite = maker.compare(CmpPredicate.EQ, size, format.beyond)
        value = maker.select(is_infinite, math.inf, value)
    sign = maker.compute(SHL, maker.compute(AND, code, _SIGN), 24)
    value = maker.bits(maker.compute(OR, maker.bits(value, INT32), sign), FP32)
    if format.is_unsigned_zero:
        is_nan = maker.compare(CmpPredicate.EQ, code, format.nan)
    else:
        last_number = format.largest if format.beyond == format.nan else format.beyond
        is_nan = maker.compare(CmpPredicate.GT, size, last_number)
    return maker.select(is_nan, math.nan, value)


def encoded(maker: Maker, x: Value, target: DType) -> Value:
    """Floats of 8 bits nearest to fp32, ties to even."""
    format = _FORMATS[target]
    least = 1 - format.bias
    size = maker.compute(MIN, maker.compute(ABS, x), _LIMIT)
    exponent = maker.compute(SHR, maker.bits(size, INT32), _MANTISSA)
    place = maker.compute(SUB, maker.compute(MAX, exponent, least + _BIAS), format.mantissa)
    shift = maker.compute(MUL, maker.bits(maker.compute(SHL, place, _MANTISSA), FP32), 1.5 * 2.0**_MANTISSA)
    rounded = maker.compute(SUB, maker.compute(ADD, size, shift), shift)
    normal = maker.compute(SHR, maker.bits(rounded, INT32), _MANTISSA - format.mantissa)
    normal = maker.compute(SUB, normal, (_BIAS - format.bias) << format.mantissa)
    small = maker.cast(maker.compute(MUL, rounded, 2.0 ** (format.mantissa - least)), INT32)
    code = maker.select(maker.compare(CmpPredicate.LT, rounded, 2.0**least), small, normal)
    sign = maker.compute(AND, maker.bits(maker.compute(SHR, maker.bits(x, UINT32), 24), INT32), _SIGN)
    too_large = maker.compare(CmpPredicate.GT, code, format.largest)
    if format.is_unsigned_zero:
        sign = maker.select(maker.compare(CmpPredicate.EQ, code, 0), 0, sign)
        code = maker.select(too_large, format.beyond, maker.compute(OR, code, sign))
    else:
        code = maker.compute(OR, maker.select(too_large, format.beyond, code), sign)
    code = maker.select(maker.compare(CmpPredicate.NE, x, x), format.nan, code)
    return maker.bits(maker.cast(code, UINT8), target)


def cast(maker: Maker, op: Op) -> None:
    """A cast from or to floats of 8 bits goes through fp32."""
    x, target = op.operands[0], element_of(op.result)
    if op.attributes["rounding"] is not Rounding.RTNE:
        refuse(op, target)
    if element_of(x).is_fp8():
        x = decoded(maker, x)
    x = maker.cast(x, FP32) if target.is_fp8() else x
    replace_op(op, [encoded(maker, x, target) if target.is_fp8() else maker.cast(x, target)])
