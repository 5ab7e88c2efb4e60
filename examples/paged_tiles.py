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

PIECE_BYTES = 4096
"""Of a token, to be read in one piece: hardware prefetchers follow addresses to the end of a memory page.

Source: Cascade Lake, two threads, 8 sequences, pages of 64 tokens in random order, GB/s of keys and values by
the size of a piece, each with the best number of keys. 32 heads: fp32 12.3 (1 KB), 17.6 (4 KB), 18.0 (8 KB),
bf16 12.5 (2 KB), 17.5 (4 KB), int8 11.1 (1 KB), 13.5 (2 KB), 16.7 (4 KB); 8 heads: fp32 11.7 (1 KB), 14.9
(2 KB), 19.8 (4 KB). A loop that only reads gets 16 in pieces of 1 KB, 21 in such of 4 KB.
"""
WANTED_IN_L2, FEWEST_IN_L2 = 8, 4
"""How many tiles of keys a core's second-level cache is to have room for: those of keys and values and the
next of both take half of it. They may take all of it where fewer keys were less than a vector.
"""
PARTS_A_THREAD = 4
"""Programs for each thread that are enough to keep all busy to the end."""
FEWEST_TILES, FEWEST_BYTES = 8, 512 * 1024
"""Tiles of keys that are worth a program of their own, or bytes of keys where tiles are large: eight of 64
keys with 8 heads of 128 bytes make as much.
"""


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
    itemsize = k_pages.itemsize
    # 64 rows a tile fill the registers of the product; decode has G rows and no more. 0: chosen below.
    rows = max(1, min(survey.longest, 64 * n_kv_heads // q.shape[1]))
    keys = _keys_per_tile(page_size, n_kv_heads, asked["block_q"] or rows, head_dim, itemsize)
    default = {"block_q": rows, "block_n": keys, "heads": 0, "split_keys": 0}
    key = _tuning_key(q, k_pages, survey)
    known = (tuple(key.items()), tuple(default.items()), tilejit.get_num_threads(), tilejit.tuned_version())
    tuned = _tuned(kernel, *known)
    block_q = asked["block_q"] or tuned["block_q"]
    block_n = asked["block_n"] or tuned["block_n"]
    heads = asked["heads"] or tuned["heads"]
    if not heads:
        heads = _heads_per_program(n_kv_heads, block_q, block_n, head_dim * itemsize)
    split_keys = asked["split_keys"] or tilejit.cdiv(tuned["split_keys"], block_n) * block_n
    if not split_keys:
        work = survey.work
        if survey.longest > block_q:
            work = int((-(-survey.lengths // block_q) * survey.contexts.astype(np.int64)).sum())
        token_bytes = heads * head_dim * itemsize
        split_keys = _keys_per_split(work * (n_kv_heads // heads), survey.context, block_n, token_bytes)
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


@functools.cache
def _keys_per_tile(page_size: int, n_kv_heads: int, block_q: int, head_dim: int, itemsize: int) -> int:
    """A tile within one page costs one look-up and plain rows; only tiny pages are worth gathering.

    In decode fewer keys leave room for more heads.
    """
    keys = page_size if page_size % 64 and 16 <= page_size <= 256 else 64
    if block_q > 1:
        return keys
    choices, head_bytes, machine = [keys], head_dim * itemsize, tilejit.host_cpu()
    while choices[-1] % 2 == 0 and choices[-1] // 2 * itemsize >= machine.vector_bytes:
        choices.append(choices[-1] // 2)
    pieces = {n: head_bytes * _heads_per_program(n_kv_heads, block_q, n, head_bytes) for n in choices}
    fitting = [n for n in choices if pieces[n] * n * WANTED_IN_L2 <= machine.l2_bytes]
    whole = min(n_kv_heads * head_bytes, PIECE_BYTES)
    longest = next((n for n in fitting if pieces[n] >= whole), choices[-1])
    return next((n for n in fitting if pieces[n] == pieces[longest]), longest)


@functools.cache
def _heads_per_program(n_kv_heads: int, block_q: int, block_n: int, head_bytes: int) -> int:
    """In decode, KV heads that make a piece of ``PIECE_BYTES``, or as many as have tiles that fit in a cache
    together: pages are read as they lie.

    With more queries each tile is used so often that how it is read matters less than that it stays in L1.
    """
    if block_q > 1:
        return 1
    most = tilejit.host_cpu().l2_bytes // (FEWEST_IN_L2 * block_n * head_bytes)
    fitting = [n for n in range(1, n_kv_heads + 1) if n_kv_heads % n == 0 and n <= max(most, 1)]
    return next((n for n in fitting if n * head_bytes >= PIECE_BYTES), fitting[-1])


def _keys_per_split(work: int, longest: int, block_n: int, token_bytes: int) -> int:
    """How many keys of a sequence a program takes, whole tiles: all, unless that leaves threads without work.

    Units: ``work`` in pairs of a block of queries and a key; ``token_bytes`` of the heads of one program.
    """
    parts = PARTS_A_THREAD * tilejit.get_num_threads()
    even = tilejit.cdiv(max(work, 1), parts)
    fewest = min(FEWEST_TILES * block_n, FEWEST_BYTES // max(token_bytes, 1))
    split = tilejit.cdiv(max(even, fewest), block_n) * block_n
    return split if split < longest else tilejit.cdiv(max(longest, 1), block_n) * block_n
