"""The micro-kernel of split rows (``split_rows``) for a matrix contiguous along k, turned in registers.

Sixteen columns at a time: 64 bytes of each are a square of words, transposed so that a lane is a column and a
vector holds the same four elements of all. Then the bytes of a row are a broadcast, and no sums across lanes
are left. Turning a vector takes four shuffles, once for all rows; ``split_kernels.call_inner`` sums across
lanes for every row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from tilejit.backend.cpu.dot_units import add_byte_products, flip
from tilejit.backend.cpu.fetch import FetchTile
from tilejit.backend.cpu.loops import emit_loop, index
from tilejit.backend.cpu.operand import Operand
from tilejit.backend.cpu.shuffles import transpose_blocks, transpose_in_blocks
from tilejit.backend.cpu.split_kernels import (
    Kernel,
    call_by_columns,
    finish_row,
    join,
    load_padded_words,
    starts_of,
)
from tilejit.backend.cpu.split_rows import DEEPEST, LANES, SplitRows, SplitUnit
from tilejit.backend.cpu.values import I32, number, splat, vector_of

_FEWEST_ROWS = 3
"""Rows from which on turning the matrix is worth it. In instructions it is from 2 rows on, but most of them
are shuffles then, of which there is one a cycle.

Source: 64 columns of 128 elements in the second-level cache, one thread of a Cascade Lake, time over that of
sums across lanes, by rows: 0.9 (2), 0.77 (3), 0.69 (4), 0.67 (6), 0.55 (8), 0.59 (16).
"""
_FEWEST_ROWS_DEEP = 9
"""The same for columns that may pass by in one long piece (``split_deep``).

Source: 4096 x 4096 bytes in blocks of 1024 along k, two threads of a Cascade Lake, time over that of columns
to their ends: 8 rows 1.3, 10 rows 0.97, 12 rows 0.7.
"""
MOST_ROWS = 8
"""Rows of a block: their sums, two vectors each, take half of 32 registers, a step of the matrix the rest."""
_BLOCK_WORDS = 4  # words of 32 bits in 128
_INTEGERS = vector_of(I32, LANES)


def is_turned(rows: int, k: int) -> bool:
    """Whether turning columns of ``k`` elements is worth it for so many rows."""
    return rows >= (_FEWEST_ROWS if k <= DEEPEST else _FEWEST_ROWS_DEEP)


def call_turned(
    builder: ir.IRBuilder, rows: SplitRows, count: int, b: Operand, c: Operand, n: int, *,
    accumulate: bool, fetch: FetchTile | None,
) -> None:  # fmt: skip
    """Multiply ``count`` rows by n columns of ``b``, whose column stride is their distance.

    What sums start with is the same in all lanes: rows are split ``for_columns``.
    """
    assert rows.unit is SplitUnit.INT8
    call_by_columns(builder, "turned", _blocks, rows, count, b, c, n, accumulate=accumulate, fetch=fetch)


def _blocks(
    builder: ir.IRBuilder, kernel: Kernel, rows: SplitRows, b: Operand, c: Operand, fetch: FetchTile | None,
    _pointers: Sequence[ir.Value],
) -> None:  # fmt: skip
    whole, rest = divmod(kernel.columns, LANES)

    def block(i: ir.Value, _: Sequence[ir.Value], columns: int = LANES) -> list[ir.Value]:
        first = builder.mul(i, index(LANES))
        own, steps = b.at(builder, 0, first), -(-kernel.k // kernel.unit.vector_elements)

        def ask(step: ir.Value) -> Callable[[int], None] | None:
            if fetch is None:
                return None
            square = builder.add(builder.mul(i, index(steps)), step)
            return fetch.parts_from(
                builder, square, _BLOCK_WORDS, -(-kernel.columns // LANES) * steps * _BLOCK_WORDS
            )

        sums = _products(builder, kernel, rows, own, columns, ask)
        for row in range(kernel.rows):
            total = join(builder, kernel.unit, sums[2 * row : 2 * row + 2], kernel.k)
            place = c.at(builder, row, first).pointer
            finish_row(builder, rows, row, total, place, columns, kernel.accumulate)
        return []

    emit_loop(builder, whole, [], block)
    if rest:
        block(index(whole), [], rest)


def _products(
    builder: ir.IRBuilder,
    kernel: Kernel,
    rows: SplitRows,
    b: Operand,
    columns: int,
    ask: Callable[[ir.Value], Callable[[int], None] | None],
) -> list[ir.Value]:
    """For each row the sums of its high and of its low part with up to sixteen columns, one a lane."""
    size = kernel.unit.vector_elements
    whole, rest = divmod(kernel.k, size)
    starts = [start for row in range(kernel.rows) for start in starts_of(builder, rows.at(builder, row))]

    def step(i: ir.Value, sums: Sequence[ir.Value], live: int = size) -> list[ir.Value]:
        first, fetch = builder.mul(i, index(size)), ask(i)
        squares = _loaded_squares(builder, kernel.unit, b.at(builder, first, 0), columns, live)
        result = list(sums)
        for block, square in enumerate(squares):
            if fetch is not None:
                fetch(block)
            for word, vector in enumerate(transpose_in_blocks(builder, square)):
                place = rows.at(
                    builder,
                    0,
                    builder.add(first, index((block * _BLOCK_WORDS + word) * kernel.unit.per_word)),
                )
                for row in range(kernel.rows):
                    own = place.at(builder, row)
                    for side, pointer in enumerate((own.high, own.low)):
                        factor = splat(builder, builder.load(pointer, typ=I32, align=4), LANES)
                        at = 2 * row + side
                        result[at] = add_byte_products(builder, vector, factor, result[at])
        return result

    sums = emit_loop(builder, whole, starts, step)
    return step(index(whole), sums, rest) if rest else sums


def _loaded_squares(
    builder: ir.IRBuilder, unit: SplitUnit, b: Operand, columns: int, live: int
) -> list[list[ir.Value]]:
    """Four squares of four words of sixteen columns: block i of vector j is of column 4 * i + j."""
    vectors = [
        flip(builder, load_padded_words(builder, unit, b.at(builder, 0, column).pointer, live))
        if column < columns
        else number(_INTEGERS, 0)
        for column in range(LANES)
    ]
    spread = [transpose_blocks(builder, vectors[j::_BLOCK_WORDS], _BLOCK_WORDS) for j in range(_BLOCK_WORDS)]
    return [list(square) for square in zip(*spread, strict=True)]
