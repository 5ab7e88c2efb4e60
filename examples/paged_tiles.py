"""How the paged attention example cuts its work: queries, keys and heads of a program."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from paged_arguments import check_tiles
from paged_survey import Survey

import tilejit

Array = NDArray[np.generic]

MOST_TILE_BYTES = 64 * 1024
"""Of the keys that a program multiplies at a time: those, the values and the next of both fit in 256 KB."""
PARTS_A_THREAD = 4
"""Programs for each thread that are enough to keep all busy to the end."""
FEWEST_TILES = 8
"""Tiles of keys that are worth a program of their own."""


@dataclass(frozen=True)
class Tiles:
    """How the work is cut: see ``paged_attention``."""

    block_q: int
    block_n: int
    heads: int
    split_keys: int


def choose_tiles(
    kernel: tilejit.Kernel, q: Array, k_pages: Array, survey: Survey, asked: dict[str, int | None]
) -> Tiles:  # fmt: skip
    """What the caller asks for, else what a sweep has found, else what suits the batch."""
    _, page_size, n_kv_heads, head_dim = k_pages.shape
    # 64 rows a tile fill the registers of the product; decode has G rows and no more. 0: chosen below.
    default = {
        "block_q": max(1, min(survey.longest, 64 * n_kv_heads // q.shape[1])),
        "block_n": _keys_per_tile(page_size), "heads": 0, "split_keys": 0,
    }  # fmt: skip
    key = _tuning_key(q, k_pages, survey)
    known = (tuple(key.items()), tuple(default.items()), tilejit.get_num_threads(), tilejit.tuned_version())
    tuned = _tuned(kernel, *known)
    block_q = asked["block_q"] or tuned["block_q"]
    block_n = asked["block_n"] or tuned["block_n"]
    heads = asked["heads"] or tuned["heads"]
    if not heads:
        heads = _heads_per_program(n_kv_heads, block_q, block_n * head_dim * k_pages.itemsize)
    split_keys = asked["split_keys"] or tilejit.cdiv(tuned["split_keys"], block_n) * block_n
    if not split_keys:
        work = survey.work
        if survey.longest > block_q:
            work = int((-(-survey.lengths // block_q) * survey.contexts.astype(np.int64)).sum())
        split_keys = _keys_per_split(work * (n_kv_heads // heads), survey.context, block_n)
    check_tiles(asked, n_kv_heads, block_n, heads, split_keys)
    return Tiles(block_q, block_n, heads, split_keys)


@functools.lru_cache(maxsize=256)
def _tuned(
    kernel: tilejit.Kernel,
    key: tuple[tuple[str, int | str], ...],
    default: tuple[tuple[str, int], ...],
    _threads: int,
    _version: int,
) -> dict[str, int]:
    """What a sweep has found for such calls; kept, since decode asks at every step."""
    return tilejit.tuned(kernel, dict(key), dict(default))


def _tuning_key(q: Array, k_pages: Array, survey: Survey) -> dict[str, int | str]:
    """What the best tile sizes depend on; numbers that change from call to call count by powers of two."""
    return {
        "q": _name(q.dtype), "kv": _name(k_pages.dtype), "heads": q.shape[1], "kv_heads": k_pages.shape[2],
        "head_dim": q.shape[2], "page": k_pages.shape[1],
        "sequences": tilejit.next_power_of_2(len(survey.contexts)),
        "queries": tilejit.next_power_of_2(survey.longest),
        "context": tilejit.next_power_of_2(survey.context),
    }  # fmt: skip


@functools.cache
def _name(dtype: np.dtype[np.generic]) -> str:
    return str(dtype)


def _keys_per_tile(page_size: int) -> int:
    """A tile within one page costs one look-up and plain rows; only tiny pages are worth gathering."""
    if page_size % 64 == 0:
        return 64
    return page_size if 16 <= page_size <= 256 else 64


def _heads_per_program(n_kv_heads: int, block_q: int, tile_bytes: int) -> int:
    """In decode, as many KV heads as have tiles that fit in a cache together: pages are read as they lie.

    With more queries each tile is used so often that how it is read matters less than that it stays in L1.
    """
    if block_q > 1:
        return 1
    fitting = max(1, MOST_TILE_BYTES // max(tile_bytes, 1))
    return max(n for n in range(1, n_kv_heads + 1) if n_kv_heads % n == 0 and n <= fitting)


def _keys_per_split(work: int, longest: int, block_n: int) -> int:
    """How many keys of a sequence a program takes, whole tiles: all, unless that leaves threads without work.

    Units: ``work`` in pairs of a block of queries and a key.
    """
    parts = PARTS_A_THREAD * tilejit.get_num_threads()
    even = tilejit.cdiv(max(work, 1), parts)
    fewest = FEWEST_TILES * block_n
    split = tilejit.cdiv(max(even, fewest), block_n) * block_n
    return split if split < longest else tilejit.cdiv(max(longest, 1), block_n) * block_n
