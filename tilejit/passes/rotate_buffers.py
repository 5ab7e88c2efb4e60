"""Double buffering on Ascend: buffers that a DMA fills or empties in a loop get several slots.

Before: the buffer level with one slot for each buffer. After: a buffer that copies fill or empty and that is
used only inside one loop has ``slots`` slots, and iteration n of the loop uses slot n modulo ``slots``, so
that the copies of one iteration run while another is computed. In UB copies are DMA, in L1 those from global
memory, in L0A and L0B those from L1, in L0C those of fixpipe. The innermost loop around all uses rotates the
buffer. Iterations are counted over the whole run: the pipeline goes on from one program to the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ops import ADDPTR, FOR, WHILE
from tilejit.ops.machine.buffer import BUFFER, REINTERPRET, SLOT
from tilejit.ops.machine.cube import FIXPIPE, FIXPIPE_L1
from tilejit.ops.machine.move import COPY_IN, COPY_OUT
from tilejit.ops.machine.move_cube import (
    LOAD_L0_TRANSPOSE,
    LOAD_L0A,
    LOAD_L0A_3D,
    LOAD_L0B,
    LOAD_L1,
    LOAD_ND2NZ,
)
from tilejit.options import CompileOptions
from tilejit.passes.block_counters import count_runs
from tilejit.passes.manager import PassContext
from tilejit.passes.program_order import holders
from tilejit.target.spaces import Space

SLOTS = 2
"""Where nobody asks for another number: one is filled or emptied while the other is computed with."""
_POINTER_OPS = frozenset(op.name for op in (ADDPTR, REINTERPRET, SLOT))
_L0_COPIES = (LOAD_L0A, LOAD_L0B, LOAD_L0A_3D, LOAD_L0_TRANSPOSE)
_COPIES: Mapping[Space, frozenset[str]] = {
    space: frozenset(op.name for op in ops)
    for space, ops in {
        Space.UB: (COPY_IN, COPY_OUT), Space.L1: (LOAD_ND2NZ, LOAD_L1), Space.L0A: _L0_COPIES,
        Space.L0B: _L0_COPIES, Space.L0C: (FIXPIPE, FIXPIPE_L1),
    }.items()
}  # fmt: skip
"""The copies that fill or empty a buffer of a space, and are worth to be overlapped."""


def slots_of(options: CompileOptions) -> int:
    """How many slots there are to be for what copies fill or empty."""
    return (options.slots or SLOTS) if options.enables_on_ascend("double_buffering") else 1


def rotate_buffers(function: Function, context: PassContext) -> None:
    """Give the buffers of a machine function slots, in place."""
    slots = slots_of(context.options)
    if slots < 2:
        return
    loops: dict[Op, list[Op]] = {}
    for op in function.body.ops:
        if op.definition is BUFFER and op.attributes["slots"] == 1:
            space = op.attributes["space"]
            assert isinstance(space, Space)
            copies, users = _COPIES.get(space, frozenset()), list(_users(op.result))
            loop = _loop_around(users) if any(user.name in copies for user in users) else None
            if loop is not None and loop.name == WHILE.name:
                context.remark("buffers used in a while loop are not doubled", op.location)
            elif loop is not None:
                loops.setdefault(loop, []).append(op)
    # Innermost first: counting the iterations of a loop rebuilds the loops around it.
    bodies = [
        (loop.regions[-1], buffers) for loop, buffers in sorted(loops.items(), key=_depth, reverse=True)
    ]
    for body, buffers in bodies:
        counter = count_runs(function, [[body]])[0].now[body]
        for position, buffer in enumerate(buffers):
            _rotate(buffer, body, counter, slots, position)


def _rotate(buffer: Op, body: Block, counter: Value, slots: int, position: int) -> None:
    """Use slot ``counter`` of a buffer in place of its only one."""
    buffer.attributes.update(slots=slots, rotates=True)
    users = [user for user in buffer.result.users]
    slot = Op(
        SLOT,
        {"buffer": buffer.result, "index": counter},
        location=buffer.location,
        result_names=[buffer.result.name],
    )
    slot.parent = body
    body.ops.insert(position, slot)
    for user in users:
        for number, operand in enumerate(user.operands):
            if operand is buffer.result:
                user.set_operand(number, slot.result)


def _users(pointer: Value) -> Iterator[Op]:
    """The instructions that may touch the memory behind a pointer."""
    for user in pointer.users:
        if user.name in _POINTER_OPS:
            yield from _users(user.result)
        yield user


def _depth(item: tuple[Op, list[Op]]) -> int:
    return len(list(holders(item[0])))


def _loop_around(users: Sequence[Op]) -> Op | None:
    """The innermost loop that holds all users."""
    common: list[Op] | None = None
    for user in users:
        around = list(holders(user))
        common = around if common is None else [op for op in common if op in around]
    return next((op for op in common or [] if op.name in (FOR.name, WHILE.name)), None)
