"""How benchmarks form their figures, and that a case runs."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import threading
import time

import pytest

from benchmarks import measure
from benchmarks.__main__ import main
from benchmarks.first_call import EXAMPLE_NAMES, FIRST_CALLS
from benchmarks.measure import ForeignLoad, compare, interval, wait_until_quiet
from benchmarks.problems import PROBLEMS
from benchmarks.problems.record import Setting


def test_interval_takes_order_statistics() -> None:
    # Binomial(15, 1/2): P(X <= 3) = 1.8 %, so the fourth value from either side bounds the median.
    assert interval(range(1, 16)) == interval(sorted(range(1, 16), reverse=True))
    figures = interval(range(1, 16))
    assert (figures.low, figures.median, figures.high) == (4, 8, 12)


def test_interval_of_few_samples_is_their_range() -> None:
    figures = interval([3.0, 1.0, 2.0])
    assert (figures.low, figures.median, figures.high) == (1.0, 2.0, 3.0)


def test_interval_covers_the_median() -> None:
    generator = random.Random(0)
    covered = 0
    for _ in range(1000):
        figures = interval([generator.gauss(0, 1) for _ in range(15)])
        covered += figures.low <= 0 <= figures.high
    assert covered >= 950


def test_arms_alternate_and_turn_round() -> None:
    order: list[str] = []

    def arm(name: str) -> None:
        if not order or order[-1] != name:
            order.append(name)
        time.sleep(0.001)

    result = compare({"a": lambda: arm("a"), "b": lambda: arm("b")}, rounds=4, block_seconds=0.003)
    # One call each to warm up, then a b | b a | a b | b a, where equal neighbours merge.
    assert order == ["a", "b", "a", "b", "a", "b", "a"]
    assert result.rounds == 4
    assert result.ratios["b"].median > 0


def test_a_busy_thread_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    busy_rounds = iter([0.0, 1.0, 1.0, 2.0, 2.0, 2.0])
    monkeypatch.setattr(measure, "_other_threads_cpu_s", lambda: next(busy_rounds))
    assert wait_until_quiet()
    assert not list(busy_rounds)


def test_a_thread_that_stays_busy_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count()
    monkeypatch.setattr(measure, "_other_threads_cpu_s", lambda: float(next(seconds)))
    assert not wait_until_quiet()


def test_the_time_of_other_threads_counts() -> None:
    before = measure._other_threads_cpu_s()
    worked = threading.Event()
    stop = threading.Event()

    def work() -> None:
        sum(range(3_000_000))
        worked.set()
        stop.wait()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        worked.wait()
        assert measure._other_threads_cpu_s() > before
    finally:
        stop.set()
        thread.join()


def test_list_names_every_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    assert all(problem.name in text for problem in PROBLEMS)
    assert all(str(bar) in text for problem in PROBLEMS for bar in problem.bars)


def test_unknown_case_is_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.__main__._restart_with_threads", lambda threads: None)
    monkeypatch.setattr("benchmarks.__main__.keep_freed_memory", lambda: None)
    assert main(["run", "no_such_case"]) == 2
    assert "no case named no_such_case" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["vector_add", "matmul", "launch"])
def test_arms_agree_with_float64(name: str) -> None:
    problem = next(problem for problem in PROBLEMS if problem.name == name)
    prepared = problem.prepare(Setting(problem.shapes[0], "f32", 1))
    for arm_name in ("tilejit", "numpy"):
        arm = prepared.arms[arm_name]()
        arm.run()
        assert arm.measured_error() <= arm.tolerance


@pytest.mark.parametrize("name", EXAMPLE_NAMES)
def test_first_calls_run(name: str) -> None:
    FIRST_CALLS[name]()()


def test_children_that_have_ended_are_not_foreign() -> None:
    before = ForeignLoad._own_s()
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    assert ForeignLoad._own_s() > before
