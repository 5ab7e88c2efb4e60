"""Cases of kernels for both kinds of core: epilogues, operands that are computed, attention, control flow.

Matrices hold small whole numbers wherever that makes every sum exact; what is left rounds as its type does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import ml_dtypes
import numpy as np
from flash_attention import choose_blocks, flash_attention_kernel

from tests.kernels_ascend import mixed_kernels, moved_kernels
from tests.kernels_ascend.case import Argument, Case
from tests.kernels_ascend.paged_cases import paged_cases
from tests.kernels_ascend.vector_cases import Random, floats, programs, spell, untouched, whole

BF16 = ml_dtypes.bfloat16


def mixed_cases() -> Iterator[Case]:
    """All cases of both kinds of core."""
    yield from _epilogues()
    yield from _bytes()
    yield from _rows()
    yield from _layers()
    yield from _accumulators()
    yield from _control()
    yield from _moved()
    yield from _stored_elsewhere()
    yield from _attention()
    yield from _example_attention()
    # Sums over long contexts, which fp32 does not add exactly, are rounded twice more on their way.
    yield from (replace(case, sums_in_any_order=not case.exact) for case in _pages())
    yield from paged_cases()


def small(random: Random, *shape: int, dtype: type = np.float16) -> np.ndarray:
    """Whole numbers whose products fp32 adds exactly."""
    return whole(random, 3, *shape, dtype=dtype)


def _epilogues() -> Iterator[Case]:
    sizes = (((100, 96, 70), (32, 48, 32)), ((1, 33, 70), (32, 48, 32)), ((33, 0, 7), (32, 48, 32)))
    odd = (((7, 9, 5), (1, 16, 16)), ((7, 9, 5), (3, 16, 16)), ((129, 65, 257), (128, 256, 64)))
    for epilogue in ("bias", "gelu", "relu", "residual"):
        for (m, k, n), blocks in (*sizes, *odd):
            for dtype in (np.float16, BF16):

                def product(
                    random: Random, m: int = m, k: int = k, n: int = n, kind: type = dtype
                ) -> list[Argument]:
                    a, b = small(random, m, max(k, 1), dtype=kind), small(random, max(k, 1), n, dtype=kind)
                    bias, residual = small(random, n, dtype=np.float32), small(random, m, n, dtype=kind)
                    return [a, b, bias, residual, untouched(m, n, dtype=kind), m, n, k]

                constants: dict[str, object] = dict(
                    zip(("BLOCK_M", "BLOCK_N", "BLOCK_K"), blocks, strict=True)
                )
                name = f"epilogue_matmul-{epilogue}-{spell((m, k, n), blocks, dtype)}"
                is_quick = (epilogue, m, dtype) == ("residual", 100, BF16)
                yield Case(
                    name, mixed_kernels.epilogue_matmul, product,
                    (programs(m, blocks[0]), programs(n, blocks[1])), {**constants, "EPILOGUE": epilogue},
                    epilogue != "gelu", is_quick,
                )  # fmt: skip


def _bytes() -> Iterator[Case]:
    """Bytes multiplied and scaled, and bytes that are scaled before they are multiplied."""
    for m, k, n in ((45, 100, 70), (1, 16, 16), (64, 0, 48)):
        blocks = {"BLOCK_M": 32, "BLOCK_N": 48, "BLOCK_K": 64}
        grid = (programs(m, 32), programs(n, 48))

        def products(random: Random, m: int = m, k: int = k, n: int = n) -> list[Argument]:
            a, b = (whole(random, 128, *s, dtype=np.int8) for s in ((m, max(k, 1)), (max(k, 1), n)))
            scales = floats(random, m), floats(random, n) / 1000
            return [a, b, *scales, untouched(m, n, dtype=np.float16), m, n, k]

        kernel = mixed_kernels.dequantised_product
        yield Case(f"dequantised_product-{spell((m, k, n))}", kernel, products, grid, blocks, False, m == 45)

        def weights(random: Random, m: int = m, k: int = k, n: int = n) -> list[Argument]:
            x, w = small(random, m, max(k, 1)), whole(random, 8, max(k, 1), n, dtype=np.int8)
            return [x, w, small(random, max(k, 1), dtype=np.float32), untouched(m, n), m, n, k]

        kernel = mixed_kernels.byte_weights
        yield Case(f"byte_weights-{spell((m, k, n))}", kernel, weights, grid, blocks, True, m == 45)

    def scaled(random: Random) -> list[Argument]:
        a, b = small(random, 45, 32), small(random, 32, 32)
        return [a, b, small(random, 45, dtype=np.float32), untouched(45, 32), 45]

    yield Case("scaled_rows", mixed_kernels.scaled_rows, scaled, (2,), {"SIZE": 32}, True)


def _rows() -> Iterator[Case]:
    """Reductions of products along either axis."""
    for block_m in (7, 1, 32):

        def softmax(random: Random) -> list[Argument]:
            return [floats(random, 45, 40, dtype=np.float16), floats(random, 40, 70, dtype=np.float16),
                    untouched(45, 70), 45, 70, 40]  # fmt: skip

        constants: dict[str, object] = {"BLOCK_M": block_m, "BLOCK_N": 80, "BLOCK_K": 64}
        kernel, grid = mixed_kernels.product_softmax, (programs(45, block_m),)
        yield Case(f"product_softmax-{block_m}", kernel, softmax, grid, constants)
    for axis in (0, 1):
        for count in (5, 0, 1):

            def sums(random: Random, n: int = count) -> list[Argument]:
                return [small(random, 5, 32, 32), small(random, 5, 32, 32), untouched(32), n]

            kernel, constants = mixed_kernels.sums_of_products, {"SIZE": 32, "AXIS": axis}
            yield Case(f"sums_of_products-{axis}-{count}", kernel, sums, (1,), constants, True)

    def scores(random: Random) -> list[Argument]:
        found = [untouched(45, 20, dtype=np.float16), np.ones((45, 20), np.float32), untouched(32, 45),
                 untouched(45, 20, dtype=np.int32), untouched(45, 20)]  # fmt: skip
        return [small(random, 45, 32), small(random, 32, 32), *found, 45, 20]

    def both(random: Random) -> list[Argument]:
        found = [untouched(32, 32), untouched(2, 32, 32), untouched(32, 32), untouched(32, 32)]
        return [small(random, 32, 32), small(random, 32, 32), *found]

    yield Case("stored_both_ways", moved_kernels.stored_both_ways, both, (1,), {"SIZE": 32}, True)
    yield Case("scores_and_weights", mixed_kernels.scores_and_weights, scores, (2,), {"SIZE": 32})


def _layers() -> Iterator[Case]:
    for hidden in (0, 1, 40, 130):
        for block_m in (1, 20, 33):

            def layers(random: Random, h: int = hidden) -> list[Argument]:
                x, up, down = (small(random, *s) for s in ((45, 48), (48, max(h, 1)), (max(h, 1), 48)))
                return [x, up, down, untouched(45, 48), 45, h]

            constants = {"BLOCK_M": block_m, "BLOCK_H": 32, "WIDTH": 48}
            name, is_quick = f"perceptron-{hidden}-{block_m}", (hidden, block_m) == (130, 20)
            grid = (programs(45, block_m),)
            yield Case(name, mixed_kernels.perceptron, layers, grid, constants, True, is_quick)

    def gated(random: Random) -> list[Argument]:
        x, *weights = (small(random, *s) for s in ((5, 32, 32), *[(32, 32)] * 3))
        return [x, *weights, untouched(5, 32, 32)]

    yield Case("gated_layers", mixed_kernels.gated_layers, gated, (5,), {"SIZE": 32})
    for count in (4, 0, 1):

        def chain(random: Random, n: int = count) -> list[Argument]:
            return [
                small(random, 5, 32, 32),
                small(random, 4, 32, 32),
                untouched(5, 32, 32, dtype=np.float16),
                n,
            ]

        yield Case(f"chain-{count}", mixed_kernels.chain, chain, (5,), {"SIZE": 32}, True)


def _accumulators() -> Iterator[Case]:
    """Sums that start from a tile in memory, or are scaled on the way."""
    for m, n in ((7, 33), (1, 16), (32, 48)):
        for count in (4, 0, 1):
            constants = {"M": m, "N": n, "K": 16}

            def started(random: Random, m: int = m, n: int = n, count: int = count) -> list[Argument]:
                a, b = small(random, 2 * m, 16), small(random, 64, n)
                return [a, b, whole(random, 99, 2 * m, n), count]

            name = f"started_sums-{spell((m, n), count)}"
            yield Case(name, mixed_kernels.started_sums, started, (2,), constants, True)

            def decayed(random: Random, m: int = m, n: int = n, count: int = count) -> list[Argument]:
                a, b, decay = small(random, m, 16), small(random, 64, n), small(random, 4, dtype=np.float32)
                return [a, b, decay, untouched(m, n), count]

            name, is_quick = f"decayed_sums-{spell((m, n), count)}", (m, count) == (1, 4)
            yield Case(name, mixed_kernels.decayed_sums, decayed, (1,), constants, True, is_quick)


def _control() -> Iterator[Case]:
    for counts in ((2, 0, 1, 3), (), (0, 0), (1,)):

        def nested(random: Random, counts: Sequence[int] = counts) -> list[Argument]:
            a, b = small(random, 4, 32, 32), small(random, 4, 32, 32)
            return [a, b, untouched(32, 32), np.array([*counts, 0], np.int32), len(counts)]

        name, is_quick = f"nested_crossings-{spell(counts)}", len(counts) == 4
        yield Case(name, mixed_kernels.nested_crossings, nested, (1,), {"SIZE": 32}, True, is_quick)

    def counted(random: Random) -> list[Argument]:
        counts = np.array([2, 0, -1, 3, 1, -1, 4], np.int32)
        return [small(random, 4, 32, 32), small(random, 4, 32, 32), untouched(7, 32, 32), counts]

    yield Case("counted_program", mixed_kernels.counted_program, counted, (7,), {"SIZE": 32}, True)
    for ways in ((2, 0, 1, 3, 1, 2, 2), (), (0, 0, 0), (2,), (1, 1, 1, 1)):

        def chosen(random: Random, ways: Sequence[int] = ways) -> list[Argument]:
            a, b = small(random, 7, 32, 32), small(random, 7, 32, 32)
            return [a, b, untouched(32, 32), np.array([*ways, 0], np.int32), len(ways)]

        name, is_quick = f"chosen_crossings-{spell(ways)}", len(ways) == 7
        yield Case(name, mixed_kernels.chosen_crossings, chosen, (1,), {"SIZE": 32}, True, is_quick)
    for kernel in (mixed_kernels.running_sum, mixed_kernels.handed_on):
        for count in (2, 0, 1):

            def two(random: Random, n: int = count) -> list[Argument]:
                return [small(random, 32, 32), small(random, 32, 32), untouched(32, 32), n]

            yield Case(f"{kernel.name}-{count}", kernel, two, (1,), {"SIZE": 32}, True)
    for count in (13, 0, 1):

        def halved(random: Random, n: int = count) -> list[Argument]:
            return [small(random, 3, 32, 32), small(random, 32, 32), untouched(32, 32), n]

        name = f"while_crossing-{count}"
        yield Case(name, mixed_kernels.while_crossing, halved, (1,), {"SIZE": 32}, True)


def _moved() -> Iterator[Case]:
    """Products that take the place of others."""
    for kernel in (moved_kernels.either_product, moved_kernels.sums_begun_anew, moved_kernels.exchanged_sums,
                   moved_kernels.product_of_last_trip):  # fmt: skip
        for ways in ((1, 0, 2, 2, 1), (), (2,), (0, 1)):

            def moved(random: Random, ways: Sequence[int] = ways) -> list[Argument]:
                a, b = small(random, 5, 32, 32), small(random, 32, 32)
                return [a, b, np.array([*ways, 0], np.int32), untouched(32, 32), len(ways)]

            yield Case(f"{kernel.name}-{spell(ways)}", kernel, moved, (1,), {"SIZE": 32}, True)
    for way in (2, 0):

        def chosen(random: Random, way: int = way) -> list[Argument]:
            return [small(random, 32, 32), small(random, 32, 32), untouched(2, 32, 32), way]

        yield Case(f"chosen_product-{way}", moved_kernels.chosen_product, chosen, (1,), {"SIZE": 32}, True)

    def same(random: Random) -> list[Argument]:
        return [small(random, 3, 32, 32), small(random, 32, 32), untouched(3, 3, 32, 32)]

    yield Case("product_for_all", moved_kernels.product_for_all, same, (3,), {"SIZE": 32}, True)

    def behind(random: Random) -> list[Argument]:
        return [small(random, 32, 32), small(random, 32, 32), untouched(2, 32, 32)]

    kernel = moved_kernels.chosen_by_tiles_behind
    yield Case("chosen_by_tiles_behind", kernel, behind, (1,), {"SIZE": 32}, True)


def _stored_elsewhere() -> Iterator[Case]:
    """Products alone, which leave by ways that only the vector cores have."""
    kernels = moved_kernels
    for kernel, dtype, size, others in (
        (kernels.narrow_sum, np.int8, 1024, ()), (kernels.largest_sum, np.float32, 1024, ()),
        (kernels.scattered_sum, np.float32, 4096, (3, 101)), (kernels.sum_both_ways, np.float32, 2048, ()),
        (kernels.rows_left_out, np.float32, 1024, (20,)), (kernels.stored_by_both, np.float32, 1025, ()),
        (kernels.scattered_additions, np.float32, 4096, (3, 101, 3)),
        (kernels.chequered_sum, np.float16, 1024, ()), (kernels.read_where_stored, np.float32, 1024, ()),
    ):  # fmt: skip

        def stored(
            random: Random, dtype: type = dtype, size: int = size, others: Sequence[int] = others
        ) -> list[Argument]:
            operands = [whole(random, 1, 32, 32, dtype=np.float16) for _ in range(2)]
            return [*operands, np.zeros(size, dtype), *others]

        yield Case(kernel.name, kernel, stored, (1,), {"SIZE": 32}, True)
    for kernel in (kernels.shared_cast, kernels.shared_view, kernels.scalar_beside_sum):

        def shared(random: Random) -> list[Argument]:
            operands = [whole(random, 1, 32, 32, dtype=np.float16) for _ in range(2)]
            return [*operands, np.zeros(1024, np.float16), np.zeros(1024, np.float16)]

        yield Case(kernel.name, kernel, shared, (1,), {"SIZE": 32}, True)


def starts(lengths: Sequence[int]) -> np.ndarray:
    """Where sequences begin that lie one behind the other."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)


