"""Rounding to bf16 agrees with ml_dtypes bit for bit, NaN payloads aside, in whichever way it is done."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tilejit.target.cpu import PREDEFINED


@tilejit.kernel
def _round(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out_ptr + at, tl.load(x_ptr + at, mask=at < n).to(tl.bfloat16), mask=at < n)


@pytest.mark.parametrize("block", [1024, 24])
def test_every_code_and_the_numbers_beside_it(block: int) -> None:
    upper = np.arange(1 << 16, dtype=np.uint32) << 16
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], dtype=np.uint32)
    x = np.bitwise_or.outer(lower, upper).ravel().view(np.float32)
    x = x[np.random.default_rng(0).permutation(x.size)]  # few denormal numbers in each vector
    out = np.zeros(x.size, dtype=ml_dtypes.bfloat16)
    _round[(tilejit.cdiv(x.size, block),)](x, out, x.size, BLOCK=block)
    with np.errstate(invalid="ignore"):
        expected = x.astype(ml_dtypes.bfloat16)
    is_nan = np.isnan(x)
    assert np.isnan(out[is_nan].astype(np.float32)).all()
    np.testing.assert_array_equal(out[~is_nan].view(np.uint16), expected[~is_nan].view(np.uint16))


@pytest.mark.parametrize(("name", "has_instruction"), [("amx", True), ("avx512", False), ("avx2", False)])
def test_the_instruction_is_used_where_it_exists(name: str, has_instruction: bool) -> None:
    for instruction, block in (("vcvtne2ps2bf16", 256), ("vcvtneps2bf16", 16)):
        signature = f"x_ptr=*fp32:16, out_ptr=*bf16:16, n=i32, BLOCK={block}"
        kernel = tilejit.compile(_round, signature=signature, target=PREDEFINED[name]())
        assert (instruction in kernel.asm["s"]) == has_instruction
