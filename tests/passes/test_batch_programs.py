"""Programs of one row become rows of larger tiles, where they can."""

from __future__ import annotations

import numpy as np
import pytest
from layer_norm import layer_norm_kernel
from softmax import softmax_kernel
from vector_add import vector_add_kernel

import tilejit
import tilejit.language as tl
from tests.kernels_ascend import kernels
from tests.kernels_ascend.harness import compare
from tilejit import Kernel
from tilejit.ir.core import Function
from tilejit.ir.printer import print_function
from tilejit.ir.verifier import verify
from tilejit.passes.batch_programs import batch_programs, can_batch
from tilejit.passes.manager import PassContext
from tilejit.passes.simplify import simplify
from tilejit.passes.vector_kernel import vector_kernel
from tilejit.target.ascend import ASCEND_910B1

RNG = np.random.default_rng(4)


@tilejit.kernel
def centre_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    row, columns = tl.program_id(0), tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * n + columns, mask=columns < n, other=0.0)
    tl.store(out_ptr + row * n + columns, x - tl.max(x, axis=0), mask=columns < n)


@tilejit.kernel
def guarded_kernel(x_ptr, scale_ptr, out_ptr, rows, n, BLOCK: tl.constexpr):
    row, columns = tl.program_id(0), tl.arange(0, BLOCK)
    scale = tl.load(scale_ptr + row, mask=row < rows, other=1.0)
    mask = (row < rows) & (columns < n)
    x = tl.load(x_ptr + row * n + columns, mask=mask, other=0.0)
    tl.store(out_ptr + row * n + columns, x * scale + tl.sum(x, axis=0), mask=mask)


@tilejit.kernel
def same_place_kernel(x_ptr, out_ptr, BLOCK: tl.constexpr):
    columns = tl.arange(0, BLOCK)
    tl.store(out_ptr + columns, tl.load(x_ptr + tl.program_id(0) * BLOCK + columns))


@tilejit.kernel
def two_axes_kernel(x_ptr, out_ptr, stride, BLOCK: tl.constexpr):
    places = tl.program_id(0) * BLOCK + tl.program_id(1) * stride + tl.arange(0, BLOCK)
    tl.store(out_ptr + places, tl.load(x_ptr + places))


