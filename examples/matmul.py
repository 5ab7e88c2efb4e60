"""Matrix multiplication: fp32, fp16 and bf16 operands accumulated in fp32, int8 operands in int32.

One program owns a ``BLOCK_M x BLOCK_N`` tile of the product and walks K in steps of ``BLOCK_K``. Programs are
numbered so that neighbours share a strip of B, which stays in the cache while the rows of A pass by. Tiles of
the product are as large as the second-level cache allows and threads leave, since every element that is
brought in is then used more often. Masks cost nothing but at the edges: tiles that
they leave whole are read where they are.

    python examples/matmul.py
"""

from __future__ import annotations

import functools
import itertools

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

import tilejit
import tilejit.language as tl


@tilejit.kernel
def matmul_kernel(
    a_ptr, b_ptr, c_ptr, M, N, K, stride_am, stride_bk, stride_cm,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    first_row, first_column = tl.program_id(0) * BLOCK_M, tl.program_id(1) * BLOCK_N
    rows, columns, inner = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_K)
    in_rows, in_columns = first_row + rows < M, first_column + columns < N
    a_tile = a_ptr + first_row.to(tl.int64) * stride_am
    b_tile = b_ptr + first_column
    sums_dtype = tl.int32 if a_ptr.dtype.element_ty == tl.int8 else tl.float32
    accumulator = tl.zeros((BLOCK_M, BLOCK_N), dtype=sums_dtype)
    for start in range(0, K, BLOCK_K):
        a_ptrs = a_tile + (rows[:, None].to(tl.int64) * stride_am + inner[None, :])
        b_ptrs = b_tile + (inner[:, None].to(tl.int64) * stride_bk + columns[None, :])
        in_k = inner < K - start
        a = tl.load(a_ptrs, mask=in_rows[:, None] & in_k[None, :], other=0)
        b = tl.load(b_ptrs, mask=in_k[:, None] & in_columns[None, :], other=0)
        accumulator = tl.dot(a, b, accumulator, input_precision="ieee", out_dtype=sums_dtype)
        a_tile += BLOCK_K
        b_tile += BLOCK_K * stride_bk
    c_tile = c_ptr + first_row.to(tl.int64) * stride_cm + first_column
    c_ptrs = c_tile + (rows[:, None].to(tl.int64) * stride_cm + columns[None, :])
    tl.store(c_ptrs, accumulator.to(c_ptr.dtype.element_ty), mask=in_rows[:, None] & in_columns[None, :])


