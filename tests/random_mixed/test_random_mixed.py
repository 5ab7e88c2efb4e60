"""A fixed sample of random mixed kernels, and mistakes of the compiler that such kernels find."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.random_mixed.__main__ import report
from tests.random_mixed.build import build
from tests.random_mixed.check import Verdict, interpret, launch, lower
from tests.random_mixed.generate import generate
from tests.random_mixed.mutations import MUTATIONS
from tests.random_mixed.plan import Compute, Dot, Index, Loop, Operand, Plan, Store, walk
from tests.random_mixed.runner import Outcome, Summary, judged, run_seed, smallest
from tests.random_mixed.shrink import shrink
from tilejit import compiler
from tilejit.backend.ascend import signals
from tilejit.backend.ascend.pipes import SimulatedCore
from tilejit.ir.core import Op
from tilejit.ir.printer import print_function
from tilejit.passes.manager import PassContext, run_passes

SAMPLE = 10
_MOST_TRIED = 12

_X, _W = Operand("", "x", Index(0, 0)), Operand("", "w", Index(1, 0))
TWO_TRIPS = Plan(
    1, 7, 7, False, False, 1, (9, 0), (0,), (0,),
    (
        Loop("n0", 0, 1, (
            Dot("t0", _X, _W),
            Compute("t1", "scale", ("t0",), 2),
            Dot("t2", Operand("t1"), _W, True),
            Compute("t3", "add", ("t3", "t1")),
            Compute("t3", "largest", ("t3", "t2")),
        )),
        Store("t3", 0, Index(0)), Store("t2", 1, Index(0)),
    ),
)  # fmt: skip
"""A loop whose products are two stages, with a tile that waits from the first to the second."""


def test_the_sample_is_right() -> None:
    summary = Summary()
    for seed in range(SAMPLE):
        summary.add(run_seed(seed))
    problems = [f"seed {one.seed}: {one.verdict.problem}" for one in summary.failures]
    if problems:
        problems.append(f"the first of them, made small:\n{smallest(generate(summary.failures[0].seed))}")
    assert not problems, "\n".join(problems)
    assert summary.features["mixed"] > SAMPLE / 3
    assert all(text.startswith("Ascend: ") for text in summary.refusals)


def test_a_seed_always_makes_the_same_kernel() -> None:
    for seed in (0, 7, 12345):
        assert generate(seed) == generate(seed)
        assert print_function(build(generate(seed))) == print_function(build(generate(seed)))


@pytest.mark.parametrize("name", MUTATIONS)
def test_mistakes_are_found(name: str) -> None:
    with MUTATIONS[name]():
        problems = (judged(plan).problem for plan in (TWO_TRIPS, *map(generate, range(_MOST_TRIED))))
        found = next(filter(None, problems), None)
    assert found is not None and "Traceback" not in found, found


def test_schedules_let_each_vector_core_fall_behind_by_all_credits(monkeypatch: pytest.MonkeyPatch) -> None:
    """By how many sets either is ahead of the other: up to all that those of the cube core have slots for."""
    function, context = build(TWO_TRIPS), PassContext()
    expected = interpret(TWO_TRIPS, function)
    run_passes(compiler.TILE_PASSES, function, context=context)
    kernel = lower(function, context)
    remarks = [remark.message for remark in context.remarks if "goes from aic" in remark.message]
    slots = max(int(remark.split(": ")[1].split()[0]) for remark in remarks)
    arrived, leads = Counter[tuple[str, int]](), Counter[int]()
    count_up = signals.Signals._count_up

    def watched(
        self: signals.Signals, subject: tuple[SimulatedCore, int, Op, dict[int, int]], now: float
    ) -> None:
        core, flag, *_ = subject
        arrived[core.name, flag] += 1
        leads[arrived["aiv 0.0", flag] - arrived["aiv 0.1", flag]] += 1
        count_up(self, subject, now)

    monkeypatch.setattr(signals.Signals, "_count_up", watched)
    for schedule in range(1, 7):
        arrived.clear()
        assert launch(TWO_TRIPS, kernel, expected, schedule) is None
    assert max(leads) >= slots and min(leads) <= -slots, leads


def test_what_fails_is_made_small() -> None:
    small = shrink(generate(3), lambda plan: any(isinstance(s, Dot) for s in walk(plan.body)))
    (statement,) = small.body
    assert isinstance(statement, Dot) and small.programs == 1 and small.rows == 16


def test_failures_and_refusals_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    summary = Summary()
    for seed in range(200):
        outcome = Outcome(seed, Verdict(refusal="Ascend: too much") if seed % 5 == 0 else Verdict())
        summary.add(outcome)
    assert report(summary, 1.0) == 1
    text = capsys.readouterr().out
    assert "200 kernels in 1 s, 0 failed, 40 refused" in text and "refused 40: Ascend: too much" in text
    summary.add(Outcome(200, Verdict("race")))
    assert report(summary, 1.0) == 1
    assert "failed seeds: 200" in capsys.readouterr().out


@pytest.mark.parametrize("seed", (1838, 1938, 2471))
def test_a_plan_that_was_wrong_once_is_right(seed: int) -> None:
    assert judged(generate(seed)).problem is None
