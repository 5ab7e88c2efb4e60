"""Root-mean-square normalisation over the rows of a matrix, with weight; fp32, fp16 and bf16.

One program owns one row, which it reads from memory once: the second walk over the tile finds it in the
cache. Everything is computed in fp32 and rounded where it is stored.

    python examples/rms_norm.py
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

import tilejit
import tilejit.language as tl


@tilejit.kernel
def rms_norm_kernel(x_ptr, weight_ptr, out_ptr, x_stride, out_stride, n_cols, epsilon, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    mask = columns < n_cols
    x = tl.load(x_ptr + row * x_stride + columns, mask=mask, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(x * x, axis=0) / n_cols + epsilon)
    weight = tl.load(weight_ptr + columns, mask=mask).to(tl.float32)
    normalised = (x * scale * weight).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + row * out_stride + columns, normalised, mask=mask)


def rms_norm(
    x: NDArray[np.generic],
    weight: NDArray[np.generic],
    out: NDArray[np.generic] | None = None,
    *,
    epsilon: float = 1e-6,
    block: int | None = None,
) -> NDArray[np.generic]:
    """Return ``x / sqrt(mean(x**2) + epsilon) * weight`` for every row of ``x``.

    Shapes: x and out are [M, N], rows contiguous; weight is [N]; ``block`` is at least N.
    """
    if x.ndim != 2 or x.strides[1] != x.itemsize:
        raise ValueError(f"x must be a matrix with contiguous rows, got shape {x.shape}, strides {x.strides}")
    n_rows, n_cols = x.shape
    if weight.shape != (n_cols,):
        raise ValueError(f"weight must have shape ({n_cols},), got {weight.shape}")
    block = n_cols if block is None else block
    if block < n_cols:
        raise ValueError(f"block must hold a row of {n_cols} elements, got {block}")
    if out is None:
        out = np.empty_like(x)
    x_stride, out_stride = x.strides[0] // x.itemsize, out.strides[0] // out.itemsize
    rms_norm_kernel[(n_rows,)](x, weight, out, x_stride, out_stride, n_cols, epsilon, BLOCK=block)
    return out


def reference(
    x: NDArray[np.generic], weight: NDArray[np.generic], epsilon: float = 1e-6
) -> NDArray[np.float64]:
    """Return the normalised rows, computed in float64."""
    wide = x.astype(np.float64)
    scale = 1 / np.sqrt((wide * wide).mean(axis=1, keepdims=True) + epsilon)
    result: NDArray[np.float64] = wide * scale * weight.astype(np.float64)
    return result


def main() -> None:
    """Check against numpy in float64 for three dtypes, with exact and with wider tiles."""
    generator = np.random.default_rng(0)
    for dtype, tolerance in ((np.float32, 2e-6), (np.float16, 1e-3), (ml_dtypes.bfloat16, 8e-3)):
        for (n_rows, n_cols), block in (((130, 1000), None), ((64, 781), 1024)):
            x = generator.standard_normal((n_rows, n_cols), dtype=np.float32).astype(dtype)
            weight = generator.standard_normal(n_cols, dtype=np.float32).astype(dtype)
            out = rms_norm(x, weight, block=block).astype(np.float64)
            np.testing.assert_allclose(out, reference(x, weight), rtol=tolerance, atol=tolerance)
        print(f"rms_norm: {np.dtype(dtype).name}, exact and wider tiles, agrees with float64")


if __name__ == "__main__":
    main()
