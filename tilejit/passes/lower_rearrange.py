"""Tiles whose elements are those of another tile in a new order: what neither views nor copies of rows do.

General reshapes, transpositions, joins, splits and repetitions gather each element by its place in the
source. The places follow from the result's index by divisions with known numbers, so that a few instructions
make the table of all of them, once before the loop over programs, in fp32: tiles in UB have far fewer than
2**22 elements, below which ``floor((i + 0.5) / n)`` is exact.

The unit gathers 16 and 32 bits: bytes are widened, 64 bits are two neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence

from tilejit.ir.core import Op, Value
from tilejit.ir.types import FP32, INT1, INT16, INT32, UINT32, DType, TileType, product
from tilejit.ops.machine.conversions import Round
from tilejit.ops.machine.vector import VADD, VADDS, VMINS, VMULS
from tilejit.ops.machine.vector_cast import VCAST
from tilejit.ops.machine.vector_move import VGATHER
from tilejit.passes.lower_bytes import bytes_to_words, lowest_bytes
from tilejit.passes.lowering import Lowering
from tilejit.passes.machine_builder import MachineBuilder, Operand
from tilejit.passes.tile_homes import TileLayout, UbTile, layout_of
from tilejit.passes.vector_form import copy_tile, whole

Digit = tuple[int, int]
"""A dimension of an index: its size, and how many elements of the source lie from one step to the next."""


def lower_reshape(lowering: Lowering, op: Op) -> UbTile:
    """Regroup elements in row-major order."""
    x = op.operands[0]
    digits = list(zip(x.type.shape, _strides(x.type), strict=True))
    return _rearranged(lowering, x, op.result, digits)


def lower_permutation(lowering: Lowering, op: Op) -> UbTile:
    """Reorder dimensions in any way."""
    x, order = op.operands[0], op.attributes["order"]
    assert isinstance(order, tuple)
    strides = _strides(x.type)
    return _rearranged(lowering, x, op.result, [(x.type.shape[d], strides[d]) for d in order])


def is_written_out(lowering: Lowering, value: Value) -> bool:
    """Whether no instruction can read a view as it stands: see ``Lowering.source``."""
    base, follows = lowering.base_of(value)
    element = value.type.element
    if (
        not isinstance(element, DType)
        or element == INT1
        or (base.type.is_scalar and not lowering.is_ub(base))
    ):
        return False
    is_row = all(follows) or (follows[-1] and not any(follows[:-1]))
    is_column = not any(follows) or (len(follows) == 2 and follows[0])
    return not is_row and not (is_column and element.itemsize in (INT16.itemsize, INT32.itemsize))


def lower_repetition(lowering: Lowering, value: Value) -> UbTile:
    """Write out a tile that repeats another, along any of its dimensions."""
    base, follows = lowering.base_of(value)
    strides = iter(
        stride for stride, size in zip(_strides(base.type), base.type.shape, strict=True) if size != 1
    )
    sizes = [size for size in value.type.shape if size != 1]
    digits = [(size, next(strides) if follow else 0) for size, follow in zip(sizes, follows, strict=True)]
    return _rearranged(lowering, base, value, digits)


def lower_join(lowering: Lowering, op: Op) -> UbTile:
    """Put two tiles side by side in a new last dimension."""
    parts = [_words(lowering, lowering.materialise(value)) for value in op.operands]
    layout, word = parts[0].layout, parts[0].element
    pointer = lowering.builder.buffer(word, 2 * layout.elements)
    for number, part in enumerate(parts):
        place = lowering.builder.move(pointer, number * layout.elements)
        copy_tile(lowering.builder, UbTile(place, layout, word), whole(part))
    both = UbTile(pointer, TileLayout(2 * layout.rows, layout.columns, layout.pitch), word)
    type = op.operands[0].type
    distance = layout.elements // _words_of(type)
    digits = [*zip(type.shape, _strides(type), strict=True), (2, distance)]
    return _gathered(lowering, both, op.result, digits, 0)


def lower_split(lowering: Lowering, op: Op) -> list[UbTile]:
    """Take the two halves of a last dimension of size 2 apart."""
    x, strides = op.operands[0], _strides(op.operands[0].type)
    digits = list(zip(x.type.shape[:-1], strides[:-1], strict=True))
    words = _words(lowering, lowering.materialise(x))
    return [_gathered(lowering, words, half, digits, half.index * strides[-1]) for half in op.results]


def gather_column(lowering: Lowering, tile: UbTile, result: Value) -> UbTile:
    """The first element of each row."""
    words = _words(lowering, tile)
    return _gathered(
        lowering, words, result, [(tile.layout.rows, words.layout.pitch // _words_of(result.type))], 0
    )


def _rearranged(lowering: Lowering, source: Value, result: Value, digits: Sequence[Digit]) -> UbTile:
    return _gathered(lowering, _words(lowering, lowering.materialise(source)), result, digits, 0)


def _element(type: TileType) -> DType:
    assert isinstance(type.element, DType)
    return type.element


def _words_of(type: TileType) -> int:
    """How many elements that the unit gathers make one of a tile."""
    return max(1, _element(type).itemsize // INT32.itemsize)


def _strides(type: TileType) -> list[int]:
    """How many elements lie between neighbours along each dimension of a tile, bytes being widened."""
    is_byte = _element(type).itemsize == 1
    layout = layout_of(type.with_element(INT16)) if is_byte else layout_of(type)
    strides: list[int] = []
    step = 1
    for size in reversed(type.shape):
        strides.append(step if size != 1 else 0)
        if size != 1:
            step = layout.pitch if step == 1 else step * size
    return strides[::-1]


def _words(lowering: Lowering, tile: UbTile) -> UbTile:
    """A tile as elements of 16 or 32 bits."""
    size, layout = tile.element.itemsize, tile.layout
    if size == 1:
        return bytes_to_words(lowering, tile)
    if size <= INT32.itemsize:
        return tile
    pointer = lowering.builder.reinterpret(tile.pointer, INT32)
    return UbTile(pointer, TileLayout(layout.rows, 2 * layout.columns, 2 * layout.pitch), INT32)


def _gathered(
    lowering: Lowering, source: UbTile, result: Value, digits: Sequence[Digit], start: int
) -> UbTile:
    """Gather a tile from words. ``digits``: outermost first; ``start``: the source element of index 0."""
    element = _element(result.type)
    narrow = result.type.with_element(INT16) if element.itemsize == 1 else result.type
    target = lowering.new_tile(narrow, result.name)
    gather_into(lowering, target, source, digits, start)
    return lowest_bytes(lowering, target, element) if element.itemsize == 1 else target


def gather_into(
    lowering: Lowering, target: UbTile, source: UbTile, digits: Sequence[Digit], start: int = 0
) -> None:
    """Gather all elements of ``target``, of 16 bits or more, from ``source``, which may be words already."""
    builder, count = lowering.builder, max(1, target.element.itemsize // INT32.itemsize)
    target, source = _words(lowering, target), _words(lowering, source)
    if count > 1:
        digits = [*((size, count * stride) for size, stride in digits), (count, 1)]
    size = source.element.itemsize
    offsets = _offsets(lowering, target.layout, [(extent, stride * size) for extent, stride in digits])
    builder.op(
        VGATHER,
        dst=builder.reinterpret(target.pointer, source.element),
        src=source.pointer,
        offsets=builder.reinterpret(offsets.pointer, UINT32),
        base=start * count * size,
        count=target.layout.elements,
        src_bytes=source.layout.elements * size,
    )


def _offsets(lowering: Lowering, layout: TileLayout, digits: Sequence[Digit]) -> UbTile:
    """The bytes from a source's first element to the one of each place of a result, padding and all."""
    key = ("offsets", layout, tuple(digits))
    found = lowering.kept(key)
    if found is not None:
        return found
    builder = lowering.builder
    with builder.inside(builder.top):
        row = TileType(FP32, (layout.elements,))
        places = lowering.table(FP32, 0, layout.elements).pointer
        total, quotient = lowering.new_tile(row).pointer, lowering.new_tile(row).pointer
        table = _Table(builder, layout.elements)
        index = places
        if layout.pitch != layout.columns:
            index = lowering.new_tile(row).pointer
            table.quotient(quotient, places, layout.pitch)
            table.scale(quotient, quotient, layout.columns - layout.pitch)
            table.add(index, places, quotient)
            last = builder.constant(float(layout.rows * layout.columns - 1), FP32)
            builder.op(VMINS, dst=index, src=index, scalar=last, count=layout.elements)
        # A digit of the index is t - size * u: its quotient t by the sizes of the digits behind, less the
        # quotient u by these and its own. What it adds to the offset is part of the factors of t and u.
        inner = [digit for digit in reversed(digits) if digit[0] != 1]
        table.scale(total, index, inner[0][1] if inner else 0)
        for number, (_, stride) in enumerate(inner[1:], 1):
            behind, step = inner[number - 1]
            factor = stride - behind * step
            if factor:
                table.quotient(quotient, index, product(size for size, _ in inner[:number]))
                table.scale(quotient, quotient, factor)
                table.add(total, total, quotient)
        offsets = lowering.new_tile(TileType(INT32, (layout.elements,)))
        operands: dict[str, Operand] = {"dst": offsets.pointer, "src": total, "count": layout.elements}
        builder.make(VCAST, operands, {"round": Round.RINT})
        return lowering.keep(key, offsets)


class _Table:
    """Arithmetic on rows of ``count`` whole numbers held as fp32."""

    def __init__(self, builder: MachineBuilder, count: int) -> None:
        self._builder = builder
        self._count = count

    def quotient(self, target: Value, source: Value, divisor: int) -> None:
        """``source`` / ``divisor``, rounded down."""
        half, inverse = (self._builder.constant(number, FP32) for number in (0.5, 1.0 / divisor))
        self._builder.op(VADDS, dst=target, src=source, scalar=half, count=self._count)
        self._builder.op(VMULS, dst=target, src=target, scalar=inverse, count=self._count)
        operands: dict[str, Operand] = {"dst": target, "src": target, "count": self._count}
        self._builder.make(VCAST, operands, {"round": Round.FLOOR})

    def scale(self, target: Value, source: Value, factor: int) -> None:
        number = self._builder.constant(float(factor), FP32)
        self._builder.op(VMULS, dst=target, src=source, scalar=number, count=self._count)

    def add(self, target: Value, source: Value, other: Value) -> None:
        self._builder.op(VADD, dst=target, src0=source, src1=other, count=self._count)
