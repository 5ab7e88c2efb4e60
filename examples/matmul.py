"""Matrix multiplication with fp32 accumulation, for fp32, fp16 and bf16 operands.

One program owns a ``BLOCK_M x BLOCK_N`` tile of the product and walks K in steps of ``BLOCK_K``. Programs are
numbered so that neighbours share a strip of B, which stays in the cache while the rows of A pass by.

    python examples/matmul.py
"""

from __future__ import annotations

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
    rows = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    inner = tl.arange(0, BLOCK_K)
    a_ptrs = a_ptr + rows[:, None].to(tl.int64) * stride_am + inner[None, :]
    b_ptrs = b_ptr + inner[:, None].to(tl.int64) * stride_bk + columns[None, :]
    accumulator = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, K, BLOCK_K):
        in_k = inner < K - start
        a = tl.load(a_ptrs, mask=(rows[:, None] < M) & in_k[None, :], other=0.0)
        b = tl.load(b_ptrs, mask=in_k[:, None] & (columns[None, :] < N), other=0.0)
        accumulator = tl.dot(a, b, accumulator, input_precision="ieee")
        a_ptrs += BLOCK_K
        b_ptrs += BLOCK_K * stride_bk
    c_ptrs = c_ptr + rows[:, None].to(tl.int64) * stride_cm + columns[None, :]
    in_c = (rows[:, None] < M) & (columns[None, :] < N)
    tl.store(c_ptrs, accumulator.to(c_ptr.dtype.element_ty), mask=in_c)


def matmul(
    a: NDArray[np.generic],
    b: NDArray[np.generic],
    out: NDArray[np.generic] | None = None,
    *,
    blocks: tuple[int, int, int] | None = None,
) -> NDArray[np.generic]:
    """Return ``a @ b`` in the dtype of ``a``, accumulated in fp32.

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
        out = np.empty((m, n), dtype=a.dtype)
    block_m, block_n, block_k = blocks or _tuned_blocks(m, n, k, str(a.dtype))
    grid = (tilejit.cdiv(m, block_m), tilejit.cdiv(n, block_n))
    matmul_kernel[grid](
        a, b, out, m, n, k,
        a.strides[0] // a.itemsize, b.strides[0] // b.itemsize, out.strides[0] // out.itemsize,
        BLOCK_M=block_m, BLOCK_N=block_n, BLOCK_K=block_k,
    )  # fmt: skip
    return out


def _tuned_blocks(m: int, n: int, k: int, dtype: str) -> tuple[int, int, int]:
    """The tile sizes that a sweep found for such products, else ones that suit most."""
    default = {"BLOCK_M": 128, "BLOCK_N": 256, "BLOCK_K": 256}
    blocks = tilejit.tuned(matmul_kernel, {"m": m, "n": n, "k": k, "dtype": dtype}, default)
    return blocks["BLOCK_M"], blocks["BLOCK_N"], blocks["BLOCK_K"]


def main() -> None:
    """Check against numpy in float64 for three dtypes and sizes that no tile divides."""
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


if __name__ == "__main__":
    main()
