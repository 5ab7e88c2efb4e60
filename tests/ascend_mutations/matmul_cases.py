"""Kernels in Python for the cube cores."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from matmul import matmul_kernel

import tilejit.language as tl
from tests.ascend_mutations.case import ONE_PROGRAM, Case, LaunchOf, tile_case
from tests.ascend_mutations.vector_cases import Passed, integers, outs
from tests.kernels_ascend import matmul_kernels

TYPES = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16, "fp32": np.float32, "int8": np.int8}
BLOCK = 32


def matrix(rows: int, columns: int, dtype: type, order: str = "n") -> np.ndarray:
    """Small integers, whose sums every order of addition gives, stored by rows ("n") or columns ("t")."""
    array = integers(-4, 4, rows, columns, dtype=dtype)
    return array if order == "n" else np.ascontiguousarray(array.T).T


def steps(array: np.ndarray) -> tuple[int, int]:
    return array.strides[0] // array.itemsize, array.strides[1] // array.itemsize


def sizes(programs: int | None, k_steps: int | None, trips: int, block: int = BLOCK) -> tuple[int, int, int]:
    """m, n and k for numbers of programs and of steps along k; None is the number of trips.

    The last tiles have 15 rows, 8 columns, and 15 elements along k.
    """
    down, along = (trips if count is None else count for count in (programs, k_steps))
    return short_of(down, block), block + 8, short_of(along, block)


def short_of(tiles: int, block: int = BLOCK) -> int:
    """The elements of some tiles, the last of which has 15."""
    return block * (tiles - 1) + 15 if tiles else 0


def block_of(name: str) -> int:
    """Rows and columns of a tile: more than one fractal, so that tiles at the ends have fewer."""
    return 2 * BLOCK if name == "int8" else BLOCK


def strided(name: str, orders: str, programs: int | None, k_steps: int | None) -> LaunchOf:
    def launch(trips: int) -> Passed:
        block = block_of(name)
        m, n, k = sizes(programs, k_steps, trips, block)
        a, b = matrix(m, k, TYPES[name], orders[0]), matrix(k, n, TYPES[name], orders[1])
        c = np.zeros((m, n), np.int32 if name == "int8" else np.float32)
        c = c if orders[2] == "n" else np.zeros((n, m), c.dtype).T
        return (a, b, c, m, n, k, *steps(a), *steps(b), *steps(c)), (-(-m // block), 2)

    return launch


def strided_case(name: str, orders: str) -> Case:
    """Strides of 1 are constants of the kernel; the others are 0 in some launches: rows come one by one."""
    places = ("am", "ak", "bk", "bn", "cm", "cn")
    inner = [2 * number + (order == "n") for number, order in enumerate(orders)]
    apart = {f"stride_{place}": 0 for number, place in enumerate(places) if number not in inner}
    return tile_case(
        f"matmul {name} {orders}",
        matmul_kernels.strided_matmul,
        strided(name, orders, 2, None),
        strided(name, orders, None, 2),
        others=[apart, {**apart, "K": 0}], traced=[],
        BLOCK_M=block_of(name), BLOCK_N=block_of(name), BLOCK_K=block_of(name),
        KIND=tl.int32 if name == "int8" else tl.float32,
    )  # fmt: skip


def example(programs: int | None, k_steps: int | None) -> LaunchOf:
    def launch(trips: int) -> Passed:
        m, n, k = sizes(programs, k_steps, trips)
        a, b = matrix(m, k, np.float16), matrix(k, n, np.float16)
        return (a, b, outs(m, n, dtype=np.float16), m, n, k, k, n, n), (-(-m // BLOCK), 2)

    return launch


def grouped(programs: int | None, k_steps: int | None) -> LaunchOf:
    def launch(trips: int) -> Passed:
        m, n, k = sizes(programs, k_steps, trips)
        a, b = matrix(m, k, np.float16), matrix(k, n, np.float16)
        return (a, b, outs(m, n, dtype=np.float16), m, n, k), (-(-m // BLOCK) * 2,)

    return launch


def split_k(programs: int | None, k_steps: int | None) -> LaunchOf:
    def launch(trips: int) -> Passed:
        parts, along = (trips if count is None else count for count in (programs, k_steps))
        k, n = short_of(parts * along), 40
        a, b = matrix(29, k, np.float16), matrix(k, n, np.float16)
        return (a, b, outs(29, n), 29, n, k, parts), (1, 2, parts)

    return launch


def two_products(trips: int) -> Passed:
    k = short_of(trips)
    return (matrix(32, k, np.float16), matrix(k, 32, np.float16), outs(32, 32), outs(32, 32), k), (1,)


def guarded(trips: int) -> Passed:
    a, b = (np.random.default_rng(0).integers(-4, 4, (9, 32, 32)).astype(np.float16) for _ in range(2))
    return (a, b, outs(32, 32), min(trips, 4), 0), (1,)


def wrapped(trips: int) -> Passed:
    m = max(1, 32 * trips - 9)
    return (matrix(m, 32, np.float16), matrix(32, 32, np.float16), outs(m + 3, 32), m), (trips,)


APART = dict.fromkeys(("stride_am", "stride_bk", "stride_cm"), 0)
FAR_N = {"N": 1 << 20}  # rows further apart than an instruction takes
FAR_K = {"K": 1 << 16, ONE_PROGRAM: 1}
BLOCKS = {"BLOCK_M": BLOCK, "BLOCK_N": BLOCK, "BLOCK_K": BLOCK}
MATMUL_CASES: tuple[Case, ...] = (
    tile_case(
        "matmul example", matmul_kernel, example(2, None), example(None, 2),
        others=[APART, {**APART, "K": 0}], traced=[], **BLOCKS,
    ),
    *(strided_case(name, "nnn") for name in TYPES),
    *(strided_case("fp16", orders) for orders in ("tnn", "ntn", "ttt")),
    *(strided_case("fp32", orders) for orders in ("tnn", "ntn")),
    *(strided_case("int8", orders) for orders in ("tnn", "ntn")),
    tile_case(
        "matmul grouped", matmul_kernels.grouped_matmul, grouped(2, None), grouped(None, 2),
        traced=[FAR_N, {**FAR_N, "K": 0}, FAR_K], **BLOCKS, GROUP=3, BY_ROWS=True,
    ),
    tile_case(
        "matmul split-K", matmul_kernels.split_k_matmul, split_k(2, None), split_k(None, 2),
        traced=[FAR_N, FAR_K], **BLOCKS,
    ),
    tile_case("two products", matmul_kernels.two_products, two_products, traced=[{}, FAR_K], SIZE=32),
    tile_case("guarded sums", matmul_kernels.guarded_sums, guarded, traced=[{}], SIZE=32),
    tile_case("wrapped rows", matmul_kernels.wrapped_rows, wrapped, traced=[], SIZE=32),
)  # fmt: skip
