"""What can be told of a machine kernel from its text: whether its cores have what it asks for."""

from __future__ import annotations

from collections.abc import Iterator

from tilejit.backend.ascend.report import spell_op
from tilejit.ir.core import Op
from tilejit.ir.machine import MachineFacts, MachineKernel
from tilejit.ir.types import DType
from tilejit.ops.machine.buffer import BUFFER
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Core, Pipe, Space

_CORE_OF_SPACE = {space: Core.AIV if space is Space.UB else Core.AIC for space in Space}


def static_faults(kernel: MachineKernel, target: AscendTarget) -> Iterator[tuple[str, Op]]:
    """What is wrong with ops: instructions, pipes and flags that a core lacks, misplaced buffers."""
    for core, function in kernel.functions.items():
        for op in function.walk():
            facts = op.definition.machine
            if facts is not None and core not in facts.cores:
                yield f"an {core.name} has no {op.name}: {spell_op(op)}", op
            elif facts is not None:
                for problem in _pipe_faults(op, facts, core, target):
                    yield f"{problem}: {spell_op(op)}", op
            if op.name == BUFFER.name:
                for problem in _buffer_faults(op, core, kernel, target):
                    yield f"{problem}: {spell_op(op)}", op


def _pipe_faults(op: Op, facts: MachineFacts, core: Core, target: AscendTarget) -> Iterator[str]:
    source, waiting = op.attributes.get("source"), op.attributes.get("target")
    if isinstance(source, Pipe) and isinstance(waiting, Pipe):
        if (source, waiting) not in target.flag_pairs[core]:
            yield f"an {core.name} has no flags from {source.value} to {waiting.value}"
        return
    pipe = facts.pipe(op)
    if pipe not in (Pipe.S, Pipe.ALL) and pipe not in target.pipes[core]:
        yield f"an {core.name} has no pipe {pipe.value}"


def _buffer_faults(op: Op, core: Core, kernel: MachineKernel, target: AscendTarget) -> Iterator[str]:
    attributes = op.attributes
    space, element = attributes["space"], attributes["element"]
    address, slot_bytes = attributes["address"], attributes["slot_bytes"]
    elements, slots = attributes["elements"], attributes["slots"]
    assert isinstance(space, Space) and isinstance(element, DType)
    assert isinstance(address, int) and isinstance(slot_bytes, int)
    assert isinstance(elements, int) and isinstance(slots, int)
    if slots == 1:
        slot_bytes = max(slot_bytes, elements * element.itemsize)  # nothing steps from slot to slot
    if address < 0 or slot_bytes < elements * element.itemsize:
        yield f"a buffer at {address} with slots of {slot_bytes} bytes for {elements} elements"
        return
    end = address + slots * slot_bytes
    if space is Space.GM:
        if end > kernel.workspace_bytes:
            yield f"a buffer ends at byte {end} of a workspace of {kernel.workspace_bytes}"
        return
    memory = target.spaces[space]
    if _CORE_OF_SPACE[space] is not core:
        yield f"an {core.name} has no {space.value}"
    if end > memory.usable_bytes:
        yield f"a buffer ends at byte {end} of {space.value}, which has {memory.usable_bytes}"
    if address % memory.alignment_bytes or (slots > 1 and slot_bytes % memory.alignment_bytes):
        yield f"a buffer at {address}, slots {slot_bytes} apart, is not aligned to {memory.alignment_bytes}"
