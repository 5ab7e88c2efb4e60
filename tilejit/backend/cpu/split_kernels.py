"""Micro-kernels that multiply split rows (``split_rows``) by a matrix of the dot unit's own element type.

``inner``: the matrix is contiguous along k. Sixteen columns at a time, the products of each stay in a vector
of their own, and all are summed across lanes together. ``outer``: its rows are contiguous, and interleaved in
scratch so that a word holds the elements of one column that follow each other along k; a block of columns
comes in an order of its own, which the sums are put back from. ``split_pairs`` takes such rows in place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from tilejit.backend.cpu.dot_units import add_byte_products, flip
from tilejit.backend.cpu.fetch import FetchTile, call_fetching, fetch_lines
from tilejit.backend.cpu.loops import emit_loop, index
from tilejit.backend.cpu.operand import Operand, lane_mask, load_vector, static, strides_text
from tilejit.backend.cpu.shuffles import shuffle, sum_pair, transpose_blocks, unpack
from tilejit.backend.cpu.split_rows import DEEPEST, LANES, VECTOR_BYTES, SplitRows, SplitUnit
from tilejit.backend.cpu.values import (
    F32,
    I8,
    I32,
    POINTER,
    intrinsic,
    number,
    splat,
    unset_lanes,
    vector_of,
)  # fmt: skip
from tilejit.ir.types import FP32
from tilejit.records import dataclass

COLUMNS = 16
_MOST_SUMS = 24
"""Registers of 32 that hold sums in the outer form, beside a few vectors of the matrix."""
_INTEGERS, _FLOATS = vector_of(I32, LANES), vector_of(F32, LANES)


@dataclass(frozen=True)
class Kernel:
    """What a micro-kernel is made for: ``rows`` rows at a time, ``columns`` columns.

    Units: strides in elements; None where known only at run time.
    """

    unit: SplitUnit
    rows: int
    columns: int
    k: int
    b_stride: int | None
    c_stride: int | None
    accumulate: bool

    def name(self, form: str) -> str:
        strides = strides_text((self.b_stride, self.c_stride))
        return (
            f"tilejit.dot.split.{form}.{self.unit.value}.{self.rows}x{self.columns}x{self.k}.{strides}"
            f"{'.add' * self.accumulate}"
        )


def group_columns(unit: SplitUnit) -> int:
    """Columns that one vector of a row-major matrix holds: the block of the outer form."""
    return unit.vector_elements


def vectors_together(unit: SplitUnit, rows: int) -> int:
    """Of the vectors of a block of columns, those whose sums, two for each row, fit into registers."""
    fitting = [count for count in (1, 2, 4) if count <= unit.per_word and 2 * rows * count <= _MOST_SUMS]
    return max(fitting, default=1)


def call_inner(
    builder: ir.IRBuilder, rows: SplitRows, count: int, b: Operand, c: Operand, n: int, *,
    accumulate: bool, fetch: FetchTile | None,
) -> None:  # fmt: skip
    """Call the inner form on ``count`` rows and n columns of ``b``, whose column stride is their distance."""
    call_by_columns(builder, "inner", _inner_blocks, rows, count, b, c, n, accumulate=accumulate, fetch=fetch)


EmitBlocks = Callable[
    [ir.IRBuilder, Kernel, SplitRows, Operand, Operand, FetchTile | None, Sequence[ir.Value]], None
]
"""Takes a builder, the kernel, the rows, B, C, what to fetch, and pointers of the form's own."""


