"""Split rows (``split_rows``) times a matrix on the tiles of AMX.

Eight rows at a time fill a tile: their high parts above their low ones. Where the matrix is contiguous along
k, sixteen of its columns are a tile as they lie in memory, and the rows are turned round once; the sums come
out turned round too. Where its rows are contiguous, they are interleaved as for the other dot units. Tiles
are cleared after their last use (``dot_amx`` says why).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from tilejit.backend.cpu.dot_amx import clear_tile
from tilejit.backend.cpu.fetch import FetchTile, call_fetching
from tilejit.backend.cpu.loops import emit_loop, index, internal_function
from tilejit.backend.cpu.operand import Operand, static, strides_text
from tilejit.backend.cpu.shuffles import transpose_square
from tilejit.backend.cpu.split_kernels import finish_row, join, natural_order
from tilejit.backend.cpu.split_rows import LANES, VECTOR_BYTES, SplitRows, SplitUnit
from tilejit.backend.cpu.values import F32, I8, I32, POINTER, intrinsic, vector_of
from tilejit.ir.types import FP32
from tilejit.records import dataclass

ROWS = 8
"""Rows whose two parts fill a tile."""
TILE_BYTES = 16 * VECTOR_BYTES
_RESIDENT = 4
"""Tiles of the rows that stay in registers: what four tiles of sums and columns leave of eight."""
PREFIX = "tilejit.dot.tiles.split"


def call_turn(builder: ir.IRBuilder, rows: SplitRows, into: ir.Value) -> None:
    """Turn eight split rows round: word w of all parts, in order, becomes line w of ``into``."""

    def build(inner: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        row_bytes = rows.padded * rows.unit.element.itemsize

        def step(i: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
            start = inner.gep(arguments[0], [inner.mul(i, index(VECTOR_BYTES))], source_etype=I8)
            lines = [_load_line(inner, start, row * row_bytes, F32) for row in range(2 * ROWS)]
            target = inner.gep(arguments[1], [inner.mul(i, index(TILE_BYTES))], source_etype=I8)
            for number, line in enumerate(transpose_square(inner, lines, 32)):
                place = inner.gep(target, [index(number * VECTOR_BYTES)], source_etype=I8)
                inner.store(line, place, align=VECTOR_BYTES)
            return []

        emit_loop(inner, _steps(rows), [], step)

    name = f"{PREFIX}.turn.{rows.unit.value}.{rows.k}"
    function = internal_function(builder.module, name, [POINTER, POINTER], build)
    builder.call(function, [rows.high, into])


def call_inner_tiles(
    builder: ir.IRBuilder, rows: SplitRows, count: int, turned: ir.Value, scratch: ir.Value, b: Operand,
    c: Operand, n: int, *, accumulate: bool, fetch: FetchTile | None,
) -> None:  # fmt: skip
    """C += rows * B for ``count`` rows; n columns of B, a multiple of 16, and k whole tiles.

    ``turned``: what ``call_turn`` made of the rows; ``scratch`` takes a tile.
    """
    b_stride, c_stride = static(b.column_stride), static(c.row_stride)

    def build(inner: ir.IRBuilder, arguments: Sequence[ir.Value], own_fetch: FetchTile | None) -> None:
        scales, own_turned, own_scratch, b_pointer, c_pointer, b_step, c_step = arguments
        own_b = Operand(b_pointer, b.dtype, 1, b_step if b_stride is None else b_stride)
        own_c = Operand(c_pointer, FP32, c_step if c_stride is None else c_stride, 1)
        own_rows = SplitRows(rows.unit, rows.m, rows.k, scales, scales, scales, scales)
        _InnerTiles(
            inner, own_rows, count, own_turned, own_scratch, own_b, own_c, n, accumulate, own_fetch
        ).emit()

    strides = strides_text((b_stride, c_stride))
    name = f"{PREFIX}.inner.{rows.unit.value}.{count}x{n}x{rows.k}.{strides}{'.add' * accumulate}"
    values = [rows.scales, turned, scratch, b.pointer, c.pointer, index(b.column_stride), index(c.row_stride)]
    call_fetching(builder, name, values, fetch, build)


@dataclass(frozen=True)
class _InnerTiles:
    """The body of ``call_inner_tiles``. Of ``rows`` it reads the scales."""

    builder: ir.IRBuilder
    rows: SplitRows
    count: int
    turned: ir.Value
    scratch: ir.Value
    b: Operand
    c: Operand
    n: int
    accumulate: bool
    fetch: FetchTile | None

    @property
    def is_resident(self) -> bool:
        """Whether all tiles of the rows stay in registers."""
        return _steps(self.rows) <= _RESIDENT

    def emit(self) -> None:
        builder = self.builder
        for number in range(_steps(self.rows) if self.is_resident else 0):
            self._load_rows(4 + number, number)
        b_bytes = builder.mul(index(self.b.column_stride), index(self.b.dtype.itemsize))

        def pair(i: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
            self._columns(i, b_bytes, together=2, start=0)
            return []

        emit_loop(builder, self.n // (2 * LANES), [], pair)
        if self.n % (2 * LANES):
            self._columns(index(0), b_bytes, together=1, start=self.n - LANES)

    def _columns(self, i: ir.Value, b_bytes: ir.Value, *, together: int, start: int) -> None:
        """Tiles of columns next to each other, whose products do not wait for each other."""
        builder = self.builder
        first = builder.add(builder.mul(i, index(together * LANES)), index(start))
        self._multiply(i, first, b_bytes, together, start)
        for block in range(together):
            sums = at_byte(builder, self.scratch, block * TILE_BYTES)
            move_tile(builder, "tilestored64", block, sums, VECTOR_BYTES)
            clear_tile(builder, block)

        def turn_back(block: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
            self._turn_back(i, first, block, together, start)
            return []

        emit_loop(builder, together, [], turn_back)

    def _multiply(self, i: ir.Value, first: ir.Value, b_bytes: ir.Value, together: int, start: int) -> None:
        """The sums of each tile of columns; between products half of its part is fetched."""
        builder, unit, steps = self.builder, self.rows.unit, _steps(self.rows)
        ask = None
        if self.fetch is not None:
            ask = self.fetch.parts_from(builder, i, 2 * together * LANES, 2 * self.n)
        for block in range(together):
            clear_tile(builder, block)
        for number in range(steps):
            if not self.is_resident:
                self._load_rows(4, number)
            for block in range(together):
                place = self.b.at(
                    builder, number * unit.vector_elements, builder.add(first, index(block * LANES))
                ).pointer
                move_tile(builder, "tileloadd64", 2 + block, place, b_bytes)
                multiply_tiles(builder, unit, block, 2 + block, 4 + number if self.is_resident else 4)
                clear_tile(builder, 2 + block)
                for part in range(LANES * number // steps, LANES * (number + 1) // steps):
                    if ask is not None:
                        ask(2 * (start + block * LANES) + part)
            if not self.is_resident:
                clear_tile(builder, 4)

    def _turn_back(self, i: ir.Value, first: ir.Value, block: ir.Value, together: int, start: int) -> None:
        """Store the sums of a tile of columns; meanwhile the other half of its part is fetched."""
        builder = self.builder
        position = builder.add(first, builder.mul(block, index(LANES)))
        sums = builder.gep(self.scratch, [builder.mul(block, index(TILE_BYTES))], source_etype=I8)
        ask = None
        if self.fetch is not None:
            number = builder.add(builder.mul(i, index(together)), block)
            ask = self.fetch.parts_from(builder, number, 2 * LANES, 2 * self.n)

        def before(line: int) -> None:
            if ask is not None:
                ask(2 * start + LANES + line)

        target = self.c.at(builder, 0, position)
        _store_turned(builder, self.rows, self.count, sums, target, self.accumulate, before)

    def _load_rows(self, register: int, number: int) -> None:
        place = at_byte(self.builder, self.turned, number * TILE_BYTES)
        move_tile(self.builder, "tileloadd64", register, place, VECTOR_BYTES)


def call_outer_tiles(
    builder: ir.IRBuilder, rows: SplitRows, count: int, panel: ir.Value, scratch: ir.Value, c: Operand,
    columns: int, *, accumulate: bool, fetch: FetchTile | None,
) -> None:  # fmt: skip
    """C += rows * B for ``count`` rows and a block of columns, interleaved in ``panel`` down to whole tiles.

    ``scratch`` takes as many tiles as a word has elements.
    """
    c_stride, unit = static(c.row_stride), rows.unit

    def build(inner: ir.IRBuilder, arguments: Sequence[ir.Value], own_fetch: FetchTile | None) -> None:
        parts, scales, panel_, scratch_, c_pointer, c_step = arguments
        own_c = Operand(c_pointer, FP32, c_step if c_stride is None else c_stride, 1)
        own_rows = SplitRows(unit, rows.m, rows.k, parts, parts, scales, scales)
        for number in range(unit.per_word):
            clear_tile(inner, number)
        line, products = unit.per_word * VECTOR_BYTES, unit.per_word * _steps(rows)

        def step(i: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
            place = inner.gep(parts, [inner.mul(i, index(VECTOR_BYTES))], source_etype=I8)
            move_tile(inner, "tileloadd64", 4, place, rows.padded * unit.element.itemsize)
            start = inner.gep(panel_, [inner.mul(i, index(LANES * line))], source_etype=I8)
            if own_fetch is not None:
                ask = own_fetch.parts_from(inner, i, unit.per_word, products + count)
            for number in range(unit.per_word):
                move_tile(
                    inner, "tileloadd64", 5 + number % 3, at_byte(inner, start, number * VECTOR_BYTES), line
                )
                multiply_tiles(inner, unit, number, 4, 5 + number % 3)
                clear_tile(inner, 5 + number % 3)
                if own_fetch is not None:
                    ask(number)
            clear_tile(inner, 4)
            return []

        emit_loop(inner, _steps(rows), [], step)
        for number in range(unit.per_word):
            move_tile(
                inner, "tilestored64", number, at_byte(inner, scratch_, number * TILE_BYTES), VECTOR_BYTES
            )
            clear_tile(inner, number)
        if own_fetch is not None:
            ask = own_fetch.parts_from(inner, index(0), products + count, products + count)
        for row in range(count):
            if own_fetch is not None:
                ask(products + row)
            sums = [_joined(inner, unit, scratch_, number, row, rows.k) for number in range(unit.per_word)]
            for number, total in enumerate(natural_order(inner, sums)):
                live = min(LANES, columns - number * LANES)
                if live > 0:
                    place = own_c.at(inner, row, number * LANES).pointer
                    finish_row(inner, own_rows, row, total, place, live, accumulate)

    name = f"{PREFIX}.outer.{unit.value}.{count}x{columns}x{rows.k}.{c_stride or 'r'}{'.add' * accumulate}"
    values = [rows.high, rows.scales, panel, scratch, c.pointer, index(c.row_stride)]
    call_fetching(builder, name, values, fetch, build)


def _steps(rows: SplitRows) -> int:
    """Tiles along k."""
    return rows.padded // rows.unit.vector_elements


def move_tile(
    builder: ir.IRBuilder, name: str, register: int, place: ir.Value, row_bytes: int | ir.Value
) -> None:
    """Load or store a tile register: ``tileloadd64``, ``tilestored64``."""
    operands = [ir.Constant(I8, register), place, index(row_bytes)]
    intrinsic(builder, f"llvm.x86.{name}", ir.VoidType(), operands)


def multiply_tiles(builder: ir.IRBuilder, unit: SplitUnit, sums: int, a: int, b: int) -> None:
    """sums += a * b, of tile registers."""
    name = "llvm.x86.tdpbssd" if unit is SplitUnit.INT8 else "llvm.x86.tdpbf16ps"
    intrinsic(builder, name, ir.VoidType(), [ir.Constant(I8, register) for register in (sums, a, b)])


def at_byte(builder: ir.IRBuilder, pointer: ir.Value, position: int | ir.Value) -> ir.Value:
    """The place so many bytes behind another."""
    return builder.gep(pointer, [index(position)], source_etype=I8)


def _load_line(builder: ir.IRBuilder, pointer: ir.Value, offset: int, element: ir.Type) -> ir.Value:
    """A line of a tile as 16 lanes."""
    return builder.load(at_byte(builder, pointer, offset), typ=vector_of(element, LANES), align=4)


def sum_type(unit: SplitUnit) -> ir.Type:
    """What a tile of sums holds."""
    return I32 if unit is SplitUnit.INT8 else F32


def _joined(
    builder: ir.IRBuilder, unit: SplitUnit, scratch: ir.Value, tile: int, row: int, k: int
) -> ir.Value:
    """The sums of a row from those of its high and low part."""
    offsets = [tile * TILE_BYTES + line * VECTOR_BYTES for line in (row, ROWS + row)]
    return join(
        builder, unit, [_load_line(builder, scratch, offset, sum_type(unit)) for offset in offsets], k
    )


def _store_turned(
    builder: ir.IRBuilder,
    rows: SplitRows,
    count: int,
    scratch: ir.Value,
    c: Operand,
    accumulate: bool,
    before_line: Callable[[int], None],
) -> None:
    """Turn the sums of sixteen columns round, and store those of each row."""
    lines = []
    for line in range(LANES):
        before_line(line)
        lines.append(_load_line(builder, scratch, line * VECTOR_BYTES, sum_type(rows.unit)))
    turned = transpose_square(builder, lines, 32)
    for row in range(count):
        total = join(builder, rows.unit, [turned[row], turned[ROWS + row]], rows.k)
        finish_row(builder, rows, row, total, c.at(builder, row, 0).pointer, LANES, accumulate)
