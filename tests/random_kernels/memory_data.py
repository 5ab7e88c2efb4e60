"""Contents of arrays."""

from __future__ import annotations

import numpy as np

from tests.conformance import inputs
from tilejit.ir.types import DType

from .facts import Fact, Level

CALM_BOUND = 4.0


def calm(rng: np.random.Generator, dtype: DType, size: int) -> np.ndarray:
    """Floats of unit scale; for other types any values."""
    if not dtype.is_floating():
        return wild(rng, dtype, size)
    numbers = np.clip(rng.standard_normal(size), -3.5, 3.5)
    if rng.random() < 0.3:
        numbers = np.round(numbers * 2) / 2  # many equal ones
    return np.asarray(numbers.astype(np.float32)).astype(dtype.numpy)


def wild(rng: np.random.Generator, dtype: DType, size: int) -> np.ndarray:
    """Values of all magnitudes, special ones among them."""
    return inputs.values(rng, dtype, (size,))


def contents(rng: np.random.Generator, dtype: DType, size: int, is_calm: bool) -> tuple[np.ndarray, Fact]:
    """Contents of an array that is only read, and what is known of them."""
    if dtype.is_floating() and is_calm:
        return calm(rng, dtype, size), Fact(Level.BITS, CALM_BOUND)
    return wild(rng, dtype, size), Fact()
