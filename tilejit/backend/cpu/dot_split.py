"""Dots of a few rows of floats with a matrix of int8 or bf16, on the dot unit of that type.

The rows are split into two parts that the unit multiplies (``split_rows``), the matrix stays as it is: it is
not converted, and most of the work of a dot with few rows is reading it. The precision is that of 16 bits of
the largest element of a row, which ``input_precision`` must allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from itertools import accumulate

from llvmlite import ir

from tilejit.backend.cpu import split_tiles
from tilejit.backend.cpu.dot_plan import DotShape, split_evenly
from tilejit.backend.cpu.fetch import FetchTile, call_fetching
from tilejit.backend.cpu.loops import emit_loop, index
from tilejit.backend.cpu.operand import Operand, is_unit, static
from tilejit.backend.cpu.pack import emit_pack
from tilejit.backend.cpu.split_deep import MOST_ROWS as MOST_DEEP_ROWS
from tilejit.backend.cpu.split_deep import call_deep, deep_sums_bytes
from tilejit.backend.cpu.split_kernels import call_inner, call_outer, call_pack, group_columns
from tilejit.backend.cpu.split_rows import (
    DEEPEST,
    DEEPEST_TILES,
    LANES,
    VECTOR_BYTES,
    SplitRows,
    SplitUnit,
    emit_split,
    padded_depth,
    rows_bytes,
    rows_in,
)  # fmt: skip
from tilejit.backend.cpu.split_spread import Spread, call_spread, call_spread_tiles
from tilejit.backend.cpu.split_turned import MOST_ROWS as MOST_TURNED_ROWS
from tilejit.backend.cpu.split_turned import call_turned, is_turned
from tilejit.backend.cpu.values import I8
from tilejit.ir.types import BF16, FP16, FP32, INT8
from tilejit.ops import InputPrecision
from tilejit.records import dataclass
from tilejit.target.cpu import CpuTarget

MOST_ROWS = 64
"""More rows are worth converting the matrix for."""
_OUTER_ROWS = 6
_IN_PLACE_ROWS = 4
"""Rows for which vectors take a matrix of wide rows as it lies; for more it is interleaved in scratch first.

Source: int8, two threads of a Cascade Lake, calls that alternate; time in place over that of packing: 4 rows
0.82 and 1.15, 5 rows 0.94 and 1.19, 6 rows 1.0 and 1.3, for 11008 columns and for 4096, whose rows share sets
of L1.
"""
_INNER_SPARSE, _OUTER_SPARSE = 2, 1
"""Rows that leave tiles so empty that vectors are faster."""
_SPARSE_STRIPS = 2
"""Vectors to a row of the matrix that is read in strips: more strips would be read far apart."""
_WIDE_BYTES = 1024
_WIDE_SPARSE = {SplitUnit.INT8: 3, SplitUnit.BF16: 4}
"""The same rows for matrices of wide rows, which prefetchers follow."""
_PANELS_BYTES = 16 * 1024
"""Columns that are packed together: what tiles read at once finds room in L1, next to what is packed."""
_WIDE_PANELS_BYTES = 256 * 1024
_WIDE_PANELS_DEPTH = 64
"""The same for wide rows that vectors read from scratch: rows pass by to their ends, a few at a time, and L2
holds what they become. Source: as above, 8 rows 1.45 to 1.55 times as fast as with 16 KB, 16 rows 1.2 to 1.4.
"""
_DEEP_ROWS_BYTES = 16 * 1024
"""What split rows may take of L1 where columns pass by to their ends: half of 32 KB, the smallest in use."""
_WIDE_DEPTH = 16
"""Depth of a block where wide rows of a matrix pass by vectors: hardware prefetchers follow so many.

Source: int8, two threads of a Cascade Lake, calls that alternate. 4096 x 4096 bytes in wide rows, time over
that of blocks of 64 along k: 1 row 0.5, 4 rows 0.48, of blocks of 32 the same; 4096 x 11008 bytes, which L3
does not hold, rate over that of blocks of 32: 2.0 and 1.7; blocks of 8 are as fast, but slower for 4 rows.
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
    depth = _depth(shape, plan)
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
    is_wide = is_unit(b.column_stride) and shape.n * unit.element.itemsize >= _WIDE_BYTES
    has_tiles = target.is_x86 and target.vector_bytes == VECTOR_BYTES and target.has(_TILE_FEATURES[unit])
    return spread if is_apt and is_wide and has_tiles and spread.fits(shape.n, shape.k) else None


