"""Dots of a few rows of floats with a matrix of int8 or bf16, on the dot unit of that type.

The rows are split into two parts that the unit multiplies, or rounded to integers of 16 bits for one that
multiplies these (``split_rows``). The matrix stays as it is in memory: most of the work of a dot with few
rows is reading it, and converting bytes to fp32 takes longer. The precision is that of 16 bits of
the largest element of a row, which ``input_precision`` must allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from llvmlite import ir

from tilejit.backend.cpu import split_tiles
from tilejit.backend.cpu.dot_shape import DotShape, row_blocks
from tilejit.backend.cpu.fetch import FetchTile, call_fetching
from tilejit.backend.cpu.loops import emit_loop, index
from tilejit.backend.cpu.operand import Operand, is_unit, strides_text
from tilejit.backend.cpu.pack import emit_pack
from tilejit.backend.cpu.split_deep import MOST_ROWS as MOST_DEEP_ROWS
from tilejit.backend.cpu.split_deep import call_deep, deep_sums_bytes
from tilejit.backend.cpu.split_kernels import (
    call_inner,
    call_outer,
    call_pack,
    group_columns,
)
from tilejit.backend.cpu.split_pairs import emit_pairs, pair_sums_bytes
from tilejit.backend.cpu.split_plan import (
    PACKED_ROWS,
    Columns,
    SplitPlan,
    block_depth,
    has_wide_rows,
    keeps_rows_whole,
    packs,
    panel_bytes,
    panels_together,
    pass_depth,
    takes_pairs,
)
from tilejit.backend.cpu.split_rows import (
    VECTOR_BYTES,
    SplitRows,
    emit_split,
    padded_depth,
    rows_bytes,
    rows_in,
)  # fmt: skip
from tilejit.backend.cpu.split_spread import Spread, call_spread, call_spread_tiles
from tilejit.backend.cpu.split_turned import MOST_ROWS as MOST_TURNED_ROWS
from tilejit.backend.cpu.split_turned import call_turned
from tilejit.backend.cpu.values import I8
from tilejit.ir.types import FP32
from tilejit.records import dataclass
from tilejit.target.cpu import CpuTarget


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

    text = strides_text(strides)
    flags = ".tiles" * plan.tiles + ".spread" * (plan.spread is not None) + ".zero" * zero_init
    flags += f".{plan.columns.value}" + ".prepared" * (prepared is not None)
    name = f"tilejit.dot.split.{plan.unit.value}.{shape}.{a.dtype}.{text}{flags}"
    values = [a.pointer, b.pointer, c.pointer, *(index(s) for s in strides), scratch]
    values += [] if prepared is None else [prepared]
    call_fetching(builder, name, values, fetch, build, may_fetch=True)


def prepared_bytes(shape: DotShape, plan: SplitPlan) -> int:
    """What ``emit_prepared_rows`` needs; 0 where k is cut into blocks, which are split one by one."""
    if block_depth(shape, plan) < shape.k:
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

    text = strides_text(strides)
    name = f"tilejit.dot.split.prepare.{plan.unit.value}.{shape}.{a.dtype}.{text}"
    name += ".tiles" * plan.tiles + ".inner" * (not plan.for_columns) + ".spread" * (plan.spread is not None)
    name += ".whole" * keeps_rows_whole(shape, plan)
    call_fetching(builder, name, [a.pointer, place, scratch, *(index(s) for s in strides)], None, build)


def _rows_bytes(shape: DotShape, plan: SplitPlan) -> int:
    """What the rows take that are split at a time, with those that are turned round or spread."""
    depth = block_depth(shape, plan)
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
    that are packed together; ``sums``: tiles of sums, vectors that are to be summed across lanes, or sums
    that are to grow.
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
    needs_panel = multiplies and packs(shape, plan)
    sizes = (
        _rows_bytes(shape, plan) if splits and multiplies else 0,
        4 * shape.m * block_depth(shape, plan) if splits and not is_ready else 0,
        panels_together(shape, plan) * panel_bytes(shape, plan) if needs_panel else 0,
        _sums_bytes(shape, plan) if multiplies else 0,
    )
    return _WorkSpace(*(-(-size // VECTOR_BYTES) * VECTOR_BYTES for size in sizes))


def _sums_bytes(shape: DotShape, plan: SplitPlan) -> int:
    if plan.tiles:
        return plan.unit.per_word * split_tiles.TILE_BYTES
    if takes_pairs(shape, plan):
        has_passes = pass_depth(shape, plan) < block_depth(shape, plan)
        return pair_sums_bytes(shape.m, shape.n) if has_passes else 0
    return deep_sums_bytes(shape.m) if plan.columns is Columns.DEEP else 0


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
        unit, self.depth = plan.unit, block_depth(shape, plan)
        together = split_tiles.ROWS if plan.tiles and plan.spread is None else shape.m
        self.groups = -(-shape.m // together)  # of rows that are split together
        self.group_bytes = rows_bytes(unit, together, self.depth)
        self.together = together
        self.is_prepared, self.takes_pairs = prepared is not None, takes_pairs(shape, plan)
        self.is_whole = keeps_rows_whole(shape, plan)
        self.rows_scratch = places.rows if prepared is None else prepared
        self.floats, self.panel, self.sums = places.floats, places.panel, places.sums
        self.panel_bytes, self.panels = panel_bytes(shape, plan), panels_together(shape, plan)
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
        elif self.takes_pairs:
            emit_pairs(
                builder, rows[0], b, self.c, self.shape.n, pass_depth(self.shape, self.plan), self.sums,
                is_wide=has_wide_rows(self.shape, self.plan), accumulate=accumulate, fetch=fetch,
            )  # fmt: skip
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
                self._place(self.rows_scratch, number, self.group_bytes), is_whole=self.is_whole,
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
        together = {Columns.SHORT: 1, Columns.TURNED: MOST_TURNED_ROWS, Columns.DEEP: MOST_DEEP_ROWS}[columns]
        for first, size in row_blocks(self.shape.m, together):
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

    def _outer(
        self, rows: Sequence[SplitRows], b: Operand, accumulate: bool, fetch: FetchTile | None
    ) -> None:
        """Blocks of columns, packed one after the other."""
        builder, width = self.builder, group_columns(self.plan.unit)
        whole, rest = divmod(self.shape.n, width)
        count, left = divmod(whole, self.panels)
        parts = count + bool(left) + bool(rest)

        def panels(number: ir.Value, first: ir.Value, blocks: int, columns: int = width) -> None:
            source, c = b.at(builder, 0, first), self.c.at(builder, 0, first)
            packing, part = None, None
            if fetch is not None:
                own = fetch.share(builder, number, parts)
                packing, part = (own.share(builder, index(half), 2) for half in (0, 1))
            self._pack(source, rows[0], columns, blocks, packing)

            def block(j: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
                packed = builder.gep(self.panel, [builder.mul(j, index(self.panel_bytes))], source_etype=I8)
                share = None if part is None else part.share(builder, j, blocks)
                own_c = c.at(builder, 0, builder.mul(j, index(width)))
                self._outer_block(rows, packed, own_c, columns, accumulate, share)
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
            words=words, groups=blocks, fetch=fetch, asks_ahead=has_wide_rows(self.shape, plan),
        )  # fmt: skip

    def _outer_block(
        self,
        rows: Sequence[SplitRows],
        packed: ir.Value,
        c: Operand,
        columns: int,
        accumulate: bool,
        fetch: FetchTile | None,
    ) -> None:
        builder, plan = self.builder, self.plan
        for number, group in enumerate(rows if plan.tiles else []):
            top = number * self.together
            split_tiles.call_outer_tiles(
                builder, group, min(self.together, self.shape.m - top), packed, self.sums,
                c.at(builder, top, 0), columns, accumulate=accumulate, fetch=fetch if number == 0 else None,
            )  # fmt: skip
        for row, size in [] if plan.tiles else row_blocks(self.shape.m, PACKED_ROWS):
            call_outer(
                builder, rows[0].at(builder, row), size, packed, c.at(builder, row, 0), columns,
                accumulate=accumulate, fetch=fetch if row == 0 else None,
            )  # fmt: skip
