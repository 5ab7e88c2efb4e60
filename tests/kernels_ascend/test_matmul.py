"""Dots lowered for the cube cores: element types, orders of memory, tails, sums that nothing is added to."""

from __future__ import annotations

from collections.abc import Sequence

import ml_dtypes
import numpy as np
import pytest
from matmul import matmul_kernel

import tilejit.language as tl
from tests.kernels_ascend.harness import compare, launch, lower
from tests.kernels_ascend.matmul_kernels import (
    grouped_matmul,
    guarded_sums,
    split_k_matmul,
    strided_matmul,
    two_products,
    wrapped_rows,
)
from tilejit.backend.ascend.verify import find_faults
from tilejit.target.ascend import ASCEND_910B1

SIZES = ((64, 64, 64), (1, 7, 33), (129, 257, 65), (300, 515, 270))
TYPES = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16, "fp32": np.float32, "int8": np.int8}


def draw(generator: np.random.Generator, shape: Sequence[int], dtype: type) -> np.ndarray:
    if dtype is np.int8:
        return generator.integers(-128, 128, shape).astype(np.int8)
    return generator.standard_normal(shape).astype(dtype)


def in_order(array: np.ndarray, order: str) -> np.ndarray:
    """The same matrix, stored by rows ("n") or by columns ("t")."""
    return array if order == "n" else np.ascontiguousarray(array.T).T


def steps(array: np.ndarray) -> tuple[int, int]:
    return array.strides[0] // array.itemsize, array.strides[1] // array.itemsize


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("blocks", ((32, 32, 32), (64, 48, 80), (128, 256, 256)), ids=str)
def test_matmul(sizes: tuple[int, int, int], blocks: tuple[int, int, int]) -> None:
    m, k, n = sizes
    generator = np.random.default_rng(m)
    a, b = draw(generator, (m, k), np.float16), draw(generator, (k, n), np.float16)
    c = np.full((m, n), 7, np.float16)
    grid = (-(-m // blocks[0]), -(-n // blocks[1]))
    names = ("BLOCK_M", "BLOCK_N", "BLOCK_K")
    compare(matmul_kernel, a, b, c, m, n, k, k, n, n, grid=grid, **dict(zip(names, blocks, strict=True)))


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("orders", ("nnn", "ntn", "tnn", "ttn", "nnt", "ttt"))
@pytest.mark.parametrize("sizes", ((64, 64, 64), (65, 129, 67), (16, 40, 200)), ids=str)
def test_element_types_and_orders(name: str, orders: str, sizes: tuple[int, int, int]) -> None:
    m, k, n = sizes
    generator = np.random.default_rng(k)
    a, b = (
        in_order(draw(generator, shape, TYPES[name]), order)
        for shape, order in zip(((m, k), (k, n)), orders, strict=False)
    )
    total = np.int32 if name == "int8" else np.float32
    c = in_order(np.full((m, n), 7, total), orders[2])
    compare(
        strided_matmul, a, b, c, m, n, k, *steps(a), *steps(b), *steps(c), grid=(-(-m // 64), -(-n // 64)),
        BLOCK_M=64, BLOCK_N=64, BLOCK_K=64, KIND=tl.int32 if name == "int8" else tl.float32,
    )  # fmt: skip


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


@pytest.mark.parametrize("name", ("fp16", "bf16"))
@pytest.mark.parametrize("orders", ("nn", "tt"))
@pytest.mark.parametrize("block_k", (16, 48, 320))
def test_long_tiles_along_k(name: str, orders: str, block_k: int) -> None:
    """Tiles that L0 takes in several steps, of which the last is short."""
    m, k, n = 100, 700, 130
    generator = np.random.default_rng(block_k)
    a, b = (
        in_order(draw(generator, shape, TYPES[name]), order)
        for shape, order in zip(((m, k), (k, n)), orders, strict=True)
    )
    c = np.full((m, n), 7, TYPES[name])
    compare(
        strided_matmul, a, b, c, m, n, k, *steps(a), *steps(b), *steps(c), grid=(1, 1),
        BLOCK_M=112, BLOCK_N=160, BLOCK_K=block_k, KIND=tl.float32,
    )  # fmt: skip


@pytest.mark.parametrize("k", (0, 1))
@pytest.mark.parametrize("dtype", (np.float16, np.float32))
def test_no_products(k: int, dtype: type) -> None:
    """Where K is 0 the stored tile is zeros, whatever the accumulator holds."""
    m, n = 40, 70
    a, b = np.ones((m, 1), dtype), np.ones((1, n), dtype)
    c = np.full((m, n), 7, dtype)
    compare(matmul_kernel, a, b, c, m, n, k, 1, n, n, grid=(2, 2), BLOCK_M=32, BLOCK_N=64, BLOCK_K=32)
    assert (c == k).all()


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


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("by_rows", (True, False))
def test_grouped_programs(sizes: tuple[int, int, int], by_rows: bool) -> None:
    """Rows and columns that wrap around the ends of the matrices."""
    m, k, n = sizes
    generator = np.random.default_rng(n)
    a, b = draw(generator, (m, k), np.float16), draw(generator, (k, n) if by_rows else (n, k), np.float16)
    c = np.full((m, n), 7, np.float16)
    blocks = {"BLOCK_M": 64, "BLOCK_N": 48, "BLOCK_K": 64, "GROUP": 3, "BY_ROWS": by_rows}
    compare(grouped_matmul, a, b, c, m, n, k, grid=(-(-m // 64) * -(-n // 48),), **blocks)


def test_wrapped_rows_that_are_stored() -> None:
    generator = np.random.default_rng(6)
    a, b = draw(generator, (20, 32), np.float16), draw(generator, (32, 32), np.float16)
    c = np.full((23, 32), 7, np.float32)
    compare(wrapped_rows, a, b, c, 20, grid=(1,), SIZE=32)


@pytest.mark.parametrize("dtype", (np.float16, np.float32))
@pytest.mark.parametrize("parts", (1, 3, 9))
def test_split_k(dtype: type, parts: int) -> None:
    """Programs add their parts of the sum to memory; the last ones have none."""
    m, k, n = 50, 100, 40
    generator = np.random.default_rng(parts)
    a, b = (draw(generator, shape, np.float16) for shape in ((m, k), (k, n)))
    c = np.zeros((m, n), dtype)
    compare(split_k_matmul, a, b, c, m, n, k, parts, grid=(2, 1, parts), BLOCK_M=32, BLOCK_N=48, BLOCK_K=16)


@pytest.mark.parametrize("name", ("fp16", "fp32"))
def test_two_sums(name: str) -> None:
    size, k = 32, 70
    generator = np.random.default_rng(5)
    x, y = (draw(generator, shape, TYPES[name]) for shape in ((size, k), (k, size)))
    right, out = (np.full((size, size), 7, np.float32) for _ in range(2))
    compare(two_products, x, y, right, out, k, grid=(1,), SIZE=size)


@pytest.mark.parametrize("trips", (0, 1, 4))
@pytest.mark.parametrize("chosen", (0, 2))
def test_sums_in_branches(trips: int, chosen: int) -> None:
    generator = np.random.default_rng(trips)
    a, b = (draw(generator, (4, 32, 32), np.float16) for _ in range(2))
    c = np.full((32, 32), 7, np.float32)
    compare(guarded_sums, a, b, c, trips, chosen, grid=(1,), SIZE=32)
