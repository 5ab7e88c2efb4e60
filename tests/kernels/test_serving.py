"""The small kernels around a language model: caches, routing, grouped products, sampling, penalties."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import tilejit
import tilejit.language as tl

from .compare import Array, check_close


@tilejit.jit
def reshape_and_cache(
    key_ptr, value_ptr, key_cache_ptr, value_cache_ptr, slot_mapping_ptr, k_scale, v_scale, key_stride,
    block_stride, page_stride, num_heads: tl.constexpr, head_size: tl.constexpr, block_size: tl.constexpr,
    FP8: tl.constexpr, TILE_SIZE: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(axis=0)
    slot = tl.load(slot_mapping_ptr + token).to(tl.int64)
    if slot < 0:
        return
    tile = tl.program_id(axis=1) * TILE_SIZE + tl.arange(0, TILE_SIZE)
    block = slot // block_size
    within = slot % block_size
    target = block * block_stride + within * page_stride + tile
    mask = tile < num_heads * head_size
    key = tl.load(key_ptr + token * key_stride + tile, mask=mask)
    if FP8:
        key_tile = key if key.dtype.is_fp8() else key / tl.load(k_scale)
    else:
        key_tile = key
    value = tl.load(value_ptr + token * key_stride + tile, mask=mask)
    if FP8:
        value_tile = value / tl.load(v_scale)
    else:
        value_tile = value
    tl.store(key_cache_ptr + target, key_tile, mask=mask)
    tl.store(value_cache_ptr + target, value_tile, mask=mask)


@pytest.mark.parametrize("fp8", [False, True])
def test_reshape_and_cache(interpret: bool, rng: np.random.Generator, fp8: bool) -> None:
    tokens, heads, size, page = 9, 2, 24, 4
    keys, values = rng.standard_normal((2, tokens, heads * size)).astype(np.float16)
    cache_type = ml_dtypes.float8_e4m3fn if fp8 else np.float16
    k_cache, v_cache = np.zeros((2, 5, page, heads * size), cache_type)
    slots = np.array([0, 19, -1, 7, 8, -1, 3, 12, 5])
    scales = np.array([0.5], np.float32), np.array([2.0], np.float32)
    reshape_and_cache[(tokens, 2)](
        keys, values, k_cache, v_cache, slots, *scales, heads * size, page * heads * size, heads * size,
        num_heads=heads, head_size=size, block_size=page, FP8=fp8, TILE_SIZE=32, interpret=interpret,
    )  # fmt: skip
    for cache, source, scale in ((k_cache, keys, scales[0]), (v_cache, values, scales[1])):
        expected = np.zeros((20, heads * size), cache_type)
        live = slots >= 0
        expected[slots[live]] = (source[live].astype(np.float32) / (scale if fp8 else 1)).astype(cache_type)
        np.testing.assert_array_equal(cache.reshape(20, -1).astype(np.float32), expected.astype(np.float32))


@tilejit.jit
def write_zeros(c_ptr, stride, pid_n, offs_token, token_mask, N, BLOCK_M, BLOCK_N, compute_type):
    accumulator = tl.zeros((BLOCK_M, BLOCK_N), dtype=compute_type)
    offs = pid_n * BLOCK_N + tl.arange(0, BLOCK_N)
    c_ptrs = c_ptr + stride * offs_token[:, None] + offs[None, :]
    tl.store(c_ptrs, accumulator, mask=token_mask[:, None] & (offs[None, :] < N))


@tilejit.jit
def fused_moe(
    a_ptr, b_ptr, c_ptr, weights_ptr, sorted_ids_ptr, expert_ids_ptr, num_padded_ptr, N, K, EM, num_valid,
    stride_am, stride_be, stride_bn, stride_cm, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr, MUL_WEIGHT: tl.constexpr, top_k: tl.constexpr,
    compute_type: tl.constexpr,
):  # fmt: skip
    pid = tl.program_id(axis=0)
    num_pid_m = tl.cdiv(EM, BLOCK_M)
    num_pid_n = tl.cdiv(N, BLOCK_N)
    in_group = GROUP_M * num_pid_n
    first_m = pid // in_group * GROUP_M
    group_m = min(num_pid_m - first_m, GROUP_M)
    pid_m = first_m + ((pid % in_group) % group_m)
    pid_n = (pid % in_group) // group_m
    num_padded = tl.load(num_padded_ptr)
    if pid_m * BLOCK_M >= num_padded:
        return
    offs_token = tl.load(sorted_ids_ptr + pid_m * BLOCK_M + tl.arange(0, BLOCK_M).to(tl.int64))
    token_mask = offs_token < num_valid
    expert = tl.load(expert_ids_ptr + pid_m).to(tl.int64)
    if expert == -1:
        write_zeros(c_ptr, stride_cm, pid_n, offs_token, token_mask, N, BLOCK_M, BLOCK_N, compute_type)
        return
    offs_n = (pid_n * BLOCK_N + tl.arange(0, BLOCK_N).to(tl.int64)) % N
    offs_k = tl.arange(0, BLOCK_K)
    a_ptrs = a_ptr + (offs_token[:, None] // top_k * stride_am + offs_k[None, :])
    b_ptrs = b_ptr + expert * stride_be + (offs_k[:, None] + offs_n[None, :] * stride_bn)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for k in range(0, tl.cdiv(K, BLOCK_K)):
        a = tl.load(a_ptrs, mask=token_mask[:, None] & (offs_k[None, :] < K - k * BLOCK_K), other=0.0)
        b = tl.load(b_ptrs, mask=offs_k[:, None] < K - k * BLOCK_K, other=0.0)
        acc += tl.dot(a, b)
        a_ptrs += BLOCK_K
        b_ptrs += BLOCK_K
    if MUL_WEIGHT:
        acc = acc * tl.load(weights_ptr + offs_token, mask=token_mask, other=0)[:, None]
    offs_cn = pid_n * BLOCK_N + tl.arange(0, BLOCK_N)
    c_ptrs = c_ptr + stride_cm * offs_token[:, None] + offs_cn[None, :]
    tl.store(c_ptrs, acc.to(compute_type), mask=token_mask[:, None] & (offs_cn[None, :] < N))


@pytest.mark.parametrize("weighted", [False, True])
def test_fused_moe(interpret: bool, rng: np.random.Generator, weighted: bool) -> None:
    tokens, top_k, experts, n, k, block = 11, 2, 4, 40, 50, 16
    a = rng.standard_normal((tokens, k)).astype(ml_dtypes.bfloat16)
    b = rng.standard_normal((experts, n, k)).astype(ml_dtypes.bfloat16)
    choice = np.stack([rng.permutation(experts)[:top_k] for _ in range(tokens)]).ravel()
    weights = rng.uniform(0, 1, tokens * top_k).astype(np.float32)
    sorted_ids, expert_ids = [], []
    for expert in range(experts):
        rows = np.flatnonzero(choice == expert)
        blocks = -(-len(rows) // block)
        sorted_ids += [*rows, *[tokens * top_k] * (blocks * block - len(rows))]
        expert_ids += [expert if expert != 2 else -1] * blocks
    padded = len(sorted_ids)
    sorted_ids += [tokens * top_k] * (block * 2)
    c = np.full((tokens * top_k, n), 7, ml_dtypes.bfloat16)
    grid = (tilejit.cdiv(len(sorted_ids), block) * tilejit.cdiv(n, 32),)
    fused_moe[grid](
        a, b, c, weights, np.array(sorted_ids, np.int32), np.array(expert_ids, np.int32),
        np.array([padded], np.int32), n, k, len(sorted_ids), tokens * top_k, k, n * k, k, n, BLOCK_M=block,
        BLOCK_N=32, BLOCK_K=32, GROUP_M=2, MUL_WEIGHT=weighted, top_k=top_k, compute_type=tl.bfloat16,
        interpret=interpret,
    )  # fmt: skip
    af, bf = a.astype(np.float64), b.astype(np.float64)
    expected = np.stack([
        (af[i // top_k] @ bf[e].T) * (weights[i] if weighted else 1) * (e != 2) for i, e in enumerate(choice)
    ])  # fmt: skip
    check_close(c, expected)


@tilejit.jit
def grouped_gemm(
    a_addresses, b_addresses, c_addresses, sizes, strides, group_size, PROGRAMS: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Products of different size share the programs: a while in a for, pointers out of memory."""
    tile = tl.program_id(0)
    last_problem_end = 0
    for g in range(group_size):
        gm = tl.load(sizes + g * 3)
        gn = tl.load(sizes + g * 3 + 1)
        gk = tl.load(sizes + g * 3 + 2)
        tiles_m = tl.cdiv(gm, BLOCK_M)
        tiles_n = tl.cdiv(gn, BLOCK_N)
        num_tiles = tiles_m * tiles_n
        while tile >= last_problem_end and tile < last_problem_end + num_tiles:
            lda = tl.load(strides + g * 3)
            ldb = tl.load(strides + g * 3 + 1)
            ldc = tl.load(strides + g * 3 + 2)
            a_ptr = tl.load(a_addresses + g).to(tl.pointer_type(tl.float16))
            b_ptr = tl.load(b_addresses + g).to(tl.pointer_type(tl.float16))
            c_ptr = tl.load(c_addresses + g).to(tl.pointer_type(tl.float16))
            tile_in_gemm = tile - last_problem_end
            rm = tile_in_gemm // tiles_n * BLOCK_M + tl.arange(0, BLOCK_M)
            rn = tile_in_gemm % tiles_n * BLOCK_N + tl.arange(0, BLOCK_N)
            rk = tl.arange(0, BLOCK_K)
            a_ptrs = a_ptr + rm[:, None] * lda + rk[None, :]
            b_ptrs = b_ptr + rk[:, None] * ldb + rn[None, :]
            acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
            for kk in range(0, tl.cdiv(gk, BLOCK_K)):
                tl.multiple_of(a_ptrs, [16, 16])
                left = gk - kk * BLOCK_K
                a = tl.load(a_ptrs, mask=(rm[:, None] < gm) & (rk[None, :] < left), other=0.0)
                b = tl.load(b_ptrs, mask=(rk[:, None] < left) & (rn[None, :] < gn), other=0.0)
                acc += tl.dot(a, b)
                a_ptrs += BLOCK_K
                b_ptrs += BLOCK_K * ldb
            c_ptrs = c_ptr + rm[:, None] * ldc + rn[None, :]
            tl.store(c_ptrs, acc.to(tl.float16), mask=(rm[:, None] < gm) & (rn[None, :] < gn))
            tile += PROGRAMS
        last_problem_end = last_problem_end + num_tiles


