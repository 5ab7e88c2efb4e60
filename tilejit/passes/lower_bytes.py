"""Tiles of bytes: the vector unit computes on none; they go through 16 bits, and bools through bits."""

from __future__ import annotations

from tilejit.ir.core import Value
from tilejit.ir.types import FP16, FP32, INT16, UINT8, DType, TileType
from tilejit.ops.machine.conversions import Round
from tilejit.ops.machine.vector import VAND
from tilejit.ops.machine.vector_cast import VCAST
from tilejit.ops.machine.vector_select import Predicate
from tilejit.passes.lower_masks import bits_of, compare_sources, select_into
from tilejit.passes.lowering import Lowering
from tilejit.passes.tile_homes import Bits, UbTile, layout_of
from tilejit.passes.vector_form import on_tile, whole


def bytes_of(lowering: Lowering, value: Value) -> UbTile:
    """Bools as bytes of 0 or 1."""
    builder = lowering.builder
    if value.type.is_scalar:
        tile = lowering.new_tile(TileType(UINT8))
        number = builder.value(builder.select(lowering.scalar(value), 1, 0), INT16)
        lowering.fill(builder.reinterpret(tile.pointer, INT16), INT16, number, 1)
        return tile
    shape = value.type.shape
    numbers, halves, found = (lowering.new_tile(TileType(t, shape)) for t in (FP32, FP16, UINT8))
    one, zero = (builder.constant(number, FP32) for number in (1.0, 0.0))
    select_into(lowering, numbers, bits_of(lowering, value), one, zero)
    on_tile(builder, VCAST, halves, {"src": whole(numbers)}, {"round": Round.RINT})
    on_tile(builder, VCAST, found, {"src": whole(halves)}, {"round": Round.RINT})
    return found


def bits_of_bytes(lowering: Lowering, tile: UbTile, type: TileType) -> Bits:
    """Whether each byte is anything but 0."""
    halves, numbers = (lowering.new_tile(TileType(t, type.shape)) for t in (FP16, FP32))
    on_tile(lowering.builder, VCAST, halves, {"src": whole(tile)})
    on_tile(lowering.builder, VCAST, numbers, {"src": whole(halves)})
    zero = lowering.builder.constant(0.0, FP32)
    layout = layout_of(type.with_element(FP32))
    return compare_sources(lowering, layout, [whole(numbers)], zero, Predicate.NE)


def bytes_to_words(lowering: Lowering, tile: UbTile) -> UbTile:
    """int16 numbers whose lowest bytes are those of a tile."""
    builder, shape = lowering.builder, (tile.layout.rows, tile.layout.columns)
    halves, words = (lowering.new_tile(TileType(t, shape)) for t in (FP16, INT16))
    source = UbTile(builder.reinterpret(tile.pointer, UINT8), tile.layout, UINT8)
    on_tile(builder, VCAST, halves, {"src": whole(source)})
    on_tile(builder, VCAST, words, {"src": whole(halves)}, {"round": Round.RINT})
    return words


def lowest_bytes(lowering: Lowering, words: UbTile, element: DType) -> UbTile:
    """The lowest bytes of a tile of int16, as elements of 8 bits."""
    builder, shape = lowering.builder, (words.layout.rows, words.layout.columns)
    mask = lowering.as_source(builder.constant(255, INT16))
    on_tile(builder, VAND, words, {"src0": whole(words), "src1": mask})
    halves, found = (lowering.new_tile(TileType(t, shape)) for t in (FP16, UINT8))
    on_tile(builder, VCAST, halves, {"src": whole(words)}, {"round": Round.RINT})
    on_tile(builder, VCAST, found, {"src": whole(halves)}, {"round": Round.RINT})
    return UbTile(builder.reinterpret(found.pointer, element), found.layout, element)
