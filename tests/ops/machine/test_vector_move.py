"""Copies, fills, broadcasts, gathers and transpositions in UB; copies between GM and UB."""

from __future__ import annotations

import numpy as np
import pytest

from tests.ops.machine.harness import At, Memories, Scalar, complaints, instruction, refusal, run
from tilejit.diagnostics import InternalError
from tilejit.ir.machine import CoreState
from tilejit.ir.types import BF16, FP16, FP32, INT8, INT16, INT32, INT64, UINT8, UINT32, DType
from tilejit.target.spaces import Space

GENERATOR = np.random.default_rng(9)


def ub(dtype: DType, address: int = 0) -> At:
    return At(Space.UB, dtype, address)


def numbers(count: int, dtype: DType) -> np.ndarray:
    return GENERATOR.integers(-100, 100, count).astype(dtype.numpy)


def test_copy_in_pads_rows_to_blocks() -> None:
    rows = numbers(5 * 20, FP32).reshape(5, 20)
    memories = Memories()
    memories.put(At(Space.GM, FP32, 4), rows)
    run(
        memories, "copy_in", dst=ub(FP32, 64), src=At(Space.GM, FP32, 4), rows=5, row_bytes=36, gm_gap=44,
        ub_gap=1,
    )  # fmt: skip
    got = memories.get(ub(FP32, 64), 5 * 24).reshape(5, 24)
    assert (got[:, :9] == rows[:, :9]).all()
    assert (got[:, 9:16] == rows[:, :1]).all()  # the row's first element, up to the end of its block
    assert got[:, 16:].tobytes() == b"\xa5" * (5 * 8 * 4)


def test_copy_in_with_a_padding_value() -> None:
    row = numbers(9, FP16)
    memories = Memories()
    memories.put(At(Space.GM, FP16), row)
    run(
        memories, "copy_in", {"value": -1}, dst=ub(FP16), src=At(Space.GM, FP16), rows=1, row_bytes=18,
        right=3,
    )  # fmt: skip
    assert memories.get(ub(FP16), 16).tolist() == [*row.tolist(), *[-1.0] * 7]


def test_padding_that_fills_another_block_moves_the_rows_apart() -> None:
    memories = Memories()
    memories.put(At(Space.GM, FP32), np.arange(16, dtype=np.float32))
    run(
        memories, "copy_in", {"value": -1}, dst=ub(FP32), src=At(Space.GM, FP32), rows=2, row_bytes=28,
        gm_gap=4, ub_gap=0, right=3,
    )  # fmt: skip
    got = memories.get(ub(FP32), 32).reshape(2, 16)
    assert got[:, :7].tolist() == [[*range(7)], [*range(8, 15)]]
    assert (got[:, 7:] == -1).all()


def test_limits_of_rows_and_padding() -> None:
    places = {"dst": ub(FP32), "src": At(Space.GM, FP32), "rows": 1}
    (text,) = complaints("copy_in", row_bytes=30, **places)
    assert text == "row_bytes of copy_in is 30, not a multiple of 4"
    (text,) = complaints("copy_in", row_bytes=32, right=9, **places)
    assert text == "right of copy_in is 9, outside 0 to 8"
    wide = {"dst": ub(INT64), "src": At(Space.GM, INT64), "rows": 1, "row_bytes": 8, "right": 1}
    assert complaints("copy_in", {"value": 1}, **wide) == ["copy_in pads elements of 64 bits with 0 alone"]
    assert complaints("copy_in", {"value": 0}, **wide) == []


def test_copy_out_writes_rows_and_combines() -> None:
    tile = numbers(3 * 16, INT32).reshape(3, 16)
    memories = Memories()
    memories.put(ub(INT32, 32), tile)
    places = {"dst": At(Space.GM, INT32, 8), "src": ub(INT32, 32), "rows": 3, "row_bytes": 36, "gm_gap": 4}
    run(memories, "copy_out", **places)
    assert (memories.get(At(Space.GM, INT32, 8), 30).reshape(3, 10)[:, :9] == tile[:, :9]).all()
    run(memories, "copy_out", None, CoreState(atomic="add"), **places)
    assert (memories.get(At(Space.GM, INT32, 8), 30).reshape(3, 10)[:, :9] == 2 * tile[:, :9]).all()


def test_a_streamed_copy_says_so_of_global_memory_only() -> None:
    issued = instruction(
        "copy_in", {"streams": True}, dst=ub(FP32), src=At(Space.GM, FP32), rows=1, row_bytes=64
    )
    assert issued.op.definition.machine is not None
    accesses = issued.op.definition.machine.accesses(issued)
    assert [access.space for access in accesses if access.streams] == [Space.GM]


def test_copies_check_their_fields() -> None:
    texts = complaints("copy_in", dst=ub(FP32, 8), src=At(Space.GM, FP32), rows=5000, row_bytes=1 << 22)
    assert texts == [
        "rows of copy_in is 5000, outside 0 to 4095",
        "row_bytes of copy_in is 4194304, outside 0 to 2097151",
        "dst of copy_in is at ub address 8, not a multiple of 32",
    ]


