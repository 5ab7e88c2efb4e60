"""The micro-kernel of dots that forms outer products, an internal function made for strides and block sizes.

A block of C stays in registers while k runs; each step takes a row of B as vectors and broadcasts the
elements of a column of A.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from tilejit.backend.cpu.copy_ahead import STEPS, RowCopy
from tilejit.backend.cpu.dot_calls import (
    Fetching,
    call_kernel,
    chosen_strides,
    fetch_step,
    load_or_zero,
    own_fetching,
    row_value,
)
from tilejit.backend.cpu.dot_units import Unit, add_values, multiply_add
from tilejit.backend.cpu.fetch import AHEAD_BYTES, FetchTile, fetch_lines
from tilejit.backend.cpu.loops import emit_loop, index
from tilejit.backend.cpu.operand import Operand, Stride, advance, lanes_type, load_vector, scale, strides_text
from tilejit.backend.cpu.values import number, splat
from tilejit.ir.types import DType
from tilejit.records import dataclass
from tilejit.target.cpu import CpuTarget

_UNROLLED, _UNROLLED_COPYING = 2, 4
"""Steps of k a turn of the innermost loop: counting and addresses take instructions as well, seven a turn;
these take time where another hyperthread of the core issues instructions in every second cycle.

Source: fp32, two threads of a Cascade Lake, calls that alternate, medians of 15 to 31 rounds, speed over one
step a turn: 512 cubed 1.05, 1024 cubed 1.02 to 1.07, 2048 cubed 1.06. Four steps a turn are within 0.02 of
two, but an attention kernel takes 10 % longer to compile. Kernels that copy, between whose copies are 16
steps, were not measured apart.
"""

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
    lie ``AHEAD_BYTES`` further on in rows of B are brought into the cache. ``has_even_depth``: the words
    along k are a multiple of two, with one set; else steps come one by one.

    Units: strides in words, C's in elements; None where known only at run time.
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
    has_even_depth: bool = False

    @property
    def unrolled(self) -> int:
        """Steps of k a turn of the innermost loop."""
        if self.copy is not None:
            return _UNROLLED_COPYING
        return _UNROLLED if self.has_even_depth else 1

    @property
    def offsets(self) -> list[int]:
        """Where the vectors start."""
        return [min(start, self.columns - self.lanes) for start in range(0, self.columns, self.lanes)]

    @property
    def name(self) -> str:
        strides = (self.a_row_stride, self.a_depth_stride, self.b_stride, self.c_stride)
        text = strides_text(strides)
        unit = self.unit.value.replace(" ", "")
        return (
            f"tilejit.dot.outer.{unit}.{self.b_dtype}.{self.rows}x{self.columns}by{self.lanes}"
            f".sets{self.sets}.{text}{'' if self.is_signed else '.unsigned'}"
            f"{'' if self.copy is None else self.copy.name}{'.last' if self.adds_last else ''}"
            f"{'.scaled' if self.scales_rows else ''}{'.added' if self.adds_to_rows else ''}"
            f"{'.ahead' if self.asks_ahead else ''}{'.even' if self.has_even_depth else ''}"
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
        chosen = chosen_strides(known, given[:4])
        copy_stride, *copied = given[4:] or [index(0)]
        word, accumulator = kernel.unit.word, kernel.unit.accumulator
        b_matrix = Operand(b, kernel.b_dtype, chosen[2], 1)
        a_step = scale(inner, kernel.rows, chosen[0])
        c_step = scale(inner, kernel.rows, chosen[3])
        own = own_fetching(fetching, own_fetch)

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

    call_kernel(builder, kernel.name, places, numbers, [*strides, *copying], fetching, build)


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
        started = load_or_zero(builder, kernel.unit, places, [kernel.lanes] * len(places), accumulate)
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
            own = row_value(builder, kernel.unit, pointer, row, kernel.lanes)
            for i in range(row * len(kernel.offsets), (row + 1) * len(kernel.offsets)):
                combined[i] = combine(combined[i], own)
    return combined


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

    def steps(count: int, start: ir.Value, sets: int) -> _Steps:
        def body(i: ir.Value, values: Sequence[ir.Value]) -> list[ir.Value]:
            for step in range(count):
                number = builder.add(start, builder.add(builder.mul(i, index(count)), index(step)))
                fetch_step(builder, fetching, number)
            return _outer_steps(builder, kernel, a, b, values, count, sets)

        return body

    state = copying.state
    if kernel.copy is not None:
        copy, turns = kernel.copy, builder.udiv(depth, index(STEPS))
        ahead = builder.mul(turns, index(copy.rows))

        def turn(i: ir.Value, values: Sequence[ir.Value]) -> list[ir.Value]:
            start = builder.add(first, builder.mul(i, index(STEPS)))
            copied = copy.emit(builder, values[-len(state) :], copying.stride, ahead)

            def some(j: ir.Value, sums: Sequence[ir.Value]) -> list[ir.Value]:
                for step in range(kernel.unrolled):
                    number = builder.add(builder.mul(j, index(kernel.unrolled)), index(step))
                    sums = steps(1, start, 1)(number, sums)
                return list(sums)

            return [*emit_loop(builder, STEPS // kernel.unrolled, values[: -len(state)], some), *copied]

        results = emit_loop(builder, turns, [*carried, *state], turn)
        carried, state = results[: len(carried)], results[len(carried) :]
    elif kernel.sets == 1:
        whole = builder.udiv(depth, index(kernel.unrolled))
        carried = emit_loop(builder, whole, carried, steps(kernel.unrolled, first, 1))
    else:
        whole, rest = (f(depth, index(kernel.sets)) for f in (builder.udiv, builder.urem))
        carried = emit_loop(builder, whole, carried, steps(kernel.sets, first, kernel.sets))
        rest_first = builder.sub(builder.add(first, depth), rest)
        carried = emit_loop(builder, rest, carried, steps(1, rest_first, 1))
    return carried[:-2], state


def _outer_steps(
    builder: ir.IRBuilder,
    kernel: OuterKernel,
    a: Operand,
    b: Operand,
    carried: Sequence[ir.Value],
    count: int,
    sets: int,
) -> list[ir.Value]:
    """``count`` steps of k, into ``sets`` sets of accumulators in turn."""
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
                target = step % sets * per_set + row * len(b_row) + piece
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


def _tree_sum(builder: ir.IRBuilder, unit: Unit, values: Sequence[ir.Value]) -> ir.Value:
    level = list(values)
    while len(level) > 1:
        level = [add_values(builder, unit, x, y) for x, y in zip(level[::2], level[1::2], strict=True)]
    return level[0]
