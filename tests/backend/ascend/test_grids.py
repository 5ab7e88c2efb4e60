"""Overlap of strided accesses against sets of bytes."""

from __future__ import annotations

import itertools
import random

import pytest

from tilejit.backend.ascend.grids import grid_of, meet, overlap
from tilejit.ir.machine import Access
from tilejit.target.spaces import Space


def access(start: int, run: int, *dims: tuple[int, int]) -> Access:
    return Access(Space.UB, start, run, False, dims)


def bytes_of(item: Access) -> set[int]:
    starts = itertools.product(*[[i * stride for i in range(count)] for count, stride in item.dims])
    return {item.start + sum(offsets) + i for offsets in starts for i in range(item.run_bytes)}


def random_access(rng: random.Random) -> Access:
    dims = [(rng.randint(0, 4), rng.choice([0, 1, 3, 4, 8, 12, 16, 32])) for _ in range(rng.randint(0, 3))]
    return access(rng.randint(0, 60), rng.randint(0, 6), *dims)


@pytest.mark.parametrize("seed", range(20))
def test_random_grids_overlap_where_their_bytes_do(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(200):
        first, second = random_access(rng), random_access(rng)
        one, other = grid_of(first), grid_of(second)
        assert (one is None) == (not bytes_of(first))
        if one is None or other is None:
            continue
        common = bytes_of(first) & bytes_of(second)
        found = overlap(one, other)
        assert (found is not None) == meet(one, other) == bool(common), (first, second)
        if found is not None:
            assert set(range(*found)) <= common, (first, second)
        if one.covers(other):
            assert bytes_of(second) <= bytes_of(first)


def test_interleaved_columns_do_not_overlap() -> None:
    left, right = access(0, 64, (128, 256)), access(64, 192, (128, 256))
    one, other = grid_of(left), grid_of(right)
    assert one is not None and other is not None
    assert overlap(one, other) is None
    wider = grid_of(access(0, 65, (128, 256)))
    assert wider is not None
    assert overlap(wider, other) == (64, 65)


def test_touching_runs_become_one_range() -> None:
    grid = grid_of(access(32, 32, (4, 256), (8, 32)))
    assert grid is not None
    assert (grid.start, grid.end, grid.dims) == (32, 32 + 1024, ())


def test_nested_dims_of_one_stride_become_one() -> None:
    grid = grid_of(access(0, 8, (4, 64), (4, 16)))
    assert grid is not None
    assert (grid.run, grid.dims) == (8, ((16, 16),))
