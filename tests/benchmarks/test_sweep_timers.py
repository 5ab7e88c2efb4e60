"""Scores by the clock, from a clock in the hands of the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import measure
from benchmarks.sweep import timers
from benchmarks.sweep.tunable import Bench, Choice


class Machine:
    """Runs calls that take as many milliseconds as their choice says, and now and then is disturbed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, disturbed: frozenset[int] = frozenset()) -> None:
        self.now_s = 0.0
        self.calls: list[object] = []
        self.disturbed = disturbed
        clock = SimpleNamespace(perf_counter=lambda: self.now_s)
        monkeypatch.setattr(timers, "time", clock)
        monkeypatch.setattr(measure, "time", clock)
        monkeypatch.setattr(timers, "wait_until_quiet", lambda: True)
        monkeypatch.setattr(measure, "wait_until_quiet", lambda: True)

    def bench(self) -> Bench:
        def call(choice: Choice) -> Callable[[], object]:
            def run() -> None:
                self.calls.append(choice["ms"])
                is_slow = len(self.calls) // 20 in self.disturbed
                self.now_s += 1e-3 * float(choice["ms"]) * (10.0 if is_slow else 1.0)

            return run

        return Bench({"ms": 4.0}, call, lambda: None, lambda: 0.0, 0.0, lambda choice, time_us: Path())


def test_the_score_is_the_ratio_to_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    time = timers.time_by_clock(Machine(monkeypatch).bench(), (("ms", 3.0),))
    assert (time.score, time.time_us) == (pytest.approx(0.75), pytest.approx(3000.0))


def test_disturbances_do_not_change_the_score(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, disturbed=frozenset({1, 4}))
    assert timers.time_by_clock(machine.bench(), (("ms", 3.0),)).score == pytest.approx(0.75)


def test_slow_candidates_are_called_a_few_times_only(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    assert timers.time_by_clock(machine.bench(), (("ms", 20.0),)).score == pytest.approx(5.0)
    assert machine.calls.count(20.0) == 4


def test_the_best_are_compared_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    times = timers.compare_by_clock(Machine(monkeypatch).bench(), [(("ms", 3.0),), (("ms", 2.0),)])
    assert [time.score for time in times] == [pytest.approx(0.75), pytest.approx(0.5)]
    assert [time.worst for time in times] == [pytest.approx(0.75), pytest.approx(0.5)]
