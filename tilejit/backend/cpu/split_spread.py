"""Few split rows (``split_rows``) times a matrix of wide rows, on tiles that are read as they lie in memory.

A word of a tile of the matrix is to hold neighbours along k. Where the matrix has its columns side by side,
a line of its memory holds neighbouring columns instead, and bringing it into words costs a shuffle and a
store a line. Instead the rows are spread: each part of a row comes once for each place in a word, with its
elements at that place and zeros at the others, so that word j of the sums is that of one column. Such copies
of few rows fit into one tile, and a product of full tiles takes no longer than one of nearly empty ones.

What a zero meets must be finite: a sum of bf16 products that is no number is formed once more, by fp32
multiply-adds, since a neighbour may be to blame. Tiles are cleared after their last use (``dot_amx``).

Blocks of k are short: hardware prefetchers follow some tens of rows at a time. Source: a core of a Sapphire
Rapids, one row and int8, share of a stream of reads by depth of a block: 16 rows 0.88, 32 rows 0.92, 64 rows
0.88, 128 rows 0.81.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from tilejit.backend.cpu.dot_amx import clear_tile
from tilejit.backend.cpu.dot_units import TILE_ROWS
from tilejit.backend.cpu.fetch import FetchTile, call_fetching
from tilejit.backend.cpu.loops import emit_loop, index, internal_function
from tilejit.backend.cpu.operand import Operand, load_vector, static, strides_text
from tilejit.backend.cpu.shuffles import shuffle
from tilejit.backend.cpu.split_kernels import finish_row, join
from tilejit.backend.cpu.split_rows import LANES, VECTOR_BYTES, SplitRows, SplitUnit
from tilejit.backend.cpu.split_tiles import PREFIX, TILE_BYTES, at_byte, move_tile, multiply_tiles, sum_type
from tilejit.backend.cpu.values import F32, I8, I16, I32, I64, POINTER, intrinsic, number, splat, vector_of
from tilejit.ir.types import FP32
from tilejit.records import dataclass

STEP = TILE_ROWS
"""Rows of the matrix that are one tile."""
_ROWS = {SplitUnit.INT8: range(1, 5), SplitUnit.BF16: range(3, 9)}
"""Rows that are spread. Fewer of bf16 are multiplied by fp32 multiply-adds in less time than tiles take; more
of them, or of those in two parts, would fill more tiles than packing the matrix is worth.
Source: two cores of a Sapphire Rapids, K and N 4096, time of what else there is over that of spread rows:
int8 1 row 1.16, 2 rows 1.11, 4 rows 1.06; bf16 1 row 0.93, 2 rows 0.88, 4 rows 1.37.
"""
_DEPTHS = {1: 2 * STEP, 2: 4 * STEP}
"""Depth of a block by groups: where there are two, sums take longer to put together."""
_RESIDENT = 2
"""Tiles of spread rows that stay in registers; more of them would use all that stand behind the eight."""
_INTEGERS, _FLOATS = vector_of(I32, LANES), vector_of(F32, LANES)


@dataclass(frozen=True)
class Spread:
    """``m`` rows: floats for int8's unit, for that of bf16 bf16."""

    unit: SplitUnit
    m: int

    @property
    def parts(self) -> int:
        """Those of a row; rows of bf16 are their own high part, the low one is zero."""
        return 2 if self.unit is SplitUnit.INT8 else 1

    @property
    def groups(self) -> int:
        """Tiles that the copies of all rows fill: of each part one at every place of a word."""
        return -(-self.m * self.parts * self.unit.per_word // TILE_ROWS)

    @property
    def depth(self) -> int:
        """Rows of the matrix to a block."""
        return _DEPTHS[self.groups]

    def fits(self, n: int, k: int) -> bool:
        """Whether that pays for so many rows, and the matrix is whole tiles."""
        return self.m in _ROWS[self.unit] and n % self.unit.vector_elements == 0 and k % STEP == 0

    def size_bytes(self, k: int) -> int:
        """What the copies of rows take."""
        return k // STEP * self.groups * TILE_BYTES

    def line(self, row: int, part: int, phase: int) -> int:
        """Where a copy stands among the lines of the groups' tiles, and its sums among those of theirs."""
        return (self.parts * row + part) * self.unit.per_word + phase


def call_spread(builder: ir.IRBuilder, spread: Spread, rows: SplitRows, into: ir.Value) -> None:
    """Make the copies of all rows: for each ``STEP`` along k the tiles of all groups."""
    unit = spread.unit

    def build(inner: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        high, low, target = arguments
        own = SplitRows(unit, rows.m, rows.k, high, low, high, high)
        element = I8 if unit is SplitUnit.INT8 else I16

        def step(i: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
            tiles = at_byte(inner, target, inner.mul(i, index(spread.groups * TILE_BYTES)))
            for row in range(rows.m):
                place = own.at(inner, row, inner.mul(i, index(STEP)))
                for part, source in enumerate((place.high, place.low)[: spread.parts]):
                    loaded = inner.load(source, typ=vector_of(element, LANES), align=1)
                    words = inner.zext(loaded, _INTEGERS)
                    for phase in range(unit.per_word):
                        copy = inner.shl(words, number(_INTEGERS, phase * unit.element.bits))
                        line = spread.line(row, part, phase)
                        inner.store(copy, at_byte(inner, tiles, line * VECTOR_BYTES), align=VECTOR_BYTES)
            return []

        emit_loop(inner, rows.k // STEP, [], step)

    name = f"tilejit.split.spread.{unit.value}.{rows.m}x{rows.k}"
    function = internal_function(builder.module, name, [POINTER] * 3, build)
    builder.call(function, [rows.high, rows.low, into])


@dataclass(frozen=True)
class _Block:
    """A block of k: ``depth`` rows of the matrix times all rows. Units: strides in elements."""

    spread: Spread
    rows: SplitRows
    depth: int
    copies: ir.Value
    scratch: ir.Value
    a: Operand
    b: Operand
    c: Operand
    accumulate: bool


def call_spread_tiles(
    builder: ir.IRBuilder, spread: Spread, rows: SplitRows, copies: ir.Value, scratch: ir.Value, a: Operand,
    b: Operand, c: Operand, n: int, depth: int, *, accumulate: bool, fetch: FetchTile | None,
) -> None:  # fmt: skip
    """C += rows * B for a block of k: ``depth`` rows of B, n columns.

    ``copies``: what ``call_spread`` made of the rows, from this block on; ``a``: the rows as they were before
    they were split, in bf16 for that unit; ``scratch`` takes a tile for each group.
    """
    b_stride, c_stride = static(b.row_stride), static(c.row_stride)

    def build(inner: ir.IRBuilder, arguments: Sequence[ir.Value], own_fetch: FetchTile | None) -> None:
        scales, copies_, scratch_, a_pointer, b_pointer, c_pointer, *given = arguments
        a_row, a_column, b_step, c_step = given
        block = _Block(
            spread,
            SplitRows(rows.unit, rows.m, rows.k, scales, scales, scales, scales),
            depth,
            copies_,
            scratch_,
            Operand(a_pointer, a.dtype, a_row, a_column),
            Operand(b_pointer, b.dtype, b_step if b_stride is None else b_stride, 1),
            Operand(c_pointer, FP32, c_step if c_stride is None else c_stride, 1),
            accumulate,
        )
        _emit_block(inner, block, n, own_fetch)

    strides = strides_text((b_stride, c_stride))
    name = f"{PREFIX}.spread.{rows.unit.value}.{rows.m}x{n}x{depth}.{strides}"
    values = [rows.scales, copies, scratch, a.pointer, b.pointer, c.pointer]
    values += [index(s) for s in (a.row_stride, a.column_stride, b.row_stride, c.row_stride)]
    call_fetching(builder, f"{name}{'.add' * accumulate}", values, fetch, build)


def _emit_block(builder: ir.IRBuilder, block: _Block, n: int, fetch: FetchTile | None) -> None:
    """Strip after strip of columns, one line of memory wide."""
    unit, groups, steps = block.spread.unit, block.spread.groups, block.depth // STEP
    strips, row_bytes = n // unit.vector_elements, index(block.b.row_stride)
    row_bytes = builder.mul(row_bytes, index(unit.element.itemsize))
    is_resident = groups * steps <= _RESIDENT
    own = 2 * groups  # registers: sums, as many tiles of the matrix, then the rows' own

    def load_rows(step: int, group: int, register: int) -> None:
        place = at_byte(builder, block.copies, (step * groups + group) * TILE_BYTES)
        move_tile(builder, "tileloadd64", register, place, VECTOR_BYTES)

    places = [(step, group) for step in range(steps) for group in range(groups)]
    for position, (step, group) in enumerate(places if is_resident else []):
        load_rows(step, group, own + position)

    def strip(i: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
        first = builder.mul(i, index(unit.vector_elements))
        if fetch is not None:
            fetch.emit_part(builder, i, strips)
        for group in range(groups):
            clear_tile(builder, group)
        for step in range(steps):
            matrix = groups + step % groups
            move_tile(
                builder, "tileloadd64", matrix, block.b.at(builder, step * STEP, first).pointer, row_bytes
            )
            for group in range(groups):
                left = own + (step * groups + group if is_resident else group)
                if not is_resident:
                    load_rows(step, group, left)
                multiply_tiles(builder, unit, group, left, matrix)
                if not is_resident:
                    clear_tile(builder, left)
            clear_tile(builder, matrix)
        for group in range(groups):
            move_tile(
                builder,
                "tilestored64",
                group,
                at_byte(builder, block.scratch, group * TILE_BYTES),
                VECTOR_BYTES,
            )
            clear_tile(builder, group)
        _finish_strip(builder, block, first)
        return []

    emit_loop(builder, strips, [], strip)
    for position in range(len(places) if is_resident else 0):
        clear_tile(builder, own + position)


def _finish_strip(builder: ir.IRBuilder, block: _Block, first: ir.Value) -> None:
    """Put the sums of a strip together, in the order of its columns, and into C."""
    sums = [_sums_of(builder, block, row) for row in range(block.spread.m)]
    if block.spread.unit is SplitUnit.BF16:
        sums = _finite_or_exact(builder, block, block.b.at(builder, 0, first), sums)
    for row, vectors in enumerate(sums):
        for position, vector in enumerate(_interleaved(builder, vectors)):
            place = block.c.at(builder, row, first).at(builder, 0, position * LANES).pointer
            finish_row(builder, block.rows, row, vector, place, LANES, block.accumulate)


def _sums_of(builder: ir.IRBuilder, block: _Block, row: int) -> list[ir.Value]:
    """The sums of a row, one vector for each place in a word."""
    spread, found = block.spread, []
    type_ = vector_of(sum_type(spread.unit), LANES)
    for phase in range(spread.unit.per_word):
        parts = []
        for part in range(spread.parts):
            place = _sum_place(builder, spread, block.scratch, row, part, phase)
            parts.append(builder.load(place, typ=type_, align=VECTOR_BYTES))
        found.append(parts[0] if spread.parts == 1 else join(builder, spread.unit, parts, block.depth))
    return found


def _sum_place(
    builder: ir.IRBuilder, spread: Spread, scratch: ir.Value, row: int, part: int, phase: int
) -> ir.Value:
    return at_byte(builder, scratch, spread.line(row, part, phase) * VECTOR_BYTES)


def _finite_or_exact(
    builder: ir.IRBuilder, block: _Block, b: Operand, sums: list[list[ir.Value]]
) -> list[list[ir.Value]]:
    """The sums of a strip; where one is no number, formed once more."""
    level = [vector for vectors in sums for vector in vectors]
    while len(level) > 1:
        level = [builder.fadd(*level[i : i + 2]) if i + 1 < len(level) else level[i]
                 for i in range(0, len(level), 2)]  # fmt: skip
    lanes = builder.bitcast(builder.fcmp_unordered("uno", level[0], level[0]), I16)
    before = builder.block
    with builder.if_then(builder.icmp_unsigned("!=", lanes, ir.Constant(I16, 0)), likely=False):
        _multiply_exactly(builder, block, b)
        again = [_sums_of(builder, block, row) for row in range(block.spread.m)]
        repaired = builder.block
    found: list[list[ir.Value]] = []
    for old, new in zip(sums, again, strict=True):
        found.append([])
        for x, y in zip(old, new, strict=True):
            phi = builder.phi(x.type)
            phi.add_incoming(x, before)
            phi.add_incoming(y, repaired)
            found[-1].append(phi)
    return found


def _interleaved(builder: ir.IRBuilder, vectors: list[ir.Value]) -> list[ir.Value]:
    """Lane 0 of all vectors, then lane 1 of all, and so on."""
    if len(vectors) == 1:
        return vectors
    even, odd = (_interleaved(builder, vectors[start::2]) for start in (0, 1))
    found = []
    for x, y in zip(even, odd, strict=True):
        for half in (0, LANES // 2):
            mask = [lane + side for lane in range(half, half + LANES // 2) for side in (0, LANES)]
            found.append(shuffle(builder, x, y, mask))
    return found


def _multiply_exactly(builder: ir.IRBuilder, block: _Block, b: Operand) -> None:
    """Form the sums of a strip of bf16 once more, where zeros met what is not finite."""
    depth, spread, a = block.depth, block.spread, block.a

    def build(inner: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        scratch, a_pointer, b_pointer, a_row, a_column, b_row = arguments
        rows = Operand(a_pointer, a.dtype, a_row, a_column)
        matrix = Operand(b_pointer, b.dtype, b_row, 1)
        for row in range(spread.m):

            def step(k: ir.Value, sums: Sequence[ir.Value], row: int = row) -> list[ir.Value]:
                words = inner.load(matrix.at(inner, k, 0).pointer, typ=_INTEGERS, align=2)
                scalar = load_vector(inner, rows.at(inner, row, k).pointer, a.dtype, 1, FP32)
                factor = splat(inner, scalar, LANES)
                elements = [
                    inner.shl(words, number(_INTEGERS, 16)),
                    inner.and_(words, number(_INTEGERS, 0xFFFF0000)),
                ]
                floats = [inner.bitcast(element, _FLOATS) for element in elements]
                return [
                    intrinsic(inner, "llvm.fma", _FLOATS, [x, factor, total], [_FLOATS])
                    for x, total in zip(floats, sums, strict=True)
                ]

            for phase, total in enumerate(emit_loop(inner, depth, [number(_FLOATS, 0.0)] * 2, step)):
                for part, value in enumerate((total, number(_FLOATS, 0.0))[: spread.parts]):
                    inner.store(
                        value, _sum_place(inner, spread, scratch, row, part, phase), align=VECTOR_BYTES
                    )

    name = f"tilejit.split.exact.{spread.m}x{depth}"
    function = internal_function(builder.module, name, [POINTER] * 3 + [I64] * 3, build)
    strides = [index(s) for s in (a.row_stride, a.column_stride, b.row_stride)]
    builder.call(function, [block.scratch, a.pointer, b.pointer, *strides])
