"""Splits a kernel that multiplies tiles and works on them into one for the cube core and one for the vector
cores.

Both run the same loops and branches; every tile that one computes and the other needs goes through a
workspace (``crossings``). The function is cloned for each kind of core, what the other one does to memory is
erased, and dead code goes with it. The two vector cores of an AI core share the work of their function
(``sub_blocks``). Each function is then lowered as a kernel for its kind of core alone is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tilejit.diagnostics import CompileError
from tilejit.ir.core import Function, Op
from tilejit.ir.machine import MachineKernel
from tilejit.ir.machine_text import clone_machine_kernel
from tilejit.ir.opdef import Effects
from tilejit.ir.rewrite import clone_function
from tilejit.ops import LOAD
from tilejit.ops.machine.buffer import BUFFER
from tilejit.options import DEFAULT_OPTIONS, CompileOptions
from tilejit.passes.allocate import allocate, fits_apart
from tilejit.passes.check_split import check_split
from tilejit.passes.crossings import insert_crossings
from tilejit.passes.cube_work import CubeWork
from tilejit.passes.drop_slots import MEMORIES, drop_slots
from tilejit.passes.live_ranges import LiveRanges
from tilejit.passes.lower_crossings import Channel, channels, lines_of, lower_crossings
from tilejit.passes.manager import PassContext
from tilejit.passes.pack_buffers import Sharing
from tilejit.passes.program_loop import loop_over_programs
from tilejit.passes.promote_cube import promote_cube
from tilejit.passes.reload_tiles import reload_tiles
from tilejit.passes.rotate_buffers import rotate_buffers, slots_of
from tilejit.passes.separate_sums import separate_sums
from tilejit.passes.share_flags import Line, in_own_branches
from tilejit.passes.simplify import simplify
from tilejit.passes.skew import LEAD, lead_of, skew
from tilejit.passes.sub_blocks import share_between_sub_blocks
from tilejit.passes.unroll_batches import unroll_batches
from tilejit.passes.vector_kernel import lower_vector
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Core, Space


def mixed_kernel(function: Function, target: AscendTarget, context: PassContext) -> MachineKernel:
    """Lower a simplified function with work for both kinds of core, which stays as it is.

    Raises: CompileError where the kernel does what cannot be lowered.
    """
    for lead, thrifty in _attempts(context.options):
        trial = context.attempt()
        kernel, ranges = _lower(function, target, trial, lead, thrifty)
        fits = all(fits_apart(live, target, MEMORIES, Sharing.ANY) for live in ranges)
        if fits or not _has_stages(kernel, context.options):
            break
    if not fits and context.options.lead:
        _check_lead(function, kernel, target, context, context.options.lead)
    context.remarks += trial.remarks
    most = lead_of(context.options)
    changes = ["no stage of a program runs beside one of another"] if thrifty and lead else []
    if lead != most:
        changes.append(f"stages are {lead} trips apart, not {most}" if lead else "no loop is skewed")
    for change in changes:
        context.remark(f"{change}: memory is scarce", function.location)
    return kernel


def _attempts(options: CompileOptions) -> Iterator[tuple[int, bool]]:
    """Leads, and whether to be thrifty: the fastest first, what takes the least memory last."""
    most = lead_of(options)
    leads = (most, *_smaller(most, options))
    for thrifty in (False, True):
        for lead in leads:
            yield lead, thrifty
    if not options.lead:
        yield 0, True


def _smaller(lead: int, options: CompileOptions) -> range:
    """The leads to try where one does not fit, the largest first: none where the options name one."""
    return range(0) if options.lead else range(lead - 1, 0, -1)


def _has_stages(kernel: MachineKernel, options: CompileOptions) -> bool:
    """Whether a loop of a kernel is skewed: tiles on their way between its stages have slots."""
    ops = (op for machine in kernel.functions.values() for op in machine.body.ops if op.definition is BUFFER)
    slots = [op.attributes["slots"] for op in ops if op.attributes["space"] is Space.GM]
    return any(isinstance(number, int) and number > slots_of(options) for number in slots)


def _check_lead(
    function: Function, kernel: MachineKernel, target: AscendTarget, context: PassContext, lead: int
) -> None:
    """Check that a kernel whose options name a lead can be placed, or could not with a smaller one, either.

    Raises: CompileError that names the largest lead with which it can be.
    """
    error = _misfit(kernel, target)
    if error is None:
        return
    message = f"with lead={lead}, {error.message}"
    for less in _smaller(lead, DEFAULT_OPTIONS):
        smaller, _ = _lower(function, target, context.attempt(), less, True)
        if _misfit(smaller, target) is None:
            raise CompileError(message, error.location, f"use lead={less} or less")


def _misfit(kernel: MachineKernel, target: AscendTarget) -> CompileError | None:
    """What keeps a kernel's tiles from having places."""
    try:
        allocate(clone_machine_kernel(kernel), target, PassContext())
    except CompileError as error:
        return error
    return None


