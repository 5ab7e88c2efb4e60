"""What the runner makes of arms and figures, on problems whose arms do nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.limits import Limits
from benchmarks.measure import Comparison, Interval
from benchmarks.problems.record import (
    Arm,
    Bar,
    Limit,
    NotInstalled,
    Prepared,
    Problem,
    Setting,
    Shape,
    TimeBar,
    Unit,
    Work,
    relative_error,
)
from benchmarks.roof import MemoryRoof, arithmetic_seconds, fractions_of, memory_roof, mix_of
from benchmarks.runner import Outcome, State, judge, measure

LIMITS = Limits(2, fma_gflops=100.0, read_gbs=10.0, bf16_gflops=200.0)
NO_WORK = Work()
SHAPE = Shape("small", {"N": 4}, quick=True)


def right_arm(calls: list[str] | None = None, name: str = "") -> Arm:
    value = np.ones(4)
    return Arm(lambda: None if calls is None else calls.append(name), lambda: value, lambda: value, 0.0)


def wrong_arm() -> Arm:
    return Arm(lambda: None, lambda: np.ones(4), lambda: np.full(4, 2.0), 0.1)


def absent_arm() -> Arm:
    raise NotInstalled("no_such_package")


def failing_arm() -> Arm:
    raise RuntimeError("out of luck")


def problem_of(
    arms: dict[str, Callable[[], Arm]], bars: tuple[Bar | TimeBar, ...] = (), work: Work = NO_WORK
) -> Problem:
    peers = tuple(name for name in arms if name != "tilejit")
    return Problem(
        "fake", "fakes", "does nothing", (SHAPE,), ("f32",), peers,
        lambda setting: Prepared(arms, work), bars,
    )  # fmt: skip


def outcome_of(problem: Problem, peers: list[str] | None = None) -> Outcome:
    return measure(problem, Setting(SHAPE, "f32", 1), LIMITS, peers=peers, rounds=1)


def test_a_wrong_peer_is_told_and_not_timed() -> None:
    outcome = outcome_of(problem_of({"tilejit": right_arm, "other": wrong_arm}, (Bar("other", 1.0),)))
    assert outcome.wrong == {"other": "relative error 5.0e-01 exceeds 1e-01"}
    assert outcome.comparison is not None and list(outcome.comparison.seconds) == ["tilejit"]
    assert [verdict.state for verdict in outcome.verdicts] == [State.UNMEASURED]
    assert not outcome.is_good


def test_nothing_is_timed_where_tilejit_is_wrong() -> None:
    outcome = outcome_of(problem_of({"tilejit": wrong_arm, "other": right_arm}))
    assert outcome.comparison is None
    assert not outcome.is_good


def test_an_arm_that_raises_is_wrong() -> None:
    outcome = outcome_of(problem_of({"tilejit": right_arm, "other": failing_arm}))
    assert outcome.wrong == {"other": "RuntimeError: out of luck"}


def test_an_absent_peer_leaves_its_bar_unmeasured() -> None:
    outcome = outcome_of(problem_of({"tilejit": right_arm, "other": absent_arm}, (Bar("other", 1.0),)))
    assert outcome.absent == {"other": str(NotInstalled("no_such_package"))}
    assert [verdict.state for verdict in outcome.verdicts] == [State.UNMEASURED]
    assert outcome.is_good


def test_only_named_peers_are_made() -> None:
    arms = {"tilejit": right_arm, "one": right_arm, "two": failing_arm}
    outcome = outcome_of(problem_of(arms), peers=["one"])
    assert outcome.comparison is not None and list(outcome.comparison.ratios) == ["one"]
    assert outcome.wrong == {}


def test_blocks_have_ten_timed_calls_and_an_untimed_one() -> None:
    calls: list[str] = []

    def slow() -> None:
        calls.append("call")
        # Ten of these are longer than a block lasts by the clock.
        sum(range(1_000_000))

    value = np.ones(1)
    arms = {"tilejit": lambda: Arm(slow, lambda: value, lambda: value, 0.0)}
    measure(problem_of(arms), Setting(SHAPE, "f32", 1), LIMITS, rounds=1)
    # Correctness, the warm-up of all arms, then the block.
    assert len(calls) >= 1 + 1 + 11


def comparison_of(low: float, high: float) -> Comparison:
    return Comparison(
        {"tilejit": Interval(1e-3, 0.9e-3, 1.1e-3), "other": Interval(2e-3, 2e-3, 2e-3)},
        {"other": Interval((low + high) / 2, low, high)},
        15,
        0,
        {},
    )


@pytest.mark.parametrize(("low", "state"), [(1.21, State.REACHED), (1.19, State.MISSED)])
def test_a_bar_holds_for_the_lower_end(low: float, state: State) -> None:
    (verdict,) = judge((Bar("other", 1.2),), comparison_of(low, 3.0), {})
    assert verdict.state is state
    assert verdict.value == low


@pytest.mark.parametrize(("at_most_s", "state"), [(1.2e-5, State.REACHED), (1.05e-5, State.MISSED)])
def test_a_time_bar_holds_for_the_upper_end_of_one_call(at_most_s: float, state: State) -> None:
    (verdict,) = judge((TimeBar(at_most_s),), comparison_of(1.0, 1.0), {}, calls_a_run=100)
    assert verdict.state is state


def test_a_limit_bar_holds_for_the_lower_end() -> None:
    bars = (Bar(Limit.MEMORY, 0.85), Bar(Limit.ARITHMETIC, 0.5))
    fractions = {Limit.MEMORY: Interval(0.9, 0.84, 0.95)}
    states = [verdict.state for verdict in judge(bars, comparison_of(1.0, 1.0), fractions)]
    assert states == [State.MISSED, State.UNMEASURED]


def test_bars_cover_named_shapes_and_dtypes() -> None:
    bar = Bar("other", 1.0, shapes=("small",), dtypes=("f32", "bf16"))
    assert bar.covers("small", "bf16")
    assert not bar.covers("small", "int8")
    assert not bar.covers("large", "f32")
    assert Bar("other", 1.0).covers("anything", "f32")


@pytest.mark.parametrize(
    ("read", "written", "mix"),
    [(8e6, 0, (1, 0)), (0, 8e6, (0, 1)), (8e6, 4e6, (2, 1)), (4e6, 4e6, (1, 1)), (4e6, 8e6, (1, 2)),
     (67e6, 65536, (1, 0)), (8e6, 4.1e6, (2, 1))],
)  # fmt: skip
def test_mix_of_reads_and_writes(read: float, written: float, mix: tuple[int, int]) -> None:
    assert mix_of(Work(read, written)) == mix


def test_memory_fraction_is_of_the_fastest_stream_of_each_round() -> None:
    roof = MemoryRoof("1 read, 1 written", 0.5, {"a": lambda: None, "b": lambda: None})
    share = roof.fraction({"a": [2.0, 8.0, 2.0], "b": [4.0, 2.0, 4.0]}, [2.0, 2.0, 4.0])
    assert (share.low, share.median, share.high) == (0.25, 0.5, 0.5)


def test_arithmetic_fraction_is_of_the_unit_named() -> None:
    work = Work(operations=2e9, unit=Unit.BF16)
    assert arithmetic_seconds(work, LIMITS) == pytest.approx(0.01)
    share = fractions_of(work, LIMITS, None, {"tilejit": [0.02] * 7}, "tilejit")[Limit.ARITHMETIC]
    assert share.median == pytest.approx(0.5)
    # A unit that the CPU lacks gives no fraction.
    assert (
        fractions_of(Work(operations=1e9, unit=Unit.INT8), LIMITS, None, {"tilejit": [1.0]}, "tilejit") == {}
    )


def test_memory_limit_is_timed_where_memory_bounds_the_work() -> None:
    bound_by_arithmetic = Work(read_bytes=16e6, operations=1e12)
    assert memory_roof(bound_by_arithmetic, LIMITS, is_wanted=False) is None
    assert memory_roof(Work(read_bytes=1e3), LIMITS, is_wanted=True) is None
    roof = memory_roof(bound_by_arithmetic, LIMITS, is_wanted=True)
    assert roof is not None and roof.mix == "1 read, 0 written"
    # A small stream repeats until waking the threads is little of its time: nine times 16 MB.
    assert 1 / roof.scale == pytest.approx(9.0, rel=0.01)
    for arm in roof.arms.values():
        arm()


def test_streams_are_not_among_the_ratios() -> None:
    outcome = outcome_of(problem_of({"tilejit": right_arm, "other": right_arm}, work=Work(2e6, 1e6)))
    assert outcome.comparison is not None and list(outcome.comparison.ratios) == ["other"]
    assert outcome.mix == "2 read, 1 written"
    assert outcome.fractions[Limit.MEMORY].median > 0.0


def test_relative_error_of_nan_passes_no_tolerance() -> None:
    error = relative_error(np.array([1.0, np.nan]), np.array([1.0, 1.0]))
    assert not error <= 1e9
