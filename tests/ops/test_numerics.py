"""Arithmetic at its edges: exact fused multiply-add, division by zero, wide shifts, double-width products."""

from __future__ import annotations

import numpy as np
import pytest
from conformance.references import expected

from ops.helpers import evaluate
from tilejit import ops
from tilejit.ir.opdef import OpDef
from tilejit.ir.types import BF16, FP16, FP32, FP64, DType
from tilejit.ops import CmpPredicate, ReduceKind


def _fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    return evaluate(ops.FMA, a=a, b=b, c=c)[0]


def _random_bits(rng: np.random.Generator, dtype: DType, count: int) -> np.ndarray:
    return rng.integers(0, 1 << min(dtype.bits, 62), count).astype(f"u{dtype.itemsize}").view(dtype.numpy)


@pytest.mark.parametrize("dtype", (FP16, BF16, FP32, FP64), ids=str)
def test_fma_on_random_bits(dtype: DType) -> None:
    rng = np.random.default_rng(2)
    a, b, c = (_random_bits(rng, dtype, 1500) for _ in range(3))
    with np.errstate(all="ignore"):
        reference = expected("fma", dtype, a, b, c).astype(np.float64)
        got = _fma(a, b, c).astype(np.float64)
    np.testing.assert_array_equal(got, reference)


@pytest.mark.parametrize("dtype", (FP32, FP64), ids=str)
def test_fma_with_cancellation(dtype: DType) -> None:
    rng = np.random.default_rng(3)
    a, b = (rng.standard_normal(1500).astype(dtype.numpy) for _ in range(2))
    c = -(a * b)  # leaves the rounding error of the product
    got = _fma(a, b, c)
    assert (got != 0).any()
    np.testing.assert_array_equal(got, expected("fma", dtype, a, b, c))


def test_fma32_beside_a_tie() -> None:
    """The exact sum lies just above a tie of fp32 and rounds to the tie in fp64."""
    one, eps = np.float32(1), np.float32(2.0**-12)
    tiny = np.array([2.0**-70, -(2.0**-70)], np.float32)
    a = np.full(2, one + 2 * eps, np.float32)
    product_low = float(a[0]) * float(a[0]) - 1.0
    c = tiny
    np.testing.assert_array_equal(_fma(a, a, c), expected("fma", FP32, a, a, c))
    assert product_low > 0
    halfway = np.full(2, 2.0**-24, np.float32)
    got = _fma(np.ones(2, np.float32), np.ones(2, np.float32), halfway + tiny)
    np.testing.assert_array_equal(got, expected("fma", FP32, np.ones(2), np.ones(2), (halfway + tiny)))


def test_fma64_signs_and_overflow() -> None:
    big = np.array([1e300, -1e300, 1e-300, -1e-300, 0.0, -0.0, 1e300])
    other = np.array([1e300, 1e300, 1e-300, 1e-300, 1.0, 1.0, 1e300])
    addend = np.array([0.0, 0.0, 0.0, 0.0, -0.0, -0.0, -np.inf])
    got = _fma(big, other, addend)
    np.testing.assert_array_equal(got, [np.inf, -np.inf, 0.0, -0.0, 0.0, -0.0, -np.inf])
    np.testing.assert_array_equal(np.signbit(got), [False, True, False, True, False, True, True])


def _binary(op: OpDef, lhs: object, rhs: object, dtype: type) -> list[int]:
    return list(map(int, evaluate(op, lhs=np.array(lhs, dtype), rhs=np.array(rhs, dtype))[0]))


def test_integer_division() -> None:
    assert _binary(ops.IDIV, [7, -7, 7, -7], [2, 2, -2, -2], np.int32) == [3, -3, -3, 3]
    assert _binary(ops.IREM, [7, -7, 7, -7], [2, 2, -2, -2], np.int32) == [1, -1, 1, -1]
    assert _binary(ops.IDIV, [5, -5, -128], [0, 0, -1], np.int8) == [5, -5, -128]
    assert _binary(ops.IREM, [5, -5, -128], [0, 0, -1], np.int8) == [0, 0, 0]
    assert _binary(ops.IDIV, [255, 9], [2, 0], np.uint8) == [127, 9]


def test_shifts() -> None:
    assert _binary(ops.SHL, [1, 1, 1, -1], [31, 32, -1, 4], np.int32) == [-(2**31), 0, 0, -16]
    assert _binary(ops.SHR, [-8, -8, 8, -8], [1, 32, 99, -1], np.int32) == [-4, -1, 0, -1]
    assert _binary(ops.SHR, [0x80, 0x80, 0xFF], [7, 8, 255], np.uint8) == [1, 0, 0]


def test_multiply_high() -> None:
    assert _binary(ops.UMULHI, [0xD2511F53], [0xFFFFFFFF], np.uint32) == [0xD2511F52]
    assert _binary(ops.UMULHI, [-1, -(2**31)], [-1, -(2**31)], np.int32) == [0, 2**30]
    assert _binary(ops.UMULHI, [-1, -(2**63)], [1, -(2**63)], np.int64) == [-1, 2**62]
    assert _binary(ops.UMULHI, [2**64 - 1], [2**64 - 1], np.uint64) == [2**64 - 2]


def test_nan_in_extrema() -> None:
    lhs, rhs = np.array([np.nan, 1, np.nan], np.float32), np.array([2, np.nan, np.nan], np.float32)
    ignoring = evaluate(ops.MAX, lhs=lhs, rhs=rhs)[0]
    np.testing.assert_array_equal(ignoring, [2, 1, np.nan])
    assert np.isnan(evaluate(ops.MIN, {"propagate_nan": True}, lhs=lhs, rhs=rhs)[0]).all()


def test_small_floats_round_once_per_op() -> None:
    x = np.array([1.0], BF16.numpy)
    small = np.array([2.0**-9], BF16.numpy)
    once = evaluate(ops.ADD, lhs=x, rhs=small)[0]
    assert float(once[0]) == 1.0
    assert float(evaluate(ops.ADD, lhs=once, rhs=small)[0][0]) == 1.0


def test_no_warnings(recwarn: pytest.WarningsRecorder) -> None:
    huge, zero = np.array([3e38, -1.0], np.float32), np.array([0.0, 0.0], np.float32)
    for op in (ops.ADD, ops.MUL, ops.DIV, ops.FREM):
        evaluate(op, lhs=huge, rhs=zero if op is ops.DIV else huge)
    for op in (ops.LOG, ops.SQRT, ops.EXP, ops.RSQRT):
        evaluate(op, x=huge)
    limits = np.array(-(2**31), np.int32)
    evaluate(ops.ADD, lhs=limits, rhs=limits)
    evaluate(ops.ABS, x=limits)
    evaluate(ops.IDIV, lhs=limits, rhs=np.array(-1, np.int32))
    signalling = np.array([0x7F81, 0x3F80], np.uint16).view(BF16.numpy)
    evaluate(ops.CMP, {"predicate": CmpPredicate.LT}, lhs=signalling, rhs=signalling)
    evaluate(ops.ADD, lhs=signalling, rhs=signalling)
    evaluate(ops.REDUCE, {"axis": 0, "kind": ReduceKind.SUM}, x=signalling)
    evaluate(ops.CAST, {"dtype": FP16}, x=signalling)
    assert not recwarn.list
