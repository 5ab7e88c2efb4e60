"""Spaces and searches: which candidates there are, and in which order they are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from benchmarks.sweep.driver import Findings
from benchmarks.sweep.outcome import Outcome, State
from benchmarks.sweep.search import SEARCHES, Search
from benchmarks.sweep.space import Candidate, Space, spell
from benchmarks.sweep.timers import seeded_cost

SPACE = Space.parse("a=1:16:1; b=8:512:*2; c=x,y")


def test_a_space_is_read() -> None:
    space = Space.parse(" a = 16:64:*2 , 5; b=1:10:4;c=True,2.5,fast ")
    assert space.axes == (("a", (16, 32, 64, 5)), ("b", (1, 5, 9)), ("c", (True, 2.5, "fast")))
    assert space.size == 36
    assert str(space) == "a=16,32,64,5; b=1,5,9; c=True,2.5,fast"
    assert Space.parse(str(space)) == space


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the space is empty: write it like 'BLOCK=16:256:*2; STAGES=1,2,3'"),
        ("a", "cannot read 'a' in a space: write NAME=VALUES once for each name"),
        ("a=1; a=2", "cannot read 'a=2' in a space: write NAME=VALUES once for each name"),
        ("a=1,,2", "a value is missing in 'a=1,,2'"),
        ("a=1:2", "cannot read '1:2' in 'a=1:2': write FIRST:LAST:STEP or FIRST:LAST:*FACTOR"),
        ("a=4:1:1", "'4:1:1' in 'a=4:1:1' does not go up: write FIRST:LAST:STEP or FIRST:LAST:*FACTOR"),
        ("a=0:8:*2", "'0:8:*2' in 'a=0:8:*2' does not go up: write FIRST:LAST:STEP or FIRST:LAST:*FACTOR"),
    ],
)
def test_a_space_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(ValueError) as raised:
        Space.parse(text)
    assert str(raised.value) == message


def test_numbers_places_and_iteration_agree() -> None:
    for number, candidate in enumerate(SPACE):
        assert SPACE[number] == candidate
        assert SPACE.at(SPACE.places(candidate)) == candidate
    assert number == SPACE.size - 1


def test_the_candidate_near_a_choice() -> None:
    assert SPACE.near({"a": 3, "b": 100, "c": "y"}) == (("a", 3), ("b", 128), ("c", "y"))
    assert SPACE.near({"b": 7, "c": "z"}) == (("a", 1), ("b", 8), ("c", "x"))
    assert spell(SPACE.near({})) == "a=1 b=8 c=x"


def asked(search: Search, cost: Callable[[Candidate], float], most: int) -> list[Candidate]:
    """The candidates that a search asks for, up to about a number."""
    order: list[Candidate] = []
    batch = next(search)
    while batch and len(order) < most:
        order += batch
        try:
            batch = search.send({candidate: cost(candidate) for candidate in batch})
        except StopIteration:
            break
    return order


def bowl(candidate: Candidate) -> float:
    return seeded_cost(SPACE, candidate, 3).score


@pytest.mark.parametrize("name", SEARCHES)
def test_every_candidate_once_the_start_first(name: str) -> None:
    start = SPACE.near({"a": 5, "b": 64})
    order = asked(SEARCHES[name](SPACE, start, 0), bowl, SPACE.size)
    assert order[0] == start
    assert sorted(order) == sorted(SPACE)


@pytest.mark.parametrize("name", SEARCHES)
def test_the_order_depends_on_the_seed_alone(name: str) -> None:
    start = SPACE.near({})
    orders = [asked(SEARCHES[name](SPACE, start, seed), bowl, 100) for seed in (1, 1, 2)]
    assert orders[0] == orders[1]
    assert (orders[0] == orders[2]) == (name == "exhaustive")


def test_pattern_search_finds_the_bottom_of_a_bowl_early() -> None:
    space = Space.parse("a=1:64:1; b=1:64:1")
    best = min(space, key=lambda candidate: seeded_cost(space, candidate, 7).score)
    order = asked(
        SEARCHES["pattern"](space, space.near({}), 0), lambda c: seeded_cost(space, c, 7).score, 200
    )
    costs = {candidate: seeded_cost(space, candidate, 7).score for candidate in order}
    assert min(costs.values()) <= 1.01 * seeded_cost(space, best, 7).score
    assert len(order) < 300


def test_failures_do_not_stop_a_pattern_search() -> None:
    order = asked(SEARCHES["pattern"](SPACE, SPACE.near({}), 0), lambda candidate: math.inf, SPACE.size)
    assert sorted(order) == sorted(SPACE)


def test_made_up_costs_depend_on_the_seed() -> None:
    candidate = SPACE.near({})
    assert seeded_cost(SPACE, candidate, 1) == seeded_cost(SPACE, candidate, 1)
    assert seeded_cost(SPACE, candidate, 1) != seeded_cost(SPACE, candidate, 2)


DEFAULT, OTHER, THIRD = ((("n", n),) for n in (1, 2, 3))


def timed(candidate: Candidate, score: float, worst: float) -> Outcome:
    return Outcome(candidate, State.TIMED, score, 100.0 * score, worst=worst)


@pytest.mark.parametrize(
    ("finals", "chosen"),
    [
        ({OTHER: (0.97, 1.01), DEFAULT: (1.0, 1.01)}, DEFAULT),  # within noise
        ({OTHER: (0.97, 0.99), DEFAULT: (1.0, 1.01)}, OTHER),
        (
            {OTHER: (0.97, 1.01), THIRD: (0.98, 1.01)},
            DEFAULT,
        ),  # which both ran beside
        ({OTHER: (0.97, 1.01), THIRD: (0.98, 0.99)}, THIRD),
        ({}, OTHER),  # too far ahead to be compared with others
    ],
)
def test_noise_does_not_replace_the_default(
    finals: dict[Candidate, tuple[float, float]], chosen: Candidate
) -> None:
    outcomes = {c: timed(c, score, score) for c, score in ((DEFAULT, 1.0), (OTHER, 0.9), (THIRD, 0.95))}
    findings = Findings(outcomes, {c: timed(c, *values) for c, values in finals.items()})
    assert findings.chosen(DEFAULT).candidate == chosen
    untried = findings.chosen((("n", 4),)).candidate
    assert untried == (OTHER if chosen == DEFAULT else chosen)
