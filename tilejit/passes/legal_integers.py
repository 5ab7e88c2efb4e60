"""Integer arithmetic from what the vector unit has: sums, products, shifts by one number, in 16 or 32 bits.

Division begins with a quotient of fp32, which is off by at most 2**9 for int32; a second one of what is left
is off by at most 1, which the signs of the remainder mend. Unsigned numbers are divided by halves: the
quotient of half the dividend is doubled and mended by the remainder. All is exact; a divisor of 0 acts as 1.

Masks of all ones or zeros, made by shifting the sign to every bit, stand in for comparisons.
"""

from __future__ import annotations

from tilejit.ir.core import Op, Value
from tilejit.ir.rewrite import replace_op
from tilejit.ir.types import FP32, INT8, INT16, INT32, UINT16, UINT32, DType
from tilejit.ops import ADD, AND, CMP, DIV, IDIV, IREM, MAX, MIN, MUL, NOT, OR, SHL, SHR, SUB, CmpPredicate
from tilejit.passes.access import constant_everywhere, scalar_source
from tilejit.passes.legal_values import Maker, element_of, refuse

_SIGN_SHIFT = INT32.bits - 1
_WRAPPING = frozenset(op.name for op in (ADD, SUB, MUL, SHL))
"""Ops whose bits do not depend on the sign."""


def unsigned_arithmetic(maker: Maker, op: Op) -> None:
    """uint16 is computed in int32; of uint32 the bits are int32's, or the order is moved by 2**31."""
    element = element_of(op.result)
    if element == UINT16:
        widen(maker, op, INT32)
        return
    signed = [maker.bits(value, INT32) for value in op.operands]
    if op.name in _WRAPPING:
        result = maker.compute(op.definition, *signed)
    elif op.name in (MIN.name, MAX.name):
        moved = [maker.compute(ADD, value, INT32.min_value) for value in signed]
        result = maker.compute(ADD, maker.compute(op.definition, *moved), INT32.min_value)
    else:
        refuse(op, element)
    replace_op(op, [maker.bits(result, element)])


def widen(maker: Maker, op: Op, wide: DType) -> None:
    """Compute ``op`` on operands of another type and cast back."""
    operands = {name: maker.cast(values[0], wide) for name, values in op.named_operands().items()}
    result = maker.make(op.definition, op.attributes, **operands)
    replace_op(op, [result if op.name == CMP.name else maker.cast(result, element_of(op.result))])


def compare_unsigned(maker: Maker, op: Op) -> None:
    """Order of uint32 is that of int32 moved by 2**31."""
    lhs, rhs = (maker.bits(value, INT32) for value in op.operands)
    if op.attributes["predicate"] not in (CmpPredicate.EQ, CmpPredicate.NE):
        lhs, rhs = (maker.compute(ADD, value, INT32.min_value) for value in (lhs, rhs))
    replace_op(op, [maker.make(CMP, op.attributes, lhs=lhs, rhs=rhs)])


def shift(maker: Maker, op: Op) -> None:
    """A shift by a tile is one by each power of two, where the amount has that bit."""
    element = element_of(op.result)
    if element.bits < INT16.bits:
        widen(maker, op, INT16)
    elif element == UINT16:
        widen(maker, op, INT32)
    elif scalar_source(op.operands[1]) is not None:
        if element == UINT32:
            _shift_unsigned(maker, op)
        elif element not in (INT16, INT32):
            refuse(op, element)
    elif element == INT16:
        widen(maker, op, INT32)
    elif element in (INT32, UINT32):
        replace_op(op, [_shift_by_tile(maker, op, *op.operands)])
    else:
        refuse(op, element)


def _shift_unsigned(maker: Maker, op: Op) -> None:
    """To the left the bits are those of int32; to the right the unit has its own."""
    if op.name == SHL.name:
        signed = [maker.bits(value, INT32) for value in op.operands]
        replace_op(op, [maker.bits(maker.compute(SHL, *signed), UINT32)])


