"""Kernels with dots and with work for the vector cores, in the ways in which people write them."""

from __future__ import annotations

import tilejit
import tilejit.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
LOWEST = tl.constexpr(-3.0e38)


@tilejit.kernel
def _gelu(x):
    return x * tl.sigmoid(1.702 * x)


@tilejit.kernel
def epilogue_matmul(
    a_ptr, b_ptr, bias_ptr, residual_ptr, c_ptr, M, N, K,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, EPILOGUE: tl.constexpr,
):  # fmt: skip
    """A product, to which something is done before it is stored."""
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    inner = tl.arange(0, BLOCK_K)
    acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, K, BLOCK_K):
        k = start + inner
        a_mask = (rows[:, None] < M) & (k[None, :] < K)
        b_mask = (k[:, None] < K) & (columns[None, :] < N)
        a = tl.load(a_ptr + rows[:, None] * K + k[None, :], mask=a_mask, other=0.0)
        b = tl.load(b_ptr + k[:, None] * N + columns[None, :], mask=b_mask, other=0.0)
        acc = tl.dot(a, b, acc)
    mask = (rows[:, None] < M) & (columns[None, :] < N)
    places = rows[:, None] * N + columns[None, :]
    acc += tl.load(bias_ptr + columns, mask=columns < N, other=0.0)[None, :]
    if EPILOGUE == "gelu":
        acc = _gelu(acc)
    elif EPILOGUE == "relu":
        acc = tl.maximum(acc, 0.0)
    elif EPILOGUE == "residual":
        acc += tl.load(residual_ptr + places, mask=mask, other=0.0)
    tl.store(c_ptr + places, acc.to(c_ptr.dtype.element_ty), mask=mask)


@tilejit.kernel
def dequantised_product(
    a_ptr, b_ptr, row_scale_ptr, column_scale_ptr, c_ptr, M, N, K,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """A product of bytes, with a scale for each row of A and each column of B."""
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    inner = tl.arange(0, BLOCK_K)
    acc = tl.zeros((BLOCK_M, BLOCK_N), tl.int32)
    for start in range(0, K, BLOCK_K):
        k = start + inner
        a_mask = (rows[:, None] < M) & (k[None, :] < K)
        b_mask = (k[:, None] < K) & (columns[None, :] < N)
        a = tl.load(a_ptr + rows[:, None] * K + k[None, :], mask=a_mask, other=0)
        b = tl.load(b_ptr + k[:, None] * N + columns[None, :], mask=b_mask, other=0)
        acc = tl.dot(a, b, acc)
    by_row = tl.load(row_scale_ptr + rows, mask=rows < M, other=0.0)
    by_column = tl.load(column_scale_ptr + columns, mask=columns < N, other=0.0)
    c = acc.to(tl.float32) * by_row[:, None] * by_column[None, :]
    mask = (rows[:, None] < M) & (columns[None, :] < N)
    tl.store(c_ptr + rows[:, None] * N + columns[None, :], c.to(tl.float16), mask=mask)


@tilejit.kernel
def product_softmax(
    a_ptr, b_ptr, c_ptr, M, N, K,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """The softmax of each row of a product."""
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns, inner = tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_K)
    acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, K, BLOCK_K):
        k = start + inner
        a_mask = (rows[:, None] < M) & (k[None, :] < K)
        b_mask = (k[:, None] < K) & (columns[None, :] < N)
        a = tl.load(a_ptr + rows[:, None] * K + k[None, :], mask=a_mask, other=0.0)
        b = tl.load(b_ptr + k[:, None] * N + columns[None, :], mask=b_mask, other=0.0)
        acc = tl.dot(a, b, acc)
    acc = tl.where(columns[None, :] < N, acc, -float("inf"))
    weights = tl.exp(acc - tl.max(acc, axis=1)[:, None])
    weights /= tl.sum(weights, axis=1)[:, None]
    mask = (rows[:, None] < M) & (columns[None, :] < N)
    tl.store(c_ptr + rows[:, None] * N + columns[None, :], weights, mask=mask)


