"""Control flow as published kernels use it."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tilejit
import tilejit.language as tl

from .compare import check_close


@tilejit.jit
def lower_bound_kernel(sorted_ptr, n, wanted_ptr, out_ptr, n_wanted, BLOCK: tl.constexpr):
    """A binary search per lane: the loop runs until the slowest is done."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = i < n_wanted
    wanted = tl.load(wanted_ptr + i, mask=mask, other=0)
    low = tl.zeros((BLOCK,), tl.int32)
    high = tl.zeros((BLOCK,), tl.int32) + n
    while tl.max((low < high).to(tl.int32), 0) > 0:
        middle = low + (high - low) // 2
        open_ = low < high
        less = tl.load(sorted_ptr + middle, mask=open_, other=0) < wanted
        low = tl.where(open_ & less, middle + 1, low)
        high = tl.where(open_ & ~less, middle, high)
    tl.store(out_ptr + i, low, mask=mask)


@pytest.mark.parametrize("n", [0, 1, 100])
def test_binary_search(interpret: bool, rng: np.random.Generator, n: int) -> None:
    table = np.sort(rng.integers(0, 50, n)).astype(np.int64)
    wanted = rng.integers(-5, 60, 77)
    out = np.empty(77, np.int32)
    lower_bound_kernel[(3,)](table, n, wanted, out, 77, BLOCK=32, interpret=interpret)
    np.testing.assert_array_equal(out, np.searchsorted(table, wanted))


@tilejit.jit
def collatz_kernel(x_ptr, steps_ptr, top_ptr, limit):
    n = tl.load(x_ptr + tl.program_id(0))
    steps = 0
    top = n
    while n != 1 and steps < limit:
        if n % 2 == 0:
            n = n // 2
        else:
            n = 3 * n + 1
            top = tl.maximum(top, n)
        steps += 1
    tl.store(steps_ptr + tl.program_id(0), steps)
    tl.store(top_ptr + tl.program_id(0), top)


def test_collatz(interpret: bool) -> None:
    start = np.arange(1, 40)
    steps, top = np.empty(39, np.int32), np.empty(39, np.int64)
    collatz_kernel[39](start, steps, top, 100, interpret=interpret)
    for i, n in enumerate(start.tolist()):
        seen = [n]
        while n != 1 and len(seen) <= 100:
            n = n // 2 if n % 2 == 0 else 3 * n + 1
            seen.append(n)
        assert (steps[i], top[i]) == (len(seen) - 1, max(seen))


@tilejit.jit
def banded_product(a_ptr, x_ptr, y_ptr, N, band, STEP: tl.constexpr, BLOCK: tl.constexpr):
    """Bounds that depend on the outer index; the outer loop goes down."""
    for row in range(N - 1, -1, STEP):
        total = tl.zeros((BLOCK,), tl.float64)
        first = max(row - band, 0)
        last = min(row + band + 1, N)
        for start in range(first, last, BLOCK):
            cols = start + tl.arange(0, BLOCK)
            a = tl.load(a_ptr + row * N + cols, mask=cols < last, other=0.0)
            total += a * tl.load(x_ptr + cols, mask=cols < last, other=0.0)
        tl.store(y_ptr + row, tl.sum(total))


@pytest.mark.parametrize(("step", "band"), [(-1, 0), (-1, 9), (-3, 4)])
def test_loops_with_runtime_bounds_and_negative_steps(
    interpret: bool, rng: np.random.Generator, step: int, band: int
) -> None:
    n = 31
    a = rng.standard_normal((n, n))
    x = rng.standard_normal(n)
    y = np.zeros(n)
    banded_product[1,](a, x, y, n, band, STEP=step, BLOCK=8, interpret=interpret)
    i = np.arange(n)
    expected = np.where(abs(i[:, None] - i) <= band, a, 0) @ x
    check_close(y, np.where((n - 1 - i) % -step == 0, expected, 0), 1e-14)


@tilejit.jit
def pick_source(dst_ptr, a_ptr, b_ptr, n_a, n_b, kind, BLOCK: tl.constexpr):
    """Several names, pointers and tuples among them, rebound by a runtime if."""
    pid = tl.program_id(0)
    scale = 1.0
    if pid < tl.cdiv(n_a, BLOCK):
        src = a_ptr
        size = n_a
        block = pid
        window = (0, 100)
    elif kind > 3:
        src = b_ptr
        size = n_b
        block = pid - tl.cdiv(n_a, BLOCK)
        scale = 2.0
        window = (-100, 0)
        dst_ptr += n_a
    else:
        return
    offsets = block * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(src + offsets, mask=offsets < size) * scale
    low, high = window
    inside = (x >= low) & (x < high)
    tl.store(dst_ptr + offsets, tl.where(inside, x, 0.0), mask=offsets < size)


