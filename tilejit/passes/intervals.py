"""What range an integer value lies in, computed without wrapping.

Kernels compute offsets in 32 bits, which wrap. Code that treats such an offset as one affine function of the
index must know that it did not: ``never_wraps`` proves it from constants, remainders and the sizes of tiles.
"""

from __future__ import annotations

from tilejit.ir.core import Op, Value
from tilejit.ir.types import INT32, DType
from tilejit.ops import control, shape
from tilejit.ops import elementwise as ew
from tilejit.records import dataclass


@dataclass(frozen=True)
class Interval:
    """All integers from ``low`` to ``high``; ``wrapped`` says that some lanes of a tile may have wrapped on
    the way there and others not.
    """

    low: int
    high: int
    wrapped: bool = False


def never_wraps(value: Value) -> bool:
    """Whether the lanes of an integer tile are what they would be without overflow, up to one number that is
    the same for all of them.
    """
    return not _Ranges().of(value).wrapped


_DEEPEST = 64
"""Ops from which a range is derived, one from the other: beyond that nothing is known."""


class _Ranges:
    """The ranges of values, each computed once."""

    def __init__(self) -> None:
        self._known: dict[Value, Interval] = {}
        self._depth = 0

    def of(self, value: Value) -> Interval:
        found = self._known.get(value)
        if found is None:
            self._depth += 1
            found = self._known[value] = self._compute(value)
            self._depth -= 1
        return found

    def _compute(self, value: Value) -> Interval:
        element = value.type.element
        if not isinstance(element, DType) or element.is_floating():
            return Interval(0, 0, wrapped=True)
        op, is_tile = value.defining_op, not value.type.is_scalar  # a scalar is one number, wrapped or not
        if op is None or op.regions or self._depth > _DEEPEST:
            return Interval(element.min_value, element.max_value, wrapped=is_tile)
        found = self._of_op(op)
        if found is None:
            return Interval(element.min_value, element.max_value)
        if found.low < element.min_value or found.high > element.max_value:
            return Interval(element.min_value, element.max_value, wrapped=is_tile)
        return found

    def _of_op(self, op: Op) -> Interval | None:
        """The mathematical range of an op's result; None where the type's range is the best answer, and the
        result follows no stride.
        """
        if op.name == shape.CONSTANT.name:
            number = op.attributes["value"]
            return Interval(number, number) if isinstance(number, int) else None
        if op.name == shape.ARANGE.name:
            start, end = op.attributes["start"], op.attributes["end"]
            assert isinstance(start, int) and isinstance(end, int)
            return Interval(start, end - 1)
        if op.name in (control.PROGRAM_ID.name, control.NUM_PROGRAMS.name):
            return Interval(0, INT32.max_value)
        rule = _RULES.get(op.name)
        if rule is None:
            return None
        inputs = [self.of(operand) for operand in op.operands]
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


def _shl(inputs: list[Interval]) -> Interval | None:
    value, amount = inputs
    if amount.low != amount.high or not 0 <= amount.low < 64:
        return None
    return Interval(value.low << amount.low, value.high << amount.low)


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
    ew.SHL.name: _shl,
    ew.IREM.name: _rem,
    ew.IDIV.name: _div,
    ew.MIN.name: _min,
    ew.MAX.name: _max,
    ew.SELECT.name: _union,
}
