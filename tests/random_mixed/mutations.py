"""Mistakes that a compiler could make between the two kinds of core, made on purpose.

Each takes the place of a piece of the compiler for as long as its context is open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from unittest import mock

from tilejit.ir.core import Function, Op, Value
from tilejit.ir.rewrite import ValueMap
from tilejit.ops import CONSTANT, FOR, IF
from tilejit.ops.machine.buffer import BUFFER
from tilejit.ops.machine.sync import CROSS_SET, CROSS_WAIT
from tilejit.passes import skew, split_cores
from tilejit.passes.program_order import holders
from tilejit.passes.tile_maker import TileMaker
from tilejit.target.spaces import Core, Space

Sides = Mapping[Core, Function]


def _lost(name: str, holder: str) -> Callable[[Sides], None]:
    """Erases the first op of a name right inside an op of another name, or anything for ""."""

    def change(sides: Sides) -> None:
        for function in sides.values():
            for op in function.walk():
                if op.name == name and holder in ("", next((h.name for h in holders(op)), "")):
                    op.erase()
                    return

    return change


def _workspaces(sides: Sides) -> Iterator[Op]:
    for function in sides.values():
        yield from (
            op for op in function.body.ops if op.name == BUFFER.name and op.attributes["space"] is Space.GM
        )


def _short_queue(sides: Sides) -> None:
    """Workspaces are one slot short of the credits."""
    for buffer in _workspaces(sides):
        buffer.attributes = {**buffer.attributes, "slots": int(str(buffer.attributes["slots"])) - 1}


def _credit_too_many(sides: Sides) -> None:
    """Producers wait for free slots one run too late, and take back one credit less."""
    for function in sides.values():
        for wait in [op for op in function.walk() if op.name == CROSS_WAIT.name]:
            holder = next(holders(wait), None)
            if holder is None or holder.name != IF.name or len(holder.regions[0].ops) != 2:
                continue
            comparison = holder.operand("condition").defining_op
            if comparison is None or comparison.operands[1].defining_op is None:
                continue
            number = comparison.operands[1].defining_op
            if number.name == CONSTANT.name:
                value = int(str(number.attributes["value"]))
                more = Op(CONSTANT, {}, {**number.attributes, "value": value + 1})
                assert comparison.parent is not None
                comparison.set_operand(1, comparison.parent.insert_before(comparison, more).result)


@contextmanager
def _of_sides(change: Callable[[Sides], None]) -> Iterator[None]:
    original = split_cores.split_cores

    def changed(*arguments: object, **named: object) -> Sides:
        sides = original(*arguments, **named)  # type: ignore[arg-type]
        change(sides)
        return sides

    with mock.patch.object(split_cores, "split_cores", changed):
        yield


@contextmanager
def _young_queues() -> Iterator[None]:
    """What waits for a later stage is taken a trip too early."""
    original = skew._Skewer._mapping

    def changed(self: skew._Skewer, stage: int, own: Value, at: TileMaker) -> ValueMap:
        mapping = original(self, stage, own, at)
        carried = self._new.arguments[1:]
        for value, queue in self._queues.items():
            places = [carried[place] for place in queue]
            if mapping.get(value) in places[1:]:
                mapping[value] = places[places.index(mapping[value]) - 1]
        return mapping

    with mock.patch.object(skew._Skewer, "_mapping", changed):
        yield


MUTATIONS = {
    "a set of the ready flag is lost": lambda: _of_sides(_lost(CROSS_SET.name, "")),
    "a wait is lost": lambda: _of_sides(_lost(CROSS_WAIT.name, "")),
    "a wait for a free slot is lost": lambda: _of_sides(_lost(CROSS_WAIT.name, IF.name)),
    "credits are not taken in the end": lambda: _of_sides(_lost(CROSS_WAIT.name, FOR.name)),
    "a credit too many": lambda: _of_sides(_credit_too_many),
    "a workspace a slot short": lambda: _of_sides(_short_queue),
    "a queue a slot short": _young_queues,
}
