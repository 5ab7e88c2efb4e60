"""Arrays as users have them: strided, reversed, transposed, overlapping, empty, of every dtype."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import tilejit
import tilejit.language as tl

from .compare import Array, check_close


@tilejit.jit
def affine_2d(
    x_ptr, y_ptr, M, N, x_row, x_col, y_row, y_col, scale, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr
):
    """y = x * scale + column for any strides of both."""
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    cols = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    mask = (rows < M)[:, None] & (cols < N)[None, :]
    x = tl.load(x_ptr + rows[:, None] * x_row + cols[None, :] * x_col, mask=mask)
    tl.store(y_ptr + rows[:, None] * y_row + cols[None, :] * y_col, x * scale + cols[None, :], mask=mask)


def element_strides(x: Array) -> list[int]:
    return [s // x.itemsize for s in x.strides]


def layouts(base: Array) -> dict[str, Array]:
    """Views of shape [20, 24] of an array of shape [60, 60]."""
    return {
        "rows": base[:20, :24],
        "transposed": base.T[:20, :24],
        "every third": base[::3, : 24 * 2 : 2],
        "rows backwards": base[19::-1, :24],
        "columns backwards": base[:20, 23::-1],
        "both backwards": base.T[59:19:-2, 59:11:-2],
        "one row": np.broadcast_to(base[0, :24], (20, 24)),
        "one column": np.broadcast_to(base[:20, :1], (20, 24)),
    }


@pytest.mark.parametrize("target", ["rows", "transposed", "both backwards"])
@pytest.mark.parametrize("source", list(layouts(np.zeros((60, 60)))))
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, np.int16])
def test_strides(interpret: bool, rng: np.random.Generator, dtype: type, source: str, target: str) -> None:
    x = layouts(rng.integers(-50, 50, (60, 60)).astype(dtype))[source]
    whole = np.full((60, 60), 7, dtype)
    y = layouts(whole)[target]
    affine_2d[(2, 2)](
        x, y, 20, 24, *element_strides(x), *element_strides(y), 2, BLOCK_M=16, BLOCK_N=16, interpret=interpret
    )
    expected = np.full((60, 60), 7, dtype)
    layouts(expected)[target][...] = x.astype(np.float32) * 2 + np.arange(24)
    np.testing.assert_array_equal(whole.astype(np.float32), expected.astype(np.float32))


@tilejit.jit
def own_strides(x_ptr, y_ptr, BLOCK: tl.constexpr):
    """Shape and strides asked of the arguments."""
    row = tl.program_id(0)
    cols = tl.arange(0, BLOCK)
    mask = cols < x_ptr.shape[1]
    x = tl.load(x_ptr + row * x_ptr.stride(0) + cols * x_ptr.stride(1), mask=mask)
    tl.store(y_ptr + row * y_ptr.stride(0) + cols * y_ptr.stride(1), x + 1, mask=mask)


def test_strides_of_arguments(interpret: bool, rng: np.random.Generator) -> None:
    base = rng.integers(0, 99, (60, 60))
    for x in layouts(base).values():
        whole = np.zeros((40, 60), np.int64)
        y = whole[::-2, 10:58:2]
        own_strides[(20,)](x, y, BLOCK=32, interpret=interpret)
        np.testing.assert_array_equal(y, x + 1)
        assert not whole[::2].any() and not whole[:, 1::2].any()


@tilejit.jit
def shift_in_place(dst_ptr, src_ptr, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(dst_ptr + i, tl.load(src_ptr + i, mask=i < n), mask=i < n)


@pytest.mark.parametrize("shift", [-9, -1, 0, 1, 3, 16])
def test_overlapping_slices(interpret: bool, rng: np.random.Generator, shift: int) -> None:
    """One program reads all of its tile before it writes any of it."""
    x = rng.standard_normal(200).astype(np.float32)
    expected = x.copy()
    expected[50 + shift : 150 + shift] = x[50:150]
    shift_in_place[(1,)](x[50 + shift :], x[50:], 100, BLOCK=128, interpret=interpret)
    np.testing.assert_array_equal(x, expected)


@tilejit.jit
def transpose_in_place(x_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    at = i[:, None] * N + i[None, :]
    tl.store(x_ptr + at, tl.trans(tl.load(x_ptr + at)))


@pytest.mark.parametrize("n", [4, 16, 32])
def test_transpose_in_place(interpret: bool, rng: np.random.Generator, n: int) -> None:
    x = rng.standard_normal((n, n))
    expected = x.T.copy()
    transpose_in_place[(1,)](x, n, interpret=interpret)
    np.testing.assert_array_equal(x, expected)


@tilejit.jit
def reverse_in_place(x_ptr, n, BLOCK: tl.constexpr):
    """Swaps blocks from both ends."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = i < n // 2
    left = tl.load(x_ptr + i, mask=mask)
    right = tl.load(x_ptr + (n - 1 - i), mask=mask)
    tl.store(x_ptr + i, right, mask=mask)
    tl.store(x_ptr + (n - 1 - i), left, mask=mask)


