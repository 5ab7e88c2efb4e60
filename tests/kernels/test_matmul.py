"""Matrix products in the shapes that published kernels give them."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import tilejit
import tilejit.language as tl

from .compare import FLOATS, check_close


@tilejit.jit
def leaky_relu(x):
    return tl.where(x >= 0, x, 0.01 * x)


@tilejit.jit
def grouped_matmul(
    a_ptr, b_ptr, c_ptr, M, N, K, stride_am, stride_ak, stride_bk, stride_bn, stride_cm, stride_cn,
    BLOCK_SIZE_M: tl.constexpr, BLOCK_SIZE_N: tl.constexpr, BLOCK_SIZE_K: tl.constexpr,
    GROUP_SIZE_M: tl.constexpr, ACTIVATION: tl.constexpr,
):  # fmt: skip
    pid = tl.program_id(axis=0)
    num_pid_m = tl.cdiv(M, BLOCK_SIZE_M)
    num_pid_n = tl.cdiv(N, BLOCK_SIZE_N)
    num_pid_in_group = GROUP_SIZE_M * num_pid_n
    group_id = pid // num_pid_in_group
    first_pid_m = group_id * GROUP_SIZE_M
    group_size_m = min(num_pid_m - first_pid_m, GROUP_SIZE_M)
    pid_m = first_pid_m + ((pid % num_pid_in_group) % group_size_m)
    pid_n = (pid % num_pid_in_group) // group_size_m
    tl.assume(pid_m >= 0)
    tl.assume(stride_am > 0)
    offs_am = (pid_m * BLOCK_SIZE_M + tl.arange(0, BLOCK_SIZE_M)) % M
    offs_bn = (pid_n * BLOCK_SIZE_N + tl.arange(0, BLOCK_SIZE_N)) % N
    offs_k = tl.arange(0, BLOCK_SIZE_K)
    a_ptrs = a_ptr + (offs_am[:, None] * stride_am + offs_k[None, :] * stride_ak)
    b_ptrs = b_ptr + (offs_k[:, None] * stride_bk + offs_bn[None, :] * stride_bn)
    accumulator = tl.zeros((BLOCK_SIZE_M, BLOCK_SIZE_N), dtype=tl.float32)
    for k in range(0, tl.cdiv(K, BLOCK_SIZE_K)):
        a = tl.load(a_ptrs, mask=offs_k[None, :] < K - k * BLOCK_SIZE_K, other=0.0)
        b = tl.load(b_ptrs, mask=offs_k[:, None] < K - k * BLOCK_SIZE_K, other=0.0)
        accumulator = tl.dot(a, b, accumulator)
        a_ptrs += BLOCK_SIZE_K * stride_ak
        b_ptrs += BLOCK_SIZE_K * stride_bk
    if ACTIVATION == "leaky_relu":
        accumulator = leaky_relu(accumulator)
    c = accumulator.to(c_ptr.dtype.element_ty)
    offs_cm = pid_m * BLOCK_SIZE_M + tl.arange(0, BLOCK_SIZE_M)
    offs_cn = pid_n * BLOCK_SIZE_N + tl.arange(0, BLOCK_SIZE_N)
    c_ptrs = c_ptr + stride_cm * offs_cm[:, None] + stride_cn * offs_cn[None, :]
    tl.store(c_ptrs, c, mask=(offs_cm[:, None] < M) & (offs_cn[None, :] < N))


@pytest.mark.parametrize("layout", ["nn", "tn", "nt", "tt"])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_grouped_matmul(interpret: bool, rng: np.random.Generator, dtype: np.dtype, layout: str) -> None:
    m, n, k = 70, 90, 50
    a = rng.standard_normal((k, m) if layout[0] == "t" else (m, k)).astype(dtype)
    b = rng.standard_normal((n, k) if layout[1] == "t" else (k, n)).astype(dtype)
    a = a.T if layout[0] == "t" else a
    b = b.T if layout[1] == "t" else b
    c = np.empty((m, n), dtype)
    strides = [s // t.itemsize for t in (a, b, c) for s in t.strides]
    activation = "leaky_relu" if layout == "nt" else ""
    grid = lambda meta: (  # noqa: E731
        tilejit.cdiv(m, meta["BLOCK_SIZE_M"]) * tilejit.cdiv(n, meta["BLOCK_SIZE_N"]),
    )
    grouped_matmul[grid](
        a, b, c, m, n, k, *strides, BLOCK_SIZE_M=32, BLOCK_SIZE_N=16, BLOCK_SIZE_K=32, GROUP_SIZE_M=2,
        ACTIVATION=activation, num_stages=3, num_warps=8, interpret=interpret,
    )  # fmt: skip
    expected = a.astype(np.float64) @ b.astype(np.float64)
    check_close(c, np.where(expected >= 0, expected, 0.01 * expected) if activation else expected)


@tilejit.jit
def split_k_matmul(
    a_ptr, b_ptr, c_ptr, M, N, K, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    SPLIT_K: tl.constexpr, EVEN_K: tl.constexpr,
):  # fmt: skip
    pid_m = tl.program_id(0) // tl.cdiv(N, BLOCK_N)
    pid_n = tl.program_id(0) % tl.cdiv(N, BLOCK_N)
    pid_z = tl.program_id(1)
    rm = pid_m * BLOCK_M + tl.arange(0, BLOCK_M)
    rn = pid_n * BLOCK_N + tl.arange(0, BLOCK_N)
    ram = tl.max_contiguous(tl.multiple_of(rm % M, BLOCK_M), BLOCK_M)
    rbn = tl.max_contiguous(tl.multiple_of(rn % N, BLOCK_N), BLOCK_N)
    rk = pid_z * BLOCK_K + tl.arange(0, BLOCK_K)
    a_ptrs = a_ptr + (ram[:, None] * K + rk[None, :])
    b_ptrs = b_ptr + (rk[:, None] * N + rbn[None, :])
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for k in range(0, tl.cdiv(K, BLOCK_K * SPLIT_K)):
        if EVEN_K:
            a = tl.load(a_ptrs)
            b = tl.load(b_ptrs)
        else:
            k_remaining = K - k * (BLOCK_K * SPLIT_K)
            a = tl.load(a_ptrs, mask=rk[None, :] < k_remaining, other=0.0)
            b = tl.load(b_ptrs, mask=rk[:, None] < k_remaining, other=0.0)
        acc += tl.dot(a, b, out_dtype=tl.float32)
        a_ptrs += BLOCK_K * SPLIT_K
        b_ptrs += BLOCK_K * SPLIT_K * N
    c_ptrs = c_ptr + (rm[:, None] * N + rn[None, :])
    mask = (rm < M)[:, None] & (rn < N)[None, :]
    if SPLIT_K == 1:
        tl.store(c_ptrs, acc, mask=mask)
    else:
        tl.atomic_add(c_ptrs, acc, mask=mask, sem="relaxed")


@pytest.mark.parametrize("split", [1, 3])
@pytest.mark.parametrize("k", [96, 77])
def test_split_k(interpret: bool, rng: np.random.Generator, k: int, split: int) -> None:
    a = rng.standard_normal((33, k)).astype(np.float16)
    b = rng.standard_normal((k, 40)).astype(np.float16)
    c = np.zeros((33, 40), np.float32)
    grid = (tilejit.cdiv(33, 16) * tilejit.cdiv(40, 32), split)
    split_k_matmul[grid](
        a, b, c, 33, 40, k, BLOCK_M=16, BLOCK_N=32, BLOCK_K=16, SPLIT_K=split,
        EVEN_K=k % (16 * split) == 0, interpret=interpret,
    )  # fmt: skip
    check_close(c, a.astype(np.float64) @ b.astype(np.float64))


@tilejit.jit
def batched_matmul(
    x_ptr, y_ptr, o_ptr, B, M, N, K, stride_xb, stride_xm, stride_yb, stride_yk, stride_ob, stride_om,
    TILE_M: tl.constexpr, TILE_N: tl.constexpr, TILE_K: tl.constexpr,
):  # fmt: skip
    batch = tl.program_id(2)
    x_ptr += batch.to(tl.int64) * stride_xb
    y_ptr += batch.to(tl.int64) * stride_yb
    o_ptr += batch.to(tl.int64) * stride_ob
    rows = tl.program_id(0) * TILE_M + tl.arange(0, TILE_M)
    cols = tl.program_id(1) * TILE_N + tl.arange(0, TILE_N)
    inner = tl.arange(0, TILE_K)
    x_ptrs = x_ptr + rows[:, None] * stride_xm + inner[None, :]
    y_ptrs = y_ptr + inner[:, None] * stride_yk + cols[None, :]
    out = tl.zeros((TILE_M, TILE_N), dtype=tl.float32)
    iterations = tl.cdiv(K, TILE_K)
    while iterations > 0:
        in_k = inner < K
        out += tl.dot(
            tl.load(x_ptrs, mask=(rows < M)[:, None] & in_k[None, :], other=0.0),
            tl.load(y_ptrs, mask=in_k[:, None] & (cols < N)[None, :], other=0.0),
            allow_tf32=False,
        )
        x_ptrs += TILE_K
        y_ptrs += TILE_K * stride_yk
        inner += TILE_K
        iterations -= 1
    tl.store(o_ptr + rows[:, None] * stride_om + cols, out, mask=(rows < M)[:, None] & (cols < N)[None, :])


def test_batched_matmul(interpret: bool, rng: np.random.Generator) -> None:
    batch, m, n, k = 3, 20, 35, 41
    x = rng.standard_normal((batch, m, k)).astype(np.float32)
    y = rng.standard_normal((k, batch, n)).astype(np.float32).transpose(1, 0, 2)
    out = np.empty((batch, m, n), np.float32)
    batched_matmul[(tilejit.cdiv(m, 16), tilejit.cdiv(n, 16), batch)](
        x, y, out, batch, m, n, k, m * k, k, n, batch * n, m * n, n, TILE_M=16, TILE_N=16, TILE_K=16,
        interpret=interpret,
    )  # fmt: skip
    check_close(out, x.astype(np.float64) @ y.astype(np.float64))


@tilejit.jit
def int8_matmul_scaled(
    a_ptr, b_ptr, c_ptr, scale_a_ptr, scale_b_ptr, bias_ptr, M, N, K,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    rm = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    rn = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.int32)
    for k in range(0, K, BLOCK_K):
        rk = k + tl.arange(0, BLOCK_K)
        a = tl.load(
            a_ptr + rm[:, None] * K + rk[None, :], mask=(rm[:, None] < M) & (rk[None, :] < K), other=0
        )
        b = tl.load(
            b_ptr + rn[None, :] * K + rk[:, None], mask=(rn[None, :] < N) & (rk[:, None] < K), other=0
        )
        acc = tl.dot(a, b, acc=acc, out_dtype=tl.int32)
    scale_a = tl.load(scale_a_ptr + rm, mask=rm < M)
    scale_b = tl.load(scale_b_ptr + rn, mask=rn < N)
    c = acc.to(tl.float32) * scale_a[:, None] * scale_b[None, :]
    if bias_ptr is not None:
        c += tl.load(bias_ptr + rn, mask=rn < N)
    tl.store(c_ptr + rm[:, None] * N + rn, c.to(c_ptr.dtype.element_ty), mask=(rm[:, None] < M) & (rn < N))


@pytest.mark.parametrize("with_bias", [False, True])
def test_int8_matmul(interpret: bool, rng: np.random.Generator, with_bias: bool) -> None:
    m, n, k = 17, 40, 100
    a = rng.integers(-128, 128, (m, k), np.int8)
    b = rng.integers(-128, 128, (n, k), np.int8)
    scale_a, scale_b = rng.uniform(0.5, 2, m).astype(np.float32), rng.uniform(0.5, 2, n).astype(np.float32)
    bias = rng.standard_normal(n).astype(np.float16) if with_bias else None
    c = np.empty((m, n), ml_dtypes.bfloat16)
    int8_matmul_scaled[(2, 2)](
        a, b, c, scale_a, scale_b, bias, m, n, k, BLOCK_M=16, BLOCK_N=32, BLOCK_K=32, interpret=interpret
    )
    expected = (a.astype(np.int64) @ b.T.astype(np.int64)) * np.outer(scale_a, scale_b).astype(np.float64)
    check_close(c, expected if bias is None else expected + bias.astype(np.float64))


@tilejit.jit
def two_layers(
    x_ptr,
    w1_ptr,
    w2_ptr,
    out_ptr,
    M,
    D: tl.constexpr,
    H: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    """relu(x @ w1) @ w2 with the hidden layer in blocks that never reach memory."""
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    d = tl.arange(0, D)
    x = tl.load(x_ptr + rows[:, None] * D + d[None, :], mask=rows[:, None] < M, other=0.0)
    acc = tl.zeros([BLOCK_M, D], dtype=tl.float32)
    for start in range(0, H, BLOCK_H):
        h = start + tl.arange(0, BLOCK_H)
        w1 = tl.load(w1_ptr + d[:, None] * H + h[None, :])
        hidden = tl.maximum(tl.dot(x, w1), 0.0).to(x.dtype)
        w2 = tl.load(w2_ptr + h[:, None] * D + d[None, :])
        acc = tl.dot(hidden, w2, acc)
    tl.store(out_ptr + rows[:, None] * D + d[None, :], acc, mask=rows[:, None] < M)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_two_layers(interpret: bool, rng: np.random.Generator, dtype: np.dtype) -> None:
    x = rng.standard_normal((21, 32)).astype(dtype)
    w1 = rng.standard_normal((32, 128)).astype(dtype)
    w2 = rng.standard_normal((128, 32)).astype(dtype)
    out = np.empty((21, 32), dtype)
    two_layers[(2,)](x, w1, w2, out, 21, D=32, H=128, BLOCK_M=16, BLOCK_H=64, interpret=interpret)
    hidden = np.maximum(x.astype(np.float64) @ w1.astype(np.float64), 0)
    check_close(out, hidden @ w2.astype(np.float64))


@tilejit.jit
def batched_tile_dot(x_ptr, y_ptr, z_ptr, B: tl.constexpr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    b = tl.arange(0, B)[:, None, None]
    m = tl.arange(0, M)
    n = tl.arange(0, N)
    k = tl.arange(0, K)
    x = tl.load(x_ptr + b * M * K + m[None, :, None] * K + k[None, None, :])
    y = tl.load(y_ptr + b * N * K + n[None, :, None] * K + k[None, None, :])
    z = tl.dot(x, tl.trans(y, 0, 2, 1))
    tl.store(z_ptr + b * M * N + m[None, :, None] * N + n[None, None, :], z)


@pytest.mark.parametrize("dtype", [*FLOATS, np.dtype(np.int8), np.dtype(np.float64)], ids=str)
def test_dot_of_three_dimensional_tiles(interpret: bool, rng: np.random.Generator, dtype: np.dtype) -> None:
    x = (10 * rng.standard_normal((4, 8, 16))).astype(dtype)
    y = (10 * rng.standard_normal((4, 32, 16))).astype(dtype)
    result = {"int8": np.int32, "float64": np.float64}.get(dtype.name, np.float32)
    z = np.empty((4, 8, 32), result)
    batched_tile_dot[(1,)](x, y, z, B=4, M=8, N=32, K=16, interpret=interpret)
    expected = x.astype(np.float64) @ y.astype(np.float64).transpose(0, 2, 1)
    check_close(z.astype(np.float64), expected, 1e-14 if result != np.float32 else 3e-6)


@tilejit.jit
def fp8_matmul(a_ptr, b_ptr, c_ptr, scale_ptr, K: tl.constexpr, BLOCK: tl.constexpr):
    r = tl.arange(0, BLOCK)
    acc = tl.zeros((BLOCK, BLOCK), tl.float32)
    for k in tl.range(0, K, BLOCK):
        a = tl.load(a_ptr + r[:, None] * K + (k + r)[None, :])
        b = tl.load(b_ptr + r[None, :] * K + (k + r)[:, None])
        scale = tl.load(scale_ptr + k // BLOCK)
        acc += tl.dot(a, b) * scale
    tl.store(c_ptr + r[:, None] * BLOCK + r[None, :], acc.to(tl.bfloat16))


@pytest.mark.parametrize(
    "types",
    [("float8_e4m3fn", "float8_e4m3fn"), ("float8_e5m2", "float8_e5m2"), ("float8_e4m3fn", "float8_e5m2")],
    ids="-".join,
)
def test_fp8_matmul(interpret: bool, rng: np.random.Generator, types: tuple[str, str]) -> None:
    a = rng.standard_normal((16, 64)).astype(getattr(ml_dtypes, types[0]))
    b = rng.standard_normal((16, 64)).astype(getattr(ml_dtypes, types[1]))
    scale = rng.uniform(0.5, 2, 4).astype(np.float32)
    c = np.empty((16, 16), ml_dtypes.bfloat16)
    fp8_matmul[(1,)](a, b, c, scale, K=64, BLOCK=16, interpret=interpret)
    check_close(c, (a.astype(np.float64) * scale.repeat(16)) @ b.astype(np.float64).T)


@tilejit.jit
def decode_gemm(x_ptr, w_ptr, out_ptr, N, K, M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):
    """Few rows, padded to 16 as GPUs need."""
    rm = tl.arange(0, 16)
    rn = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((16, BLOCK_N), tl.float32)
    for k in range(0, K, BLOCK_K):
        rk = k + tl.arange(0, BLOCK_K)
        x = tl.load(x_ptr + rm[:, None] * K + rk, mask=(rm[:, None] < M) & (rk < K), other=0.0)
        w = tl.load(w_ptr + rn[:, None] * K + rk, mask=(rn[:, None] < N) & (rk < K), other=0.0)
        acc = tl.dot(x, w.T, acc)
    tl.store(out_ptr + rm[:, None] * N + rn, acc, mask=(rm[:, None] < M) & (rn < N))


@pytest.mark.parametrize("m", [1, 3, 16])
def test_decode_gemm(interpret: bool, rng: np.random.Generator, m: int) -> None:
    x = rng.standard_normal((m, 130)).astype(ml_dtypes.bfloat16)
    w = rng.standard_normal((70, 130)).astype(ml_dtypes.bfloat16)
    out = np.empty((m, 70), np.float32)
    decode_gemm[(3,)](x, w, out, 70, 130, M=m, BLOCK_N=32, BLOCK_K=64, interpret=interpret)
    check_close(out, x.astype(np.float64) @ w.astype(np.float64).T)
