"""Dots lowered for the cube cores, beyond the table of cases: faults, distances of rows."""

from __future__ import annotations

import numpy as np
import pytest
from matmul import matmul_kernel

import tilejit.language as tl
from tests.kernels_ascend.harness import launch, lower
from tests.kernels_ascend.matmul_cases import TYPES, draw, in_order, steps
from tests.kernels_ascend.matmul_kernels import strided_matmul
from tilejit.backend.ascend.verify import find_faults
from tilejit.target.ascend import ASCEND_910B1


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("orders", ("nn", "tt"))
def test_the_verifier_finds_nothing(name: str, orders: str) -> None:
    a, b = (in_order(np.ones((64, 64), TYPES[name]), order) for order in orders)
    c = np.ones((64, 64), np.int32 if name == "int8" else np.float32)
    kernel = lower(
        strided_matmul, a, b, c, 64, 64, 64, *steps(a), *steps(b), *steps(c),
        BLOCK_M=64, BLOCK_N=64, BLOCK_K=128, KIND=tl.int32 if name == "int8" else tl.float32,
    )  # fmt: skip
    assert find_faults(kernel, ASCEND_910B1) == ()


@pytest.mark.parametrize("stride", (-9, 0, 70000))
def test_distances_of_rows_that_instructions_cannot_hold(stride: int) -> None:
    """Rows of A and of C that run backwards, are one row, or lie further apart than 16 bits count."""
    m, k, n = 5, 9, 33
    generator = np.random.default_rng(3)
    memory = draw(generator, (m * max(abs(stride), k) + k,), np.float16)
    start = (m - 1) * 9 if stride < 0 else 0
    a = np.lib.stride_tricks.as_strided(memory[start:], (m, k), (2 * stride, 2))
    b, c = draw(generator, (k, n), np.float16), np.full((m, n), 7, np.float16)
    launch(matmul_kernel, a, b, c, m, n, k, stride, n, n, grid=(1, 1), BLOCK_M=16, BLOCK_N=48, BLOCK_K=16)
    expected = a.astype(np.float32) @ b.astype(np.float32)
    np.testing.assert_allclose(c.astype(np.float32), expected, rtol=1e-3, atol=1e-3)