def _attention() -> Iterator[Case]:
    lengths = (((50, 17, 0, 1), (50, 40, 9, 130)), ((33,), (200,)), ((60, 1), (20, 0)))
    for queries, keys in lengths:
        for head_dim, group, dtype in ((64, 1, np.float16), (128, 4, np.float16), (128, 2, BF16)):
            for causal in (False, True):

                def attention(
                    random: Random,
                    queries: Sequence[int] = queries,
                    keys: Sequence[int] = keys,
                    dim: int = head_dim,
                    heads: int = group,
                    kind: type = dtype,
                ) -> list[Argument]:
                    q = floats(random, sum(queries), heads, dim, dtype=kind)
                    k, v = (floats(random, sum(keys), 1, dim, dtype=kind) for _ in range(2))
                    out, scale = untouched(*q.shape, dtype=kind), 1 / math.sqrt(dim)
                    return [q, k, v, starts(queries), starts(keys), out, scale, heads]

                constants = {
                    "GROUP": group, "BLOCK_M": 32, "BLOCK_N": 64, "D": head_dim, "CAUSAL": causal
                }  # fmt: skip
                name = f"ragged_attention-{spell(queries, keys, head_dim, group, dtype)}"
                name += "-causal" if causal else ""
                is_quick = len(queries) == 4 and head_dim == 64 and causal
                grid = (programs(max(queries), 32), group, len(queries))
                kernel = mixed_kernels.ragged_attention
                yield Case(name, kernel, attention, grid, constants, False, is_quick)


