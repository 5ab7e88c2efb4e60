"""Add two vectors: the first kernel to read.

Every program of the grid owns ``BLOCK`` elements; the mask keeps the last program inside the arrays. Nobody
reads x and y again: where a cache can be told so, it keeps its room for the sum.

    python examples/vector_add.py
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import tilejit
import tilejit.language as tl


@tilejit.kernel
def vector_add_kernel(x_ptr, y_ptr, out_ptr, n_elements, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n_elements
    x = tl.load(x_ptr + offsets, mask=mask, eviction_policy="evict_first")
    y = tl.load(y_ptr + offsets, mask=mask, eviction_policy="evict_first")
    tl.store(out_ptr + offsets, x + y, mask=mask)


def vector_add(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    out: NDArray[np.float32] | None = None,
    *,
    block: int = 16384,
) -> NDArray[np.float32]:
    """Return ``x + y``.

    Shapes: x, y and out are [N] and contiguous.
    """
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"x and y must be vectors of one length, got {x.shape} and {y.shape}")
    if out is None:
        out = np.empty_like(x)
    vector_add_kernel[(tilejit.cdiv(x.size, block),)](x, y, out, x.size, BLOCK=block)
    return out


def main() -> None:
    """Check against numpy on a length that no block divides."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal(1_000_003, dtype=np.float32)
    y = generator.standard_normal(1_000_003, dtype=np.float32)
    np.testing.assert_array_equal(vector_add(x, y), x + y)
    print(f"vector_add: {x.size} elements, equal to numpy bit for bit")


if __name__ == "__main__":
    main()
