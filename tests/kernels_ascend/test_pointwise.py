"""Elementwise kernels lowered for the vector cores: lengths that blocks do not divide, dtypes, strides."""

from __future__ import annotations

import numpy as np
import pytest
from vector_add import vector_add_kernel

from tests.kernels_ascend.harness import launch


@pytest.mark.parametrize("length", (0, 1, 63, 64, 65, 1000, 4096))
@pytest.mark.parametrize("dtype", (np.float32, np.float16, np.int32, np.int16))
def test_vector_add(length: int, dtype: type) -> None:
    generator = np.random.default_rng(length)
    x, y = (generator.integers(-100, 100, length).astype(dtype) for _ in range(2))
    out = np.full(length + 8, 7, dtype)
    launch(vector_add_kernel, x, y, out, length, grid=(-(-length // 64) + 1,), BLOCK=64)
    np.testing.assert_array_equal(out[:length], x + y)
    np.testing.assert_array_equal(out[length:], 7)
