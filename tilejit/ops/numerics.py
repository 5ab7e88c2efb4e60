"""Arithmetic on numpy arrays as the language defines it, where plain numpy says something else.

Integers wrap, a zero divisor acts as one, shifts may exceed the width, float to integer saturates, and 16-bit
floats are computed in fp32 and rounded once. Functions here take and return arrays and know no ops.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import ml_dtypes
import numpy as np

from tilejit.ir.types import DType

Array = np.ndarray

_SMALL_FLOATS: frozenset[np.dtype] = frozenset(
    np.dtype(scalar)
    for scalar in (
        np.float16,
        ml_dtypes.bfloat16,
        ml_dtypes.float8_e5m2,
        ml_dtypes.float8_e4m3fn,
        ml_dtypes.float8_e4m3fnuz,
        ml_dtypes.float8_e5m2fnuz,
    )
)
_UNSIGNED: dict[int, np.dtype] = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}


def widen(x: Array) -> Array:
    """Return ``x`` in the type it is computed in: fp32 for floats of 16 and 8 bits, else unchanged."""
    return x.astype(np.float32) if x.dtype in _SMALL_FLOATS else x


def narrow(x: Array | np.generic, dtype: np.dtype) -> Array:
    """Return ``x`` as an array of ``dtype``, rounding to nearest; fp64 reaches small floats through fp32."""
    array = np.asarray(x)
    if array.dtype == np.float64 and dtype in _SMALL_FLOATS:
        array = array.astype(np.float32)
    return array.astype(dtype, copy=False)


def unsigned(x: Array) -> Array:
    """Return the bits of ``x`` as unsigned integers."""
    return np.asarray(x).view(_UNSIGNED[x.dtype.itemsize])


# Integers


def integer_divide(lhs: Array, rhs: Array) -> Array:
    """Truncating division; x / 0 is x, and MIN / -1 wraps to MIN."""
    if lhs.dtype.kind == "u":
        return np.asarray(np.floor_divide(lhs, np.where(rhs == 0, rhs.dtype.type(1), rhs)))
    # -1 is kept away from numpy's division, which may trap or warn on MIN / -1.
    special = (rhs == 0) | (rhs == -1)
    divisor = np.where(special, rhs.dtype.type(1), rhs)
    floored = np.floor_divide(lhs, divisor)
    inexact = np.fmod(lhs, divisor) != 0
    truncated = floored + (inexact & ((lhs < 0) != (divisor < 0))).astype(lhs.dtype)
    return np.asarray(np.where(rhs == -1, np.negative(lhs), truncated))


def integer_remainder(lhs: Array, rhs: Array) -> Array:
    """Remainder with the sign of the dividend; x % 0 and MIN % -1 are 0."""
    special = rhs == 0
    if lhs.dtype.kind == "i":
        special = special | (rhs == -1)
    return np.asarray(np.fmod(lhs, np.where(special, rhs.dtype.type(1), rhs)))


def shift_left(x: Array, amount: Array) -> Array:
    """Shift left; amounts of the width and more, negative ones included, give 0."""
    bits = x.dtype.itemsize * 8
    huge = unsigned(amount) >= bits
    zero = x.dtype.type(0)
    return np.asarray(np.where(huge, zero, np.left_shift(x, np.where(huge, zero, amount))))


def shift_right(x: Array, amount: Array) -> Array:
    """Shift right, keeping the sign of signed types; amounts of the width and more shift everything out."""
    bits = x.dtype.itemsize * 8
    huge = unsigned(amount) >= bits
    if x.dtype.kind == "i":
        return np.asarray(np.right_shift(x, np.where(huge, x.dtype.type(bits - 1), amount)))
    zero = x.dtype.type(0)
    return np.asarray(np.where(huge, zero, np.right_shift(x, np.where(huge, zero, amount))))


def multiply_high(lhs: Array, rhs: Array) -> Array:
    """Return the upper half of the double-width product."""
    if lhs.dtype.itemsize == 4:
        wide = np.int64 if lhs.dtype.kind == "i" else np.uint64
        product = np.multiply(lhs.astype(wide), rhs.astype(wide))
        return np.right_shift(product, wide(32)).astype(lhs.dtype)
    high = _multiply_high_u64(unsigned(lhs), unsigned(rhs))
    if lhs.dtype.kind == "u":
        return high
    # As unsigned, a negative x stands for x + 2**64, which adds the other factor to the upper half.
    zero = np.uint64(0)
    high = high - np.where(lhs < 0, unsigned(rhs), zero) - np.where(rhs < 0, unsigned(lhs), zero)
    return np.asarray(high).view(np.int64)


def _multiply_high_u64(lhs: Array, rhs: Array) -> Array:
    half, low_mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    lhs_low, lhs_high = lhs & low_mask, lhs >> half
    rhs_low, rhs_high = rhs & low_mask, rhs >> half
    middle = lhs_high * rhs_low + ((lhs_low * rhs_low) >> half)
    other = lhs_low * rhs_high + (middle & low_mask)
    return np.asarray(lhs_high * rhs_high + (middle >> half) + (other >> half))


# Floats


def fused_multiply_add(a: Array, b: Array, c: Array) -> Array:
    """Return a * b + c rounded once, for fp32 or fp64."""
    if a.dtype == np.float64:
        return _fma64(a, b, c)
    # The product is exact in fp64. The sum is rounded to odd there, so that rounding to fp32 sees where the
    # exact value lies: fp64 has more than two bits to spare.
    product, addend = np.multiply(a, b, dtype=np.float64), np.asarray(c).astype(np.float64)
    total = product + addend
    shifted = total - product
    error = (product - (total - shifted)) + (addend - shifted)
    even = (np.asarray(total).view(np.int64) & 1) == 0
    adjust = np.isfinite(total) & (error != 0) & even
    odd = np.nextafter(total, np.copysign(np.inf, error))
    return np.asarray(np.where(adjust, odd, total)).astype(np.float32)


def _fma64(a: Array, b: Array, c: Array) -> Array:
    return np.asarray(np.frompyfunc(_fma_scalar, 3, 1)(a, b, c)).astype(np.float64)


def _fma_scalar(a: float, b: float, c: float) -> float:
    if math.isfinite(a) and math.isfinite(b) and not math.isfinite(c):
        return c
    if not (math.isfinite(a) and math.isfinite(b)):
        product = math.nan if a == 0 or b == 0 else a * b
        return product + c
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        return 0.0 if a and b else a * b + c  # only zeros give a signed zero; cancellation gives +0
    try:
        return exact.numerator / exact.denominator
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def in_double(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Make a function of fp64 arrays serve fp32 too, by computing in fp64 and rounding once."""

    def compute(x: Array) -> Array:
        return np.asarray(function(x.astype(np.float64))).astype(x.dtype)

    return compute


