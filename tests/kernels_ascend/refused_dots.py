"""Products that the cube cores cannot do, each for one reason: the line marked "here"."""

from __future__ import annotations

import tilejit
import tilejit.language as tl


@tilejit.kernel
def square(SIZE: tl.constexpr):
    """Offsets of a matrix stored by rows."""
    lanes = tl.arange(0, SIZE)
    return lanes[:, None] * SIZE + lanes[None, :]


@tilejit.kernel
def masked_ones(a_ptr, b_ptr, c_ptr, n, SIZE: tl.constexpr):
    at, is_row = square(SIZE), tl.arange(0, SIZE)[:, None] < n
    a = tl.load(a_ptr + at, mask=is_row, other=1.0)  # here
    tl.store(c_ptr + at, tl.dot(a, tl.load(b_ptr + at)), mask=is_row)


@tilejit.kernel
def scattered_factor(a_ptr, b_ptr, c_ptr, row, column, SIZE: tl.constexpr):
    at, lanes = square(SIZE), tl.arange(0, SIZE)
    a = tl.load(a_ptr + lanes[:, None] * row + lanes[None, :] * column)  # here
    tl.store(c_ptr + at, tl.dot(a, tl.load(b_ptr + at)))


@tilejit.kernel
def narrow_accumulator(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    at = square(SIZE)
    acc = tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at), out_dtype=tl.float16)  # here
    tl.store(c_ptr + at, acc)


@tilejit.kernel
def regrouped_matrices(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    at = tl.reshape(tl.arange(0, 2 * SIZE * SIZE), (2, SIZE, SIZE))  # here
    tl.store(c_ptr + at, tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at)))


@tilejit.kernel
def running_matrices(a_ptr, b_ptr, c_ptr, n, SIZE: tl.constexpr):
    at, matrix = square(SIZE), tl.arange(0, 2)
    sums = tl.zeros((2, SIZE, SIZE), tl.float32)
    for _ in range(n):  # here
        places = matrix[:, None, None] * SIZE * SIZE + at[None, :, :]
        sums = tl.dot(tl.load(a_ptr + places), tl.load(b_ptr + places), sums)
        matrix = 1 - matrix
    tl.store(c_ptr + tl.arange(0, 2)[:, None, None] * SIZE * SIZE + at[None, :, :], sums)


@tilejit.kernel
def chequered(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    at, lanes = square(SIZE), tl.arange(0, SIZE)
    is_white = (lanes[:, None] + lanes[None, :]) % 2 == 0
    a = tl.load(a_ptr + at, mask=is_white, other=0.0)  # here
    tl.store(c_ptr + at, tl.dot(a, tl.load(b_ptr + at)))
