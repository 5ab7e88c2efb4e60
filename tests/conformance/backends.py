"""What runs a case: the interpreter, and the compiled backends where they are present."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tilejit import interpreter
from tilejit.backend.cpu.emit_llvm import emit
from tilejit.backend.cpu.engine import compile_module
from tilejit.ir.core import Function
from tilejit.ir.types import DType, dtype_from_numpy
from tilejit.passes.plan_loops import plan_loops
from tilejit.target.cpu import CpuTarget, generic_avx2, host, runs_here

Arguments = Sequence[np.ndarray | int | float]
Grid = tuple[int, int, int]


class Backend(Protocol):
    """Runs a function on C-contiguous arrays and numbers, writing results into the arrays."""

    def run(self, function: Function, arguments: Arguments, grid: Grid) -> None: ...


class InterpreterBackend:
    """Runs on numpy from the op records."""

    def run(self, function: Function, arguments: Arguments, grid: Grid) -> None:
        converted = [
            _array_argument(a, f"a{i}") if isinstance(a, np.ndarray) else a for i, a in enumerate(arguments)
        ]
        interpreter.run(function, converted, grid, kernel_name=function.name)


def _array_argument(array: np.ndarray, name: str) -> interpreter.ArrayArgument:
    dtype = dtype_from_numpy(array.dtype)
    assert dtype is not None and array.flags.c_contiguous
    low = array.ctypes.data
    return interpreter.ArrayArgument(
        low, low, low + array.nbytes, dtype, array.shape, array.strides, name, array.flags.writeable
    )


@dataclass(frozen=True)
class CpuBackend:
    """Compiles for a CPU that this machine can stand for, and runs the programs on the calling thread."""

    target: CpuTarget

    def run(self, function: Function, arguments: Arguments, grid: Grid) -> None:
        target = self.target
        plan = plan_loops(function, target.vector_bytes)
        emitted = emit(plan, target)
        compiled = compile_module(emitted.module, target)
        slots = np.zeros(max(1, len(arguments)), np.int64)
        for index, (value, argument) in enumerate(zip(function.body.arguments, arguments, strict=True)):
            element = value.type.element
            if isinstance(argument, np.ndarray):
                slots[index] = argument.ctypes.data
            else:
                assert isinstance(element, DType)
                number = np.array([argument]).astype(element.numpy)
                slots[index : index + 1].view(np.uint8)[: number.nbytes] = number.view(np.uint8)
        scratch = np.zeros(emitted.scratch_bytes + 64, np.uint8)
        base = -(-scratch.ctypes.data // 64) * 64
        programs = _PROGRAMS(compiled.address(f"{function.name}.programs"))
        programs(slots.ctypes.data, 0, grid[0] * grid[1] * grid[2], *grid, base)


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


def host_backend() -> CpuBackend:
    """The backend that compiles for this very machine."""
    return CpuBackend(host())


def lesser_backend() -> CpuBackend | None:
    """The backend for a CPU with shorter vectors than this machine's; None where it cannot run here."""
    target = generic_avx2()
    return CpuBackend(target) if runs_here(target) and host().vector_bytes > target.vector_bytes else None
