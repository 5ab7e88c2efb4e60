"""Attention over a paged key/value cache: decode and prefill in one kernel, int8 or floating-point pages.

The cache is a pool of pages ``[num_blocks, block_size, Hkv, D]``; a block table lists the pages of each
sequence in order, so pages may lie anywhere, be shared by sequences, and be filled in part. Queries of all
sequences are concatenated ("ragged"): one token each in decode, many in prefill.

Algorithm. The G query heads that share a KV head are packed into the rows of one query tile (row = token * G
+ head), so that each page is read once for all of them. A program walks the keys in tiles with the online
softmax, in fp32. In decode it owns all KV heads of a sequence, or as many as lie in 4 KB of a token, so that
pages are read in long pieces; in prefill it owns one KV head of one block of query tokens. Where
sequences are too few, or too unlike in length, to keep all threads busy, the keys of a sequence are dealt out
to several programs, and a second kernel puts their parts together.

int8 pages hold ``(x + offset) * scale`` with a scale and an offset per channel, for K and V separately.
Nothing of that touches the cache elements one by one; it is exact algebra on the small side of each
product:

    q . ((k8 + off) * sc) = (q * sc) . k8 + q . (off * sc)

The last term is the same for every key of a row, and the softmax does not change when a constant is added
to a row: it is dropped, and K's offset is never read. The scale goes into Q, once per program. For V, with
weights p that sum to l,

    sum_j p_j * (v8_j + off) * sc / l = (sum_j p_j * v8_j / l + off) * sc

goes into the epilogue. The inner loop is left with int8 -> fp32 and two products, which for 16-bit outputs
may be computed with 16 bits of Q and of the weights (``int8x2``): then int8 elements are not converted at
all. In fp32, adding V's offset after the sum loses bits only where the offset is large beside the spread of
the stored values.

    python examples/paged_attention.py --help
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from paged_arguments import check_call
from paged_survey import Survey, survey_batch
from paged_tiles import choose_tiles
from serving_batch import Batch, Quantisation, largest_error, make_batch, reference

import tilejit
import tilejit.language as tl

Array = NDArray[np.generic]

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
    PAGE: tl.constexpr, BLOCK_N: tl.constexpr, D: tl.constexpr, MASKED: tl.constexpr, PRECISION: tl.constexpr,
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
    turned = tl.trans(k) if len(k.shape) == 2 else tl.permute(k, (0, 2, 1))
    scores = tl.dot(q, turned, input_precision=PRECISION)
    if MASKED:
        visible = (keys[None, :] <= last_visible[:, None]) & (keys[None, :] < end)
        scores = tl.where(visible, scores, -float("inf"))
    new_max = tl.maximum(row_max, tl.max(scores, axis=-1))
    weights = tl.exp2(scores - tl.expand_dims(new_max, -1))
    correction = tl.exp2(row_max - new_max)
    row_sum = row_sum * correction + tl.sum(weights, axis=-1)
    kept = accumulator * tl.expand_dims(correction, -1)
    accumulator = tl.dot(weights, v, kept, input_precision=PRECISION)
    return accumulator, new_max, row_sum


@tilejit.kernel
def _seen_keys(
    token, first, q_length, context, BLOCK_Q: tl.constexpr, BLOCK_N: tl.constexpr, CAUSAL: tl.constexpr
):  # fmt: skip
    """Keys 0 .. last_visible of a row count, of all rows those before end; steps that end at or before
    full_end need no mask.
    """
    if CAUSAL:
        last_visible = token + (context - q_length)
        end = tl.maximum(tl.minimum(first + BLOCK_Q, q_length) + (context - q_length), 0)
        full_end = tl.maximum(first + 1 + (context - q_length), 0) // BLOCK_N * BLOCK_N
    else:
        last_visible = tl.zeros_like(token) + context
        end = context
        full_end = context // BLOCK_N * BLOCK_N
    return last_visible, end, full_end


@tilejit.kernel
def _attend_queries(
    out_ptr, q_ptr, k_ptr, v_ptr, k_scale_ptr, v_scale_ptr, v_offset_ptr, sums_ptr, stats_ptr, table,
    scale, first_head, q_start, first, q_length, context, low, high, split,
    GROUP: tl.constexpr, HEADS: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_N: tl.constexpr,
    PAGE: tl.constexpr, D: tl.constexpr, CAUSAL: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The queries first .. first + BLOCK_Q - 1 of one sequence and all heads of HEADS groups, on the keys
    low .. high - 1. Tiles are [rows, ...], with the KV heads as a dimension in front where there are several.
    """
    rows = tl.arange(0, BLOCK_Q * GROUP)
    token = first + rows // GROUP
    channels = tl.arange(0, D)
    in_rows = (token < q_length)[:, None]
    q_token = (q_start + token).to(tl.int64)
    in_group = (rows % GROUP).to(tl.int64)
    if HEADS == 1:
        kv_head = first_head
        head = first_head * GROUP + in_group
        per_row = (BLOCK_Q * GROUP,)
    else:
        kv_heads = first_head + tl.arange(0, HEADS).to(tl.int64)
        kv_head = kv_heads[:, None, None]
        head = kv_heads[:, None] * GROUP + in_group[None, :]
        per_row = (HEADS, BLOCK_Q * GROUP)
    q_rows = tl.expand_dims(q_token * q_ptr.stride(0) + head * q_ptr.stride(1), -1)
    q = tl.load(q_ptr + (q_rows + channels), mask=in_rows, other=0.0).to(tl.float32)
    q = q * (scale * LOG2_E)
    if k_scale_ptr is not None:
        q = q * tl.load(k_scale_ptr + (kv_head * D + channels))

    seen = _seen_keys(token, first, q_length, context, BLOCK_Q, BLOCK_N, CAUSAL)
    last_visible, end, full_end = seen[0], seen[1], seen[2]
    k_base = k_ptr + kv_head * k_ptr.stride(2)
    v_base = v_ptr + kv_head * v_ptr.stride(2)
    k_strides = (k_ptr.stride(0), k_ptr.stride(1))
    v_strides = (v_ptr.stride(0), v_ptr.stride(1))
    accumulator = tl.zeros((*per_row, D), dtype=tl.float32)
    row_max = tl.full(per_row, LOWEST, dtype=tl.float32)
    row_sum = tl.zeros(per_row, dtype=tl.float32)
    for start in range(low, tl.minimum(full_end, high), BLOCK_N):
        accumulator, row_max, row_sum = _attend_keys(
            q, k_base, v_base, table, k_strides, v_strides, start, end, last_visible,
            accumulator, row_max, row_sum, PAGE, BLOCK_N, D, False, PRECISION,
        )  # fmt: skip
    for start in range(tl.maximum(full_end, low), tl.minimum(end, high), BLOCK_N):
        accumulator, row_max, row_sum = _attend_keys(
            q, k_base, v_base, table, k_strides, v_strides, start, end, last_visible,
            accumulator, row_max, row_sum, PAGE, BLOCK_N, D, True, PRECISION,
        )  # fmt: skip

    if sums_ptr is not None:
        _store_part(
            sums_ptr, stats_ptr, split.to(tl.int64), q_token, head, token < q_length,
            accumulator, row_max, row_sum, D,
        )  # fmt: skip
    else:
        out = _finished(accumulator, row_sum, v_scale_ptr, v_offset_ptr, kv_head * D + channels)
        out_rows = tl.expand_dims(q_token * out_ptr.stride(0) + head * out_ptr.stride(1), -1)
        tl.store(out_ptr + (out_rows + channels), out.to(out_ptr.dtype.element_ty), mask=in_rows)


