"""Kernels for both kinds of core that cannot be split, each for one reason: the line marked "here"."""

from __future__ import annotations

import tilejit
import tilejit.language as tl
from tests.kernels_ascend.refused_dots import square


@tilejit.kernel
def counted_by_tiles(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    at = square(SIZE)
    a, total = tl.load(a_ptr + at), tl.zeros((SIZE, SIZE), tl.float32)
    for i in range(tl.max(tl.max(a, 1), 0).to(tl.int32)):  # here
        total += tl.maximum(tl.dot(a, tl.load(b_ptr + i + at)), 0.0)
    tl.store(c_ptr + at, total)


@tilejit.kernel
def chosen_by_tiles(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    at = square(SIZE)
    a, b = tl.load(a_ptr + at), tl.load(b_ptr + at)
    total = a.to(tl.float32)
    if tl.max(tl.max(a, 1), 0) > 1.0:  # here
        total = tl.maximum(tl.dot(a, b), 0.0)
    tl.store(c_ptr + at, total)


@tilejit.kernel
def repeated_by_tiles(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    at = square(SIZE)
    total = tl.load(c_ptr + at)
    while tl.max(tl.max(total, 1), 0) < 100.0:  # here
        total += tl.maximum(tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at)), 1.0)
    tl.store(c_ptr + at, total)


@tilejit.kernel
def chosen_by_sums(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    at = square(SIZE)
    a, b = tl.load(a_ptr + at), tl.load(b_ptr + at)
    total = tl.dot(a, b)
    while tl.max(tl.max(total, 1), 0) > 1.0:  # here
        total = tl.dot((total * 0.5).to(tl.float16), b)
    tl.store(c_ptr + at, total)


@tilejit.kernel
def counted_by_own_store(a_ptr, b_ptr, c_ptr, count_ptr, SIZE: tl.constexpr):
    at = square(SIZE)
    a, total = tl.load(a_ptr + at), tl.zeros((SIZE, SIZE), tl.float32)
    for i in range(tl.load(count_ptr)):  # here
        total += tl.maximum(tl.dot(a, tl.load(b_ptr + i + at)), 0.0)
    tl.store(c_ptr + at, total)
    tl.store(count_ptr, 0)


@tilejit.kernel
def multiplied_after_store(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    at = square(SIZE)
    a, b = tl.load(a_ptr + at), tl.load(b_ptr + at)
    tl.store(a_ptr + at, a * 2.0)
    again = tl.load(a_ptr + at)  # here
    tl.store(c_ptr + at, tl.dot(again, b))


@tilejit.kernel
def read_after_product(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    at = square(SIZE)
    a, b = tl.load(a_ptr + at), tl.load(b_ptr + at)
    tl.store(c_ptr + at, tl.dot(a, b))
    again = tl.load(c_ptr + at)  # here
    tl.store(b_ptr + at, again + 1.0)


@tilejit.kernel
def read_by_halves(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    at = square(SIZE)
    product = tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at))
    tl.store(c_ptr + at, tl.maximum(product, 0.0))
    again = tl.load(c_ptr + 1 + at)  # here
    tl.store(c_ptr + at, again * 2.0)


@tilejit.kernel
def regrouped_epilogue(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    at = tl.reshape(tl.arange(0, 2 * SIZE * SIZE), (2, SIZE, SIZE))  # here
    product = tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at))
    tl.store(c_ptr + at, tl.maximum(product, 0.0))


@tilejit.kernel
def computed_start(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    at = square(SIZE)
    start = tl.max(tl.max(tl.load(b_ptr + at), 1), 0).to(tl.int32)
    a = tl.load(a_ptr + start * SIZE + at)  # here
    tl.store(c_ptr + at, tl.maximum(tl.dot(a, tl.load(b_ptr + at)), 0.0))


@tilejit.kernel
def mixed_print(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    at = square(SIZE)
    product = tl.maximum(tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at)), 0.0)
    tl.device_print("product", product)  # here
    tl.store(c_ptr + at, product)


@tilejit.kernel
def masked_ones_epilogue(a_ptr, b_ptr, c_ptr, n, SIZE: tl.constexpr):
    at, is_row = square(SIZE), tl.arange(0, SIZE)[:, None] < n
    a = tl.load(a_ptr + at, mask=is_row, other=1.0)  # here
    tl.store(c_ptr + at, tl.maximum(tl.dot(a, tl.load(b_ptr + at)), 0.0))


@tilejit.kernel
def chequered_epilogue(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    at, lanes = square(SIZE), tl.arange(0, SIZE)
    is_white = (lanes[:, None] + lanes[None, :]) % 2 == 0
    a = tl.load(a_ptr + at, mask=is_white, other=0.0)  # here
    tl.store(c_ptr + at, tl.maximum(tl.dot(a, tl.load(b_ptr + at)), 0.0))


@tilejit.kernel
def doubled_product(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    at = square(SIZE)
    product = tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at))
    tl.store(c_ptr + at, product.to(tl.float64) * 2.0)  # here


@tilejit.kernel
def kept_old_sums(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    at = square(SIZE)
    old = tl.atomic_add(c_ptr + at, tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at)))  # here
    tl.store(c_ptr + at, old + 1.0)


@tilejit.kernel
def wide_sum(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    rows, inner = tl.arange(0, 16 * SIZE), tl.arange(0, SIZE)
    a = tl.load(a_ptr + rows[:, None] * SIZE + inner[None, :])
    b = tl.load(b_ptr + inner[:, None] * 16 * SIZE + rows[None, :])
    product = tl.dot(a, b)  # here
    tl.store(c_ptr + rows[:, None] * 16 * SIZE + rows[None, :], tl.maximum(product, 0.0))


@tilejit.kernel
def largest_tiles(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    lanes = tl.arange(0, 16 * SIZE)
    at = lanes[:, None] * SIZE * 16 + lanes[None, :]
    tl.store(c_ptr + at, tl.maximum(tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at)), 0.0))  # here


@tilejit.kernel
def exchange_beside_product(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    at = square(SIZE)
    held = tl.atomic_cas(c_ptr + SIZE * SIZE, 0.0, 1.0)  # here
    tl.store(c_ptr + at, tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at)) + held)


@tilejit.kernel
def _multiply(a_ptr, b_ptr, c_ptr, i, SIZE: tl.constexpr):
    at = square(SIZE)
    tl.store(c_ptr + at, tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at)) * 2.0)
    return i < SIZE


@tilejit.kernel
def multiplied_to_decide(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    i = 0
    while _multiply(a_ptr, b_ptr, c_ptr, i, SIZE):  # here
        i += 1


@tilejit.kernel
def rows_left_out_beside(a_ptr, b_ptr, c_ptr, n, SIZE: tl.constexpr):
    """One of two products that are added up has fewer rows than the other."""
    at = square(SIZE)
    b = tl.load(b_ptr + at)
    acc = tl.dot(tl.minimum(tl.load(a_ptr + at), 1.0), b)
    few = tl.load(a_ptr + at, mask=tl.arange(0, SIZE)[:, None] < n, other=0.0)
    acc = tl.dot(few, b, acc)  # here
    tl.store(c_ptr + at, tl.maximum(acc, 0.0))
