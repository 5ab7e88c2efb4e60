"""Conversions against exact arithmetic: all values of a small type are listed, the right one is looked up."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from ops.helpers import evaluate
from tilejit import ops
from tilejit.ir.types import (
    BF16,
    DTYPES,
    FP16,
    FP32,
    FP64,
    INT1,
    INT8,
    INT32,
    INT64,
    UINT8,
    UINT64,
    DType,
)
from tilejit.ops import Rounding
from tilejit.ops.type_rules import FP8S, INTEGERS

SMALL = (FP16, BF16, *FP8S)


def _cast(array: np.ndarray, target: DType, rounding: Rounding = Rounding.RTNE) -> np.ndarray:
    return evaluate(ops.CAST, {"dtype": target, "rounding": rounding}, x=array)[0]


def _all_values(dtype: DType) -> tuple[np.ndarray, np.ndarray]:
    """The finite values >= 0 of a small float type in order, as fp64, and their bits."""
    bits = np.arange(1 << (dtype.bits - 1), dtype=f"u{dtype.itemsize}")
    with np.errstate(invalid="ignore"):
        values = bits.view(dtype.numpy).astype(np.float64)
    finite = np.isfinite(values)
    return values[finite], bits[finite]


def _magnitudes(dtype: DType) -> np.ndarray:
    """fp32 numbers >= 0: the type's values, the middles between them, their neighbours; none overflows."""
    values, _ = _all_values(dtype)
    middles = (values[:-1] + values[1:]) / 2
    points = np.concatenate([values, middles]).astype(np.float32)
    zero, infinity = np.float32(0), np.float32(np.inf)
    near = np.concatenate([points, np.nextafter(points, zero), np.nextafter(points, infinity)])
    return near[near <= values[-1]]


@pytest.mark.parametrize("dtype", SMALL, ids=str)
def test_narrowing_rounds_to_nearest_even(dtype: DType) -> None:
    values, bits = _all_values(dtype)
    x = _magnitudes(dtype)
    below = np.searchsorted(values, x, side="right") - 1
    above = np.minimum(below + 1, len(values) - 1)
    down, up = x - values[below], values[above] - x
    is_up = (up < down) | ((up == down) & (bits[above] % 2 == 0))
    expected = np.where(is_up, values[above], values[below])
    for sign in (1, -1):
        got = _cast(sign * x, dtype).astype(np.float64)
        np.testing.assert_array_equal(got, sign * expected)


@pytest.mark.parametrize("dtype", SMALL, ids=str)
def test_narrowing_toward_zero(dtype: DType) -> None:
    values, _ = _all_values(dtype)
    beyond = np.array([values[-1] * 1.0001, 3.4e38, np.finfo(np.float32).max], np.float32)
    x = np.concatenate([_magnitudes(dtype), beyond])
    expected = values[np.searchsorted(values, x, side="right") - 1]
    for sign in (1, -1):
        got = _cast(sign * x, dtype, Rounding.RTZ).astype(np.float64)
        np.testing.assert_array_equal(got, sign * expected)


@pytest.mark.parametrize("dtype", SMALL, ids=str)
@pytest.mark.parametrize("rounding", Rounding)
def test_nan_and_infinity(dtype: DType, rounding: Rounding) -> None:
    got = _cast(np.array([np.nan, np.inf, -np.inf], np.float32), dtype, rounding).astype(np.float64)
    assert np.isnan(got[0])
    has_infinity = dtype.name in ("fp16", "bf16", "fp8e5")
    expected = [np.inf, -np.inf] if has_infinity else [np.nan, np.nan]
    np.testing.assert_array_equal(got[1:], expected)


@pytest.mark.parametrize("dtype", FP8S, ids=str)
def test_overflow_is_that_of_ml_dtypes(dtype: DType) -> None:
    largest = float(ml_dtypes.finfo(dtype.numpy).max)
    got = _cast(np.array([largest * 2, -1e30], np.float32), dtype).astype(np.float64)
    assert np.isinf(got).all() if dtype.name == "fp8e5" else np.isnan(got).all()


