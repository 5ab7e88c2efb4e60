"""Loads and stores become DMA: rows between global memory and UB.

``access_walk`` says which rows; bounds of columns become lengths in bytes. Columns that are apart are copied
with what lies between them and gathered in UB; to be stored, each is spread to a block of its own. A tile
whose rows are contiguous along its last dimension but one is turned over in UB.

A load that says ``eviction_policy="evict_first"`` goes past L2: its data are read once, and others keep their
lines.

Lanes that a mask excludes are filled after the copy: the DMA pads a row to its block, the vector unit fills
whole blocks behind it. Nothing is filled where only stores under the same mask see the lanes.
"""

from __future__ import annotations

from collections.abc import Mapping

from tilejit.diagnostics import InternalError
from tilejit.ir.core import Op, Value
from tilejit.ir.types import (
    BF16,
    FP16,
    FP32,
    INT1,
    INT8,
    INT16,
    INT32,
    UINT8,
    UINT32,
    DType,
    PointerType,
    TileType,
    product,
)
from tilejit.ops import STORE, AtomicKind, CmpPredicate
from tilejit.ops.machine.move import COPY_IN, COPY_OUT
from tilejit.ops.machine.rules import BLOCK_BYTES
from tilejit.ops.machine.sync import SET_ATOMIC, StoreAtomic
from tilejit.ops.machine.vector_move import VGATHER
from tilejit.passes.access_walk import MAX_ROWS, Walk, copied_columns, for_each_copy, plan_walk
from tilejit.passes.algebra import constant_value
from tilejit.passes.lower_bytes import bytes_of, bytes_to_words, lowest_bytes
from tilejit.passes.lower_rearrange import gather_into
from tilejit.passes.lower_transpose import transpose_into
from tilejit.passes.lowering import Lowering
from tilejit.passes.machine_builder import Index, Operand
from tilejit.passes.tile_homes import TileLayout, UbTile, layout_of
from tilejit.passes.tile_lanes import conjuncts
from tilejit.passes.unsupported import NO_OLD_ELEMENTS, OLD_ELEMENTS

_READ_ONCE = "evict_first"
"""The eviction policy of loads whose data nobody reads again."""
_ATOMIC: Mapping[AtomicKind, StoreAtomic] = {
    AtomicKind.ADD: StoreAtomic.ADD, AtomicKind.MAX: StoreAtomic.MAX, AtomicKind.MIN: StoreAtomic.MIN,
}  # fmt: skip
ATOMIC_TYPES = (FP32, FP16, BF16, INT32, INT16, INT8)
"""Element types of stores that combine. Source: CANN documentation of SetAtomicAdd, Max and Min (V220)."""


def lower_load(lowering: Lowering, op: Op) -> UbTile:
    """Copy a tile from global memory to a buffer of its own; bools come as bytes."""
    type, name = op.result.type.with_element(_stored(op, op.result)), op.result.name
    element = type.element
    assert isinstance(element, DType)
    walk = plan_walk(lowering, op)
    fills = walk.is_partial and _is_seen(op)
    value = _fill_value(lowering, op) if fills else None
    fills_first = bool(walk.tests) or walk.is_spread
    tile = _copied_tile(lowering, walk, element, name)
    if value is not None and fills_first:
        lowering.fill(tile.pointer, tile.element, value, tile.layout.elements)
    _copy_in(lowering, walk, tile, value)
    if value is not None and not fills_first:
        _fill_outside(lowering, walk, tile, value)
    if walk.step > 1 or walk.is_spread:
        return _gathered(lowering, walk, tile)
    if walk.is_turned:
        turned = lowering.new_tile(type, name)
        transpose_into(lowering, tile, turned, product(walk.shape[:-2]))
        return turned
    return UbTile(tile.pointer, layout_of(type), element, tile.is_fixed)


def _stored(op: Op, value: Value) -> DType:
    """The element type that a DMA moves."""
    element = value.type.element
    if not isinstance(element, DType):
        raise InternalError("a tile of addresses in memory", op.location)
    return UINT8 if element == INT1 else element


def _copied_tile(lowering: Lowering, walk: Walk, element: DType, name: str) -> UbTile:
    """Where a load copies to: columns last, with what is between them, or a block for each element."""
    if not walk.is_spread:
        sizes = (*walk.shape[:-1], (walk.shape[-1] - 1) * walk.step + 1) if walk.shape else ()
        return lowering.new_tile(TileType(element, sizes), name, is_fixed=not lowering.overwrites_loads)
    lanes, rows = BLOCK_BYTES // element.itemsize, product(walk.shape)
    pointer = lowering.builder.buffer(element, rows * lanes, name)
    return UbTile(pointer, TileLayout(rows, 1, lanes), element, is_fixed=True)


