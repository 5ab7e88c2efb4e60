"""Dots of tiles that some programs of a launch find whole in memory and others do not.

Integers, so that all ways to compute a dot give the same bits.
"""

from __future__ import annotations

import numpy as np
import pytest

import tilejit
import tilejit.language as tl

M, N, K = 70, 150, 100


@tilejit.kernel
def masked_kernel(
    a_ptr, b_ptr, c_ptr, m, n, k, first_row, stride_am, stride_ak, stride_bk, stride_bn,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, OTHER: tl.constexpr,
):  # fmt: skip
    """Bounds on both dims of both operands, offsets of 32 bits, a condition, something behind the masks."""
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    sums = tl.zeros((BLOCK_M, BLOCK_N), tl.int32)
    for start in range(0, k, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        in_a = (rows[:, None] >= first_row) & (rows[:, None] < m) & (inner < k)[None, :] & (n > 0)
        a_ptrs = a_ptr + rows[:, None] * stride_am + inner[None, :] * stride_ak
        b_ptrs = b_ptr + inner[:, None] * stride_bk + columns[None, :] * stride_bn
        a = tl.load(a_ptrs, mask=in_a, other=OTHER)
        b = tl.load(b_ptrs, mask=(inner[:, None] <= k - 1) & (n > columns[None, :]), other=OTHER)
        sums = tl.dot(a, b, sums, out_dtype=tl.int32)
    c_ptrs = c_ptr + rows[:, None] * n + columns[None, :]
    tl.store(c_ptrs, sums, mask=(rows[:, None] < m) & (columns[None, :] < n))


@pytest.mark.sample(one_in=5)
@pytest.mark.parametrize("blocks", [(32, 64, 32), (4, 64, 32), (32, 4, 16)], ids=str)
@pytest.mark.parametrize("layout", ["nn", "nt", "tn"])
@pytest.mark.parametrize("other", [0, 3])
@pytest.mark.parametrize("first_row", [0, 5])
def test_masks_leave_out_parts_of_some_tiles(
    rng: np.random.Generator, layout: str, other: int, first_row: int, blocks: tuple[int, int, int]
) -> None:
    """Of tiles of like sizes, and of a small one times a large one, which is asked about by itself."""
    a, b = (rng.integers(-9, 9, shape, dtype=np.int8) for shape in ((M, K), (K, N)))
    a, b = (np.asfortranarray(x) if side == "t" else x for x, side in zip((a, b), layout, strict=True))
    results = []
    for interpret in (False, True):
        c = np.zeros((M, N), np.int32)
        masked_kernel[(tilejit.cdiv(M, blocks[0]), tilejit.cdiv(N, blocks[1]))](
            a, b, c, M, N, K, first_row, *a.strides, *b.strides,
            BLOCK_M=blocks[0], BLOCK_N=blocks[1], BLOCK_K=blocks[2], OTHER=other, interpret=interpret,
        )  # fmt: skip
        results.append(c)
    np.testing.assert_array_equal(*results)
    if other == 0:
        expected = a.astype(np.int32) @ b.astype(np.int32)
        expected[:first_row] = 0
        np.testing.assert_array_equal(results[0], expected)


@tilejit.kernel
def wrapped_rows_kernel(a_ptr, b_ptr, c_ptr, m, first, BLOCK: tl.constexpr):
    """Rows past the last one, or before the first, are others: a remainder takes them there."""
    rows = (first + tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)) % m
    inner = tl.arange(0, 32)
    a = tl.load(a_ptr + 64 * 32 + rows[:, None] * 32 + inner[None, :])
    b = tl.load(b_ptr + inner[:, None] * 32 + inner[None, :])
    c_ptrs = c_ptr + (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK))[:, None] * 32 + inner[None, :]
    tl.store(c_ptrs, tl.dot(a, b, out_dtype=tl.int32))


@pytest.mark.parametrize(("m", "first"), [(48, 0), (40, 0), (7, 3), (40, -20), (64, 2**31 - 20)])
def test_remainders_come_round_in_some_tiles(rng: np.random.Generator, m: int, first: int) -> None:
    a, b = (rng.integers(-9, 9, (rows, 32), dtype=np.int8) for rows in (128, 32))
    results = []
    for interpret in (False, True):
        c = np.zeros((48, 32), np.int32)
        wrapped_rows_kernel[(3,)](a, b, c, m, first, BLOCK=16, interpret=interpret)
        results.append(c)
    np.testing.assert_array_equal(*results)


@tilejit.kernel
def narrow_offsets_kernel(a_ptr, b_ptr, c_ptr, stride, first):
    """Offsets of 16 bits, which wrap round in the middle of the array."""
    rows = (first.to(tl.int16) + tl.arange(0, 16).to(tl.int16)) * stride.to(tl.int16)
    inner = tl.arange(0, 32)
    a = tl.load(a_ptr + 32768 + rows[:, None] + inner[None, :])
    b = tl.load(b_ptr + inner[:, None] * 32 + inner[None, :])
    tl.store(c_ptr + tl.arange(0, 16)[:, None] * 32 + inner[None, :], tl.dot(a, b, out_dtype=tl.int32))


@pytest.mark.parametrize(
    ("stride", "first"), [(64, 0), (2184, 0), (2185, 0), (4096, 0), (-2184, 0), (-2200, 0), (100, 320)]
)
def test_offsets_wrap_round_in_some_tiles(rng: np.random.Generator, stride: int, first: int) -> None:
    a = rng.integers(-9, 9, 65536 + 64, dtype=np.int8)
    b = rng.integers(-9, 9, (32, 32), dtype=np.int8)
    results = []
    for interpret in (False, True):
        c = np.zeros((16, 32), np.int32)
        narrow_offsets_kernel[(1,)](a, b, c, stride, first, interpret=interpret)
        results.append(c)
    np.testing.assert_array_equal(*results)


@tilejit.kernel
def batched_kernel(q_ptr, k_ptr, out_ptr, length, H: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr):
    """Tiles of several matrices, the last of which masks cut."""
    heads, rows = tl.arange(0, H)[:, None, None], tl.arange(0, 4)[None, :, None]
    inner = tl.arange(0, D)[None, None, :]
    q = tl.load(q_ptr + heads * 4 * D + rows * D + inner)
    for start in range(0, length, BLOCK):
        tokens = start + tl.arange(0, BLOCK)[None, :, None]
        k = tl.load(k_ptr + tokens * H * D + heads * D + inner, mask=tokens < length, other=0).to(tl.float32)
        scores = tl.dot(q, tl.permute(k, 0, 2, 1), input_precision="ieee")
        columns = start + tl.arange(0, BLOCK)[None, None, :]
        tl.store(out_ptr + heads * 4 * length + rows * length + columns, scores, mask=columns < length)


@pytest.mark.parametrize("length", [16, 32, 45, 5])
def test_tiles_of_several_matrices(rng: np.random.Generator, length: int) -> None:
    q = rng.integers(-9, 9, (2, 4, 32)).astype(np.float32)
    k = rng.integers(-9, 9, (length, 2, 32), dtype=np.int8)
    out = np.full((2, 4, length), np.nan, np.float32)
    batched_kernel[(1,)](q, k, out, length, H=2, D=32, BLOCK=16)
    np.testing.assert_array_equal(out, np.einsum("hrd,thd->hrt", q, k.astype(np.float32)))
