"""Option of the tests of emitted kernels."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--emitted=full`` takes every case of tests/kernels_ascend, not only the default sample."""
    parser.addoption("--emitted", choices=("quick", "full"), default="quick")
