"""Counts how often blocks run: counters that loops and branches carry.

A counter starts at 0 where the function does and goes up by one at the end of the block that it counts; it is
carried through everything around the block, which is rebuilt for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tilejit.diagnostics import InternalError
from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.rewrite import replace_op
from tilejit.ir.types import INT32, TileType
from tilejit.ops import ADD, CONSTANT, FOR, IF, WHILE, YIELD
from tilejit.passes.program_order import holders
from tilejit.records import dataclass


@dataclass(frozen=True)
class Count:
    """How often a block ran before: ``now`` as the block begins, ``total`` when the function ends."""

    now: Value
    total: Value


def count_runs(function: Function, blocks: Iterable[Block]) -> dict[Block, Count]:
    """Count the runs of some blocks of ``function``, in place; its body runs once."""
    found: dict[Block, tuple[Value, int]] = {}
    for block in dict.fromkeys(blocks):
        if block is not function.body:
            found[block] = _count(function, block)
    counts = {}
    for block in blocks:
        if block is function.body:
            counts[block] = Count(*(_constant_first(function, number) for number in (0, 1)))
            continue
        now, index = found[block]
        assert isinstance(block.parent, Op)
        counts[block] = Count(now, list(holders(block.ops[0]))[-1].results[index])
    return counts


def _count(function: Function, block: Block) -> tuple[Value, int]:
    """The count as the block begins, and which result of the outermost op around it is its total."""
    path = list(holders(block.ops[0]))
    zero = Op(CONSTANT, attributes={"value": 0, "dtype": INT32}, location=path[0].location)
    function.body.insert_before(path[-1], zero)
    count = _carry(path, block, zero.result)
    return count.now, count.total.index


def _constant_first(function: Function, number: int) -> Value:
    first = function.body.ops[0]
    constant = Op(CONSTANT, attributes={"value": number, "dtype": INT32}, location=first.location)
    return function.body.insert_before(first, constant).result


def _carry(path: Sequence[Op], block: Block, start: Value) -> Count:
    """Thread a counter through the ops of ``path``, the last of which holds the others.

    ``start`` is its value before the outermost.
    """
    op, inner = path[-1], path[:-1]
    region = inner[-1].parent if inner else block
    assert region is not None
    if op.name == IF.name:
        count = _inside(inner, block, start)
        for arm in op.regions:
            _yield_also(arm, count.total if arm is region else start)
        return Count(count.now, _rebuild(op, {"condition": op.operand("condition")}))
    if op.name not in (FOR.name, WHILE.name) or region is not op.regions[-1]:
        raise InternalError(f"a counter carried through {op.name}", op.location)
    here = region.add_argument(TileType(INT32), "count")
    if op.name == WHILE.name:
        op.regions[0].add_argument(TileType(INT32), "count")
    count = _inside(inner, block, here)
    _yield_also(region, count.total)
    operands: dict[str, Value | Sequence[Value] | None] = {"inits": [*op.operand_list("inits"), start]}
    if op.name == FOR.name:
        operands.update({name: op.operand(name) for name in ("lower", "upper", "step")})
    return Count(count.now, _rebuild(op, operands))


def _inside(inner: Sequence[Op], block: Block, start: Value) -> Count:
    """The count in what ``block`` is, or what holds it."""
    if inner:
        return _carry(inner, block, start)
    terminator = block.terminator
    one = Op(CONSTANT, attributes={"value": 1, "dtype": INT32}, location=terminator.location)
    block.insert_before(terminator, one)
    added = Op(ADD, {"lhs": start, "rhs": one.result}, location=terminator.location)
    return Count(start, block.insert_before(terminator, added).result)


def _rebuild(op: Op, operands: dict[str, Value | Sequence[Value] | None]) -> Value:
    """Replace ``op`` by one with a result more, which is returned; its regions move over."""
    assert op.parent is not None
    names = [result.name for result in op.results]
    regions, op.regions = op.regions, ()
    new = Op(op.definition, operands, op.attributes, regions, op.location, [*names, "count"])
    op.parent.insert_before(op, new)
    replace_op(op, new.results[: len(names)])
    return new.results[-1]


def _yield_also(block: Block, value: Value) -> None:
    terminator = block.terminator
    new = Op(YIELD, {"values": [*terminator.operands, value]}, location=terminator.location)
    terminator.erase()
    block.append(new)
