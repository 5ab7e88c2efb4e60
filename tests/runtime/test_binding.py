"""How calls specialise: constants, divisibility, overlaps, and when two calls share code."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest

from tests.runtime.kernels import add_kernel, scale_kernel
from tilejit.frontend.signature import ConstantParam, PointerParam, ScalarParam, TupleParam
from tilejit.ir.types import FP32, INT1, INT32, INT64, UINT64
from tilejit.runtime.binding import BoundCall, SpecialisationRules, alias_classes, bind, match_arguments
from tilejit.runtime.kernel import Kernel

ALIGNED = np.zeros(256, np.float32)
ALIGNED = ALIGNED[(-ALIGNED.ctypes.data // 4) % 16 :]  # starts at a multiple of 64


def bound(
    kernel: Kernel, *args: object, rules: SpecialisationRules | None = None, **kwargs: object
) -> BoundCall:
    parameters = kernel.source.parameters
    return bind(
        kernel.name, parameters, match_arguments(kernel.name, parameters, args, kwargs), rules or kernel.rules
    )


def param_of(call: BoundCall, name: str) -> object:
    return dict(call.specialisation)[name]


@pytest.mark.parametrize(
    ("extents", "classes"),
    [
        ([], []),
        ([(0, 8), (8, 16), (16, 24)], [0, 1, 2]),
        ([(16, 24), (0, 8), (8, 16)], [0, 1, 2]),
        ([(0, 8), (4, 12), (16, 24)], [0, 0, 1]),
        ([(0, 8), (16, 24), (4, 20)], [0, 0, 0]),
        ([(0, 8), (16, 24), (0, 8)], [0, 1, 0]),
        ([(0, 100), (4, 8), (90, 120), (120, 130)], [0, 0, 0, 1]),
        ([(0, 8), (4, 4), (2, 6)], [0, 1, 0]),
    ],
)
def test_alias_classes(extents: list[tuple[int, int]], classes: list[int]) -> None:
    assert alias_classes(extents) == classes


def test_pointers() -> None:
    call = bound(add_kernel, ALIGNED[:4], ALIGNED[5:9].reshape(2, 2), ALIGNED[2:4], 5, BLOCK=16)
    assert param_of(call, "x_ptr") == PointerParam(FP32, False, True, 0, 1)
    assert param_of(call, "y_ptr") == PointerParam(FP32, False, False, 1, 2)
    assert param_of(call, "out_ptr") == PointerParam(FP32, False, False, 0, 1)


@pytest.mark.parametrize(
    ("value", "param"),
    [
        (5, ScalarParam(INT32)),
        (32, ScalarParam(INT32, True)),
        (0, ScalarParam(INT32, True)),
        (1, ConstantParam(1)),
        (True, ScalarParam(INT1)),
        (2**31, ScalarParam(INT64, True)),
        (-(2**31), ScalarParam(INT32, True)),
        (2**63 + 1, ScalarParam(UINT64)),
        (1.0, ScalarParam(FP32)),
        (None, ConstantParam(None)),
        (np.int64(7), ScalarParam(INT32)),
        (np.float64(7), ScalarParam(FP32)),
        (np.float32(7), ScalarParam(FP32)),
        (np.bool_(True), ScalarParam(INT1)),
        ((1, 2, None), TupleParam((ConstantParam(1), ScalarParam(INT32), ConstantParam(None)))),
    ],
)
def test_numbers(value: object, param: object) -> None:
    call = bound(add_kernel, ALIGNED, ALIGNED, ALIGNED, value, BLOCK=16)
    assert param_of(call, "n") == param


def test_rules_of_the_decorator() -> None:
    def n_with(value: int, **rules: frozenset[str]) -> object:
        call = bound(
            add_kernel, ALIGNED, ALIGNED, ALIGNED, value, BLOCK=16, rules=SpecialisationRules(**rules)
        )
        return param_of(call, "n")

    n = frozenset({"n"})
    assert n_with(1, generic=n) == ScalarParam(INT32)
    assert n_with(32, generic=n) == ScalarParam(INT32)
    assert n_with(1, any_alignment=n) == ConstantParam(1)
    assert n_with(32, any_alignment=n) == ScalarParam(INT32)
    call = bound(
        add_kernel, ALIGNED, ALIGNED, ALIGNED, 5, BLOCK=16, rules=SpecialisationRules(frozenset({"x_ptr"}))
    )
    assert param_of(call, "x_ptr") == PointerParam(FP32, False, False, 0, 1)


def test_tuple_items_have_names_of_their_own() -> None:
    call = bound(add_kernel, (ALIGNED[:2], 3), ALIGNED[4:6], ALIGNED[8:10], (2.5, 4), BLOCK=16)
    assert list(call.arrays) == ["x_ptr.0", "y_ptr", "out_ptr"]
    assert call.numbers == {"x_ptr.1": 3, "n.0": 2.5, "n.1": 4}


def test_default_of_a_constant() -> None:
    call = bound(scale_kernel, ALIGNED, ALIGNED, 5, 2.0)
    assert param_of(call, "NEGATE") == ConstantParam(False)


def key_of(n: object, block: object = 16) -> tuple[object, ...]:
    return bound(add_kernel, ALIGNED, ALIGNED, ALIGNED, n, BLOCK=block).key


def test_calls_that_share_code() -> None:
    assert key_of(5) == key_of(7) and key_of(16) == key_of(32)
    assert key_of(5.0) == key_of(7.5)
    assert key_of(5, math.nan) == key_of(5, math.nan)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"n": 5}, {"n": 16}),
        ({"n": 5}, {"n": 1}),
        ({"n": 5}, {"n": 5.0}),
        ({"n": 5}, {"n": 2**31 + 1}),
        ({"n": 1}, {"n": True}),
        ({"n": 5, "block": 1}, {"n": 5, "block": True}),
        ({"n": 5, "block": 1}, {"n": 5, "block": 1.0}),
        ({"n": 5, "block": 0.0}, {"n": 5, "block": -0.0}),
        ({"n": 5, "block": (1, 2)}, {"n": 5, "block": (True, 2)}),
        ({"n": 5, "block": "a"}, {"n": 5, "block": b"a"}),
    ],
)
def test_calls_that_do_not_share_code(one: Mapping[str, object], other: Mapping[str, object]) -> None:
    assert key_of(**one) != key_of(**other)
