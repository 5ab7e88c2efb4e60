"""Makes the ops of a machine function: scalar arithmetic, loops, buffers.

An ``Index`` is an integer that is a Python number where it is known when compiling, else a scalar of the
machine function; arithmetic on known ones emits nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from tilejit.diagnostics import Location
from tilejit.ir.core import Block, Op, Value
from tilejit.ir.opdef import Attribute, OpDef
from tilejit.ir.types import INT32, INT64, DType, Element, TileType
from tilejit.ops import (
    ADD,
    ADDPTR,
    CAST,
    CMP,
    CONSTANT,
    FOR,
    IDIV,
    IF,
    MAX,
    MIN,
    MUL,
    SELECT,
    SUB,
    YIELD,
    CmpPredicate,
)
from tilejit.ops.machine.buffer import BUFFER, REINTERPRET
from tilejit.ops.machine.rules import REPEAT_BYTES
from tilejit.target.spaces import Space

Index = int | Value
Operand = Value | int | None


class MachineBuilder:
    """Appends ops to ``block`` at ``location``; buffers stand at the top of the function."""

    def __init__(self, top: Block) -> None:
        self.top = top
        self.block = top
        self.location: Location | None = None
        self._open: list[Block] = [top]
        self._buffers = 0

    def op(
        self,
        definition: OpDef,
        attributes: Mapping[str, Attribute] | None = None,
        **operands: Operand,
    ) -> Op:
        """Append an op; integers given for operands become int32 constants."""
        return self.make(definition, operands, attributes)

    def make(
        self,
        definition: OpDef,
        operands: Mapping[str, Operand],
        attributes: Mapping[str, Attribute] | None = None,
    ) -> Op:
        """As ``op``, with the operands in a mapping."""
        values = {
            name: self.constant(operand) if isinstance(operand, int) else operand
            for name, operand in operands.items()
        }
        return self.block.append(Op(definition, values, attributes, location=self.location))

    def constant(self, number: int | float | bool, element: Element = INT32) -> Value:
        """A scalar known now."""
        return self.op(CONSTANT, {"value": number, "dtype": element}).result

    def value(self, index: Index, element: DType = INT32) -> Value:
        """``index`` as a scalar of the machine function, of the given type."""
        if isinstance(index, int):
            return self.constant(index, element)
        return index if index.type.element == element else self.op(CAST, {"dtype": element}, x=index).result

    def add(self, lhs: Index, rhs: Index) -> Index:
        if isinstance(lhs, int) and isinstance(rhs, int):
            return lhs + rhs
        return lhs if rhs == 0 else rhs if lhs == 0 else self._arithmetic(ADD, lhs, rhs)

    def sub(self, lhs: Index, rhs: Index) -> Index:
        if isinstance(lhs, int) and isinstance(rhs, int):
            return lhs - rhs
        return lhs if rhs == 0 else self._arithmetic(SUB, lhs, rhs)

    def mul(self, lhs: Index, rhs: Index) -> Index:
        if isinstance(lhs, int) and isinstance(rhs, int):
            return lhs * rhs
        if lhs == 0 or rhs == 0:
            return 0
        return lhs if rhs == 1 else rhs if lhs == 1 else self._arithmetic(MUL, lhs, rhs)

    def minimum(self, lhs: Index, rhs: Index) -> Index:
        if isinstance(lhs, int) and isinstance(rhs, int):
            return min(lhs, rhs)
        return self._arithmetic(MIN, lhs, rhs)

    def maximum(self, lhs: Index, rhs: Index) -> Index:
        if isinstance(lhs, int) and isinstance(rhs, int):
            return max(lhs, rhs)
        return self._arithmetic(MAX, lhs, rhs)

    def divide(self, lhs: Index, divisor: int) -> Index:
        """``lhs`` / ``divisor`` rounded to zero; neither is negative."""
        if isinstance(lhs, int):
            return lhs // divisor
        return lhs if divisor == 1 else self._arithmetic(IDIV, lhs, divisor)

    def ceil_divide(self, lhs: Index, divisor: int) -> Index:
        """``lhs`` / ``divisor`` rounded up; neither is negative."""
        return lhs if divisor == 1 else self.divide(self.add(lhs, divisor - 1), divisor)

    def round_up(self, number: Index, unit: int) -> Index:
        """The next multiple of ``unit``."""
        return number if unit == 1 else self.mul(self.ceil_divide(number, unit), unit)

    def compare(self, predicate: CmpPredicate, lhs: Index, rhs: Index) -> Value:
        left, right = self._alike(lhs, rhs)
        return self.op(CMP, {"predicate": predicate}, lhs=left, rhs=right).result

    def select(self, condition: Value, chosen: Index, other: Index) -> Value:
        left, right = self._alike(chosen, other)
        return self.op(SELECT, condition=condition, true_value=left, false_value=right).result

    def move(self, pointer: Value, elements: Index) -> Value:
        """``pointer`` moved by so many elements."""
        if elements == 0:
            return pointer
        return self.op(ADDPTR, pointer=pointer, offset=elements).result

    def reinterpret(self, pointer: Value, element: DType) -> Value:
        """The same address, seen as elements of another type."""
        return self.op(REINTERPRET, {"element": element}, pointer=pointer).result

    def buffer(self, element: DType, elements: int, name: str = "", space: Space = Space.UB) -> Value:
        """A new buffer with one slot; in UB padded to whole repeats of the vector unit."""
        unit = REPEAT_BYTES // element.itemsize if space is Space.UB else 1
        attributes: dict[str, Attribute] = {
            "space": space,
            "element": element,
            "elements": -(-elements // unit) * unit,
        }
        op = Op(BUFFER, attributes=attributes, location=self.location, result_names=(name,))
        op.parent = self.top
        self.top.ops.insert(self._buffers, op)
        self._buffers += 1
        return op.result

    def loop(self, upper: Index, body: Callable[[Value], None]) -> None:
        """Run ``body`` for each int32 number below ``upper``."""
        block = Block([TileType(INT32)], ["i"])
        bounds = [self.value(number) for number in (0, upper, 1)]
        with self.inside(block):
            body(block.arguments[0])
            self.op(YIELD)
        operands = dict(zip(("lower", "upper", "step"), bounds, strict=True))
        self.block.append(Op(FOR, operands, regions=(block,), location=self.location))

    def when(
        self, condition: Value, body: Callable[[], None], otherwise: Callable[[], None] | None = None
    ) -> None:
        """Run ``body`` where ``condition`` holds, ``otherwise`` where it does not."""
        then, other = Block(), Block()
        with self.inside(then):
            body()
            self.op(YIELD)
        with self.inside(other):
            if otherwise is not None:
                otherwise()
            self.op(YIELD)
        self.block.append(Op(IF, {"condition": condition}, regions=(then, other), location=self.location))

    @contextmanager
    def inside(self, block: Block) -> Iterator[None]:
        """Append to ``block`` for a while."""
        outer, self.block = self.block, block
        self._open.append(block)
        try:
            yield
        finally:
            self._open.pop()
            self.block = outer

    def is_open(self, block: Block) -> bool:
        """Whether what stands in ``block`` so far is seen, and surely run, from here."""
        # Inside an outer block once more, what the blocks in between hold comes later.
        return block in self._open[: self._open.index(self._open[-1]) + 1]

    def _arithmetic(self, definition: OpDef, lhs: Index, rhs: Index) -> Value:
        left, right = self._alike(lhs, rhs)
        return self.op(definition, lhs=left, rhs=right).result

    def _alike(self, lhs: Index, rhs: Index) -> tuple[Value, Value]:
        """Both as values of one type, the wider of the two."""
        elements = [index.type.element for index in (lhs, rhs) if isinstance(index, Value)]
        wide = INT64 if INT64 in elements else INT32
        return self.value(lhs, wide), self.value(rhs, wide)