def error_function(x: Array) -> Array:
    """Return erf(x) for fp64."""
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(x)).astype(np.float64)


def reciprocal_square_root(x: Array) -> Array:
    """Return 1 / sqrt(x)."""
    return np.asarray(1.0 / np.sqrt(x))


# Conversions


def convert(x: Array, source: DType, target: DType, toward_zero: bool) -> Array:
    """Convert elements: integers wrap, floats round, float to integer saturates with NaN giving 0.

    Integers and fp64 reach floats below fp32 through fp32.
    """
    if source == target:
        return x
    if target.is_bool():
        return np.asarray(np.not_equal(widen(x), 0))
    if target.is_floating():
        if not target.is_standard_floating() or target.bits == 16:
            x = x.astype(np.float32)
        return truncate_float(x, target) if toward_zero else x.astype(target.numpy)
    if source.is_floating():
        return saturate(x, target)
    return x.astype(target.numpy)


def saturate(x: Array, target: DType) -> Array:
    """Truncate floats to integers; what is out of range gives the nearest bound, NaN gives 0."""
    wide = x.astype(np.float64)
    lower, beyond = float(target.min_value), float(target.max_value + 1)
    fits = (wide > lower) & (wide < beyond)
    inside = np.where(fits, np.trunc(wide), 0.0).astype(target.numpy)
    clipped = np.where(wide >= beyond, target.numpy.type(target.max_value), inside)
    return np.where(wide <= lower, target.numpy.type(target.min_value), clipped)


def truncate_float(x: Array, target: DType) -> Array:
    """Round fp32 toward zero to a smaller float type; finite values stay finite."""
    dtype = target.numpy
    nearest = x.astype(dtype)
    back = nearest.astype(np.float32)
    bits = unsigned(nearest)
    sign_bit = bits.dtype.type(1 << (target.bits - 1))
    inward = np.asarray(np.where(np.abs(back) > np.abs(x), bits - bits.dtype.type(1), bits))
    # A type without -0 uses the bits of -0 for NaN.
    is_zero = (inward & ~sign_bit) == 0
    signed_zero = np.copysign(np.float32(0.0), x).astype(dtype)
    truncated = np.where(is_zero & ~np.isnan(back), signed_zero, inward.view(dtype))
    truncated = np.where(is_zero & (back == 0), nearest, truncated)
    maximum = np.float32(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]
    largest = np.copysign(maximum, x).astype(dtype)
    return np.where(np.isfinite(x) & ~np.isfinite(back), largest, truncated)
