"""Cases of the cube cores: element types, orders of memory, tails, sums that nothing is added to.

But for fp32, whose products are rounded, elements are such that every sum is exact in any order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import ml_dtypes
import numpy as np
from matmul import matmul_kernel

import tilejit.language as tl
from tests.kernels_ascend import matmul_kernels
from tests.kernels_ascend.case import Argument, Case
from tests.kernels_ascend.vector_cases import Random, programs, spell, untouched, whole

SIZES = ((64, 64, 64), (1, 7, 33), (129, 257, 65), (300, 515, 270))  # M, K, N
TYPES = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16, "fp32": np.float32, "int8": np.int8}


def draw(random: Random, shape: Sequence[int], dtype: type) -> np.ndarray:
    """Elements of a matrix: bytes, normal fp32 numbers, or sixteenths, whose products fp32 adds exactly."""
    if dtype is np.int8:
        return random.integers(-128, 128, shape).astype(np.int8)
    if dtype is np.float32:
        return random.standard_normal(shape).astype(np.float32)
    return (random.integers(-64, 64, shape) / 16).astype(dtype)


def in_order(array: np.ndarray, order: str) -> np.ndarray:
    """The same matrix, stored by rows ("n") or by columns ("t")."""
    return array if order == "n" else np.ascontiguousarray(array.T).T


def steps(array: np.ndarray) -> tuple[int, int]:
    """Strides in elements."""
    return array.strides[0] // array.itemsize, array.strides[1] // array.itemsize


def matmul_cases() -> Iterator[Case]:
    """All cases of the cube cores."""
    yield from _sizes()
    yield from _types_and_orders()
    yield from _long_tiles()
    yield from _grouped()
    yield from _split_k()
    yield from _several_sums()
    yield from _batches()


def _sizes() -> Iterator[Case]:
    for sizes in SIZES:
        for blocks in ((32, 32, 32), (64, 48, 80), (128, 256, 256)):
            m, k, n = sizes

            def matmul(random: Random, m: int = m, k: int = k, n: int = n) -> list[Argument]:
                a, b = draw(random, (m, k), np.float16), draw(random, (k, n), np.float16)
                return [a, b, untouched(m, n, dtype=np.float16), m, n, k, k, n, n]

            constants = dict(zip(("BLOCK_M", "BLOCK_N", "BLOCK_K"), blocks, strict=True))
            grid = (programs(m, blocks[0]), programs(n, blocks[1]))
            is_quick = (m, blocks[0]) in ((129, 64), (1, 32))
            name = f"matmul-{spell(sizes, blocks)}"
            yield Case(name, matmul_kernel, matmul, grid, constants, True, is_quick)
    for k in (0, 1):
        for dtype in (np.float16, np.float32):

            def nothing(_: Random, k: int = k, kind: type = dtype) -> list[Argument]:
                c = untouched(40, 70, dtype=kind)
                return [np.ones((40, 1), kind), np.ones((1, 70), kind), c, 40, 70, k, 1, 70, 70]

            constants = {"BLOCK_M": 32, "BLOCK_N": 64, "BLOCK_K": 32}
            name, is_quick = f"matmul-{k}-products-{spell(dtype)}", k == 0
            yield Case(name, matmul_kernel, nothing, (2, 2), constants, True, is_quick)


def _operands(
    random: Random, sizes: tuple[int, int, int], name: str, orders: str, out: type
) -> list[Argument]:
    """Arguments of a product with an order for each of A, B, C."""
    m, k, n = sizes
    a, b = draw(random, (m, k), TYPES[name]), draw(random, (k, n), TYPES[name])
    a, b = in_order(a, orders[0]), in_order(b, orders[1])
    c = in_order(untouched(m, n, dtype=out), orders[2])
    return [a, b, c, m, n, k, *steps(a), *steps(b), *steps(c)]


def _types_and_orders() -> Iterator[Case]:
    quick = {
        ("fp16", "ttn", 65),
        ("bf16", "tnn", 16),
        ("fp32", "ntn", 65),
        ("int8", "nnn", 65),
        ("fp32", "ttt", 16),
    }
    for name in TYPES:
        for orders in ("nnn", "ntn", "tnn", "ttn", "nnt", "ttt"):
            for sizes in ((64, 64, 64), (65, 129, 67), (16, 40, 200)):
                total = np.int32 if name == "int8" else np.float32

                def product(
                    random: Random,
                    size: tuple[int, int, int] = sizes,
                    kind: str = name,
                    order: str = orders,
                    out: type = total,
                ) -> list[Argument]:
                    return _operands(random, size, kind, order, out)

                constants: dict[str, object] = {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": 64}
                constants["KIND"] = tl.int32 if name == "int8" else tl.float32
                grid = (programs(sizes[0], 64), programs(sizes[2], 64))
                case = f"strided_matmul-{spell(name, orders, sizes)}"
                rounds, is_quick = name == "fp32", (name, orders, sizes[0]) in quick
                kernel = matmul_kernels.strided_matmul
                yield Case(case, kernel, product, grid, constants, not rounds, is_quick, rounds)


def _long_tiles() -> Iterator[Case]:
    """Tiles that L0 takes in several steps, of which the last is short."""
    for name in ("fp16", "bf16"):
        for orders in ("nn", "tt"):
            for block_k in (16, 48, 320):

                def product(random: Random, kind: str = name, order: str = orders) -> list[Argument]:
                    return _operands(random, (100, 700, 130), kind, order + "n", TYPES[kind])

                constants = {"BLOCK_M": 112, "BLOCK_N": 160, "BLOCK_K": block_k, "KIND": tl.float32}
                case = f"long_tiles-{spell(name, orders, block_k)}"
                is_quick = (name, orders, block_k) == ("bf16", "tt", 320)
                kernel = matmul_kernels.strided_matmul
                yield Case(case, kernel, product, (1, 1), constants, True, is_quick)


def _grouped() -> Iterator[Case]:
    """Rows and columns that wrap around the ends of the matrices."""
    for m, k, n in SIZES:
        for by_rows in (True, False):

            def grouped(
                random: Random, m: int = m, k: int = k, n: int = n, rows: bool = by_rows
            ) -> list[Argument]:
                a = draw(random, (m, k), np.float16)
                b = draw(random, (k, n) if rows else (n, k), np.float16)
                return [a, b, untouched(m, n, dtype=np.float16), m, n, k]

            case = f"grouped_matmul-{spell((m, k, n))}-by-{'rows' if by_rows else 'columns'}"
            grid = (programs(m, 64) * programs(n, 48),)
            constants = {"BLOCK_M": 64, "BLOCK_N": 48, "BLOCK_K": 64, "GROUP": 3, "BY_ROWS": by_rows}
            yield Case(case, matmul_kernels.grouped_matmul, grouped, grid, constants, True, m == 129)

    def wrapped(random: Random) -> list[Argument]:
        a, b = draw(random, (20, 32), np.float16), draw(random, (32, 32), np.float16)
        return [a, b, untouched(23, 32), 20]

    yield Case("wrapped_rows", matmul_kernels.wrapped_rows, wrapped, (1,), {"SIZE": 32}, True, True)


def _split_k() -> Iterator[Case]:
    """Programs add their parts of the sum to memory; the last ones have none."""
    for dtype in (np.float16, np.float32):
        for parts in (1, 3, 9):

            def split(random: Random, kind: type = dtype, count: int = parts) -> list[Argument]:
                a, b = (whole(random, 4, *shape, dtype=np.float16) for shape in ((50, 100), (100, 40)))
                return [a, b, np.zeros((50, 40), kind), 50, 40, 100, count]

            yield Case(
                f"split_k_matmul-{spell(dtype, parts)}", matmul_kernels.split_k_matmul, split, (2, 1, parts),
                {"BLOCK_M": 32, "BLOCK_N": 48, "BLOCK_K": 16}, True, parts == 9,
            )  # fmt: skip


def _several_sums() -> Iterator[Case]:
    for name in ("fp16", "fp32"):

        def two(random: Random, kind: str = name) -> list[Argument]:
            x, y = draw(random, (32, 70), TYPES[kind]), draw(random, (70, 32), TYPES[kind])
            return [x, y, untouched(32, 32), untouched(32, 32), 70]

        case, rounds = f"two_products-{name}", name == "fp32"
        yield Case(case, matmul_kernels.two_products, two, (1,), {"SIZE": 32}, not rounds, rounds, rounds)
    for trips in (0, 1, 4):
        for chosen in (0, 2):

            def guarded(random: Random, count: int = trips, which: int = chosen) -> list[Argument]:
                a, b = draw(random, (4, 32, 32), np.float16), draw(random, (4, 32, 32), np.float16)
                return [a, b, untouched(32, 32), count, which]

            case, is_quick = f"guarded_sums-{trips}-{chosen}", (trips, chosen) in ((0, 0), (4, 2))
            yield Case(case, matmul_kernels.guarded_sums, guarded, (1,), {"SIZE": 32}, True, is_quick)


def _batches() -> Iterator[Case]:
    for m, k, n in ((33, 40, 70), (1, 0, 16)):
        for innermost in (False, True):

            def batches(
                random: Random, m: int = m, k: int = k, n: int = n, innermost: bool = innermost
            ) -> list[Argument]:
                a, b = (
                    draw(random, (3, m, max(k, 1)), np.float16),
                    draw(random, (3, max(k, 1), n), np.float16),
                )
                b = np.ascontiguousarray(b.transpose(1, 0, 2)) if innermost else b
                return [a, b, untouched(m, 3, n), m, n, k]

            constants = {"BATCH": 3, "BLOCK_M": 32, "BLOCK_N": 48, "BLOCK_K": 16, "INNERMOST": innermost}
            name, grid = (
                f"batched_matmul-{spell((m, k, n), int(innermost))}",
                (programs(m, 32), programs(n, 48)),
            )
            yield Case(name, matmul_kernels.batched_matmul, batches, grid, constants, True, m == 33)
