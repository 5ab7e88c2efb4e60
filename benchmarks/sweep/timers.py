"""How a candidate gets its score: by the clock, by the model of a chip, or made up from a seed."""

from __future__ import annotations

import hashlib
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.measure import Comparison, compare, wait_until_quiet
from benchmarks.sweep.space import Candidate, Space, spell
from benchmarks.sweep.tunable import Bench

TIMERS = ("wall", "model", "cost")
_ROUNDS = 5
_FINAL_ROUNDS = 15
_BLOCK_SECONDS = 0.02
_FIRST_CALLS = 3
_SLOW = 1.4
"""A candidate whose first calls take longer than the default's by this is not timed any further."""


@dataclass(frozen=True)
class Time:
    """The time of a call in microseconds, and the score that candidates are compared by.

    By the clock the score is the ratio to the time of the default choice, taken in the same moments, as the
    speed of a machine drifts; the median over rounds, as other programs disturb some of them. ``worst`` is
    the upper end of the score's interval.
    """

    score: float
    time_us: float
    worst: float = math.inf


def time_by_clock(bench: Bench, candidate: Candidate) -> Time:
    """Time a candidate beside the default."""
    reference, own = bench.call(bench.default), bench.call(dict(candidate))
    reference()
    own()
    wait_until_quiet()
    first = [(_once(own), _once(reference)) for _ in range(_FIRST_CALLS)]
    own_s, base_s = (min(times) for times in zip(*first, strict=True))
    if own_s > _SLOW * base_s:
        return Time(own_s / base_s, 1e6 * own_s)
    arms = {"default": reference, "candidate": own}
    return _time(compare(arms, rounds=_ROUNDS, block_seconds=_BLOCK_SECONDS), "candidate")


def compare_by_clock(bench: Bench, candidates: Sequence[Candidate]) -> list[Time]:
    """Time the best candidates against each other and the default, in alternate blocks."""
    arms: dict[str, Callable[[], object]] = {"default": bench.call(bench.default)}
    arms.update({spell(candidate): bench.call(dict(candidate)) for candidate in candidates})
    result = compare(arms, rounds=_FINAL_ROUNDS, block_seconds=_BLOCK_SECONDS)
    return [_time(result, spell(candidate)) for candidate in candidates]


def seeded_cost(space: Space, candidate: Candidate, seed: int) -> Time:
    """A made-up time: a bowl around a point that the seed chooses, with ripples of 2 %."""
    chosen = random.Random(seed)
    cost = 1.0
    for place, (_, values) in zip(space.places(candidate), space.axes, strict=True):
        cost += ((place - chosen.randrange(len(values))) / len(values)) ** 2
    digest = hashlib.sha256(f"{seed} {spell(candidate)}".encode()).digest()
    cost *= 1.0 + 0.02 * digest[0] / 255.0
    return Time(cost, 100.0 * cost)


def _time(result: Comparison, arm: str) -> Time:
    ratio = result.ratios[arm]
    return Time(ratio.median, 1e6 * result.seconds[arm].median, ratio.high)


def _once(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