def _example_attention() -> Iterator[Case]:
    """The kernel of examples/flash_attention.py: sizes are (query heads, KV heads, queries, keys, D)."""
    for sizes in (
        (2, 1, 50, 70, 64),
        (2, 1, 50, 470, 64),
        (1, 1, 17, 130, 128),
        (4, 2, 1, 200, 128),
        (1, 1, 60, 9, 64),
        (1, 1, 130, 300, 256),
    ):
        for dtype in (np.float16, BF16):
            for causal in (True, False):

                def attention(
                    random: Random, sizes: tuple[int, ...] = sizes, kind: type = dtype
                ) -> list[Argument]:
                    heads, kv_heads, queries, keys, dim = sizes
                    q = floats(random, heads, queries, dim, dtype=kind)
                    k, v = (floats(random, kv_heads, keys, dim, dtype=kind) for _ in range(2))
                    out = untouched(heads, queries, dim, dtype=kind)
                    q_strides, k_strides = (queries * dim, dim), (keys * dim, dim)
                    return [q, k, v, out, 1 / math.sqrt(dim), queries, keys, *q_strides, *k_strides,
                            *k_strides, *q_strides]  # fmt: skip

                heads, kv_heads, queries, _, head_dim = sizes
                block_m, block_n = choose_blocks(queries, head_dim)
                constants = {
                    "GROUP": heads // kv_heads, "BLOCK_M": block_m, "BLOCK_N": block_n, "D": head_dim,
                    "CAUSAL": causal,
                }  # fmt: skip
                name = f"flash_attention-{spell(sizes, dtype)}{'-causal' if causal else ''}"
                grid = (programs(queries, block_m), heads)
                # Sums over 256 channels, which fp32 does not add exactly, are added in several steps.
                yield Case(
                    name, flash_attention_kernel, attention, grid, constants,
                    sums_in_any_order=head_dim == 256,
                )  # fmt: skip


