"""Kernels in which products take the place of others, or leave by ways that only the vector cores have."""

from __future__ import annotations

import tilejit
import tilejit.language as tl
from tests.kernels_ascend.refused_dots import square


@tilejit.kernel
def either_product(a_ptr, b_ptr, way_ptr, out_ptr, n, SIZE: tl.constexpr):
    """Each arm of a branch makes a product of its own; one of another branch comes before it."""
    at = square(SIZE)
    b, total = tl.load(b_ptr + at), tl.zeros((SIZE, SIZE), tl.float32)
    for i in range(n):
        a, way = tl.load(a_ptr + i * SIZE * SIZE + at), tl.load(way_ptr + i)
        if way == 1:
            x = tl.dot(a, b)
        else:
            x = tl.dot(b, a)
        y = tl.dot(a, a)
        if way == 2:
            y = tl.dot(tl.minimum(y, 2.0).to(tl.float16), b)
        total += tl.abs(x) - y
    tl.store(out_ptr + at, total)


@tilejit.kernel
def sums_begun_anew(a_ptr, b_ptr, way_ptr, out_ptr, n, SIZE: tl.constexpr):
    """A sum is added up and begun anew where memory says so; another grows in some trips alone."""
    at = square(SIZE)
    b, total = tl.load(b_ptr + at), tl.zeros((SIZE, SIZE), tl.float32)
    part, some = tl.zeros((SIZE, SIZE), tl.float32), tl.zeros((SIZE, SIZE), tl.float32)
    for i in range(n):
        a, way = tl.load(a_ptr + i * SIZE * SIZE + at), tl.load(way_ptr + i)
        part = tl.dot(a, b, part)
        if way == 0:
            some = tl.dot(b, a, some)
        if way == 2:
            total += tl.abs(part)
            part = tl.zeros((SIZE, SIZE), tl.float32)
    tl.store(out_ptr + at, total - part + tl.maximum(some, 0.0))


@tilejit.kernel
def exchanged_sums(a_ptr, b_ptr, way_ptr, out_ptr, n, SIZE: tl.constexpr):
    """Two sums change places in each trip."""
    at = square(SIZE)
    b = tl.load(b_ptr + at)
    x, y = tl.zeros((SIZE, SIZE), tl.float32), tl.zeros((SIZE, SIZE), tl.float32)
    for i in range(n):
        a = tl.load(a_ptr + tl.load(way_ptr + i) * SIZE * SIZE + at)
        x, y = tl.dot(a, b, y), tl.dot(b, a, x)
    tl.store(out_ptr + at, x - 2.0 * y)


@tilejit.kernel
def product_of_last_trip(a_ptr, b_ptr, way_ptr, out_ptr, n, SIZE: tl.constexpr):
    """A product is multiplied in the trip behind the one that makes it."""
    at = square(SIZE)
    b, total = tl.load(b_ptr + at), tl.zeros((SIZE, SIZE), tl.float32)
    scores = tl.dot(b, b)
    for i in range(n):
        following = tl.dot(tl.load(a_ptr + tl.load(way_ptr + i) * SIZE * SIZE + at), b)
        total += tl.dot(tl.minimum(scores, 4.0).to(tl.float16), b)
        scores = following
    tl.store(out_ptr + at, total + scores)


@tilejit.kernel
def chosen_product(a_ptr, b_ptr, out_ptr, way, SIZE: tl.constexpr):
    """Nothing but products, the same in all programs; one is stored that another one adds to."""
    at = square(SIZE)
    a, b = tl.load(a_ptr + at), tl.load(b_ptr + at)
    if way == 2:
        x = tl.dot(a, b)
    else:
        x = tl.dot(b, a)
    y = tl.dot(a, a)
    tl.store(out_ptr + at, tl.dot(b, b, y) + x)
    tl.store(out_ptr + SIZE * SIZE + at, y)


@tilejit.kernel
def product_for_all(a_ptr, b_ptr, out_ptr, SIZE: tl.constexpr):
    """Products that are the same in all programs, to which each program adds another one, or the same one."""
    at, program = square(SIZE), tl.program_id(0)
    own, b = tl.load(a_ptr + program * SIZE * SIZE + at), tl.load(b_ptr + at)
    x, y = tl.dot(b, b), tl.dot(tl.trans(b), b)
    out_ptr += 3 * program * SIZE * SIZE
    tl.store(out_ptr + at, tl.dot(own, b, x))
    tl.store(out_ptr + SIZE * SIZE + at, tl.maximum(y, 0.0))
    tl.store(out_ptr + 2 * SIZE * SIZE + at, tl.dot(b, tl.trans(b), y) * 2.0)


@tilejit.kernel
def chosen_by_tiles_behind(a_ptr, b_ptr, out_ptr, SIZE: tl.constexpr):
    """A product that a branch hands on, which tiles decide over."""
    at = square(SIZE)
    a, b = tl.load(a_ptr + at), tl.load(b_ptr + at)
    total, chosen = tl.dot(a, b), tl.zeros((SIZE, SIZE), tl.float32)
    if tl.max(tl.max(a, 1), 0) > 1.0:
        chosen = total
        tl.store(out_ptr + at, 1.0)
    tl.store(out_ptr + SIZE * SIZE + at, chosen * 2.0)


