"""Tiles that skinny_matmul chooses: wide pieces, no masked rest where that can be, work for all threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import skinny_matmul as example

import tilejit


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Set the number of threads for a test."""
    before = tilejit.get_num_threads()
    yield tilejit.set_num_threads
    tilejit.set_num_threads(before)


@pytest.fixture(params=[True, False], ids=["vnni", "other"])
def interleaves(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether dots interleave wide rows of int8."""
    monkeypatch.setattr(example, "_interleaves_int8", lambda: request.param)
    return bool(request.param)


@pytest.mark.parametrize(
    ("m", "n", "itemsize", "piece"),
    [
        (1, 11008, 4, 11008), (4, 11008, 2, 11008), (4, 11008, 1, 11008),  # whole rows
        (1, 13824, 4, 6912), (4, 49152, 1, 12288), (1, 98304, 1, 49152),  # as long as caches and limits allow
        (1, 50021, 1, 4096), (4, 50021, 4, 1024),  # no part of a prime number
        (16, 11008, 4, 688),
    ],
)  # fmt: skip
def test_long_pieces(threads: Callable[[int], None], m: int, n: int, itemsize: int, piece: int) -> None:
    threads(2)
    assert example._blocks(m, n, 4096, itemsize, False, False)[0] == piece


@pytest.mark.parametrize(
    ("m", "itemsize", "k", "tile"),
    [
        (1, 1, 4096, (64, 4096)), (2, 2, 11008, (64, 2752)), (2, 4, 4096, (64, 2048)),
        (4, 1, 4096, (256, 4096)), (8, 1, 11008, (256, 5504)), (3, 1, 4160, (256, 4160)),
        (4, 1, 9001, (256, 9001)), (4, 2, 20011, (128, 6688)), (4, 4, 9001, (128, 1008)),
        (4, 2, 11008, (128, 5504)), (8, 2, 4096, (128, 4096)), (4, 4, 4096, (128, 1024)),
    ],
)  # fmt: skip
def test_tiles_of_weights_by_output(
    threads: Callable[[int], None], m: int, itemsize: int, k: int, tile: tuple[int, int]
) -> None:
    threads(2)
    assert example._blocks(m, 4096, k, itemsize, True, False) == tile


@pytest.mark.parametrize(
    ("n", "interleaved", "piece"),
    [(4096, 2048, 4096), (11008, 2752, 2752), (128256, 2816, 4096), (1000, 1000, 1000)],
)
def test_pieces_that_are_interleaved_stay_wide(
    threads: Callable[[int], None], interleaves: bool, n: int, interleaved: int, piece: int
) -> None:
    threads(2)
    assert example._blocks(8, n, 4096, 1, False, False)[0] == (interleaved if interleaves else piece)


@pytest.mark.parametrize("m", [1, 4, 16])
@pytest.mark.parametrize("itemsize", [1, 2, 4])
@pytest.mark.parametrize(("n", "k"), [(49152, 256), (11008, 1024), (11008, 4096), (4096, 4096), (8192, 64)])
@pytest.mark.parametrize("count", [1, 2, 16])
def test_every_thread_has_work(
    threads: Callable[[int], None], interleaves: bool, m: int, itemsize: int, n: int, k: int, count: int
) -> None:
    """Several programs each, but where pieces of 4 KB and steps along k are all used up."""
    threads(count)
    if not example._has_wide_rows(m, itemsize, False, False):
        pytest.skip("bound by arithmetic")
    block_n, block_k = example._blocks(m, n, k, itemsize, False, False)
    columns = tilejit.cdiv(n, block_n)
    programs = columns * tilejit.cdiv(k, example._part_k(k, block_k, columns))
    shortest = tilejit.cdiv(n * itemsize, 4096) * max(1, k // (4 * block_k))
    assert programs >= min(2 * count, shortest // 2)


@pytest.mark.parametrize(("m", "n", "k"), [(1, 1021, 70), (4, 2100, 65), (5, 4160, 130), (16, 2816, 20)])
@pytest.mark.parametrize("count", [1, 3])
def test_wide_weights(threads: Callable[[int], None], m: int, n: int, k: int, count: int) -> None:
    threads(count)
    generator = np.random.default_rng(m)
    x = generator.standard_normal((m, k), dtype=np.float32)
    weights = generator.integers(-128, 128, (k, n)).astype(np.int8)
    scale = generator.uniform(0.5, 2.0, n).astype(np.float32)
    expected = x.astype(np.float64) @ weights.astype(np.float64) * scale
    difference = example.skinny_matmul(x, weights, scale=scale) - expected
    assert np.linalg.norm(difference) <= 1e-4 * np.linalg.norm(expected)