def _sparse_rows(unit: SplitUnit, columns: int, inner: bool) -> int:
    """How many rows vectors take sooner than tiles."""
    if not inner and columns * unit.element.itemsize >= _WIDE_BYTES:
        return _WIDE_SPARSE[unit]
    if inner or unit is SplitUnit.BF16:
        return _INNER_SPARSE
    return _OUTER_SPARSE if columns <= _SPARSE_STRIPS * group_columns(unit) else 0


def emit_split_dot(
    builder: ir.IRBuilder,
    shape: DotShape,
    plan: SplitPlan,
    a: Operand,
    b: Operand,
    c: Operand,
    target: CpuTarget,
    *,
    zero_init: bool = False,
    fetch: FetchTile | None = None,
    scratch: ir.Value,
    prepared: ir.Value | None = None,
) -> None:
    """Emit C[m, n] += A[m, k] * B[k, n]; with ``zero_init`` C is overwritten. See ``plan_split_dot``.

    ``scratch``: ``split_scratch_bytes`` bytes aligned to 64 that are private to the thread. ``prepared``:
    where ``emit_prepared_rows`` has put what it made of A.
    """
    strides = [a.row_stride, a.column_stride, b.row_stride, b.column_stride, c.row_stride]
    space = _work_space(shape, plan, a, splits=prepared is None, multiplies=True)

    def build(inner: ir.IRBuilder, arguments: Sequence[ir.Value], own_fetch: FetchTile | None) -> None:
        values = zip(strides, arguments[3:8], strict=True)
        known = [stride if isinstance(stride, int) else value for stride, value in values]
        driver = _Driver(
            inner,
            shape,
            plan,
            Operand(arguments[0], a.dtype, known[0], known[1]),
            Operand(arguments[1], b.dtype, known[2], known[3]),
            Operand(arguments[2], c.dtype, known[4], 1),
            target,
            zero_init,
            own_fetch,
            _Places(inner, arguments[8], space),
            None if prepared is None else arguments[9],
        )
        driver.emit()

    text = "x".join("r" if static(stride) is None else str(stride) for stride in strides)
    flags = ".tiles" * plan.tiles + ".spread" * (plan.spread is not None) + ".zero" * zero_init
    flags += f".{plan.columns.value}" + ".prepared" * (prepared is not None)
    name = f"tilejit.dot.split.{plan.unit.value}.{shape}.{a.dtype}.{text}{flags}"
    values = [a.pointer, b.pointer, c.pointer, *(index(s) for s in strides), scratch]
    values += [] if prepared is None else [prepared]
    call_fetching(builder, name, values, fetch, build, may_fetch=True)


def prepared_bytes(shape: DotShape, plan: SplitPlan) -> int:
    """What ``emit_prepared_rows`` needs; 0 where k is cut into blocks, which are split one by one."""
    if _depth(shape, plan) < shape.k:
        return 0
    return _rows_bytes(shape, plan)


def split_scratch_bytes(shape: DotShape, plan: SplitPlan, a: Operand, *, is_prepared: bool = False) -> int:
    """The work space of a dot, or of one whose rows are prepared."""
    return _work_space(shape, plan, a, splits=not is_prepared, multiplies=True).size_bytes


def preparing_scratch_bytes(shape: DotShape, plan: SplitPlan, a: Operand) -> int:
    """The work space in which rows are prepared."""
    return _work_space(shape, plan, a, splits=True, multiplies=False).size_bytes


