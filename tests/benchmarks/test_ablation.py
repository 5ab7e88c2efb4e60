"""The ablation: how costs are judged and told, and that a worker answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import ablation, problems
from benchmarks.ablation import Cost, Verdict, ablate, cost_line, start_worker, summary_lines
from benchmarks.measure import Interval
from benchmarks.problems.record import Setting, Shape
from tilejit import options


def cost(ratio: Interval | None, without: str = "packing") -> Cost:
    return Cost("matmul", "64^3", "f32", without, 1e-3, ratio, "" if ratio else "out of luck")


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        (Interval(1.1, 1.01, 1.2), Verdict.PAYS),
        (Interval(1.1, 0.99, 1.2), Verdict.NOTHING),
        (Interval(0.9, 0.8, 0.99), Verdict.HARMS),
    ],
)
def test_a_pass_is_judged_by_the_whole_interval(ratio: Interval, verdict: Verdict) -> None:
    assert cost(ratio).verdict is verdict


def test_a_pass_that_does_not_pay_is_told() -> None:
    line = cost_line(cost(Interval(0.9, 0.8, 0.99)))
    assert line.startswith("matmul ") and " packing " in line
    assert line.endswith("0.90 [0.80, 0.99]    does not pay: slower with it")
    assert cost(None).verdict is Verdict.FAILS
    assert cost_line(cost(None)).endswith("cannot be left out: out of luck")


def test_summary_counts_verdicts_of_each_pass() -> None:
    costs = [cost(Interval(1.5, 1.4, 1.6)), cost(Interval(1.0, 0.9, 1.1)), cost(None, "promotion")]
    assert summary_lines(costs) == [
        "packing: pays 1, does not pay: no difference 1 of 2, at most 1.50x",
        "promotion: cannot be left out 1 of 1",
    ]


def test_passes_of_the_compiler_are_those_of_its_switch() -> None:
    assert sorted(ablation.COMPILER_PASSES) == sorted(options.CPU_STEPS)


def test_host_passes_of_problems_are_known() -> None:
    named = {name for problem in problems.PROBLEMS for name in problem.host_passes}
    assert named <= set(ablation.HOST_PASSES)


def test_variants_run_in_processes_of_their_own(tmp_path: Path) -> None:
    (problem,) = problems.find(["paged_decode"])
    shape = next(shape for shape in problem.shapes if shape.name == "b1")
    costs = ablate(problem, Setting(shape, "int8", 2), ("split_kv",), rounds=1)
    assert [one.without for one in costs] == ["split_kv"]
    assert costs[0].ratio is not None and costs[0].ratio.low > 0.0
    file = tmp_path / "made" / "costs.json"
    ablation.write(file, costs, "python -m benchmarks ablation paged_decode")
    (record,) = json.loads(file.read_text())
    assert record["without"] == "split_kv" and record["ratio"]["median"] == costs[0].ratio.median
    assert record["command"] == "python -m benchmarks ablation paged_decode"


def test_a_pass_that_changes_no_code_is_not_timed() -> None:
    (problem,) = problems.find(["matmul"])
    # Splitting keys is no decision of a matrix product; products of fp32 have no unit of their own.
    (one,) = ablate(problem, Setting(problem.shapes[0], "f32", 1), ("dot_units", "split_kv"), rounds=1)
    assert one.without == "dot_units"
    assert one.verdict is Verdict.SAME_CODE


def test_a_worker_that_ends_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    setting = Setting(Shape("no such shape", {}), "f32", 1)
    with (
        pytest.raises(ablation.WorkerFailed, match="the process ended with code 1"),
        start_worker("matmul", setting, ()),
    ):
        pass
    assert "StopIteration" in capfd.readouterr().err
