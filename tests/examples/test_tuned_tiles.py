"""The examples use the tile sizes that were recorded for their shapes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import matmul
import numpy as np
import paged_attention
import pytest
import serving_batch

import tilejit
from tilejit.runtime import tuned as tuned_module


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder of the test's own."""
    monkeypatch.setenv("TILEJIT_CACHE_DIR", str(tmp_path))
    tuned_module.forget()


def launched(patch: pytest.MonkeyPatch, contexts: list[int]) -> dict[str, int]:
    """The constants and the splits with which the flagship launches its kernel for a batch that decodes."""
    batch = serving_batch.make_batch(
        contexts, [1] * len(contexts), heads=4, kv_heads=2, head_dim=16, block_size=16,
        dtype=np.float32, kv_dtype=np.float32,
    )  # fmt: skip
    seen: dict[str, int] = {}
    plain = paged_attention.plan_launches

    def watched(*args: object) -> list[paged_attention.Launch]:
        launches: list[paged_attention.Launch] = plain(*args)
        seen.update(launches[0].constants, launches=len(launches))
        return launches

    patch.setattr(paged_attention, "plan_launches", watched)
    out = paged_attention.paged_attention(*batch.arguments)
    expected = serving_batch.reference(*batch.arguments)
    assert serving_batch.largest_error(out, expected, batch.q_lens) < 2e-5
    return seen


def test_paged_attention_uses_what_was_recorded() -> None:
    def block_n(contexts: list[int]) -> int:
        with pytest.MonkeyPatch.context() as patch:
            return launched(patch, contexts)["BLOCK_N"]

    kernel = paged_attention.paged_attention_kernel
    assert block_n([40, 33]) == 16
    with tilejit.try_choice(kernel, {"block_n": 8}) as trial:
        assert block_n([40, 33]) == 8
    assert trial.default == {"block_q": 1, "block_n": 16, "heads": 0, "split_keys": 0}
    best = {"block_n": 32, "block_q": 1, "heads": 1, "split_keys": 16}
    tilejit.record_tuned(kernel, trial.key, best, time_us=1.0)
    with pytest.MonkeyPatch.context() as patch:
        seen = launched(patch, [40, 33])
    # Parts of keys are whole tiles: 32 of 40 keys, and the rest.
    assert (seen["BLOCK_N"], seen["HEADS"], seen["launches"]) == (32, 1, 2)
    assert block_n([64, 50]) == 32  # the same power of two
    assert block_n([65, 50]) == 16
    assert block_n([40, 33, 20]) == 16


def test_matmul_uses_what_was_recorded() -> None:
    a, b = np.ones((64, 48), np.float32), np.ones((48, 32), np.float32)
    choice = {"BLOCK_M": 32, "BLOCK_N": 32, "BLOCK_K": 16}
    with tilejit.try_choice(matmul.matmul_kernel, choice) as trial:
        np.testing.assert_array_equal(matmul.matmul(a, b), np.full((64, 32), 48.0))
    assert trial.key == {"m": 64, "n": 32, "k": 48, "dtype": "float32"}
    blocks = matmul.choose_blocks(64, 32, 48, 4)
    assert trial.default == dict(zip(("BLOCK_M", "BLOCK_N", "BLOCK_K"), blocks, strict=True))


def test_matmul_asks_anew_for_other_threads_and_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def choose(m: int, n: int, k: int, itemsize: int) -> tuple[int, int, int]:
        asked.append(tilejit.get_num_threads())
        return 16, 16, 16

    monkeypatch.setattr(matmul, "choose_blocks", choose)
    a, b = np.ones((37, 19), np.float32), np.ones((19, 23), np.float32)
    threads = tilejit.get_num_threads()
    try:
        for count in (1, 1, 2, 1):
            tilejit.set_num_threads(count)
            np.testing.assert_array_equal(matmul.matmul(a, b), np.full((37, 23), 19.0))
        tilejit.record_tuned(matmul.matmul_kernel, {"m": 37}, {"BLOCK_M": 32}, time_us=1.0)
        matmul.matmul(a, b)
    finally:
        tilejit.set_num_threads(threads)
    assert asked == [1, 2, 1]


def _blocks(threads: int, m: int, n: int, k: int, itemsize: int = 4) -> tuple[int, int, int]:
    before = tilejit.get_num_threads()
    try:
        tilejit.set_num_threads(threads)
        return matmul.choose_blocks(m, n, k, itemsize)
    finally:
        tilejit.set_num_threads(before)


@pytest.fixture
def l2_of_1_mb(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = dataclasses.replace(tilejit.host_cpu(), l2_bytes=1 << 20)
    monkeypatch.setattr(tilejit, "host_cpu", lambda: cpu)


@pytest.mark.usefixtures("l2_of_1_mb")
def test_tiles_of_a_product_are_large_and_divide_it() -> None:
    assert _blocks(1, 512, 512, 512) == (512, 512, 512)
    assert _blocks(1, 2048, 2048, 2048) == (1024, 512, 512)
    assert _blocks(1, 768, 768, 768) == (768, 384, 384)  # nothing past the end
    assert _blocks(1, 1100, 1100, 1000) == (550, 275, 500)
    assert _blocks(1, 907, 907, 907) == (912, 512, 512)  # as far past it as smaller ones
    assert _blocks(1, 300, 70, 1000) == (304, 128, 500)
    assert _blocks(1, 900, 900, 900, itemsize=2) == (225, 512, 1024)  # no multiple of 32 divides
    assert _blocks(1, 20, 4096, 13824, itemsize=2) == (24, 512, 864)


def test_tiles_are_flatter_where_l2_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = dataclasses.replace(tilejit.host_cpu(), l2_bytes=1 << 18)
    monkeypatch.setattr(tilejit, "host_cpu", lambda: cpu)
    assert _blocks(1, 1024, 1024, 512) == (256, 512, 512)


@pytest.mark.usefixtures("l2_of_1_mb")
def test_every_thread_gets_a_tile() -> None:
    assert _blocks(2, 512, 512, 512) == (512, 256, 512)
    assert _blocks(2, 512, 512, 512, itemsize=2) == (256, 512, 512)
    assert _blocks(2, 1024, 1024, 1024) == (1024, 256, 512)
    assert _blocks(2, 64, 64, 64) == (64, 64, 64)
    assert _blocks(2, 1, 512, 512) == (8, 256, 512)


@pytest.mark.usefixtures("l2_of_1_mb")
def test_threads_have_about_equally_many_tiles() -> None:
    assert _blocks(2, 1536, 512, 512) == (768, 256, 512)  # 2 and 2, not 2 and 1
    assert _blocks(3, 768, 768, 768) == (256, 384, 384)  # 2 each, where 384 rows would be 4 tiles
    assert _blocks(12, 768, 512, 512) == (256, 128, 512)
    assert _blocks(16, 900, 900, 450) == (225, 225, 450)
    assert _blocks(3, 1280, 256, 256, itemsize=2) == (256, 256, 256)  # bf16 is best in large ones
