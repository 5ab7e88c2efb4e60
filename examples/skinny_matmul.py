"""A few rows times a large matrix of weights, as in decode: fp32, fp16, bf16 or int8 weights.

Such a product reads every weight once and does little with it: its speed is that of memory. One program owns
``BLOCK_N`` outputs of all rows and walks K, so that weights pass by in long pieces. They may lie [K, N] or,
as linear layers keep them, [N, K]. Pieces of rows of [K, N] are long only where a program owns many outputs;
there are few such programs, so K is divided as well, and a second kernel adds up the parts. int8 weights have
a scale for each output, which goes into the epilogue.

Weights of 16 and 8 bits are multiplied as they are: ``int8x2`` lets the rows of x be rounded to 16 bits of
fixed point instead of converting the weights. Five rows of bf16 and more keep units of bf16 busy as they are,
on machines that have them.

    python examples/skinny_matmul.py
"""

from __future__ import annotations

import functools

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

import tilejit
import tilejit.language as tl

Array = NDArray[np.generic]

_BLOCKS_OF_MANY_ROWS = {
    True: {4: (64, 128), 2: (128, 1024), 1: (256, 1024)},
    False: {4: (512, 128), 2: (256, 256), 1: (1024, 64)},
}
"""Tile sizes (N, K) by layout and size of an element, for nine rows and more, bound by arithmetic."""

_BLOCKS_OF_FEW_ROWS = {4: (128, 1024), 2: (128, 8192), 1: (256, 8192)}
"""The same for three to eight rows of [N, K]. Rows of x become what a dot of int8 or 16 bits takes once for
each tile, so that larger ones are faster.

Source: two threads of a Cascade Lake, calls that alternate, over tiles of 128 by 4096 bytes: 4 rows of int8
1.0 to 1.12, 8 rows 1.02 to 1.07; 4 rows of bf16 1.02 to 1.12; 4 rows of fp32 0.94 to 1.01.
"""

_PIECE_BYTES = 4096
"""What a program reads of each row of weights [K, N], at least: prefetchers are late where a piece starts."""
_LONG_PIECE_BYTES = 48 * 1024
_LONG_SUMS_BYTES = 192 * 1024
_LONG_ROWS, _LONG_INT8_ROWS = 4, 6
"""The most, with few rows of x, where L2 has room for their sums, which every few rows of weights go over.

Source: two threads of a Cascade Lake, calls that alternate. 11008 columns as one piece over pieces of up to
4096 bytes: 1 row of fp32, bf16, int8 1.17, 1.43, 1.21 times as fast, 4 rows 1.26, 1.30, 1.13; 4 rows of int8,
49152 columns: pieces of 12288 1.14 times as fast as one. 6 rows of int8 over pieces of up to 2816: 4096 x
4096, 4096 x 11008 and 11008 x 4096 1.03, 1.06, 1.07.
"""
_INTERLEAVED_PIECES = 1024, 2816
"""The fewest and most int8 weights of a row for more rows of x, where a dot interleaves wide rows.

Source: as above, 2048 over 4096 columns: 8 rows 1.07, 12 rows 1.1, 16 rows 1.12 times as fast.
"""
_INTERLEAVED_ROWS = 16
"""Source: as above, over tiles of 1024 x 64: 12 rows 1.2 to 1.4, 16 rows 1.1 to 1.4, 32 rows 0.87 to 1.25."""
_FEWEST_STEPS = 4
"""Tiles of a program along K at least: its sums are written and read once more."""
_SUMS = 512
"""Outputs of a program that adds up parts."""