@tilejit.kernel
def adding_kernel(x_ptr, out_ptr, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    tl.atomic_add(out_ptr + row, tl.sum(tl.load(x_ptr + row * BLOCK + tl.arange(0, BLOCK)), axis=0))


def _tile(kernel: Kernel, signature: str) -> Function:
    return tilejit.compile(kernel, signature=signature, target="interpreter").tile


CENTRED = """\
func @centre_kernel(%x_ptr: ptr<fp32> {alias_class=0}, %out_ptr: ptr<fp32> {alias_class=1}, %n: int32) {
  %0 = num_programs() {axis=0} : int32
  %1 = constant() {value=1, dtype=int32} : int32
  %2 = constant() {value=4, dtype=int32} : int32
  %3 = block_count() : int32
  %4 = sub(%3, %1) : int32
  %5 = add(%0, %4) : int32
  %6 = idiv(%5, %3) : int32
  %7 = min(%6, %2) : int32
  %8 = max(%7, %1) : int32
  %9 = program_id() {axis=0} : int32
  %10 = mul(%9, %8) : int32
  %11 = arange() {start=0, end=4} : tile<4xint32>
  %12 = splat(%10) {shape=[4]} : tile<4xint32>
  %13 = add(%12, %11) : tile<4xint32>
  %14 = sub(%0, %10) : int32
  %15 = min(%8, %14) : int32
  %16 = splat(%15) {shape=[4]} : tile<4xint32>
  %17 = cmp(%11, %16) {predicate=lt} : tile<4xint1>
  %18 = arange() {start=0, end=24} : tile<24xint32>
  %19 = splat(%n) {shape=[4]} : tile<4xint32>
  %20 = mul(%13, %19) : tile<4xint32>
  %21 = splat(%x_ptr) {shape=[4]} : tile<4xptr<fp32>>
  %22 = addptr(%21, %20) : tile<4xptr<fp32>>
  %23 = reshape(%22) {shape=[4, 1]} : tile<4x1xptr<fp32>>
  %24 = broadcast(%23) {shape=[4, 24]} : tile<4x24xptr<fp32>>
  %25 = reshape(%18) {shape=[1, 24]} : tile<1x24xint32>
  %26 = broadcast(%25) {shape=[4, 24]} : tile<4x24xint32>
  %27 = addptr(%24, %26) : tile<4x24xptr<fp32>>
  %28 = splat(%n) {shape=[24]} : tile<24xint32>
  %29 = cmp(%18, %28) {predicate=lt} : tile<24xint1>
  %30 = constant() {value=0.0, dtype=fp32} : fp32
  %31 = reshape(%29) {shape=[1, 24]} : tile<1x24xint1>
  %32 = broadcast(%31) {shape=[4, 24]} : tile<4x24xint1>
  %33 = splat(%30) {shape=[4, 24]} : tile<4x24xfp32>
  %34 = reshape(%17) {shape=[4, 1]} : tile<4x1xint1>
  %35 = broadcast(%34) {shape=[4, 24]} : tile<4x24xint1>
  %36 = and(%35, %32) : tile<4x24xint1>
  %x = load(%27, mask=%36, other=%33) : tile<4x24xfp32>
  %37 = splat(%out_ptr) {shape=[4]} : tile<4xptr<fp32>>
  %38 = addptr(%37, %20) : tile<4xptr<fp32>>
  %39 = reshape(%38) {shape=[4, 1]} : tile<4x1xptr<fp32>>
  %40 = broadcast(%39) {shape=[4, 24]} : tile<4x24xptr<fp32>>
  %41 = addptr(%40, %26) : tile<4x24xptr<fp32>>
  %42 = reduce(%x) {axis=1, kind=max} : tile<4xfp32>
  %43 = reshape(%42) {shape=[4, 1]} : tile<4x1xfp32>
  %44 = broadcast(%43) {shape=[4, 24]} : tile<4x24xfp32>
  %45 = sub(%x, %44) : tile<4x24xfp32>
  store(%41, %45, mask=%36)
  return()
}
"""


def test_a_row_becomes_rows() -> None:
    function = _tile(centre_kernel, "x_ptr=*fp32, out_ptr=*fp32, n=i32, BLOCK=24")
    before = print_function(function)
    batched = batch_programs(function, 4)
    simplify(batched)
    verify(batched)
    assert print_function(function) == before
    assert print_function(batched) == CENTRED


@pytest.mark.parametrize(
    ("kernel", "signature", "possible"),
    (
        (centre_kernel, "x_ptr=*fp32, out_ptr=*fp32, n=i32, BLOCK=24", True),
        (guarded_kernel, "x_ptr=*fp32, scale_ptr=*fp32, out_ptr=*fp32, rows=i32, n=i32, BLOCK=24", True),
        (
            softmax_kernel,
            "x_ptr=*fp32, out_ptr=*fp32, x_stride=i32, out_stride=i32, n_cols=i32, BLOCK=8",
            True,
        ),
        (vector_add_kernel, "x_ptr=*fp32, y_ptr=*fp32, out_ptr=*fp32, n_elements=i32, BLOCK=64", False),
        (kernels.online_softmax_kernel, "x_ptr=*fp32, out_ptr=*fp32, n_cols=i32, BLOCK=64", False),
        (same_place_kernel, "x_ptr=*fp32, out_ptr=*fp32, BLOCK=64", False),
        (two_axes_kernel, "x_ptr=*fp32, out_ptr=*fp32, stride=i32, BLOCK=64", False),
        (adding_kernel, "x_ptr=*fp32, out_ptr=*fp32, BLOCK=64", False),
    ),
)
def test_which_kernels_can_be_batched(kernel: Kernel, signature: str, possible: bool) -> None:
    assert can_batch(_tile(kernel, signature)) == possible


@pytest.mark.parametrize(
    ("element", "columns", "programs"),
    (
        ("fp32", 256, 16),
        ("fp32", 1024, 8),
        ("fp32", 4096, 2),
        ("fp16", 4096, 3),
        ("fp32", 8192, None),
        ("fp32", 16384, None),
    ),
)
def test_as_many_programs_as_make_large_tiles(element: str, columns: int, programs: int | None) -> None:
    types, numbers = f"x_ptr=*{element}, out_ptr=*{element}", "x_stride=i32, out_stride=i32, n_cols=i32"
    signature = f"{types}, {numbers}, BLOCK={columns}"
    context = PassContext()
    vector_kernel(_tile(softmax_kernel, signature), ASCEND_910B1, context)
    told = [remark.message for remark in context.remarks if "programs run at once" in remark.message]
    assert told == ([] if programs is None else [f"{programs} programs run at once, as rows of tiles"])


@pytest.mark.parametrize("rows", (1, 15, 16, 17, 100))
def test_the_last_group_may_be_incomplete(rows: int) -> None:
    x = RNG.standard_normal((rows, 50)).astype(np.float32)
    out = np.full((rows + 3, 50), 7, np.float32)
    compare(centre_kernel, x, out, 50, grid=(rows,), exact=True, BLOCK=64)
    assert (out[rows:] == 7).all()


def test_masks_by_the_program_and_numbers_of_each() -> None:
    x, scale = RNG.standard_normal((21, 50)).astype(np.float32), RNG.standard_normal(21).astype(np.float32)
    out = np.full((40, 50), 7, np.float32)
    compare(guarded_kernel, x, scale, out, 21, 50, grid=(40,), BLOCK=64)
    assert (out[21:] == 7).all()


def test_sharing_memory_within_a_pipe_leaves_room_for_two_rows() -> None:
    types = ", ".join(f"{name}=*fp16:16" for name in ("x_ptr", "weight_ptr", "bias_ptr", "out_ptr"))
    numbers = "x_stride=i32, out_stride=i32, n_cols=i32, epsilon=fp32, BLOCK=4096"
    context = PassContext()
    vector_kernel(_tile(layer_norm_kernel, f"{types}, {numbers}"), ASCEND_910B1, context)
    assert [remark.message for remark in context.remarks] == ["2 programs run at once, as rows of tiles"]
