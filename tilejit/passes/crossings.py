"""Finds the tiles that one kind of core computes and the other needs, and has them sent.

An AI core has one cube core and two vector cores, which share no memory but GM. A *crossing* is a tile that
the one makes and the other reads: a sum of products that the vector unit works on, or a tile it has computed
that ``tl.dot`` multiplies. Before: tile IR. After: behind what makes such a tile stand a ``send`` and a
``receive``, and the other core's ops read what was received.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from tilejit.diagnostics import Location
from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.opdef import Attribute
from tilejit.ops import (
    AND,
    DOT,
    FOR,
    IF,
    LOAD,
    SPLAT,
    WHILE,
    YIELD,
)
from tilejit.ops.machine.cross import RECEIVE, SEND
from tilejit.passes.cube_work import CubeWork, origin
from tilejit.passes.fixpipe_stores import is_only_stored, stores_of_cube
from tilejit.passes.program_order import blocks_around
from tilejit.passes.tile_lanes import behind_views, conjuncts
from tilejit.passes.tile_maker import TileMaker
from tilejit.records import dataclass
from tilejit.target.spaces import Core

_HANDS_ON = frozenset(op.name for op in (FOR, IF, WHILE, YIELD))


@dataclass(eq=False)
class Crossing:
    """A tile on its way from one kind of core to the other.

    ``masks``: by dimension of the tile, comparisons that say which of it is not zero.
    """

    value: Value
    producer: Core
    users: list[Op]
    masks: dict[int, list[Value]]


def find_crossings(function: Function) -> list[Crossing]:
    """The crossings of a function, in program order."""
    work = CubeWork(function)
    stores = frozenset(stores_of_cube(function, work))
    found: dict[Value, tuple[Core, list[Op]]] = {}
    for value, user in _sums_to_vectors(function, work, stores):
        found.setdefault(value, (Core.AIC, []))[1].append(user)
    for value, dot in _tiles_to_cube(function):
        found.setdefault(value, (Core.AIV, []))[1].append(dot)
    order = {op: number for number, op in enumerate(function.walk())}
    ordered = sorted(found.items(), key=lambda item: _place(order, item[0]))
    return [
        Crossing(value, producer, users, _masks_of_sum(work, value) if producer is Core.AIC else {})
        for value, (producer, users) in ordered
    ]


def _place(order: Mapping[Op, int], value: Value) -> int:
    """Where a value is made, in program order."""
    owner = value.owner
    op = owner if isinstance(owner, Op) else owner.parent
    return order[op] if isinstance(op, Op) else -1


def _sums_to_vectors(
    function: Function, work: CubeWork, stores: Collection[Op]
) -> Iterator[tuple[Value, Op]]:
    """The sums that the vector unit reads, each with an op of that kind."""
    for op in function.walk():
        if op.name == DOT.name or op.name in _HANDS_ON or op in stores or is_only_stored(op, stores):
            continue
        for value in dict.fromkeys(op.operands):
            if work.is_sum(value):
                yield value, op


def _tiles_to_cube(function: Function) -> Iterator[tuple[Value, Op]]:
    """The tiles that dots multiply and that are no loads, each with a dot."""
    for op in function.walk():
        if op.name == DOT.name:
            for name in ("a", "b"):
                value = origin(op.operand(name)).value
                if value.defining_op is None or value.defining_op.name != LOAD.name:
                    yield value, op


def _masks_of_sum(work: CubeWork, value: Value) -> dict[int, list[Value]]:
    """What bounds the rows and columns of a sum that are not zero: the masks of all that its dots load."""
    of = work.sum_of(value)
    place = value.owner.parent if isinstance(value.owner, Op) else value.owner
    assert place is not None
    visible = {id(block) for block in _enclosing(place)}
    masks: dict[int, list[Value]] = {}
    for outer, name in enumerate("ab", value.type.rank - 2):
        common: list[Value] | None = None
        for dot in of.dots:
            bounds = [v for v in _bounds(dot, name, outer) if _is_visible(v, visible)]
            common = bounds if common is None else [v for v in common if v in bounds]
        if common:
            masks[outer] = common
    return masks


def _enclosing(block: Block) -> Iterator[Block]:
    yield block
    if isinstance(block.parent, Op):
        yield from blocks_around(block.parent)


def _is_visible(value: Value, blocks: set[int]) -> bool:
    owner = value.owner
    return id(owner if isinstance(owner, Block) else owner.parent) in blocks


def _bounds(dot: Op, name: str, outer: int) -> Iterator[Value]:
    """The comparisons, of one dimension, that bound an operand of a dot along its rows or columns."""
    found = origin(dot.operand(name))
    load, dim = found.value.defining_op, found.dims[outer]
    if load is None or load.name != LOAD.name or dim is None:
        return
    for part in conjuncts(load.optional_operand("mask")):
        inner, base = behind_views(part, dim)
        maker = base.defining_op
        if inner is None or (maker is not None and maker.name == SPLAT.name):
            continue
        if base.type.size == base.type.shape[inner] == load.result.type.shape[dim]:
            yield base


def insert_crossings(function: Function) -> int:
    """Put the crossings of ``function`` into it, in place; returns how many there are."""
    crossings = find_crossings(function)
    for number, crossing in enumerate(crossings):
        _insert(crossing, number)
    return len(crossings)


def _insert(crossing: Crossing, number: int) -> None:
    value, location = crossing.value, _location(crossing)
    at = TileMaker(_home(value), _behind(value), location)
    mask: Value | None = None
    for dim, parts in crossing.masks.items():
        for part in parts:
            wide = at.along(part, dim, value.type.shape)
            mask = wide if mask is None else at.make(AND, lhs=mask, rhs=wide)
    attributes: dict[str, Attribute] = {"crossing": number, "producer": crossing.producer}
    at.put(SEND, attributes, value=value, mask=mask)
    attributes |= {"shape": value.type.shape, "dtype": value.type.element}
    received = at.put(RECEIVE, attributes, mask=mask).result
    received.name = value.name
    for user in crossing.users:
        _replace_use(user, value, received, crossing.producer)


def _location(crossing: Crossing) -> Location | None:
    op = crossing.value.defining_op
    return op.location if op is not None else crossing.users[0].location


def _home(value: Value) -> Block:
    """The block in which a value becomes known."""
    block = value.owner if isinstance(value.owner, Block) else value.owner.parent
    assert block is not None
    return block


def _behind(value: Value) -> Op:
    """The op before which a value is known, first."""
    block, op = _home(value), value.defining_op
    return block.ops[block.ops.index(op) + 1 if op is not None else 0]


def _replace_use(user: Op, value: Value, received: Value, producer: Core) -> None:
    """Let ``user`` read what was received; a dot reads a tile of the vector unit through views of its own."""
    if producer is Core.AIC:
        for position, operand in enumerate(user.operands):
            if operand is value:
                user.set_operand(position, received)
        return
    for position, name in enumerate("ab"):
        operand = user.operand(name)
        if origin(operand).value is value:
            user.set_operand(position, _view_again(operand, value, received, user))


def _view_again(operand: Value, value: Value, received: Value, user: Op) -> Value:
    """The views that lead from ``value`` to ``operand``, of ``received``, before ``user``."""
    if operand is value:
        return received
    op = operand.defining_op
    assert op is not None and user.parent is not None
    source = _view_again(op.operands[0], value, received, user)
    made = Op(op.definition, {"x": source}, op.attributes, (), op.location, [operand.name])
    return user.parent.insert_before(user, made).result
