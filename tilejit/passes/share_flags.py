"""Lets crossings share flags where there are fewer flags than crossings.

Flags count: whoever waits for a flag of several crossings takes what was set first, for whichever of them. So
crossings from the same kind of core can share theirs where both cores come by them in one order:

- in loops that follow each other or arms that exclude each other, each of which holds both ends;
- side by side: sent in one block, one after the other, and received in one block in that order;
- in branches that follow each other, each of which holds both ends.

They are tried in this order. The first two cost next to nothing; with the third, what one branch sends waits
for what was sent in another. A tile that is received right where it is sent can have a branch of its own
(``in_own_branches``), and all of these share: loops in loops need no more flags than one loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from tilejit.diagnostics import Location
from tilejit.ir.core import Block, Function, Op
from tilejit.ir.opdef import Attribute
from tilejit.ir.rewrite import replace_op
from tilejit.ir.types import INT1
from tilejit.ops import CONSTANT, IF, YIELD
from tilejit.ops.machine.cross import RECEIVE, SEND
from tilejit.passes.program_order import LOOPS, blocks_around
from tilejit.passes.tile_maker import TileMaker
from tilejit.passes.unsupported import refusal
from tilejit.records import dataclass
from tilejit.target.spaces import Core


@dataclass(eq=False)
class Ends:
    """Where the tiles of a crossing are sent and received. ``slots``: how many may be on their way."""

    send: Op
    receive: Op
    slots: int

    @property
    def producer(self) -> Core:
        core = self.send.attributes["producer"]
        assert isinstance(core, Core)
        return core

    @property
    def blocks(self) -> tuple[Block, Block]:
        """Those of the two ends."""
        assert self.send.parent is not None and self.receive.parent is not None
        return self.send.parent, self.receive.parent


Row = list[Ends]
"""Crossings side by side, in the order in which they are sent."""


@dataclass(eq=False)
class Line:
    """Rows of crossings that share two flags; all rows are as long."""

    rows: list[Row] = field(default_factory=list)

    @property
    def slots(self) -> int:
        """How many runs of a row may be on their way."""
        return max(ends.slots for row in self.rows for ends in row)

    @property
    def width(self) -> int:
        return len(self.rows[0])


def share_flags(crossings: Sequence[Ends], most: int, counter: int, location: Location | None) -> list[Line]:
    """Deal crossings out to at most ``most`` pairs of flags, none of which counts beyond ``counter``.

    Raises: CompileError where there are too many crossings for that.
    """
    lines = [Line([[ends]]) for ends in crossings]
    for by_side, is_strict in ((False, True), (True, True), (True, False)):
        if len(lines) > most:
            rows = _side_by_side(crossings, counter) if by_side else [[ends] for ends in crossings]
            lines = _in_line(rows, counter, is_strict)
    if len(lines) > most:
        raise refusal(
            f"{len(lines)} tiles go from one kind of core to the other; there are flags for {most}",
            lines[most].rows[0][0].send.location or location,
            "split the kernel in two, or load a tile that both need instead of computing it",
        )
    return lines


def in_own_branches(function: Function) -> None:
    """Put what is received right where it is sent into a branch of its own, in place.

    The branch is always taken, and goes with the next ``simplify``, when flags have been given out.
    """
    for send in [op for op in function.walk() if op.name == SEND.name]:
        assert send.parent is not None
        block = send.parent
        receive = block.ops[block.ops.index(send) + 1]
        if receive.name != RECEIVE.name or receive.attributes["crossing"] != send.attributes["crossing"]:
            continue
        attributes: dict[str, Attribute] = {"value": True, "dtype": INT1}
        condition = block.insert_before(send, Op(CONSTANT, {}, attributes, (), send.location)).result
        arms, mask = (Block(), Block()), receive.optional_operand("mask")
        own = TileMaker(arms[0], None, send.location)
        own.put(SEND, send.attributes, value=send.operand("value"), mask=send.optional_operand("mask"))
        received = own.put(RECEIVE, receive.attributes, mask=mask).result
        received.name = receive.result.name
        own.put(YIELD, values=[received])
        other = TileMaker(arms[1], None, send.location)
        other.put(YIELD, values=[other.zeros(receive.result.type)])
        branch = Op(IF, {"condition": condition}, {}, arms, send.location, [receive.result.name])
        block.insert_before(send, branch)
        replace_op(receive, branch.results)
        send.erase()


def _in_line(rows: Sequence[Row], counter: int, is_strict: bool) -> list[Line]:
    """Rows that follow or exclude each other, in one line; ``is_strict``: not those of single branches."""
    lines: list[Line] = []
    for row in rows:
        line = next((line for line in lines if _may_join(line, row, counter, is_strict)), None)
        if line is None:
            line = Line()
            lines.append(line)
        line.rows.append(row)
    return lines


def _may_join(line: Line, row: Row, counter: int, is_strict: bool) -> bool:
    if line.width != len(row) or line.rows[0][0].producer is not row[0].producer:
        return False
    fits = Line([*line.rows, row]).slots * len(row) <= counter
    return fits and all(_are_apart(other, row, is_strict) for other in line.rows)


def _are_apart(first: Row, second: Row, is_strict: bool) -> bool:
    """Whether two rows lie in different regions of one block's ops, with both ends."""
    ends = [[op for each in row for op in (each.send, each.receive)] for row in (first, second)]
    for block in reversed(blocks_around(ends[0][0])):
        if any(block not in blocks_around(op) for ops in ends for op in ops):
            return False
        inner = [{_region_in(block, op) for op in ops} for ops in ends]
        if any(len(regions) > 1 or None in regions for regions in inner):
            return False
        if inner[0] != inner[1]:
            ops = {region.parent for regions in inner for region in regions if region is not None}
            return (
                not is_strict or len(ops) == 1 or all(isinstance(op, Op) and op.name in LOOPS for op in ops)
            )
    return False


def _region_in(block: Block, op: Op) -> Block | None:
    """The region right inside ``block`` that holds ``op``; None where the block itself does."""
    around = blocks_around(op)
    place = around.index(block)
    return around[place - 1] if place else None


def _side_by_side(crossings: Sequence[Ends], counter: int) -> list[Row]:
    """Crossings in rows that are as long as can be, in the order of their first ones."""
    rows: list[Row] = []
    for ends in crossings:
        for row in rows:
            slots = max(each.slots for each in (*row, ends))
            if _continues(row, ends) and slots * (len(row) + 1) <= counter:
                row.append(ends)
                break
        else:
            rows.append([ends])
    return rows


def _continues(row: Row, ends: Ends) -> bool:
    """Whether a crossing is sent and received in the blocks of a row, behind all of it."""
    last = row[-1]
    return (
        last.producer is ends.producer
        and last.blocks == ends.blocks
        and all(_is_before(*pair) for pair in ((last.send, ends.send), (last.receive, ends.receive)))
    )


def _is_before(first: Op, second: Op) -> bool:
    assert first.parent is not None
    ops = first.parent.ops
    return ops.index(first) < ops.index(second)
