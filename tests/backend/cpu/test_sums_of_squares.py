"""Sums of squares are multiply-adds, and infinite where a square is."""

from __future__ import annotations

import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tilejit.target.cpu import generic_avx512

SIZES = (1, 7, 64, 100, 1024)


@tilejit.kernel
def _squares(x_ptr, out_ptr, N: tl.constexpr):
    x = tl.load(x_ptr + tl.arange(0, N))
    tl.store(out_ptr, tl.sum(x * x, axis=0))


@tilejit.kernel
def _squares_of_columns(x_ptr, out_ptr, ROWS: tl.constexpr, N: tl.constexpr):
    rows, columns = tl.arange(0, ROWS), tl.arange(0, N)
    x = tl.load(x_ptr + rows[:, None] * N + columns[None, :]) - 1
    tl.store(out_ptr + columns, tl.sum(x * x, axis=0))


@tilejit.kernel
def _squares_stored_too(x_ptr, out_ptr, sum_ptr, N: tl.constexpr):
    at = tl.arange(0, N)
    x = tl.load(x_ptr + at)
    square = x * x
    tl.store(out_ptr + at, square)
    tl.store(sum_ptr, tl.sum(square, axis=0))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values(n: int, dtype: type[np.floating]) -> None:
    x = np.random.default_rng(n).standard_normal(n).astype(dtype)
    out = np.zeros(1, dtype)
    _squares[(1,)](x, out, N=n)
    np.testing.assert_allclose(out[0], (x.astype(np.float64) ** 2).sum(), rtol=n * np.finfo(dtype).eps)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_the_reduced_axis_runs_inside_of_the_lanes(rows: int) -> None:
    x = np.random.default_rng(rows).standard_normal((rows, 48)).astype(np.float32)
    out = np.zeros(48, np.float32)
    _squares_of_columns[(1,)](x, out, ROWS=rows, N=48)
    np.testing.assert_allclose(out, ((x.astype(np.float64) - 1) ** 2).sum(axis=0), rtol=1e-6)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(("value", "expected"), [(np.inf, np.inf), (np.nan, np.nan), (3e19, np.inf)])
def test_infinite_squares(n: int, value: float, expected: float) -> None:
    x, out = np.ones(n, np.float32), np.zeros(1, np.float32)
    x[n // 2] = value
    _squares[(1,)](x, out, N=n)
    np.testing.assert_array_equal(out, np.float32(expected))


def test_squares_that_are_stored_too_are_computed_once() -> None:
    x = np.random.default_rng(0).standard_normal(256).astype(np.float32)
    out, total = np.zeros_like(x), np.zeros(1, np.float32)
    _squares_stored_too[(1,)](x, out, total, N=256)
    np.testing.assert_array_equal(out, x * x)
    np.testing.assert_allclose(total[0], (x.astype(np.float64) ** 2).sum(), rtol=1e-5)


def test_the_code_has_multiply_adds() -> None:
    signature = "x_ptr=*fp32:16, out_ptr=*fp32:16, N=1024"
    assembly = tilejit.compile(_squares, signature=signature, target=generic_avx512()).asm["s"]
    loop = assembly[assembly.index("vfmadd") :]
    assert "vmulps\t%zmm" not in loop
