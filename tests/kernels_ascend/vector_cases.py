"""Cases of the vector cores: elementwise kernels, rows, columns, kernels that move elements."""

from __future__ import annotations

from collections.abc import Iterator

import ml_dtypes
import numpy as np
from layer_norm import layer_norm_kernel
from softmax import softmax_kernel
from vector_add import vector_add_kernel

from tests.kernels_ascend import kernels, running_kernels
from tests.kernels_ascend.case import Argument, Case

BF16 = ml_dtypes.bfloat16
FLOATS = (np.float32, np.float16, BF16)
Random = np.random.Generator


def spell(*values: object) -> str:
    """A part of a case's name: types by their names, shapes with an x between sizes."""
    words = []
    for value in values:
        if isinstance(value, type):
            words.append(np.dtype(value).name)
        elif isinstance(value, tuple):
            words.append("x".join(map(str, value)))
        else:
            words.append(str(value))
    return "-".join(words)


def floats(random: Random, *shape: int, dtype: type = np.float32) -> np.ndarray:
    """Normal numbers."""
    return random.standard_normal(shape).astype(dtype)


def whole(random: Random, bound: int, *shape: int, dtype: type = np.float32) -> np.ndarray:
    """Whole numbers from -bound up to below bound."""
    return random.integers(-bound, bound, shape).astype(dtype)


def untouched(*shape: int, dtype: type = np.float32) -> np.ndarray:
    """Sevens, for a kernel to write over."""
    return np.full(shape, 7, dtype)


def programs(size: int, block: int) -> int:
    """How many programs cover ``size`` with blocks."""
    return -(-size // block)


def vector_cases() -> Iterator[Case]:
    """All cases of the vector cores."""
    yield from _pointwise()
    yield from _functions()
    yield from _examples()
    yield from _rows()
    yield from _quantised()
    yield from _reductions()
    yield from _scans()
    yield from _computed_places()
    yield from _control()
    yield from _transpositions()
    yield from _rearrangements()
    yield from _moves()


def _pointwise() -> Iterator[Case]:
    for dtype in (np.float32, np.float16, np.int32, np.int16):
        for length in (0, 1, 63, 64, 65, 1000, 4096):

            def add(random: Random, n: int = length, kind: type = dtype) -> list[Argument]:
                x, y = (whole(random, 100, n, dtype=kind) for _ in range(2))
                return [x, y, untouched(n + 8, dtype=kind), n]

            grid = (programs(length, 64) + 1,)
            is_quick = (dtype, length) in ((np.float32, 1000), (np.int16, 65), (np.float16, 0))
            name = f"vector_add-{spell(dtype, length)}"
            yield Case(name, vector_add_kernel, add, grid, {"BLOCK": 64}, True, is_quick)
    for dtype in (np.float32, np.float16):

        def gelu(_: Random, kind: type = dtype) -> list[Argument]:
            return [np.linspace(-6, 6, 1001).astype(kind), untouched(1001, dtype=kind), 1001]

        name = f"gelu-{spell(dtype)}"
        yield Case(name, kernels.gelu_kernel, gelu, (4,), {"BLOCK": 256}, is_quick=dtype == np.float16)
    for dtype in (np.float32, np.int32):

        def totals(random: Random, kind: type = dtype) -> list[Argument]:
            return [whole(random, 9, 200, dtype=kind), np.ones(1, kind), np.zeros(64, kind), 200]

        name = f"totals-{spell(dtype)}"
        yield Case(name, kernels.totals_kernel, totals, (4,), {"BLOCK": 64}, True, dtype == np.int32)
    for name, scale in (("vector_add-overflows", 40000.0), ("vector_add-infinite", np.inf)):

        def overflow(random: Random, by: float = scale) -> list[Argument]:
            x, y = (by * random.choice([-1.0, 1.0], 100) for _ in range(2))
            return [x.astype(np.float16), y.astype(np.float16), untouched(100, dtype=np.float16), 100]

        yield Case(name, vector_add_kernel, overflow, (2,), {"BLOCK": 64}, True, scale == np.inf)
    special = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 2.5)
    for dtype in (np.float32, np.float16):

        def orders(_: Random, kind: type = dtype) -> list[Argument]:
            x, y = np.meshgrid(np.array(special), np.array(special))
            return [x.ravel().astype(kind), y.ravel().astype(kind), untouched(49, dtype=np.int32), 49]

        name = f"orders-{spell(dtype)}"
        yield Case(name, kernels.orders_kernel, orders, (1,), {"BLOCK": 64}, True, dtype == np.float32)


