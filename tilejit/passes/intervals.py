"""What range an integer value lies in, computed without wrapping.

Kernels compute offsets in 32 bits, which wrap. Code that treats such an offset as one affine function of the
index must know that it did not: ``never_wraps`` proves it from constants, remainders and the sizes of tiles.
"""

from __future__ import annotations

from dataclasses import dataclass

from tilejit.ir.core import Op, Value
from tilejit.ir.types import DType
from tilejit.ops import control, shape
from tilejit.ops import elementwise as ew


@dataclass(frozen=True)
class Interval:
    """All integers from ``low`` to ``high``; ``wrapped`` says that a step on the way there may have
    wrapped.
    """

    low: int
    high: int
    wrapped: bool = False


def never_wraps(value: Value) -> bool:
    """Whether no operation that computes ``value`` from scalars and constants can overflow its type."""
    return not _interval(value, 0).wrapped


def interval(value: Value) -> Interval:
    """The range of an integer value; its type's range where nothing better is known."""
    return _interval(value, 0)


_DEPTH_LIMIT = 64


def _interval(value: Value, depth: int) -> Interval:
    element = value.type.element
    if not isinstance(element, DType) or element.is_floating():
        return Interval(0, 0, wrapped=True)
    whole = Interval(element.min_value, element.max_value)
    op = value.defining_op
    if op is None or depth > _DEPTH_LIMIT:
        return whole
    found = _of_op(op, depth + 1)
    if found is None:
        return whole
    if found.low < element.min_value or found.high > element.max_value:
        return Interval(element.min_value, element.max_value, wrapped=True)
    return found


def _of_op(op: Op, depth: int) -> Interval | None:
    """The mathematical range of an op's result; None where the type's range is the best answer."""
    if op.name == shape.CONSTANT.name:
        number = op.attributes["value"]
        return Interval(number, number) if isinstance(number, int) else None
    if op.name == shape.ARANGE.name:
        start, end = op.attributes["start"], op.attributes["end"]
        assert isinstance(start, int) and isinstance(end, int)
        return Interval(start, end - 1)
    if op.name in (control.PROGRAM_ID.name, control.NUM_PROGRAMS.name):
        return Interval(0, 2**31 - 1)
    rule = _RULES.get(op.name)
    if rule is None:
        return None
    inputs = [_interval(operand, depth) for operand in op.operands]
    result = rule(inputs)
    if result is None:
        return None
    return Interval(result.low, result.high, any(i.wrapped for i in inputs))


def _same(inputs: list[Interval]) -> Interval | None:
    return inputs[0]


def _add(inputs: list[Interval]) -> Interval | None:
    return Interval(inputs[0].low + inputs[1].low, inputs[0].high + inputs[1].high)


def _sub(inputs: list[Interval]) -> Interval | None:
    return Interval(inputs[0].low - inputs[1].high, inputs[0].high - inputs[1].low)


def _mul(inputs: list[Interval]) -> Interval | None:
    corners = [a * b for a in (inputs[0].low, inputs[0].high) for b in (inputs[1].low, inputs[1].high)]
    return Interval(min(corners), max(corners))


def _rem(inputs: list[Interval]) -> Interval | None:
    value, divisor = inputs
    if divisor.low <= 0:
        return None
    limit = divisor.high - 1
    return Interval(max(value.low, -limit) if value.low < 0 else 0, min(max(value.high, 0), limit))


def _div(inputs: list[Interval]) -> Interval | None:
    value, divisor = inputs
    if divisor.low <= 0:
        return None
    quotients = [_truncated(a, b) for a in (value.low, value.high) for b in (divisor.low, divisor.high)]
    return Interval(min(quotients), max(quotients))


def _truncated(dividend: int, divisor: int) -> int:
    quotient = abs(dividend) // divisor
    return quotient if dividend >= 0 else -quotient


def _min(inputs: list[Interval]) -> Interval | None:
    return Interval(min(i.low for i in inputs), min(i.high for i in inputs))


def _max(inputs: list[Interval]) -> Interval | None:
    return Interval(max(i.low for i in inputs), max(i.high for i in inputs))


def _union(inputs: list[Interval]) -> Interval | None:
    return Interval(min(i.low for i in inputs[1:]), max(i.high for i in inputs[1:]))


_RULES = {
    shape.SPLAT.name: _same,
    shape.BROADCAST.name: _same,
    shape.RESHAPE.name: _same,
    shape.TRANSPOSE.name: _same,
    ew.CAST.name: _same,
    ew.ADD.name: _add,
    ew.SUB.name: _sub,
    ew.MUL.name: _mul,
    ew.IREM.name: _rem,
    ew.IDIV.name: _div,
    ew.MIN.name: _min,
    ew.MAX.name: _max,
    ew.SELECT.name: _union,
}
