"""Removes what nobody sees: ops, loops and branches without effect, results and carried values without
reader.

Before: valid IR. After: valid IR with the same effects on memory and the same output, in the same order;
every op that is left has an effect or contributes to one. Reading memory is no effect, nor is running for
ever; but a ``while`` whose condition depends on memory stays, since it may be waiting for another thread.

An accumulator that is only ever added to itself has a user, so counting users does not do: values are marked
from the effects backwards, and what stays unmarked goes.
"""

from __future__ import annotations

from collections.abc import Sequence

from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.opdef import Effects
from tilejit.ir.rewrite import remove_arguments, replace_op
from tilejit.ops import FOR, IF, WHILE, YIELD

_CARRYING = (FOR.name, IF.name, WHILE.name)


def remove_dead(function: Function) -> bool:
    """Remove all dead code of ``function``; return whether there was any."""
    marking = _Marking(function)
    return _sweep(function.body, marking)


def may_wait(op: Op) -> bool:
    """Whether ``op`` may be waiting until another thread has written: a ``while`` whose condition depends on
    memory.
    """
    if op.name != WHILE.name:
        return False
    condition, body = op.regions
    reads = [any(inner.effects & Effects.READ for inner in region.ops) for region in (condition, body)]
    return reads[0] or (reads[1] and any(argument.use_count for argument in condition.arguments))


class _Marking:
    """The ops and values that contribute to an effect."""

    def __init__(self, function: Function) -> None:
        self.ops: set[Op] = set()
        self.values: set[Value] = set()
        self._pending: list[Value] = []
        self._mark_effects(function.body)
        while self._pending:
            self._mark_origin(self._pending.pop())

    def _mark_effects(self, block: Block) -> None:
        for op in block.ops:
            definition = op.definition
            effects = (
                definition.effects if definition.effects_of is None else definition.effects_of(op.attributes)
            )
            if effects not in (Effects.NONE, Effects.READ) or may_wait(op):
                self._mark_op(op)
            for region in op.regions:
                self._mark_effects(region)
        if isinstance(block.parent, Function):
            self._mark_op(block.terminator)

    def _mark_op(self, op: Op) -> None:
        if op in self.ops:
            return
        self.ops.add(op)
        for value in _always_needed(op) if op.regions else op.operands:
            self._mark_value(value)
        if op.parent is not None and isinstance(op.parent.parent, Op):
            self._mark_op(op.parent.parent)

    def _mark_value(self, value: Value) -> None:
        if value not in self.values:
            self.values.add(value)
            self._pending.append(value)

    def _mark_origin(self, value: Value) -> None:
        if isinstance(value.owner, Op):
            self._mark_op(value.owner)
            if value.owner.regions:
                for source in _sources_of_result(value.owner, value.index):
                    self._mark_value(source)
            return
        holder = value.owner.parent
        if not isinstance(holder, Op) or holder.name not in _CARRYING:
            return
        index = value.index - _first_carried(holder)
        if index >= 0:
            self._mark_value(holder.results[index])


def _always_needed(op: Op) -> list[Value]:
    """The values that an op with regions needs whichever of its results are used."""
    if op.name == FOR.name:
        return [op.operand("lower"), op.operand("upper"), op.operand("step")]
    if op.name == IF.name:
        return [op.operand("condition")]
    if op.name == WHILE.name:
        return list(op.regions[0].terminator.operands)
    needed = list(op.operands)
    for region in op.regions:
        needed += region.terminator.operands
    return needed


def _sources_of_result(op: Op, index: int) -> list[Value]:
    """What a result of a control op is made from, beside what the op always needs."""
    if op.name == FOR.name or op.name == WHILE.name:
        return [op.operand_list("inits")[index], op.regions[-1].terminator.operands[index]]
    if op.name == IF.name:
        return [region.terminator.operands[index] for region in op.regions]
    return []


def _first_carried(op: Op) -> int:
    """How many block arguments stand before the carried ones."""
    return 1 if op.name == FOR.name else 0


def _sweep(block: Block, marking: _Marking) -> bool:
    """Erase unmarked ops; users stand after what they use, so going backwards finds every result unused."""
    changed = False
    kept: list[Op] = []
    for op in reversed(block.ops):
        if op.definition.is_terminator:
            kept.append(op)
            continue
        op.parent = None  # the list is rebuilt: cheaper than searching it for every erased op
        if op not in marking.ops:
            op.erase()
            changed = True
            continue
        live = [index for index, result in enumerate(op.results) if result in marking.values]
        if op.name in _CARRYING and len(live) < len(op.results):
            op = _without_dead_results(op, live, marking)
            changed = True
        else:
            for region in op.regions:
                changed |= _sweep(region, marking)
        op.parent = block
        kept.append(op)
    kept.reverse()
    block.ops = kept
    return changed


def _without_dead_results(op: Op, live: Sequence[int], marking: _Marking) -> Op:
    """Make ``op`` anew with the ``live`` ones of its results; its regions move over, swept."""
    for region in op.regions:
        if op.name != WHILE.name or region is op.regions[1]:
            _shorten_terminator(region, live)
        _sweep(region, marking)
        if op.name != IF.name:
            first, dead = _first_carried(op), set(range(len(op.results))) - set(live)
            remove_arguments(region, [first + index for index in sorted(dead)])
    operands: dict[str, Value | Sequence[Value] | None] = dict(op.named_operands())
    if op.name != IF.name:
        inits = op.operand_list("inits")
        operands["inits"] = [inits[index] for index in live]
    names = [op.results[index].name for index in live]
    new = Op(op.definition, operands, op.attributes, op.regions, op.location, names)
    op.regions = ()
    marking.ops.add(new)
    marking.values.update(new.results)
    for index, result in zip(live, new.results, strict=True):
        op.results[index].replace_all_uses_with(result)
    op.erase()
    return new


def _shorten_terminator(region: Block, live: Sequence[int]) -> None:
    old = region.terminator
    values = [old.operands[index] for index in live]
    new = region.insert_before(old, Op(YIELD, {"values": values}, location=old.location))
    replace_op(old, new.results)
