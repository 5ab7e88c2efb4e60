"""Right operands of dots that stay the same in a loop, packed once before it."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tilejit.backend.cpu.emit_llvm import emit
from tilejit.target.cpu import sapphire_rapids

from .compare import check_close


@tilejit.kernel
def kept_weights_kernel(
    x_ptr, w_ptr, out_ptr, rows, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, TRANSPOSED: tl.constexpr
):
    inner, columns = tl.arange(0, K), tl.arange(0, N)
    if TRANSPOSED:
        w = tl.load(w_ptr + columns[:, None] * K + inner[None, :]).T
    else:
        w = tl.load(w_ptr + inner[:, None] * N + columns[None, :])
    for first in range(0, rows, M):
        row = first + tl.arange(0, M)
        x = tl.load(x_ptr + row[:, None] * K + inner[None, :], mask=row[:, None] < rows, other=0)
        sums = tl.dot(x, w, out_dtype=out_ptr.dtype.element_ty, input_precision="ieee")
        tl.store(out_ptr + row[:, None] * N + columns[None, :], sums, mask=row[:, None] < rows)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.int8])
@pytest.mark.parametrize(("m", "n", "k"), [(32, 64, 128), (16, 48, 320), (20, 40, 96)])
def test_weights_that_all_rows_share(
    rng: np.random.Generator, m: int, n: int, k: int, dtype: type[np.generic], transposed: bool
) -> None:
    rows = 2 * m + 5
    x, w = (rng.integers(-9, 9, shape).astype(dtype) for shape in ((rows, k), (k, n)))
    out = np.empty((rows, n), np.int32 if dtype is np.int8 else np.float32)
    stored = np.ascontiguousarray(w.T) if transposed else w
    kept_weights_kernel[(1,)](x, stored, out, rows, M=m, N=n, K=k, TRANSPOSED=transposed)
    np.testing.assert_array_equal(out, x.astype(np.float64) @ w.astype(np.float64))


@pytest.mark.parametrize("transposed", [False, True])
def test_what_stays_the_same_is_packed_before_the_loop(rng: np.random.Generator, transposed: bool) -> None:
    x, w = (rng.standard_normal(shape).astype(ml_dtypes.bfloat16) for shape in ((64, 128), (128, 64)))
    out = np.empty((64, 64), np.float32)
    compiled = kept_weights_kernel[(1,)](x, w, out, 64, M=32, N=64, K=128, TRANSPOSED=transposed)
    program = str(emit(compiled.plan, sapphire_rapids()).module)
    functions = {text.split('"', 2)[1]: text for text in program.split("define ")[1:]}
    packing = [name for name, text in functions.items() if "tilejit.pack.words" in text.split("\n", 1)[1]]
    assert packing == ["kept_weights_kernel.programs"]
    dots = [name for name in functions if name.startswith("tilejit.dot.32x64x128")]
    assert dots and all(".packed" in name for name in dots)


@tilejit.kernel
def changing_weights_kernel(x_ptr, w_ptr, out_ptr, steps, N: tl.constexpr):
    """The right operand is what the loop carries: it may not be kept."""
    lane = tl.arange(0, N)
    place = lane[:, None] * N + lane[None, :]
    power = tl.load(w_ptr + place)
    x = tl.load(x_ptr + place)
    for _ in range(steps):
        power = tl.dot(x, power, input_precision="ieee").to(tl.bfloat16)
    tl.store(out_ptr + place, power)


def test_a_carried_operand_is_not_kept(rng: np.random.Generator) -> None:
    x = np.roll(np.eye(32), 1, axis=1).astype(ml_dtypes.bfloat16)
    w = rng.standard_normal((32, 32)).astype(ml_dtypes.bfloat16)
    out = np.empty_like(w)
    changing_weights_kernel[(1,)](x, w, out, 3, N=32)
    check_close(out, np.roll(w.astype(np.float64), -3, axis=0))
