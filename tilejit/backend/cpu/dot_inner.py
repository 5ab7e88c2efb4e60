"""The micro-kernel of dots whose operands are both contiguous along k, made for strides and block sizes.

One accumulator for each pair of a row of A and a column of B is summed across lanes at the end, many at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from tilejit.backend.cpu.dot_calls import (
    Fetching,
    call_kernel,
    chosen_strides,
    fetch_step,
    load_or_zero,
    own_fetching,
    row_value,
)
from tilejit.backend.cpu.dot_units import Unit, add_values, flip, multiply_add
from tilejit.backend.cpu.fetch import FetchTile, fetch_columns
from tilejit.backend.cpu.loops import emit_loop, index
from tilejit.backend.cpu.operand import (
    Operand,
    Stride,
    advance,
    lanes_type,
    load_vector,
    load_words,
    scale,
    strides_text,
)
from tilejit.backend.cpu.shuffles import extract_lanes, sum_lanes
from tilejit.backend.cpu.values import number
from tilejit.ir.types import DType
from tilejit.records import dataclass
from tilejit.target.cpu import CpuTarget


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
        text = strides_text(strides)
        return (
            f"tilejit.dot.inner.{self.unit.value.replace(' ', '')}.{self.b_dtype}"
            f".{self.rows}x{self.columns}x{self.depth}by{self.lanes}.{text}"
            f"{'' if self.is_signed else '.unsigned'}{'.flipped' if self.flips_b else ''}"
            f"{'.ahead' if self.asks_ahead else ''}"
        )


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
        chosen = chosen_strides((kernel.a_row_stride, kernel.b_column_stride, kernel.c_stride), given)
        word = kernel.unit.word
        a_matrix = Operand(a, word if kernel.unit.group == 1 else kernel.b_dtype, chosen[0], 1)
        b_step = scale(inner, kernel.columns, chosen[1])
        own = own_fetching(fetching, own_fetch)

        def block(i: ir.Value, pointers: Sequence[ir.Value]) -> list[ir.Value]:
            b_block = Operand(pointers[0], kernel.b_dtype, 1, chosen[1])
            c_block = Operand(pointers[1], word, chosen[2], 1)
            _inner_block(inner, kernel, a_matrix, b_block, c_block, row_values, accumulate, own, i)
            return [
                advance(inner, pointers[0], b_step, kernel.b_dtype.itemsize),
                advance(inner, pointers[1], kernel.columns, word.itemsize),
            ]

        emit_loop(inner, blocks, [b, c], block)

    call_kernel(builder, kernel.name, places, numbers, strides, fetching, build)


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
    """``block``: the number of this block of columns; ``row_values``: see ``call_inner_kernel``."""
    zero = number(lanes_type(kernel.unit.word, kernel.lanes), 0)
    sums: list[ir.Value] = [zero] * (kernel.rows * kernel.columns)
    whole, rest = divmod(kernel.depth, kernel.lanes)
    turn = kernel.steps_per_line if kernel.asks_ahead else 1

    def step(i: ir.Value, values: Sequence[ir.Value]) -> list[ir.Value]:
        position = builder.mul(i, index(kernel.lanes * kernel.unit.group))
        fetch_step(builder, fetching, builder.add(builder.mul(block, index(whole)), i))
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
    started = load_or_zero(builder, kernel.unit, places, [length for *_, length in runs], accumulate)
    for (vector, lane, flat, length), place, start in zip(runs, places, started, strict=True):
        part = extract_lanes(builder, vector, lane, length)
        total = add_values(builder, kernel.unit, start, part)
        for pointer in row_values:
            own = row_value(builder, kernel.unit, pointer, flat // kernel.columns, length)
            total = add_values(builder, kernel.unit, total, own)
        builder.store(total, place, align=kernel.unit.word.itemsize)
