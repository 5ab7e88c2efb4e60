"""Chunks under full masks run without them; where they end is known at run time only."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

import tilejit
import tilejit.language as tl

BLOCK = 512
LIMITS = (-5, 0, 1, 15, 16, 17, 63, 64, 65, 127, 128, 200, 511, 512, 513, 1 << 30)


@tilejit.kernel
def _double(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(out_ptr + at, tl.load(x_ptr + at, mask=at < n, other=7.0) * 2, mask=at <= n)


@tilejit.kernel
def _total_of_a_range(x_ptr, out_ptr, low, high, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=(at >= low) & (high > at), other=0)
    tl.store(out_ptr, tl.sum(x, axis=0))


@tilejit.kernel
def _triangle(x_ptr, out_ptr, n, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Both dimensions and their order are bounded; the mask is also looked at transposed."""
    rows, columns = tl.arange(0, ROWS), tl.arange(0, BLOCK)
    at = rows[:, None] * BLOCK + columns[None, :]
    mask = (columns[None, :] <= 2 * rows[:, None]) & (rows[:, None] < n) & (columns[None, :] < n)
    x = tl.load(x_ptr + at, mask=mask, other=-1.0)
    tl.store(out_ptr + at, tl.where(mask, x, 3.0) + x)


@tilejit.kernel
def _square(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """One comparison bounds the rows and the columns."""
    lane = tl.arange(0, BLOCK)
    inside = lane < n
    at = lane[:, None] * BLOCK + lane[None, :]
    x = tl.load(x_ptr + at, mask=inside[:, None] & inside[None, :], other=5.0)
    tl.store(out_ptr + at, x + 1, mask=inside[None, :])


@tilejit.kernel
def _columns(x_ptr, out_ptr, n, m, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Sums down the columns of a bounded matrix: the reduced axis runs inside of the vectors."""
    rows, columns = tl.arange(0, ROWS), tl.arange(0, BLOCK)
    mask = (rows[:, None] < m) & (columns[None, :] < n)
    x = tl.load(x_ptr + rows[:, None] * BLOCK + columns[None, :], mask=mask, other=2.0)
    tl.store(out_ptr + columns, tl.sum(x, axis=0))


@tilejit.kernel
def _wraps(x_ptr, out_ptr, start, n, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    """The bounded index wraps round, so that lanes behind those that are masked out count again."""
    at = tl.arange(0, BLOCK)
    place = start + at
    place = place.to(tl.int64) if WIDE else place
    tl.store(out_ptr + at, tl.load(x_ptr + at, mask=place < n, other=-1.0))


@tilejit.kernel
def _far_scalar(x_ptr, out_ptr, far, n, BLOCK: tl.constexpr):
    """What all lanes read at one place may only be read where a lane is not masked."""
    at = tl.arange(0, BLOCK)
    place = far + at * 0
    tl.store(out_ptr + at, tl.load(x_ptr + place, mask=at < n, other=4.0))


@contextmanager
def _unreadable(address: int, size: int) -> Iterator[None]:
    """Take all rights from whole pages for a while."""
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if protect(address, size, 0) != 0:
        pytest.skip("pages cannot be protected")
    try:
        yield
    finally:
        protect(address, size, mmap.PROT_READ | mmap.PROT_WRITE)


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(BLOCK).astype(np.float32)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.mark.parametrize("n", LIMITS)
@pytest.mark.parametrize("block", [BLOCK, 300, 128])
def test_loads_and_stores_up_to_a_bound(x: np.ndarray, n: int, block: int) -> None:
    out = np.full(BLOCK, 9, np.float32)
    _double[(1,)](x, out, n, BLOCK=block)
    at = np.arange(BLOCK)
    expected = np.where((at <= n) & (at < block), 2 * np.where(at < n, x, 7), 9)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("n", [1, 16, 64, 65, 200, 512])
def test_nothing_past_the_bound_is_touched(n: int) -> None:
    """The array ends where the next page may be neither read nor written."""
    page = mmap.PAGESIZE
    area = mmap.mmap(-1, 2 * page)
    memory = np.frombuffer(area, np.float32)
    x = memory[page // 4 - n : page // 4]
    x[:] = 3
    out = np.empty(1, np.int32)
    with _unreadable(memory.ctypes.data + page, page):
        _total_of_a_range[(1,)](x.view(np.int32), out, 0, n, BLOCK=BLOCK)
        _double[(1,)](x, x, n - 1, BLOCK=BLOCK)
    np.testing.assert_array_equal(x[:-1], np.full(n - 1, 6, np.float32))
    assert x[-1] == 14


@pytest.mark.parametrize("low", [-3, 0, 1, 100])
@pytest.mark.parametrize("high", LIMITS)
def test_a_range_is_summed(low: int, high: int) -> None:
    x = np.arange(BLOCK, dtype=np.int32)
    out = np.zeros(1, np.int32)
    _total_of_a_range[(1,)](x, out, low, high, BLOCK=BLOCK)
    assert out[0] == x[max(low, 0) : max(high, 0)].sum()


@pytest.mark.parametrize("n", [0, 3, 100, 140, 400])
def test_bounds_that_differ_from_row_to_row(rng: np.random.Generator, n: int) -> None:
    rows, block = 150, 256
    x = rng.standard_normal((rows, block)).astype(np.float32)
    out = np.empty_like(x)
    _triangle[(1,)](x, out, n, ROWS=rows, BLOCK=block)
    at, down = np.arange(block), np.arange(rows)[:, None]
    mask = (at <= 2 * down) & (down < n) & (at < n)
    np.testing.assert_array_equal(out, np.where(mask, x + x, np.float32(2)))


@pytest.mark.parametrize("n", [0, 1, 16, 70, 127, 128, 500])
def test_one_comparison_for_rows_and_columns(rng: np.random.Generator, n: int) -> None:
    x = rng.standard_normal((128, 128)).astype(np.float32)
    out = np.zeros_like(x)
    _square[(1,)](x, out, n, BLOCK=128)
    lane = np.arange(128)
    both = (lane < n)[:, None] & (lane < n)
    np.testing.assert_array_equal(out, np.where(lane < n, np.where(both, x, np.float32(5)) + 1, 0))


@pytest.mark.parametrize("n", [0, 17, 200, 256])
@pytest.mark.parametrize("m", [0, 3, 8])
def test_columns_are_summed(rng: np.random.Generator, n: int, m: int) -> None:
    x = rng.integers(-9, 9, (8, 256)).astype(np.float32)
    out = np.zeros(256, np.float32)
    _columns[(1,)](x, out, n, m, ROWS=8, BLOCK=256)
    mask = (np.arange(8)[:, None] < m) & (np.arange(256) < n)
    np.testing.assert_array_equal(out, np.where(mask, x, np.float32(2)).sum(axis=0))


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("before", [1, 16, 100, 511, 512, 513])
def test_an_index_that_wraps_round(x: np.ndarray, before: int, wide: bool) -> None:
    out = np.zeros(BLOCK, np.float32)
    start = (1 << 31) - before
    for n in (-5, 5, (1 << 31) - before // 2 - 1, (1 << 31) - 1):
        _wraps[(1,)](x, out, start, n, BLOCK=BLOCK, WIDE=wide)
        place = (start + np.arange(BLOCK)).astype(np.uint32).view(np.int32)
        np.testing.assert_array_equal(out, np.where(place < n, x, np.float32(-1)))


@pytest.mark.parametrize("n", [-1, 0])
def test_a_place_that_no_lane_may_read(x: np.ndarray, n: int) -> None:
    out = np.zeros(BLOCK, np.float32)
    _far_scalar[(1,)](x, out, (1 << 31) - 1, n, BLOCK=BLOCK)
    np.testing.assert_array_equal(out, np.full(BLOCK, 4, np.float32))
