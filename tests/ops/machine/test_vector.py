"""Elementwise instructions: both forms, broadcasts, accumulation over repeats, limits."""

from __future__ import annotations

import numpy as np
import pytest

from tests.ops.machine.harness import At, Memories, Scalar, complaints, refusal, run
from tilejit.ir.machine import CoreState
from tilejit.ir.types import FP16, FP32, INT8, INT16, INT32, UINT16, UINT32, DType
from tilejit.target.spaces import Space

GENERATOR = np.random.default_rng(11)
BLOCK = 32


def data(count: int, dtype: DType) -> np.ndarray:
    if dtype.is_floating():
        return GENERATOR.uniform(0.5, 4.0, count).astype(dtype.numpy)
    low = 0 if dtype.is_int_unsigned() else dtype.min_value
    return GENERATOR.integers(low, dtype.max_value, count).astype(dtype.numpy)


def ub(dtype: DType, address: int = 0) -> At:
    return At(Space.UB, dtype, address)


BINARY = {
    "vadd": (np.add, (INT16, FP16, INT32, FP32)),
    "vsub": (np.subtract, (INT16, FP16, INT32, FP32)),
    "vmul": (np.multiply, (INT16, FP16, INT32, FP32)),
    "vmax": (np.maximum, (INT16, FP16, INT32, FP32)),
    "vmin": (np.minimum, (INT16, FP16, INT32, FP32)),
    "vdiv": (np.divide, (FP16, FP32)),
    "vand": (np.bitwise_and, (INT16, UINT16)),
    "vor": (np.bitwise_or, (INT16, UINT16)),
}
UNARY = {
    "vexp": (np.exp, (FP16, FP32)),
    "vln": (np.log, (FP16, FP32)),
    "vsqrt": (np.sqrt, (FP16, FP32)),
    "vrsqrt": (lambda x: 1 / np.sqrt(x), (FP16, FP32)),
    "vrec": (lambda x: 1 / x, (FP16, FP32)),
    "vabs": (np.abs, (FP16, FP32)),
    "vrelu": (lambda x: np.maximum(x, 0), (FP16, INT32, FP32)),
    "vnot": (np.bitwise_not, (INT16, UINT16)),
}
WITH_SCALAR = {
    "vadds": (np.add, (INT16, FP16, INT32, FP32)),
    "vmuls": (np.multiply, (INT16, FP16, INT32, FP32)),
    "vmaxs": (np.maximum, (INT16, FP16, INT32, FP32)),
    "vmins": (np.minimum, (INT16, FP16, INT32, FP32)),
}


def cases(table: dict) -> list[tuple[str, DType]]:
    return [(name, dtype) for name, (_, dtypes) in table.items() for dtype in dtypes]


@pytest.mark.parametrize(("name", "dtype"), cases(BINARY))
def test_binary_count_form(name: str, dtype: DType) -> None:
    count = 77
    left, right = data(count, dtype), data(count, dtype)
    memories = Memories()
    memories.put(ub(dtype, 1024), left)
    memories.put(ub(dtype, 2048), right)
    run(memories, name, dst=ub(dtype, 4096), src0=ub(dtype, 1024), src1=ub(dtype, 2048), count=count)
    assert_close(memories.get(ub(dtype, 4096), count), BINARY[name][0], dtype, left, right)


def assert_close(got: np.ndarray, meaning, dtype: DType, *values: np.ndarray) -> None:
    if not dtype.is_floating():
        with np.errstate(over="ignore"):
            assert (got == meaning(*values)).all()
        return
    exact = meaning(*(value.astype(np.float64) for value in values))
    np.testing.assert_allclose(got.astype(np.float64), exact, rtol=2**-10 if dtype == FP16 else 2**-22)


@pytest.mark.parametrize(("name", "dtype"), cases(UNARY))
def test_unary_count_form(name: str, dtype: DType) -> None:
    count = 133
    source = data(count, dtype)
    memories = Memories()
    memories.put(ub(dtype, 1024), source)
    run(memories, name, dst=ub(dtype, 1024), src=ub(dtype, 1024), count=count)  # in place
    assert_close(memories.get(ub(dtype, 1024), count), UNARY[name][0], dtype, source)


@pytest.mark.parametrize(("name", "dtype"), cases(WITH_SCALAR))
def test_scalar_count_form(name: str, dtype: DType) -> None:
    source = data(50, dtype)
    scalar = 2.5 if dtype.is_floating() else 3
    memories = Memories()
    memories.put(ub(dtype), source)
    run(memories, name, dst=ub(dtype, 512), src=ub(dtype), scalar=Scalar(scalar, dtype), count=50)
    value = np.asarray(scalar, dtype.numpy)
    assert_close(memories.get(ub(dtype, 512), 50), WITH_SCALAR[name][0], dtype, source, value)