def test_grouped_gemm(interpret: bool, rng: np.random.Generator) -> None:
    sizes = np.array([(20, 30, 40), (33, 7, 16), (5, 64, 50)], np.int32)
    a = [rng.standard_normal((m, k)).astype(np.float16) for m, _, k in sizes]
    b = [rng.standard_normal((k, n)).astype(np.float16) for _, n, k in sizes]
    c = [np.zeros((m, n), np.float16) for m, n, _ in sizes]
    addresses = [np.array([x.ctypes.data for x in arrays]) for arrays in (a, b, c)]
    strides = np.array([(k, n, n) for _, n, k in sizes], np.int32)
    grouped_gemm[(4,)](
        *addresses, sizes, strides, 3, PROGRAMS=4, BLOCK_M=16, BLOCK_N=16, BLOCK_K=16, interpret=interpret
    )
    for x, y, z in zip(a, b, c, strict=True):
        check_close(z, x.astype(np.float64) @ y.astype(np.float64))


@tilejit.jit
def top_p_threshold(logits_ptr, out_ptr, p_ptr, V, MAX_ROUNDS: tl.constexpr, BLOCK: tl.constexpr):
    """Keeps the likeliest entries that together reach p: a search for the threshold, pass after pass."""
    row = tl.program_id(0)
    p = tl.load(p_ptr + row)
    top = -float("inf")
    total = 0.0
    for start in range(0, V, BLOCK):
        i = start + tl.arange(0, BLOCK)
        x = tl.load(logits_ptr + row * V + i, mask=i < V, other=-float("inf"))
        new_top = tl.maximum(top, tl.max(x))
        total = total * tl.exp(top - new_top) + tl.sum(tl.exp(x - new_top))
        top = new_top
    low = 0.0
    high = 1.0 / total
    rounds = 0
    kept = 1.0
    if p < 1.0:
        while rounds < MAX_ROUNDS and high > low:
            middle = (low + high) / 2
            kept = 0.0
            for start in range(0, V, BLOCK):
                i = start + tl.arange(0, BLOCK)
                x = tl.load(logits_ptr + row * V + i, mask=i < V, other=-float("inf"))
                probability = tl.exp(x - top) / total
                kept += tl.sum(tl.where(probability >= middle, probability, 0.0))
            if kept >= p:
                low = middle
            else:
                high = middle
            rounds += 1
    for start in range(0, V, BLOCK):
        i = start + tl.arange(0, BLOCK)
        x = tl.load(logits_ptr + row * V + i, mask=i < V, other=-float("inf"))
        probability = tl.exp(x - top) / total
        tl.store(out_ptr + row * V + i, tl.where(probability >= low, x, -float("inf")), mask=i < V)


