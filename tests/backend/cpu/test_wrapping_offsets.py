"""32-bit offsets wrap, also between two lanes of what would be one contiguous vector."""

from __future__ import annotations

import mmap

import numpy as np
import pytest

import tilejit
import tilejit.language as tl

HALF = 1 << 31


@pytest.fixture(scope="module")
def memory() -> np.ndarray:
    """Bytes on both sides of a middle, as far as 32-bit offsets reach; only touched pages take space."""
    try:
        area = mmap.mmap(-1, 2 * HALF + mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError:
        pytest.skip("no 4 GB of address space")
    return np.frombuffer(area, np.int8)


@tilejit.kernel
def _copy(source, target, start, BLOCK: tl.constexpr):
    offsets = start + tl.arange(0, BLOCK)
    tl.store(target + tl.arange(0, BLOCK), tl.load(source + offsets))


@tilejit.kernel
def _copy_block(source, target, number, BLOCK: tl.constexpr):
    offsets = number * BLOCK + tl.arange(0, BLOCK)
    tl.store(target + tl.arange(0, BLOCK), tl.load(source + offsets))


@tilejit.kernel
def _total(source, target, start, BLOCK: tl.constexpr):
    values = tl.load(source + (start + tl.arange(0, BLOCK)))
    tl.store(target, tl.sum(values.to(tl.int32), axis=0))


@tilejit.kernel
def _spread(source, target, start, BLOCK: tl.constexpr):
    offsets = start + tl.arange(0, BLOCK)
    tl.store(target + offsets, tl.load(source + tl.arange(0, BLOCK)))


@tilejit.kernel
def _sum_of_rows(source, starts, target, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    rows = tl.load(starts + tl.arange(0, ROWS))
    values = tl.load(source + (rows[:, None] + tl.arange(0, BLOCK)[None, :]))
    tl.store(target + tl.arange(0, BLOCK), tl.sum(values.to(tl.int32), axis=0))


@tilejit.kernel
def _repeated_sum_of_rows(source, starts, target, times, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    rows = tl.load(starts + tl.arange(0, ROWS))
    places = source + (rows[:, None] + tl.arange(0, BLOCK)[None, :])
    total = tl.zeros((ROWS, BLOCK), tl.int32)
    for _ in range(times):
        total += tl.load(places)
    tl.store(target + tl.arange(0, BLOCK), tl.sum(total, axis=0))


@tilejit.kernel
def _alternate(source, target, start, times, BLOCK: tl.constexpr):
    here = source + (start + tl.arange(0, BLOCK))
    there = source + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.int32)
    for _ in range(times):
        total += tl.load(here)
        here, there = there, here
    tl.store(target + tl.arange(0, BLOCK), total)


def _wrapped(start: int, block: int) -> np.ndarray:
    """Where the lanes lie, counted from the middle of the memory."""
    return (np.int64(start) + np.arange(block)).astype(np.int32).astype(np.int64)


@pytest.mark.parametrize("number", [HALF // 64 - 1, HALF // 64, HALF // 64 + 1, -1, 0])
def test_blocks_wrap_as_a_whole(memory: np.ndarray, number: int) -> None:
    """64 divides all at which offsets wrap: no nest tests for it."""
    places = _wrapped(number * 64, 64) + HALF
    memory[places] = np.arange(64, dtype=np.int8)
    target = np.zeros(64, np.int8)
    _copy_block[(1,)](memory[HALF:], target, number, BLOCK=64)
    assert target.tolist() == list(range(64))
    memory[places] = 0


@pytest.mark.parametrize("start", [HALF - 5, HALF - 64, HALF - 65, -7, -HALF])
def test_loads_and_sums_wrap_between_lanes(memory: np.ndarray, start: int) -> None:
    places = _wrapped(start, 64) + HALF
    memory[places] = np.arange(64, dtype=np.int8)
    middle = memory[HALF:]
    out = np.zeros(64, np.int8)
    _copy[(1,)](middle, out, start, BLOCK=64)
    assert out.tolist() == list(range(64))
    total = np.zeros(1, np.int32)
    _total[(1,)](middle, total, start, BLOCK=64)
    assert total[0] == 64 * 63 // 2
    memory[places] = 0


def test_stores_wrap_between_lanes(memory: np.ndarray) -> None:
    start = HALF - 3
    _spread[(1,)](np.arange(1, 65, dtype=np.int8), memory[HALF:], start, BLOCK=64)
    places = _wrapped(start, 64) + HALF
    assert memory[places].tolist() == list(range(1, 65))
    memory[places] = 0


def test_one_row_of_several_wraps(memory: np.ndarray) -> None:
    starts = np.array([0, HALF - 5, -9], np.int32)
    places = [_wrapped(int(start), 16) + HALF for start in starts]
    for number, row in enumerate(places):
        memory[row] = np.arange(16, dtype=np.int8) + number
    expected = sum(memory[row].astype(np.int32) for row in places)
    out = np.zeros(16, np.int32)
    _sum_of_rows[(1,)](memory[HALF:], starts, out, ROWS=3, BLOCK=16)
    assert out.tolist() == expected.tolist()
    _repeated_sum_of_rows[(1,)](memory[HALF:], starts, out, 2, ROWS=3, BLOCK=16)
    assert out.tolist() == (2 * expected).tolist()
    for row in places:
        memory[row] = 0


def test_carried_pointers_that_wrapped_between_lanes(memory: np.ndarray) -> None:
    start = HALF - 5
    places = _wrapped(start, 16) + HALF
    memory[places] = np.arange(16, dtype=np.int8)
    memory[HALF : HALF + 16] = 100
    out = np.zeros(16, np.int32)
    _alternate[(1,)](memory[HALF:], out, start, 3, BLOCK=16)
    assert out.tolist() == [100 + 2 * lane for lane in range(16)]
    memory[places] = 0
    memory[HALF : HALF + 16] = 0


@tilejit.kernel
def _difference(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """``n`` in the lanes that do not wrap, else less than that by 2**32."""
    lane = tl.arange(0, BLOCK)
    limit = (lane + n).to(tl.int64) - lane.to(tl.int64)
    x = tl.load(x_ptr + lane, mask=lane.to(tl.int64) < limit, other=-1)
    tl.store(out_ptr + lane, x + 1000 * tl.load(x_ptr + 1 + (limit >> 32)))


@pytest.mark.parametrize("before", [1, 40, 64, 200, 256])
def test_offsets_that_cancel_out_but_for_wrapping(before: int) -> None:
    x = np.arange(256, dtype=np.int32)
    out = np.zeros(256, np.int32)
    _difference[(1,)](x, out, HALF - before, BLOCK=256)
    assert out.tolist() == [lane + 1000 if lane < before else -1 for lane in range(256)]