@pytest.mark.parametrize("dtype", [INT16, UINT16, INT32, UINT32])
def test_shifts(dtype: DType) -> None:
    source = data(40, dtype)
    memories = Memories()
    memories.put(ub(dtype), source)
    run(memories, "vshl", dst=ub(dtype, 512), src=ub(dtype), scalar=3, count=40)
    assert (memories.get(ub(dtype, 512), 40) == source << 3).all()
    run(memories, "vshr", dst=ub(dtype, 512), src=ub(dtype), scalar=5, count=40)
    assert (memories.get(ub(dtype, 512), 40) == source >> 5).all()


def test_repeats_with_strides_and_a_partial_block() -> None:
    """3 repeats of 5 whole blocks and 3 lanes; every operand with strides of its own."""
    count, repeats = 43, 3
    strides = {"dst": (2, 17), "src0": (1, 8), "src1": (3, 25)}
    memories = Memories()
    contents = {name: data(8192, FP32) for name in strides}
    starts = {"src0": 0, "src1": 32768, "dst": 65536}
    for name in ("src0", "src1"):
        memories.put(ub(FP32, starts[name]), contents[name])
    run(
        memories, "vadd", {"strides": (2, 1, 3, 17, 8, 25)}, count=count, repeats=repeats,
        **{name: ub(FP32, start) for name, start in starts.items()},
    )  # fmt: skip

    def place(name: str, repeat: int, lane: int) -> int:
        block, step = strides[name]
        return starts[name] // 4 + (repeat * step + lane // 8 * block) * 8 + lane % 8

    everything = memories.get(ub(FP32), 32768)
    for repeat in range(repeats):
        for lane in range(count):
            left = everything[place("src0", repeat, lane)]
            right = everything[place("src1", repeat, lane)]
            assert everything[place("dst", repeat, lane)] == left + right


def test_rows_minus_a_broadcast_column() -> None:
    """A block stride of 0 repeats a row's block over its columns."""
    rows, columns = 5, 64
    tile, column = data(rows * columns, FP32).reshape(rows, columns), data(rows, FP32)
    memories = Memories()
    memories.put(ub(FP32), tile)
    memories.put(ub(FP32, 8192), np.repeat(column, 8))
    run(
        memories, "vsub", {"strides": (1, 1, 0, 8, 8, 1)}, dst=ub(FP32), src0=ub(FP32),
        src1=ub(FP32, 8192), count=64, repeats=rows,
    )  # fmt: skip
    assert (memories.get(ub(FP32), rows * columns).reshape(rows, columns) == tile - column[:, None]).all()


def test_a_destination_that_stays_accumulates_over_repeats() -> None:
    tile = GENERATOR.integers(0, 9, (7, 64)).astype(np.float32)
    memories = Memories()
    memories.put(ub(FP32), tile)
    run(
        memories, "vadd", {"strides": (1, 1, 1, 0, 0, 8)}, dst=ub(FP32), src0=ub(FP32),
        src1=ub(FP32, 256), count=64, repeats=6,
    )  # fmt: skip
    assert (memories.get(ub(FP32), 64) == tile.sum(0)).all()


def test_interleaved_destinations_do_not_count_as_overlapping() -> None:
    source = data(4 * 64, FP32)
    memories = Memories()
    memories.put(ub(FP32), source)
    run(memories, "vabs", {"strides": (4, 1, 1, 8)}, dst=ub(FP32, 4096), src=ub(FP32), count=64, repeats=4)
    got = memories.get(ub(FP32, 4096), 8 * 4 * 8).reshape(8, 4, 8)
    assert (got == source.reshape(4, 8, 8).transpose(1, 0, 2)).all()


def test_no_repeats_do_nothing() -> None:
    memories = Memories()
    attributes = {"strides": (1, 1, 8, 8)}
    run(memories, "vexp", attributes, dst=ub(FP32), src=ub(FP32, 512), count=64, repeats=0)
    run(memories, "vexp", dst=ub(FP32), src=ub(FP32, 512), count=0)
    assert (memories.bytes[Space.UB] == 0xA5).all()


def test_integers_wrap() -> None:
    memories = Memories()
    memories.put(ub(INT16), np.array([32767, -32768], np.int16))
    run(memories, "vadds", dst=ub(INT16, 32), src=ub(INT16), scalar=Scalar(1, INT16), count=2)
    assert memories.get(ub(INT16, 32), 2).tolist() == [-32768, -32767]


@pytest.mark.parametrize(("to", "source"), [(FP32, FP32), (FP16, FP16), (FP32, FP16)])
def test_axpy_adds_a_multiple(to: DType, source: DType) -> None:
    x, y = data(40, source), data(40, to)
    memories = Memories()
    memories.put(ub(source), x)
    memories.put(ub(to, 512), y)
    run(memories, "vaxpy", dst=ub(to, 512), src=ub(source), scalar=Scalar(1.5, source), count=40)
    got = memories.get(ub(to, 512), 40).astype(np.float64)
    rtol = 2**-10 if to == FP16 else 2**-22
    np.testing.assert_allclose(got, y.astype(np.float64) + 1.5 * x.astype(np.float64), rtol=rtol)


