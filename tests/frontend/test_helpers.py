"""Helpers, closures, globals and function arguments."""

from __future__ import annotations

import math
from collections import namedtuple

import numpy as np
import pytest

import tilejit.language as tl
from tilejit.frontend.signature import KernelSource
from tilejit.ir.types import FP32

from . import harness
from .harness import error_of, helper, ir_text, run_kernel

SCALE = tl.constexpr(4)
NAMES = (tl.constexpr(1), 2)
PLAIN = 7
exp_alias = tl.exp


def run_ints(kernel, *args, **named):
    """Run a kernel whose first argument is an int32 array of 4 results; return it as a list."""
    out = np.full(4, -77, np.int32)
    run_kernel(kernel, out, *args, **named)
    return out.tolist()


@helper
def scaled(x, factor=3, *, shift: tl.constexpr = 1):
    return x * factor + shift


def test_keyword_and_default_arguments():
    def kernel(out, n):
        tl.store(out, scaled(n))
        tl.store(out + 1, scaled(n, 2, shift=10))
        tl.store(out + 2, scaled(factor=n, x=2))

    assert run_ints(kernel, 5) == [16, 20, 11, -77]


def test_variadic_parameters():
    @helper
    def total(*values, start=0):
        for value in values:
            start = start + value
        return start

    def kernel(out, n):
        tl.store(out, total(n, 2, 3, start=10))

    assert run_ints(kernel, 5)[0] == 20


def test_helper_calls_helper_and_returns_nested_tuples():
    @helper
    def both(x):
        return x + 1, (scaled(x), "name")

    def kernel(out, n):
        a, (b, name) = both(n)
        tl.store(out, a + b)
        if name == "name":
            tl.store(out + 1, 1)

    assert run_ints(kernel, 2)[:2] == [3 + 7, 1]


def test_the_same_helper_at_two_types():
    @helper
    def double(x):
        return x * 2

    def kernel(out, n):
        tl.store(out, double(n) + double(15) + tl.sum(double(tl.arange(0, 3))))

    assert run_ints(kernel, 5)[0] == 10 + 30 + 6


def test_globals_and_closures_are_constants():
    inner = tl.constexpr(5)
    text = "yes"

    def kernel(out):
        tl.store(out, SCALE + inner + PLAIN + NAMES[0] + NAMES[1])
        tl.store(out + 1, int(math.sqrt(16)) if text == "yes" else 0)
        tl.store(out + tl.arange(2, 2 + SCALE // 2), SCALE // 2)

    assert run_ints(kernel) == [4 + 5 + 7 + 3, 4, 2, 2]


def test_functions_as_arguments():
    @helper
    def apply(function: tl.constexpr, x):
        return function(x)

    @helper
    def increment(x):
        return x + 1

    def kernel(out, n, function: tl.constexpr):
        tl.store(out, apply(increment, n))
        tl.store(out + 1, apply(function, n))
        tl.store(out + 2, apply(lambda x: x * x, n))
        tl.store(out + 3, apply(exp_alias, 0.0).to(tl.int32))

    assert run_ints(kernel, 5, increment) == [6, 6, 25, 1]


def _undecorated(x, low):
    if x < low:
        return low
    return x


def _on_the_host(n):
    p = 1
    while p < n:
        p *= 2
    return p


def test_undecorated_functions():
    def kernel(out, n, BLOCK: tl.constexpr):
        tl.store(out, _undecorated(n, 10))
        tl.store(out + tl.arange(1, _on_the_host(BLOCK)), 0)

    assert run_ints(kernel, 5, 3) == [10, 0, 0, 0]
    assert run_ints(kernel, 15, 2) == [15, 0, -77, -77]


Pair = namedtuple("Pair", ["first", "second"])


def test_named_tuples():
    def kernel(out, n):
        pair = Pair(n, n + 1)
        for _ in range(3):
            pair = Pair(pair.second, pair.first)
        tl.store(out, pair.first)
        tl.store(out + 1, pair.second)

    assert run_ints(kernel, 5)[:2] == [6, 5]


def test_tuple_arguments_of_the_kernel():
    def kernel(out, arrays, sizes):
        tl.store(out, tl.load(arrays[0]) + tl.load(arrays[1]) + sizes[0] * 100 + sizes[1])

    one, two = np.array([1], np.int32), np.array([2], np.int32)
    assert run_ints(kernel, (one, two), (1, 40))[0] == 1 + 2 + 100 + 40
    text = ir_text(kernel, np.zeros(1, np.int32), (one, two), (1, 40))
    head = text.splitlines()[0]
    assert (
        head
        == "func @kernel(%out: ptr<int32>, %arrays.0: ptr<int32>, %arrays.1: ptr<int32>, %sizes.1: int32) {"
    )


def test_descriptors_and_block_pointers_pass_through_loops_and_branches():
    def kernel(out, n):
        block = tl.make_block_ptr(out, (4,), (1,), (0,), (2,), (0,))
        descriptor = tl.make_tensor_descriptor(out, shape=[4], strides=[1], block_shape=[2])
        for i in range(2):
            tl.store(block, tl.load(block) + i, boundary_check=(0,))
            if n > i:
                block = tl.advance(block, (1,))
                descriptor = descriptor
        descriptor.store([3], descriptor.load([0]))

    assert run_ints(kernel, 1) == [-77, -76, -76, -77]


def test_source_of_nested_and_indented_functions():
    class Holder:
        def kernel(out):
            tl.store(out, 3)  # é: columns count characters

        def wrong(out):
            tl.store(out, "é" + tl.zeros((2,), tl.int32))

    assert run_ints(Holder.kernel)[0] == 3
    error = error_of(Holder.wrong, FP32)
    assert str(error).splitlines()[2:4] == [
        '    tl.store(out, "é" + tl.zeros((2,), tl.int32))',
        "                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^",
    ]


def test_string_annotations_mark_constants():
    def kernel(out, A: "tl.constexpr", B: "constexpr", c: "int"):  # noqa: F821, UP037
        pass

    assert [p.is_constexpr for p in KernelSource.of(kernel).parameters] == [False, True, True, False]


def test_a_name_may_shadow_a_builtin():
    def kernel(out, n, max: tl.constexpr):
        min = n + max
        tl.store(out, min)

    assert run_ints(kernel, 5, 6)[0] == 11


def test_static_print_shows_types(capsys: pytest.CaptureFixture[str]):
    def kernel(out, n):
        tl.static_print("n is", n, tl.arange(0, 4), sep=" | ")

    harness.trace_function(kernel, FP32, 5)
    assert capsys.readouterr().out == "n is | int32 | tile<4xint32>\n"