def _functions() -> Iterator[Case]:
    kinds = {
        "divide": (np.int32, np.uint32, np.uint16, np.int8),
        "shift": (np.int32, np.uint32, np.int16, np.uint8),
        "compare": (np.uint32, np.uint16),
    }  # fmt: skip
    for mode, dtypes in kinds.items():
        for dtype in dtypes:

            def integers(random: Random, kind: type = dtype) -> list[Argument]:
                low, high = np.iinfo(kind).min, np.iinfo(kind).max
                x, y = (random.integers(low, high, 100, endpoint=True).astype(kind) for _ in range(2))
                y[::3] %= 9
                return [x, y, untouched(2, 100, dtype=kind), 100]

            constants = {"MODE": mode, "BLOCK": 64}
            name, is_quick = f"integers-{spell(mode, dtype)}", dtype in (np.int32, np.uint16)
            yield Case(name, kernels.integers_kernel, integers, (2,), constants, True, is_quick)
    for dtype in (np.float32, np.float16):

        def waves(random: Random, kind: type = dtype) -> list[Argument]:
            return [100 * floats(random, 200, dtype=kind), untouched(200, dtype=kind), 200, 0.7]

        name = f"waves-{spell(dtype)}"
        yield Case(name, kernels.waves_kernel, waves, (2,), {"BLOCK": 128}, is_quick=dtype == np.float32)


def _examples() -> Iterator[Case]:
    for n_cols, block in ((1, 1), (5, 8), (100, 100), (64, 64), (781, 1024), (1, 200)):

        def softmax(random: Random, n: int = n_cols) -> list[Argument]:
            return [10 * floats(random, 7, n), untouched(7, n), n, n, n]

        name = f"softmax-{n_cols}-by-{block}"
        yield Case(name, softmax_kernel, softmax, (7,), {"BLOCK": block}, is_quick=n_cols in (5, 781))
    for n_cols, block in ((100, 100), (781, 1024), (3, 16)):

        def layer_norm(random: Random, n: int = n_cols) -> list[Argument]:
            x, weight, bias = floats(random, 5, n), floats(random, n), floats(random, n)
            return [x, weight, bias, untouched(5, n), n, n, n, 1e-5]

        name = f"layer_norm-{n_cols}-by-{block}"
        yield Case(name, layer_norm_kernel, layer_norm, (5,), {"BLOCK": block}, is_quick=n_cols == 781)
    for n_cols, block in ((40, 48), (64, 200), (130, 200), (192, 192), (500, 520)):  # rows by the dozen

        def some_rows(random: Random, n: int = n_cols) -> list[Argument]:
            x, weight, bias = floats(random, 19, n), floats(random, n), floats(random, n)
            return [x, weight, bias, untouched(19, n), n, n, n, 1e-5]

        name, is_quick = f"layer_norm-rows-{n_cols}-by-{block}", n_cols in (40, 130)
        yield Case(name, layer_norm_kernel, some_rows, (19,), {"BLOCK": block}, is_quick=is_quick)


