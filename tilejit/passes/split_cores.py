"""Splits a kernel that multiplies tiles and works on them into one for the cube core and one for the vector
cores.

Both run the same loops and branches; every tile that one computes and the other needs goes through a
workspace (``crossings``). The function is cloned for each kind of core, what the other one does to memory is
erased, and dead code goes with it. The two vector cores of an AI core share the work of their function
(``sub_blocks``). Each function is then lowered as a kernel for its kind of core alone is.
"""

from __future__ import annotations

from collections.abc import Mapping

from tilejit.diagnostics import CompileError
from tilejit.ir.core import Function, Op
from tilejit.ir.machine import MachineKernel
from tilejit.ir.opdef import Effects
from tilejit.ir.rewrite import clone_function
from tilejit.ops import LOAD
from tilejit.ops.machine.buffer import BUFFER
from tilejit.passes.allocate import fits_apart
from tilejit.passes.check_split import check_split
from tilejit.passes.crossings import insert_crossings
from tilejit.passes.cube_work import CubeWork
from tilejit.passes.drop_slots import MEMORIES, drop_slots
from tilejit.passes.lower_crossings import Channel, channels, lines_of, lower_crossings
from tilejit.passes.manager import PassContext
from tilejit.passes.pack_buffers import Sharing
from tilejit.passes.program_loop import loop_over_programs
from tilejit.passes.promote_cube import promote_cube
from tilejit.passes.reload_tiles import reload_tiles
from tilejit.passes.rotate_buffers import rotate_buffers
from tilejit.passes.separate_sums import separate_sums
from tilejit.passes.share_flags import Line, in_own_branches
from tilejit.passes.simplify import simplify
from tilejit.passes.skew import least_slots, skew
from tilejit.passes.sub_blocks import share_between_sub_blocks
from tilejit.passes.unroll_batches import unroll_batches
from tilejit.passes.vector_kernel import lower_vector
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Core


def mixed_kernel(function: Function, target: AscendTarget, context: PassContext) -> MachineKernel:
    """Lower a simplified function with work for both kinds of core, which stays as it is.

    Raises: CompileError where the kernel does what cannot be lowered.
    """
    for thrifty in (False, True):
        trial = context.attempt()
        kernel = _lower(function, target, trial, thrifty)
        if all(_fits(machine, target) for machine in kernel.functions.values()):
            break
    context.remarks += trial.remarks
    if thrifty:
        context.remark(
            "no stage of a program runs beside one of another: memory is scarce", function.location
        )
    return kernel


def _fits(machine: Function, target: AscendTarget) -> bool:
    return all(fits_apart(machine, target, space, Sharing.ANY) for space in MEMORIES)


def _lower(function: Function, target: AscendTarget, context: PassContext, thrifty: bool) -> MachineKernel:
    sides = split_cores(function, target, context, thrifty=thrifty)
    cube = promote_cube(sides[Core.AIC], target, context).functions[Core.AIC]
    rotate_buffers(cube, context)
    simplify(cube)
    vector = lower_vector(sides[Core.AIV], context)
    for machine in (cube, vector):
        drop_slots(machine, target, context)
    return MachineKernel(function.name, {Core.AIC: cube, Core.AIV: vector})


def split_cores(
    function: Function, target: AscendTarget, context: PassContext, *, thrifty: bool = False
) -> Mapping[Core, Function]:
    """What each kind of core does of a function of tile IR, which stays as it is, as tile IR.

    ``thrifty``: nothing waits from program to program or from one part of a branch to the next.
    """
    function = clone_function(function)
    separate_sums(function)
    check_split(function)
    insert_crossings(function)
    function, lines = _with_flags(loop_over_programs(function), target, context, thrifty)
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
    function: Function, target: AscendTarget, context: PassContext, thrifty: bool
) -> tuple[Function, list[Line]]:
    """A skewed copy of a function, and the flags of its crossings: not skewed where there are too few."""
    reason: CompileError | None = None
    for skewed, own_branches in ((True, False), (True, True), (False, True)):
        trial, copy = context.attempt(), clone_function(function)
        slots = skew(copy, trial, thrifty=thrifty) if skewed else least_slots(copy, trial)
        if own_branches:
            in_own_branches(copy)
        try:
            lines = lines_of(copy, slots, target)
        except CompileError as error:
            reason = reason or error
            continue
        context.remarks += trial.remarks
        if reason is not None:
            kept = "crossings share flags" if skewed else "no loop is skewed"
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
