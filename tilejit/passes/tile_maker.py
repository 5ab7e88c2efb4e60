"""Makes ops of tile IR: constants, addresses of whole tiles, masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tilejit.diagnostics import Location
from tilejit.ir.core import Block, Op, Value
from tilejit.ir.opdef import Attribute, OpDef
from tilejit.ir.types import INT1, INT32, DType, Element, TileType
from tilejit.ops import ADDPTR, ARANGE, BROADCAST, CONSTANT, IF, MUL, RESHAPE, SPLAT, YIELD

Operand = Value | Sequence[Value] | None


class TileMaker:
    """Makes ops before an anchor, or at the end of a block."""

    def __init__(self, block: Block, before: Op | None, location: Location | None) -> None:
        self._block = block
        self._before = before
        self._location = location

    def put(
        self,
        definition: OpDef,
        attributes: Mapping[str, Attribute] | None = None,
        **operands: Value | Sequence[Value] | None,
    ) -> Op:
        return self._insert(Op(definition, operands, attributes, location=self._location))

    def _insert(self, op: Op) -> Op:
        if self._before is None:
            return self._block.append(op)
        return self._block.insert_before(self._before, op)

    def make(
        self,
        definition: OpDef,
        attributes: Mapping[str, Attribute] | None = None,
        **operands: Value | Sequence[Value] | None,
    ) -> Value:
        return self.put(definition, attributes, **operands).result

    def number(self, number: int, element: Element = INT32) -> Value:
        return self.make(CONSTANT, {"value": number, "dtype": element})

    def addresses(self, start: Value, shape: Sequence[int]) -> Value:
        """The addresses of a tile that lies row by row from ``start`` on."""
        pointer, stride = self.make(SPLAT, {"shape": tuple(shape)}, x=start), 1
        for dim in reversed(range(len(shape))):
            lanes = self.make(ARANGE, {"start": 0, "end": shape[dim]})
            if stride != 1:
                step = self.make(SPLAT, {"shape": (shape[dim],)}, x=self.number(stride))
                lanes = self.make(MUL, lhs=lanes, rhs=step)
            pointer = self.make(ADDPTR, pointer=pointer, offset=self.along(lanes, dim, shape))
            stride *= shape[dim]
        return pointer

    def along(self, lanes: Value, dim: int, shape: Sequence[int]) -> Value:
        """One-dimensional lanes repeated along all dimensions but ``dim``."""
        sizes = tuple(size if d == dim else 1 for d, size in enumerate(shape))
        if lanes.type.shape != sizes:
            lanes = self.make(RESHAPE, {"shape": sizes}, x=lanes)
        return lanes if sizes == tuple(shape) else self.make(BROADCAST, {"shape": tuple(shape)}, x=lanes)

    def when(self, condition: Value, definition: OpDef, **operands: Value) -> Op:
        """Make an op without results run where ``condition`` holds; returns that op."""
        then, other = Block(), Block()
        op = then.append(Op(definition, operands, location=self._location))
        for block in (then, other):
            block.append(Op(YIELD, location=self._location))
        self._insert(Op(IF, {"condition": condition}, regions=(then, other), location=self._location))
        return op

    def zeros(self, type: TileType) -> Value:
        """A tile of zeros, or a scalar one."""
        element = type.element
        assert isinstance(element, DType)
        zero: int | float | bool = 0.0 if element.is_floating() else False if element == INT1 else 0
        number = self.make(CONSTANT, {"value": zero, "dtype": element})
        return number if type.is_scalar else self.make(SPLAT, {"shape": type.shape}, x=number)
