"""Comparisons and selections of the vector unit."""

from __future__ import annotations

import operator
from collections.abc import Callable

import numpy as np
import pytest

from tests.ops.machine.harness import At, Memories, Scalar, complaints, refusal, run
from tilejit.ir.types import FP16, FP32, INT32, UINT8, UINT16, DType
from tilejit.ops.machine.vector_select import Predicate, SelectMode
from tilejit.target.spaces import Space

GENERATOR = np.random.default_rng(3)
HOLDS: dict[Predicate, Callable] = {predicate: getattr(operator, predicate.value) for predicate in Predicate}


def ub(dtype: DType, address: int = 0) -> At:
    return At(Space.UB, dtype, address)


def bit(memories: Memories, address: int, number: int) -> bool:
    return bool(memories.bytes[Space.UB][address + number // 8] >> (number % 8) & 1)


@pytest.mark.parametrize("predicate", list(Predicate))
@pytest.mark.parametrize("dtype", [FP16, FP32])
def test_vcmp_packs_bits_from_the_lowest(dtype: DType, predicate: Predicate) -> None:
    count = 256
    left, right = (GENERATOR.integers(0, 3, count).astype(dtype.numpy) for _ in range(2))
    left[5] = np.nan
    memories = Memories()
    memories.put(ub(dtype, 1024), left)
    memories.put(ub(dtype, 4096), right)
    run(
        memories, "vcmp", {"predicate": predicate}, dst=ub(UINT8, 64), src0=ub(dtype, 1024),
        src1=ub(dtype, 4096), count=count,
    )  # fmt: skip
    for i in range(count):
        is_nan = i == 5  # of which everything is false, "not equal" too
        assert bit(memories, 64, i) == (not is_nan and HOLDS[predicate](left[i], right[i]))


def test_vcmps_in_repeats_over_rows() -> None:
    rows = GENERATOR.standard_normal((3, 128)).astype(np.float32)
    memories = Memories()
    memories.put(ub(FP32, 4096), rows)
    run(
        memories, "vcmps", {"predicate": Predicate.LT, "strides": (1, 1, 8, 16)}, dst=ub(UINT8),
        src=ub(FP32, 4096), scalar=0.25, count=64, repeats=3,
    )  # fmt: skip
    for row in range(3):
        for lane in range(64):
            assert bit(memories, 0, row * 64 + lane) == (rows[row, lane] < 0.25)


def test_vcmp_in_repeats_has_a_place_for_dst_in_its_strides() -> None:
    rows, limit = GENERATOR.standard_normal((3, 64)).astype(np.float32), np.zeros((3, 8), np.float32)
    limit[:] = [[0.5], [-0.5], [0.0]]
    memories = Memories()
    memories.put(ub(FP32, 4096), rows)
    memories.put(ub(FP32, 8192), limit)
    run(
        memories, "vcmp", {"predicate": Predicate.LT, "strides": (1, 1, 0, 8, 8, 1)}, dst=ub(UINT8),
        src0=ub(FP32, 4096), src1=ub(FP32, 8192), count=64, repeats=3,
    )  # fmt: skip
    for row in range(3):
        for lane in range(64):
            assert bit(memories, 0, row * 64 + lane) == (rows[row, lane] < limit[row, 0])


def test_int32_compares_for_equality_only() -> None:
    operands = {"dst": ub(UINT8), "src": ub(INT32, 64), "scalar": 2, "count": 64}
    memories = Memories()
    memories.put(ub(INT32, 64), np.arange(64, dtype=np.int32))
    run(memories, "vcmps", {"predicate": Predicate.EQ}, **operands)
    assert memories.get(ub(UINT8), 8).tolist() == [4, 0, 0, 0, 0, 0, 0, 0]
    text = refusal("vcmps", {"predicate": Predicate.LT}, **operands)
    assert text == "vcmps compares int32 for equality only on V220"
    text = refusal("vcmps", {"predicate": Predicate.EQ}, **{**operands, "dst": ub(UINT16)})
    assert text == "dst of vcmps takes bits in uint8; got uint16"


def test_comparisons_take_whole_repeats() -> None:
    operands = {"dst": ub(UINT8, 8), "src0": ub(FP32, 64), "src1": ub(FP32, 64), "count": 72}
    assert complaints("vcmp", {"predicate": Predicate.EQ}, **operands) == [
        "dst of vcmp is at ub address 8, not a multiple of 32",
        "vcmp compares 288 bytes, not a multiple of 256",
    ]


def mask_of(bits: np.ndarray) -> np.ndarray:
    return np.array(
        [sum(int(b) << i for i, b in enumerate(group)) for group in bits.reshape(-1, 8)], np.uint8
    )


@pytest.mark.parametrize("dtype", [FP16, FP32])
def test_register_mode_repeats_the_bits_of_one_repeat(dtype: DType) -> None:
    lanes = 256 // dtype.itemsize
    bits = GENERATOR.random(128) < 0.5
    left, right = (GENERATOR.random(2 * lanes).astype(dtype.numpy) for _ in range(2))
    memories = Memories()
    memories.put(ub(UINT8), mask_of(bits))
    memories.put(ub(dtype, 1024), left)
    memories.put(ub(dtype, 4096), right)
    places = {"dst": ub(dtype, 8192), "mask": ub(UINT8), "src0": ub(dtype, 1024), "src1": ub(dtype, 4096)}
    expected = np.where(np.tile(bits[:lanes], 2), left, right)
    run(memories, "vsel", **places, count=2 * lanes)
    assert (memories.get(ub(dtype, 8192), 2 * lanes) == expected).all()
    memories.view(Space.UB, 8192, 1024)[...] = 0
    run(memories, "vsel", {"strides": (1, 1, 1, 8, 8, 8)}, **places, count=lanes, repeats=2)
    assert (memories.get(ub(dtype, 8192), 2 * lanes) == expected).all()


def test_tensor_mode_has_a_bit_for_each_element() -> None:
    bits = GENERATOR.random(192) < 0.5
    left, right = (GENERATOR.random(192).astype(np.float32) for _ in range(2))
    memories = Memories()
    memories.put(ub(UINT8), mask_of(bits))
    memories.put(ub(FP32, 1024), left)
    memories.put(ub(FP32, 4096), right)
    places = {"dst": ub(FP32, 8192), "mask": ub(UINT8), "src0": ub(FP32, 1024), "src1": ub(FP32, 4096)}
    run(memories, "vsel", {"mode": SelectMode.TENSOR}, **places, count=192)
    assert (memories.get(ub(FP32, 8192), 192) == np.where(bits, left, right)).all()
    memories.view(Space.UB, 8192, 1024)[...] = 0
    attributes = {"mode": SelectMode.TENSOR, "strides": (1, 1, 1, 8, 8, 8)}
    run(memories, "vsel", attributes, **places, count=40, repeats=3)
    got = memories.get(ub(FP32, 8192), 192).reshape(3, 64)
    assert (got[:, :40] == np.where(bits, left, right).reshape(3, 64)[:, :40]).all()
    assert (got[:, 40:] == 0).all()


def test_scalar_mode() -> None:
    bits = GENERATOR.random(64) < 0.5
    left = GENERATOR.random(64).astype(np.float16)
    memories = Memories()
    memories.put(ub(UINT8), mask_of(bits))
    memories.put(ub(FP16, 1024), left)
    run(
        memories, "vsel", {"mode": SelectMode.SCALAR}, dst=ub(FP16, 1024), mask=ub(UINT8),
        src0=ub(FP16, 1024), scalar=Scalar(-1.0, FP16), count=64,
    )  # fmt: skip
    assert (memories.get(ub(FP16, 1024), 64) == np.where(bits, left, -1)).all()


def test_select_refuses_what_its_mode_lacks() -> None:
    places = {"dst": ub(FP32), "mask": ub(UINT8), "src0": ub(FP32), "count": 64}
    text = refusal("vsel", **places, scalar=0.0)
    assert text == "vsel with mode=register takes src1 alone"
    text = refusal("vsel", {"mode": SelectMode.SCALAR}, **places, src1=ub(FP32))
    assert text == "vsel with mode=scalar takes scalar alone"
    text = refusal("vsel", **{**places, "mask": ub(FP32)}, src1=ub(FP32))
    assert text == "vsel takes uint8 on V220; mask points to fp32"
