"""Copies of the cube core, against layouts written out element by element."""

from __future__ import annotations

import numpy as np
import pytest

from tests.ops.machine.harness import At, Memories, complaints, instruction, refusal, run
from tilejit.ir.machine import CoreState
from tilejit.ir.types import BF16, FP16, FP32, INT8, INT32, UINT8, DType
from tilejit.ops.machine.sync import StoreAtomic
from tilejit.target.spaces import Pipe, Space

FRACTAL = 512


def matrix(rows: int, columns: int, dtype: DType) -> np.ndarray:
    """Small whole numbers, all of them exact in every type."""
    return (np.arange(rows * columns).reshape(rows, columns) * 7 % 251 - 125).astype(dtype.numpy)


@pytest.mark.parametrize("dtype", [FP16, BF16, FP32, INT8])
def test_load_nd2nz_makes_columns_of_blocks(dtype: DType) -> None:
    n, d, src_d, c0_stride = 21, 37, 50, 32
    c0 = 32 // dtype.itemsize
    source = matrix(n, src_d, dtype)
    memories = Memories()
    memories.put(At(Space.GM, dtype, 64), source)
    run(
        memories, "load_nd2nz", dst=At(Space.L1, dtype, 96), src=At(Space.GM, dtype, 64),
        n=n, d=d, src_d=src_d, dst_c0_stride=c0_stride,
    )  # fmt: skip
    columns = -(-d // c0)
    got = memories.get(At(Space.L1, dtype, 96), columns * c0_stride * c0)
    for i in range(n):
        for j in range(columns * c0):
            expected = source[i, j] if j < d else 0
            assert got[(j // c0 * c0_stride + i) * c0 + j % c0] == expected
    untouched = Memories().get(At(Space.L1, dtype, 96), columns * c0_stride * c0)
    rest = got.reshape(columns, c0_stride, c0)[:, n:]
    assert rest.tobytes() == untouched.reshape(columns, c0_stride, c0)[:, n:].tobytes()


def test_load_nd2nz_of_several_matrices_with_a_row_stride() -> None:
    source = matrix(6, 40, FP16)  # two matrices of 2 rows, 3 rows apart
    memories = Memories()
    memories.put(At(Space.GM, FP16), source)
    run(
        memories, "load_nd2nz", dst=At(Space.L1, FP16), src=At(Space.GM, FP16), n=2, d=16, src_d=40,
        dst_c0_stride=16, dst_n_stride=4, matrices=2, src_matrix_stride=120, dst_matrix_stride=512,
    )  # fmt: skip
    for m in range(2):
        for i in range(2):
            got = memories.get(At(Space.L1, FP16, m * 1024 + i * 4 * 32), 16)
            assert (got == source[3 * m + i, :16]).all()


def test_load_nd2nz_fields_have_sixteen_bits() -> None:
    operands = {"dst": At(Space.L1, FP16, 16), "src": At(Space.GM, FP16), "n": 20000, "d": 16}
    texts = complaints("load_nd2nz", **operands, src_d=70000, dst_c0_stride=16)
    assert texts == [
        "n of load_nd2nz is 20000, outside 0 to 16384",
        "src_d of load_nd2nz is 70000, outside 0 to 65535",
        "dst of load_nd2nz is at l1 address 16, not a multiple of 32",
    ]


def test_load_l1_and_store_l1_copy_blocks() -> None:
    source = matrix(4, 48, FP16)  # rows of 3 blocks
    memories = Memories()
    memories.put(At(Space.GM, FP16), source)
    run(
        memories, "load_l1", dst=At(Space.L1, FP16, 64), src=At(Space.GM, FP16), blocks=2, rows=4,
        gm_gap=1, l1_gap=2,
    )  # fmt: skip
    for i in range(4):
        assert (memories.get(At(Space.L1, FP16, 64 + 128 * i), 32) == source[i, :32]).all()
    run(
        memories, "store_l1", dst=At(Space.GM, FP16, 4096), src=At(Space.L1, FP16, 64), blocks=2, rows=4,
        l1_gap=2,
    )  # fmt: skip
    assert (memories.get(At(Space.GM, FP16, 4096), 128).reshape(4, 32) == source[:, :32]).all()


def test_load_l0a_takes_a_band_of_rows_from_nz() -> None:
    rows, k = 48, 64
    source = matrix(rows, k, FP16)
    memories = Memories()
    memories.put(At(Space.L1, FP16), source.reshape(rows, k // 16, 16).transpose(1, 0, 2))
    for band in range(rows // 16):
        run(
            memories, "load_l0a", dst=At(Space.L0A, FP16, band * (k // 16) * FRACTAL),
            src=At(Space.L1, FP16, band * FRACTAL), repeats=k // 16, src_stride=rows // 16,
        )  # fmt: skip
    got = memories.get(At(Space.L0A, FP16), rows * k)
    for i in range(rows):
        for j in range(k):
            assert got[((i // 16) * (k // 16) + j // 16) * 256 + i % 16 * 16 + j % 16] == source[i, j]


def test_load_l0b_transposes_fractals_of_a_k_by_n_matrix() -> None:
    k, n = 32, 48
    source = matrix(k, n, FP16)
    memories = Memories()
    memories.put(At(Space.L1, FP16), source.reshape(k, n // 16, 16).transpose(1, 0, 2))
    for band in range(k // 16):
        run(
            memories, "load_l0b", {"transpose": True}, dst=At(Space.L0B, FP16, band * (n // 16) * FRACTAL),
            src=At(Space.L1, FP16), repeats=n // 16, src_stride=k // 16, start=band,
        )  # fmt: skip
    got = memories.get(At(Space.L0B, FP16), k * n)
    for i in range(k):
        for j in range(n):
            assert got[((i // 16) * (n // 16) + j // 16) * 256 + j % 16 * 16 + i % 16] == source[i, j]


def test_load_l0a_with_gaps_from_gm_goes_through_mte2() -> None:
    memories = Memories()
    source = matrix(4, 256, FP16)
    memories.put(At(Space.GM, FP16), source)
    operands = {"dst": At(Space.L0A, FP16), "src": At(Space.GM, FP16), "repeats": 2, "src_stride": 2}
    run(memories, "load_l0a", **operands, dst_gap=1, start=1)
    assert (memories.get(At(Space.L0A, FP16), 256) == source[1]).all()
    assert (memories.get(At(Space.L0A, FP16, 1024), 256) == source[3]).all()
    issued = instruction("load_l0a", **operands)
    assert issued.op.definition.machine is not None
    assert issued.op.definition.machine.pipe(issued.op) is Pipe.MTE2


def test_only_sixteen_bit_fractals_from_l1_are_transposed_by_load_l0() -> None:
    rest = {"repeats": 1, "src_stride": 1}
    text = refusal("load_l0b", {"transpose": True}, dst=At(Space.L0B, INT8), src=At(Space.L1, INT8), **rest)
    assert text == "load_l0b transposes elements of 16 bits; got int8"
    text = refusal("load_l0b", {"transpose": True}, dst=At(Space.L0B, FP16), src=At(Space.GM, FP16), **rest)
    assert text == "load_l0b transposes only what comes from l1"
    text = refusal("load_l0a", dst=At(Space.L0A, FP16), src=At(Space.UB, FP16), **rest)
    assert text == "src of load_l0a must be a pointer to l1 or gm; got ptr<ub fp16>"


def test_load_l0_checks_repeats_and_alignment() -> None:
    texts = complaints(
        "load_l0b", dst=At(Space.L0B, FP16, 256), src=At(Space.L1, FP16, 32), repeats=256, src_stride=1
    )
    assert texts == [
        "repeats of load_l0b is 256, outside 0 to 255",
        "dst of load_l0b is at l0b address 256, not a multiple of 512",
    ]


def test_load_l0_transpose_of_bytes() -> None:
    """B[K, N] of int8, NZ in L1, to L0B: bands of 32 along k, then 16 columns n of 32 elements k."""
    k, n = 64, 96
    source = matrix(k, n, INT8)
    memories = Memories()
    memories.put(At(Space.L1, INT8), source.reshape(k, n // 32, 32).transpose(1, 0, 2))
    for band in range(k // 32):
        run(
            memories, "load_l0_transpose", dst=At(Space.L0B, INT8, band * (n // 16) * FRACTAL),
            src=At(Space.L1, INT8), start=band, repeats=n // 32, src_stride=k // 32, dst_gap=1,
        )  # fmt: skip
    got = memories.get(At(Space.L0B, INT8), k * n)
    for i in range(k):
        for j in range(n):
            assert got[((i // 32) * (n // 16) + j // 16) * 512 + j % 16 * 32 + i % 32] == source[i, j]


def test_load_l0_transpose_of_fp32() -> None:
    """B[K, N] of fp32 with the two fractals of each 16x16 square side by side in L1."""
    k, n = 32, 48
    source = matrix(k, n, FP32)
    squares = source.reshape(k // 16, 16, n // 16, 2, 8).transpose(0, 2, 3, 1, 4)
    memories = Memories()
    memories.put(At(Space.L1, FP32), squares)
    for band in range(k // 16):  # each gives two bands of 8 along k
        run(
            memories, "load_l0_transpose", dst=At(Space.L0B, FP32, 2 * band * (n // 16) * FRACTAL),
            src=At(Space.L1, FP32), start=band * (n // 16), repeats=n // 16, src_stride=1, dst_gap=0,
            dst_fractal_gap=n // 16 - 1,
        )  # fmt: skip
    got = memories.get(At(Space.L0B, FP32), k * n)
    for i in range(k):
        for j in range(n):
            assert got[((i // 8) * (n // 16) + j // 16) * 128 + j % 16 * 8 + i % 8] == source[i, j]


def test_load_l0_transpose_of_halves_equals_load_l0b() -> None:
    source = matrix(16, 64, FP16)
    memories, other = Memories(), Memories()
    for each in (memories, other):
        each.put(At(Space.L1, FP16), source)
    places = {"dst": At(Space.L0B, FP16), "src": At(Space.L1, FP16), "repeats": 2, "src_stride": 2}
    run(memories, "load_l0_transpose", **places, dst_gap=1)
    run(other, "load_l0b", {"transpose": True}, **places, dst_gap=1)
    assert (memories.bytes[Space.L0B] == other.bytes[Space.L0B]).all()


@pytest.mark.parametrize("dtype", [FP16, INT8, FP32])
def test_load_l0a_3d_takes_a_tile(dtype: DType) -> None:
    c0 = 32 // dtype.itemsize
    rows, channels, m, k, m_start, k_start = 64, 4 * c0, 32, 2 * c0, 16, c0
    source = matrix(rows, channels, dtype)
    memories = Memories()
    memories.put(At(Space.L1, dtype), source.reshape(rows, channels // c0, c0).transpose(1, 0, 2))
    run(
        memories, "load_l0a_3d", dst=At(Space.L0A, dtype), src=At(Space.L1, dtype), rows=rows,
        channels=channels, m=m, k=k, m_start=m_start, k_start=k_start,
    )  # fmt: skip
    got = memories.get(At(Space.L0A, dtype), m * k)
    for i in range(m):
        for j in range(k):
            place = ((i // 16) * (k // c0) + j // c0) * 16 * c0 + i % 16 * c0 + j % c0
            assert got[place] == source[m_start + i, k_start + j]


def test_load_l0a_3d_stays_inside_its_matrix() -> None:
    texts = complaints(
        "load_l0a_3d", dst=At(Space.L0A, FP16), src=At(Space.L1, FP16), rows=32, channels=32, m=32, k=40,
        m_start=16,
    )  # fmt: skip
    assert texts == [
        "k of load_l0a_3d is 40, not a multiple of 16",
        "load_l0a_3d reads to m = 48, past rows = 32",
        "load_l0a_3d reads to k = 40, past channels = 32",
    ]


def test_copy_l1_bt_widens_halves() -> None:
    source = matrix(1, 32, FP16)
    memories = Memories()
    memories.put(At(Space.L1, FP16), source)
    run(memories, "copy_l1_bt", dst=At(Space.BT, FP32), src=At(Space.L1, FP16), count=32)
    assert (memories.get(At(Space.BT, FP32), 32) == source[0].astype(np.float32)).all()
    text = refusal("copy_l1_bt", dst=At(Space.BT, INT32), src=At(Space.L1, FP16), count=32)
    assert text == "copy_l1_bt converts fp16 to fp32 at most; got fp16 to int32"
    texts = complaints("copy_l1_bt", dst=At(Space.BT, FP32), src=At(Space.L1, FP32), count=8)
    assert texts == ["copy_l1_bt moves 32 bytes, not a multiple of 64"]


def test_store_l1_combines_with_memory() -> None:
    memories = Memories()
    memories.put(At(Space.L1, FP32), np.arange(16, dtype=np.float32))
    memories.put(At(Space.GM, FP32), np.full(16, 100, np.float32))
    places = {"dst": At(Space.GM, FP32), "src": At(Space.L1, FP32), "blocks": 2}
    run(memories, "store_l1", None, CoreState(atomic="max"), **places)
    assert (memories.get(At(Space.GM, FP32), 16) == 100).all()
    run(memories, "store_l1", None, CoreState(atomic="add"), **places)
    assert memories.get(At(Space.GM, FP32), 16).tolist() == list(range(100, 116))


def test_set_atomic_takes_what_stores_can_add() -> None:
    assert "set_atomic takes int8, int16, fp16, bf16, int32, fp32 on V220; got uint8" in refusal(
        "set_atomic", {"kind": StoreAtomic.ADD, "element": UINT8}
    )
