"""Sums of rows that take off a shift of bytes, against numpy."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from llvm_harness import compile_function
from llvmlite import ir

from tilejit.backend.cpu.operand import Operand
from tilejit.backend.cpu.row_sums import emit_row_sums
from tilejit.backend.cpu.values import I64, POINTER
from tilejit.ir.types import INT8, UINT8, DType
from tilejit.target.cpu import generic_avx512, runs_here

VNNI = replace(generic_avx512(), features=(*generic_avx512().features, "avx512vnni"), absent_features=())


@pytest.mark.parametrize("vector_bytes", [64, 32])
@pytest.mark.parametrize("runtime_stride", [False, True])
@pytest.mark.parametrize("dtype", [INT8, UINT8])
@pytest.mark.parametrize(("rows", "depth"), [(1, 4), (3, 64), (5, 68), (16, 1040)])
def test_row_sums(rows: int, depth: int, dtype: DType, runtime_stride: bool, vector_bytes: int) -> None:
    if not runs_here(VNNI):
        pytest.skip("this machine has no products of bytes")
    rng = np.random.default_rng(depth)
    values = rng.integers(dtype.min_value, dtype.max_value, (rows, depth + 5), endpoint=True)
    values[0] = dtype.min_value
    memory, out = values.astype(dtype.numpy), np.zeros(rows, np.int32)

    def build(builder: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        stride = arguments[2] if runtime_stride else depth + 5
        target = replace(VNNI, vector_bytes=vector_bytes)
        emit_row_sums(builder, Operand(arguments[0], dtype, stride, 1), arguments[1], rows, depth, target)

    function = compile_function([POINTER, POINTER, I64], build, VNNI)
    function(memory.ctypes.data, ctypes.c_void_p(out.ctypes.data), ctypes.c_int64(depth + 5))
    sums = values[:, :depth].sum(axis=1)
    np.testing.assert_array_equal(out, sums * (-128 if dtype is INT8 else 128))
