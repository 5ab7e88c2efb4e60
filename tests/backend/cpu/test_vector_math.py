"""Functions of fp32 stay within their stated errors on every CPU's code path; special values are exact."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from emitter_harness import CompiledOp, add_function, check, make_op, undefined_symbols
from llvmlite import ir

from tilejit.backend.cpu.vector_math import FUNCTIONS
from tilejit.ir.types import BF16, FP16, FP32, FP64, DType
from tilejit.ops import OP_BY_NAME
from tilejit.target.cpu import CpuTarget, aarch64_neon, generic_avx2, generic_avx512, host, runs_here

# What the docstring of vector_math states.
MAX_ULPS = {
    "exp": 1.07, "exp2": 1.02, "log": 0.92, "log2": 1.5, "sin": 1.6, "cos": 1.6, "erf": 1.2, "rsqrt": 1.5,
}  # fmt: skip
MAX_ULPS_EXP2_AVX512 = 1.57
SMALLEST = 2.0**-149

REFERENCES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exp": np.exp,
    "exp2": np.exp2,
    "log": np.log,
    "log2": np.log2,
    "sin": np.sin,
    "cos": np.cos,
    "erf": lambda x: np.array([math.erf(value) for value in x]),
    "rsqrt": lambda x: 1 / np.sqrt(x),
}
inf, nan = math.inf, math.nan
SPECIAL_VALUES: dict[str, list[tuple[float, float]]] = {
    "exp": [
        (inf, inf),
        (-inf, 0),
        (nan, nan),
        (0, 1),
        (-0.0, 1),
        (88.8, inf),
        (-104, 0),
        (-1e30, 0),
        (1e30, inf),
    ],
    "exp2": [
        (inf, inf),
        (-inf, 0),
        (nan, nan),
        (0, 1),
        (10, 1024),
        (128, inf),
        (-149, SMALLEST),
        (-150.1, 0),
    ],
    "log": [(inf, inf), (0, -inf), (-0.0, -inf), (-1, nan), (-inf, nan), (nan, nan), (1, 0)],
    "log2": [(inf, inf), (0, -inf), (-0.0, -inf), (-1, nan), (nan, nan), (1, 0), (8, 3), (SMALLEST, -149)],
    "sin": [(inf, nan), (-inf, nan), (nan, nan), (0, 0), (-0.0, -0.0), (SMALLEST, SMALLEST)],
    "cos": [(inf, nan), (nan, nan), (0, 1), (-0.0, 1)],
    "erf": [(inf, 1), (-inf, -1), (nan, nan), (0, 0), (-0.0, -0.0), (5, 1), (-5, -1), (3e38, 1)],
    "rsqrt": [(inf, 0), (0, inf), (-0.0, -inf), (-1, nan), (nan, nan), (4, 0.5)],
}
PATHS = [(host(), 16), (host(), None), (host(), 8)]
if runs_here(generic_avx2()):
    PATHS += [(generic_avx2(), 8), (generic_avx2(), None)]
PATH_IDS = [f"{target.name}-{lanes or 'scalar'}" for target, lanes in PATHS]


def _all_magnitudes() -> np.ndarray:
    """Every 8191st fp32, so half a million of all signs, exponents and mantissas."""
    return np.arange(0, 1 << 32, 8191, dtype=np.int64).astype(np.uint32).view(np.float32)


def _errors_in_ulps(got: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Errors in units in the last place of the exact result, in the smallest unit for denormal results."""
    exponents = np.maximum(np.frexp(exact)[1] - 24, -149)
    return np.abs(got - exact) / np.ldexp(1.0, exponents)


