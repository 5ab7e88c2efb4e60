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
def _total(source, target, start, BLOCK: tl.constexpr):
    values = tl.load(source + (start + tl.arange(0, BLOCK)))
    tl.store(target, tl.sum(values.to(tl.int32), axis=0))


@tilejit.kernel
def _spread(source, target, start, BLOCK: tl.constexpr):
    offsets = start + tl.arange(0, BLOCK)
    tl.store(target + offsets, tl.load(source + tl.arange(0, BLOCK)))


def _wrapped(start: int, block: int) -> np.ndarray:
    """Where the lanes lie, counted from the middle of the memory."""
    return (np.int64(start) + np.arange(block)).astype(np.int32).astype(np.int64)


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
