"""Runs a function on a case's memory: by the interpreter, or compiled for this machine."""

from __future__ import annotations

import contextlib
import ctypes
import io

import numpy as np

from tilejit import interpreter
from tilejit.backend.cpu import emit_llvm, engine
from tilejit.ir.core import Function
from tilejit.ir.types import DType
from tilejit.passes import plan_loops
from tilejit.target.cpu import CpuTarget, generic_avx2, host, runs_here

from .case import ArrayInput, Case, Memory

_POISON = 0xA7
_SCRATCH_GUARD_BYTES = 256


class MachineError(Exception):
    """A program did something that no comparison of results would show."""


def interpret(case: Case, function: Function) -> Memory:
    """Run on numpy from the op records; prints are dropped."""
    memory = Memory(case)
    arguments: list[interpreter.InterpreterArgument] = []
    for index, given in enumerate(case.inputs):
        if isinstance(given, ArrayInput):
            array = memory.array(given)
            low = array.ctypes.data
            arguments.append(
                interpreter.ArrayArgument(
                    low, low, low + array.nbytes, given.dtype, array.shape, array.strides, f"a{index}"
                )
            )
        else:
            arguments.append(given)
    with contextlib.redirect_stdout(io.StringIO()):
        interpreter.run(function, arguments, case.grid, kernel_name=function.name)
    return memory


def target_of(case: Case) -> CpuTarget:
    """This machine, for some kernels as if it had narrower vectors."""
    narrow = generic_avx2()
    return narrow if case.seed % 4 == 3 and runs_here(narrow) else host()


def run_compiled(case: Case, function: Function) -> Memory:
    """Compile for this machine and run all programs on the calling thread, with poisoned scratch memory.

    Raises: MachineError where guards around arrays or scratch are damaged.
    """
    target = target_of(case)
    # Looked up at every call: seeded miscompiles replace parts of these modules.
    plan = plan_loops.plan_loops(function, target.vector_bytes)
    emitted = emit_llvm.emit(plan, target)
    compiled = engine.compile_module(emitted.module, target)
    memory = Memory(case)
    slots = _slots(case, function, memory)
    scratch = np.full(emitted.scratch_bytes + _SCRATCH_GUARD_BYTES + 64, _POISON, np.uint8)
    base = -scratch.ctypes.data % 64
    programs = _PROGRAMS(compiled.address(f"{function.name}.programs"))
    x, y, z = case.grid
    for first, last in ((0, x * y * z // 2), (x * y * z // 2, x * y * z)):
        programs(slots.ctypes.data, first, last, x, y, z, scratch.ctypes.data + base)
    if (scratch[base + emitted.scratch_bytes :] != _POISON).any() or (scratch[:base] != _POISON).any():
        raise MachineError("the compiled kernel wrote outside its scratch memory")
    if not memory.guards_are_intact():
        raise MachineError("the compiled kernel wrote outside its arrays")
    return memory


def _slots(case: Case, function: Function, memory: Memory) -> np.ndarray:
    slots = np.zeros(max(1, len(case.inputs)), np.int64)
    for index, (value, given) in enumerate(zip(function.body.arguments, case.inputs, strict=True)):
        element = value.type.element
        if isinstance(given, ArrayInput):
            slots[index] = memory.array(given).ctypes.data
            continue
        assert isinstance(element, DType)
        number = np.array([given]).astype(element.numpy)
        if element.is_int() and not element.is_bool():
            slots[index] = number.astype(np.int64)[0]
        else:
            slots[index : index + 1].view(np.uint8)[: number.nbytes] = number.view(np.uint8)
    return slots


_PROGRAMS = ctypes.CFUNCTYPE(
    None,
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_int32,
    ctypes.c_int32,
    ctypes.c_int32,
    ctypes.c_void_p,
)
