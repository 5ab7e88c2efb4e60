"""Dots: C += A * B on matrices in memory.

``emit_dot`` plans (``dot_plan``) and emits one internal function that packs operands where the plan says so
and calls micro-kernels (``dot_kernels``) in loops over depth, column panels and row blocks. Code size does
not depend on the sizes. The panel of B is innermost in cache: it is packed once and used by all row blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from llvmlite import ir

from tilejit.backend.cpu.copy_ahead import PanelCopy, rows_a_turn
from tilejit.backend.cpu.dot_amx import TileKernel, tile_function
from tilejit.backend.cpu.dot_kernels import (
    Fetching,
    InnerKernel,
    OuterKernel,
    call_inner_kernel,
    call_outer_kernel,
)
from tilejit.backend.cpu.dot_plan import Blocks, DotPlan, DotShape, Form, MatrixFacts, plan_dot
from tilejit.backend.cpu.dot_units import TILE_ROW_BYTES, unit_for
from tilejit.backend.cpu.fetch import FetchTile, call_fetching
from tilejit.backend.cpu.loops import emit_loop, index, internal_function
from tilejit.backend.cpu.operand import Operand, advance, is_unit, load_vector, scale, static
from tilejit.backend.cpu.pack import emit_pack, power_of_two_below
from tilejit.backend.cpu.pack_words import emit_pack_words
from tilejit.backend.cpu.row_sums import emit_row_sums
from tilejit.backend.cpu.values import I1, I64, POINTER, splat
from tilejit.diagnostics import InternalError
from tilejit.records import dataclass
from tilejit.target.cpu import CpuTarget

_DEPTH_ADDED_LAST = 128
"""Steps of k from which on a block of C is brought into the cache while its sums are formed, and added last:
sums that start from it wait for it. Vectors that overlap would be added twice.
"""
_ROWS_AT_A_TIME = 16
"""Rows of B that are packed together: prefetchers follow as many streams. A multiple of every group."""


def plan_for(
    shape: DotShape,
    a: Operand,
    b: Operand,
    c: Operand,
    target: CpuTarget,
    *,
    packs: bool = True,
    packed_b: PackedMatrix | None = None,
) -> DotPlan:
    """The plan ``emit_dot`` follows for these operands; packing needs its ``scratch_bytes``.

    It packs no B where ``packed_b`` is B as the plan wants it.
    """
    unit = unit_for(c.dtype, a.dtype, b.dtype, (shape.m, shape.n, shape.k), target)
    facts = [MatrixFacts(x.dtype, static(x.row_stride), static(x.column_stride)) for x in (a, b)]
    plan = plan_dot(shape, unit, facts[0], facts[1], target, packs=packs)
    if packed_b is not None and packed_b.layout == plan.packed_layout:
        return replace(plan, pack_b=False, whole_b=False, ahead=False, has_packed_b=True)
    return plan


def emit_dot(
    builder: ir.IRBuilder,
    shape: DotShape,
    a: Operand,
    b: Operand,
    c: Operand,
    target: CpuTarget,
    *,
    zero_init: bool = False,
    scratch: ir.Value,
    fetch: FetchTile | None = None,
    packs: bool = True,
    packed_b: PackedMatrix | None = None,
    row_scale: ir.Value | None = None,
) -> None:
    """Emit C[m, n] += A[m, k] * B[k, n]; with ``zero_init`` C is overwritten.

    C is fp32, fp64 or int32, row-major, and overlaps neither operand. ``scratch`` points to
    ``plan_for(...).scratch_bytes`` bytes aligned to 64 that are private to the thread. ``fetch`` is memory to
    bring into the cache meanwhile. Unless it ``packs``, operands are read in place where that is possible.
    ``packed_b``: where ``emit_packed_matrix`` has put B, if that is as this dot wants it. ``row_scale``:
    where ``m`` numbers of C's type lie, by which its rows are multiplied first, unless it is overwritten.
    """
    if not is_unit(c.column_stride):
        raise InternalError("the accumulator of a dot must be row-major")
    plan = plan_for(shape, a, b, c, target, packs=packs, packed_b=packed_b)
    strides = [a.row_stride, a.column_stride, b.row_stride, b.column_stride, c.row_stride]
    if row_scale is not None and (zero_init or not _scales_on_the_way(plan)):
        if not zero_init:
            emit_scaled_rows(builder, c, row_scale, shape.m, shape.n, target)
        row_scale = None

    def build(inner: ir.IRBuilder, arguments: Sequence[ir.Value], own_fetch: FetchTile | None) -> None:
        values = zip(strides, arguments[5:10], strict=True)
        known = [stride if isinstance(stride, int) else value for stride, value in values]
        driver = _Driver(
            inner,
            plan,
            Operand(arguments[0], a.dtype, known[0], known[1]),
            Operand(arguments[1], b.dtype, known[2], known[3]),
            Operand(arguments[2], c.dtype, known[4], 1),
            arguments[3],
            target,
            zero_init,
            own_fetch,
            arguments[4] if plan.has_packed_b else None,
            None if row_scale is None else arguments[-1],
        )
        if plan.turned:
            driver.emit_turned()
        else:
            driver.emit()

    text = "x".join("r" if static(stride) is None else str(stride) for stride in strides)
    flags = ".zero" * zero_init + ".packed" * plan.has_packed_b + ".scaled" * (row_scale is not None)
    name = f"tilejit.dot.{shape}.{a.dtype}.{b.dtype}.{c.dtype}.{text}{flags}"
    packed = packed_b.place if packed_b is not None and plan.has_packed_b else ir.Constant(POINTER, None)
    places = [a.pointer, b.pointer, c.pointer, scratch, packed]
    values = [*places, *(index(s) for s in strides), *([] if row_scale is None else [row_scale])]
    call_fetching(builder, name, values, fetch, build, may_fetch=True)


def _scales_on_the_way(plan: DotPlan) -> bool:
    """Whether the kernels multiply rows of C when they read them: once, and of floats."""
    if plan.flips_b:
        raise InternalError("only dots of floats scale rows")
    return plan.form is Form.OUTER and not plan.turned and plan.depth_block == plan.shape.k


def emit_scaled_rows(
    builder: ir.IRBuilder, c: Operand, row_scale: ir.Value, rows: int, columns: int, target: CpuTarget
) -> None:
    """Multiply each row of C, which is row-major, by the number of ``row_scale`` for it."""
    lanes = min(target.vector_lanes(c.dtype.itemsize), power_of_two_below(columns))
    whole, rest = divmod(columns, lanes)

    def build(inner: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        matrix = Operand(arguments[0], c.dtype, arguments[2], 1)
        scales = Operand(arguments[1], c.dtype, 1, 1)

        def row(i: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
            own, place = matrix.at(inner, i, 0), scales.at(inner, i, 0).pointer
            scalar = load_vector(inner, place, c.dtype, 1, c.dtype)

            def multiply(at: Operand, width: int) -> None:
                factor = splat(inner, scalar, width if width > 1 else None)
                value = load_vector(inner, at.pointer, c.dtype, width, c.dtype)
                inner.store(inner.fmul(value, factor), at.pointer, align=c.dtype.itemsize)

            def vector(j: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
                multiply(own.at(inner, 0, inner.mul(j, index(lanes))), lanes)
                return []

            emit_loop(inner, whole, [], vector)
            for column in range(columns - rest, columns):
                multiply(own.at(inner, 0, column), 1)
            return []

        emit_loop(inner, rows, [], row)

    name = f"tilejit.scale.{c.dtype}.{rows}x{columns}"
    function = internal_function(builder.module, name, [POINTER, POINTER, I64], build)
    builder.call(function, [c.pointer, row_scale, index(c.row_stride)])


@dataclass(frozen=True)
class PackedMatrix:
    """All panels of B, packed once for many dots; for what ``layout`` is see ``DotPlan.packed_layout``."""

    place: ir.Value
    layout: str | None


def emit_packed_matrix(
    builder: ir.IRBuilder, plan: DotPlan, b: Operand, place: ir.Value, target: CpuTarget
) -> None:
    """Pack B, all of it, into ``plan.packed_matrix_bytes`` bytes aligned to 64."""
    size, driver = plan.depth_block, _Driver(builder, plan, b, b, b, place, target, False, None, place)
    whole, rest = divmod(plan.shape.k, size)

    def block(first: int | ir.Value, depth: int) -> None:
        driver.from_depth(first)._pack_whole(b.at(builder, first, 0), depth)

    def body(i: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
        block(builder.mul(i, index(size)), size)
        return []

    emit_loop(builder, whole, [], body)
    if rest:
        block(whole * size, rest)


@dataclass(frozen=True)
class _Driver:
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

    def from_depth(self, first: int | ir.Value) -> _Driver:
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
            self._where_far(lambda: self._pack_whole(b, depth))
        column, done, count = 0, 0, sum(panels.count for panels in plan.column_blocks)
        for panels in plan.column_blocks:

            def share(i: ir.Value, done: int = done) -> FetchTile | None:
                number = builder.add(i, index(done))
                return None if fetch is None else fetch.share(builder, number, count)

            self._panels(a, b, column, panels, depth, accumulate, share)
            column += panels.size * panels.count
            done += panels.count

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

        def panel(i: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
            step = builder.mul(i, index(panels.size)) if panels.count > 1 else index(0)
            b_panel, copy = b.at(builder, 0, column).at(builder, 0, step), None
            if ahead:
                copy = self._copy_of_next(b_panel, i, panels, depth)
                odd = builder.and_(i, index(1))
                b_panel = self._panel_place(builder.mul(odd, index(panels.size)), panels.size, depth)
            elif plan.whole_b or self.packed_b is not None:
                start = builder.add(step, index(column))
                b_panel = self._unless_near(b_panel, self._panel_place(start, panels.size, depth))
            elif plan.pack_b:
                packed, source = self._panel_place(0, panels.size, depth), b_panel
                self._where_far(lambda: self._pack_panel(source, packed, depth))
                b_panel = self._unless_near(b_panel, packed)
            c_panel = self.c.at(builder, 0, column).at(builder, 0, step)
            self._row_blocks(a, b_panel, c_panel, panels, depth, accumulate, share(i), copy)
            return []

        emit_loop(builder, panels.count, [], panel)

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

    def _pack_whole(self, b: Operand, depth: int) -> None:
        """Pack all panels, some rows of each after the other."""
        builder, plan = self.builder, self.plan
        whole, rest = divmod(depth, _ROWS_AT_A_TIME)

        def rows(first: int | ir.Value, count: int) -> None:
            column = 0
            for panels in plan.column_blocks:
                start, size = column, panels.size

                def panel(
                    i: ir.Value, _: Sequence[ir.Value], start: int = start, size: int = size
                ) -> list[ir.Value]:
                    place = builder.add(builder.mul(i, index(size)), index(start))
                    words = first // plan.unit.group if isinstance(first, int) else None
                    row = builder.udiv(index(first), index(plan.unit.group)) if words is None else words
                    packed = self._panel_place(place, size, depth).at(builder, row, 0)
                    self._pack_panel(b.at(builder, first, place), packed, count)
                    return []

                emit_loop(builder, panels.count, [], panel)
                column += size * panels.count

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
        row = 0
        for blocks in plan.row_blocks:
            kernel = TileKernel(plan.unit, blocks.size, panels.size, plan.a_element, plan.b_element)
            places = [a.at(builder, row, 0).pointer, b.pointer, c.at(builder, row, 0).pointer]
            numbers = [index(blocks.count), index(steps), accumulate]
            builder.call(tile_function(builder.module, kernel), places + numbers + rows)
            row += blocks.size * blocks.count

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
        a, words = self._words(a), depth // self.plan.unit.group
        row, columns, blocks_before = 0, panels.size, 0
        lanes = min(self.plan.lanes, power_of_two_below(columns))
        for blocks in self.plan.row_blocks:
            copying = copy.part(self.builder, blocks_before, blocks.count) if copy is not None else []
            kernel = OuterKernel(
                self.plan.unit,
                blocks.size,
                columns,
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
                words >= _DEPTH_ADDED_LAST and columns % lanes == 0,
                scales_rows=self.row_scale is not None,
                adds_to_rows=self.plan.flips_b,
                asks_ahead=self.plan.asks_ahead,
            )
            strides = (a.row_stride, a.column_stride, b.row_stride, c.row_stride)
            places = [a.at(self.builder, row, 0).pointer, b.pointer, c.at(self.builder, row, 0).pointer]
            places += [advance(self.builder, place, row, c.dtype.itemsize) for place in self._row_values]
            numbers = [index(blocks.count), index(words), accumulate]
            fetching = Fetching(fetch, words * blocks.count) if fetch is not None and row == 0 else None
            call_outer_kernel(self.builder, kernel, places, numbers, strides, fetching, copying)
            row += blocks.size * blocks.count
            blocks_before += blocks.count

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
        row = 0
        for rows in self.plan.row_blocks:
            size, start, count = rows.size, row, rows.count

            def block(
                i: ir.Value, _: Sequence[ir.Value], size: int = size, start: int = start, count: int = count
            ) -> list[ir.Value]:
                step = builder.mul(i, index(size))
                a_block, c_block = (x.at(builder, start, 0).at(builder, step, 0) for x in (a, self.c))
                part = None if fetch is None or start > 0 else fetch.share(builder, i, count)
                numbers = [
                    advance(builder, place, builder.add(step, index(start)), self.c.dtype.itemsize)
                    for place in self._row_values
                ]
                self._inner_row_block(a_block, b, c_block, numbers, size, depth, accumulate, part)
                return []

            emit_loop(builder, rows.count, [], block)
            row += size * rows.count

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
        words, column = depth // plan.unit.group, 0
        for number, columns in enumerate(plan.column_blocks):
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
            )
            strides = (a.row_stride, b.column_stride, c.row_stride)
            places = [a.pointer, b.at(builder, 0, column).pointer, c.at(builder, 0, column).pointer]
            places += row_values
            numbers = [index(columns.count), accumulate]
            steps = columns.count * (words // plan.lanes)
            fetching = Fetching(fetch, steps) if fetch is not None and number == 0 and steps else None
            call_inner_kernel(builder, kernel, places, numbers, strides, fetching)
            column += columns.size * columns.count
