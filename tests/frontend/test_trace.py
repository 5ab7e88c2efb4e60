"""The IR that a trace gives: arguments, names, places."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import tilejit.language as tl
from tilejit.diagnostics import LaunchError
from tilejit.frontend.signature import (
    ConstantParam,
    PointerParam,
    ScalarParam,
    is_const_annotation,
    specialise_number,
)
from tilejit.ir.core import Argument, ArgumentSource
from tilejit.ir.printer import print_function
from tilejit.ir.types import FP32, INT1, INT32, INT64, UINT64

from .harness import helper, ir_text, trace_function


def add_kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    tl.store(y_ptr + offsets, tl.load(x_ptr + offsets, mask=mask) + 1, mask=mask)


ADD = """\
func @add_kernel(%x_ptr: ptr<fp32> {divisibility=16, alias_class=0}, %y_ptr: ptr<fp32>, %n: int32) {
  %0 = program_id() {axis=0} : int32
  %1 = constant() {value=8, dtype=int32} : int32
  %2 = mul(%0, %1) : int32
  %3 = arange() {start=0, end=8} : tile<8xint32>
  %4 = splat(%2) {shape=[8]} : tile<8xint32>
  %offsets = add(%4, %3) : tile<8xint32>
  %5 = splat(%n) {shape=[8]} : tile<8xint32>
  %mask = cmp(%offsets, %5) {predicate=lt} : tile<8xint1>
  %6 = splat(%y_ptr) {shape=[8]} : tile<8xptr<fp32>>
  %7 = addptr(%6, %offsets) : tile<8xptr<fp32>>
  %8 = splat(%x_ptr) {shape=[8]} : tile<8xptr<fp32>>
  %9 = addptr(%8, %offsets) : tile<8xptr<fp32>>
  %10 = load(%9, mask=%mask) : tile<8xfp32>
  %11 = constant() {value=1.0, dtype=fp32} : fp32
  %12 = splat(%11) {shape=[8]} : tile<8xfp32>
  %13 = add(%10, %12) : tile<8xfp32>
  store(%7, %13, mask=%mask)
  return()
}
"""


def test_text_of_a_kernel():
    x = PointerParam(FP32, divisible_by_16=True, alias_class=0, rank=1)
    y = PointerParam(FP32, rank=1)
    assert ir_text(add_kernel, x, y, ScalarParam(INT32), 8).rstrip() == ADD.rstrip()


def test_tracing_twice_gives_the_same_text():
    texts = {ir_text(add_kernel, FP32, FP32, 77, 8) for _ in range(3)}
    assert len(texts) == 1


def test_shapes_and_strides_become_arguments_when_asked_for():
    def kernel(x_ptr, n):
        tl.store(x_ptr + x_ptr.stride(0) * n + x_ptr.stride(-1), x_ptr.shape[1].to(tl.float32))
        tl.store(x_ptr + x_ptr.stride(0), 1.0)

    function = trace_function(kernel, np.zeros((2, 3), np.float32), 32)
    assert function.arguments == [
        Argument("x_ptr"),
        Argument("n", divisibility=16),
        Argument("x_ptr", ArgumentSource.STRIDE, 0),
        Argument("x_ptr", ArgumentSource.STRIDE, 1),
        Argument("x_ptr", ArgumentSource.SHAPE, 0),
        Argument("x_ptr", ArgumentSource.SHAPE, 1),
    ]


def test_ops_know_their_place_and_callers():
    @helper
    def double(x):
        return x * 2

    def kernel(x_ptr, n):
        y = double(n) + 1
        tl.store(x_ptr + y, 1.0)

    function = trace_function(kernel, FP32, 5)
    first = inspect.getsourcelines(kernel)[1]
    products = [op for op in function.walk() if op.name == "mul"]
    location = products[0].location
    assert location is not None and location.caller is not None
    assert (location.function, location.column, location.end_column) == ("double", 15, 20)
    caller = location.caller
    assert (caller.function, caller.line, caller.column, caller.end_column) == ("kernel", first + 1, 12, 21)
    assert all(op.location is not None for op in function.walk())
    assert f":{first + 2}:" in print_function(function, locations=True)


NUMBERS = [
    (True, ScalarParam(INT1)),
    (1, ConstantParam(1)),
    (None, ConstantParam(None)),
    (0, ScalarParam(INT32, True)),
    (17, ScalarParam(INT32)),
    (-32, ScalarParam(INT32, True)),
    (2**31, ScalarParam(INT64, True)),
    (2**63 + 1, ScalarParam(UINT64)),
    (1.0, ScalarParam(FP32)),
]


@pytest.mark.parametrize(("number", "param"), NUMBERS)
def test_numbers_specialise(number, param):
    assert specialise_number(number) == param


def test_specialisation_can_be_switched_off():
    assert specialise_number(1, specialise=False) == ScalarParam(INT32)
    assert specialise_number(16, specialise=False) == ScalarParam(INT32)
    assert specialise_number(16, specialise_divisibility=False) == ScalarParam(INT32)
    assert specialise_number(1, specialise_divisibility=False) == ConstantParam(1)


def test_numbers_too_large():
    with pytest.raises(LaunchError) as caught:
        specialise_number(2**64)
    assert caught.value.message == "the integer 18446744073709551616 fits neither int64 nor uint64"


def test_const_annotation():
    assert is_const_annotation(tl.const) and is_const_annotation("tl.const")
    assert not is_const_annotation(tl.constexpr)


NAMES = """
program_id num_programs arange full zeros zeros_like cast broadcast broadcast_to expand_dims permute trans
reshape ravel view join split where load store make_block_ptr advance make_tensor_descriptor
load_tensor_descriptor store_tensor_descriptor atomic_add atomic_max atomic_min atomic_and atomic_or
atomic_xor atomic_xchg atomic_cas dot sum max min xor_sum reduce cumsum associative_scan abs ceil floor exp
exp2 log log2 sin cos sqrt sqrt_rn rsqrt erf fdiv div_rn fma umulhi clamp maximum minimum cdiv sigmoid
softmax add sub mul static_range range static_assert static_print device_assert device_print multiple_of
max_contiguous max_constancy assume debug_barrier constexpr const pointer_type block_type tensor dtype
PropagateNan math int1 int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float32 float64
float8e5 float8e4nv float8e4b8 float8e5b16
"""


def test_every_public_name_is_there():
    names = NAMES.split()
    assert [name for name in names if not hasattr(tl, name)] == []
    assert set(names) <= set(tl.__all__)