@tilejit.kernel
def scores_and_weights(
    a_ptr, b_ptr, scores_ptr, sums_ptr, columns_ptr, whole_ptr, out_ptr, m, n, SIZE: tl.constexpr
):
    """Products stored as they are behind a softmax of them: by rows, added, by columns, in another type."""
    rows, lanes = tl.program_id(0) * SIZE + tl.arange(0, SIZE), tl.arange(0, SIZE)
    is_row, is_column = rows[:, None] < m, lanes[None, :] < n
    a = tl.load(a_ptr + rows[:, None] * SIZE + lanes[None, :], mask=is_row, other=0.0)
    product = tl.dot(a, tl.load(b_ptr + lanes[:, None] * SIZE + lanes[None, :]))
    scores = tl.where(is_column, product, -float("inf"))
    weights = tl.exp(scores - tl.max(scores, axis=1)[:, None])
    at, is_stored = rows[:, None] * n + lanes[None, :], is_row & is_column
    tl.store(out_ptr + at, weights / tl.sum(weights, axis=1)[:, None], mask=is_stored)
    tl.store(scores_ptr + at, product.to(tl.float16), mask=is_stored)
    tl.atomic_add(sums_ptr + at, product, mask=is_stored)
    tl.store(columns_ptr + lanes[:, None] * m + rows[None, :], tl.trans(product), mask=rows[None, :] < m)
    tl.store(whole_ptr + at, product.to(tl.int32), mask=is_stored)


@tilejit.kernel
def sums_of_products(a_ptr, b_ptr, out_ptr, n, SIZE: tl.constexpr, AXIS: tl.constexpr):
    """Sums of rows or columns of products: the vector cores share what is not summed over."""
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    total = tl.zeros((SIZE,), tl.float32)
    for step in range(n):
        a, b = tl.load(a_ptr + step * SIZE * SIZE + at), tl.load(b_ptr + step * SIZE * SIZE + at)
        total += tl.sum(tl.dot(a, b), axis=AXIS)
    tl.store(out_ptr + lanes, total)


