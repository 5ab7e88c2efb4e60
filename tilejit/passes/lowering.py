"""What the parts of the lowering to vector instructions share: where each value is, and how to refuse.

A ``Lowering`` knows the UB tile or the machine scalar of every tile-level value seen so far. ``source`` says
how an instruction reads a value that takes part in an operation on a larger tile: views are not computed, a
stride of 0 repeats what they repeat.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import NoReturn

from tilejit.diagnostics import CompileError, InternalError
from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.types import DType, TileType
from tilejit.ops import CONSTANT, LOAD, NEG, RESHAPE, SUB
from tilejit.ops.machine.rules import BLOCK_BYTES
from tilejit.ops.shape import reshape_dims
from tilejit.passes.access import AccessAnalysis
from tilejit.passes.algebra import constant_value
from tilejit.passes.machine_builder import Index, MachineBuilder
from tilejit.passes.manager import PassContext
from tilejit.passes.tile_homes import TileHomes, TileLayout, UbTile, is_view, layout_of


@dataclass(frozen=True)
class Source:
    """How an instruction on a tile reads one of its operands.

    ``row_blocks``: blocks from row to row, 0 where all rows read the same. ``follows_columns``: else each row
    reads one block again and again, whose elements are all equal.
    """

    pointer: Value
    element: DType
    row_blocks: int
    follows_columns: bool


class Lowering:
    """The state of one function's lowering."""

    def __init__(self, function: Function, top: Block, context: PassContext) -> None:
        self.function = function
        self.context = context
        self.analysis = AccessAnalysis(function)
        self.homes = TileHomes(function)
        self.builder = MachineBuilder(top)
        self.scalars: dict[Value, Value] = {}
        self.tiles: dict[Value, UbTile] = {}
        self._kept: dict[Hashable, tuple[Block, UbTile]] = {}

    # Scalars

    def scalar(self, value: Value) -> Value:
        """The machine scalar of a scalar value; one that lives in UB is read back."""
        found = self.scalars.get(value)
        if found is not None:
            return found
        op = value.defining_op
        if op is not None and op.name == CONSTANT.name:
            return self.builder.op(CONSTANT, op.attributes).result
        if value in self.tiles:
            return self.builder.op(LOAD, pointer=self.tiles[value].pointer).result
        raise InternalError(f"%{value.name} has not been lowered", op.location if op is not None else None)

    def is_ub(self, value: Value) -> bool:
        """Whether a value is a tile, or a scalar that lives in UB."""
        return not value.type.is_scalar or self.homes.is_ub_scalar(value)

    # Tiles

    def new_tile(self, type: TileType, name: str = "", *, is_fixed: bool = False) -> UbTile:
        """A buffer of its own for a tile."""
        element, layout = type.element, layout_of(type)
        assert isinstance(element, DType)
        pointer = self.builder.buffer(element, layout.elements, name)
        return UbTile(pointer, layout, element, is_fixed or self.builder.block is self.builder.top)

    def new_like(self, tile: UbTile, element: DType | None = None) -> UbTile:
        """A buffer as ``tile`` has one, for a value on the way to a result."""
        element = tile.element if element is None else element
        pointer = self.builder.buffer(element, tile.layout.elements)
        return UbTile(pointer, tile.layout, element)

    def destination(self, op: Op) -> UbTile:
        """Where the result of an elementwise op goes: over an operand that ends here, or to a new buffer."""
        type, name = op.result.type, op.result.name
        layout = layout_of(type)
        for operand in op.operands:
            base = operand
            while base not in self.tiles and base.defining_op is not None and is_view(base.defining_op):
                base = base.defining_op.operands[0]
            tile = self.tiles.get(base)
            if tile is None or tile.is_fixed or tile.element != type.element or tile.layout != layout:
                continue
            if self.homes.is_last_use(base, op):
                return tile
        return self.new_tile(type, name)

    def tile(self, value: Value) -> UbTile:
        """The tile of a value that is in UB as a whole."""
        found = self.tiles.get(value)
        if found is not None:
            return found
        op = value.defining_op
        if op is not None and op.name == RESHAPE.name and is_view(op):
            base = self.tile(op.operands[0])
            return UbTile(base.pointer, layout_of(value.type), base.element, base.is_fixed)
        raise InternalError(f"%{value.name} is not in UB", op.location if op is not None else None)

    def kept(self, key: Hashable) -> UbTile | None:
        """A derived tile that was made before, where it can be seen from here."""
        found = self._kept.get(key)
        return found[1] if found is not None and self.builder.is_open(found[0]) else None

    def keep(self, key: Hashable, tile: UbTile) -> UbTile:
        """Remember a derived tile."""
        self._kept[key] = (self.builder.block, tile)
        return tile

    def base_of(self, value: Value) -> tuple[Value, tuple[bool, ...]]:
        """The value behind the views of ``value``, and which of its dims longer than 1 the base follows."""
        dims: list[int | None] = list(range(value.type.rank))
        base = value
        while base not in self.tiles and base.defining_op is not None and is_view(base.defining_op):
            op = base.defining_op
            mapping = _view_dims(op)
            if mapping is None:
                break
            dims = [None if d is None else mapping[d] for d in dims]
            base = op.operands[0]
        sizes = value.type.shape
        return base, tuple(d is not None for d, size in zip(dims, sizes, strict=True) if size != 1)

    def source(self, value: Value, type: TileType) -> Source | Value:
        """How an operation on a tile of ``type`` reads ``value``: a machine scalar where it is one."""
        base, follows = self.base_of(value)
        if base.type.is_scalar and not self.is_ub(base):
            return self.scalar(base)
        if all(follows):
            tile = self.tile(value if value in self.tiles else base)
            return Source(tile.pointer, tile.element, pitch_blocks(tile.layout, tile.element), True)
        self.refuse(f"a broadcast of {base.type} to {type} is not supported")

    def as_source(self, operand: Source | Value) -> Source:
        """An operand for an instruction that takes no scalar."""
        if isinstance(operand, Source):
            return operand
        self.refuse("a scalar operand is not supported")

    def negated(self, scalar: Value) -> Value:
        """A machine scalar with its sign flipped."""
        element = scalar.type.element
        assert isinstance(element, DType)
        number = constant_value(scalar)
        if number is not None:
            return self.builder.constant(-number, element)
        if element.is_floating():
            return self.builder.op(NEG, x=scalar).result
        return self.builder.op(SUB, lhs=self.builder.constant(0, element), rhs=scalar).result

    def fill(self, pointer: Value, element: DType, number: int | float, count: Index) -> None:
        """Write a number to ``count`` elements from a block's start on."""
        self.refuse("masked-out lanes that are used are not supported")

    def materialise(self, value: Value) -> UbTile:
        """The tile of a value, made now where only views of it are there."""
        return self.tile(value)

    # Refusals

    def refuse(self, message: str, op: Op | None = None, hint: str | None = None) -> NoReturn:
        """Say that the backend cannot do what the kernel asks for. Raises: CompileError."""
        location = op.location if op is not None else self.builder.location
        raise CompileError(f"Ascend: {message}", location, hint)


def _view_dims(op: Op) -> list[int | None] | None:
    """For each dim of a view, the dim of its operand that it follows; None where it regroups elements."""
    source, target = op.operands[0].type.shape, op.result.type.shape
    if not source:
        return [None] * len(target)
    if op.name == RESHAPE.name:
        return reshape_dims(source, target)
    return [d if size == target[d] and size != 1 else None for d, size in enumerate(source)]


def pitch_blocks(layout: TileLayout, element: DType) -> int:
    """Blocks from row to row."""
    return layout.pitch * element.itemsize // BLOCK_BYTES
