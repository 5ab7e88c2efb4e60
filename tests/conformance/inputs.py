"""Input data with the values that break arithmetic, from seeded generators."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from tilejit.ir.types import DType

Shape = tuple[int, ...]


def values(rng: np.random.Generator, dtype: DType, shape: Shape) -> np.ndarray:
    """Values of any element type, special ones among them; a scalar gets an ordinary one."""
    if dtype.is_bool():
        return rng.integers(0, 2, shape).astype(np.bool_)
    if dtype.is_fp8():
        return np.asarray(rng.integers(0, 256, shape, dtype=np.uint8)).view(dtype.numpy)
    return floats(rng, dtype, shape) if dtype.is_floating() else integers(rng, dtype, shape)


def floats(rng: np.random.Generator, dtype: DType, shape: Shape) -> np.ndarray:
    """Normal numbers of several magnitudes, a third of them replaced by special ones."""
    ordinary = rng.standard_normal(shape) * 2.0 ** rng.integers(-8, 9, shape)
    if not shape:
        return np.asarray(ordinary).astype(dtype.numpy)
    chosen = rng.choice(float_specials(dtype), shape)
    return np.where(rng.random(shape) < 0.35, chosen, ordinary.astype(dtype.numpy))


def float_specials(dtype: DType) -> np.ndarray:
    """NaN, infinities, zeros, the ends of the ranges of normal and denormal numbers, ties."""
    info = ml_dtypes.finfo(dtype.numpy)
    largest, normal, tiny = float(info.max), float(info.smallest_normal), float(info.smallest_subnormal)
    plain = [0.0, 1.0, 0.5, 1.5, 2.5, 3.0, 1.0 + 2.0**-dtype.mantissa_bits, largest, normal, tiny, normal / 2]
    both_signs = [sign * x for x in (*plain, np.inf) for sign in (1.0, -1.0)]
    return np.array([*both_signs, np.nan]).astype(dtype.numpy)


def ordinary_floats(rng: np.random.Generator, dtype: DType, shape: Shape) -> np.ndarray:
    """Normal numbers of unit scale, none special."""
    return np.asarray(rng.standard_normal(shape)).astype(dtype.numpy)


def integers(rng: np.random.Generator, dtype: DType, shape: Shape) -> np.ndarray:
    """A mix of small numbers, of numbers of the whole range and of its ends."""
    low, high = dtype.min_value, dtype.max_value
    whole = rng.integers(low, high, shape, dtype=dtype.numpy, endpoint=True)
    small = rng.integers(max(low, -9), 10, shape).astype(dtype.numpy)
    if not shape:
        return np.asarray(small)
    specials = [0, 1, 2, low, low + 1, high, high - 1, high // 2] + ([-1, -2] if low else [])
    ends = rng.choice(np.array(specials, dtype.numpy), shape)
    kind = rng.integers(0, 3, shape)
    return np.where(kind == 0, whole, np.where(kind == 1, small, ends))


def shift_amounts(rng: np.random.Generator, dtype: DType, shape: Shape) -> np.ndarray:
    """Mostly legal amounts; the width, more than the width and negative ones too."""
    legal = rng.integers(0, dtype.bits, shape).astype(dtype.numpy)
    wild = [dtype.bits, dtype.bits + 1, dtype.max_value, dtype.bits - 1, dtype.min_value]
    chosen = rng.choice(np.array(wild, dtype.numpy), shape)
    return np.asarray(np.where(rng.random(shape) < 0.7, legal, chosen))


def cast_sources(rng: np.random.Generator, dtype: DType, shape: Shape) -> np.ndarray:
    """Values around the ranges of all targets, ties of narrower types, and random bits."""
    if not dtype.is_standard_floating() or not shape:
        return values(rng, dtype, shape)
    bounds = [
        sign * 2.0**k + d for k in (7, 8, 15, 16, 31, 32, 63, 64) for sign in (1, -1) for d in (-1, 0, 0.5)
    ]
    bounds += [
        0.5,
        -0.5,
        0.999,
        -0.999,
        448.0,
        464.0,
        480.0,
        240.0,
        57344.0,
        61440.0,
        65504.0,
        65520.0,
        2.0**-24,
    ]
    with np.errstate(all="ignore"):
        near = rng.choice(np.array(bounds).astype(dtype.numpy), shape)
    bits = rng.integers(0, 1 << min(dtype.bits, 62), shape).astype(f"u{dtype.itemsize}").view(dtype.numpy)
    # Few mantissa bits make ties and exact values likely in every narrower type.
    coarse = (rng.integers(-64, 65, shape) * 2.0 ** rng.integers(-20, 10, shape)).astype(dtype.numpy)
    kind = rng.integers(0, 4, shape)
    return np.select(
        [kind == 0, kind == 1, kind == 2], [near, bits, coarse], floats(rng, dtype, shape)
    ).astype(dtype.numpy)
