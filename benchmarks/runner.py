"""One measurement: correctness of every arm first, then times, fractions of limits, verdicts."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from benchmarks.limits import Limits
from benchmarks.measure import BLOCK_CALLS, BLOCK_SECONDS, Comparison, Interval, compare
from benchmarks.problems.record import (
    TILEJIT,
    Arm,
    Bar,
    Limit,
    NotInstalled,
    Problem,
    Setting,
    TimeBar,
    Unit,
    Work,
)

FEWEST_ROUNDS = 7
MOST_ROUNDS = 15


class State(enum.Enum):
    """What became of a bar."""

    REACHED = "reached"
    MISSED = "MISSED"
    UNMEASURED = "not measured"


@dataclass(frozen=True)
class Verdict:
    """A bar and the end of the interval that it was held against (None: not measured)."""

    bar: Bar | TimeBar
    value: float | None

    @property
    def state(self) -> State:
        """Reached, missed or not measured."""
        if self.value is None:
            return State.UNMEASURED
        if isinstance(self.bar, TimeBar):
            return State.REACHED if self.value <= self.bar.at_most_s else State.MISSED
        return State.REACHED if self.value >= self.bar.at_least else State.MISSED

    def __str__(self) -> str:
        return f"{self.bar} {self.state.value}"


@dataclass(frozen=True)
class Outcome:
    """What one problem gave at one setting; by arm: errors, choices, what is not installed or wrong."""

    problem: Problem
    setting: Setting
    work: Work
    errors: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    wrong: Mapping[str, str] = field(default_factory=dict)
    comparison: Comparison | None = None
    fractions: Mapping[Limit, Interval] = field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether every arm was right and every bar that was measured is reached."""
        missed = any(verdict.state is State.MISSED for verdict in self.verdicts)
        return not self.wrong and not missed


def measure(
    problem: Problem,
    setting: Setting,
    limits: Limits,
    *,
    peers: Collection[str] | None = None,
    rounds: int | None = None,
    seconds: float = 20.0,
    on_plan: Callable[[int], None] = lambda blocks: None,
    after_block: Callable[[], None] = lambda: None,
) -> Outcome:
    """Check and time tilejit and the named peers (all where None) at one setting.

    ``rounds`` are the blocks of every arm; where None, as many of 7 to 15 as fit into ``seconds``.
    """
    prepared = problem.prepare(setting)
    chosen = [
        TILEJIT,
        *(name for name in prepared.arms if name != TILEJIT and (peers is None or name in peers)),
    ]
    arms: dict[str, Arm] = {}
    absent: dict[str, str] = {}
    for name in chosen:
        try:
            arms[name] = prepared.arms[name]()
        except NotInstalled as missing:
            absent[name] = missing.package
    right, errors, wrong = _check(arms)
    details = {name: arm.detail for name, arm in arms.items() if arm.detail}
    base = Outcome(problem, setting, prepared.work, errors, details, absent, wrong)
    if TILEJIT not in right:
        return base
    rounds = rounds or _rounds(right, seconds)
    on_plan(rounds * len(right))
    comparison = compare(
        {name: arm.run for name, arm in right.items()},
        rounds=rounds,
        self_timed={name for name, arm in right.items() if arm.is_self_timed},
        after_block=after_block,
    )
    fractions = _fractions(prepared.work, comparison.seconds[TILEJIT], limits)
    verdicts = judge(problem.bars_of(setting), comparison, fractions)
    return Outcome(
        problem, setting, prepared.work, errors, details, absent, wrong, comparison, fractions, verdicts
    )


def judge(
    bars: Collection[Bar | TimeBar], comparison: Comparison, fractions: Mapping[Limit, Interval]
) -> tuple[Verdict, ...]:
    """Hold every bar against the end of the interval that is less in tilejit's favour."""
    verdicts = []
    for bar in bars:
        if isinstance(bar, TimeBar):
            value: float | None = comparison.seconds[TILEJIT].high
        elif isinstance(bar.against, Limit):
            value = fractions[bar.against].low if bar.against in fractions else None
        else:
            value = comparison.ratios[bar.against].low if bar.against in comparison.ratios else None
        verdicts.append(Verdict(bar, value))
    return tuple(verdicts)


def _check(arms: Mapping[str, Arm]) -> tuple[dict[str, Arm], dict[str, float], dict[str, str]]:
    """Run every arm once: those whose error is within tolerance, all errors, and what is wrong."""
    right: dict[str, Arm] = {}
    errors: dict[str, float] = {}
    wrong: dict[str, str] = {}
    for name, arm in arms.items():
        arm.run()
        errors[name] = error = arm.measured_error()
        if error <= arm.tolerance:
            right[name] = arm
        else:
            wrong[name] = f"relative error {error:.1e} exceeds {arm.tolerance:.0e}"
    return right, errors, wrong


def _rounds(arms: Mapping[str, Arm], seconds: float) -> int:
    """As many rounds as fit, by the time of one more call of each arm."""
    round_s = 0.0
    for arm in arms.values():
        started = time.perf_counter()
        arm.run()
        call_s = time.perf_counter() - started
        round_s += call_s if arm.is_self_timed else max(BLOCK_SECONDS, BLOCK_CALLS * call_s) + call_s
    return max(FEWEST_ROUNDS, min(MOST_ROUNDS, int(seconds / round_s)))


def _fractions(work: Work, seconds: Interval, limits: Limits) -> dict[Limit, Interval]:
    """The time that each limit alone allows over the time taken."""
    least_s = {Limit.MEMORY: 1e-9 * work.bytes / limits.read_gbs}
    if work.unit is Unit.FMA:
        least_s[Limit.ARITHMETIC] = 1e-9 * work.operations / limits.fma_gflops
    return {
        limit: Interval(bound / seconds.median, bound / seconds.high, bound / seconds.low)
        for limit, bound in least_s.items()
        if bound > 0.0
    }