def _rows() -> Iterator[Case]:
    for dtype in FLOATS:

        def rms_norm(random: Random, kind: type = dtype) -> list[Argument]:
            x, weight = floats(random, 6, 300, dtype=kind), floats(random, 300, dtype=kind)
            return [x, weight, untouched(6, 300, dtype=kind), 300, 300, 1e-6]

        name = f"rms_norm-{spell(dtype)}"
        yield Case(name, kernels.rms_norm_kernel, rms_norm, (6,), {"BLOCK": 512}, is_quick=dtype == BF16)
    for shape, rows, block in (
        ((13, 40), 4, 64), ((5, 100), 8, 100), ((9, 300), 4, 512), ((7, 64), 16, 64), ((3, 3), 4, 4)
    ):  # fmt: skip

        def softmax(random: Random, size: tuple[int, int] = shape) -> list[Argument]:
            return [floats(random, *size), untouched(*size), size[1], *size]

        name, grid = f"softmax_rows-{spell(shape, rows, block)}", (programs(shape[0], rows),)
        constants = {"ROWS": rows, "BLOCK": block}
        yield Case(name, kernels.softmax_rows_kernel, softmax, grid, constants, is_quick=shape == (13, 40))
    for dtype in FLOATS:

        def rope(random: Random, kind: type = dtype) -> list[Argument]:
            x, cos, sin = (floats(random, 21, size, dtype=kind) for size in (64, 32, 32))
            return [x, cos, sin, untouched(21, 64, dtype=kind), 21]

        constants = {"TOKENS": 8, "HALF": 32}
        name = f"rope-{spell(dtype)}"
        yield Case(name, kernels.rope_kernel, rope, (3,), constants, is_quick=dtype == np.float16)
        if dtype != BF16:
            name = f"interleaved_rope-{spell(dtype)}"
            is_quick = dtype == np.float32
            yield Case(name, kernels.interleaved_rope_kernel, rope, (3,), constants, is_quick=is_quick)
    for n_cols in (1, 64, 100, 500):

        def online(random: Random, n: int = n_cols) -> list[Argument]:
            return [floats(random, 4, n), untouched(4, n), n]

        name = f"online_softmax-{n_cols}"
        yield Case(name, kernels.online_softmax_kernel, online, (4,), {"BLOCK": 64}, is_quick=n_cols == 100)


def _quantised() -> Iterator[Case]:
    for columns, block in ((64, 64), (100, 128), (17, 32)):

        def quantise(random: Random, n: int = columns) -> list[Argument]:
            return [floats(random, 11, n), untouched(11, n, dtype=np.int8), untouched(11), 11, n]

        name, constants = f"quantise-{columns}-by-{block}", {"ROWS": 4, "BLOCK": block}
        yield Case(name, kernels.quantise_kernel, quantise, (3,), constants, True, columns == 17)
    for source in (np.int8, np.uint8):
        for dtype in FLOATS:

            def dequantise(random: Random, kind: type = dtype, given: type = source) -> list[Argument]:
                low, high = np.iinfo(given).min, np.iinfo(given).max
                x = random.integers(low, high, (11, 100)).astype(given)
                return [x, floats(random, 11), untouched(11, 100, dtype=kind), 11, 100]

            name, constants = f"dequantise-{spell(source, dtype)}", {"ROWS": 4, "BLOCK": 128}
            is_quick = (source, dtype) in ((np.int8, np.float16), (np.uint8, BF16))
            yield Case(name, kernels.dequantise_kernel, dequantise, (3,), constants, True, is_quick)


def _reductions() -> Iterator[Case]:
    for rows, row_block in ((1, 8), (20, 8), (21, 7), (0, 4), (64, 1)):

        def columns_sum(random: Random, m: int = rows) -> list[Argument]:
            return [floats(random, m, 70), untouched(70), m, 70]

        name, constants = f"column_sum-{rows}-by-{row_block}", {"ROWS": row_block, "BLOCK": 32}
        yield Case(name, kernels.column_sum_kernel, columns_sum, (3,), constants, is_quick=rows in (0, 21))
    for dtype in (np.float32, np.int32, np.float16):
        for columns in (1, 4, 16, 64, 100, 128, 200):

            def extremes(random: Random, n: int = columns, kind: type = dtype) -> list[Argument]:
                x = whole(random, 1000, 10, n, dtype=kind)
                return [x, untouched(10, dtype=kind), untouched(10, dtype=kind), 10]

            constants = {"ROWS": 8, "COLUMNS": columns}
            is_quick = (dtype, columns) in ((np.float32, 100), (np.int32, 4), (np.float16, 200))
            name = f"row_extremes-{spell(dtype, columns)}"
            yield Case(name, kernels.row_extremes_kernel, extremes, (2,), constants, True, is_quick)
    for rows, columns in ((4, 300), (8, 520), (20, 1000), (20, 512), (3, 2056), (2, 4096), (9, 136)):

        def wide(random: Random, n: int = columns) -> list[Argument]:
            return [whole(random, 1000, 23, n), untouched(23), untouched(23), 23]

        name, constants = f"row_extremes-{rows}-of-{columns}", {"ROWS": rows, "COLUMNS": columns}
        grid, is_quick = (programs(23, rows),), columns in (300, 1000, 4096)
        yield Case(name, kernels.row_extremes_kernel, wide, grid, constants, True, is_quick)


