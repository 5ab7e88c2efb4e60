"""Cases of the kernel of examples/paged_attention.py with several KV heads a program."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import ml_dtypes
import numpy as np
from paged_attention import paged_attention_kernel
from serving_batch import make_batch

from tests.kernels_ascend.case import Argument, Case
from tests.kernels_ascend.vector_cases import Random, programs, spell, untouched

_WHOLE = 1 << 20
"""Keys of a sequence that one program takes, where they are not dealt out."""
_DTYPES: dict[str, type] = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


@dataclass(frozen=True)
class _Sizes:
    """``heads`` KV heads a program, ``group`` query heads of each, ``block`` keys a tile (of several pages or
    a part of one); ``queries`` of each sequence that are tried, ``block_q`` of them a program.
    """

    kv_heads: int
    heads: int
    group: int
    dim: int
    page: int
    block: int
    queries: tuple[int, ...] = (1,)
    block_q: int = 2
    dtypes: tuple[str, ...] = tuple(_DTYPES)
    has_float_pages: bool = True

    def __str__(self) -> str:
        return spell((self.kv_heads, self.heads, self.group, self.dim, self.page, self.block))


_SIZES = (
    _Sizes(2, 2, 4, 64, 64, 64),
    _Sizes(3, 3, 1, 64, 16, 16),
    _Sizes(2, 2, 2, 64, 16, 64),
    _Sizes(2, 2, 3, 64, 32, 32, queries=(1, 3)),
    _Sizes(4, 4, 2, 32, 128, 32),
    _Sizes(4, 2, 4, 128, 256, 32),
    # A prompt of whole blocks of queries over small pages: its loads want more flags than there are.
    _Sizes(2, 1, 4, 128, 16, 64, (20,), block_q=16, dtypes=("bfloat16",), has_float_pages=False),
)
_CONTEXTS = (200, 0, 1, 64)


def paged_cases() -> Iterator[Case]:
    """All cases: pages of bytes and of 16-bit floats, decode and short prompts."""
    for sizes in _SIZES:
        for dtype in sizes.dtypes:
            for kv_dtype in (dtype, "int8") if sizes.has_float_pages else ("int8",):
                for queries in sizes.queries:
                    yield _case(sizes, dtype, kv_dtype, queries)


def _case(sizes: _Sizes, dtype: str, kv_dtype: str, queries: int) -> Case:
    def attention(random: Random) -> list[Argument]:
        batch = make_batch(
            [max(context, queries) for context in _CONTEXTS], [queries] * len(_CONTEXTS),
            heads=sizes.kv_heads * sizes.group, kv_heads=sizes.kv_heads, head_dim=sizes.dim,
            block_size=sizes.page, dtype=dtype, kv_dtype=kv_dtype, seed=int(random.integers(1 << 30)),
        )  # fmt: skip
        q, k, v, table, _ = batch.arguments
        for pages in (k, v):
            pages[np.isnan(pages.astype(np.float32))] = 0  # behind the contexts
        parameters: list[Argument] = [None, None, None]
        if batch.quantisation is not None:
            of = batch.quantisation
            parameters = [of.k_scale, of.v_scale, of.v_offset]
        starts = np.arange(len(_CONTEXTS) + 1, dtype=np.int32) * queries
        contexts = np.array(_CONTEXTS, np.int32)
        out = untouched(*q.shape, dtype=_DTYPES[dtype])
        return [out, q, k, v, *parameters, None, None, table, starts, contexts,
                1 / math.sqrt(sizes.dim), 1, _WHOLE]  # fmt: skip

    block_q = min(queries, sizes.block_q)
    constants: dict[str, object] = {
        "GROUP": sizes.group, "HEADS": sizes.heads, "BLOCK_Q": block_q, "BLOCK_N": sizes.block,
        "PAGE": sizes.page, "D": sizes.dim, "CAUSAL": True, "PRECISION": "int8x2",
    }  # fmt: skip
    name = f"paged_attention-{sizes}-{spell(dtype, kv_dtype, queries)}"
    grid = (sizes.kv_heads // sizes.heads, programs(queries, block_q), len(_CONTEXTS))
    return Case(name, paged_attention_kernel, attention, grid, constants, sums_in_any_order=True)
