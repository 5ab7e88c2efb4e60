"""Writes machine functions op by op.

Python integers become constants at the top of the function; arithmetic on them stays in Python. A program is
written in the order in which its core's scalar unit issues it:

    program = Program("copy", Core.AIV, {"x": FP32, "out": FP32})
    tile = program.buffer(Space.UB, FP32, 1024, address=0)
    with program.loop(0, 8) as i:
        source = program.offset("x", program.mul(i, 1024))
        program.issue("copy_in", dst=tile, src=source, rows=1, row_bytes=4096)
        ...
    kernel = program.kernel()
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tilejit.ir.core import Argument, Block, Builder, Function, Op, Value
from tilejit.ir.machine import MachineKernel
from tilejit.ir.opdef import Attribute
from tilejit.ir.types import FP32, INT32, DType, PointerType, TileType
from tilejit.ops.elementwise import CmpPredicate
from tilejit.ops.machine import MACHINE_LEVEL_OPS
from tilejit.target.spaces import Core, Pipe, Space

Number = Value | int
Operand = Value | int | float


class Program:
    """One machine function while it is written."""

    def __init__(self, name: str, core: Core, pointers: Mapping[str, DType]) -> None:
        self._function = Function(name, Block(), core=core)
        self._pointers = {
            pointer: self._function.add_argument(Argument(pointer), TileType(PointerType(element)))
            for pointer, element in pointers.items()
        }
        self._builder = Builder(self._function.body)
        self.block_index = self.issue("block_index").result
        self.block_count = self.issue("block_count").result
        self._constants: dict[tuple[type, int | float], Value] = {}
        # Constants stand before the first op, so that they are there for every other.
        self._top = Builder(self._function.body, before=self._function.body.ops[0])

    def kernel(self, other: Program | None = None, *, workspace_bytes: int = 0) -> MachineKernel:
        """The kernel of this function, alone or with that of the other kind of core."""
        programs = [self] if other is None else [self, other]
        functions: dict[Core, Function] = {}
        for program in programs:
            program.issue("return")
            assert program._function.core is not None
            functions[program._function.core] = program._function
        return MachineKernel(self._function.name, functions, workspace_bytes)

    def issue(
        self, name: str, attributes: Mapping[str, Attribute] | None = None, /, **operands: Operand
    ) -> Op:
        """Append one op; numbers become constants."""
        values = {operand: self.value(given) for operand, given in operands.items()}
        return self._builder.insert(Op(MACHINE_LEVEL_OPS[name], values, attributes))

    def value(self, number: Operand) -> Value:
        """A number as a value: int32 or fp32."""
        if isinstance(number, Value):
            return number
        key = (type(number), number)
        if key not in self._constants:
            dtype = INT32 if isinstance(number, int) else FP32
            attributes: dict[str, Attribute] = {"value": number, "dtype": dtype}
            op = self._top.create(MACHINE_LEVEL_OPS["constant"], attributes=attributes)
            self._constants[key] = op.result
        return self._constants[key]

    def buffer(self, space: Space, element: DType, elements: int, *, address: int, slots: int = 1) -> Value:
        """Memory at a fixed address; slots follow each other."""
        attributes: dict[str, Attribute] = {
            "space": space,
            "element": element,
            "elements": elements,
            "slots": slots,
            "slot_bytes": elements * element.itemsize,
            "address": address,
        }
        return self._top.create(MACHINE_LEVEL_OPS["buffer"], attributes=attributes).result

    def slot(self, buffer: Value, index: Number) -> Value:
        """The address of slot ``index`` modulo the number of slots."""
        return self.issue("slot", buffer=buffer, index=index).result

    def offset(self, pointer: str | Value, elements: Number) -> Value:
        """A pointer, ``elements`` further on."""
        start = self._pointers[pointer] if isinstance(pointer, str) else pointer
        return start if elements == 0 else self.issue("addptr", pointer=start, offset=elements).result

    @contextmanager
    def loop(self, lower: Number, upper: Number, step: Number = 1) -> Iterator[Value]:
        """Code for each index of range(lower, upper, step)."""
        outer, body = self._builder, Block([TileType(INT32)], ["i"])
        bounds = {"lower": self.value(lower), "upper": self.value(upper), "step": self.value(step)}
        self._builder = Builder(body)
        yield body.arguments[0]
        self.issue("yield")
        self._builder = outer
        outer.insert(Op(MACHINE_LEVEL_OPS["for"], bounds, regions=(body,)))

    # Arithmetic of the scalar unit.

    def add(self, lhs: Number, rhs: Number) -> Number:
        """lhs + rhs."""
        if isinstance(lhs, int) and isinstance(rhs, int):
            return lhs + rhs
        return self.issue("add", lhs=lhs, rhs=rhs).result

    def sub(self, lhs: Number, rhs: Number) -> Number:
        """lhs - rhs."""
        if isinstance(lhs, int) and isinstance(rhs, int):
            return lhs - rhs
        return self.issue("sub", lhs=lhs, rhs=rhs).result

    def mul(self, lhs: Number, rhs: Number) -> Number:
        """lhs * rhs."""
        if isinstance(lhs, int) and isinstance(rhs, int):
            return lhs * rhs
        return self.issue("mul", lhs=lhs, rhs=rhs).result

    def div(self, lhs: Number, rhs: Number) -> Number:
        """lhs // rhs of numbers that are not negative."""
        return self.issue("idiv", lhs=lhs, rhs=rhs).result

    def rem(self, lhs: Number, rhs: Number) -> Number:
        """lhs % rhs of numbers that are not negative."""
        return self.issue("irem", lhs=lhs, rhs=rhs).result

    def min(self, lhs: Number, rhs: Number) -> Number:
        """The smaller one."""
        return self.issue("min", lhs=lhs, rhs=rhs).result

    def equal(self, lhs: Number, rhs: Number) -> Value:
        """Whether two numbers are equal."""
        return self.issue("cmp", {"predicate": CmpPredicate.EQ}, lhs=lhs, rhs=rhs).result

    # Synchronisation.

    def set(self, source: Pipe, target: Pipe, number: Number) -> None:
        """Raise a flag."""
        self.issue("set_flag", {"source": source, "target": target}, id=number)

    def wait(self, source: Pipe, target: Pipe, number: Number) -> None:
        """Wait for a flag and lower it."""
        self.issue("wait_flag", {"source": source, "target": target}, id=number)

    def barrier(self, pipe: Pipe) -> None:
        """Let later work of a pipe wait for its earlier work."""
        self.issue("pipe_barrier", {"pipe": pipe})

    def cross_set(self, pipe: Pipe, flag: Number) -> None:
        """Tell the other side of the block when a pipe's work so far is done."""
        self.issue("cross_set", {"pipe": pipe}, flag=flag)

    def cross_wait(self, flag: Number) -> None:
        """Wait for the other side of the block."""
        self.issue("cross_wait", flag=flag)

    def hand_over(self, source: Pipe, target: Pipe, number: Number) -> None:
        """Let ``target`` wait here for what ``source`` has done."""
        self.set(source, target, number)
        self.wait(source, target, number)
