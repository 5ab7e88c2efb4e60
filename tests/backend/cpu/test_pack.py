"""Copies between layouts and element types against numpy."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import pytest
from llvm_harness import assembly, compile_function
from llvmlite import ir

from tilejit.backend.cpu.operand import Operand
from tilejit.backend.cpu.pack import emit_pack
from tilejit.backend.cpu.values import POINTER
from tilejit.ir.types import BF16, FP16, FP32, FP64, INT8, INT32, UINT8, DType
from tilejit.target.cpu import CpuTarget, aarch64_neon, generic_avx2, host

SIZES = [(1, 1), (1, 7), (3, 2), (4, 4), (5, 33), (16, 16), (17, 19), (33, 64), (64, 100), (100, 3)]


def build_pack(
    source_dtype: DType,
    destination_dtype: DType,
    rows: int,
    columns: int,
    source_strides: tuple[int, int],
    destination_strides: tuple[int, int],
    runtime_strides: bool = False,
) -> Callable[[ir.IRBuilder, list[ir.Value]], None]:
    def build(builder: ir.IRBuilder, arguments: list[ir.Value]) -> None:
        strides: list[int | ir.Value] = list(source_strides)
        if runtime_strides:
            strides = [
                s if s == 1 else builder.add(ir.Constant(ir.IntType(64), s), arguments[2]) for s in strides
            ]
        source = Operand(arguments[0], source_dtype, strides[0], strides[1])
        destination = Operand(arguments[1], destination_dtype, *destination_strides)
        emit_pack(builder, source, destination, rows, columns, host())

    return build


@pytest.mark.parametrize("runtime_strides", [False, True])
@pytest.mark.parametrize(
    ("source_rowmajor", "destination_rowmajor"), [(True, True), (True, False), (False, True)]
)
@pytest.mark.parametrize(("rows", "columns"), SIZES)
def test_layouts(
    rows: int, columns: int, source_rowmajor: bool, destination_rowmajor: bool, runtime_strides: bool
) -> None:
    rng = np.random.default_rng(rows * 1000 + columns)
    values = rng.standard_normal((rows, columns)).astype(np.float32)
    padding = 3
    source = np.full(
        (rows, columns + padding) if source_rowmajor else (columns, rows + padding), np.nan, np.float32
    )
    source_view = source[:, :columns] if source_rowmajor else source[:, :rows].T
    source_view[...] = values
    source_strides = (columns + padding, 1) if source_rowmajor else (1, rows + padding)
    destination = np.full(
        (rows, columns + 2) if destination_rowmajor else (columns, rows + 2), -1, np.float32
    )
    destination_strides = (columns + 2, 1) if destination_rowmajor else (1, rows + 2)
    build = build_pack(FP32, FP32, rows, columns, source_strides, destination_strides, runtime_strides)
    function = compile_function([POINTER, POINTER, ir.IntType(64)], build, host())
    function(source.ctypes.data, destination.ctypes.data, ctypes.c_int64(0))
    view = destination[:, :columns] if destination_rowmajor else destination[:, :rows].T
    np.testing.assert_array_equal(view, values)
    rest = destination[:, columns:] if destination_rowmajor else destination[:, rows:]
    assert (rest == -1).all()


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize(
    ("source_dtype", "destination_dtype"),
    [(FP16, FP32), (BF16, FP32), (FP32, FP64), (FP64, FP64), (INT8, INT32), (UINT8, INT32)],
)
def test_conversions(source_dtype: DType, destination_dtype: DType, transpose: bool) -> None:
    rows, columns = 37, 41
    rng = np.random.default_rng(5)
    values = (rng.standard_normal((rows, columns)) * 50).astype(source_dtype.numpy)
    expected = values.astype(destination_dtype.numpy)
    if transpose:
        destination = np.zeros((columns, rows), destination_dtype.numpy)
        strides = (1, rows)
        expected = expected.T
    else:
        destination = np.zeros((rows, columns), destination_dtype.numpy)
        strides = (columns, 1)
    build = build_pack(source_dtype, destination_dtype, rows, columns, (columns, 1), strides)
    function = compile_function([POINTER, POINTER, ir.IntType(64)], build, host())
    function(values.ctypes.data, destination.ctypes.data, ctypes.c_int64(0))
    np.testing.assert_array_equal(destination, expected)


@pytest.mark.parametrize("target", [generic_avx2(), aarch64_neon()], ids=str)
def test_other_targets_compile(target: CpuTarget) -> None:
    build = build_pack(FP32, FP32, 64, 64, (64, 1), (1, 64))
    assert assembly([POINTER, POINTER, ir.IntType(64)], build, target)


@pytest.mark.parametrize(
    ("rows", "columns", "row_stride", "asks"),
    [
        (64, 64, 1024, True),
        (64, 64, 64, False),  # rows follow each other in a page
        (4, 64, 1024, False),  # all rows are wanted at once
        (4, 256, 1024, True),
    ],
)
def test_asks_for_rows_on_other_pages(rows: int, columns: int, row_stride: int, asks: bool) -> None:
    build = build_pack(FP32, FP32, rows, columns, (row_stride, 1), (columns, 1))
    text = assembly([POINTER, POINTER, ir.IntType(64)], build, generic_avx2())
    assert ("prefetch" in text) == asks
