"""Reductions and scans as trees of rows: what the interpreter gives for the ops that they replace."""

from __future__ import annotations

import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tilejit import interpreter
from tilejit.diagnostics import CompileError
from tilejit.interpreter import ArrayArgument
from tilejit.ir.core import Function
from tilejit.ir.rewrite import clone_function
from tilejit.ir.types import DTYPE_BY_NAME
from tilejit.ir.verifier import verify
from tilejit.passes.manager import PassContext
from tilejit.passes.unroll_reductions import unroll_reductions
from tilejit.runtime.kernel import Kernel

RNG = np.random.default_rng(2)


@tilejit.kernel
def _affine(a, b, c, d):
    """Combines functions x -> a x + b, whose order matters."""
    return a * c, b * c + d


@tilejit.kernel
def _largest(x, i, y, j):
    takes_first = (x > y) | ((x == y) & (i < j))
    return tl.where(takes_first, x, y), tl.where(takes_first, i, j)


@tilejit.kernel
def _looping(a, b):
    while a < b:
        a = a * 2
    return a


@tilejit.kernel
def _reduce(x_ptr, y_ptr, out_ptr, other_ptr, M: tl.constexpr, N: tl.constexpr, AXIS: tl.constexpr):
    places = tl.arange(0, M)[:, None] * N + tl.arange(0, N)[None, :]
    x, y = tl.load(x_ptr + places), tl.load(y_ptr + places)
    first, second = tl.reduce((x, y), AXIS, _affine)
    lanes = tl.arange(0, N if AXIS == 0 else M)
    tl.store(out_ptr + lanes, first)
    tl.store(other_ptr + lanes, second)


@tilejit.kernel
def _scan(x_ptr, y_ptr, out_ptr, other_ptr, M: tl.constexpr, N: tl.constexpr, AXIS: tl.constexpr):
    places = tl.arange(0, M)[:, None] * N + tl.arange(0, N)[None, :]
    x, y = tl.load(x_ptr + places), tl.load(y_ptr + places)
    first, second = tl.associative_scan((x, y), AXIS, _affine, reverse=M > 4)
    tl.store(out_ptr + places, first)
    tl.store(other_ptr + places, second)


@tilejit.kernel
def _line(x_ptr, y_ptr, out_ptr, other_ptr, N: tl.constexpr, REVERSE: tl.constexpr):
    lanes = tl.arange(0, N)
    x, y = tl.load(x_ptr + lanes), tl.load(y_ptr + lanes)
    value, index = tl.reduce((x, lanes), 0, _largest)
    first, second = tl.associative_scan((x, y), 0, _affine, reverse=REVERSE)
    tl.store(out_ptr + lanes, first + tl.cumsum(x, 0, reverse=REVERSE))
    tl.store(other_ptr + lanes, second + value * index + tl.xor_sum(y, axis=0))


@tilejit.kernel
def _bools(x_ptr, out_ptr, N: tl.constexpr):
    x = tl.load(x_ptr + tl.arange(0, N))
    tl.store(out_ptr, tl.xor_sum((x > 0), axis=0))
    tl.store(out_ptr + 1, tl.reduce(x > 100, 0, _or))


@tilejit.kernel
def _or(a, b):
    return a | b


@tilejit.kernel
def _refused(x_ptr, N: tl.constexpr):
    tl.store(x_ptr, tl.reduce(tl.load(x_ptr + tl.arange(0, N)), 0, _looping))


def _function(kernel: Kernel, signature: str) -> Function:
    return tilejit.compile(kernel, signature=signature, target="interpreter").tile


def _run(function: Function, *arrays: np.ndarray) -> list[np.ndarray]:
    copies = [array.copy() for array in arrays]
    arguments = []
    for array in copies:
        dtype = next(found for found in DTYPE_BY_NAME.values() if found.numpy == array.dtype)
        low = array.ctypes.data
        arguments.append(ArrayArgument(low, low, low + array.nbytes, dtype, array.shape, array.strides, "a"))
    interpreter.run(function, arguments, (1, 1, 1), kernel_name="f")
    return copies


def _check(kernel: Kernel, signature: str, *arrays: np.ndarray) -> None:
    function = _function(kernel, signature)
    unrolled = clone_function(function)
    unroll_reductions(unrolled, PassContext())
    verify(unrolled)
    assert not any(op.name in ("reduce_custom", "scan", "scan_custom") for op in unrolled.walk())
    for wanted, found in zip(_run(function, *arrays), _run(unrolled, *arrays), strict=True):
        np.testing.assert_array_equal(found, wanted)


def _whole(*shape: int) -> np.ndarray:
    return RNG.integers(-9, 9, shape).astype(np.int32)


@pytest.mark.parametrize("kernel", (_reduce, _scan), ids=("reduce", "scan"))
@pytest.mark.parametrize("axis", (0, 1))
@pytest.mark.parametrize(("m", "n"), ((1, 5), (7, 1), (3, 8), (16, 5), (13, 24)))
def test_matrices(kernel: Kernel, axis: int, m: int, n: int) -> None:
    signature = f"x_ptr=*i32, y_ptr=*i32, out_ptr=*i32, other_ptr=*i32, M={m}, N={n}, AXIS={axis}"
    _check(kernel, signature, _whole(m, n), _whole(m, n), _whole(m, n), _whole(m, n))


@pytest.mark.parametrize("reverse", (False, True))
@pytest.mark.parametrize("n", (1, 2, 7, 64, 100, 128, 1000))
def test_lines(n: int, reverse: bool) -> None:
    signature = f"x_ptr=*i32, y_ptr=*i32, out_ptr=*i32, other_ptr=*i32, N={n}, REVERSE={reverse}"
    _check(_line, signature, _whole(n), _whole(n), _whole(n), _whole(n))


def test_bools() -> None:
    _check(_bools, "x_ptr=*i32, out_ptr=*i1, N=50", _whole(50), np.zeros(2, bool))


def test_what_the_unit_reduces_stays() -> None:
    function = _function(_bools, "x_ptr=*i32, out_ptr=*i1, N=50")
    unroll_reductions(function, PassContext())
    assert [op.attributes["kind"].value for op in function.walk() if op.name == "reduce"] == ["sum", "max"]


def test_functions_with_loops_are_refused() -> None:
    function = _function(_refused, "x_ptr=*fp32, N=64")
    with pytest.raises(CompileError, match="must be made of arithmetic; got while"):
        unroll_reductions(function, PassContext())
