"""Softmax, cross entropy, online normalisation, argmax: reductions over rows longer than a tile."""

from __future__ import annotations

import numpy as np
import pytest

import tilejit
import tilejit.language as tl

from .compare import BF16, FLOATS, Array, check_close


def softmax_reference(x: Array) -> Array:
    e = np.exp(x.astype(np.float64) - x.astype(np.float64).max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@tilejit.jit
def online_softmax(out_ptr, x_ptr, n_cols, x_stride, out_stride, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    x_ptr += row * x_stride
    out_ptr += row * out_stride
    running_max = -float("inf")
    running_sum = 0.0
    for block in range(tl.cdiv(n_cols, BLOCK)):
        cols = block * BLOCK + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + cols, mask=cols < n_cols, other=-float("inf")).to(tl.float32)
        new_max = tl.maximum(running_max, tl.max(x, 0))
        running_sum = running_sum * tl.exp(running_max - new_max) + tl.sum(tl.exp(x - new_max), 0)
        running_max = new_max
    for block in range(tl.cdiv(n_cols, BLOCK)):
        cols = block * BLOCK + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + cols, mask=cols < n_cols).to(tl.float32)
        tl.store(out_ptr + cols, tl.exp(x - running_max) / running_sum, mask=cols < n_cols)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("n_cols", [1, 64, 129, 1000])
def test_online_softmax(interpret: bool, rng: np.random.Generator, dtype: np.dtype, n_cols: int) -> None:
    x = (5 * rng.standard_normal((4, n_cols))).astype(dtype)
    out = np.empty_like(x)
    online_softmax[(4,)](out, x, n_cols, n_cols, n_cols, BLOCK=64, interpret=interpret)
    check_close(out, softmax_reference(x))


@tilejit.jit
def persistent_softmax(
    out_ptr, in_ptr, in_stride, out_stride, n_rows, n_cols, BLOCK: tl.constexpr, num_stages: tl.constexpr
):
    row_start = tl.program_id(0)
    row_step = tl.num_programs(0)
    for row in tl.range(row_start, n_rows, row_step, num_stages=num_stages):
        cols = tl.arange(0, BLOCK)
        mask = cols < n_cols
        x = tl.load(in_ptr + row * in_stride + cols, mask=mask, other=-float("inf"))
        numerator = tl.exp(x - tl.max(x, axis=0))
        tl.store(out_ptr + row * out_stride + cols, numerator / tl.sum(numerator, axis=0), mask=mask)


def test_persistent_softmax(interpret: bool, rng: np.random.Generator) -> None:
    x = rng.standard_normal((19, 30)).astype(np.float32)
    out = np.full((19, 40), -7, np.float32)
    persistent_softmax[(4, 1, 1)](out, x, 30, 40, 19, 30, BLOCK=32, num_stages=4, interpret=interpret)
    check_close(out[:, :30], softmax_reference(x))
    assert (out[:, 30:] == -7).all()


@tilejit.jit
def cross_entropy_kernel(
    x_ptr, x_stride, label_ptr, loss_ptr, n_cols, n_live, ignore_index, label_smoothing: tl.constexpr,
    reduction: tl.constexpr, SOFTCAP: tl.constexpr, softcap, BLOCK: tl.constexpr,
):  # fmt: skip
    """Writes the loss, and the gradient over the logits."""
    row = tl.program_id(0).to(tl.int64)
    label = tl.load(label_ptr + row)
    x_ptr += row * x_stride
    if label == ignore_index:
        for i in range(0, n_cols, BLOCK):
            offsets = i + tl.arange(0, BLOCK)
            tl.store(x_ptr + offsets, 0.0, mask=offsets < n_cols)
        return
    loss_ptr += row
    m = float("-inf")
    d = 0.0
    x_at_label = tl.load(x_ptr + label).cast(tl.float32)
    scaled_sum = 0.0
    smooth = label_smoothing / n_cols
    for i in range(0, n_cols, BLOCK):
        offsets = i + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + offsets, mask=offsets < n_cols, other=float("-inf")).cast(tl.float32)
        if label_smoothing > 0:
            scaled_sum += tl.sum(tl.where(offsets < n_cols, -smooth * x, 0.0))
        new_m = tl.maximum(m, tl.max(x))
        d = d * tl.exp(m - new_m) + tl.sum(tl.exp(x - new_m))
        m = new_m
    lse = m + tl.log(d)
    for i in range(0, n_cols, BLOCK):
        offsets = i + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + offsets, mask=offsets < n_cols, other=float("-inf")).cast(tl.float32)
        x = tl.exp(x - m) / d - smooth
        x = tl.where(offsets != label, x, x - (1 - label_smoothing))
        if reduction == "mean":
            x = x / n_live
        tl.store(x_ptr + offsets, x, mask=offsets < n_cols)
    tl.debug_barrier()
    loss = lse - x_at_label
    if label_smoothing > 0:
        loss = loss * (1 - label_smoothing) + scaled_sum + label_smoothing * lse
    if reduction == "mean":
        loss = loss / n_live
    tl.store(loss_ptr, loss)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [np.dtype(np.float32), BF16], ids=str)