def call_by_columns(
    builder: ir.IRBuilder, form: str, emit_blocks: EmitBlocks, rows: SplitRows, count: int, b: Operand,
    c: Operand, n: int, *pointers: ir.Value, accumulate: bool, fetch: FetchTile | None,
) -> None:  # fmt: skip
    """Call a function whose blocks of columns, each contiguous along k, ``emit_blocks`` emits."""
    kernel = Kernel(rows.unit, count, n, rows.k, static(b.column_stride), static(c.row_stride), accumulate)

    def build(inner: ir.IRBuilder, arguments: Sequence[ir.Value], own_fetch: FetchTile | None) -> None:
        high, low, scales, starts, b_pointer, c_pointer, b_stride, c_stride, *own = arguments
        own_rows = SplitRows(rows.unit, rows.m, rows.k, high, low, scales, starts, rows.is_whole)
        own_b = Operand(b_pointer, b.dtype, 1, b_stride if kernel.b_stride is None else kernel.b_stride)
        own_c = Operand(c_pointer, FP32, c_stride if kernel.c_stride is None else kernel.c_stride, 1)
        emit_blocks(inner, kernel, own_rows, own_b, own_c, own_fetch, own)

    values = [*rows.values, b.pointer, c.pointer, index(b.column_stride), index(c.row_stride), *pointers]
    call_fetching(builder, kernel.name(form), values, fetch, build)


def call_outer(
    builder: ir.IRBuilder, rows: SplitRows, count: int, packed: ir.Value, c: Operand, columns: int, *,
    accumulate: bool, fetch: FetchTile | None,
) -> None:  # fmt: skip
    """Call the outer form on ``count`` rows and one block of columns that ``call_pack`` has packed."""
    kernel = Kernel(rows.unit, count, columns, rows.k, None, static(c.row_stride), accumulate)

    def build(inner: ir.IRBuilder, arguments: Sequence[ir.Value], own_fetch: FetchTile | None) -> None:
        high, low, scales, starts, own_packed, c_pointer, c_stride = arguments
        own_rows = SplitRows(rows.unit, rows.m, rows.k, high, low, scales, starts)
        own_c = Operand(c_pointer, FP32, c_stride if kernel.c_stride is None else kernel.c_stride, 1)
        _outer_block(inner, kernel, own_rows, own_packed, own_c, own_fetch)

    values = [*rows.values, packed, c.pointer, index(c.row_stride)]
    call_fetching(builder, kernel.name("outer"), values, fetch, build)


