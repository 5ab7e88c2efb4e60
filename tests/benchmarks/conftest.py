"""Option of the tests of sweeps."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--sweeps=full`` also sweeps on a Dask cluster, in other executors and on the model of a chip."""
    parser.addoption("--sweeps", choices=("quick", "full"), default="quick")


@pytest.fixture
def full_sweeps(request: pytest.FixtureRequest) -> None:
    """Skips the test unless all sweeps are asked for."""
    if request.config.getoption("--sweeps", default="quick") != "full":
        pytest.skip("runs with --sweeps=full")