def _scans() -> Iterator[Case]:
    for shape, axis in (((13, 24), 0), ((5, 40), 1), ((4, 1), 0), ((3, 7), 1)):
        for dtype in (np.float32, np.int32, np.float16):

            def running(random: Random, size: tuple[int, int] = shape, kind: type = dtype) -> list[Argument]:
                return [whole(random, 9, *size, dtype=kind), untouched(*size, dtype=kind)]

            constants = {"M": shape[0], "N": shape[1], "AXIS": axis}
            is_quick = (shape[0], dtype) in ((13, np.float32), (5, np.int32))
            name = f"running-{spell(shape, axis, dtype)}"
            if dtype == np.float32 or is_quick or shape[0] == 3:
                yield Case(name, running_kernels.running_kernel, running, (1,), constants, True, is_quick)
    for n, block in ((50, 64), (250, 256), (9, 10)):
        for dtype in (np.float32, np.int32):

            def line(random: Random, size: int = n, kind: type = dtype) -> list[Argument]:
                x = whole(random, 9, size, dtype=kind)
                return [x, untouched(size + 1, dtype=kind), untouched(2, dtype=np.int32), size]

            is_quick = (n, dtype) in ((250, np.float32), (9, np.int32))
            name = f"running_line-{spell(n, dtype)}"
            if dtype == np.float32 or is_quick:
                yield Case(
                    name, running_kernels.running_line_kernel, line, (1,), {"BLOCK": block}, True, is_quick
                )


def _computed_places() -> Iterator[Case]:
    for dtype in (np.float32, np.int16):

        def compact(random: Random, kind: type = dtype) -> list[Argument]:
            places = random.permutation(64).astype(np.int32)
            return [whole(random, 9, 60, dtype=kind), places, untouched(128, dtype=kind), 60]

        is_quick, name = dtype == np.float32, f"compact-{spell(dtype)}"
        yield Case(name, running_kernels.compact_kernel, compact, (1,), {"BLOCK": 64}, True, is_quick)

    def wide_integers(random: Random) -> list[Argument]:
        x, y = (random.integers(-(1 << 62), 1 << 62, 40) >> random.integers(0, 60, 40) for _ in range(2))
        return [x, y, untouched(40, dtype=np.int64), 40]

    for mode in ("product", "choice", "sum"):
        kernel, constants = running_kernels.wide_integers_kernel, {"MODE": mode, "BLOCK": 64}
        yield Case(f"wide_integers-{mode}", kernel, wide_integers, (1,), constants, True, mode == "choice")

    for source, target in ((np.float32, ml_dtypes.float8_e4m3fn), (ml_dtypes.float8_e5m2, np.float16)):

        def small(random: Random, given: type = source, kind: type = target) -> list[Argument]:
            return [floats(random, 100, dtype=given), untouched(100, dtype=kind), 100]

        name, is_quick = f"small_floats-{spell(source, target)}", source == np.float32
        yield Case(name, running_kernels.small_floats_kernel, small, (1,), {"BLOCK": 128}, True, is_quick)

    def volatile(random: Random) -> list[Argument]:
        return [whole(random, 9, 51), untouched(51), 50]

    yield Case("volatile", running_kernels.volatile_kernel, volatile, (1,), {"BLOCK": 64}, True, True)

    def masked(random: Random) -> list[Argument]:
        return [floats(random, 5, 24), untouched(5, 24), 20]

    def repeated(random: Random) -> list[Argument]:
        return [np.ones(1, bool), whole(random, 9, 8, 16, dtype=np.int32), 2]

    constants = {"M": 8, "N": 16}
    yield Case("repeated_bool", running_kernels.repeated_bool_kernel, repeated, (1,), constants, True, True)
    yield Case("wide_mask", running_kernels.wide_mask_kernel, masked, (1,), {"M": 5, "N": 24}, True, True)


