"""The ablation on the model of an Ascend: how costs are told, and that every part is left out in turn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import ascend_ablation
from benchmarks.__main__ import main
from benchmarks.ascend_ablation import CASES, EVERYTHING, Cost, summary_lines
from benchmarks.ascend_cases import Launch
from tests.kernels_ascend.mixed_kernels import perceptron
from tilejit.options import ASCEND_STEPS


def small() -> Launch:
    arrays = [np.zeros(shape, np.float16) for shape in ((32, 32), (32, 256), (256, 32))]
    given = [*arrays, np.zeros((32, 32), np.float32), 32, 256]
    constants = {"BLOCK_M": 32, "BLOCK_H": 32, "WIDTH": 32}
    return Launch(perceptron, (1,), {**dict(zip(perceptron.arg_names, given, strict=False)), **constants})


def test_the_parts_are_those_of_the_compiler() -> None:
    assert ascend_ablation.STEPS == ASCEND_STEPS


def test_verdicts() -> None:
    assert Cost("k", "skew", 3.0, 1.5).verdict == "pays"
    assert Cost("k", "skew", 3.0, 0.9).verdict == "does not pay: slower with it"
    assert Cost("k", "skew", 3.0, 1.001).verdict == "does not pay: no difference"
    assert Cost("k", EVERYTHING, 3.0, 1.0, "bound by l2, 80 %").verdict == "bound by l2, 80 %"
    failed = Cost("k", "skew", failure="no room")
    assert str(failed).endswith("skew               cannot be left out: no room")
    costs = [Cost("a", "skew", 3.0, 1.5), Cost("b", "skew", 3.0, 0.9), failed]
    assert summary_lines(costs, ["skew"]) == ["skew: pays 1 of 3, at most 1.50x"]


def test_each_part_is_left_out_in_turn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(ascend_ablation, "CASES", {"small": small})
    file = tmp_path / "costs.json"
    assert main(["ablation", "--target", "ascend910b", "small", "--json", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "modelled time on ascend910b; ratio = time without the part / time with it"
    assert [line.split()[:2] for line in lines[2:7]] == [["small", step] for step in ASCEND_STEPS]
    costs = json.loads(file.read_text())
    (skew,) = [cost for cost in costs if cost["without"] == "skew"]
    assert skew["ratio"] > 1.0, "eight trips take turns without it"
    assert costs[0]["ratio"] == 1.0 and costs[0]["bound_by"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["softmaxes"], f"no kernel named softmaxes; there are: {', '.join(CASES)}"),
        (["--passes", "packing"], f"no pass named packing for ascend910b: {', '.join(ASCEND_STEPS)}"),
    ],
)
def test_what_there_is_not(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablation", "--target", "ascend910b", *arguments]) == 2
    assert capsys.readouterr().err.strip() == message
