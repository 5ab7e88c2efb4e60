"""From tile IR to the buffer level, for kernels that run on the vector cores alone: the passes in order.

Where the tiles of a kernel do not fit into UB side by side, with two slots for what DMA moves, its programs
are cut into parts (``split_tiles``) if they can be: full buffers keep the pipes apart. Otherwise the buffers
have to share memory, which is the matter of ``allocate``; where that does not do, tiles that are the same for
all programs are loaded by each of them.
"""

from __future__ import annotations

from tilejit.diagnostics import CompileError
from tilejit.ir.core import Function
from tilejit.ir.machine import MachineKernel
from tilejit.ir.rewrite import clone_function
from tilejit.ops.machine.buffer import BUFFER
from tilejit.passes.allocate import allocate
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
    silent = PassContext(pass_name=context.pass_name)
    if _fits(_lowered(function, silent)[0], target):
        return kernel
    attempt, _, _ = _lowered(function, silent, keep_resident=False)
    if not _fits(attempt, target):
        return kernel  # whose tiles the error of allocate will list
    context.remark("tiles that all programs share are loaded by each: UB has no room to keep them")
    return _lowered(function, silent, keep_resident=False)[0]


def _fits(kernel: MachineKernel, target: AscendTarget) -> bool:
    """Whether the buffers of a kernel, which is used up, find room by sharing memory."""
    try:
        allocate(kernel, target, PassContext())
    except CompileError:
        return False
    return True


def _lowered(
    function: Function, context: PassContext, *, keep_resident: bool = True
) -> tuple[MachineKernel, int, int]:
    """A lowered kernel, the bytes of all its buffers and of the largest slot."""
    function = clone_function(function)
    legalise(function, context)
    kernel = promote_memory(function, context, keep_resident=keep_resident)
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
