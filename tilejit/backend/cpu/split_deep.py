"""Rows of 16 bits times a matrix of bytes with long columns, contiguous along k (``dot_split``).

A few columns pass by side by side, to their ends, and meet all rows while they are in registers, widened as
they are loaded: memory is read in long pieces and once. What every row has with a column is a vector until
the columns of a block are there, whose vectors are then summed across lanes together.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from tilejit.backend.cpu.dot_units import add_int16_products
from tilejit.backend.cpu.fetch import FetchTile, fetch_columns
from tilejit.backend.cpu.loops import emit_loop, index
from tilejit.backend.cpu.operand import Operand, load_vector
from tilejit.backend.cpu.shuffles import sum_pair
from tilejit.backend.cpu.split_kernels import COLUMNS, Kernel, call_by_columns, finish_row
from tilejit.backend.cpu.split_rows import LANES, VECTOR_BYTES, SplitRows
from tilejit.backend.cpu.values import F32, I8, I32, number, vector_of
from tilejit.ir.types import INT16

MOST_ROWS = 8
"""Rows of a block: the sums of three columns and a step of these fit into registers."""
_TOGETHER = {1: 2, 2: 2, 3: 2, 4: 2, 5: 3, 6: 3, 7: 3, 8: 3}
"""Columns side by side, by rows.

Source: int8, two threads of a Cascade Lake, calls that alternate, 9 to 25 rounds, 4096 x 4096 and 4096 x
11008 bytes, speed over that: 3 columns 1 row 0.95 and 1.02, 2 rows 0.97 and 0.98, 4 rows 0.95 and 1.0; 4
columns 1 row 0.94 and 0.99, 4 rows 0.93 and 1.03; 2 columns 5 to 8 rows 0.97 and 0.97. Blocks of 8 rows over
two of 4: 1.2 to 1.4.
"""
_HALF = 32  # of the elements of a vector of bytes: those of one of 16 bits
_INTEGERS, _FLOATS = vector_of(I32, LANES), vector_of(F32, LANES)


def deep_sums_bytes(rows: int) -> int:
    """What a block of columns needs for the vectors that are still to be summed across lanes."""
    return min(rows, MOST_ROWS) * COLUMNS * VECTOR_BYTES


def call_deep(
    builder: ir.IRBuilder, rows: SplitRows, count: int, b: Operand, c: Operand, n: int, scratch: ir.Value, *,
    accumulate: bool, fetch: FetchTile | None,
) -> None:  # fmt: skip
    """Multiply ``count`` whole rows by n columns of ``b``.

    ``b``: its column stride is the distance of columns; ``scratch``: ``deep_sums_bytes`` bytes aligned to 64.
    """
    assert rows.is_whole and count <= MOST_ROWS
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
        zero = number(_INTEGERS, 0)

        def step(i: ir.Value, sums: Sequence[ir.Value], live: int = size) -> list[ir.Value]:
            self._fetch(column, i, count)
            depth = builder.mul(i, index(size))
            result = list(sums)
            for half in range(0, live, _HALF):
                start = builder.add(depth, index(half))
                places = [b.at(builder, start, other) for other in range(count)]
                words = [
                    load_vector(builder, place.pointer, b.dtype, _HALF, INT16, min(_HALF, live - half))
                    for place in places
                ]
                for row in range(kernel.rows):
                    place = self.rows.at(builder, row, start).high
                    factor = builder.load(place, typ=_INTEGERS, align=2)
                    for at, word in enumerate(words, row * count):
                        result[at] = add_int16_products(builder, word, factor, result[at])
            return result

        sums = emit_loop(builder, whole, [zero] * (kernel.rows * count), step)
        sums = step(index(whole), sums, rest) if rest else sums
        for row in range(kernel.rows):
            for other in range(count):
                total = builder.sitofp(sums[row * count + other], _FLOATS)
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
