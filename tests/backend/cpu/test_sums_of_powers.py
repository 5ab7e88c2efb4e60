"""Sums of powers of two: each is as right as it would be alone, and infinite where its exponent says so."""

from __future__ import annotations

import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tilejit.target.cpu import CpuTarget, generic_avx2, generic_avx512, host, runs_here

SIZES = (1, 7, 64, 100, 1024)
ROUNDED_ULPS = 1.43 + 0.5
"""What the docstring of vector_math states of one power, and the rounding of the sum."""
TARGETS = [host()] + ([generic_avx2()] if runs_here(generic_avx2()) else [])


@tilejit.kernel
def _powers(x_ptr, out_ptr, N: tl.constexpr):
    x = tl.load(x_ptr + tl.arange(0, N))
    tl.store(out_ptr, tl.sum(tl.exp2(x), axis=0))


@tilejit.kernel
def _powers_of_columns(x_ptr, out_ptr, ROWS: tl.constexpr, N: tl.constexpr):
    rows, columns = tl.arange(0, ROWS), tl.arange(0, N)
    x = tl.load(x_ptr + rows[:, None] * N + columns[None, :])
    tl.store(out_ptr + columns, tl.sum(tl.exp2(x), axis=0))


@tilejit.kernel
def _powers_stored_too(x_ptr, out_ptr, sum_ptr, N: tl.constexpr):
    at = tl.arange(0, N)
    power = tl.exp2(tl.load(x_ptr + at))
    tl.store(out_ptr + at, power)
    tl.store(sum_ptr, tl.sum(power, axis=0))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("n", SIZES)
def test_values(n: int, target: CpuTarget) -> None:
    x = 10 * np.random.default_rng(n).standard_normal(n, dtype=np.float32)
    out = np.zeros(1, np.float32)
    _powers[(1,)](x, out, N=n, target=target)
    np.testing.assert_allclose(out[0], np.exp2(x.astype(np.float64)).sum(), rtol=1e-6)


@pytest.mark.parametrize("first", [0.0, -100.0, 77.0, -1.0, 127.0, -126.0, -127.0, -149.0])
def test_each_power_is_right(first: float) -> None:
    """Of the two that are added one is 0."""
    size = 1 << 16
    x = np.full((2, size), -np.inf, np.float32)
    x[1] = first + np.arange(size) / size
    out = np.zeros(size, np.float32)
    _powers_of_columns[(1,)](x, out, ROWS=2, N=size)
    exact = np.exp2(x[1].astype(np.float64))
    assert np.abs((out - exact) / np.spacing(exact.astype(np.float32))).max() <= ROUNDED_ULPS


def test_whole_exponents_are_exact() -> None:
    x = np.full((2, 256), -np.inf, np.float32)
    x[0] = np.arange(256) - 149
    out = np.zeros(256, np.float32)
    _powers_of_columns[(1,)](x, out, ROWS=2, N=256)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(out[:-1], np.exp2(x[0, :-1]))


def test_a_tiny_negative_exponent() -> None:
    """Its distance from the next lower place of the table is rounded to the whole step."""
    x = np.full((2, 64), -np.inf, np.float32)
    x[0] = -np.exp2(-np.arange(64, dtype=np.float32) - 20)
    out = np.zeros(64, np.float32)
    _powers_of_columns[(1,)](x, out, ROWS=2, N=64)
    np.testing.assert_allclose(out, np.exp2(x[0].astype(np.float64)), rtol=ROUNDED_ULPS * 2**-24)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(
    ("value", "expected"),
    [(np.inf, np.inf), (np.nan, np.nan), (128, np.inf), (200.3, np.inf), (1e30, np.inf)],
)
def test_infinite_powers(n: int, value: float, expected: float) -> None:
    x, out = np.ones(n, np.float32), np.zeros(1, np.float32)
    x[n // 2] = value
    _powers[(1,)](x, out, N=n)
    np.testing.assert_array_equal(out, np.float32(expected))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("value", [-np.inf, -151.0, -1e6, -1e30])
def test_powers_too_small_for_fp32(n: int, value: float) -> None:
    x, out = np.full(n, value, np.float32), np.ones(1, np.float32)
    _powers[(1,)](x, out, N=n)
    assert out[0] == 0


def test_powers_that_are_stored_too_are_computed_once() -> None:
    x = np.random.default_rng(0).standard_normal(256).astype(np.float32)
    out, total = np.zeros_like(x), np.zeros(1, np.float32)
    _powers_stored_too[(1,)](x, out, total, N=256)
    np.testing.assert_allclose(out, np.exp2(x.astype(np.float64)), rtol=2e-7)
    np.testing.assert_allclose(total[0], out.astype(np.float64).sum(), rtol=1e-6)


@pytest.mark.parametrize(("kernel", "expected"), [(_powers, True), (_powers_stored_too, False)])
def test_a_table_gives_powers_that_are_only_added(kernel: tilejit.Kernel, expected: bool) -> None:
    names = "x_ptr=*fp32:16, out_ptr=*fp32:16, N=1024"
    if kernel is _powers_stored_too:
        names = f"sum_ptr=*fp32:16, {names}"
    assembly = tilejit.compile(kernel, signature=names, target=generic_avx512()).asm["s"]
    assert ("vpermi2ps" in assembly or "vpermt2ps" in assembly) == expected
