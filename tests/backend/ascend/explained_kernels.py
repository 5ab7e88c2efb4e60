"""Kernels whose explanation is tested: for both kinds of core, for one of each."""

import tilejit
import tilejit.language as tl


@tilejit.kernel
def biased_matmul(
    a_ptr, b_ptr, bias_ptr, c_ptr, K,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Rows of a product with a bias."""
    rows, columns = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N)
    inner = tl.arange(0, BLOCK_K)
    product = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, K, BLOCK_K):
        a = tl.load(a_ptr + rows[:, None] * K + start + inner[None, :])
        b = tl.load(b_ptr + (start + inner)[:, None] * BLOCK_N + columns[None, :])
        product = tl.dot(a, b, product)
    total = product + tl.load(bias_ptr + columns)[None, :]
    tl.store(c_ptr + rows[:, None] * BLOCK_N + columns[None, :], total)


@tilejit.kernel
def product(a_ptr, b_ptr, c_ptr, SIZE: tl.constexpr):
    """A product alone."""
    lanes = tl.arange(0, SIZE)
    at = lanes[:, None] * SIZE + lanes[None, :]
    tl.store(c_ptr + at, tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + at)))


@tilejit.kernel
def doubled(x_ptr, BLOCK: tl.constexpr):
    """Vector work alone."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(x_ptr + at, tl.load(x_ptr + at) * 2.0)


@tilejit.kernel
def returns(x_ptr, n, BLOCK: tl.constexpr):
    """Vector work where n says so."""
    if n > 0:
        at = tl.arange(0, BLOCK)
        tl.store(x_ptr + at, tl.load(x_ptr + at) * 2.0)
