"""Dots of batches of matrices become dots of matrices."""

from __future__ import annotations

import pytest

import tilejit
import tilejit.language as tl
from tilejit.ir.core import Function
from tilejit.ops import DOT, LOAD, STORE
from tilejit.passes.unroll_batches import unroll_batches


@tilejit.kernel
def batches(a_ptr, b_ptr, c_ptr, BATCH: tl.constexpr, SIZE: tl.constexpr):
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    places = tl.arange(0, BATCH)[:, None, None] * SIZE * SIZE + at[None, :, :]
    tl.store(c_ptr + places, tl.dot(tl.load(a_ptr + places), tl.load(b_ptr + places)))


@tilejit.kernel
def sums_of_batches(a_ptr, b_ptr, c_ptr, BATCH: tl.constexpr, SIZE: tl.constexpr):
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    places = tl.arange(0, BATCH)[:, None, None] * SIZE * SIZE + at[None, :, :]
    halves = tl.arange(0, 2)[:, None, None, None] * BATCH * SIZE * SIZE + places[None, :, :, :]
    a = tl.sum(tl.load(a_ptr + halves), axis=0)
    tl.store(c_ptr + places, tl.dot(a, tl.load(b_ptr + places)))


def traced(kernel: object) -> Function:
    signature = "a_ptr=*fp16, b_ptr=*fp16, c_ptr=*fp32, BATCH=3, SIZE=16"
    return tilejit.compile(kernel, signature=signature, target="interpreter").tile  # type: ignore[arg-type]


def test_each_matrix_is_loaded_multiplied_and_stored() -> None:
    function = traced(batches)
    unroll_batches(function)
    shapes = [
        (op.name, op.operand("value").type.shape if op.name == STORE.name else op.result.type.shape)
        for op in function.walk()
        if op.name in (DOT.name, LOAD.name, STORE.name)
    ]
    counted = {entry: shapes.count(entry) for entry in shapes}
    assert counted == {("load", (16, 16)): 6, ("dot", (16, 16)): 3, ("store", (16, 16)): 3}


def test_a_matrix_that_cannot_be_taken_out_is_refused() -> None:
    with pytest.raises(tilejit.CompileError) as caught:
        unroll_batches(traced(sums_of_batches))
    text = str(caught.value)
    assert "the matrices that tl.dot multiplies cannot be taken out of what reduce makes" in text
    assert "multiply matrix by matrix: the first dimension becomes an axis of the grid, or a loop" in text
    assert "a = tl.sum(tl.load(a_ptr + halves), axis=0)" in text
