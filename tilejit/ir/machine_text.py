"""Machine kernels as text and as copies: one function for each kind of core, one after the other.

What ``parse_machine_kernel`` reads is what ``print_machine_kernel`` writes: the kernel's name is that of its
functions, and its workspace is as large as the buffers in GM reach.
"""

from __future__ import annotations

from collections.abc import Mapping

from tilejit.diagnostics import InternalError
from tilejit.ir.core import Function
from tilejit.ir.machine import MachineKernel
from tilejit.ir.opdef import OpDef
from tilejit.ir.parser import parse_functions
from tilejit.ir.printer import print_function
from tilejit.ir.rewrite import clone_function
from tilejit.target.spaces import Core, Space


def print_machine_kernel(kernel: MachineKernel, *, locations: bool = False) -> str:
    """Return the text of ``kernel``: its AIC function, if it has one, before its AIV function."""
    ordered = [kernel.functions[core] for core in Core if core in kernel.functions]
    return "\n".join(print_function(function, locations=locations) for function in ordered)


def parse_machine_kernel(text: str, ops: Mapping[str, OpDef]) -> MachineKernel:
    """Return the kernel that ``text`` spells.

    Raises: IRParseError where it is not IR, InternalError where its functions make no kernel.
    """
    functions: dict[Core, Function] = {}
    for function in parse_functions(text, ops):
        if function.core is None or function.core in functions:
            raise InternalError(f"function {function.name} does not say which kind of core runs it alone")
        functions[function.core] = function
    names = {function.name for function in functions.values()}
    if len(names) != 1:
        raise InternalError(f"the functions of a kernel have one name; got {', '.join(sorted(names))}")
    return MachineKernel(names.pop(), functions, max(map(_workspace_bytes, functions.values())))


def clone_machine_kernel(kernel: MachineKernel) -> MachineKernel:
    """Return an independent copy of ``kernel``."""
    functions = {core: clone_function(function) for core, function in kernel.functions.items()}
    return MachineKernel(kernel.name, functions, kernel.workspace_bytes)


def _workspace_bytes(function: Function) -> int:
    """How far the placed buffers in GM reach."""
    reach = 0
    for op in function.body.ops:
        if op.attributes.get("space") is Space.GM:
            address, slots, size = (op.attributes[name] for name in ("address", "slots", "slot_bytes"))
            assert isinstance(address, int) and isinstance(slots, int) and isinstance(size, int)
            reach = max(reach, address + slots * size)
    return reach
