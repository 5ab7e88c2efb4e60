"""Kernels of the size that is published, each putting several idioms together."""

from __future__ import annotations

import numpy as np
import pytest

import tilejit
import tilejit.language as tl

from .compare import BF16, Array, check_close

# Statistics of columns, merged under a lock.


@tilejit.jit
def merge_moments(count_a, mean_a, m2_a, count_b, mean_b, m2_b):
    count = count_a + count_b
    share = tl.where(count > 0, count_b / tl.maximum(count, 1.0), 0.0)
    delta = mean_b - mean_a
    return count, mean_a + delta * share, m2_a + m2_b + delta * delta * count_a * share


@tilejit.jit
def column_moments(
    x_ptr, lock_ptr, count_ptr, mean_ptr, m2_ptr, rows, columns, stride,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    pid = tl.program_id(0)
    if pid * ROWS >= rows:
        return
    r = pid * ROWS + tl.arange(0, ROWS)
    c = tl.arange(0, COLUMNS)
    mask = (r[:, None] < rows) & (c[None, :] < columns)
    x = tl.load(x_ptr + r[:, None] * stride + c[None, :], mask=mask, other=0.0).to(tl.float32)
    count, mean, m2 = tl.reduce((mask.to(tl.float32), x, tl.zeros_like(x)), 0, merge_moments)

    inside = c < columns
    while tl.atomic_cas(lock_ptr, 0, 1) == 1:
        pass
    count0 = tl.load(count_ptr + c, mask=inside, other=0.0)
    mean0 = tl.load(mean_ptr + c, mask=inside, other=0.0)
    m20 = tl.load(m2_ptr + c, mask=inside, other=0.0)
    count, mean, m2 = merge_moments(count0, mean0, m20, count, mean, m2)
    tl.store(count_ptr + c, count, mask=inside)
    tl.store(mean_ptr + c, mean, mask=inside)
    tl.store(m2_ptr + c, m2, mask=inside)
    tl.debug_barrier()
    tl.atomic_xchg(lock_ptr, 0)


def test_moments_merged_under_a_lock(interpret: bool, rng: np.random.Generator) -> None:
    x = (rng.standard_normal((75, 13)) * 3 + 100).astype(np.float32)
    lock = np.zeros(1, np.int32)
    count, mean, m2 = (np.zeros(13, np.float32) for _ in range(3))
    column_moments[(9,)](
        x, lock, count, mean, m2, 75, 13, 13, ROWS=16, COLUMNS=16, interpret=interpret
    )  # four programs have nothing to do
    assert lock[0] == 0
    assert (count == 75).all()
    check_close(mean, x.astype(np.float64).mean(0))
    check_close(m2 / count, x.astype(np.float64).var(0), tolerance=2e-5)


# A persistent matmul over swizzled tiles, with an epilogue in halves.


@tilejit.jit
def swizzled(tile, tiles_m, tiles_n, GROUP: tl.constexpr):
    per_group = GROUP * tiles_n
    group = tile // per_group
    first = group * GROUP
    size = min(tiles_m - first, GROUP)
    return first + (tile % per_group) % size, (tile % per_group) // size


@tilejit.jit
def persistent_matmul(
    a_ptr, b_ptr, bias_ptr, c_ptr, order_ptr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, GROUP: tl.constexpr,
    ACTIVATION: tl.constexpr = None,
):  # fmt: skip
    a = tl.make_tensor_descriptor(a_ptr, block_shape=[BM, BK])
    b = tl.make_tensor_descriptor(b_ptr, block_shape=[BN, BK])  # stored as [N, K]
    c = tl.make_tensor_descriptor(c_ptr, block_shape=[BM, BN // 2])
    bias = tl.make_tensor_descriptor(bias_ptr, block_shape=[BN])
    tiles_m, tiles_n = tl.cdiv(a.shape[0], BM), tl.cdiv(b.shape[0], BN)
    for tile in tl.range(tl.program_id(0), tiles_m * tiles_n, tl.num_programs(0), flatten=True):
        m, n = swizzled(tile, tiles_m, tiles_n, GROUP)
        tl.store(order_ptr + tile, m * tiles_n + n)
        acc = tl.broadcast_to(bias.load([n * BN]).to(tl.float32)[None, :], (BM, BN))
        for k in range(tl.cdiv(a.shape[1], BK)):
            acc = tl.dot(a.load([m * BM, k * BK]), b.load([n * BN, k * BK]).T, acc)
        if ACTIVATION is not None:
            acc = ACTIVATION(acc)
        halves = tl.permute(tl.reshape(acc, (BM, 2, BN // 2)), (0, 2, 1))
        left, right = tl.split(halves)
        c.store([m * BM, n * BN], left.to(c.dtype))
        c.store([m * BM, n * BN + BN // 2], right.to(c.dtype))


@tilejit.jit
def squared_relu(x):
    x = tl.maximum(x, 0.0)
    return x * x


@pytest.mark.parametrize("programs", [1, 4, 40])
@pytest.mark.parametrize("dtype", [np.dtype(np.float32), BF16], ids=str)
def test_persistent_matmul(interpret: bool, rng: np.random.Generator, dtype: np.dtype, programs: int) -> None:
    a = rng.standard_normal((70, 45)).astype(dtype)
    b = rng.standard_normal((50, 45)).astype(dtype)
    bias = rng.standard_normal(50).astype(np.float32)
    c, order = np.zeros((70, 50), dtype), np.full(20, -1, np.int32)
    persistent_matmul[(programs,)](
        a, b, bias, c, order, BM=16, BN=16, BK=16, GROUP=2, ACTIVATION=squared_relu, interpret=interpret
    )
    product = a.astype(np.float64) @ b.astype(np.float64).T + bias
    check_close(c, np.maximum(product, 0.0) ** 2)
    # Five rows of four tiles in groups of two rows; within a group down the columns.
    groups = [np.arange(20).reshape(5, 4)[first : first + 2].T.ravel() for first in (0, 2, 4)]
    assert order.tolist() == np.concatenate(groups).tolist()


# Weights of four bits: eight to a word in an interleaved order, with a zero point and a scale per group.


@tilejit.jit
def unpack_eight(words, ROWS: tl.constexpr, WORDS: tl.constexpr):
    place = tl.arange(0, 8)
    order = (place % 2) * 4 + place // 2  # 0 4 1 5 2 6 3 7
    nibbles = (words[:, :, None] >> (order * 4)[None, None, :]) & 0xF
    return tl.reshape(nibbles, (ROWS, WORDS * 8))


@tilejit.jit
def int4_matmul(
    x_ptr, q_ptr, zeros_ptr, scales_ptr, out_ptr, M, N, K, GROUP_SIZE: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, SPLIT: tl.constexpr,
):  # fmt: skip
    pid_n, pid_k = tl.program_id(0), tl.program_id(1)
    WORDS: tl.constexpr = BN // 8
    m, k = tl.arange(0, BM), pid_k * BK + tl.arange(0, BK)
    n, w = pid_n * BN + tl.arange(0, BN), pid_n * WORDS + tl.arange(0, WORDS)
    acc = tl.zeros((BM, BN), tl.float32)
    for _ in range(0, tl.cdiv(K, BK * SPLIT)):
        inside_k, inside_n, inside_w = k < K, n < N, w < N // 8
        group = k // GROUP_SIZE
        words = tl.load(q_ptr + k[:, None] * (N // 8) + w[None, :], inside_k[:, None] & inside_w[None, :], 0)
        zeros = tl.load(
            zeros_ptr + group[:, None] * (N // 8) + w[None, :], inside_k[:, None] & inside_w[None, :], 0
        )
        scales = tl.load(
            scales_ptr + group[:, None] * N + n[None, :], inside_k[:, None] & inside_n[None, :], 0
        )
        values = unpack_eight(words, BK, WORDS) - unpack_eight(zeros, BK, WORDS)
        weights = (values * scales).to(x_ptr.dtype.element_ty)
        x = tl.load(x_ptr + m[:, None] * K + k[None, :], (m[:, None] < M) & inside_k[None, :], 0.0)
        acc = tl.dot(x, weights, acc, out_dtype=tl.float32)
        k += BK * SPLIT
    out = out_ptr + m[:, None] * N + n[None, :]
    mask = (m[:, None] < M) & (n[None, :] < N)
    if SPLIT == 1:
        tl.store(out, acc, mask=mask)
    else:
        tl.atomic_add(out, acc, mask=mask, sem="relaxed")


def pack_eight(values: Array) -> Array:
    """Pack nibbles of the last dimension into words: bits 4 * i hold value 0 2 4 6 1 3 5 7."""
    parts = values.reshape(*values.shape[:-1], -1, 8)[..., [0, 2, 4, 6, 1, 3, 5, 7]].astype(np.uint64)
    return (parts << (4 * np.arange(8, dtype=np.uint64))).sum(-1).astype(np.uint32).view(np.int32)


@pytest.mark.parametrize("split", [1, 2])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_int4_weights_in_groups(interpret: bool, rng: np.random.Generator, dtype: type, split: int) -> None:
    M, N, K, size = 5, 48, 96, 32
    x = rng.standard_normal((M, K)).astype(dtype)
    q, zeros = rng.integers(0, 16, (K, N)), rng.integers(0, 16, (K // size, N))
    scales = rng.uniform(0.01, 0.1, (K // size, N)).astype(dtype)
    out = np.zeros((M, N), np.float32)
    int4_matmul[(2, split)](
        x, pack_eight(q), pack_eight(zeros), scales, out, M, N, K,
        GROUP_SIZE=size, BM=16, BN=32, BK=32, SPLIT=split, interpret=interpret,
    )  # fmt: skip
    weights = (q - zeros.repeat(size, 0)) * scales.astype(np.float64).repeat(size, 0)
    check_close(out, x.astype(np.float64) @ weights, tolerance=1e-3 if dtype == np.float16 else None)


# Experts: the best k of each token, then tokens sorted by expert into padded blocks.


@tilejit.jit
def better(value_a, index_a, value_b, index_b):
    first = (value_a > value_b) | ((value_a == value_b) & (index_a < index_b))
    return tl.where(first, value_a, value_b), tl.where(first, index_a, index_b)


@tilejit.jit
def route(
    logits_ptr, weights_ptr, experts_ptr, E, TOPK: tl.constexpr, BLOCK: tl.constexpr, NORM: tl.constexpr
):
    token = tl.program_id(0)
    e = tl.arange(0, BLOCK)
    logits = tl.load(logits_ptr + token * E + e, mask=e < E, other=-float("inf")).to(tl.float32)
    left = tl.softmax(logits)
    total = 0.0
    for k in tl.static_range(TOPK):
        weight, expert = tl.reduce((left, e), 0, better)
        tl.store(weights_ptr + token * TOPK + k, weight)
        tl.store(experts_ptr + token * TOPK + k, expert)
        total += weight
        left = tl.where(e == expert, -1.0, left)
    if not NORM:
        return
    k = tl.arange(0, TOPK)
    weights = tl.load(weights_ptr + token * TOPK + k)
    tl.store(weights_ptr + token * TOPK + k, weights / total)


@tilejit.jit
def align(
    experts_ptr,
    sorted_ptr,
    block_expert_ptr,
    used_ptr,
    n,
    E: tl.constexpr,
    PAD: tl.constexpr,
    STEP: tl.constexpr,
):
    e = tl.arange(0, E)
    counts = tl.zeros((E,), tl.int32)
    for start in range(0, n, STEP):
        i = start + tl.arange(0, STEP)
        expert = tl.load(experts_ptr + i, mask=i < n, other=E)
        counts += tl.sum((expert[:, None] == e[None, :]).to(tl.int32), axis=0)
    padded = tl.cdiv(counts, PAD) * PAD
    ends = tl.cumsum(padded, 0)
    starts = ends - padded
    tl.store(used_ptr, tl.max(ends, 0))
    for block in range(0, tl.max(ends, 0) // PAD):
        tl.store(block_expert_ptr + block, tl.sum((ends <= block * PAD).to(tl.int32)))
    filled = tl.zeros((E,), tl.int32)
    for start in range(0, n, STEP):
        i = start + tl.arange(0, STEP)
        expert = tl.load(experts_ptr + i, mask=i < n, other=E)
        is_own = (expert[:, None] == e[None, :]).to(tl.int32)
        rank = tl.cumsum(is_own, axis=0) - is_own + filled[None, :] + starts[None, :]
        place = tl.sum(rank * is_own, axis=1)
        tl.store(sorted_ptr + place, i, mask=i < n)
        filled += tl.sum(is_own, axis=0)


@pytest.mark.parametrize("norm", [False, True])
def test_routing_and_alignment(interpret: bool, rng: np.random.Generator, norm: bool) -> None:
    tokens, E, topk, pad = 45, 7, 2, 8
    logits = rng.integers(-4, 4, (tokens, E)).astype(np.float32)  # with ties
    weights, experts = np.zeros((tokens, topk), np.float32), np.zeros((tokens, topk), np.int32)
    route[(tokens,)](logits, weights, experts, E, TOPK=topk, BLOCK=8, NORM=norm, interpret=interpret)
    shifted = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    shares = shifted / shifted.sum(1, keepdims=True)
    best = np.argsort(-shares, axis=1, kind="stable")[:, :topk]
    assert np.array_equal(experts, best)
    expected = np.take_along_axis(shares, best, 1)
    check_close(weights, expected / expected.sum(1, keepdims=True) if norm else expected)

    n = tokens * topk
    places, owners, used = np.full(160, n, np.int32), np.full(20, -1, np.int32), np.zeros(1, np.int32)
    align[(1,)](experts, places, owners, used, n, E=8, PAD=pad, STEP=16, interpret=interpret)
    flat, wanted, wanted_owners = experts.ravel(), [], []
    for expert in range(E):
        mine = np.flatnonzero(flat == expert).tolist()
        blocks = -(-len(mine) // pad)
        wanted += mine + [n] * (blocks * pad - len(mine))
        wanted_owners += [expert] * blocks
    assert used[0] == len(wanted)
    assert places[: len(wanted)].tolist() == wanted
    assert owners[: len(wanted_owners)].tolist() == wanted_owners


# Ragged sequences: rotate keys in interleaved pairs and write them to a paged cache in int8.


@tilejit.jit
def find_sequence(starts_ptr, n, token):
    if n == 1:
        return 0
    low, high = 0, n
    while high - low > 1:
        middle = (low + high) // 2
        if tl.load(starts_ptr + middle) <= token:
            low = middle
        else:
            high = middle
    return low


@tilejit.jit
def rotate_pairs(x, cos, sin, D: tl.constexpr):
    even, odd = tl.split(tl.reshape(x, (D // 2, 2)))
    return tl.reshape(tl.join(even * cos - odd * sin, even * sin + odd * cos), (D,))


@tilejit.jit
def rope_and_cache(
    k_ptr, starts_ptr, past_ptr, table_ptr, cache_ptr, scale_ptr, sequences, tokens, heads, blocks, base,
    D: tl.constexpr, PAGE: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0)
    if token >= tokens:
        return
    sequence = find_sequence(starts_ptr, sequences, token)
    position = token - tl.load(starts_ptr + sequence) + tl.load(past_ptr + sequence)
    page = tl.load(table_ptr + sequence * blocks + position // PAGE)
    if page < 0:  # no room
        return
    slot = page.to(tl.int64) * PAGE + position % PAGE
    pair, d = tl.arange(0, D // 2), tl.arange(0, D)
    angle = position * tl.exp2(pair * (-2.0 / D) * tl.log2(base))
    cos, sin = tl.cos(angle), tl.sin(angle)
    for head in range(heads):
        row = tl.load(k_ptr + (token * heads + head) * D + d).to(tl.float32)
        row = rotate_pairs(row, cos, sin, D)
        scale = tl.max(tl.abs(row)) / 127.0
        inverse = 1.0 / scale if scale > 0 else 0.0
        scaled = row * inverse
        rounded = tl.where(scaled < 0, tl.ceil(scaled - 0.5), tl.floor(scaled + 0.5))
        tl.store(cache_ptr + (slot * heads + head) * D + d, rounded.to(tl.int8))
        tl.store(scale_ptr + slot * heads + head, scale)


def test_rope_into_a_paged_cache(interpret: bool, rng: np.random.Generator) -> None:
    lengths, past, heads, D, page = [5, 1, 9, 3], np.array([0, 6, 2, 4], np.int32), 2, 16, 4
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    tokens = int(starts[-1])
    k = rng.standard_normal((tokens, heads, D)).astype(np.float16)
    k[3, 1] = 0.0
    table = rng.permutation(16).astype(np.int32).reshape(4, 4)
    table[2, 2:] = -1  # the last tokens of this sequence have no room
    cache, scales = np.zeros((16, page, heads, D), np.int8), np.zeros((16, page, heads), np.float32)
    rope_and_cache[(tokens + 3,)](
        k, starts, past, table, cache, scales, 4, tokens, heads, 4, 10000.0,
        D=D, PAGE=page, interpret=interpret,
    )  # fmt: skip
    written = np.zeros((16, page), bool)
    for sequence, length in enumerate(lengths):
        for i in range(length):
            position = int(past[sequence]) + i
            number = table[sequence, position // page]
            if number < 0:
                continue
            written[number, position % page] = True
            angle = position * 10000.0 ** (-np.arange(D // 2) * 2.0 / D)
            pairs = k[starts[sequence] + i].astype(np.float64).reshape(heads, D // 2, 2)
            turned = (pairs[..., 0] + 1j * pairs[..., 1]) * np.exp(1j * angle)
            expected = np.stack([turned.real, turned.imag], -1).reshape(heads, D)
            got = cache[number, position % page] * scales[number, position % page, :, None].astype(np.float64)
            assert np.abs(got - expected).max() <= np.abs(expected).max() / 127 * 0.51
    assert not scales[~written].any() and not cache[~written].any()
    assert written.sum() == tokens - 3
