"""Copies of matrices from one layout and element type to another.

A copy whose contiguous directions agree moves vectors; one whose directions differ transposes squares in
registers; anything else goes element by element. Sizes need not be multiples of anything: the last vector or
square is moved back to overlap the one before, which is harmless in a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from tilejit.backend.cpu.fetch import fetch_lines
from tilejit.backend.cpu.loops import emit_loop, index, internal_function
from tilejit.backend.cpu.operand import Operand, Stride, is_unit, load_vector, static, strides_text
from tilejit.backend.cpu.shuffles import transpose_square
from tilejit.backend.cpu.values import I64, POINTER
from tilejit.target.cpu import CpuTarget

_CopyTile = Callable[[ir.IRBuilder, Operand, Operand, int], None]
_AtPosition = Callable[[ir.IRBuilder, int | ir.Value], None]


def emit_pack(
    builder: ir.IRBuilder, source: Operand, destination: Operand, rows: int, columns: int, target: CpuTarget
) -> None:
    """Emit code that copies a rows x columns matrix, converting elements to the destination's type.

    To transpose, exchange the strides of one side (``Operand.transposed``).
    """
    if rows <= 0 or columns <= 0:
        return
    if is_unit(source.row_stride) and not is_unit(source.column_stride):
        # Seen from the other side the source is row-major.
        emit_pack(builder, source.transposed, destination.transposed, columns, rows, target)
        return
    strides = [source.row_stride, source.column_stride, destination.row_stride, destination.column_stride]
    name = _name(source, destination, strides, rows, columns)

    def build(inner: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        known = [s if isinstance(s, int) else a for s, a in zip(strides, arguments[2:], strict=True)]
        inner_source = Operand(arguments[0], source.dtype, known[0], known[1])
        inner_destination = Operand(arguments[1], destination.dtype, known[2], known[3])
        _emit_copy(inner, inner_source, inner_destination, rows, columns, target)

    function = internal_function(builder.module, name, [POINTER, POINTER] + [I64] * 4, build)
    builder.call(function, [source.pointer, destination.pointer, *(index(s) for s in strides)])


def power_of_two_below(value: int) -> int:
    """The largest power of two that is not above ``value``."""
    return 1 << (value.bit_length() - 1)


def covering_positions(size: int, width: int) -> tuple[int, int | None]:
    """How ranges of ``width`` cover ``size`` >= width elements: how many whole ones, and where a last one
    starts.
    """
    return size // width, (size - width if size % width else None)


def _name(source: Operand, destination: Operand, strides: list[Stride], rows: int, columns: int) -> str:
    text = strides_text(strides)
    return f"tilejit.pack.{source.dtype}.{destination.dtype}.{rows}x{columns}.{text}"


def _emit_copy(
    builder: ir.IRBuilder, source: Operand, destination: Operand, rows: int, columns: int, target: CpuTarget
) -> None:
    lanes = target.vector_lanes(destination.dtype.itemsize)
    if is_unit(source.column_stride) and is_unit(destination.column_stride):
        width = power_of_two_below(min(lanes, columns))
        copy = _copy_asking(_rows_ahead(rows, columns, source, target), target)
        _for_each_tile(builder, source, destination, (rows, columns), (1, width), copy)
    elif is_unit(source.column_stride) and is_unit(destination.row_stride):
        width = power_of_two_below(min(lanes, rows, columns))
        _for_each_tile(builder, source, destination, (rows, columns), (width, width), _copy_square)
    else:
        _for_each_tile(builder, source, destination, (rows, columns), (1, 1), _copy_vector)


def _for_each_tile(
    builder: ir.IRBuilder,
    source: Operand,
    destination: Operand,
    shape: tuple[int, int],
    tile: tuple[int, int],
    copy: _CopyTile,
) -> None:
    """Call ``copy`` on tiles that cover the matrix."""

    def at_row(row_builder: ir.IRBuilder, row: int | ir.Value) -> None:
        row_source, row_destination = source.at(row_builder, row, 0), destination.at(row_builder, row, 0)

        def at_column(tile_builder: ir.IRBuilder, column: int | ir.Value) -> None:
            copy(
                tile_builder,
                row_source.at(tile_builder, 0, column),
                row_destination.at(tile_builder, 0, column),
                tile[1],
            )

        _cover(row_builder, shape[1], tile[1], at_column)

    _cover(builder, shape[0], tile[0], at_row)


def _cover(builder: ir.IRBuilder, size: int, width: int, body: _AtPosition) -> None:
    """Call ``body`` at positions whose ranges of ``width`` cover 0..size-1."""
    whole, last = covering_positions(size, width)

    def step(i: ir.Value, _: object) -> list[ir.Value]:
        body(builder, builder.mul(i, index(width)) if width > 1 else i)
        return []

    emit_loop(builder, whole, [], step)
    if last is not None:
        body(builder, last)


def _copy_vector(builder: ir.IRBuilder, source: Operand, destination: Operand, width: int) -> None:
    vector = load_vector(builder, source.pointer, source.dtype, width, destination.dtype)
    builder.store(vector, destination.pointer, align=destination.dtype.itemsize)


def _rows_ahead(rows: int, columns: int, source: Operand, target: CpuTarget) -> int:
    """How many rows further down the lines lie that a copy asks for; 0 where prefetchers do without, or
    there are no such rows.
    """
    stride = static(source.row_stride)
    if stride is not None and stride * source.dtype.itemsize < _PAGE_BYTES:
        return 0
    lines_a_row = -(-columns * source.dtype.itemsize // target.cache_line_bytes)
    ahead = -(-_LINES_AHEAD // lines_a_row)
    return ahead if rows > ahead else 0


_LINES_AHEAD, _PAGE_BYTES = 16, 4096
"""Prefetchers do not follow a matrix from page to page, on each of which lies a piece of a row: a copy that
waits for every row asks for so many lines in advance, a few more than a core can have on their way.

Source: products of 1024 cubed of fp32, one thread of a Cascade Lake (12 lines on their way), calls that
alternate: 1.047 [1.021, 1.099] of the speed without.
"""


def _copy_asking(rows_ahead: int, target: CpuTarget) -> _CopyTile:
    """Copy a vector and ask for the line so many rows below it."""
    if rows_ahead == 0:
        return _copy_vector

    def copy(builder: ir.IRBuilder, source: Operand, destination: Operand, width: int) -> None:
        place = source.at(builder, rows_ahead, 0).pointer
        fetch_lines(builder, place, 1, target.cache_line_bytes, 3)
        _copy_vector(builder, source, destination, width)

    return copy


def _copy_square(builder: ir.IRBuilder, source: Operand, destination: Operand, width: int) -> None:
    rows = [
        load_vector(builder, source.at(builder, row, 0).pointer, source.dtype, width, destination.dtype)
        for row in range(width)
    ]
    for column, vector in enumerate(transpose_square(builder, rows, destination.dtype.bits)):
        pointer = destination.at(builder, 0, column).pointer
        builder.store(vector, pointer, align=destination.dtype.itemsize)
