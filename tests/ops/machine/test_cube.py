"""The cube unit and fixpipe, against plain products of matrices."""

from __future__ import annotations

import numpy as np
import pytest

from tests.ops.machine.harness import At, Memories, Scalar, complaints, refusal, run
from tilejit.ir.machine import CoreState
from tilejit.ir.types import BF16, FP16, FP32, INT8, INT32, UINT8, UINT64, DType
from tilejit.ops.machine.cube import Quant
from tilejit.target.spaces import Space

GENERATOR = np.random.default_rng(7)


def up(value: int, unit: int = 16) -> int:
    return -(-value // unit) * unit


def small(rows: int, columns: int, dtype: DType) -> np.ndarray:
    """Whole numbers so small that every sum is exact."""
    return GENERATOR.integers(-8, 8, (rows, columns)).astype(dtype.numpy)


def put_l0a(memories: Memories, a: np.ndarray, dtype: DType, bands: int) -> None:
    """Fill L0A's fractals (bands along k in a band of rows) and everything else with NaN or garbage."""
    c0 = 32 // dtype.itemsize
    for (i, j), value in np.ndenumerate(a):
        place = ((i // 16) * bands + j // c0) * 16 * c0 + i % 16 * c0 + j % c0
        memories.put(At(Space.L0A, dtype, place * dtype.itemsize), value)


def put_l0b(memories: Memories, b: np.ndarray, dtype: DType) -> None:
    c0, columns = 32 // dtype.itemsize, up(b.shape[1]) // 16
    for (i, j), value in np.ndenumerate(b):
        place = ((i // c0) * columns + j // 16) * 16 * c0 + j % 16 * c0 + i % c0
        memories.put(At(Space.L0B, dtype, place * dtype.itemsize), value)


def get_l0c(memories: Memories, m: int, n: int, dtype: DType) -> np.ndarray:
    flat = memories.get(At(Space.L0C, dtype), up(m) * up(n)).reshape(up(n) // 16, up(m), 16)
    return flat.transpose(1, 0, 2).reshape(up(m), up(n))[:m, :n]


PRODUCTS = [(FP16, FP32), (BF16, FP32), (FP32, FP32), (INT8, INT32)]


@pytest.mark.parametrize(("dtype", "to"), PRODUCTS)
@pytest.mark.parametrize(("m", "n", "k"), [(32, 48, 64), (19, 33, 21), (5, 1, 1)])
def test_mmad_multiplies_true_extents_over_garbage(dtype: DType, to: DType, m: int, n: int, k: int) -> None:
    """0xFF bytes are NaN: what lies behind k, and rows behind m, must not reach the m x n result."""
    memories = Memories(0xFF)
    a, b = small(m, k, dtype), small(k, n, dtype)
    put_l0a(memories, a, dtype, up(k, 32 // dtype.itemsize) * dtype.itemsize // 32)
    put_l0b(memories, b, dtype)
    operands = {"dst": At(Space.L0C, to), "a": At(Space.L0A, dtype), "b": At(Space.L0B, dtype)}
    run(memories, "mmad", **operands, m=m, n=n, k=k)
    expected = a.astype(np.float64) @ b.astype(np.float64)
    assert (get_l0c(memories, m, n, to) == expected).all()
    run(memories, "mmad", {"init": False}, **operands, m=m, n=n, k=k)
    assert (get_l0c(memories, m, n, to) == 2 * expected).all()
    run(memories, "mmad", {"init": False}, **operands, m=m, n=n, k=k, init=True)
    assert (get_l0c(memories, m, n, to) == expected).all()


def test_mmad_computes_the_rows_that_fill_a_fractal() -> None:
    memories = Memories(0)
    a, b = small(16, 16, FP16), small(16, 16, FP16)
    put_l0a(memories, a, FP16, 1)
    put_l0b(memories, b, FP16)
    places = {"dst": At(Space.L0C, FP32), "a": At(Space.L0A, FP16), "b": At(Space.L0B, FP16)}
    run(memories, "mmad", **places, m=3, n=5, k=16)
    expected = a.astype(np.float64) @ b.astype(np.float64)
    assert (get_l0c(memories, 16, 16, FP32) == expected).all()


def test_mmad_with_one_row_reads_a_plain_row() -> None:
    n, k = 40, 72
    memories = Memories(0xFF)
    a, b = small(1, k, FP16), small(k, n, FP16)
    memories.put(At(Space.L0A, FP16), a)
    put_l0b(memories, b, FP16)
    places = {"dst": At(Space.L0C, FP32), "a": At(Space.L0A, FP16), "b": At(Space.L0B, FP16)}
    run(memories, "mmad", **places, m=1, n=n, k=k)
    expected = a.astype(np.float64) @ b.astype(np.float64)
    for j in range(n):  # 16 results at the start of every 1024 bytes
        got = memories.get(At(Space.L0C, FP32, j // 16 * 1024 + j % 16 * 4), 1)
        assert got[0] == expected[0, j]
    assert (memories.get(At(Space.L0C, INT32, 64), 240) == -1).all()


def test_mmad_of_fp32_in_pairs_of_fractals() -> None:
    m, n, k = 16, 16, 20  # three fractals of 8 along k, four with k_aligned
    memories = Memories(0xFF)
    a, b = small(m, k, FP32), small(k, n, FP32)
    put_l0a(memories, a, FP32, 4)
    put_l0b(memories, b, FP32)
    places = {"dst": At(Space.L0C, FP32), "a": At(Space.L0A, FP32), "b": At(Space.L0B, FP32)}
    run(memories, "mmad", {"k_aligned": True}, **places, m=m, n=n, k=k)
    assert (get_l0c(memories, m, n, FP32) == a.astype(np.float64) @ b).all()


def test_mmad_starts_from_the_bias() -> None:
    memories = Memories(0xFF)
    a, b = small(16, 16, FP16), small(16, 32, FP16)
    bias = small(1, 32, FP32)
    put_l0a(memories, a, FP16, 1)
    put_l0b(memories, b, FP16)
    memories.put(At(Space.BT, FP32, 64), bias)
    places = {"dst": At(Space.L0C, FP32), "a": At(Space.L0A, FP16), "b": At(Space.L0B, FP16)}
    run(memories, "mmad", {"init": False}, **places, bias=At(Space.BT, FP32, 64), m=16, n=32, k=16)
    assert (get_l0c(memories, 16, 32, FP32) == a.astype(np.float64) @ b + bias).all()


def test_mmad_of_int8_is_exact_and_wraps() -> None:
    memories = Memories(0)
    a, b = np.full((16, 4064), -128, np.int8), np.full((4064, 16), -128, np.int8)
    a, b = a[:, :2048], b[:2048]
    put_l0a(memories, a, INT8, 64)
    put_l0b(memories, b, INT8)
    memories.put(At(Space.L0C, INT32), np.full((16, 16), 2**31 - 1, np.int32))
    places = {"dst": At(Space.L0C, INT32), "a": At(Space.L0A, INT8), "b": At(Space.L0B, INT8)}
    run(memories, "mmad", {"init": False}, **places, m=16, n=16, k=2048)
    assert (get_l0c(memories, 16, 16, INT32) == -(2**31) - 1 + 2048 * 128 * 128).all()


def test_an_empty_mmad_does_nothing() -> None:
    memories = Memories()
    places = {"dst": At(Space.L0C, FP32), "a": At(Space.L0A, FP16), "b": At(Space.L0B, FP16)}
    run(memories, "mmad", **places, m=16, n=16, k=0)
    assert (memories.bytes[Space.L0C] == 0xA5).all()


def test_mmad_refuses_other_products() -> None:
    text = refusal(
        "mmad", dst=At(Space.L0C, FP16), a=At(Space.L0A, FP16), b=At(Space.L0B, FP16), m=16, n=16, k=16
    )
    assert text == (
        "mmad takes (a, b, dst) of (fp16, fp16, fp32), (bf16, bf16, fp32), (fp32, fp32, fp32), "
        "(int8, int8, int32); got (fp16, fp16, fp16)"
    )
    texts = complaints(
        "mmad", dst=At(Space.L0C, FP32, 512), a=At(Space.L0A, FP16, 64), b=At(Space.L0B, FP16), m=5000,
        n=16, k=16,
    )  # fmt: skip
    assert texts == [
        "m of mmad is 5000, outside 0 to 4095",
        "dst of mmad is at l0c address 512, not a multiple of 1024",
        "a of mmad is at l0a address 64, not a multiple of 512",
    ]


def put_l0c(memories: Memories, tile: np.ndarray, column_stride: int) -> None:
    for (i, j), value in np.ndenumerate(tile):
        place = (j // 16 * column_stride + i) * 16 + j % 16
        memories.put(At(Space.L0C, FP32, 4 * place), value)


def test_fixpipe_writes_rows() -> None:
    m, n = 21, 40
    tile = GENERATOR.standard_normal((m, n)).astype(np.float32)
    memories = Memories(0xFF)
    put_l0c(memories, tile, 32)
    run(
        memories, "fixpipe", dst=At(Space.GM, FP32, 128), src=At(Space.L0C, FP32), n=n, m=m,
        src_stride=32, dst_stride=50,
    )  # fmt: skip
    got = memories.get(At(Space.GM, FP32, 128), m * 50).reshape(m, 50)
    assert (got[:, :n] == tile).all()


def test_fixpipe_of_no_rows_writes_nothing() -> None:
    memories = Memories(0xFF)
    put_l0c(memories, np.ones((1, 16), np.float32), 16)
    run(
        memories, "fixpipe", dst=At(Space.GM, FP32), src=At(Space.L0C, FP32), n=16, m=0,
        src_stride=16, dst_stride=16,
    )  # fmt: skip
    assert np.isnan(memories.get(At(Space.GM, FP32), 16)).all()


@pytest.mark.parametrize(("quant", "to"), [(Quant.F32_F16, FP16), (Quant.F32_BF16, BF16)])
def test_fixpipe_rounds_and_clamps(quant: Quant, to: DType) -> None:
    tile = np.array([[1.0, 2049.0, 2051.0, -1e5, 3.4e38, np.inf, np.nan, 0.1]], np.float32)
    for saturates in (True, False):
        memories = Memories(0)
        put_l0c(memories, tile, 16)
        run(
            memories, "fixpipe", {"quant": quant, "relu": False}, CoreState(saturates=saturates),
            dst=At(Space.GM, to), src=At(Space.L0C, FP32), n=8, m=1, src_stride=16, dst_stride=8,
        )  # fmt: skip
        got = memories.get(At(Space.GM, to), 8).astype(np.float32)
        with np.errstate(over="ignore"):
            expected = tile[0].astype(to.numpy).astype(np.float32)
        if saturates:
            largest = 65504.0 if to == FP16 else float.fromhex("0x1.fep127")
            expected = np.clip(np.where(np.isnan(expected), 0, expected), -largest, largest)
        assert np.array_equal(got, expected, equal_nan=True)


def test_fixpipe_scales_integers() -> None:
    tile = np.array([[-5, 3, 1000, 70000]], np.int32)
    memories = Memories(0)
    for j, value in enumerate(tile[0]):
        memories.put(At(Space.L0C, INT32, 4 * j), value)
    places = {"src": At(Space.L0C, INT32), "n": 4, "m": 1, "src_stride": 16, "dst_stride": 4}
    run(
        memories,
        "fixpipe",
        {"quant": Quant.DEQ_F16, "relu": True},
        dst=At(Space.GM, FP16),
        **places,
        scale=0.5,
    )
    assert memories.get(At(Space.GM, FP16), 4).tolist() == [0, 1.5, 500, 35008]
    run(memories, "fixpipe", {"quant": Quant.REQ_B8}, dst=At(Space.GM, INT8), **places, scale=0.5)
    assert memories.get(At(Space.GM, INT8), 4).tolist() == [-2, 2, 127, 127]
    run(memories, "fixpipe", {"quant": Quant.REQ_B8}, dst=At(Space.GM, UINT8), **places, scale=0.1)
    assert memories.get(At(Space.GM, UINT8), 4).tolist() == [0, 0, 100, 255]


def test_fixpipe_cuts_the_scale_to_nineteen_bits() -> None:
    memories = Memories(0)
    memories.put(At(Space.L0C, FP32), np.float32(1000.0))
    places = {"src": At(Space.L0C, FP32), "n": 1, "m": 1, "src_stride": 16, "dst_stride": 1}
    run(
        memories, "fixpipe", {"quant": Quant.F32_B8}, dst=At(Space.GM, INT8), **places,
        scale=float(np.float32(0.0035 + 2.0**-20)),
    )  # fmt: skip
    kept = (np.float32(0.0035 + 2.0**-20).view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)
    assert memories.get(At(Space.GM, INT8), 1)[0] == np.rint(1000 * kept)


def test_fixpipe_scales_columns() -> None:
    tile = np.arange(64, dtype=np.float32).reshape(2, 32)
    scales = np.array([1.0, 0.5] * 16, np.float32)
    memories = Memories(0)
    put_l0c(memories, tile, 16)
    memories.put(At(Space.L1, UINT64, 64), scales.view(np.uint32).astype(np.uint64))
    run(
        memories, "fixpipe", {"quant": Quant.VECTOR_F32_B8}, dst=At(Space.GM, INT8), src=At(Space.L0C, FP32),
        n=32, m=2, src_stride=16, dst_stride=32, scales=At(Space.L1, UINT64, 64),
    )  # fmt: skip
    assert (memories.get(At(Space.GM, INT8), 64).reshape(2, 32) == np.rint(tile * scales)).all()


def test_fixpipe_adds_to_memory() -> None:
    memories = Memories(0)
    put_l0c(memories, np.full((1, 8), 3.0, np.float32), 16)
    memories.put(At(Space.GM, FP32), np.arange(8, dtype=np.float32))
    run(
        memories, "fixpipe", None, CoreState(atomic="add"), dst=At(Space.GM, FP32),
        src=At(Space.L0C, FP32), n=8, m=1, src_stride=16, dst_stride=8,
    )  # fmt: skip
    assert memories.get(At(Space.GM, FP32), 8).tolist() == [3, 4, 5, 6, 7, 8, 9, 10]


@pytest.mark.parametrize(("quant", "to"), [(Quant.F32_F16, FP16), (Quant.F32_B8, INT8)])
def test_fixpipe_l1_writes_nz(quant: Quant, to: DType) -> None:
    m, n = 18, 64
    c0 = 32 // to.itemsize
    tile = GENERATOR.integers(-100, 100, (m, n)).astype(np.float32)
    memories = Memories(0)
    put_l0c(memories, tile, 32)
    scale = {"scale": 1.0} if quant is Quant.F32_B8 else {}
    run(
        memories, "fixpipe_l1", {"quant": quant}, dst=At(Space.L1, to, 64), src=At(Space.L0C, FP32), n=n,
        m=m, src_stride=32, dst_stride=48, **scale,
    )  # fmt: skip
    got = memories.get(At(Space.L1, to, 64), n // c0 * 48 * c0)
    for i in range(m):
        for j in range(n):
            assert got[(j // c0 * 48 + i) * c0 + j % c0] == tile[i, j]


def test_fixpipe_refuses_what_the_hardware_cannot_convert() -> None:
    places = {"src": At(Space.L0C, FP32), "n": 16, "m": 16, "src_stride": 16, "dst_stride": 16}
    text = refusal("fixpipe", dst=At(Space.GM, FP16), **places)
    assert text == "fixpipe with quant=none cannot make fp16 from fp32"
    text = refusal("fixpipe_l1", dst=At(Space.L1, FP32), **places)
    assert text == "fixpipe_l1 must narrow: L0C goes to L1 as 16 or 8 bits only"
    text = refusal("fixpipe", {"quant": Quant.F32_B8}, dst=At(Space.GM, INT8), **places)
    assert text == "fixpipe: quant=f32_b8 and scale disagree"
    text = refusal("fixpipe", {"quant": Quant.F32_F16}, dst=At(Space.GM, FP16), **places, scale=1.0)
    assert text == "fixpipe: quant=f32_f16 and scale disagree"
    text = refusal("fixpipe", dst=At(Space.UB, FP32), **places)
    assert text == "dst of fixpipe must be a pointer to gm; got ptr<ub fp32>"
    wrong = {**places, "n": 5000, "src_stride": 70000}
    texts = complaints("fixpipe", dst=At(Space.GM, FP32), **wrong)
    assert texts == [
        "n of fixpipe is 5000, outside 0 to 4095",
        "src_stride of fixpipe is 70000, outside 0 to 65535",
    ]
    wrong = {**places, "n": 24}
    texts = complaints("fixpipe_l1", {"quant": Quant.F32_F16}, dst=At(Space.L1, FP16), **wrong)
    assert texts == ["n of fixpipe_l1 is 24, not a multiple of 16"]


def test_scales_are_fp32() -> None:
    text = refusal(
        "fixpipe", {"quant": Quant.DEQ_F16}, dst=At(Space.GM, FP16), src=At(Space.L0C, INT32), n=16, m=16,
        src_stride=16, dst_stride=16, scale=Scalar(1.0, FP16),
    )  # fmt: skip
    assert text == "scale of fixpipe must be a scalar of type fp32; got fp16"
