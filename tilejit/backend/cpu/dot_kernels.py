"""Micro-kernels of dots: the innermost loops, each an internal function made for its strides and block sizes.

``outer``: a block of C stays in registers while k runs; each step takes a row of B as vectors and broadcasts
the elements of a column of A. ``inner``: both operands are contiguous along k; one accumulator for each pair
of a row of A and a column of B, summed across lanes at the end, many at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from tilejit.backend.cpu.copy_ahead import STEPS, RowCopy
from tilejit.backend.cpu.dot_units import Unit, add_values, flip, multiply_add
from tilejit.backend.cpu.fetch import AHEAD_BYTES, FetchTile, call_fetching, fetch_columns, fetch_lines
from tilejit.backend.cpu.loops import emit_loop, index
from tilejit.backend.cpu.operand import Operand, Stride, advance, lanes_type, load_vector, load_words, scale
from tilejit.backend.cpu.shuffles import extract_lanes, sum_lanes
from tilejit.backend.cpu.values import number, splat
from tilejit.ir.types import DType
from tilejit.records import dataclass
from tilejit.target.cpu import CpuTarget


@dataclass(frozen=True)
class Fetching:
    """A tile that is fetched during ``steps`` equal steps of a micro-kernel's loops."""

    tile: FetchTile
    steps: int


_UNROLLED = 4
"""Steps of k a turn of the innermost loop: counting takes instructions as well, four a turn."""

_Steps = Callable[[ir.Value, Sequence[ir.Value]], list[ir.Value]]


@dataclass(frozen=True)
class OuterKernel:
    """What an outer-product micro-kernel is made for.

    Computes blocks of rows x columns below each other. Columns come as vectors of ``lanes``; the last one
    overlaps the one before where columns is not a multiple. With several accumulator sets, successive k go to
    different ones, so that short chains of additions do not wait for each other. ``b_dtype`` is that of B's
    words. With ``copy`` a panel is packed meanwhile. With ``adds_last`` C is asked for from memory before the
    first step of k and added after the last, else sums start from it. ``scales_rows``: each row of C is
    multiplied by a number first; ``adds_to_rows``: a number is added to each row; ``asks_ahead``: lines that
    lie ``AHEAD_BYTES`` further on in rows of B are brought into the cache. Units: strides in words, C's in
    elements; None where known only at run time.
    """

    unit: Unit
    rows: int
    columns: int
    lanes: int
    sets: int
    b_dtype: DType
    a_row_stride: int | None
    a_depth_stride: int | None
    b_stride: int | None
    c_stride: int | None
    target: CpuTarget
    is_signed: bool = True
    copy: RowCopy | None = None
    adds_last: bool = False
    scales_rows: bool = False
    adds_to_rows: bool = False
    asks_ahead: bool = False

    @property
    def offsets(self) -> list[int]:
        """Where the vectors start."""
        return [min(start, self.columns - self.lanes) for start in range(0, self.columns, self.lanes)]

    @property
    def name(self) -> str:
        strides = (self.a_row_stride, self.a_depth_stride, self.b_stride, self.c_stride)
        text = "x".join("r" if stride is None else str(stride) for stride in strides)
        unit = self.unit.value.replace(" ", "")
        return (
            f"tilejit.dot.outer.{unit}.{self.b_dtype}.{self.rows}x{self.columns}by{self.lanes}"
            f".sets{self.sets}.{text}{'' if self.is_signed else '.unsigned'}"
            f"{'' if self.copy is None else self.copy.name}{'.last' if self.adds_last else ''}"
            f"{'.scaled' if self.scales_rows else ''}{'.added' if self.adds_to_rows else ''}"
            f"{'.ahead' if self.asks_ahead else ''}"
        )


