"""Shares the work of a vector function between the two vector cores of an AI core.

Of every tile that is stored, each of the two takes half along one dimension, the larger half the first: all
that is computed for it, up to the loads, is cut in the same way (``cut_tiles``). Where no dimension can be
cut, both compute, and the first one stores; where nothing is cut at all, it also loads alone what is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.opdef import Effects
from tilejit.ops import CMP, IF, LOAD, STORE, YIELD, CmpPredicate
from tilejit.ops.machine.buffer import BUFFER, SUB_BLOCK_INDEX
from tilejit.ops.machine.sync import CROSS_SET, CROSS_WAIT
from tilejit.passes.access import AccessAnalysis, may_alias, may_be_written
from tilejit.passes.cut_tiles import Cutter, Dimensions, parts_are_independent, with_own_indices
from tilejit.passes.manager import PassContext
from tilejit.passes.tile_maker import TileMaker

SUB_BLOCKS = 2
_RUN_BY_BOTH = frozenset(op.name for op in (BUFFER, CROSS_SET, CROSS_WAIT))


def share_between_sub_blocks(function: Function, context: PassContext) -> Function:
    """Return ``function`` for two vector cores, each of which does a part of it."""
    function = with_own_indices(function)
    cutter, body = _Sharer(function, _what_to_cut(function, context), SUB_BLOCKS), Block()
    cutter.begin(body)
    cutter.fill(body, body.append(Op(SUB_BLOCK_INDEX, location=function.location)).result)
    return cutter.finish(body)


def _what_to_cut(function: Function, context: PassContext) -> Mapping[Value, int]:
    """The dimensions along which the cores share tiles, by value; {} where one of them stores alone."""
    if not context.options.enables_on_ascend("sub_blocks"):
        context.remark("the first vector core stores alone: sub_blocks is off", function.location)
        return {}
    cut: dict[Value, int] = {}
    dimensions, whole = Dimensions(function), list[Op]()
    for op in function.walk():
        if op.name == STORE.name and not _cut_along(op.operand("value"), dimensions, cut):
            whole.append(op)
    if not parts_are_independent(function, _RUN_BY_BOTH) or _are_loaded(function, whole):
        context.remark("the first vector core stores alone: loads may read what is stored", function.location)
        return {}
    for op in whole:
        context.remark("the first vector core stores alone: no dimension can be cut", op.location)
    return cut


def _are_loaded(function: Function, stores: Sequence[Op]) -> bool:
    """Whether a load, which both cores do, may read what stores of the first one write."""
    analysis = AccessAnalysis(function)
    written = [analysis.root(op.operand("pointer")) for op in stores]
    loaded = [analysis.root(op.operand("pointer")) for op in function.walk() if op.name == LOAD.name]
    return any(may_alias(function, root, other) for root in written for other in loaded)


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

    def __init__(self, function: Function, cut: Mapping[Value, int], parts: int) -> None:
        super().__init__(function, cut, parts)
        self._analysis = AccessAnalysis(function)

    def _append(self, block: Block, op: Op) -> None:
        if op.name == LOAD.name and not self._cut and self._changes(op):
            self._load_alone(block, op)
            return
        shared = op.regions or not op.effects & ~Effects.READ or op.name in _RUN_BY_BOTH
        if shared or (op.name == STORE.name and op.operand("value") in self._cut):
            super()._append(block, op)
            return
        is_first, then, other = self._is_first(block, op), Block(), Block()
        super()._append(then, op)
        for arm in (then, other):
            arm.append(Op(YIELD, location=op.location))
        block.append(Op(IF, {"condition": is_first}, regions=(then, other), location=op.location))

    def _is_first(self, block: Block, op: Op) -> Value:
        at = TileMaker(block, None, op.location)
        assert self._part is not None
        return at.make(CMP, {"predicate": CmpPredicate.EQ}, lhs=self._part, rhs=at.number(0))

    def _changes(self, load: Op) -> bool:
        """Whether a load reads what the function stores: nothing keeps the two vector cores in step."""
        return may_be_written(self._function, self._analysis, load.operand("pointer"))

    def _load_alone(self, block: Block, op: Op) -> None:
        """Have the other part go on with zeros, as nothing it computes is stored."""
        is_first, then, other = self._is_first(block, op), Block(), Block()
        super()._append(then, op)
        loaded = self._mapping[op.result]
        then.append(Op(YIELD, {"values": [loaded]}, location=op.location))
        at = TileMaker(other, None, op.location)
        if loaded.type.is_scalar:
            nothing = at.number(0, loaded.type.element)
        else:
            nothing = at.zeros(loaded.type)
        at.put(YIELD, values=[nothing])
        operands, names = {"condition": is_first}, [op.result.name]
        chosen = block.append(Op(IF, operands, {}, (then, other), op.location, names))
        self._mapping[op.result] = chosen.result
