"""What the parts of the lowering to vector instructions share: where each value is, and how to refuse.

A ``Lowering`` knows the UB tile or the machine scalar of every tile-level value seen so far. ``source`` says
how an instruction reads a value that takes part in an operation on a larger tile: views are not computed, a
stride of 0 repeats what they repeat.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NoReturn

import numpy as np

from tilejit.diagnostics import InternalError
from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.types import BF16, FP16, FP32, INT1, INT8, INT16, INT32, DType, PointerType, TileType
from tilejit.ops import AND, ARANGE, BITCAST, CONSTANT, LOAD, NEG, RESHAPE, STORE, SUB, CmpPredicate
from tilejit.ops.machine.lanes import MAX_REPEATS
from tilejit.ops.machine.rules import BLOCK_BYTES, REPEAT_BYTES
from tilejit.ops.machine.sync import SET_ATOMIC, SET_SATURATION, StoreAtomic
from tilejit.ops.machine.vector import VADD, VADDS, VMUL, VMULS, VSUB
from tilejit.ops.machine.vector_move import VBRCB, VDUP
from tilejit.ops.shape import constant_array, reshape_dims
from tilejit.passes.access import AccessAnalysis
from tilejit.passes.algebra import constant_value
from tilejit.passes.machine_builder import Index, MachineBuilder, Operand
from tilejit.passes.manager import PassContext
from tilejit.passes.tile_homes import Bits, TileHomes, TileLayout, UbTile, is_view, layout_of
from tilejit.passes.unsupported import refusal
from tilejit.passes.vector_form import Source, copy_tile, pitch_blocks
from tilejit.target.spaces import Pipe

_BRCB_ELEMENTS = 8
"""Elements that one repeat of vbrcb turns into blocks."""
_SUMS_AND_PRODUCTS = frozenset(op.name for op in (VADD, VSUB, VMUL, VADDS, VMULS))


class Lowering:
    """The state of one function's lowering."""

    def __init__(
        self, function: Function, top: Block, context: PassContext, *, overwrites_loads: bool = False
    ) -> None:
        """``overwrites_loads``: results may take the place of what was loaded, if nothing else reads it."""
        self.overwrites_loads = overwrites_loads
        self.function = function
        self.context = context
        self.analysis = AccessAnalysis(function)
        self.homes = TileHomes(function)
        self.builder = MachineBuilder(top)
        self.scalars: dict[Value, Value] = {}
        self.tiles: dict[Value, UbTile] = {}
        self.bits: dict[Value, Bits] = {}
        self.bytes: dict[Value, UbTile] = {}  # of bools that come from memory
        self.carried: set[Value] = set()  # pointers of tiles that a loop carries
        self._kept_bits: dict[Value, tuple[Block, Bits]] = {}
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
        if value in self.tiles or self.homes.is_ub_scalar(value):
            return self.builder.op(LOAD, pointer=self.materialise(value).pointer).result
        raise InternalError(f"%{value.name} has not been lowered", op.location if op is not None else None)

    def lane(self, value: Value, indices: Sequence[Index]) -> Value:
        """One element of a tile that is in UB, read on the scalar unit."""
        tile = self.bytes.get(value) or self.materialise(value)
        sizes = [size for size in value.type.shape if size != 1]
        numbers = [index for index, size in zip(indices, value.type.shape, strict=True) if size != 1]
        offset: Index = numbers[-1] if numbers else 0
        stride = tile.layout.pitch
        for index, size in zip(reversed(numbers[:-1]), reversed(sizes[:-1]), strict=True):
            offset = self.builder.add(offset, self.builder.mul(index, stride))
            stride *= size
        element = self.builder.op(LOAD, pointer=self.builder.move(tile.pointer, offset)).result
        is_bool = value.type.element == INT1
        return self.builder.compare(CmpPredicate.NE, self.builder.value(element), 0) if is_bool else element

    def is_ub(self, value: Value) -> bool:
        """Whether a value is a tile, or a scalar that lives in UB."""
        return not value.type.is_scalar or self.homes.is_ub_scalar(value)

    # Tiles

    def new_tile(self, type: TileType, name: str = "", *, is_fixed: bool = False) -> UbTile:
        """A buffer of its own for a tile."""
        element, layout = type.element, layout_of(type)
        assert isinstance(element, DType)
        pointer = self.builder.buffer(element, _room(layout, element), name)
        return UbTile(pointer, layout, element, is_fixed or self.builder.block is self.builder.top)

    def new_like(self, tile: UbTile, element: DType | None = None) -> UbTile:
        """A buffer as ``tile`` has one, for a value on the way to a result."""
        element = tile.element if element is None else element
        pointer = self.builder.buffer(element, _room(tile.layout, element))
        return UbTile(pointer, tile.layout, element)

    def destination(self, op: Op) -> UbTile:
        """Where the result of an elementwise op goes: over an operand that ends here, or to a new buffer."""
        type, name = op.result.type, op.result.name
        layout, found = layout_of(type), None
        for operand in op.operands:
            base = operand
            while base not in self.tiles and base.defining_op is not None and is_view(base.defining_op):
                base = base.defining_op.operands[0]
            tile = self.tiles.get(base)
            if tile is None or tile.is_fixed or tile.element != type.element or tile.layout != layout:
                continue
            if self.homes.is_last_use(base, op) and (found is None or tile.pointer in self.carried):
                found = tile
        return self.new_tile(type, name) if found is None else found

    def kept(self, key: Hashable) -> UbTile | None:
        """A derived tile that was made before, where it can be seen from here."""
        found = self._kept.get(key)
        return found[1] if found is not None and self.builder.is_open(found[0]) else None

    def keep(self, key: Hashable, tile: UbTile) -> UbTile:
        """Remember a derived tile."""
        self._kept[key] = (self.builder.block, tile)
        return tile

    def kept_bits(self, value: Value) -> Bits | None:
        """The bits of a comparison that were made before, where they can be seen from here."""
        found = self._kept_bits.get(value)
        return found[1] if found is not None and self.builder.is_open(found[0]) else None

    def keep_bits(self, value: Value, bits: Bits) -> Bits:
        """Remember the bits of a comparison."""
        self._kept_bits[value] = (self.builder.block, bits)
        return bits

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

    # Operands of instructions

    def source(self, value: Value, type: TileType) -> Source | Value:
        """How an operation on a tile of ``type`` reads ``value``: a machine scalar where it is one."""
        base, follows = self.base_of(value)
        if base.type.is_scalar and not self.is_ub(base):
            return self.scalar(base)
        tile = self.materialise(base)
        if all(follows):
            return Source(tile.pointer, tile.element, pitch_blocks(tile.layout, tile.element), True)
        if not any(follows) and tile.element.itemsize > 1:
            return self._blocks_of(base, 1)
        if follows and follows[-1] and not any(follows[:-1]):
            return Source(tile.pointer, tile.element, 0, True)
        if len(follows) == 2 and follows[0] and tile.element.itemsize > 1:
            return self._blocks_of(base, tile.layout.columns)
        raise InternalError(f"no instruction reads a tile of {base.type} as {type}", self.builder.location)

    def as_source(self, operand: Source | Value) -> Source:
        """An operand for an instruction that takes no scalar: a block of the scalar, read again and again."""
        if isinstance(operand, Source):
            return operand
        element, number = operand.type.element, constant_value(operand)
        assert isinstance(element, DType)
        key = ("block", element, operand if number is None else repr(number))
        found = self.kept(key)
        if found is None:
            owner = operand.owner
            block = owner if isinstance(owner, Block) else owner.parent
            with self.builder.inside(self.builder.top if number is not None or block is None else block):
                scalar = operand if number is None else self.builder.constant(number, element)
                lanes = BLOCK_BYTES // element.itemsize
                tile = self.new_tile(TileType(element, (lanes,)))
                self.fill(tile.pointer, element, scalar, lanes)
                found = self.keep(key, tile)
        return Source(found.pointer, element, 0, False)

    def _blocks_of(self, base: Value, count: int) -> Source:
        """A block for each of the ``count`` elements of a tile, filled with it."""
        tile = self.kept(("blocks", base))
        if tile is None:
            tile = self.keep(("blocks", base), self.blocks(self.materialise(base), count))
        return Source(tile.pointer, tile.element, int(count > 1), False)

    def blocks(self, dense: UbTile, count: int) -> UbTile:
        """A block for each of the first ``count`` elements of a row, filled with it."""
        lanes = BLOCK_BYTES // dense.element.itemsize
        repeats = -(-count // _BRCB_ELEMENTS)
        tile = self.new_tile(TileType(dense.element, (repeats * _BRCB_ELEMENTS * lanes,)))
        self.fill_blocks(tile.pointer, dense.pointer, dense.element, count)
        return tile

    def fill_blocks(self, target: Value, source: Value, element: DType, count: int) -> None:
        """Fill a block with each of ``count`` elements; whole groups of eight are read and written."""
        lanes, repeats = BLOCK_BYTES // element.itemsize, -(-count // _BRCB_ELEMENTS)
        for first in range(0, repeats, MAX_REPEATS):
            dst = self.builder.move(target, first * _BRCB_ELEMENTS * lanes)
            src = self.builder.move(source, first * _BRCB_ELEMENTS)
            self.builder.op(VBRCB, dst=dst, src=src, repeats=min(MAX_REPEATS, repeats - first))

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

    def fill(self, pointer: Value, element: DType, number: int | float | Value, count: Index) -> None:
        """Write a number to ``count`` elements from a block's start on; bytes in whole blocks."""
        builder = self.builder
        if element.itemsize == 1:
            number = self._two_bytes(number, element)
            pointer, element = builder.reinterpret(pointer, INT16), INT16
            count = builder.divide(count, 2)
        scalar = number if isinstance(number, Value) else builder.constant(number, element)
        if element.itemsize > FP32.itemsize:
            self._fill_pairs(pointer, scalar, count)
        else:
            builder.op(VDUP, dst=pointer, scalar=scalar, count=count)

    def _fill_pairs(self, pointer: Value, scalar: Value, count: Index) -> None:
        """Write a number of 64 bits: the unit repeats 32 bits, or a block that the scalar unit writes."""
        builder, element, number = self.builder, scalar.type.element, constant_value(scalar)
        assert isinstance(element, DType)
        lanes = BLOCK_BYTES // element.itemsize
        if isinstance(count, int) and count <= lanes:
            for lane in range(count):
                builder.op(STORE, pointer=builder.move(pointer, lane), value=scalar)
            return
        halves = constant_array(element, number).reshape(1).view(np.int32) if number is not None else (0, 1)
        if halves[0] == halves[1]:
            words = builder.reinterpret(pointer, INT32)
            builder.op(VDUP, dst=words, scalar=int(halves[0]), count=builder.mul(count, 2))
            return
        block, zero = builder.reinterpret(self.as_source(scalar).pointer, INT32), builder.constant(0)
        in_repeat = REPEAT_BYTES // element.itemsize
        repeats = builder.divide(count, in_repeat)

        def write(start: Index, lanes_of_repeat: Index, some: Index) -> None:
            dst = builder.reinterpret(builder.move(pointer, start), INT32)
            words = builder.mul(lanes_of_repeat, 2)
            operands: dict[str, Operand] = {"dst": dst, "src": block, "scalar": zero, "count": words}
            builder.make(VADDS, {**operands, "repeats": some}, {"strides": (1, 0, 8, 0)})

        def write_most(index: Index) -> None:
            first = builder.mul(index, MAX_REPEATS)
            some = builder.minimum(builder.sub(repeats, first), MAX_REPEATS)
            write(builder.mul(first, in_repeat), in_repeat, some)

        builder.loop(builder.ceil_divide(repeats, MAX_REPEATS), write_most)
        behind = builder.mul(repeats, in_repeat)
        rest = builder.sub(count, behind)
        if rest != 0:  # an instruction of no repeats has lanes all the same
            write(behind, builder.maximum(rest, 1), builder.minimum(rest, 1))

    def _two_bytes(self, number: int | float | Value, element: DType) -> int | Value:
        """The byte of a number twice, as int16."""
        builder = self.builder
        if not isinstance(number, Value):
            byte = int(constant_array(element, number).view(np.uint8))
            pair = byte * 0x101
            return pair - (1 << 16) if pair >> 15 else pair
        if element.is_floating():
            number = builder.op(BITCAST, {"dtype": INT8}, x=number).result
        byte_value = builder.op(AND, lhs=builder.value(number, INT32), rhs=0xFF).result
        return builder.value(builder.mul(byte_value, 0x101), INT16)

    def materialise(self, value: Value) -> UbTile:
        """The tile of a value, made now where only views of it are there."""
        found = self.tiles.get(value) or self.kept(value)
        if found is not None:
            return found
        op = value.defining_op
        if op is not None and op.name == ARANGE.name:
            start = op.attributes["start"]
            assert isinstance(start, int)
            return self.table(INT32, start, value.type.size)
        if op is not None and op.name == RESHAPE.name and is_view(op):
            tile = self.materialise(op.operands[0])
            return UbTile(tile.pointer, layout_of(value.type), tile.element, tile.is_fixed)
        base, follows = self.base_of(value)
        if base is value and not value.type.is_scalar:
            raise InternalError(f"%{value.name} is not in UB", op.location if op is not None else None)
        if base is not value and all(follows) and not base.type.is_scalar:
            tile = self.materialise(base)
            return UbTile(tile.pointer, layout_of(value.type), tile.element, tile.is_fixed)
        if value.type.is_scalar and not self.is_ub(value):
            element = value.type.element
            assert isinstance(element, DType)
            tile = self.new_tile(value.type, value.name)
            self.fill(tile.pointer, element, self.scalar(value), 1 if element.itemsize > 1 else 2)
            return self.keep(value, tile)
        tile = self.new_tile(value.type, value.name)
        self.write(value, tile)
        return self.keep(value, tile)

    def write(self, value: Value, target: UbTile) -> None:
        """Copy a value, or repeat what is behind its views, into a tile."""
        source = self.source(value, value.type)
        if isinstance(source, Value):
            self.fill(target.pointer, target.element, source, target.layout.elements)
            return
        copy_tile(self.builder, target, source)

    def table(self, element: DType, start: int, size: int) -> UbTile:
        """The numbers from ``start`` on, made once before the loop over programs."""
        key = ("table", element, start, size)
        found = self.kept(key)
        if found is not None:
            return found
        builder, first = self.builder, BLOCK_BYTES // element.itemsize
        with builder.inside(builder.top):
            tile = self.new_tile(TileType(element, (size,)), is_fixed=True)
            number: type[int | float] = float if element.is_floating() else int
            for lane in range(first):
                place = builder.move(tile.pointer, lane)
                builder.op(STORE, pointer=place, value=builder.constant(number(start + lane), element))
            have = first
            while have < size:
                some = min(have, tile.layout.elements - have)
                step = builder.constant(number(have), element)
                place = builder.move(tile.pointer, have)
                builder.op(VADDS, dst=place, src=tile.pointer, scalar=step, count=some)
                have += some
            return self.keep(key, tile)

    def scaled_table(self, element: DType, size: int, step: int) -> UbTile:
        """The first ``size`` multiples of ``step``, made once before the loop over programs."""
        table, key = self.table(element, 0, size), ("scaled", element, size, step)
        found = self.kept(key) if step != 1 else table
        if found is not None:
            return found
        number = float(step) if element.is_floating() else step
        with self.builder.inside(self.builder.top):
            tile = self.new_tile(TileType(element, (size,)), is_fixed=True)
            factor = self.builder.constant(number, element)
            operands = {"dst": tile.pointer, "src": table.pointer, "scalar": factor}
            self.builder.make(VMULS, {**operands, "count": tile.layout.elements})
            return self.keep(key, tile)

    # Refusals

    def refuse(self, message: str, op: Op | None = None, hint: str | None = None) -> NoReturn:
        """Say that the backend cannot do what the kernel asks for. Raises: CompileError."""
        location = op.location if op is not None else self.builder.location
        raise refusal(message, location, hint)


def _room(layout: TileLayout, element: DType) -> int:
    """Elements of a buffer: comparisons read whole repeats from every row."""
    lanes = REPEAT_BYTES // element.itemsize
    return (layout.rows - 1) * layout.pitch + -(-layout.pitch // lanes) * lanes


def _view_dims(op: Op) -> list[int | None] | None:
    """For each dim of a view, the dim of its operand that it follows; None where it regroups elements."""
    source, target = op.operands[0].type.shape, op.result.type.shape
    if not source:
        return [None] * len(target)
    if op.name == RESHAPE.name:
        return reshape_dims(source, target)
    return [d if size == target[d] and size != 1 else None for d, size in enumerate(source)]


def turn_off_saturation(machine: Function) -> None:
    """Have what is too large be inf in 16-bit floats and wrap in integers, as it does in a kernel.

    A launch finds the register that decides over it as the last one left it.
    """
    if any(_may_saturate(op) for op in machine.walk()):
        first = machine.body.ops[0]
        machine.body.insert_before(first, Op(SET_SATURATION, {}, {"on": False}, (), machine.location))


def _may_saturate(op: Op) -> bool:
    """Whether an instruction computes 16-bit floats or integers, or has stores to GM do so."""
    facts = op.definition.machine
    if op.name == SET_ATOMIC.name:
        return op.attributes["kind"] is not StoreAtomic.NONE and op.attributes["element"] != FP32
    if facts is None or facts.pipe(op) not in (Pipe.V, Pipe.FIX):
        return False
    targets = [value.type.element for name in facts.writes for value in op.operand_list(name)]
    saturating = (FP16, BF16, INT16, INT32) if op.name in _SUMS_AND_PRODUCTS else (FP16, BF16)
    return any(isinstance(t, PointerType) and t.element in saturating for t in targets)
