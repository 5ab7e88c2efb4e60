"""Option of the conformance tests."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--conformance=full`` runs every case, not only the default sample."""
    parser.addoption("--conformance", choices=("quick", "full"), default="quick")