@dataclass(frozen=True)
class InnerKernel:
    """What an inner-product micro-kernel is made for: blocks of ``columns`` columns next to each other.

    ``flips_b``: B's bytes are shifted by ``MIXED_SHIFT``, which a number that is added to each row takes off.
    ``asks_ahead``: lines of the next block's columns are brought into the cache.
    Units: ``depth`` and ``lanes`` in words, strides in elements; None where known only at run time.
    """

    unit: Unit
    rows: int
    columns: int
    depth: int
    lanes: int
    b_dtype: DType
    a_row_stride: int | None
    b_column_stride: int | None
    c_stride: int | None
    target: CpuTarget
    is_signed: bool = True
    flips_b: bool = False
    asks_ahead: bool = False

    @property
    def steps_per_line(self) -> int:
        """Steps of k that read one cache line of a column, or more."""
        return max(1, self.target.cache_line_bytes // (self.lanes * self.unit.group * self.b_dtype.itemsize))

    @property
    def name(self) -> str:
        strides = (self.a_row_stride, self.b_column_stride, self.c_stride)
        text = "x".join("r" if stride is None else str(stride) for stride in strides)
        return (
            f"tilejit.dot.inner.{self.unit.value.replace(' ', '')}.{self.b_dtype}"
            f".{self.rows}x{self.columns}x{self.depth}by{self.lanes}.{text}"
            f"{'' if self.is_signed else '.unsigned'}{'.flipped' if self.flips_b else ''}"
            f"{'.ahead' if self.asks_ahead else ''}"
        )


def call_outer_kernel(
    builder: ir.IRBuilder,
    kernel: OuterKernel,
    places: Sequence[ir.Value],
    numbers: Sequence[ir.Value],
    strides: Sequence[Stride],
    fetching: Fetching | None,
    copying: Sequence[ir.Value] = (),
) -> None:
    """Call the function ``(a, b, c; blocks, depth, accumulate; a_row_stride, a_depth_stride, b_stride,
    c_stride)``; one that copies takes ``(stride, from, to, turns)`` after these, one that has a number for
    each row of C where these lie after ``c``.

    Units: ``depth`` in words. ``accumulate`` 0: C is not read, sums start from zero.
    """

    def build(inner: ir.IRBuilder, arguments: Sequence[ir.Value], own_fetch: FetchTile | None) -> None:
        (a, b, c, *row_values), (blocks, depth, accumulate, *given) = (
            arguments[: len(places)],
            arguments[len(places) :],
        )
        known = (kernel.a_row_stride, kernel.a_depth_stride, kernel.b_stride, kernel.c_stride)
        chosen = _chosen(known, given[:4])
        copy_stride, *copied = given[4:] or [index(0)]
        word, accumulator = kernel.unit.word, kernel.unit.accumulator
        b_matrix = Operand(b, kernel.b_dtype, chosen[2], 1)
        a_step = scale(inner, kernel.rows, chosen[0])
        c_step = scale(inner, kernel.rows, chosen[3])
        own = _own(fetching, own_fetch)

        def block(i: ir.Value, state: Sequence[ir.Value]) -> list[ir.Value]:
            a_block = Operand(state[0], word, chosen[0], chosen[1])
            c_block = Operand(state[1], accumulator, chosen[3], 1)
            own_numbers, copies = state[2 : 2 + len(row_values)], state[2 + len(row_values) :]
            first, moving = inner.mul(i, depth), _Copying(copy_stride, copies)
            moved = _outer_block(
                inner, kernel, a_block, b_matrix, c_block, own_numbers, depth, accumulate, own, first, moving
            )
            return [
                advance(inner, state[0], a_step, word.itemsize),
                advance(inner, state[1], c_step, accumulator.itemsize),
                *(advance(inner, place, kernel.rows, accumulator.itemsize) for place in own_numbers),
                *moved,
            ]

        emit_loop(inner, blocks, [a, c, *row_values, *copied], block)

    _call(builder, kernel.name, places, numbers, [*strides, *copying], fetching, build)


def call_inner_kernel(
    builder: ir.IRBuilder,
    kernel: InnerKernel,
    places: Sequence[ir.Value],
    numbers: Sequence[ir.Value],
    strides: Sequence[Stride],
    fetching: Fetching | None,
) -> None:
    """Call the function ``(a, b, c; blocks, accumulate; a_row_stride, b_column_stride, c_stride)``; one that
    has a number for each row of C takes where these lie after ``c``.
    """

    def build(inner: ir.IRBuilder, arguments: Sequence[ir.Value], own_fetch: FetchTile | None) -> None:
        (a, b, c, *row_values), (blocks, accumulate, *given) = (
            arguments[: len(places)],
            arguments[len(places) :],
        )
        chosen = _chosen((kernel.a_row_stride, kernel.b_column_stride, kernel.c_stride), given)
        word = kernel.unit.word
        a_matrix = Operand(a, word if kernel.unit.group == 1 else kernel.b_dtype, chosen[0], 1)
        b_step = scale(inner, kernel.columns, chosen[1])
        own = _own(fetching, own_fetch)

        def block(i: ir.Value, pointers: Sequence[ir.Value]) -> list[ir.Value]:
            b_block = Operand(pointers[0], kernel.b_dtype, 1, chosen[1])
            c_block = Operand(pointers[1], word, chosen[2], 1)
            _inner_block(inner, kernel, a_matrix, b_block, c_block, row_values, accumulate, own, i)
            return [
                advance(inner, pointers[0], b_step, kernel.b_dtype.itemsize),
                advance(inner, pointers[1], kernel.columns, word.itemsize),
            ]

        emit_loop(inner, blocks, [b, c], block)

    _call(builder, kernel.name, places, numbers, strides, fetching, build)


def _chosen(known: Sequence[int | None], given: Sequence[ir.Value]) -> list[Stride]:
    """The strides that a kernel is made for, and those that it is given where it is made for any."""
    return [value if fixed is None else fixed for fixed, value in zip(known, given, strict=True)]


def _own(fetching: Fetching | None, tile: FetchTile | None) -> Fetching | None:
    """What is fetched, as the function knows it that fetches."""
    return None if fetching is None or tile is None else Fetching(tile, fetching.steps)


def _call(
    builder: ir.IRBuilder,
    name: str,
    places: Sequence[ir.Value],
    numbers: Sequence[ir.Value],
    strides: Sequence[Stride],
    fetching: Fetching | None,
    build: Callable[[ir.IRBuilder, Sequence[ir.Value], FetchTile | None], None],
) -> None:
    values = [*places, *numbers, *(index(stride) for stride in strides)]
    if fetching is None:
        call_fetching(builder, name, values, None, build)
    else:
        call_fetching(builder, f"{name}.in{fetching.steps}", values, fetching.tile, build)


def _fetch(builder: ir.IRBuilder, fetching: Fetching | None, step: ir.Value) -> None:
    if fetching is not None:
        fetching.tile.emit_part(builder, step, fetching.steps)


@dataclass(frozen=True)
class _Copying:
    """How far a copy has got: from where, to where, how many turns are left; nothing where none is made."""

    stride: ir.Value
    state: Sequence[ir.Value]


def _outer_block(
    builder: ir.IRBuilder,
    kernel: OuterKernel,
    a: Operand,
    b: Operand,
    c: Operand,
    row_values: Sequence[ir.Value],
    depth: ir.Value,
    accumulate: ir.Value,
    fetching: Fetching | None,
    first: ir.Value,
    copying: _Copying,
) -> Sequence[ir.Value]:
    """``first``: the number of the first step of k among those of all blocks. ``row_values``: where the
    number for the first row of C lies, if rows have numbers. Returns the copy's state.
    """
    places = [c.at(builder, row, offset).pointer for row in range(kernel.rows) for offset in kernel.offsets]
    zero = number(lanes_type(kernel.unit.accumulator, kernel.lanes), 0)
    started = [zero] * len(places)
    if kernel.adds_last:
        _ask_for(builder, kernel, c)
    else:
        started = _load_or_zero(builder, kernel.unit, places, [kernel.lanes] * len(places), accumulate)
        if kernel.scales_rows:
            started = _with_row_values(builder, kernel, started, row_values, builder.fmul)
    if kernel.adds_to_rows:
        started = _with_row_values(builder, kernel, started, row_values, builder.add)
    sums = started + [zero] * (len(started) * (kernel.sets - 1))
    sums, state = _outer_depth(builder, kernel, a, b, depth, sums, fetching, first, copying)
    totals = [_tree_sum(builder, kernel.unit, sums[i :: len(places)]) for i in range(len(places))]
    if kernel.adds_last:
        with builder.if_else(accumulate) as (adding, storing):
            with adding:
                before = [
                    load_vector(builder, place, c.dtype, kernel.lanes, kernel.unit.accumulator)
                    for place in places
                ]
                if kernel.scales_rows:
                    before = _with_row_values(builder, kernel, before, row_values, builder.fmul)
                sums = [add_values(builder, kernel.unit, *both) for both in zip(before, totals, strict=True)]
                _store_block(builder, kernel, places, sums)
            with storing:
                _store_block(builder, kernel, places, totals)
    else:
        _store_block(builder, kernel, places, totals)
    return state


def _with_row_values(
    builder: ir.IRBuilder,
    kernel: OuterKernel,
    values: Sequence[ir.Value],
    row_values: Sequence[ir.Value],
    combine: Callable[[ir.Value, ir.Value], ir.Value],
) -> list[ir.Value]:
    """The vectors of a block of C, row by row, combined with the numbers of their rows."""
    combined = list(values)
    for pointer in row_values:
        for row in range(kernel.rows):
            own = _row_value(builder, kernel.unit, pointer, row, kernel.lanes)
            for i in range(row * len(kernel.offsets), (row + 1) * len(kernel.offsets)):
                combined[i] = combine(combined[i], own)
    return combined


def _row_value(builder: ir.IRBuilder, unit: Unit, pointer: ir.Value, row: int, lanes: int) -> ir.Value:
    """The number of a row of C in every lane."""
    place = advance(builder, pointer, row, unit.accumulator.itemsize)
    scalar = load_vector(builder, place, unit.accumulator, 1, unit.accumulator)
    return splat(builder, scalar, lanes if lanes > 1 else None)


def _ask_for(builder: ir.IRBuilder, kernel: OuterKernel, c: Operand) -> None:
    """Bring a block of C into the cache."""
    line_bytes = kernel.target.cache_line_bytes
    lines = -(-kernel.columns * c.dtype.itemsize // line_bytes)
    for row in range(kernel.rows):
        fetch_lines(builder, c.at(builder, row, 0).pointer, lines, line_bytes, locality=3)


def _store_block(
    builder: ir.IRBuilder,
    kernel: OuterKernel,
    places: Sequence[ir.Value],
    totals: Sequence[ir.Value],
) -> None:
    """Put the sums where C is."""
    for place, total in zip(places, totals, strict=True):
        builder.store(total, place, align=kernel.unit.accumulator.itemsize)


def _outer_depth(
    builder: ir.IRBuilder,
    kernel: OuterKernel,
    a: Operand,
    b: Operand,
    depth: ir.Value,
    sums: Sequence[ir.Value],
    fetching: Fetching | None,
    first: ir.Value,
    copying: _Copying,
) -> tuple[list[ir.Value], Sequence[ir.Value]]:
    """All steps of k: the sums and the copy's state after them."""
    carried = [*sums, a.pointer, b.pointer]

    def steps(count: int, start: ir.Value) -> _Steps:
        def body(i: ir.Value, values: Sequence[ir.Value]) -> list[ir.Value]:
            for step in range(count):
                number = builder.add(start, builder.add(builder.mul(i, index(count)), index(step)))
                _fetch(builder, fetching, number)
            return _outer_steps(builder, kernel, a, b, values, count)

        return body

    state = copying.state
    if kernel.copy is not None:
        copy, turns = kernel.copy, builder.udiv(depth, index(STEPS))
        ahead = builder.mul(turns, index(copy.rows))

        def turn(i: ir.Value, values: Sequence[ir.Value]) -> list[ir.Value]:
            start = builder.add(first, builder.mul(i, index(STEPS)))
            copied = copy.emit(builder, values[-len(state) :], copying.stride, ahead)

            def some(j: ir.Value, sums: Sequence[ir.Value]) -> list[ir.Value]:
                for step in range(_UNROLLED):
                    number = builder.add(builder.mul(j, index(_UNROLLED)), index(step))
                    sums = steps(1, start)(number, sums)
                return list(sums)

            return [*emit_loop(builder, STEPS // _UNROLLED, values[: -len(state)], some), *copied]

        results = emit_loop(builder, turns, [*carried, *state], turn)
        carried, state = results[: len(carried)], results[len(carried) :]
    elif kernel.sets == 1:
        carried = emit_loop(builder, depth, carried, steps(1, first))
    else:
        whole, rest = (f(depth, index(kernel.sets)) for f in (builder.udiv, builder.urem))
        carried = emit_loop(builder, whole, carried, steps(kernel.sets, first))
        carried = emit_loop(builder, rest, carried, steps(1, builder.sub(builder.add(first, depth), rest)))
    return carried[:-2], state


def _outer_steps(
    builder: ir.IRBuilder,
    kernel: OuterKernel,
    a: Operand,
    b: Operand,
    carried: Sequence[ir.Value],
    count: int,
) -> list[ir.Value]:
    """``count`` steps of k, each into its own set of accumulators."""
    *sums, a_pointer, b_pointer = carried
    a_now = Operand(a_pointer, a.dtype, a.row_stride, a.column_stride)
    b_now = Operand(b_pointer, b.dtype, b.row_stride, 1)
    word_type = lanes_type(kernel.unit.word, 1)
    per_set = kernel.rows * len(kernel.offsets)
    for step in range(count):
        b_row = [
            load_vector(
                builder, b_now.at(builder, step, offset).pointer, b.dtype, kernel.lanes, kernel.unit.word
            )
            for offset in kernel.offsets
        ]
        if kernel.asks_ahead:
            _ask_ahead(builder, kernel, b_now.at(builder, step, 0))
        for row in range(kernel.rows):
            place = a_now.at(builder, row, step).pointer
            scalar = builder.load(place, align=kernel.unit.word.itemsize // kernel.unit.group, typ=word_type)
            broadcast = splat(builder, scalar, kernel.lanes if kernel.lanes > 1 else None)
            for piece, vector in enumerate(b_row):
                target = step * per_set + row * len(b_row) + piece
                sums[target] = multiply_add(
                    builder,
                    kernel.unit,
                    broadcast,
                    vector,
                    sums[target],
                    kernel.target,
                    is_signed=kernel.is_signed,
                )
    following_a = advance(builder, a_pointer, scale(builder, count, a.column_stride), a.dtype.itemsize)
    following_b = advance(builder, b_pointer, scale(builder, count, b.row_stride), b.dtype.itemsize)
    return [*sums, following_a, following_b]


def _ask_ahead(builder: ir.IRBuilder, kernel: OuterKernel, b: Operand) -> None:
    """Ask for the lines that lie further on in a row of B, as many as the panel has."""
    line_bytes = kernel.target.cache_line_bytes
    first = b.at(builder, 0, AHEAD_BYTES // b.dtype.itemsize).pointer
    fetch_lines(builder, first, -(-kernel.columns * b.dtype.itemsize // line_bytes), line_bytes, locality=3)


def _inner_block(
    builder: ir.IRBuilder,
    kernel: InnerKernel,
    a: Operand,
    b: Operand,
    c: Operand,
    row_values: Sequence[ir.Value],
    accumulate: ir.Value,
    fetching: Fetching | None,
    block: ir.Value,
) -> None:
    """``block``: the number of this block of columns; ``row_values``: as for ``_outer_block``."""
    zero = number(lanes_type(kernel.unit.word, kernel.lanes), 0)
    sums: list[ir.Value] = [zero] * (kernel.rows * kernel.columns)
    whole, rest = divmod(kernel.depth, kernel.lanes)
    turn = kernel.steps_per_line if kernel.asks_ahead else 1

    def step(i: ir.Value, values: Sequence[ir.Value]) -> list[ir.Value]:
        position = builder.mul(i, index(kernel.lanes * kernel.unit.group))
        _fetch(builder, fetching, builder.add(builder.mul(block, index(whole)), i))
        a_now, b_now = a.at(builder, 0, position), b.at(builder, position, 0)
        return _inner_step(builder, kernel, a_now, b_now, values, None)

    def body(i: ir.Value, values: Sequence[ir.Value]) -> list[ir.Value]:
        first = builder.mul(i, index(turn))
        if kernel.asks_ahead:
            # Of the last block past the end.
            depth = builder.mul(first, index(kernel.lanes * kernel.unit.group))
            fetch_columns(
                builder, b, depth, index(kernel.columns), kernel.columns, kernel.target.cache_line_bytes
            )
        for offset in range(turn):
            values = step(builder.add(first, index(offset)), values)
        return list(values)

    sums = emit_loop(builder, whole // turn, sums, body)
    for left in range(whole // turn * turn, whole):
        sums = step(index(left), sums)
    if rest:
        start = whole * kernel.lanes * kernel.unit.group
        sums = _inner_step(builder, kernel, a.at(builder, 0, start), b.at(builder, start, 0), sums, rest)

    def add(x: ir.Value, y: ir.Value) -> ir.Value:
        return add_values(builder, kernel.unit, x, y)

    packed = sum_lanes(builder, sums, kernel.unit.word.bits, add)
    _store_sums(builder, kernel, packed, c, row_values, accumulate)


def _inner_step(
    builder: ir.IRBuilder,
    kernel: InnerKernel,
    a: Operand,
    b: Operand,
    sums: Sequence[ir.Value],
    live_lanes: int | None,
) -> list[ir.Value]:
    rows = [_words(builder, kernel, a.at(builder, row, 0), live_lanes) for row in range(kernel.rows)]
    result = list(sums)
    for column in range(kernel.columns):
        vector = _words(builder, kernel, b.at(builder, 0, column), live_lanes)
        if kernel.flips_b:
            vector = flip(builder, vector)
        for row in range(kernel.rows):
            target = row * kernel.columns + column
            result[target] = multiply_add(
                builder,
                kernel.unit,
                rows[row],
                vector,
                result[target],
                kernel.target,
                is_signed=kernel.is_signed,
            )
    return result


def _words(builder: ir.IRBuilder, kernel: InnerKernel, place: Operand, live_lanes: int | None) -> ir.Value:
    """Words that lie next to each other, of elements at any address."""
    word = kernel.unit.word
    if kernel.unit.group == 1:
        return load_vector(builder, place.pointer, place.dtype, kernel.lanes, word, live_lanes)
    return load_words(builder, place, word, kernel.lanes, live_lanes or kernel.lanes)


def _store_sums(
    builder: ir.IRBuilder,
    kernel: InnerKernel,
    packed: Sequence[ir.Value],
    c: Operand,
    row_values: Sequence[ir.Value],
    accumulate: ir.Value,
) -> None:
    """Cut the packed sums into runs that lie next to each other in C, and store or add those."""
    runs: list[tuple[ir.Value, int, int, int]] = []  # vector, first lane, place in C, lanes
    for row in range(kernel.rows):
        column = 0
        while column < kernel.columns:
            flat = row * kernel.columns + column
            vector, lane = divmod(flat, kernel.lanes)
            length = min(kernel.columns - column, kernel.lanes - lane)
            length = 1 << (length.bit_length() - 1)
            runs.append((packed[vector], lane, flat, length))
            column += length
    places = [c.at(builder, *divmod(flat, kernel.columns)).pointer for _, _, flat, _ in runs]
    started = _load_or_zero(builder, kernel.unit, places, [length for *_, length in runs], accumulate)
    for (vector, lane, flat, length), place, start in zip(runs, places, started, strict=True):
        part = extract_lanes(builder, vector, lane, length)
        total = add_values(builder, kernel.unit, start, part)
        for pointer in row_values:
            own = _row_value(builder, kernel.unit, pointer, flat // kernel.columns, length)
            total = add_values(builder, kernel.unit, total, own)
        builder.store(total, place, align=kernel.unit.word.itemsize)


def _load_or_zero(
    builder: ir.IRBuilder,
    unit: Unit,
    places: Sequence[ir.Value],
    lanes: Sequence[int],
    accumulate: ir.Value,
) -> list[ir.Value]:
    """The values of C to start from."""
    before = builder.block
    loading = builder.append_basic_block("c.load")
    after = builder.append_basic_block("c.loaded")
    builder.cbranch(accumulate, loading, after)
    builder.position_at_end(loading)
    loaded = [
        load_vector(builder, place, unit.accumulator, count, unit.accumulator)
        for place, count in zip(places, lanes, strict=True)
    ]
    builder.branch(after)
    builder.position_at_end(after)
    phis = []
    for value, count in zip(loaded, lanes, strict=True):
        phi = builder.phi(value.type)
        phi.add_incoming(number(lanes_type(unit.accumulator, count), 0), before)
        phi.add_incoming(value, loading)
        phis.append(phi)
    return phis


def _tree_sum(builder: ir.IRBuilder, unit: Unit, values: Sequence[ir.Value]) -> ir.Value:
    level = list(values)
    while len(level) > 1:
        level = [add_values(builder, unit, x, y) for x, y in zip(level[::2], level[1::2], strict=True)]
    return level[0]
