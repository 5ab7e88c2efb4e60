"""Parts of tiles in UB: rows are read where they lie; columns, and words of 64 bits, are gathered."""

from __future__ import annotations

from dataclasses import replace

from tilejit.ir.core import Op
from tilejit.ir.types import INT32
from tilejit.ops.pieces import COLUMN, ROWS, STACK, WIDE, WORD
from tilejit.passes.lower_rearrange import gather_column, gather_into
from tilejit.passes.lowering import Lowering
from tilejit.passes.tile_homes import TileLayout, UbTile, layout_of
from tilejit.passes.vector_form import copy_tile, whole


def lower_rows(lowering: Lowering, op: Op) -> UbTile:
    """Some rows of a matrix, where they lie."""
    tile = lowering.materialise(op.operands[0])
    start, step = op.attributes["start"], op.attributes["step"]
    assert isinstance(start, int) and isinstance(step, int)
    layout, pitch = layout_of(op.result.type), tile.layout.pitch
    if layout.rows > 1:
        layout = replace(layout, pitch=step * pitch)
    pointer = lowering.builder.move(tile.pointer, start * pitch)
    return UbTile(pointer, layout, tile.element, is_fixed=True)


def lower_stack(lowering: Lowering, op: Op) -> UbTile:
    """The rows of one matrix behind those of another."""
    target = lowering.new_tile(op.result.type, op.result.name)
    start = 0
    for value in op.operands:
        part = lowering.materialise(value)
        place = lowering.builder.move(target.pointer, start * target.layout.pitch)
        layout = replace(target.layout, rows=part.layout.rows)
        copy_tile(lowering.builder, UbTile(place, layout, target.element), whole(part))
        start += part.layout.rows
    return target


def lower_column(lowering: Lowering, op: Op) -> UbTile:
    """The first elements of the rows of a matrix, side by side."""
    tile = lowering.materialise(op.operands[0])
    if tile.layout.rows == 1:
        return UbTile(tile.pointer, layout_of(op.result.type), tile.element, is_fixed=True)
    return gather_column(lowering, tile, op.result)


def lower_word(lowering: Lowering, op: Op) -> UbTile:
    """The lower or upper halves of elements of 64 bits."""
    tile, target = lowering.materialise(op.operands[0]), lowering.new_tile(op.result.type, op.result.name)
    layout = layout_of(op.operands[0].type)
    if layout != tile.layout:
        dense = lowering.new_tile(op.operands[0].type)
        copy_tile(lowering.builder, dense, whole(tile))
        tile = dense
    number = op.attributes["number"]
    assert isinstance(number, int)
    digits = [(layout.rows, 2 * layout.pitch), (layout.columns, 2)]
    gather_into(lowering, target, tile, digits, number)
    return target


def lower_wide(lowering: Lowering, op: Op) -> UbTile:
    """Elements of 64 bits from their halves."""
    builder, target = lowering.builder, lowering.new_tile(op.result.type, op.result.name)
    words = layout_of(op.operands[0].type)
    pointer = builder.buffer(INT32, 2 * words.elements)
    for number, value in enumerate(op.operands):
        place = builder.move(pointer, number * words.elements)
        source = lowering.as_source(lowering.source(value, op.operands[0].type))
        copy_tile(builder, UbTile(place, words, INT32), source)
    both = UbTile(pointer, replace(words, rows=2 * words.rows), INT32)
    layout = TileLayout(target.layout.rows, 2 * target.layout.columns, 2 * target.layout.pitch)
    halves = UbTile(builder.reinterpret(target.pointer, INT32), layout, INT32)
    gather_into(lowering, halves, both, [(words.rows, words.pitch), (words.columns, 1), (2, words.elements)])
    return target


LOWER_PIECES = {
    ROWS.name: lower_rows, STACK.name: lower_stack, COLUMN.name: lower_column, WORD.name: lower_word,
    WIDE.name: lower_wide,
}  # fmt: skip
