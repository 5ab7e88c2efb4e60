"""Shares the work of a vector function between the two vector cores of an AI core.

Of every tile that is stored, each of the two takes half along one dimension, the larger half the first: all
that is computed for it, up to the loads, is cut in the same way (``cut_tiles``). Where no dimension can be
cut, both compute, and the first one stores.
"""

from __future__ import annotations

from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.opdef import Effects
from tilejit.ir.types import INT32
from tilejit.ops import CMP, CONSTANT, IF, STORE, YIELD, CmpPredicate
from tilejit.ops.machine.buffer import BUFFER, SUB_BLOCK_INDEX
from tilejit.ops.machine.sync import CROSS_SET, CROSS_WAIT
from tilejit.passes.cut_tiles import Cutter, Dimensions, parts_are_independent, with_own_indices
from tilejit.passes.manager import PassContext

SUB_BLOCKS = 2
_RUN_BY_BOTH = frozenset(op.name for op in (BUFFER, CROSS_SET, CROSS_WAIT))


def share_between_sub_blocks(function: Function, context: PassContext) -> Function:
    """Return ``function`` for two vector cores, each of which does a part of it."""
    function = with_own_indices(function)
    cut: dict[Value, int] = {}
    if parts_are_independent(function, _RUN_BY_BOTH):
        dimensions = Dimensions(function)
        for op in list(function.walk()):
            if op.name == STORE.name and not _cut_along(op.operand("value"), dimensions, cut):
                context.remark("the first vector core stores alone: no dimension can be cut", op.location)
    else:
        context.remark("the first vector core stores alone: loads may read what is stored", function.location)
    cutter, body = _Sharer(function, cut, SUB_BLOCKS), Block()
    cutter.begin(body)
    cutter.fill(body, body.append(Op(SUB_BLOCK_INDEX, location=function.location)).result)
    return cutter.finish(body)


def _cut_along(value: Value, dimensions: Dimensions, cut: dict[Value, int]) -> bool:
    """Cut a stored tile along its first dimension that can be; whether there is one."""
    if value in cut:
        return True
    for dim in range(value.type.rank):
        members = dimensions.same_as(value, dim)
        if members and not any(member in cut for member in members):
            cut.update(members)
            return True
    return False


class _Sharer(Cutter):
    """Has the first part alone do what is not cut and does more than read."""

    def _append(self, block: Block, op: Op) -> None:
        shared = op.regions or not op.effects & ~Effects.READ or op.name in _RUN_BY_BOTH
        if shared or (op.name == STORE.name and op.operand("value") in self._cut):
            super()._append(block, op)
            return
        zero = Op(CONSTANT, {}, {"value": 0, "dtype": INT32}, (), op.location)
        operands = {"lhs": self._part, "rhs": block.append(zero).result}
        is_first = Op(CMP, operands, {"predicate": CmpPredicate.EQ}, (), op.location)
        then, other = Block(), Block()
        super()._append(then, op)
        for arm in (then, other):
            arm.append(Op(YIELD, location=op.location))
        condition = block.append(is_first).result
        block.append(Op(IF, {"condition": condition}, regions=(then, other), location=op.location))
