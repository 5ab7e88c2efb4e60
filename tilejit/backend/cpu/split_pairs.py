"""Rows of 16 bits times a row-major matrix of bytes, which is widened as it is read (``dot_split``).

Two rows of the matrix are interleaved, so that a word of 32 bits holds two elements of one column, and a unit
for 16 bits multiplies them by two of a row. Rows in two parts (``split_kernels``) take the matrix as bytes,
four of its rows at a time, but need two sums of each, which registers do not hold for four rows and more.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from tilejit.backend.cpu.dot_shape import row_blocks
from tilejit.backend.cpu.dot_units import add_int16_products
from tilejit.backend.cpu.fetch import FetchTile, call_fetching, fetch_lines
from tilejit.backend.cpu.loops import emit_loop, index
from tilejit.backend.cpu.operand import Operand, load_vector, static, strides_text
from tilejit.backend.cpu.shuffles import unpack
from tilejit.backend.cpu.split_kernels import finish_row, natural_order
from tilejit.backend.cpu.split_rows import LANES, VECTOR_BYTES, SplitRows
from tilejit.backend.cpu.values import I8, I16, I32, I64, number, splat, vector_of
from tilejit.ir.types import FP32, INT16
from tilejit.records import dataclass

_WIDTH = 64
"""Columns of a block: those of a vector of bytes."""
_HALF, _SUMS_BYTES = _WIDTH // 2, 4 * _WIDTH
_PER_BLOCK = 8  # elements of 16 bits in 128
_MOST_ROWS = 6
"""Rows that meet a block together: the sums of four vectors each, and a pair of rows of the matrix, take
nearly all registers.
"""
_STRAIGHT_PAIRS, _UNROLLED = 8, 2
"""Pairs of rows of the matrix up to which code for whole blocks has no loop, and those of a turn of it."""
BYTES_AHEAD = 128
"""How far ahead in a wide row of the matrix a line is asked for: prefetchers begin anew at every page.

Source: int8, two threads of a Cascade Lake, calls that alternate, with dots of bytes. 4096 x 11264 bytes, 256
bytes ahead, rate over that without: 1 and 4 rows 1.5 to 1.8. 128 over 256 bytes: 1 to 4 rows 0.98 to 1.06.
"""
ROWS_AHEAD = 64
"""How far below in a matrix of short rows lines are asked for, where no tile is fetched meanwhile.

