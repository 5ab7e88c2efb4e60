"""Loads and stores become DMA: rows between global memory and UB.

``access_walk`` says which rows; bounds of columns become lengths in bytes. Columns that are apart are copied
with what lies between them and gathered in UB; to be stored, each is spread to a block of its own. A tile
whose rows are contiguous along its last dimension but one is turned over in UB.

Lanes that a mask excludes are filled after the copy: the DMA pads a row to its block, the vector unit fills
whole blocks behind it. Nothing is filled where only stores under the same mask see the lanes.
"""

from __future__ import annotations

from tilejit.ir.core import Op, Value
from tilejit.ir.types import INT32, UINT32, DType, PointerType, TileType, product
from tilejit.ops import STORE, CmpPredicate
from tilejit.ops.machine.move import COPY_IN, COPY_OUT
from tilejit.ops.machine.rules import BLOCK_BYTES
from tilejit.ops.machine.vector_move import VGATHER
from tilejit.passes.access_walk import MAX_ROWS, Walk, copied_columns, for_each_copy, plan_walk
from tilejit.passes.algebra import constant_value
from tilejit.passes.lower_transpose import transpose_into
from tilejit.passes.lowering import Lowering
from tilejit.passes.machine_builder import Index, Operand
from tilejit.passes.tile_homes import TileLayout, UbTile, layout_of
from tilejit.passes.tile_lanes import conjuncts


def lower_load(lowering: Lowering, op: Op) -> UbTile:
    """Copy a tile from global memory to a buffer of its own."""
    type, name = op.result.type, op.result.name
    if not isinstance(type.element, DType):
        lowering.refuse("tiles of pointers cannot be loaded", op, "load single pointers")
    walk = plan_walk(lowering, op)
    fills = walk.is_partial and _is_seen(op)
    value = _fill_value(lowering, op) if fills else None
    tile = lowering.new_tile(_copied_type(walk, type.element), name, is_fixed=True)
    if value is not None and walk.tests:
        lowering.fill(tile.pointer, tile.element, value, tile.layout.elements)
    _copy_in(lowering, walk, tile, value)
    if value is not None and not walk.tests:
        _fill_outside(lowering, walk, tile, value)
    if walk.step > 1:
        tile = _gathered(lowering, walk, tile)
    if walk.is_turned:
        turned = lowering.new_tile(type, name)
        transpose_into(lowering, tile, turned, product(walk.shape[:-2]))
        return turned
    return UbTile(tile.pointer, layout_of(type), type.element, tile.is_fixed)


def _copied_type(walk: Walk, element: DType) -> TileType:
    """The tile that a load copies to: columns last, with what is between them."""
    if not walk.shape:
        return TileType(element)
    return TileType(element, (*walk.shape[:-1], (walk.shape[-1] - 1) * walk.step + 1))


def _copy_in(lowering: Lowering, walk: Walk, tile: UbTile, value: int | float | None) -> None:
    builder = lowering.builder

    def copy(address: Value, offset: Index, rows: Index, columns: Index, row_stride: Index) -> None:
        target = builder.move(tile.pointer, offset)
        gaps = _gaps(lowering, tile, columns, row_stride)
        pads: dict[str, Operand] = {}
        attributes: dict[str, int | float] = {}
        if value is not None and not isinstance(columns, int):
            lanes = BLOCK_BYTES // tile.element.itemsize
            pads["right"] = builder.value(builder.sub(builder.round_up(columns, lanes), columns))
            attributes["value"] = value
        row_bytes = builder.mul(columns, tile.element.itemsize)
        operands = {"dst": target, "src": address, "rows": rows, "row_bytes": row_bytes, **gaps, **pads}
        builder.make(COPY_IN, operands, attributes)

    for_each_copy(lowering, walk, tile.layout.pitch, copy)


def _gathered(lowering: Lowering, walk: Walk, tile: UbTile) -> UbTile:
    """Every so-manieth column of a tile."""
    builder, size = lowering.builder, tile.element.itemsize
    if size not in (2, 4):
        lowering.refuse(
            f"columns of {tile.element} that are apart cannot be loaded", walk.op, "load 16 or 32 bits"
        )
    result = lowering.new_tile(TileType(tile.element, walk.shape))
    offsets = lowering.scaled_table(INT32, walk.shape[-1], walk.step * size)
    source_bytes = tile.layout.pitch * size

    def gather(row: Index) -> None:
        operands: dict[str, Operand] = {
            "dst": builder.move(result.pointer, builder.mul(row, result.layout.pitch)),
            "src": builder.move(tile.pointer, builder.mul(row, tile.layout.pitch)),
            "offsets": builder.reinterpret(offsets.pointer, UINT32),
            "base": 0,
            "count": result.layout.columns,
            "src_bytes": source_bytes,
        }
        builder.make(VGATHER, operands)

    if result.layout.rows == 1:
        gather(0)
    else:
        builder.loop(result.layout.rows, gather)
    return result


def lower_store(lowering: Lowering, op: Op) -> None:
    """Copy a tile, or one element, from UB to global memory."""
    builder = lowering.builder
    tile = lowering.materialise(op.operand("value"))
    walk = plan_walk(lowering, op)
    if walk.is_turned:
        turned = lowering.new_tile(TileType(tile.element, walk.shape))
        transpose_into(lowering, tile, turned, product(walk.shape[:-2]))
        tile = turned

    def copy(address: Value, offset: Index, rows: Index, columns: Index, row_stride: Index) -> None:
        source = builder.move(tile.pointer, offset)
        size = tile.element.itemsize
        operands: dict[str, Operand]
        if walk.step > 1:
            spread = _spread(lowering, walk, source, tile)
            gap = (walk.step - 1) * size
            operands = {"src": spread, "rows": columns, "row_bytes": size, "gm_gap": gap}
        else:
            gaps = _gaps(lowering, tile, columns, row_stride)
            operands = {"src": source, "rows": rows, "row_bytes": builder.mul(columns, size), **gaps}
        builder.make(COPY_OUT, {"dst": address, **operands})

    for_each_copy(lowering, walk, tile.layout.pitch, copy)


def _spread(lowering: Lowering, walk: Walk, row: Value, tile: UbTile) -> Value:
    """A block for each element of a row, so that each is a row of its own for the DMA."""
    columns = walk.shape[-1]
    if tile.element.itemsize not in (2, 4) or columns > MAX_ROWS:
        lowering.refuse(
            f"{columns} columns of {tile.element} that are apart cannot be stored",
            walk.op,
            f"store at most {MAX_ROWS} columns of 16 or 32 bits",
        )
    dense = UbTile(row, TileLayout(1, columns, tile.layout.pitch), tile.element)
    return lowering.blocks(dense, columns).pointer


def _gaps(lowering: Lowering, tile: UbTile, columns: Index, row_stride: Index) -> dict[str, Operand]:
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


def _fill_outside(lowering: Lowering, walk: Walk, tile: UbTile, value: int | float) -> None:
    """Fill what lies behind the valid columns of every row, and the rows behind the valid ones."""
    builder, layout = lowering.builder, tile.layout
    lanes = BLOCK_BYTES // tile.element.itemsize
    columns = copied_columns(lowering, walk)
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


def _fill_rows(lowering: Lowering, walk: Walk, tile: UbTile, value: int | float) -> None:
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