@tilejit.kernel
def _store_part(
    sums_ptr, stats_ptr, part, q_token, head, in_rows, accumulator, row_max, row_sum, D: tl.constexpr
):  # fmt: skip
    """What one part of the keys gives, for ``combine_splits_kernel``."""
    stat_ptrs = stats_ptr + (part * stats_ptr.stride(0) + q_token * stats_ptr.stride(2) + head)
    tl.store(stat_ptrs, row_max, mask=in_rows)
    tl.store(stat_ptrs + stats_ptr.stride(1), row_sum, mask=in_rows)
    sum_rows = tl.expand_dims(q_token * sums_ptr.stride(1) + head * D, -1)
    sum_ptrs = sums_ptr + part * sums_ptr.stride(0) + (sum_rows + tl.arange(0, D))
    tl.store(sum_ptrs, accumulator, mask=in_rows[:, None])


@tilejit.kernel
def _finished(accumulator, row_sum, v_scale_ptr, v_offset_ptr, v_places):
    """Divide by the sum of the weights, and undo the quantisation of V, whose parameters lie at v_places."""
    # A row that saw no key has sum 0: its output is zero.
    total = tl.expand_dims(row_sum, -1)
    out = accumulator / tl.where(total > 0.0, total, 1.0)
    if v_scale_ptr is not None:
        out = (out + tl.load(v_offset_ptr + v_places)) * tl.load(v_scale_ptr + v_places)
        out = tl.where(total > 0.0, out, 0.0)
    return out


