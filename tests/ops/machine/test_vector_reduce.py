"""Reductions inside a repeat."""

from __future__ import annotations

import numpy as np
import pytest

from tests.ops.machine.harness import At, Memories, complaints, refusal, run
from tilejit.ir.machine import CoreState
from tilejit.ir.types import FP16, FP32, INT32, DType
from tilejit.ops.machine.vector_reduce import Reduction
from tilejit.target.spaces import Space

GENERATOR = np.random.default_rng(5)
MEANING = {Reduction.SUM: np.sum, Reduction.MAX: np.max, Reduction.MIN: np.min}
KINDS = list(Reduction)


def ub(dtype: DType, address: int = 0) -> At:
    return At(Space.UB, dtype, address)


def whole_numbers(rows: int, columns: int, dtype: DType) -> np.ndarray:
    return GENERATOR.integers(-9, 9, (rows, columns)).astype(dtype.numpy)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [FP16, FP32])
@pytest.mark.parametrize("share", [1.0, 0.6])
def test_reduce_whole_gives_one_result_a_repeat(kind: Reduction, dtype: DType, share: float) -> None:
    lanes, rows = 256 // dtype.itemsize, 5
    count = int(lanes * share)
    tile = whole_numbers(rows, lanes, dtype)
    memories = Memories()
    memories.put(ub(dtype, 1024), tile)
    run(
        memories, "reduce_whole", {"kind": kind, "strides": (3, 1, 8)}, dst=ub(dtype), src=ub(dtype, 1024),
        count=count, repeats=rows,
    )  # fmt: skip
    got = memories.get(ub(dtype), 3 * rows)[::3]
    assert (got == MEANING[kind](tile[:, :count].astype(np.float64), axis=1)).all()


def test_reduce_whole_with_the_index() -> None:
    tile = np.array([[3, 7, 7, 1], [9, 2, 0, 0]], np.float32)
    memories = Memories()
    memories.put(ub(FP32, 1024), np.pad(tile, ((0, 0), (0, 60))))
    run(
        memories, "reduce_whole", {"kind": Reduction.MAX, "index": True}, dst=ub(FP32), src=ub(FP32, 1024),
        count=4, repeats=2,
    )  # fmt: skip
    got = memories.get(ub(FP32), 4)
    assert got[[0, 2]].tolist() == [7, 9]
    assert got.view(np.uint32)[[1, 3]].tolist() == [1, 0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [FP16, FP32])
def test_reduce_block_gives_eight_results_a_repeat(kind: Reduction, dtype: DType) -> None:
    lanes, rows = 32 // dtype.itemsize, 4
    tile = whole_numbers(rows, 8 * lanes, dtype)
    memories = Memories()
    memories.put(ub(dtype, 4096), tile)
    run(
        memories, "reduce_block", {"kind": kind, "strides": (2, 1, 8)}, dst=ub(dtype), src=ub(dtype, 4096),
        count=8 * lanes, repeats=rows,
    )  # fmt: skip
    got = memories.get(ub(dtype), 2 * 8 * rows).reshape(rows, 2, 8)[:, 0]
    assert (got == MEANING[kind](tile.reshape(rows, 8, lanes).astype(np.float64), axis=2)).all()


def test_reduce_block_of_a_part_leaves_the_rest_undefined() -> None:
    tile = whole_numbers(1, 64, FP32)
    memories = Memories()
    memories.put(ub(FP32, 1024), tile)
    attributes = {"kind": Reduction.SUM}
    run(memories, "reduce_block", attributes, dst=ub(FP32), src=ub(FP32, 1024), count=12, repeats=1)
    got = memories.get(ub(FP32), 8)
    assert got[:2].tolist() == [tile[0, :8].sum(), tile[0, 8:12].sum()]
    assert np.isnan(got[2:]).all()


def test_reduce_pair_halves() -> None:
    tile = whole_numbers(2, 128, FP16)
    memories = Memories()
    memories.put(ub(FP16, 1024), tile)
    run(memories, "reduce_pair", dst=ub(FP16), src=ub(FP16, 1024), count=128, repeats=2)
    assert (memories.get(ub(FP16), 128).reshape(2, 64) == tile.reshape(2, 64, 2).sum(2)).all()


def test_fp16_sums_round_at_every_level() -> None:
    values = np.array([2048, 1, 1, 1, 0, 0, 0, 0], np.float16)
    memories = Memories()
    memories.put(ub(FP16, 64), values)
    attributes = {"kind": Reduction.SUM}
    run(memories, "reduce_whole", attributes, dst=ub(FP16), src=ub(FP16, 64), count=8, repeats=1)
    pairs = np.float16(2048 + 1) + np.float16(2)
    assert memories.get(ub(FP16), 1)[0] == pairs == 2050


def test_reductions_check_their_operands() -> None:
    places = {"dst": ub(FP32, 8), "src": ub(FP32, 64)}
    assert complaints("reduce_block", {"kind": Reduction.MAX}, **places, count=65, repeats=1) == [
        "dst of reduce_block is at ub address 8, not a multiple of 32",
        "count of reduce_block is 65, outside 1 to 64",
    ]
    assert complaints("reduce_whole", {"kind": Reduction.MAX}, **places, count=64, repeats=256) == [
        "repeats of reduce_whole is 256, outside 0 to 255"
    ]
    attributes = {"kind": Reduction.SUM, "index": True}
    assert complaints("reduce_whole", attributes, **places, count=64, repeats=1) == [
        "reduce_whole has no index of a sum"
    ]
    assert complaints("reduce_pair", **places, count=7, repeats=1) == [
        "reduce_pair adds 7 elements, an odd number"
    ]
    text = refusal("reduce_whole", {"kind": Reduction.SUM}, dst=ub(INT32), src=ub(INT32), count=8, repeats=1)
    assert text == "reduce_whole takes fp16, fp32 on V220; dst points to int32"


@pytest.mark.parametrize(
    ("saturates", "expected"), [(True, [14, 65504, 0]), (False, [np.nan, np.inf, np.nan])]
)
def test_fp16_saturates_on_the_way_where_the_core_says_so(saturates: bool, expected: list[float]) -> None:
    # The first row is a line of CANN's table of special values.
    values = np.ones((3, 16), np.float16)
    values[0, 5], values[1, 2], values[2, :2] = np.nan, np.inf, (np.inf, -np.inf)
    values[2, 2:] = 0
    memories, state = Memories(), CoreState(saturates=saturates)
    memories.put(At(Space.UB, FP16, 1024), values)
    run(
        memories, "reduce_block", {"kind": Reduction.SUM, "strides": (1, 1, 1)}, state,
        dst=At(Space.UB, FP16), src=At(Space.UB, FP16, 1024), count=16, repeats=3,
    )  # fmt: skip
    found = memories.get(At(Space.UB, FP16), 24)[::8]
    np.testing.assert_array_equal(found.astype(np.float64), expected)
