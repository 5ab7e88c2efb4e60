"""Atomics between the programs of a launch: counters, histograms, queues, locks, look-back."""

from __future__ import annotations

import numpy as np
import pytest

import tilejit
import tilejit.language as tl


@tilejit.jit
def histogram_kernel(x_ptr, bins_ptr, n, BINS: tl.constexpr, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask, other=0)
    inside = mask & (x >= 0) & (x < BINS)
    tl.atomic_add(bins_ptr + x, tl.full((BLOCK,), 1, bins_ptr.dtype.element_ty), mask=inside)


@pytest.mark.parametrize("bin_dtype", [np.int32, np.int64, np.float32, np.uint32])
def test_histogram(interpret: bool, rng: np.random.Generator, bin_dtype: type) -> None:
    x = rng.integers(-2, 12, 1000).astype(np.int16)
    bins = np.zeros(10, bin_dtype)
    histogram_kernel[(tilejit.cdiv(1000, 128),)](x, bins, 1000, BINS=10, BLOCK=128, interpret=interpret)
    np.testing.assert_array_equal(bins, np.bincount(x[(x >= 0) & (x < 10)], minlength=10))


@tilejit.jit
def private_histogram(x_ptr, bins_ptr, n, BINS: tl.constexpr, BLOCK: tl.constexpr):
    """Counted in a tile by comparison with every bin, added once per program."""
    counts = tl.zeros((BINS,), tl.int32)
    for start in range(tl.program_id(0) * BLOCK, n, tl.num_programs(0) * BLOCK):
        offsets = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + offsets, mask=offsets < n, other=-1)
        counts += tl.sum((x[:, None] == tl.arange(0, BINS)[None, :]).to(tl.int32), axis=0)
    tl.atomic_add(bins_ptr + tl.arange(0, BINS), counts, sem="relaxed", scope="gpu")


def test_private_histogram(interpret: bool, rng: np.random.Generator) -> None:
    x = rng.integers(0, 16, 777).astype(np.uint8)
    bins = np.zeros(16, np.int32)
    private_histogram[(3,)](x, bins, 777, BINS=16, BLOCK=64, interpret=interpret)
    np.testing.assert_array_equal(bins, np.bincount(x, minlength=16))


@tilejit.jit
def row_extremes(x_ptr, max_ptr, min_ptr, or_ptr, xor_ptr, and_ptr, N, BLOCK: tl.constexpr):
    cols = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    row = tl.program_id(0)
    mask = cols < N
    x = tl.load(x_ptr + row * N + cols, mask=mask, other=0)
    tl.atomic_max(max_ptr + row, tl.max(tl.where(mask, x, -2147483648)))
    tl.atomic_min(min_ptr + row, tl.min(tl.where(mask, x, 2147483647)))
    rows = row + tl.zeros((BLOCK,), tl.int32)
    tl.atomic_or(or_ptr + rows, x, mask=mask)
    tl.atomic_xor(xor_ptr + rows, x, mask=mask)
    tl.atomic_and(and_ptr + rows, x, mask=mask)


def test_atomics_of_every_kind(interpret: bool, rng: np.random.Generator) -> None:
    x = rng.integers(-(2**31), 2**31, (5, 100)).astype(np.int32)
    results = np.zeros((5, 5), np.int32)
    results[0], results[1], results[4] = -(2**31), 2**31 - 1, -1
    row_extremes[(5, 4)](x, *results, 100, BLOCK=32, interpret=interpret)
    for operation, result in zip(
        (np.maximum, np.minimum, np.bitwise_or, np.bitwise_xor, np.bitwise_and), results, strict=True
    ):
        np.testing.assert_array_equal(result, operation.reduce(x, axis=1))


@tilejit.jit
def float_extremes(x_ptr, max_ptr, min_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets, mask=offsets < n)
    tl.atomic_max(max_ptr + offsets % 4, x, mask=offsets < n)
    tl.atomic_min(min_ptr + offsets % 4, x, mask=offsets < n)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float_extremes(interpret: bool, rng: np.random.Generator, dtype: type) -> None:
    x = rng.standard_normal(100).astype(dtype)
    top, bottom = np.full(4, -np.inf, dtype), np.full(4, np.inf, dtype)
    float_extremes[(4,)](x, top, bottom, 100, BLOCK=32, interpret=interpret)
    np.testing.assert_array_equal(top, x.reshape(25, 4).max(0))
    np.testing.assert_array_equal(bottom, x.reshape(25, 4).min(0))


