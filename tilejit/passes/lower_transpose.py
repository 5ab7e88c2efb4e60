"""Transpositions of tiles in UB.

The unit transposes 16 blocks at a time: 16 rows of 16 elements of 16 bits, or of 8 elements of 32 bits. A
band of 16 rows takes one instruction, with a repeat for each block of its columns, and comes out as rows of
16 elements, which are copied to their place. Rows that are not a band are first copied to a tile of 16.

Moving whole rows is a copy with gaps. Other orders gather (``lower_rearrange``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tilejit.ir.core import Op, Value
from tilejit.ir.types import FP16, FP32, UINT8, DType, TileType, product
from tilejit.ops.machine.conversions import Round
from tilejit.ops.machine.rules import BLOCK_BYTES
from tilejit.ops.machine.vector_cast import VCAST
from tilejit.ops.machine.vector_move import COPY_UB, VTRANSPOSE5HD
from tilejit.passes.lower_rearrange import lower_permutation
from tilejit.passes.lowering import Lowering
from tilejit.passes.tile_homes import TileLayout, UbTile, layout_of
from tilejit.passes.vector_form import copy_tile, on_tile, pitch_blocks, whole

_SIDE = 16
_MAX_REPEATS = 255


def lower_transpose(lowering: Lowering, op: Op) -> UbTile:
    """Reorder the dimensions of a tile."""
    order = op.attributes["order"]
    assert isinstance(order, tuple)
    shape = op.operands[0].type.shape
    dims = [d for d in order if shape[d] != 1]
    tile, last = lowering.materialise(op.operands[0]), max(dims, default=0)
    if dims == sorted(dims):
        return UbTile(tile.pointer, layout_of(op.result.type), tile.element, is_fixed=True)
    if tile.element.itemsize > FP32.itemsize:
        return lower_permutation(lowering, op)
    if dims[-1] == last and len(dims) == 3:
        return _move_rows(lowering, op, tile, [shape[d] for d in sorted(dims)])
    if sorted(dims)[-2] == dims[-1] and dims[-2] == last and dims[:-2] == sorted(dims)[:-2]:
        result = lowering.new_tile(op.result.type, op.result.name)
        transpose_into(lowering, tile, result, product(shape[d] for d in dims[:-2]))
        return result
    return lower_permutation(lowering, op)


def transpose_into(lowering: Lowering, tile: UbTile, result: UbTile, groups: int = 1) -> None:
    """Write the transposes of the matrices that a tile consists of, ``groups`` of them."""
    element = tile.element
    if element.itemsize == 1:
        wide, turned = (lowering.new_tile(_matrix(t.layout, FP16)) for t in (tile, result))
        as_bytes, result_bytes = (
            replace(t, pointer=lowering.builder.reinterpret(t.pointer, UINT8), element=UINT8)
            for t in (tile, result)
        )
        on_tile(lowering.builder, VCAST, wide, {"src": whole(as_bytes)})
        transpose_into(lowering, wide, turned, groups)
        on_tile(lowering.builder, VCAST, result_bytes, {"src": whole(turned)}, {"round": Round.RINT})
        return
    if element.itemsize > 4:
        lowering.refuse(f"tiles of {element} cannot be transposed", hint="convert to 32 bits first")
    rows, columns = tile.layout.rows // groups, tile.layout.columns
    for group in range(groups):
        source = lowering.builder.move(tile.pointer, group * rows * tile.layout.pitch)
        target = lowering.builder.move(result.pointer, group * columns * result.layout.pitch)
        matrix = UbTile(source, TileLayout(rows, columns, tile.layout.pitch), element)
        turned = UbTile(target, TileLayout(columns, rows, result.layout.pitch), element)
        _transpose_matrix(lowering, matrix, turned)


def _matrix(layout: TileLayout, element: DType) -> TileType:
    return TileType(element, (layout.rows, layout.columns))


def _transpose_matrix(lowering: Lowering, tile: UbTile, result: UbTile) -> None:
    layout = tile.layout
    whole_bands = layout.rows // _SIDE * _SIDE
    for first in range(0, whole_bands, _SIDE):
        _band(lowering, tile, first, result, first)
    rest = layout.rows - whole_bands
    if not rest:
        return
    # The unit reads 16 rows: those behind the last whole band go to a tile that has as many.
    builder, padded = lowering.builder, lowering.new_tile(TileType(tile.element, (_SIDE, layout.columns)))
    pointer = builder.move(tile.pointer, whole_bands * layout.pitch)
    source = UbTile(pointer, TileLayout(rest, layout.columns, layout.pitch), tile.element)
    target = UbTile(padded.pointer, source.layout, tile.element)
    copy_tile(builder, target, whole(source))
    _band(lowering, padded, 0, result, whole_bands)


def _band(lowering: Lowering, tile: UbTile, first: int, result: UbTile, place: int) -> None:
    """Transpose 16 rows from ``first`` on, to the columns from ``place`` on of the result."""
    builder, size = lowering.builder, tile.element.itemsize
    columns = tile.layout.columns
    pitch, lanes = pitch_blocks(tile.layout, tile.element), BLOCK_BYTES // size
    blocks = -(-columns // lanes)
    band = lowering.new_tile(TileType(tile.element, (blocks * lanes, _SIDE)))
    source = builder.move(tile.pointer, first * tile.layout.pitch)
    for start in range(0, blocks, _MAX_REPEATS):
        repeats = min(_MAX_REPEATS, blocks - start)
        builder.op(
            VTRANSPOSE5HD,
            dst=builder.move(band.pointer, start * lanes * _SIDE),
            src=builder.move(source, start * lanes),
            repeats=repeats,
            src_stride=pitch,
            dst_stride=1,
            src_repeat=1,
            dst_repeat=_SIDE,
        )
    row_blocks = _SIDE * size // BLOCK_BYTES
    wanted = min(row_blocks, pitch_blocks(result.layout, tile.element) - place * size // BLOCK_BYTES)
    operands: dict[str, Value | int | None] = {
        "dst": builder.move(result.pointer, place),
        "src": band.pointer,
        "count": wanted * lanes,
        "rows": columns,
        "src_gap": row_blocks - wanted,
        "dst_gap": pitch_blocks(result.layout, tile.element) - wanted,
    }
    builder.make(COPY_UB, operands)


def _move_rows(lowering: Lowering, op: Op, tile: UbTile, sizes: Sequence[int]) -> UbTile:
    """Let the first two of three dimensions change places: whole rows move."""
    builder = lowering.builder
    outer, inner = sizes[0], sizes[1]
    result = lowering.new_tile(op.result.type, op.result.name)
    word = UINT8 if tile.element.itemsize == 1 else tile.element
    source, target = (builder.reinterpret(t.pointer, word) for t in (tile, result))
    pitch, blocks = tile.layout.pitch, pitch_blocks(tile.layout, tile.element)

    def move(index: Value) -> None:
        operands: dict[str, Value | int | None] = {
            "dst": builder.move(target, builder.mul(index, pitch)),
            "src": builder.move(source, builder.mul(index, inner * pitch)),
            "count": pitch,
            "rows": inner,
            "src_gap": 0,
            "dst_gap": (outer - 1) * blocks,
        }
        builder.make(COPY_UB, operands)

    builder.loop(outer, move)
    return result
