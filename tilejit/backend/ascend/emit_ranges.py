"""The numbers between which an integer of a machine function lies: where none wraps, plain operators do."""

from __future__ import annotations

from tilejit.ir.core import Op, Value
from tilejit.ir.types import DType

Range = tuple[int, int]
_DEPTH = 24
"""How many ops lie between a value and those it is judged by; beyond, it may be anything."""
_MOST_BLOCKS = 1 << 16


def result_range(op: Op) -> Range | None:
    """What an ``add``, ``sub`` or ``mul`` gives before it wraps; None where it computes no integers."""
    if not isinstance(op.result.type.element, DType) or op.result.type.element.is_floating():
        return None
    return _arithmetic(op, _DEPTH)


def cannot_wrap(op: Op) -> bool:
    """Whether the exact result of an ``add``, ``sub`` or ``mul`` lies in its type."""
    found, element = result_range(op), op.result.type.element
    assert isinstance(element, DType)
    return found is not None and int(element.min_value) <= found[0] and found[1] <= int(element.max_value)


def _arithmetic(op: Op, depth: int) -> Range:
    low, high = _range(op.operand("lhs"), depth - 1)
    first, last = _range(op.operand("rhs"), depth - 1)
    if op.name == "add":
        return low + first, high + last
    if op.name == "sub":
        return low - last, high - first
    corners = [a * b for a in (low, high) for b in (first, last)]
    return min(corners), max(corners)


def _range(value: Value, depth: int) -> Range:
    element, op = value.type.element, value.defining_op
    assert isinstance(element, DType)
    whole = int(element.min_value), int(element.max_value)
    found = _defined(op, depth) if op is not None and depth > 0 else _index(value, depth)
    return found if found is not None and whole[0] <= found[0] and found[1] <= whole[1] else whole


def _index(value: Value, depth: int) -> Range | None:
    """The range of a loop's index that counts up; None for other arguments."""
    loop = None if isinstance(value.owner, Op) else value.owner.parent
    if depth <= 0 or not isinstance(loop, Op) or loop.name != "for" or value.index != 0:
        return None
    if _range(loop.operand("step"), depth - 1)[0] <= 0:
        return None
    low, high = (_range(loop.operand(name), depth - 1) for name in ("lower", "upper"))
    return low[0], max(low[0], high[1] - 1)


def _defined(op: Op, depth: int) -> Range | None:
    if op.name == "constant":
        number = op.attributes["value"]
        return (int(number), int(number)) if isinstance(number, int) else None
    if op.name in ("add", "sub", "mul"):
        return _arithmetic(op, depth)
    if op.name in ("block_index", "block_count"):
        return 0, _MOST_BLOCKS
    if op.name == "cast":
        source = op.operand("x").type.element
        is_integer = isinstance(source, DType) and not source.is_floating()
        return _range(op.operand("x"), depth - 1) if is_integer else None
    if op.name in ("min", "max", "select"):
        names = ("true_value", "false_value") if op.name == "select" else ("lhs", "rhs")
        (a, b), (c, d) = (_range(op.operand(name), depth - 1) for name in names)
        if op.name == "select":
            return min(a, c), max(b, d)
        return (min(a, c), min(b, d)) if op.name == "min" else (max(a, c), max(b, d))
    return _quotient(op, depth) if op.name in ("idiv", "irem") else None


def _quotient(op: Op, depth: int) -> Range | None:
    """Division by a positive number, toward zero."""
    divisor, last = _range(op.operand("rhs"), depth - 1)
    if divisor <= 0:
        return None
    low, high = _range(op.operand("lhs"), depth - 1)
    if op.name == "irem":
        return max(low, 1 - last) if low < 0 else 0, min(high, last - 1) if high > 0 else 0
    return -(-low // divisor) if low < 0 else low // last, high // divisor if high > 0 else -(-high // last)
