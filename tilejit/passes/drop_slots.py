"""Leaves buffers one slot where that lets all of a memory lie apart, so that stages do not wait for each
other.

Before: the buffer level with two slots for what copies fill or empty in loops. After: as many buffers have
one slot that sharing memory, which is the matter of ``allocate``, orders no two pipes but between loops that
follow each other; all have if even that does not do. Those go first that rotate in outer loops; then, from
the last stage of a loop on, those that have the time of the other stages to be filled in.
"""

from __future__ import annotations

from tilejit.ir.core import Function, Op
from tilejit.ops.machine.buffer import BUFFER, SLOT
from tilejit.passes.allocate import fits_apart
from tilejit.passes.manager import PassContext
from tilejit.passes.pack_buffers import Sharing
from tilejit.passes.program_order import loops_around
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Space

MEMORIES = (Space.UB, Space.L1, Space.L0A, Space.L0B, Space.L0C)


def drop_slots(machine: Function, target: AscendTarget, context: PassContext) -> None:
    """Leave buffers of a machine function one slot, in place."""
    for space in MEMORIES:
        buffers = [
            op for op in machine.body.ops if op.definition is BUFFER and op.attributes["space"] is space
        ]
        doubled = sorted(reversed([op for op in buffers if op.attributes["rotates"]]), key=_depth)
        dropped: list[Op] = []
        while not fits_apart(machine, target, space, Sharing.OWN_LOOPS):
            if len(dropped) == len(doubled):
                break
            dropped.append(doubled[len(dropped)])
            dropped[-1].attributes["slots"] = 1
        for op in dropped:
            elements, element = op.attributes["elements"], op.attributes["element"]
            name = op.result.name or f"an unnamed tile of {elements:,} {element}"
            context.remark(f"{name} has one slot, so that tiles in {space.value} lie apart", op.location)


def _depth(buffer: Op) -> int:
    """How many loops there are around the one that rotates a buffer, and it."""
    slot = next(user for user in buffer.result.users if user.name == SLOT.name)
    return len(loops_around(slot))
