"""Kernels that the vector cores cannot run, each for one reason: the line marked "here"."""

from __future__ import annotations

import tilejit
import tilejit.language as tl


@tilejit.kernel
def wide_float(x_ptr, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + lanes).to(tl.float64)  # here
    tl.store(x_ptr + lanes, (x * x).to(tl.float32))


@tilejit.kernel
def old_elements(x_ptr, out_ptr, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    old = tl.atomic_add(x_ptr + lanes, tl.load(out_ptr + lanes))  # here
    tl.store(out_ptr + lanes, old)


@tilejit.kernel
def atomic_bits(x_ptr, y_ptr, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    tl.atomic_or(x_ptr + lanes, tl.load(y_ptr + lanes))  # here


@tilejit.kernel
def exchange_if(x_ptr, y_ptr, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    y = tl.load(y_ptr + lanes)
    tl.atomic_cas(x_ptr + lanes, y, y + 1)  # here


@tilejit.kernel
def many_scattered(x_ptr, index_ptr, out_ptr, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + tl.load(index_ptr + lanes))  # here
    tl.store(out_ptr + lanes, x)


@tilejit.kernel
def carried_bools(x_ptr, n, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    seen = tl.load(x_ptr + lanes) > 0
    for _ in range(n):  # here
        seen = seen & (tl.load(x_ptr + lanes) > 1)
    tl.store(x_ptr + lanes, seen.to(tl.float32))


@tilejit.kernel
def combined(x_ptr, BLOCK: tl.constexpr):
    x = tl.load(x_ptr + tl.arange(0, BLOCK))
    tl.store(x_ptr, tl.reduce(x, 0, _looping))


@tilejit.kernel
def _looping(a, b):
    while a < b:  # here
        a = a * 2
    return a


@tilejit.kernel
def pointer_order(x_ptr, out_ptr, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    tl.store(out_ptr + lanes, ((x_ptr + lanes) == (x_ptr + 7)).to(tl.float32))  # here


@tilejit.kernel
def address_numbers(x_ptr, out_ptr, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    tl.store(out_ptr + lanes, (x_ptr + lanes).to(tl.int64))  # here


@tilejit.kernel
def chosen_addresses(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    pointers = x_ptr + lanes
    if n > 3:  # here
        pointers = y_ptr + lanes * 2
    tl.store(out_ptr + lanes, tl.load(pointers))


@tilejit.kernel
def swapped_addresses(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    first, second = x_ptr + lanes, y_ptr + lanes
    total = tl.zeros((BLOCK,), tl.float32)
    for _ in range(n):
        total += tl.load(first)  # here
        first, second = second, first
    tl.store(out_ptr + lanes, total)


@tilejit.kernel
def double_sum(x_ptr, BLOCK: tl.constexpr):
    tl.store(x_ptr, tl.sum(tl.load(x_ptr + tl.arange(0, BLOCK)), axis=0))  # here


@tilejit.kernel
def reshaped_addresses(x_ptr, out_ptr, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    pointers = tl.reshape(x_ptr + lanes * lanes, (2, BLOCK // 2))  # here
    to = tl.arange(0, 2)[:, None] * BLOCK + tl.arange(0, BLOCK // 2)[None, :]
    tl.store(out_ptr + to, tl.load(pointers))


@tilejit.kernel
def long_rows(x_ptr, out_ptr, BLOCK: tl.constexpr):
    rows = tl.arange(0, 2)
    x = tl.load(x_ptr + rows[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :])
    tl.store(out_ptr + rows, tl.sum(x, axis=1))  # here


@tilejit.kernel
def many_columns(x_ptr, out_ptr, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    tl.store(out_ptr + 2 * lanes, tl.load(x_ptr + lanes))  # here


@tilejit.kernel
def odd_bytes(x_ptr, out_ptr, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    tl.store(out_ptr + lanes, tl.load(x_ptr + 3 * lanes))  # here


@tilejit.kernel
def wide_columns(x_ptr, out_ptr, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + lanes[None, :] * BLOCK + lanes[:, None])  # here
    tl.store(out_ptr + lanes[:, None] * BLOCK + lanes[None, :], x)


@tilejit.kernel
def double_product(x_ptr, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + lanes)
    tl.store(x_ptr + lanes, x * x)  # here


@tilejit.kernel
def printed(x_ptr, n, BLOCK: tl.constexpr):
    lanes = tl.arange(0, BLOCK)
    tl.device_print("n", n)  # here
    tl.store(x_ptr + lanes, tl.load(x_ptr + lanes) + n)
