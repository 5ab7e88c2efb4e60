"""Which candidates to try next: exhaustive, random and pattern search.

A search yields batches of candidates it has not tried and is sent their scores, the smaller the better,
infinite for those that failed. What it asks for depends on the seed and on the scores, never on the order in
which they came: a sweep that was interrupted asks for the same candidates again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Mapping, Sequence
from types import MappingProxyType

from benchmarks.sweep.space import Candidate, Space

Scores = Mapping[Candidate, float]
Search = Generator[Sequence[Candidate], Scores, None]

_POINTS = 8
"""How many random candidates pattern search begins with, and how many it tries where it is stuck."""
_LARGEST = 1_000_000


def exhaustive(space: Space, start: Candidate, seed: int) -> Search:
    """Every candidate in order, the start first."""
    del seed
    yield [start, *(candidate for candidate in space if candidate != start)]


def at_random(space: Space, start: Candidate, seed: int) -> Search:
    """Every candidate once in random order, after the start."""
    yield [start, *(candidate for candidate in _shuffled(space, seed) if candidate != start)]


def pattern(space: Space, start: Candidate, seed: int) -> Search:
    """Steps along each axis from the best so far, half as long where none is better; then new random points.

    The neighbours of a point are one batch, so that workers share them.
    """
    scores: dict[Candidate, float] = {}
    order = iter(_shuffled(space, seed))
    longest = max(len(values) for _, values in space.axes)

    def new(candidates: Sequence[Candidate]) -> list[Candidate]:
        return [candidate for candidate in dict.fromkeys(candidates) if candidate not in scores]

    def random_points(count: int) -> list[Candidate]:
        points = []
        for candidate in order:
            if candidate not in scores and candidate != start:
                points.append(candidate)
            if len(points) == count:
                break
        return points

    batch = [start, *random_points(_POINTS)]
    while batch:
        scores.update((yield batch))
        stride = max(1, longest // 4)
        while stride:
            best = min(scores, key=scores.__getitem__)
            batch = new(_neighbours(space, best, stride))
            if batch:
                scores.update((yield batch))
            if min(scores, key=scores.__getitem__) == best:
                stride //= 2
        batch = random_points(_POINTS)


def _neighbours(space: Space, candidate: Candidate, stride: int) -> list[Candidate]:
    """The candidates a stride away along one axis, cut at its ends."""
    places = space.places(candidate)
    found = []
    for axis, (_, values) in enumerate(space.axes):
        for step in (-stride, stride):
            place = min(max(places[axis] + step, 0), len(values) - 1)
            found.append(space.at((*places[:axis], place, *places[axis + 1 :])))
    return found


def _shuffled(space: Space, seed: int) -> list[Candidate]:
    if space.size > _LARGEST:
        raise ValueError(f"the space has {space.size} candidates; up to {_LARGEST} can be searched")
    numbers = list(range(space.size))
    random.Random(seed).shuffle(numbers)
    return [space[number] for number in numbers]


SEARCHES: Mapping[str, Callable[[Space, Candidate, int], Search]] = MappingProxyType(
    {"exhaustive": exhaustive, "random": at_random, "pattern": pattern}
)
