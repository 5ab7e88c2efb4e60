"""One measurement: correctness of every arm first, then times, fractions of limits, verdicts."""

from __future__ import annotations

import dataclasses
import enum
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from benchmarks.limits import Limits
from benchmarks.measure import BLOCK_CALLS, BLOCK_SECONDS, Comparison, Interval, compare
from benchmarks.problems.record import (
    TILEJIT,
    Arm,
    ArmFactory,
    Bar,
    Limit,
    Problem,
    Setting,
    TimeBar,
    Unavailable,
    Work,
)
from benchmarks.roof import fractions_of, memory_roof

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
    """What one problem gave at one setting; by arm: errors, choices, what is not installed or wrong.

    ``mix`` names the streams that the memory limit is the time of.
    """

    problem: Problem
    setting: Setting
    work: Work
    errors: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    wrong: Mapping[str, str] = field(default_factory=dict)
    comparison: Comparison | None = None
    fractions: Mapping[Limit, Interval] = field(default_factory=dict)
    mix: str = ""
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
    checked = _check({name: prepared.arms[name] for name in chosen})
    details = {name: arm.detail for name, arm in checked.right.items() if arm.detail}
    base = Outcome(problem, setting, prepared.work, checked.errors, details, checked.absent, checked.wrong)
    if TILEJIT not in checked.right:
        return base
    bars = problem.bars_of(setting)
    asks_for_memory = any(isinstance(bar, Bar) and bar.against is Limit.MEMORY for bar in bars)
    roof = memory_roof(prepared.work, limits, is_wanted=asks_for_memory)
    streams = {} if roof is None else roof.arms
    runs = {**{name: arm.run for name, arm in checked.right.items()}, **streams}
    self_timed = {name for name, arm in checked.right.items() if arm.is_self_timed}
    rounds = rounds or _rounds(runs, self_timed, seconds)
    on_plan(rounds * len(runs))
    comparison = compare(runs, rounds=rounds, self_timed=self_timed, after_block=after_block)
    fractions = fractions_of(prepared.work, limits, roof, comparison.blocks, TILEJIT)
    comparison = comparison.without(streams)
    return dataclasses.replace(
        base,
        comparison=comparison,
        fractions=fractions,
        mix="" if roof is None else roof.mix,
        verdicts=judge(bars, comparison, fractions, problem.calls_a_run),
    )


def judge(
    bars: Collection[Bar | TimeBar],
    comparison: Comparison,
    fractions: Mapping[Limit, Interval],
    calls_a_run: int = 1,
) -> tuple[Verdict, ...]:
    """Hold every bar against the end of the interval that is less in tilejit's favour."""
    verdicts = []
    for bar in bars:
        if isinstance(bar, TimeBar):
            value: float | None = comparison.seconds[TILEJIT].high / calls_a_run
        elif isinstance(bar.against, Limit):
            value = fractions[bar.against].low if bar.against in fractions else None
        else:
            value = comparison.ratios[bar.against].low if bar.against in comparison.ratios else None
        verdicts.append(Verdict(bar, value))
    return tuple(verdicts)


@dataclass
class _Checked:
    """The arms that gave a right result; errors of all that ran; what is absent or wrong, and why."""

    right: dict[str, Arm] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)


def _check(factories: Mapping[str, ArmFactory]) -> _Checked:
    """Make and run every arm once. One that fails is wrong, whatever it raised: the others go on."""
    checked = _Checked()
    for name, factory in factories.items():
        try:
            arm = factory()
            arm.run()
            error = arm.measured_error()
        except Unavailable as reason:
            checked.absent[name] = str(reason)
            continue
        except Exception as failure:
            checked.wrong[name] = f"{type(failure).__name__}: {failure}"
            continue
        checked.errors[name] = error
        if error <= arm.tolerance:
            checked.right[name] = arm
        else:
            checked.wrong[name] = f"relative error {error:.1e} exceeds {arm.tolerance:.0e}"
    return checked


def _rounds(runs: Mapping[str, Callable[[], object]], self_timed: Collection[str], seconds: float) -> int:
    """As many rounds as fit, by the time of one more call of each arm."""
    round_s = 0.0
    for name, run in runs.items():
        started = time.perf_counter()
        run()
        call_s = time.perf_counter() - started
        round_s += call_s if name in self_timed else max(BLOCK_SECONDS, BLOCK_CALLS * call_s) + call_s
    return max(FEWEST_ROUNDS, min(MOST_ROUNDS, int(seconds / round_s)))