def test_muladd_adds_a_product() -> None:
    x, y, z = data(40, FP32), data(40, FP32), data(40, FP32)
    memories = Memories()
    for place, values in enumerate((x, y, z)):
        memories.put(ub(FP32, 512 * place), values)
    run(memories, "vmuladd", dst=ub(FP32, 1024), src0=ub(FP32), src1=ub(FP32, 512), count=40)
    expected = z.astype(np.float64) + x.astype(np.float64) * y
    np.testing.assert_allclose(memories.get(ub(FP32, 1024), 40), expected, rtol=2**-22)


def test_types_that_the_unit_lacks_are_refused() -> None:
    text = refusal("vadd", dst=ub(INT8), src0=ub(INT8), src1=ub(INT8), count=32)
    assert text == "vadd takes int16, fp16, int32, fp32 on V220; dst points to int8"
    text = refusal("vdiv", dst=ub(INT32), src0=ub(INT32), src1=ub(INT32), count=32)
    assert text == "vdiv takes fp16, fp32 on V220; dst points to int32"
    text = refusal("vmul", dst=ub(FP32), src0=ub(FP32), src1=ub(FP16), count=32)
    assert text == "vmul needs one element type; dst has fp32, src1 has fp16"
    text = refusal("vaxpy", dst=ub(INT32), src=ub(FP16), scalar=Scalar(1.0, FP16), count=8)
    assert text == "vaxpy adds fp16 to fp16 or fp32; got int32"


def test_limits_of_the_repeat_form() -> None:
    texts = complaints(
        "vadd", {"strides": (1, 1, 1, 8, 8)}, dst=ub(FP32, 16), src0=ub(FP32), src1=ub(FP32), count=65,
        repeats=256,
    )  # fmt: skip
    assert texts == [
        "dst of vadd is at ub address 16, not a multiple of 32",
        "count of vadd is 65, outside 1 to 64",
        "repeats of vadd is 256, outside 0 to 255",
        "vadd needs 6 strides, got 5",
    ]
    attributes = {"strides": (1, 1, 8, 256)}
    texts = complaints("vexp", attributes, dst=ub(FP16), src=ub(FP16), count=128, repeats=1)
    assert texts == ["a stride of vexp is 256, outside 0 to 255"]


def half_of(op: str, given: list[list[float]], *, saturates: bool, **operands: object) -> list[float]:
    """What an instruction makes of fp16 operands; the first is the destination's own contents."""
    memories, places = Memories(), [0, 1024, 2048]
    for place, numbers in zip(places, given, strict=False):
        memories.put(ub(FP16, place), np.array(numbers, np.float16))
    names = ("src",) if len(given) == 2 else ("src0", "src1")
    sources = {name: ub(FP16, place) for name, place in zip(names, places[1:], strict=False)}
    state = CoreState(saturates=saturates)
    run(memories, op, None, state, dst=ub(FP16), **sources, **operands, count=len(given[0]))
    return [float(x) for x in memories.get(ub(FP16), len(given[0]))]


def test_fp16_saturates_where_the_core_says_so() -> None:
    infinite = [[0] * 4, [65504, -65504, np.inf, np.nan], [65504, -65504, -np.inf, 1]]
    plain = half_of("vadd", infinite, saturates=False)
    np.testing.assert_array_equal(plain, [np.inf, -np.inf, np.nan, np.nan])
    assert half_of("vadd", infinite, saturates=True) == [65504, -65504, 0, 0]
    assert half_of("vrec", [[0] * 3, [0.0, -0.0, np.inf]], saturates=True) == [65504, -65504, 0]
    assert half_of("vexp", [[0] * 2, [100, -np.inf]], saturates=False) == [np.inf, 0]


def test_products_round_before_they_are_added() -> None:
    # 2049 lies between two fp16; 300 * 300 is too large for them.
    factors = [[-2048, -60000, -60000], [683, 300, 300], [3, 300, -300]]
    assert half_of("vmuladd", factors, saturates=False) == [0, np.inf, -np.inf]
    assert half_of("vmuladd", factors, saturates=True) == [0, 5504, -65504]


def test_comparisons_and_copies_keep_infinities_of_a_saturating_core() -> None:
    memories = Memories()
    memories.put(ub(FP16, 1024), np.array([np.inf] * 16, np.float16))
    run(memories, "copy_ub", None, CoreState(saturates=True), dst=ub(FP16), src=ub(FP16, 1024), count=16)
    assert (memories.get(ub(FP16), 16) == np.inf).all()
