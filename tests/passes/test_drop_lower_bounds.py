"""Tests whether coordinates are negative go where they cannot be: kernels with tensor descriptors."""

from __future__ import annotations

import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tests.kernels_ascend.harness import compare
from tilejit.ir.printer import print_function
from tilejit.passes.drop_lower_bounds import drop_lower_bounds
from tilejit.runtime.kernel import Kernel

RNG = np.random.default_rng(8)


@tilejit.kernel
def described_product(a_ptr, b_ptr, c_ptr, M, N, K, BLOCK: tl.constexpr, CLIPS: tl.constexpr):
    a = tl.make_tensor_descriptor(a_ptr, [M, K], [K, 1], [BLOCK, BLOCK])
    b = tl.make_tensor_descriptor(b_ptr, [K, N], [N, 1], [BLOCK, BLOCK])
    c = tl.make_tensor_descriptor(c_ptr, [M, N], [N, 1], [BLOCK, BLOCK])
    row, column = tl.program_id(0) * BLOCK, tl.program_id(1) * BLOCK
    acc = tl.zeros((BLOCK, BLOCK), tl.float32)
    for k in range(0, K, BLOCK):
        acc = tl.dot(a.load([row, k]), b.load([k, column]), acc)
    if CLIPS:
        acc = tl.maximum(acc, 0.0)
    c.store([row, column], acc)


@pytest.mark.parametrize("clips", (False, True))
@pytest.mark.parametrize("sizes", ((50, 37, 70), (16, 32, 1)))
def test_products_of_described_tiles(sizes: tuple[int, int, int], clips: bool) -> None:
    m, n, k = sizes
    a, b = (RNG.integers(-3, 4, shape).astype(np.float16) for shape in ((m, k), (k, n)))
    c, grid = np.full((m, n), 7, np.float32), (-(-m // 32), -(-n // 32))
    compare(described_product, a, b, c, m, n, k, grid=grid, exact=True, BLOCK=32, CLIPS=clips)


@tilejit.kernel
def from_row(x_ptr, y_ptr, first, rows):
    place = first + tl.arange(0, 8)
    tl.store(y_ptr + tl.arange(0, 8), tl.load(x_ptr + place, mask=(place >= 0) & (place < rows), other=0.0))


@tilejit.kernel
def going_down(x_ptr, y_ptr, first, rows):
    for row in range(8, -8, -1):
        place = row + tl.arange(0, 8)
        tl.store(y_ptr + tl.arange(0, 8), tl.load(x_ptr + place, mask=place >= 0, other=0.0))


@tilejit.kernel
def going_up(x_ptr, y_ptr, first, rows):
    start = tl.program_id(0) * 8
    for row in range(8, rows):
        start += row // 2
        place = (start + tl.arange(0, 8)) % 5
        tl.store(y_ptr + tl.arange(0, 8), tl.load(x_ptr + place, mask=place > -1, other=0.0))


@pytest.mark.parametrize(("kernel", "goes"), ((from_row, False), (going_down, False), (going_up, True)))
def test_what_may_be_negative_is_tested(kernel: Kernel, goes: bool) -> None:
    signature = "x_ptr=*fp32, y_ptr=*fp32, first=i32, rows=i32"
    function = tilejit.compile(kernel, signature=signature, target="interpreter").tile
    before = print_function(function)
    dropped = print_function(drop_lower_bounds(function))
    assert print_function(function) == before
    assert ("cmp" not in dropped) is goes and (dropped != before) is goes
