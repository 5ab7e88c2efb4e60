"""Samples of cases: every case is in one of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import _OF_DIRECTORIES

pytest_plugins = "pytester"
TEST = """
import pytest

@pytest.mark.sample(one_in=3)
@pytest.mark.parametrize("number", range(16))
def test_numbers(number): ...

def test_other(): ...
"""


@pytest.fixture
def directory(pytester: pytest.Pytester) -> pytest.Pytester:
    """A directory with the project's options of tests, and one test of 16 cases beside a plain one."""
    pytester.makeconftest((Path(__file__).parent / "conftest.py").read_text())
    pytester.makepyfile(TEST)
    return pytester


def _run(directory: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """A run without a plugin that takes a second to import."""
    return directory.runpytest_inprocess("-p", "no:hypothesispytest", *arguments)


def _collected(directory: pytest.Pytester, *arguments: str) -> list[str]:
    """What would run."""
    result = _run(directory, "--collect-only", "-q", *arguments)
    return [line for line in result.outlines if "::" in line]


def test_every_case_is_in_one_sample(directory: pytest.Pytester) -> None:
    every, by_default = _collected(directory, "--sample=all"), _collected(directory)
    samples = [_collected(directory, f"--sample={number}") for number in (0, 1, 2)]
    assert len(every) == 17 and by_default == samples[0]
    assert [len(sample) for sample in samples] == [7, 6, 6]
    assert {sample[-1] for sample in samples} == {every[-1]}  # the plain one
    assert sorted(name for sample in samples for name in sample[:-1]) == sorted(every[:-1])
    assert _collected(directory, "--sample=3") == samples[1]  # the default one is not among the others


def test_what_is_full_has_all_cases(directory: pytest.Pytester) -> None:
    directory.makepyfile(option="def pytest_addoption(parser): parser.addoption('--mixed')")
    directory.syspathinsert()
    every = _collected(directory, "--sample=all")
    assert _collected(directory, "-p", "option", "--mixed=full") == every
    assert len(_collected(directory, "-p", "option", "--mixed=full", "--sample=1")) == 6


def test_every_option_that_says_full_is_known() -> None:
    conftests = [path.read_text() for path in Path(__file__).parent.rglob("conftest.py")]
    pattern = re.compile(r'addoption\("(--\w+)", choices=.*"full"')
    assert {name for text in conftests for name in pattern.findall(text)} == set(_OF_DIRECTORIES)


def test_cases_that_are_named_run(directory: pytest.Pytester) -> None:
    outside = _collected(directory, "--sample=1")[0]
    assert _collected(directory, outside) == [outside]
    assert _collected(directory, "-k", outside.partition("::")[2]) == [outside]


@pytest.mark.parametrize("mark", ["3", "one_in=1", "few=3"])
def test_marks_say_one_in(directory: pytest.Pytester, mark: str) -> None:
    directory.makepyfile(TEST.replace("one_in=3", mark))
    result = _run(directory)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*sample takes one_in, which is at least 2"])


def test_only_numbers_name_samples(directory: pytest.Pytester) -> None:
    result = _run(directory, "--sample=some")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--sample must be a number or all, got 'some'"])
