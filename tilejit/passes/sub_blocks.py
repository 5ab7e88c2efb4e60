"""Shares the work of a vector function between the two vector cores of an AI core.

Of every tile that is stored, each of the two takes half along one dimension, the larger half the first: all
that is computed for it, up to the loads, is cut in the same way (``cut_tiles``). Where no dimension can be
cut, both compute, and the first one stores; where nothing is cut at all, it also loads alone what is stored,
and runs alone the loops without flags, which may end by what it has loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.opdef import Effects
from tilejit.ops import CMP, IF, LOAD, STORE, YIELD, CmpPredicate
from tilejit.ops.machine.buffer import BUFFER, SUB_BLOCK_INDEX
from tilejit.ops.machine.sync import CROSS_SET, CROSS_WAIT
from tilejit.passes.access import AccessAnalysis, may_alias, may_be_written
from tilejit.passes.cut_tiles import (
    Cutter,
    Dimensions,
    other_effects,
    parts_are_independent,
    with_own_indices,
)
from tilejit.passes.manager import PassContext
from tilejit.passes.program_order import LOOPS
from tilejit.passes.tile_maker import TileMaker
from tilejit.passes.unsupported import spell_kind

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
    other = next(other_effects(function, _RUN_BY_BOTH), None)
    if other is not None:
        context.remark(
            f"the first vector core stores alone: {spell_kind(other)} is not shared", other.location
        )
        return {}
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
        self._is_alone = False

    def _append(self, block: Block, op: Op) -> None:
        shared = op.regions or not op.effects & ~Effects.READ or op.name in _RUN_BY_BOTH
        is_cut = op.name == STORE.name and op.operand("value") in self._cut
        if self._is_alone or ((shared or is_cut) and not self._follows_stores(op)):
            super()._append(block, op)
        else:
            self._append_alone(block, op)

    def _follows_stores(self, op: Op) -> bool:
        """Whether an op loads what the function stores, or is a loop that may end by it.

        Nothing keeps the two vector cores in step: where they share no tiles, one of them does all of that.
        """
        if self._cut:
            return False
        if op.name == LOAD.name:
            return may_be_written(self._function, self._analysis, op.operand("pointer"))
        return op.name in LOOPS and not any(inner.name in _RUN_BY_BOTH for inner in op.walk())

    def _append_alone(self, block: Block, op: Op) -> None:
        """Have the other part go on with what a loop begins with, or zeros: nothing it computes is stored."""
        at, then, other = TileMaker(block, None, op.location), Block(), Block()
        assert self._part is not None
        is_first = at.make(CMP, {"predicate": CmpPredicate.EQ}, lhs=self._part, rhs=at.number(0))
        self._is_alone = True
        super()._append(then, op)
        self._is_alone = False
        used = [result for result in op.results if result.use_count]
        made, end = [self._mapping[result] for result in used], TileMaker(other, None, op.location)
        if op.regions:
            instead = [self._mapping[op.operand_list("inits")[result.index]] for result in used]
        else:
            instead = [end.zeros(value.type) for value in made]
        TileMaker(then, None, op.location).put(YIELD, values=made)
        end.put(YIELD, values=instead)
        names = [result.name for result in used]
        chosen = Op(IF, {"condition": is_first}, {}, (then, other), op.location, names)
        self._mapping.update(zip(used, block.append(chosen).results, strict=True))
