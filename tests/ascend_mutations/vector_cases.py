"""Kernels in Python for the vector cores."""

from __future__ import annotations

from collections.abc import Sequence

import ml_dtypes
import numpy as np
from layer_norm import layer_norm_kernel
from softmax import softmax_kernel
from vector_add import vector_add_kernel

from tests.ascend_mutations.case import Case, Grid, LaunchOf, tile_case
from tests.kernels_ascend import kernels

BF16 = ml_dtypes.bfloat16
Passed = tuple[Sequence[np.ndarray | int | float], Grid]


def floats(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(dtype)


def integers(low: int, high: int, *shape: int, dtype: type = np.int32) -> np.ndarray:
    return np.random.default_rng(len(shape)).integers(low, high, shape).astype(dtype)


def outs(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


def elements(dtype: type, block: int = 64) -> LaunchOf:
    """x, y and out of as many blocks as there are trips, the last of them short."""

    def launch(trips: int) -> Passed:
        n = max(0, block * trips - 3)
        x, y = integers(-99, 99, n, dtype=dtype), integers(-99, 99, 1, n, dtype=dtype)[0]
        return (x, y, outs(n, dtype=dtype), n), (trips,)

    return launch


def one_row_each(trips: int) -> Passed:
    return (floats(trips, 100), outs(trips, 100), 100, 100, 100), (trips,)


def layer_norm(trips: int) -> Passed:
    x, weight, bias = floats(trips, 100), floats(100), floats(100)
    return (x, weight, bias, outs(trips, 100), 100, 100, 100, 1e-5), (trips,)


def rms_norm(trips: int) -> Passed:
    x, weight = floats(trips, 300, dtype=np.float16), floats(300, dtype=np.float16)
    return (x, weight, outs(trips, 300, dtype=np.float16), 300, 300, 1e-6), (trips,)


def softmax_rows(trips: int) -> Passed:
    rows = max(0, 4 * trips - 1)
    return (floats(rows, 40), outs(rows, 40), 40, rows, 40), (trips,)


def rope(dtype: type) -> LaunchOf:
    def launch(trips: int) -> Passed:
        tokens = max(0, 8 * trips - 3)
        x, cos, sin = (floats(tokens, size, dtype=dtype) for size in (64, 32, 32))
        return (x, cos, sin, outs(tokens, 64, dtype=dtype), tokens), (trips,)

    return launch


def quantise(trips: int) -> Passed:
    rows = max(0, 4 * trips - 1)
    return (floats(rows, 100), outs(rows, 100, dtype=np.int8), outs(rows), rows, 100), (trips,)


def dequantise(dtype: type) -> LaunchOf:
    def launch(trips: int) -> Passed:
        rows = max(0, 4 * trips - 1)
        x, out = integers(-128, 127, rows, 100, dtype=np.int8), outs(rows, 100, dtype=dtype)
        return (x, floats(rows), out, rows, 100), (trips,)

    return launch


def column_sum(programs: int | None, steps: int | None) -> LaunchOf:
    def launch(trips: int) -> Passed:
        across, down = (trips if count is None else count for count in (programs, steps))
        rows, columns = max(0, 8 * down - 3), max(0, 32 * across - 3)
        return (floats(rows, columns), outs(columns), rows, columns), (across,)

    return launch


def row_extremes(columns: int) -> LaunchOf:
    def launch(trips: int) -> Passed:
        rows = max(0, 8 * trips - 3)
        return (floats(rows, columns), outs(rows), outs(rows), rows), (trips,)

    return launch


def gather_rows(trips: int) -> Passed:
    rows = max(0, 8 * trips - 3)
    return (floats(50, 48), integers(0, 50, rows), outs(rows, 48), rows), (trips,)


def online_softmax(programs: int | None, steps: int | None) -> LaunchOf:
    def launch(trips: int) -> Passed:
        rows, blocks = (trips if count is None else count for count in (programs, steps))
        columns = max(0, 64 * blocks - 3)
        return (floats(rows, columns), outs(rows, columns), columns), (rows,)

    return launch


def causal(trips: int) -> Passed:
    return (floats(16, 100), outs(16, 100), trips), (1,)


def branches(flag: int) -> LaunchOf:
    def launch(trips: int) -> Passed:
        n = max(0, 64 * trips - 3)
        return (floats(n), outs(n), n, flag), (trips,)

    return launch


def branches_by_flag(trips: int) -> Passed:
    return (floats(189), outs(189), 189, trips - 2), (3,)


def transpose(dtype: type) -> LaunchOf:
    def launch(trips: int) -> Passed:
        m = max(0, 32 * trips - 3)
        return (floats(m, 16, dtype=dtype), outs(16, m, dtype=dtype), m, 16), (trips, 1)

    return launch


def strided_sum(trips: int) -> Passed:
    return (floats(64 * 3 * trips), outs(trips), 64 * trips - 3), (trips,)


def permute(trips: int) -> Passed:
    return (floats(5, 16, 5), outs(800)), (1,)


def scatter(trips: int) -> Passed:
    n = max(0, 32 * trips - 3)
    index = np.random.default_rng(1).permutation(max(n, 1)).astype(np.int32)
    size = 3 * max(n, 1)
    return (integers(-50, 50, size), index, outs(size, dtype=np.int32), n, 3), (trips,)


def bools(trips: int) -> Passed:
    n = max(0, 64 * trips - 3)
    keep = integers(0, 2, n, dtype=bool)
    return (floats(n), keep, outs(n), outs(n, dtype=bool), n), (trips,)


def narrow(trips: int) -> Passed:
    x, y = integers(-99, 99, 5, 40, dtype=np.int8), integers(-99, 99, 5, dtype=np.int8)
    return (x, y, outs(40, dtype=np.int8), outs(5, dtype=np.int32)), (1,)


def gelu(trips: int) -> Passed:
    n = max(0, 256 * trips - 3)
    return (floats(n, dtype=np.float16), outs(n, dtype=np.float16), n), (trips,)


def totals(trips: int) -> Passed:
    n = max(0, 64 * trips - 3)
    return (integers(-9, 9, n, dtype=np.float32), outs(1), outs(64), n), (trips,)


VECTOR_CASES: tuple[Case, ...] = (
    tile_case("vector_add", vector_add_kernel, elements(np.float32), BLOCK=64),
    tile_case("vector_add int16", vector_add_kernel, elements(np.int16), BLOCK=64),
    tile_case("softmax", softmax_kernel, one_row_each, BLOCK=128),
    tile_case("softmax of rows", kernels.softmax_rows_kernel, softmax_rows, ROWS=4, BLOCK=64),
    tile_case(
        "online softmax", kernels.online_softmax_kernel, online_softmax(None, 2), online_softmax(2, None),
        traced=[{"n_cols": 37}], BLOCK=64,
    ),
    tile_case("layer_norm", layer_norm_kernel, layer_norm, BLOCK=128),
    tile_case("rms_norm", kernels.rms_norm_kernel, rms_norm, BLOCK=512),
    tile_case("rope", kernels.rope_kernel, rope(np.float32), TOKENS=8, HALF=32),
    tile_case("rope bf16", kernels.rope_kernel, rope(BF16), TOKENS=8, HALF=32),
    tile_case("rope interleaved", kernels.interleaved_rope_kernel, rope(np.float16), TOKENS=8, HALF=32),
    tile_case("quantise", kernels.quantise_kernel, quantise, ROWS=4, BLOCK=128),
    tile_case("dequantise", kernels.dequantise_kernel, dequantise(np.float16), ROWS=4, BLOCK=128),
    tile_case("dequantise bf16", kernels.dequantise_kernel, dequantise(BF16), ROWS=4, BLOCK=128),
    tile_case(
        "column sum", kernels.column_sum_kernel, column_sum(None, 2), column_sum(2, None),
        traced=[{"n_cols": 1 << 30}, {"n_cols": 37}, {"n_rows": 37}], ROWS=8, BLOCK=32,
    ),
    tile_case("row extremes 16", kernels.row_extremes_kernel, row_extremes(16), ROWS=8, COLUMNS=16),
    tile_case("row extremes 200", kernels.row_extremes_kernel, row_extremes(200), ROWS=8, COLUMNS=200),
    tile_case("gather of rows", kernels.gather_rows_kernel, gather_rows, ROWS=8, COLUMNS=48),
    tile_case("causal mask", kernels.causal_kernel, causal, M=16, N=100),
    tile_case(
        "branches", kernels.branches_kernel, branches_by_flag, branches(-2), branches(3), BLOCK=64
    ),
    *(
        tile_case(
            f"transpose {mode}", kernels.transpose_kernel, transpose(dtype), MODE=mode, BLOCK_M=32, BLOCK_N=16
        )
        for mode, dtype in (("load", np.float32), ("store", np.float16), ("trans", np.float32))
    ),
    tile_case("strided sum", kernels.strided_sum_kernel, strided_sum, STEP=3, BLOCK=64),
    tile_case("permute", kernels.permute_kernel, permute, A=5, B=16, C=5),
    tile_case("scatter", kernels.scatter_kernel, scatter, BLOCK=32),
    tile_case("bools", kernels.bools_kernel, bools, BLOCK=64),
    tile_case("narrow integers", kernels.bytes_kernel, narrow, ROWS=5, COLUMNS=40),
    tile_case("error function", kernels.gelu_kernel, gelu, BLOCK=256),
    tile_case("atomics", kernels.totals_kernel, totals, BLOCK=64),
)  # fmt: skip
