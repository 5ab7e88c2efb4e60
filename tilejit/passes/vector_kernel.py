"""From tile IR to the buffer level, for kernels that run on the vector cores alone: the passes in order.

Where the tiles of a kernel do not fit into UB side by side, with two slots for what DMA moves, its programs
are cut into parts (``split_tiles``) if they can be: full buffers keep the pipes apart. Otherwise the buffers
have to share memory, which is the matter of ``allocate``.
"""

from __future__ import annotations

from tilejit.ir.core import Function
from tilejit.ir.machine import MachineKernel
from tilejit.ir.rewrite import clone_function
from tilejit.ops.machine.buffer import BUFFER
from tilejit.passes.legalise import legalise
from tilejit.passes.machine_accesses import slot_size
from tilejit.passes.manager import PassContext
from tilejit.passes.promote_memory import promote_memory
from tilejit.passes.rotate_buffers import rotate_buffers
from tilejit.passes.simplify import simplify
from tilejit.passes.split_tiles import parts_of, split_tiles
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Space

_LEAST_BYTES = 2048
"""Buffers are not cut below this: a DMA of less costs more than what it overlaps with."""


def vector_kernel(function: Function, target: AscendTarget, context: PassContext) -> MachineKernel:
    """Lower a simplified function without dots, which stays as it is.

    Raises: CompileError where the kernel does what cannot be lowered.
    """
    room = target.spaces[Space.UB].usable_bytes
    kernel, needed, largest = _lowered(function, context)
    if needed <= room:
        return kernel
    for parts in parts_of(function):
        if largest // parts < _LEAST_BYTES:
            break
        if needed // parts > room:
            continue
        cut = split_tiles(function, parts)
        simplify(cut)
        attempt, size, _ = _lowered(cut, PassContext(pass_name=context.pass_name))
        if size <= room:
            message = f"tiles are computed in {parts} parts: they take {needed} bytes of UB's {room}"
            context.remark(message, function.location)
            return attempt
    return kernel


def _lowered(function: Function, context: PassContext) -> tuple[MachineKernel, int, int]:
    """A lowered kernel, the bytes of all its buffers and of the largest slot."""
    function = clone_function(function)
    legalise(function, context)
    kernel = promote_memory(function, context)
    total, largest = 0, 0
    for machine in kernel.functions.values():
        rotate_buffers(machine, context)
        simplify(machine)
        for op in machine.body.ops:
            if op.definition is BUFFER:
                slots, size = op.attributes["slots"], slot_size(op)
                assert isinstance(slots, int)
                total, largest = total + slots * size, max(largest, size)
    return kernel, total, largest
