"""Options of all tests; compilers are tested, not what they left on disk before."""

import os
from collections import Counter

import pytest

os.environ["TILEJIT_CACHE"] = "0"
_OF_DIRECTORIES = "--conformance", "--emitted", "--mixed", "--mutations", "--sweeps"


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--update-golden`` writes the texts anew instead of comparing them; ``--sample`` says which cases run
    of the tests that run a part of theirs.
    """
    parser.addoption("--update-golden", action="store_true")
    text = (
        "0: the usual cases; another number: others; all: all, as by default beside an option that says full"
    )
    parser.addoption("--sample", help=text)


def pytest_configure(config: pytest.Config) -> None:
    """Add the mark ``sample``."""
    config.addinivalue_line("markers", "sample(one_in=N): of the cases of this test every N-th runs")
    sample = _sample(config)
    if not (sample == "all" or sample.isdecimal()):
        raise pytest.UsageError(f"--sample must be a number or all, got {sample!r}")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the cases that the sample does not have, but for tests whose cases are named one by one, by
    node id or by ``-k``.
    """
    sample = _sample(config)
    if sample == "all" or config.option.keyword:
        return
    named = {argument.rpartition("::")[2].partition("[")[0] for argument in config.args if "[" in argument}
    seen: Counter[str] = Counter()
    kept, left = [], []
    for item in items:
        test = item.nodeid.partition("[")[0]
        one_in = _one_in(item)
        # Numbers from 1 on choose among the samples that do not run by default.
        chosen = 0 if sample == "0" or one_in == 1 else 1 + (int(sample) - 1) % (one_in - 1)
        is_kept = seen[test] % one_in == chosen or test.rpartition("::")[2] in named
        (kept if is_kept else left).append(item)
        seen[test] += 1
    items[:] = kept
    config.hook.pytest_deselected(items=left)


def _sample(config: pytest.Config) -> str:
    """Which cases run; the options of single directories that say full ask for all of them."""
    sample: str | None = config.getoption("--sample")
    is_full = any(config.getoption(name, None) == "full" for name in _OF_DIRECTORIES)
    return sample or ("all" if is_full else "0")


def _one_in(item: pytest.Item) -> int:
    """How many cases of a test there are to each that runs."""
    mark = item.get_closest_marker("sample")
    if mark is None:
        return 1
    if mark.args or set(mark.kwargs) != {"one_in"} or mark.kwargs["one_in"] < 2:
        raise pytest.UsageError(f"{item.nodeid}: sample takes one_in, which is at least 2")
    return int(mark.kwargs["one_in"])


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether the texts are to be written anew."""
    return bool(request.config.getoption("--update-golden", default=False))