def emit_prepared_rows(
    builder: ir.IRBuilder, shape: DotShape, plan: SplitPlan, a: Operand, place: ir.Value, target: CpuTarget,
    *, scratch: ir.Value,
) -> None:  # fmt: skip
    """Split the rows of A once for many dots with it, into ``prepared_bytes`` bytes aligned to 64.

    ``scratch``: ``preparing_scratch_bytes`` bytes, as for ``emit_split_dot``.
    """
    strides = [a.row_stride, a.column_stride]
    space = _work_space(shape, plan, a, splits=True, multiplies=False)

    def build(inner: ir.IRBuilder, arguments: Sequence[ir.Value], _: FetchTile | None) -> None:
        place_, work, *values = arguments[1:]
        known = [s if isinstance(s, int) else v for s, v in zip(strides, values, strict=True)]
        own = Operand(arguments[0], a.dtype, known[0], known[1])
        places = _Places(inner, work, space)
        driver = _Driver(inner, shape, plan, own, own, own, target, False, None, places, place_)
        driver.prepare()

    text = "x".join("r" if static(stride) is None else str(stride) for stride in strides)
    name = f"tilejit.dot.split.prepare.{plan.unit.value}.{shape}.{a.dtype}.{text}"
    name += ".tiles" * plan.tiles + ".inner" * (not plan.for_columns) + ".spread" * (plan.spread is not None)
    call_fetching(builder, name, [a.pointer, place, scratch, *(index(s) for s in strides)], None, build)


