"""Quantisation: int8 rows, int4 in words and bytes, fp8 in all forms, groups with zero points."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import tilejit
import tilejit.language as tl

from .compare import BF16, FLOATS, check_close


@tilejit.jit
def round_half_away(x):
    return tl.where(x >= 0, tl.floor(x + 0.5), tl.ceil(x - 0.5))


@tilejit.jit
def quantise_rows(x_ptr, q_ptr, scale_ptr, n_cols, stride, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    mask = cols < n_cols
    x = tl.load(x_ptr + row * stride + cols, mask=mask, other=0.0).to(tl.float32)
    absmax = tl.maximum(tl.max(tl.abs(x)), 1e-10)
    scale = absmax / 127
    q = round_half_away(x * (127 / absmax)).to(tl.int8)
    tl.store(scale_ptr + row, scale)
    tl.store(q_ptr + row * stride + cols, q, mask=mask)


@tilejit.jit
def dequantise_rows(q_ptr, scale_ptr, out_ptr, n, n_cols, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    q = tl.load(q_ptr + offsets, mask=mask)
    scale = tl.load(scale_ptr + offsets // n_cols, mask=mask)
    tl.store(out_ptr + offsets, q * scale, mask=mask)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_int8_rows(interpret: bool, rng: np.random.Generator, dtype: np.dtype) -> None:
    x = rng.standard_normal((9, 100)).astype(dtype)
    x[4] = 0
    q = np.empty((9, 100), np.int8)
    scale = np.empty(9, np.float32)
    back = np.empty((9, 100), dtype)
    quantise_rows[(9,)](x, q, scale, 100, 100, BLOCK=128, interpret=interpret)
    dequantise_rows[(tilejit.cdiv(900, 256),)](q, scale, back, 900, 100, BLOCK=256, interpret=interpret)
    xf = x.astype(np.float32)
    assert np.abs(q).max(1).tolist() == [127] * 4 + [0] + [127] * 4
    assert (np.abs(q * scale[:, None] - xf) <= 0.5001 * scale[:, None]).all()
    check_close(back, q * scale[:, None].astype(np.float64))


@tilejit.jit
def pack_int4(x_ptr, packed_ptr, n, BLOCK: tl.constexpr):
    """Two neighbours in a byte, the first in the low half."""
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + offsets, mask=offsets < n, other=0)
    low, high = tl.split(tl.reshape(x, (BLOCK // 2, 2)))
    packed = (low & 0xF) | ((high & 0xF) << 4)
    out = tl.program_id(0) * (BLOCK // 2) + tl.arange(0, BLOCK // 2)
    tl.store(packed_ptr + out, packed, mask=out < n // 2)


@tilejit.jit
def unpack_int4(packed_ptr, out_ptr, n, SIGNED: tl.constexpr, BLOCK: tl.constexpr):
    bytes_at = tl.program_id(0) * (BLOCK // 2) + tl.arange(0, BLOCK // 2)
    packed = tl.load(packed_ptr + bytes_at, mask=bytes_at < n // 2, other=0)
    if SIGNED:
        signed = packed.to(tl.int8, bitcast=True)
        low, high = (signed << 4) >> 4, signed >> 4
    else:
        low, high = packed & 0xF, packed >> 4
    both = tl.reshape(tl.join(low, high), (BLOCK,))
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out_ptr + offsets, both.to(tl.float16), mask=offsets < n)


@pytest.mark.parametrize("signed", [False, True])
def test_int4_pairs_in_bytes(interpret: bool, rng: np.random.Generator, signed: bool) -> None:
    n = 130
    x = rng.integers(-8, 8, n, np.int8) if signed else rng.integers(0, 16, n, np.uint8)
    packed = np.zeros(n // 2, np.uint8)
    out = np.empty(n, np.float16)
    pack_int4[(3,)](x, packed, n, BLOCK=64, interpret=interpret)
    raw = x.astype(np.uint8) & 15
    np.testing.assert_array_equal(packed, raw[::2] | raw[1::2] << 4)
    unpack_int4[(3,)](packed, out, n, signed, 64, interpret=interpret)
    np.testing.assert_array_equal(out, x)


@tilejit.jit
def int4_weight_matmul(
    x_ptr, w_ptr, scales_ptr, zeros_ptr, out_ptr, M, N, K, GROUP: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Eight weights in an int32 along K; zero points packed along N; a scale per group of K."""
    rm = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    rn = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    rk = tl.arange(0, BLOCK_K)
    w_ptrs = w_ptr + (rk[:, None] // 8) * N + rn[None, :]
    shifter = (rk % 8) * 4
    zero_shift = (rn % 8) * 4
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for k in range(0, tl.cdiv(K, BLOCK_K)):
        a = tl.load(x_ptr + rm[:, None] * K + k * BLOCK_K + rk[None, :], mask=rm[:, None] < M, other=0.0)
        w = tl.load(w_ptrs)
        group = k * BLOCK_K // GROUP
        scales = tl.load(scales_ptr + group * N + rn)
        zeros = tl.load(zeros_ptr + group * (N // 8) + rn // 8)
        zeros = ((zeros >> zero_shift) & 0xF) + 1
        w = (w >> shifter[:, None]) & 0xF
        w = ((w - zeros[None, :]) * scales[None, :]).to(a.dtype)
        acc += tl.dot(a, w)
        w_ptrs += (BLOCK_K // 8) * N
    tl.store(out_ptr + rm[:, None] * N + rn[None, :], acc.to(tl.float16), mask=rm[:, None] < M)


def test_int4_weights(interpret: bool, rng: np.random.Generator) -> None:
    m, n, k, group = 5, 32, 128, 32
    x = rng.standard_normal((m, k)).astype(np.float16)
    w = rng.integers(0, 16, (k, n))
    zeros = rng.integers(0, 15, (k // group, n))
    scales = rng.uniform(0.01, 0.1, (k // group, n)).astype(np.float16)
    shifts = 4 * np.arange(8)
    packed = (w.reshape(k // 8, 8, n) << shifts[:, None]).sum(1).astype(np.uint32).view(np.int32)
    packed_zeros = (zeros.reshape(-1, n // 8, 8) << shifts).sum(2).astype(np.uint32).view(np.int32)
    out = np.empty((m, n), np.float16)
    int4_weight_matmul[(1, 2)](
        x, packed, scales, packed_zeros, out, m, n, k, GROUP=group, BLOCK_M=16, BLOCK_N=16, BLOCK_K=32,
        interpret=interpret,
    )  # fmt: skip
    weights = (w - zeros.repeat(group, 0) - 1) * scales.astype(np.float64).repeat(group, 0)
    check_close(out, x.astype(np.float64) @ weights)


FP8 = ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"]


@tilejit.jit
def convert_kernel(src_ptr, dst_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    tl.store(dst_ptr + offsets, tl.load(src_ptr + offsets, mask=mask).to(dst_ptr.dtype.element_ty), mask=mask)


@pytest.mark.parametrize("name", FP8)
@pytest.mark.parametrize("dtype", [*FLOATS, np.dtype(np.float64)], ids=str)
def test_fp8_both_ways(interpret: bool, rng: np.random.Generator, dtype: np.dtype, name: str) -> None:
    small = np.dtype(getattr(ml_dtypes, name))
    every = np.arange(256, dtype=np.uint8).view(small)
    wide = np.empty(256, dtype)
    convert_kernel[(2,)](every, wide, 256, BLOCK=128, interpret=interpret)
    np.testing.assert_array_equal(wide.astype(np.float64), every.astype(np.float64))
    finite = wide[np.isfinite(wide)].astype(np.float64)
    others = np.concatenate([finite * 1.04, 100 * rng.standard_normal(77)])
    x = np.concatenate([wide, others.astype(dtype)])
    narrow = np.empty(x.size, small)
    convert_kernel[(tilejit.cdiv(x.size, 64),)](x, narrow, x.size, BLOCK=64, interpret=interpret)
    with np.errstate(invalid="ignore"):
        expected = x.astype(np.float32).astype(small)
    nan = np.isnan(expected.astype(np.float32))
    np.testing.assert_array_equal(np.isnan(narrow.astype(np.float32)), nan)
    np.testing.assert_array_equal(narrow.view(np.uint8)[~nan], expected.view(np.uint8)[~nan])


@tilejit.jit
def block_fp8_kernel(x_ptr, y_ptr, s_ptr, M, N, LIMIT: tl.constexpr, BLOCK: tl.constexpr):
    """One scale per block of a matrix."""
    pid_m = tl.program_id(axis=0)
    pid_n = tl.program_id(axis=1)
    n = tl.cdiv(N, BLOCK)
    offs_m = pid_m * BLOCK + tl.arange(0, BLOCK)
    offs_n = pid_n * BLOCK + tl.arange(0, BLOCK)
    offs = offs_m[:, None] * N + offs_n[None, :]
    mask = (offs_m[:, None] < M) & (offs_n[None, :] < N)
    x = tl.load(x_ptr + offs, mask=mask, other=0.0).to(tl.float32)
    scale = tl.max(tl.abs(x)) / LIMIT
    y = tl.clamp(x / scale, -LIMIT, LIMIT)
    tl.store(y_ptr + offs, y.to(y_ptr.dtype.element_ty), mask=mask)
    tl.store(s_ptr + pid_m * n + pid_n, scale)


def test_fp8_blocks(interpret: bool, rng: np.random.Generator) -> None:
    x = rng.standard_normal((40, 50)).astype(BF16)
    y = np.empty((40, 50), ml_dtypes.float8_e4m3fn)
    s = np.empty((3, 4), np.float32)
    block_fp8_kernel[(3, 4)](x, y, s, 40, 50, LIMIT=448.0, BLOCK=16, interpret=interpret)
    padded = np.zeros((48, 64))
    padded[:40, :50] = x
    largest = np.abs(padded.reshape(3, 16, 4, 16)).max((1, 3))
    check_close(s, largest / 448)
    check_close(y.astype(np.float64) * s.repeat(16, 0).repeat(16, 1)[:40, :50], x, 0.04)


@tilejit.jit
def nibble_lookup(packed_ptr, code_ptr, absmax_ptr, out_ptr, n, BLOCK_SIZE: tl.constexpr, TILE: tl.constexpr):
    """Each half byte is an index of a table; scales per block of outputs; the high half comes first."""
    at = tl.program_id(0) * TILE + tl.arange(0, TILE)
    mask = at < n // 2
    byte = tl.load(packed_ptr + at, mask)
    scale = tl.load(absmax_ptr + at * 2 // BLOCK_SIZE, mask, other=1.0)
    high = tl.load(code_ptr + (byte >> 4)) * scale
    low = tl.load(code_ptr + (byte & 15)) * scale
    out_at = tl.program_id(0) * TILE * 2 + tl.arange(0, TILE * 2)
    values = tl.join(high, low).reshape(TILE * 2)
    tl.store(out_ptr + out_at, values, mask=out_at < n)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_codebook(interpret: bool, rng: np.random.Generator, dtype: np.dtype) -> None:
    n = 192
    code = np.sort(rng.standard_normal(16)).astype(np.float32)
    index = rng.integers(0, 16, n)
    packed = (index[::2] << 4 | index[1::2]).astype(np.uint8)
    absmax = rng.uniform(0.5, 2, 6).astype(np.float32)
    out = np.empty(n, dtype)
    nibble_lookup[(3,)](packed, code, absmax, out, n, BLOCK_SIZE=32, TILE=32, interpret=interpret)
    check_close(out, code.astype(np.float64)[index] * absmax.repeat(32))
