"""Functions that the vector unit lacks, made of what it has: the same numbers, over the whole domain."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.passes.elementwise_text import run_op
from tilejit.ir.types import DTYPE_BY_NAME, DType
from tilejit.passes.legal_floats import LARGEST_ANGLE

RNG = np.random.default_rng(5)
INTEGER_TYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32")


def _edges(dtype: DType) -> np.ndarray:
    """Numbers around every power of two, around 0 and at the ends."""
    powers = [1 << bit for bit in range(dtype.bits)]
    near = {p + d for p in powers for d in (-1, 0, 1)} | {0, 3, 7, 10, 641, 65521}
    signed = near | {-x for x in near}
    mask = (1 << dtype.bits) - 1
    return np.array(sorted({x & mask for x in signed}), f"u{dtype.itemsize}").view(dtype.numpy)


def _pairs(dtype: DType) -> tuple[np.ndarray, np.ndarray]:
    edges = _edges(dtype)
    pairs = np.array(list(itertools.product(edges, edges)), dtype.numpy).T
    more = RNG.integers(0, 1 << dtype.bits, (2, 4096), dtype=np.uint64).astype(f"u{dtype.itemsize}")
    small = np.minimum(more[1:], more[1:] >> RNG.integers(0, dtype.bits, 4096).astype(more.dtype))
    more = np.concatenate([more[:1], small]).view(dtype.numpy)
    lhs, rhs = np.concatenate([pairs, more], axis=1)
    return np.ascontiguousarray(lhs), np.ascontiguousarray(rhs)


@pytest.mark.parametrize("name", INTEGER_TYPES)
@pytest.mark.parametrize(
    "op", ("idiv", "irem", "shl", "shr", "max", "min", "add", "sub", "mul", "and", "xor", "umulhi")
)
def test_integers(op: str, name: str) -> None:
    dtype = DTYPE_BY_NAME[name]
    if op == "umulhi" and dtype.bits < 32:
        return
    lhs, rhs = _pairs(dtype)
    if op in ("shl", "shr"):
        rhs[::2] &= 31
    wanted, found = run_op(op, [name, name], name, lhs, rhs)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", INTEGER_TYPES)
@pytest.mark.parametrize("op", ("idiv", "irem", "shl", "shr"))
@pytest.mark.parametrize("number", (-7, -1, 0, 1, 3, 8, 31, 100, 1 << 15, 1 << 30))
def test_integers_and_one_number(op: str, name: str, number: int) -> None:
    dtype = DTYPE_BY_NAME[name]
    if not dtype.min_value <= number <= dtype.max_value:
        return
    wanted, found = run_op(op, [name, number], name, _edges(dtype))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", INTEGER_TYPES)
@pytest.mark.parametrize("predicate", ("eq", "ne", "lt", "ge"))
def test_comparisons(predicate: str, name: str) -> None:
    lhs, rhs = _pairs(DTYPE_BY_NAME[name])
    wanted, found = run_op("cmp", [name, name], "int1", lhs, rhs, attributes=f"{{predicate={predicate}}}")
    np.testing.assert_array_equal(found, wanted)


WIDE_TYPES = ("int64", "uint64")


@pytest.mark.parametrize("name", WIDE_TYPES)
@pytest.mark.parametrize("op", ("add", "sub", "mul", "max", "min", "and", "xor"))
def test_integers_of_64_bits(op: str, name: str) -> None:
    lhs, rhs = _pairs(DTYPE_BY_NAME[name])
    wanted, found = run_op(op, [name, name], name, lhs, rhs)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", WIDE_TYPES)
@pytest.mark.parametrize(
    ("op", "number"),
    (
        *itertools.product(("shl", "shr"), (0, 1, 31, 32, 33, 63, 64)),
        *itertools.product(("idiv", "irem"), (1, 2, 1 << 20)),
        *itertools.product(("add", "mul"), (-1, 12, (1 << 40) + 3)),
    ),
)
def test_integers_of_64_bits_and_one_number(op: str, number: int, name: str) -> None:
    if number < 0 and name == "uint64":
        return
    wanted, found = run_op(op, [name, number], name, _edges(DTYPE_BY_NAME[name]))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", WIDE_TYPES)
@pytest.mark.parametrize("predicate", ("eq", "ne", "lt", "le", "gt", "ge"))
def test_comparisons_of_64_bits(predicate: str, name: str) -> None:
    lhs, rhs = _pairs(DTYPE_BY_NAME[name])
    wanted, found = run_op("cmp", [name, name], "int1", lhs, rhs, attributes=f"{{predicate={predicate}}}")
    np.testing.assert_array_equal(found, wanted)


def _angles() -> np.ndarray:
    """Numbers of all sizes, and those next to multiples of a quarter turn."""
    sizes = 2.0 ** RNG.uniform(-140, 19, 200_000) * RNG.choice((-1, 1), 200_000)
    turns = RNG.integers(0, int(LARGEST_ANGLE / np.pi * 2), 200_000) * (np.pi / 2)
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, LARGEST_ANGLE, -LARGEST_ANGLE, 1e30]
    return np.concatenate([sizes, turns, special]).astype(np.float32)


@pytest.mark.parametrize("op", ("sin", "cos"))
def test_sines(op: str) -> None:
    x = _angles()
    wanted, found = run_op(op, ["fp32"], "fp32", x)
    known = np.abs(x) <= LARGEST_ANGLE
    assert np.isnan(found[~known]).all()
    exact = np.sin(x[known].astype(np.float64)) if op == "sin" else np.cos(x[known].astype(np.float64))
    error = np.abs(found[known] - exact) / np.spacing(np.abs(wanted[known]))
    assert error.max() < 4
    if op == "sin":
        assert np.signbit(found[x == 0]).tolist() == np.signbit(x[x == 0]).tolist()


def _floats(size: int) -> np.ndarray:
    values = RNG.standard_normal(size) * 2.0 ** RNG.integers(-30, 30, size)
    return values.astype(np.float32)


def test_fused_multiplication_and_addition() -> None:
    a, b, c = (_floats(200_000) for _ in range(3))
    c[::2] = -(a[::2] * b[::2])  # what is left is the error of the product
    c[1::4] = np.nextafter(c[1::4], np.float32(0))
    for array, specials in ((a, (0, -0.0, np.inf, np.nan, 1)), (c, (np.inf, -0.0, 0, 1e38, -np.inf))):
        array[: len(specials)] = specials
    wanted, found = run_op("fma", ["fp32"] * 3, "fp32", a, b, c)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", ("fp32", "fp16"))
def test_remainders_of_floats(name: str) -> None:
    dtype = DTYPE_BY_NAME[name].numpy
    with np.errstate(all="ignore"):
        a, b = (_floats(200_000).astype(dtype) for _ in range(2))
        specials = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 0.5, 3, 1e-45, 3e38], dtype)
    pairs = np.array(list(itertools.product(specials, specials)), dtype).T
    a, b = np.concatenate([a, pairs[0]]), np.concatenate([b, pairs[1]])
    wanted, found = run_op("frem", [name, name], name, a, b)
    with np.errstate(all="ignore"):
        quotient = np.abs(a.astype(np.float64) / b.astype(np.float64))
    is_known = ~(quotient >= 2.0**44)
    np.testing.assert_array_equal(found[is_known], wanted[is_known])
    is_number = is_known & ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(found[is_number]), np.signbit(wanted[is_number]))
    assert np.isnan(found[quotient >= 2.0**46]).all()
    assert is_known.mean() > 0.7


FLOATS = ("fp32", "fp16", "bf16")


@pytest.mark.parametrize(
    ("source", "target"),
    (
        *itertools.permutations(INTEGER_TYPES, 2),
        *itertools.product(FLOATS, INTEGER_TYPES),
        *itertools.product(INTEGER_TYPES, FLOATS),
        *itertools.product(WIDE_TYPES, (*INTEGER_TYPES, *FLOATS, *WIDE_TYPES, "int1")),
        *itertools.product((*INTEGER_TYPES, *FLOATS), WIDE_TYPES),
    ),
)
def test_casts(source: str, target: str) -> None:
    dtype = DTYPE_BY_NAME[source]
    if dtype.is_int():
        x = np.concatenate([_edges(dtype), _pairs(dtype)[0]])
    else:
        ends = [
            2.0**63,
            2.0**64,
            2.0**62,
            0.0,
            -0.0,
            np.inf,
            -np.inf,
            np.nan,
            0.5,
            -0.5,
            65535.5,
            2.0**31,
            2.0**32,
            -1.5,
            4294967040.0,
        ]
        with np.errstate(all="ignore"):
            x = np.concatenate([_floats(4096), np.array(ends)]).astype(np.float32).astype(dtype.numpy)
    wanted, found = run_op("cast", [source], target, x, attributes=f"{{dtype={target}}}")
    np.testing.assert_array_equal(found.view(np.uint8), wanted.view(np.uint8))


SMALL_FLOATS = ("fp8e5", "fp8e4nv", "fp8e4b8", "fp8e5b16")


@pytest.mark.parametrize("small", SMALL_FLOATS)
@pytest.mark.parametrize("other", FLOATS)
def test_floats_of_8_bits(small: str, other: str) -> None:
    codes = np.arange(256, dtype=np.uint8).view(DTYPE_BY_NAME[small].numpy)
    wanted, found = run_op("cast", [small], other, codes, attributes=f"{{dtype={other}}}")
    np.testing.assert_array_equal(found.astype(np.float32), wanted.astype(np.float32))
    numbers = np.unique(codes.astype(np.float32)[np.isfinite(codes.astype(np.float32))])
    ties = (numbers[1:] + numbers[:-1]) / 2
    near = [np.nextafter(ties, np.float32(side)) for side in (-np.inf, np.inf)]
    ends = np.array([np.inf, -np.inf, np.nan, -0.0, 1e9, 448, 464, 465, 57344, 61440, 240, 248], np.float32)
    x = np.concatenate([numbers, ties, *near, ends, _floats(20_000)]).astype(DTYPE_BY_NAME[other].numpy)
    wanted, found = run_op("cast", [other], small, x, attributes=f"{{dtype={small}}}")
    is_nan = np.isnan(wanted.astype(np.float32))
    assert np.isnan(found[is_nan].astype(np.float32)).all()
    np.testing.assert_array_equal(found[~is_nan].view(np.uint8), wanted[~is_nan].view(np.uint8))