def call_pack(
    builder: ir.IRBuilder, unit: SplitUnit, b: Operand, k: int, columns: int, into: ir.Value, *,
    unsigned: bool, words: int, groups: int, fetch: FetchTile | None, asks_ahead: bool = False,
) -> None:  # fmt: skip
    """Interleave k rows of blocks of columns into scratch, as ``packed`` outer kernels read them.

    ``groups`` blocks next to each other become panels one after the other; the rows are read to their ends
    before the next. ``words``: the words along k that a panel has room for; those past the end are zero.
    ``unsigned``: bytes plus 128, and nothing past the end, which vectors do not read. ``asks_ahead``: lines
    of the rows that come next are brought into the cache.
    """
    fixed = static(b.row_stride)

    def build(inner: ir.IRBuilder, arguments: Sequence[ir.Value], own_fetch: FetchTile | None) -> None:
        pointer, target, row_stride = arguments
        source = Operand(pointer, b.dtype, row_stride if fixed is None else fixed, 1)
        whole, rest = divmod(k, unit.per_word)

        panel_bytes = words * unit.per_word * VECTOR_BYTES

        def store(word: ir.Value, group: ir.Value, vectors: Sequence[ir.Value]) -> None:
            panel = inner.gep(target, [inner.mul(group, index(panel_bytes))], source_etype=I8)
            for number_, vector in enumerate(vectors):
                position = inner.add(inner.mul(word, index(unit.per_word)), index(number_))
                place = inner.gep(panel, [inner.mul(position, index(VECTOR_BYTES))], source_etype=I8)
                inner.store(vector, place, align=VECTOR_BYTES)

        def step(word: ir.Value, _: Sequence[ir.Value], live: int = unit.per_word) -> list[ir.Value]:
            def block(group: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
                if own_fetch is not None:
                    position = inner.add(inner.mul(word, index(groups)), group)
                    own_fetch.emit_part(inner, position, -(-k // unit.per_word) * groups)
                columns_ = source.at(inner, 0, inner.mul(group, index(group_columns(unit))))
                if asks_ahead:
                    following = inner.mul(inner.add(word, index(1)), index(unit.per_word))
                    _ask_for(inner, columns_, following, live)
                store(word, group, _interleaved(inner, unit, columns_, word, columns, live, unsigned))
                return []

            emit_loop(inner, groups, [], block)
            return []

        emit_loop(inner, whole, [], step)
        if rest:
            step(index(whole), [], rest)
        filled = whole + bool(rest)
        if not unsigned and filled < words:  # tiles read whole panels

            def clear(group: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
                for word in range(filled, words):
                    store(index(word), group, [number(_INTEGERS, 0)] * unit.per_word)
                return []

            emit_loop(inner, groups, [], clear)

    name = f"tilejit.dot.split.pack.{unit.value}.{k}x{columns}x{words}.{groups}.{fixed or 'r'}"
    name += ".unsigned" * unsigned + ".ahead" * asks_ahead
    call_fetching(builder, name, [b.pointer, into, index(b.row_stride)], fetch, build)


def load_padded_words(builder: ir.IRBuilder, unit: SplitUnit, place: ir.Value, live: int) -> ir.Value:
    """A vector of the matrix as words; elements from ``live`` on are zero."""
    loaded = load_vector(builder, place, unit.element, unit.vector_elements, unit.element, live)
    return builder.bitcast(loaded, _INTEGERS)


# Inner form


def _inner_blocks(
    builder: ir.IRBuilder, kernel: Kernel, rows: SplitRows, b: Operand, c: Operand, fetch: FetchTile | None,
    _pointers: Sequence[ir.Value],
) -> None:  # fmt: skip
    whole, rest = divmod(kernel.columns, COLUMNS)

    def block(i: ir.Value, _: Sequence[ir.Value], count: int = COLUMNS) -> list[ir.Value]:
        first = builder.mul(i, index(COLUMNS))
        fetching = None if fetch is None else (fetch, first, kernel.columns)
        _inner_block(builder, kernel, rows, b.at(builder, 0, first), c.at(builder, 0, first), count, fetching)
        return []

    emit_loop(builder, whole, [], block)
    if rest:
        block(index(whole), [], rest)


def _inner_block(
    builder: ir.IRBuilder,
    kernel: Kernel,
    rows: SplitRows,
    b: Operand,
    c: Operand,
    columns: int,
    fetching: tuple[FetchTile, ir.Value, int] | None,
) -> None:
    """``columns`` columns: their sums, one vector a row."""

    def products(column: int) -> list[ir.Value]:
        if fetching is not None:
            fetch, first, parts = fetching
            fetch.emit_part(builder, builder.add(first, index(column)), parts)
        return _column_products(builder, kernel, rows, b.at(builder, 0, column))

    def tree(level: int, first: int) -> list[ir.Value] | None:
        """The sums of 2 ** level columns, for each row: as early as their parts are there."""
        if first >= columns:
            return None
        if level == 0:
            return products(first)
        left, right = tree(level - 1, first), tree(level - 1, first + (1 << (level - 1)))
        assert left is not None
        others = right or [unset_lanes(left[0].type.element, LANES)] * kernel.rows
        return [
            sum_pair(builder, x, y, level - 1, 32, builder.add) for x, y in zip(left, others, strict=True)
        ]

    sums = tree(COLUMNS.bit_length() - 1, 0)
    assert sums is not None
    for row, total in enumerate(sums):
        finish_row(builder, rows, row, total, c.at(builder, row, 0).pointer, columns, kernel.accumulate)


def _column_products(builder: ir.IRBuilder, kernel: Kernel, rows: SplitRows, b: Operand) -> list[ir.Value]:
    """For each row the products with one column, summed down to a vector."""
    unit, size = kernel.unit, kernel.unit.vector_elements
    words = [
        flip(
            builder,
            load_padded_words(builder, unit, b.at(builder, start, 0).pointer, min(size, kernel.k - start)),
        )
        for start in range(0, kernel.k, size)
    ]
    result = []
    for row in range(kernel.rows):
        sums = starts_of(builder, rows.at(builder, row))
        for step, memory in enumerate(words):
            place = rows.at(builder, row, step * size)
            for part, pointer in enumerate((place.high, place.low)):
                vector = builder.load(pointer, typ=_INTEGERS, align=4)
                sums[part] = add_byte_products(builder, memory, vector, sums[part])
        result.append(join(builder, unit, sums, kernel.k))
    return result


def starts_of(builder: ir.IRBuilder, rows: SplitRows) -> list[ir.Value]:
    """What the sums of the high and of the low part of a row begin with."""
    return [number(_INTEGERS, 0), builder.load(rows.starts, typ=_INTEGERS, align=4)]


def join(builder: ir.IRBuilder, unit: SplitUnit, sums: Sequence[ir.Value], k: int) -> ir.Value:
    """The sum of k products from those of the parts; a sum of more than ``DEEPEST`` may need a float."""
    if unit is SplitUnit.BF16:
        return builder.fadd(sums[0], sums[1])
    if k <= DEEPEST:
        return builder.add(builder.shl(sums[0], number(_INTEGERS, 8)), sums[1])
    high, low = (builder.sitofp(part, _FLOATS) for part in sums)
    return intrinsic(builder, "llvm.fma", _FLOATS, [high, number(_FLOATS, 256.0), low], [_FLOATS])


def finish_row(
    builder: ir.IRBuilder,
    rows: SplitRows,
    row: int,
    total: ir.Value,
    place: ir.Value,
    live: int | ir.Value,
    accumulate: bool,
) -> None:
    """Scale the sums of a row and store the first ``live`` to C, or add them to what is there."""
    start = load_vector(builder, place, FP32, LANES, FP32, live) if accumulate else None
    value = total
    if rows.unit is SplitUnit.INT8:
        factor = splat(builder, builder.load(rows.at(builder, row).scales, typ=F32, align=4), LANES)
        value = builder.sitofp(total, _FLOATS) if total.type == _INTEGERS else total
        if start is not None:
            value = intrinsic(builder, "llvm.fma", _FLOATS, [value, factor, start], [_FLOATS])
        else:
            value = builder.fmul(value, factor)
    elif start is not None:
        value = builder.fadd(start, value)
    if isinstance(live, int) and live == LANES:
        builder.store(value, place, align=4)
        return
    operands = [value, place, ir.Constant(I32, 4), lane_mask(builder, LANES, live)]
    intrinsic(builder, "llvm.masked.store", ir.VoidType(), operands, [_FLOATS, POINTER])


# Outer form


def _outer_block(
    builder: ir.IRBuilder,
    kernel: Kernel,
    rows: SplitRows,
    packed: ir.Value,
    c: Operand,
    fetch: FetchTile | None,
) -> None:
    unit = kernel.unit
    together = vectors_together(unit, kernel.rows)
    totals: list[list[ir.Value]] = [[] for _ in range(kernel.rows)]
    for first in range(0, unit.per_word, together):
        part = _Part(first, together, fetch if first == 0 else None)
        for row, found in enumerate(_outer_products(builder, kernel, rows, packed, part)):
            totals[row] += found
    for row, own in enumerate(totals):
        for number_, total in enumerate(natural_order(builder, own)):
            live = min(LANES, kernel.columns - number_ * LANES)
            if live > 0:
                place = c.at(builder, row, number_ * LANES).pointer
                finish_row(builder, rows, row, total, place, live, kernel.accumulate)


@dataclass(frozen=True)
class _Part:
    """The vectors of words whose sums stay in registers together; what to fetch meanwhile."""

    first: int
    count: int
    fetch: FetchTile | None

    @property
    def end(self) -> int:
        return self.first + self.count


def _outer_products(
    builder: ir.IRBuilder,
    kernel: Kernel,
    rows: SplitRows,
    packed: ir.Value,
    part: _Part,
) -> list[list[ir.Value]]:
    """For each row its sums with some of the vectors of a block of columns."""
    unit, count = kernel.unit, part.count
    starts = [
        start
        for row in range(kernel.rows)
        for _ in range(count)
        for start in starts_of(builder, rows.at(builder, row))
    ]
    words = -(-kernel.k // unit.per_word)

    def step(word: ir.Value, sums: Sequence[ir.Value]) -> list[ir.Value]:
        if part.fetch is not None:
            part.fetch.emit_part(builder, word, words)
        vectors = _words_in_scratch(builder, packed, word, unit.per_word)[part.first : part.end]
        result = list(sums)
        for row in range(kernel.rows):
            place = rows.at(builder, row, builder.mul(word, index(unit.per_word)))
            parts = [
                splat(builder, builder.load(pointer, typ=I32, align=4), LANES)
                for pointer in (place.high, place.low)
            ]
            for number_, vector in enumerate(vectors):
                for side, factor in enumerate(parts):
                    at = 2 * (row * count + number_) + side
                    result[at] = add_byte_products(builder, vector, factor, result[at])
        return result

    sums = emit_loop(builder, words, starts, step)
    joined = [join(builder, unit, sums[i : i + 2], kernel.k) for i in range(0, len(sums), 2)]
    return [joined[row * count : (row + 1) * count] for row in range(kernel.rows)]


def _ask_for(builder: ir.IRBuilder, b: Operand, first: ir.Value, rows: int) -> None:
    """Ask for the first line of each of ``rows`` rows of the matrix from ``first`` on."""
    place = b.at(builder, first, 0)
    for row in range(rows):
        fetch_lines(builder, place.at(builder, row, 0).pointer, 1, VECTOR_BYTES, locality=3)


def _words_in_scratch(builder: ir.IRBuilder, pointer: ir.Value, word: ir.Value, count: int) -> list[ir.Value]:
    """The vectors of a step of words, which lie next to each other."""
    step = builder.mul(word, index(count * VECTOR_BYTES))
    base = builder.gep(pointer, [step], source_etype=I8)
    places = [builder.gep(base, [index(i * VECTOR_BYTES)], source_etype=I8) for i in range(count)]
    return [builder.load(place, typ=_INTEGERS, align=VECTOR_BYTES) for place in places]


def _interleaved(
    builder: ir.IRBuilder,
    unit: SplitUnit,
    b: Operand,
    word: ir.Value,
    columns: int,
    live: int,
    unsigned: bool,
) -> list[ir.Value]:
    """The rows of one step along k as words; block l of vector j holds the columns 4 * (per_word * l + j) + 0
    to 3.
    """
    first = b.at(builder, builder.mul(word, index(unit.per_word)), 0)
    bits, lanes = unit.element.bits, unit.vector_elements
    zero = number(_INTEGERS, 0)
    vectors = [
        load_padded_words(builder, unit, first.at(builder, row, 0).pointer, columns) if row < live else zero
        for row in range(unit.per_word)
    ]
    while bits < 32:
        type_ = vector_of(ir.IntType(bits), lanes)
        per_block = 128 // bits
        merged: list[ir.Value] = []
        # Pairs of neighbours first, then pairs of pairs: low halves of blocks, then high ones.
        groups = [vectors] if bits == 16 else [vectors[:2], vectors[2:]]
        halves = []
        for group in groups:
            low, high = (
                unpack(
                    builder, builder.bitcast(group[0], type_), builder.bitcast(group[-1], type_), per_block, h
                )
                for h in (0, 1)
            )
            halves.append((low, high))
        if bits == 16:
            merged = list(halves[0])
        else:
            wide = vector_of(ir.IntType(16), lanes // 2)
            pairs = [[builder.bitcast(v, wide) for v in half] for half in halves]
            merged = [
                unpack(builder, pairs[0][half], pairs[1][half], per_block // 2, part)
                for half in (0, 1)
                for part in (0, 1)
            ]
            bits = 16
        vectors = [builder.bitcast(vector, _INTEGERS) for vector in merged]
        bits *= 2
    return [flip(builder, vector) if unsigned else vector for vector in vectors]


def natural_order(builder: ir.IRBuilder, vectors: Sequence[ir.Value]) -> list[ir.Value]:
    """Undo the order of columns that ``_interleaved`` gives."""
    if len(vectors) == 4:
        return transpose_blocks(builder, vectors, 4)
    x, y = vectors
    masks = [[block * 4 + lane + side * LANES for block in blocks for side in (0, 1) for lane in range(4)]
             for blocks in ((0, 1), (2, 3))]  # fmt: skip
    return [shuffle(builder, x, y, mask) for mask in masks]
