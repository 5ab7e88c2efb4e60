"""Building blocks of passes: clone, replace, move, inline, erase.

Every op made here takes the location of the op it stands for. Names of values are carried along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tilejit.diagnostics import InternalError
from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.opdef import Attribute, Effects, OpDef

ValueMap = dict[Value, Value]


def clone_function(function: Function) -> Function:
    """Return an independent copy of ``function``."""
    body = clone_block(function.body, {})
    return Function(function.name, body, list(function.arguments), function.location, function.core)


def clone_block(block: Block, mapping: ValueMap) -> Block:
    """Return a copy of ``block``; values that are not in ``mapping`` are taken from outside as they are.

    ``mapping`` is extended by the block's arguments and results.
    """
    copy = Block()
    for argument in block.arguments:
        mapping[argument] = copy.add_argument(argument.type, argument.name)
    for op in block.ops:
        copy.append(clone_op(op, mapping))
    return copy


def clone_op(op: Op, mapping: ValueMap) -> Op:
    """Return a copy of ``op`` and its regions outside any block, extending ``mapping`` by its results."""
    regions = [clone_block(region, mapping) for region in op.regions]
    operands = {
        name: [mapping.get(value, value) for value in values] for name, values in op.named_operands().items()
    }
    names = [result.name for result in op.results]
    copy = Op(op.definition, operands, op.attributes, regions, op.location, names)
    mapping.update(zip(op.results, copy.results, strict=True))
    return copy


def replace_op(op: Op, values: Sequence[Value]) -> None:
    """Let ``values`` take the place of the results of ``op``, and erase it.

    A value without a name inherits the name of the result it replaces.
    """
    for result, value in zip(op.results, values, strict=True):
        if result.name and not value.name:
            value.name = result.name
        result.replace_all_uses_with(value)
    op.erase()


def replace_with_new(
    op: Op,
    definition: OpDef,
    *,
    attributes: Mapping[str, Attribute] | None = None,
    regions: Sequence[Block] = (),
    **operands: Value | Sequence[Value] | None,
) -> Op:
    """Put a new op with as many results in the place of ``op``, at its location, and return it.

    Regions of ``op`` that are given to the new op move over to it.
    """
    names = [result.name for result in op.results]
    new = Op(definition, operands, attributes, regions, op.location, names)
    if any(region in op.regions for region in regions):
        op.regions = ()
    if op.parent is None:
        raise InternalError(f"replacing {op.name}, which is in no block", op.location)
    op.parent.insert_before(op, new)
    replace_op(op, new.results)
    return new


def move_before(op: Op, anchor: Op) -> None:
    """Take ``op`` out of its block and put it in front of ``anchor``."""
    if anchor.parent is None or op.parent is None:
        raise InternalError(f"moving {op.name} where there is no block", op.location)
    op.parent.ops.remove(op)
    anchor.parent.insert_before(anchor, op)


def inline_block_before(block: Block, anchor: Op, arguments: Sequence[Value]) -> tuple[Value, ...]:
    """Move the ops of ``block`` in front of ``anchor``, ``arguments`` in the place of its own.

    Returns what its terminator passed on. ``block`` is empty afterwards.
    """
    for parameter, value in zip(block.arguments, arguments, strict=True):
        parameter.replace_all_uses_with(value)
    terminator = block.terminator
    passed_on = terminator.operands
    terminator.erase()
    moved, block.ops = block.ops, []
    if anchor.parent is None:
        raise InternalError(f"inlining before {anchor.name}, which is in no block", anchor.location)
    for op in moved:
        anchor.parent.insert_before(anchor, op)
    return passed_on


def remove_arguments(block: Block, dropped: Sequence[int]) -> None:
    """Remove the arguments at the given positions, which must be unused, and renumber the others."""
    for index in dropped:
        if block.arguments[index].use_count:
            raise InternalError(f"removing the block argument %{block.arguments[index].name}, which is used")
    gone = frozenset(dropped)
    block.arguments = [value for index, value in enumerate(block.arguments) if index not in gone]
    for index, value in enumerate(block.arguments):
        value.index = index


def erase_dead(block: Block) -> bool:
    """Erase the ops of ``block`` and its regions that only compute or read, and whose results nobody uses.

    Returns whether anything was erased.
    """
    changed = False
    kept: list[Op] = []
    for op in reversed(block.ops):
        if _is_dead(op):
            op.parent = None  # the list is rebuilt below: cheaper than one search per erased op
            op.erase()
            changed = True
            continue
        for region in reversed(op.regions):
            changed |= erase_dead(region)
        kept.append(op)
    kept.reverse()
    block.ops = kept
    return changed


def _is_dead(op: Op) -> bool:
    if op.definition.is_terminator or any(result.use_count for result in op.results):
        return False
    return not op.effects & ~Effects.READ
