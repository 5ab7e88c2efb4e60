"""Kernels for the vector cores that are no examples."""

from __future__ import annotations

import tilejit
import tilejit.language as tl


@tilejit.kernel
def rms_norm_kernel(x_ptr, weight_ptr, out_ptr, stride, n_cols, epsilon, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    mask = columns < n_cols
    x = tl.load(x_ptr + row * stride + columns, mask=mask, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(x * x, axis=0) / n_cols + epsilon)
    weight = tl.load(weight_ptr + columns, mask=mask).to(tl.float32)
    tl.store(out_ptr + row * stride + columns, (x * scale * weight).to(out_ptr.dtype.element_ty), mask=mask)


@tilejit.kernel
def softmax_rows_kernel(x_ptr, out_ptr, stride, n_rows, n_cols, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, BLOCK)
    mask = (rows[:, None] < n_rows) & (columns[None, :] < n_cols)
    places = rows[:, None] * stride + columns[None, :]
    x = tl.load(x_ptr + places, mask=mask, other=-float("inf"))
    numerator = tl.exp(x - tl.max(x, axis=1)[:, None])
    tl.store(out_ptr + places, numerator / tl.sum(numerator, axis=1)[:, None], mask=mask)


@tilejit.kernel
def rope_kernel(x_ptr, cos_ptr, sin_ptr, out_ptr, n_tokens, TOKENS: tl.constexpr, HALF: tl.constexpr):
    tokens = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    lanes = tl.arange(0, HALF)
    mask = tokens[:, None] < n_tokens
    angle = tokens[:, None] * HALF + lanes[None, :]
    first = tokens[:, None] * (2 * HALF) + lanes[None, :]
    cos, sin = tl.load(cos_ptr + angle, mask=mask), tl.load(sin_ptr + angle, mask=mask)
    x, y = tl.load(x_ptr + first, mask=mask), tl.load(x_ptr + first + HALF, mask=mask)
    tl.store(out_ptr + first, x * cos - y * sin, mask=mask)
    tl.store(out_ptr + first + HALF, y * cos + x * sin, mask=mask)


@tilejit.kernel
def quantise_kernel(x_ptr, out_ptr, scale_ptr, n_rows, n_cols, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, BLOCK)
    mask = (rows[:, None] < n_rows) & (columns[None, :] < n_cols)
    places = rows[:, None] * n_cols + columns[None, :]
    x = tl.load(x_ptr + places, mask=mask, other=0.0).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(x), axis=1) / 127.0, 1e-10)
    scaled = tl.floor(x / scale[:, None] + 0.5)
    tl.store(out_ptr + places, scaled.to(tl.int8), mask=mask)
    tl.store(scale_ptr + rows, scale, mask=rows < n_rows)


@tilejit.kernel
def dequantise_kernel(x_ptr, scale_ptr, out_ptr, n_rows, n_cols, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, BLOCK)
    mask = (rows[:, None] < n_rows) & (columns[None, :] < n_cols)
    places = rows[:, None] * n_cols + columns[None, :]
    x = tl.load(x_ptr + places, mask=mask).to(tl.float32)
    scale = tl.load(scale_ptr + rows, mask=rows < n_rows)
    tl.store(out_ptr + places, (x * scale[:, None]).to(out_ptr.dtype.element_ty), mask=mask)


@tilejit.kernel
def column_sum_kernel(x_ptr, out_ptr, n_rows, n_cols, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    columns = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < n_cols
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, n_rows, ROWS):
        rows = start + tl.arange(0, ROWS)
        mask = (rows[:, None] < n_rows) & inside[None, :]
        x = tl.load(x_ptr + rows[:, None] * n_cols + columns[None, :], mask=mask, other=0.0)
        total += tl.sum(x.to(tl.float32), axis=0)
    tl.store(out_ptr + columns, total, mask=inside)