def _control() -> Iterator[Case]:
    for shape in ((8, 8), (16, 100), (1, 200), (300, 16)):
        for offset in (-5, 0, 7, 1 << 30):

            def causal(random: Random, size: tuple[int, int] = shape, by: int = offset) -> list[Argument]:
                return [floats(random, *size), untouched(*size), by]

            name, constants = f"causal-{spell(shape, offset)}", {"M": shape[0], "N": shape[1]}
            is_quick = (shape, offset) in (((16, 100), 7), ((300, 16), -5))
            yield Case(name, kernels.causal_kernel, causal, (1,), constants, True, is_quick)
    for dtype in (np.float32, np.int32):
        for flag in (-2, 0, 3, 4):

            def branches(random: Random, kind: type = dtype, which: int = flag) -> list[Argument]:
                return [whole(random, 9, 200, dtype=kind), untouched(200, dtype=kind), 200, which]

            is_quick = (dtype, flag) in ((np.float32, -2), (np.float32, 3), (np.int32, 4))
            name = f"branches-{spell(dtype, flag)}"
            yield Case(name, kernels.branches_kernel, branches, (4,), {"BLOCK": 64}, True, is_quick)


def _transpositions() -> Iterator[Case]:
    quick = {
        ("load", np.float32, 40), ("store", np.int8, 9), ("trans", np.float16, 33), ("trans", np.int8, 40),
        ("load", BF16, 33),
    }  # fmt: skip
    for mode in ("load", "store", "trans"):
        for dtype in (np.float32, np.float16, np.int8, BF16):
            for shape, block in (((40, 50), (32, 16)), ((9, 100), (8, 64)), ((33, 7), (48, 8))):

                def transpose(
                    random: Random, kind: type = dtype, size: tuple[int, int] = shape
                ) -> list[Argument]:
                    return [whole(random, 100, *size, dtype=kind), untouched(*size[::-1], dtype=kind), *size]

                grid = (programs(shape[0], block[0]), programs(shape[1], block[1]))
                constants = {"MODE": mode, "BLOCK_M": block[0], "BLOCK_N": block[1]}
                name = f"transpose-{spell(mode, dtype, shape)}"
                is_quick = (mode, dtype, shape[0]) in quick
                yield Case(name, kernels.transpose_kernel, transpose, grid, constants, True, is_quick)
    for shape3 in ((3, 4, 8), (2, 20, 24), (5, 16, 5)):
        for dtype in (np.float32, np.float16):

            def permute(
                random: Random, kind: type = dtype, size: tuple[int, int, int] = shape3
            ) -> list[Argument]:
                count = size[0] * size[1] * size[2]
                return [floats(random, *size, dtype=kind), untouched(2 * count, dtype=kind)]

            constants = dict(zip("ABC", shape3, strict=True))
            is_quick = (shape3[0], dtype) in ((2, np.float32), (5, np.float16))
            name = f"permute-{spell(shape3, dtype)}"
            yield Case(name, kernels.permute_kernel, permute, (1,), constants, True, is_quick)


def _rearrangements() -> Iterator[Case]:
    """What gathers by a table of places."""
    for shape in ((2, 3, 8), (3, 5, 7)):
        for dtype in (np.float32, np.int64, np.float16, np.int8):

            def turn(
                random: Random, kind: type = dtype, size: tuple[int, int, int] = shape
            ) -> list[Argument]:
                return [whole(random, 50, *size, dtype=kind), untouched(*size[::-1], dtype=kind)]

            constants = dict(zip("ABC", shape, strict=True))
            is_quick = (shape[0], dtype) in ((3, np.int64), (2, np.int8))
            name = f"reversed_dims-{spell(shape, dtype)}"
            yield Case(name, kernels.reversed_dims_kernel, turn, (1,), constants, True, is_quick)
    for dtype in (np.float32, np.float16, np.int16):

        def repeat(random: Random, kind: type = dtype) -> list[Argument]:
            return [whole(random, 50, 4, 11, dtype=kind), untouched(4, 3, 11)]

        constants = {"A": 4, "B": 3, "C": 11}
        name = f"repeated-{spell(dtype)}"
        yield Case(name, kernels.repeated_kernel, repeat, (1,), constants, True, dtype == np.float16)
    for dtype in (np.float32, np.float16, np.int8):

        def regroup(random: Random, kind: type = dtype) -> list[Argument]:
            return [whole(random, 50, 6, 21, dtype=kind), untouched(189)]

        name = f"interleaved-{spell(dtype)}"
        yield Case(name, kernels.interleaved_kernel, regroup, (1,), {"A": 6, "B": 21}, True, dtype == np.int8)

    def regroup_order(random: Random) -> list[Argument]:
        return [floats(random, 64), untouched(64)]

    constants = {"A": 8, "B": 8}
    yield Case("regrouped_order", kernels.regrouped_order_kernel, regroup_order, (1,), constants, True, True)

    for dtype in (np.float32, np.int32, np.float16):

        def cube(random: Random, kind: type = dtype) -> list[Argument]:
            return [whole(random, 50, 2, 3, 8, dtype=kind), untouched(12, dtype=kind)]

        constants = {"A": 2, "B": 3, "C": 8}
        name = f"cube_rows-{spell(dtype)}"
        yield Case(name, kernels.cube_rows_kernel, cube, (1,), constants, True, dtype == np.int32)


