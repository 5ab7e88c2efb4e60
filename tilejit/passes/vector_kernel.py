"""From tile IR to the buffer level, for kernels that run on the vector cores alone: the passes in order.

Where the tiles of a kernel do not fit into UB side by side, with two slots for what DMA moves, its programs
are cut into parts (``split_tiles``) if they can be: full buffers keep the pipes apart. Otherwise the buffers
have to share memory, which is the matter of ``allocate``; where that does not do, tiles that are the same for
all programs are loaded by each of them. Where there is room to spare, programs of one row become rows of
larger tiles (``batch_programs``).
"""

from __future__ import annotations

from tilejit.diagnostics import CompileError
from tilejit.ir.core import Function
from tilejit.ir.machine import MachineKernel
from tilejit.ir.rewrite import clone_function
from tilejit.ops.machine.buffer import BUFFER
from tilejit.passes.allocate import allocate, fits_apart
from tilejit.passes.batch_programs import batch_programs, can_batch
from tilejit.passes.legalise import legalise
from tilejit.passes.live_ranges import LiveRanges
from tilejit.passes.machine_accesses import slot_size
from tilejit.passes.manager import PassContext
from tilejit.passes.program_loop import loop_over_programs
from tilejit.passes.promote_memory import promote_memory
from tilejit.passes.reload_tiles import reload_tiles
from tilejit.passes.rotate_buffers import rotate_buffers
from tilejit.passes.simplify import simplify
from tilejit.passes.split_tiles import parts_of, split_tiles
from tilejit.passes.unroll_reductions import unroll_reductions
from tilejit.records import dataclass
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Core, Space

_LEAST_BYTES = 2048
"""Buffers are not cut below this: a DMA of less costs more than what it overlaps with."""
_PROGRAMS_AT_ONCE = (16, 8, 4, 3, 2)
"""Programs that a core may run at once; more would leave cores of a middling launch without work."""
_ENOUGH_BYTES = 48 << 10
"""Of the largest buffer: an instruction works 192 cycles then, five times as long as its result takes."""
_MOST_SHARED = 1.5
"""What buffers may take of UB's bytes where it is worth to see whether those of one pipe share memory."""


@dataclass(frozen=True)
class _Lowered:
    """A lowered kernel, the bytes of all its buffers and of the largest slot."""

    kernel: MachineKernel
    needed: int
    largest: int

    def fits(self, target: AscendTarget) -> bool:
        """Whether UB has room for all slots, none of which keeps the pipes of another waiting."""
        if self.needed <= _room(target):
            return True
        if self.needed > _MOST_SHARED * _room(target):
            return False
        return all(fits_apart(LiveRanges(f), target) for f in self.kernel.functions.values())


def vector_kernel(function: Function, target: AscendTarget, context: PassContext) -> MachineKernel:
    """Lower a simplified function without dots, which stays as it is.

    Raises: CompileError where the kernel does what cannot be lowered.
    """
    if not context.options.enables_on_ascend("residency"):
        function = clone_function(function)
        reload_tiles(function)
        return _lowered(function, context, keep_resident=False).kernel
    one = _lowered(function, context)
    if one.fits(target):
        return _batched(function, target, context, one) or one.kernel
    for parts in parts_of(function):
        if one.largest // parts < _LEAST_BYTES:
            break
        if one.needed // parts > _MOST_SHARED * _room(target):
            continue
        cut = split_tiles(function, parts)
        simplify(cut)
        attempt = _lowered(cut, context.attempt())
        if attempt.fits(target):
            message = (
                f"tiles are computed in {parts} parts: they take {one.needed} bytes of UB's {_room(target)}"
            )
            context.remark(message, function.location)
            return attempt.kernel
    silent = context.attempt()
    if _fits_somehow(_lowered(function, silent).kernel, target):
        return one.kernel
    if not _fits_somehow(_lowered(function, silent, keep_resident=False).kernel, target):
        return one.kernel  # whose tiles the error of allocate will list
    context.remark("tiles that all programs share are loaded by each: UB has no room to keep them")
    return _lowered(function, silent, keep_resident=False).kernel


def lower_vector(function: Function, context: PassContext) -> Function:
    """Lower what the vector cores do of a kernel for both kinds of core, with its loop over programs.

    Raises: CompileError where the kernel does what cannot be lowered.
    """
    kernel = promote_memory(_prepared(function, context), context, overwrites_loads=True)
    machine = kernel.functions[Core.AIV]
    _give_slots(machine, context)
    return machine


def _room(target: AscendTarget) -> int:
    return target.spaces[Space.UB].usable_bytes


def _batched(
    function: Function, target: AscendTarget, context: PassContext, one: _Lowered
) -> MachineKernel | None:
    """The kernel with as many programs at once as UB has room for, where that gives larger tiles."""
    counts = [count for count in _PROGRAMS_AT_ONCE if count * one.largest <= _ENOUGH_BYTES]
    if not counts or not can_batch(function):
        return None
    two = _of_several(function, context, 2)
    if two is None:
        return None
    for count in counts:
        # What two programs take more than one tells what more of them take.
        if one.needed + (count - 1) * (two.needed - one.needed) > _MOST_SHARED * _room(target):
            continue
        made = two if count == 2 else _of_several(function, context, count)
        if made is not None and made.fits(target):
            context.remark(f"{count} programs run at once, as rows of tiles", function.location)
            return made.kernel
    return None


def _of_several(function: Function, context: PassContext, count: int) -> _Lowered | None:
    """The kernel for ``count`` programs at once; None where rows lie as nothing can read them."""
    batched = batch_programs(function, count)
    simplify(batched)
    try:
        return _lowered(batched, context.attempt(), programs=count)
    except CompileError:
        return None


def _fits_somehow(kernel: MachineKernel, target: AscendTarget) -> bool:
    """Whether the buffers of a kernel, which is used up, find room by sharing memory."""
    try:
        allocate(kernel, target, PassContext())
    except CompileError:
        return False
    return True


def _lowered(
    function: Function, context: PassContext, *, keep_resident: bool = True, programs: int = 1
) -> _Lowered:
    """Lower a function, which stays as it is, for at most so many ``programs`` at once."""
    function = _prepared(function, context)
    function = loop_over_programs(function, programs, keep_resident=keep_resident)
    kernel = promote_memory(function, context, keep_resident=keep_resident)
    total, largest = 0, 0
    for machine in kernel.functions.values():
        _give_slots(machine, context)
        for op in machine.body.ops:
            if op.definition is BUFFER and op.attributes["space"] is Space.UB:
                slots, size = op.attributes["slots"], slot_size(op)
                assert isinstance(slots, int)
                total, largest = total + slots * size, max(largest, size)
    return _Lowered(kernel, total, largest)


def _prepared(function: Function, context: PassContext) -> Function:
    """A copy of a function whose types and reductions the vector unit has."""
    function = clone_function(function)
    unroll_reductions(function, context)
    legalise(function, context)
    return function


def _give_slots(machine: Function, context: PassContext) -> None:
    rotate_buffers(machine, context)
    simplify(machine)
