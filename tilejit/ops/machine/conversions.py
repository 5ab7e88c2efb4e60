"""How V220 rounds, clamps and converts elements: what arithmetic, casts and fixpipes share.

Source: CANN documentation of Cast, Fixpipe and SetSaturationFlag (V220), and its tables of special values.
"""

from __future__ import annotations

from enum import Enum

import ml_dtypes
import numpy as np

from tilejit.ir.types import BF16, FP16, DType, Kind


class Round(Enum):
    """Which neighbour a conversion takes where the value does not fit."""

    NONE = "none"  # nothing to round; rint where there is
    RINT = "rint"  # nearest, ties to even
    FLOOR = "floor"
    CEIL = "ceil"
    ROUND = "round"  # nearest, ties away from zero
    TRUNC = "trunc"
    ODD = "odd"  # fp32 to fp16 only: toward the neighbour with an odd mantissa


def round_to_integers(values: np.ndarray, mode: Round) -> np.ndarray:
    """Round floats to whole floats."""
    if mode in (Round.NONE, Round.RINT):
        return np.asarray(np.rint(values))
    if mode is Round.FLOOR:
        return np.asarray(np.floor(values))
    if mode is Round.CEIL:
        return np.asarray(np.ceil(values))
    whole = np.asarray(np.trunc(values))
    if mode is Round.TRUNC:
        return whole
    away = np.abs(values - whole) >= 0.5
    return np.where(away, whole + np.copysign(1, values), whole)


def clamp_to_integers(values: np.ndarray, target: DType) -> np.ndarray:
    """Convert whole numbers to an integer type; what is too large gives the nearest bound, NaN gives 0."""
    if values.dtype.kind in "iu":
        return np.asarray(np.clip(values, target.min_value, target.max_value)).astype(target.numpy)
    wide = np.where(np.isnan(values), 0.0, values.astype(np.float64))
    # 2**63 - 1 is no fp64: the bound itself is put in by hand.
    fits = wide < float(target.max_value)
    inside = np.where(fits, np.maximum(wide, float(target.min_value)), 0.0).astype(target.numpy)
    return np.where(fits, inside, target.numpy.type(target.max_value))


def round_to_float(values: np.ndarray, target: DType, mode: Round, saturates: bool) -> np.ndarray:
    """Round fp32 values to fp16, bf16 or fp32.

    Saturating, what is too large gives the largest finite value and NaN gives 0; otherwise inf and NaN
    stay what they are.
    """
    dtype = target.numpy
    with np.errstate(all="ignore"):
        nearest = values.astype(np.float32).astype(dtype)
        if mode not in (Round.NONE, Round.RINT) and dtype.itemsize == 2:
            nearest = _neighbour(values.astype(np.float32), nearest, target, mode)
        return saturated(nearest, target) if saturates else nearest


def saturated(values: np.ndarray, dtype: DType) -> np.ndarray:
    """What saturation makes of results: in 16-bit floats inf gives the largest finite value and NaN 0."""
    if dtype not in (FP16, BF16):
        return values
    largest = np.float32(ml_dtypes.finfo(dtype.numpy).max)  # type: ignore[no-untyped-call]
    wide = values.astype(np.float32)
    clamped = np.clip(wide, -largest, largest)
    return np.where(np.isnan(wide), np.float32(0), clamped).astype(dtype.numpy)


def _neighbour(values: np.ndarray, nearest: np.ndarray, target: DType, mode: Round) -> np.ndarray:
    """The 16-bit float next to each fp32 value that ``mode`` asks for, given the nearest one."""
    back = nearest.astype(np.float32)
    bits = nearest.view(np.uint16)
    toward_zero = np.where(np.abs(back) > np.abs(values), bits - np.uint16(1), bits)
    below = toward_zero.view(target.numpy).astype(np.float32)
    inexact = np.isfinite(values) & (below != values)
    if mode is Round.TRUNC:
        grows = np.zeros(values.shape, bool)
    elif mode is Round.FLOOR:
        grows = values < 0
    elif mode is Round.CEIL:
        grows = values > 0
    elif mode is Round.ODD:
        grows = (toward_zero & np.uint16(1)) == 0
    else:  # ROUND: the exact middle lies as far above what is below as below what is above
        above = (toward_zero + np.uint16(1)).view(target.numpy).astype(np.float64)
        beyond = np.ldexp(1.0, ml_dtypes.finfo(target.numpy).maxexp)  # type: ignore[no-untyped-call]  # as if inf were a number
        above = np.where(np.isinf(above), np.copysign(beyond, values), above)
        grows = np.abs(values.astype(np.float64) - below) >= np.abs(above - values)
    chosen = toward_zero + (inexact & grows).astype(np.uint16)
    return np.where(np.isnan(values), bits, chosen).view(target.numpy)


def scaled(values: np.ndarray, scale: np.ndarray | float) -> np.ndarray:
    """The product with a scale as fixpipe has it: fp32 with the lower 13 bits of its mantissa cut off."""
    bits = np.asarray(scale, np.float32).view(np.uint32) & np.uint32(0xFFFFE000)
    with np.errstate(all="ignore"):
        return values.astype(np.float32) * bits.view(np.float32)


def convert(values: np.ndarray, source: DType, target: DType, mode: Round, saturates: bool) -> np.ndarray:
    """Convert elements from ``source`` to ``target`` as one Cast does."""
    with np.errstate(all="ignore"):
        if target.kind is Kind.FLOAT:
            if source == target:  # of zeros, even -0, the unit makes +0
                whole = round_to_integers(values, mode).astype(target.numpy)
                return np.asarray(whole + target.numpy.type(0))
            return round_to_float(values, target, mode, saturates)
        if source.kind is Kind.FLOAT:
            return clamp_to_integers(round_to_integers(values.astype(np.float32), mode), target)
        return clamp_to_integers(values, target)
