"""What can be told of a machine function before it runs: whether its core has what it asks for."""

from __future__ import annotations

from tilejit.backend.ascend.report import FindingKind, Findings, spell_op
from tilejit.ir.core import Function, Op
from tilejit.ir.machine import MachineKernel
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Core, Pipe, Space


def check_kernel(kernel: MachineKernel, target: AscendTarget, findings: Findings) -> None:
    """Report instructions, pipes and flags that a kind of core lacks, and buffers outside their memory."""
    for core, function in kernel.functions.items():
        _check_function(function, core, kernel.workspace_bytes, target, findings)


def _check_function(
    function: Function, core: Core, workspace_bytes: int, target: AscendTarget, findings: Findings
) -> None:
    for op in function.walk():
        problem = _buffer_problem(op, workspace_bytes, target) or _core_problem(op, core, target)
        if problem:
            findings.add(FindingKind.LIMIT, f"{problem}, in {spell_op(op)}", op)


def _core_problem(op: Op, core: Core, target: AscendTarget) -> str:
    facts = op.definition.machine
    if facts is None:
        return ""
    if core not in facts.cores:
        return f"an {core.value} has no {op.name}"
    source, wait = op.attributes.get("source"), op.attributes.get("target")
    if isinstance(source, Pipe) and isinstance(wait, Pipe):
        if (source, wait) not in target.flag_pairs[core]:
            return f"an {core.value} has no flags from {source.value} to {wait.value}"
        return ""
    pipe = facts.pipe(op)
    if pipe not in (Pipe.S, Pipe.ALL) and pipe not in target.pipes[core]:
        return f"an {core.value} has no pipe {pipe.value}"
    return ""


def _buffer_problem(op: Op, workspace_bytes: int, target: AscendTarget) -> str:
    if op.name != "buffer":
        return ""
    numbers = [op.attributes[name] for name in ("address", "slots", "slot_bytes", "elements")]
    space, pointer = op.attributes["space"], op.result.type.element
    address, slots, slot_bytes, elements = (n for n in numbers if isinstance(n, int))
    assert isinstance(space, Space)
    end = address + (slots - 1) * slot_bytes + elements * pointer.element_ty.itemsize  # type: ignore[union-attr]
    room = workspace_bytes if space is Space.GM else target.spaces[space].capacity_bytes
    where = "workspace of a block" if space is Space.GM else f"memory {space.value}"
    return f"buffer %{op.result.name} ends at {end}, the {where} at {room}" if end > room else ""
