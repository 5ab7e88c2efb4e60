"""Which ops of a loop's body each of its stages may do again for itself, and what goes from core to core."""

from __future__ import annotations

from collections.abc import Iterator

from tilejit.ir.core import Op, Value
from tilejit.ir.opdef import Effects
from tilejit.ir.types import DType
from tilejit.ops import DOT, LOAD
from tilejit.ops.machine.cross import RECEIVE, SEND
from tilejit.passes.access import VIEW_OPS
from tilejit.passes.tile_homes import carried_groups
from tilejit.target.spaces import Core


def free_ops(loop: Op) -> set[Op]:
    """The ops of a loop's body that each stage may repeat for itself: indices, and loads of what never
    changes.
    """
    body = loop.regions[0]
    free: set[Op] = set()
    heavy = {value for op in body.ops if not is_repeatable(op) for value in op.results}
    carried = list(carried_groups(loop))
    while True:
        # What a loop carries is an index where each trip makes the next one's of indices.
        for position, group in enumerate(carried):
            argument = body.arguments[position + 1]
            if group.sources[1] in heavy:
                heavy.add(argument)
        before = len(heavy)
        free = set()
        for op in body.ops[:-1]:
            if is_repeatable(op) and not any(value in heavy for value in op.operands):
                free.add(op)
            else:
                heavy.update(op.results)
        if len(heavy) == before:
            # Views cost nothing either, wherever what they show comes from.
            return free | {op for op in body.ops if op.name in VIEW_OPS}


def is_repeatable(op: Op) -> bool:
    """Whether an op costs nothing when it is done in several stages: it makes scalars, indices or loads."""
    if op.regions or op.effects & ~Effects.READ:
        return False
    if op.name == LOAD.name:
        return True
    return all(_is_index(value) for value in op.results)


def _is_index(value: Value) -> bool:
    element = value.type.element
    return value.type.is_scalar or not isinstance(element, DType) or not element.is_floating()


def number_of(op: Op) -> int:
    """The number of the crossing that a ``send`` or ``receive`` belongs to."""
    number = op.attributes["crossing"]
    assert isinstance(number, int)
    return number


def comes_back(op: Op) -> bool:
    """Whether an op sends a tile to the cube core."""
    return op.name == SEND.name and op.attributes["producer"] is Core.AIV


def sent_in(op: Op) -> Iterator[Op]:
    """The sends of an op and its regions whose tiles are received outside of it."""
    received = _numbers(op, RECEIVE.name)
    yield from (inner for inner in op.walk() if inner.name == SEND.name and number_of(inner) not in received)


def received_in(op: Op) -> Iterator[Op]:
    """The receives of an op and its regions whose tiles are sent outside of it."""
    sent = _numbers(op, SEND.name)
    yield from (inner for inner in op.walk() if inner.name == RECEIVE.name and number_of(inner) not in sent)


def _numbers(op: Op, name: str) -> set[int]:
    return {number_of(inner) for inner in op.walk() if inner.name == name}


def is_multiplied(value: Value) -> bool:
    """Whether a value is a tile that the cube core multiplies, which waits in no stage and no branch."""
    return any(
        value in (user.operand("a"), user.operand("b"))
        if user.name == DOT.name
        else user.name in VIEW_OPS and is_multiplied(user.result)
        for user in value.users
    )
