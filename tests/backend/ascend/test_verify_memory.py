"""What a walk remembers of accesses: the same conflicts as in an access history, walk after walk."""

from __future__ import annotations

import random

from tests.backend.ascend.test_races import OP
from tilejit.backend.ascend.grids import Grid, grid_of
from tilejit.backend.ascend.races import AccessHistory, Clock, Conflict, Record
from tilejit.backend.ascend.verify_memory import SpotTable
from tilejit.ir.machine import Access
from tilejit.target.spaces import Space

PIPES = 4


def some_grid(source: random.Random) -> Grid:
    dims = source.choice(((), (), ((2, 24),), ((3, 16),)))
    grid = grid_of(Access(Space.UB, 8 * source.randrange(8), 8 * source.randint(1, 3), True, dims))
    assert grid is not None
    return grid


def said(conflicts: list[Conflict]) -> set[tuple[object, ...]]:
    return {(c.earlier.component, c.earlier.index, c.earlier.is_write, c.start, c.end) for c in conflicts}


def test_spots_tell_of_the_conflicts_that_a_history_tells_of() -> None:
    for seed in range(40):
        source = random.Random(seed)
        table = SpotTable(Space.UB)
        for _ in range(3):  # walks over one memory, in which the same spots come again
            table.forget()
            history = AccessHistory(lambda: [{}])
            clocks: list[Clock] = [{} for _ in range(PIPES)]
            counts = [0] * PIPES
            for _ in range(60):
                pipe = source.randrange(PIPES)
                if source.random() < 0.4:  # a flag from another pipe, or a barrier
                    other = source.randrange(PIPES)
                    for component, index in {**clocks[other], other: counts[other]}.items():
                        clocks[pipe][component] = max(clocks[pipe].get(component, 0), index)
                    continue
                counts[pipe] += 1
                is_write, grid = source.random() < 0.5, some_grid(source)
                atomic, chain = source.choice(("", "", "add")), source.choice((None, None, "c"))
                record = Record(OP, pipe, counts[pipe], is_write, grid, atomic, chain)
                spot = table.spot(OP, pipe, is_write, grid, atomic, chain)
                expected = history.add(record, clocks[pipe])
                assert said(spot.touch(OP, counts[pipe], clocks[pipe])) == said(expected), seed


def test_a_write_forgets_what_it_stands_for() -> None:
    table = SpotTable(Space.UB)
    small, large = (grid_of(Access(Space.UB, 0, size, True)) for size in (32, 64))
    assert small is not None and large is not None
    read = table.spot(OP, 1, False, small, "", None)
    write = table.spot(OP, 2, True, large, "", None)
    assert read.touch(OP, 1, {}) == [] and write.touch(OP, 1, {1: 1}) == []
    assert read.record.index == 0
    assert [c.earlier.component for c in table.spot(OP, 3, True, large, "", None).touch(OP, 1, {})] == [2]
