"""Rows that programs leave to the next one: each is stored once, wherever it begins and ends."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tilejit.target.cpu import aarch64_neon, generic_avx2, generic_avx512, host, runs_here

SMALL = {"l2_bytes": 1, "l3_bytes": 64}  # caches so small that every launch stores more than they hold
BLOCK = 2048
LINE = 64
MACHINES = [host()] + ([generic_avx2()] if runs_here(generic_avx2()) else [])
TARGETS = [pytest.param(replace(machine, **SMALL), id=machine.name) for machine in MACHINES]


@tilejit.kernel
def _kept(x_ptr, out_ptr, stride, n, BLOCK: tl.constexpr):
    """What is stored was kept in a buffer."""
    row = tl.program_id(0).to(tl.int64) * stride
    at = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row + at, mask=at < n, other=-float("inf"))
    most = tl.max(x, axis=0)
    less = tl.exp2((x - most).to(tl.float32))
    tl.store(out_ptr + row + at, less * tl.sum(less, axis=0), mask=at < n)


@tilejit.kernel
def _read_again(x_ptr, out_ptr, sign_ptr, stride, n, BLOCK: tl.constexpr):
    """What is stored is computed of the row in memory; a second array is stored beside."""
    row = tl.program_id(0).to(tl.int64) * stride
    at = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row + at, mask=at < n, other=0).to(tl.float32)
    total = tl.sum(x, axis=0)
    tl.store(out_ptr + row + at, x * total, mask=at < n)
    tl.store(sign_ptr + row + at, x > total, mask=at < n)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> object:
    before = tilejit.get_num_threads()
    tilejit.set_num_threads(request.param)
    yield request.param
    tilejit.set_num_threads(before)


def _row_numbers(rows: int, stride: int, dtype: object) -> np.ndarray:
    return np.random.default_rng(rows).integers(-3, 4, rows * stride).astype(dtype)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("dtype", "shift"), [("float32", 0), ("float32", 3), (ml_dtypes.bfloat16, 5)])
@pytest.mark.parametrize("rows", [1, 2, 40])
@pytest.mark.parametrize("n", [5, 70, 1999, BLOCK])
def test_rows_that_were_kept(
    target: object, dtype: object, shift: int, rows: int, n: int, threads: int
) -> None:
    stride = BLOCK + 32
    x = _row_numbers(rows, stride, dtype)
    out = _aligned(rows * stride + LINE, dtype)[shift : shift + rows * stride]
    out[:] = 77
    kernel = _kept[(rows,)](x, out, stride, n, BLOCK=BLOCK, target=target)
    assert "streaming late" in kernel.ir("plan")
    tile = x.reshape(rows, stride)[:, :n].astype(np.float32)
    less = np.exp2(tile - tile.max(axis=1, keepdims=True))
    expected = np.full((rows, stride), 77, np.float32)
    expected[:, :n] = less * less.sum(axis=1, keepdims=True)
    got = out.reshape(rows, stride).astype(np.float32)
    np.testing.assert_allclose(got, expected, rtol=1e-5 if dtype == "float32" else 1e-2)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", ["float32", ml_dtypes.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("shifts", [(0, 0), (4, 4), (16, 1)])
def test_rows_that_are_read_again(
    target: object, dtype: object, shifts: tuple[int, int], threads: int
) -> None:
    """Both arrays cannot always be aligned at once, and then nothing is left."""
    rows, stride = 33, BLOCK
    x = _row_numbers(rows, stride, dtype)
    out = _aligned(rows * stride + LINE, dtype)[shifts[0] : shifts[0] + rows * stride]
    sign = _aligned(rows * stride + LINE, bool)[shifts[1] : shifts[1] + rows * stride]
    kernel = _read_again[(rows,)](x, out, sign, stride, BLOCK, BLOCK=BLOCK, target=target)
    assert "streaming late" in kernel.ir("plan")
    tile = x.reshape(rows, stride).astype(np.float32)
    total = tile.sum(axis=1, keepdims=True)
    np.testing.assert_array_equal(out.reshape(rows, stride), (tile * total).astype(dtype))
    np.testing.assert_array_equal(sign.reshape(rows, stride), tile > total)


def test_the_host_stores_past_the_caches_where_the_machine_can() -> None:
    signature = "x_ptr=*fp32:16, out_ptr=*fp32:16, stride=i32:16, n=i32, BLOCK=2048"
    texts = [
        tilejit.compile(_kept, signature=signature, target=machine).asm["llvm"]
        for machine in (generic_avx512(), aarch64_neon())
    ]
    assert ["late.groups" in text for text in texts] == [True, False]


def _aligned(size: int, dtype: object) -> np.ndarray:
    """Zeros that begin at a multiple of 64 bytes."""
    itemsize = np.dtype(dtype).itemsize
    memory = np.zeros(size * itemsize + LINE, np.uint8)
    first = -memory.ctypes.data % LINE
    return memory[first : first + size * itemsize].view(dtype)
