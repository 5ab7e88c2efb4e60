"""When Python looks for garbage while and after something is loaded or compiled."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tilejit.garbage import without_collections


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