@pytest.mark.parametrize(("target", "lanes"), PATHS, ids=PATH_IDS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_is_as_stated(name: str, target: CpuTarget, lanes: int | None) -> None:
    x = _all_magnitudes()
    if name == "erf":
        x = x[::8]
    with np.errstate(all="ignore"):
        got = CompiledOp(make_op(OP_BY_NAME[name], [FP32]), lanes, target)(x).astype(np.float64)
        exact = REFERENCES[name](x.astype(np.float64))
        rounded = exact.astype(np.float32)
    assert np.array_equal(np.isnan(got), np.isnan(exact))
    assert np.array_equal(np.isinf(got), np.isinf(rounded))
    finite = np.isfinite(rounded)
    errors = _errors_in_ulps(got[finite], exact[finite])
    worst = int(np.argmax(errors))
    is_short = name == "exp2" and target.has("avx512dq") and lanes is not None
    bound = MAX_ULPS_EXP2_AVX512 if is_short else MAX_ULPS[name]
    assert errors[worst] <= bound, f"{name}({x[finite][worst]!r})"


@pytest.mark.parametrize(("target", "lanes"), PATHS, ids=PATH_IDS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_special_values(name: str, target: CpuTarget, lanes: int | None) -> None:
    x, expected = (np.array(column, np.float32) for column in zip(*SPECIAL_VALUES[name], strict=True))
    got = CompiledOp(make_op(OP_BY_NAME[name], [FP32]), lanes, target)(x)
    for argument, value, right in zip(x, got, expected, strict=True):
        same = (
            np.isnan(right) if np.isnan(value) else value == right and np.signbit(value) == np.signbit(right)
        )
        assert same, f"{name}({argument}) is {value}, expected {right}"


@pytest.mark.parametrize("name", ["exp", "exp2"])
def test_underflow_is_gradual(name: str) -> None:
    x = np.linspace(-104, -87, 1 << 14) if name == "exp" else np.linspace(-150, -126, 1 << 14)
    x = x.astype(np.float32)
    exact = REFERENCES[name](x.astype(np.float64))
    for target, lanes in PATHS:
        got = CompiledOp(make_op(OP_BY_NAME[name], [FP32]), lanes, target)(x)
        assert np.abs(got - exact).max() <= SMALLEST


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_angles_of_any_size(name: str) -> None:
    """Mixed in one vector, so that the rare path must leave the ordinary lanes alone."""
    random = np.random.default_rng(0)
    x = random.normal(size=1 << 14) * 10.0 ** random.integers(0, 38, 1 << 14)
    x = x.astype(np.float32)
    near_multiples = (np.arange(1, 1 << 14) * (math.pi / 2)).astype(np.float32)
    for angles in (x, near_multiples):
        got = CompiledOp(make_op(OP_BY_NAME[name], [FP32]))(angles).astype(np.float64)
        assert _errors_in_ulps(got, REFERENCES[name](angles.astype(np.float64))).max() <= MAX_ULPS[name]


@pytest.mark.parametrize("dtype", [FP16, BF16], ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_small_floats_are_computed_in_fp32(name: str, dtype: DType) -> None:
    """One unit in the last place: the fp32 error can move a result over a tie."""
    x = np.arange(1 << 16).astype(np.uint16).view(dtype.numpy)
    op = make_op(OP_BY_NAME[name], [dtype])
    with np.errstate(invalid="ignore"):
        check(op, CompiledOp(op)(x), [x], ulps=1)


@pytest.mark.parametrize("lanes", [8, None], ids=["vector", "scalar"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_fp64(name: str, lanes: int | None) -> None:
    random = np.random.default_rng(0)
    x = np.concatenate([random.normal(size=4096) * 20, [0.0, -0.0, inf, -inf, nan, 1e300, -1e300]])
    op = make_op(OP_BY_NAME[name], [FP64])
    check(op, CompiledOp(op, lanes)(x), [x], ulps=2)


def test_exp2_of_what_is_not_above_0_is_not_above_1() -> None:
    """Also just below 0, where what is above the next lower integer rounds to 1."""
    x = -np.concatenate([[0.0], 2.0 ** -np.arange(149.0), np.linspace(0, 2**-10, 1 << 12)]).astype(np.float32)
    for target, lanes in PATHS:
        got = CompiledOp(make_op(OP_BY_NAME["exp2"], [FP32]), lanes, target)(x)
        assert got.max() == 1
        assert np.all(got[x > -(2.0**-26)] == 1)


def test_exp_is_short_on_avx512() -> None:
    """Softmax and attention live off it: no calls, no scalar code, one scaling instruction."""
    target = generic_avx512()
    module = ir.Module("exp")
    module.triple = target.triple
    add_function(module, "apply", make_op(OP_BY_NAME["exp"], [FP32]), 16, target)
    assert not undefined_symbols(module, target)
    text = str(module)
    assert text.count("call") <= 15 and "scalef" in text


@pytest.mark.parametrize("target", [generic_avx2(), generic_avx512(), aarch64_neon()], ids=str)
def test_code_calls_nothing_but_libm(target: CpuTarget) -> None:
    module = ir.Module("all functions")
    module.triple = target.triple
    for name in FUNCTIONS:
        for dtype in (FP16, BF16, FP32, FP64):
            for lanes in (target.vector_lanes(4), None):
                op = make_op(OP_BY_NAME[name], [dtype])
                add_function(module, f"{name}_{dtype}_{lanes}", op, lanes, target)
    fp64_functions = {name for name in FUNCTIONS if name != "rsqrt"}
    assert undefined_symbols(module, target) <= {*fp64_functions, "sinf", "cosf"}
