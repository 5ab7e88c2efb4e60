"""Finds the sums of products that cannot stay in one accumulator of the cube core.

A loop hands on another product in the place of the one it began with, the arms of a branch make one each, or
more is added to what is needed as it was. The vector cores can hand such tiles on, as tiles of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ops import DOT, FOR, IF, WHILE, YIELD
from tilejit.passes.cube_work import HANDS_ON, CubeWork, Sum, is_zero, readers_of_sum
from tilejit.passes.fixpipe_stores import stores_of_cube
from tilejit.passes.program_loop import same_for_all


def moved_sums(function: Function, work: CubeWork) -> list[Sum]:
    """The sums of ``work`` that must change places, in the order of ``work``."""
    moved = {work.sum_of(value) for value in (*_replaced(function, work), *_kept(function, work))}
    return [each for each in work.sums if each in moved]


def _replaced(function: Function, work: CubeWork) -> Iterator[Value]:
    """The values of sums that stand for several accumulators, or for one and for zeros."""
    homes: dict[Value, object] = {}  # by value, what began the accumulator that has it
    for op in function.walk():
        if op.name == DOT.name:
            acc = op.optional_operand("acc")
            homes[op.result] = op if acc is None or is_zero(acc) else homes.get(acc)
        elif op.name in (FOR.name, WHILE.name):
            for index, init in enumerate(op.operand_list("inits")):
                arguments = [region.arguments[index - len(op.results)] for region in op.regions]
                home = (op, index) if is_zero(init) else homes.get(init)
                homes.update(dict.fromkeys((*arguments, op.results[index]), home))
        elif op.name == YIELD.name:
            assert op.parent is not None and isinstance(op.parent.parent, Op)
            if op.parent is op.parent.parent.regions[-1]:
                yield from _yielded(op.parent.parent, work, homes)


def _yielded(holder: Op, work: CubeWork, homes: dict[Value, object]) -> Iterator[Value]:
    """Compare what a loop or branch hands on with what it should."""
    for result in holder.results:
        if not work.is_sum(result):
            continue
        regions = holder.regions if holder.name == IF.name else holder.regions[-1:]
        found = [homes.get(region.terminator.operands[result.index]) for region in regions]
        home = homes.setdefault(result, found[0])
        if home is None or any(each != home for each in found):
            yield result


def _kept(function: Function, work: CubeWork) -> Iterator[Value]:
    """The values of sums that are needed after more is added to them."""
    added_to = [(op, value) for op in function.walk() for value in _added_to(op) if work.is_sum(value)]
    if not added_to:
        return
    stores, same = frozenset(stores_of_cube(function, work)), same_for_all(function)
    for op, value in added_to:
        readers = list(readers_of_sum(value))
        if value.defining_op in same:  # and what crosses does so in each program
            is_kept = op not in same or len(readers) > 1
        else:
            if work.vector_op is not None:  # what crosses does so before
                readers = [user for user in readers if user.name in HANDS_ON or user in stores]
            is_kept = not is_last_use(value, op, readers)
        if is_kept:
            yield value


def _added_to(op: Op) -> Sequence[Value]:
    """What an op may add products to."""
    if op.name == DOT.name:
        return op.operand_list("acc")
    return op.operand_list("inits") if op.name in (FOR.name, WHILE.name) else ()


def is_last_use(value: Value, user: Op, readers: Iterable[Op]) -> bool:
    """Whether none of ``readers`` reads a sum after ``user``, which runs once for each time it is made."""
    owner = value.owner
    home = owner if isinstance(owner, Block) else owner.parent
    holders: list[Op] = [user]
    while holders[-1].parent is not home:
        parent = holders[-1].parent
        if parent is None or not isinstance(parent.parent, Op) or parent.parent.name != IF.name:
            return False
        holders.append(parent.parent)
    assert home is not None
    ours = {id(holder.parent) for holder in holders}
    return all(other is user or _is_before(other, holders, ours) for other in readers)


def _is_before(other: Op, holders: Sequence[Op], ours: set[int]) -> bool:
    """Whether ``other`` is done before the innermost of ``holders``, or in an arm that excludes it."""
    while id(other.parent) not in ours:
        assert other.parent is not None and isinstance(other.parent.parent, Op)
        other = other.parent.parent
    if other in holders:
        return True
    (holder,) = [holder for holder in holders if holder.parent is other.parent]
    assert other.parent is not None
    ops = other.parent.ops
    return ops.index(other) < ops.index(holder)
