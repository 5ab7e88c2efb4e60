"""Cases of the kernel of examples/paged_attention.py with several KV heads a program."""

from __future__ import annotations

import math
from collections.abc import Iterator

import ml_dtypes
import numpy as np
from paged_attention import paged_attention_kernel
from serving_batch import make_batch

from tests.kernels_ascend.case import Argument, Case
from tests.kernels_ascend.vector_cases import Random, programs, spell, untouched

_WHOLE = 1 << 20
"""Keys of a sequence that one program takes, where they are not dealt out."""
_DTYPES: dict[str, type] = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
_SIZES: tuple[tuple[int, int, int, int, int, int], ...] = (
    # KV heads, those of a program, query heads of each, D, page, keys a tile (of several pages, or a part)
    (2, 2, 4, 64, 64, 64),
    (3, 3, 1, 64, 16, 16),
    (2, 2, 2, 64, 16, 64),
    (2, 2, 3, 64, 32, 32),
    (4, 4, 2, 32, 128, 32),
    (4, 2, 4, 128, 256, 32),
)
_PROMPT = (2, 1, 4, 128, 16, 64)
"""A prompt of whole blocks of queries over small pages: its loads want more flags than there are."""
_CONTEXTS = (200, 0, 1, 64)


def paged_cases() -> Iterator[Case]:
    """All cases: pages of bytes and of 16-bit floats, decode and short prompts."""
    for kv_heads, heads, group, dim, page, block in (*_SIZES, _PROMPT):
        is_prompt = (kv_heads, heads, group, dim, page, block) == _PROMPT
        for dtype in ("bfloat16",) if is_prompt else _DTYPES:
            for kv_dtype in ("int8",) if is_prompt else (dtype, "int8"):
                for queries in (20,) if is_prompt else (1, 3) if (page, block) == (32, 32) else (1,):

                    def attention(
                        random: Random,
                        kv_heads: int = kv_heads,
                        group: int = group,
                        dim: int = dim,
                        page: int = page,
                        dtype: str = dtype,
                        kv_dtype: str = kv_dtype,
                        queries: int = queries,
                    ) -> list[Argument]:
                        batch = make_batch(
                            [max(context, queries) for context in _CONTEXTS], [queries] * len(_CONTEXTS),
                            heads=kv_heads * group, kv_heads=kv_heads, head_dim=dim, block_size=page,
                            dtype=dtype, kv_dtype=kv_dtype, seed=int(random.integers(1 << 30)),
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
                                1 / math.sqrt(dim), 1, _WHOLE]  # fmt: skip

                    block_q = 16 if is_prompt else min(queries, 2)
                    constants: dict[str, object] = {
                        "GROUP": group, "HEADS": heads, "BLOCK_Q": block_q, "BLOCK_N": block,
                        "PAGE": page, "D": dim, "CAUSAL": True, "PRECISION": "int8x2",
                    }  # fmt: skip
                    sizes = (kv_heads, heads, group, dim, page, block)
                    name = f"paged_attention-{spell(sizes, dtype, kv_dtype, queries)}"
                    grid = (kv_heads // heads, programs(queries, block_q), len(_CONTEXTS))
                    yield Case(
                        name, paged_attention_kernel, attention, grid, constants, sums_in_any_order=True
                    )