@pytest.mark.parametrize("source", (FP16, BF16, FP32, FP64), ids=str)
@pytest.mark.parametrize("target", INTEGERS, ids=str)
def test_float_to_integer_saturates(source: DType, target: DType) -> None:
    rng = np.random.default_rng(1)
    numbers = [0.0, -0.0, 0.9, -0.9, 1.5, -1.5, np.inf, -np.inf, np.nan, 127.9, 128.0, -128.9, -129.0, 255.5]
    numbers += [
        s * 2.0**k + d for k in (15, 16, 31, 32, 53, 63, 64, 100) for s in (1, -1) for d in (-1, 0, 1)
    ]
    with np.errstate(over="ignore"):
        x = np.concatenate([numbers, rng.standard_normal(99) * 2.0 ** rng.integers(0, 70, 99)]).astype(
            source.numpy
        )
    expected = [_truncated(float(number), target) for number in x.astype(np.float64)]
    np.testing.assert_array_equal(_cast(x, target), np.array(expected, target.numpy))


def _truncated(number: float, target: DType) -> int:
    if np.isnan(number):
        return 0
    if np.isinf(number):
        return target.max_value if number > 0 else target.min_value
    return min(max(int(number), target.min_value), target.max_value)


@pytest.mark.parametrize("source", INTEGERS, ids=str)
@pytest.mark.parametrize("target", INTEGERS, ids=str)
def test_integers_wrap(source: DType, target: DType) -> None:
    numbers = [
        0,
        1,
        2,
        100,
        source.min_value,
        source.max_value,
        source.max_value // 2 + 1,
        source.max_value - 1,
    ]
    expected = []
    for number in numbers:
        wrapped = number % (1 << target.bits)
        expected.append(wrapped - (1 << target.bits) if wrapped > target.max_value else wrapped)
    got = _cast(np.array(numbers, source.numpy), target)
    np.testing.assert_array_equal(got, np.array(expected, target.numpy))


def test_integers_to_floats_round_to_nearest() -> None:
    numbers = [2**24 + 1, 2**24 + 3, -(2**24) - 1, 2**62 + 1, 2**63 - 1]
    got = _cast(np.array(numbers, np.int64), FP32)
    np.testing.assert_array_equal(got, np.array([2**24, 2**24 + 4, -(2**24), 2**62, 2**63], np.float32))
    assert _cast(np.array(2**64 - 1, np.uint64), FP64) == 2.0**64
    # Through fp32: 2**24 + 2**16 + 1 is no tie in bf16, but its fp32 neighbour 2**24 + 2**16 is one, to even.
    assert _cast(np.array(2**24 + 2**16 + 1, np.int32), BF16).astype(np.float64) == 2.0**24


def test_fp64_reaches_small_floats_through_fp32() -> None:
    just_above_tie = 1 + 2.0**-11 + 2.0**-40
    assert _cast(np.array(just_above_tie), FP16) == np.float16(1)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_bool(dtype: DType) -> None:
    x = np.array([0, 1, 1]).astype(dtype.numpy)
    np.testing.assert_array_equal(_cast(x, INT1), [False, True, True])
    np.testing.assert_array_equal(_cast(np.array([False, True]), dtype).astype(np.float64), [0, 1])


def test_to_bool_is_not_a_truncation() -> None:
    np.testing.assert_array_equal(
        _cast(np.array([0.25, np.nan, -0.0], np.float32), INT1), [True, True, False]
    )
    np.testing.assert_array_equal(_cast(np.array([256, 2], np.int32), INT1), [True, True])


@pytest.mark.parametrize(
    ("number", "source", "target", "expected"),
    [
        (-1, INT8, UINT8, 255),
        (-1, INT8, UINT64, 2**64 - 1),
        (200, UINT8, INT8, -56),
        (200, UINT8, INT32, 200),
    ],
)
def test_extension_follows_the_source(number: int, source: DType, target: DType, expected: int) -> None:
    assert int(_cast(np.array(number, source.numpy), target)) == expected


def test_bitcast() -> None:
    ones = np.array([1.0, -0.0], np.float32)
    np.testing.assert_array_equal(evaluate(ops.BITCAST, {"dtype": INT32}, x=ones)[0], [0x3F800000, -(2**31)])
    assert evaluate(ops.BITCAST, {"dtype": INT64}, x=np.array(1.0))[0] == 0x3FF0000000000000
