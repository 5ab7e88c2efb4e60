"""Corners of the language that published kernels rely on, each in a few lines."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tilejit.ir.types import DTYPE_BY_NAME

from .compare import BF16, check_close


@tilejit.jit
def clamp_kernel(x_ptr, out_ptr, low, high, N: tl.constexpr):
    i = tl.arange(0, N)
    x = tl.load(x_ptr + i)
    tl.store(out_ptr + i, tl.clamp(x, low, high))
    tl.store(out_ptr + N + i, x.clamp(-3, 3))


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.float32])
def test_clamp_of_any_number(interpret: bool, dtype: type) -> None:
    x = np.arange(-16, 16).astype(dtype)
    out = np.zeros(64, dtype)
    clamp_kernel[(1,)](x, out, -5, 9, N=32, interpret=interpret)
    np.testing.assert_array_equal(out, np.concatenate([x.clip(-5, 9), x.clip(-3, 3)]))


@tilejit.jit
def bits_of_numbers(out_ptr, bytes_ptr):
    tl.store(out_ptr + tl.arange(0, 4), tl.full((4,), 0xFFFFFFFF, tl.int32))
    tl.store(out_ptr + 4, tl.full((), 1 << 31, tl.int32))
    tl.store(bytes_ptr, tl.cast(300, tl.uint8))
    tl.store(bytes_ptr + 1, tl.cast(-1, tl.uint8))
    tl.store(bytes_ptr + 2, tl.cast(True, tl.uint8))


def test_numbers_wrap_where_they_are_cast(interpret: bool) -> None:
    out, parts = np.zeros(5, np.int32), np.zeros(3, np.uint8)
    bits_of_numbers[(1,)](out, parts, interpret=interpret)
    assert out.tolist() == [-1, -1, -1, -1, -(2**31)]
    assert parts.tolist() == [44, 255, 1]


@tilejit.jit
def truncate_kernel(x_ptr, out_ptr, N: tl.constexpr, DTYPE: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out_ptr + i, tl.load(x_ptr + i).to(DTYPE, fp_downcast_rounding="rtz"))


NARROWINGS = [
    ("float64", "fp32"), ("float64", "fp16"), ("float64", "bf16"), ("float64", "fp8e5"),
    ("float32", "fp16"), ("float32", "bf16"), ("float32", "fp8e5"), ("float16", "fp8e5"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize(("source", "target"), NARROWINGS)
def test_narrowing_toward_zero(interpret: bool, rng: np.random.Generator, source: str, target: str) -> None:
    element = DTYPE_BY_NAME[target]
    exponents = rng.uniform(-50, 50, 1024) if source != "float16" else rng.uniform(-20, 14, 1024)
    x = (rng.choice([-1.0, 1.0], 1024) * 2.0**exponents).astype(source)
    x[:5] = 0.0, np.inf, -np.inf, np.finfo(source).max, -np.finfo(source).max
    out = np.zeros(1024, element.numpy)
    truncate_kernel[(1,)](x, out, N=1024, DTYPE=element, interpret=interpret)
    nearest = x.astype(np.float32).astype(element.numpy) if target != "fp32" else x.astype(np.float32)
    wide, exact = out.astype(np.float64), x.astype(np.float64)
    assert (np.abs(wide) <= np.abs(exact)).all()
    assert (np.signbit(wide) == np.signbit(exact)).all()
    step = np.nextafter(out, np.copysign(np.float32(np.inf), out).astype(element.numpy))
    is_finite = np.isfinite(exact)
    assert (np.abs(step.astype(np.float64)) > np.abs(exact))[is_finite].all()
    assert np.isinf(wide[~is_finite]).all()
    assert (wide != nearest.astype(np.float64)).any()


@tilejit.jit
def running_sums(x_ptr, out_ptr, N: tl.constexpr, REVERSE: tl.constexpr):
    i = tl.arange(0, N)
    sums = tl.cumsum(tl.load(x_ptr + i), 0, reverse=REVERSE)
    tl.static_assert(sums.dtype == x_ptr.dtype.element_ty)
    tl.store(out_ptr + i, sums)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", [BF16, np.dtype(np.float16)], ids=str)
def test_cumsum_keeps_16_bit_floats(
    interpret: bool, rng: np.random.Generator, dtype: np.dtype, reverse: bool
) -> None:
    x = rng.uniform(0, 1, 64).astype(dtype)
    out = np.zeros(64, dtype)
    running_sums[(1,)](x, out, N=64, REVERSE=reverse, interpret=interpret)
    wide = x.astype(np.float64)
    expected = wide[::-1].cumsum()[::-1] if reverse else wide.cumsum()
    check_close(out, expected.astype(np.float64), tolerance=64 * 2.0 ** -(7 if dtype == BF16 else 10) / 8)


@tilejit.jit
def unsigned_loop(n_ptr, out_ptr):
    total = tl.load(n_ptr) * 0
    for i in range(tl.load(n_ptr)):
        tl.static_assert(i.dtype == n_ptr.dtype.element_ty)
        total += i
    tl.store(out_ptr, total)


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64, np.uint64])
def test_index_has_the_type_of_the_bounds(interpret: bool, dtype: type) -> None:
    out = np.zeros(1, dtype)
    unsigned_loop[(1,)](np.array([10], dtype), out, interpret=interpret)
    assert out[0] == 45


@tilejit.jit
def descriptor_blocks(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    desc = tl.make_tensor_descriptor(x_ptr, shape=[n], strides=[1], block_shape=[BLOCK])
    blocks = 0
    total = tl.zeros((BLOCK,), tl.float32)
    for i in range(tl.cdiv(desc.shape[0], BLOCK)):
        total += desc.load([i * BLOCK])
        blocks += 1
    tl.static_assert(desc.shape[0].dtype == tl.int32)
    tl.store(out_ptr + tl.arange(0, BLOCK), total + blocks)


def test_shape_of_a_descriptor_is_as_given(interpret: bool, rng: np.random.Generator) -> None:
    x = rng.standard_normal(21).astype(np.float32)
    out = np.zeros(8, np.float32)
    descriptor_blocks[(1,)](x, out, 21, BLOCK=8, interpret=interpret)
    check_close(out, np.pad(x, (0, 3)).reshape(3, 8).sum(0) + 3)


@tilejit.jit
def load_grows(x_ptr, out_ptr, n, N: tl.constexpr):
    i = tl.arange(0, N)
    x = tl.load(x_ptr + i[None, :], mask=(i < n)[:, None], other=-1.0)
    tl.static_assert(x.shape == (N, N))
    (out_ptr + i[:, None] * N + i[None, :]).store(x, mask=(i[:, None] != 1).logical_and(i[None, :] < n))
    y = tl.load(x_ptr + i, mask=((i < n) & (i > 100)).logical_or(i == 0)[None, :], other=2.0)
    tl.store(out_ptr + N * N + i[None, :], y)


def test_pointers_of_a_load_grow_to_its_mask(interpret: bool, rng: np.random.Generator) -> None:
    x = rng.standard_normal(8).astype(np.float32)
    out = np.zeros(72, np.float32)
    load_grows[(1,)](x, out, 5, N=8, interpret=interpret)
    expected = np.where(np.arange(8)[:, None] < 5, x[None, :], -1.0)
    expected[1] = 0.0
    expected[:, 5:] = 0.0
    np.testing.assert_array_equal(out[:64].reshape(8, 8), expected)
    np.testing.assert_array_equal(out[64:], np.where(np.arange(8) == 0, x, 2.0))


@tilejit.jit
def one_pointer(x_ptr, out_ptr):
    tl.store(out_ptr[None], tl.load(x_ptr[None, None]).reshape(1) + 1.0)


def test_a_pointer_becomes_a_tile_of_one(interpret: bool) -> None:
    out = np.zeros(1, np.float32)
    one_pointer[(1,)](np.array([2.5], np.float32), out, interpret=interpret)
    assert out[0] == 3.5


@tilejit.jit
def kinds_of_fp8(x_ptr):
    dtype = x_ptr.dtype.element_ty
    kinds = (dtype.is_fp8e5(), dtype.is_fp8e4nv(), dtype.is_fp8e4b8(), dtype.is_fp8e5b16())
    tl.static_assert(kinds == (False, True, False, False))


def test_kinds_of_fp8(interpret: bool) -> None:
    kinds_of_fp8[(1,)](np.zeros(1, ml_dtypes.float8_e4m3fn), interpret=interpret)
