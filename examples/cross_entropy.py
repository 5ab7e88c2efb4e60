"""Cross entropy of rows of logits with the numbers of the right classes, without a matrix of probabilities.

One program owns one row and walks it once, block by block. Exponentials are taken of what a logit is above a
shift, which need not be the maximum for their sum to fit into fp32: the maximum of a few logits does. Where a
block's sum is too large, the shift becomes the block's maximum, and the sum so far is scaled anew.
Exponentials are powers of two, which take fewer instructions than powers of e: one multiply-add makes the
exponent of a logit, and what rounding the shift's product changes is the same for all of them. fp32, fp16 and
bf16 logits, computed in fp32.

    python examples/cross_entropy.py
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

import tilejit
import tilejit.language as tl

LOG2_E = 1.4426950408889634
LOWEST = -3.4028234663852886e38  # of fp32: finite, so that the distance of -inf from it is -inf
MOST = 2.0**60  # sums of exponentials below do not overflow together
LARGE = 1e38  # of shifts: their product with log2 e is finite
SAMPLE = 64


@tilejit.kernel
def cross_entropy_kernel(logits_ptr, target_ptr, loss_ptr, stride, n_classes, ignored, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    logits_ptr += row * stride
    columns = tl.arange(0, BLOCK)
    first = tl.arange(0, SAMPLE)
    sample = tl.load(logits_ptr + first, mask=first < n_classes, other=-float("inf")).to(tl.float32)
    shift = tl.maximum(tl.max(sample, axis=0), LOWEST)
    total = 0.0
    for start in range(0, n_classes, BLOCK):
        inside = columns < n_classes - start
        x = tl.load(logits_ptr + start + columns, mask=inside, other=-float("inf")).to(tl.float32)
        scaled = shift * LOG2_E
        rounded = tl.exp2(tl.fma(-shift, LOG2_E, scaled))  # by how much all exponentials are off
        added = tl.sum(tl.exp2(tl.fma(x, LOG2_E, -scaled)), axis=0) * rounded
        if ((added <= MOST) & (tl.abs(shift) <= LARGE)) == 0:  # NaN is not
            largest = tl.maximum(shift, tl.max(x, axis=0))
            total *= tl.exp2((shift - largest) * LOG2_E)
            shift = largest
            added = tl.sum(tl.exp2((x - shift) * LOG2_E), axis=0)
        total += added
    target = tl.load(target_ptr + row)
    loss = 0.0
    if target != ignored:
        loss = shift + tl.log(total) - tl.load(logits_ptr + target).to(tl.float32)
    tl.store(loss_ptr + row, loss)


def cross_entropy(
    logits: NDArray[np.generic],
    targets: NDArray[np.int64],
    loss: NDArray[np.float32] | None = None,
    *,
    ignored: int = -100,
    block: int = 16384,
) -> NDArray[np.float32]:
    """Return ``log(sum(exp(row))) - row[target]`` for every row, 0 where the target is ``ignored``.

    Shapes: logits are [M, N], rows contiguous; targets and loss are [M]; targets lie in 0 ... N - 1.
    """
    if logits.ndim != 2 or logits.strides[1] != logits.itemsize:
        raise ValueError(f"logits must be a matrix with contiguous rows, got shape {logits.shape}")
    n_rows, n_classes = logits.shape
    if targets.shape != (n_rows,):
        raise ValueError(f"targets must have shape ({n_rows},), got {targets.shape}")
    if loss is None:
        loss = np.empty(n_rows, dtype=np.float32)
    stride = logits.strides[0] // logits.itemsize
    block = 32 * tilejit.cdiv(n_classes, 32 * tilejit.cdiv(n_classes, block))  # blocks of one size
    cross_entropy_kernel[(n_rows,)](
        logits, targets, loss, stride, n_classes, ignored, BLOCK=min(block, n_classes)
    )
    return loss


def reference(
    logits: NDArray[np.generic], targets: NDArray[np.int64], ignored: int = -100
) -> NDArray[np.float64]:
    """Return the losses, computed in float64."""
    wide = logits.astype(np.float64)
    largest = wide.max(axis=1)
    total = np.exp(wide - largest[:, None]).sum(axis=1)
    chosen = np.where(targets == ignored, 0, targets)
    loss = largest + np.log(total) - np.take_along_axis(wide, chosen[:, None], axis=1)[:, 0]
    result: NDArray[np.float64] = np.where(targets == ignored, 0.0, loss)
    return result


def main() -> None:
    """Check against numpy in float64 for three dtypes, with classes that no block divides."""
    generator = np.random.default_rng(0)
    for dtype in (np.float32, np.float16, ml_dtypes.bfloat16):
        for n_classes in (9000, 100, 1):
            logits = 5 * generator.standard_normal((65, n_classes), dtype=np.float32)
            rounded = logits.astype(dtype)
            targets = generator.integers(0, n_classes, 65)
            targets[::7] = -100
            loss = cross_entropy(rounded, targets)
            np.testing.assert_allclose(loss, reference(rounded, targets), rtol=1e-5, atol=1e-5)
        print(f"cross_entropy: {np.dtype(dtype).name}, up to 9000 classes, agrees with float64")


if __name__ == "__main__":
    main()
