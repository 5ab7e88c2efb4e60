"""Reductions, scans and products on small arrays with results known by hand or from fp64."""

from __future__ import annotations

import numpy as np
import pytest

from ops.helpers import evaluate
from tilejit import ops
from tilejit.ir.core import Block, Builder
from tilejit.ir.types import FP16, FP32, INT32, TileType
from tilejit.ops import CmpPredicate, ReduceKind


def test_integer_sums_wrap_in_their_type() -> None:
    x = np.array([[100, 100], [1, -128]], np.int8)
    np.testing.assert_array_equal(
        evaluate(ops.REDUCE, {"axis": 1, "kind": ReduceKind.SUM}, x=x)[0], [-56, -127]
    )


def test_fp16_sums_round_once() -> None:
    x = np.full(4096, 1.0, np.float16)
    assert evaluate(ops.REDUCE, {"axis": 0, "kind": ReduceKind.SUM}, x=x)[0] == np.float16(4096)


def test_max_ignores_nan() -> None:
    x = np.array([[np.nan, 1.0], [np.nan, np.nan]], np.float32)
    got = evaluate(ops.REDUCE, {"axis": 1, "kind": ReduceKind.MAX}, x=x)[0]
    np.testing.assert_array_equal(got, [1.0, np.nan])


@pytest.mark.parametrize(
    ("kind", "expected"), [(ReduceKind.XOR, False), (ReduceKind.AND, False), (ReduceKind.OR, True)]
)
def test_bool_reductions(kind: ReduceKind, expected: bool) -> None:
    assert evaluate(ops.REDUCE, {"axis": 0, "kind": kind}, x=np.array([True, False, True]))[0] == expected


def test_scan() -> None:
    x = np.array([[1, 2, 3], [4, 5, 6]], np.int32)
    forward = evaluate(ops.SCAN, {"axis": 1, "kind": ReduceKind.SUM}, x=x)[0]
    np.testing.assert_array_equal(forward, [[1, 3, 6], [4, 9, 15]])
    backward = evaluate(ops.SCAN, {"axis": 0, "kind": ReduceKind.SUM, "reverse": True}, x=x)[0]
    np.testing.assert_array_equal(backward, [[5, 7, 9], [4, 5, 6]])


def _argmax_region() -> Block:
    types = [TileType(FP32), TileType(INT32)] * 2
    block = Block(types)
    left, left_at, right, right_at = block.arguments
    builder = Builder(block)
    greater = builder.create(ops.CMP, attributes={"predicate": CmpPredicate.GE}, lhs=left, rhs=right).result
    yields = [
        builder.create(ops.SELECT, condition=greater, true_value=a, false_value=b).result
        for a, b in ((left, right), (left_at, right_at))
    ]
    builder.create(ops.YIELD, values=yields)
    return block


def _with_branch(block: Block) -> Block:
    """A region of the same meaning that is no elementwise code."""
    outer = Block([a.type for a in block.arguments])
    left, left_at, right, right_at = outer.arguments
    builder = Builder(outer)
    greater = builder.create(ops.CMP, attributes={"predicate": CmpPredicate.GE}, lhs=left, rhs=right).result
    branches = [Block(), Block()]
    Builder(branches[0]).create(ops.YIELD, values=[left, left_at])
    Builder(branches[1]).create(ops.YIELD, values=[right, right_at])
    results = builder.create(ops.IF, regions=branches, condition=greater).results
    builder.create(ops.YIELD, values=results)
    return outer


@pytest.mark.parametrize("axis", [0, 1])
def test_custom_reduction_of_two_tiles(axis: int) -> None:
    x = np.array([[3, 1, 3], [0, 7, 2]], np.float32)
    at = (
        np.broadcast_to(np.arange(3, dtype=np.int32), (2, 3))
        if axis
        else np.array([[0] * 3, [1] * 3], np.int32)
    )
    best, where = evaluate(ops.REDUCE_CUSTOM, {"axis": axis}, [_argmax_region()], x=[x, at])
    np.testing.assert_array_equal(best, x.max(axis=axis))
    np.testing.assert_array_equal(where, x.argmax(axis=axis))


@pytest.mark.parametrize("reverse", [False, True])
def test_custom_scan(reverse: bool) -> None:
    x = np.array([3, 1, 5, 2], np.float32)
    attributes = {"axis": 0, "reverse": reverse}
    best, where = evaluate(
        ops.SCAN_CUSTOM, attributes, [_argmax_region()], x=[x, np.arange(4, dtype=np.int32)]
    )
    np.testing.assert_array_equal(best, [5, 5, 5, 2] if reverse else [3, 3, 5, 5])
    np.testing.assert_array_equal(where, [2, 2, 2, 3] if reverse else [0, 0, 2, 2])


def test_dot_integers_wrap() -> None:
    a, b = np.full((1, 4), -128, np.int8), np.full((4, 1), -128, np.int8)
    acc = np.array([[2**31 - 1]], np.int32)
    assert evaluate(ops.DOT, {"out_dtype": INT32}, a=a, b=b, acc=acc)[0] == 2**31 - 1 + 65536 - 2**32


def test_dot_of_halves_rounds_once() -> None:
    rng = np.random.default_rng(4)
    a, b = (rng.standard_normal(s).astype(np.float16) for s in ((2, 5, 7), (2, 7, 3)))
    acc = rng.standard_normal((2, 5, 3)).astype(np.float16)
    exact = np.matmul(a.astype(np.float64), b.astype(np.float64)) + acc
    got = evaluate(ops.DOT, {"out_dtype": FP16}, a=a, b=b, acc=acc)[0]
    np.testing.assert_array_equal(got, exact.astype(np.float32).astype(np.float16))
