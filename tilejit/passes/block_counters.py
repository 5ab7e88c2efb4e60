"""Counts how often blocks run: counters that loops and branches carry.

A counter starts at 0 where the function does and goes up by one at the end of every block that it counts; it
is carried through everything around these blocks, which is rebuilt for it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tilejit.diagnostics import InternalError
from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.rewrite import replace_op
from tilejit.ir.types import INT32, TileType
from tilejit.ops import ADD, CONSTANT, FOR, IF, WHILE, YIELD
from tilejit.passes.program_order import holders
from tilejit.records import dataclass


@dataclass(frozen=True)
class Count:
    """How often some blocks ran before: ``now`` as each of them begins, ``total`` when the function ends."""

    now: Mapping[Block, Value]
    total: Value


def count_runs(function: Function, groups: Sequence[Collection[Block]]) -> list[Count]:
    """Count the runs of blocks in place, those of each group with one counter.

    No block of a group holds another one of it.
    """
    places: list[list[Block]] = []
    readers: list[Op] = []
    for blocks in groups:
        counter = _Counter(blocks)
        total = counter.through(function.body, counter.zero(function.body))
        if len(counter.now) != len(set(blocks)):
            raise InternalError("a counter of a block that cannot carry it", function.location)
        places.append(list(counter.now))
        # Later counters rebuild what gives these values: a reader sees what takes their place.
        readers.append(Op(YIELD, {"values": [*counter.now.values(), total]}, location=function.location))
    counts = []
    for blocks, reader in zip(places, readers, strict=True):
        *now, total = reader.operands
        reader.erase()
        counts.append(Count(dict(zip(blocks, now, strict=True)), total))
    return counts


class _Counter:
    """Threads a counter through a function."""

    def __init__(self, blocks: Collection[Block]) -> None:
        self.now: dict[Block, Value] = {}
        self._blocks = set(blocks)
        self._around = {holder for block in blocks for holder in holders(block.ops[0])}

    def zero(self, body: Block) -> Value:
        """The count where a function begins."""
        first = next((op for op in body.ops if op in self._around), body.ops[0])
        return body.insert_before(first, _constant(0, first)).result

    def through(self, block: Block, start: Value) -> Value:
        """Count in ``block`` from ``start`` on; returns the count at its end."""
        if block in self._blocks:
            self.now[block] = start
            end = block.terminator
            one = block.insert_before(end, _constant(1, end)).result
            return block.insert_before(end, Op(ADD, {"lhs": start, "rhs": one}, location=end.location)).result
        for op in [op for op in block.ops if op in self._around]:
            start = self._carry(op, start)
        return start

    def _carry(self, op: Op, start: Value) -> Value:
        """Thread the counter through an op; returns the count behind it."""
        if op.name == IF.name:
            for arm in op.regions:
                _yield_also(arm, self.through(arm, start))
            return _rebuild(op, {"condition": op.operand("condition")})
        if op.name not in (FOR.name, WHILE.name):
            raise InternalError(f"a counter carried through {op.name}", op.location)
        arguments = [region.add_argument(TileType(INT32), "count") for region in op.regions]
        _yield_also(op.regions[-1], self.through(op.regions[-1], arguments[-1]))
        operands: dict[str, Value | Sequence[Value] | None] = {"inits": [*op.operand_list("inits"), start]}
        if op.name == FOR.name:
            operands.update({name: op.operand(name) for name in ("lower", "upper", "step")})
        return _rebuild(op, operands)


def _constant(number: int, at: Op) -> Op:
    return Op(CONSTANT, attributes={"value": number, "dtype": INT32}, location=at.location)


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