@pytest.mark.parametrize("n", [1, 2, 99, 128])
def test_reverse_in_place(interpret: bool, n: int) -> None:
    x = np.arange(n, dtype=np.int16)
    reverse_in_place[(tilejit.cdiv(n, 32),)](x, n, BLOCK=16 * 2, interpret=interpret)
    assert x.tolist() == list(range(n))[::-1]


@tilejit.jit
def fibonacci(x_ptr, n):
    """Each step reads what the last one stored."""
    for i in range(2, n):
        tl.store(x_ptr + i, tl.load(x_ptr + i - 1) + tl.load(x_ptr + i - 2))


@tilejit.jit
def smooth_through_memory(x_ptr, n, BLOCK: tl.constexpr):
    """Tiles that overlap those stored just before."""
    for start in range(0, n, BLOCK // 2):
        i = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + i)
        tl.store(x_ptr + i, x + tl.load(x_ptr + i + 1))


def test_loads_see_earlier_stores(interpret: bool) -> None:
    x = np.zeros(40, np.int64)
    x[1] = 1
    fibonacci[(1,)](x, 40, interpret=interpret)
    assert x[39] == 63245986
    y = np.arange(100)
    expected = y.copy()
    for start in range(0, 50, 8):
        expected[start : start + 16] += expected[start + 1 : start + 17].copy()
    smooth_through_memory[(1,)](y, 50, BLOCK=16, interpret=interpret)
    np.testing.assert_array_equal(y, expected)