def _lower(
    function: Function, target: AscendTarget, context: PassContext, lead: int, thrifty: bool
) -> tuple[MachineKernel, list[LiveRanges]]:
    """A lowered kernel, and when the buffers of its functions live."""
    sides = split_cores(function, target, context, lead, thrifty=thrifty)
    cube = promote_cube(sides[Core.AIC], target, context).functions[Core.AIC]
    rotate_buffers(cube, context)
    simplify(cube)
    vector = lower_vector(sides[Core.AIV], context)
    ranges = [drop_slots(machine, target, context) for machine in (cube, vector)]
    return MachineKernel(function.name, {Core.AIC: cube, Core.AIV: vector}), ranges


def split_cores(
    function: Function, target: AscendTarget, context: PassContext, lead: int = LEAD, *, thrifty: bool = False
) -> Mapping[Core, Function]:
    """What each kind of core does of a function of tile IR, which stays as it is, as tile IR.

    ``lead``: trips from stage to stage of a loop. ``thrifty``: nothing waits from program to program or from
    one part of a branch to the next.
    """
    function = clone_function(function)
    separate_sums(function)
    check_split(function)
    insert_crossings(function)
    function, lines = _with_flags(loop_over_programs(function), target, context, lead, thrifty)
    for channel in (channel for line in channels(lines) for channel in line):
        context.remark(_describe(channel), channel.send.location)
    cores = lower_crossings(function, lines)
    cores = {**_cores_of_effects(function), **cores}
    sides = {core: _side(function, cores, core) for core in (Core.AIC, Core.AIV)}
    unroll_batches(sides[Core.AIC])
    sides[Core.AIV] = share_between_sub_blocks(sides[Core.AIV], context)
    simplify(sides[Core.AIV])
    if not context.options.enables_on_ascend("residency"):
        for side in sides.values():
            reload_tiles(side)
    return sides


def _with_flags(
    function: Function, target: AscendTarget, context: PassContext, lead: int, thrifty: bool
) -> tuple[Function, list[Line]]:
    """A skewed copy of a function, and the flags of its crossings: not skewed where there are too few."""
    reason: CompileError | None = None
    shared = (lead, *_smaller(lead, context.options), 0)
    for own_lead, own_branches in ((lead, False), *((each, True) for each in shared)):
        trial, copy = context.attempt(), clone_function(function)
        slots = skew(copy, trial, target.flag_limit, own_lead, thrifty=thrifty)
        if own_branches:
            in_own_branches(copy)
        try:
            lines = lines_of(copy, slots, target)
        except CompileError as error:
            reason = reason or error
            continue
        context.remarks += trial.remarks
        if reason is not None:
            kept = "crossings share flags" if own_lead else "no loop is skewed"
            context.remark(f"{kept}: {reason.message.removeprefix('Ascend: ')}", function.location)
        return copy, lines
    assert reason is not None
    raise reason


def _describe(channel: Channel) -> str:
    return (
        f"{channel.receive.result.name or 'a tile'} goes from {channel.producer.value} to "
        f"{channel.consumer.value}: {channel.slots} slots of {channel.slot_bytes} bytes, "
        f"flags {channel.ready} and {channel.free}"
    )


def _cores_of_effects(function: Function) -> dict[Op, Core]:
    """Which core runs the ops of the kernel that change something: sums are stored by the cube."""
    stored = set(CubeWork(function).outputs)
    return {
        op: Core.AIC if op in stored else Core.AIV
        for op in function.walk()
        if not op.regions and op.effects & ~Effects.READ and op.definition not in (BUFFER, LOAD)
    }


def _side(function: Function, cores: Mapping[Op, Core], core: Core) -> Function:
    """A copy of ``function`` without the effects that are the other core's."""
    copy = clone_function(function)
    for op, copied in zip(list(function.walk()), list(copy.walk()), strict=True):
        if cores.get(op, core) is not core:
            copied.erase()
    simplify(copy)
    while unread := [op for op in copy.walk() if op.name == LOAD.name and not op.result.use_count]:
        for op in unread:  # volatile, for the other core
            op.erase()
        simplify(copy)
    return copy
