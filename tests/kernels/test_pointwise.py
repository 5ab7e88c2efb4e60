"""Pointwise kernels: rotary embedding, gated activations, persistent loops, fused optimiser steps."""

from __future__ import annotations

import numpy as np
import pytest

import tilejit
import tilejit.language as tl

from .compare import FLOATS, check_close


@tilejit.jit
def rope_in_place(
    q_ptr, q_row_stride, k_ptr, k_row_stride, cos_ptr, sin_ptr, seq_len,
    n_q_heads: tl.constexpr, n_k_heads: tl.constexpr, head_dim: tl.constexpr,
    PAD_Q: tl.constexpr, PAD_K: tl.constexpr, PAD_D: tl.constexpr, BACKWARD: tl.constexpr = False,
):  # fmt: skip
    pid = tl.program_id(0).to(tl.int64)
    q_ptr = q_ptr + pid * q_row_stride
    k_ptr = k_ptr + pid * k_row_stride
    position = pid % seq_len
    half_offsets = tl.arange(0, PAD_D // 2)
    half_mask = half_offsets < head_dim // 2
    cos = tl.load(cos_ptr + position * (head_dim // 2) + half_offsets, mask=half_mask, other=0)
    sin = tl.load(sin_ptr + position * (head_dim // 2) + half_offsets, mask=half_mask, other=0)
    first_q = tl.arange(0, PAD_Q)[:, None] * head_dim + half_offsets[None, :]
    first_k = tl.arange(0, PAD_K)[:, None] * head_dim + half_offsets[None, :]
    q_mask = (tl.arange(0, PAD_Q)[:, None] < n_q_heads) & half_mask[None, :]
    k_mask = (tl.arange(0, PAD_K)[:, None] < n_k_heads) & half_mask[None, :]
    q1 = tl.load(q_ptr + first_q, mask=q_mask, other=0).to(sin.dtype)
    k1 = tl.load(k_ptr + first_k, mask=k_mask, other=0).to(sin.dtype)
    second_q = first_q + (head_dim // 2)
    second_k = first_k + (head_dim // 2)
    q2 = tl.load(q_ptr + second_q, mask=q_mask, other=0).to(sin.dtype)
    k2 = tl.load(k_ptr + second_k, mask=k_mask, other=0).to(sin.dtype)
    if not BACKWARD:
        tl.store(q_ptr + first_q, q1 * cos - q2 * sin, mask=q_mask)
        tl.store(q_ptr + second_q, q2 * cos + q1 * sin, mask=q_mask)
        tl.store(k_ptr + first_k, k1 * cos - k2 * sin, mask=k_mask)
        tl.store(k_ptr + second_k, k2 * cos + k1 * sin, mask=k_mask)
    else:
        tl.store(q_ptr + first_q, q1 * cos + q2 * sin, mask=q_mask)
        tl.store(q_ptr + second_q, q2 * cos - q1 * sin, mask=q_mask)
        tl.store(k_ptr + first_k, k1 * cos + k2 * sin, mask=k_mask)
        tl.store(k_ptr + second_k, k2 * cos - k1 * sin, mask=k_mask)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_rope_forth_and_back_in_place(interpret: bool, rng: np.random.Generator, dtype: np.dtype) -> None:
    batch, seq, q_heads, k_heads, head_dim = 2, 5, 6, 2, 24
    q = rng.standard_normal((batch, seq, q_heads, head_dim)).astype(dtype)
    k = rng.standard_normal((batch, seq, k_heads, head_dim)).astype(dtype)
    angle = rng.uniform(0, 6, (seq, head_dim // 2))
    cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    q_before, k_before = q.copy(), k.copy()

    def launch(backward: bool) -> None:
        rope_in_place[(batch * seq,)](
            q, q_heads * head_dim, k, k_heads * head_dim, cos, sin, seq,
            n_q_heads=q_heads, n_k_heads=k_heads, head_dim=head_dim, PAD_Q=8, PAD_K=2, PAD_D=32,
            BACKWARD=backward, interpret=interpret,
        )  # fmt: skip

    launch(False)
    z = q_before.astype(np.float64)
    first, second = z[..., : head_dim // 2], z[..., head_dim // 2 :]
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    check_close(q, np.concatenate([first * c - second * s, second * c + first * s], -1))
    launch(True)
    check_close(q, q_before)
    check_close(k, k_before)


@tilejit.jit
def silu(x):
    return x * tl.sigmoid(x)


@tilejit.jit
def gelu(x):
    cubic = 0.7978845608028654 * (x + 0.044715 * x * x * x)
    return x * tl.sigmoid(2 * cubic)


@tilejit.jit
def glu_forward(
    a_ptr, b_ptr, c_ptr, stride, n_cols: tl.constexpr, ACTIVATION: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    a_ptr += row * stride
    b_ptr += row * stride
    c_ptr += row * stride
    offsets = tl.arange(0, BLOCK)
    mask = offsets < n_cols
    a = tl.load(a_ptr + offsets, mask=mask, other=0).to(tl.float32)
    b = tl.load(b_ptr + offsets, mask=mask, other=0)
    tl.store(c_ptr + offsets, ACTIVATION(a).cast(b.dtype) * b, mask=mask)


@tilejit.jit
def swiglu_backward(dc_ptr, a_ptr, b_ptr, stride, n_cols: tl.constexpr, BLOCK: tl.constexpr):
    """The gradients take the places of a and b."""
    row = tl.program_id(0).to(tl.int64)
    dc_ptr += row * stride
    a_ptr += row * stride
    b_ptr += row * stride
    offsets = tl.arange(0, BLOCK)
    mask = offsets < n_cols
    dc = tl.load(dc_ptr + offsets, mask=mask, other=0)
    a = tl.load(a_ptr + offsets, mask=mask, other=0).to(tl.float32)
    b = tl.load(b_ptr + offsets, mask=mask, other=0)
    sig = tl.sigmoid(a)
    silu_a = a * sig
    tl.store(a_ptr + offsets, dc * (silu_a * (1 - sig) + sig) * b, mask=mask)
    tl.store(b_ptr + offsets, dc * silu_a, mask=mask)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_swiglu(interpret: bool, rng: np.random.Generator, dtype: np.dtype) -> None:
    a, b, dc = rng.standard_normal((3, 7, 100)).astype(dtype)
    c = np.zeros_like(a)
    af, bf, dcf = (t.astype(np.float64) for t in (a, b, dc))
    sig = 1 / (1 + np.exp(-af))
    glu_forward[(7,)](a, b, c, 100, n_cols=100, ACTIVATION=silu, BLOCK=128, interpret=interpret)
    check_close(c, af * sig * bf)
    glu_forward[(7,)](a, b, c, 100, n_cols=100, ACTIVATION=gelu, BLOCK=128, interpret=interpret)
    cubic = np.sqrt(2 / np.pi) * (af + 0.044715 * af**3)
    check_close(c, 0.5 * af * (1 + np.tanh(cubic)) * bf)
    swiglu_backward[(7,)](dc, a, b, 100, n_cols=100, BLOCK=128, interpret=interpret)
    check_close(a, dcf * (af * sig * (1 - sig) + sig) * bf)
    check_close(b, dcf * af * sig)


@tilejit.jit
def persistent_axpy(x_ptr, y_ptr, alpha, n_elements, BLOCK: tl.constexpr):
    step = tl.num_programs(0) * BLOCK
    for start in range(tl.program_id(0) * BLOCK, n_elements, step):
        offsets = start + tl.arange(0, BLOCK)
        mask = offsets < n_elements
        x = tl.load(x_ptr + offsets, mask=mask)
        y = tl.load(y_ptr + offsets, mask=mask)
        tl.store(y_ptr + offsets, alpha * x + y, mask=mask)


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 1000])
def test_persistent_loop_over_blocks(interpret: bool, rng: np.random.Generator, n: int) -> None:
    x, y = rng.standard_normal((2, n)).astype(np.float32)
    expected = 0.3 * x.astype(np.float64) + y
    persistent_axpy[(3,)](x, y, 0.3, n, BLOCK=64, interpret=interpret)
    check_close(y, expected)


@tilejit.jit
def adamw_step(
    p_ptr, g_ptr, m_ptr, v_ptr, lr, beta1, beta2, eps, decay, bias1, bias2, n, BLOCK: tl.constexpr
):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    p = tl.load(p_ptr + offsets, mask).to(tl.float32)
    g = tl.load(g_ptr + offsets, mask).to(tl.float32)
    m = tl.load(m_ptr + offsets, mask)
    v = tl.load(v_ptr + offsets, mask)
    m = tl.fma(m, beta1, g * (1 - beta1))
    v = tl.fma(v, beta2, g * g * (1 - beta2))
    p -= lr * (m / bias1 / (tl.sqrt(v / bias2) + eps) + decay * p)
    tl.store(p_ptr + offsets, p.to(p_ptr.type.element_ty), mask)
    tl.store(m_ptr + offsets, m, mask)
    tl.store(v_ptr + offsets, v, mask)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_adamw(interpret: bool, rng: np.random.Generator, dtype: np.dtype) -> None:
    n = 1111
    p, g = rng.standard_normal((2, n)).astype(dtype)
    m = rng.standard_normal(n).astype(np.float32)
    v = rng.uniform(0.1, 1, n).astype(np.float32)
    pf, gf, mf, vf = (t.astype(np.float64) for t in (p, g, m, v))
    adamw_step[(tilejit.cdiv(n, 256),)](
        p, g, m, v, 1e-2, 0.9, 0.95, 1e-8, 0.1, 0.19, 0.0975, n, BLOCK=256, interpret=interpret
    )
    mf = mf * 0.9 + 0.1 * gf
    vf = vf * 0.95 + 0.05 * gf * gf
    check_close(m, mf)
    check_close(v, vf)
    check_close(p, pf - 1e-2 * (mf / 0.19 / (np.sqrt(vf / 0.0975) + 1e-8) + 0.1 * pf))


@tilejit.jit
def embedding_kernel(
    ids_ptr, table_ptr, out_ptr, n_tokens, vocabulary, DIM: tl.constexpr, TOKENS: tl.constexpr
):
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    column = tl.program_id(1) * DIM + tl.arange(0, DIM)
    width = tl.num_programs(1) * DIM
    ids = tl.load(ids_ptr + token, mask=token < n_tokens, other=-1)
    known = (ids >= 0) & (ids < vocabulary)
    rows = tl.load(
        table_ptr + ids[:, None] * width + column[None, :], mask=known[:, None], other=float("nan")
    )
    tl.store(out_ptr + token[:, None] * width + column, rows, mask=(token < n_tokens)[:, None])


@pytest.mark.parametrize("index_dtype", [np.int32, np.int64])
def test_embedding_gathers_rows(interpret: bool, rng: np.random.Generator, index_dtype: type) -> None:
    table = rng.standard_normal((50, 96)).astype(np.float16)
    ids = rng.integers(-5, 60, 37).astype(index_dtype)
    out = np.empty((37, 96), np.float16)
    embedding_kernel[(tilejit.cdiv(37, 8), 3)](ids, table, out, 37, 50, 32, 8, interpret=interpret)
    known = (ids >= 0) & (ids < 50)
    expected = np.where(known[:, None], table[ids.clip(0, 49)], np.nan)
    np.testing.assert_array_equal(out, expected)


@tilejit.jit
def dropout_kernel(x_ptr, out_ptr, seed, n, p: float, BLOCK: tl.constexpr):
    """A hash of the position as the source of randomness."""
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    h = offsets.to(tl.uint32) ^ seed.to(tl.uint32)
    h = (h ^ (h >> 16)) * 0x85EBCA6B
    h = (h ^ (h >> 13)) * 0xC2B2AE35
    h ^= h >> 16
    uniform = (h >> 8).to(tl.float32) * (1.0 / (1 << 24))
    keep = uniform > p
    x = tl.load(x_ptr + offsets, mask=(offsets < n) & keep, other=0.0)
    tl.store(out_ptr + offsets, tl.where(keep, x / (1 - p), 0.0), mask=offsets < n)


def test_hash_dropout(interpret: bool, rng: np.random.Generator) -> None:
    n = 3000
    x = rng.standard_normal(n).astype(np.float32)
    out = np.empty_like(x)
    dropout_kernel[(tilejit.cdiv(n, 512),)](x, out, 12345, n, 0.25, 512, interpret=interpret)
    h = np.arange(n, dtype=np.uint32) ^ np.uint32(12345)
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    keep = (h >> np.uint32(8)) / 2**24 > 0.25
    check_close(out, np.where(keep, x / 0.75, 0))
    assert 0.7 < keep.mean() < 0.8
