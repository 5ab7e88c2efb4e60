"""Chooses the cores that run a kernel, and so its way from tile IR to the buffer level."""

from __future__ import annotations

from tilejit.ir.core import Function
from tilejit.ir.machine import MachineKernel
from tilejit.ir.rewrite import clone_function
from tilejit.ops import DOT
from tilejit.passes.cube_work import CubeWork, fuse_sums
from tilejit.passes.drop_lower_bounds import drop_lower_bounds
from tilejit.passes.fixpipe_stores import stores_of_vector
from tilejit.passes.manager import PassContext
from tilejit.passes.moved_sums import moved_sums
from tilejit.passes.program_loop import loop_over_programs
from tilejit.passes.promote_cube import promote_cube
from tilejit.passes.reload_tiles import reload_tiles
from tilejit.passes.rotate_buffers import rotate_buffers
from tilejit.passes.simplify import simplify
from tilejit.passes.split_cores import mixed_kernel
from tilejit.passes.unroll_batches import unroll_batches
from tilejit.passes.unsupported import spell_kind
from tilejit.passes.vector_kernel import vector_kernel
from tilejit.target.ascend import AscendTarget


def buffer_kernel(function: Function, target: AscendTarget, context: PassContext) -> MachineKernel:
    """Lower a simplified function, which stays as it is: for cube cores where its tile work is dots whose
    sums stay where they are.

    Raises: CompileError where the kernel does what cannot be lowered.
    """
    function = drop_lower_bounds(function)
    if any(op.name == DOT.name for op in function.walk()):
        return cube_kernel(function, target, context)
    return vector_kernel(function, target, context)


def cube_kernel(function: Function, target: AscendTarget, context: PassContext) -> MachineKernel:
    """Lower a simplified function with dots, which stays as it is.

    Raises: CompileError where the kernel does what cannot be lowered.
    """
    function = clone_function(function)
    fuse_sums(function)
    work = CubeWork(function)
    is_mixed = work.vector_op is not None or moved_sums(function, work)
    if not is_mixed:
        unroll_batches(function)
        work = CubeWork(function)
    others = stores_of_vector(function, work)
    for op, reason in others.items():
        context.remark(f"the vector cores do this {spell_kind(op)}: {reason}", op.location)
    if is_mixed or others:
        return mixed_kernel(function, target, context)
    if not context.options.enables_on_ascend("residency"):
        reload_tiles(function)
    kernel = promote_cube(loop_over_programs(function), target, context)
    for machine in kernel.functions.values():
        rotate_buffers(machine, context)
        simplify(machine)
    return kernel
