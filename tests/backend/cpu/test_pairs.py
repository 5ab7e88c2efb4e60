"""Rows of bf16 whose even elements are computed first come out in order, and are added up in full."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tests.example_kernels import compiled
from tilejit.target.cpu import CpuTarget, generic_avx2, host, runs_here, sapphire_rapids

BLOCK = 1024
BF16 = np.dtype(ml_dtypes.bfloat16)
SIZES = (0, 1, 31, 32, 33, 64, 500, 1000, BLOCK)
TARGETS = [host(), *([generic_avx2()] if runs_here(generic_avx2()) else [])]
# Caches so small that every launch stores more than they hold.
TARGETS += [replace(target, l2_bytes=1, l3_bytes=64) for target in TARGETS]


@tilejit.kernel
def _scale(x_ptr, weight_ptr, out_ptr, n, factor, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < n).to(tl.float32)
    weight = tl.load(weight_ptr + at, mask=at < n).to(tl.float32)
    tl.store(out_ptr + at, (x * factor * weight).to(tl.bfloat16), mask=at < n)


@tilejit.kernel
def _total(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < n, other=0).to(tl.float32)
    tl.store(out_ptr, tl.sum(x, axis=0))
    tl.store(out_ptr + 1, tl.max(x, axis=0))


@tilejit.kernel
def _widen(x_ptr, out_ptr, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(out_ptr + at, tl.load(x_ptr + at).to(tl.float32))


def _values() -> np.ndarray:
    """Numbers of all sizes, denormal ones, infinities and NaN among them."""
    bits = np.random.default_rng(0).integers(0, 1 << 16, BLOCK + 8).astype(np.uint16)
    bits[5:300:7] = np.arange(1, 44)
    bits[300:310] = 0x7FC0
    return bits.view(BF16)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("shift", [0, 3])
@pytest.mark.parametrize("n", SIZES)
def test_elements_are_stored_in_order(target: CpuTarget, shift: int, n: int) -> None:
    x, weight = _values(), _values()[::-1].copy()
    out = np.full(BLOCK + 8, 7, BF16)
    kernel = _scale[(1,)](x[shift:], weight, out[shift:], n, 0.25, BLOCK=BLOCK, target=target)
    assert " in pairs" in kernel.ir("plan")
    expected = np.full_like(out, 7)
    with np.errstate(all="ignore"):
        product = x[shift : shift + n].astype(np.float32) * np.float32(0.25) * weight[:n].astype(np.float32)
        expected[shift : shift + n] = product.astype(BF16)
    np.testing.assert_array_equal(np.isnan(out.astype(np.float32)), np.isnan(expected.astype(np.float32)))
    is_number = ~np.isnan(expected.astype(np.float32))
    np.testing.assert_array_equal(out[is_number].view(np.uint16), expected[is_number].view(np.uint16))


@pytest.mark.parametrize("target", TARGETS[:2], ids=str)
@pytest.mark.parametrize("n", SIZES[1:])
def test_all_elements_are_added_up(target: CpuTarget, n: int) -> None:
    """Whole numbers, of which any sum is exact."""
    x = np.random.default_rng(1).integers(-100, 100, BLOCK).astype(BF16)
    out = np.zeros(2, np.float32)
    kernel = _total[(1,)](x, out, n, BLOCK=BLOCK, target=target)
    assert " in pairs" in kernel.ir("plan")
    wide = x[:n].astype(np.float32)
    assert list(out) == [wide.sum(), max(wide.max(), 0) if n < BLOCK else wide.max()]


def test_what_is_stored_as_fp32_stays_in_order() -> None:
    x, out = np.arange(BLOCK).astype(BF16), np.zeros(BLOCK, np.float32)
    kernel = _widen[(1,)](x, out, BLOCK=BLOCK)
    assert "in pairs" not in kernel.ir("plan")
    np.testing.assert_array_equal(out, x.astype(np.float32))


def test_words_are_taken_apart_by_a_shift_and_a_mask() -> None:
    signature = (
        "x_ptr=*bf16:16, weight_ptr=*bf16:16, out_ptr=*bf16:16, x_stride=i32:16, out_stride=i32:16, "
        "n_cols=i32:16, epsilon=fp32, BLOCK=4096"
    )
    assembly = compiled("rms_norm.rms_norm_kernel", signature, sapphire_rapids()).asm["s"]
    stored = next(part for part in assembly.split(".LBB") if "vmovntdq" in part)
    before = assembly[: assembly.index(stored)].split(".LBB")[-3:]
    assert "vcvtne2ps2bf16" in "".join(before) + stored
    assert "vpmovzxwd" not in "".join(before) + stored
