"""Rotary position embedding: every pair of a head's elements is turned by an angle of its token's position.

Pairs are elements i and i + D/2, as in GPT-NeoX and Llama. One program owns all heads of a token: the cosines
and sines of its angles are read once for all of them. fp32, fp16 and bf16.

    python examples/rope.py
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

import tilejit
import tilejit.language as tl


@tilejit.kernel
def rope_kernel(x_ptr, cos_ptr, sin_ptr, out_ptr, x_stride, out_stride, H: tl.constexpr, HALF: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    pairs = tl.arange(0, HALF)
    places = tl.arange(0, H)[:, None] * (2 * HALF) + pairs[None, :]
    x_ptr += token * x_stride
    out_ptr += token * out_stride
    cos = tl.load(cos_ptr + token * HALF + pairs)[None, :]
    sin = tl.load(sin_ptr + token * HALF + pairs)[None, :]
    first = tl.load(x_ptr + places).to(tl.float32)
    second = tl.load(x_ptr + places + HALF).to(tl.float32)
    element = out_ptr.dtype.element_ty
    tl.store(out_ptr + places, (first * cos - second * sin).to(element))
    tl.store(out_ptr + places + HALF, (second * cos + first * sin).to(element))


def angles(positions: NDArray[np.int64], head_dim: int, base: float = 10000.0) -> NDArray[np.float64]:
    """Return the angle of every pair of elements: [T, D/2] for positions [T]."""
    frequencies = base ** (-np.arange(0, head_dim, 2) / head_dim)
    result: NDArray[np.float64] = positions[:, None] * frequencies
    return result


def rope(
    x: NDArray[np.generic],
    cos: NDArray[np.float32],
    sin: NDArray[np.float32],
    out: NDArray[np.generic] | None = None,
) -> NDArray[np.generic]:
    """Return ``x`` with the pairs of each head turned; ``out`` may be ``x``.

    Shapes: x and out are [T, H, D], each token's heads contiguous; cos and sin are [T, D/2], contiguous.
    """
    if x.ndim != 3 or x.shape[2] % 2:
        raise ValueError(f"x must be [tokens, heads, an even head size], got shape {x.shape}")
    tokens, heads, head_dim = x.shape
    if cos.shape != (tokens, head_dim // 2) or sin.shape != cos.shape:
        raise ValueError(
            f"cos and sin must have shape {(tokens, head_dim // 2)}, got {cos.shape} and {sin.shape}"
        )
    if x.strides[1:] != (head_dim * x.itemsize, x.itemsize):
        raise ValueError(f"the heads of a token must be contiguous, got strides {x.strides}")
    if out is None:
        out = np.empty_like(x)
    x_stride, out_stride = x.strides[0] // x.itemsize, out.strides[0] // out.itemsize
    rope_kernel[(tokens,)](x, cos, sin, out, x_stride, out_stride, H=heads, HALF=head_dim // 2)
    return out


def reference(x: NDArray[np.generic], turns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the turned pairs, computed in float64; ``turns`` are the angles [T, D/2]."""
    wide = x.astype(np.float64)
    first, second = np.split(wide, 2, axis=2)
    cos, sin = np.cos(turns)[:, None], np.sin(turns)[:, None]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=2)


def main() -> None:
    """Check against numpy in float64 for three dtypes and head sizes."""
    generator = np.random.default_rng(0)
    for dtype, tolerance in ((np.float32, 2e-6), (np.float16, 2e-3), (ml_dtypes.bfloat16, 2e-2)):
        for heads, head_dim in ((8, 128), (5, 64), (3, 40)):
            x = generator.standard_normal((70, heads, head_dim), dtype=np.float32).astype(dtype)
            turns = angles(np.arange(70) + 1000, head_dim)
            cos, sin = np.cos(turns).astype(np.float32), np.sin(turns).astype(np.float32)
            out = rope(x, cos, sin).astype(np.float64)
            np.testing.assert_allclose(out, reference(x, turns), rtol=tolerance, atol=tolerance)
        print(f"rope: {np.dtype(dtype).name}, heads of 128, 64 and 40, agrees with float64")


if __name__ == "__main__":
    main()
