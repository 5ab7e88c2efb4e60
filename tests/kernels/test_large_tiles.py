"""Block sizes published for GPUs: their code stays short, and their results are right.

What compiling them takes is measured by ``python -m benchmarks compile-time``.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import tilejit
import tilejit.language as tl

from .compare import Array, check_close
from .test_normalisation import rms_norm_forward, welford_kernel
from .test_scan import cumsum_2d
from .test_shapes import transpose_kernel
from .test_softmax import cross_entropy_kernel, online_softmax, persistent_softmax, softmax_reference

MOST_LINES = 3000
"""Of assembly: tiles are loops, however large; written out they would take tens of thousands. Dots of masked
tiles come twice, for whole tiles and for those that are cut.
"""


def launch(kernel: tilejit.Kernel, grid: tuple[int, ...], *args: object, **named: object) -> None:
    """Launch a kernel whose code has to be short."""
    compiled = kernel.warmup(*args, grid=grid, **named)
    lines = compiled.asm["s"].count("\n")
    print(f"{kernel.name}: {lines} lines")
    kernel[grid](*args, **named)
    assert lines < MOST_LINES


def test_softmax_row_of_65536(rng: np.random.Generator) -> None:
    x = rng.standard_normal((3, 65000)).astype(np.float32)
    out = np.empty_like(x)
    launch(persistent_softmax, (2,), out, x, 65000, 65000, 3, 65000, BLOCK=65536, num_stages=2)
    check_close(out, softmax_reference(x))
    launch(online_softmax, (3,), out, x, 65000, 65000, 65000, BLOCK=32768)
    check_close(out, softmax_reference(x))


def test_cross_entropy_of_65536(rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 100_000)).astype(ml_dtypes.bfloat16)
    logits = x.astype(np.float64)
    label = np.array([7, 99_999])
    loss = np.zeros(2, np.float32)
    launch(
        cross_entropy_kernel, (2,), x, 100_000, label, loss, 100_000, 2, -100, label_smoothing=0.0,
        reduction="none", SOFTCAP=False, softcap=None, BLOCK=65536,
    )  # fmt: skip
    check_close(loss, -np.log(softmax_reference(logits)[[0, 1], label]), 1e-5)


def test_rms_norm_of_65536(rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 65536)).astype(np.float16)
    w = rng.standard_normal(65536).astype(np.float16)
    y, rstd = np.empty_like(x), np.empty(2, np.float32)
    launch(rms_norm_forward, (2,), x, y, w, rstd, 65536, 65536, 65536, 1e-6, BLOCK=65536)
    xf = x.astype(np.float64)
    check_close(y, xf / np.sqrt((xf * xf).mean(1, keepdims=True) + 1e-6) * w.astype(np.float64))


@tilejit.jit
def big_matmul(
    a_ptr,
    b_ptr,
    c_ptr,
    bias_ptr,
    M,
    N,
    K,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    rm = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    rn = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    rk = tl.arange(0, BLOCK_K)
    a_ptrs = a_ptr + (rm % M)[:, None] * K + rk[None, :]
    b_ptrs = b_ptr + rk[:, None] * N + (rn % N)[None, :]
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for k in range(tl.cdiv(K, BLOCK_K)):
        a = tl.load(a_ptrs, mask=rk[None, :] < K - k * BLOCK_K, other=0.0)
        b = tl.load(b_ptrs, mask=rk[:, None] < K - k * BLOCK_K, other=0.0)
        acc = tl.dot(a, b, acc)
        a_ptrs += BLOCK_K
        b_ptrs += BLOCK_K * N
    acc += tl.load(bias_ptr + rn, mask=rn < N)[None, :]
    acc = acc * tl.sigmoid(acc)
    tl.store(c_ptr + rm[:, None] * N + rn[None, :], acc, mask=(rm < M)[:, None] & (rn < N)[None, :])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("blocks", [(128, 256, 64), (256, 128, 64), (128, 128, 32)], ids=str)
def test_matmul_of_128_by_256(rng: np.random.Generator, dtype: str, blocks: tuple[int, int, int]) -> None:
    a = rng.standard_normal((200, 150)).astype(dtype)
    b = rng.standard_normal((150, 300)).astype(dtype)
    bias = rng.standard_normal(300).astype(np.float32)
    c = np.empty((200, 300), a.dtype)
    grid = (tilejit.cdiv(200, blocks[0]), tilejit.cdiv(300, blocks[1]))
    launch(
        big_matmul, grid, a, b, c, bias, 200, 300, 150,
        BLOCK_M=blocks[0], BLOCK_N=blocks[1], BLOCK_K=blocks[2],
    )  # fmt: skip
    z = a.astype(np.float64) @ b.astype(np.float64) + bias
    check_close(c, z / (1 + np.exp(-z)))


@pytest.mark.parametrize("dtype", ["float32", "int8", "float16"])
def test_transpose_of_256_by_128(rng: np.random.Generator, dtype: str) -> None:
    x = rng.integers(-100, 100, (300, 200)).astype(dtype)
    y = np.zeros((200, 300), dtype)
    launch(transpose_kernel, (2, 2), x, y, 300, 200, 200, 300, BLOCK_M=256, BLOCK_N=128)
    np.testing.assert_array_equal(y, x.T)


@pytest.mark.parametrize("axis", [0, 1])
def test_cumsum_of_128_by_256(rng: np.random.Generator, axis: int) -> None:
    x = rng.integers(-9, 9, (128, 256)).astype(np.int32)
    out = np.empty_like(x)
    launch(cumsum_2d, (1,), x, out, 128, 256, axis, False)
    np.testing.assert_array_equal(out, x.cumsum(axis))


def test_welford_of_64_by_1024(rng: np.random.Generator) -> None:
    x = (100 + rng.standard_normal((70, 3000))).astype(np.float32)
    mean, var = np.empty((2, 70), np.float32)
    launch(welford_kernel, (2,), x, mean, var, 70, 3000, BLOCK_M=64, BLOCK_N=1024)
    check_close(mean, x.mean(1, dtype=np.float64))
    check_close(var, x.astype(np.float64).var(1), 2e-5)


@tilejit.jit
def attention_step(
    q_ptr, k_ptr, v_ptr, o_ptr, S, D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr
):
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    d = tl.arange(0, D)
    q = tl.load(q_ptr + rows[:, None] * D + d[None, :], mask=rows[:, None] < S, other=0.0)
    m = tl.full([BLOCK_M], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    acc = tl.zeros([BLOCK_M, D], tl.float32)
    for start in range(0, S, BLOCK_N):
        cols = start + tl.arange(0, BLOCK_N)
        k = tl.load(k_ptr + cols[None, :] * D + d[:, None], mask=cols[None, :] < S, other=0.0)
        v = tl.load(v_ptr + cols[:, None] * D + d[None, :], mask=cols[:, None] < S, other=0.0)
        s = tl.where(cols[None, :] < S, tl.dot(q, k) * (D**-0.5), float("-inf"))
        new_m = tl.maximum(m, tl.max(s, 1))
        p = tl.exp(s - new_m[:, None])
        alpha = tl.exp(m - new_m)
        total = total * alpha + tl.sum(p, 1)
        acc = tl.dot(p.to(v.dtype), v, acc * alpha[:, None])
        m = new_m
    tl.store(o_ptr + rows[:, None] * D + d[None, :], acc / total[:, None], mask=rows[:, None] < S)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_attention_of_128_by_128(rng: np.random.Generator, dtype: str) -> None:
    q, k, v = rng.standard_normal((3, 300, 128)).astype(dtype)
    o = np.empty_like(q)
    launch(attention_step, (3,), q, k, v, o, 300, D=128, BLOCK_M=128, BLOCK_N=128)
    scores: Array = q.astype(np.float64) @ k.astype(np.float64).T * 128**-0.5
    check_close(o, softmax_reference(scores) @ v.astype(np.float64))


@tilejit.jit
def row_statistics(x_ptr, sum_ptr, max_ptr, arg_ptr, M: tl.constexpr, N: tl.constexpr):
    """A 3-D tile of 131,072 elements, reduced over each axis in turn."""
    a = tl.arange(0, M)[:, None, None]
    b = tl.arange(0, 8)[None, :, None]
    c = tl.arange(0, N)[None, None, :]
    x = tl.load(x_ptr + (a * 8 + b) * N + c)
    tl.store(sum_ptr + tl.arange(0, M)[:, None] * N + tl.arange(0, N)[None, :], tl.sum(x, 1))
    tl.store(max_ptr + tl.arange(0, M)[:, None] * 8 + tl.arange(0, 8)[None, :], tl.max(x, 2))
    tl.store(arg_ptr + tl.arange(0, 8)[:, None] * N + tl.arange(0, N)[None, :], tl.min(x, 0))


def test_3d_tile_of_131072(rng: np.random.Generator) -> None:
    x = rng.standard_normal((64, 8, 256)).astype(np.float32)
    total, top, low = np.empty((64, 256)), np.empty((64, 8), np.float32), np.empty((8, 256), np.float32)
    launch(row_statistics, (1,), x, total, top, low, 64, 256)
    check_close(total, x.sum(1, dtype=np.float64), 1e-6)
    np.testing.assert_array_equal(top, x.max(2))
    np.testing.assert_array_equal(low, x.min(0))