def _shift_by_tile(maker: Maker, op: Op, x: Value, amount: Value) -> Value:
    element, amount = element_of(x), maker.bits(amount, INT32)
    result = x
    for power in range(5):
        bit = maker.compute(AND, amount, 1 << power)
        shifted = maker.compute(op.definition, result, 1 << power)
        result = maker.select(maker.compare(CmpPredicate.EQ, bit, 0), result, shifted)
    within = maker.compare(CmpPredicate.EQ, maker.compute(AND, amount, ~_SIGN_SHIFT), 0)
    keeps_sign = op.name == SHR.name and element == INT32
    beyond = maker.compute(SHR, x, _SIGN_SHIFT) if keeps_sign else 0
    return maker.select(within, result, beyond)


def divide(maker: Maker, op: Op) -> None:
    """Quotients and remainders, both truncated."""
    element = element_of(op.result)
    if element.bits > INT32.bits:
        refuse(op, element)
    lhs, rhs = op.operands
    if element.bits < INT32.bits:
        quotient = _divide_narrow(maker, lhs, rhs)
        wide = maker.cast(lhs, INT32)
        remainder = maker.compute(
            SUB, wide, maker.compute(MUL, quotient, _without_zero(maker, maker.cast(rhs, INT32)))
        )
        replace_op(op, [maker.cast(quotient if op.name == IDIV.name else remainder, element)])
        return
    n, d = (maker.bits(value, INT32) for value in (lhs, rhs))
    divisor = constant_everywhere(rhs)
    if isinstance(divisor, int) and divisor > 0 and divisor & (divisor - 1) == 0:
        quotient = _divide_by_power(maker, n, divisor.bit_length() - 1, element)
    else:
        d = _without_zero(maker, d)
        quotient = _quotient(maker, n, d) if element == INT32 else _unsigned_quotient(maker, n, d)
    result = quotient
    if op.name == IREM.name:
        result = maker.compute(SUB, n, maker.compute(MUL, quotient, d))
    replace_op(op, [maker.bits(result, element)])


def _without_zero(maker: Maker, divisor: Value) -> Value:
    number = constant_everywhere(divisor)
    if number is not None and number != 0:
        return divisor
    return maker.select(maker.compare(CmpPredicate.EQ, divisor, 0), 1, divisor)


def _divide_narrow(maker: Maker, lhs: Value, rhs: Value) -> Value:
    """Of 16 bits: no quotient is nearer to a whole number than fp32 can tell."""
    numerator, denominator = (maker.cast(value, FP32) for value in (lhs, rhs))
    is_zero = maker.compare(CmpPredicate.EQ, denominator, 0.0)
    quotient = maker.compute(DIV, numerator, maker.select(is_zero, 1.0, denominator))
    return maker.cast(quotient, INT32)


def _divide_by_power(maker: Maker, n: Value, exponent: int, element: DType) -> Value:
    if exponent == 0:
        return n
    if element == UINT32:
        return maker.bits(maker.compute(SHR, maker.bits(n, UINT32), exponent), INT32)
    to_zero = maker.compute(AND, _sign(maker, n), (1 << exponent) - 1)
    return maker.compute(SHR, maker.compute(ADD, n, to_zero), exponent)


def _sign(maker: Maker, x: Value) -> Value:
    """All ones where an int32 is negative, else 0."""
    return maker.compute(SHR, x, _SIGN_SHIFT)


def _flip(maker: Maker, x: Value, sign: Value) -> Value:
    """-x where ``sign`` is all ones, x where it is 0."""
    return maker.compute(MUL, x, maker.compute(ADD, maker.compute(ADD, sign, sign), 1))


