"""Every kernel runs both ways."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(params=["native", "interpreter"])
def interpret(request: pytest.FixtureRequest) -> bool:
    """Whether launches run in the interpreter."""
    return request.param == "interpreter"


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20)
