"""Building blocks of passes: clone, replace, erase.

Every op made here takes the location of the op it stands for. Names of values are carried along.
"""

from __future__ import annotations

from collections.abc import Sequence

from tilejit.diagnostics import InternalError
from tilejit.ir.core import Block, Function, Op, Value

ValueMap = dict[Value, Value]


def clone_function(function: Function) -> Function:
    """Return an independent copy of ``function``."""
    body = _clone_block(function.body, {})
    return Function(function.name, body, list(function.arguments), function.location, function.core)


def _clone_block(block: Block, mapping: ValueMap) -> Block:
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
    regions = [_clone_block(region, mapping) for region in op.regions]
    copy = op.copy([mapping.get(value, value) for value in op.operands], regions)
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


def remove_arguments(block: Block, dropped: Sequence[int]) -> None:
    """Remove the arguments at the given positions, which must be unused, and renumber the others."""
    for index in dropped:
        if block.arguments[index].use_count:
            raise InternalError(f"removing the block argument %{block.arguments[index].name}, which is used")
    gone = frozenset(dropped)
    block.arguments = [value for index, value in enumerate(block.arguments) if index not in gone]
    for index, value in enumerate(block.arguments):
        value.index = index