def _pages() -> Iterator[Case]:
    """Pages of 16-bit floats and of bytes; contexts end anywhere in a page, and may be empty."""
    cases = (
        (16, 64, 4, 2, (0, 1, 15, 16, 17, 70), np.float16),
        (32, 128, 1, 1, (33, 0, 64), np.float16),
        (64, 128, 1, 1, (200, 0, 64), BF16),
        (128, 128, 4, 1, (0, 300, 128), BF16),
        (256, 128, 16, 1, (300,), np.float16),
        (256, 64, 3, 2, (1, 0), BF16),
    )
    for page, head_dim, group, kv_heads, contexts, dtype in cases:
        for kind in (dtype, np.int8):

            def pages(
                random: Random,
                page: int = page,
                dim: int = head_dim,
                group: int = group,
                kv_heads: int = kv_heads,
                contexts: Sequence[int] = contexts,
                dtype: type = dtype,
                kind: type = kind,
            ) -> list[Argument]:
                most = programs(max(contexts), page)
                table = random.permutation(len(contexts) * most).astype(np.int32)
                shape = (len(table), page, kv_heads, dim)
                if kind is np.int8:
                    k, v = (whole(random, 128, *shape, dtype=np.int8) for _ in range(2))
                else:
                    k, v = (floats(random, *shape, dtype=kind) for _ in range(2))
                scales = [random.uniform(0.005, 0.02, (kv_heads, dim)).astype(np.float32) for _ in range(2)]
                q = floats(random, len(contexts), kv_heads * group, dim, dtype=dtype)
                lengths, out = np.array(contexts, np.int32), untouched(*q.shape, dtype=dtype)
                return [q, k, v, *scales, table, lengths, out, 1 / math.sqrt(dim), most, kv_heads]

            constants = {"GROUP": group, "PAGE": page, "D": head_dim, "IS_QUANTISED": kind is np.int8}
            name = f"paged_queries-{spell(page, head_dim, group, contexts, dtype, kind)}"
            is_quick = page == 16 and kind is np.int8
            grid, kernel = (kv_heads, len(contexts)), mixed_kernels.paged_queries
            yield Case(name, kernel, pages, grid, constants, False, is_quick)
