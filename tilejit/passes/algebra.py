"""Equalities between ops: what one op may be replaced by, looking only at how its operands were made.

``RULES`` maps an op's name to a rule. A rule returns a value that equals the op's only result bit for bit
(the payload of a NaN excepted), or None. New ops come from ``Maker.make``, which simplifies them in turn
and places them where the old op stood. Floats take part only where the equality is exact in IEEE 754: x *
1 is x, but x + 0 is not (-0 + 0 is 0).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Protocol, cast

import numpy as np

from tilejit.ir.core import Op, Value
from tilejit.ir.opdef import Attribute, EvaluationCall, EvaluationContext, OpDef
from tilejit.ir.types import FP32, INT1, DType, PointerType, TileType
from tilejit.ops import (
    ADD,
    ADDPTR,
    AND,
    ARANGE,
    BITCAST,
    BROADCAST,
    CAST,
    CMP,
    CONSTANT,
    DIV,
    IDIV,
    IREM,
    MAX,
    MIN,
    MUL,
    NEG,
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
    Rounding,
)
from tilejit.ops.shape import constant_array

Number = int | float | bool


class Maker(Protocol):
    """Makes ops in the place of the one that is being replaced."""

    def make(
        self, definition: OpDef, attributes: Mapping[str, Attribute] | None = None, **operands: Value
    ) -> Value:
        """Return the result of a new op, or of an older one that computes the same."""
        ...


Rule = Callable[[Op, Maker], Value | None]


def constant_value(value: Value) -> Number | None:
    """Return the number that ``value`` is, or that all its elements are; None where that is unknown."""
    op = value.defining_op
    if op is not None and op.definition is SPLAT:
        op = op.operands[0].defining_op
    if op is None or op.definition is not CONSTANT:
        return None
    number = op.attributes["value"]
    assert isinstance(number, int | float)
    return number


def fold(op: Op, maker: Maker) -> Value | None:
    """Compute an elementwise op on constants now; turn one on splats into a splat of the scalar op."""
    operands = op.operands
    if not op.definition.is_elementwise or not operands:
        return None
    wanted = SPLAT if operands[0].type.shape else CONSTANT
    for value in operands:
        producer = value.defining_op
        if producer is None or producer.definition is not wanted:
            return None
    if wanted is CONSTANT:
        return _evaluated(op, maker)
    sources = {name: _splat_source(values[0]) for name, values in op.named_operands().items()}
    scalar = maker.make(op.definition, op.attributes, **sources)
    return maker.make(SPLAT, {"shape": op.result.type.shape}, x=scalar)


def same_constant(lhs: Value, rhs: Value) -> bool:
    """Whether two scalars are the same constant, bit for bit."""
    ops = [value.defining_op for value in (lhs, rhs)]
    texts = [str(op.attributes["value"]) for op in ops if op is not None and op.definition is CONSTANT]
    return len(texts) == 2 and texts[0] == texts[1] and lhs.type == rhs.type


def make_constant(number: Number, type: TileType, maker: Maker) -> Value:
    """Return a scalar constant, or a tile filled with it."""
    scalar = maker.make(CONSTANT, {"value": number, "dtype": type.element})
    return maker.make(SPLAT, {"shape": type.shape}, x=scalar) if type.shape else scalar


def _evaluated(op: Op, maker: Maker) -> Value | None:
    """Run the record's meaning on constants; None where no constant stands for the result."""
    element = op.result.type.element
    if isinstance(element, PointerType):
        return None
    arrays: dict[str, tuple[np.ndarray, ...]] = {}
    for name, values in op.named_operands().items():
        number = constant_value(values[0])
        assert number is not None
        arrays[name] = (constant_array(values[0].type.element, number),)
    # Elementwise ops ask nothing of the machine that runs them.
    call = EvaluationCall(op, arrays, cast(EvaluationContext, None))
    array = np.asarray(op.definition.evaluate(call)[0])
    result = _as_number(array, element)
    if constant_array(element, result).tobytes() != array.tobytes():
        return None  # a NaN with other bits than the one that text spells
    return make_constant(result, op.result.type, maker)


def _as_number(array: np.ndarray, element: DType) -> Number:
    if element.is_bool():
        return bool(array)
    if element.is_int():
        return int(array)
    return math.nan if np.isnan(array) else float(array)


def _splat_source(value: Value) -> Value:
    op = value.defining_op
    assert op is not None
    return op.operands[0]


def _producer(value: Value, definition: OpDef) -> Op | None:
    """The op that made ``value``, if it is of this kind."""
    op = value.defining_op
    return op if op is not None and op.definition is definition else None


def _is_float(value: Value) -> bool:
    return value.type.element.is_floating()


def _is_all_ones(number: Number | None, value: Value) -> bool:
    element = value.type.element
    if number is None or not isinstance(element, DType):
        return False
    return number == (element.max_value if element.is_int_unsigned() else -1)


