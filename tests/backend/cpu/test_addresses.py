"""Addresses of contiguous rows: the row's, and the place in it."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tilejit.target.cpu import generic_avx512


@tilejit.kernel
def _double_rows(into, source, stride, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    rows, columns = tl.arange(0, ROWS), tl.arange(3, BLOCK + 3)
    places = rows[:, None].to(tl.int64) * stride + columns[None, :]
    tl.store(into + places, 2.0 * tl.load(source + places))


@tilejit.kernel
def _double_row(into, source, stride, BLOCK: tl.constexpr):
    start = tl.program_id(0).to(tl.int64) * stride
    columns = tl.arange(3, BLOCK + 3)
    tl.store(into + start + columns, 2.0 * tl.load(source + start + columns))


@pytest.mark.parametrize(("kernel", "rows"), [(_double_rows, ", ROWS=4"), (_double_row, "")])
def test_places_in_a_tile_are_not_extended(kernel: tilejit.Kernel, rows: str) -> None:
    """Those that ``arange`` gives cannot wrap: a vector is loaded and stored in its loop without more."""
    signature = f"into=*fp32, source=*fp32, stride=i64, BLOCK=4096{rows}"
    text = tilejit.compile(kernel, signature=signature, target=generic_avx512()).asm["s"]
    loops = [block for block in re.split(r"^\.L\w+:", text, flags=re.MULTILINE) if "vaddps" in block]
    assert loops
    assert not any(re.search(r"movslq|cltq|sarq", loop) for loop in loops)


@tilejit.kernel
def _rows_that_move(source, steps, out, times, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    rows, columns = tl.arange(0, ROWS), tl.arange(0, BLOCK)
    places = source + (rows[:, None] * BLOCK + columns[None, :])
    total = tl.zeros((BLOCK,), tl.float32)
    for i in range(times):
        step = tl.load(steps + i * ROWS + rows)
        total += tl.sum(tl.load(places), axis=0)
        places += step[:, None]
    tl.store(out + columns, total)


def test_a_reduction_reads_rows_whose_addresses_it_moves_on() -> None:
    """The pointers are overwritten in place, those of the first elements before the last ones are read."""
    times, rows, block = 3, 4, 256
    generator = np.random.default_rng(0)
    source = generator.standard_normal(1 << 14, dtype=np.float32)
    steps = generator.integers(0, 3000, (times, rows)).astype(np.int32)
    expected = np.zeros(block)
    first = np.arange(rows) * block
    for step in steps:
        expected += sum(source[start : start + block].astype(np.float64) for start in first)
        first = first + step
    out = np.zeros(block, np.float32)
    _rows_that_move[(1,)](source, steps, out, times, ROWS=rows, BLOCK=block)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


@tilejit.kernel
def _offsets_that_move(source, out, count, times, a, b, BLOCK: tl.constexpr):
    columns = tl.arange(0, BLOCK)
    offsets = tl.zeros((BLOCK,), tl.int64)
    total = tl.zeros((BLOCK,), tl.float32)
    for i in range(times):
        total += tl.load(source + offsets + columns, mask=columns < count, other=0)
        offsets = tl.where(i % 2 == 0, offsets + a, offsets + b)
    tl.store(out + columns, total)


@pytest.mark.parametrize("count", [250, 100, 256, 5])
def test_a_row_is_read_at_offsets_that_move_on(count: int) -> None:
    """Under full masks and behind them, where the offsets of the first elements are overwritten already."""
    times, block, a, b = 3, 256, 1000, 333
    source = np.random.default_rng(0).standard_normal(1 << 13, dtype=np.float32)
    expected = np.zeros(block, np.float32)
    for start in (0, a, a + b):
        expected[:count] += source[start : start + count]
    out = np.zeros(block, np.float32)
    _offsets_that_move[(1,)](source, out, count, times, a, b, BLOCK=block)
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-6)
