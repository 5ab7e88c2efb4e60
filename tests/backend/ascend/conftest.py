"""Option of the tests of emitted kernels."""

import pytest

from tests.kernels_ascend.cases import CASES, QUICK_CASES


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--emitted=full`` takes every case of tests/kernels_ascend, not only the default sample."""
    parser.addoption("--emitted", choices=("quick", "full"), default="quick")


@pytest.fixture
def chosen_cases(request: pytest.FixtureRequest) -> list[str]:
    """The names of the cases to emit."""
    return list(CASES if request.config.getoption("--emitted", default="quick") == "full" else QUICK_CASES)
