"""Gives the buffers of a kernel their addresses and its pipes their order: ``allocate``, ``insert_sync``.

Before: the buffer level. After: the machine level, in a copy.

Two slots ask for two event ids each. Where the cube core has too few, one flag stands for several: a load
then waits for tiles that another stage reads, which costs more than a second slot saves. So the kernel is
lowered once more with one slot for every buffer that rotates, and stays so if the pipes of the cube core then
wait needlessly less often. Decoding from pages of 128 keys, two loops of two products each, on the model in
us (``benchmarks ablation``), by what has one slot:

                     nothing     L1    the cube core    both kinds of core
    fp16 pages          83.7   74.7             65.4                  65.7
    int8 pages          83.8                    66.2                  64.9

Kernels for vector cores alone keep their slots, and so do those whose options ask for a number of slots.
"""

from __future__ import annotations

from tilejit.ir.machine import MachineKernel
from tilejit.ir.machine_text import clone_machine_kernel
from tilejit.ops.machine.buffer import BUFFER
from tilejit.passes.allocate import allocate
from tilejit.passes.insert_sync import insert_sync
from tilejit.passes.manager import PassContext
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Core


def place_and_order(kernel: MachineKernel, target: AscendTarget, context: PassContext) -> MachineKernel:
    """A copy of a kernel with addresses, flags and barriers.

    Raises: CompileError where the tiles do not fit.
    """
    trial = context.attempt()
    made, needless = _lower(clone_machine_kernel(kernel), target, trial)
    if needless and not context.options.slots:
        single, again = clone_machine_kernel(kernel), context.attempt()
        if _leave_one_slot(single, again):
            other, fewer = _lower(single, target, again)
            if fewer < needless:
                made, trial = other, again
    insert_sync(made, target, trial, (Core.AIV,))
    context.remarks += trial.remarks
    return made


def _lower(kernel: MachineKernel, target: AscendTarget, context: PassContext) -> tuple[MachineKernel, int]:
    """A kernel with addresses, and with order on its cube core, pipes of which wait needlessly so often."""
    context.pass_name = "allocate"
    kernel = allocate(kernel, target, context)
    context.pass_name = "insert_sync"
    synchronised = insert_sync(kernel, target, context, (Core.AIC,))
    return kernel, sum(each.needless for each in synchronised.values())


def _leave_one_slot(kernel: MachineKernel, context: PassContext) -> bool:
    """Leave every buffer that loops rotate one slot, in place; whether there are any."""
    doubled = [
        op
        for function in kernel.functions.values()
        for op in function.body.ops
        if op.definition is BUFFER and op.attributes["rotates"] and op.attributes["slots"] != 1
    ]
    for op in doubled:
        op.attributes["slots"] = 1
    context.pass_name = "place_and_order"
    location = kernel.functions[Core.AIC].location
    context.remark("the cube core has too few event ids for two slots: tiles have one", location)
    return bool(doubled)
