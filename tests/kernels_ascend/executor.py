"""Runs a kernel of the buffer level in program order: no pipes, no time, buffers side by side in a large UB.

Each launch runs on two UBs that start with different bytes. Where the results differ, the kernel stored bytes
that it never wrote.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np

import tilejit
from tests.kernels.compare import check_close
from tilejit.ir.core import Argument, ArgumentSource, Block, Function, Op, Value
from tilejit.ir.machine import CoreState, Instruction, MachineKernel
from tilejit.ir.opdef import EvaluationCall, EvaluationContext
from tilejit.ir.types import DType, PointerType
from tilejit.ops.shape import constant_array
from tilejit.passes.manager import PassContext
from tilejit.passes.vector_kernel import vector_kernel
from tilejit.runtime.kernel import Kernel
from tilejit.target.ascend import ASCEND_910B1
from tilejit.target.spaces import Core, Space

_UB_BYTES = 1 << 22
Number = int | float


def lower(kernel: Kernel, *args: object, **kwargs: object) -> MachineKernel:
    """Lower a kernel, specialised for example arguments, to the buffer level."""
    function = tilejit.compile(kernel, *args, target="interpreter", **kwargs).tile
    return vector_kernel(function, ASCEND_910B1, PassContext())


def run(kernel: Kernel, *args: object, grid: tuple[int, ...], blocks: int = 3, **kwargs: object) -> None:
    """Run a kernel on ``blocks`` cores, one after the other; arrays are changed in place."""
    lowered = lower(kernel, *args, **kwargs)
    named = {**dict(zip(kernel.arg_names, args, strict=False)), **kwargs}
    arrays = [value for value in named.values() if isinstance(value, np.ndarray)]
    before = [array.copy() for array in arrays]
    _launch(lowered, named, grid, blocks, 0xFF)
    first = [array.copy() for array in arrays]
    for array, old in zip(arrays, before, strict=True):
        array[...] = old
    _launch(lowered, named, grid, blocks, 0x2B)
    for array, other in zip(arrays, first, strict=True):
        same = array.view(np.uint8) == other.view(np.uint8) if array.size else np.asarray(True)
        assert same.all(), "bytes were stored that were never written"


def compare(
    kernel: Kernel, *args: object, grid: tuple[int, ...], exact: bool = False, **kwargs: object
) -> None:
    """Check that a kernel gives what the interpreter gives; within a few roundings unless ``exact``."""
    copies = [value.copy() if isinstance(value, np.ndarray) else value for value in args]
    run(kernel, *args, grid=grid, **kwargs)
    kernel.run(*copies, grid=grid, target="interpreter", **kwargs)
    for found, wanted in zip(args, copies, strict=True):
        if isinstance(found, np.ndarray) and isinstance(wanted, np.ndarray):
            if exact or found.dtype.kind in "iu":
                np.testing.assert_array_equal(found, wanted)
            else:
                check_close(found, wanted, 1e-5 if found.dtype == np.float32 else None)


def _launch(
    lowered: MachineKernel, named: Mapping[str, object], grid: tuple[int, ...], blocks: int, garbage: int
) -> None:
    sizes = (*grid, 1, 1)[:3]
    for block in range(blocks):
        machine = _Machine(lowered.functions[Core.AIV], block, blocks, garbage)
        machine.run([_argument(argument, named, sizes) for argument in lowered.functions[Core.AIV].arguments])


def _argument(argument: Argument, named: Mapping[str, object], grid: Sequence[int]) -> Number:
    if argument.source is ArgumentSource.GRID:
        return grid[argument.dimension]
    value = named[argument.name]
    if argument.source is ArgumentSource.VALUE:
        return value.ctypes.data if isinstance(value, np.ndarray) else cast(Number, value)
    assert isinstance(value, np.ndarray)
    if argument.source is ArgumentSource.SHAPE:
        return value.shape[argument.dimension]
    return value.strides[argument.dimension] // value.itemsize


class _Machine:
    """One core."""

    def __init__(self, function: Function, block: int, blocks: int, garbage: int) -> None:
        self._function = function
        self._place = {"block_index": block, "block_count": blocks}
        self._ub = np.full(_UB_BYTES, garbage, np.uint8)
        self._top = 0
        self._values: dict[Value, np.ndarray] = {}
        self._control: dict[str, Callable[[Op], None]] = {
            "for": self._for, "if": self._if, "buffer": self._buffer, "slot": self._slot, "load": self._load,
            "store": self._store,
        }  # fmt: skip

    def run(self, arguments: Sequence[Number]) -> None:
        for value, number in zip(self._function.body.arguments, arguments, strict=True):
            element = value.type.element
            self._values[value] = (
                constant_array(element, number)
                if isinstance(element, DType)
                else np.asarray(number, np.int64)
            )
        self._block(self._function.body)

    def view(self, space: Space, start: int, size_bytes: int) -> np.ndarray:
        """Memory, as instructions see it."""
        if space is Space.UB:
            assert start >= 0 and start + size_bytes <= self._top, "an access outside all buffers"
            return self._ub[start : start + size_bytes]
        if not size_bytes:
            return np.empty(0, np.uint8)
        return np.ctypeslib.as_array((ctypes.c_uint8 * size_bytes).from_address(start))

    def _block(self, block: Block) -> tuple[np.ndarray, ...]:
        for op in block.ops[:-1]:
            self._op(op)
        return tuple(self._values[value] for value in block.terminator.operands)

    def _op(self, op: Op) -> None:
        control = self._control.get(op.name)
        if control is not None:
            control(op)
        elif op.definition.machine is not None:
            self._instruction(op)
        elif op.name in self._place:
            self._values[op.result] = np.asarray(self._place[op.name], np.int32)
        elif op.name == "reinterpret":
            self._values[op.result] = self._values[op.operands[0]]
        else:
            operands = {
                name: tuple(map(self._values.__getitem__, v)) for name, v in op.named_operands().items()
            }
            call = EvaluationCall(op, operands, cast(EvaluationContext, None))
            self._values[op.result] = np.asarray(op.definition.evaluate(call)[0])

    def _instruction(self, op: Op) -> None:
        facts = op.definition.machine
        assert facts is not None
        values = {name: self._values[v[0]].item() for name, v in op.named_operands().items() if v}
        instruction = Instruction(op, values, CoreState(saturates=False))
        problems = list(facts.check(instruction, ASCEND_910B1))
        assert not problems, f"{op.location}: {problems}"
        facts.execute(instruction, self)

    def _buffer(self, op: Op) -> None:
        element, elements, slots = (op.attributes[name] for name in ("element", "elements", "slots"))
        assert isinstance(element, DType) and isinstance(elements, int) and isinstance(slots, int)
        self._values[op.result] = np.asarray(self._top, np.int64)
        self._top += slots * self._slot_bytes(op)

    def _slot_bytes(self, op: Op) -> int:
        element, elements = op.attributes["element"], op.attributes["elements"]
        assert isinstance(element, DType) and isinstance(elements, int)
        return -(-elements * element.itemsize // 32) * 32

    def _slot(self, op: Op) -> None:
        buffer = op.operand("buffer").defining_op
        assert buffer is not None
        slots = buffer.attributes["slots"]
        assert isinstance(slots, int)
        number = int(self._values[op.operand("index")]) % slots
        self._values[op.result] = self._values[buffer.result] + number * self._slot_bytes(buffer)

    def _element(self, pointer: Value) -> np.ndarray:
        type = pointer.type.element
        assert isinstance(type, PointerType)
        return self.view(type.space, int(self._values[pointer]), type.element.itemsize).view(
            type.element.numpy
        )

    def _load(self, op: Op) -> None:
        self._values[op.result] = self._element(op.operand("pointer"))[0].copy().reshape(())

    def _store(self, op: Op) -> None:
        self._element(op.operand("pointer"))[0] = self._values[op.operand("value")]

    def _for(self, op: Op) -> None:
        lower, upper, step = (int(self._values[op.operand(name)]) for name in ("lower", "upper", "step"))
        carried = tuple(self._values[value] for value in op.operand_list("inits"))
        body = op.regions[0]
        for index in range(lower, upper, step):
            self._values[body.arguments[0]] = np.asarray(index, body.arguments[0].type.element.numpy)  # type: ignore[union-attr]
            self._values.update(zip(body.arguments[1:], carried, strict=True))
            carried = self._block(body)
        self._values.update(zip(op.results, carried, strict=True))

    def _if(self, op: Op) -> None:
        then, other = op.regions
        results = self._block(then if bool(self._values[op.operand("condition")]) else other)
        self._values.update(zip(op.results, results, strict=True))