def _rows_bytes(shape: DotShape, plan: SplitPlan) -> int:
    """What the rows take that are split at a time, with those that are turned round or spread."""
    depth = _depth(shape, plan)
    if plan.spread is not None:
        return rows_bytes(plan.unit, shape.m, depth) + plan.spread.size_bytes(depth)
    if not plan.tiles:
        return rows_bytes(plan.unit, shape.m, depth)
    groups = -(-shape.m // split_tiles.ROWS)
    turned = 16 * padded_depth(plan.unit, depth) * plan.unit.element.itemsize if plan.inner else 0
    return groups * (rows_bytes(plan.unit, split_tiles.ROWS, depth) + turned)


@dataclass(frozen=True)
class _WorkSpace:
    """What a dot works with, one after the other, each at a multiple of 64. Units: bytes.

    ``floats``: a block of k of rows that are no floats yet, or not next to each other; ``panel``: of columns
    that are packed together; ``sums``: tiles of sums, or vectors that are to be summed across lanes.
    """

    rows: int
    floats: int
    panel: int
    sums: int

    @property
    def size_bytes(self) -> int:
        return self.rows + self.floats + self.panel + self.sums


class _Places:
    """Where the parts of a work space are; None for those that are not needed."""

    def __init__(self, builder: ir.IRBuilder, scratch: ir.Value, space: _WorkSpace) -> None:
        sizes = (space.rows, space.floats, space.panel, space.sums)
        starts = accumulate(sizes, initial=0)
        self.rows, self.floats, self.panel, self.sums = (
            builder.gep(scratch, [index(start)], source_etype=I8) if size else None
            for start, size in zip(starts, sizes, strict=False)
        )


def _work_space(
    shape: DotShape, plan: SplitPlan, a: Operand, *, splits: bool, multiplies: bool
) -> _WorkSpace:
    is_ready = is_unit(a.column_stride) and a.dtype == FP32
    needs_panel = multiplies and plan.spread is None and _packs(shape, plan)
    sizes = (
        _rows_bytes(shape, plan) if splits and multiplies else 0,
        4 * shape.m * _depth(shape, plan) if splits and not is_ready else 0,
        _panels_together(shape, plan) * _panel_bytes(shape, plan) if needs_panel else 0,
        _sums_bytes(shape, plan) if multiplies else 0,
    )
    return _WorkSpace(*(-(-size // VECTOR_BYTES) * VECTOR_BYTES for size in sizes))


def _sums_bytes(shape: DotShape, plan: SplitPlan) -> int:
    if plan.tiles:
        return plan.unit.per_word * split_tiles.TILE_BYTES
    return deep_sums_bytes(shape.m) if plan.columns is Columns.DEEP else 0


def _panel_bytes(shape: DotShape, plan: SplitPlan) -> int:
    """A group of columns, packed."""
    depth = padded_depth(plan.unit, _depth(shape, plan))
    return depth * group_columns(plan.unit) * plan.unit.element.itemsize


def _panels_together(shape: DotShape, plan: SplitPlan) -> int:
    """How many groups of columns are packed together."""
    blocks, size = shape.n // group_columns(plan.unit), _panel_bytes(shape, plan)
    is_wide = _has_wide_rows(shape, plan) and _packs(shape, plan)
    most = _WIDE_PANELS_BYTES if is_wide else _PANELS_BYTES
    return max(1, min(blocks, most // size))


def _depth(shape: DotShape, plan: SplitPlan) -> int:
    """How much of k is done at a time."""
    most = DEEPEST
    if plan.inner and plan.tiles:
        most = max(DEEPEST, DEEPEST_TILES // -(-shape.m // split_tiles.ROWS))
    elif plan.columns is Columns.DEEP:
        vectors = _DEEP_ROWS_BYTES // (2 * shape.m * VECTOR_BYTES)
        most = min(DEEPEST_TILES, max(DEEPEST, vectors * plan.unit.vector_elements))
    elif _has_wide_rows(shape, plan):
        most = _WIDE_PANELS_DEPTH if _packs(shape, plan) else _WIDE_DEPTH
    return min(shape.k, most)


def _has_wide_rows(shape: DotShape, plan: SplitPlan) -> bool:
    """Whether wide rows of the matrix pass by vectors."""
    return not plan.tiles and not plan.inner and shape.n >= _WIDE_BYTES


def _packs(shape: DotShape, plan: SplitPlan) -> bool:
    """Whether a row-major matrix is interleaved into scratch before it is used."""
    most = _IN_PLACE_ROWS if _has_wide_rows(shape, plan) else _OUTER_ROWS
    return not plan.inner and (plan.tiles or shape.m > most)


class _Driver:
    """The loops around the micro-kernels, emitted into the function of one dot."""

    def __init__(
        self,
        builder: ir.IRBuilder,
        shape: DotShape,
        plan: SplitPlan,
        a: Operand,
        b: Operand,
        c: Operand,
        target: CpuTarget,
        zero_init: bool,
        fetch: FetchTile | None,
        places: _Places,
        prepared: ir.Value | None,
    ) -> None:
        self.builder, self.shape, self.plan, self.target = builder, shape, plan, target
        self.a, self.b, self.c = a, b, c
        self.zero_init, self.fetch = zero_init, fetch
        unit, self.depth = plan.unit, _depth(shape, plan)
        together = split_tiles.ROWS if plan.tiles and plan.spread is None else shape.m
        self.groups = -(-shape.m // together)  # of rows that are split together
        self.group_bytes = rows_bytes(unit, together, self.depth)
        self.together = together
        self.is_prepared = prepared is not None
        self.rows_scratch = places.rows if prepared is None else prepared
        self.floats, self.panel, self.sums = places.floats, places.panel, places.sums
        self.panel_bytes, self.panels = _panel_bytes(shape, plan), _panels_together(shape, plan)
        self.turned_bytes = 16 * padded_depth(unit, self.depth) * unit.element.itemsize
        # Behind the split rows are those that are turned round, or the copies of spread ones.
        self.turned = self._place(self.rows_scratch, self.groups, self.group_bytes)

    def emit(self) -> None:
        """Blocks of k one after the other, each split anew: a block has a scale of its own."""
        whole, rest = divmod(self.shape.k, self.depth)

        def following(i: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
            self._block(self.builder.add(i, index(1)), self.depth, True)
            return []

        self._block(index(0), self.depth, not self.zero_init)
        emit_loop(self.builder, whole - 1, [], following)
        if rest:
            self._block(index(whole), rest, True)

    def _block(self, number: ir.Value, depth: int, accumulate: bool) -> None:
        builder = self.builder
        rows, first = self._rows(depth), builder.mul(number, index(self.depth))
        if not self.is_prepared:
            self._split(rows, first)
        blocks = -(-self.shape.k // self.depth)
        fetch = None if self.fetch is None else self.fetch.share(builder, number, blocks)
        b = self.b.at(builder, first, 0)
        if self.plan.spread is not None:
            self._spread(self.plan.spread, rows[0], self.a.at(builder, 0, first), b, accumulate, fetch)
        else:
            multiply = self._inner if self.plan.inner else self._outer
            multiply(rows, b, accumulate, fetch)

    def prepare(self) -> None:
        """Split all rows and do no more."""
        self._split(self._rows(self.shape.k), index(0))

    def _rows(self, k: int) -> list[SplitRows]:
        """Where the rows are that are split together."""
        return [
            rows_in(
                self.builder, self.plan.unit, self.together, k,
                self._place(self.rows_scratch, number, self.group_bytes),
            )
            for number in range(self.groups)
        ]  # fmt: skip

    def _split(self, rows: Sequence[SplitRows], first: ir.Value) -> None:
        builder, a = self.builder, self._rows_of_floats(first, rows[0].k)
        for number, group in enumerate(rows):
            top = number * self.together
            count = min(self.together, self.shape.m - top)
            emit_split(builder, a.at(builder, top, 0), group, count, for_columns=self.plan.for_columns)
            if self.plan.tiles and self.plan.inner:
                split_tiles.call_turn(builder, group, self._place(self.turned, number, self.turned_bytes))
            if self.plan.spread is not None:
                call_spread(builder, self.plan.spread, group, self.turned)

    def _place(self, start: ir.Value, number: int, size_bytes: int) -> ir.Value:
        return self.builder.gep(start, [index(number * size_bytes)], source_etype=I8)

    def _rows_of_floats(self, first: ir.Value, k: int) -> Operand:
        """A block of k of A in fp32, with elements side by side."""
        block = self.a.at(self.builder, 0, first)
        if self.floats is None:
            return block
        copy = Operand(self.floats, FP32, k, 1)
        emit_pack(self.builder, block, copy, self.shape.m, k, self.target)
        return copy

    def _inner(
        self, rows: Sequence[SplitRows], b: Operand, accumulate: bool, fetch: FetchTile | None
    ) -> None:
        builder, n = self.builder, self.shape.n
        for number, group in enumerate(rows if self.plan.tiles else []):
            top = number * self.together
            split_tiles.call_inner_tiles(
                builder, group, min(self.together, self.shape.m - top),
                self._place(self.turned, number, self.turned_bytes), self.sums, b, self.c.at(builder, top, 0),
                n, accumulate=accumulate, fetch=fetch if number == 0 else None,
            )  # fmt: skip
        if not self.plan.tiles:
            self._inner_vectors(rows[0], b, accumulate, fetch)

    def _inner_vectors(self, rows: SplitRows, b: Operand, accumulate: bool, fetch: FetchTile | None) -> None:
        builder, columns, n = self.builder, self.plan.columns, self.shape.n
        # A last block of k may be short.
        if columns is Columns.DEEP and rows.k <= DEEPEST:
            columns = Columns.SHORT
        together = {Columns.SHORT: 1, Columns.TURNED: MOST_TURNED_ROWS, Columns.DEEP: MOST_DEEP_ROWS}[columns]
        for first, size in self._row_blocks(together):
            own, c, part = (
                rows.at(builder, first),
                self.c.at(builder, first, 0),
                fetch if first == 0 else None,
            )
            if columns is Columns.DEEP:
                call_deep(builder, own, size, b, c, n, self.sums, accumulate=accumulate, fetch=part)
            else:
                call = call_turned if columns is Columns.TURNED else call_inner
                call(builder, own, size, b, c, n, accumulate=accumulate, fetch=part)

    def _spread(
        self,
        spread: Spread,
        rows: SplitRows,
        a: Operand,
        b: Operand,
        accumulate: bool,
        fetch: FetchTile | None,
    ) -> None:
        """Blocks of k, so that few rows of the matrix pass by side by side."""
        builder, size = self.builder, spread.depth
        whole, rest = divmod(rows.k, size)
        parts = whole + bool(rest)

        def block(i: ir.Value, depth: int, adds: bool) -> None:
            first = builder.mul(i, index(size))
            copies = builder.mul(i, index(spread.size_bytes(size)))
            call_spread_tiles(
                builder, spread, rows, split_tiles.at_byte(builder, self.turned, copies), self.sums,
                a.at(builder, 0, first), b.at(builder, first, 0), self.c, self.shape.n, depth,
                accumulate=adds, fetch=None if fetch is None else fetch.share(builder, i, parts),
            )  # fmt: skip

        def following(i: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
            block(builder.add(i, index(1)), size, True)
            return []

        if whole:
            block(index(0), size, accumulate)
            emit_loop(builder, whole - 1, [], following)
        if rest:
            block(index(whole), rest, accumulate or whole > 0)

    def _row_blocks(self, largest: int) -> list[tuple[int, int]]:
        """First row and size of each block."""
        found, first = [], 0
        for blocks in split_evenly(self.shape.m, largest):
            for _ in range(blocks.count):
                found.append((first, blocks.size))
                first += blocks.size
        return found

    def _outer(
        self, rows: Sequence[SplitRows], b: Operand, accumulate: bool, fetch: FetchTile | None
    ) -> None:
        """Blocks of columns: interleaved where that serves many rows."""
        builder, width = self.builder, group_columns(self.plan.unit)
        whole, rest = divmod(self.shape.n, width)
        count, left = divmod(whole, self.panels)
        parts = count + bool(left) + bool(rest)

        def panels(number: ir.Value, first: ir.Value, blocks: int, columns: int = width) -> None:
            source, c = b.at(builder, 0, first), self.c.at(builder, 0, first)
            part = None if fetch is None else fetch.share(builder, number, parts)
            if self.panel is not None:
                packing = None if part is None else part.share(builder, index(0), 2)
                self._pack(source, rows[0], columns, blocks, packing)
                part = None if part is None else part.share(builder, index(1), 2)

            def block(j: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
                offset = builder.mul(j, index(width))
                own = source.at(builder, 0, offset)
                if self.panel is not None:
                    place = builder.gep(
                        self.panel, [builder.mul(j, index(self.panel_bytes))], source_etype=I8
                    )
                    own = Operand(place, b.dtype, 0, 1)
                share = None if part is None else part.share(builder, j, blocks)
                self._outer_block(rows, own, c.at(builder, 0, offset), columns, accumulate, share)
                return []

            emit_loop(builder, blocks, [], block)

        def full(i: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
            panels(i, builder.mul(i, index(self.panels * width)), self.panels)
            return []

        emit_loop(builder, count, [], full)
        if left:
            panels(index(count), index(count * self.panels * width), left)
        if rest:
            panels(index(parts - 1), index(whole * width), 1, rest)

    def _pack(self, b: Operand, rows: SplitRows, columns: int, blocks: int, fetch: FetchTile | None) -> None:
        plan = self.plan
        words = padded_depth(plan.unit, self.depth) // plan.unit.per_word
        call_pack(
            self.builder, plan.unit, b, rows.k, columns, self.panel, unsigned=not plan.tiles,
            words=words, groups=blocks, fetch=fetch, asks_ahead=_has_wide_rows(self.shape, plan),
        )  # fmt: skip

    def _outer_block(
        self,
        rows: Sequence[SplitRows],
        source: Operand,
        c: Operand,
        columns: int,
        accumulate: bool,
        fetch: FetchTile | None,
    ) -> None:
        builder, plan = self.builder, self.plan
        for number, group in enumerate(rows if plan.tiles else []):
            top = number * self.together
            split_tiles.call_outer_tiles(
                builder, group, min(self.together, self.shape.m - top), source.pointer, self.sums,
                c.at(builder, top, 0), columns, accumulate=accumulate, fetch=fetch if number == 0 else None,
            )  # fmt: skip
        for row, size in [] if plan.tiles else self._row_blocks(_OUTER_ROWS):
            call_outer(
                builder, rows[0].at(builder, row), size, source, c.at(builder, row, 0), columns,
                packed=self.panel is not None, accumulate=accumulate, fetch=fetch if row == 0 else None,
                asks_ahead=self.panel is None and _has_wide_rows(self.shape, plan),
            )  # fmt: skip
