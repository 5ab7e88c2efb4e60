"""Helpers, constants and Python's own constructs inside kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

import tilejit
import tilejit.language as tl

from .compare import check_close

LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)
LEVELS = tl.constexpr((1, 2, 4))
ACCUMULATOR = tl.float32


@tilejit.jit
def mean_and_spread(x, mask, n, EPS: tl.constexpr = 0.0):
    mean = tl.sum(tl.where(mask, x, 0.0)) / n
    centred = tl.where(mask, x - mean, 0.0)
    return mean, tl.sqrt(tl.sum(centred * centred) / n + EPS)


@tilejit.jit
def normalise(x, mask, n, *, eps, scale=1.0, shift=None):
    mean, spread = mean_and_spread(x, mask, n, EPS=eps)
    y = (x - mean) / spread * scale
    if shift is not None:
        y += shift
    return y, (mean, spread)


@tilejit.jit
def normalise_kernel(x_ptr, y_ptr, stats_ptr, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    mask = i < n
    x = tl.load(x_ptr + i, mask=mask)
    y, stats = normalise(x, mask, n, eps=1e-3)
    tl.store(y_ptr + i, y, mask=mask)
    y, _ = normalise(x, mask, n, shift=0.5, eps=1e-3, scale=2)
    tl.store(y_ptr + n + i, y, mask=mask)
    for k in tl.static_range(len(stats)):
        tl.store(stats_ptr + k, stats[k])


def test_helpers_with_tuples_defaults_and_keywords(interpret: bool, rng: np.random.Generator) -> None:
    x = rng.standard_normal(50).astype(np.float32)
    y, stats = np.empty((2, 50), np.float32), np.empty(2, np.float32)
    normalise_kernel[(1,)](x, y, stats, 50, BLOCK=64, interpret=interpret)
    xf = x.astype(np.float64)
    spread = np.sqrt(xf.var() + 1e-3)
    expected = (xf - xf.mean()) / spread
    check_close(y, np.stack([expected, 2 * expected + 0.5]))
    check_close(stats, np.array([xf.mean(), spread]), 1e-5)


@tilejit.jit
def square(x):
    return x * x


@tilejit.jit
def halve(x):
    return x / 2


@tilejit.jit
def compose(x, FIRST: tl.constexpr, SECOND: tl.constexpr):
    return SECOND(FIRST(x))


@tilejit.jit
def map_kernel(x_ptr, y_ptr, FN: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, N)
    x = tl.load(x_ptr + i)
    tl.store(y_ptr + i, compose(x, FN, halve))
    tl.store(y_ptr + N + i, compose(x, halve, FN))


@pytest.mark.parametrize("fn", [square, tl.exp, tl.abs], ids=["square", "exp", "abs"])
def test_functions_as_arguments(interpret: bool, rng: np.random.Generator, fn: Callable[..., object]) -> None:
    x = rng.standard_normal(32).astype(np.float32)
    y = np.empty((2, 32), np.float32)
    map_kernel[(1,)](x, y, fn, 32, interpret=interpret)
    reference = {square: np.square, tl.exp: np.exp, tl.abs: np.abs}[fn]
    xf = x.astype(np.float64)
    check_close(y, np.stack([reference(xf) / 2, reference(xf / 2)]))


def make_polynomial(*coefficients: float) -> tilejit.Kernel:
    """Return a kernel that closes over the coefficients."""
    degree = len(coefficients) - 1

    @tilejit.jit
    def horner(x):
        y = x * 0 + coefficients[degree]
        for k in tl.static_range(degree - 1, -1, -1):
            y = y * x + coefficients[k]
        return y

    @tilejit.jit
    def polynomial_kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
        i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        tl.store(y_ptr + i, horner(tl.load(x_ptr + i, i < n)), i < n)

    return polynomial_kernel


@pytest.mark.parametrize("coefficients", [(2.0,), (1.0, -3.0), (0.5, 0.0, -2.0, 1.0)], ids=str)
def test_kernels_made_by_functions(
    interpret: bool, rng: np.random.Generator, coefficients: tuple[float, ...]
) -> None:
    x = rng.standard_normal(100).astype(np.float32)
    y = np.empty_like(x)
    make_polynomial(*coefficients)[(2,)](x, y, 100, BLOCK=64, interpret=interpret)
    check_close(y, np.polynomial.polynomial.polyval(x.astype(np.float64), coefficients))


@tilejit.jit
def constants_kernel(x_ptr, out_ptr, D: tl.constexpr, IS_CAUSAL: tl.constexpr, OTHER: tl.constexpr = 3):
    HALF: tl.constexpr = D // 2
    SCALE: tl.constexpr = 1.0 / D
    NAME: tl.constexpr = "causal" if IS_CAUSAL else "full"
    WIDTH: tl.constexpr = HALF + OTHER - OTHER
    tl.static_assert(D % 2 == 0, "D must be even")
    tl.static_assert(HALF == WIDTH)
    i = tl.arange(0, WIDTH)
    acc = tl.zeros((WIDTH,), dtype=ACCUMULATOR)
    total = 0
    for level in tl.static_range(3):
        shift: tl.constexpr = LEVELS.value[level] if level < 2 else 4
        total += shift
        acc += tl.load(x_ptr + level * HALF + i) * SCALE
    if NAME == "causal":
        acc = tl.exp2(acc * LOG2_E)
    tl.store(out_ptr + i, acc + total)


@pytest.mark.parametrize("causal", [False, True])
def test_constexpr_locals_and_globals(interpret: bool, rng: np.random.Generator, causal: bool) -> None:
    x = rng.standard_normal((3, 16)).astype(np.float32)
    out = np.empty(16, np.float32)
    constants_kernel[(1,)](x, out, D=32, IS_CAUSAL=causal, interpret=interpret)
    total = x.astype(np.float64).sum(0) / 32
    check_close(out, 7 + (np.exp(total) if causal else total))


class Window(NamedTuple):
    """A part of a row."""

    first: int
    last: int


@tilejit.jit
def tuples_kernel(in_ptrs, out_ptr, scales, window, BLOCK: tl.constexpr):
    """Tuples of pointers and numbers as arguments."""
    i = tl.arange(0, BLOCK)
    mask = (i >= window.first) & (i < window.last)
    tiles = [tl.load(p + i, mask=mask, other=0) for p in in_ptrs]
    total = tl.zeros((BLOCK,), tl.float32)
    for k in tl.static_range(len(tiles)):
        total += tiles[k] * scales[k]
    a, *rest = tiles
    total -= a
    tl.store(out_ptr + i, total, mask=mask)
    tl.store(out_ptr + BLOCK, len(rest))


def test_tuple_arguments(interpret: bool, rng: np.random.Generator) -> None:
    arrays = (
        rng.standard_normal(32).astype(np.float32),
        rng.integers(0, 9, 32),
        rng.standard_normal(32).astype(np.float16),
    )
    out = np.zeros(33, np.float32)
    tuples_kernel[(1,)](arrays, out, (0.5, 2, 1), Window(3, 30), BLOCK=32, interpret=interpret)
    expected = -0.5 * arrays[0].astype(np.float64) + 2 * arrays[1] + arrays[2]
    expected[:3] = expected[30:] = 0
    check_close(out, np.append(expected, 2))


@tilejit.jit
def variadic_sum(*tiles):
    total = tiles[0]
    for tile in tiles[1:]:
        total += tile
    return total


@tilejit.jit
def variadic_kernel(x_ptr, out_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    rows = [tl.load(x_ptr + k * N + i) for k in tl.static_range(3)]
    tl.store(out_ptr + i, variadic_sum(*rows))
    tl.store(out_ptr + N + i, variadic_sum(rows[0]))


def test_variadic_helper(interpret: bool, rng: np.random.Generator) -> None:
    x = rng.standard_normal((3, 16))
    out = np.empty((2, 16))
    variadic_kernel[(1,)](x, out, 16, interpret=interpret)
    check_close(out, np.stack([x.sum(0), x[0]]))


@tilejit.jit
def specialised_kernel(x_ptr, out_ptr, stride, bias, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i * stride, mask=i < n, other=0)
    if bias is not None:
        x += bias
    if stride == 1:
        x += 100
    tl.store(out_ptr + i, x, mask=i < n)


def test_specialisation_on_one_and_none(interpret: bool) -> None:
    x = np.arange(64, dtype=np.float32)
    for stride in (1, 2, 16):
        for bias in (None, 0.25, 1):
            n = min(20, 64 // stride)
            out = np.zeros(n, np.float32)
            specialised_kernel[(1,)](x, out, stride, bias, n, BLOCK=32, interpret=interpret)
            expected = x[: n * stride : stride] + (bias or 0) + (100 if stride == 1 else 0)
            np.testing.assert_array_equal(out, expected)


@tilejit.jit
def find_first(x_ptr, n, wanted):
    """A helper that loops and returns from a runtime branch."""
    if n == 0:
        return -1
    at = n
    for i in range(n):
        here = tl.load(x_ptr + i) == wanted
        at = tl.minimum(at, tl.where(here, i, n))
    if at == n:
        return -2
    return at


@tilejit.jit
def find_kernel(x_ptr, out_ptr, n, wanted):
    tl.store(out_ptr, find_first(x_ptr, n, wanted))
    tl.store(out_ptr + 1, find_first(x_ptr + 1, 0, wanted))
    tl.store(out_ptr + 2, find_first(x_ptr, n, wanted=-5))


def test_helper_with_loop_and_early_returns(interpret: bool) -> None:
    x = np.array([3, 1, 4, 1, 5], np.int32)
    out = np.zeros(3, np.int32)
    find_kernel[(1,)](x, out, 5, 1, interpret=interpret)
    assert out.tolist() == [1, -1, -2]


@tilejit.heuristics(
    {
        "BLOCK": lambda args: args["BLOCK"] or tilejit.next_power_of_2(args["n"]),
        "EVEN": lambda args: args["n"] % args["BLOCK"] == 0,
    }
)
@tilejit.jit
def heuristic_kernel(x_ptr, n, BLOCK: tl.constexpr, EVEN: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if EVEN:
        tl.store(x_ptr + i, 1)
    else:
        tl.store(x_ptr + i, 2, mask=i < n)


def test_heuristics(interpret: bool) -> None:
    x = np.zeros(70, np.int32)
    heuristic_kernel[(3,)](x, 48, BLOCK=16, interpret=interpret)
    heuristic_kernel[lambda meta: (tilejit.cdiv(20, meta["BLOCK"]),)](
        x[48:], 20, BLOCK=None, interpret=interpret
    )
    assert x.tolist() == [1] * 48 + [2] * 20 + [0] * 2


CONFIGS = [
    tilejit.Config({"BLOCK": 32, "UNROLL": 2}, num_warps=2, num_stages=1),
    tilejit.Config({"BLOCK": 16, "UNROLL": 1}, num_warps=4),
]


@tilejit.jit
def unrolled_kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr, UNROLL: tl.constexpr):
    base = tl.program_id(0) * BLOCK * UNROLL
    for u in tl.static_range(UNROLL):
        i = base + u * BLOCK + tl.arange(0, BLOCK)
        tl.store(y_ptr + i, tl.load(x_ptr + i, mask=i < n) * 3, mask=i < n)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_configurations(interpret: bool, config: tilejit.Config) -> None:
    x = np.arange(100, dtype=np.int16)
    y = np.zeros_like(x)
    unrolled_kernel[lambda meta: (tilejit.cdiv(100, meta["BLOCK"] * meta["UNROLL"]),)](
        x, y, 100, **config.all_kwargs(), interpret=interpret
    )
    np.testing.assert_array_equal(y, x * 3)


@tilejit.jit
def checked_divide(x_ptr, y_ptr, out_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    y = tl.load(y_ptr + i)
    tl.device_assert(y != 0, "division by zero")
    assert N > 0, "no elements"
    tl.device_print("first", tl.load(x_ptr))
    tl.store(out_ptr + i, tl.load(x_ptr + i) // y)


def test_device_assert_and_print(interpret: bool, capfd: pytest.CaptureFixture[str]) -> None:
    x, y = np.arange(8, dtype=np.int32) + 40, np.arange(8, dtype=np.int32) - 9
    out = np.zeros(8, np.int32)
    checked_divide[(1,)](x, y, out, 8, debug=True, interpret=interpret)
    np.testing.assert_array_equal(out, np.trunc(x / y))
    assert "first" in capfd.readouterr().out
    y[3] = 0
    with pytest.raises(tilejit.KernelError, match="division by zero"):
        checked_divide[(1,)](x, y, out, 8, debug=True, interpret=interpret)
