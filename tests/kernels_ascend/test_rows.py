"""Kernels over rows lowered for the vector cores: reductions, broadcasts, masks, loops."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from layer_norm import layer_norm_kernel
from softmax import softmax_kernel

from tests.kernels_ascend import kernels
from tests.kernels_ascend.harness import compare

RNG = np.random.default_rng(0)


def floats(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize(("n_cols", "block"), ((1, 1), (5, 8), (100, 100), (64, 64), (781, 1024), (1, 200)))
def test_softmax(n_cols: int, block: int) -> None:
    x = 10 * floats(7, n_cols)
    out = np.zeros_like(x)
    compare(softmax_kernel, x, out, n_cols, n_cols, n_cols, grid=(7,), BLOCK=block)


@pytest.mark.parametrize(("n_cols", "block"), ((100, 100), (781, 1024), (3, 16)))
def test_layer_norm(n_cols: int, block: int) -> None:
    x, weight, bias = floats(5, n_cols), floats(n_cols), floats(n_cols)
    out = np.zeros_like(x)
    compare(layer_norm_kernel, x, weight, bias, out, n_cols, n_cols, n_cols, 1e-5, grid=(5,), BLOCK=block)


@pytest.mark.parametrize("dtype", (np.float32, np.float16, ml_dtypes.bfloat16))
def test_rms_norm(dtype: type) -> None:
    x, weight = floats(6, 300, dtype=dtype), floats(300, dtype=dtype)
    out = np.zeros_like(x)
    compare(kernels.rms_norm_kernel, x, weight, out, 300, 300, 1e-6, grid=(6,), BLOCK=512)


@pytest.mark.parametrize(
    ("rows", "columns", "row_block", "block"),
    ((13, 40, 4, 64), (5, 100, 8, 100), (9, 300, 4, 512), (7, 64, 16, 64), (3, 3, 4, 4)),
)
def test_softmax_of_several_rows(rows: int, columns: int, row_block: int, block: int) -> None:
    x = floats(rows, columns)
    out = np.zeros_like(x)
    grid = (-(-rows // row_block),)
    compare(
        kernels.softmax_rows_kernel, x, out, columns, rows, columns, grid=grid, ROWS=row_block, BLOCK=block
    )


@pytest.mark.parametrize("dtype", (np.float32, np.float16, ml_dtypes.bfloat16))
def test_rope(dtype: type) -> None:
    x, cos, sin = floats(21, 64, dtype=dtype), floats(21, 32, dtype=dtype), floats(21, 32, dtype=dtype)
    out = np.zeros_like(x)
    compare(kernels.rope_kernel, x, cos, sin, out, 21, grid=(3,), TOKENS=8, HALF=32)


@pytest.mark.parametrize(("columns", "block"), ((64, 64), (100, 128), (17, 32)))
def test_quantise(columns: int, block: int) -> None:
    x = floats(11, columns)
    out, scale = np.zeros((11, columns), np.int8), np.zeros(11, np.float32)
    grid = (3,)
    compare(kernels.quantise_kernel, x, out, scale, 11, columns, grid=grid, exact=True, ROWS=4, BLOCK=block)


@pytest.mark.parametrize("dtype", (np.float32, np.float16, ml_dtypes.bfloat16))
@pytest.mark.parametrize("source", (np.int8, np.uint8))
def test_dequantise(dtype: type, source: type) -> None:
    x = RNG.integers(np.iinfo(source).min, np.iinfo(source).max, (11, 100)).astype(source)
    scale, out = floats(11), np.zeros((11, 100), dtype)
    compare(kernels.dequantise_kernel, x, scale, out, 11, 100, grid=(3,), exact=True, ROWS=4, BLOCK=128)


@pytest.mark.parametrize(("rows", "row_block"), ((1, 8), (20, 8), (21, 7), (0, 4), (64, 1)))
def test_column_sum(rows: int, row_block: int) -> None:
    x, out = floats(rows, 70), np.zeros(70, np.float32)
    compare(kernels.column_sum_kernel, x, out, rows, 70, grid=(3,), ROWS=row_block, BLOCK=32)


@pytest.mark.parametrize("columns", (1, 4, 16, 64, 100, 128, 200))
@pytest.mark.parametrize("dtype", (np.float32, np.int32, np.float16))
def test_row_extremes(columns: int, dtype: type) -> None:
    x = RNG.integers(-1000, 1000, (10, columns)).astype(dtype)
    low, high = np.zeros(10, dtype), np.zeros(10, dtype)
    compare(kernels.row_extremes_kernel, x, low, high, 10, grid=(2,), exact=True, ROWS=8, COLUMNS=columns)


def test_gather_of_rows() -> None:
    x, index = floats(50, 48), RNG.integers(0, 50, 19).astype(np.int32)
    out = np.zeros((19, 48), np.float32)
    compare(kernels.gather_rows_kernel, x, index, out, 19, grid=(3,), exact=True, ROWS=8, COLUMNS=48)


@pytest.mark.parametrize("n_cols", (1, 64, 100, 500))
def test_scalars_carried_by_loops(n_cols: int) -> None:
    x = floats(4, n_cols)
    out = np.zeros_like(x)
    compare(kernels.online_softmax_kernel, x, out, n_cols, grid=(4,), BLOCK=64)


@pytest.mark.parametrize(("m", "n"), ((8, 8), (16, 100), (1, 200), (300, 16)))
@pytest.mark.parametrize("offset", (-5, 0, 7, 1 << 30))
def test_masks_over_rows_and_columns(m: int, n: int, offset: int) -> None:
    x, out = floats(m, n), np.zeros((m, n), np.float32)
    compare(kernels.causal_kernel, x, out, offset, grid=(1,), exact=True, M=m, N=n)


@pytest.mark.parametrize("flag", (-2, 0, 3, 4))
@pytest.mark.parametrize("dtype", (np.float32, np.int32))
def test_tiles_through_control_flow(flag: int, dtype: type) -> None:
    x = RNG.integers(-9, 9, 200).astype(dtype)
    out = np.zeros_like(x)
    compare(kernels.branches_kernel, x, out, 200, flag, grid=(4,), exact=True, BLOCK=64)
