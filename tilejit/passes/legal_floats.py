"""Functions of floats from what the vector unit has."""

from __future__ import annotations

import math
from fractions import Fraction

from tilejit.ir.core import Op, Value
from tilejit.ir.rewrite import replace_op
from tilejit.ir.types import BF16, FP16, FP32, INT32
from tilejit.ops import (
    ABS,
    ADD,
    AND,
    CMP,
    COS,
    DIV,
    EXP2,
    FLOOR,
    MIN,
    MUL,
    NOT,
    OR,
    SELECT,
    SHR,
    SUB,
    XOR,
    CmpPredicate,
)
from tilejit.ops.approximations import COSINE as COSINE_POLYNOMIAL
from tilejit.ops.approximations import ERF as ERF_POLYNOMIAL
from tilejit.ops.approximations import LOG2_ERFC
from tilejit.ops.approximations import SINE as SINE_POLYNOMIAL
from tilejit.passes.legal_values import Maker, element_of, refuse


def erf(maker: Maker, op: Op) -> None:
    """Near 0 an odd polynomial, beyond 1 the complement 1 - 2**p(|x|), beyond 4 one."""
    element = element_of(op.result)
    if element not in (FP16, BF16, FP32):
        refuse(op, element)
    x = maker.cast(op.operands[0], FP32)
    zero, one, four = (maker.constant(number, x.type) for number in (0.0, 1.0, 4.0))
    magnitude = maker.make(ABS, x=x)
    slope = maker.polynomial(ERF_POLYNOMIAL, maker.make(MUL, lhs=x, rhs=x))
    near = maker.make(ADD, lhs=x, rhs=maker.make(MUL, lhs=x, rhs=slope))
    logarithm = maker.polynomial(LOG2_ERFC, maker.make(MIN, lhs=magnitude, rhs=four))
    complement = maker.make(EXP2, x=logarithm)
    above, below = maker.make(SUB, lhs=one, rhs=complement), maker.make(SUB, lhs=complement, rhs=one)
    is_near, is_below = (
        maker.make(CMP, {"predicate": CmpPredicate.LT}, lhs=lhs, rhs=rhs)
        for lhs, rhs in ((magnitude, one), (x, zero))
    )
    far = maker.make(SELECT, condition=is_below, true_value=below, false_value=above)
    result = maker.make(SELECT, condition=is_near, true_value=near, false_value=far)
    replace_op(op, [maker.cast(result, element)])


def _odd(maker: Maker, lhs: Value, rhs: Value) -> Value:
    """The sum of two numbers, rounded to odd: where it is not exact, its last bit is set."""
    total, error = _two_sum(maker, lhs, rhs)
    bits = maker.bits(total, INT32)
    is_even = maker.compare(CmpPredicate.EQ, maker.compute(AND, bits, 1), 0)
    is_exact = maker.compare(CmpPredicate.EQ, error, 0.0)
    # Away from 0 where the error has the sign of the sum, else towards it.
    same = maker.compute(SHR, maker.compute(XOR, bits, maker.bits(error, INT32)), INT32.bits - 1)
    step = maker.compute(ADD, maker.compute(ADD, same, same), 1)
    moved = maker.bits(maker.compute(ADD, bits, step), FP32)
    wanted = maker.compute(AND, is_even, maker.compute(NOT, is_exact))
    return maker.select(wanted, moved, total)


def _two_sum(maker: Maker, lhs: Value, rhs: Value) -> tuple[Value, Value]:
    """A rounded sum and its error."""
    total = maker.compute(ADD, lhs, rhs)
    shifted = maker.compute(SUB, total, lhs)
    first = maker.compute(SUB, lhs, maker.compute(SUB, total, shifted))
    return total, maker.compute(ADD, first, maker.compute(SUB, rhs, shifted))


def _split(maker: Maker, x: Value) -> tuple[Value, Value]:
    """Numbers of 12 bits each that sum up to x."""
    high = maker.bits(maker.compute(AND, maker.bits(x, INT32), ~0xFFF), FP32)
    return high, maker.compute(SUB, x, high)


def fma(maker: Maker, op: Op) -> None:
    """Products of 16-bit floats are exact in fp32, so that two instructions round as one.

    A product of fp32 is taken apart into its rounded value and its error; the error and that of the first
    sum are added to odd, so that the last addition rounds once. Source: S. Boldo and G. Melquiond, Emulation
    of FMA and correctly rounded sums, IEEE Transactions on Computers 57 (2008). Exact but for products below
    2**-100, whose error is no number of fp32.
    """
    element = element_of(op.result)
    if element in (FP16, BF16):
        a, b, c = (maker.cast(value, FP32) for value in op.operands)
        total = maker.make(ADD, lhs=maker.make(MUL, lhs=a, rhs=b), rhs=c)
        replace_op(op, [maker.cast(total, element)])
        return
    if element != FP32:
        refuse(op, element)
    a, b, c = op.operands
    product = maker.compute(MUL, a, b)
    plain = maker.compute(ADD, product, c)
    (a_high, a_low), (b_high, b_low) = _split(maker, a), _split(maker, b)
    error = maker.compute(SUB, maker.compute(MUL, a_high, b_high), product)
    for x, y in ((a_high, b_low), (a_low, b_high), (a_low, b_low)):
        error = maker.compute(ADD, error, maker.compute(MUL, x, y))
    low, lowest = _two_sum(maker, c, error)
    high, middle = _two_sum(maker, product, low)
    total = maker.compute(ADD, high, _odd(maker, middle, lowest))
    # Infinities and NaN spoil the errors.
    is_number = maker.compare(CmpPredicate.EQ, maker.compute(SUB, total, total), 0.0)
    replace_op(op, [maker.select(is_number, total, plain)])


