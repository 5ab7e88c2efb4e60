"""Launches from threads with small stacks, which musl gives all threads: what dots pack lies elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import ml_dtypes
import numpy as np
import pytest

import tilejit
import tilejit.language as tl

SMALL_STACK_BYTES = 128 * 1024


@tilejit.kernel
def product_kernel(
    a_ptr, b_ptr, c_ptr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, STEPS: tl.constexpr
):
    rows, columns, inner = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    b = tl.load(b_ptr + columns[None, :] * K + inner[:, None])
    for step in range(STEPS):
        row = step * M + rows
        a = tl.load(a_ptr + row[:, None] * K + inner[None, :])
        tl.store(c_ptr + row[:, None] * N + columns[None, :], tl.dot(a, b))


@pytest.fixture
def small_stacks() -> Iterator[None]:
    before = threading.stack_size(SMALL_STACK_BYTES)
    yield
    threading.stack_size(before)


@pytest.mark.parametrize(
    ("dtype", "m", "n", "k", "steps"),
    [(ml_dtypes.bfloat16, 32, 256, 512, 3), (np.float32, 512, 512, 512, 1)],
    ids=["kept before a loop", "packed by a dot"],
)
def test_small_stack(small_stacks: None, dtype: type[np.generic], m: int, n: int, k: int, steps: int) -> None:
    """Where the stack is too small for what the kernel puts there, the whole process ends here."""
    a, b = np.ones((steps * m, k)).astype(dtype), np.ones((n, k)).astype(dtype)
    c = np.zeros((steps * m, n), np.float32)

    def run() -> None:
        for _ in range(3):
            product_kernel[(1,)](a, b, c, M=m, N=n, K=k, STEPS=steps)

    product_kernel.warmup(a, b, c, M=m, N=n, K=k, STEPS=steps, grid=(1,))  # compilers want large stacks
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert (c == k).all()
