"""Dots that fetch the tile of the next trip, whose address the loop moves on."""

from __future__ import annotations

import numpy as np
import pytest

import tilejit
import tilejit.language as tl


@tilejit.kernel
def moving_pointers_kernel(
    a_ptr, b_ptr, c_ptr, k, stride_b, M: tl.constexpr, N: tl.constexpr, BLOCK_K: tl.constexpr
):
    rows, columns, inner = tl.arange(0, M), tl.arange(0, N), tl.arange(0, BLOCK_K)
    a_ptrs = a_ptr + rows[:, None] * k + inner[None, :]
    b_ptrs = b_ptr + inner[:, None] * stride_b + columns[None, :]
    step = BLOCK_K * stride_b
    sums = tl.zeros((M, N), tl.float32)
    for start in range(0, k, BLOCK_K):
        in_k = inner < k - start
        a = tl.load(a_ptrs, mask=in_k[None, :], other=0)
        b = tl.load(b_ptrs, mask=in_k[:, None], other=0)
        sums = tl.dot(a, b, sums, input_precision="ieee")
        a_ptrs += BLOCK_K
        b_ptrs += step
    tl.store(c_ptr + rows[:, None] * N + columns[None, :], sums)


@pytest.mark.parametrize("k", [16, 64, 100])
def test_pointers_that_each_trip_moves_on(rng: np.random.Generator, k: int) -> None:
    a, b = (rng.integers(-9, 9, shape).astype(np.float32) for shape in ((4, k), (k, 64)))
    c = np.empty((4, 64), np.float32)
    compiled = moving_pointers_kernel[(1,)](a, b, c, k, 64, M=4, N=64, BLOCK_K=16)
    np.testing.assert_array_equal(c, a @ b)
    assert "fetching %b of the next trip" in compiled.ir("plan")


@tilejit.kernel
def followed_pages_kernel(a_ptr, b_ptr, next_ptr, c_ptr, pages, M: tl.constexpr, N: tl.constexpr):
    """Each page names the next: where that lies is loaded, so nothing is fetched."""
    rows, columns = tl.arange(0, M), tl.arange(0, N)
    a = tl.load(a_ptr + rows[:, None] * N + columns[None, :])
    sums = tl.zeros((M, N), tl.float32)
    page = 0
    for _ in range(pages):
        b = tl.load(b_ptr + page * N * N + columns[:, None] * N + columns[None, :])
        sums = tl.dot(a, b, sums, input_precision="ieee")
        page = tl.load(next_ptr + page)
    tl.store(c_ptr + rows[:, None] * N + columns[None, :], sums)


def test_addresses_that_are_loaded_are_remarked_on(rng: np.random.Generator) -> None:
    a, b = (rng.integers(-9, 9, shape).astype(np.float32) for shape in ((4, 16), (3, 16, 16)))
    order = np.array([2, 0, 1], np.int32)
    c = np.empty((4, 16), np.float32)
    compiled = followed_pages_kernel[(1,)](a, b, order, c, 3, M=4, N=16)
    np.testing.assert_array_equal(c, a @ b.sum(axis=0))
    assert "fetching" not in compiled.ir("plan")
    (remark,) = compiled.remarks
    assert (
        remark.message == "the tile of the next trip is not fetched ahead: where it lies is not known before"
    )
    assert remark.location is not None
    assert remark.location.function == "followed_pages_kernel"
