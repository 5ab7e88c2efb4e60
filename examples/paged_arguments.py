"""What the paged attention example checks of its arguments before it launches anything.

A decode step takes less than a millisecond, and Python that has not run since the caches were flooded with
keys and values takes several times as long as usual. So shapes, strides and dtypes are looked at once for
each combination, and what the arrays hold is looked at by a kernel, at every call but the first of a
combination: that one looks by numpy, and a process that makes no other does not compile the kernel.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from paged_survey import Survey, survey_batch, survey_checked
from serving_batch import Quantisation

Array = NDArray[np.generic]
MOST_LAYOUTS = 1024
"""Combinations of shapes, strides and dtypes that are remembered."""
FLOAT_DTYPES = tuple(np.dtype(name) for name in (np.float16, ml_dtypes.bfloat16, np.float32))


_checked_layouts: set[object] = set()


def check_call(
    q: Array, k_pages: Array, v_pages: Array, block_table: Array, context_lens: Array, q_lens: Array | None,
    cu_q_lens: Array | None, quantisation: Quantisation | None, out: Array,
) -> Survey:  # fmt: skip
    """Check the arrays of a call and return what they say of the batch.

    Raises: TypeError or ValueError that names the argument.
    """
    arrays = [q, k_pages, v_pages, block_table, context_lens, q_lens, cu_q_lens, out]
    if quantisation is not None:
        arrays += vars(quantisation).values()
    layout = (out.flags.writeable, *[None if a is None else (a.shape, a.strides, a.dtype) for a in arrays])
    n_blocks, block_size = k_pages.shape[:2]
    if layout not in _checked_layouts:
        all_lengths = query_lengths(q, block_table, q_lens, cu_q_lens)
        check_arrays(q, k_pages, v_pages, quantisation)
        check_table(block_table, context_lens, n_blocks, block_size)
        check_out(out, q)
        if len(_checked_layouts) >= MOST_LAYOUTS:
            _checked_layouts.clear()
        _checked_layouts.add(layout)
        return survey_checked(context_lens, all_lengths)
    lengths = q_lens if cu_q_lens is None else query_lengths(q, block_table, q_lens, cu_q_lens)
    survey = survey_batch(block_table, context_lens, lengths, n_blocks, block_size)
    if survey.wrong or survey.total != q.shape[0]:
        query_lengths(q, block_table, q_lens, cu_q_lens)
        check_table(block_table, context_lens, n_blocks, block_size)
        raise ValueError("the lengths or the block table changed while they were read")
    return survey


def query_lengths(
    q: Array, block_table: Array, q_lens: Array | None, cu_q_lens: Array | None
) -> NDArray[np.int64]:
    """Return the query length of every sequence from whichever form the caller gave."""
    if block_table.ndim != 2:
        raise ValueError(f"block_table must be [B, max_blocks], got shape {block_table.shape}")
    n_sequences = block_table.shape[0]
    if q_lens is not None and cu_q_lens is not None:
        raise ValueError("give q_lens or cu_q_lens, not both")
    if cu_q_lens is not None:
        _check_integers("cu_q_lens", cu_q_lens, (n_sequences + 1,))
        if cu_q_lens[0] != 0:
            raise ValueError(f"cu_q_lens must start at 0, got {cu_q_lens[0]}")
        lengths = np.diff(cu_q_lens).astype(np.int64)
    elif q_lens is not None:
        _check_integers("q_lens", q_lens, (n_sequences,))
        lengths = q_lens.astype(np.int64)
    else:
        lengths = np.ones(n_sequences, dtype=np.int64)
    if lengths.min(initial=0) < 0:
        raise ValueError(f"sequence {int(np.argmax(lengths < 0))} has a negative query length")
    total = int(lengths.sum())
    if q.ndim != 3 or total != q.shape[0]:
        raise ValueError(f"q must be [T, Hq, D] with T = {total} queries, got shape {q.shape}")
    return lengths


def _check_integers(name: str, array: Array, shape: tuple[int, ...]) -> None:
    if array.shape != shape or array.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers of shape {shape}, got {array.dtype} {array.shape}")


def check_arrays(q: Array, k_pages: Array, v_pages: Array, quantisation: Quantisation | None) -> None:
    """Check dtypes and shapes of queries, pages and quantisation parameters against each other."""
    if q.dtype not in FLOAT_DTYPES:
        raise TypeError(f"q must be float16, bfloat16 or float32, got {q.dtype}")
    if k_pages.ndim != 4 or k_pages.shape != v_pages.shape:
        raise ValueError(
            "k_pages and v_pages must both be [num_blocks, block_size, Hkv, D], "
            f"got {k_pages.shape} and {v_pages.shape}"
        )
    if k_pages.dtype != v_pages.dtype or k_pages.dtype not in (np.dtype(np.int8), *FLOAT_DTYPES):
        raise TypeError(
            "k_pages and v_pages must both be int8, float16, bfloat16 or float32, "
            f"got {k_pages.dtype} and {v_pages.dtype}"
        )
    n_kv_heads, head_dim = k_pages.shape[2:]
    if q.shape[2] != head_dim or head_dim == 0:
        raise ValueError(f"q and the pages must have one head size, got {q.shape[2]} and {head_dim}")
    if n_kv_heads == 0 or q.shape[1] % n_kv_heads:
        raise ValueError(f"{q.shape[1]} query heads cannot share {n_kv_heads} KV heads evenly")
    for name, array in (("q", q), ("k_pages", k_pages), ("v_pages", v_pages)):
        if array.size and array.strides[-1] != array.itemsize:
            raise ValueError(
                f"the last axis of {name} must be contiguous, its stride is {array.strides[-1]} bytes"
            )
    if (quantisation is not None) != (k_pages.dtype == np.int8):
        raise ValueError(
            f"quantisation goes with int8 pages and only with them; the pages are {k_pages.dtype}"
        )
    if quantisation is not None:
        for name, array in vars(quantisation).items():
            if (
                array.shape != (n_kv_heads, head_dim)
                or array.dtype != np.float32
                or not array.flags.c_contiguous
            ):
                raise ValueError(
                    f"{name} must be contiguous float32 [{n_kv_heads}, {head_dim}], "
                    f"got {array.dtype} {array.shape}"
                )


def check_table(block_table: Array, context_lens: Array, n_blocks: int, block_size: int) -> None:
    """Check that every key of every sequence lies in a page of the pool."""
    n_sequences, max_blocks = block_table.shape
    if block_table.dtype != np.int32 or (block_table.size and block_table.strides[1] != 4):
        raise ValueError(f"block_table must be int32 with contiguous rows, got {block_table.dtype}")
    _check_integers("context_lens", context_lens, (n_sequences,))
    capacity = max_blocks * block_size
    contexts, entries = context_lens.astype(np.int64), block_table.astype(np.int32, copy=False)
    if contexts.min(initial=0) < 0 or contexts.max(initial=0) > capacity:
        sequence = int(np.argmax((contexts < 0) | (contexts > capacity)))
        raise ValueError(
            f"context_lens[{sequence}] is {context_lens[sequence]}; "
            f"{max_blocks} table entries of {block_size} tokens hold 0 to {capacity}"
        )
    # Seen as unsigned, a negative entry is a large one. Entries that no key needs may hold anything.
    if entries.view(np.uint32).max(initial=0) < n_blocks:
        return
    used = np.arange(max_blocks)[None, :] < -(-contexts[:, None] // max(block_size, 1))
    wrong = used & ((entries < 0) | (entries >= n_blocks))
    for sequence, entry in np.argwhere(wrong)[:1]:
        raise ValueError(
            f"block_table[{sequence}, {entry}] is {block_table[sequence, entry]}; "
            f"the pool has {n_blocks} pages"
        )


def check_tiles(
    asked: dict[str, int | None], n_kv_heads: int, block_n: int, heads: int, split_keys: int
) -> None:
    """Check that what the caller asks for is positive, and that no head and no key is left out."""
    for name, value in asked.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be positive, got {value}")
    if n_kv_heads % heads:
        raise ValueError(f"heads must divide the {n_kv_heads} KV heads, got {heads}")
    if split_keys % block_n:
        raise ValueError(f"split_keys must be a multiple of block_n = {block_n}, got {split_keys}")


def check_out(out: Array, q: Array) -> None:
    """Check that the output can be written where the caller wants it."""
    strided = out.size and out.strides[-1] != out.itemsize
    if out.shape != q.shape or out.dtype != q.dtype or strided:
        raise ValueError(
            f"out must be {q.dtype} {q.shape} with contiguous last axis, got {out.dtype} {out.shape}"
        )
    if not out.flags.writeable:
        raise ValueError("out is read-only")