def _is_zero(number: Number | None, *, negative: bool = False) -> bool:
    """Whether a number is zero and, of the two zeros of floats, the one asked for."""
    return number is not None and number == 0 and (math.copysign(1.0, number) < 0) == negative


def _constant_on_the_right(op: Op) -> tuple[Value, Number | None]:
    """Of a commutative op: the operand that is not the constant, and the constant."""
    lhs, rhs = op.operands
    number = constant_value(rhs)
    return (lhs, number) if number is not None else (rhs, constant_value(lhs))


# Arithmetic


def _add(op: Op, maker: Maker) -> Value | None:
    other, number = _constant_on_the_right(op)
    return other if _is_zero(number, negative=_is_float(other)) else None


def _sub(op: Op, maker: Maker) -> Value | None:
    lhs, rhs = op.operands
    if _is_zero(constant_value(rhs)):
        return lhs
    return make_constant(0, lhs.type, maker) if lhs is rhs and not _is_float(lhs) else None


def _mul(op: Op, maker: Maker) -> Value | None:
    other, number = _constant_on_the_right(op)
    if number == 1:
        return other
    return make_constant(0, other.type, maker) if number == 0 and not _is_float(other) else None


def _div(op: Op, maker: Maker) -> Value | None:
    lhs, rhs = op.operands
    return lhs if constant_value(rhs) == 1 else None


def _idiv(op: Op, maker: Maker) -> Value | None:
    lhs, rhs = op.operands
    return lhs if constant_value(rhs) in (0, 1) else None  # a divisor of 0 acts as 1


def _irem(op: Op, maker: Maker) -> Value | None:
    lhs, rhs = op.operands
    return make_constant(0, lhs.type, maker) if constant_value(rhs) in (0, 1) else None


def _extremum(op: Op, maker: Maker) -> Value | None:
    lhs, rhs = op.operands
    return lhs if lhs is rhs else None


def _shift(op: Op, maker: Maker) -> Value | None:
    lhs, rhs = op.operands
    return lhs if constant_value(rhs) == 0 else None


def _and(op: Op, maker: Maker) -> Value | None:
    other, number = _constant_on_the_right(op)
    if op.operands[0] is op.operands[1] or _is_all_ones(number, other):
        return other
    return make_constant(0, other.type, maker) if number == 0 else None


def _or(op: Op, maker: Maker) -> Value | None:
    other, number = _constant_on_the_right(op)
    if op.operands[0] is op.operands[1] or number == 0:
        return other
    return (
        make_constant(number, other.type, maker)
        if number is not None and _is_all_ones(number, other)
        else None
    )


def _xor(op: Op, maker: Maker) -> Value | None:
    other, number = _constant_on_the_right(op)
    if op.operands[0] is op.operands[1]:
        return make_constant(0, other.type, maker)
    return other if number == 0 else None


def _inverse_of_itself(op: Op, maker: Maker) -> Value | None:
    inner = _producer(op.operands[0], op.definition)
    return inner.operands[0] if inner is not None else None


def _addptr(op: Op, maker: Maker) -> Value | None:
    # addptr(addptr(p, a), b) stays: a + b would wrap where the two steps do not.
    pointer, offset = op.operands
    return pointer if constant_value(offset) == 0 else None


# Choices


def _cmp(op: Op, maker: Maker) -> Value | None:
    lhs, rhs = op.operands
    if lhs is not rhs or _is_float(lhs):
        return None
    holds = op.attributes["predicate"] in (CmpPredicate.EQ, CmpPredicate.LE, CmpPredicate.GE)
    return make_constant(holds, op.result.type, maker)


def _select(op: Op, maker: Maker) -> Value | None:
    condition, true_value, false_value = op.operands
    if true_value is false_value:
        return true_value
    chosen = constant_value(condition)
    if chosen is not None:
        return true_value if chosen else false_value
    if op.result.type.element != INT1:
        return None
    arms = (constant_value(true_value), constant_value(false_value))
    if arms[0] is None or arms[1] is None:
        return None
    return condition if arms[0] else maker.make(NOT, x=condition)  # equal arms were one value above


# Conversions


def _cast(op: Op, maker: Maker) -> Value | None:
    x, target = op.operands[0], op.attributes["dtype"]
    if x.type.element == target:
        return x
    inner = _producer(x, CAST)
    if inner is None or op.attributes["rounding"] is not Rounding.RTNE:
        return None
    source = inner.operands[0]
    first, middle = source.type.element, x.type.element
    assert isinstance(first, DType) and isinstance(middle, DType) and isinstance(target, DType)
    if not _is_one_cast(first, middle, target):
        return None
    return source if first == target else maker.make(CAST, {"dtype": target}, x=source)


