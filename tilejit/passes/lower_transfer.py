"""Loads and stores become DMA: rows between global memory and UB.

The last dimension longer than 1 must be contiguous; its bounds become lengths in bytes. The dimension before
it becomes the rows of one copy where its stride is regular; dimensions further out, and those reached through
indices (rows of a page table), become loops with one copy each. Bounds of rows become counts. A row stride
that is known only at run time may turn out smaller than a row, as in a broadcast array: the copies are then
made one row at a time, by the same instruction in a loop.

Lanes that a mask excludes are filled after the copy: the DMA pads a row to its block, the vector unit fills
whole blocks behind it. Nothing is filled where only stores under the same mask see the lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tilejit.ir.core import Op, Value
from tilejit.ir.loop_plan import Stride
from tilejit.ir.types import INT64, DType, PointerType
from tilejit.ops import LOAD, STORE, CmpPredicate
from tilejit.ops.machine.move import COPY_IN, COPY_OUT
from tilejit.ops.machine.rules import BLOCK_BYTES
from tilejit.passes.algebra import constant_value
from tilejit.passes.lowering import Lowering
from tilejit.passes.machine_builder import Index
from tilejit.passes.tile_homes import UbTile
from tilejit.passes.tile_lanes import bound_count, bound_of, conjuncts, lane, pointer_lane, uniform

_MAX_ROWS = 4095
"""Rows of one copy. Source: as in ``ops.machine.move``."""


@dataclass
class _Walk:
    """How an access goes through its tile.

    ``dims`` are the dimensions longer than 1, in order; ``counts`` the valid lanes along each. ``looped``
    says which of them are loops. ``tests`` are parts of the mask that are asked for each row.
    """

    op: Op
    pointer: Value
    dims: tuple[int, ...]
    counts: dict[int, Index]
    strides: dict[int, Stride | None]
    looped: tuple[int, ...]
    tests: tuple[Value, ...] = ()
    is_partial: bool = False
    indices: list[Index] = field(default_factory=list)

    @property
    def column(self) -> int | None:
        return self.dims[-1] if self.dims else None

    @property
    def row(self) -> int | None:
        """The dimension whose lanes are the rows of one copy."""
        return self.dims[-2] if len(self.dims) > 1 and self.dims[-2] not in self.looped else None


def lower_load(lowering: Lowering, op: Op) -> UbTile:
    """Copy a tile from global memory to a buffer of its own."""
    builder, type = lowering.builder, op.result.type
    if not isinstance(type.element, DType):
        lowering.refuse("tiles of pointers cannot be loaded", op, "load single pointers")
    tile = lowering.new_tile(type, op.result.name, is_fixed=True)
    walk = _plan(lowering, op)
    fills = walk.is_partial and _is_seen(op)
    value = _fill_value(lowering, op) if fills else None

    def copy(address: Value, offset: Index, rows: Index, columns: Index, row_stride: Index) -> None:
        target = builder.move(tile.pointer, offset)
        gaps = _gaps(lowering, tile, columns, row_stride)
        pads: dict[str, Value | int] = {}
        attributes: dict[str, int | float] = {}
        if value is not None and not isinstance(columns, int):
            lanes = BLOCK_BYTES // tile.element.itemsize
            pads["right"] = builder.value(builder.sub(builder.round_up(columns, lanes), columns))
            attributes["value"] = value
        row_bytes = builder.mul(columns, tile.element.itemsize)
        operands = {"dst": target, "src": address, "rows": rows, "row_bytes": row_bytes, **gaps, **pads}
        builder.make(COPY_IN, operands, attributes)

    if value is not None and walk.tests:
        lowering.fill(tile.pointer, tile.element, value, tile.layout.elements)
    _for_each_copy(lowering, walk, tile, copy)
    if value is not None and not walk.tests:
        _fill_outside(lowering, walk, tile, value)
    return tile


def lower_store(lowering: Lowering, op: Op) -> None:
    """Copy a tile, or one element, from UB to global memory."""
    builder = lowering.builder
    tile = lowering.materialise(op.operand("value"))
    walk = _plan(lowering, op)

    def copy(address: Value, offset: Index, rows: Index, columns: Index, row_stride: Index) -> None:
        source = builder.move(tile.pointer, offset)
        gaps = _gaps(lowering, tile, columns, row_stride)
        row_bytes = builder.mul(columns, tile.element.itemsize)
        operands = {"dst": address, "src": source, "rows": rows, "row_bytes": row_bytes, **gaps}
        builder.make(COPY_OUT, operands)

    _for_each_copy(lowering, walk, tile, copy)


_Copy = Callable[[Value, Index, Index, Index, Index], None]
"""Make one copy: address, offset in the tile in elements, rows, columns, distance of rows in elements."""


def _plan(lowering: Lowering, op: Op) -> _Walk:
    """Take the pointer and the mask of an access apart."""
    pointer = op.operand("pointer")
    shape = pointer.type.shape
    dims = tuple(d for d, size in enumerate(shape) if size != 1)
    strides = dict(zip(range(len(shape)), lowering.analysis.strides(pointer), strict=True))
    if dims:
        _check_columns(lowering, op, strides[dims[-1]])
    looped = _looped_dims(dims, strides, shape)
    walk = _Walk(op, pointer, dims, {d: shape[d] for d in dims}, strides, looped)
    tests: list[Value] = []
    for part in conjuncts(op.optional_operand("mask")):
        walk.is_partial = True
        bound = bound_of(lowering, part)
        if bound is not None and bound.dim in walk.counts:
            size = walk.counts[bound.dim]
            count = bound_count(lowering, bound, shape[bound.dim])
            walk.counts[bound.dim] = (
                count if size == shape[bound.dim] else lowering.builder.minimum(size, count)
            )
        elif uniform(lowering, part):
            _apply_uniform(lowering, walk, part)
        else:
            tests.append(part)
    walk.tests = tuple(tests)
    if tests:
        _loop_for_tests(lowering, walk)
    return walk


def _check_columns(lowering: Lowering, op: Op, stride: Stride | None) -> None:
    if stride is not None and stride.constant == 1:
        return
    what = "loads" if op.name == LOAD.name else "stores"
    got = "addresses that are no regular function of the index"
    if stride is not None:
        known = stride.constant
        got = f"a stride of {known}" if known is not None else "a stride known at run time"
    lowering.refuse(
        f"{what} need contiguous elements along the last dimension of a tile; got {got}",
        op,
        "let the last dimension run over contiguous memory, or copy rows",
    )


def _looped_dims(
    dims: Sequence[int], strides: dict[int, Stride | None], shape: Sequence[int]
) -> tuple[int, ...]:
    """The dimensions that become loops: all but the last two, and the last but one where it is irregular."""
    looped = list(dims[:-2])
    if len(dims) > 1:
        stride = strides[dims[-2]]
        constant = stride.constant if stride is not None else None
        narrow = constant is not None and constant < shape[dims[-1]]
        if stride is None or narrow or shape[dims[-2]] > _MAX_ROWS:
            looped.append(dims[-2])
    return tuple(looped)


def _apply_uniform(lowering: Lowering, walk: _Walk, part: Value) -> None:
    """A mask that is one number for the whole tile lets all rows through, or none."""
    builder = lowering.builder
    condition = lane(lowering, part, (0,) * part.type.rank)
    dim = walk.dims[0] if walk.dims else -1
    walk.counts[dim] = builder.select(condition, walk.counts.get(dim, 1), 0)


def _loop_for_tests(lowering: Lowering, walk: _Walk) -> None:
    """Turn rows into a loop, so that parts of the mask can be asked for each row."""
    column = walk.column
    for part in walk.tests:
        if column is None or lowering.analysis.stride_of_mask(part, column) is None:
            lowering.refuse(
                "a mask must bound a dimension from above, or be the same along the last dimension",
                walk.op,
                "mask with comparisons like `columns < n`",
            )
    if walk.row is not None:
        walk.looped = (*walk.looped, walk.row)


def _for_each_copy(lowering: Lowering, walk: _Walk, tile: UbTile, copy: _Copy) -> None:
    """Run ``copy`` for every group of rows that one instruction moves."""
    walk.indices = [0] * walk.pointer.type.rank
    _nest(lowering, walk, tile, copy, list(walk.looped), 0)


def _nest(
    lowering: Lowering, walk: _Walk, tile: UbTile, copy: _Copy, looped: list[int], offset: Index
) -> None:
    builder, shape = lowering.builder, walk.pointer.type.shape
    if not looped:
        _copy_rows(lowering, walk, tile, copy, offset)
        return
    dim, rest = looped[0], looped[1:]
    rows_below = 1
    for inner in walk.dims[walk.dims.index(dim) + 1 : -1]:
        rows_below *= shape[inner]

    def body(index: Value) -> None:
        walk.indices[dim] = index
        step = builder.mul(index, rows_below * tile.layout.pitch)
        _nest(lowering, walk, tile, copy, rest, builder.add(offset, step))

    builder.loop(walk.counts[dim], body)


def _copy_rows(lowering: Lowering, walk: _Walk, tile: UbTile, copy: _Copy, offset: Index) -> None:
    builder = lowering.builder
    columns = walk.counts[walk.column] if walk.column is not None else walk.counts.get(-1, 1)
    for part in walk.tests:
        holds = lane(lowering, part, walk.indices)
        columns = builder.select(holds, columns, 0)
    address = pointer_lane(lowering, walk.pointer, walk.indices)
    if walk.row is None:
        copy(address, offset, 1, columns, columns)
        return
    rows, stride = walk.counts[walk.row], walk.strides[walk.row]
    assert stride is not None
    if stride.constant is not None:
        copy(address, offset, rows, columns, stride.constant)
        return
    distance = _run_time_stride(lowering, stride)
    # Rows that overlap, or run backwards, cannot be one copy: its gap would be negative.
    apart = builder.compare(CmpPredicate.GE, distance, columns)
    copies, rows_each = builder.select(apart, 1, rows), builder.select(apart, rows, 1)
    together = builder.maximum(distance, builder.value(columns, INT64))

    def body(index: Value) -> None:
        start = builder.move(address, builder.mul(builder.value(index, INT64), distance))
        copy(start, builder.add(offset, builder.mul(index, tile.layout.pitch)), rows_each, columns, together)

    builder.loop(copies, body)


def _run_time_stride(lowering: Lowering, stride: Stride) -> Value:
    builder = lowering.builder
    distance: Index = stride.coefficient
    for factor in stride.factors:
        distance = builder.mul(distance, builder.value(lowering.scalar(factor), INT64))
    return builder.value(distance, INT64)


def _gaps(lowering: Lowering, tile: UbTile, columns: Index, row_stride: Index) -> dict[str, Value | int]:
    """The distances between the rows of a copy, from the end of one to the start of the next."""
    builder, size = lowering.builder, tile.element.itemsize
    if tile.layout.rows == 1:
        return {}
    gm_gap = builder.mul(builder.sub(row_stride, columns), size)
    used = builder.ceil_divide(builder.mul(columns, size), BLOCK_BYTES)
    ub_gap = builder.sub(tile.layout.pitch * size // BLOCK_BYTES, used)
    return {"gm_gap": gm_gap, "ub_gap": ub_gap}


# Lanes outside the mask


def _is_seen(load: Op) -> bool:
    """Whether anything but stores under the same mask looks at the lanes that a load leaves out."""
    parts = set(conjuncts(load.optional_operand("mask")))
    pending, seen = [load.result], set[Value]()
    while pending:
        value = pending.pop()
        if value in seen:
            continue
        seen.add(value)
        for user in value.users:
            if user.name == STORE.name and user.operand("value") is value:
                if not parts <= set(conjuncts(user.optional_operand("mask"))):
                    return True
            elif user.definition.is_elementwise and user.result.type.shape == load.result.type.shape:
                if not isinstance(user.result.type.element, PointerType):
                    pending.append(user.result)
            else:
                return True
    return False


def _fill_value(lowering: Lowering, load: Op) -> int | float:
    other = load.optional_operand("other")
    number = constant_value(other) if other is not None else 0
    if number is None or isinstance(number, bool):
        lowering.refuse("other of a load must be a constant", load, "use tl.where on the loaded tile")
    return number


def _fill_outside(lowering: Lowering, walk: _Walk, tile: UbTile, value: int | float) -> None:
    """Fill what lies behind the valid columns of every row, and the rows behind the valid ones."""
    builder, layout = lowering.builder, tile.layout
    lanes = BLOCK_BYTES // tile.element.itemsize
    columns = walk.counts[walk.column] if walk.column is not None else walk.counts.get(-1, 1)
    if not isinstance(columns, int):
        start = builder.round_up(columns, lanes)
        length = builder.sub(layout.pitch, start)

        def fill_row(offset: Index) -> None:
            target = builder.move(tile.pointer, builder.add(offset, start))
            lowering.fill(target, tile.element, value, length)

        if layout.rows == 1:
            fill_row(0)
        else:
            is_short = builder.compare(CmpPredicate.GT, length, 0)
            rows = builder.select(is_short, layout.rows, 0)
            builder.loop(rows, lambda row: fill_row(builder.mul(row, layout.pitch)))
    if layout.rows > 1:
        _fill_rows(lowering, walk, tile, value)


def _fill_rows(lowering: Lowering, walk: _Walk, tile: UbTile, value: int | float) -> None:
    """Fill the rows behind the valid ones, for each dimension of rows that the mask bounds."""
    builder, shape = lowering.builder, walk.pointer.type.shape
    for position, dim in enumerate(walk.dims[:-1]):
        count = walk.counts[dim]
        if isinstance(count, int):
            continue
        below, above = tile.layout.pitch, 1
        for inner in walk.dims[position + 1 : -1]:
            below *= shape[inner]
        for outer in walk.dims[:position]:
            above *= shape[outer]
        missing = builder.mul(builder.sub(shape[dim], count), below)
        start = builder.mul(count, below)
        whole = shape[dim] * below
        if above == 1:
            lowering.fill(builder.move(tile.pointer, start), tile.element, value, missing)
            continue

        def fill_group(
            group: Value, start: Index = start, missing: Index = missing, whole: int = whole
        ) -> None:
            offset = builder.add(builder.mul(group, whole), start)
            lowering.fill(builder.move(tile.pointer, offset), tile.element, value, missing)

        builder.loop(above, fill_group)