@tilejit.jit
def add_twice(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = i < n
    tl.store(out_ptr + i, tl.load(x_ptr + i, mask=mask) + tl.load(y_ptr + i, mask=mask), mask=mask)
    tl.store(out_ptr + i, tl.load(out_ptr + i, mask=mask) + tl.load(x_ptr + i, mask=mask), mask=mask)


def test_one_array_for_several_arguments(interpret: bool) -> None:
    x = np.arange(100, dtype=np.int32)
    y = x[::-1].copy()
    add_twice[(2,)](x, y, y, 100, BLOCK=64, interpret=interpret)
    assert (y == 99 + np.arange(100)).all()
    add_twice[(2,)](x, x, x, 100, BLOCK=64, interpret=interpret)
    np.testing.assert_array_equal(x, 4 * np.arange(100))


@pytest.mark.parametrize("grid", [(0,), (0, 3), (3, 0), (2, 2, 0)], ids=str)
def test_zero_size_grids(interpret: bool, grid: tuple[int, ...]) -> None:
    x = np.arange(8, dtype=np.int32)
    add_twice[grid](x, x, x, 8, BLOCK=8, interpret=interpret)
    assert x.tolist() == list(range(8))


def test_empty_arrays(interpret: bool) -> None:
    empty = np.empty(0, np.float64)
    add_twice[(2,)](empty, empty, empty, 0, BLOCK=8, interpret=interpret)


DTYPES = [
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "bfloat16",
    "float32", "float64",
]  # fmt: skip


@tilejit.jit
def select_kernel(c_ptr, x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = i < n
    c = tl.load(c_ptr + i, mask=mask)
    x = tl.load(x_ptr + i, mask=mask)
    y = tl.load(y_ptr + i, mask=mask, other=1)
    tl.store(out_ptr + i, tl.where(c, x, y), mask=mask)


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype(interpret: bool, rng: np.random.Generator, name: str) -> None:
    c = rng.random(77) < 0.5
    x, y = rng.integers(0, 2 if name == "bool" else 100, (2, 77)).astype(name)
    out = np.zeros(77, x.dtype)
    select_kernel[(3,)](c, x, y, out, 77, BLOCK=32, interpret=interpret)
    np.testing.assert_array_equal(out, np.where(c, x, y))


@tilejit.jit
def convert(src_ptr, dst_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(dst_ptr + i, tl.load(src_ptr + i, mask=i < n), mask=i < n)


@pytest.mark.parametrize("source", DTYPES)
def test_every_conversion(interpret: bool, source: str) -> None:
    """A store converts to the element type of its pointer."""
    x = np.array([0, 1, 2, 3, 5, 17, 100, 127], np.int64).astype(source)
    for target in DTYPES:
        out = np.zeros(8, target)
        convert[(1,)](x, out, 8, BLOCK=8, interpret=interpret)
        np.testing.assert_array_equal(out, x.astype(target))


@tilejit.jit
def bool_kernel(a_ptr, b_ptr, out_ptr, count_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    a = tl.load(a_ptr + i)
    b = tl.load(b_ptr + i).to(tl.int1)
    tl.store(out_ptr + i, (a & ~b) | (a ^ b))
    tl.store(count_ptr, tl.sum(a.to(tl.int32)))
    tl.store(count_ptr + 1, tl.sum((a & b) * 1))
    tl.store(count_ptr + 2, tl.sum(tl.where(a == b, 1, 0)))
    tl.store(count_ptr + 3, tl.max(a.to(tl.int8)))


def test_bool_arrays(interpret: bool, rng: np.random.Generator) -> None:
    a, b = rng.random((2, 64)) < 0.5
    out = np.zeros(64, bool)
    count = np.zeros(4, np.int32)
    bool_kernel[(1,)](a, b.view(np.uint8), out, count, 64, interpret=interpret)
    np.testing.assert_array_equal(out, a ^ b)
    assert count.tolist() == [a.sum(), (a & b).sum(), (a == b).sum(), 1]


@tilejit.jit
def pointer_table_add(in_table_ptr, out_table_ptr, sizes_ptr, DTYPE: tl.constexpr, BLOCK: tl.constexpr):
    """Tensors of different size, their addresses in an int64 array."""
    which = tl.program_id(0)
    n = tl.load(sizes_ptr + which)
    src = tl.load(in_table_ptr + which).to(tl.pointer_type(DTYPE))
    dst = tl.load(out_table_ptr + which).to(tl.pointer_type(DTYPE))
    for start in range(0, n, BLOCK):
        i = start + tl.arange(0, BLOCK)
        x = tl.load(src + i, mask=i < n)
        tl.store(dst + i, x + which, mask=i < n)


@pytest.mark.parametrize("address", [np.int64, np.uint64])
def test_pointer_tables(interpret: bool, rng: np.random.Generator, address: type) -> None:
    inputs = [rng.standard_normal(n).astype(np.float16) for n in (1, 100, 33)]
    outputs = [np.zeros_like(x) for x in inputs]
    tables = [np.array([x.ctypes.data for x in arrays], address) for arrays in (inputs, outputs)]
    sizes = np.array([x.size for x in inputs], np.int32)
    pointer_table_add[(3,)](*tables, sizes, DTYPE=tl.float16, BLOCK=32, interpret=interpret)
    for k, (x, y) in enumerate(zip(inputs, outputs, strict=True)):
        check_close(y, x.astype(np.float64) + k)


@tilejit.jit
def far_rows(x_ptr, out_ptr, stride, n, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * stride + i, mask=i < n, other=0)
    tl.store(out_ptr + row * n + i, x, mask=i < n)
    tl.store(x_ptr + row * stride + i, x + 1, mask=i < n)


def test_offsets_beyond_32_bits(interpret: bool) -> None:
    """Rows 3 GiB apart, of memory that the system maps only where it is touched."""
    stride = 3 << 30
    x = np.zeros(stride + 20, np.int8)
    x[stride:] = np.arange(20)
    out = np.zeros((2, 20), np.int8)
    far_rows[(2,)](x, out, stride, 20, BLOCK=32, interpret=interpret)
    np.testing.assert_array_equal(out, [[0] * 20, list(range(20))])
    np.testing.assert_array_equal(x[stride:], np.arange(20) + 1)
    assert x[:20].tolist() == [1] * 20 and not x[20:60].any()


@tilejit.jit
def wide_arithmetic(x_ptr, out_ptr, a, b, N: tl.constexpr):
    i = tl.arange(0, N)
    x = tl.load(x_ptr + i)
    tl.store(out_ptr + i, (x * a + b) // 3 % 1000003)
    tl.store(out_ptr + N + i, (x << 40) >> 20)
    tl.store(out_ptr + 2 * N + i, i.to(tl.int64) * 4294967296 + x)


def test_int64_arithmetic(interpret: bool, rng: np.random.Generator) -> None:
    x = rng.integers(0, 2**20, 32)
    out = np.zeros((3, 32), np.int64)
    a, b = 2**40 + 1, 2**35
    wide_arithmetic[(1,)](x, out, a, b, 32, interpret=interpret)
    np.testing.assert_array_equal(out[0], (x * a + b) // 3 % 1000003)
    np.testing.assert_array_equal(out[1], (x << 40) >> 20)
    np.testing.assert_array_equal(out[2], np.arange(32) * 2**32 + x)


@tilejit.jit
def unsigned_kernel(x_ptr, out_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    x = tl.load(x_ptr + i)
    tl.store(out_ptr + i, x >> 3)
    tl.store(out_ptr + N + i, x // 7)
    tl.store(out_ptr + 2 * N + i, x % 7)
    tl.store(out_ptr + 3 * N + i, tl.maximum(x, 1 << 30))
    tl.store(out_ptr + 4 * N + i, (x > 1 << 30).to(x.dtype))
    tl.store(out_ptr + 5 * N + i, (x.to(tl.float64) / 2).to(x.dtype))


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_unsigned_arithmetic(interpret: bool, rng: np.random.Generator, dtype: type) -> None:
    x = rng.integers(0, 2**32, 64, dtype=np.uint64).astype(dtype)
    out = np.zeros((6, 64), dtype)
    unsigned_kernel[(1,)](x, out, 64, interpret=interpret)
    expected = [x >> 3, x // 7, x % 7, np.maximum(x, 1 << 30), x > 1 << 30, (x / 2).astype(dtype)]
    np.testing.assert_array_equal(out, np.array(expected))