def choose_blocks(m: int, n: int, k: int, itemsize: int) -> tuple[int, int, int]:
    """Tile sizes (M, N, K): 256 x 512 sums, K by 2 KB of a row, smaller where much of the last tile were past
    the end, and until each thread has a tile. Up to 256 rows are one tile, of a multiple of 8. Tiles divide
    the sizes where some do. Those of fp32 are taller (``_tile_of_fp32``).

    Source: 512 to 2048 cubed, two cores with 2 MB of L2, of which others used a part; 512 cubed of bf16 and
    int8 loses a tenth by tiles of half the size.
    """
    threads = tilejit.get_num_threads()
    if itemsize == 4:
        return *_tile_of_fp32(m, n, threads), _tile_size(512, k, 1)
    # Units of bf16 and int8 take blocks of 32 columns, and of 64 bytes along k.
    block_n, block_k = _tile_size(512, n, 32), _tile_size(2048 // itemsize, k, 64 // itemsize)
    block_m = _tile_height(256, m)
    while tilejit.cdiv(m, block_m) * tilejit.cdiv(n, block_n) < threads:
        if max(16, block_m) * block_n <= _FEWEST_SUMS:
            break
        if block_n > block_m:
            block_n //= 2
        else:
            block_m //= 2
    return block_m, block_n, block_k


_FEWEST_SUMS = 64 * 64
"""Sums of a tile for which a thread is still worth starting."""


def _tile_of_fp32(m: int, n: int, threads: int) -> tuple[int, int]:
    """The tile, up to 1024 x 512, with which the thread that has most tiles needs least time.

    More than 256 rows are for an L2 of 1 MB and more, where 256 rows of a tile of B lie while A passes by.
    """
    most_rows = (1024, 512, 256) if tilejit.host_cpu().l2_bytes >= 1 << 20 else (256,)
    heights = [height for most in most_rows for height in _halves(_tile_height(most, m))]
    tiles = list(itertools.product(heights, _halves(_tile_size(512, n, 1))))

    def time(tile: tuple[int, int]) -> float:
        rows, columns = tile
        turns = tilejit.cdiv(tilejit.cdiv(m, rows) * tilejit.cdiv(n, columns), threads)
        wait = _TO_WAIT / turns if threads > 1 else 0
        shallow = 0 if columns >= _DEEP_COLUMNS else _TO_STAY_SHALLOW
        return turns * (1 + wait + shallow) * rows * columns * (1 + _TO_PACK_B / rows + _TO_PASS_A / columns)

    return min(
        (tile for tile in tiles if max(16, tile[0]) * tile[1] >= _FEWEST_SUMS), default=tiles[0], key=time
    )


_TO_PACK_B, _TO_PASS_A, _TO_WAIT = 90, 40, 0.25
"""What a tile takes to bring an element of B and of A to where it is used, over what a product takes; what
part of a tile's time other threads wait for the last one, since threads are seldom equally fast.

Source: fp32, two cores with 1 MB of L2, calls that alternate, medians of 9 to 31 rounds, 1024 cubed, times
over that of tiles of 512 x 512: 1024 x 256 0.96, 512 x 256 0.98 to 1.06, 256 x 512 and 256 x 256 1.15,
512 x 128 1.13. 2048 cubed, over 1024 x 512: 512 x 512 1.02 to 1.08, 1024 x 256 1.02, 512 x 256 1.04.
"""
_DEEP_COLUMNS, _TO_STAY_SHALLOW = 3 * 64 + 1, 0.05
"""Fewer columns make three panels of four vectors of 16 at most, too few for deep blocks of k
(``_MANY_PANELS`` in ``tilejit/backend/cpu/dot_plan.py``). Source: as above, 768 cubed, over 384 x 384:
768 x 192 1.05; 512 cubed, over 256 x 256: 512 x 256 0.99, 512 x 128 1.02.
"""


def _halves(size: int) -> list[int]:
    """The size, half of it, and so on, down to a few rows or columns."""
    return [size >> i for i in range(size.bit_length()) if i == 0 or size >> i >= 8]


def _tile_height(largest: int, rows: int) -> int:
    """Rows of a tile; as many as there are are one tile, of a multiple of 8."""
    block = _tile_size(largest, rows, 1)
    return tilejit.cdiv(rows, 8) * 8 if rows <= block else block


def _tile_size(largest: int, size: int, multiple: int) -> int:
    """The largest of those multiples that divide the size and are more than half of ``largest``; else the
    largest power of two whose multiples do not go far past the end, else least far.
    """
    dividing = range(largest - largest % multiple, largest // 2, -multiple)
    for block in dividing:
        if size % block == 0:
            return block
    block = min(largest, _power_of_two_from(size))
    sizes = [block, *(block >> i for i in range(1, 4) if block >> i >= 128)]
    past = {block: tilejit.cdiv(size, block) * block - size for block in sizes}
    return next((block for block in sizes if 8 * past[block] <= size), min(sizes, key=past.__getitem__))


def _power_of_two_from(size: int) -> int:
    """The smallest power of two from 16 on that is not below ``size``."""
    return max(16, 1 << (size - 1).bit_length())


def matmul(
    a: NDArray[np.generic],
    b: NDArray[np.generic],
    out: NDArray[np.generic] | None = None,
    *,
    blocks: tuple[int, int, int] | None = None,
) -> NDArray[np.generic]:
    """Return ``a @ b`` in the dtype of ``a``, of int8 in int32.

    Shapes: a is [M, K], b is [K, N], out is [M, N], rows contiguous; ``blocks`` are the tile sizes (M, N, K),
            by default the best known for these shapes.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"cannot multiply shapes {a.shape} and {b.shape}")
    if a.dtype != b.dtype:
        raise TypeError(f"a and b must have one dtype, got {a.dtype} and {b.dtype}")
    if a.strides[1] != a.itemsize or b.strides[1] != b.itemsize:
        raise ValueError("the rows of a and b must be contiguous")
    (m, k), n = a.shape, b.shape[1]
    if out is None:
        out = np.empty((m, n), dtype=np.int32 if a.dtype == np.int8 else a.dtype)
    if blocks is None:
        blocks = _tuned_blocks(m, n, k, a.dtype, tilejit.get_num_threads(), tilejit.tuned_version())
    block_m, block_n, block_k = blocks
    grid = (tilejit.cdiv(m, block_m), tilejit.cdiv(n, block_n))
    matmul_kernel[grid](
        a, b, out, m, n, k,
        a.strides[0] // a.itemsize, b.strides[0] // b.itemsize, out.strides[0] // out.itemsize,
        BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k,
    )  # fmt: skip
    return out


@functools.lru_cache(maxsize=1024)
def _tuned_blocks(
    m: int, n: int, k: int, dtype: np.dtype[np.generic], _threads: int, _version: int
) -> tuple[int, int, int]:
    """The tile sizes that a sweep found for such products, else ones that suit most.

    Answers are kept, since to find one takes longer than a small product.
    """
    default = dict(
        zip(("BLOCK_M", "BLOCK_N", "BLOCK_K"), choose_blocks(m, n, k, dtype.itemsize), strict=True)
    )
    blocks = tilejit.tuned(matmul_kernel, {"m": m, "n": n, "k": k, "dtype": str(dtype)}, default)
    return blocks["BLOCK_M"], blocks["BLOCK_N"], blocks["BLOCK_K"]


def main() -> None:
    """Check against numpy in float64 for four dtypes and sizes that no tile divides."""
    generator = np.random.default_rng(0)
    for dtype, tolerance in ((np.float32, 2e-6), (np.float16, 1e-3), (ml_dtypes.bfloat16, 8e-3)):
        a = generator.standard_normal((300, 515), dtype=np.float32).astype(dtype)
        b = generator.standard_normal((515, 270), dtype=np.float32).astype(dtype)
        expected = a.astype(np.float64) @ b.astype(np.float64)
        difference = matmul(a, b).astype(np.float64) - expected
        error = np.linalg.norm(difference) / np.linalg.norm(expected)
        if error > tolerance:
            raise AssertionError(f"matmul {a.dtype}: relative error {error:.1e} exceeds {tolerance:.0e}")
        print(f"matmul: 300 x 515 x 270 {a.dtype}, relative error {error:.1e}")
    a, b = (generator.integers(-128, 128, shape, dtype=np.int8) for shape in ((300, 515), (515, 270)))
    if not np.array_equal(matmul(a, b), a.astype(np.int32) @ b.astype(np.int32)):
        raise AssertionError("matmul int8: not exact")
    print("matmul: 300 x 515 x 270 int8, exact")


if __name__ == "__main__":
    main()
