"""Integers of 64 bits as two words of 32: the vector unit moves them, but knows no arithmetic of theirs.

Carries are bits: where a sum is smaller than what was added, its sign and theirs tell. Words of what has just
been widened, or made of words, are known without taking anything apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tilejit.ir.core import Op, Value
from tilejit.ir.rewrite import replace_op
from tilejit.ir.types import FP32, FP64, INT1, INT8, INT16, INT32, INT64, UINT32, UINT64, DType
from tilejit.ops import (
    ABS,
    ADD,
    AND,
    BITCAST,
    BROADCAST,
    CAST,
    CMP,
    IDIV,
    IREM,
    MAX,
    MIN,
    MUL,
    NOT,
    OR,
    RESHAPE,
    SELECT,
    SHL,
    SHR,
    SPLAT,
    SUB,
    TRANSPOSE,
    XOR,
    CmpPredicate,
)
from tilejit.ops.pieces import WIDE, WORD
from tilejit.passes.access import constant_everywhere
from tilejit.passes.legal_integers import high_product
from tilejit.passes.legal_values import Maker, Rule, element_of, refuse

Words = tuple[Value, Value]
"""The lower and the upper 32 bits, both as int32."""

_WIDE_TYPES = (INT64, UINT64)
_EXTENDED = (INT8, INT16, INT32)
_VIEWS = frozenset(op.name for op in (BROADCAST, RESHAPE, TRANSPOSE))
_SIGN_SHIFT = INT32.bits - 1


def is_wide(op: Op) -> bool:
    """Whether an elementwise op takes or gives integers of 64 bits."""
    return any(value.type.element in _WIDE_TYPES for value in (op.result, *op.operands))


def rule(op: Op) -> Rule:
    """The rule for an op on integers of 64 bits."""
    return _RULES.get(op.name, _refuse)


def _refuse(maker: Maker, op: Op) -> None:
    refuse(op, element_of(op.operands[0]))


def _words(maker: Maker, x: Value) -> Words:
    op = x.defining_op
    if op is not None and op.name == WIDE.name:
        return op.operand("low"), op.operand("high")
    if op is not None and op.name == SPLAT.name:
        return _of_repeated(maker, op)
    if op is not None and op.name in _VIEWS:
        low, high = _words(maker, op.operands[0])
        return maker.make(op.definition, op.attributes, x=low), maker.make(
            op.definition, op.attributes, x=high
        )
    if op is not None and op.name == CAST.name and _is_narrow(op.operands[0]):
        return _extended(maker, op.operands[0])
    return maker.make(WORD, {"number": 0}, x=x), maker.make(WORD, {"number": 1}, x=x)


def _of_repeated(maker: Maker, splat: Op) -> Words:
    """The words of a scalar, which the scalar unit takes apart."""
    scalar = splat.operands[0]
    upper = maker.compute(SHR, scalar, INT32.bits)
    low, high = (maker.make(CAST, {"dtype": INT32}, x=x) for x in (scalar, upper))
    return maker.make(SPLAT, splat.attributes, x=low), maker.make(SPLAT, splat.attributes, x=high)


def _is_narrow(x: Value) -> bool:
    element = x.type.element
    return isinstance(element, DType) and element.is_int() and element.bits <= INT32.bits


def _extended(maker: Maker, x: Value) -> Words:
    low = maker.cast(x, INT32)
    if element_of(x).is_int_signed():
        return low, maker.compute(SHR, low, _SIGN_SHIFT)
    return low, maker.constant(0, low.type)


def _replace(maker: Maker, op: Op, words: Words) -> None:
    replace_op(op, [maker.make(WIDE, {"dtype": element_of(op.result)}, low=words[0], high=words[1])])


def _top_bit(maker: Maker, x: Value) -> Value:
    return maker.bits(maker.compute(SHR, maker.bits(x, UINT32), _SIGN_SHIFT), INT32)


def _sum(maker: Maker, a: Words, b: Words) -> Words:
    low = maker.compute(ADD, a[0], b[0])
    either = maker.compute(AND, maker.compute(OR, a[0], b[0]), maker.compute(NOT, low))
    carry = _top_bit(maker, maker.compute(OR, maker.compute(AND, a[0], b[0]), either))
    return low, maker.compute(ADD, maker.compute(ADD, a[1], b[1]), carry)


def _difference(maker: Maker, a: Words, b: Words) -> Words:
    low, flipped = maker.compute(SUB, a[0], b[0]), maker.compute(NOT, a[0])
    either = maker.compute(AND, maker.compute(OR, flipped, b[0]), low)
    borrow = _top_bit(maker, maker.compute(OR, maker.compute(AND, flipped, b[0]), either))
    return low, maker.compute(SUB, maker.compute(SUB, a[1], b[1]), borrow)


def _product(maker: Maker, a: Words, b: Words) -> Words:
    high = high_product(maker, a[0], b[0])
    for x, y in ((a[0], b[1]), (a[1], b[0])):
        high = maker.compute(ADD, high, maker.compute(MUL, x, y))
    return maker.compute(MUL, a[0], b[0]), high


def _binary(combine: Callable[[Maker, Words, Words], Words]) -> Rule:
    def apply(maker: Maker, op: Op) -> None:
        a, b = (_words(maker, value) for value in op.operands)
        _replace(maker, op, combine(maker, a, b))

    return apply


def _bitwise(maker: Maker, op: Op) -> None:
    operands = [_words(maker, value) for value in op.operands]
    low, high = (maker.compute(op.definition, *(words[n] for words in operands)) for n in (0, 1))
    _replace(maker, op, (low, high))


def _is_less(maker: Maker, element: DType, a: Words, b: Words) -> Value:
    """The upper words decide, the lower ones where these are equal; without sign but for the uppermost."""

    def order(x: Value, *, signed: bool) -> Value:
        return x if signed else maker.compute(ADD, x, INT32.min_value)

    signed = element.is_int_signed()
    highs = [order(words[1], signed=signed) for words in (a, b)]
    lows = [order(words[0], signed=False) for words in (a, b)]
    is_less = maker.compare(CmpPredicate.LT, *highs)
    is_equal = maker.compare(CmpPredicate.EQ, *highs)
    return maker.compute(OR, is_less, maker.compute(AND, is_equal, maker.compare(CmpPredicate.LT, *lows)))


def _compare(maker: Maker, op: Op) -> None:
    predicate, element = op.attributes["predicate"], element_of(op.operands[0])
    a, b = (_words(maker, value) for value in op.operands)
    if predicate in (CmpPredicate.EQ, CmpPredicate.NE):
        equal = [maker.compare(CmpPredicate.EQ, x, y) for x, y in zip(a, b, strict=True)]
        holds, negated = maker.compute(AND, *equal), predicate is CmpPredicate.NE
    else:
        swapped = predicate in (CmpPredicate.GT, CmpPredicate.LE)
        holds = _is_less(maker, element, *((b, a) if swapped else (a, b)))
        negated = predicate in (CmpPredicate.LE, CmpPredicate.GE)
    replace_op(op, [maker.compute(NOT, holds) if negated else holds])


def _chosen(maker: Maker, condition: Value, a: Words, b: Words) -> Words:
    return maker.select(condition, a[0], b[0]), maker.select(condition, a[1], b[1])


def _select(maker: Maker, op: Op) -> None:
    condition, *values = op.operands
    a, b = (_words(maker, value) for value in values)
    _replace(maker, op, _chosen(maker, condition, a, b))


def _extremum(maker: Maker, op: Op) -> None:
    a, b = (_words(maker, value) for value in op.operands)
    is_less = _is_less(maker, element_of(op.result), a, b)
    _replace(maker, op, _chosen(maker, is_less, *((a, b) if op.name == MIN.name else (b, a))))


def _absolute(maker: Maker, op: Op) -> None:
    if element_of(op.result) == UINT64:
        replace_op(op, [op.operands[0]])
        return
    words = _words(maker, op.operands[0])
    zero = maker.constant(0, words[0].type)
    is_negative = maker.compare(CmpPredicate.LT, words[1], 0)
    _replace(maker, op, _chosen(maker, is_negative, _difference(maker, (zero, zero), words), words))


def _shifted(maker: Maker, words: Words, amount: int, *, left: bool, signed: bool) -> Words:
    """A shift by a number below 64."""
    low, high = words
    zero = maker.constant(0, low.type)

    def right(x: Value, by: int) -> Value:
        return x if by == 0 else maker.bits(maker.compute(SHR, maker.bits(x, UINT32), by), INT32)

    if amount == 0:
        return words
    beyond, inner = divmod(amount, INT32.bits)
    if left:
        if beyond:
            return zero, maker.compute(SHL, low, inner)
        moved = right(low, INT32.bits - inner)
        return maker.compute(SHL, low, inner), maker.compute(OR, maker.compute(SHL, high, inner), moved)
    shifted = maker.compute(SHR, high, inner) if signed else right(high, inner)
    if beyond:
        return shifted, maker.compute(SHR, high, _SIGN_SHIFT) if signed else zero
    moved = maker.compute(SHL, high, INT32.bits - inner)
    return maker.compute(OR, right(low, inner), moved), shifted


def _shift(maker: Maker, op: Op) -> None:
    amount, element = constant_everywhere(op.operands[1]), element_of(op.result)
    if not isinstance(amount, int):
        refuse(op, element)
    signed, left = element.is_int_signed(), op.name == SHL.name
    words = _words(maker, op.operands[0])
    if not 0 <= amount < element.bits:
        sign = maker.compute(SHR, words[1], _SIGN_SHIFT) if signed and not left else None
        nothing = sign if sign is not None else maker.constant(0, words[0].type)
        words = nothing, nothing
    else:
        words = _shifted(maker, words, amount, left=left, signed=signed)
    _replace(maker, op, words)


def _divide(maker: Maker, op: Op) -> None:
    """By powers of two, or of what has been widened from int32, by a positive number."""
    x, divisor, element = op.operands[0], constant_everywhere(op.operands[1]), element_of(op.result)
    source = x.defining_op
    if not isinstance(divisor, int) or not 0 < divisor <= INT32.max_value:
        refuse(op, element)
    if (
        source is not None
        and source.name == CAST.name
        and element_of(source.operands[0]) in (INT8, INT16, INT32)
    ):
        narrow = maker.cast(source.operands[0], INT32)
        quotient = maker.compute(op.definition, narrow, divisor)
        _replace(maker, op, _extended(maker, quotient))
        return
    if divisor & (divisor - 1):
        refuse(op, element)
    words, exponent, signed = _words(maker, x), divisor.bit_length() - 1, element.is_int_signed()
    sum_of = words
    if signed:  # towards 0
        sign = maker.compute(SHR, words[1], _SIGN_SHIFT)
        extra = maker.compute(AND, sign, divisor - 1)
        sum_of = _sum(maker, words, (extra, maker.constant(0, extra.type)))
    quotient_words = _shifted(maker, sum_of, exponent, left=False, signed=signed)
    if op.name == IREM.name:
        product = _shifted(maker, quotient_words, exponent, left=True, signed=signed)
        quotient_words = _difference(maker, words, product)
    _replace(maker, op, quotient_words)


def _cast(maker: Maker, op: Op) -> None:
    x, target = op.operands[0], element_of(op.result)
    source = element_of(x)
    if source in _WIDE_TYPES and target in _WIDE_TYPES:
        replace_op(op, [maker.bits(x, target)])
    elif source in _WIDE_TYPES:
        replace_op(op, [_narrowed(maker, x, target)])
    elif _is_narrow(x) and target == INT64 and source.is_int_signed():
        if source != INT32:
            replace_op(op, [maker.cast(x, target)])
    elif _is_narrow(x):
        _replace(maker, op, _extended(maker, x))
    elif source == FP64:
        refuse(op, source)
    elif target == INT64:
        if source != FP32:
            replace_op(op, [maker.cast(x, target)])
    else:
        _replace(maker, op, _unsigned_of_float(maker, maker.cast(x, FP32)))


def _narrowed(maker: Maker, x: Value, target: DType) -> Value:
    if target == INT1:
        low, high = _words(maker, x)
        return maker.compare(CmpPredicate.NE, maker.compute(OR, low, high), 0)
    if not target.is_floating():
        return maker.cast(_words(maker, x)[0], target)
    if element_of(x) == INT64:
        return maker.cast(maker.cast(x, FP32), target)
    low, high = words = _words(maker, x)
    # Half of a large number, its last bit kept for the rounding, is no negative number.
    half, half_high = _shifted(maker, words, 1, left=False, signed=False)
    half = maker.compute(OR, half, maker.compute(AND, low, 1))
    is_large = maker.compare(CmpPredicate.LT, high, 0)
    chosen = _chosen(maker, is_large, (half, half_high), words)
    number = maker.cast(maker.make(WIDE, {"dtype": INT64}, low=chosen[0], high=chosen[1]), FP32)
    return maker.cast(maker.select(is_large, maker.compute(ADD, number, number), number), target)


def _unsigned_of_float(maker: Maker, x: Value) -> Words:
    """Numbers from 2**63 on are brought into the range of int64, exactly."""
    is_large = maker.compare(CmpPredicate.GE, x, 2.0**63)
    moved = maker.select(is_large, maker.compute(SUB, x, 2.0**63), maker.compute(MAX, x, 0.0))
    low, high = _words(maker, maker.cast(moved, INT64))
    return low, maker.select(is_large, maker.compute(XOR, high, INT32.min_value), high)


_RULES: Mapping[str, Rule] = {
    ADD.name: _binary(_sum),
    SUB.name: _binary(_difference),
    MUL.name: _binary(_product),
    CMP.name: _compare,
    SELECT.name: _select,
    ABS.name: _absolute,
    SHL.name: _shift,
    SHR.name: _shift,
    IDIV.name: _divide,
    IREM.name: _divide,
    CAST.name: _cast,
    BITCAST.name: lambda maker, op: None,
    **dict.fromkeys((MIN.name, MAX.name), _extremum),
    **dict.fromkeys((AND.name, OR.name, XOR.name, NOT.name), _bitwise),
}
