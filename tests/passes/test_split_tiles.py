"""Tiles too large for a core's memory are computed in parts where their lanes do not meet."""

from __future__ import annotations

import numpy as np
import pytest
from layer_norm import layer_norm_kernel
from vector_add import vector_add_kernel

import tilejit
import tilejit.language as tl
from tests.kernels_ascend import kernels
from tests.kernels_ascend.harness import compare
from tilejit.ir.core import Function
from tilejit.ir.printer import print_function
from tilejit.ir.verifier import verify
from tilejit.passes.manager import PassContext
from tilejit.passes.split_tiles import parts_of, split_tiles
from tilejit.passes.vector_kernel import vector_kernel
from tilejit.target.ascend import ASCEND_910B1

RNG = np.random.default_rng(2)


@tilejit.kernel
def shift_kernel(x_ptr, n, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + lanes, mask=lanes < n)
    tl.store(x_ptr + lanes + 1, x, mask=lanes < n)


@tilejit.kernel
def double_kernel(x_ptr, n, BLOCK: tl.constexpr):
    lanes = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + lanes, mask=lanes < n)
    tl.store(x_ptr + lanes, x + x, mask=lanes < n)


def _tile(kernel: object, signature: str) -> Function:
    return tilejit.compile(kernel, signature=signature, target="interpreter").tile  # type: ignore[arg-type]


def test_a_program_becomes_a_loop_over_parts() -> None:
    function = _tile(vector_add_kernel, "x_ptr=*fp32, y_ptr=*fp32, out_ptr=*fp32, n_elements=i32, BLOCK=60")
    assert parts_of(function) == (2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60)
    before = print_function(function)
    cut = split_tiles(function, 4)
    verify(cut)
    text = print_function(cut)
    assert print_function(function) == before
    assert "arange() {start=0, end=15}" in text and "60xfp32" not in text and text.count("for(") == 1


def test_dimensions_whose_lanes_meet_stay_whole() -> None:
    softmax = "x_ptr=*fp32, out_ptr=*fp32, stride=i32, n_rows=i32, n_cols=i32, ROWS=8, BLOCK=32"
    assert parts_of(_tile(kernels.softmax_rows_kernel, softmax)) == (2, 4, 8), "rows, not columns"
    sums = "x_ptr=*fp32, out_ptr=*fp32, n_rows=i32, n_cols=i32, ROWS=8, BLOCK=9"
    assert parts_of(_tile(kernels.column_sum_kernel, sums)) == (3, 9), "columns, not rows"
    assert (
        parts_of(_tile(kernels.online_softmax_kernel, "x_ptr=*fp32, out_ptr=*fp32, n_cols=i32, BLOCK=8"))
        == ()
    )


def test_rows_and_columns_may_be_as_many() -> None:
    softmax = "x_ptr=*fp32, out_ptr=*fp32, stride=i32, n_rows=i32, n_cols=i32, ROWS=32, BLOCK=32"
    assert parts_of(_tile(kernels.softmax_rows_kernel, softmax)) == (2, 4, 8, 16, 32)


def test_a_load_that_reads_what_another_part_stores_keeps_tiles_whole() -> None:
    assert parts_of(_tile(shift_kernel, "x_ptr=*fp32, n=i32, BLOCK=8")) == ()
    assert parts_of(_tile(double_kernel, "x_ptr=*fp32, n=i32, BLOCK=8")) == (2, 4, 8)


@pytest.mark.parametrize("length", (5, 16384, 40000))
def test_a_block_larger_than_the_memory(length: int) -> None:
    x, y = (RNG.standard_normal(length).astype(np.float32) for _ in range(2))
    out = np.zeros_like(x)
    grid = (-(-length // 16384),)
    compare(vector_add_kernel, x, y, out, length, grid=grid, exact=True, BLOCK=16384)
    compare(double_kernel, x, length, grid=grid, exact=True, BLOCK=16384)


def test_many_rows_of_softmax() -> None:
    x = RNG.standard_normal((70, 1000)).astype(np.float32)
    out = np.zeros_like(x)
    compare(kernels.softmax_rows_kernel, x, out, 1000, 70, 1000, grid=(2,), ROWS=64, BLOCK=1024)


def test_the_parts_are_remarked() -> None:
    signature = "x_ptr=*fp32, y_ptr=*fp32, out_ptr=*fp32, n_elements=i32, BLOCK=16384"
    function = _tile(vector_add_kernel, signature)
    context = PassContext()
    vector_kernel(function, ASCEND_910B1, context)
    assert [remark.message for remark in context.remarks] == [
        "tiles are computed in 4 parts: they take 393216 bytes of UB's 188160"
    ]


def test_tiles_that_find_no_room_to_stay_are_loaded_by_each_program() -> None:
    n = 12000
    x, weight, bias = (RNG.standard_normal(shape).astype(np.float32) for shape in ((4, n), n, n))
    out = np.zeros_like(x)
    compare(layer_norm_kernel, x, weight, bias, out, n, n, n, 1e-5, grid=(4,), BLOCK=16384)
    signature = ", ".join(f"{name}_ptr=*fp32" for name in ("x", "weight", "bias", "out"))
    sizes = "x_stride=i32, out_stride=i32, n_cols=i32, epsilon=fp32, BLOCK=16384"
    context = PassContext()
    vector_kernel(_tile(layer_norm_kernel, f"{signature}, {sizes}"), ASCEND_910B1, context)
    assert [remark.message for remark in context.remarks] == [
        "tiles that all programs share are loaded by each: UB has no room to keep them"
    ]


@tilejit.kernel
def falling_kernel(x_ptr, n, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    rows, columns = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    for i in range(n):
        places = x_ptr + (i + rows)[:, None] * COLUMNS + columns[None, :]
        tl.store(places, tl.load(places) * 0.5 + i)


def test_rows_that_come_again_in_the_next_trip_are_not_cut() -> None:
    function = _tile(falling_kernel, "x_ptr=*fp32, n=i32, ROWS=128, COLUMNS=256")
    assert parts_of(function) == ()
    compare(falling_kernel, np.ones((96, 256), np.float32), 5, grid=(1,), exact=True, ROWS=64, COLUMNS=256)
