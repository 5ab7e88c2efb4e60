"""Reductions of fp32 and int32 tiles.

Along any dimension but the last, slices are folded in halves: one instruction in the count form for each
halving. Along the last, rows are reduced block by block: to an eighth, a sixty-fourth and so on. The end is
an instruction that reduces one repeat (64 elements), or, for many rows, columns folded to a repeat and two
instructions that reduce blocks, which finish 64 rows at a time.

int32 has no reduction inside a repeat: the last eight columns are turned over and folded as rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tilejit.diagnostics import InternalError
from tilejit.ir.core import Op, Value
from tilejit.ir.opdef import Attribute, OpDef
from tilejit.ir.types import FP32, TileType, product
from tilejit.ops import ReduceKind
from tilejit.ops.machine.lanes import MAX_REPEATS
from tilejit.ops.machine.rules import BLOCK_BYTES, REPEAT_BYTES
from tilejit.ops.machine.vector import VADD, VMAX, VMIN
from tilejit.ops.machine.vector_reduce import REDUCE_BLOCK, REDUCE_WHOLE, Reduction
from tilejit.passes.lower_rearrange import gather_into
from tilejit.passes.lower_transpose import transpose_into
from tilejit.passes.lowering import Lowering
from tilejit.passes.machine_builder import Index, MachineBuilder, Operand
from tilejit.passes.tile_homes import TileLayout, UbTile
from tilejit.passes.vector_form import copy_tile, on_tile, pitch_blocks, whole

_LANES = REPEAT_BYTES // FP32.itemsize
_BLOCK_LANES = BLOCK_BYTES // FP32.itemsize
_FEW_ROWS = 8
"""Up to here one slow instruction for each row takes less than the delays of several quick ones."""
_FOLDS: Mapping[ReduceKind, OpDef] = {
    ReduceKind.SUM: VADD, ReduceKind.MAX: VMAX, ReduceKind.MIN: VMIN,
}  # fmt: skip


def lower_reduce(lowering: Lowering, op: Op) -> UbTile:
    """Combine the elements along one dimension."""
    kind, axis = op.attributes["kind"], op.attributes["axis"]
    assert isinstance(kind, ReduceKind) and isinstance(axis, int)
    if kind not in _FOLDS:
        raise InternalError(f"a reduction by {kind.value} is left", op.location)
    x, result = op.operands[0], lowering.new_tile(op.result.type, op.result.name)
    tile, shape = lowering.materialise(x), x.type.shape
    if shape[axis] == 1:
        copy_tile(lowering.builder, result, whole(tile))
    elif product(shape[axis + 1 :]) == 1 and result.layout.rows == 1:
        _Columns(lowering, kind, tile).reduce_into(result)
    elif product(shape[axis + 1 :]) == 1:  # one element for each row comes side by side
        line, layout = lowering.new_tile(TileType(tile.element, (tile.layout.rows,))), result.layout
        _Columns(lowering, kind, tile).reduce_into(line)
        gather_into(lowering, result, line, [(layout.rows, layout.columns), (layout.columns, 1)])
    else:
        _fold_slices(lowering, op, tile, result)
    return result


def _fold_slices(lowering: Lowering, op: Op, tile: UbTile, result: UbTile) -> None:
    """Fold whole slices of rows."""
    builder, axis, kind = lowering.builder, op.attributes["axis"], op.attributes["kind"]
    assert isinstance(axis, int) and isinstance(kind, ReduceKind)
    shape = op.operands[0].type.shape
    outer, count = product(shape[:axis]), shape[axis]
    elements = result.layout.elements // outer
    half = builder.buffer(tile.element, max(1, count // 2) * elements)

    def fold(group: Index) -> None:
        source = builder.move(tile.pointer, builder.mul(group, count * elements))
        target = builder.move(result.pointer, builder.mul(group, elements))
        _fold(builder, _FOLDS[kind], source, target, half, count, elements)

    if outer == 1:
        fold(0)
    else:
        builder.loop(outer, fold)


def _fold(
    builder: MachineBuilder,
    definition: OpDef,
    source: Value,
    target: Value,
    half: Value,
    count: int,
    elements: int,
) -> None:
    """Combine ``count`` slices of ``elements`` each, in halves; ``half`` has room for half of them."""
    left = count
    while left > 1:
        pairs, odd = divmod(left, 2)
        dst = target if pairs == 1 else half
        second = builder.move(source, pairs * elements)
        builder.op(definition, dst=dst, src0=source, src1=second, count=pairs * elements)
        if odd:
            rest = builder.move(source, 2 * pairs * elements)
            builder.op(definition, dst=dst, src0=dst, src1=rest, count=elements)
        source, left = dst, pairs


class _Columns:
    """A reduction along the rows of a tile."""

    def __init__(self, lowering: Lowering, kind: ReduceKind, tile: UbTile) -> None:
        self._lowering = lowering
        self._builder = lowering.builder
        self._kind = kind
        self._fold = _FOLDS[kind]
        self._tile = tile

    def reduce_into(self, result: UbTile) -> None:
        """Give one element for each row, side by side."""
        is_float = self._tile.element == FP32
        if is_float and self._tile.layout.rows > 1:
            self._narrow()
        layout = self._tile.layout
        wide = pitch_blocks(layout, self._tile.element) > MAX_REPEATS
        if is_float and layout.rows == 1:
            self._reduce_row(self._tile.pointer, result.pointer)
        elif is_float and wide:
            self._builder.loop(
                layout.rows,
                lambda row: self._reduce_row(
                    self._builder.move(self._tile.pointer, self._builder.mul(row, layout.pitch)),
                    self._builder.move(result.pointer, row),
                ),
            )
        elif wide:
            self._lowering.refuse(
                "rows of int32 this long cannot be reduced", hint="use shorter rows, or fp32"
            )
        else:
            folded = self._folded(_LANES)
            if is_float:
                self._reduce_repeats(folded, result.pointer)
            else:
                self._reduce_turned(folded, result)

    def _reduction(self) -> Reduction:
        return Reduction(self._kind.value)

    # One row

    def _reduce_row(self, source: Value, target: Value) -> None:
        """Reduce blocks until one repeat is left."""
        left = self._tile.layout.columns
        while left > _LANES:
            size = -(-left // _BLOCK_LANES)
            smaller = self._builder.buffer(FP32, -(-left // _LANES) * _BLOCK_LANES)
            self._reduce_blocks(smaller, source, left)
            source, left = smaller, size
        self._instruction(REDUCE_WHOLE, target, source, left, 1)

    def _reduce_blocks(self, target: Value, source: Value, count: int) -> None:
        """Reduce each block of ``count`` contiguous elements."""
        repeats, rest = divmod(count, _LANES)
        for first in range(0, repeats, MAX_REPEATS):
            dst = self._builder.move(target, first * _BLOCK_LANES)
            src = self._builder.move(source, first * _LANES)
            self._instruction(REDUCE_BLOCK, dst, src, _LANES, min(MAX_REPEATS, repeats - first))
        if rest:
            dst = self._builder.move(target, repeats * _BLOCK_LANES)
            self._instruction(REDUCE_BLOCK, dst, self._builder.move(source, repeats * _LANES), rest, 1)

    def _instruction(
        self,
        definition: OpDef,
        dst: Value,
        src: Value,
        count: int,
        repeats: int,
        pitch: int = 8,
        step: int = 1,
    ) -> None:
        attributes: dict[str, Attribute] = {"kind": self._reduction(), "strides": (step, 1, pitch)}
        operands: dict[str, Operand] = {"dst": dst, "src": src, "count": count, "repeats": repeats}
        self._builder.make(definition, operands, attributes)

    # Many rows

    def _narrow(self) -> None:
        """Reduce blocks of all rows while that takes fewer instructions than folding."""
        while True:
            layout = self._tile.layout
            blocks = -(-layout.columns // _BLOCK_LANES)
            if layout.columns <= _LANES or (blocks < _LANES and layout.rows > _FEW_ROWS):
                return
            is_dense = layout.columns == layout.pitch and not layout.columns % _LANES
            if not is_dense and pitch_blocks(layout, FP32) > MAX_REPEATS:
                return
            strips = -(-layout.columns // _LANES)
            narrow = TileLayout(layout.rows, blocks, strips * _BLOCK_LANES)
            tile = UbTile(self._builder.buffer(FP32, narrow.elements), narrow, FP32)
            if is_dense:
                self._reduce_blocks(tile.pointer, self._tile.pointer, layout.elements)
            else:
                self._reduce_strips(tile)
            self._tile = tile

    def _reduce_strips(self, target: UbTile) -> None:
        """Reduce the blocks of one strip of columns after the other."""
        source = self._tile
        for start in range(0, source.layout.columns, _LANES):
            lanes, strip = min(_LANES, source.layout.columns - start), start // _BLOCK_LANES
            for row in range(0, source.layout.rows, MAX_REPEATS):
                dst = self._builder.move(target.pointer, row * target.layout.pitch + strip)
                src = self._builder.move(source.pointer, row * source.layout.pitch + start)
                repeats = min(MAX_REPEATS, source.layout.rows - row)
                step = target.layout.pitch // _BLOCK_LANES
                pitch = pitch_blocks(source.layout, FP32)
                self._instruction(REDUCE_BLOCK, dst, src, lanes, repeats, pitch, step)

    def _folded(self, width: int) -> UbTile:
        """The tile with its columns folded to at most ``width``."""
        layout, element = self._tile.layout, self._tile.element
        if layout.columns <= width:
            return self._tile
        folded = UbTile(
            self._builder.buffer(element, layout.rows * width), TileLayout(layout.rows, width, width), element
        )
        strips, rest = divmod(layout.columns, width)
        if strips > 1:
            sources = {"src0": whole(self._strip(0, width)), "src1": whole(self._strip(1, width))}
            on_tile(self._builder, self._fold, folded, sources)
        else:
            copy_tile(self._builder, folded, whole(self._strip(0, width)))
        for strip in range(2, strips):
            self._fold_strip(folded, strip, width, width)
        if rest:
            self._fold_strip(folded, strips, width, rest)
        return folded

    def _strip(self, number: int, width: int) -> UbTile:
        layout = self._tile.layout
        pointer = self._builder.move(self._tile.pointer, number * width)
        return UbTile(pointer, TileLayout(layout.rows, width, layout.pitch), self._tile.element)

    def _fold_strip(self, folded: UbTile, strip: int, width: int, columns: int) -> None:
        narrow = replace(folded, layout=replace(folded.layout, columns=columns))
        other = whole(self._strip(strip, width))
        on_tile(self._builder, self._fold, narrow, {"src0": whole(narrow), "src1": other})

    def _reduce_repeats(self, folded: UbTile, target: Value) -> None:
        """Reduce rows of at most one repeat."""
        layout = folded.layout
        pitch = pitch_blocks(layout, FP32)
        fills_blocks = layout.columns > _LANES - _BLOCK_LANES  # no block of a repeat is empty
        by_blocks = fills_blocks and layout.rows > _FEW_ROWS
        definition = REDUCE_BLOCK if by_blocks else REDUCE_WHOLE
        results = _BLOCK_LANES if by_blocks else 1
        partial = self._builder.buffer(FP32, layout.rows * _BLOCK_LANES) if by_blocks else target
        for first in range(0, layout.rows, MAX_REPEATS):
            repeats = min(MAX_REPEATS, layout.rows - first)
            dst = self._builder.move(partial, first * results)
            src = self._builder.move(folded.pointer, first * layout.pitch)
            self._instruction(definition, dst, src, layout.columns, repeats, pitch)
        if by_blocks:
            self._reduce_blocks(target, partial, layout.rows * _BLOCK_LANES)

    def _reduce_turned(self, folded: UbTile, result: UbTile) -> None:
        """Integers: fold a repeat to one block, turn it over, and fold its columns as rows."""
        narrow = _Columns(self._lowering, self._kind, folded)._folded(_BLOCK_LANES)
        rows, columns = narrow.layout.rows, narrow.layout.columns
        if rows == 1:
            self._fold_row(narrow, result)
            return
        turned = self._lowering.new_tile(TileType(narrow.element, (columns, rows)))
        transpose_into(self._lowering, narrow, turned)
        pitch = turned.layout.pitch
        half = self._builder.buffer(narrow.element, max(1, columns // 2) * pitch)
        _fold(self._builder, self._fold, turned.pointer, result.pointer, half, columns, pitch)

    def _fold_row(self, row: UbTile, result: UbTile) -> None:
        """Fold the elements of one block, each first spread to a block."""
        count = row.layout.columns
        blocks = self._lowering.blocks(row, count)
        half = self._builder.buffer(row.element, max(1, count // 2) * _BLOCK_LANES)
        _fold(self._builder, self._fold, blocks.pointer, result.pointer, half, count, _BLOCK_LANES)
