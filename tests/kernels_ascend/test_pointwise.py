"""Elementwise kernels lowered for the vector cores: lengths that blocks do not divide, dtypes, strides."""

from __future__ import annotations

import numpy as np
import pytest
from vector_add import vector_add_kernel

from tests.kernels_ascend import kernels
from tests.kernels_ascend.harness import compare, launch


@pytest.mark.parametrize("length", (0, 1, 63, 64, 65, 1000, 4096))
@pytest.mark.parametrize("dtype", (np.float32, np.float16, np.int32, np.int16))
def test_vector_add(length: int, dtype: type) -> None:
    generator = np.random.default_rng(length)
    x, y = (generator.integers(-100, 100, length).astype(dtype) for _ in range(2))
    out = np.full(length + 8, 7, dtype)
    launch(vector_add_kernel, x, y, out, length, grid=(-(-length // 64) + 1,), BLOCK=64)
    np.testing.assert_array_equal(out[:length], x + y)
    np.testing.assert_array_equal(out[length:], 7)


@pytest.mark.parametrize("dtype", (np.float32, np.float16))
def test_error_function(dtype: type) -> None:
    x = np.linspace(-6, 6, 1001).astype(dtype)
    out = np.zeros_like(x)
    compare(kernels.gelu_kernel, x, out, x.size, grid=(4,), BLOCK=256)


@pytest.mark.parametrize("dtype", (np.float32, np.int32))
def test_atomics(dtype: type) -> None:
    x = np.random.default_rng(5).integers(-9, 9, 200).astype(dtype)
    total, largest = np.ones(1, dtype), np.zeros(64, dtype)
    compare(kernels.totals_kernel, x, total, largest, 200, grid=(4,), exact=True, BLOCK=64)
