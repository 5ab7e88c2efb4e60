"""Words of an operand of a dot against numpy."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
import pytest
from llvm_harness import compile_function
from llvmlite import ir

from tilejit.backend.cpu.operand import Operand
from tilejit.backend.cpu.pack_words import emit_pack_words
from tilejit.backend.cpu.values import POINTER
from tilejit.ir.types import BF16, INT8, INT16, INT32, UINT8, DType
from tilejit.target.cpu import host


@pytest.mark.parametrize("flips", [False, True])
@pytest.mark.parametrize(("source", "element"), [(INT8, INT8), (UINT8, UINT8), (INT8, INT16), (BF16, BF16)])
@pytest.mark.parametrize("strides", [(1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize(
    ("depth", "columns"), [(4, 1), (4, 16), (4, 64), (8, 33), (16, 48), (20, 64), (12, 130), (64, 256)]
)
def test_words(
    depth: int, columns: int, strides: tuple[int, int], source: DType, element: DType, flips: bool
) -> None:
    """A stride of 0 stands for a matrix that is contiguous the other way."""
    rng = np.random.default_rng(depth * columns)
    row, column = strides
    row, column = row or columns + 3, column or depth + 3
    count = (depth - 1) * row + (columns - 1) * column + 1
    values = rng.integers(-100, 100, count).astype(source.numpy)
    matrix = np.lib.stride_tricks.as_strided(
        values, (depth, columns), (row * values.itemsize, column * values.itemsize)
    )

    def build(builder: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        words = Operand(arguments[1], INT32, columns, 1)
        operand = Operand(arguments[0], source, row, column)
        emit_pack_words(builder, operand, words, element, depth, columns, host(), flips=flips)

    group = 4 // element.itemsize
    out = np.zeros((depth // group, columns), np.int32)
    function = compile_function([POINTER, POINTER], build, host())
    function(values.ctypes.data, ctypes.c_void_p(out.ctypes.data))
    expected = matrix.astype(element.numpy).reshape(depth // group, group, columns).transpose(0, 2, 1)
    found = np.ascontiguousarray(expected).view(np.int32)[..., 0]
    if flips:
        found = (found.view(np.uint32) ^ np.uint32(0x80808080)).view(np.int32)
    np.testing.assert_array_equal(out, found)