def test_top_p(interpret: bool, rng: np.random.Generator) -> None:
    x = (3 * rng.standard_normal((4, 200))).astype(np.float32)
    p = np.array([0.1, 0.5, 0.9, 1.0], np.float32)
    out = np.empty_like(x)
    top_p_threshold[(4,)](x, out, p, 200, MAX_ROUNDS=40, BLOCK=64, interpret=interpret)
    e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    probability = np.sort(e / e.sum(1, keepdims=True), 1)[:, ::-1]
    count = 1 + (probability.cumsum(1) < p[:, None]).sum(1)
    count[3] = 200
    for row, n in enumerate(count):
        kept = np.sort(np.argsort(-x[row])[:n])
        np.testing.assert_array_equal(np.flatnonzero(np.isfinite(out[row])), kept)
        np.testing.assert_array_equal(out[row, kept], x[row, kept])


@tilejit.jit
def rejection_sample(
    out_ptr, draft_ids_ptr, bounds_ptr, draft_probs_ptr, target_probs_ptr, recovered_ptr, uniform_ptr,
    bonus_ptr, is_greedy_ptr, max_len, vocab, NO_DRAFT_PROBS: tl.constexpr,
):  # fmt: skip
    request = tl.program_id(0)
    if is_greedy_ptr is not None:  # noqa: SIM102
        if tl.load(is_greedy_ptr + request):
            return
    start = tl.load(bounds_ptr + request)
    end = tl.load(bounds_ptr + request + 1)
    rejected = False
    for position in range(end - start):
        if not rejected:
            token = tl.load(draft_ids_ptr + start + position)
            if NO_DRAFT_PROBS:
                draft_prob = 1
            else:
                draft_prob = tl.load(draft_probs_ptr + (start + position) * vocab + token)
            target_prob = tl.load(target_probs_ptr + (start + position) * vocab + token)
            if draft_prob > 0 and target_prob / draft_prob >= tl.load(uniform_ptr + start + position):
                chosen = token
            else:
                rejected = True
                chosen = tl.load(recovered_ptr + start + position)
            tl.store(out_ptr + request * (max_len + 1) + position, chosen)
    if not rejected:
        tl.store(out_ptr + request * (max_len + 1) + end - start, tl.load(bonus_ptr + request))


