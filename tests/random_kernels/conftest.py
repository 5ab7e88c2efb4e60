"""Options of the random kernels."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which kernels and which seeded miscompiles run; the defaults are a quick fixed sample."""
    parser.addoption("--random-seed", type=int, default=0, help="the first seed of random kernels")
    parser.addoption("--random-count", type=int, default=150, help="how many random kernels")
    parser.addoption("--mutations", choices=("quick", "full"), default="quick")
