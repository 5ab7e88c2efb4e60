"""Elementwise ops as instructions of the vector unit: what one instruction does of several ops."""

from __future__ import annotations

import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tests.kernels_ascend.harness import compare, lower
from tilejit import Kernel
from tilejit.ir.machine_text import print_machine_kernel

RNG = np.random.default_rng(6)


@tilejit.kernel
def floor_kernel(x_ptr, out_ptr, twice_ptr, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    y = tl.load(x_ptr + lanes) + 0.5
    down = tl.floor(y)
    tl.store(twice_ptr + lanes, y * 2.0)
    tl.store(out_ptr + lanes, down.to(out_ptr.dtype.element_ty))


@tilejit.kernel
def ceil_kernel(x_ptr, out_ptr, twice_ptr, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + lanes)
    tl.store(twice_ptr + lanes, x * 2.0)
    tl.store(out_ptr + lanes, tl.ceil(x).to(out_ptr.dtype.element_ty))


@tilejit.kernel
def both_kernel(x_ptr, out_ptr, twice_ptr, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    down = tl.floor(tl.load(x_ptr + lanes))
    tl.store(twice_ptr + lanes, down * 2.0)
    tl.store(out_ptr + lanes, down.to(out_ptr.dtype.element_ty))


@pytest.mark.parametrize("dtype", (np.int16, np.int32, np.int8))
@pytest.mark.parametrize(
    ("kernel", "modes"),
    ((floor_kernel, ["floor"]), (ceil_kernel, ["ceil"]), (both_kernel, ["floor", "trunc"])),
)
def test_rounding_and_conversion_are_one(kernel: Kernel, modes: list[str], dtype: type) -> None:
    x = np.concatenate([RNG.uniform(-100, 100, 60), [-1.5, 2.5, -0.25, 7.0]]).astype(np.float32)
    out, twice = np.zeros(64, dtype), np.zeros(64, np.float32)
    text = print_machine_kernel(lower(kernel, x, out, twice, BLOCK=64))
    casts = [line for line in text.splitlines() if "vcast(" in line]
    assert [line.partition("round=")[2].strip("}") for line in casts][: len(modes)] == modes
    assert len(casts) == len(modes) + 2 * (dtype is np.int8)
    compare(kernel, x, out, twice, grid=(1,), exact=True, BLOCK=64)
