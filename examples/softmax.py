"""Softmax over the rows of a matrix.

One program owns one row and keeps it in a tile: the row is read once and written once. The tile is as wide
as the row by default; tile sizes need not be powers of two. Exponentials are powers of two, which take fewer
instructions than powers of e, and one division per row serves all of its elements.

    python examples/softmax.py
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import tilejit
import tilejit.language as tl

LOG2_E = 1.4426950408889634


@tilejit.kernel
def softmax_kernel(x_ptr, out_ptr, x_stride, out_stride, n_cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    mask = columns < n_cols
    x = tl.load(x_ptr + row * x_stride + columns, mask=mask, other=-float("inf"))
    numerator = tl.exp2((x - tl.max(x, axis=0)) * LOG2_E)
    scale = 1.0 / tl.sum(numerator, axis=0)
    tl.store(out_ptr + row * out_stride + columns, numerator * scale, mask=mask)


def softmax(
    x: NDArray[np.float32], out: NDArray[np.float32] | None = None, *, block: int | None = None
) -> NDArray[np.float32]:
    """Return the softmax of every row of ``x``.

    Shapes: x and out are [M, N], rows contiguous; ``block`` is at least N.
    """
    if x.ndim != 2:
        raise ValueError(f"x must be a matrix, got shape {x.shape}")
    if x.strides[1] != x.itemsize:
        raise ValueError("the rows of x must be contiguous")
    n_rows, n_cols = x.shape
    block = n_cols if block is None else block
    if block < n_cols:
        raise ValueError(f"block must hold a row of {n_cols} elements, got {block}")
    if out is None:
        out = np.empty_like(x)
    x_stride, out_stride = x.strides[0] // x.itemsize, out.strides[0] // out.itemsize
    softmax_kernel[(n_rows,)](x, out, x_stride, out_stride, n_cols, BLOCK=block)
    return out


def reference(x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the softmax of every row, computed in float64."""
    exponentials = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
    result: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return result


def main() -> None:
    """Check against numpy in float64, with exact and with wider tiles."""
    generator = np.random.default_rng(0)
    for shape, block in (((257, 1000), None), ((64, 781), 1024), ((3, 1), None)):
        x = 10 * generator.standard_normal(shape, dtype=np.float32)
        out = softmax(x, block=block)
        np.testing.assert_allclose(out, reference(x), rtol=2e-5, atol=1e-12)
        print(f"softmax: {shape[0]} x {shape[1]}, block {block or shape[1]}, agrees with float64")


if __name__ == "__main__":
    main()