@tilejit.jit
def scatter_add_half(index_ptr, x_ptr, out_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.atomic_add(out_ptr + tl.load(index_ptr + i), tl.load(x_ptr + i))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_scatter_add_of_floats(interpret: bool, rng: np.random.Generator, dtype: str) -> None:
    index = rng.integers(0, 8, 64)
    x = rng.integers(-8, 8, 64).astype(dtype)
    out = np.zeros(8, x.dtype)
    scatter_add_half[(1,)](index, x, out, 64, interpret=interpret)
    np.testing.assert_array_equal(out.astype(np.float64), np.bincount(index, x.astype(np.float64), 8))


@tilejit.jit
def work_queue(counter_ptr, owner_ptr, n_items):
    """Programs take items until there are none."""
    item = tl.atomic_add(counter_ptr, 1)
    taken = 0
    while item < n_items:
        tl.store(owner_ptr + item, tl.program_id(0))
        taken += 1
        item = tl.atomic_add(counter_ptr, 1)
    tl.atomic_add(counter_ptr + 1, taken)


def test_work_queue(interpret: bool) -> None:
    counter = np.zeros(2, np.int32)
    owner = np.full(200, -1, np.int32)
    work_queue[(5,)](counter, owner, 200, interpret=interpret)
    assert counter.tolist() == [205, 200]
    assert set(owner.tolist()) <= set(range(5))


@tilejit.jit
def look_back_cumsum(x_ptr, out_ptr, flag_ptr, total_ptr, N, BLOCK: tl.constexpr):
    """One pass over the data: each program waits for the total of the one before it."""
    pid = tl.program_id(0)
    offsets = pid * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets, mask=offsets < N, other=0)
    before = tl.zeros((), x.dtype)
    if pid > 0:
        while tl.atomic_add(flag_ptr + pid - 1, 0, sem="acquire") == 0:
            pass
        before = tl.load(total_ptr + pid - 1)
    tl.store(total_ptr + pid, before + tl.sum(x, 0))
    tl.atomic_xchg(flag_ptr + pid, 1, sem="release")
    tl.store(out_ptr + offsets, tl.cumsum(x, 0) + before, mask=offsets < N)


def test_look_back_cumsum(interpret: bool, rng: np.random.Generator) -> None:
    x = rng.integers(-100, 100, 1000)
    out = np.empty_like(x)
    programs = tilejit.cdiv(1000, 64)
    flag = np.zeros(programs, np.int32)
    total = np.zeros(programs, np.int64)
    look_back_cumsum[(programs,)](x, out, flag, total, 1000, BLOCK=64, interpret=interpret)
    np.testing.assert_array_equal(out, x.cumsum())


@tilejit.jit
def last_program_finishes(
    x_ptr, partial_ptr, counter_ptr, out_ptr, N, BLOCK: tl.constexpr, PROGRAMS: tl.constexpr
):
    """The program that arrives last adds up what the others left."""
    pid = tl.program_id(0)
    offsets = pid * BLOCK + tl.arange(0, BLOCK)
    tl.store(partial_ptr + pid, tl.sum(tl.load(x_ptr + offsets, mask=offsets < N, other=0.0)))
    tl.debug_barrier()
    arrived = tl.atomic_add(counter_ptr, 1)
    if arrived == tl.num_programs(0) - 1:
        lanes = tl.arange(0, PROGRAMS)
        partial = tl.load(partial_ptr + lanes, mask=lanes < tl.num_programs(0), other=0.0)
        tl.store(out_ptr, tl.sum(partial))
        tl.atomic_xchg(counter_ptr, 0)


def test_last_program_finishes(interpret: bool, rng: np.random.Generator) -> None:
    x = rng.integers(0, 100, 1000).astype(np.float32)
    out = np.zeros(1, np.float32)
    partial = np.zeros(16, np.float32)
    counter = np.zeros(1, np.int32)
    for _ in range(3):
        last_program_finishes[(16,)](x, partial, counter, out, 1000, 64, 16, interpret=interpret)
        assert out[0] == x.sum()
    assert counter[0] == 0


@tilejit.jit
def unique_ids(keys_ptr, table_ptr, n, SIZE: tl.constexpr):
    """An open hash table: insert by compare-and-swap, go on where another key sits."""
    i = tl.program_id(0)
    key = tl.load(keys_ptr + i)
    slot = (key * 40503) % SIZE
    found = tl.atomic_cas(table_ptr + slot, -1, key)
    while (found != -1) & (found != key):
        slot = (slot + 1) % SIZE
        found = tl.atomic_cas(table_ptr + slot, -1, key)


def test_hash_table(interpret: bool, rng: np.random.Generator) -> None:
    keys = rng.integers(0, 1000, 100).astype(np.int32)
    table = np.full(256, -1, np.int32)
    unique_ids[(100,)](keys, table, 100, SIZE=256, interpret=interpret)
    np.testing.assert_array_equal(np.sort(table[table >= 0]), np.unique(keys))