_STAGES = (2.0**22, 1.0)
"""The remainder by so many divisors is taken first, so that quotients stay small."""
_QUOTIENT_LIMIT = 2.0**22
_HALF_QUOTIENT = 2.0**11


def frem(maker: Maker, op: Op) -> None:
    """C's fmod, exact while the quotient is below 2**44; beyond it is NaN."""
    element = element_of(op.result)
    if element not in (FP16, BF16, FP32):
        refuse(op, element)
    dividend, divisor = (maker.cast(value, FP32) for value in op.operands)
    size, left = maker.compute(ABS, divisor), maker.compute(ABS, dividend)
    for factor in _STAGES:
        scaled = maker.compute(MUL, size, factor)
        remainder = _remainder(maker, left, scaled)
        # A divisor that overflows, or is infinite, leaves what is smaller.
        left = maker.select(maker.compare(CmpPredicate.LT, left, scaled), left, remainder)
    sign = maker.compute(AND, maker.bits(dividend, INT32), INT32.min_value)
    signed = maker.bits(maker.compute(OR, maker.bits(left, INT32), sign), FP32)
    replace_op(op, [maker.cast(signed, element)])


def _remainder(maker: Maker, left: Value, divisor: Value) -> Value:
    """left - q * divisor, neither negative: q and the divisor go in halves, whose products are exact."""
    quotient = maker.compute(FLOOR, maker.compute(DIV, left, divisor))
    is_small = maker.compare(CmpPredicate.LT, quotient, _QUOTIENT_LIMIT * 2)
    scaled = maker.compute(MUL, quotient, 1 / _HALF_QUOTIENT)
    high = maker.compute(MUL, maker.compute(FLOOR, scaled), _HALF_QUOTIENT)
    halves = high, maker.compute(SUB, quotient, high)
    parts = _split(maker, divisor)
    for part in halves:
        for factor in parts:
            left = maker.compute(SUB, left, maker.compute(MUL, part, factor))
    left = maker.select(maker.compare(CmpPredicate.LT, left, 0.0), maker.compute(ADD, left, divisor), left)
    less = maker.compute(SUB, left, divisor)
    left = maker.select(maker.compare(CmpPredicate.GE, less, 0.0), less, left)
    return maker.select(is_small, left, float("nan"))


def _half_pi_parts() -> tuple[float, ...]:
    """pi/2 in parts of 12 bits, the last of 24: products with whole numbers below 2**12 are exact."""
    left, parts = Fraction(_PI_OVER_2), []
    for last in (11, 23, 35, 47):
        part = Fraction(math.floor(left * 2**last), 2**last)
        parts.append(float(part))
        left -= part
    return (*parts, float(left))


_PI_OVER_2 = "1.57079632679489661923132169163975144209858469968755"
_PARTS = _half_pi_parts()
_TO_WHOLE = 1.5 * 2.0**23
"""Added and subtracted again it rounds to whole numbers, below 2**22."""
_TO_4096 = 1.5 * 2.0**35
LARGEST_ANGLE = 2.0**18
"""sin and cos are within 4 units in the last place of fp32 up to here, and NaN beyond."""


def sine(maker: Maker, op: Op) -> None:
    """sin and cos by Cody and Waite: x less n quarter turns, exactly, and a polynomial of what is left.

    n is the sum of a multiple of 4096 and a number of 11 bits, pi/2 that of parts of 12 bits: all products
    are exact, and so are all differences that cancel.
    """
    element = element_of(op.result)
    if element not in (FP16, BF16, FP32):
        refuse(op, element)
    x = maker.cast(op.operands[0], FP32)
    turns = maker.compute(MUL, x, 2 / math.pi)
    turns = maker.compute(SUB, maker.compute(ADD, turns, _TO_WHOLE), _TO_WHOLE)
    many = maker.compute(SUB, maker.compute(ADD, turns, _TO_4096), _TO_4096)
    few = maker.compute(SUB, turns, many)
    angle = x
    for part in _PARTS:
        for number in (many, few):
            angle = maker.compute(SUB, angle, maker.compute(MUL, number, part))
    square = maker.compute(MUL, angle, angle)
    curve = maker.compute(MUL, square, maker.polynomial(SINE_POLYNOMIAL, square))
    sines = maker.compute(MUL, angle, maker.compute(ADD, curve, 1.0))
    curve = maker.compute(
        MUL, maker.compute(MUL, square, square), maker.polynomial(COSINE_POLYNOMIAL, square)
    )
    cosines = maker.compute(ADD, maker.compute(ADD, maker.compute(MUL, square, -0.5), 1.0), curve)
    quadrant = maker.cast(turns, INT32)
    if op.name == COS.name:
        quadrant = maker.compute(ADD, quadrant, 1)
    is_even = maker.compare(CmpPredicate.EQ, maker.compute(AND, quadrant, 1), 0)
    chosen = maker.select(is_even, sines, cosines)
    sign = maker.cast(maker.compute(SUB, 1, maker.compute(AND, quadrant, 2)), FP32)
    result = maker.compute(MUL, chosen, sign)
    is_known = maker.compare(CmpPredicate.LE, maker.compute(ABS, x), LARGEST_ANGLE)
    replace_op(op, [maker.cast(maker.select(is_known, result, math.nan), element)])