@tilejit.kernel
def paged_attention_kernel(
    out_ptr, q_ptr, k_ptr, v_ptr, k_scale_ptr, v_scale_ptr, v_offset_ptr, sums_ptr, stats_ptr,
    table_ptr, q_start_ptr, context_ptr, scale, splits, split_keys,
    GROUP: tl.constexpr, HEADS: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_N: tl.constexpr,
    PAGE: tl.constexpr, D: tl.constexpr, CAUSAL: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Grid: (KV heads / HEADS, query blocks, sequences * splits).

    Each of the ``splits`` programs of a sequence attends to split_keys keys, a multiple of BLOCK_N; with more
    than one the sums go to ``sums_ptr`` and ``stats_ptr``, to be put together by ``combine_splits_kernel``.
    """
    first_head = tl.program_id(0).to(tl.int64) * HEADS
    first = tl.program_id(1) * BLOCK_Q
    sequence = tl.program_id(2) // splits
    split = tl.program_id(2) % splits
    q_start = tl.load(q_start_ptr + sequence)
    q_length = tl.load(q_start_ptr + sequence + 1) - q_start
    if first >= q_length:
        return
    context = tl.load(context_ptr + sequence)
    table = table_ptr + sequence * table_ptr.stride(0)
    low = split * split_keys
    high = low + split_keys
    # A sequence that decodes in a batch with prompts must not pay for a whole block of queries.
    if BLOCK_Q > 1 and q_length - first > 1:
        _attend_queries(
            out_ptr, q_ptr, k_ptr, v_ptr, k_scale_ptr, v_scale_ptr, v_offset_ptr, sums_ptr, stats_ptr, table,
            scale, first_head, q_start, first, q_length, context, low, high, split,
            GROUP, HEADS, BLOCK_Q, BLOCK_N, PAGE, D, CAUSAL, PRECISION,
        )  # fmt: skip
    else:
        _attend_queries(
            out_ptr, q_ptr, k_ptr, v_ptr, k_scale_ptr, v_scale_ptr, v_offset_ptr, sums_ptr, stats_ptr, table,
            scale, first_head, q_start, first, q_length, context, low, high, split,
            GROUP, HEADS, 1, BLOCK_N, PAGE, D, CAUSAL, PRECISION,
        )  # fmt: skip


@tilejit.kernel
def combine_splits_kernel(
    out_ptr, v_scale_ptr, v_offset_ptr, sums_ptr, stats_ptr, splits,
    GROUP: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """Put the parts of ``paged_attention_kernel`` together. Grid: (KV heads, queries)."""
    kv_head = tl.program_id(0).to(tl.int64)
    token = tl.program_id(1).to(tl.int64)
    rows = kv_head * GROUP + tl.arange(0, GROUP)
    channels = tl.arange(0, D)
    stat_ptrs = stats_ptr + (token * stats_ptr.stride(2) + rows)
    sum_ptrs = sums_ptr + (token * sums_ptr.stride(1) + rows[:, None] * D + channels[None, :])
    accumulator = tl.zeros((GROUP, D), dtype=tl.float32)
    row_max = tl.full((GROUP,), LOWEST, dtype=tl.float32)
    row_sum = tl.zeros((GROUP,), dtype=tl.float32)
    for split in range(splits):
        part = split.to(tl.int64)
        part_max = tl.load(stat_ptrs + part * stats_ptr.stride(0))
        part_sum = tl.load(stat_ptrs + part * stats_ptr.stride(0) + stats_ptr.stride(1))
        new_max = tl.maximum(row_max, part_max)
        correction = tl.exp2(row_max - new_max)
        weight = tl.exp2(part_max - new_max)
        part_rows = tl.load(sum_ptrs + part * sums_ptr.stride(0))
        accumulator = accumulator * correction[:, None] + part_rows * weight[:, None]
        row_sum = row_sum * correction + part_sum * weight
        row_max = new_max
    out = _finished(accumulator, row_sum, v_scale_ptr, v_offset_ptr, kv_head * D + channels)
    out_rows = token * out_ptr.stride(0) + rows * out_ptr.stride(1)
    out_ptrs = out_ptr + (out_rows[:, None] + channels[None, :])
    tl.store(out_ptrs, out.to(out_ptr.dtype.element_ty))


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
    heads: int | None = None,
    split_keys: int | None = None,
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
    Tuning: ``block_q`` queries and ``block_n`` keys a tile, ``heads`` KV heads a program, ``split_keys`` keys
            of a sequence a program, a multiple of block_n; chosen from the batch where not given.
    Raises: TypeError or ValueError that names the argument, before anything is written.
    """
    if out is None:
        out = np.empty(q.shape, dtype=q.dtype)
    survey = check_call(
        q, k_pages, v_pages, block_table, context_lens, q_lens, cu_q_lens, quantisation, out
    )  # fmt: skip
    if softmax_scale is not None and not math.isfinite(softmax_scale):
        raise ValueError(f"softmax_scale must be finite, got {softmax_scale}")
    for launch in plan_launches(
        out, q, k_pages, v_pages, block_table, survey, quantisation, softmax_scale, causal, block_q,
        block_n, heads, split_keys,
    ):  # fmt: skip
        launch.kernel[launch.grid](*launch.arguments, **launch.constants, target=backend)
    return out


@dataclass(frozen=True)
class Launch:
    """A kernel with its grid, arguments and constants."""

    kernel: tilejit.Kernel
    grid: tuple[int, ...]
    arguments: tuple[object, ...]
    constants: dict[str, object]


def plan_launches(
    out: Array,
    q: Array,
    k_pages: Array,
    v_pages: Array,
    block_table: NDArray[np.int32],
    survey: Survey,
    quantisation: Quantisation | None,
    softmax_scale: float | None,
    causal: bool,
    block_q: int | None = None,
    block_n: int | None = None,
    heads: int | None = None,
    split_keys: int | None = None,
) -> list[Launch]:
    """Return what to launch, one after the other, for checked arrays."""
    _, page_size, n_kv_heads, head_dim = k_pages.shape
    n_queries, n_heads, _ = q.shape
    group = n_heads // n_kv_heads
    sequences = len(survey.contexts)
    tiles = choose_tiles(
        paged_attention_kernel, q, k_pages, survey,
        {"block_q": block_q, "block_n": block_n, "heads": heads, "split_keys": split_keys},
    )  # fmt: skip
    splits = max(1, tilejit.cdiv(survey.context, tiles.split_keys))
    parameters: tuple[Array | None, ...] = (None, None, None)
    if quantisation is not None:
        parameters = (quantisation.k_scale, quantisation.v_scale, quantisation.v_offset)
    scale = 1.0 / math.sqrt(head_dim) if softmax_scale is None else float(softmax_scale)
    sums, stats = None, None
    if splits > 1:
        sums = np.empty((splits, n_queries, n_heads, head_dim), dtype=np.float32)
        stats = np.empty((splits, 2, n_queries, n_heads), dtype=np.float32)
    # A 16-bit output shows nothing of products with 16 bits of the float operand.
    precision = "ieee" if out.dtype == np.float32 else "int8x2"
    attend = Launch(
        paged_attention_kernel,
        (n_kv_heads // tiles.heads, tilejit.cdiv(survey.longest, tiles.block_q), sequences * splits),
        (
            out, q, k_pages, v_pages, *parameters, sums, stats, block_table, survey.starts,
            survey.contexts, scale, splits, tiles.split_keys,
        ),
        {
            "GROUP": group, "HEADS": tiles.heads, "BLOCK_Q": tiles.block_q, "BLOCK_N": tiles.block_n,
            "PAGE": page_size, "D": head_dim, "CAUSAL": causal, "PRECISION": precision,
        },
    )  # fmt: skip
    if splits == 1:
        return [attend]
    combine = Launch(
        combine_splits_kernel,
        (n_kv_heads, n_queries),
        (out, *parameters[1:], sums, stats, splits),
        {"GROUP": group, "D": head_dim},
    )
    return [attend, combine]


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
    q, k_pages, v_pages, table, contexts = batch.arguments
    out, survey = np.empty_like(q), survey_batch(table, contexts, batch.q_lens, *k_pages.shape[:2])
    attend = plan_launches(out, q, k_pages, v_pages, table, survey, batch.quantisation, None, causal)[0]
    compiled = attend.kernel.warmup(*attend.arguments, **attend.constants, grid=attend.grid, target=backend)
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
