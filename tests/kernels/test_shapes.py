"""Kernels that turn tiles about: transposes, reductions over any axis, convolutions, sorting."""

from __future__ import annotations

import numpy as np
import pytest

import tilejit
import tilejit.language as tl

from .compare import FLOATS, check_close


@tilejit.jit
def transpose_kernel(x_ptr, y_ptr, M, N, sx, sy, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    rm = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    rn = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    x = tl.load(x_ptr + rm[:, None] * sx + rn[None, :], mask=(rm[:, None] < M) & (rn[None, :] < N))
    tl.store(y_ptr + rn[:, None] * sy + rm[None, :], tl.trans(x), mask=(rn[:, None] < N) & (rm[None, :] < M))


@pytest.mark.parametrize("dtype", ["int8", "bfloat16", "float32", "int64", "bool"])
def test_transpose(interpret: bool, rng: np.random.Generator, dtype: str) -> None:
    x = rng.integers(-90, 90, (50, 35)).astype(dtype)
    y = np.zeros((35, 50), x.dtype)
    transpose_kernel[(4, 2)](x, y, 50, 35, 35, 50, BLOCK_M=16, BLOCK_N=32, interpret=interpret)
    np.testing.assert_array_equal(y, x.T)


@tilejit.jit
def permute_3d(x_ptr, y_ptr, A: tl.constexpr, B: tl.constexpr, C: tl.constexpr, ORDER: tl.constexpr):
    a = tl.arange(0, A)[:, None, None]
    b = tl.arange(0, B)[None, :, None]
    c = tl.arange(0, C)[None, None, :]
    y = tl.permute(tl.load(x_ptr + (a * B + b) * C + c), ORDER)
    P: tl.constexpr = y.shape[0]
    Q: tl.constexpr = y.shape[1]
    R: tl.constexpr = y.shape[2]
    at = (tl.arange(0, P)[:, None, None] * Q + tl.arange(0, Q)[None, :, None]) * R + tl.arange(0, R)
    tl.store(y_ptr + at, y)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)], ids=str)
def test_permute(interpret: bool, rng: np.random.Generator, order: tuple[int, int, int]) -> None:
    x = rng.standard_normal((4, 8, 16)).astype(np.float32)
    y = np.empty(x.size, np.float32)
    permute_3d[(1,)](x, y, *x.shape, order, interpret=interpret)
    np.testing.assert_array_equal(y, x.transpose(order).ravel())


