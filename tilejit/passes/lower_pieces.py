"""Rows and columns of tiles in UB: rows are read where they lie, columns are gathered."""

from __future__ import annotations

from dataclasses import replace

from tilejit.ir.core import Op
from tilejit.ops.pieces import COLUMN, ROWS, STACK
from tilejit.passes.lower_rearrange import gather_column
from tilejit.passes.lowering import Lowering
from tilejit.passes.tile_homes import UbTile, layout_of
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


LOWER_PIECES = {ROWS.name: lower_rows, STACK.name: lower_stack, COLUMN.name: lower_column}
