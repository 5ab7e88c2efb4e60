"""``tilejit.testing.do_bench``: which calls it makes and what it returns; no time is asserted."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import tilejit
from tilejit.testing import do_bench


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock in the hands of the test, in seconds: calls move it on."""
    now = [0.0]
    monkeypatch.setattr("tilejit.runtime.timing.time", SimpleNamespace(perf_counter=lambda: now[0]))
    return now


def test_calls_fill_the_time(clock: list[float]) -> None:
    calls = []

    def call() -> None:
        calls.append(1)
        clock[0] += 0.001

    assert do_bench(call, warmup=10, rep=20) == pytest.approx(1.0)
    assert len(calls) == 1 + 5 + (10 - 1) + 20


def test_slow_calls_are_made_a_few_times_only(clock: list[float]) -> None:
    calls = []

    def call() -> None:
        calls.append(1)
        clock[0] += 1.0

    assert do_bench(call) == pytest.approx(1000.0)
    assert len(calls) == 3  # one that does not count, one for the estimate, one that counts


def test_summaries(clock: list[float]) -> None:
    pace = iter([1, 1, 1, 1, 1, 1, *(1, 2, 3, 4, 10)])

    def call() -> None:
        clock[0] += next(pace) / 1000

    assert do_bench(call, warmup=0, rep=5, return_mode="all") == pytest.approx([1, 2, 3, 4, 10])

    def summary(**chosen: object) -> object:
        steps = iter([1, 1, 1, 1, 1, 1, *(1, 2, 3, 4, 10)])

        def timed() -> None:
            clock[0] += next(steps) / 1000

        return do_bench(timed, warmup=0, rep=5, **chosen)

    assert summary() == pytest.approx(4)
    assert summary(return_mode="median") == pytest.approx(3)
    assert summary(return_mode="min") == pytest.approx(1)
    assert summary(return_mode="max") == pytest.approx(10)
    assert summary(quantiles=[0.5]) == pytest.approx(3)
    assert summary(quantiles=[0.5, 0.125, 1.0]) == pytest.approx([3, 1.5, 10])


def test_gradients_are_forgotten_before_each_call(clock: list[float]) -> None:
    tensor = SimpleNamespace(grad=0)
    seen = []

    def call() -> None:
        seen.append(tensor.grad)
        tensor.grad = 1
        clock[0] += 1.0

    do_bench(call, warmup=0, rep=3000, grad_to_none=[tensor])
    assert seen[-3:] == [None, None, None]


@pytest.mark.parametrize(
    ("chosen", "message", "hint"),
    [
        (
            {"return_mode": "mode"},
            "return_mode is 'mode'",
            "use one of mean, median, min, max, all",
        ),
        ({"quantiles": [50]}, "quantiles are [50]", "use numbers from 0 to 1"),
    ],
)
def test_wrong_arguments(chosen: dict[str, object], message: str, hint: str) -> None:
    with pytest.raises(tilejit.LaunchError) as raised:
        do_bench(lambda: None, **chosen)
    assert (raised.value.message, raised.value.hint) == (message, hint)
