"""Option of the tests of kernels for both kinds of core."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--mixed=full`` runs all cases of both kinds of core, on 1, 2, 20 and 24 cores."""
    parser.addoption("--mixed", choices=("quick", "full"), default="quick")
