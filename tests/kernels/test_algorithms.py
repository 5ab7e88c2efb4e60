"""Whole algorithms in one kernel: stream-K, delta rule, convolution as a product, sparse rows, transforms."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import tilejit
import tilejit.language as tl

from .compare import FLOATS, check_close


@tilejit.jit
def mac_loop(
    A, B, C, M, N, K, locks, start, end, iters_per_tile,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    tile = start // iters_per_tile
    tiles_n = tl.cdiv(N, BN)
    rm = tile // tiles_n * BM + tl.arange(0, BM)
    rn = tile % tiles_n * BN + tl.arange(0, BN)
    rk = tl.arange(0, BK)
    k0 = start % iters_per_tile * BK
    a_ptrs = A + rm[:, None] * K + rk[None, :] + k0
    b_ptrs = B + rk[:, None] * N + rn[None, :] + k0 * N
    acc = tl.zeros((BM, BN), dtype=tl.float32)
    for i in range(start, end):
        left = K - i % iters_per_tile * BK
        a = tl.load(a_ptrs, mask=(rm[:, None] < M) & (rk[None, :] < left), other=0.0)
        b = tl.load(b_ptrs, mask=(rk[:, None] < left) & (rn[None, :] < N), other=0.0)
        acc += tl.dot(a, b)
        a_ptrs += BK
        b_ptrs += BK * N
    c_ptrs = C + rm[:, None] * N + rn[None, :]
    mask = (rm < M)[:, None] & (rn < N)[None, :]
    if end % iters_per_tile == 0:
        tl.store(c_ptrs, acc, mask=mask)
        if start % iters_per_tile != 0:
            tl.atomic_xchg(locks + tile, 1)
    else:
        while tl.atomic_cas(locks + tile, 1, 1) != 1:
            pass
        tl.atomic_add(c_ptrs, acc, mask=mask)


@tilejit.jit
def stream_k(
    A,
    B,
    C,
    M,
    N,
    K,
    locks,
    full,
    partial,
    iters_per_tile,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    """Programs from the last to the first share of iterations, so that none waits for a later program."""
    pid = tl.num_programs(0) - 1 - tl.program_id(0)
    start = pid * full + tl.minimum(pid, partial)
    last = (pid + 1) * full + tl.minimum(pid + 1, partial)
    while start < last:
        end = tl.minimum(start + (iters_per_tile - start % iters_per_tile), last)
        mac_loop(A, B, C, M, N, K, locks, start, end, iters_per_tile, BM, BN, BK)
        start = end


@pytest.mark.parametrize("programs", [1, 4, 5])
def test_stream_k(interpret: bool, rng: np.random.Generator, programs: int) -> None:
    m, n, k, block = 40, 50, 90, 16
    a = rng.standard_normal((m, k)).astype(np.float32)
    b = rng.standard_normal((k, n)).astype(np.float32)
    c = np.zeros((m, n), np.float32)
    iters = tilejit.cdiv(k, block)
    tiles = tilejit.cdiv(m, block) * tilejit.cdiv(n, block)
    full, partial = divmod(tiles * iters, programs)
    locks = np.zeros(tiles, np.int32)
    stream_k[(programs,)](
        a, b, c, m, n, k, locks, full, partial, iters, BM=block, BN=block, BK=block, interpret=interpret
    )
    check_close(c, a.astype(np.float64) @ b)


@tilejit.jit
def inverse_16(a, i):
    """The inverse of a unit lower triangular tile, of which ``a`` is the strictly lower part."""
    result = -a
    for row in range(2, 16):
        at_row = tl.sum(tl.where((i == row)[:, None], result, 0.0), 0)
        at_row = at_row + tl.sum(at_row[:, None] * result, 0)
        result = tl.where((i == row)[:, None], at_row[None, :], result)
    return result + (i[:, None] == i[None, :])


@tilejit.jit
def inverse_by_merging(A, Ai, T, STRIDE: tl.constexpr):
    """Two 16 x 16 blocks on the diagonal inverted each, the block below them from both."""
    start = tl.program_id(0) * 32
    base = tl.program_id(1) * T * STRIDE
    i = tl.arange(0, 16)
    lower = i[:, None] > i[None, :]
    p11 = tl.make_block_ptr(A + base, (T, 32), (STRIDE, 1), (start, 0), (16, 16), (1, 0))
    p22 = tl.make_block_ptr(A + base, (T, 32), (STRIDE, 1), (start + 16, 16), (16, 16), (1, 0))
    p21 = tl.make_block_ptr(A + base, (T, 32), (STRIDE, 1), (start + 16, 0), (16, 16), (1, 0))
    a11 = inverse_16(tl.where(lower, tl.load(p11, boundary_check=(0, 1)).to(tl.float32), 0), i)
    a22 = inverse_16(tl.where(lower, tl.load(p22, boundary_check=(0, 1)).to(tl.float32), 0), i)
    a21 = tl.load(p21, boundary_check=(0, 1)).to(tl.float32)
    a21 = -tl.dot(tl.dot(a22, a21, input_precision="ieee"), a11, input_precision="ieee")
    for row, column, tile in ((0, 0, a11), (16, 16, a22), (16, 0, a21)):
        out = tl.make_block_ptr(Ai + base, (T, 32), (STRIDE, 1), (start + row, column), (16, 16), (1, 0))
        tl.store(out, tile.to(out.dtype.element_ty, fp_downcast_rounding="rtne"), boundary_check=(0, 1))


@pytest.mark.parametrize("steps", [32, 75])
def test_block_triangular_inverse(interpret: bool, rng: np.random.Generator, steps: int) -> None:
    a = 0.2 * rng.standard_normal((2, steps, 32)).astype(np.float32)
    out = np.zeros_like(a)
    inverse_by_merging[(tilejit.cdiv(steps, 32), 2)](a, out, steps, STRIDE=32, interpret=interpret)
    for head in range(2):
        for start in range(0, steps, 32):
            n = min(32, steps - start)
            block = np.tril(a[head, start : start + n, :n].astype(np.float64), -1) + np.eye(n)
            check_close(out[head, start : start + n, :n], np.linalg.inv(block), 1e-5)


@tilejit.jit
def delta_rule(
    q_ptr, k_ptr, v_ptr, beta_ptr, g_ptr, o_ptr, h_ptr, T, K: tl.constexpr, V: tl.constexpr, BV: tl.constexpr
):
    """The gated delta rule, step by step, with the state in a carried tile."""
    head = tl.program_id(1)
    k_i = tl.arange(0, K)
    v_i = tl.program_id(0) * BV + tl.arange(0, BV)
    p_q = q_ptr + head * T * K + k_i
    p_k = k_ptr + head * T * K + k_i
    p_v = v_ptr + head * T * V + v_i
    p_o = o_ptr + head * T * V + v_i
    p_beta = beta_ptr + head * T
    p_g = g_ptr + head * T
    b_h = tl.zeros([K, BV], dtype=tl.float32)
    for _ in range(0, T):
        b_q = tl.load(p_q).to(tl.float32) * (K**-0.5)
        b_k = tl.load(p_k).to(tl.float32)
        b_k = b_k / tl.sqrt(tl.sum(b_k * b_k) + 1e-6)
        b_v = tl.load(p_v).to(tl.float32)
        b_h *= tl.exp(tl.load(p_g).to(tl.float32))
        b_v -= tl.sum(b_h * b_k[:, None], 0)
        b_v *= tl.load(p_beta).to(tl.float32)
        b_h += b_k[:, None] * b_v[None, :]
        tl.store(p_o, tl.sum(b_h * b_q[:, None], 0).to(p_o.dtype.element_ty))
        p_q += K
        p_k += K
        p_v += V
        p_o += V
        p_beta += 1
        p_g += 1
    tl.store(h_ptr + head * K * V + k_i[:, None] * V + v_i[None, :], b_h)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_delta_rule(interpret: bool, rng: np.random.Generator, dtype: np.dtype) -> None:
    heads, steps, k_dim, v_dim = 2, 20, 16, 24
    q, k = rng.standard_normal((2, heads, steps, k_dim)).astype(dtype)
    v = rng.standard_normal((heads, steps, v_dim)).astype(dtype)
    beta = rng.uniform(0, 1, (heads, steps)).astype(dtype)
    g = -rng.uniform(0, 0.5, (heads, steps)).astype(np.float32)
    o = np.empty_like(v)
    h = np.empty((heads, k_dim, v_dim), np.float32)
    delta_rule[(3, heads)](q, k, v, beta, g, o, h, steps, K=k_dim, V=v_dim, BV=8, interpret=interpret)
    qf, kf, vf, bf = (t.astype(np.float64) for t in (q, k, v, beta))
    kf /= np.sqrt((kf * kf).sum(-1, keepdims=True) + 1e-6)
    state = np.zeros(h.shape)
    expected = np.empty(v.shape)
    for t in range(steps):
        state *= np.exp(g[:, t], dtype=np.float64)[:, None, None]
        new = (vf[:, t] - np.einsum("hkv,hk->hv", state, kf[:, t])) * bf[:, t, None]
        state += kf[:, t, :, None] * new[:, None]
        expected[:, t] = np.einsum("hkv,hk->hv", state, qf[:, t]) * k_dim**-0.5
    check_close(o, expected, 1e-5 if dtype == np.float32 else None)
    check_close(h, state, 1e-5)


@tilejit.jit
def conv2d(
    x_ptr, w_ptr, b_ptr, y_ptr, C, H, W, F, OH, OW, R: tl.constexpr, S: tl.constexpr, STRIDE: tl.constexpr,
    PAD: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """Implicit product: rows are output places, columns filters; input NHWC, weights [F, R, S, C]."""
    image = tl.program_id(0).to(tl.int64)
    place = tl.program_id(1) * BM + tl.arange(0, BM)
    oh, ow = place // OW, place % OW
    f = tl.program_id(2) * BN + tl.arange(0, BN)
    acc = tl.zeros((BM, BN), tl.float32)
    for rs in range(R * S):
        r = rs // S
        s = rs % S
        h = oh * STRIDE + r - PAD
        w = ow * STRIDE + s - PAD
        inside = (h >= 0) & (h < H) & (w >= 0) & (w < W) & (oh < OH)
        x_row = x_ptr + ((image * H + h) * W + w) * C
        for c0 in range(0, C, BK):
            c = c0 + tl.arange(0, BK)
            x = tl.load(x_row[:, None] + c[None, :], mask=inside[:, None] & (c < C)[None, :], other=0.0)
            weight = tl.load(
                w_ptr + (f[None, :] * R * S + rs) * C + c[:, None],
                mask=(c < C)[:, None] & (f < F)[None, :], other=0.0,
            )  # fmt: skip
            acc = tl.dot(x, weight, acc)
    if b_ptr is not None:
        acc += tl.load(b_ptr + f, mask=f < F, other=0.0)[None, :]
    y = y_ptr + (image * OH * OW + place[:, None]) * F + f[None, :]
    tl.store(y, acc, mask=(place < OH * OW)[:, None] & (f < F)[None, :])


@pytest.mark.parametrize(("stride", "pad"), [(1, 0), (1, 1), (2, 1)])
def test_conv2d(interpret: bool, rng: np.random.Generator, stride: int, pad: int) -> None:
    x = rng.standard_normal((2, 9, 11, 10)).astype(np.float16)
    w = rng.standard_normal((20, 3, 3, 10)).astype(np.float16)
    b = rng.standard_normal(20).astype(np.float16) if pad else None
    padded = np.pad(x.astype(np.float64), ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))[:, ::stride, ::stride]
    expected = np.einsum("nhwcrs,frsc->nhwf", windows, w.astype(np.float64)) + (0 if b is None else b)
    y = np.empty(expected.shape, np.float32)
    oh, ow = y.shape[1:3]
    conv2d[(2, tilejit.cdiv(oh * ow, 32), 2)](
        x, w, b, y, 10, 9, 11, 20, oh, ow, R=3, S=3, STRIDE=stride, PAD=pad, BM=32, BN=16, BK=16,
        interpret=interpret,
    )  # fmt: skip
    check_close(y, expected)


@tilejit.jit
def csr_times_dense(indptr, indices, values, x_ptr, y_ptr, width, BLOCK: tl.constexpr, WIDTH: tl.constexpr):
    row = tl.program_id(0)
    start = tl.load(indptr + row)
    end = tl.load(indptr + row + 1)
    columns = tl.arange(0, WIDTH)
    acc = tl.zeros([WIDTH], tl.float64)
    for i in range(start, end, BLOCK):
        at = i + tl.arange(0, BLOCK)
        value = tl.load(values + at, mask=at < end, other=0.0)
        index = tl.load(indices + at, mask=at < end, other=0)
        x = tl.load(x_ptr + index[:, None] * width + columns[None, :], mask=columns[None, :] < width, other=0)
        acc += tl.sum(value[:, None] * x, 0)
    tl.store(y_ptr + row * width + columns, acc, mask=columns < width)


def test_sparse_rows(interpret: bool, rng: np.random.Generator) -> None:
    dense = np.where(rng.random((30, 60)) < 0.2, rng.standard_normal((30, 60)), 0)
    dense[7] = 0
    rows, indices = np.nonzero(dense)
    indptr = np.searchsorted(rows, np.arange(31)).astype(np.int64)
    x = rng.standard_normal((60, 13))
    y = np.full((30, 13), np.nan)
    csr_times_dense[(30,)](
        indptr, indices.astype(np.int32), dense[dense != 0], x, y, 13, BLOCK=8, WIDTH=16, interpret=interpret
    )
    check_close(y, dense @ x)


@tilejit.jit
def hadamard(x_ptr, LOG: tl.constexpr, SCALE: tl.constexpr):
    """The fast transform: sums and differences of halves, at every distance."""
    N: tl.constexpr = 1 << LOG
    at = tl.program_id(0) * N + tl.arange(0, N)
    x = tl.load(x_ptr + at).to(tl.float32)
    for stage in tl.static_range(LOG):
        pairs = tl.permute(x.reshape(N >> (stage + 1), 2, 1 << stage), (0, 2, 1))
        low, high = tl.split(pairs)
        x = tl.permute(tl.join(low + high, low - high), (0, 2, 1)).reshape(N)
    tl.store(x_ptr + at, x * SCALE)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_hadamard(interpret: bool, rng: np.random.Generator, dtype: np.dtype) -> None:
    x = rng.standard_normal((3, 64)).astype(dtype)
    matrix = np.ones((1, 1))
    for _ in range(6):
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    expected = x.astype(np.float64) @ matrix / 8
    hadamard[(3,)](x, LOG=6, SCALE=1 / 8, interpret=interpret)
    check_close(x, expected)


@tilejit.jit
def quantise_kv(
    x_ptr, q_ptr, scale_ptr, zero_ptr, tokens, HEADS: tl.constexpr, D: tl.constexpr, TOKENS: tl.constexpr
):
    """Asymmetric uint8, a scale and a zero point per token and head, from a 3-D tile."""
    t = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)[:, None, None]
    h = tl.arange(0, HEADS)[None, :, None]
    d = tl.arange(0, D)[None, None, :]
    at = (t * HEADS + h) * D + d
    x = tl.load(x_ptr + at, mask=t < tokens, other=0.0).to(tl.float32)
    low = tl.min(x, 2, keep_dims=True)
    scale = (tl.max(x, axis=2, keep_dims=True) - low) / 255
    scale = tl.where(scale == 0, 1.0, scale)
    q = tl.clamp(tl.floor((x - low) / scale + 0.5), 0.0, 255.0).to(tl.uint8)
    tl.store(q_ptr + at, q, mask=t < tokens)
    tl.store(scale_ptr + t * HEADS + h, scale, mask=t < tokens)
    tl.store(zero_ptr + t * HEADS + h, low, mask=t < tokens)


def test_quantise_kv(interpret: bool, rng: np.random.Generator) -> None:
    x = rng.standard_normal((11, 4, 32)).astype(ml_dtypes.bfloat16)
    x[3, 2] = 1.5
    q = np.empty(x.shape, np.uint8)
    scale, zero = np.empty((2, 11, 4, 1), np.float32)
    quantise_kv[(3,)](x, q, scale, zero, 11, HEADS=4, D=32, TOKENS=4, interpret=interpret)
    xf = x.astype(np.float32)
    assert q.min(-1).max() == 0 and (q.max(-1) == 255).sum() == 43
    assert (np.abs(q * scale + zero - xf) <= 0.501 * scale).all()
