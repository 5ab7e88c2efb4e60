"""Which operands of a dot of vectors are brought together before micro-kernels read them (``dot_plan``)."""

from __future__ import annotations

from tilejit.backend.cpu.copy_ahead import STEPS
from tilejit.backend.cpu.dot_shape import Blocks, DotShape, MatrixFacts
from tilejit.backend.cpu.dot_units import Unit
from tilejit.ir.types import DType

MANY_ROWS = 64
"""Rows of a large C, which read all of B so often that operands are worth preparing."""


def packs_a(
    shape: DotShape, unit: Unit, a: MatrixFacts, row_blocks: tuple[Blocks, ...], lanes: int
) -> tuple[bool, int]:
    """A is converted once; and rows that share their places in L1, or whose addresses take a register each,
    are brought together. The second result is ``DotPlan.far_bytes``.
    """
    if a.dtype != unit.element(a.dtype):
        return True, 0
    if unit.group > 1 and not has_words(unit, a):
        return True, 0
    far_bytes = _PLACES_BYTES
    while row_blocks[0].size * far_bytes > 2 * _MOST_SHARING * _PLACES_BYTES:
        far_bytes //= 2
    is_used_often = row_blocks[0].size >= 8 or shape.m >= MANY_ROWS
    if a.row_stride == 1 or row_blocks[0].size <= _MOST_SHARING or not is_used_often or shape.n < 2 * lanes:
        return False, 0
    if a.row_stride is None:
        takes_few_addresses = row_blocks[0].size <= _ROWS_A_STRIDE and a.column_stride == 1
        return True, far_bytes if takes_few_addresses else 0
    return a.row_stride * a.dtype.itemsize % far_bytes == 0, 0


_ROWS_A_STRIDE = 6
"""Rows at a distance that is not known which two registers and that distance reach: x86 takes it once, twice
and four times.
"""
_PLACES_BYTES, _MOST_SHARING = 4096, 4
"""Lines so far apart share a place in L1, of which no more rows of a block should want the same.

Source: 48 KB in 12 ways on a Golden Cove core, 32 KB in 8 on Skylake and Zen (Intel 64 and IA-32
Architectures Optimization Reference Manual; AMD Software Optimization Guide): 64 places of 64 bytes. 512,
1024 and 2048 cubed of fp32 by 6 rows, 2, 4 and 8 KB from row to row, one thread of a Sapphire Rapids, time
of torch over that of rows in place, then over that of packed ones: 1.05 and 1.01, 0.94 and 0.95, 0.88 and
0.91.
"""


def has_words(unit: Unit, a: MatrixFacts) -> bool:
    """Whether the rows of A are rows of words."""
    return a.column_stride == 1 and a.row_stride is not None and a.row_stride % unit.group == 0


def packs_b(unit: Unit, b: MatrixFacts, row_blocks: tuple[Blocks, ...]) -> tuple[bool, int]:
    """B must come as rows; it is converted once if it is used twice, and brought together if used very often,
    or three times where its rows are far apart. Words have to be made. The second result is
    ``DotPlan.b_far_bytes``.
    """
    uses = sum(blocks.count for blocks in row_blocks)
    if unit.group > 1 or b.column_stride != 1 or (b.dtype != unit.word and uses > 1) or uses >= 12:
        return True, 0
    if uses < 3 or b.row_stride is None:
        return uses >= 3, _FAR_BYTES
    return b.row_stride * b.dtype.itemsize >= _FAR_BYTES, 0


_FAR_BYTES = 1024
"""Between rows of B from which on they are brought together for three blocks of rows and more: a row of a
panel is a few lines, which are read again from where the whole rows are, for each block.

Source: fp32 by 4096 x 4096, 2048 x 2048, 4096 x 1024 and 3000 x 1000, two threads of a Cascade Lake, calls
that alternate, time in place over that of packed panels: 32 rows 1.25 to 2.4, 64 rows 1.15 to 1.6; 16 rows,
two blocks, 0.9 to 1.15, 4 queries of 4 heads each over pages 0.94.
"""


def packs_ahead(
    shape: DotShape, unit: Unit, b: MatrixFacts, row_blocks: tuple[Blocks, ...], columns: tuple[Blocks, ...]
) -> bool:
    """Rows of B are copied while the panel before is used, some of them for each block of rows."""
    uses = sum(blocks.count for blocks in row_blocks)
    return (
        unit.group == 1
        and b.column_stride == 1
        and shape.k % STEPS == 0
        and columns[0].count > 1
        and uses * _MOST_COPIED >= STEPS
    )


_MOST_COPIED = 4
"""Rows that are copied at a time, every ``STEPS`` steps of k: more of them would not hide there."""


def collides(row_stride: int | None, dtype: DType, multiple_bytes: int) -> bool:
    """Whether rows may share few places in L1, since a multiple of ``multiple_bytes`` lies between them."""
    return row_stride is None or row_stride * dtype.itemsize % multiple_bytes == 0
