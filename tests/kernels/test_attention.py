"""Attention beyond the examples: split over the context with a combining kernel, ragged batches, windows."""

from __future__ import annotations

from itertools import pairwise

import ml_dtypes
import numpy as np
import pytest

import tilejit
import tilejit.language as tl

from .compare import FLOATS, Array, check_close


def attention_reference(q: Array, k: Array, v: Array, allowed: Array | None = None) -> Array:
    """Attention of one head in float64: q is [S, D], k and v are [T, D], allowed is [S, T]."""
    scores = q.astype(np.float64) @ k.astype(np.float64).T / np.sqrt(q.shape[-1])
    if allowed is not None:
        scores = np.where(allowed, scores, -np.inf)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True) @ v.astype(np.float64)


@tilejit.jit
def decode_split(
    Q, K, V, sm_scale, Partial, Lse, Seqlens,
    stride_qb, stride_qh, stride_kb, stride_kt, stride_kh, stride_pb, stride_ph, stride_ps,
    GROUP: tl.constexpr, BLOCK_H: tl.constexpr, D: tl.constexpr, BLOCK_N: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """One program: the query heads of one key head over one part of the context."""
    batch = tl.program_id(0)
    kv_head = tl.program_id(1)
    split = tl.program_id(2)
    heads = kv_head * GROUP + tl.arange(0, BLOCK_H)
    head_mask = tl.arange(0, BLOCK_H) < GROUP
    d = tl.arange(0, D)
    length = tl.load(Seqlens + batch)
    per_split = tl.cdiv(length, SPLITS)
    start = per_split * split
    end = tl.minimum(start + per_split, length)
    q = tl.load(
        Q + batch * stride_qb + heads[:, None] * stride_qh + d[None, :], mask=head_mask[:, None], other=0.0
    )
    e_max = tl.zeros([BLOCK_H], dtype=tl.float32) - float("inf")
    e_sum = tl.zeros([BLOCK_H], dtype=tl.float32)
    acc = tl.zeros([BLOCK_H, D], dtype=tl.float32)
    if end > start:
        for start_n in range(start, end, BLOCK_N):
            tokens = start_n + tl.arange(0, BLOCK_N)
            in_n = tokens < end
            offsets = batch * stride_kb + tokens * stride_kt + kv_head * stride_kh
            k = tl.load(K + offsets[None, :] + d[:, None], mask=in_n[None, :], other=0.0)
            qk = tl.dot(q, k.to(q.dtype)) * sm_scale
            qk = tl.where(head_mask[:, None] & in_n[None, :], qk, float("-inf"))
            v = tl.load(V + offsets[:, None] + d[None, :], mask=in_n[:, None], other=0.0)
            n_max = tl.maximum(tl.max(qk, 1), e_max)
            re_scale = tl.exp(e_max - n_max)
            p = tl.exp(qk - n_max[:, None])
            acc *= re_scale[:, None]
            acc += tl.dot(p.to(v.dtype), v)
            e_sum = e_sum * re_scale + tl.sum(p, 1)
            e_max = n_max
        at = batch * stride_pb + heads[:, None] * stride_ph + split * stride_ps + d[None, :]
        tl.store(Partial + at, acc / e_sum[:, None], mask=head_mask[:, None])
        tl.store(
            Lse + (batch * stride_pb + heads * stride_ph + split * stride_ps) // D,
            e_max + tl.log(e_sum), mask=head_mask,
        )  # fmt: skip


@tilejit.jit
def decode_combine(
    Partial, Lse, Out, Seqlens, stride_pb, stride_ph, stride_ps, D: tl.constexpr, SPLITS: tl.constexpr
):
    batch = tl.program_id(0)
    head = tl.program_id(1)
    length = tl.load(Seqlens + batch)
    d = tl.arange(0, D)
    e_sum = 0.0
    e_max = -float("inf")
    acc = tl.zeros([D], dtype=tl.float32)
    base = batch * stride_pb + head * stride_ph
    for split in range(0, SPLITS):
        per_split = tl.cdiv(length, SPLITS)
        start = per_split * split
        end = tl.minimum(start + per_split, length)
        if end > start:
            partial = tl.load(Partial + base + split * stride_ps + d)
            lse = tl.load(Lse + (base + split * stride_ps) // D)
            n_max = tl.maximum(lse, e_max)
            old_scale = tl.exp(e_max - n_max)
            acc *= old_scale
            weight = tl.exp(lse - n_max)
            acc += weight * partial
            e_sum = e_sum * old_scale + weight
            e_max = n_max
    tl.store(Out + (batch * tl.num_programs(1) + head) * D + d, acc / e_sum)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_flash_decoding(interpret: bool, rng: np.random.Generator, dtype: np.dtype) -> None:
    lengths = np.array([1, 5, 64, 200], np.int32)
    batch, kv_heads, group, d, splits = 4, 2, 3, 32, 4
    heads = kv_heads * group
    q = rng.standard_normal((batch, heads, d)).astype(dtype)
    k, v = rng.standard_normal((2, batch, 200, kv_heads, d)).astype(dtype)
    partial = np.full((batch, heads, splits, d), np.nan, np.float32)
    lse = np.full((batch, heads, splits), np.nan, np.float32)
    out = np.empty_like(q)
    strides = [s // partial.itemsize for s in partial.strides[:3]]
    decode_split[(batch, kv_heads, splits)](
        q, k, v, d**-0.5, partial, lse, lengths, heads * d, d, 200 * kv_heads * d, kv_heads * d, d, *strides,
        GROUP=group, BLOCK_H=16, D=d, BLOCK_N=16, SPLITS=splits, interpret=interpret,
    )  # fmt: skip
    decode_combine[(batch, heads)](
        partial, lse, out, lengths, *strides, D=d, SPLITS=splits, interpret=interpret
    )
    expected = np.stack([
        np.stack([
            attention_reference(q[b, h : h + 1], k[b, :n, h // group], v[b, :n, h // group])[0]
            for h in range(heads)
        ])
        for b, n in enumerate(lengths)
    ])  # fmt: skip
    check_close(out, expected)


@tilejit.jit
def inner_loop(
    acc, l_i, m_i, q, k_ptrs, v_ptrs, start, end, row, window, stride_t, seq_len, qk_scale,
    BLOCK_N: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    k_ptrs += start * stride_t
    v_ptrs += start * stride_t
    for n in tl.range(start, end, BLOCK_N):
        col = n + tl.arange(0, BLOCK_N)
        k = tl.load(k_ptrs, mask=(col < seq_len)[None, :], other=0.0)
        v = tl.load(v_ptrs, mask=(col < seq_len)[:, None], other=0.0)
        qk = tl.dot(q, k) * qk_scale
        if MASKED:
            allowed = (row[:, None] >= col[None, :]) & (row[:, None] - col[None, :] < window)
            qk = tl.where(allowed & (col[None, :] < seq_len), qk, float("-inf"))
        m_new = tl.maximum(m_i, tl.max(qk, 1))
        # A row whose keys are all masked so far has no maximum yet.
        m_safe = tl.where(m_new == float("-inf"), 0.0, m_new)
        p = tl.math.exp2(qk - m_safe[:, None])
        alpha = tl.math.exp2(m_i - m_safe)
        l_i = l_i * alpha + tl.sum(p, 1)
        acc = acc * alpha[:, None]
        acc = tl.dot(p.to(v.dtype), v, acc)
        m_i = m_new
        k_ptrs += BLOCK_N * stride_t
        v_ptrs += BLOCK_N * stride_t
    return acc, l_i, m_i


@tilejit.jit
def window_attention(
    Q, K, V, Out, CuSeqlens, sm_scale, window, stride_t, stride_h,
    D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Sequences packed without padding; causal, with a window; unmasked and masked blocks in two loops."""
    seq = tl.program_id(0)
    head = tl.program_id(1)
    first = tl.load(CuSeqlens + seq)
    seq_len = tl.load(CuSeqlens + seq + 1) - first
    start_m = tl.program_id(2) * BLOCK_M
    if start_m >= seq_len:
        return
    row = start_m + tl.arange(0, BLOCK_M)
    d = tl.arange(0, D)
    base = first.to(tl.int64) * stride_t + head * stride_h
    q = tl.load(Q + base + row[:, None] * stride_t + d, mask=row[:, None] < seq_len, other=0.0)
    k_ptrs = K + base + tl.arange(0, BLOCK_N)[None, :] * stride_t + d[:, None]
    v_ptrs = V + base + tl.arange(0, BLOCK_N)[:, None] * stride_t + d[None, :]
    m_i = tl.full([BLOCK_M], -float("inf"), tl.float32)
    l_i = tl.zeros([BLOCK_M], tl.float32)
    acc = tl.zeros([BLOCK_M, D], tl.float32)
    qk_scale = sm_scale * 1.44269504
    lowest = max(start_m - window + 1, 0) // BLOCK_N * BLOCK_N
    highest = min(start_m + BLOCK_M, seq_len)
    acc, l_i, m_i = inner_loop(
        acc, l_i, m_i, q, k_ptrs, v_ptrs, lowest, highest, row, window, stride_t, seq_len, qk_scale,
        BLOCK_N, MASKED=True,
    )  # fmt: skip
    acc = acc / l_i[:, None]
    tl.store(
        Out + base + row[:, None] * stride_t + d[None, :], acc.to(Out.type.element_ty),
        mask=row[:, None] < seq_len,
    )  # fmt: skip


@pytest.mark.parametrize("window", [1, 7, 1000])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_packed_window_attention(
    interpret: bool, rng: np.random.Generator, dtype: np.dtype, window: int
) -> None:
    lengths = [3, 0, 40, 17]
    bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    heads, d = 2, 16
    q, k, v = rng.standard_normal((3, bounds[-1], heads, d)).astype(dtype)
    out = np.full(q.shape, np.nan, dtype)
    window_attention[(4, heads, tilejit.cdiv(40, 16))](
        q, k, v, out, bounds, d**-0.5, window, heads * d, d, D=d, BLOCK_M=16, BLOCK_N=8, interpret=interpret
    )
    expected = np.empty(q.shape)
    for first, last in pairwise(bounds):
        i = np.arange(last - first)
        allowed = (i[:, None] >= i) & (i[:, None] - i < window)
        for h in range(heads):
            part = slice(first, last), h
            if last > first:
                expected[part] = attention_reference(q[part], k[part], v[part], allowed)
    check_close(out, expected)


@tilejit.jit
def attention_backward_keys(
    Q, K, V, dO, dQ, dK, dV, L, Delta, scale, S, D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr
):
    """The gradients of one block of keys; those of the queries are gathered by atomics."""
    head = tl.program_id(1) * S * D
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    d = tl.arange(0, D)
    kv_at = head + n[:, None] * D + d[None, :]
    k = tl.load(K + kv_at, mask=n[:, None] < S, other=0)
    v = tl.load(V + kv_at, mask=n[:, None] < S, other=0)
    dk = tl.zeros([BLOCK_N, D], tl.float32)
    dv = tl.zeros([BLOCK_N, D], tl.float32)
    lo = tl.program_id(0) * BLOCK_N // BLOCK_M * BLOCK_M
    for start in range(lo, S, BLOCK_M):
        m = start + tl.arange(0, BLOCK_M)
        at = head + m[:, None] * D + d[None, :]
        q = tl.load(Q + at, mask=m[:, None] < S, other=0)
        do = tl.load(dO + at, mask=m[:, None] < S, other=0)
        lse = tl.load(L + tl.program_id(1) * S + m, mask=m < S, other=0)
        delta = tl.load(Delta + tl.program_id(1) * S + m, mask=m < S, other=0)
        p_t = tl.exp(tl.dot(k, tl.trans(q)) * scale - lse[None, :])
        p_t = tl.where((m[None, :] >= n[:, None]) & (m[None, :] < S) & (n[:, None] < S), p_t, 0.0)
        dv += tl.dot(p_t.to(do.dtype), do)
        dp_t = tl.dot(v, tl.trans(do))
        ds_t = (p_t * (dp_t - delta[None, :])).to(q.dtype)
        dk += tl.dot(ds_t, q)
        tl.atomic_add(dQ + at, tl.dot(tl.trans(ds_t), k) * scale, mask=m[:, None] < S)
    tl.store(dV + kv_at, dv, mask=n[:, None] < S)
    tl.store(dK + kv_at, dk * scale, mask=n[:, None] < S)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_causal_attention_backward(interpret: bool, rng: np.random.Generator, dtype: np.dtype) -> None:
    heads, s, d = 2, 50, 16
    q, k, v, do = rng.standard_normal((4, heads, s, d)).astype(dtype)
    qf, kf, vf, dof = (t.astype(np.float64) for t in (q, k, v, do))
    scores = np.where(np.tri(s, dtype=bool), qf @ kf.swapaxes(1, 2) / 4, -np.inf)
    lse = np.log(np.exp(scores).sum(-1))
    p = np.exp(scores - lse[..., None])
    delta = (dof * (p @ vf)).sum(-1)
    dk, dv = np.empty_like(k), np.empty_like(v)
    dq = np.zeros(q.shape, np.float32)
    attention_backward_keys[(tilejit.cdiv(s, 16), heads)](
        q, k, v, do, dq, dk, dv, lse.astype(np.float32), delta.astype(np.float32), 0.25, s, D=d, BLOCK_M=32,
        BLOCK_N=16, interpret=interpret,
    )  # fmt: skip
    ds = p * (dof @ vf.swapaxes(1, 2) - delta[..., None]) / 4
    tolerance = {"float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}[dtype.name]
    check_close(dq, ds @ kf, tolerance)
    check_close(dk, ds.swapaxes(1, 2) @ qf, tolerance)
    check_close(dv, p.swapaxes(1, 2) @ dof, tolerance)


@tilejit.jit
def merge_states(out_ptr, a_ptr, lse_a_ptr, b_ptr, lse_b_ptr, D: tl.constexpr, PAD_D: tl.constexpr):
    """Two attention results over parts of the context, either of which may be empty (lse of inf)."""
    token, head = tl.program_id(0), tl.program_id(1)
    heads = tl.num_programs(1)
    lse_a = tl.load(lse_a_ptr + head * tl.num_programs(0) + token)
    lse_b = tl.load(lse_b_ptr + head * tl.num_programs(0) + token)
    lse_a = float("-inf") if lse_a == float("inf") else lse_a
    lse_b = float("-inf") if lse_b == float("inf") else lse_b
    top = tl.maximum(lse_a, lse_b)
    weight_a = tl.exp(lse_a - top)
    weight_b = tl.exp(lse_b - top)
    d = tl.arange(0, PAD_D)
    at = token * heads * D + head * D + d
    a = tl.load(a_ptr + at, mask=d < D)
    b = tl.load(b_ptr + at, mask=d < D)
    total = weight_a + weight_b
    tl.store(out_ptr + at, a * (weight_a / total) + b * (weight_b / total), mask=d < D)


def test_merge_of_attention_states(interpret: bool, rng: np.random.Generator) -> None:
    a, b = rng.standard_normal((2, 5, 3, 24)).astype(ml_dtypes.bfloat16)
    lse_a, lse_b = rng.standard_normal((2, 3, 5)).astype(np.float32)
    lse_a[1, 2] = lse_b[0, 4] = np.inf
    out = np.empty_like(a)
    merge_states[(5, 3)](out, a, lse_a, b, lse_b, D=24, PAD_D=32, interpret=interpret)
    wa, wb = (np.where(np.isinf(t), 0, np.exp(t.astype(np.float64))).T[..., None] for t in (lse_a, lse_b))
    check_close(out, (wa * a.astype(np.float64) + wb * b.astype(np.float64)) / (wa + wb))
