"""Access histories: which pairs conflict, what is forgotten, and that memory stays bounded."""

from __future__ import annotations

import random

from tilejit.backend.ascend.grids import grid_of
from tilejit.backend.ascend.races import AccessHistory, Clock, Record
from tilejit.ir.core import Op
from tilejit.ir.machine import Access
from tilejit.ops.machine.sync import PIPE_BARRIER
from tilejit.target.spaces import Pipe, Space

OP = Op(PIPE_BARRIER, {}, {"pipe": Pipe.V})
V, MTE2 = 1, 4


def record(
    component: int, index: int, start: int, size: int, *, write: bool, atomic: str = "", chain: object = None
) -> Record:
    grid = grid_of(Access(Space.UB, start, size, write))
    assert grid is not None
    return Record(OP, component, index, write, grid, atomic, chain)


def history() -> AccessHistory:
    return AccessHistory(lambda: [{}])


def conflicts(*steps: tuple[Record, Clock]) -> int:
    """How many conflicts the last access has."""
    memory = history()
    return [len(memory.add(item, clock)) for item, clock in steps][-1]


def test_accesses_of_two_pipes_conflict_unless_ordered() -> None:
    write, read = record(MTE2, 1, 0, 64, write=True), record(V, 1, 32, 64, write=False)
    assert conflicts((write, {}), (read, {})) == 1
    assert conflicts((write, {}), (read, {MTE2: 1})) == 0
    assert conflicts((read, {}), (write, {})) == 1
    assert conflicts((read, {}), (write, {V: 1})) == 0
    assert conflicts((write, {}), (record(V, 1, 64, 64, write=False), {})) == 0


def test_reads_never_conflict() -> None:
    assert conflicts((record(MTE2, 1, 0, 64, write=False), {}), (record(V, 1, 0, 64, write=False), {})) == 0


def test_one_pipe_needs_a_barrier_after_a_write_but_not_after_a_read() -> None:
    write, read = record(V, 1, 0, 64, write=True), record(V, 1, 0, 64, write=False)
    then_write, then_read = record(V, 2, 0, 64, write=True), record(V, 2, 0, 64, write=False)
    assert conflicts((write, {}), (then_write, {})) == 1
    assert conflicts((write, {}), (then_read, {})) == 1
    assert conflicts((read, {}), (then_write, {})) == 0
    assert conflicts((write, {}), (then_read, {V: 1})) == 0


def test_atomics_of_one_kind_may_meet() -> None:
    add = record(V, 1, 0, 64, write=True, atomic="add")
    assert conflicts((add, {}), (record(MTE2, 1, 0, 64, write=True, atomic="add"), {})) == 0
    assert conflicts((add, {}), (record(MTE2, 1, 0, 64, write=True, atomic="max"), {})) == 1
    assert conflicts((add, {}), (record(MTE2, 1, 0, 64, write=True), {})) == 1


def test_chains_order_themselves() -> None:
    first = record(V, 1, 0, 64, write=True, chain="c")
    assert conflicts((first, {}), (record(V, 2, 0, 64, write=True, chain="c"), {})) == 0
    assert conflicts((first, {}), (record(V, 2, 0, 64, write=True, chain="d"), {})) == 1


def test_an_atomic_does_not_hide_what_it_covers() -> None:
    plain = record(V, 1, 0, 64, write=True)
    add = record(V, 2, 0, 64, write=True, atomic="add")
    later = record(MTE2, 1, 0, 64, write=True, atomic="add")
    assert conflicts((plain, {}), (add, {V: 1}), (later, {})) == 1


def test_a_covering_write_replaces_what_it_follows() -> None:
    memory = history()
    for index in range(1, 100):
        memory.add(record(MTE2, index, 0, 64, write=True), {V: index - 1, MTE2: index - 1})
        memory.add(record(V, index, 0, 64, write=False), {MTE2: index})
    assert memory.size <= 2


def test_what_every_pipe_knows_is_forgotten() -> None:
    known: Clock = {V: 0}
    memory = AccessHistory(lambda: [known])
    for index in range(1, 2000):
        known[V] = index - 1
        memory.add(record(V, index, 64 * (index % 1000), 32, write=index % 2 == 0), known)
    assert memory.size < 300


def test_random_accesses_against_all_pairs() -> None:
    """Dropping records loses no conflict: whoever conflicts with anything is told of a conflict."""
    for seed in range(60):
        rng = random.Random(seed)
        memory = history()
        clocks: list[Clock] = [{} for _ in range(4)]
        counts = [0] * 4
        past: list[Record] = []
        for _ in range(80):
            pipe = rng.randrange(4)
            if rng.random() < 0.4:  # a flag from another pipe, or a barrier
                source = rng.randrange(4)
                sent = {**clocks[source], source: counts[source]}
                for component, index in sent.items():
                    clocks[pipe][component] = max(clocks[pipe].get(component, 0), index)
                continue
            counts[pipe] += 1
            item = record(
                pipe, counts[pipe], 8 * rng.randrange(8), 8 * rng.randint(1, 4), write=rng.random() < 0.5
            )
            expected = {
                (other.component, other.is_write)
                for other in past
                if (other.is_write or item.is_write)
                and clocks[pipe].get(other.component, 0) < other.index
                and not (other.component == pipe and not other.is_write)
                and other.grid.start < item.grid.end
                and item.grid.start < other.grid.end
            }
            found = memory.add(item, clocks[pipe])
            assert bool(found) == bool(expected), seed
            assert {(c.earlier.component, c.earlier.is_write) for c in found} <= expected
            past.append(item)
