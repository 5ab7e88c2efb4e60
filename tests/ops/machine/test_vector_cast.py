"""Conversions of the vector unit, pair by pair and mode by mode."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tests.ops.machine.harness import At, Memories, refusal, run
from tilejit.ir.machine import CoreState
from tilejit.ir.types import BF16, FP16, FP32, INT8, INT16, INT32, INT64, UINT8, DType
from tilejit.ops.machine.conversions import Round
from tilejit.ops.machine.vector_cast import CAST_MODES, cast_route
from tilejit.target.spaces import Space

INF = float("inf")
VALUES = [0.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 1.49, -1.51, 126.97, 127.5, 2049.0, -2051.0, 3e4, -7e4, 1e10]


def ub(dtype: DType, address: int = 0) -> At:
    return At(Space.UB, dtype, address)


def cast(
    values: np.ndarray, source: DType, to: DType, mode: Round, state: CoreState | None = None
) -> np.ndarray:
    memories = Memories()
    memories.put(ub(source), values.astype(source.numpy))
    operands = {"dst": ub(to, 8192), "src": ub(source), "count": len(values)}
    run(memories, "vcast", {"round": mode}, state or CoreState(), **operands)
    return memories.get(ub(to, 8192), len(values))


def whole(value: float, mode: Round) -> int:
    """Round one number to an integer by exact arithmetic."""
    exact = Fraction(value)
    below = exact.numerator // exact.denominator
    rest = exact - below
    if mode is Round.FLOOR or rest == 0:
        return below
    if mode is Round.CEIL:
        return below + 1
    if mode is Round.TRUNC:
        return below + (exact < 0)
    if rest != Fraction(1, 2):
        return below + (rest > Fraction(1, 2))
    if mode is Round.ROUND:
        return below + (exact > 0)
    return below + below % 2


INTEGER_PAIRS = [
    (source, to, mode)
    for (source, to), modes in CAST_MODES.items()
    for mode in modes
    if source.is_floating() and not to.is_floating()
]


@pytest.mark.parametrize(("source", "to", "mode"), INTEGER_PAIRS)
def test_floats_become_integers_and_clamp(source: DType, to: DType, mode: Round) -> None:
    values = np.array(VALUES)
    values = values[np.abs(values) < 6e4] if source == FP16 else values
    stored = values.astype(source.numpy)
    got = cast(values, source, to, mode)
    for value, result in zip(stored, got, strict=True):
        expected = min(max(whole(float(value), mode), to.min_value), to.max_value)
        assert int(result) == expected


def test_nan_becomes_zero_and_infinity_the_bound() -> None:
    values = np.array([np.nan, np.inf, -np.inf])
    for to in (INT16, INT32, INT64):
        assert cast(values, FP32, to, Round.RINT).tolist() == [0, to.max_value, to.min_value]


@pytest.mark.parametrize(
    ("source", "to"), [pair for pair, modes in CAST_MODES.items() if modes == (Round.NONE,)]
)
def test_exact_casts(source: DType, to: DType) -> None:
    values = np.array([-100, -3, 0, 1, 7, 100]) if source != UINT8 else np.array([0, 3, 200, 255])
    assert (cast(values, source, to, Round.NONE).astype(np.int64) == values).all()


def float_neighbours(value: float, to: DType) -> tuple[float, float]:
    """The floats of 16 bits around a number, from all of them."""
    with np.errstate(invalid="ignore"):
        every = np.arange(1 << 16, dtype=np.uint16).view(to.numpy).astype(np.float64)
    every = every[np.isfinite(every)]
    return float(every[every <= value].max()), float(every[every >= value].min())


NARROWINGS = [(to, mode) for to in (FP16, BF16) for mode in CAST_MODES[FP32, to]]


@pytest.mark.parametrize(("to", "mode"), NARROWINGS)
def test_fp32_narrows_by_every_mode(to: DType, mode: Round) -> None:
    numbers = [1.0, 1 + 2**-9, 1 + 2**-11, 1 + 3 * 2**-11, -1.0001, 0.1, -0.1, 1e-6, -3.14159, 60000.0]
    values = np.array([*numbers, 1 + 2**-8 + 2**-9], np.float32)
    got = cast(values, FP32, to, mode).astype(np.float64)
    for value, result in zip(values.astype(np.float64), got, strict=True):
        below, above = float_neighbours(value, to)
        assert result in (below, above)
        if below == above:
            continue
        inward, outward = (below, above) if value > 0 else (above, below)
        if mode is Round.FLOOR:
            assert result == below
        elif mode is Round.CEIL:
            assert result == above
        elif mode is Round.TRUNC:
            assert result == inward
        elif mode is Round.ODD:
            assert int(np.array(result).astype(to.numpy).view(np.uint16)) % 2 == 1
        elif abs(value - below) != abs(above - value):
            assert result == min((below, above), key=lambda f: abs(f - value))
        elif mode is Round.ROUND:
            assert result == outward
        else:
            assert int(np.array(result).astype(to.numpy).view(np.uint16)) % 2 == 0


def test_what_is_too_large_clamps_or_becomes_infinite() -> None:
    values = np.array([1e5, -1e5, np.inf, np.nan])
    got = cast(values, FP32, FP16, Round.RINT, CoreState(saturates=True))
    assert got.tolist() == [65504, -65504, 65504, 0]
    got = cast(values, FP32, FP16, Round.RINT, CoreState(saturates=False))
    assert np.array_equal(got, np.array([np.inf, -np.inf, np.inf, np.nan]), equal_nan=True)
    got = cast(values, FP32, FP16, Round.TRUNC, CoreState(saturates=False))
    assert np.array_equal(got, np.array([65504, -65504, np.inf, np.nan]), equal_nan=True)
    near = np.array([65519, 65520, -1e5])
    got = cast(near, FP32, FP16, Round.ROUND, CoreState(saturates=False))
    assert got.tolist() == [65504, np.inf, -np.inf]


def test_int32_becomes_fp16_times_the_scale() -> None:
    got = cast(np.array([4, -6, 80000]), INT32, FP16, Round.NONE, CoreState(deq_scale=0.25))
    assert got.tolist() == [1, -1.5, 20000]


def test_fp32_rounds_to_whole_fp32() -> None:
    assert cast(np.array([1.5, 2.5, -0.5]), FP32, FP32, Round.RINT).tolist() == [2, 2, 0]


def test_repeats_of_narrow_and_wide_elements() -> None:
    """64 fp32 of a repeat fill 8 blocks, as fp16 they fill 4."""
    source = np.arange(3 * 64, dtype=np.float32)
    memories = Memories()
    memories.put(ub(FP32), source)
    run(
        memories, "vcast", {"round": Round.RINT, "strides": (2, 1, 9, 8)}, dst=ub(FP16, 8192), src=ub(FP32),
        count=44, repeats=3,
    )  # fmt: skip
    for repeat in range(3):
        for lane in range(44):
            address = 8192 + (repeat * 9 + lane // 16 * 2) * 32 + lane % 16 * 2
            assert memories.get(ub(FP16, address), 1)[0] == source[repeat * 64 + lane]


def test_a_missing_cast_says_the_way() -> None:
    operands = {"dst": ub(INT8), "src": ub(FP32), "count": 32}
    text = refusal("vcast", {"round": Round.RINT}, **operands)
    assert text == "V220 has no cast from fp32 to int8; go fp32 -> int16 -> fp16 -> int8"
    text = refusal("vcast", {"round": Round.RINT}, dst=ub(BF16), src=ub(FP16), count=32)
    assert text == "V220 has no cast from fp16 to bf16; go fp16 -> fp32 -> bf16"
    text = refusal("vcast", {"round": Round.NONE}, dst=ub(BF16), src=ub(FP32), count=32)
    assert text == "the cast from fp32 to bf16 takes round=rint, floor, ceil, round, trunc; got none"


def test_routes_round_once() -> None:
    assert cast_route(INT32, FP16) == (INT32, FP32, FP16)
    assert cast_route(BF16, INT8) == (BF16, FP32, INT16, FP16, INT8)
    assert cast_route(INT8, FP32) == (INT8, FP16, FP32)
    assert cast_route(INT64, BF16) == (INT64, FP32, BF16)
    assert cast_route(FP32, FP32) == (FP32,)


def test_the_straight_way_to_int8_would_round_twice() -> None:
    halves = cast(np.array([126.97]), FP32, FP16, Round.RINT)
    assert cast(halves, FP16, INT8, Round.TRUNC).tolist() == [127]
    words = cast(np.array([126.97]), FP32, INT16, Round.TRUNC)
    assert cast(cast(words, INT16, FP16, Round.NONE), FP16, INT8, Round.NONE).tolist() == [126]


def test_fp32_that_stays_fp32_has_no_negative_zero() -> None:
    got = cast(np.array([-0.0, 0.0, -1.5]), FP32, FP32, Round.FLOOR)
    assert got.tolist() == [0, 0, -2]
    assert not np.signbit(got[:2]).any()
