"""The work beside which compiling and simulating for the Ascend are timed."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from benchmarks import ascend_reference
from benchmarks.ascend_reference import WORK, attend, read_and_write
from benchmarks.problems import ascend
from benchmarks.problems.record import TILEJIT, Setting


def test_every_problem_has_its_reference() -> None:
    assert [problem.name for problem in ascend.PROBLEMS] == [f"ascend_{what}" for what in WORK]
    for problem in ascend.PROBLEMS:
        arms = problem.prepare(Setting(problem.shapes[0], "f16", 1)).arms
        assert (*arms,) == (TILEJIT, *problem.peers) == (TILEJIT, ascend.REFERENCE)


def test_the_reference_does_without_what_is_measured() -> None:
    tree = ast.parse(Path(ascend_reference.__file__).read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert modules == {"__future__", "ast", "collections.abc", "numpy", "sys", "time"}


def test_modules_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    read_and_write(functions=3)
    monkeypatch.setattr(ast, "unparse", lambda tree: "")
    with pytest.raises(ValueError, match="read and written"):
        read_and_write(functions=3)


def test_attention_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    attend(queries=64, keys=128)
    exp = np.exp

    def wrong(values: np.ndarray) -> np.ndarray:
        return exp(values) * (1.0 + (values > 1.0) * (values.dtype == np.float32))

    monkeypatch.setattr(np, "exp", wrong)
    with pytest.raises(ValueError, match="attention tile by tile is wrong"):
        attend(queries=64, keys=128)
