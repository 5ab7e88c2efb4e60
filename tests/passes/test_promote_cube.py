"""Kernels of dots at the buffer level: which buffers they get, and what is refused with its line."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tests.passes.text import function_of
from tilejit import CompileError
from tilejit.ascend_compiler import AscendKernel
from tilejit.ir.machine_text import parse_machine_kernel
from tilejit.ir.printer import print_function
from tilejit.ops.machine import MACHINE_LEVEL_OPS
from tilejit.passes.cube_work import fuse_sums
from tilejit.runtime.kernel import Kernel

SIZE = 32


@tilejit.kernel
def products(a_ptr, b_ptr, c_ptr, n, stride, CASE: tl.constexpr, SIZE: tl.constexpr):
    inner = tl.arange(0, SIZE)
    square = inner[:, None] * SIZE + inner[None, :]
    mask, other = inner[:, None] < n, 0.0
    bounded = inner[:, None] >= n if CASE == "lower_bound" else mask
    if CASE == "other":
        other = 1.0
    places = inner[:, None] * SIZE + inner[None, :] * stride if CASE == "apart" else square
    acc = tl.zeros((SIZE, SIZE), tl.int32 if CASE == "integer" else tl.float32)
    second = tl.zeros((SIZE, SIZE), tl.float32)
    if CASE == "start":
        acc = tl.load(c_ptr + square)
    for i in range(n):
        a = tl.load(a_ptr + i * SIZE * SIZE + places, mask=bounded, other=other)
        b = tl.load(b_ptr + i * SIZE * SIZE + square)
        if CASE == "scaled_operand":
            a = a * 2
        if CASE == "half":
            second = tl.dot(a, b, out_dtype=tl.float16).to(tl.float32)
        elif CASE == "swap":
            acc, second = second, tl.dot(a, b, acc)
        elif CASE == "again":
            before = acc
            acc = tl.dot(a, b, acc)
            tl.store(c_ptr + i * SIZE * SIZE + square, before)
        else:
            acc = tl.dot(a, b, acc)
    if CASE == "relu":
        acc = tl.maximum(acc, 0.0)
    if CASE == "sum_of_all":
        tl.store(c_ptr, tl.sum(acc))
    elif CASE == "maximum":
        tl.atomic_max(c_ptr + square, acc, mask=mask)
    elif CASE == "apart_store":
        tl.store(c_ptr + inner[:, None] * stride + inner[None, :] * SIZE, acc, mask=mask)
    elif CASE == "half":
        tl.store(c_ptr + square, second, mask=mask)
    elif CASE == "swap":
        tl.store(c_ptr + square, acc + second, mask=mask)
    else:
        tl.store(c_ptr + square, acc.to(c_ptr.dtype.element_ty), mask=None if CASE == "uncovered" else mask)
    if CASE == "two_ways":
        tl.store(c_ptr + inner[:, None] + inner[None, :] * SIZE, acc, mask=mask)


def compile_case(case: str, size: int = SIZE) -> str:
    return compile_case_with_remarks(case, size).ir("machine")


def compile_case_with_remarks(case: str, size: int = SIZE) -> AscendKernel:
    element = np.int8 if case == "integer" else np.float16
    a, b = np.zeros((2, 4, size, size), element)
    c = np.zeros((4, size, size), np.float16 if case == "integer" else np.float32)
    return tilejit.compile(products, a, b, c, 4, 3, target="ascend910b", CASE=case, SIZE=size)


def compiled(kernel: Kernel, *args: object, **kwargs: object) -> str:
    return tilejit.compile(kernel, *args, target="ascend910b", **kwargs).ir("machine")


def slots(text: str) -> dict[str, list[int]]:
    """The numbers of slots of all buffers, by space."""
    found: dict[str, list[int]] = {}
    for space, attributes in re.findall(r"buffer\(\) \{space=(\w+), ([^}]*)\}", text):
        match = re.search(r"slots=(\d+)", attributes)
        found.setdefault(space, []).append(int(match.group(1)) if match else 1)
    return found


def test_every_buffer_has_two_slots_where_copies_can_overlap() -> None:
    text = compile_case("good")
    assert slots(text) == {"l0c": [2], "l1": [2, 2], "l0a": [2], "l0b": [2]}
    parse_machine_kernel(text, MACHINE_LEVEL_OPS)


def test_an_accumulator_that_fills_its_memory_has_one() -> None:
    assert slots(compile_case("good", 160))["l0c"] == [1]


@tilejit.kernel
def running_sums(a_ptr, b_ptr, c_ptr, n, SIZE: tl.constexpr):
    inner = tl.arange(0, SIZE)
    square = inner[:, None] * SIZE + inner[None, :]
    acc = tl.zeros((SIZE, SIZE), tl.float32)
    for i in range(n):
        a = tl.load(a_ptr + i * SIZE * SIZE + square)
        acc = tl.dot(a, tl.load(b_ptr + square), acc)
        tl.store(c_ptr + i * SIZE * SIZE + square, acc)


def test_an_accumulator_does_not_move_in_the_loop_that_adds_to_it() -> None:
    """All uses are in that loop; its trips still have to find what those before them added."""
    generator = np.random.default_rng(0)
    a, b = generator.standard_normal((3, 16, 16)).astype(np.float16), np.eye(16, dtype=np.float16)
    c = np.zeros((3, 16, 16), np.float32)
    result = running_sums.simulate[(1,)](a, b, c, 3, SIZE=16)
    assert not result.findings
    np.testing.assert_allclose(c, np.cumsum(a.astype(np.float32), axis=0), rtol=1e-5)


@pytest.mark.parametrize("case", ("relu", "scaled_operand", "start", "sum_of_all", "again", "swap"))
def test_what_needs_the_vector_unit_as_well_is_split(case: str) -> None:
    text = compile_case(case)
    assert "func aic @products" in text and "func aiv @products" in text


@pytest.mark.parametrize(
    ("case", "reason"),
    (
        ("two_ways", "the sum is needed by rows"),
        ("apart_store", "neither rows nor columns are contiguous"),
        ("integer", "the cube core has no such conversion or atomic"),
        ("maximum", "the cube core has no such conversion or atomic"),
        (
            "uncovered",
            "its mask does not bound rows and columns, or not those that loads leave out",
        ),
    ),
)
def test_a_store_that_fixpipe_cannot_do_is_one_of_the_vector_cores(case: str, reason: str) -> None:
    code = compile_case_with_remarks(case)
    assert "func aic @products" in code.ir("machine") and "func aiv @products" in code.ir("machine")
    name = "atomic" if case == "maximum" else "store"
    assert f"the vector cores do this {name}: {reason}" in {remark.message for remark in code.remarks}


@pytest.mark.parametrize(
    ("case", "message", "line"),
    (
        ("lower_bound", "the mask of a tile that tl.dot multiplies must bound its dimensions", "a = tl.load"),
        ("other", "a tile that tl.dot multiplies is 0 where it is masked", "a = tl.load"),
        ("apart", "a tile that tl.dot multiplies needs contiguous elements", "a = tl.load"),
        ("half", "the cube unit multiplies .* got fp16 in fp16", r"second = tl.dot"),
    ),
)
def test_what_the_cube_core_cannot_do_is_refused(case: str, message: str, line: str) -> None:
    with pytest.raises(CompileError, match=f"(?s)^Ascend: {message}.*{line}"):
        compile_case(case)


@tilejit.kernel
def batched(a_ptr, c_ptr, SIZE: tl.constexpr):
    inner = tl.arange(0, SIZE)
    cube = inner[:, None, None] * SIZE * SIZE + inner[None, :, None] * SIZE + inner[None, None, :]
    a = tl.load(a_ptr + cube)
    tl.store(c_ptr + cube, tl.dot(a, a))


def test_a_batch_is_multiplied_matrix_by_matrix() -> None:
    a, c = np.zeros((16, 16, 16), np.float16), np.zeros((16, 16, 16), np.float32)
    assert compiled(batched, a, c, SIZE=16).count("mmad(") == 16


@tilejit.kernel
def halves(a_ptr, c_ptr, SIZE: tl.constexpr):
    inner = tl.arange(0, SIZE)
    square = inner[:, None] * SIZE + inner[None, :]
    a = tl.load(a_ptr + square)
    tl.store(c_ptr + square, tl.dot(a, a, out_dtype=tl.float16))


def test_the_cube_unit_accumulates_in_32_bits() -> None:
    a, c = np.zeros((2, 16, 16), np.float16)
    with pytest.raises(CompileError, match=r"the cube unit multiplies .*; got fp16 in fp16"):
        compiled(halves, a, c, SIZE=16)


def test_tiles_that_l0c_cannot_hold_are_named() -> None:
    expected = r"(?s)L0C of an AIC has 131,072.*262,144 bytes: acc.* from \S+/test_promote_cube.py:\d+"
    with pytest.raises(CompileError, match=expected):
        compile_case("good", 256)


def test_products_that_are_added_become_dots_that_add() -> None:
    before = """
        func @f(%a: tile<4x4xfp16>, %c: tile<4x4xfp32>, %p: tile<4x4xptr<fp32>>) {
          %d = dot(%a, %a) {out_dtype=fp32} : tile<4x4xfp32>
          %e = add(%c, %d) : tile<4x4xfp32>
          store(%p, %e)
          %f = dot(%a, %a) {out_dtype=fp32} : tile<4x4xfp32>
          %g = add(%f, %f) : tile<4x4xfp32>
          store(%p, %g)
          return()
        }
        """
    function = function_of(before)
    fuse_sums(function)
    lines = [line.strip() for line in print_function(function).splitlines()]
    assert "%e = dot(%a, %a, acc=%c) {out_dtype=fp32} : tile<4x4xfp32>" in lines
    assert "%g = add(%f, %f) : tile<4x4xfp32>" in lines  # a product that is needed twice stays
    assert not any(line.startswith("%d") for line in lines)