def _copy_in(lowering: Lowering, walk: Walk, tile: UbTile, value: int | float | None) -> None:
    builder = lowering.builder
    streams = walk.op.attributes["eviction_policy"] == _READ_ONCE
    pads_itself = tile.element.itemsize <= FP32.itemsize or value == 0  # the DMA pads 64 bits with 0 alone

    def copy(address: Value, offset: Index, rows: Index, columns: Index, row_stride: Index) -> None:
        target = builder.move(tile.pointer, offset)
        gaps = _gaps(lowering, tile, columns, row_stride)
        pads: dict[str, Operand] = {}
        attributes: dict[str, int | float] = {"streams": streams}
        padding: Index = 0
        if value is not None and not isinstance(columns, int):
            lanes = BLOCK_BYTES // tile.element.itemsize
            padding = builder.sub(builder.round_up(columns, lanes), columns)
            if pads_itself:
                pads["right"] = builder.value(padding)
                attributes["value"] = value
        row_bytes = builder.mul(columns, tile.element.itemsize)
        source = _as_bytes(lowering, address)
        operands = {"dst": target, "src": source, "rows": rows, "row_bytes": row_bytes, **gaps, **pads}
        builder.make(COPY_IN, operands, attributes)
        if value is not None and padding and not pads_itself:
            _store_padding(lowering, UbTile(target, tile.layout, tile.element), rows, columns, padding, value)

    for_each_copy(lowering, walk, tile.layout.pitch, copy)


def _store_padding(
    lowering: Lowering, tile: UbTile, rows: Index, columns: Index, padding: Index, value: int | float
) -> None:
    """Write a number behind the columns of each row, to the end of their last block."""
    builder = lowering.builder
    scalar = builder.constant(value, tile.element)

    def pad_row(row: Value) -> None:
        end = builder.move(tile.pointer, builder.add(builder.mul(row, tile.layout.pitch), columns))

        def pad_lane(lane: Value) -> None:
            builder.op(STORE, pointer=builder.move(end, lane), value=scalar)

        builder.loop(padding, pad_lane)

    builder.loop(rows, pad_row)


def _as_bytes(lowering: Lowering, address: Value) -> Value:
    """An address of bools as one of bytes."""
    element = address.type.element
    is_bool = isinstance(element, PointerType) and element.element == INT1
    return lowering.builder.reinterpret(address, UINT8) if is_bool else address