@tilejit.kernel
def stored_both_ways(a_ptr, b_ptr, rows_ptr, columns_ptr, out_ptr, other_ptr, SIZE: tl.constexpr):
    """Products stored by columns before anything else: one that is worked on, one that rows take as well."""
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    a, b = tl.load(a_ptr + at), tl.load(b_ptr + at)
    x, y = tl.dot(a, b), tl.dot(b, a)
    tl.store(columns_ptr + at, tl.trans(x))
    tl.store(columns_ptr + SIZE * SIZE + at, tl.trans(y))
    tl.store(rows_ptr + at, y)
    tl.store(out_ptr + at, tl.maximum(x, 0.0))
    tl.store(other_ptr + at, tl.trans(tl.dot(b, b)))


@tilejit.kernel
def narrow_sum(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    """A type that fixpipe does not convert to."""
    at = square(SIZE)
    acc = tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at))
    tl.store(c_ptr + at, acc.to(tl.int8))


@tilejit.kernel
def largest_sum(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    """An atomic that fixpipe does not have."""
    at = square(SIZE)
    acc = tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at))
    tl.atomic_max(c_ptr + at, acc)


@tilejit.kernel
def scattered_sum(a_ptr, b_ptr, c_ptr, row, column, SIZE: tl.constexpr):
    """Neither rows nor columns are contiguous."""
    at, lanes = square(SIZE), tl.arange(0, SIZE)
    acc = tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at))
    tl.store(c_ptr + lanes[:, None] * row + lanes[None, :] * column, acc)


@tilejit.kernel
def sum_both_ways(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    """One sum by rows and by columns."""
    at = square(SIZE)
    acc = tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at))
    tl.store(c_ptr + at, acc)
    tl.store(c_ptr + SIZE * SIZE + at, tl.trans(acc))


@tilejit.kernel
def rows_left_out(a_ptr, b_ptr, c_ptr, n, SIZE: tl.constexpr):
    """Rows that the mask of a load leaves out are stored all the same."""
    at = square(SIZE)
    a = tl.load(a_ptr + at, mask=tl.arange(0, SIZE)[:, None] < n, other=0.0)
    tl.store(c_ptr + at, tl.dot(a, tl.load(b_ptr + at)))


@tilejit.kernel
def stored_by_both(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    """The vector cores store to the array, too."""
    at = square(SIZE)
    a, b = tl.load(a_ptr + at), tl.load(b_ptr + at)
    tl.store(c_ptr + at, tl.dot(a, b))
    tl.store(c_ptr + 1 + at, a.to(tl.float32) * 2.0)


@tilejit.kernel
def chequered_sum(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    """A mask that bounds neither rows nor columns."""
    at, lanes = square(SIZE), tl.arange(0, SIZE)
    is_white = (lanes[:, None] + lanes[None, :]) % 2 == 0
    tl.store(c_ptr + at, tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at)), mask=is_white)


@tilejit.kernel
def read_where_stored(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    """The vector cores load what they then store to, behind the sum."""
    at = square(SIZE)
    tl.store(c_ptr + at, tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at)))
    again = tl.load(c_ptr + at)
    tl.store(c_ptr + at, again + 1.0)


@tilejit.kernel
def shared_cast(a_ptr, b_ptr, c_ptr, d_ptr, SIZE: tl.constexpr):
    """A cast that stores of both kinds of core share, before another plain store to the array."""
    at, lanes = square(SIZE), tl.arange(0, SIZE)
    a, b = tl.load(a_ptr + at), tl.load(b_ptr + at)
    y = tl.dot(a, b).to(tl.float16)
    tl.store(c_ptr + at, y)
    tl.store(d_ptr + at, y, mask=(lanes[:, None] + lanes[None, :]) % 2 == 0)
    tl.store(c_ptr + at, tl.dot(b, a).to(tl.float16))


@tilejit.kernel
def shared_view(a_ptr, b_ptr, c_ptr, d_ptr, SIZE: tl.constexpr):
    """The same of a cast that the vector cores compute with."""
    at = square(SIZE)
    a, b = tl.load(a_ptr + at), tl.load(b_ptr + at)
    y = tl.dot(a, b).to(tl.float16)
    tl.store(c_ptr + at, y)
    tl.store(d_ptr + at, tl.trans(y) + 1.0)
    tl.store(c_ptr + at, tl.dot(b, a).to(tl.float16))


@tilejit.kernel
def scalar_beside_sum(a_ptr, b_ptr, c_ptr, d_ptr, SIZE: tl.constexpr):
    """A scalar, which the cube core does not store."""
    at = square(SIZE)
    tl.store(d_ptr, 5.0)
    tl.store(c_ptr + at, tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at)).to(tl.float16))


@tilejit.kernel
def scattered_additions(a_ptr, b_ptr, c_ptr, row, column, n, SIZE: tl.constexpr):
    """In a loop and a branch, atomics that fixpipe lacks: neither rows nor columns are contiguous."""
    at, lanes = square(SIZE), tl.arange(0, SIZE)
    places = c_ptr + lanes[:, None] * row + lanes[None, :] * column
    b = tl.load(b_ptr + at)
    for i in range(n):
        product = tl.dot(tl.load(a_ptr + at), b)
        if i % 2 == 0:
            tl.atomic_add(places, product)