@pytest.mark.parametrize("no_draft", [False, True])
@pytest.mark.parametrize("greedy", [False, True])
def test_rejection_sampling(interpret: bool, rng: np.random.Generator, no_draft: bool, greedy: bool) -> None:
    counts, vocab, longest = [3, 0, 5, 1, 2], 12, 5
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    n = bounds[-1]
    draft = rng.integers(0, vocab, n).astype(np.int32)
    draft_probs, target_probs = rng.dirichlet(np.ones(vocab), (2, n)).astype(np.float32)
    recovered = rng.integers(100, 200, n).astype(np.int32)
    uniform = rng.random(n).astype(np.float32) * (0.05 if no_draft else 1)
    bonus = rng.integers(200, 300, 5).astype(np.int32)
    is_greedy = np.array([False, False, True, False, False])
    out = np.full((5, longest + 1), -1, np.int32)
    rejection_sample[(5,)](
        out, draft, bounds, None if no_draft else draft_probs, target_probs, recovered, uniform, bonus,
        is_greedy if greedy else None, longest, vocab, NO_DRAFT_PROBS=no_draft, interpret=interpret,
    )  # fmt: skip
    expected = np.full_like(out, -1)
    for r in range(5):
        if greedy and is_greedy[r]:
            continue
        for position, i in enumerate(range(bounds[r], bounds[r + 1])):
            ratio = target_probs[i, draft[i]] / (1 if no_draft else draft_probs[i, draft[i]])
            if ratio < uniform[i]:
                expected[r, position] = recovered[i]
                break
            expected[r, position] = draft[i]
        else:
            expected[r, counts[r]] = bonus[r]
    np.testing.assert_array_equal(out, expected)