def _gathered(lowering: Lowering, walk: Walk, tile: UbTile) -> UbTile:
    """Every so-manieth column of a tile, or the elements of a spread one side by side."""
    builder, size = lowering.builder, tile.element.itemsize
    if size > FP32.itemsize:
        return _gathered_pairs(lowering, walk, tile)
    element = INT16 if size == 1 else tile.element
    shape = walk.shape if not walk.is_spread else walk.pointer.type.shape
    result = lowering.new_tile(TileType(element, shape))
    columns = result.layout.columns
    step, row = walk.step * size, tile.layout.pitch
    if walk.is_spread:
        step, row = BLOCK_BYTES, columns * tile.layout.pitch
    elif size == 1 and walk.step % 2:
        lowering.refuse(
            "bytes an odd number apart cannot be loaded", walk.op, "load all of them, or elements of 16 bits"
        )
    offsets = lowering.scaled_table(INT32, columns, step)
    source = builder.reinterpret(tile.pointer, element) if size == 1 else tile.pointer

    def gather(index: Index) -> None:
        operands: dict[str, Operand] = {
            "dst": builder.move(result.pointer, builder.mul(index, result.layout.pitch)),
            "src": builder.move(source, builder.mul(index, row * size // element.itemsize)),
            "offsets": builder.reinterpret(offsets.pointer, UINT32),
            "base": 0,
            "count": columns,
            "src_bytes": row * size,
        }
        builder.make(VGATHER, operands)

    if result.layout.rows == 1:
        gather(0)
    else:
        builder.loop(result.layout.rows, gather)
    return lowest_bytes(lowering, result, tile.element) if size == 1 else result


def _gathered_pairs(lowering: Lowering, walk: Walk, tile: UbTile) -> UbTile:
    """As ``_gathered``, for elements of 64 bits."""
    result = lowering.new_tile(
        TileType(tile.element, walk.pointer.type.shape if walk.is_spread else walk.shape)
    )
    layout, pitch = result.layout, tile.layout.pitch
    if walk.is_spread:
        digits = [(layout.rows * layout.columns, pitch)]
    else:
        digits = [(layout.rows, pitch), (layout.columns, walk.step)]
    gather_into(lowering, result, tile, digits)
    return result


def lower_store(lowering: Lowering, op: Op) -> None:
    """Copy a tile, or one element, from UB to global memory."""
    builder, value = lowering.builder, op.operand("value")
    _stored(op, value)
    tile = bytes_of(lowering, value) if value.type.element == INT1 else lowering.materialise(value)
    walk = plan_walk(lowering, op)
    if walk.is_turned:
        turned = lowering.new_tile(TileType(tile.element, walk.shape))
        transpose_into(lowering, tile, turned, product(walk.shape[:-2]))
        tile = turned
    size = tile.element.itemsize
    if walk.is_spread or walk.step > 1:
        tile = _in_words(lowering, walk, tile)
    if walk.is_spread:
        tile = _spread(lowering, tile)

    def copy(address: Value, offset: Index, rows: Index, columns: Index, row_stride: Index) -> None:
        source = builder.move(tile.pointer, offset)
        address, operands = _as_bytes(lowering, address), dict[str, Operand]()
        if walk.step > 1:
            row = UbTile(source, TileLayout(1, walk.shape[-1], tile.layout.pitch), tile.element)
            source, gap = _spread(lowering, row).pointer, (walk.step - 1) * size
            operands = {"rows": columns, "row_bytes": size, "gm_gap": gap}
        else:
            gaps = _gaps(lowering, tile, columns, row_stride, size)
            operands = {"rows": rows, "row_bytes": builder.mul(columns, size), **gaps}
        element = address.type.element
        assert isinstance(element, PointerType)
        if tile.element != element.element:
            source = builder.reinterpret(source, element.element)
        builder.make(COPY_OUT, {"dst": address, "src": source, **operands})

    for_each_copy(lowering, walk, tile.layout.pitch, copy)


def lower_atomic(lowering: Lowering, op: Op) -> None:
    """A store that combines with memory. Raises: CompileError where the old elements are used, or for kinds
    that stores do not have.
    """
    kind, element = op.attributes["kind"], op.operand("value").type.element
    assert isinstance(kind, AtomicKind)
    if op.result.use_count:
        lowering.refuse(OLD_ELEMENTS, op, NO_OLD_ELEMENTS)
    if kind not in _ATOMIC or element not in ATOMIC_TYPES:
        lowering.refuse(
            f"there is no atomic {kind.value} of {element}", op, "use add, max or min of fp32, fp16 or int32"
        )
    lowering.builder.op(SET_ATOMIC, {"kind": _ATOMIC[kind], "element": element})
    lower_store(lowering, op)
    lowering.builder.op(SET_ATOMIC, {"kind": StoreAtomic.NONE})


def _in_words(lowering: Lowering, walk: Walk, tile: UbTile) -> UbTile:
    """Elements of at least 16 bits, the lowest bytes of which are the tile's."""
    if walk.step > 1 and walk.shape[-1] > MAX_ROWS:
        hint = f"store at most {MAX_ROWS} columns"
        lowering.refuse(f"{walk.shape[-1]} columns that are apart cannot be stored", walk.op, hint)
    return bytes_to_words(lowering, tile) if tile.element.itemsize == 1 else tile


def _spread(lowering: Lowering, tile: UbTile) -> UbTile:
    """A block for each element of a tile, so that each is a row of its own for the DMA."""
    builder, layout = lowering.builder, tile.layout
    lanes = BLOCK_BYTES // tile.element.itemsize
    count = layout.rows * layout.columns
    # vbrcb fills eight blocks at a time, the last of a row over the first of the next.
    pointer = builder.buffer(tile.element, (count + 7) * lanes)
    spread_tile = UbTile(pointer, TileLayout(count, 1, lanes), tile.element)
    if tile.element.itemsize > FP32.itemsize:
        gather_into(lowering, spread_tile, tile, [(layout.rows, layout.pitch), (layout.columns, 1)])
        return spread_tile

    def spread(row: Index) -> None:
        source = builder.move(tile.pointer, builder.mul(row, layout.pitch))
        target = builder.move(pointer, builder.mul(row, layout.columns * lanes))
        lowering.fill_blocks(target, source, tile.element, layout.columns)

    if layout.rows == 1:
        spread(0)
    else:
        builder.loop(layout.rows, spread)
    return spread_tile


def _gaps(
    lowering: Lowering, tile: UbTile, columns: Index, row_stride: Index, size: int | None = None
) -> dict[str, Operand]:
    """The distances between the rows of a copy, from the end of one to the start of the next.

    ``size`` is that of an element in global memory, where it is not as wide as in UB.
    """
    builder = lowering.builder
    pitch_bytes = tile.layout.pitch * tile.element.itemsize
    size = tile.element.itemsize if size is None else size
    if tile.layout.rows == 1:
        return {}
    gm_gap = builder.mul(builder.sub(row_stride, columns), size)
    used = builder.ceil_divide(builder.mul(columns, size), BLOCK_BYTES)
    ub_gap = builder.sub(pitch_bytes // BLOCK_BYTES, used)
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
    if number is None:
        raise InternalError("a tile that stands in for masked-out lanes is selected from", load.location)
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
