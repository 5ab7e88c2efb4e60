"""The loops of a dot around its micro-kernels: over depth, column panels and row blocks, as its plan says.

Either a panel of B is innermost in cache, packed once and used by all row blocks, or a row block of A is, and
all panels of a depth block stay in the next cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate as accumulated

from llvmlite import ir

from tilejit.backend.cpu.copy_ahead import PanelCopy, rows_a_turn
from tilejit.backend.cpu.dot_amx import TileKernel, tile_function
from tilejit.backend.cpu.dot_calls import Fetching
from tilejit.backend.cpu.dot_inner import InnerKernel, call_inner_kernel
from tilejit.backend.cpu.dot_outer import OuterKernel, call_outer_kernel
from tilejit.backend.cpu.dot_plan import DotPlan, Form
from tilejit.backend.cpu.dot_shape import Blocks
from tilejit.backend.cpu.dot_units import TILE_ROW_BYTES
from tilejit.backend.cpu.fetch import FetchTile
from tilejit.backend.cpu.loops import emit_loop, index
from tilejit.backend.cpu.operand import Operand, advance, scale, static
from tilejit.backend.cpu.pack import emit_pack, power_of_two_below
from tilejit.backend.cpu.pack_words import emit_pack_words
from tilejit.backend.cpu.row_sums import emit_row_sums
from tilejit.backend.cpu.values import I1
from tilejit.diagnostics import InternalError
from tilejit.records import dataclass
from tilejit.target.cpu import CpuTarget

_DEPTH_ADDED_LAST = 128
"""Steps of k from which on a block of C is brought into the cache while its sums are formed, and added last:
sums that start from it wait for it. Vectors that overlap would be added twice.
"""
_ROWS_AT_A_TIME = 16
"""Rows of B that are packed together: prefetchers follow as many streams. A multiple of every group."""


def _with_starts(blocks: Sequence[Blocks]) -> list[tuple[Blocks, int]]:
    """Blocks, each with the row or column at which the first of them starts."""
    starts = accumulated((each.size * each.count for each in blocks), initial=0)
    return list(zip(blocks, starts, strict=False))


def _for_each(
    builder: ir.IRBuilder, blocks: Blocks, start: int, emit: Callable[[ir.Value, ir.Value], None]
) -> None:
    """A loop over blocks, the first of which starts at ``start``: of the number and the start of each."""

    def body(i: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
        emit(i, builder.add(builder.mul(i, index(blocks.size)), index(start)))
        return []

    emit_loop(builder, blocks.count, [], body)


@dataclass(frozen=True)
class DotLoops:
    """The loops around the micro-kernels, emitted into the function of one dot."""

    builder: ir.IRBuilder
    plan: DotPlan
    a: Operand
    b: Operand
    c: Operand
    scratch: ir.Value
    target: CpuTarget
    zero_init: bool
    fetch: FetchTile | None
    packed_b: ir.Value | None = None
    row_scale: ir.Value | None = None

    def from_depth(self, first: int | ir.Value) -> DotLoops:
        """For what begins at row ``first`` of B, if all of B is packed."""
        if self.packed_b is None:
            return self
        skipped = scale(self.builder, first, self.plan.shape.n * self.plan.b_element.itemsize)
        return replace(self, packed_b=advance(self.builder, self.packed_b, skipped, 1))

    def emit(self) -> None:
        """Loop over blocks of k; what is left of k comes last."""
        size = self.plan.depth_block
        whole, rest = divmod(self.plan.shape.k, size)

        def block(i: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
            first = self.builder.mul(i, index(size)) if whole > 1 else 0
            accumulate = self.builder.icmp_signed("!=", i, index(0)) if self.zero_init else ir.Constant(I1, 1)
            self.from_depth(first)._depth_block(first, size, accumulate, self._fetch_share(i))
            return []

        emit_loop(self.builder, whole, [], block)
        if rest:
            part = self.from_depth(whole * size)
            part._depth_block(whole * size, rest, ir.Constant(I1, 1), self._fetch_share(index(whole)))

    def emit_turned(self) -> None:
        """The product of B transposed and A transposed, in scratch, to or from which C is turned round."""
        builder, shape = self.builder, self.plan.shape
        place = advance(builder, self.scratch, self.plan.packed_a_bytes + self.plan.packed_b_bytes, 1)
        sums = Operand(place, self.c.dtype, shape.n, 1)
        if not self.zero_init:
            emit_pack(builder, self.c, sums.transposed, shape.n, shape.m, self.target)
        replace(self, a=self.b.transposed, b=self.a.transposed, c=sums).emit()
        emit_pack(builder, sums.transposed, self.c, shape.n, shape.m, self.target)

    def _fetch_share(self, number: ir.Value) -> FetchTile | None:
        """What a block of k fetches."""
        blocks = -(-self.plan.shape.k // self.plan.depth_block)
        if self.fetch is None or blocks == 1:
            return self.fetch
        return self.fetch.share(self.builder, number, blocks)

    def _depth_block(
        self, first: int | ir.Value, depth: int, accumulate: ir.Value, fetch: FetchTile | None
    ) -> None:
        builder, plan = self.builder, self.plan
        a = self.a.at(builder, 0, first)
        if plan.pack_a:
            a = self._packed_rows(a, depth)
        b = self.b.at(builder, first, 0)
        if plan.flips_b:
            emit_row_sums(builder, a, self._row_values[0], plan.shape.m, depth, self.target)
        if plan.form is Form.INNER:
            self._inner_blocks(a, b, depth, accumulate, fetch)
            return
        if plan.whole_b:
            self._where_far(lambda: self.pack_whole(b, depth))
        if plan.rows_first:
            self._rows_first(a, depth, accumulate, fetch)
            return
        done, count = 0, sum(panels.count for panels in plan.column_blocks)
        for panels, column in _with_starts(plan.column_blocks):

            def share(i: ir.Value, done: int = done) -> FetchTile | None:
                number = builder.add(i, index(done))
                return None if fetch is None else fetch.share(builder, number, count)

            self._panels(a, b, column, panels, depth, accumulate, share)
            done += panels.count

    def _rows_first(self, a: Operand, depth: int, accumulate: ir.Value, fetch: FetchTile | None) -> None:
        """Blocks of rows one after the other, each times all panels. A block fetches a part, while it meets
        the first panel.
        """
        builder, plan = self.builder, self.plan
        first, *others = plan.column_blocks
        groups = _with_starts([Blocks(first.size, 1), Blocks(first.size, first.count - 1), *others])
        row_blocks, done = sum(rows.count for rows in plan.row_blocks), 0

        def panels_of(
            rows: Blocks, row: ir.Value, panels: Blocks, start: int, part: FetchTile | None
        ) -> None:
            def multiply(column: ir.Value) -> None:
                packed, c = self._panel_place(column, panels.size, depth), self.c.at(builder, row, column)
                block, own = Blocks(rows.size, 1), a.at(builder, row, 0)
                self._multiply(block, own, packed, c, row, panels, depth, accumulate, part)

            _for_each(builder, panels, start, lambda _, column: multiply(column))

        for rows, start in _with_starts(plan.row_blocks):

            def block(number: ir.Value, row: ir.Value, rows: Blocks = rows, done: int = done) -> None:
                own = None
                if fetch is not None:
                    own = fetch.share(builder, builder.add(number, index(done)), row_blocks)
                for panels, column in groups:
                    panels_of(rows, row, panels, column, own if column == 0 else None)

            _for_each(builder, rows, start, block)
            done += rows.count

    @property
    def _row_values(self) -> list[ir.Value]:
        """Where the numbers lie that rows of C are multiplied by, or that are added to them, if any are."""
        if self.row_scale is not None:
            return [self.row_scale]
        if not self.plan.flips_b:
            return []
        skipped = self.plan.scratch_bytes - self.plan.row_addends_bytes
        return [advance(self.builder, self.scratch, skipped, 1)]

    def _packed_rows(self, a: Operand, depth: int) -> Operand:
        """The rows of A packed, or in place where they are near enough."""
        builder, plan = self.builder, self.plan
        packed = Operand(self.scratch, plan.a_element, plan.a_row_stride(depth), 1)
        if not plan.far_bytes:
            emit_pack(builder, a, packed, plan.shape.m, depth, self.target)
            return packed
        stride, multiple = index(a.row_stride), index(plan.far_bytes // a.dtype.itemsize)
        is_far = builder.icmp_signed("==", builder.urem(stride, multiple), index(0))
        with builder.if_then(is_far):
            emit_pack(builder, a, packed, plan.shape.m, depth, self.target)
        place = builder.select(is_far, packed.pointer, a.pointer)
        return Operand(place, a.dtype, builder.select(is_far, index(packed.row_stride), stride), 1)

    def _panels(
        self,
        a: Operand,
        b: Operand,
        column: int,
        panels: Blocks,
        depth: int,
        accumulate: ir.Value,
        share: Callable[[ir.Value], FetchTile | None],
    ) -> None:
        """Panels of one width: pack B's part, or the next panel's, then all row blocks. ``share``: what a
        panel fetches.
        """
        builder, plan = self.builder, self.plan
        ahead = plan.ahead and panels.count > 1
        if ahead:
            self._pack_panel(b.at(builder, 0, column), self._panel_place(0, panels.size, depth), depth)

        def panel(i: ir.Value, start: ir.Value) -> None:
            b_panel, copy = b.at(builder, 0, start), None
            if ahead:
                copy = self._copy_of_next(b_panel, i, panels, depth)
                odd = builder.and_(i, index(1))
                b_panel = self._panel_place(builder.mul(odd, index(panels.size)), panels.size, depth)
            elif plan.whole_b or self.packed_b is not None:
                b_panel = self._unless_near(b_panel, self._panel_place(start, panels.size, depth))
            elif plan.pack_b:
                packed, source = self._panel_place(0, panels.size, depth), b_panel
                self._where_far(lambda: self._pack_panel(source, packed, depth))
                b_panel = self._unless_near(b_panel, packed)
            c_panel = self.c.at(builder, 0, start)
            self._row_blocks(a, b_panel, c_panel, panels, depth, accumulate, share(i), copy)

        _for_each(builder, panels, column, panel)

    @property
    def _is_far(self) -> ir.Value:
        """Whether so many bytes lie between the rows of B that it is packed."""
        least = self.plan.b_far_bytes // self.b.dtype.itemsize
        return self.builder.icmp_signed(">=", index(self.b.row_stride), index(least))

    def _where_far(self, pack: Callable[[], object]) -> None:
        """Emit what packs B, to run only where the plan wants that."""
        if not self.plan.b_far_bytes:
            pack()
            return
        with self.builder.if_then(self._is_far):
            pack()

    def _unless_near(self, in_place: Operand, packed: Operand) -> Operand:
        """A panel packed, or in place where the plan leaves it there."""
        if not self.plan.b_far_bytes:
            return packed
        builder, is_far = self.builder, self._is_far
        place = builder.select(is_far, packed.pointer, in_place.pointer)
        stride = builder.select(is_far, index(packed.row_stride), index(in_place.row_stride))
        return Operand(place, packed.dtype, stride, 1)

    def _copy_of_next(self, panel: Operand, number: ir.Value, panels: Blocks, depth: int) -> PanelCopy:
        """Panel ``number + 1`` of B goes where panel ``number - 1`` was."""
        builder, size = self.builder, panels.size
        even = builder.xor(builder.and_(number, index(1)), index(1))
        place = self._panel_place(builder.mul(even, index(size)), size, depth)
        exists = builder.icmp_signed("<", number, index(panels.count - 1))
        rows = rows_a_turn(sum(blocks.count for blocks in self.plan.row_blocks))
        following = panel.at(builder, 0, size)
        return PanelCopy(following, place.pointer, exists, depth, size, rows, place.dtype)

    def _panel_place(self, column: int | ir.Value, columns: int, depth: int) -> Operand:
        """Where the panel that starts at a column is packed."""
        builder, plan = self.builder, self.plan
        place = self.packed_b
        if place is None:
            place = advance(builder, self.scratch, plan.packed_a_bytes, 1)
        place = advance(builder, place, scale(builder, column, depth * plan.b_element.itemsize), 1)
        return Operand(place, plan.unit.word, columns, 1)

    def pack_whole(self, b: Operand, depth: int) -> None:
        """Pack all panels, some rows of each after the other."""
        builder, plan = self.builder, self.plan
        whole, rest = divmod(depth, _ROWS_AT_A_TIME)

        def rows(first: int | ir.Value, count: int) -> None:
            def panel(_: ir.Value, column: ir.Value, size: int) -> None:
                words = first // plan.unit.group if isinstance(first, int) else None
                row = builder.udiv(index(first), index(plan.unit.group)) if words is None else words
                packed = self._panel_place(column, size, depth).at(builder, row, 0)
                self._pack_panel(b.at(builder, first, column), packed, count)

            for panels, start in _with_starts(plan.column_blocks):
                _for_each(builder, panels, start, partial(panel, size=panels.size))

        def some(i: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
            rows(builder.mul(i, index(_ROWS_AT_A_TIME)), _ROWS_AT_A_TIME)
            return []

        emit_loop(builder, whole, [], some)
        if rest:
            rows(whole * _ROWS_AT_A_TIME, rest)

    def _pack_panel(self, b: Operand, packed: Operand, depth: int) -> Operand:
        """Bring a panel of B together; its columns fill the rows of ``packed``."""
        plan, columns = self.plan, static(packed.row_stride)
        if columns is None:
            raise InternalError("a panel of unknown width")
        if plan.unit.group > 1:
            emit_pack_words(
                self.builder, b, packed, plan.b_element, depth, columns, self.target, flips=plan.flips_b
            )
        else:
            emit_pack(self.builder, b, packed, depth, columns, self.target)
        return packed

    def _tile_blocks(
        self, a: Operand, b: Operand, c: Operand, panels: Blocks, depth: int, accumulate: ir.Value
    ) -> None:
        builder, plan = self.builder, self.plan
        steps = depth * plan.a_element.itemsize // TILE_ROW_BYTES
        rows = [index(scale(builder, x.dtype.itemsize, x.row_stride)) for x in (a, b, c)]
        for blocks, row in _with_starts(plan.row_blocks):
            kernel = TileKernel(plan.unit, blocks.size, panels.size, plan.a_element, plan.b_element)
            places = [a.at(builder, row, 0).pointer, b.pointer, c.at(builder, row, 0).pointer]
            numbers = [index(blocks.count), index(steps), accumulate]
            builder.call(tile_function(builder.module, kernel), places + numbers + rows)

    def _row_blocks(
        self,
        a: Operand,
        b: Operand,
        c: Operand,
        panels: Blocks,
        depth: int,
        accumulate: ir.Value,
        fetch: FetchTile | None,
        copy: PanelCopy | None,
    ) -> None:
        if self.plan.form is Form.TILES:
            self._tile_blocks(a, b, c, panels, depth, accumulate)
            return
        a, blocks_before = self._words(a), 0
        for rows, row in _with_starts(self.plan.row_blocks):
            copying = copy.part(self.builder, blocks_before, rows.count) if copy is not None else []
            own, sums = a.at(self.builder, row, 0), c.at(self.builder, row, 0)
            part = fetch if row == 0 else None
            self._multiply(rows, own, b, sums, index(row), panels, depth, accumulate, part, copy, copying)
            blocks_before += rows.count

    def _multiply(
        self,
        rows: Blocks,
        a: Operand,
        b: Operand,
        c: Operand,
        row: ir.Value,
        panels: Blocks,
        depth: int,
        accumulate: ir.Value,
        fetch: FetchTile | None,
        copy: PanelCopy | None = None,
        copying: Sequence[ir.Value] = (),
    ) -> None:
        """Blocks of rows, of which ``row`` is the first, times a panel, which is one of ``panels``."""
        words, lanes = depth // self.plan.unit.group, min(self.plan.lanes, power_of_two_below(panels.size))
        kernel = OuterKernel(
            self.plan.unit,
            rows.size,
            panels.size,
            lanes,
            self.plan.sets,
            b.dtype,
            static(a.row_stride),
            static(a.column_stride),
            static(b.row_stride),
            static(c.row_stride),
            self.target,
            self.plan.is_a_signed,
            copy.step(lanes, self.target.cache_line_bytes) if copy is not None and copying else None,
            words >= _DEPTH_ADDED_LAST and panels.size % lanes == 0,
            scales_rows=self.row_scale is not None,
            adds_to_rows=self.plan.flips_b,
            asks_ahead=self.plan.asks_ahead,
            has_even_depth=words % 2 == 0 and self.plan.sets == 1,
        )
        strides = (a.row_stride, a.column_stride, b.row_stride, c.row_stride)
        places = [a.pointer, b.pointer, c.pointer]
        places += [advance(self.builder, place, row, c.dtype.itemsize) for place in self._row_values]
        numbers = [index(rows.count), index(words), accumulate]
        fetching = Fetching(fetch, words * rows.count) if fetch is not None else None
        call_outer_kernel(self.builder, kernel, places, numbers, strides, fetching, copying)

    def _words(self, a: Operand) -> Operand:
        """A as a matrix of the unit's words."""
        group = self.plan.unit.group
        if group == 1:
            return a
        stride = static(a.row_stride)
        if stride is None:
            raise InternalError("rows of words at a stride that is not known")
        return Operand(a.pointer, self.plan.unit.word, stride // group, 1)

    def _inner_blocks(
        self, a: Operand, b: Operand, depth: int, accumulate: ir.Value, fetch: FetchTile | None
    ) -> None:
        """Blocks of rows; the first ones fetch, each a part."""
        builder = self.builder
        for rows, start in _with_starts(self.plan.row_blocks):

            def block(i: ir.Value, row: ir.Value, rows: Blocks = rows, start: int = start) -> None:
                a_block, c_block = (x.at(builder, row, 0) for x in (a, self.c))
                part = None if fetch is None or start > 0 else fetch.share(builder, i, rows.count)
                numbers = [advance(builder, place, row, self.c.dtype.itemsize) for place in self._row_values]
                self._inner_row_block(a_block, b, c_block, numbers, rows.size, depth, accumulate, part)

            _for_each(builder, rows, start, block)

    def _inner_row_block(
        self,
        a: Operand,
        b: Operand,
        c: Operand,
        row_values: list[ir.Value],
        rows: int,
        depth: int,
        accumulate: ir.Value,
        fetch: FetchTile | None,
    ) -> None:
        builder, plan = self.builder, self.plan
        words = depth // plan.unit.group
        for columns, column in _with_starts(plan.column_blocks):
            kernel = InnerKernel(
                plan.unit,
                rows,
                columns.size,
                words,
                plan.lanes,
                b.dtype,
                static(a.row_stride),
                static(b.column_stride),
                static(c.row_stride),
                self.target,
                is_signed=plan.is_a_signed,
                flips_b=plan.flips_b,
                asks_ahead=plan.asks_ahead and fetch is None and columns.count > 1,
            )
            strides = (a.row_stride, b.column_stride, c.row_stride)
            places = [a.pointer, b.at(builder, 0, column).pointer, c.at(builder, 0, column).pointer]
            places += row_values
            numbers = [index(columns.count), accumulate]
            steps = columns.count * (words // plan.lanes)
            fetching = Fetching(fetch, steps) if fetch is not None and column == 0 and steps else None
            call_inner_kernel(builder, kernel, places, numbers, strides, fetching)
