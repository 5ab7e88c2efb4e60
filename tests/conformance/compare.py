"""Compares two arrays under a tolerance and describes the first difference."""

from __future__ import annotations

import numpy as np

from conformance.kernels import Tolerance


def difference(expected: np.ndarray, got: np.ndarray, tolerance: Tolerance) -> str | None:
    """Return what is wrong with ``got``, or None where it agrees."""
    wrong = ~_agrees(expected, got, tolerance)
    if not wrong.any():
        return None
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    count = int(wrong.sum())
    return (
        f"{count} of {wrong.size} differ, first at {index}: expected {expected[index]!r}, got {got[index]!r}"
    )


def _agrees(expected: np.ndarray, got: np.ndarray, tolerance: Tolerance) -> np.ndarray:
    if expected.dtype.kind in "biu":
        return np.asarray(expected == got)
    with np.errstate(invalid="ignore"):  # signalling NaN
        wide, other = expected.astype(np.float64), got.astype(np.float64)
    both_nan = np.isnan(wide) & np.isnan(other)
    neither_nan = ~np.isnan(wide) & ~np.isnan(other)
    steps = np.abs(_ordinal(expected) - _ordinal(got))
    close = neither_nan & (steps <= tolerance.ulps)
    with np.errstate(all="ignore"):
        close |= neither_nan & (np.abs(wide - other) <= tolerance.absolute) & (tolerance.absolute != 0)
    if not tolerance.ulps and not tolerance.any_zero_sign and not np.any(tolerance.absolute):
        close &= np.signbit(wide) == np.signbit(other)
    return np.asarray(both_nan | close)


def _ordinal(x: np.ndarray) -> np.ndarray:
    """Number the representable values in order, both zeros 0; differences of 64-bit ones need floats."""
    bits = x.view(f"i{x.dtype.itemsize}").astype(np.int64)
    magnitude = bits & ((1 << (8 * x.dtype.itemsize - 1)) - 1)
    ordered = np.where(bits < 0, -magnitude, magnitude)
    return ordered.astype(np.longdouble) if x.dtype.itemsize == 8 else ordered
