"""Attention over a paged key/value cache: decode and prefill in one kernel, int8 or floating-point pages.

The cache is a pool of pages ``[num_blocks, block_size, Hkv, D]``; a block table lists the pages of each
sequence in order, so pages may lie anywhere, be shared by sequences, and be filled in part. Queries of all
sequences are concatenated ("ragged"): one token each in decode, many in prefill.

Algorithm. One program owns one KV head of one block of query tokens. The G query heads that share a KV head
are packed into the rows of one query tile (row = token * G + head), so that each page is read once for all
of them. The program walks the keys in tiles with the online softmax, in fp32.

int8 pages hold ``(x + offset) * scale`` with a scale and an offset per channel, for K and V separately.
Nothing of that touches the cache elements one by one; it is exact algebra on the small side of each
product:

    q . ((k8 + off) * sc) = (q * sc) . k8 + q . (off * sc)

The last term is the same for every key of a row, and the softmax does not change when a constant is added
to a row: it is dropped, and K's offset is never read. The scale goes into Q, once per program. For V, with
weights p that sum to l,

    sum_j p_j * (v8_j + off) * sc / l = (sum_j p_j * v8_j / l + off) * sc

goes into the epilogue. The inner loop is left with int8 -> fp32 and two products. In fp32, adding V's offset
after the sum loses bits only where the offset is large beside the spread of the stored values.

    python examples/paged_attention.py --help
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from serving_batch import Batch, Quantisation, largest_error, make_batch, reference

import tilejit
import tilejit.language as tl

Array = NDArray[np.generic]
FLOAT_DTYPES = tuple(np.dtype(name) for name in (np.float16, ml_dtypes.bfloat16, np.float32))

LOG2_E = tl.constexpr(1.4426950408889634)
# Below every score but -inf: exp2(-inf - LOWEST) is 0 and never NaN.
LOWEST = tl.constexpr(-3.0e38)


@tilejit.kernel
def _row_offsets(table, start, end, strides, PAGE: tl.constexpr, BLOCK_N: tl.constexpr, MASKED: tl.constexpr):
    """Where the keys start .. start + BLOCK_N - 1 lie in the pool; ``strides`` are those of (page, token)."""
    keys = start + tl.arange(0, BLOCK_N)
    if PAGE % BLOCK_N == 0:
        # The tile lies in one page: one look-up, then rows at a constant distance.
        page = tl.load(table + start // PAGE).to(tl.int64)
        return page * strides[0] + (start % PAGE + tl.arange(0, BLOCK_N)).to(tl.int64) * strides[1]
    if MASKED:
        pages = tl.load(table + keys // PAGE, mask=keys < end, other=0).to(tl.int64)
    else:
        pages = tl.load(table + keys // PAGE).to(tl.int64)
    return pages * strides[0] + (keys % PAGE).to(tl.int64) * strides[1]


@tilejit.kernel
def _attend_keys(
    q, k_base, v_base, table, k_strides, v_strides, start, end, last_visible, accumulator, row_max, row_sum,
    PAGE: tl.constexpr, BLOCK_N: tl.constexpr, D: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """One step of the online softmax, over the keys start .. start + BLOCK_N - 1."""
    keys = start + tl.arange(0, BLOCK_N)
    channels = tl.arange(0, D)[None, :]
    k_ptrs = k_base + (_row_offsets(table, start, end, k_strides, PAGE, BLOCK_N, MASKED)[:, None] + channels)
    v_ptrs = v_base + (_row_offsets(table, start, end, v_strides, PAGE, BLOCK_N, MASKED)[:, None] + channels)
    if MASKED:
        k = tl.load(k_ptrs, mask=keys[:, None] < end, other=0).to(tl.float32)
        v = tl.load(v_ptrs, mask=keys[:, None] < end, other=0).to(tl.float32)
    else:
        k = tl.load(k_ptrs).to(tl.float32)
        v = tl.load(v_ptrs).to(tl.float32)
    scores = tl.dot(q, tl.trans(k), input_precision="ieee")
    if MASKED:
        visible = (keys[None, :] <= last_visible[:, None]) & (keys[None, :] < end)
        scores = tl.where(visible, scores, -float("inf"))
    new_max = tl.maximum(row_max, tl.max(scores, axis=1))
    weights = tl.exp2(scores - new_max[:, None])
    correction = tl.exp2(row_max - new_max)
    row_sum = row_sum * correction + tl.sum(weights, axis=1)
    accumulator = tl.dot(weights, v, accumulator * correction[:, None], input_precision="ieee")
    return accumulator, new_max, row_sum


@tilejit.kernel
def _attend_queries(
    out_ptr, q_ptr, k_ptr, v_ptr, k_scale_ptr, v_scale_ptr, v_offset_ptr, table,
    scale, kv_head, q_start, first, q_length, context,
    GROUP: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_N: tl.constexpr, PAGE: tl.constexpr, D: tl.constexpr,
    CAUSAL: tl.constexpr,
):  # fmt: skip
    """The queries first .. first + BLOCK_Q - 1 of one sequence and all heads of one group."""
    rows = tl.arange(0, BLOCK_Q * GROUP)
    token = first + rows // GROUP
    head = (kv_head * GROUP + rows % GROUP).to(tl.int64)
    channels = tl.arange(0, D)
    in_rows = (token < q_length)[:, None]
    q_token = (q_start + token).to(tl.int64)
    q_rows = q_token * q_ptr.stride(0) + head * q_ptr.stride(1)
    q = tl.load(q_ptr + (q_rows[:, None] + channels[None, :]), mask=in_rows, other=0.0).to(tl.float32)
    q = q * (scale * LOG2_E)
    if k_scale_ptr is not None:
        q = q * tl.load(k_scale_ptr + kv_head * D + channels)[None, :]

    # Keys 0 .. last_visible of a row count; steps that end at or before full_end need no mask.
    if CAUSAL:
        last_visible = token + (context - q_length)
        end = tl.maximum(tl.minimum(first + BLOCK_Q, q_length) + (context - q_length), 0)
        full_end = tl.maximum(first + 1 + (context - q_length), 0) // BLOCK_N * BLOCK_N
    else:
        last_visible = tl.zeros_like(token) + context
        end = context
        full_end = context // BLOCK_N * BLOCK_N

    k_base = k_ptr + kv_head * k_ptr.stride(2)
    v_base = v_ptr + kv_head * v_ptr.stride(2)
    k_strides = (k_ptr.stride(0), k_ptr.stride(1))
    v_strides = (v_ptr.stride(0), v_ptr.stride(1))
    accumulator = tl.zeros((BLOCK_Q * GROUP, D), dtype=tl.float32)
    row_max = tl.full((BLOCK_Q * GROUP,), LOWEST, dtype=tl.float32)
    row_sum = tl.zeros((BLOCK_Q * GROUP,), dtype=tl.float32)
    for start in range(0, full_end, BLOCK_N):
        accumulator, row_max, row_sum = _attend_keys(
            q, k_base, v_base, table, k_strides, v_strides, start, end, last_visible,
            accumulator, row_max, row_sum, PAGE, BLOCK_N, D, False,
        )  # fmt: skip
    for start in range(full_end, end, BLOCK_N):
        accumulator, row_max, row_sum = _attend_keys(
            q, k_base, v_base, table, k_strides, v_strides, start, end, last_visible,
            accumulator, row_max, row_sum, PAGE, BLOCK_N, D, True,
        )  # fmt: skip

    # A row that saw no key has sum 0: its output is zero.
    saw_keys = (row_sum > 0.0)[:, None]
    out = accumulator / tl.where(saw_keys, row_sum[:, None], 1.0)
    if v_scale_ptr is not None:
        v_scale = tl.load(v_scale_ptr + kv_head * D + channels)[None, :]
        v_offset = tl.load(v_offset_ptr + kv_head * D + channels)[None, :]
        out = tl.where(saw_keys, (out + v_offset) * v_scale, 0.0)
    out_rows = q_token * out_ptr.stride(0) + head * out_ptr.stride(1)
    out_ptrs = out_ptr + (out_rows[:, None] + channels[None, :])
    tl.store(out_ptrs, out.to(out_ptr.dtype.element_ty), mask=in_rows)


@tilejit.kernel
def paged_attention_kernel(
    out_ptr, q_ptr, k_ptr, v_ptr, k_scale_ptr, v_scale_ptr, v_offset_ptr,
    table_ptr, q_start_ptr, context_ptr, scale,
    GROUP: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_N: tl.constexpr, PAGE: tl.constexpr, D: tl.constexpr,
    CAUSAL: tl.constexpr,
):  # fmt: skip
    """Grid: (KV heads, query blocks, sequences); KV heads run next to each other because they share pages."""
    kv_head = tl.program_id(0)
    first = tl.program_id(1) * BLOCK_Q
    sequence = tl.program_id(2)
    q_start = tl.load(q_start_ptr + sequence)
    q_length = tl.load(q_start_ptr + sequence + 1) - q_start
    if first >= q_length:
        return
    context = tl.load(context_ptr + sequence)
    table = table_ptr + sequence * table_ptr.stride(0)
    # A sequence that decodes in a batch with prompts must not pay for a whole block of queries.
    if BLOCK_Q > 1 and q_length - first > 1:
        _attend_queries(
            out_ptr, q_ptr, k_ptr, v_ptr, k_scale_ptr, v_scale_ptr, v_offset_ptr, table,
            scale, kv_head, q_start, first, q_length, context, GROUP, BLOCK_Q, BLOCK_N, PAGE, D, CAUSAL,
        )  # fmt: skip
    else:
        _attend_queries(
            out_ptr, q_ptr, k_ptr, v_ptr, k_scale_ptr, v_scale_ptr, v_offset_ptr, table,
            scale, kv_head, q_start, first, q_length, context, GROUP, 1, BLOCK_N, PAGE, D, CAUSAL,
        )  # fmt: skip


def paged_attention(
    q: Array,
    k_pages: Array,
    v_pages: Array,
    block_table: NDArray[np.int32],
    context_lens: Array,
    *,
    q_lens: Array | None = None,
    cu_q_lens: Array | None = None,
    quantisation: Quantisation | None = None,
    softmax_scale: float | None = None,
    causal: bool = False,
    out: Array | None = None,
    backend: str = "cpu",
    block_q: int | None = None,
    block_n: int | None = None,
) -> Array:
    """Return attention of ragged queries over paged keys and values.

    Query i of a sequence with q length n and context c (its number of keys, those of the queries included)
    sees all c keys, or under ``causal`` the keys 0 .. c - n + i. A query that sees no key gets zeros.

    Shapes: q and out are [T, Hq, D] fp16, bf16 or fp32, sequences one after the other; k_pages and v_pages
            are [num_blocks, block_size, Hkv, D] int8 (then with ``quantisation``), fp16, bf16 or fp32;
            block_table is int32 [B, max_blocks], of which the first ceil(context / block_size) entries are
            read; context_lens is [B]; the query lengths come as q_lens [B], or cumulative as cu_q_lens
            [B + 1] from 0 to T; without either every sequence has one query. Arrays may be strided, except
            in their last axis.
    Raises: TypeError or ValueError that names the argument, before anything is written.
    """
    lengths = _query_lengths(q, block_table, q_lens, cu_q_lens)
    _check_arrays(q, k_pages, v_pages, quantisation)
    _check_table(block_table, context_lens, k_pages.shape[0], k_pages.shape[1])
    if softmax_scale is not None and not math.isfinite(softmax_scale):
        raise ValueError(f"softmax_scale must be finite, got {softmax_scale}")
    if out is None:
        out = np.empty(q.shape, dtype=q.dtype)
    _check_out(out, q)
    grid, arguments, constants = launch_arguments(
        out, q, k_pages, v_pages, block_table, context_lens, lengths, quantisation, softmax_scale, causal,
        block_q, block_n,
    )  # fmt: skip
    paged_attention_kernel[grid](*arguments, **constants, target=backend)
    return out


def launch_arguments(
    out: Array,
    q: Array,
    k_pages: Array,
    v_pages: Array,
    block_table: NDArray[np.int32],
    context_lens: Array,
    q_lens: Array,
    quantisation: Quantisation | None,
    softmax_scale: float | None,
    causal: bool,
    block_q: int | None = None,
    block_n: int | None = None,
) -> tuple[tuple[int, int, int], tuple[object, ...], dict[str, int]]:
    """Return grid, arguments and constants of the kernel for checked arrays."""
    _, page_size, n_kv_heads, head_dim = k_pages.shape
    group = q.shape[1] // n_kv_heads
    longest = int(q_lens.max(initial=0))
    # 64 rows a tile fill the registers of the product; decode has G rows and no more.
    default = {"block_q": max(1, min(longest, 64 // group)), "block_n": _keys_per_tile(page_size)}
    key = _tuning_key(q, k_pages, len(q_lens), longest, int(context_lens.max(initial=0)))
    tuned = tilejit.tuned(paged_attention_kernel, key, default)
    block_q = block_q or tuned["block_q"]
    block_n = block_n or tuned["block_n"]
    starts = np.concatenate(([0], np.cumsum(q_lens))).astype(np.int32)
    parameters: tuple[Array | None, ...] = (None, None, None)
    if quantisation is not None:
        parameters = (quantisation.k_scale, quantisation.v_scale, quantisation.v_offset)
    contexts = np.ascontiguousarray(context_lens, dtype=np.int32)
    scale = 1.0 / math.sqrt(head_dim) if softmax_scale is None else float(softmax_scale)
    arguments = (out, q, k_pages, v_pages, *parameters, block_table, starts, contexts, scale)
    constants = {
        "GROUP": group, "BLOCK_Q": block_q, "BLOCK_N": block_n, "PAGE": page_size, "D": head_dim,
        "CAUSAL": causal,
    }  # fmt: skip
    return (n_kv_heads, tilejit.cdiv(longest, block_q), len(q_lens)), arguments, constants


def _tuning_key(q: Array, k_pages: Array, sequences: int, longest: int, context: int) -> dict[str, int | str]:
    """What the best tile sizes depend on; numbers that change from call to call count by powers of two."""
    return {
        "q": str(q.dtype), "kv": str(k_pages.dtype), "heads": q.shape[1], "kv_heads": k_pages.shape[2],
        "head_dim": q.shape[2], "page": k_pages.shape[1], "sequences": tilejit.next_power_of_2(sequences),
        "queries": tilejit.next_power_of_2(longest), "context": tilejit.next_power_of_2(context),
    }  # fmt: skip


def _keys_per_tile(page_size: int) -> int:
    """A tile within one page costs one look-up and plain rows; only tiny pages are worth gathering."""
    if page_size % 64 == 0:
        return 64
    return page_size if 16 <= page_size <= 256 else 64


def _query_lengths(
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
    if (lengths < 0).any():
        raise ValueError(f"sequence {int(np.argmax(lengths < 0))} has a negative query length")
    if q.ndim != 3 or int(lengths.sum()) != q.shape[0]:
        raise ValueError(f"q must be [T, Hq, D] with T = {int(lengths.sum())} queries, got shape {q.shape}")
    return lengths


def _check_integers(name: str, array: Array, shape: tuple[int, ...]) -> None:
    if array.shape != shape or array.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers of shape {shape}, got {array.dtype} {array.shape}")


def _check_arrays(q: Array, k_pages: Array, v_pages: Array, quantisation: Quantisation | None) -> None:
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


def _check_table(block_table: Array, context_lens: Array, n_blocks: int, block_size: int) -> None:
    """Check that every key of every sequence lies in a page of the pool."""
    n_sequences, max_blocks = block_table.shape
    if block_table.dtype != np.int32 or (block_table.size and block_table.strides[1] != 4):
        raise ValueError(f"block_table must be int32 with contiguous rows, got {block_table.dtype}")
    _check_integers("context_lens", context_lens, (n_sequences,))
    capacity = max_blocks * block_size
    for sequence in np.flatnonzero((context_lens < 0) | (context_lens > capacity))[:1]:
        raise ValueError(
            f"context_lens[{sequence}] is {context_lens[sequence]}; "
            f"{max_blocks} table entries of {block_size} tokens hold 0 to {capacity}"
        )
    used = np.arange(max_blocks)[None, :] < -(-context_lens.astype(np.int64)[:, None] // max(block_size, 1))
    wrong = used & ((block_table < 0) | (block_table >= n_blocks))
    for sequence, entry in np.argwhere(wrong)[:1]:
        raise ValueError(
            f"block_table[{sequence}, {entry}] is {block_table[sequence, entry]}; "
            f"the pool has {n_blocks} pages"
        )


def _check_out(out: Array, q: Array) -> None:
    strided = out.size and out.strides[-1] != out.itemsize
    if out.shape != q.shape or out.dtype != q.dtype or strided:
        raise ValueError(
            f"out must be {q.dtype} {q.shape} with contiguous last axis, got {out.dtype} {out.shape}"
        )
    if not out.flags.writeable:
        raise ValueError("out is read-only")


ERROR_LIMITS = {"float16": 1e-3, "bfloat16": 5e-3, "float32": 2e-5}


def _parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Run attention over a paged KV cache on a generated batch and compare with float64.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    dtypes = tuple(ERROR_LIMITS)
    parser.add_argument("--batch", type=int, default=8, help="sequences")
    parser.add_argument("--heads", type=int, default=32, help="query heads")
    parser.add_argument("--kv-heads", type=int, default=8, help="KV heads; the query heads are a multiple")
    parser.add_argument("--head-dim", type=int, default=128, help="channels of a head")
    parser.add_argument("--block-size", type=int, default=64, help="tokens of a page")
    parser.add_argument(
        "--context", type=int, default=4096, help="longest context; others are drawn from its upper half"
    )
    parser.add_argument(
        "--q-len", type=_parse_lengths, default="1", metavar="N[,N...]",
        help="queries of a sequence: 1 is decode, more is prefill; a list is dealt out in turn",
    )  # fmt: skip
    parser.add_argument("--dtype", choices=dtypes, default="bfloat16", help="of queries and output")
    parser.add_argument("--kv-dtype", choices=("int8", *dtypes), default="int8", help="of the pages")
    parser.add_argument(
        "--backend", choices=("cpu", "interpreter"), default="cpu", help="what runs the kernel"
    )
    parser.add_argument(
        "--no-causal", action="store_true", help="let every query see all keys of its sequence"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the generated batch")
    parser.add_argument("--repeat", type=int, default=10, help="timed calls after the first")
    parser.add_argument(
        "--dump",
        metavar="STAGE",
        help="print the kernel at this stage (traced, tile, plan, llvm or s) and stop",
    )
    return parser.parse_args(arguments)


def _parse_lengths(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Generate a batch, run it, compare with float64 and print a report."""
    options = _parse_arguments(arguments)
    generator = np.random.default_rng(options.seed)
    contexts = generator.integers(options.context // 2, options.context + 1, options.batch)
    contexts[: options.batch // 8 + 1] = options.context
    q_lens = [options.q_len[i % len(options.q_len)] for i in range(options.batch)]
    contexts = np.maximum(contexts, q_lens)
    batch = make_batch(
        [int(context) for context in contexts], q_lens, heads=options.heads, kv_heads=options.kv_heads,
        head_dim=options.head_dim, block_size=options.block_size, dtype=options.dtype,
        kv_dtype=options.kv_dtype, seed=options.seed,
        shared_pages=options.context // 8 // options.block_size,
    )  # fmt: skip
    causal = not options.no_causal
    if options.dump is not None:
        print(_stage(options.dump, batch, causal, options.backend))
        return

    def run() -> Array:
        return paged_attention(
            *batch.arguments,
            q_lens=batch.q_lens,
            quantisation=batch.quantisation,
            causal=causal,
            backend=options.backend,
        )

    started = time.perf_counter()
    out = run()
    first_seconds = time.perf_counter() - started
    times = [first_seconds] if options.backend == "interpreter" else _timed(run, options.repeat)
    expected = reference(
        *batch.arguments, q_lens=batch.q_lens, quantisation=batch.quantisation, causal=causal
    )
    error = largest_error(out, expected, batch.q_lens)
    _report(options, batch, error, first_seconds, times)
    if not error <= ERROR_LIMITS[options.dtype]:
        raise SystemExit(f"the error exceeds {ERROR_LIMITS[options.dtype]:.0e}")


def _stage(stage: str, batch: Batch, causal: bool, backend: str) -> str:
    """Return the text of the kernel for this batch at a stage of its compilation."""
    out = np.empty_like(batch.arguments[0])
    grid, arguments, constants = launch_arguments(
        out, *batch.arguments, batch.q_lens, batch.quantisation, None, causal
    )
    compiled = paged_attention_kernel.warmup(*arguments, **constants, grid=grid, target=backend)
    return compiled.ir(stage)


def _timed(run: Callable[[], Array], repeat: int) -> list[float]:
    times = []
    for _ in range(repeat):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return times


def _report(
    options: argparse.Namespace, batch: Batch, error: float, first_seconds: float, times: Sequence[float]
) -> None:
    _, k_pages, _, _, contexts = batch.arguments
    seconds = statistics.median(times)
    limit = ERROR_LIMITS[options.dtype]
    kind = "per-channel scale and offset" if batch.quantisation is not None else "not quantised"
    print(
        f"paged attention on {options.backend}: {options.batch} sequences, "
        f"context {contexts.min()} to {contexts.max()}, "
        f"q length {batch.q_lens.min()} to {batch.q_lens.max()}\n"
        f"  heads  {options.heads} query, {options.kv_heads} KV, D = {options.head_dim}; "
        f"Q and output {options.dtype}\n"
        f"  pages  {batch.pages_used} in use of {k_pages.shape[0]}, {options.block_size} tokens, "
        f"{options.kv_dtype}, {kind}\n"
        f"  error  {error:.2e} relative to float64, worst (sequence, head); limit {limit:.0e}\n"
        f"  time   {1e3 * seconds:.2f} ms, median of {len(times)}; first call {1e3 * first_seconds:.0f} ms\n"
        f"  KV     {batch.kv_bytes / 1e6:.1f} MB read, {batch.kv_bytes / seconds / 1e9:.2f} GB/s"
    )


if __name__ == "__main__":
    main()
