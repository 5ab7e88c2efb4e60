"""Separates what the cube adds up from what the vector unit does with it, before a kernel is split.

An accumulator that the kernel also scales, or starts from something else than zeros, is no sum of products
that stays in L0C. Before: ``dot`` with any ``acc``. After: dots add to zeros or to other dots; all other sums
are additions of tiles. What a loop only adds products to starts from zeros, and the tile that it started from
is added once behind the loop. A product that a loop or branch hands on in the place of another tile, or of
another product, is a tile of the vector unit from there on.
"""

from __future__ import annotations

from tilejit.ir.core import Function, Op
from tilejit.ir.opdef import Attribute
from tilejit.ir.rewrite import replace_op
from tilejit.ir.types import DType
from tilejit.ops import ADD, CONSTANT, DOT, FOR, SPLAT
from tilejit.passes.cube_work import CubeWork, fuse_sums, is_zero
from tilejit.passes.moved_sums import moved_sums


def separate_sums(function: Function) -> None:
    """Turn dots that add to tiles of the vector unit into products and additions, in place."""
    fuse_sums(function)
    for op in list(function.walk()):
        if op.name == FOR.name:
            _start_from_zeros(op)
    while True:
        work = CubeWork(function)
        moved = frozenset(moved_sums(function, work))
        mixed = [each for each in work.sums if each in moved or not all(map(work.is_pure, each.values))]
        dots = [dot for each in mixed for dot in each.dots if dot.optional_operand("acc") is not None]
        if not dots:
            for dot in {dot: None for each in mixed for dot in each.dots}:
                _take_over(dot)
            return
        for dot in dots:
            _separate(dot)


def _start_from_zeros(loop: Op) -> None:
    """Add what sums start from behind the loop that adds products to them."""
    first = len(loop.operands) - len(loop.results)
    for result, init in zip(loop.results, loop.operand_list("inits"), strict=True):
        maker = init.defining_op
        is_start = not is_zero(init) and (maker is None or maker.name != DOT.name)
        if not is_start or init.type.is_scalar or not _is_only_added_to(loop, result.index):
            continue
        assert loop.parent is not None
        element = init.type.element
        assert isinstance(element, DType)
        attributes: dict[str, Attribute] = {"value": 0.0 if element.is_floating() else 0, "dtype": element}
        zero = Op(CONSTANT, {}, attributes, (), loop.location)
        zeros = Op(SPLAT, {"x": loop.parent.insert_before(loop, zero).result}, {"shape": init.type.shape})
        loop.set_operand(first + result.index, loop.parent.insert_before(loop, zeros).result)
        total = Op(ADD, {"lhs": init, "rhs": result}, {}, (), loop.location, [result.name])
        result.replace_all_uses_with(total.result)
        total.set_operand(1, result)
        total.parent = loop.parent
        loop.parent.ops.insert(loop.parent.ops.index(loop) + 1, total)


def _is_only_added_to(loop: Op, index: int) -> bool:
    """Whether all that a loop does with a carried tile is to add products to it."""
    value, yielded = loop.regions[0].arguments[index + 1], loop.regions[0].terminator.operands[index]
    while value is not yielded:
        user = value.users[0] if value.use_count == 1 else None
        if user is None or user.name != DOT.name or user.optional_operand("acc") is not value:
            return False
        value = user.result
    return value.defining_op is not None and value.use_count == 1


def _take_over(dot: Op) -> None:
    """Have the vector unit hand on a product that takes the place of a tile of its own.

    It adds -0.0, which changes nothing and goes with the next ``simplify``, when the product has crossed.
    """
    assert dot.parent is not None
    element = dot.result.type.element
    assert isinstance(element, DType)
    place = dot.parent.ops.index(dot) + 1
    number: dict[str, Attribute] = {"value": -0.0 if element.is_floating() else 0, "dtype": element}
    zero = Op(CONSTANT, {}, number, (), dot.location)
    zeros = Op(SPLAT, {"x": zero.result}, {"shape": dot.result.type.shape}, (), dot.location)
    tile = Op(ADD, {"lhs": dot.result, "rhs": zeros.result}, {}, (), dot.location, [dot.result.name])
    dot.result.replace_all_uses_with(tile.result)
    tile.set_operand(0, dot.result)
    for op in (tile, zeros, zero):
        op.parent = dot.parent
        dot.parent.ops.insert(place, op)


def _separate(dot: Op) -> None:
    assert dot.parent is not None
    operands = {"a": dot.operand("a"), "b": dot.operand("b")}
    product = dot.parent.insert_before(dot, Op(DOT, operands, dot.attributes, (), dot.location)).result
    added = Op(ADD, {"lhs": dot.operand("acc"), "rhs": product}, location=dot.location)
    dot.parent.insert_before(dot, added)
    replace_op(dot, [added.result])
