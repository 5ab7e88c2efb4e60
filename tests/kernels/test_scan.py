"""Scans: cumulative sums over blocks, linear recurrences, compaction, segmented sums, state space models."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import tilejit
import tilejit.language as tl

from .compare import FLOATS, check_close


@tilejit.jit
def cumsum_blocks(x_ptr, out_ptr, N, BLOCK: tl.constexpr, REVERSE: tl.constexpr, EXCLUSIVE: tl.constexpr):
    """Rows longer than a block: the carry goes from block to block."""
    row = tl.program_id(0)
    carry = 0.0
    n_blocks = tl.cdiv(N, BLOCK)
    for i in range(n_blocks):
        block = n_blocks - 1 - i if REVERSE else i
        cols = block * BLOCK + tl.arange(0, BLOCK)
        mask = cols < N
        x = tl.load(x_ptr + row * N + cols, mask=mask, other=0).to(tl.float32)
        total = carry + tl.cumsum(x, axis=0, reverse=REVERSE)
        if EXCLUSIVE:
            tl.store(out_ptr + row * N + cols, total - x, mask=mask)
        else:
            tl.store(out_ptr + row * N + cols, total, mask=mask)
        carry += tl.sum(x)


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_cumsum_over_blocks(
    interpret: bool, rng: np.random.Generator, dtype: np.dtype, reverse: bool, exclusive: bool
) -> None:
    x = rng.standard_normal((3, 100)).astype(dtype)
    out = np.empty_like(x)
    cumsum_blocks[(3,)](x, out, 100, BLOCK=32, REVERSE=reverse, EXCLUSIVE=exclusive, interpret=interpret)
    xf = x.astype(np.float64)
    expected = xf[:, ::-1].cumsum(1)[:, ::-1] if reverse else xf.cumsum(1)
    check_close(out, expected - xf if exclusive else expected)


@tilejit.jit
def cumsum_2d(x_ptr, out_ptr, M: tl.constexpr, N: tl.constexpr, AXIS: tl.constexpr, REVERSE: tl.constexpr):
    at = tl.arange(0, M)[:, None] * N + tl.arange(0, N)[None, :]
    tl.store(out_ptr + at, tl.cumsum(tl.load(x_ptr + at), AXIS, reverse=REVERSE))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_integer_cumsum_of_matrix(
    interpret: bool, rng: np.random.Generator, axis: int, reverse: bool
) -> None:
    x = rng.integers(-1000, 1000, (16, 8))
    out = np.empty_like(x)
    cumsum_2d[1,](x, out, 16, 8, axis, reverse, interpret=interpret)
    expected = np.flip(np.flip(x, axis).cumsum(axis), axis) if reverse else x.cumsum(axis)
    np.testing.assert_array_equal(out, expected)


@tilejit.jit
def recurrence(decay_left, value_left, decay_right, value_right):
    return decay_left * decay_right, decay_right * value_left + value_right


@tilejit.jit
def linear_recurrence_kernel(
    a_ptr, b_ptr, h0_ptr, out_ptr, T, D, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr
):
    """h[t] = a[t] * h[t - 1] + b[t], blocks of time one after the other."""
    d = tl.program_id(0) * BLOCK_D + tl.arange(0, BLOCK_D)
    t = tl.arange(0, BLOCK_T)
    state = tl.load(h0_ptr + d, mask=d < D, other=0.0)
    for start in range(0, T, BLOCK_T):
        at = (start + t)[:, None] * D + d[None, :]
        mask = ((start + t) < T)[:, None] & (d < D)[None, :]
        a = tl.load(a_ptr + at, mask=mask, other=1.0)
        b = tl.load(b_ptr + at, mask=mask, other=0.0)
        decay, h = tl.associative_scan((a, b), 0, recurrence)
        h += decay * state[None, :]
        tl.store(out_ptr + at, h, mask=mask)
        state = tl.sum(tl.where((t == BLOCK_T - 1)[:, None], h, 0.0), 0)


def test_linear_recurrence(interpret: bool, rng: np.random.Generator) -> None:
    steps, width = 45, 20
    a = rng.uniform(0.5, 1, (steps, width)).astype(np.float32)
    b = rng.standard_normal((steps, width)).astype(np.float32)
    h0 = rng.standard_normal(width).astype(np.float32)
    out = np.empty_like(a)
    linear_recurrence_kernel[(2,)](a, b, h0, out, steps, width, BLOCK_T=16, BLOCK_D=16, interpret=interpret)
    h = h0.astype(np.float64)
    expected = []
    for t in range(steps):
        h = a[t] * h + b[t]
        expected.append(h)
    check_close(out, np.array(expected))


@tilejit.jit
def running_max(a, b):
    return tl.maximum(a, b)


@tilejit.jit
def segmented_add(flag_a, value_a, flag_b, value_b):
    return flag_a | flag_b, tl.where(flag_b != 0, value_b, value_a + value_b)


@tilejit.jit
def segment_kernel(flag_ptr, x_ptr, sums_ptr, max_ptr, N: tl.constexpr, REVERSE: tl.constexpr):
    i = tl.arange(0, N)
    flag = tl.load(flag_ptr + i).to(tl.int32)
    x = tl.load(x_ptr + i)
    _, sums = tl.associative_scan((flag, x), 0, segmented_add, reverse=REVERSE)
    tl.store(sums_ptr + i, sums)
    tl.store(max_ptr + i, tl.associative_scan(x, 0, running_max, REVERSE))


@pytest.mark.parametrize("reverse", [False, True])
def test_segmented_sum(interpret: bool, rng: np.random.Generator, reverse: bool) -> None:
    flag = rng.random(64) < 0.2
    x = rng.integers(-50, 50, 64).astype(np.int32)
    sums, top = np.empty((2, 64), np.int32)
    segment_kernel[(1,)](flag, x, sums, top, 64, REVERSE=reverse, interpret=interpret)
    expected, total = [], 0
    order = slice(None, None, -1 if reverse else 1)
    for f, value in zip(flag[order], x[order], strict=True):
        total = value if f else total + value
        expected.append(total)
    np.testing.assert_array_equal(sums[order], expected)
    np.testing.assert_array_equal(top[order], np.maximum.accumulate(x[order]))


@tilejit.jit
def compact_kernel(x_ptr, keep_ptr, out_ptr, count_ptr, N, BLOCK: tl.constexpr):
    """Keeps the chosen elements in order; the place of each is a cumulative sum of the choice."""
    base = tl.zeros((), tl.int32)
    for start in range(0, N, BLOCK):
        i = start + tl.arange(0, BLOCK)
        keep = tl.load(keep_ptr + i, mask=i < N, other=False)
        count = tl.cumsum(keep.to(tl.int32), 0)
        tl.store(out_ptr + base + count - 1, tl.load(x_ptr + i, mask=i < N), mask=keep)
        base += tl.max(count, 0)
    tl.store(count_ptr, base)


def test_compaction(interpret: bool, rng: np.random.Generator) -> None:
    x = rng.standard_normal(150)
    keep = rng.random(150) < 0.4
    out = np.full(150, np.nan)
    count = np.zeros(1, np.int32)
    compact_kernel[(1,)](x, keep, out, count, 150, BLOCK=64, interpret=interpret)
    assert count[0] == keep.sum()
    np.testing.assert_array_equal(out[: count[0]], x[keep])
    assert np.isnan(out[count[0] :]).all()


@tilejit.jit
def selective_state_update(
    state_ptr, x_ptr, dt_ptr, dt_bias_ptr, A_ptr, B_ptr, C_ptr, D_ptr, z_ptr, out_ptr, index_ptr, dim, dstate,
    BLOCK_M: tl.constexpr, BLOCK_DSTATE: tl.constexpr, DT_SOFTPLUS: tl.constexpr,
):  # fmt: skip
    pid_m = tl.program_id(axis=0)
    pid_b = tl.program_id(axis=1)
    slot = tl.load(index_ptr + pid_b).to(tl.int64)
    state_ptr += slot * dim * dstate
    m = pid_m * BLOCK_M + tl.arange(0, BLOCK_M)
    n = tl.arange(0, BLOCK_DSTATE)
    state_ptrs = state_ptr + (m[:, None] * dstate + n[None, :])
    mask = (m[:, None] < dim) & (n[None, :] < dstate)
    state = tl.load(state_ptrs, mask=mask, other=0.0)
    x = tl.load(x_ptr + pid_b * dim + m, mask=m < dim, other=0.0).to(tl.float32)
    dt = tl.load(dt_ptr + pid_b * dim + m, mask=m < dim, other=0.0).to(tl.float32)
    dt += tl.load(dt_bias_ptr + m, mask=m < dim, other=0.0).to(tl.float32)
    if DT_SOFTPLUS:
        dt = tl.where(dt <= 20.0, tl.math.log(tl.math.exp(dt) + 1), dt)
    A = tl.load(A_ptr + m[:, None] * dstate + n[None, :], mask=mask, other=0.0).to(tl.float32)
    B = tl.load(B_ptr + pid_b * dstate + n, mask=n < dstate, other=0.0)
    C = tl.load(C_ptr + pid_b * dstate + n, mask=n < dstate, other=0.0)
    state = state * tl.exp(A * dt[:, None]) + (B[None, :] * dt[:, None]) * x[:, None]
    tl.store(state_ptrs, state, mask=mask)
    out = tl.sum(state * C[None, :], axis=1)
    if D_ptr is not None:
        out += x * tl.load(D_ptr + m, mask=m < dim, other=0.0)
    if z_ptr is not None:
        z = tl.load(z_ptr + pid_b * dim + m, mask=m < dim, other=0.0).to(tl.float32)
        out *= z * tl.sigmoid(z)
    tl.store(out_ptr + pid_b * dim + m, out, mask=m < dim)


@pytest.mark.parametrize("optional", [False, True])
def test_selective_state_update(interpret: bool, rng: np.random.Generator, optional: bool) -> None:
    batch, dim, dstate = 3, 24, 10
    state = rng.standard_normal((6, dim, dstate)).astype(np.float32)
    before = state.astype(np.float64)
    slots = np.array([4, 0, 5], np.int32)
    x, dt, z = rng.standard_normal((3, batch, dim)).astype(ml_dtypes.bfloat16)
    bias, d = rng.standard_normal((2, dim)).astype(np.float32)
    a = -rng.uniform(0.1, 1, (dim, dstate)).astype(np.float32)
    b, c = rng.standard_normal((2, batch, dstate)).astype(ml_dtypes.bfloat16)
    out = np.empty((batch, dim), np.float32)
    selective_state_update[(3, batch)](
        state, x, dt, bias, a, b, c, d if optional else None, z if optional else None, out, slots,
        dim, dstate,
        BLOCK_M=8, BLOCK_DSTATE=16, DT_SOFTPLUS=True, interpret=interpret,
    )  # fmt: skip
    xf, dtf, zf, bf, cf = (t.astype(np.float64) for t in (x, dt, z, b, c))
    step = np.log1p(np.exp(dtf + bias))
    new = before[slots] * np.exp(a * step[..., None]) + bf[:, None, :] * step[..., None] * xf[..., None]
    expected = (new * cf[:, None, :]).sum(-1)
    if optional:
        expected = (expected + xf * d) * zf / (1 + np.exp(-zf))
    check_close(out, expected, 2e-3)  # B * dt rounds to bf16
    before[slots] = new
    check_close(state, before, 2e-3)


@tilejit.jit
def chunk_linear_attention(
    q_ptr, k_ptr, v_ptr, g_ptr, o_ptr, T, K: tl.constexpr, V: tl.constexpr, BT: tl.constexpr
):
    """Gated linear attention by chunks: the state between chunks, a masked product inside."""
    base = tl.program_id(0) * T
    b_h = tl.zeros([K, V], dtype=tl.float32)
    o_i = tl.arange(0, BT)
    for i_t in range(0, tl.cdiv(T, BT)):
        p_q = tl.make_block_ptr(q_ptr + base * K, (T, K), (K, 1), (i_t * BT, 0), (BT, K), (1, 0))
        p_k = tl.make_block_ptr(k_ptr + base * K, (K, T), (1, K), (0, i_t * BT), (K, BT), (0, 1))
        p_v = tl.make_block_ptr(v_ptr + base * V, (T, V), (V, 1), (i_t * BT, 0), (BT, V), (1, 0))
        p_o = tl.make_block_ptr(o_ptr + base * V, (T, V), (V, 1), (i_t * BT, 0), (BT, V), (1, 0))
        b_g = tl.load(g_ptr + base + i_t * BT + o_i, mask=i_t * BT + o_i < T, other=0.0)
        b_q = tl.load(p_q, boundary_check=(0, 1))
        b_k = tl.load(p_k, boundary_check=(0, 1))
        b_v = tl.load(p_v, boundary_check=(0, 1))
        total = tl.cumsum(b_g, 0)
        last = tl.sum(b_g)
        b_o = tl.dot(b_q * tl.exp(total)[:, None], b_h)
        scores = tl.dot(b_q, b_k) * tl.exp(total[:, None] - total[None, :])
        scores = tl.where(o_i[:, None] >= o_i[None, :], scores, 0)
        b_o += tl.dot(scores, b_v)
        b_h = b_h * tl.exp(last) + tl.dot(b_k * tl.exp(last - total)[None, :], b_v)
        tl.store(p_o, b_o.to(p_o.dtype.element_ty), boundary_check=(0, 1))


def test_chunked_linear_attention(interpret: bool, rng: np.random.Generator) -> None:
    heads, steps = 2, 41
    q, k = rng.standard_normal((2, heads, steps, 16)).astype(np.float32)
    v = rng.standard_normal((heads, steps, 32)).astype(np.float32)
    g = -rng.uniform(0, 0.3, (heads, steps)).astype(np.float32)
    o = np.empty_like(v)
    chunk_linear_attention[(heads,)](q, k, v, g, o, steps, K=16, V=32, BT=16, interpret=interpret)
    state = np.zeros((heads, 16, 32))
    expected = np.empty(v.shape)
    for t in range(steps):
        state = state * np.exp(g[:, t], dtype=np.float64)[:, None, None] + k[:, t, :, None] * v[:, t, None, :]
        expected[:, t] = np.einsum("hk,hkv->hv", q[:, t], state)
    check_close(o, expected, 1e-5)
