"""The data of the paged attention example: generated serving batches and the float64 reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[np.generic]

LINE_BYTES = 64
"""Where a server's pool of pages begins: at a multiple of this."""


@dataclass(frozen=True)
class Quantisation:
    """What int8 pages stand for: ``(x + offset) * scale``, by channel, for keys and values separately.

    Shapes: every array is float32 [Hkv, D].
    """

    k_scale: NDArray[np.float32]
    k_offset: NDArray[np.float32]
    v_scale: NDArray[np.float32]
    v_offset: NDArray[np.float32]


def reference(
    q: Array,
    k_pages: Array,
    v_pages: Array,
    block_table: NDArray[np.int32],
    context_lens: Array,
    *,
    q_lens: Array | None = None,
    quantisation: Quantisation | None = None,
    softmax_scale: float | None = None,
    causal: bool = False,
) -> NDArray[np.float64]:
    """Return the same as ``paged_attention`` in float64: gather, dequantise, whole score matrices."""
    n_kv_heads, head_dim = k_pages.shape[2:]
    scale = 1.0 / math.sqrt(head_dim) if softmax_scale is None else softmax_scale
    lengths = np.ones(len(block_table), dtype=np.int64) if q_lens is None else q_lens.astype(np.int64)
    out = np.zeros(q.shape, dtype=np.float64)
    first = 0
    for table, context, length in zip(block_table, context_lens.astype(np.int64), lengths, strict=True):
        if length and context:
            pages = table[: -(-context // k_pages.shape[1])]
            k, v = (
                p[pages].reshape(-1, n_kv_heads, head_dim)[:context].astype(np.float64)
                for p in (k_pages, v_pages)
            )
            if quantisation is not None:
                k = (k + quantisation.k_offset) * quantisation.k_scale
                v = (v + quantisation.v_offset) * quantisation.v_scale
            rows = q[first : first + length].astype(np.float64).reshape(length, n_kv_heads, -1, head_dim)
            last_visible = np.arange(length) + context - length if causal else np.full(length, context)
            visible = (np.arange(context)[None, :] <= last_visible[:, None])[None, :, None, :]
            out[first : first + length] = _dense_attention(rows, k, v, visible, scale).reshape(
                length, -1, head_dim
            )
        first += length
    return out


def _dense_attention(
    q: NDArray[np.float64],
    k: NDArray[np.float64],
    v: NDArray[np.float64],
    visible: NDArray[np.bool_],
    scale: float,
) -> NDArray[np.float64]:
    """Attention of one sequence. Shapes: q [n, Hkv, G, D], k and v [c, Hkv, D], visible [1, n, 1, c]."""
    length, n_kv_heads, group, head_dim = q.shape
    flat = q.transpose(1, 0, 2, 3).reshape(n_kv_heads, length * group, head_dim)
    scores = scale * (flat @ k.transpose(1, 2, 0)).reshape(n_kv_heads, length, group, -1)
    scores = np.where(visible, scores, -np.inf)
    weights = np.exp(scores - np.maximum(scores.max(axis=-1, keepdims=True), -1e300))
    total = weights.sum(axis=-1, keepdims=True)
    weights /= np.where(total > 0, total, 1)
    out: NDArray[np.float64] = weights.reshape(n_kv_heads, length * group, -1) @ v.transpose(1, 0, 2)
    return out.reshape(n_kv_heads, length, group, head_dim).transpose(1, 0, 2, 3)


def largest_error(out: Array, expected: NDArray[np.float64], lengths: Array) -> float:
    """Return the largest relative error over (sequence, head): norm of the difference over norm.

    Where the expected norm is 0 (no key) the norm of the difference itself counts.
    """
    difference = out.astype(np.float64) - expected
    worst, first = 0.0, 0
    for length in lengths.astype(np.int64):
        span = slice(first, first + length)
        norms = np.sqrt((expected[span] ** 2).sum(axis=(0, 2)))
        errors = np.sqrt((difference[span] ** 2).sum(axis=(0, 2)))
        worst = max(worst, float(np.max(errors / np.where(norms > 0, norms, 1), initial=0.0)))
        first += length
    return worst


@dataclass(frozen=True)
class Batch:
    """Everything one call takes; ``arguments`` in the order of ``paged_attention``."""

    arguments: tuple[Array, Array, Array, NDArray[np.int32], NDArray[np.int32]]
    q_lens: NDArray[np.int32]
    quantisation: Quantisation | None
    pages_used: int

    @property
    def kv_bytes(self) -> int:
        """Bytes of keys and values that the queries see, each sequence counted for itself."""
        _, k_pages, _, _, contexts = self.arguments
        token_bytes: int = k_pages.shape[2] * k_pages.shape[3] * k_pages.itemsize
        return 2 * int(contexts.sum()) * token_bytes


def make_batch(
    contexts: Sequence[int],
    q_lens: Sequence[int],
    *,
    heads: int,
    kv_heads: int,
    head_dim: int,
    block_size: int,
    dtype: DTypeLike,
    kv_dtype: DTypeLike,
    seed: int = 0,
    shared_pages: int = 1,
) -> Batch:
    """Return a batch as a server would hold it: pages in random order, prefixes shared, last pages partial.

    The first ``shared_pages`` full pages of every sequence are the same (a common system prompt). Pages
    that no sequence reads, and the rest of partial ones, hold NaN (int8: 127), which
    shows in the error if read.
    """
    generator = np.random.default_rng(seed)
    counts = [-(-context // block_size) for context in contexts]
    shared = [min(shared_pages, context // block_size) for context in contexts]
    n_shared = max(shared, default=0)
    n_used = n_shared + sum(counts) - sum(shared)
    n_blocks = n_used + 3
    order = generator.permutation(n_blocks)[:n_used].astype(np.int32)
    table = np.full((len(contexts), max(counts, default=0)), -1, dtype=np.int32)
    position = n_shared
    for row, count, prefix in zip(table, counts, shared, strict=True):
        row[:prefix] = order[:prefix]
        row[prefix:count] = order[position : position + count - prefix]
        position += count - prefix
    q_shape, kv_shape = (sum(q_lens), heads, head_dim), (n_blocks, block_size, kv_heads, head_dim)
    q = generator.standard_normal(q_shape, dtype=np.float32).astype(dtype)
    k_pages, v_pages = (_random_pages(generator, kv_shape, np.dtype(kv_dtype)) for _ in range(2))
    quantisation = None
    if k_pages.dtype == np.int8:
        quantisation = Quantisation(*(_channel_parameters(generator, kv_heads, head_dim)))
    _spoil_unused_rows(k_pages, v_pages, table, contexts)
    lens = np.asarray(q_lens, dtype=np.int32)
    arguments = (q, k_pages, v_pages, table, np.asarray(contexts, dtype=np.int32))
    return Batch(arguments, lens, quantisation, n_used)


def _random_pages(
    generator: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[np.generic]
) -> Array:
    pages = _from_a_line_on(shape, dtype)
    if dtype == np.int8:
        pages[...] = generator.integers(-128, 128, shape, dtype=np.int8)
    else:
        pages[...] = generator.standard_normal(shape, dtype=np.float32)
    return pages


def _from_a_line_on(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Array:
    """An array that begins with a cache line; in numpy's own every vector of 64 bytes crosses two."""
    size_bytes = math.prod(shape) * dtype.itemsize
    memory = np.empty(size_bytes + LINE_BYTES, dtype=np.uint8)
    start = -memory.ctypes.data % LINE_BYTES
    return memory[start : start + size_bytes].view(dtype).reshape(shape)


def _channel_parameters(
    generator: np.random.Generator, kv_heads: int, head_dim: int
) -> list[NDArray[np.float32]]:
    """Scales that give values near 1 with channels of different size, and offsets up to 8 steps, twice."""
    shape = (kv_heads, head_dim)
    parameters: list[NDArray[np.float32]] = []
    for _ in range(2):
        parameters.append(generator.uniform(0.005, 0.02, shape).astype(np.float32))
        parameters.append(generator.uniform(-8.0, 8.0, shape).astype(np.float32))
    return parameters


def _spoil_unused_rows(
    k_pages: Array, v_pages: Array, table: NDArray[np.int32], contexts: Sequence[int]
) -> None:
    """Fill every row of the pool that no sequence reads with NaN, or 127 where there is none."""
    n_blocks, block_size = k_pages.shape[:2]
    read = np.zeros((n_blocks, block_size), dtype=bool)
    for row, context in zip(table, contexts, strict=True):
        positions = np.arange(context)
        read[row[positions // block_size], positions % block_size] = True
    for pages in (k_pages, v_pages):
        pages[~read] = 127 if pages.dtype == np.int8 else np.nan
