"""Normalisations, forward and backward, with partial sums handed between programs."""

from __future__ import annotations

import numpy as np
import pytest

import tilejit
import tilejit.language as tl

from .compare import FLOATS, check_close


@tilejit.jit
def rms_norm_forward(
    x_ptr, y_ptr, w_ptr, rstd_ptr, x_row_stride, y_row_stride, n_cols, eps, BLOCK: tl.constexpr
):
    row = tl.program_id(0)
    x_ptr += row * x_row_stride
    y_ptr += row * y_row_stride
    cols = tl.arange(0, BLOCK)
    mask = cols < n_cols
    x = tl.load(x_ptr + cols, mask=mask, other=0.0).to(tl.float32)
    w = tl.load(w_ptr + cols, mask=mask, other=0.0)
    rstd = tl.rsqrt(tl.sum(x * x, axis=0) / n_cols + eps)
    tl.store(rstd_ptr + row, rstd)
    tl.store(y_ptr + cols, (x * rstd).to(y_ptr.dtype.element_ty) * w, mask=mask)


@tilejit.jit
def rms_norm_backward(
    dy_ptr, dx_ptr, x_ptr, w_ptr, dw_ptr, rstd_ptr, stride, n_rows, n_cols, rows_per_program,
    BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    first = program * rows_per_program
    last = min(first + rows_per_program, n_rows)
    cols = tl.arange(0, BLOCK)
    mask = cols < n_cols
    dw = tl.zeros((BLOCK,), dtype=tl.float32)
    w = tl.load(w_ptr + cols, mask=mask, other=0.0).to(tl.float32)
    dy_ptr += first * stride
    dx_ptr += first * stride
    x_ptr += first * stride
    rstd_ptr += first
    for _ in range(first, last):
        dy = tl.load(dy_ptr + cols, mask=mask, other=0.0).to(tl.float32)
        x = tl.load(x_ptr + cols, mask=mask, other=0.0).to(tl.float32)
        rstd = tl.load(rstd_ptr)
        m = dy * w
        dx = rstd * m
        dx += rstd * (-(1 / n_cols) * rstd * rstd * tl.sum(m * x, axis=0) * x)
        dw += dy * (x * rstd)
        tl.store(dx_ptr + cols, dx.to(dx_ptr.dtype.element_ty), mask=mask)
        dy_ptr += stride
        dx_ptr += stride
        x_ptr += stride
        rstd_ptr += 1
    tl.store(dw_ptr + program * n_cols + cols, dw, mask=mask)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_rms_norm(interpret: bool, rng: np.random.Generator, dtype: np.dtype) -> None:
    rows, cols, programs = 13, 200, 4
    x = rng.standard_normal((rows, cols)).astype(dtype)
    w = rng.standard_normal(cols).astype(dtype)
    dy = rng.standard_normal((rows, cols)).astype(dtype)
    y, dx = np.zeros_like(x), np.zeros_like(x)
    rstd = np.empty(rows, np.float32)
    dw = np.zeros((programs, cols), np.float32)
    rms_norm_forward[(rows,)](
        x, y, w, rstd, cols, cols, cols, 1e-6, BLOCK=256, num_warps=4, interpret=interpret
    )
    rms_norm_backward[(programs,)](
        dy, dx, x, w, dw, rstd, cols, rows, cols, tilejit.cdiv(rows, programs), BLOCK=256,
        interpret=interpret,
    )  # fmt: skip
    xf, wf, dyf = x.astype(np.float64), w.astype(np.float64), dy.astype(np.float64)
    scale = 1 / np.sqrt((xf * xf).mean(1, keepdims=True) + 1e-6)
    check_close(rstd, scale[:, 0])
    check_close(y, xf * scale * wf)
    m = dyf * wf
    check_close(dx, scale * m - scale**3 * (m * xf).mean(1, keepdims=True) * xf)
    check_close(dw.sum(0), (dyf * xf * scale).sum(0))


@tilejit.jit
def layer_norm_backward(
    dx_ptr, dy_ptr, dw_ptr, db_ptr, x_ptr, w_ptr, mean_ptr, rstd_ptr, lock_ptr, stride, N,
    GROUP_SIZE_M: tl.constexpr, BLOCK_SIZE_N: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    cols = tl.arange(0, BLOCK_SIZE_N)
    mask = cols < N
    x_ptr += row * stride
    dy_ptr += row * stride
    dx_ptr += row * stride
    lock_id = row % GROUP_SIZE_M
    lock_ptr += lock_id
    count_ptr = lock_ptr + GROUP_SIZE_M
    dw_ptr = dw_ptr + lock_id * N + cols
    db_ptr = db_ptr + lock_id * N + cols
    x = tl.load(x_ptr + cols, mask=mask, other=0).to(tl.float32)
    dy = tl.load(dy_ptr + cols, mask=mask, other=0).to(tl.float32)
    w = tl.load(w_ptr + cols, mask=mask).to(tl.float32)
    mean = tl.load(mean_ptr + row)
    rstd = tl.load(rstd_ptr + row)
    xhat = (x - mean) * rstd
    wdy = w * dy
    xhat = tl.where(mask, xhat, 0.0)
    wdy = tl.where(mask, wdy, 0.0)
    c1 = tl.sum(xhat * wdy, axis=0) / N
    c2 = tl.sum(wdy, axis=0) / N
    dx = (wdy - (xhat * c1 + c2)) * rstd
    tl.store(dx_ptr + cols, dx, mask=mask)
    partial_dw = (dy * xhat).to(w.dtype)
    partial_db = dy.to(w.dtype)
    while tl.atomic_cas(lock_ptr, 0, 1) == 1:
        pass
    count = tl.load(count_ptr)
    if count == 0:
        tl.atomic_xchg(count_ptr, 1)
    else:
        partial_dw += tl.load(dw_ptr, mask=mask)
        partial_db += tl.load(db_ptr, mask=mask)
    tl.store(dw_ptr, partial_dw, mask=mask)
    tl.store(db_ptr, partial_db, mask=mask)
    tl.debug_barrier()
    tl.atomic_xchg(lock_ptr, 0)


def test_layer_norm_backward_with_spin_locks(interpret: bool, rng: np.random.Generator) -> None:
    rows, cols, groups = 50, 77, 3
    x = rng.standard_normal((rows, cols)).astype(np.float32)
    dy = rng.standard_normal((rows, cols)).astype(np.float32)
    w = rng.standard_normal(cols).astype(np.float32)
    mean = x.mean(1)
    rstd = 1 / np.sqrt(x.var(1) + 1e-5)
    # What the first to hold a lock must not read.
    dw, db = np.full((2, groups, cols), np.nan, np.float32)
    locks = np.zeros(2 * groups, np.int32)
    dx = np.empty_like(x)
    layer_norm_backward[(rows,)](
        dx, dy, dw, db, x, w, mean, rstd, locks, x.strides[0] // 4, cols, GROUP_SIZE_M=groups,
        BLOCK_SIZE_N=tilejit.next_power_of_2(cols), interpret=interpret,
    )  # fmt: skip
    assert locks.tolist() == [0] * groups + [1] * groups
    xhat = (x.astype(np.float64) - mean[:, None]) * rstd[:, None]
    wdy = dy.astype(np.float64) * w
    c1, c2 = (xhat * wdy).mean(1, keepdims=True), wdy.mean(1, keepdims=True)
    check_close(dx, (wdy - (xhat * c1 + c2)) * rstd[:, None], 1e-5)
    check_close(dw.sum(0), (dy * xhat).sum(0), 1e-5)
    check_close(db.sum(0), dy.astype(np.float64).sum(0), 1e-5)


@tilejit.jit
def welford_combine(mean_a, m2_a, weight_a, mean_b, m2_b, weight_b):
    delta = mean_b - mean_a
    weight = weight_a + weight_b
    ratio = tl.where(weight == 0.0, 0.0, weight_b / weight)
    return mean_a + delta * ratio, m2_a + m2_b + delta * delta * weight_a * ratio, weight


@tilejit.jit
def welford_kernel(x_ptr, mean_ptr, var_ptr, M, N, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)[:, None]
    row_mask = rows < M
    mean = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    m2 = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    weight = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for start in range(0, N, BLOCK_N):
        cols = start + tl.arange(0, BLOCK_N)[None, :]
        mask = row_mask & (cols < N)
        x = tl.load(x_ptr + rows * N + cols, mask, other=0.0)
        new_weight = weight + 1
        delta = x - mean
        new_mean = mean + delta / new_weight
        new_m2 = m2 + delta * (x - new_mean)
        mean = tl.where(mask, new_mean, mean)
        m2 = tl.where(mask, new_m2, m2)
        weight = tl.where(mask, new_weight, weight)
    mean, m2, weight = tl.reduce((mean, m2, weight), 1, welford_combine)
    rows = tl.ravel(rows)
    tl.store(mean_ptr + rows, mean, rows < M)
    tl.store(var_ptr + rows, m2 / weight, rows < M)


@pytest.mark.parametrize("shape", [(5, 100), (9, 7), (1, 1024)], ids=str)
def test_welford(interpret: bool, rng: np.random.Generator, shape: tuple[int, int]) -> None:
    x = (100 + rng.standard_normal(shape)).astype(np.float32)
    mean, var = np.empty((2, shape[0]), np.float32)
    welford_kernel[lambda meta: (tilejit.cdiv(shape[0], meta["BLOCK_M"]),)](
        x, mean, var, *shape, BLOCK_M=4, BLOCK_N=32, interpret=interpret
    )
    check_close(mean, x.mean(1, dtype=np.float64))
    check_close(var, x.astype(np.float64).var(1), 2e-5)


@tilejit.jit
def layer_norm_residual(
    x_ptr, residual_ptr, w_ptr, b_ptr, y_ptr, n_cols, eps, HAS_BIAS: tl.constexpr, BLOCK: tl.constexpr
):
    """Fused residual add and layer norm, in blocks; the sum goes back to the residual."""
    row = tl.program_id(0).to(tl.int64)
    total = 0.0
    square = 0.0
    for start in tl.range(0, n_cols, BLOCK, num_stages=2):
        cols = start + tl.arange(0, BLOCK)
        mask = cols < n_cols
        x = tl.load(x_ptr + row * n_cols + cols, mask=mask, other=0).to(tl.float32)
        x += tl.load(residual_ptr + row * n_cols + cols, mask=mask, other=0, eviction_policy="evict_last")
        tl.store(residual_ptr + row * n_cols + cols, x, mask=mask)
        total += tl.sum(x)
        square += tl.sum(x * x)
    mean = total / n_cols
    rstd = 1 / tl.sqrt(square / n_cols - mean * mean + eps)
    for start in range(0, n_cols, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        mask = cols < n_cols
        y = (tl.load(residual_ptr + row * n_cols + cols, mask=mask) - mean) * rstd
        y *= tl.load(w_ptr + cols, mask=mask)
        if HAS_BIAS:
            y += tl.load(b_ptr + cols, mask=mask)
        tl.store(y_ptr + row * n_cols + cols, y, mask=mask, cache_modifier=".cs")


@pytest.mark.parametrize("has_bias", [False, True])
def test_layer_norm_with_residual(interpret: bool, rng: np.random.Generator, has_bias: bool) -> None:
    x = rng.standard_normal((6, 300)).astype(np.float16)
    residual = rng.standard_normal((6, 300)).astype(np.float32)
    w, b = rng.standard_normal((2, 300)).astype(np.float32)
    y = np.empty_like(x)
    total = x.astype(np.float64) + residual
    layer_norm_residual[6,](
        x, residual, w, b if has_bias else None, y, 300, 1e-5, has_bias, 128, interpret=interpret
    )
    expected = (total - total.mean(1, keepdims=True)) / np.sqrt(total.var(1, keepdims=True) + 1e-5) * w
    check_close(residual, total)
    check_close(y, expected + b if has_bias else expected)
