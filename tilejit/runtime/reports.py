"""What native kernels say while they run: printed values and failed assertions.

The compiled module calls back with the number of the op and the place of a value; the text is made by the
same code as in the interpreter.
"""

from __future__ import annotations

import ctypes
import sys
from collections import defaultdict

import numpy as np

from tilejit import interpreter
from tilejit.backend.cpu import engine
from tilejit.diagnostics import KernelError
from tilejit.ir.core import Op
from tilejit.ir.opdef import Effects
from tilejit.ir.types import PointerType
from tilejit.ops.control import DEVICE_ASSERT, printed_lines
from tilejit.runtime.compiled import CompiledKernel

_CALLBACK = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32,
    ctypes.c_int32,
)  # fmt: skip
_Failure = tuple[tuple[int, int, int], KernelError]


class Reporter:
    """Receives the reports of a kernel that prints or asserts. It must live as long as the kernel may run."""

    def __init__(self, compiled: CompiledKernel) -> None:
        self._compiled = compiled
        self._name = compiled.name
        self._sites: list[Op] = []
        self._failures: defaultdict[int, list[_Failure]] = defaultdict(list)  # by the slots of their launch
        self._callback = _CALLBACK(self._report)
        pointer = ctypes.cast(self._callback, ctypes.c_void_p).value
        ctypes.c_int64.from_address(compiled.program.reporter_address).value = pointer or 0

    def _site(self, number: int) -> Op:
        """An op that reports. A program from disk has none: they are traced when the first one reports."""
        if not self._sites:
            with engine.LOCK:
                walk = self._compiled.tile.walk()
                self._sites = [op for op in walk if Effects.IO in op.definition.effects]
        return self._sites[number]

    def raise_failures(self, slots: int) -> None:
        """Raise the failed assertion of the first program that had one in the launch with these slots.

        Raises: KernelError.
        """
        failures = self._failures.pop(slots, None)
        if failures:
            _, error = min(failures, key=lambda failure: failure[0][::-1])
            raise error

    def _report(
        self, slots: int, site: int, operand: int, elements: int | None, x: int, y: int, z: int
    ) -> None:
        op, program = self._site(site), (x, y, z)
        if op.name == DEVICE_ASSERT.name:
            error = interpreter.assertion_error(op, self._name, program, str(op.attributes["message"]))
            self._failures[slots].append((program, error))
            return
        values = [_read(op, operand, elements)] if elements else []
        for line in printed_lines(op, values):
            sys.stdout.write(interpreter.printed_line(self._name, program, line) + "\n")


def _read(op: Op, operand: int, address: int) -> np.ndarray:
    """The operand's elements, copied from native memory; pointers as the integers they are."""
    type = op.operands[operand].type
    dtype = np.dtype(np.int64) if isinstance(type.element, PointerType) else type.element.numpy
    data = ctypes.string_at(address, type.size * dtype.itemsize)
    return np.frombuffer(data, dtype).reshape(type.shape)
