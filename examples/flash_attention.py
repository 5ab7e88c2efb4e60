"""Attention without the matrix of scores (prefill), causal or not, with grouped query heads.

One program owns ``BLOCK_M`` queries of one head and walks the keys in steps of ``BLOCK_N``, carrying the
running maximum and sum of the softmax. Under the causal mask it stops at its last visible key, and only the
steps that cross the diagonal or the end of the keys pay for a mask. Both products take their operands in the
dtype of the arrays - the weights of the softmax are rounded to it - and sum in fp32.

    python examples/flash_attention.py
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

import tilejit
import tilejit.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
# Below every score but -inf: exp2(-inf - LOWEST) is 0 and never NaN.
LOWEST = tl.constexpr(-3.0e38)


@tilejit.kernel
def _attend(
    q, k_base, v_base, scale, stride_k, stride_v, start, end, last_visible, accumulator, row_max, row_sum,
    BLOCK_N: tl.constexpr, D: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """One step of the online softmax: the keys start .. start + BLOCK_N - 1."""
    keys = start + tl.arange(0, BLOCK_N)
    # From the first key on by numbers that cannot wrap: unmasked, the products read the rows where they are.
    steps, columns = tl.arange(0, BLOCK_N)[:, None].to(tl.int64), tl.arange(0, D)[None, :]
    k_ptrs = k_base + start.to(tl.int64) * stride_k + (steps * stride_k + columns)
    v_ptrs = v_base + start.to(tl.int64) * stride_v + (steps * stride_v + columns)
    if MASKED:
        k = tl.load(k_ptrs, mask=keys[:, None] < end, other=0.0)
        v = tl.load(v_ptrs, mask=keys[:, None] < end, other=0.0)
    else:
        k = tl.load(k_ptrs)
        v = tl.load(v_ptrs)
    scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
    if MASKED:
        visible = (keys[None, :] <= last_visible[:, None]) & (keys[None, :] < end)
        scores = tl.where(visible, scores, -float("inf"))
    new_max = tl.maximum(row_max, tl.max(scores, axis=1))
    weights = tl.exp2(scores - new_max[:, None])
    correction = tl.exp2(row_max - new_max)
    row_sum = row_sum * correction + tl.sum(weights, axis=1)
    accumulator = tl.dot(weights.to(v.dtype), v, accumulator * correction[:, None], input_precision="ieee")
    return accumulator, new_max, row_sum


@tilejit.kernel
def flash_attention_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, scale, n_queries, n_keys,
    stride_qh, stride_qs, stride_kh, stride_ks, stride_vh, stride_vs, stride_oh, stride_os,
    GROUP: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, D: tl.constexpr, CAUSAL: tl.constexpr,
):  # fmt: skip
    # The last queries see most keys under the causal mask: they go first, so that no thread ends late.
    first = (tl.num_programs(0) - 1 - tl.program_id(0)) * BLOCK_M
    head = tl.program_id(1).to(tl.int64)
    rows = first + tl.arange(0, BLOCK_M)
    columns = tl.arange(0, D)
    in_rows = rows[:, None] < n_queries
    q_base = q_ptr + head * stride_qh
    q = tl.load(q_base + rows[:, None].to(tl.int64) * stride_qs + columns[None, :], mask=in_rows, other=0.0)
    k_base = k_ptr + head // GROUP * stride_kh
    v_base = v_ptr + head // GROUP * stride_vh

    if CAUSAL:
        last_visible = rows + (n_keys - n_queries)
        seen_by_all = tl.maximum(first + (n_keys - n_queries) + 1, 0)
        end = tl.minimum(tl.maximum(first + BLOCK_M + (n_keys - n_queries), 0), n_keys)
    else:
        last_visible = tl.zeros_like(rows) + n_keys
        seen_by_all = n_keys
        end = n_keys
    full_end = tl.minimum(seen_by_all, end) // BLOCK_N * BLOCK_N

    accumulator = tl.zeros((BLOCK_M, D), dtype=tl.float32)
    row_max = tl.full((BLOCK_M,), LOWEST, dtype=tl.float32)
    row_sum = tl.zeros((BLOCK_M,), dtype=tl.float32)
    for start in range(0, full_end, BLOCK_N):
        accumulator, row_max, row_sum = _attend(
            q, k_base, v_base, scale * LOG2_E, stride_ks, stride_vs, start, end, last_visible, accumulator,
            row_max, row_sum, BLOCK_N, D, False,
        )  # fmt: skip
    for start in range(full_end, end, BLOCK_N):
        accumulator, row_max, row_sum = _attend(
            q, k_base, v_base, scale * LOG2_E, stride_ks, stride_vs, start, end, last_visible, accumulator,
            row_max, row_sum, BLOCK_N, D, True,
        )  # fmt: skip

    # A row that saw no key has sum 0 and accumulator 0: dividing by 1 gives 0.
    out = accumulator / tl.where(row_sum > 0.0, row_sum, 1.0)[:, None]
    out_ptrs = out_ptr + head * stride_oh + rows[:, None].to(tl.int64) * stride_os + columns[None, :]
    tl.store(out_ptrs, out.to(out_ptr.dtype.element_ty), mask=in_rows)


def _strides(array: NDArray[np.generic]) -> tuple[int, int]:
    return array.strides[0] // array.itemsize, array.strides[1] // array.itemsize


def choose_blocks(n_queries: int, head_dim: int) -> tuple[int, int]:
    """Tile sizes (queries, keys): 128 queries, fewer where there are fewer; more keys for larger heads.

    Source: 16 heads of 1024 x 64, 32 of 2048 x 128, causal, fp32 and bf16. More queries bring keys in less
    often, and compute more scores in vain along the diagonal.
    """
    block_m = min(128, max(16, 1 << (n_queries - 1).bit_length()))
    return block_m, 128 if head_dim > 64 else 64


def flash_attention(
    q: NDArray[np.generic],
    k: NDArray[np.generic],
    v: NDArray[np.generic],
    out: NDArray[np.generic] | None = None,
    *,
    causal: bool = True,
    scale: float | None = None,
    blocks: tuple[int, int] | None = None,
) -> NDArray[np.generic]:
    """Return ``softmax(scale * q @ k.T) @ v`` of every head; ``causal`` aligns last query and last key.

    Shapes: q and out are [Hq, M, D]; k and v are [Hkv, N, D] with Hq a multiple of Hkv; the last axis is
            contiguous; ``blocks`` are the tile sizes (queries, keys), chosen by dtype and shape unless given.
    """
    if q.ndim != 3 or k.ndim != 3 or k.shape != v.shape or q.shape[2] != k.shape[2]:
        raise ValueError(f"expected q [Hq, M, D], k and v [Hkv, N, D]; got {q.shape}, {k.shape}, {v.shape}")
    if q.shape[0] % k.shape[0]:
        raise ValueError(f"{q.shape[0]} query heads cannot share {k.shape[0]} key heads evenly")
    if any(array.strides[2] != array.itemsize for array in (q, k, v)):
        raise ValueError("the last axis of q, k and v must be contiguous")
    n_heads, n_queries, head_dim = q.shape
    scale = 1.0 / math.sqrt(head_dim) if scale is None else scale
    if out is None:
        out = np.empty_like(q)
    block_m, block_n = choose_blocks(n_queries, head_dim) if blocks is None else blocks
    flash_attention_kernel[(tilejit.cdiv(n_queries, block_m), n_heads)](
        q, k, v, out, scale, n_queries, k.shape[1],
        *_strides(q), *_strides(k), *_strides(v), *_strides(out),
        GROUP=n_heads // k.shape[0], BLOCK_M=block_m, BLOCK_N=block_n, D=head_dim, CAUSAL=causal,
    )  # fmt: skip
    return out


def reference(
    q: NDArray[np.generic], k: NDArray[np.generic], v: NDArray[np.generic], *, causal: bool
) -> NDArray[np.float64]:
    """Return the same in float64 with the whole matrix of scores; rows that see no key are zero."""
    group = q.shape[0] // k.shape[0]
    wide_k = np.repeat(k.astype(np.float64), group, axis=0)
    wide_v = np.repeat(v.astype(np.float64), group, axis=0)
    scores = q.astype(np.float64) @ wide_k.transpose(0, 2, 1) / math.sqrt(q.shape[2])
    if causal:
        n_queries, n_keys = scores.shape[1:]
        last_visible = np.arange(n_queries)[:, None] + n_keys - n_queries
        scores = np.where(np.arange(n_keys)[None, :] <= last_visible, scores, -np.inf)
    weights = np.exp(scores - np.maximum(scores.max(axis=2, keepdims=True), -1e300))
    total = weights.sum(axis=2, keepdims=True)
    result: NDArray[np.float64] = weights @ wide_v / np.where(total > 0, total, 1)
    return result


def main() -> None:
    """Check against numpy in float64, causal and not, with grouped heads and odd lengths."""
    generator = np.random.default_rng(0)
    for (heads, kv_heads, n_queries, n_keys, head_dim), causal in (
        ((4, 4, 257, 257, 64), True),
        ((8, 2, 100, 333, 80), True),
        ((4, 2, 65, 190, 128), False),
    ):
        q = generator.standard_normal((heads, n_queries, head_dim), dtype=np.float32)
        k = generator.standard_normal((kv_heads, n_keys, head_dim), dtype=np.float32)
        v = generator.standard_normal((kv_heads, n_keys, head_dim), dtype=np.float32)
        out = flash_attention(q, k, v, causal=causal)
        np.testing.assert_allclose(out, reference(q, k, v, causal=causal), rtol=2e-4, atol=2e-5)
        shape = f"{heads}/{kv_heads} heads, {n_queries} queries, {n_keys} keys, D={head_dim}"
        print(f"flash_attention: {shape}, {'causal' if causal else 'full'}, agrees with float64")


if __name__ == "__main__":
    main()
