"""Kernels for the vector cores that scan, reduce by their own functions, and index by what they compute."""

from __future__ import annotations

import tilejit
import tilejit.language as tl


@tilejit.kernel
def running_kernel(x_ptr, out_ptr, M: tl.constexpr, N: tl.constexpr, AXIS: tl.constexpr):
    places = tl.arange(0, M)[:, None] * N + tl.arange(0, N)[None, :]
    x = tl.load(x_ptr + places)
    tl.store(out_ptr + places, tl.cumsum(x, AXIS) + tl.associative_scan(x, AXIS, _larger, reverse=True))


@tilejit.kernel
def _larger(a, b):
    return tl.maximum(a, b)


@tilejit.kernel
def running_line_kernel(x_ptr, out_ptr, index_ptr, n, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + lanes, mask=lanes < n, other=-100)
    tl.store(out_ptr + lanes, tl.cumsum(x, 0), mask=lanes < n)
    value, index = tl.reduce((x, lanes), 0, _first_largest)
    tl.store(index_ptr, index + tl.program_id(0))
    tl.store(out_ptr + n, value)
    tl.store(index_ptr + 1, tl.xor_sum(tl.where(lanes < n, lanes, 0), axis=0))


@tilejit.kernel
def _first_largest(x, i, y, j):
    is_first = (x > y) | ((x == y) & (i < j))
    return tl.where(is_first, x, y), tl.where(is_first, i, j)


@tilejit.kernel
def compact_kernel(x_ptr, place_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """Keep the positive elements, one behind the other; places go through memory that is written."""
    lanes = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + lanes, mask=lanes < n, other=0)
    keep = x > 0
    places = tl.cumsum(keep.to(tl.int32), 0) - 1
    tl.store(out_ptr + places, x, mask=keep)
    read = tl.load(place_ptr + lanes)
    tl.store(place_ptr + read, places)
    for _ in range(2):
        read = (read * 5 + 3) & (BLOCK - 1)
        tl.store(out_ptr + BLOCK + read, x)


@tilejit.kernel
def wide_mask_kernel(x_ptr, out_ptr, n, M: tl.constexpr, N: tl.constexpr):
    rows, columns = tl.arange(0, M), tl.arange(0, N)
    places = rows[:, None] * N + columns[None, :]
    holds = tl.load(x_ptr + rows) > 0
    fallback = places.to(tl.float32)
    mask = tl.broadcast_to(holds[:, None], (M, N)) & (columns[None, :] < n)
    tl.store(out_ptr + places, tl.load(x_ptr + places, mask=mask, other=fallback))


@tilejit.kernel
def repeated_bool_kernel(keep_ptr, out_ptr, n, M: tl.constexpr, N: tl.constexpr):
    places = tl.arange(0, M)[:, None] * N + tl.arange(0, N)[None, :]
    keep = tl.load(keep_ptr + tl.arange(0, 1)[:, None] + tl.arange(0, 1)[None, :])
    chosen = tl.broadcast_to(keep, (M, N)) & (tl.load(out_ptr + places) < n)
    tl.store(out_ptr + places, tl.where(chosen, 1, 0))


@tilejit.kernel
def wide_integers_kernel(x_ptr, y_ptr, out_ptr, n, MODE: tl.constexpr, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    mask = lanes < n
    x, y = tl.load(x_ptr + lanes, mask=mask, other=0), tl.load(y_ptr + lanes, mask=mask, other=1)
    if MODE == "product":
        tl.store(out_ptr + lanes, x * 3 - y, mask=mask)
    elif MODE == "choice":
        tl.store(out_ptr + lanes, tl.where(x < y, x >> 3, lanes.to(tl.int64)), mask=mask)
    else:
        tl.store(out_ptr, tl.sum(x & 255, axis=0))


@tilejit.kernel
def volatile_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    first = tl.load(x_ptr, volatile=True)
    x = tl.load(x_ptr + lanes, mask=lanes < n, volatile=True)
    tl.store(out_ptr + lanes, x * first, mask=lanes < n)
    tl.store(out_ptr + n, tl.load(x_ptr + n, mask=first > 1000, other=3.0, volatile=True))


@tilejit.kernel
def small_floats_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + lanes, mask=lanes < n, other=0.0).to(tl.float32)
    tl.store(out_ptr + lanes, (x * 1.7).to(out_ptr.dtype.element_ty), mask=lanes < n)
