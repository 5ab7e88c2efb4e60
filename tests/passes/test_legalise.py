"""Legalisation for the vector unit: the same results, bit for bit, from ops that the unit has."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tilejit import interpreter
from tilejit.diagnostics import CompileError
from tilejit.interpreter import ArrayArgument
from tilejit.ir.core import Function
from tilejit.ir.parser import parse_function
from tilejit.ir.printer import print_function
from tilejit.ir.types import DTYPE_BY_NAME, DType
from tilejit.ir.verifier import verify
from tilejit.ops import OP_BY_NAME
from tilejit.passes.legalise import legalise
from tilejit.passes.manager import PassContext

SIZE = 512
BINARY = """\
func @f(%x: ptr<{t}>, %y: ptr<{t}>, %out: ptr<{t}>) {{
  %i = arange() {{start=0, end=512}} : tile<512xint32>
  %0 = splat(%x) {{shape=[512]}} : tile<512xptr<{t}>>
  %1 = addptr(%0, %i) : tile<512xptr<{t}>>
  %a = load(%1) : tile<512x{t}>
  %2 = splat(%y) {{shape=[512]}} : tile<512xptr<{t}>>
  %3 = addptr(%2, %i) : tile<512xptr<{t}>>
  %b = load(%3) : tile<512x{t}>
  %c = {op}(%a, %b) : tile<512x{t}>
  %4 = splat(%out) {{shape=[512]}} : tile<512xptr<{t}>>
  %5 = addptr(%4, %i) : tile<512xptr<{t}>>
  store(%5, %c)
  return()
}}
"""
CAST = """\
func @f(%x: ptr<{s}>, %out: ptr<{t}>) {{
  %i = arange() {{start=0, end=512}} : tile<512xint32>
  %0 = splat(%x) {{shape=[512]}} : tile<512xptr<{s}>>
  %1 = addptr(%0, %i) : tile<512xptr<{s}>>
  %a = load(%1) : tile<512x{s}>
  %c = cast(%a) {{dtype={t}}} : tile<512x{t}>
  %4 = splat(%out) {{shape=[512]}} : tile<512xptr<{t}>>
  %5 = addptr(%4, %i) : tile<512xptr<{t}>>
  store(%5, %c)
  return()
}}
"""
CASTABLE = ("int8", "uint8", "int16", "int32", "fp16", "bf16", "fp32")


def _legal(text: str) -> tuple[Function, Function]:
    function, legal = (parse_function(text, OP_BY_NAME) for _ in range(2))
    legalise(legal, PassContext())
    verify(legal)
    return function, legal


def _run(function: Function, *arrays: np.ndarray) -> np.ndarray:
    copies = [array.copy() for array in arrays]
    arguments = [
        ArrayArgument(
            a.ctypes.data,
            a.ctypes.data,
            a.ctypes.data + a.nbytes,
            _dtype(a.dtype),
            a.shape,
            a.strides,
            "a",
        )
        for a in copies
    ]
    interpreter.run(function, arguments, (1, 1, 1), kernel_name="f")
    return copies[-1]


def _dtype(dtype: np.dtype) -> DType:
    return next(found for found in DTYPE_BY_NAME.values() if found.numpy == dtype)


def _values(dtype: DType, seed: int) -> np.ndarray:
    """Every kind of value: small, large, halves, the ends of all integer types, infinities and NaN."""
    generator = np.random.default_rng(seed)
    if dtype.is_int():
        return generator.integers(dtype.min_value, dtype.max_value, SIZE, endpoint=True).astype(dtype.numpy)
    values = generator.standard_normal(SIZE) * 10.0 ** generator.integers(-3, 7, SIZE)
    values[::7] = np.round(values[::7]) + 0.5
    ends = [0.0, -0.0, np.inf, -np.inf, np.nan, 127.5, 128.5, -128.5, 255.5, 32767.5, 65504, 65520, 2.0**31]
    values[: len(ends)] = ends
    with np.errstate(all="ignore"):
        return values.astype(np.float32).astype(dtype.numpy)


def _assert_equal_bits(found: np.ndarray, wanted: np.ndarray) -> None:
    if found.dtype.kind not in "iu":
        both_nan = np.isnan(found.astype(np.float32)) & np.isnan(wanted.astype(np.float32))
        found, wanted = np.where(both_nan, 0, found), np.where(both_nan, 0, wanted)
    np.testing.assert_array_equal(found.view(np.uint8), wanted.view(np.uint8))


@pytest.mark.parametrize(("source", "target"), tuple(itertools.permutations(CASTABLE, 2)))
def test_casts_in_steps_give_what_one_cast_gives(source: str, target: str) -> None:
    function, legal = _legal(CAST.format(s=source, t=target))
    x = _values(DTYPE_BY_NAME[source], 1)
    out = np.zeros(SIZE, DTYPE_BY_NAME[target].numpy)
    _assert_equal_bits(_run(legal, x, out), _run(function, x, out))


@pytest.mark.parametrize("dtype", ("int8", "uint8", "int16", "fp16", "bf16", "fp32"))
@pytest.mark.parametrize("op", ("add", "sub", "mul", "max", "div"))
def test_arithmetic_in_a_wider_type_gives_the_same(op: str, dtype: str) -> None:
    if op == "div" and "int" in dtype:
        return
    function, legal = _legal(BINARY.format(t=dtype, op=op))
    x, y = (_values(DTYPE_BY_NAME[dtype], seed) for seed in (2, 3))
    out = np.zeros(SIZE, DTYPE_BY_NAME[dtype].numpy)
    _assert_equal_bits(_run(legal, x, y, out), _run(function, x, y, out))


def test_what_the_unit_computes_stays() -> None:
    function, legal = _legal(BINARY.format(t="fp32", op="add"))
    assert print_function(legal) == print_function(function)


def test_addresses_stay_what_they_are() -> None:
    text = CAST.format(s="fp32", t="bf16")
    _, legal = _legal(text)
    assert "arange() {start=0, end=512} : tile<512xint32>" in print_function(legal)


def test_types_without_arithmetic_are_refused() -> None:
    with pytest.raises(CompileError, match="cannot compute add on fp64"):
        _legal(BINARY.format(t="fp64", op="add"))
