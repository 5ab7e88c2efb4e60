"""Option of the golden tests; compilers are tested, not what they left on disk before."""

import os

import pytest

os.environ["TILEJIT_CACHE"] = "0"


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--update-golden`` writes the texts anew instead of comparing them."""
    parser.addoption("--update-golden", action="store_true")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether the texts are to be written anew."""
    return bool(request.config.getoption("--update-golden", default=False))
