"""Kernels of dots alone, in the ways in which people write them."""

from __future__ import annotations

import tilejit
import tilejit.language as tl


@tilejit.kernel
def strided_matmul(
    a_ptr, b_ptr, c_ptr, M, N, K, stride_am, stride_ak, stride_bk, stride_bn, stride_cm, stride_cn,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, KIND: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    inner = tl.arange(0, BLOCK_K)
    acc = tl.zeros((BLOCK_M, BLOCK_N), KIND)
    for start in range(0, K, BLOCK_K):
        k = start + inner
        a_mask = (rows[:, None] < M) & (k[None, :] < K)
        b_mask = (k[:, None] < K) & (columns[None, :] < N)
        a = tl.load(a_ptr + rows[:, None] * stride_am + k[None, :] * stride_ak, mask=a_mask, other=0)
        b = tl.load(b_ptr + k[:, None] * stride_bk + columns[None, :] * stride_bn, mask=b_mask, other=0)
        acc += tl.dot(a, b)
    mask = (rows[:, None] < M) & (columns[None, :] < N)
    pointers = c_ptr + rows[:, None] * stride_cm + columns[None, :] * stride_cn
    tl.store(pointers, acc.to(c_ptr.dtype.element_ty), mask=mask)


@tilejit.kernel
def grouped_matmul(
    a_ptr, b_ptr, c_ptr, M, N, K,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr,
    BY_ROWS: tl.constexpr,
):  # fmt: skip
    """Neighbouring programs share tiles of both operands; rows of A and columns of B wrap around."""
    pid = tl.program_id(0)
    across, down = tl.cdiv(N, BLOCK_N), tl.cdiv(M, BLOCK_M)
    first = pid // (GROUP * across) * GROUP
    height = min(down - first, GROUP)
    pid_m, pid_n = first + pid % (GROUP * across) % height, pid % (GROUP * across) // height
    rows, columns = pid_m * BLOCK_M + tl.arange(0, BLOCK_M), pid_n * BLOCK_N + tl.arange(0, BLOCK_N)
    inner = tl.arange(0, BLOCK_K)
    a_ptrs = a_ptr + (rows % M)[:, None] * K + inner[None, :]
    if BY_ROWS:
        b_ptrs = b_ptr + inner[:, None] * N + (columns % N)[None, :]
    else:
        b_ptrs = b_ptr + inner[:, None] + (columns % N)[None, :] * K
    acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for step in range(0, tl.cdiv(K, BLOCK_K)):
        left = K - step * BLOCK_K
        a = tl.load(a_ptrs, mask=inner[None, :] < left, other=0.0)
        b = tl.load(b_ptrs, mask=inner[:, None] < left, other=0.0)
        acc = tl.dot(a, b, acc)
        a_ptrs += BLOCK_K
        b_ptrs += BLOCK_K * N if BY_ROWS else BLOCK_K
    mask = (rows[:, None] < M) & (columns[None, :] < N)
    tl.store(c_ptr + rows[:, None] * N + columns[None, :], acc.to(tl.float16), mask=mask)


@tilejit.kernel
def split_k_matmul(
    a_ptr, b_ptr, c_ptr, M, N, K, PARTS,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    part = tl.program_id(2)
    inner = tl.arange(0, BLOCK_K)
    acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(part * BLOCK_K, K, PARTS * BLOCK_K):
        k = start + inner
        a_mask = (rows[:, None] < M) & (k[None, :] < K)
        a = tl.load(a_ptr + rows[:, None] * K + k[None, :], mask=a_mask, other=0.0)
        b_mask = (k[:, None] < K) & (columns[None, :] < N)
        b = tl.load(b_ptr + k[:, None] * N + columns[None, :], mask=b_mask, other=0.0)
        acc = tl.dot(a, b, acc)
    mask = (rows[:, None] < M) & (columns[None, :] < N)
    pointers = c_ptr + rows[:, None] * N + columns[None, :]
    tl.atomic_add(pointers, acc.to(c_ptr.dtype.element_ty), mask=mask)


@tilejit.kernel
def two_products(x_ptr, left_ptr, right_ptr, out_ptr, K, SIZE: tl.constexpr):
    """Two sums from one operand, one of them stored transposed, and a tile times itself."""
    inner = tl.arange(0, SIZE)
    left, right = tl.zeros((SIZE, SIZE), tl.float32), tl.zeros((SIZE, SIZE), tl.float32)
    for start in range(0, K, SIZE):
        mask = (start + inner)[None, :] < K
        x = tl.load(x_ptr + inner[:, None] * K + start + inner[None, :], mask=mask, other=0.0)
        y = tl.load(
            left_ptr + (start + inner)[:, None] * SIZE + inner[None, :], mask=tl.trans(mask), other=0.0
        )
        left = tl.dot(x, y, left)
        right = tl.dot(x, tl.trans(x), right)
    square = inner[:, None] * SIZE + inner[None, :]
    tl.store(out_ptr + square, tl.trans(left))
    tl.store(right_ptr + square, right)


@tilejit.kernel
def guarded_sums(a_ptr, b_ptr, c_ptr, trips, chosen, SIZE: tl.constexpr):
    """A sum that branches add to, inside two loops."""
    square = tl.arange(0, SIZE)[:, None] * SIZE + tl.arange(0, SIZE)[None, :]
    acc = tl.zeros((SIZE, SIZE), tl.float32)
    for i in range(trips):
        for j in range(i):
            if (i + j) % 3 == chosen:
                a = tl.load(a_ptr + i * SIZE * SIZE + square)
                b = tl.load(b_ptr + j * SIZE * SIZE + square)
                acc = tl.dot(a, b, acc)
    tl.store(c_ptr + square, acc)


@tilejit.kernel
def wrapped_rows(a_ptr, b_ptr, c_ptr, M, SIZE: tl.constexpr):
    """Rows that wrap around and are stored in another way than the comparison with their number."""
    rows, inner = tl.program_id(0) * SIZE + tl.arange(0, SIZE), tl.arange(0, SIZE)
    a = tl.load(a_ptr + (rows % M)[:, None] * SIZE + inner[None, :])
    b = tl.load(b_ptr + inner[:, None] * SIZE + inner[None, :])
    tl.store(c_ptr + rows[:, None] * SIZE + inner[None, :], tl.dot(a, b), mask=rows[:, None] < M + 3)


@tilejit.kernel
def batched_matmul(
    a_ptr, b_ptr, c_ptr, M, N, K,
    BATCH: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    INNERMOST: tl.constexpr,
):  # fmt: skip
    """Several products at a time, whose sums a loop carries; matrices of B lie side by side or one behind the
    other. Only the first two steps are added.

    Shapes: a [BATCH, M, K], b [BATCH, K, N] or [K, BATCH, N], c [M, BATCH, N].
    """
    matrix = tl.arange(0, BATCH)[:, None, None]
    rows = (tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M))[None, :, None]
    columns = (tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N))[None, None, :]
    acc = tl.zeros((BATCH, BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, K, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        k_row, k_column = inner[None, None, :], inner[None, :, None]
        a = tl.load(a_ptr + (matrix * M + rows) * K + k_row, mask=(rows < M) & (k_row < K), other=0.0)
        mask = (k_column < K) & (columns < N)
        if INNERMOST:
            places = (inner[:, None, None] * BATCH + tl.arange(0, BATCH)[None, :, None]) * N + columns
            mask = (inner[:, None, None] < K) & (columns < N)
            b = tl.permute(tl.load(b_ptr + places, mask=mask, other=0.0), (1, 0, 2))
        else:
            b = tl.load(b_ptr + (matrix * K + k_column) * N + columns, mask=mask, other=0.0)
        if start < 2 * BLOCK_K:
            acc = tl.dot(a, b, acc)
    places = (rows * BATCH + matrix) * N + columns
    tl.store(c_ptr + places, acc.to(c_ptr.dtype.element_ty), mask=(rows < M) & (columns < N))
