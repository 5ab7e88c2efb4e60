"""Block pointers and tensor descriptors: windows that move over arrays, at ragged edges."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import tilejit
import tilejit.language as tl

from .compare import FLOATS, check_close


@tilejit.jit
def block_pointer_matmul(
    a_ptr, b_ptr, c_ptr, M, N, K, stride_am, stride_ak, stride_bk, stride_bn, stride_cm, stride_cn,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    pid_m = tl.program_id(0)
    pid_n = tl.program_id(1)
    a_block = tl.make_block_ptr(
        base=a_ptr, shape=(M, K), strides=(stride_am, stride_ak), offsets=(pid_m * BLOCK_M, 0),
        block_shape=(BLOCK_M, BLOCK_K), order=(1, 0),
    )  # fmt: skip
    b_block = tl.make_block_ptr(
        base=b_ptr, shape=(K, N), strides=(stride_bk, stride_bn), offsets=(0, pid_n * BLOCK_N),
        block_shape=(BLOCK_K, BLOCK_N), order=(1, 0),
    )  # fmt: skip
    accumulator = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for _ in range(0, K, BLOCK_K):
        a = tl.load(a_block, boundary_check=(0, 1), padding_option="zero")
        b = tl.load(b_block, boundary_check=(0, 1), padding_option="zero")
        accumulator += tl.dot(a, b)
        a_block = tl.advance(a_block, (0, BLOCK_K))
        b_block = b_block.advance((BLOCK_K, 0))
    c_block = tl.make_block_ptr(
        c_ptr, (M, N), (stride_cm, stride_cn), (pid_m * BLOCK_M, pid_n * BLOCK_N), (BLOCK_M, BLOCK_N), (1, 0)
    )
    tl.store(c_block, accumulator.to(c_ptr.dtype.element_ty), boundary_check=(0, 1))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_block_pointer_matmul(
    interpret: bool, rng: np.random.Generator, dtype: np.dtype, transposed: bool
) -> None:
    m, n, k = 37, 50, 45
    a = rng.standard_normal((m, k)).astype(dtype)
    b = (
        rng.standard_normal((n, k)).astype(dtype).T
        if transposed
        else rng.standard_normal((k, n)).astype(dtype)
    )
    c = np.empty((m, n), dtype)
    strides = [s // t.itemsize for t in (a, b, c) for s in t.strides]
    block_pointer_matmul[(3, 4)](
        a, b, c, m, n, k, *strides, BLOCK_M=16, BLOCK_N=16, BLOCK_K=32, interpret=interpret
    )
    check_close(c, a.astype(np.float64) @ b.astype(np.float64))


@tilejit.jit
def window_sum(x_ptr, out_ptr, M, N, row, column, PADDING: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
    """A window that may hang over any side, also the upper and the left one."""
    x = tl.make_block_ptr(x_ptr, (M, N), (N, 1), (row, column), (BM, BN), (1, 0))
    tile = tl.load(x, boundary_check=(0, 1), padding_option=PADDING)
    out = tl.make_block_ptr(out_ptr, (BM, BN), (BN, 1), (0, 0), (BM, BN), (1, 0))
    tl.store(out, tile)


@pytest.mark.parametrize("padding", ["zero", "nan"])
@pytest.mark.parametrize(("row", "column"), [(-3, 2), (5, -1), (-1, -1), (9, 9), (100, 0), (-100, -100)])
def test_windows_over_the_edge(
    interpret: bool, rng: np.random.Generator, row: int, column: int, padding: str
) -> None:
    x = rng.standard_normal((12, 14)).astype(np.float16)
    out = np.empty((8, 8), np.float16)
    window_sum[(1,)](x, out, 12, 14, row, column, PADDING=padding, BM=8, BN=8, interpret=interpret)
    expected = np.full((8, 8), 0 if padding == "zero" else np.nan, np.float16)
    for i in range(8):
        for j in range(8):
            if 0 <= row + i < 12 and 0 <= column + j < 14:
                expected[i, j] = x[row + i, column + j]
    np.testing.assert_array_equal(out, expected)


@tilejit.jit
def zigzag_copy(src_ptr, dst_ptr, M, N, BM: tl.constexpr, BN: tl.constexpr):
    """One window carried through two loops, back at each row's start; a runtime if picks its target."""
    src = tl.make_block_ptr(src_ptr, (M, N), (N, 1), (0, 0), (BM, BN), (1, 0))
    upper = tl.make_block_ptr(dst_ptr, (M, N), (N, 1), (0, 0), (BM, BN), (1, 0))
    blocks = tl.cdiv(N, BN)
    for i in range(tl.cdiv(M, BM)):
        for _ in range(blocks):
            tile = tl.load(src, boundary_check=(0, 1))
            if i % 2 == 0:
                tile = -tile
            tl.store(upper, tile, boundary_check=(0, 1))
            src = tl.advance(src, [0, BN])
            upper = tl.advance(upper, [0, BN])
        src = tl.advance(src, (BM, -BN * blocks))
        upper = tl.advance(upper, (BM, -BN * blocks))


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.float64])
def test_windows_carried_through_loops(interpret: bool, rng: np.random.Generator, dtype: type) -> None:
    src = rng.integers(0, 100, (21, 19)).astype(dtype)
    dst = np.zeros_like(src)
    zigzag_copy[(1,)](src, dst, 21, 19, BM=4, BN=8, interpret=interpret)
    even = (np.arange(21) // 4 % 2 == 0)[:, None]
    np.testing.assert_array_equal(dst, np.where(even, np.negative(src), src))


@tilejit.jit
def descriptor_transpose(x_ptr, y_ptr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """Descriptors of whole arrays: shape and strides come with the arguments."""
    x = tl.make_tensor_descriptor(x_ptr, block_shape=[BLOCK_M, BLOCK_N])
    y = tl.make_tensor_descriptor(y_ptr, block_shape=[BLOCK_N, BLOCK_M])
    row = tl.program_id(0) * BLOCK_M
    column = tl.program_id(1) * BLOCK_N
    y.store([column, row], x.load([row, column]).T)


@pytest.mark.parametrize("dtype", [*FLOATS, np.dtype(np.int8), np.dtype(bool)], ids=str)
def test_descriptor_transpose(interpret: bool, rng: np.random.Generator, dtype: np.dtype) -> None:
    x = (10 * rng.standard_normal((33, 50))).astype(dtype)
    y = np.zeros((50, 40), dtype)
    part = y[:, :33]
    descriptor_transpose[(3, 4)](x, part, BLOCK_M=16, BLOCK_N=16, interpret=interpret)
    np.testing.assert_array_equal(y[:, :33], x.T)
    assert not y[:, 33:].any()


@tilejit.jit
def descriptor_matmul(a_ptr, b_ptr, c_ptr, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    """Persistent, with descriptors made from pointers; B is stored [N, K]."""
    a_desc = tl.make_tensor_descriptor(a_ptr, shape=[M, K], strides=[K, 1], block_shape=[BM, BK])
    b_desc = tl.make_tensor_descriptor(b_ptr, shape=[N, K], strides=[K, 1], block_shape=[BN, BK])
    c_desc = tl.make_tensor_descriptor(c_ptr, shape=[M, N], strides=[N, 1], block_shape=[BM, BN])
    tiles_n = tl.cdiv(N, BN)
    for tile in tl.range(tl.program_id(0), tl.cdiv(M, BM) * tiles_n, tl.num_programs(0), flatten=True):
        row = tile // tiles_n * BM
        column = tile % tiles_n * BN
        acc = tl.zeros((BM, BN), dtype=tl.float32)
        for k in range(tl.cdiv(K, BK)):
            a = a_desc.load([row, k * BK])
            b = tl.load_tensor_descriptor(b_desc, [column, k * BK])
            acc = tl.dot(a, b.T, acc)
        c_desc.store([row, column], acc.to(c_desc.dtype))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_descriptor_matmul(interpret: bool, rng: np.random.Generator, dtype: np.dtype) -> None:
    a = rng.standard_normal((40, 70)).astype(dtype)
    b = rng.standard_normal((36, 70)).astype(dtype)
    c = np.empty((40, 36), dtype)
    descriptor_matmul[(2,)](a, b, c, 40, 36, 70, BM=16, BN=16, BK=32, interpret=interpret)
    check_close(c, a.astype(np.float64) @ b.astype(np.float64).T)


@tilejit.jit
def stencil_3d(x_ptr, y_ptr, BLOCK: tl.constexpr):
    """Seven points of a 3-D array; neighbours outside count as zero."""
    x = tl.make_tensor_descriptor(x_ptr, block_shape=[1, BLOCK, BLOCK])
    y = tl.make_tensor_descriptor(y_ptr, block_shape=[1, BLOCK, BLOCK])
    z = tl.program_id(2)
    r = tl.program_id(1) * BLOCK
    c = tl.program_id(0) * BLOCK
    total = -6 * x.load([z, r, c])
    for step in tl.static_range(-1, 2, 2):
        total += x.load([z + step, r, c]) + x.load([z, r + step, c]) + x.load([z, r, c + step])
    y.store([z, r, c], total)


def test_stencil_with_descriptors(interpret: bool, rng: np.random.Generator) -> None:
    x = rng.standard_normal((5, 20, 21))
    y = np.empty_like(x)
    stencil_3d[(3, 3, 5)](x, y, BLOCK=8, interpret=interpret)
    p = np.pad(x, 1)
    expected = -6 * x + p[:-2, 1:-1, 1:-1] + p[2:, 1:-1, 1:-1] + p[1:-1, :-2, 1:-1] + p[1:-1, 2:, 1:-1]
    check_close(y, expected + p[1:-1, 1:-1, :-2] + p[1:-1, 1:-1, 2:])


@tilejit.jit
def descriptor_nan(x_ptr, out_ptr, N, start, BLOCK: tl.constexpr):
    x = tl.make_tensor_descriptor(x_ptr, [N], [1], [BLOCK], padding_option="nan")
    out = tl.make_tensor_descriptor(out_ptr, shape=[BLOCK], strides=[1], block_shape=[BLOCK])
    tl.store_tensor_descriptor(out, [0], x.load([start]))


@pytest.mark.parametrize("start", [-5, 0, 20, 1000])
def test_one_dimensional_descriptor_padded_with_nan(
    interpret: bool, rng: np.random.Generator, start: int
) -> None:
    x = rng.standard_normal(25).astype(ml_dtypes.bfloat16)
    out = np.empty(16, ml_dtypes.bfloat16)
    descriptor_nan[(1,)](x, out, 25, start, 16, interpret=interpret)
    index = start + np.arange(16)
    inside = (index >= 0) & (index < 25)
    expected = np.where(inside, x[index.clip(0, 24)].astype(np.float32), np.nan)
    np.testing.assert_array_equal(out.astype(np.float32), expected)


@tilejit.jit
def strip_sum(desc_ptr, out_ptr, ROWS: tl.constexpr, COLS: tl.constexpr, start, stop):
    """A descriptor passed to a helper, made once and used in a loop."""
    desc = tl.make_tensor_descriptor(desc_ptr, block_shape=[ROWS, COLS])
    total = add_strips(desc, start, stop, ROWS)
    tl.store(out_ptr + tl.arange(0, COLS), total)


@tilejit.jit
def add_strips(desc, start, stop, STEP: tl.constexpr):
    total = tl.zeros([desc.block_shape[1]], tl.float32)
    for row in range(start, stop, STEP):
        total += tl.sum(desc.load([row, 0]).to(tl.float32), axis=0)
    return total


def test_descriptor_passed_to_helper(interpret: bool, rng: np.random.Generator) -> None:
    x = rng.standard_normal((30, 12)).astype(np.float16)
    out = np.empty(16, np.float32)
    strip_sum[(1,)](x, out, 4, 16, 2, 30, interpret=interpret)
    check_close(out[:12], x[2:].astype(np.float64).sum(0))
    assert not out[12:].any()
