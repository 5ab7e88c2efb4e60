"""Reductions with a combine function of the kernel's own: order is kept, whatever the lanes."""

from __future__ import annotations

import numpy as np
import pytest

import tilejit
import tilejit.language as tl


@tilejit.jit
def compose(factor_left, shift_left, factor_right, shift_right):
    """First left, then right: x -> x * factor + shift. Associative, but not commutative."""
    return factor_left * factor_right, shift_left * factor_right + shift_right


@tilejit.jit
def first_set(flag_left, value_left, flag_right, value_right):
    return flag_left | flag_right, tl.where(flag_left, value_left, value_right)


@tilejit.jit
def reduce_matrix(
    x_ptr, y_ptr, product_ptr, first_ptr, M: tl.constexpr, N: tl.constexpr, AXIS: tl.constexpr,
    LENGTH: tl.constexpr,
):  # fmt: skip
    at = tl.arange(0, M)[:, None] * N + tl.arange(0, N)[None, :]
    x = tl.load(x_ptr + at)
    y = tl.load(y_ptr + at)
    factor, shift = tl.reduce((x, y), AXIS, compose)
    i = tl.arange(0, LENGTH)
    tl.store(product_ptr + i, factor)
    tl.store(product_ptr + LENGTH + i, shift)
    found, value = tl.reduce((x > 2, y), AXIS, first_set)
    tl.store(first_ptr + i, tl.where(found, value, -1))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(1, 1), (1, 37), (300, 1), (3, 5), (5, 200), (150, 4), (16, 16)], ids=str)
def test_order_is_kept(interpret: bool, rng: np.random.Generator, shape: tuple[int, int], axis: int) -> None:
    x, y = rng.integers(-3, 4, (2, *shape)).astype(np.int32)
    length = shape[1 - axis]
    product = np.empty((2, length), np.int32)
    first = np.empty(length, np.int32)
    reduce_matrix[(1,)](x, y, product, first, *shape, axis, length, interpret=interpret)
    rows = list(zip(np.moveaxis(x, axis, 0), np.moveaxis(y, axis, 0), strict=True))
    factor, shift = np.ones(length, np.int32), np.zeros(length, np.int32)
    for a, b in rows:
        factor, shift = factor * a, shift * a + b
    np.testing.assert_array_equal(product, [factor, shift])
    expected = np.full(length, -1)
    for a, b in rows[::-1]:
        expected = np.where(a > 2, b, expected)
    np.testing.assert_array_equal(first, expected)


@tilejit.jit
def reduce_row(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """One dimension, with a mask, values of two widths and a length that no vector divides."""
    i = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i, mask=i < n, other=1)
    factor, shift = tl.reduce((x.to(tl.int64), i % 3), 0, compose_mixed)
    tl.store(out_ptr, factor)
    tl.store(out_ptr + 1, shift)


@tilejit.jit
def compose_mixed(factor_left, shift_left, factor_right, shift_right):
    return factor_left * factor_right, shift_left * factor_right.to(tl.int32) + shift_right


@pytest.mark.parametrize("block", [1, 2, 3, 31, 64, 65, 1000])
@pytest.mark.parametrize("dtype", [np.int8, np.uint16])
def test_rows_of_any_length(interpret: bool, rng: np.random.Generator, dtype: type, block: int) -> None:
    x = rng.integers(1, 4, block).astype(dtype)
    n = block - block // 5
    out = np.empty(2, np.int64)
    reduce_row[(1,)](x, out, n, BLOCK=block, interpret=interpret)
    factor, shift = 1, 0
    for i in range(block):
        a = int(x[i]) if i < n else 1
        factor, shift = factor * a, shift * a + i % 3
    assert out[0] == np.array(factor % 2**64, np.uint64).astype(np.int64)
    assert out[1] == np.array(shift % 2**32, np.uint32).astype(np.int32)
