"""Stores past the caches: wherever rows begin and end, the same elements are stored, and no others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tests.example_kernels import compiled
from tilejit.target.cpu import aarch64_neon, generic_avx2, generic_avx512, host, runs_here

SMALL = {"l2_bytes": 1, "l3_bytes": 64}  # caches so small that every launch stores more than they hold
BLOCK = 512


@tilejit.kernel
def _rows(x_ptr, out_ptr, stride, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * stride + at, mask=at < n, other=0)
    tl.store(out_ptr + row * stride + at, x + x, mask=at < n)


@tilejit.kernel
def _two_rows(x_ptr, out_ptr, sign_ptr, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at)
    tl.store(out_ptr + at, x * 3)
    tl.store(sign_ptr + at, x > 0)


@tilejit.kernel
def _tile(x_ptr, out_ptr, stride, n, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    rows, columns = tl.arange(0, ROWS), tl.arange(0, BLOCK)
    at = rows[:, None] * stride + columns[None, :]
    tl.store(out_ptr + at, tl.load(x_ptr + at) + 1, mask=columns[None, :] < n)


def _targets() -> list[object]:
    machines = [host()] + ([generic_avx2()] if runs_here(generic_avx2()) else [])
    return [pytest.param(replace(machine, **SMALL), id=machine.name) for machine in machines]


@pytest.mark.parametrize("target", _targets())
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "int8", "int16"])
@pytest.mark.parametrize("shift", [0, 1, 3, 4, 15, 16, 31])
@pytest.mark.parametrize("n", [0, 5, 31, 64, 500, BLOCK, BLOCK + 1])
def test_rows_that_begin_anywhere(target: object, dtype: str, shift: int, n: int) -> None:
    rows, stride = 3, BLOCK + 7
    x = np.arange(rows * stride).astype(dtype)
    out = _aligned(rows * stride + 64, dtype)[shift : shift + rows * stride + 16]
    out[:] = 77
    _rows[(rows,)](x, out, stride, n, BLOCK=BLOCK, target=target)
    expected = np.full(rows * stride + 16, 77, dtype)
    for row in range(rows):
        part = slice(row * stride, row * stride + min(n, BLOCK))
        expected[part] = x[part] + x[part]
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("target", _targets())
@pytest.mark.parametrize("shifts", [(0, 0), (4, 4), (4, 8), (5, 64)])
def test_two_stores_of_one_nest(target: object, shifts: tuple[int, int]) -> None:
    """Both cannot be aligned at once; the second may have elements of another size."""
    size = 4 * BLOCK
    x = np.random.default_rng(1).standard_normal(size).astype(np.float32)
    out = _aligned(size + 64, "float32")[shifts[0] : shifts[0] + size]
    sign = _aligned(size + 64, "bool")[shifts[1] : shifts[1] + size]
    _two_rows[(4,)](x, out, sign, BLOCK=BLOCK, target=target)
    np.testing.assert_array_equal(out, x * np.float32(3))
    np.testing.assert_array_equal(sign, x > 0)


@pytest.mark.parametrize("target", _targets())
@pytest.mark.parametrize("n", [0, 100, 128, 256])
def test_rows_of_a_tile_are_aligned_each_on_its_own(target: object, n: int) -> None:
    rows, stride = 5, 259
    x = np.arange(rows * stride, dtype=np.float32)
    out = np.zeros_like(x)
    _tile[(1,)](x, out, stride, n, ROWS=rows, BLOCK=256, target=target)
    inside = np.arange(rows * stride) % stride < n
    np.testing.assert_array_equal(out, np.where(inside, x + 1, 0))


@tilejit.kernel
def _short_rows(x_ptr, out_ptr, stride, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    rows, columns = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, BLOCK)
    at = rows[:, None].to(tl.int64) * stride + columns[None, :]
    tl.store(out_ptr + at, tl.load(x_ptr + at) + 1)


@pytest.mark.parametrize("target", _targets())
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("shift", [0, 1, 8, 16])
@pytest.mark.parametrize("stride", [64, 96, 131])
def test_short_rows(target: object, dtype: str, shift: int, stride: int) -> None:
    """They pass the caches where all of them begin with a cache line."""
    rows, programs = 16, 2
    size = rows * programs * stride
    x = (np.arange(size) % 100).astype(dtype)
    out = _aligned(size + 64, dtype)[shift : shift + size]
    kernel = _short_rows[(programs,)](x, out, stride, ROWS=rows, BLOCK=64, target=target)
    assert "streaming" in kernel.ir("plan")
    np.testing.assert_array_equal(out, np.where(np.arange(size) % stride < 64, x + x.dtype.type(1), 0))


def test_short_rows_have_stores_past_the_caches() -> None:
    signature = "x_ptr=*fp32:16, out_ptr=*fp32:16, stride=i32:16, ROWS=16, BLOCK=64"
    kernel = tilejit.compile(_short_rows, signature=signature, target=generic_avx512())
    assert "vmovntps" in kernel.asm["s"]
    assert "sfence" in kernel.asm["s"]


_SOFTMAX = "x_ptr=*fp32, out_ptr=*fp32, x_stride=i32, out_stride=i32, n_cols=i32, BLOCK=256"


@pytest.mark.parametrize("machine", [generic_avx2(), generic_avx512()], ids=str)
def test_x86_code_has_stores_past_the_caches_and_a_fence(machine: object) -> None:
    assembly = compiled("softmax.softmax_kernel", _SOFTMAX, machine).asm["s"]
    assert "vmovntps" in assembly
    assert assembly.rindex("sfence") > assembly.rindex("vmovntps")


def test_other_machines_store_as_usual() -> None:
    text = compiled("softmax.softmax_kernel", _SOFTMAX, aarch64_neon()).asm["llvm"]
    assert "nontemporal" not in text
    assert "sfence" not in text


def _aligned(size: int, dtype: str) -> np.ndarray:
    """Zeros that begin at a multiple of 64 bytes."""
    itemsize = np.dtype(dtype).itemsize
    memory = np.zeros(size * itemsize + 64, np.int8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size * itemsize].view(dtype)
