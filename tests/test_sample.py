"""Samples of cases: every case is in one of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILE = "tests/passes/test_share_flags.py"
TEST = f"{FILE}::test_values"


def _collected(*arguments: str) -> list[str]:
    """What would run of a test of 16 cases, of which a sample has every third."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-n", "0", *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    return [line for line in result.stdout.splitlines() if line.startswith(f"{TEST}[")]


def test_every_case_is_in_one_sample() -> None:
    every, by_default = _collected(FILE, "--sample=all"), _collected(FILE)
    samples = [_collected(FILE, f"--sample={number}") for number in (0, 1, 2)]
    assert len(every) == 16 and by_default == samples[0]
    assert [len(sample) for sample in samples] == [6, 5, 5]
    assert sorted(name for sample in samples for name in sample) == sorted(every)
    assert _collected(FILE, "--sample=3") == samples[1]  # the default one is not among the others


def test_cases_that_are_named_run() -> None:
    outside = _collected(FILE, "--sample=1")[0]
    assert _collected(outside) == [outside]
    assert _collected(FILE, "-k", outside.partition("[")[2].removesuffix("]")) == [outside]


def test_only_numbers_name_samples() -> None:
    command = [sys.executable, "-m", "pytest", "--sample=some", "-n", "0", FILE]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--sample must be a number or all, got 'some'" in result.stderr
