"""The micro-kernel of split rows (``split_rows``) for a matrix contiguous along k with long columns.

A few columns pass by side by side, to their ends, and meet all rows while they are in registers: memory is
read in long pieces and once. What every row has with a column is a vector until the columns of a block are
there, whose vectors are then summed across lanes together.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from tilejit.backend.cpu.dot_units import add_byte_products, flip
from tilejit.backend.cpu.fetch import FetchTile, fetch_columns
from tilejit.backend.cpu.loops import emit_loop, index
from tilejit.backend.cpu.operand import Operand
from tilejit.backend.cpu.shuffles import sum_pair
from tilejit.backend.cpu.split_kernels import (
    COLUMNS,
    Kernel,
    call_by_columns,
    finish_row,
    join,
    load_padded_words,
    starts_of,
)
from tilejit.backend.cpu.split_rows import DEEPEST, LANES, VECTOR_BYTES, SplitRows, SplitUnit
from tilejit.backend.cpu.values import F32, I8, I32, number, vector_of

MOST_ROWS = 4
"""Rows of a block: the sums of two columns, two vectors each, and a step of the rows fit into registers."""
_TOGETHER = {1: 4, 2: 2, 3: 2, 4: 2}
"""Columns side by side, by rows.

Source: 4096 x 4096 bytes, two threads of a Cascade Lake, calls that alternate, time over that: 1 row by 8
columns 1.0, 2 rows by 4 columns 1.1, 3 rows by 4 and 4 rows by 1 column 1.1.
"""
_INTEGERS, _FLOATS = vector_of(I32, LANES), vector_of(F32, LANES)


def deep_sums_bytes(rows: int) -> int:
    """What a block of columns needs for the vectors that are still to be summed across lanes."""
    return min(rows, MOST_ROWS) * COLUMNS * VECTOR_BYTES


def call_deep(
    builder: ir.IRBuilder, rows: SplitRows, count: int, b: Operand, c: Operand, n: int, scratch: ir.Value, *,
    accumulate: bool, fetch: FetchTile | None,
) -> None:  # fmt: skip
    """Multiply ``count`` rows of more than ``DEEPEST`` elements by n columns of ``b``.

    ``b``: its column stride is the distance of columns; ``scratch``: ``deep_sums_bytes`` bytes aligned to 64.
    """
    assert rows.unit is SplitUnit.INT8 and count <= MOST_ROWS and rows.k > DEEPEST
    call_by_columns(
        builder, "deep", _emit_blocks, rows, count, b, c, n, scratch, accumulate=accumulate, fetch=fetch
    )


def _emit_blocks(
    builder: ir.IRBuilder, kernel: Kernel, rows: SplitRows, b: Operand, c: Operand, fetch: FetchTile | None,
    pointers: Sequence[ir.Value],
) -> None:  # fmt: skip
    (scratch,) = pointers
    _Blocks(builder, kernel, rows, b, c, scratch, fetch).emit()


class _Blocks:
    """Emits the blocks of columns of one function."""

    def __init__(
        self,
        builder: ir.IRBuilder,
        kernel: Kernel,
        rows: SplitRows,
        b: Operand,
        c: Operand,
        scratch: ir.Value,
        fetch: FetchTile | None,
    ) -> None:
        self.builder, self.kernel, self.rows, self.b, self.c = builder, kernel, rows, b, c
        self.scratch, self.fetch = scratch, fetch
        self.together = _TOGETHER[kernel.rows]
        self.steps = -(-kernel.k // kernel.unit.vector_elements)

    def emit(self) -> None:
        whole, rest = divmod(self.kernel.columns, COLUMNS)

        def block(i: ir.Value, _: Sequence[ir.Value], columns: int = COLUMNS) -> list[ir.Value]:
            first = self.builder.mul(i, index(COLUMNS))
            groups, few = divmod(columns, self.together)

            def group(j: ir.Value, _: Sequence[ir.Value], count: int = self.together) -> list[ir.Value]:
                self._group(first, self.builder.mul(j, index(self.together)), count)
                return []

            emit_loop(self.builder, groups, [], group)
            if few:
                group(index(groups), [], few)
            self._finish(first, columns)
            return []

        emit_loop(self.builder, whole, [], block)
        if rest:
            block(index(whole), [], rest)

    def _group(self, first: ir.Value, position: ir.Value, count: int) -> None:
        """``count`` columns from ``first + position`` on, to their ends."""
        builder, kernel, size = self.builder, self.kernel, self.kernel.unit.vector_elements
        column = builder.add(first, position)
        b = self.b.at(builder, 0, column)
        whole, rest = divmod(kernel.k, size)
        starts = [
            start
            for row in range(kernel.rows)
            for _ in range(count)
            for start in starts_of(builder, self.rows.at(builder, row))
        ]

        def step(i: ir.Value, sums: Sequence[ir.Value], live: int = size) -> list[ir.Value]:
            self._fetch(column, i, count)
            depth = builder.mul(i, index(size))
            words = [
                flip(
                    builder,
                    load_padded_words(builder, kernel.unit, b.at(builder, depth, other).pointer, live),
                )
                for other in range(count)
            ]
            result = list(sums)
            for row in range(kernel.rows):
                place = self.rows.at(builder, row, depth)
                parts = [builder.load(p, typ=_INTEGERS, align=4) for p in (place.high, place.low)]
                for other, word in enumerate(words):
                    for side, factor in enumerate(parts):
                        at = 2 * (row * count + other) + side
                        result[at] = add_byte_products(builder, word, factor, result[at])
            return result

        sums = emit_loop(builder, whole, starts, step)
        sums = step(index(whole), sums, rest) if rest else sums
        for row in range(kernel.rows):
            for other in range(count):
                at = 2 * (row * count + other)
                total = join(builder, kernel.unit, sums[at : at + 2], kernel.k)
                place = self._place(row, builder.add(position, index(other)))
                builder.store(total, place, align=VECTOR_BYTES)

    def _fetch(self, column: ir.Value, step: ir.Value, count: int) -> None:
        """Ask for lines of the tile to come, or else for those of the columns that are next."""
        builder = self.builder
        if self.fetch is None:
            depth = builder.mul(step, index(self.kernel.unit.vector_elements))
            following = builder.add(column, index(self.together))
            fetch_columns(builder, self.b, depth, following, count, VECTOR_BYTES)
            return
        first = builder.add(builder.mul(column, index(self.steps)), builder.mul(step, index(count)))
        for other in range(count):
            self.fetch.emit_part(builder, builder.add(first, index(other)), self.kernel.columns * self.steps)

    def _place(self, row: int, column: ir.Value | int) -> ir.Value:
        """Where the vector of a row and a column of the block is kept."""
        offset = self.builder.add(index(row * COLUMNS), index(column))
        return self.builder.gep(
            self.scratch, [self.builder.mul(offset, index(VECTOR_BYTES))], source_etype=I8
        )

    def _finish(self, first: ir.Value, columns: int) -> None:
        """Sum the vectors of a block across lanes, scale the sums and bring them to C."""
        builder = self.builder
        zero = number(_FLOATS, 0.0)
        for row in range(self.kernel.rows):
            level = [
                builder.load(self._place(row, column), typ=_FLOATS, align=VECTOR_BYTES)
                if column < columns
                else zero
                for column in range(COLUMNS)
            ]
            for depth in range(COLUMNS.bit_length() - 1):
                level = [
                    sum_pair(builder, x, y, depth, 32, builder.fadd)
                    for x, y in zip(level[::2], level[1::2], strict=True)
                ]
            place = self.c.at(builder, row, first).pointer
            finish_row(builder, self.rows, row, level[0], place, columns, self.kernel.accumulate)
