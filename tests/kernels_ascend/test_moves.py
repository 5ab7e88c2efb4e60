"""Kernels that move elements: transpositions, columns that are apart, permutations."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from tests.kernels_ascend import kernels
from tests.kernels_ascend.harness import compare

RNG = np.random.default_rng(1)


@pytest.mark.parametrize("mode", ("load", "store", "trans"))
@pytest.mark.parametrize("dtype", (np.float32, np.float16, np.int8, ml_dtypes.bfloat16))
@pytest.mark.parametrize(("m", "n", "block"), ((40, 50, (32, 16)), (9, 100, (8, 64)), (33, 7, (48, 8))))
def test_transposition(mode: str, dtype: type, m: int, n: int, block: tuple[int, int]) -> None:
    x = RNG.integers(-100, 100, (m, n)).astype(dtype)
    out = np.zeros((n, m), dtype)
    grid = (-(-m // block[0]), -(-n // block[1]))
    arguments = {"MODE": mode, "BLOCK_M": block[0], "BLOCK_N": block[1]}
    compare(kernels.transpose_kernel, x, out, m, n, grid=grid, exact=True, **arguments)


@pytest.mark.parametrize("dtype", (np.float32, np.float16))
def test_interleaved_rope(dtype: type) -> None:
    x, cos, sin = (RNG.standard_normal((21, size)).astype(dtype) for size in (64, 32, 32))
    out = np.zeros_like(x)
    compare(kernels.interleaved_rope_kernel, x, cos, sin, out, 21, grid=(3,), TOKENS=8, HALF=32)


@pytest.mark.parametrize(("n", "step"), ((100, 3), (1, 2), (128, 16)))
def test_columns_that_are_apart(n: int, step: int) -> None:
    x, out = RNG.standard_normal((n - 1) * step + 1).astype(np.float32), np.zeros(2, np.float32)
    compare(kernels.strided_sum_kernel, x, out, n, grid=(2,), STEP=step, BLOCK=64)


@pytest.mark.parametrize("dtype", (np.float32, np.float16))
@pytest.mark.parametrize("shape", ((3, 4, 8), (2, 20, 24), (5, 16, 5)))
def test_permutations(dtype: type, shape: tuple[int, int, int]) -> None:
    x = RNG.standard_normal(shape).astype(dtype)
    out = np.zeros(2 * x.size, dtype)
    a, b, c = shape
    compare(kernels.permute_kernel, x, out, grid=(1,), exact=True, A=a, B=b, C=c)


@pytest.mark.parametrize("dtype", (np.float32, np.float16, np.int8, np.int32))
@pytest.mark.parametrize("stride", (1, 3))
def test_elements_one_by_one(dtype: type, stride: int) -> None:
    x = RNG.integers(-50, 50, 300).astype(dtype)
    index, out = RNG.permutation(100).astype(np.int32), np.zeros(300, dtype)
    compare(kernels.scatter_kernel, x, index, out, 90, stride, grid=(3,), exact=True, BLOCK=32)


def test_bools_in_memory() -> None:
    x, keep = RNG.standard_normal(100).astype(np.float32), RNG.integers(0, 2, 100).astype(bool)
    out, flags = np.zeros_like(x), np.zeros_like(keep)
    compare(kernels.bools_kernel, x, keep, out, flags, 100, grid=(2,), exact=True, BLOCK=64)


@pytest.mark.parametrize("dtype", (np.int8, np.int16))
@pytest.mark.parametrize(("rows", "columns"), ((5, 40), (1, 100), (7, 1)))
def test_narrow_integers(dtype: type, rows: int, columns: int) -> None:
    x = RNG.integers(-100, 100, (rows, columns)).astype(dtype)
    y = RNG.integers(-100, 100, rows).astype(dtype)
    low, total = np.zeros(columns, dtype), np.zeros(rows, np.int32)
    compare(kernels.bytes_kernel, x, y, low, total, grid=(1,), exact=True, ROWS=rows, COLUMNS=columns)