def _is_one_cast(first: DType, middle: DType, last: DType) -> bool:
    """Whether going from ``first`` to ``last`` through ``middle`` gives what the direct cast gives."""
    if is_lossless(first, middle):
        # Floats saturate on their way to integers, integers wrap.
        saturates = first.is_int() and middle.is_floating() and last.is_int() and not last.is_bool()
        return not saturates or is_lossless(first, last)
    wraps = all(dtype.is_int() and not dtype.is_bool() for dtype in (first, middle, last))
    return wraps and last.bits <= middle.bits


def is_lossless(source: DType, target: DType) -> bool:
    """Whether every value of ``source`` is a value of ``target``."""
    if source == target or source.is_bool():
        return True
    if target.is_bool() or (source.is_floating() and target.is_int()):
        return False
    if source.is_floating():
        if source.is_fp8():
            return not target.is_fp8()
        return source.bits < target.bits and target.bits >= FP32.bits
    value_bits = source.bits - source.is_int_signed()
    if target.is_floating():
        return value_bits <= target.mantissa_bits + 1 and target.bits >= 16
    return value_bits <= target.bits - target.is_int_signed() and (
        source.is_int_unsigned() or target.is_int_signed()
    )


def _bitcast(op: Op, maker: Maker) -> Value | None:
    x = op.operands[0]
    if x.type == op.result.type:
        return x
    inner = _producer(x, BITCAST)
    if inner is None:
        return None
    return _through_bits(inner.operands[0], op, maker)


def _through_bits(source: Value, op: Op, maker: Maker) -> Value:
    return source if source.type == op.result.type else maker.make(BITCAST, op.attributes, x=source)


# Shapes


def _constant(op: Op, maker: Maker) -> Value | None:
    """Spell equal constants alike: a float as a float, a bool as a bool."""
    number, element = op.attributes["value"], op.attributes["dtype"]
    assert isinstance(number, int | float) and isinstance(element, DType | PointerType)
    if element.is_floating() and not isinstance(number, float):
        return make_constant(float(number), op.result.type, maker)
    if element.is_bool() and not isinstance(number, bool):
        return make_constant(bool(number), op.result.type, maker)
    return None


def _broadcast(op: Op, maker: Maker) -> Value | None:
    x = op.operands[0]
    if x.type == op.result.type:
        return x
    splat, inner = _producer(x, SPLAT), _producer(x, BROADCAST)
    if splat is not None:
        return maker.make(SPLAT, op.attributes, x=splat.operands[0])
    return maker.make(BROADCAST, op.attributes, x=inner.operands[0]) if inner is not None else None


def _reshape(op: Op, maker: Maker) -> Value | None:
    x, shape = op.operands[0], op.result.type.shape
    if x.type.shape == shape:
        return x
    if not x.type.shape:
        return maker.make(SPLAT, {"shape": shape}, x=x)
    splat, inner = _producer(x, SPLAT), _producer(x, RESHAPE)
    if splat is not None:
        source = splat.operands[0]
        return maker.make(SPLAT, {"shape": shape}, x=source) if shape else source
    return maker.make(RESHAPE, {"shape": shape}, x=inner.operands[0]) if inner is not None else None


def _transpose(op: Op, maker: Maker) -> Value | None:
    x, order = op.operands[0], op.attributes["order"]
    assert isinstance(order, tuple)
    if order == tuple(range(len(order))):
        return x
    splat, inner = _producer(x, SPLAT), _producer(x, TRANSPOSE)
    if splat is not None:
        return maker.make(SPLAT, {"shape": op.result.type.shape}, x=splat.operands[0])
    if inner is None:
        return None
    first = inner.attributes["order"]
    assert isinstance(first, tuple)
    return maker.make(TRANSPOSE, {"order": tuple(first[d] for d in order)}, x=inner.operands[0])


def _arange(op: Op, maker: Maker) -> Value | None:
    start = op.attributes["start"]
    assert isinstance(start, int)
    return make_constant(start, op.result.type, maker) if op.result.type.size == 1 else None


RULES: dict[str, Rule] = {
    ADD.name: _add,
    SUB.name: _sub,
    MUL.name: _mul,
    DIV.name: _div,
    IDIV.name: _idiv,
    IREM.name: _irem,
    MIN.name: _extremum,
    MAX.name: _extremum,
    SHL.name: _shift,
    SHR.name: _shift,
    AND.name: _and,
    OR.name: _or,
    XOR.name: _xor,
    NEG.name: _inverse_of_itself,
    NOT.name: _inverse_of_itself,
    ADDPTR.name: _addptr,
    CMP.name: _cmp,
    SELECT.name: _select,
    CAST.name: _cast,
    BITCAST.name: _bitcast,
    BROADCAST.name: _broadcast,
    RESHAPE.name: _reshape,
    TRANSPOSE.name: _transpose,
    CONSTANT.name: _constant,
    ARANGE.name: _arange,
}