Source: int8, two threads of a Cascade Lake, calls that alternate, 9 rounds; speed of 32 and 64 rows ahead
over asking for nothing, tiles [k, n]: 5 rows by 64 x 512 1.6 and 2.7, 3 rows by 512 x 512 1.16 and 1.16, 1,
2, 4 and 6 rows by 64 x 256 1.07 and 1.09, 1.0 and 1.0, 1.03 and 0.99, 1.0 and 0.99.
"""
_INTEGERS = vector_of(I32, LANES)


def pair_sums_bytes(rows: int, columns: int) -> int:
    """Scratch that sums need between passes: blocks of columns may not be whole at both ends."""
    return rows * (-(-columns // _WIDTH) + 1) * _SUMS_BYTES


def emit_pairs(
    builder: ir.IRBuilder, rows: SplitRows, b: Operand, c: Operand, n: int, pass_depth: int,
    sums: ir.Value | None, *, is_wide: bool, accumulate: bool, fetch: FetchTile | None,
) -> None:  # fmt: skip
    """Emit the product of whole rows and int8 B[k, n], ``pass_depth`` rows of which pass by at a time.

    With ``accumulate`` it is added to C. ``sums``: ``pair_sums_bytes`` bytes aligned to 64, where k is longer
    than a pass. ``is_wide``: rows of B are so long that prefetchers follow them.
    """
    _Passes(builder, rows, b, c, n, min(pass_depth, rows.k), sums, is_wide, accumulate).emit(fetch)


@dataclass(frozen=True)
class _Stage:
    """Whether a pass begins sums, and whether it ends them: i1, known only at run time."""

    first: ir.Value
    last: ir.Value


@dataclass(frozen=True)
class _Cut:
    """Blocks of columns: one of ``lead`` columns, ``whole`` ones, one of ``rest``; how many in all.

    Units: all are numbers, or all are i64.
    """

    lead: int | ir.Value
    whole: int | ir.Value
    rest: int | ir.Value
    count: int | ir.Value


class _Passes:
    """The loops around the kernel: passes over some rows of the matrix each, blocks of columns in them."""

    def __init__(
        self,
        builder: ir.IRBuilder,
        rows: SplitRows,
        b: Operand,
        c: Operand,
        n: int,
        depth: int,
        sums: ir.Value | None,
        is_wide: bool,
        accumulate: bool,
    ) -> None:
        self.builder, self.rows, self.b, self.c, self.n, self.depth = builder, rows, b, c, n, depth
        self.sums, self.is_wide, self.accumulate = sums, is_wide, accumulate
        self.cut = self._cut()

    def emit(self, fetch: FetchTile | None) -> None:
        """Sums stay integers until the last pass is done."""
        builder, k = self.builder, self.rows.k
        whole, rest = divmod(k, self.depth)
        passes = whole + bool(rest)

        def one(number_: ir.Value, depth: int) -> None:
            stage = None
            if passes > 1:
                stage = _Stage(
                    builder.icmp_signed("==", number_, index(0)),
                    builder.icmp_signed("==", number_, index(passes - 1)),
                )
            share = None if fetch is None else fetch.share(builder, number_, passes)
            self._emit_pass(builder.mul(number_, index(self.depth)), depth, stage, share)

        def full(i: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
            one(i, self.depth)
            return []

        emit_loop(builder, whole, [], full)
        if rest:
            one(index(whole), rest)

    def _cut(self) -> _Cut:
        """Blocks begin with lines of memory, where all rows begin at the same place of one.

        Source: int8, two threads of a Cascade Lake, calls that alternate, 11 rounds, rows that begin at byte
        16 of a line, as those of large numpy arrays do, speed over blocks from the first column on: 4096 x
        4096, 4096 x 11008, 11008 x 4096, 1 row 1.19, 1.08, -, 4 rows 1.09, 1.02, 1.01.
        """
        builder, stride = self.builder, static(self.b.row_stride)
        if not self.is_wide or (stride is not None and stride % _WIDTH):
            whole, rest = divmod(self.n, _WIDTH)
            return _Cut(0, whole, rest, whole + bool(rest))
        begins = builder.and_(builder.neg(builder.ptrtoint(self.b.pointer, I64)), index(_WIDTH - 1))
        uneven = builder.and_(index(self.b.row_stride), index(_WIDTH - 1))
        lead = builder.select(builder.icmp_signed("==", uneven, index(0)), begins, index(0))
        others = builder.sub(index(self.n), lead)
        whole = builder.udiv(others, index(_WIDTH))
        rest = builder.and_(others, index(_WIDTH - 1))
        count = builder.add(self._any(lead), builder.add(whole, self._any(rest)))
        return _Cut(lead, whole, rest, count)

    def _any(self, columns: ir.Value) -> ir.Value:
        """1 where there are columns, else 0."""
        return self.builder.zext(self.builder.icmp_signed("!=", columns, index(0)), I64)

    def _emit_pass(self, first: ir.Value, depth: int, stage: _Stage | None, fetch: FetchTile | None) -> None:
        """Blocks of columns of ``depth`` rows of the matrix from ``first`` on."""
        builder, cut = self.builder, self.cut
        if isinstance(cut.lead, int):
            before, column = index(0), index(0)
        else:
            before, column = self._any(cut.lead), cut.lead
            with builder.if_then(builder.icmp_signed("!=", cut.lead, index(0))):
                self._emit_block(index(0), index(0), cut.lead, first, depth, stage, fetch)

        def whole(i: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
            own = builder.add(column, builder.mul(i, index(_WIDTH)))
            self._emit_block(builder.add(before, i), own, _WIDTH, first, depth, stage, fetch)
            return []

        emit_loop(builder, cut.whole, [], whole)

        def rest() -> None:
            number_ = builder.add(before, index(cut.whole))
            own = builder.sub(index(self.n), index(cut.rest))
            self._emit_block(number_, own, cut.rest, first, depth, stage, fetch)

        if isinstance(cut.rest, int):
            if cut.rest:
                rest()
        else:
            with builder.if_then(builder.icmp_signed("!=", cut.rest, index(0))):
                rest()

    def _emit_block(
        self,
        number_: ir.Value,
        column: ir.Value,
        columns: int | ir.Value,
        first: ir.Value,
        depth: int,
        stage: _Stage | None,
        fetch: FetchTile | None,
    ) -> None:
        """Block ``number_``, from ``column`` on, times all rows; the first of them ask for what is next."""
        builder, m = self.builder, self.rows.m
        rows, b = self.rows.at(builder, 0, first), self.b.at(builder, first, 0)
        ahead = self._ahead(b, number_, column) if self.is_wide or fetch is None else None
        for row, size in row_blocks(m, _MOST_ROWS):
            sums = None
            if stage is not None:
                place = builder.mul(number_, index(m * _SUMS_BYTES))
                sums = builder.gep(self.sums, [builder.add(place, index(row * _SUMS_BYTES))], source_etype=I8)
            _call_kernel(
                builder, rows.at(builder, row), size, b.at(builder, 0, column),
                self.c.at(builder, row, column), columns, depth, stage, sums,
                ahead=ahead if row == 0 else None, accumulate=self.accumulate,
                fetch=self._share(fetch, number_) if row == 0 else None,
            )  # fmt: skip

    def _share(self, fetch: FetchTile | None, number_: ir.Value) -> FetchTile | None:
        """What a block fetches; one block more than there are parts has the last of these once more."""
        if fetch is None:
            return None
        parts = -(-self.n // _WIDTH)
        is_part = self.builder.icmp_signed("<", number_, index(parts))
        return fetch.share(self.builder, self.builder.select(is_part, number_, index(parts - 1)), parts)

    def _ahead(self, b: Operand, number_: ir.Value, column: ir.Value) -> ir.Value:
        """What is asked for when a block is read: further on in its rows, or in those of the next pass."""
        builder = self.builder
        if not self.is_wide:
            return b.at(builder, ROWS_AHEAD, column).pointer
        following = builder.add(number_, index(BYTES_AHEAD // _WIDTH))
        turned = builder.sub(following, index(self.cut.count))
        # Of the next pass's blocks, the first or the second.
        lead = index(self.cut.lead)
        second = builder.select(builder.icmp_signed("==", lead, index(0)), index(_WIDTH), lead)
        other = builder.select(builder.icmp_signed("==", turned, index(0)), index(0), second)
        row = builder.mul(index(self.depth), index(b.row_stride))
        offset = builder.select(
            builder.icmp_signed("<", turned, index(0)),
            builder.add(column, index(BYTES_AHEAD)),
            builder.add(row, other),
        )
        return b.at(builder, 0, offset).pointer


@dataclass(frozen=True)
class _Kernel:
    """What a function is made for: ``rows`` rows times ``k`` rows of a block. ``is_pass``: one of several.

    Units: strides in elements; None where known only at run time, as ``columns`` may be.
    """

    rows: int
    columns: int | None
    k: int
    row_stride: int
    b_stride: int | None
    c_stride: int | None
    is_pass: bool
    accumulate: bool
    asks_ahead: bool

    @property
    def name(self) -> str:
        sizes = f"{self.rows}x{self.columns or 'r'}x{self.k}of{self.row_stride}"
        strides = strides_text((self.b_stride, self.c_stride))
        flags = ".pass" * self.is_pass + ".add" * self.accumulate + ".ahead" * self.asks_ahead
        return f"tilejit.dot.split.pairs.{sizes}.{strides}{flags}"

    @property
    def halves(self) -> range:
        """The halves of the block that have columns."""
        return range(2 if self.columns is None else -(-self.columns // _HALF))


def _call_kernel(
    builder: ir.IRBuilder, rows: SplitRows, count: int, b: Operand, c: Operand,
    columns: int | ir.Value, k: int, stage: _Stage | None, sums: ir.Value | None, *, ahead: ir.Value | None,
    accumulate: bool, fetch: FetchTile | None,
) -> None:  # fmt: skip
    """Multiply ``count`` whole rows by k rows of a block of ``b``.

    ``sums``: where those of this block are between passes, aligned to 64. ``ahead``: the line at this place,
    in each of k rows as far apart as those of ``b``, is brought into the cache.
    """
    assert rows.is_whole and count <= _MOST_ROWS
    kernel = _Kernel(
        count,
        columns if isinstance(columns, int) else None,
        k,
        rows.padded,
        static(b.row_stride),
        static(c.row_stride),
        stage is not None,
        accumulate,
        ahead is not None,
    )
    given = [] if ahead is None else [ahead]
    if stage is not None:
        given += [sums, builder.zext(stage.first, I64), builder.zext(stage.last, I64)]

    def build(inner: ir.IRBuilder, arguments: Sequence[ir.Value], own_fetch: FetchTile | None) -> None:
        words, scales, b_pointer, c_pointer, b_stride, c_stride, own_columns, *others = arguments
        nothing = words  # in the place of what whole rows do not have
        own_rows = SplitRows(rows.unit, rows.m, rows.k, words, nothing, scales, nothing, is_whole=True)
        own_b = Operand(b_pointer, b.dtype, b_stride if kernel.b_stride is None else kernel.b_stride, 1)
        own_c = Operand(c_pointer, FP32, c_stride if kernel.c_stride is None else kernel.c_stride, 1)
        live = inner.trunc(own_columns, I32) if kernel.columns is None else kernel.columns
        own_ahead = None if ahead is None else Operand(others.pop(0), b.dtype, own_b.row_stride, 1)
        own_sums, own_stage = None, None
        if stage is not None:
            own_sums, *flags = others
            own_stage = _Stage(*(inner.icmp_signed("!=", flag, index(0)) for flag in flags))
        emitter = _KernelEmitter(
            inner, kernel, own_rows, own_b, own_c, live, own_sums, own_stage, own_ahead, own_fetch
        )
        emitter.emit()

    values = [rows.high, rows.scales, b.pointer, c.pointer]
    values += [index(b.row_stride), index(c.row_stride), index(columns), *given]
    call_fetching(builder, kernel.name, values, fetch, build)


class _KernelEmitter:
    """Emits the function of a block."""

    def __init__(
        self,
        builder: ir.IRBuilder,
        kernel: _Kernel,
        rows: SplitRows,
        b: Operand,
        c: Operand,
        columns: int | ir.Value,
        sums: ir.Value | None,
        stage: _Stage | None,
        ahead: Operand | None,
        fetch: FetchTile | None,
    ) -> None:
        self.builder, self.kernel, self.rows, self.b, self.c = builder, kernel, rows, b, c
        self.columns, self.sums, self.stage, self.ahead, self.fetch = columns, sums, stage, ahead, fetch

    def emit(self) -> None:
        builder = self.builder
        sums = self._products(self._starts())
        if self.stage is None:
            self._finish(sums)
            return
        with builder.if_else(self.stage.last) as (ending, keeping):
            with ending:
                self._finish(sums)
            with keeping:
                for i, total in enumerate(sums):
                    builder.store(total, self._place(i), align=VECTOR_BYTES)

    def _live(self, number_: int, size: int) -> int | ir.Value:
        """How many columns there are of a part of the block of ``size`` columns, or more than it has."""
        if isinstance(self.columns, int):
            return min(size, self.columns - number_ * size)
        return self.builder.sub(self.columns, ir.Constant(I32, number_ * size))

    def _place(self, number_: int) -> ir.Value:
        """Where one of the vectors of sums lies between passes."""
        return self.builder.gep(self.sums, [index(number_ * VECTOR_BYTES)], source_etype=I8)

    def _starts(self) -> list[ir.Value]:
        """What sums begin with: zero, or those of the pass before."""
        builder, count = self.builder, 2 * self.kernel.rows * len(self.kernel.halves)
        zeros = [number(_INTEGERS, 0)] * count
        if self.stage is None:
            return zeros
        before = builder.block
        with builder.if_then(builder.not_(self.stage.first)):
            loaded = [builder.load(self._place(i), typ=_INTEGERS, align=VECTOR_BYTES) for i in range(count)]
            loading = builder.block
        starts = [builder.phi(_INTEGERS) for _ in range(count)]
        for start, zero, value in zip(starts, zeros, loaded, strict=True):
            start.add_incoming(zero, before)
            start.add_incoming(value, loading)
        return starts

    def _products(self, sums: list[ir.Value]) -> list[ir.Value]:
        """The sums after all rows of the matrix."""
        builder = self.builder
        whole, odd = divmod(self.kernel.k, 2)
        straight, unrolled = whole, _UNROLLED
        if self.kernel.columns is None:
            straight, unrolled = 0, 1  # it is rarely called, and takes as long to compile
        if whole > _STRAIGHT_PAIRS or not straight:
            turns, straight = divmod(whole, unrolled)

            def turn(i: ir.Value, carried: Sequence[ir.Value]) -> list[ir.Value]:
                first = builder.mul(i, index(unrolled))
                for pair in range(unrolled):
                    carried = self._step(builder.add(first, index(pair)), carried)
                return list(carried)

            sums = emit_loop(builder, turns, sums, turn)
        for pair in range(whole - straight, whole):
            sums = self._step(index(pair), sums)
        return self._step(index(whole), sums, live=1) if odd else sums

    def _step(self, pair: ir.Value, sums: Sequence[ir.Value], live: int = 2) -> list[ir.Value]:
        """Two rows of the matrix, of which ``live`` are there, times all rows."""
        builder, kernel = self.builder, self.kernel
        if self.fetch is not None:
            self.fetch.emit_part(builder, pair, -(-kernel.k // 2))
        first = builder.mul(pair, index(2))
        vectors = [vector for half in kernel.halves for vector in self._words(half, first, live)]
        result = list(sums)
        for row in range(kernel.rows):
            place = self.rows.at(builder, row, first).high
            factor = splat(builder, builder.load(place, typ=I32, align=2), LANES)
            for i, vector in enumerate(vectors, row * len(vectors)):
                result[i] = add_int16_products(builder, vector, factor, result[i])
            self._ask(first, [i for i in range(live) if i * kernel.rows // 2 == row])
        return result

    def _ask(self, first: ir.Value, numbers: Sequence[int]) -> None:
        """Ask for lines of some rows, in between the products, where there is room for more loads."""
        if self.ahead is None:
            return
        for i in numbers:
            line = self.ahead.at(self.builder, self.builder.add(first, index(i)), 0).pointer
            fetch_lines(self.builder, line, 1, VECTOR_BYTES, locality=3)

    def _words(self, half: int, first: ir.Value, live: int) -> list[ir.Value]:
        """Two rows of the matrix as words; block l of vector v of a half holds columns 8 l + 4 v to + 3."""
        builder, zero = self.builder, number(vector_of(I16, _HALF), 0)
        places = [self.b.at(builder, builder.add(first, index(row)), half * _HALF) for row in range(live)]
        pair = [
            load_vector(builder, place.pointer, place.dtype, _HALF, INT16, self._live(half, _HALF))
            for place in places
        ]
        second = pair[1] if live > 1 else zero
        return [unpack(builder, pair[0], second, _PER_BLOCK, part) for part in (0, 1)]

    def _finish(self, sums: Sequence[ir.Value]) -> None:
        """Put the columns of the sums in order, scale them and bring them to C."""
        builder, kernel = self.builder, self.kernel
        for row in range(kernel.rows):
            for half in kernel.halves:
                start = 2 * (row * len(kernel.halves) + half)
                for i, total in enumerate(natural_order(builder, sums[start : start + 2]), 2 * half):
                    live = self._live(i, LANES)
                    if not isinstance(live, int) or live > 0:
                        place = self.c.at(builder, row, i * LANES).pointer
                        finish_row(builder, self.rows, row, total, place, live, kernel.accumulate)
