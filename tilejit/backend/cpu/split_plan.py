"""Plans of dots of split rows (``dot_split``): vectors or tiles, in place or from scratch, and how deep."""

from __future__ import annotations

from enum import Enum

from tilejit.backend.cpu import split_tiles
from tilejit.backend.cpu.dot_shape import DotShape
from tilejit.backend.cpu.operand import Operand, is_unit
from tilejit.backend.cpu.split_kernels import group_columns
from tilejit.backend.cpu.split_rows import (
    DEEPEST,
    DEEPEST_TILES,
    LANES,
    VECTOR_BYTES,
    SplitUnit,
    padded_depth,
)  # fmt: skip
from tilejit.backend.cpu.split_spread import Spread
from tilejit.backend.cpu.split_turned import is_turned
from tilejit.ir.types import BF16, FP16, FP32, INT8
from tilejit.ops import InputPrecision
from tilejit.records import dataclass
from tilejit.target.cpu import CpuTarget

MOST_ROWS = 64
"""More rows are worth converting the matrix for."""
PACKED_ROWS = 6
"""Rows of a block of vectors that read a packed matrix, whose sums fill the registers."""
_IN_PLACE_ROWS, _IN_PLACE_COLUMNS = 6, 128
"""Rows, or columns, for which vectors take a row-major matrix as it lies; else it is interleaved in scratch.

Source: int8, two threads of a Cascade Lake, calls that alternate, 9 to 11 rounds; speed in place over that of
packing, for 4096 x 4096, 4096 x 11008, 11008 x 4096: 6 rows 1.04, 1.09, 1.36, 8 rows 0.87, 0.92, 1.24, 12
rows 0.76 and 0.93; tiles of 256 x 512, 8 and 16 rows 0.55. Paged decode of 128 columns, 8, 12, 16, 32 and 64
rows a group: 1.01, 1.08, 1.03, 1.01, 1.01.
"""
_INNER_SPARSE, _OUTER_SPARSE = 2, 1
"""Rows that leave tiles so empty that vectors are faster."""
_SPARSE_STRIPS = 2
"""Vectors to a row of the matrix that is read in strips: more strips would be read far apart."""
_WIDE_BYTES = 1024
"""Rows of a matrix from which on prefetchers follow them well."""
_WIDE_SPARSE = {SplitUnit.INT8: 3, SplitUnit.BF16: 4}
"""Rows that leave tiles so empty that vectors are faster, for matrices of wide rows."""
_PANELS_BYTES = 16 * 1024
"""Columns that are packed together: what tiles read at once finds room in L1, next to what is packed."""
_WIDE_PANELS_BYTES = 256 * 1024
"""The same for wide rows that vectors read from scratch: rows pass by to their ends, a few at a time, and L2
holds what they become.

Source: int8, two threads of a Cascade Lake with 1 MB of L2, calls that alternate: 4096 x 4096, 4096 x 11008
and 11008 x 4096 bytes, 8 rows 1.45 to 1.55 times as fast as with 16 KB; 16 rows 1.2 to 1.4.
"""
_WIDE_PANELS_DEPTH = 64
"""Depth of a block then, so that panels have room for 4096 columns. Source: as above, 128 is within 5 %."""
_DEEP_ROWS_BYTES = 16 * 1024
"""What split rows may take of L1 where columns pass by to their ends: half of 32 KB, the smallest in use."""
_WIDE_DEPTH = 16
"""Wide rows of a matrix that pass by vectors side by side: hardware prefetchers follow so many.

Source: int8, two threads of a Cascade Lake, calls that alternate, with dots of bytes. 4096 x 4096 bytes in
wide rows, time over that of blocks of 64 along k: 1 row 0.5, 4 rows 0.48, of blocks of 32 the same; 4096 x
11008 bytes, which L3 does not hold, rate over that of blocks of 32: 2.0 and 1.7; blocks of 8 are as fast, but
slower for 4 rows.
"""
_UNITS = {
    (INT8, InputPrecision.INT8X2): SplitUnit.INT8,
    (BF16, InputPrecision.INT8X2): SplitUnit.BF16,
    (BF16, InputPrecision.BF16X3): SplitUnit.BF16,
}
_TILE_FEATURES = {SplitUnit.INT8: "amx-int8", SplitUnit.BF16: "amx-bf16"}


class Columns(Enum):
    """How vectors take a matrix that is contiguous along k."""

    SHORT = "short"
    """One after the other; the products of each are summed across lanes."""
    TURNED = "turned"
    """Sixteen at a time, turned round."""
    DEEP = "deep"
    """A few side by side, to their ends."""


@dataclass(frozen=True)
class SplitPlan:
    """How a dot of split rows is computed: ``inner`` where the matrix is contiguous along k.

    ``spread``: how the rows are, where tiles take the matrix as it lies. ``columns``: what vectors do, where
    the matrix is ``inner``.
    """

    unit: SplitUnit
    inner: bool
    tiles: bool
    spread: Spread | None = None
    columns: Columns = Columns.SHORT

    @property
    def for_columns(self) -> bool:
        """Whether sums are kept in a lane for each column."""
        return self.columns is Columns.TURNED or not self.inner


