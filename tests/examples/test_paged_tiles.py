"""How the paged attention example cuts its work for a batch and a machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import paged_attention
import paged_tiles
import pytest
import serving_batch
from paged_survey import survey_checked
from serving_batch import Batch

import tilejit
from tilejit.target.cpu import CpuTarget, generic_avx512, sapphire_rapids


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    threads = tilejit.get_num_threads()
    tilejit.set_num_threads(2)
    yield
    tilejit.set_num_threads(threads)


def chosen(
    patch: pytest.MonkeyPatch, machine: CpuTarget, batch: Batch, block_q: int | None = None
) -> paged_tiles.Tiles:
    """The tiles for a batch on a machine that has recorded none."""
    patch.setattr(tilejit, "host_cpu", lambda: machine)
    patch.setattr(tilejit, "tuned", lambda kernel, key, default: default)
    for function in (paged_tiles._keys_per_tile, paged_tiles._heads_per_program, paged_tiles._tuned):
        function.cache_clear()
    q, k_pages, _, _, contexts = batch.arguments
    asked = {"block_q": block_q, "block_n": None, "heads": None, "split_keys": None}
    survey = survey_checked(contexts, batch.q_lens)
    kernel = paged_attention.paged_attention_kernel
    tiles = paged_tiles.choose_tiles(kernel, q, k_pages, survey, asked)
    for function in (paged_tiles._keys_per_tile, paged_tiles._heads_per_program, paged_tiles._tuned):
        function.cache_clear()
    return tiles


def batch_of(
    kv_heads: int, kv_dtype: str, *, page_size: int = 64, q_len: int = 1, context: int = 64
) -> Batch:
    return serving_batch.make_batch(
        [context], [q_len], heads=kv_heads, kv_heads=kv_heads, head_dim=128, block_size=page_size,
        dtype="float32", kv_dtype=kv_dtype, shared_pages=0,
    )  # fmt: skip


SMALL = replace(generic_avx512(), l2_bytes=256 * 1024)


@pytest.mark.parametrize(
    ("machine", "kv_heads", "kv_dtype", "heads", "keys"),
    [
        # 4 KB of a token side by side, or all of it; fewer keys where the tiles take half of L2.
        (generic_avx512(), 8, "float32", 8, 32),
        (generic_avx512(), 8, "bfloat16", 8, 64),
        (generic_avx512(), 8, "int8", 8, 64),
        (generic_avx512(), 32, "float32", 8, 32),
        (generic_avx512(), 32, "bfloat16", 16, 32),
        (generic_avx512(), 32, "int8", 32, 64),
        (generic_avx512(), 2, "float32", 2, 64),
        (sapphire_rapids(), 32, "float32", 8, 64),
        (sapphire_rapids(), 32, "int8", 32, 64),
        # A vector of keys at least, and shorter pieces where no more tiles fit.
        (SMALL, 32, "float32", 8, 16),
        (SMALL, 32, "int8", 8, 64),
    ],
)
def test_a_program_reads_whole_pieces_of_tokens(
    monkeypatch: pytest.MonkeyPatch, machine: CpuTarget, kv_heads: int, kv_dtype: str, heads: int, keys: int
) -> None:
    tiles = chosen(monkeypatch, machine, batch_of(kv_heads, kv_dtype))
    assert (tiles.heads, tiles.block_n) == (heads, keys)


@pytest.mark.parametrize(("page_size", "keys"), [(16, 16), (24, 24), (96, 24), (128, 32)])
def test_keys_of_a_tile_divide_a_page(monkeypatch: pytest.MonkeyPatch, page_size: int, keys: int) -> None:
    assert page_size % keys == 0
    assert chosen(monkeypatch, generic_avx512(), batch_of(8, "float32", page_size=page_size)).block_n == keys


def test_keys_of_tiny_pages_are_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch, generic_avx512(), batch_of(8, "float32", page_size=8)).block_n == 32


def test_keys_are_no_fewer_where_that_lets_in_no_head(monkeypatch: pytest.MonkeyPatch) -> None:
    tiles = chosen(monkeypatch, replace(SMALL, l2_bytes=512 * 1024), batch_of(17, "float32"))
    assert (tiles.heads, tiles.block_n) == (1, 64)


def test_keys_suit_the_queries_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    tiles = chosen(monkeypatch, generic_avx512(), batch_of(8, "float32"), block_q=4)
    assert (tiles.heads, tiles.block_q, tiles.block_n) == (1, 4, 64)


def test_prefill_takes_one_head(monkeypatch: pytest.MonkeyPatch) -> None:
    tiles = chosen(monkeypatch, generic_avx512(), batch_of(8, "float32", q_len=9))
    assert (tiles.heads, tiles.block_q, tiles.block_n) == (1, 9, 64)


@pytest.mark.parametrize(
    ("kv_heads", "kv_dtype", "keys"), [(8, "float32", 128), (8, "int8", 512), (1, "int8", 512)]
)
def test_large_tiles_are_shared_out_by_bytes(
    monkeypatch: pytest.MonkeyPatch, kv_heads: int, kv_dtype: str, keys: int
) -> None:
    tilejit.set_num_threads(64)
    tiles = chosen(monkeypatch, generic_avx512(), batch_of(kv_heads, kv_dtype, context=2048))
    assert tiles.split_keys == keys