@tilejit.kernel
def _weights(
    w_ptr, start, columns, N, K, stride_k, stride_n, BLOCK_K: tl.constexpr, BY_OUTPUT: tl.constexpr,
    DIRECT: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """The weights of ``columns`` at start .. start + BLOCK_K - 1 along k, as a tile [k, columns]."""
    inner = tl.arange(0, BLOCK_K).to(tl.int64)
    if BY_OUTPUT:
        ptrs = w_ptr + start + (columns[:, None] * stride_n + inner[None, :])
        if MASKED:
            w = tl.load(ptrs, mask=(columns[:, None] < N) & (start + inner[None, :] < K), other=0)
        else:
            w = tl.load(ptrs)
        w = tl.trans(w if DIRECT else w.to(tl.float32))
    else:
        ptrs = w_ptr + start * stride_k + (inner[:, None] * stride_k + columns[None, :])
        if MASKED:
            w = tl.load(ptrs, mask=(start + inner[:, None] < K) & (columns[None, :] < N), other=0)
        else:
            w = tl.load(ptrs)
        w = w if DIRECT else w.to(tl.float32)
    return w


@tilejit.kernel
def skinny_matmul_kernel(
    x_ptr, w_ptr, scale_ptr, out_ptr, parts_ptr, N, K, part_k, stride_x, stride_k, stride_n, stride_out,
    M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, BY_OUTPUT: tl.constexpr,
    DIRECT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Grid: (blocks of outputs, parts of K).

    A program sums over part_k elements, a multiple of BLOCK_K; of several parts the sums go to ``parts_ptr``,
    to be put together by ``add_parts_kernel``.
    """
    first = tl.program_id(0).to(tl.int64) * BLOCK_N
    columns = first + tl.arange(0, BLOCK_N).to(tl.int64)
    rows = tl.arange(0, M).to(tl.int64)
    inner = tl.arange(0, BLOCK_K).to(tl.int64)
    x_ptrs = x_ptr + (rows[:, None] * stride_x + inner[None, :])
    accumulator = tl.zeros((M, BLOCK_N), dtype=tl.float32)
    low = tl.program_id(1) * part_k
    high = tl.minimum(low + part_k, K)
    # Whole tiles need no mask; a block that juts out over the last output has none.
    whole = low + (high - low) // BLOCK_K * BLOCK_K if first + BLOCK_N <= N else low
    for step in range(low, whole, BLOCK_K):
        start = step.to(tl.int64)
        x = tl.load(x_ptrs + start)
        x = x if DIRECT else x.to(tl.float32)
        w = _weights(w_ptr, start, columns, N, K, stride_k, stride_n, BLOCK_K, BY_OUTPUT, DIRECT, False)
        accumulator = tl.dot(x, w, accumulator, input_precision=PRECISION)
    for step in range(whole, high, BLOCK_K):
        start = step.to(tl.int64)
        x = tl.load(x_ptrs + start, mask=start + inner[None, :] < K, other=0.0)
        x = x if DIRECT else x.to(tl.float32)
        w = _weights(w_ptr, start, columns, N, K, stride_k, stride_n, BLOCK_K, BY_OUTPUT, DIRECT, True)
        accumulator = tl.dot(x, w, accumulator, input_precision=PRECISION)
    if parts_ptr is not None:
        part = tl.program_id(1).to(tl.int64)
        part_ptrs = parts_ptr + (part * M + rows[:, None]) * N + columns[None, :]
        tl.store(part_ptrs, accumulator, mask=columns[None, :] < N)
    else:
        _store(accumulator, scale_ptr, out_ptr, rows, columns, N, stride_out)


@tilejit.kernel
def _store(accumulator, scale_ptr, out_ptr, rows, columns, N, stride_out):
    """Scale the sums of all k and write them."""
    if scale_ptr is not None:
        accumulator *= tl.load(scale_ptr + columns, mask=columns < N, other=0.0)[None, :]
    out_ptrs = out_ptr + (rows[:, None] * stride_out + columns[None, :])
    tl.store(out_ptrs, accumulator.to(out_ptr.dtype.element_ty), mask=columns[None, :] < N)


@tilejit.kernel
def add_parts_kernel(
    parts_ptr, scale_ptr, out_ptr, N, parts, stride_out, M: tl.constexpr, BLOCK_N: tl.constexpr
):  # fmt: skip
    """Add up what the parts of K gave, in their order. Grid: (blocks of outputs,)."""
    columns = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N).to(tl.int64)
    rows = tl.arange(0, M).to(tl.int64)
    accumulator = tl.zeros((M, BLOCK_N), dtype=tl.float32)
    for part in range(parts):
        part_ptrs = parts_ptr + (part.to(tl.int64) * M + rows[:, None]) * N + columns[None, :]
        accumulator += tl.load(part_ptrs, mask=columns[None, :] < N, other=0.0)
    _store(accumulator, scale_ptr, out_ptr, rows, columns, N, stride_out)


def skinny_matmul(
    x: Array,
    weights: Array,
    out: Array | None = None,
    *,
    scale: NDArray[np.float32] | None = None,
    blocks: tuple[int, int] | None = None,
) -> Array:
    """Return ``x @ weights * scale`` in the dtype of ``x``, accumulated in fp32.

    Shapes: x is [M, K] fp32, fp16 or bf16, with few rows; weights are [K, N] int8, fp16, bf16 or fp32,
            contiguous along N or along K (``linear.weight.T``); scale is fp32 [N]; out is [M, N]; ``blocks``
            are the tile sizes (N, K).
    """
    if x.ndim != 2 or weights.ndim != 2 or x.shape[1] != weights.shape[0]:
        raise ValueError(f"cannot multiply shapes {x.shape} and {weights.shape}")
    (m, k), n = x.shape, weights.shape[1]
    if x.strides[1] != x.itemsize or weights.itemsize not in weights.strides:
        raise ValueError("the rows of x, and the rows or columns of weights, must be contiguous")
    if scale is not None and (scale.shape != (n,) or scale.dtype != np.float32):
        raise ValueError(f"scale must be float32 of shape {(n,)}, got {scale.dtype} {scale.shape}")
    if out is None:
        out = np.empty((m, n), dtype=x.dtype)
    by_output = weights.strides[0] == weights.itemsize
    stride_k, stride_n = (stride // weights.itemsize for stride in weights.strides)
    direct = m > 4 and x.dtype == weights.dtype == ml_dtypes.bfloat16 and _has_bf16_units()
    block_n, block_k = blocks or _blocks(m, n, k, weights.itemsize, by_output, direct)
    columns = tilejit.cdiv(n, block_n)
    part_k = _part_k(k, block_k, columns) if _has_wide_rows(m, weights.itemsize, by_output, direct) else k
    n_parts = tilejit.cdiv(k, part_k)
    parts = np.empty((n_parts, m, n), dtype=np.float32) if n_parts > 1 else None
    stride_out = out.strides[0] // out.itemsize
    skinny_matmul_kernel[(columns, n_parts)](
        x, weights, scale, out, parts, n, k, part_k, x.strides[0] // x.itemsize, stride_k, stride_n,
        stride_out,
        M=m, BLOCK_N=block_n, BLOCK_K=block_k, BY_OUTPUT=by_output, DIRECT=direct,
        PRECISION="ieee" if direct or weights.dtype == np.float32 else "int8x2",
    )  # fmt: skip
    if parts is not None:
        add_parts_kernel[(tilejit.cdiv(n, _SUMS),)](
            parts, scale, out, n, n_parts, stride_out, M=m, BLOCK_N=_SUMS
        )
    return out


@functools.cache
def _has_bf16_units() -> bool:
    cpu = tilejit.host_cpu()
    return cpu.has("avx512bf16") or cpu.has("amx-bf16")


@functools.cache
def _interleaves_int8() -> bool:
    """Whether dots of more than six rows interleave wide rows of int8: vectors do, tiles have no need to."""
    cpu = tilejit.host_cpu()
    return cpu.has("avx512vnni") and not cpu.has("amx-int8")


def _has_wide_rows(m: int, itemsize: int, by_output: bool, direct: bool) -> bool:
    """Whether programs read wide pieces of rows of weights, so wide that K is divided among them, too."""
    most = 16 if itemsize > 1 else _INTERLEAVED_ROWS if _interleaves_int8() else 8
    return not (by_output or direct or m > most)


def _wide_piece(m: int, n: int, k: int, itemsize: int, block_k: int) -> int:
    """How many weights of a row a program reads, of wide rows."""
    short, multiple = _PIECE_BYTES // itemsize, 64 // itemsize
    if m <= (_LONG_INT8_ROWS if itemsize == 1 and _interleaves_int8() else _LONG_ROWS):
        # As many programs as threads want, though K can be divided only so far.
        parts = max(1, k // (_FEWEST_STEPS * block_k))
        balanced = n * parts // _programs_wanted()
        longest = min(_LONG_PIECE_BYTES // itemsize, _LONG_SUMS_BYTES // (4 * m), balanced)
        piece = _dividing(n, max(short, longest), multiple)
        if n % piece == 0:
            return piece
    elif itemsize == 1 and _interleaves_int8():
        least, most = _INTERLEAVED_PIECES
        return _dividing(n, most, multiple, least)
    return _dividing(n, short, multiple)


def _blocks(m: int, n: int, k: int, itemsize: int, by_output: bool, direct: bool) -> tuple[int, int]:
    """Tile sizes: long pieces of memory, and several programs for each thread."""
    if _has_wide_rows(m, itemsize, by_output, direct):
        block_k = 32 if itemsize == 4 else 64
        return _wide_piece(m, n, k, itemsize, block_k), block_k
    most_n = tilejit.next_power_of_2(tilejit.cdiv(n, _programs_wanted()))
    if m > 8 or direct:
        block_n, block_k = _BLOCKS_OF_MANY_ROWS[by_output][itemsize]
    elif m > 2:
        block_n, block_k = _BLOCKS_OF_FEW_ROWS[itemsize]
    else:
        block_n, block_k = 64, 8192 // itemsize
    return _dividing(n, min(block_n, most_n), 16), _tile_of_k(k, block_k, 64 // itemsize)


def _programs_wanted() -> int:
    return 4 * tilejit.get_num_threads()


def _dividing(size: int, largest: int, multiple: int, least: int = 0) -> int:
    """A tile size up to ``largest`` that leaves no masked rest of ``size``, which would take several times as
    long: all of it, or the largest part that is such a multiple; ``largest`` where these are small, or less
    than ``least``.
    """
    if size <= largest:
        return size
    parts = range(largest // multiple * multiple, max(largest // 4, least - 1), -multiple)
    return next((part for part in parts if size % part == 0), largest)


def _tile_of_k(k: int, largest: int, multiple: int) -> int:
    """A tile size along k: a part of it as ``_dividing`` finds; if none divides it, all of a k that is not
    much longer than ``largest``, of which nothing is masked, else tiles of about the same size.

    Source: two threads of a Cascade Lake, calls that alternate, 5 rounds, 4 rows times 4096 x 9001: all of k
    is 1.73 (int8) and 1.52 (bf16) times as fast as two like tiles, these 1.9 as one of 8192 and a rest.
    """
    tile = _dividing(k, largest, multiple)
    if k % tile == 0:
        return tile
    if k <= 2 * largest:
        return k
    return tilejit.cdiv(tilejit.cdiv(k, tilejit.cdiv(k, largest)), multiple) * multiple


def _part_k(k: int, block_k: int, columns: int) -> int:
    """What a program sums over, so that each thread has several programs where K is long enough."""
    parts = tilejit.cdiv(_programs_wanted(), columns)
    return max(_FEWEST_STEPS, tilejit.cdiv(k, parts * block_k)) * block_k


def main() -> None:
    """Check against float64: all kinds of weights, both layouts, sizes that no tile divides."""
    generator = np.random.default_rng(0)
    worst = 0.0
    for kind, tolerance in (
        (np.float32, 2e-6),
        (np.float16, 2e-6),
        (ml_dtypes.bfloat16, 2e-5),
        (np.int8, 1e-4),
    ):
        for m, n, k in ((1, 530, 700), (5, 530, 700), (4, 70, 9001)):
            x = generator.standard_normal((m, k), dtype=np.float32)
            weights = generator.integers(-128, 128, (n, k)).astype(kind)
            scale = generator.uniform(0.5, 2.0, n).astype(np.float32)
            for stored in (weights.T, np.ascontiguousarray(weights.T)):
                expected = x.astype(np.float64) @ weights.T.astype(np.float64) * scale
                difference = skinny_matmul(x, stored, scale=scale) - expected
                error = float(np.linalg.norm(difference) / np.linalg.norm(expected))
                if not error <= tolerance:
                    raise AssertionError(f"{stored.dtype} weights: relative error {error:.1e}")
                worst = max(worst, error)
    for m in (6, 16):
        x = generator.standard_normal((m, 700), dtype=np.float32).astype(ml_dtypes.bfloat16)
        weights = generator.standard_normal((530, 700), dtype=np.float32).astype(ml_dtypes.bfloat16)
        expected = x.astype(np.float64) @ weights.T.astype(np.float64)
        difference = skinny_matmul(x, weights.T).astype(np.float64) - expected
        if not np.linalg.norm(difference) <= 5e-3 * np.linalg.norm(expected):
            raise AssertionError(f"{m} rows of bf16: relative error exceeds 5e-3")
    print(f"skinny_matmul: 1 to 5 rows times weights of four types, relative error {worst:.1e}")


if __name__ == "__main__":
    main()
