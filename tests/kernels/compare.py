"""Comparison of a kernel's result with a reference computed in float64."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
BF16 = np.dtype(ml_dtypes.bfloat16)
FLOATS = (np.dtype(np.float32), np.dtype(np.float16), BF16)

# A few roundings of the type: relative to the norm of the result.
_TOLERANCE = {"float64": 1e-13, "float32": 3e-6, "float16": 1.5e-3, "bfloat16": 1.2e-2}


def check_close(actual: Array, expected: Array, tolerance: float | None = None) -> None:
    """Assert that the norm of the difference is within the tolerance of the norm of the expected values.

    ``tolerance`` is a few roundings of the dtype of ``actual`` unless given.
    """
    assert actual.shape == expected.shape
    found = actual.astype(np.float64)
    wanted = expected.astype(np.float64)
    assert np.isfinite(found).all(), f"{(~np.isfinite(found)).sum()} of {found.size} values are not finite"
    scale = np.linalg.norm(wanted) or 1.0
    error = np.linalg.norm(found - wanted) / scale
    limit = _TOLERANCE[actual.dtype.name] if tolerance is None else tolerance
    assert error <= limit, f"relative error {error:.2e} exceeds {limit:.0e}"
