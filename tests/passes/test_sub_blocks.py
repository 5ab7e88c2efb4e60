"""The two vector cores of an AI core share tiles where neither reads nor overwrites what the other stores."""

from __future__ import annotations

import numpy as np

import tilejit
import tilejit.language as tl
from tests.kernels_ascend.harness import compare

SIZE = 32


def factors() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.standard_normal((SIZE, SIZE)).astype(np.float16) for _ in range(2)]


@tilejit.kernel
def counted_scale(a_ptr, b_ptr, c_ptr, scale_ptr, SIZE: tl.constexpr):
    program, lanes = tl.program_id(0), tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    scale = tl.load(scale_ptr + program)
    tl.store(scale_ptr + program, scale + 1.0)
    product = tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at))
    tl.store(c_ptr + program * SIZE * SIZE + at, tl.maximum(product, 0.0) * scale)


def test_a_scalar_that_the_kernel_overwrites_is_loaded_by_one_core() -> None:
    scales = np.arange(1, 3, dtype=np.float32)
    sums = np.zeros((2, SIZE, SIZE), np.float32)
    compare(counted_scale, *factors(), sums, scales, grid=(2,), SIZE=SIZE)
    assert scales.tolist() == [2.0, 3.0]


@tilejit.kernel
def centred_rows(a_ptr, b_ptr, c_ptr, x_ptr, SIZE: tl.constexpr):
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    x = tl.load(x_ptr + lanes)
    total = tl.sum(x, 0)
    tl.store(x_ptr + lanes, x + total)
    product = tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at))
    tl.store(c_ptr + at, tl.maximum(product, 0.0) * total)


def test_a_tile_that_cannot_be_cut_and_is_overwritten_is_loaded_by_one_core() -> None:
    arrays = [np.zeros((SIZE, SIZE), np.float32), np.linspace(-1, 2, SIZE, dtype=np.float32)]
    compare(centred_rows, *factors(), *arrays, grid=(1,), SIZE=SIZE)


@tilejit.kernel
def falling_rows(a_ptr, b_ptr, c_ptr, x_ptr, n, SIZE: tl.constexpr):
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    tl.store(c_ptr + at, tl.maximum(tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at)), 0.0))
    for i in range(n):
        places = x_ptr + (i + lanes)[:, None] * SIZE + lanes[None, :]
        tl.store(places, tl.load(places) * 0.5 + i)


def test_rows_that_come_again_in_the_next_trip_are_one_cores() -> None:
    arrays = [np.zeros((SIZE, SIZE), np.float32), np.ones((SIZE + 8, SIZE), np.float32)]
    compare(falling_rows, *factors(), *arrays, 8, grid=(1,), SIZE=SIZE)


@tilejit.kernel
def overlapping_products(a_ptr, b_ptr, c_ptr, n, SIZE: tl.constexpr):
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    for i in range(n):
        product = tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at)) + i
        tl.store(c_ptr + i * SIZE + at, product)


def test_rows_that_are_stored_again_in_the_next_trip_are_one_cores() -> None:
    compare(overlapping_products, *factors(), np.zeros((SIZE + 8, SIZE), np.float32), 8, grid=(1,), SIZE=SIZE)


@tilejit.kernel
def doubled_count(a_ptr, b_ptr, c_ptr, count_ptr, SIZE: tl.constexpr):
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    tl.store(c_ptr + at, tl.maximum(tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at)), 0.0))
    count = tl.load(count_ptr)
    while count < 100:
        count *= 2
    tl.store(count_ptr, count)


def test_a_loop_that_ends_by_what_one_core_has_loaded_is_run_by_that_core() -> None:
    counts = np.array([7], np.int32)
    compare(doubled_count, *factors(), np.zeros((SIZE, SIZE), np.float32), counts, grid=(1,), SIZE=SIZE)
    assert counts[0] == 112


@tilejit.kernel
def largest_products(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    tl.atomic_max(c_ptr + at, tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at)))


def test_an_atomic_is_not_shared() -> None:
    sums = np.zeros((SIZE, SIZE), np.float32)
    code = tilejit.compile(largest_products, *factors(), sums, target="ascend910b", SIZE=SIZE)
    assert "the first vector core stores alone: atomic is not shared" in {r.message for r in code.remarks}
    compare(largest_products, *factors(), sums, grid=(2,), SIZE=SIZE)
