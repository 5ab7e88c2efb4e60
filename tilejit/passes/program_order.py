"""Positions of the ops of a function on one line, and what encloses them.

An op that holds regions has two positions, where it is entered and where it is left; everything inside lies
between. Positions are ``STEP`` apart, which leaves room to speak of the gaps between ops.
"""

from __future__ import annotations

from collections.abc import Iterator

from tilejit.ir.core import Block, Function, Op
from tilejit.ops import FOR, WHILE

STEP = 20
LOOPS = (FOR.name, WHILE.name)


class ProgramOrder:
    """Numbers the ops of a function; a snapshot, which later changes of the function make stale."""

    def __init__(self, function: Function) -> None:
        self.enter: dict[Op, int] = {}
        self.leave: dict[Op, int] = {}
        self.gap_start: dict[Op, int] = {}  # where the op before it was left, or its block entered
        self.blocks: dict[Block, frozenset[Block]] = {}  # each with those around it
        self.ops: list[Op] = []
        self._next = 0
        self._number(function.body, frozenset())

    def _number(self, block: Block, around: frozenset[Block]) -> None:
        self.blocks[block] = around = around | {block}
        for op in block.ops:
            self.gap_start[op] = self._next
            self._next += STEP
            self.enter[op] = self._next
            self.ops.append(op)
            for region in op.regions:
                self._number(region, around)
            if op.regions:
                self._next += STEP
            self.leave[op] = self._next

    @property
    def end(self) -> int:
        """The position of the last op."""
        return self._next


def holders(op: Op) -> Iterator[Op]:
    """The ops that enclose ``op``, from the innermost."""
    block = op.parent
    while block is not None and isinstance(block.parent, Op):
        yield block.parent
        block = block.parent.parent


def loops_around(op: Op) -> list[Op]:
    """The loops that enclose ``op``, from the innermost."""
    return [holder for holder in holders(op) if holder.name in LOOPS]


def blocks_around(op: Op) -> list[Block]:
    """The blocks that enclose ``op``, from its own to the function's."""
    found: list[Block] = []
    block = op.parent
    while block is not None:
        found.append(block)
        block = block.parent.parent if isinstance(block.parent, Op) else None
    return found


def holder_in(op: Op, block: Block) -> Op:
    """``op`` itself or the op around it that stands in ``block``."""
    while op.parent is not block:
        assert op.parent is not None and isinstance(op.parent.parent, Op)
        op = op.parent.parent
    return op
