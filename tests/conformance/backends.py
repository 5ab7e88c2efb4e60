"""What runs a case: the interpreter, and the compiled backends where they are present."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pytest

from tilejit import interpreter
from tilejit.ir.core import Function
from tilejit.ir.types import dtype_from_numpy

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


def cpu_backend() -> Backend:
    """Return the backend that compiles for the CPU; skips the test where there is none."""
    pytest.skip("the CPU backend cannot run functions yet")