@tilejit.jit
def penalties_kernel(
    logits_ptr, bin_counts_ptr, prompt_mask_ptr, repetition_ptr, frequency_ptr, presence_ptr, vocab,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Prompt tokens are a bit mask, 32 in a word."""
    row = tl.program_id(0)
    repetition = tl.load(repetition_ptr + row)
    frequency = tl.load(frequency_ptr + row)
    presence = tl.load(presence_ptr + row)
    use_repetition = repetition != 1.0
    use_any = use_repetition or frequency != 0.0 or presence != 0.0
    if not use_any:
        return
    block = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = block < vocab
    logits = tl.load(logits_ptr + row * vocab + block, mask=mask).to(tl.float32)
    counts = tl.load(bin_counts_ptr + row * vocab + block, mask=mask, other=0)
    seen = counts > 0
    if use_repetition:
        words = tl.program_id(1) * BLOCK // 32 + tl.arange(0, BLOCK // 32)
        packed = tl.load(prompt_mask_ptr + row * tl.cdiv(vocab, 32) + words, mask=words < tl.cdiv(vocab, 32))
        in_prompt = (packed[:, None] >> tl.arange(0, 32)[None, :]) & 1
        in_prompt = in_prompt.to(tl.int1).reshape(BLOCK)
        scale = tl.where(in_prompt | seen, repetition, 1.0)
        logits *= tl.where(logits > 0, 1.0 / scale, scale)
    logits -= frequency * counts
    logits -= presence * seen
    tl.store(logits_ptr + row * vocab + block, logits, mask=mask)


def test_penalties(interpret: bool, rng: np.random.Generator) -> None:
    rows, vocab = 4, 150
    logits = rng.standard_normal((rows, vocab)).astype(np.float32)
    counts = rng.integers(0, 3, (rows, vocab)).astype(np.int32)
    prompt = rng.random((rows, 160)) < 0.3
    packed = np.packbits(prompt, axis=1, bitorder="little").view(np.int32)
    repetition = np.array([1.0, 1.5, 1.0, 0.8], np.float32)
    frequency = np.array([0.0, 0.1, 0.2, 0.0], np.float32)
    presence = np.array([0.0, 0.5, 0.0, 0.3], np.float32)
    x = logits.astype(np.float64)
    scale = np.where(prompt[:, :vocab] | (counts > 0), repetition[:, None], 1.0)
    x = np.where(x > 0, x / scale, x * scale) - frequency[:, None] * counts - presence[:, None] * (counts > 0)
    penalties_kernel[(rows, tilejit.cdiv(vocab, 64))](
        logits, counts, packed, repetition, frequency, presence, vocab, BLOCK=64, interpret=interpret
    )
    check_close(logits, x)


@tilejit.jit
def gather_block_tables(
    group_src_ptrs,
    group_dst_ptrs,
    strides_ptr,
    index_ptr,
    counts_ptr,
    count_stride,
    rows,
    BLOCK: tl.constexpr,
):
    """For each group, rows of one int32 table into another, tables given by address; the tail is zeroed."""
    group = tl.program_id(0)
    row = tl.program_id(1)
    stride = tl.load(strides_ptr + group)
    source = tl.load(group_src_ptrs + group).to(tl.pointer_type(tl.int32)) + tl.load(index_ptr + row) * stride
    target = tl.load(group_dst_ptrs + group)
    target = tl.cast(target, tl.pointer_type(tl.int32)) + row * stride
    count = tl.load(counts_ptr + group * count_stride + tl.load(index_ptr + row))
    for i in tl.range(0, count, BLOCK):
        offset = i + tl.arange(0, BLOCK)
        tl.store(target + offset, tl.load(source + offset, mask=offset < count), mask=offset < count)
    for i in tl.range(count, stride, BLOCK):
        offset = i + tl.arange(0, BLOCK)
        tl.store(target + offset, 0, mask=offset < stride)


def test_gather_block_tables(interpret: bool, rng: np.random.Generator) -> None:
    tables = [rng.integers(1, 99, (6, width)).astype(np.int32) for width in (10, 37)]
    outputs = [np.full((4, t.shape[1]), -1, np.int32) for t in tables]
    index = np.array([5, 0, 3, 3])
    counts = np.array([[10, 0, 1, 4, 9, 2], [37, 16, 17, 15, 0, 36]], np.int32)
    addresses: list[Array] = [
        np.array([t.ctypes.data for t in arrays], np.uint64) for arrays in (tables, outputs)
    ]
    strides = np.array([10, 37], np.int64)
    gather_block_tables[(2, 4)](*addresses, strides, index, counts, 6, 4, BLOCK=16, interpret=interpret)
    for table, output, count in zip(tables, outputs, counts, strict=True):
        expected = np.where(np.arange(table.shape[1]) < count[index][:, None], table[index], 0)
        np.testing.assert_array_equal(output, expected)