@pytest.mark.parametrize("kind", [1, 3, 4])
def test_runtime_if_rebinds_pointers_and_tuples(interpret: bool, rng: np.random.Generator, kind: int) -> None:
    a, b = rng.standard_normal(50).astype(np.float32), rng.standard_normal(40).astype(np.float32)
    dst = np.full(90, 7, np.float32)
    pick_source[(4 + 3,)](dst, a, b, 50, 40, kind, BLOCK=16, interpret=interpret)
    np.testing.assert_array_equal(dst[:50], np.maximum(a, 0))
    np.testing.assert_array_equal(dst[50:], np.minimum(2 * b, 0) if kind > 3 else np.full(40, 7))


@tilejit.jit
def logic_kernel(out_ptr, a, b, n, FLAG: tl.constexpr):
    in_order = 0 < a < b <= n
    either = a > 5 or b > 5
    neither = not (a > 5 or b > 5)
    mixed = FLAG and a > 1
    text = "big" if FLAG else "small"
    tl.store(out_ptr, in_order)
    tl.store(out_ptr + 1, either)
    tl.store(out_ptr + 2, neither)
    tl.store(out_ptr + 3, mixed)
    tl.store(out_ptr + 4, a if a > b else b)
    tl.store(out_ptr + 5, (1 if a == b else 2) if n else 3)
    if not FLAG or (text == "big" and n > 7):
        tl.store(out_ptr + 6, 1)
    if a and b:
        tl.store(out_ptr + 7, 1)


@pytest.mark.parametrize("flag", [False, True])
@pytest.mark.parametrize(("a", "b", "n"), [(2, 4, 9), (0, 6, 6), (7, 7, 0), (-3, 8, 5), (1, 2, 2)])
def test_logic(interpret: bool, a: int, b: int, n: int, flag: bool) -> None:
    out = np.zeros(8, np.int32)
    logic_kernel[(1,)](out, a, b, n, flag, interpret=interpret)
    neither = not (a > 5 or b > 5)
    last = (1 if a == b else 2) if n else 3
    expected = [0 < a < b <= n, not neither, neither, flag and a > 1, max(a, b), last]
    expected += [not flag or n > 7, bool(a and b)]
    assert out.tolist() == [int(x) for x in expected]


@tilejit.jit
def ragged_copy(src_ptr, dst_ptr, offsets_ptr, max_len, PAD: tl.constexpr, BLOCK: tl.constexpr):
    """Rows of different length into a padded matrix; empty and short rows leave early."""
    row = tl.program_id(0)
    start = tl.load(offsets_ptr + row)
    length = tl.load(offsets_ptr + row + 1) - start
    if length == 0:
        return
    column = tl.program_id(1) * BLOCK
    if column >= length:
        if column < max_len:
            cols = column + tl.arange(0, BLOCK)
            tl.store(dst_ptr + row * max_len + cols, PAD, mask=cols < max_len)
        return
    cols = column + tl.arange(0, BLOCK)
    x = tl.load(src_ptr + start + cols, mask=cols < length, other=PAD)
    tl.store(dst_ptr + row * max_len + cols, x, mask=cols < max_len)


@pytest.mark.parametrize("offset_dtype", [np.int32, np.int64, np.uint32])
def test_early_returns(interpret: bool, rng: np.random.Generator, offset_dtype: type) -> None:
    lengths = [5, 0, 40, 17]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(offset_dtype)
    src = rng.standard_normal(offsets[-1]).astype(np.float16)
    dst = np.full((4, 40), 9, np.float16)
    ragged_copy[(4, 5)](src, dst, offsets, 40, PAD=-1.0, BLOCK=16, interpret=interpret)
    for row, n in enumerate(lengths):
        expected = np.full(40, -1 if n else 9, np.float16)
        expected[:n] = src[offsets[row] : offsets[row + 1]]
        np.testing.assert_array_equal(dst[row], expected)


