"""Division by what is the same in many vectors gives what division gives, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tilejit.target.cpu import generic_avx2, generic_avx512

BLOCK = 4096
LARGEST = float(np.finfo(np.float32).max)
EDGES = (0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1.1754942e-38, 2.0**-126, LARGEST, -LARGEST)
DIVISORS = (
    *EDGES,
    *(sign * float(np.nextafter(np.float32(2.0**e), np.float32(way)))
      for e in (-40, 40) for way in (0, 1e30) for sign in (1, -1)),
    2.0**-40, 2.0**40, 1.0, -1.0, 3.0, 1 / 3, 0.1, 1.9999999, 0.99999994, -7.77, 1e-12, 1e12, 1e-30, 1e30,
)  # fmt: skip


@tilejit.kernel
def _divide(x_ptr, out_ptr, divisor_ptr, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(out_ptr + at, tl.load(x_ptr + at) / tl.load(divisor_ptr))


def _check(x: np.ndarray, divisor: float) -> None:
    """Check the quotients of ``BLOCK`` numbers, NaNs for being some."""
    out = np.empty_like(x)
    by = np.array([divisor], np.float32)
    _divide[(1,)](x, out, by, BLOCK=BLOCK)
    with np.errstate(all="ignore"):
        expected = x / by[0]
    is_nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(out), is_nan)
    same = (out.view(np.uint32) == expected.view(np.uint32)) | is_nan
    wrong = np.flatnonzero(~same)
    assert not wrong.size, f"{x[wrong[0]]!r} / {by[0]!r}: {out[wrong[0]]!r}, not {expected[wrong[0]]!r}"


def _in_range(rng: np.random.Generator) -> np.ndarray:
    """Numbers all of which are divided by way of the reciprocal."""
    exponents = rng.integers(-84, 84, BLOCK)
    return np.ldexp(rng.uniform(1, 2, BLOCK), exponents).astype(np.float32) * rng.choice([1, -1], BLOCK)


@pytest.mark.parametrize("divisor", DIVISORS, ids=lambda value: np.float32(value).tobytes().hex())
def test_divisors_of_every_kind(divisor: float) -> None:
    rng = np.random.default_rng(7)
    _check(_in_range(rng).astype(np.float32), divisor)
    _check(rng.integers(0, 1 << 32, BLOCK, np.uint32).view(np.float32), divisor)
    x = _in_range(rng).astype(np.float32)
    x[::7] = 0  # zeros take no vector off the fast way
    _check(x, divisor)
    for number, edge in enumerate((*EDGES, 2.0**-84, 2.0**84)):
        near = np.float32(edge)
        x[number * 48] = near
        x[number * 48 + 16] = np.nextafter(near, np.float32(0))
        with np.errstate(over="ignore"):
            x[number * 48 + 32] = np.nextafter(near, np.float32(np.inf))
    _check(x, divisor)


@pytest.mark.parametrize("seed", range(20))
def test_random_bits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(20):
        divisor = rng.integers(0, 1 << 32, 1, np.uint32).view(np.float32)[0]
        _check(rng.integers(0, 1 << 32, BLOCK, np.uint32).view(np.float32), float(divisor))
        _check(_in_range(rng).astype(np.float32), float(np.ldexp(rng.uniform(1, 2), rng.integers(-40, 40))))


def _nearest_to_a_tie(divisor: int) -> list[int]:
    """24-bit dividends whose quotients by an odd 24-bit number lie as close between two numbers as they can.

    For a tie m of 25 bits, dividend * 2**shift - divisor * m is 1 or -1 there.
    """
    found = []
    for shift in (24, 25):
        for sign in (1, -1):
            middle = sign * pow(divisor, -1, 1 << shift) % (1 << shift)
            for tie in (middle, middle + (1 << shift)):
                dividend = (divisor * tie - sign) >> shift
                if 1 << 24 <= tie < 1 << 25 and 1 << 23 <= dividend < 1 << 24:
                    found.append(dividend)
    return found


def test_quotients_closest_to_a_tie() -> None:
    rng = np.random.default_rng(11)
    checked = 0
    for divisor in [(1 << 24) - 1, (1 << 23) + 1, *(rng.integers(1 << 22, 1 << 23, 400) * 2 + 1)]:
        hard = _nearest_to_a_tie(int(divisor))
        checked += len(hard)
        if hard:
            _check(np.resize(np.array(hard, np.float32), BLOCK), float(divisor))
    assert checked > 400


def test_only_wide_x86_code_multiplies() -> None:
    signature = "x_ptr=*fp32, out_ptr=*fp32, divisor_ptr=*fp32, BLOCK=256"
    wide, narrow = (
        tilejit.compile(_divide, signature=signature, target=machine).object.source
        for machine in (generic_avx512(), generic_avx2())
    )
    assert "tilejit.divide.v16f32" in wide
    assert "tilejit.divide" not in narrow