@tilejit.kernel
def row_extremes_kernel(x_ptr, low_ptr, high_ptr, n_rows, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    mask = rows < n_rows
    places = rows[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    x = tl.load(x_ptr + places, mask=mask[:, None], other=0)
    tl.store(low_ptr + rows, tl.min(x, axis=1), mask=mask)
    tl.store(high_ptr + rows, tl.max(x, axis=1), mask=mask)


@tilejit.kernel
def gather_rows_kernel(x_ptr, index_ptr, out_ptr, n, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, COLUMNS)
    index = tl.load(index_ptr + rows, mask=rows < n, other=0)
    mask = rows[:, None] < n
    x = tl.load(x_ptr + index[:, None] * COLUMNS + columns[None, :], mask=mask)
    tl.store(out_ptr + rows[:, None] * COLUMNS + columns[None, :], x * 2, mask=mask)


@tilejit.kernel
def online_softmax_kernel(x_ptr, out_ptr, n_cols, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    largest = -float("inf")
    total = 0.0
    for start in range(0, n_cols, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * n_cols + columns, mask=columns < n_cols, other=-float("inf"))
        higher = tl.maximum(largest, tl.max(x, axis=0))
        total = total * tl.exp(largest - higher) + tl.sum(tl.exp(x - higher), axis=0)
        largest = higher
    for start in range(0, n_cols, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        mask = columns < n_cols
        x = tl.load(x_ptr + row * n_cols + columns, mask=mask)
        tl.store(out_ptr + row * n_cols + columns, tl.exp(x - largest) / total, mask=mask)


@tilejit.kernel
def causal_kernel(x_ptr, out_ptr, offset, M: tl.constexpr, N: tl.constexpr):
    rows, columns = tl.arange(0, M), tl.arange(0, N)
    places = rows[:, None] * N + columns[None, :]
    x = tl.load(x_ptr + places)
    kept = tl.where(rows[:, None] + offset >= columns[None, :], x, -1.0)
    positive = tl.where((kept > 0.0) & (columns[None, :] != 3), kept, kept * 0.5)
    tl.store(out_ptr + places, positive)


@tilejit.kernel
def branches_kernel(x_ptr, out_ptr, n, flag, BLOCK: tl.constexpr):
    columns = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = columns < n
    x = tl.load(x_ptr + columns, mask=mask)
    y = x + 1
    if flag > 0:
        y = x * 2
    else:
        x = y - 3
    first, second = x, y
    for _ in range(flag + 2):
        first, second = second, first + second
    tl.store(out_ptr + columns, tl.where(flag > 0, first, second) + columns, mask=mask)


@tilejit.kernel
def transpose_kernel(x_ptr, out_ptr, m, n, MODE: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    if MODE == "load":
        mask = (columns[:, None] < n) & (rows[None, :] < m)
        x = tl.load(x_ptr + columns[:, None] + rows[None, :] * n, mask=mask)
        tl.store(out_ptr + columns[:, None] * m + rows[None, :], x, mask=mask)
    elif MODE == "store":
        mask = (rows[:, None] < m) & (columns[None, :] < n)
        x = tl.load(x_ptr + rows[:, None] * n + columns[None, :], mask=mask)
        tl.store(out_ptr + rows[:, None] + columns[None, :] * m, x, mask=mask)
    else:
        mask = (rows[:, None] < m) & (columns[None, :] < n)
        x = tl.load(x_ptr + rows[:, None] * n + columns[None, :], mask=mask, other=0)
        out_mask = (columns[:, None] < n) & (rows[None, :] < m)
        tl.store(out_ptr + columns[:, None] * m + rows[None, :], tl.trans(x), mask=out_mask)


@tilejit.kernel
def interleaved_rope_kernel(x_ptr, cos_ptr, sin_ptr, out_ptr, n, TOKENS: tl.constexpr, HALF: tl.constexpr):
    tokens = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    lanes = tl.arange(0, HALF)
    mask = tokens[:, None] < n
    angle = tokens[:, None] * HALF + lanes[None, :]
    cos, sin = tl.load(cos_ptr + angle, mask=mask), tl.load(sin_ptr + angle, mask=mask)
    place = tokens[:, None] * (2 * HALF) + 2 * lanes[None, :]
    even, odd = tl.load(x_ptr + place, mask=mask), tl.load(x_ptr + place + 1, mask=mask)
    tl.store(out_ptr + place, even * cos - odd * sin, mask=mask)
    tl.store(out_ptr + place + 1, odd * cos + even * sin, mask=mask)


@tilejit.kernel
def strided_sum_kernel(x_ptr, out_ptr, n, STEP: tl.constexpr, BLOCK: tl.constexpr):
    lanes = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + lanes * STEP, mask=lanes < n, other=1.0)
    tl.store(out_ptr + tl.program_id(0), tl.sum(x, axis=0))


@tilejit.kernel
def permute_kernel(x_ptr, out_ptr, A: tl.constexpr, B: tl.constexpr, C: tl.constexpr):
    a, b, c = tl.arange(0, A)[:, None, None], tl.arange(0, B)[None, :, None], tl.arange(0, C)[None, None, :]
    x = tl.load(x_ptr + (a * B + b) * C + c)
    first = tl.permute(x, (1, 0, 2)) + 1
    second = tl.permute(x, (0, 2, 1)) * 2
    b, a = tl.arange(0, B)[:, None, None], tl.arange(0, A)[None, :, None]
    tl.store(out_ptr + (b * A + a) * C + c, first)
    a, c, b = tl.arange(0, A)[:, None, None], tl.arange(0, C)[None, :, None], tl.arange(0, B)[None, None, :]
    tl.store(out_ptr + A * B * C + (a * C + c) * B + b, second)


@tilejit.kernel
def reversed_dims_kernel(x_ptr, out_ptr, A: tl.constexpr, B: tl.constexpr, C: tl.constexpr):
    a, b, c = tl.arange(0, A)[:, None, None], tl.arange(0, B)[None, :, None], tl.arange(0, C)[None, None, :]
    x = tl.load(x_ptr + (a * B + b) * C + c)
    c, b, a = tl.arange(0, C)[:, None, None], tl.arange(0, B)[None, :, None], tl.arange(0, A)[None, None, :]
    tl.store(out_ptr + (c * B + b) * A + a, tl.permute(x, (2, 1, 0)))


@tilejit.kernel
def repeated_kernel(x_ptr, out_ptr, A: tl.constexpr, B: tl.constexpr, C: tl.constexpr):
    a, b, c = tl.arange(0, A)[:, None, None], tl.arange(0, B)[None, :, None], tl.arange(0, C)[None, None, :]
    x = tl.load(x_ptr + a * C + c)
    tl.store(out_ptr + (a * B + b) * C + c, tl.broadcast_to(x, (A, B, C)) + b)


@tilejit.kernel
def interleaved_kernel(x_ptr, out_ptr, A: tl.constexpr, B: tl.constexpr):
    a, b = tl.arange(0, A)[:, None], tl.arange(0, B)[None, :]
    x = tl.load(x_ptr + a * B + b)
    even, odd = tl.split(tl.reshape(x, (B, A // 2, 2)))
    lanes = tl.arange(0, A * B // 2)
    tl.store(out_ptr + lanes, tl.reshape(odd, (A * B // 2,)))
    whole = tl.arange(0, A * B)
    tl.store(out_ptr + A * B // 2 + whole, tl.reshape(tl.join(odd, even > 0), (A * B,)))


@tilejit.kernel
def scatter_kernel(x_ptr, index_ptr, out_ptr, n, stride, BLOCK: tl.constexpr):
    lanes = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = lanes < n
    index = tl.load(index_ptr + lanes, mask=mask, other=0)
    gathered = tl.load(x_ptr + index * stride, mask=mask, other=3)
    reverse = tl.load(x_ptr + (n - 1 - lanes) * stride, mask=mask)
    tl.store(out_ptr + index * stride, gathered + reverse, mask=mask & (index % 3 != 0))


@tilejit.kernel
def bools_kernel(x_ptr, keep_ptr, out_ptr, flags_ptr, n, BLOCK: tl.constexpr):
    lanes = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = lanes < n
    x = tl.load(x_ptr + lanes, mask=mask)
    keep = tl.load(keep_ptr + lanes, mask=mask)
    tl.store(out_ptr + lanes, tl.load(x_ptr + lanes, mask=mask & keep, other=-x), mask=mask)
    tl.store(flags_ptr + lanes, keep & (x > 0), mask=mask)


@tilejit.kernel
def bytes_kernel(x_ptr, y_ptr, low_ptr, total_ptr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    rows, columns = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    places = rows[:, None] * COLUMNS + columns[None, :]
    x = tl.load(x_ptr + places)
    scaled = x * tl.load(y_ptr + rows)[:, None] + 3
    tl.store(x_ptr + places, scaled)
    tl.store(low_ptr + columns, tl.min(scaled, axis=0))
    tl.store(total_ptr + rows, tl.sum(tl.abs(scaled).to(tl.int32), axis=1))


@tilejit.kernel
def gelu_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    lanes = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = lanes < n
    x = tl.load(x_ptr + lanes, mask=mask)
    y = 0.5 * x * (1.0 + tl.erf(x.to(tl.float32) * 0.7071067811865476))
    tl.store(out_ptr + lanes, y.to(out_ptr.dtype.element_ty), mask=mask)


@tilejit.kernel
def totals_kernel(x_ptr, total_ptr, largest_ptr, n, BLOCK: tl.constexpr):
    lanes = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = lanes < n
    x = tl.load(x_ptr + lanes, mask=mask, other=0)
    tl.atomic_add(total_ptr, tl.sum(x, axis=0))
    tl.atomic_max(largest_ptr + tl.arange(0, BLOCK), x, mask=mask)


@tilejit.kernel
def orders_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    places = tl.arange(0, BLOCK)
    mask = places < n
    x, y = tl.load(x_ptr + places, mask=mask), tl.load(y_ptr + places, mask=mask)
    known = tl.where(x == x, 1, 0) + tl.where(x != x, 2, 0) + tl.where(y != 1.0, 4, 0)
    apart = tl.where(x != y, 8, 0) + tl.where(x == y, 16, 0) + tl.where(x.to(tl.int1), 32, 0)
    order = tl.where(x < y, 64, 0) + tl.where(x <= y, 128, 0) + tl.where(x > y, 256, 0)
    tl.store(out_ptr + places, known + apart + order + tl.where(x >= y, 512, 0), mask=mask)


@tilejit.kernel
def integers_kernel(x_ptr, y_ptr, out_ptr, n, MODE: tl.constexpr, BLOCK: tl.constexpr):
    lanes = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = lanes < n
    x, y = tl.load(x_ptr + lanes, mask=mask), tl.load(y_ptr + lanes, mask=mask, other=1)
    if MODE == "divide":
        first, second = x // y + x % y, x // 10 - x % 16
    elif MODE == "shift":
        first, second = x << (y & 15), x >> (y & 31) ^ ~x
    else:
        first = tl.where(x < y, tl.minimum(x, 100) + x, y * x)
        second = (x.to(tl.float32) * 0.5).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + lanes, first, mask=mask)
    tl.store(out_ptr + n + lanes, second, mask=mask)


@tilejit.kernel
def waves_kernel(x_ptr, out_ptr, n, step, BLOCK: tl.constexpr):
    lanes = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = lanes < n
    x = tl.load(x_ptr + lanes, mask=mask).to(tl.float32)
    wave = tl.sin(x) + tl.cos(step * lanes.to(tl.float32)) * tl.sin(step)
    wave = tl.fma(wave, x, -wave) + (x % 3.0)
    tl.store(out_ptr + lanes, wave.to(out_ptr.dtype.element_ty), mask=mask)


@tilejit.kernel
def wide_kernel(x_ptr, index_ptr, out_ptr, n, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    mask = lanes < n
    index = tl.load(index_ptr + lanes, mask=mask)
    x = tl.load(x_ptr + index, mask=mask, other=-3)
    tl.store(out_ptr + lanes * 2, x)
    tl.store(out_ptr + 2 * BLOCK + lanes, tl.load(x_ptr + lanes, mask=mask, other=-(1 << 40)))
    tl.store(out_ptr + 3 * BLOCK + index, x, mask=mask)


@tilejit.kernel
def regrouped_order_kernel(x_ptr, out_ptr, A: tl.constexpr, B: tl.constexpr):
    x = tl.reshape(tl.load(x_ptr + tl.arange(0, A * B)), (A, B))
    a, b = tl.arange(0, A)[:, None], tl.arange(0, B)[None, :]
    tl.store(out_ptr + a * B + b, tl.where(x > 0, x, 7))


@tilejit.kernel
def cube_rows_kernel(x_ptr, out_ptr, A: tl.constexpr, B: tl.constexpr, C: tl.constexpr):
    a, b, c = tl.arange(0, A)[:, None, None], tl.arange(0, B)[None, :, None], tl.arange(0, C)[None, None, :]
    x = tl.load(x_ptr + (a * B + b) * C + c)
    places = tl.arange(0, A)[:, None] * B + tl.arange(0, B)[None, :]
    tl.store(out_ptr + places, tl.max(x, axis=2))
    tl.store(out_ptr + A * B + places, tl.sum(x, axis=2))


@tilejit.kernel
def far_places_kernel(x_ptr, out_ptr, STEPS: tl.constexpr, BLOCK: tl.constexpr):
    """Places that many steps lead to."""
    lanes = tl.arange(0, BLOCK)
    places = lanes
    for step in tl.static_range(STEPS):
        places = (places * 3 + 1) ^ step
    tl.store(out_ptr + lanes, tl.load(x_ptr + (places & (BLOCK - 1))))