@tilejit.jit
def mandelbrot(out_ptr, width, height, limit, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    cx = (i % width) * 3.0 / width - 2.0
    cy = (i // width) * 2.0 / height - 1.0
    x = tl.zeros_like(cx)
    y = tl.zeros_like(cy)
    count = tl.zeros([BLOCK], tl.int32)
    step = 0
    alive = x * x + y * y <= 4.0
    while (step < limit) & (tl.sum(alive.to(tl.int32)) > 0):
        x, y = tl.where(alive, x * x - y * y + cx, x), tl.where(alive, 2 * x * y + cy, y)
        count += alive
        alive = x * x + y * y <= 4.0
        step += 1
    tl.store(out_ptr + i, count, mask=i < width * height)


def test_mandelbrot(interpret: bool) -> None:
    out = np.empty((20, 30), np.int32)
    mandelbrot[(tilejit.cdiv(600, 64),)](out, 30, 20, 25, BLOCK=64, interpret=interpret)
    i = np.arange(600, dtype=np.float32).reshape(20, 30)
    cx, cy = (i % 30) * np.float32(3) / 30 - 2, (i // 30) * np.float32(2) / 20 - 1
    x, y, count = np.zeros_like(cx), np.zeros_like(cy), np.zeros(cx.shape, np.int32)
    for _ in range(25):
        alive = x * x + y * y <= 4
        count += alive
        x, y = np.where(alive, x * x - y * y + cx, x), np.where(alive, 2 * x * y + cy, y)
    assert (out != count).mean() < 0.01  # a rounding may decide at the border


@tilejit.jit
def power_iteration(a_ptr, v_ptr, eigen_ptr, tolerance, limit, N: tl.constexpr):
    i = tl.arange(0, N)
    a = tl.load(a_ptr + i[:, None] * N + i[None, :])
    v = tl.full((N,), 1.0, tl.float32)
    eigen = 0.0
    change = 1.0
    rounds = tl.zeros((), tl.int32)
    while change > tolerance and rounds < limit:
        w = tl.sum(a * v[None, :], axis=1)
        new = tl.sqrt(tl.sum(w * w))
        v = w / new
        change = tl.abs(new - eigen)
        eigen = new
        rounds += 1
    tl.store(v_ptr + i, v)
    tl.store(eigen_ptr, eigen)


def test_power_iteration(interpret: bool, rng: np.random.Generator) -> None:
    b = rng.uniform(0, 1, (16, 16))
    a = (b @ b.T).astype(np.float32)
    v, eigen = np.empty(16, np.float32), np.empty(1, np.float32)
    power_iteration[(1,)](a, v, eigen, 1e-6, 1000, N=16, interpret=interpret)
    values, vectors = np.linalg.eigh(a.astype(np.float64))
    check_close(eigen, values[-1:], 1e-5)
    check_close(np.abs(v), np.abs(vectors[:, -1]), 1e-4)


@tilejit.jit
def triangular_inverse(a_ptr, out_ptr, N: tl.constexpr):
    """Forward substitution on a tile: row after row, each from those before it."""
    i = tl.arange(0, N)
    at = i[:, None] * N + i[None, :]
    result = tl.zeros([N, N], tl.float32)
    for row in range(0, N):
        a = tl.load(a_ptr + row * N + i)
        strict = tl.where(i < row, a, 0.0)
        pivot = tl.sum(tl.where(i == row, a, 0.0))
        x = tl.sum(strict[:, None] * result, 0)
        x = (tl.where(i == row, 1.0, 0.0) - x) / pivot
        result = tl.where((i == row)[:, None], x[None, :], result)
    tl.store(out_ptr + at, result)


def test_triangular_inverse(interpret: bool, rng: np.random.Generator) -> None:
    a = np.tril(rng.uniform(-0.3, 0.3, (16, 16)) + 2 * np.eye(16)).astype(np.float32)
    out = np.empty_like(a)
    triangular_inverse[(1,)](a, out, 16, interpret=interpret)
    check_close(out, np.linalg.inv(a.astype(np.float64)), 1e-5)


@tilejit.jit
def count_primes(out_ptr, limit):
    """Nested whiles with an exit in the middle by a flag."""
    count = 0
    n = 2
    while n < limit:
        prime = True
        d = 2
        while prime & (d * d <= n):
            if n % d == 0:
                prime = False
            d += 1
        if prime:
            count += 1
        n += 1
    tl.store(out_ptr, count)


def test_primes(interpret: bool) -> None:
    out = np.zeros(1, np.int32)
    count_primes[(1,)](out, 60, interpret=interpret)
    assert out[0] == sum(all(n % d for d in range(2, math.isqrt(n) + 1)) for n in range(2, 60))