def test_cross_entropy(interpret: bool, rng: np.random.Generator, dtype: np.dtype, smoothing: float) -> None:
    rows, cols, ignore = 12, 150, -100
    x = rng.standard_normal((rows, cols)).astype(dtype)
    label = rng.integers(0, cols, rows)
    label[[1, 5]] = ignore
    live = label != ignore
    logits = x.astype(np.float64)
    loss = np.zeros(rows, np.float32)
    cross_entropy_kernel[(rows,)](
        x, cols, label, loss, cols, int(live.sum()), ignore, label_smoothing=smoothing,
        reduction="mean", SOFTCAP=False, softcap=None, BLOCK=64, interpret=interpret,
    )  # fmt: skip
    probability = softmax_reference(logits)
    target = np.full((rows, cols), smoothing / cols)
    target[np.arange(rows)[live], label[live]] += 1 - smoothing
    expected = np.where(live, -(target * np.log(probability)).sum(1), 0) / live.sum()
    check_close(loss, expected, 1e-5)
    gradient = np.where(live[:, None], probability - target, 0) / live.sum()
    check_close(x, gradient, 1e-5 if dtype == np.float32 else None)


@tilejit.jit
def argmax_combine(value_a, index_a, value_b, index_b):
    first = (value_a > value_b) | ((value_a == value_b) & (index_a < index_b))
    return tl.where(first, value_a, value_b), tl.where(first, index_a, index_b)


@tilejit.jit
def argmax_kernel(x_ptr, value_ptr, index_ptr, N, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    best = -float("inf")
    best_index = -1
    for start in range(0, N, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * N + cols, mask=cols < N, other=-float("inf"))
        value, index = tl.reduce((x, cols), axis=0, combine_fn=argmax_combine)
        if value > best:
            best = value
            best_index = index
    tl.store(value_ptr + row, best)
    tl.store(index_ptr + row, best_index)


def test_argmax_prefers_the_first(interpret: bool, rng: np.random.Generator) -> None:
    x = rng.integers(0, 30, (8, 150)).astype(np.float32)
    value = np.empty(8, np.float32)
    index = np.empty(8, np.int64)
    argmax_kernel[8](x, value, index, 150, BLOCK=64, interpret=interpret)
    np.testing.assert_array_equal(index, x.argmax(1))
    np.testing.assert_array_equal(value, x.max(1))


@tilejit.jit
def top_k_kernel(x_ptr, value_ptr, index_ptr, N, K: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """The k largest, one after the other, of several rows at once."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    cols = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + rows[:, None] * N + cols[None, :], mask=cols[None, :] < N, other=-float("inf"))
    index = tl.broadcast_to(cols[None, :], (ROWS, BLOCK))
    for k in tl.static_range(K):
        best, at = tl.reduce((x, index), 1, argmax_combine)
        tl.store(value_ptr + rows * K + k, best)
        tl.store(index_ptr + rows * K + k, at)
        x = tl.where(index == at[:, None], -float("inf"), x)


def test_top_k(interpret: bool, rng: np.random.Generator) -> None:
    x = rng.permutation(8 * 100).reshape(8, 100).astype(np.float32)
    value = np.empty((8, 3), np.float32)
    index = np.empty((8, 3), np.int32)
    top_k_kernel[(2,)](x, value, index, 100, K=3, ROWS=4, BLOCK=128, interpret=interpret)
    expected = np.argsort(-x, 1)[:, :3]
    np.testing.assert_array_equal(index, expected)
    np.testing.assert_array_equal(value, np.take_along_axis(x, expected, 1))


@tilejit.jit
def log_softmax_columns(x_ptr, out_ptr, M, N, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """Along the first axis, the rows being contiguous."""
    cols = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    rows = tl.arange(0, BLOCK_M)
    offsets = rows[:, None] * N + cols[None, :]
    mask = (rows[:, None] < M) & (cols[None, :] < N)
    x = tl.load(x_ptr + offsets, mask=mask, other=-float("inf")).to(tl.float32)
    x -= tl.max(x, axis=0, keep_dims=True)
    x -= tl.log(tl.sum(tl.exp(x), axis=0))[None, :]
    tl.store(out_ptr + offsets, x, mask=mask)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_log_softmax_of_columns(interpret: bool, rng: np.random.Generator, dtype: np.dtype) -> None:
    x = rng.standard_normal((50, 45)).astype(dtype)
    out = np.empty_like(x)
    log_softmax_columns[(3,)](x, out, 50, 45, BLOCK_M=64, BLOCK_N=16, interpret=interpret)
    check_close(out, np.log(softmax_reference(x.T)).T)
