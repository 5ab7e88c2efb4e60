"""Instructions of the vector unit on whole tiles: one in the count form, or repeats with strides.

Where all sources have the layout of the result, one instruction in the count form does the whole tile,
padding and all. Where one repeats a row or an element, the repeat form walks either down a strip of columns,
one repeat for each row, or along a row, one repeat for each 256 bytes; whichever takes fewer instructions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tilejit.ir.core import Value
from tilejit.ir.opdef import Attribute, OpDef
from tilejit.ir.types import INT16, INT32, DType
from tilejit.ops.machine.lanes import MAX_REPEATS
from tilejit.ops.machine.rules import BLOCK_BYTES, REPEAT_BYTES
from tilejit.ops.machine.vector import VADDS
from tilejit.passes.machine_builder import Index, MachineBuilder
from tilejit.passes.tile_homes import TileLayout, UbTile
from tilejit.records import dataclass

_UNROLLED = 4
"""Instructions of one operation on a tile that are written out; more become a loop."""
Attributes = Mapping[str, Attribute]


@dataclass(frozen=True)
class Source:
    """How an instruction on a tile reads one of its operands.

    ``row_blocks``: blocks from row to row, 0 where all rows read the same. ``follows_columns``: else each row
    reads one block again and again, whose elements are all equal.
    """

    pointer: Value
    element: DType
    row_blocks: int
    follows_columns: bool


def pitch_blocks(layout: TileLayout, element: DType) -> int:
    """Blocks from row to row."""
    return layout.pitch * element.itemsize // BLOCK_BYTES


def whole(tile: UbTile) -> Source:
    """A tile read as it lies."""
    return Source(tile.pointer, tile.element, pitch_blocks(tile.layout, tile.element), True)


def on_tile(
    builder: MachineBuilder,
    definition: OpDef,
    target: UbTile,
    sources: Mapping[str, Source],
    attributes: Attributes | None = None,
    **others: Value | int,
) -> None:
    """Make the instructions of ``definition`` that compute ``target`` from ``sources``, by operand.

    ``others`` are further operands, the same for all instructions.
    """
    layout = target.layout
    flat = all(
        s.follows_columns and (layout.rows == 1 or s.row_blocks == pitch_blocks(layout, s.element))
        for s in sources.values()
    )
    if flat:
        pointers = {name: source.pointer for name, source in sources.items()}
        count = layout.columns if layout.rows == 1 else layout.elements
        operands = {"dst": target.pointer, **pointers, **others, "count": count}
        builder.make(definition, operands, attributes)
        return
    _Repeats(builder, definition, target, sources, attributes or {}, others).make()


@dataclass
class _Repeats:
    """One operation in the repeat form."""

    builder: MachineBuilder
    definition: OpDef
    target: UbTile
    sources: Mapping[str, Source]
    attributes: Attributes
    others: Mapping[str, Value | int]

    def make(self) -> None:
        layout = self.target.layout
        strips = -(-layout.columns // self._lanes)
        steps = [s.row_blocks for s in self._operands.values()]
        by_strips = strips * -(-layout.rows // MAX_REPEATS)
        if max(steps) <= MAX_REPEATS and by_strips <= layout.rows * self._pieces_of_row:
            self._walk_strips(layout)
        else:
            self._each(layout.rows, self._row)

    @property
    def _operands(self) -> dict[str, Source]:
        return {"dst": whole(self.target), **self.sources}

    @property
    def _lanes(self) -> int:
        """Elements of one repeat."""
        return REPEAT_BYTES // max(s.element.itemsize for s in self._operands.values())

    @property
    def _pieces_of_row(self) -> int:
        repeats, rest = divmod(self.target.layout.columns, self._lanes)
        return -(-repeats // MAX_REPEATS) + (rest > 0)

    def _walk_strips(self, layout: TileLayout) -> None:
        strips, rest = divmod(layout.columns, self._lanes)
        for first in range(0, layout.rows, MAX_REPEATS):
            repeats = min(MAX_REPEATS, layout.rows - first)

            def strip(
                index: Index, count: int = self._lanes, first: int = first, repeats: int = repeats
            ) -> None:
                column = self.builder.mul(index, self._lanes)
                steps = [s.row_blocks for s in self._operands.values()]
                self._instruction(first, column, count, repeats, steps)

            self._each(strips, strip)
            if rest:
                strip(strips, rest)

    def _row(self, row: Index) -> None:
        """One row: repeats along it."""
        repeats, rest = divmod(self.target.layout.columns, self._lanes)
        steps = [
            self._lanes * s.element.itemsize // BLOCK_BYTES if s.follows_columns else 0
            for s in self._operands.values()
        ]
        for first in range(0, repeats, MAX_REPEATS):
            some = min(MAX_REPEATS, repeats - first)
            self._instruction(row, first * self._lanes, self._lanes, some, steps)
        if rest:
            self._instruction(row, repeats * self._lanes, rest, 1, steps)

    def _instruction(self, row: Index, column: Index, count: int, repeats: int, steps: Sequence[int]) -> None:
        builder = self.builder
        pointers: dict[str, Value] = {}
        for name, source in self._operands.items():
            lanes_of_block = BLOCK_BYTES // source.element.itemsize
            offset = builder.mul(row, source.row_blocks * lanes_of_block)
            if source.follows_columns:
                offset = builder.add(offset, column)
            pointers[name] = builder.move(source.pointer, offset)
        blocks = tuple(int(s.follows_columns) for s in self._operands.values())
        attributes = {**self.attributes, "strides": (*blocks, *steps)}
        operands = {**pointers, **self.others, "count": count, "repeats": repeats}
        builder.make(self.definition, operands, attributes)

    def _each(self, times: int, make: Callable[[Index], None]) -> None:
        if times <= _UNROLLED:
            for index in range(times):
                make(index)
        elif times:
            self.builder.loop(times, make)


def copy_tile(builder: MachineBuilder, target: UbTile, source: Source) -> None:
    """Copy elements bit for bit, or repeat what the source repeats."""
    word = INT16 if target.element.itemsize < INT32.itemsize else INT32
    size, layout = target.element.itemsize, target.layout
    columns, pitch = -(-layout.columns * size // word.itemsize), layout.pitch * size // word.itemsize
    words = UbTile(builder.reinterpret(target.pointer, word), TileLayout(layout.rows, columns, pitch), word)
    pointer = builder.reinterpret(source.pointer, word)
    moved = Source(pointer, word, source.row_blocks, source.follows_columns)
    on_tile(builder, VADDS, words, {"src": moved}, scalar=builder.constant(0, word))