def _quotient(maker: Maker, n: Value, d: Value) -> Value:
    """n / d of int32, truncated; d is not 0."""
    real = maker.cast(d, FP32)
    first = maker.cast(maker.compute(DIV, maker.cast(n, FP32), real), INT32)
    left = maker.compute(SUB, n, maker.compute(MUL, first, d))
    second = maker.cast(maker.compute(DIV, maker.cast(left, FP32), real), INT32)
    left = maker.compute(SUB, left, maker.compute(MUL, second, d))
    n_sign, d_sign = _sign(maker, n), _sign(maker, d)
    left, size = _flip(maker, left, n_sign), _flip(maker, d, d_sign)
    below = _sign(maker, left)  # one too many
    left = maker.compute(ADD, left, maker.compute(AND, size, below))
    within = _sign(maker, maker.compute(SUB, left, size))  # else one too few
    # below is -1 or 0, within is -1 or 0: the correction is below + within + 1
    correction = maker.compute(ADD, maker.compute(ADD, below, within), 1)
    correction = _flip(maker, _flip(maker, correction, n_sign), d_sign)
    return maker.compute(ADD, maker.compute(ADD, first, second), correction)


def _unsigned_quotient(maker: Maker, n: Value, d: Value) -> Value:
    """n / d of the bits of uint32; d is not 0."""
    is_large = maker.compare(CmpPredicate.LT, d, 0)
    small = maker.select(is_large, 1, d)
    half = maker.bits(maker.compute(SHR, maker.bits(n, UINT32), 1), INT32)
    doubled = maker.compute(SHL, _quotient(maker, half, small), 1)
    left = maker.compute(SUB, n, maker.compute(MUL, doubled, small))
    fits = maker.compute(NOT, _sign(maker, maker.compute(SUB, left, small)))
    more = maker.compute(OR, _sign(maker, left), fits)
    by_small = maker.compute(SUB, doubled, more)
    fits = maker.compute(NOT, _sign(maker, maker.compute(SUB, n, d)))
    by_large = maker.compute(SUB, 0, maker.compute(AND, _sign(maker, n), fits))
    return maker.select(is_large, by_large, by_small)


def multiply_high(maker: Maker, op: Op) -> None:
    """The upper half of a product of 32-bit numbers, from products of their halves."""
    element = element_of(op.result)
    if element not in (INT32, UINT32):
        refuse(op, element)
    a, b = (maker.bits(value, INT32) for value in op.operands)
    high = high_product(maker, a, b)
    if element == INT32:  # as unsigned, a negative x stands for x + 2**32
        for x, other in ((a, b), (b, a)):
            high = maker.compute(SUB, high, maker.compute(AND, _sign(maker, x), other))
    replace_op(op, [maker.bits(high, element)])


def high_product(maker: Maker, a: Value, b: Value) -> Value:
    """The upper 32 bits of the product of two uint32, all as int32."""
    (a_low, a_high), (b_low, b_high) = (_halves(maker, x) for x in (a, b))
    carried = _halves(maker, maker.compute(MUL, a_low, b_low))[1]
    middle = maker.compute(ADD, maker.compute(MUL, a_high, b_low), carried)
    low, high = _halves(maker, middle)
    other = _halves(maker, maker.compute(ADD, maker.compute(MUL, a_low, b_high), low))[1]
    total = maker.compute(ADD, maker.compute(MUL, a_high, b_high), high)
    return maker.compute(ADD, total, other)


def _halves(maker: Maker, x: Value) -> tuple[Value, Value]:
    """The lower and the upper 16 bits."""
    upper = maker.compute(SHR, maker.bits(x, UINT32), 16)
    return maker.compute(AND, x, 0xFFFF), maker.bits(upper, INT32)


def absolute(maker: Maker, op: Op) -> None:
    """The larger of x and -x, which is MIN for MIN."""
    element = element_of(op.result)
    if element.is_int_unsigned():
        replace_op(op, [op.operands[0]])
        return
    if element not in (INT8, INT16, INT32):
        refuse(op, element)
    x = maker.cast(op.operands[0], INT16) if element == INT8 else op.operands[0]
    minus = maker.compute(SUB, 0, x)
    replace_op(op, [maker.cast(maker.compute(MAX, x, minus), element)])
