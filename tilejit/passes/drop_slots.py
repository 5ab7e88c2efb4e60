"""Leaves buffers fewer slots where that lets all of a memory lie apart, so that stages do not wait for each
other.

Before: the buffer level with two slots, or as many as options ask for, for what copies fill or empty in
loops. After: as many buffers have a slot less that sharing memory, which is the matter of ``allocate``,
orders no two pipes but between loops that follow each other; where a slot less of each does not do, they lose
the next one, and all have one if even that does not do. Those go first that rotate in outer loops; then, from
the last stage of a loop on, those that have the time of the other stages to be filled in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tilejit.ir.core import Function, Op
from tilejit.ops.machine.buffer import BUFFER, SLOT
from tilejit.passes.allocate import fits_apart
from tilejit.passes.live_ranges import LiveRanges
from tilejit.passes.manager import PassContext
from tilejit.passes.pack_buffers import Sharing
from tilejit.passes.program_order import loops_around
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Space

MEMORIES = (Space.UB, Space.L1, Space.L0A, Space.L0B, Space.L0C)


def drop_slots(machine: Function, target: AscendTarget, context: PassContext) -> LiveRanges:
    """Take slots from buffers of a machine function, in place; returns when all of them live."""
    live = LiveRanges(machine)
    if fits_apart(live, target, MEMORIES, Sharing.OWN_LOOPS):
        return live
    for space in MEMORIES:
        buffers = [
            op for op in machine.body.ops if op.definition is BUFFER and op.attributes["space"] is space
        ]
        doubled = sorted(reversed([op for op in buffers if op.attributes["rotates"]]), key=_depth)
        steps = _steps(doubled)
        dropped: dict[Op, int] = {}
        while not fits_apart(live, target, (space,), Sharing.OWN_LOOPS):
            op, left = next(steps, (None, 0))
            if op is None:
                break
            live.leave_slots(op, left)
            dropped[op] = left
        for op, left in dropped.items():
            elements, element = op.attributes["elements"], op.attributes["element"]
            name = op.result.name or f"an unnamed tile of {elements:,} {element}"
            slots = "one slot" if left == 1 else f"{left} slots"
            context.remark(f"{name} has {slots}, so that tiles in {space.value} lie apart", op.location)
    return live


def _steps(buffers: Sequence[Op]) -> Iterator[tuple[Op, int]]:
    """Buffers in turn, each with a slot less than it has until all have one."""
    slots = {op: int(str(op.attributes["slots"])) for op in buffers}
    for left in range(max(slots.values(), default=1) - 1, 0, -1):
        yield from ((op, left) for op in buffers if slots[op] > left)


def _depth(buffer: Op) -> int:
    """How many loops there are around the one that rotates a buffer, and it."""
    slot = next(user for user in buffer.result.users if user.name == SLOT.name)
    return len(loops_around(slot))