def plan_split_dot(
    shape: DotShape, a: Operand, b: Operand, c: Operand, precision: InputPrecision, target: CpuTarget
) -> SplitPlan | None:
    """The plan that ``emit_split_dot`` may follow for a dot, None where it is to be computed as floats."""
    unit = _UNITS.get((b.dtype, precision))
    is_float = a.dtype in (FP32, BF16, FP16) and c.dtype == FP32
    if unit is None or not is_float or shape.m > MOST_ROWS or not is_unit(c.column_stride):
        return None
    is_inner = is_unit(b.row_stride)
    spread = _spread_for(unit, shape, a, b, target)
    if spread is not None:
        return SplitPlan(unit, inner=False, tiles=True, spread=spread)
    is_sparse = shape.m <= _sparse_rows(unit, shape.n, is_inner)
    if unit is SplitUnit.BF16 and is_sparse:
        return None  # shifting bf16 up to fp32 costs less than tiles that are nearly empty
    if not target.is_x86 or target.vector_bytes != VECTOR_BYTES or not (is_inner or is_unit(b.column_stride)):
        return None
    # Vectors read a column, or a strip of columns, to its end before the next.
    is_sparse &= unit is SplitUnit.INT8 and target.has("avx512vnni")
    plan = SplitPlan(unit, is_inner, tiles=True)
    depth = block_depth(shape, plan)
    is_whole = shape.n % LANES == 0 and depth % unit.vector_elements == 0 and shape.k % depth == 0
    if target.has(_TILE_FEATURES[unit]) and (is_whole or not is_inner) and not is_sparse:
        return plan
    # vdpbf16ps takes as long for two products as two fp32 multiply-adds, and the rows come twice.
    if unit is not SplitUnit.INT8 or not target.has("avx512vnni"):
        return None
    return SplitPlan(unit, is_inner, tiles=False, columns=_columns_for(shape) if is_inner else Columns.SHORT)


def _columns_for(shape: DotShape) -> Columns:
    if is_turned(shape.m, shape.k):
        return Columns.TURNED
    return Columns.DEEP if shape.k > DEEPEST else Columns.SHORT


def _spread_for(unit: SplitUnit, shape: DotShape, a: Operand, b: Operand, target: CpuTarget) -> Spread | None:
    """How rows are spread: where there are few, and the matrix has wide ones."""
    spread, is_apt = Spread(unit, shape.m), unit is SplitUnit.INT8 or a.dtype == BF16
    is_wide = is_unit(b.column_stride) and _is_wide(unit, shape.n)
    has_tiles = target.is_x86 and target.vector_bytes == VECTOR_BYTES and target.has(_TILE_FEATURES[unit])
    return spread if is_apt and is_wide and has_tiles and spread.fits(shape.n, shape.k) else None


def _sparse_rows(unit: SplitUnit, columns: int, inner: bool) -> int:
    """How many rows vectors take sooner than tiles."""
    if not inner and _is_wide(unit, columns):
        return _WIDE_SPARSE[unit]
    if inner or unit is SplitUnit.BF16:
        return _INNER_SPARSE
    return _OUTER_SPARSE if columns <= _SPARSE_STRIPS * group_columns(unit) else 0


def panel_bytes(shape: DotShape, plan: SplitPlan) -> int:
    """A group of columns, packed."""
    depth = padded_depth(plan.unit, block_depth(shape, plan))
    return depth * group_columns(plan.unit) * plan.unit.element.itemsize


def panels_together(shape: DotShape, plan: SplitPlan) -> int:
    """How many groups of columns are packed together."""
    blocks, size = shape.n // group_columns(plan.unit), panel_bytes(shape, plan)
    is_wide = has_wide_rows(shape, plan) and packs(shape, plan)
    most = _WIDE_PANELS_BYTES if is_wide else _PANELS_BYTES
    return max(1, min(blocks, most // size))


def block_depth(shape: DotShape, plan: SplitPlan) -> int:
    """How much of k is done at a time."""
    most = DEEPEST
    if plan.inner and plan.tiles:
        most = max(DEEPEST, DEEPEST_TILES // -(-shape.m // split_tiles.ROWS))
    elif plan.columns is Columns.DEEP:
        vectors = _DEEP_ROWS_BYTES // (2 * shape.m * VECTOR_BYTES)
        most = min(DEEPEST_TILES, max(DEEPEST, vectors * plan.unit.vector_elements))
    elif has_wide_rows(shape, plan) and packs(shape, plan):
        most = _WIDE_PANELS_DEPTH
    return min(shape.k, most)


def has_wide_rows(shape: DotShape, plan: SplitPlan) -> bool:
    """Whether wide rows of the matrix pass by vectors."""
    return not plan.tiles and not plan.inner and _is_wide(plan.unit, shape.n)


def _is_wide(unit: SplitUnit, columns: int) -> bool:
    return columns * unit.element.itemsize >= _WIDE_BYTES


def packs(shape: DotShape, plan: SplitPlan) -> bool:
    """Whether a row-major matrix is interleaved into scratch before it is used."""
    if plan.inner or plan.spread is not None:
        return False
    return plan.tiles or (shape.m > _IN_PLACE_ROWS and shape.n > _IN_PLACE_COLUMNS)


def takes_pairs(shape: DotShape, plan: SplitPlan) -> bool:
    """Whether rows stay whole and meet pairs of rows of a row-major matrix in place, see ``split_pairs``."""
    return not (plan.inner or plan.tiles or packs(shape, plan))


def keeps_rows_whole(shape: DotShape, plan: SplitPlan) -> bool:
    """Whether rows are rounded to 16 bits and not split in two parts."""
    return plan.columns is Columns.DEEP or takes_pairs(shape, plan)


def pass_depth(shape: DotShape, plan: SplitPlan) -> int:
    """How many rows of the matrix pass by at a time, where pairs of them are taken."""
    return _WIDE_DEPTH if has_wide_rows(shape, plan) else block_depth(shape, plan)
