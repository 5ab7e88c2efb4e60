"""Drops tests whether a coordinate is negative where it cannot be.

Tensor descriptors mask every coordinate from below, too; no copy of an Ascend chip starts in the middle of a
tile. Before: a function of tile IR. After: such comparisons hold, and go from the masks, where a coordinate
is made of aranges, program ids, counts of programs, indices of loops and numbers that are not negative.

Narrow numbers are taken not to wrap on the way there, as wherever addresses are made on Ascend: coordinates
that do lie outside any array.
"""

from __future__ import annotations

from collections.abc import Sequence

from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.rewrite import clone_function, replace_op
from tilejit.ir.types import INT1, DType
from tilejit.ops import (
    ADD,
    ARANGE,
    CAST,
    CMP,
    CONSTANT,
    FOR,
    IDIV,
    IREM,
    MIN,
    MUL,
    NUM_PROGRAMS,
    PROGRAM_ID,
    SELECT,
    SPLAT,
    CmpPredicate,
)
from tilejit.passes.access import VIEW_OPS, constant_everywhere
from tilejit.passes.simplify import simplify
from tilejit.passes.tile_homes import carried_groups
from tilejit.passes.tile_maker import TileMaker

_SOURCES = frozenset(op.name for op in (ARANGE, PROGRAM_ID, NUM_PROGRAMS))
_KEEPING = frozenset((*VIEW_OPS, *(op.name for op in (ADD, IDIV, IREM, MIN, MUL))))
"""Ops whose results are not negative where no operand is."""


def drop_lower_bounds(function: Function) -> Function:
    """A simplified function without tests that always hold; the same one where it has none."""
    if not any(_always_holds(op) for op in function.walk()):
        return function
    function = clone_function(function)
    for op in [op for op in function.walk() if _always_holds(op)]:
        assert op.parent is not None
        at = TileMaker(op.parent, op, op.location)
        true = at.make(CONSTANT, {"value": True, "dtype": INT1})
        type = op.result.type
        replace_op(op, [true if type.is_scalar else at.make(SPLAT, {"shape": type.shape}, x=true)])
    simplify(function)
    return function


def _always_holds(op: Op) -> bool:
    """Whether an op asks for a coordinate of at least 0, or less, that is not negative."""
    if op.name != CMP.name or op.attributes["predicate"] not in (CmpPredicate.GE, CmpPredicate.GT):
        return False
    limit = constant_everywhere(op.operand("rhs"))
    most = 0 if op.attributes["predicate"] is CmpPredicate.GE else -1
    return isinstance(limit, int) and limit <= most and _is_natural(op.operand("lhs"))


def _is_natural(value: Value) -> bool:
    """Whether no element of a value is negative. What a loop carries is not, if it begins and goes on so."""
    pending, seen = [value], set[Value]()
    while pending:
        value = pending.pop()
        if value in seen:
            continue
        seen.add(value)
        sources = _sources(value)
        if sources is None:
            return False
        pending += sources
    return True


def _sources(value: Value) -> Sequence[Value] | None:
    """The values that must not be negative so that one is not; None where that tells nothing."""
    op, element = value.defining_op, value.type.element
    if not isinstance(element, DType) or element.is_floating() or element.is_bool():
        return None
    if op is None or op.regions:
        return _carried(value)
    if op.name == CONSTANT.name:
        number = op.attributes["value"]
        return () if isinstance(number, int) and number >= 0 else None
    if op.name == CAST.name:
        source = op.operands[0].type.element
        is_widened = isinstance(source, DType) and source.is_int() and source.bits <= element.bits
        return op.operands if is_widened else None
    if op.name == SELECT.name:
        return op.operands[1:]
    if op.name in _SOURCES:
        return ()
    return op.operands if op.name in _KEEPING else None


def _carried(value: Value) -> Sequence[Value] | None:
    """The same for what a loop or branch makes; arguments of the kernel tell nothing."""
    holder = value.owner.parent if isinstance(value.owner, Block) else value.owner
    if not isinstance(holder, Op):
        return None
    if holder.name == FOR.name and value is holder.regions[0].arguments[0]:
        return holder.operand("lower"), holder.operand("step")
    return next((group.sources for group in carried_groups(holder) if value in group.homes), None)