@tilejit.kernel
def perceptron(
    x_ptr, up_ptr, down_ptr, out_ptr, M, HIDDEN,
    BLOCK_M: tl.constexpr, BLOCK_H: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Two layers; what is between them never leaves the chip's cores as a whole."""
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    channels, hidden = tl.arange(0, WIDTH), tl.arange(0, BLOCK_H)
    mask = rows[:, None] < M
    places = rows[:, None] * WIDTH + channels[None, :]
    x = tl.load(x_ptr + places, mask=mask, other=0.0)
    acc = tl.zeros((BLOCK_M, WIDTH), tl.float32)
    for start in range(0, HIDDEN, BLOCK_H):
        h = start + hidden
        up = tl.load(up_ptr + channels[:, None] * HIDDEN + h[None, :], mask=h[None, :] < HIDDEN, other=0.0)
        down = tl.load(down_ptr + h[:, None] * WIDTH + channels[None, :], mask=h[:, None] < HIDDEN, other=0.0)
        between = tl.maximum(tl.dot(x, up), 0.0).to(x_ptr.dtype.element_ty)
        acc = tl.dot(between, down, acc)
    tl.store(out_ptr + places, acc, mask=mask)


@tilejit.kernel
def gated_layers(x_ptr, gate_ptr, up_ptr, down_ptr, out_ptr, SIZE: tl.constexpr):
    """Two products that one function of the vector cores joins, a third of what comes out, and its gelu."""
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    x = tl.load(x_ptr + tl.program_id(0) * SIZE * SIZE + at)
    gate, up = tl.dot(x, tl.load(gate_ptr + at)), tl.dot(x, tl.load(up_ptr + at))
    between = (tl.minimum(tl.maximum(gate, 0.0), 4.0) * up).to(tl.float16)
    out = tl.dot(between, tl.load(down_ptr + at))
    tl.store(out_ptr + tl.program_id(0) * SIZE * SIZE + at, _gelu(out))


@tilejit.kernel
def byte_weights(
    x_ptr, w_ptr, scale_ptr, out_ptr, M, N, K,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Weights of 8 bits, with a scale for each row, are made 16-bit floats before they are multiplied."""
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    inner = tl.arange(0, BLOCK_K)
    acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, K, BLOCK_K):
        k = start + inner
        x_mask = (rows[:, None] < M) & (k[None, :] < K)
        w_mask = (k[:, None] < K) & (columns[None, :] < N)
        x = tl.load(x_ptr + rows[:, None] * K + k[None, :], mask=x_mask, other=0.0)
        w = tl.load(w_ptr + k[:, None] * N + columns[None, :], mask=w_mask, other=0)
        scale = tl.load(scale_ptr + k, mask=k < K, other=0.0)
        acc = tl.dot(x, (w.to(tl.float32) * scale[:, None]).to(tl.float16), acc)
    mask = (rows[:, None] < M) & (columns[None, :] < N)
    tl.store(out_ptr + rows[:, None] * N + columns[None, :], acc, mask=mask)


@tilejit.kernel
def scaled_rows(a_ptr, b_ptr, scale_ptr, c_ptr, M, SIZE: tl.constexpr):
    """A is scaled by rows first; products come and go by the vector cores."""
    rows, lanes = tl.program_id(0) * SIZE + tl.arange(0, SIZE), tl.arange(0, SIZE)
    mask = rows[:, None] < M
    a = tl.load(a_ptr + rows[:, None] * SIZE + lanes[None, :], mask=mask, other=0.0)
    scale = tl.load(scale_ptr + rows, mask=rows < M, other=0.0)
    b = tl.load(b_ptr + lanes[:, None] * SIZE + lanes[None, :])
    c = tl.dot((a * scale[:, None]).to(tl.float16), tl.trans(b))
    tl.store(c_ptr + rows[:, None] * SIZE + lanes[None, :], c, mask=mask)


@tilejit.kernel
def started_sums(a_ptr, b_ptr, c_ptr, n, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    """A sum of products that starts from a tile in memory."""
    rows = tl.program_id(0) * M + tl.arange(0, M)
    columns, inner = tl.arange(0, N), tl.arange(0, K)
    places = rows[:, None] * N + columns[None, :]
    acc = tl.load(c_ptr + places)
    for step in range(n):
        a = tl.load(a_ptr + rows[:, None] * K + inner[None, :])
        b = tl.load(b_ptr + (step * K + inner)[:, None] * N + columns[None, :])
        acc = tl.dot(a, b, acc)
    tl.store(c_ptr + places, acc)


@tilejit.kernel
def decayed_sums(a_ptr, b_ptr, decay_ptr, c_ptr, n, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    """A sum of products that is scaled before each is added to it."""
    rows, columns, inner = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    acc = tl.zeros((M, N), tl.float32)
    for step in range(n):
        a = tl.load(a_ptr + rows[:, None] * K + inner[None, :])
        b = tl.load(b_ptr + (step * K + inner)[:, None] * N + columns[None, :])
        acc = tl.dot(a, b, acc * tl.load(decay_ptr + step))
    tl.store(c_ptr + rows[:, None] * N + columns[None, :], acc)


@tilejit.kernel
def chain(x_ptr, w_ptr, y_ptr, n, SIZE: tl.constexpr):
    """Each product is rounded to what the next one multiplies; the vector cores carry it."""
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    x = tl.load(x_ptr + tl.program_id(0) * SIZE * SIZE + at)
    for step in range(n):
        w = tl.load(w_ptr + step * SIZE * SIZE + at)
        x = tl.minimum(tl.maximum(tl.dot(x, w), -8.0), 8.0).to(tl.float16)
    tl.store(y_ptr + tl.program_id(0) * SIZE * SIZE + at, x)


@tilejit.kernel
def nested_crossings(a_ptr, b_ptr, out_ptr, count_ptr, n, SIZE: tl.constexpr):
    """Tiles cross in both of two loops; how often the inner one runs is read from memory."""
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    total = tl.zeros((SIZE, SIZE), tl.float32)
    for i in range(n):
        a = tl.load(a_ptr + i * SIZE * SIZE + at)
        part = tl.zeros((SIZE, SIZE), tl.float32)
        for j in range(tl.load(count_ptr + i)):
            b = tl.load(b_ptr + j * SIZE * SIZE + at)
            part += tl.maximum(tl.dot(a, b), 0.0)
        small = tl.minimum(part, 8.0).to(tl.float16)
        total += tl.dot(small, tl.load(b_ptr + i * SIZE * SIZE + at)) + 1.0
    tl.store(out_ptr + at, total)


@tilejit.kernel
def counted_program(a_ptr, b_ptr, out_ptr, count_ptr, SIZE: tl.constexpr):
    """Programs of which each adds up as many products as memory says; some end at once."""
    program, lanes = tl.program_id(0), tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    count = tl.load(count_ptr + program)
    if count < 0:
        return
    total = tl.zeros((SIZE, SIZE), tl.float32)
    for j in range(count):
        a, b = tl.load(a_ptr + j * SIZE * SIZE + at), tl.load(b_ptr + j * SIZE * SIZE + at)
        total = tl.maximum(total, tl.dot(a, b))
    tl.store(out_ptr + program * SIZE * SIZE + at, total)


@tilejit.kernel
def chosen_crossings(a_ptr, b_ptr, out_ptr, flag_ptr, n, SIZE: tl.constexpr):
    """Which way a tile goes hangs on a number in memory: by a product, by two, or by none."""
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    total = tl.zeros((SIZE, SIZE), tl.float32)
    for i in range(n):
        a, b = tl.load(a_ptr + i * SIZE * SIZE + at), tl.load(b_ptr + i * SIZE * SIZE + at)
        way = tl.load(flag_ptr + i)
        if way == 1:
            total += tl.maximum(tl.dot(a, b), 0.0)
        elif way == 2:
            half = tl.minimum(tl.maximum(tl.dot(a, b), -8.0), 8.0).to(tl.float16)
            total += tl.dot(half, b)
        else:
            total -= a.to(tl.float32)
    tl.store(out_ptr + at, total)


@tilejit.kernel
def while_crossing(a_ptr, b_ptr, out_ptr, n, SIZE: tl.constexpr):
    """A loop whose condition is a number that halves."""
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    total = tl.zeros((SIZE, SIZE), tl.float32)
    while n > 0:
        a, b = tl.load(a_ptr + n % 3 * SIZE * SIZE + at), tl.load(b_ptr + at)
        total += tl.maximum(tl.dot(a, b), 0.0)
        n = n // 2
    tl.store(out_ptr + at, total)


@tilejit.kernel
def paged_queries(
    q_ptr, k_ptr, v_ptr, k_scale_ptr, v_scale_ptr, table_ptr, context_ptr, out_ptr, scale, pages, kv_heads,
    GROUP: tl.constexpr, PAGE: tl.constexpr, D: tl.constexpr, IS_QUANTISED: tl.constexpr,
):  # fmt: skip
    """One query a sequence over pages of keys and values; bytes become 16-bit floats channel by channel.

    Shapes: q and out are [B, Hq, D], k and v [pages, PAGE, Hkv, D], scales [Hkv, D]. Grid: (Hkv, B).
    """
    kv_head, sequence = tl.program_id(0), tl.program_id(1)
    rows, tokens, channels = tl.arange(0, GROUP), tl.arange(0, PAGE), tl.arange(0, D)
    heads = (sequence * kv_heads + kv_head) * GROUP + rows
    q = tl.load(q_ptr + heads[:, None] * D + channels[None, :])
    context = tl.load(context_ptr + sequence)
    accumulator = tl.zeros((GROUP, D), tl.float32)
    row_max = tl.full((GROUP,), LOWEST, tl.float32)
    row_sum = tl.zeros((GROUP,), tl.float32)
    for start in range(0, context, PAGE):
        page = tl.load(table_ptr + sequence * pages + start // PAGE)
        places = ((page * PAGE + tokens)[:, None] * kv_heads + kv_head) * D + channels[None, :]
        mask = (start + tokens)[:, None] < context
        k = tl.load(k_ptr + places, mask=mask, other=0)
        v = tl.load(v_ptr + places, mask=mask, other=0)
        if IS_QUANTISED:
            k_scale = tl.load(k_scale_ptr + kv_head * D + channels)
            v_scale = tl.load(v_scale_ptr + kv_head * D + channels)
            k = (k.to(tl.float32) * k_scale[None, :]).to(q.dtype)
            v = (v.to(tl.float32) * v_scale[None, :]).to(q.dtype)
        scores = tl.dot(q, tl.trans(k)) * (scale * LOG2_E)
        scores = tl.where((start + tokens)[None, :] < context, scores, -float("inf"))
        new_max = tl.maximum(row_max, tl.max(scores, axis=1))
        weights = tl.exp2(scores - new_max[:, None])
        correction = tl.exp2(row_max - new_max)
        row_sum = row_sum * correction + tl.sum(weights, axis=1)
        accumulator = accumulator * correction[:, None] + tl.dot(weights.to(v.dtype), v)
        row_max = new_max
    out = accumulator / tl.where(row_sum > 0.0, row_sum, 1.0)[:, None]
    tl.store(out_ptr + heads[:, None] * D + channels[None, :], out.to(out_ptr.dtype.element_ty))


@tilejit.kernel
def ragged_attention(
    q_ptr, k_ptr, v_ptr, q_start_ptr, k_start_ptr, out_ptr, scale, heads,
    GROUP: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, D: tl.constexpr,
    CAUSAL: tl.constexpr,
):  # fmt: skip
    """Attention of sequences that lie one behind the other; the last query of each sees its last key.

    Shapes: q and out are [Tq, H, D], k and v [Tk, H / GROUP, D]. Grid: (blocks of queries, H, sequences).
    """
    head, sequence = tl.program_id(1), tl.program_id(2)
    q_start, k_start = tl.load(q_start_ptr + sequence), tl.load(k_start_ptr + sequence)
    queries = tl.load(q_start_ptr + sequence + 1) - q_start
    keys = tl.load(k_start_ptr + sequence + 1) - k_start
    first = tl.program_id(0) * BLOCK_M
    if first >= queries:
        return
    rows, columns, channels = first + tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N), tl.arange(0, D)
    q_places = ((q_start + rows) * heads + head)[:, None] * D + channels[None, :]
    in_rows = rows[:, None] < queries
    q = tl.load(q_ptr + q_places, mask=in_rows, other=0.0)
    end = keys
    if CAUSAL:
        end = tl.maximum(tl.minimum(first + BLOCK_M + keys - queries, keys), 0)
    accumulator = tl.zeros((BLOCK_M, D), tl.float32)
    row_max = tl.full((BLOCK_M,), LOWEST, tl.float32)
    row_sum = tl.zeros((BLOCK_M,), tl.float32)
    for start in range(0, end, BLOCK_N):
        at = start + columns
        places = ((k_start + at) * (heads // GROUP) + head // GROUP)[:, None] * D + channels[None, :]
        k = tl.load(k_ptr + places, mask=at[:, None] < keys, other=0.0)
        v = tl.load(v_ptr + places, mask=at[:, None] < keys, other=0.0)
        scores = tl.dot(q, tl.trans(k)) * (scale * LOG2_E)
        visible = at[None, :] < keys
        if CAUSAL:
            visible &= at[None, :] <= (rows + (keys - queries))[:, None]
        scores = tl.where(visible, scores, -float("inf"))
        new_max = tl.maximum(row_max, tl.max(scores, axis=1))
        weights = tl.exp2(scores - new_max[:, None])
        correction = tl.exp2(row_max - new_max)
        row_sum = row_sum * correction + tl.sum(weights, axis=1)
        accumulator = tl.dot(weights.to(v.dtype), v, accumulator * correction[:, None])
        row_max = new_max
    out = accumulator / tl.where(row_sum > 0.0, row_sum, 1.0)[:, None]
    tl.store(out_ptr + q_places, out.to(out_ptr.dtype.element_ty), mask=in_rows)


@tilejit.kernel
def _square(SIZE: tl.constexpr):
    """Offsets of a matrix stored by rows."""
    lanes = tl.arange(0, SIZE)
    return lanes[:, None] * SIZE + lanes[None, :]


@tilejit.kernel
def running_sum(a_ptr, b_ptr, c_ptr, n, SIZE: tl.constexpr):
    """A sum of products that the vector cores read while more is added to it."""
    at = _square(SIZE)
    a, b = tl.load(a_ptr + at), tl.load(b_ptr + at)
    acc, largest = tl.zeros((SIZE, SIZE), tl.float32), tl.zeros((SIZE, SIZE), tl.float32)
    for _ in range(n):
        acc = tl.dot(a, b, acc)
        largest = tl.maximum(largest, acc)
    tl.store(c_ptr + at, acc + largest)


@tilejit.kernel
def handed_on(a_ptr, b_ptr, c_ptr, n, SIZE: tl.constexpr):
    """Products that loops and branches hand on in the place of tiles of the vector cores."""
    at = _square(SIZE)
    a, b = tl.load(a_ptr + at), tl.load(b_ptr + at)
    x = a.to(tl.float32)
    for i in range(n):
        x = tl.dot((x - i.to(tl.float32)).to(tl.float16), b)
    if n > 1:
        y = tl.dot(b, a)
    else:
        y = b.to(tl.float32)
    tl.store(c_ptr + at, x + y)
