"""Sizes of dots, what is known of their operands, and blocks of rows and columns."""

from __future__ import annotations

from itertools import accumulate

from tilejit.ir.types import DType
from tilejit.records import dataclass


@dataclass(frozen=True)
class DotShape:
    """C[m, n] += A[m, k] * B[k, n], all known at compile time."""

    m: int
    n: int
    k: int

    @property
    def transposed(self) -> DotShape:
        """That of C transposed, the product of B transposed and A transposed."""
        return DotShape(self.n, self.m, self.k)

    def __str__(self) -> str:
        return f"{self.m}x{self.n}x{self.k}"


@dataclass(frozen=True)
class MatrixFacts:
    """What planning needs to know of an operand. Units: strides in elements; None where known only at run
    time.
    """

    dtype: DType
    row_stride: int | None
    column_stride: int | None

    @property
    def transposed(self) -> MatrixFacts:
        return MatrixFacts(self.dtype, self.column_stride, self.row_stride)


@dataclass(frozen=True)
class Blocks:
    """``count`` blocks of ``size`` rows or columns next to each other."""

    size: int
    count: int


def split_evenly(size: int, largest: int) -> tuple[Blocks, ...]:
    """Cut ``size`` into as few blocks of at most ``largest`` as possible, of at most two sizes that differ by
    1.
    """
    count = -(-size // largest)
    small, larger_count = divmod(size, count)
    parts = (Blocks(small + 1, larger_count), Blocks(small, count - larger_count))
    return tuple(part for part in parts if part.count)


def row_blocks(size: int, largest: int) -> list[tuple[int, int]]:
    """First row and size of each of the blocks that ``split_evenly`` cuts."""
    sizes = [blocks.size for blocks in split_evenly(size, largest) for _ in range(blocks.count)]
    return list(zip(accumulate(sizes, initial=0), sizes, strict=False))