@pytest.mark.parametrize("dtype", [INT8, FP16, FP32])
def test_copy_ub(dtype: DType) -> None:
    width = 64 // dtype.itemsize
    source = numbers(3 * 2 * width, dtype).reshape(3, 2 * width)
    memories = Memories()
    memories.put(ub(dtype, 1024), source)
    run(memories, "copy_ub", dst=ub(dtype), src=ub(dtype, 1024), count=width, rows=3, src_gap=2, dst_gap=1)
    for row in range(3):
        assert (memories.get(ub(dtype, 96 * row), width) == source[row, :width]).all()
    texts = complaints("copy_ub", dst=ub(dtype), src=ub(dtype), count=24 // dtype.itemsize)
    assert texts == ["copy_ub moves rows of 24 bytes, not 1 to 65535 blocks of 32"]


@pytest.mark.parametrize("dtype", [INT16, FP16, BF16, INT32, FP32])
def test_vdup_fills(dtype: DType) -> None:
    memories = Memories()
    run(memories, "vdup", dst=ub(dtype), scalar=Scalar(-3, dtype), count=21)
    assert (memories.get(ub(dtype), 21) == -3).all()
    run(
        memories,
        "vdup",
        {"strides": (2, 20)},
        dst=ub(dtype, 2048),
        scalar=Scalar(5, dtype),
        count=9,
        repeats=3,
    )
    lanes = 32 // dtype.itemsize
    for repeat in range(3):
        for lane in range(9):
            address = 2048 + (repeat * 20 + lane // lanes * 2) * 32 + lane % lanes * dtype.itemsize
            assert memories.get(ub(dtype, address), 1)[0] == 5
    text = refusal("vdup", dst=ub(INT8), scalar=Scalar(1, INT8), count=8)
    assert text == "vdup takes int16, uint16, fp16, bf16, int32, uint32, fp32 on V220; dst points to int8"


@pytest.mark.parametrize("dtype", [FP16, FP32])
def test_vbrcb_spreads_elements_over_blocks(dtype: DType) -> None:
    lanes = 32 // dtype.itemsize
    source = numbers(24, dtype)
    memories = Memories()
    memories.put(ub(dtype, 8192), source)
    run(memories, "vbrcb", dst=ub(dtype), src=ub(dtype, 8192), repeats=3)
    assert (memories.get(ub(dtype), 24 * lanes).reshape(24, lanes) == source[:, None]).all()
    run(memories, "vbrcb", {"strides": (2, 16)}, dst=ub(dtype), src=ub(dtype, 8192), repeats=3)
    assert (memories.get(ub(dtype), 48 * lanes).reshape(24, 2, lanes)[:, 0] == source[:, None]).all()


@pytest.mark.parametrize("dtype", [FP16, INT32])
def test_vgather_takes_byte_offsets(dtype: DType) -> None:
    source = numbers(100, dtype)
    index = GENERATOR.integers(0, 90, 37)
    memories = Memories()
    memories.put(ub(dtype, 1024), source)
    memories.put(ub(UINT32, 4096), (index * dtype.itemsize).astype(np.uint32))
    operands = {
        "dst": ub(dtype), "src": ub(dtype, 1024), "offsets": ub(UINT32, 4096), "count": 37,
        "src_bytes": 100 * dtype.itemsize,
    }  # fmt: skip
    run(memories, "vgather", **operands, base=10 * dtype.itemsize)
    assert (memories.get(ub(dtype), 37) == source[index + 10]).all()
    issued = instruction("vgather", **operands, base=50 * dtype.itemsize)
    assert issued.op.definition.machine is not None
    with pytest.raises(InternalError, match="vgather reads at offsets"):
        issued.op.definition.machine.execute(issued, memories)


def test_vtranspose16() -> None:
    source = numbers(256, FP16).reshape(16, 16)
    memories = Memories()
    memories.put(ub(FP16, 512), source)
    run(memories, "vtranspose16", dst=ub(FP16), src=ub(FP16, 512))
    assert (memories.get(ub(FP16), 256).reshape(16, 16) == source.T).all()


@pytest.mark.parametrize("dtype", [FP16, FP32])
def test_vtranspose5hd_transposes_rows_of_blocks(dtype: DType) -> None:
    """A 16 x 4C0 matrix, a repeat for each column of blocks."""
    c0, columns = 32 // dtype.itemsize, 4
    source = numbers(16 * columns * c0, dtype).reshape(16, columns * c0)
    blocks = 16 // c0  # of 16 elements in the result
    memories = Memories()
    memories.put(ub(dtype, 16384), source)
    run(
        memories, "vtranspose5hd", dst=ub(dtype), src=ub(dtype, 16384), repeats=columns, src_stride=columns,
        dst_stride=1, src_repeat=1, dst_repeat=c0 * blocks,
    )  # fmt: skip
    assert (memories.get(ub(dtype), source.size).reshape(columns * c0, 16) == source.T).all()


def test_vtranspose5hd_of_bytes_works_on_halves() -> None:
    source = numbers(16 * 32, INT8).reshape(16, 32)
    memories = Memories()
    memories.put(ub(INT8, 1024), source)
    places = {"dst": ub(INT8), "src": ub(INT8, 1024), "repeats": 1, "src_stride": 1, "dst_stride": 1}
    run(memories, "vtranspose5hd", {"src_high": True, "dst_high": False}, **places)
    assert (memories.get(ub(INT8), 512).reshape(16, 32)[:, :16] == source[:, 16:].T).all()
    text = refusal("vtranspose5hd", {"src_high": True}, **{**places, "dst": ub(FP16), "src": ub(FP16)})
    assert text == "vtranspose5hd: halves of blocks are for bytes; got fp16"


def test_pointers_must_agree() -> None:
    text = refusal("copy_ub", dst=ub(FP32), src=ub(UINT8), count=32)
    assert text == "copy_ub needs one element type; dst has fp32, src has uint8"