def _moves() -> Iterator[Case]:
    for n, step in ((100, 3), (1, 2), (128, 16)):

        def strided(random: Random, size: int = n, by: int = step) -> list[Argument]:
            return [floats(random, (size - 1) * by + 1), untouched(2), size]

        name, constants = f"strided_sum-{n}-by-{step}", {"STEP": step, "BLOCK": 64}
        yield Case(name, kernels.strided_sum_kernel, strided, (2,), constants, is_quick=step == 3)

    def gather(random: Random) -> list[Argument]:
        x, index = floats(random, 50, 48), random.integers(0, 50, 19).astype(np.int32)
        return [x, index, untouched(19, 48), 19]

    constants = {"ROWS": 8, "COLUMNS": 48}
    yield Case("gather_rows", kernels.gather_rows_kernel, gather, (3,), constants, True, True)

    def far_places(random: Random) -> list[Argument]:
        return [floats(random, 16), untouched(16)]

    constants = {"STEPS": 200, "BLOCK": 16}
    yield Case("far_places", kernels.far_places_kernel, far_places, (1,), constants, True, True)
    for dtype in (np.float32, np.float16, np.int8, np.int32):
        for stride in (1, 3):

            def scatter(random: Random, kind: type = dtype, by: int = stride) -> list[Argument]:
                x, index = whole(random, 50, 300, dtype=kind), random.permutation(100).astype(np.int32)
                return [x, index, untouched(300, dtype=kind), 90, by]

            is_quick = (dtype, stride) in ((np.float32, 3), (np.int8, 1))
            name = f"scatter-{spell(dtype, stride)}"
            yield Case(name, kernels.scatter_kernel, scatter, (3,), {"BLOCK": 32}, True, is_quick)

    def bools(random: Random) -> list[Argument]:
        x, keep = floats(random, 100), random.integers(0, 2, 100).astype(bool)
        return [x, keep, untouched(100), np.zeros(100, bool), 100]

    yield Case("bools", kernels.bools_kernel, bools, (2,), {"BLOCK": 64}, True, True)
    for dtype in (np.int64, np.float64):
        for size in (0, 50, 64):

            def wide(random: Random, kind: type = dtype, n: int = size) -> list[Argument]:
                x, index = whole(random, 1 << 40, 64, dtype=kind), random.permutation(64).astype(np.int32)
                return [x, index, untouched(256, dtype=kind), n]

            name, is_quick = f"wide-{spell(dtype, size)}", (dtype, size) == (np.int64, 50)
            yield Case(name, kernels.wide_kernel, wide, (1,), {"BLOCK": 64}, True, is_quick)
    for shape in ((5, 40), (1, 100), (7, 1)):
        for integer in (np.int8, np.int16):

            def narrow(random: Random, kind: type = integer, size: tuple[int, int] = shape) -> list[Argument]:
                x, y = whole(random, 100, *size, dtype=kind), whole(random, 100, size[0], dtype=kind)
                return [x, y, untouched(size[1], dtype=kind), untouched(size[0], dtype=np.int32)]

            constants = {"ROWS": shape[0], "COLUMNS": shape[1]}
            is_quick = (integer, shape[0]) in ((np.int8, 5), (np.int16, 7))
            name = f"bytes-{spell(integer, shape)}"
            yield Case(name, kernels.bytes_kernel, narrow, (1,), constants, True, is_quick)