@tilejit.jit
def reduce_3d(x_ptr, sum_ptr, max_ptr, A: tl.constexpr, B: tl.constexpr, C: tl.constexpr, AXIS: tl.constexpr):
    a = tl.arange(0, A)[:, None, None]
    b = tl.arange(0, B)[None, :, None]
    c = tl.arange(0, C)[None, None, :]
    x = tl.load(x_ptr + (a * B + b) * C + c)
    total = tl.sum(x, axis=AXIS)
    top = tl.max(x, axis=AXIS, keep_dims=True)
    at = tl.arange(0, total.numel).reshape(total.shape)
    tl.store(sum_ptr + at, total)
    tl.store(max_ptr + at, top.reshape(total.shape))


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "uint8"])
def test_reductions_of_3d_tiles(interpret: bool, rng: np.random.Generator, dtype: str, axis: int) -> None:
    x = rng.integers(0, 9, (4, 8, 16)).astype(dtype)
    total = np.empty(x.size // x.shape[axis], np.float32)
    top = np.empty_like(total)
    reduce_3d[(1,)](x, total, top, *x.shape, axis, interpret=interpret)
    np.testing.assert_array_equal(total, x.sum(axis, dtype=np.int64).ravel())
    np.testing.assert_array_equal(top, x.max(axis).ravel())


@tilejit.jit
def interleaved_rope(x_ptr, cos_ptr, sin_ptr, N: tl.constexpr):
    """Pairs of neighbours are rotated: split and join of the last dimension."""
    row = tl.program_id(0)
    i = tl.arange(0, N)
    x = tl.load(x_ptr + row * N + i)
    cos = tl.load(cos_ptr + tl.arange(0, N // 2))
    sin = tl.load(sin_ptr + tl.arange(0, N // 2))
    even, odd = tl.split(x.reshape(N // 2, 2))
    turned = tl.join(even * cos - odd * sin, even * sin + odd * cos)
    tl.store(x_ptr + row * N + i, turned.reshape(N).to(x.dtype))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_interleaved_rope(interpret: bool, rng: np.random.Generator, dtype: np.dtype) -> None:
    x = rng.standard_normal((3, 64)).astype(dtype)
    angle = rng.uniform(0, 6, 32)
    z = (x[:, ::2].astype(np.float64) + 1j * x[:, 1::2].astype(np.float64)) * np.exp(1j * angle)
    interleaved_rope[(3,)](
        x, np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32), 64, interpret=interpret
    )
    check_close(x, np.stack([z.real, z.imag], -1).reshape(3, 64))


@tilejit.jit
def compare_and_swap(x, flip, STAGE: tl.constexpr, LOG: tl.constexpr):
    """One step of a bitonic sort: partners lie 2 ** (LOG - STAGE - 1) apart."""
    n: tl.constexpr = 1 << LOG
    y = tl.reshape(x, [1 << STAGE, 2, n >> (STAGE + 1)])
    pick = tl.arange(0, 2)[None, :, None]
    left = tl.broadcast_to(tl.sum(y * (1 - pick), 1)[:, None, :], y.shape)
    right = tl.broadcast_to(tl.sum(y * pick, 1)[:, None, :], y.shape)
    left = tl.reshape(left, x.shape)
    right = tl.reshape(right, x.shape)
    return tl.where((left > right) != flip, left ^ right ^ x, x)


@tilejit.jit
def bitonic_sort(x_ptr, LOG: tl.constexpr):
    N: tl.constexpr = 1 << LOG
    i = tl.arange(0, N)
    x = tl.load(x_ptr + i)
    for stage in tl.static_range(1, LOG + 1):
        if stage < LOG:
            shape: tl.constexpr = [N >> (stage + 1), 2, 1 << stage]
            flip = tl.reshape(tl.broadcast_to(tl.arange(0, 2)[None, :, None], shape), x.shape) != 0
        else:
            flip = tl.full([N], 0, tl.int1)
        for step in tl.static_range(stage):
            x = compare_and_swap(x, flip, step + (LOG - stage), LOG)
    tl.store(x_ptr + i, x)


@pytest.mark.parametrize("log", [1, 3, 6])
def test_bitonic_sort(interpret: bool, rng: np.random.Generator, log: int) -> None:
    x = rng.integers(-100, 100, 1 << log).astype(np.int32)
    expected = np.sort(x)
    bitonic_sort[(1,)](x, log, interpret=interpret)
    np.testing.assert_array_equal(x, expected)


@tilejit.jit
def causal_conv1d(
    x_ptr, w_ptr, b_ptr, y_ptr, T, D, WIDTH: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
    HAS_BIAS: tl.constexpr,
):  # fmt: skip
    t = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    acc = tl.zeros([BLOCK_T, BLOCK_D], dtype=tl.float32)
    for k in tl.static_range(-WIDTH + 1, 1):
        m = (t[:, None] + k >= 0) & (t[:, None] + k < T) & (d < D)
        x = tl.load(x_ptr + (t[:, None] + k) * D + d, mask=m, other=0.0)
        w = tl.load(w_ptr + d * WIDTH + k + WIDTH - 1, mask=d < D)
        acc += x * w
    if HAS_BIAS:
        acc += tl.load(b_ptr + d, mask=d < D).to(tl.float32)
    acc = acc * tl.sigmoid(acc)
    tl.store(y_ptr + t[:, None] * D + d, acc.to(y_ptr.dtype.element_ty), mask=(t[:, None] < T) & (d < D))


@pytest.mark.parametrize("has_bias", [False, True])
def test_causal_conv1d(interpret: bool, rng: np.random.Generator, has_bias: bool) -> None:
    x = rng.standard_normal((45, 20)).astype(np.float16)
    w = rng.standard_normal((20, 4)).astype(np.float16)
    b = rng.standard_normal(20).astype(np.float16)
    y = np.empty_like(x)
    causal_conv1d[(3, 2)](
        x, w, b if has_bias else None, y, 45, 20, WIDTH=4, BLOCK_T=16, BLOCK_D=16, HAS_BIAS=has_bias,
        interpret=interpret,
    )  # fmt: skip
    padded = np.pad(x.astype(np.float64), ((3, 0), (0, 0)))
    z = sum(padded[k : k + 45] * w[:, k].astype(np.float64) for k in range(4)) + has_bias * b.astype(
        np.float64
    )
    check_close(y, z / (1 + np.exp(-z)), 2e-3)


@tilejit.jit
def group_sums(x_ptr, out_ptr, GROUPS: tl.constexpr, SIZE: tl.constexpr):
    """A row seen as groups, and again through expand_dims, broadcast_to, ravel and a tile of rank 4."""
    x = tl.load(x_ptr + tl.arange(0, GROUPS * SIZE))
    groups = x.reshape((GROUPS, SIZE))
    mean = tl.sum(groups, 1) / SIZE
    centred = groups - tl.expand_dims(mean, 1)
    spread = tl.broadcast_to(tl.sum(centred * centred, 1, keep_dims=True), [GROUPS, SIZE])
    y = tl.where(spread > 0, centred / tl.sqrt(spread), 0.0)
    folded = y.view(GROUPS // 2, 2, SIZE // 2, 2)
    swapped = tl.permute(folded, (2, 1, 0, 3))
    tl.store(out_ptr + tl.arange(0, GROUPS * SIZE), tl.ravel(swapped))
    tl.store(out_ptr + GROUPS * SIZE, tl.sum(folded))


def test_group_sums(interpret: bool, rng: np.random.Generator) -> None:
    x = rng.standard_normal(128)
    out = np.empty(129)
    group_sums[(1,)](x, out, 8, 16, interpret=interpret)
    g = x.reshape(8, 16)
    y = g - g.mean(1, keepdims=True)
    y /= np.sqrt((y * y).sum(1, keepdims=True))
    check_close(out[:128], y.reshape(4, 2, 8, 2).transpose(2, 1, 0, 3).ravel(), 1e-12)
    assert abs(out[128] - y.sum()) < 1e-12


@tilejit.jit
def max_pool_2d(
    x_ptr, y_ptr, H, W, OH, OW, KERNEL: tl.constexpr, STRIDE: tl.constexpr, PAD: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    channel = tl.program_id(0)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    oh, ow = i // OW, i % OW
    best = tl.full([BLOCK], float("-inf"), tl.float32)
    for kh in range(KERNEL):
        for kw in range(KERNEL):
            h = oh * STRIDE + kh - PAD
            w = ow * STRIDE + kw - PAD
            inside = (h >= 0) & (h < H) & (w >= 0) & (w < W) & (i < OH * OW)
            x = tl.load(x_ptr + channel * H * W + h * W + w, mask=inside, other=-float("inf"))
            best = tl.maximum(best, x)
    tl.store(y_ptr + channel * OH * OW + i, best, mask=i < OH * OW)


def test_max_pool(interpret: bool, rng: np.random.Generator) -> None:
    x = rng.standard_normal((3, 11, 14)).astype(np.float32)
    y = np.empty((3, 6, 7), np.float32)
    max_pool_2d[(3, 2)](x, y, 11, 14, 6, 7, KERNEL=3, STRIDE=2, PAD=1, BLOCK=32, interpret=interpret)
    padded = np.pad(x, ((0, 0), (1, 2), (1, 2)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))[:, ::2, ::2][:, :6, :7]
    np.testing.assert_array_equal(y, windows.max((-1, -2)))
