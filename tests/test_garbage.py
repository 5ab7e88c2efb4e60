"""When Python looks for garbage while and after something is loaded or compiled."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tests.kernels_ascend.cases import MIXED_CASES
from tests.kernels_ascend.harness import lower
from tilejit.backend.ascend.memory import CoreMemory
from tilejit.backend.ascend.pipes import SimulatedCore
from tilejit.backend.ascend.simulator import simulate
from tilejit.garbage import without_collections
from tilejit.target.ascend import ASCEND_910B1


@pytest.fixture
def collections() -> Iterator[list[int]]:
    """How many objects the collections of a test freed, one entry each."""
    seen: list[int] = []

    def note(phase: str, facts: dict[str, int]) -> None:
        if phase == "stop":
            seen.append(facts["collected"])

    gc.callbacks.append(note)
    yield seen
    gc.callbacks.remove(note)


def many_lists() -> list[list[int]]:
    return [[number] for number in range(5000)]


def test_what_lasts_is_not_looked_through_at_once(collections: list[int]) -> None:
    gc.collect()
    del collections[:]
    with without_collections(for_lasting=True):
        kept = many_lists()
    assert gc.isenabled()
    kept.append([1])
    assert collections == []
    with without_collections():
        kept += many_lists()
    kept.append([1])
    assert collections != []
    assert gc.get_freeze_count() == 0


def test_cycles_among_it_are_found_later() -> None:
    with without_collections(for_lasting=True):
        cycle: list[object] = []
        cycle.append(cycle)
        del cycle
    assert gc.collect() >= 1


def test_what_the_program_froze_stays_frozen() -> None:
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with without_collections(for_lasting=True):
            pass
        assert gc.get_freeze_count() == frozen
    finally:
        gc.unfreeze()


@tilejit.kernel
def doubled(x, N: tl.constexpr):
    at = x + tl.arange(0, 16)
    tl.store(at, tl.load(at) * 2 + N)


def test_what_compilations_leave_is_found_in_the_long_run() -> None:
    """As often as Python would have: their collections count, and loading the compiler is no fresh start."""
    numbers = np.arange(16, dtype=np.float32)
    tilejit.compile(doubled, numbers, N=0)
    gc.collect()
    before = len(gc.get_objects())
    for number in range(1, 41):  # each leaves some 500 dead objects
        tilejit.compile(doubled, numbers, N=number)
    assert len(gc.get_objects()) - before < 8000


def test_a_simulation_goes_with_its_result() -> None:
    """Memories of all cores, of megabytes each, wait for no collection."""
    case = MIXED_CASES["chain-1"]
    kernel = lower(case.kernel, *case.arguments(), **case.constants)
    named = {**case.named(case.arguments()), **case.constants}
    gc.collect()
    gc.disable()
    try:
        result = simulate(kernel, named, case.full_grid, ASCEND_910B1, blocks=1)
        result.check()
        left = [object for object in gc.get_objects() if isinstance(object, (SimulatedCore, CoreMemory))]
    finally:
        gc.enable()
    assert left == []
