"""Rows of the next panel of B that a micro-kernel packs while it computes.

A dot waits for memory where it packs: a row of a panel is a line or two, and the next row lies a page away.
Between two multiply-adds there is room for a load and a store, and while a panel is multiplied all rows of
the next one pass by: a few after every ``STEPS`` steps of k, those of the next block of rows asked for from
memory at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from tilejit.backend.cpu.loops import index
from tilejit.backend.cpu.operand import Operand, advance, load_vector, scale, static
from tilejit.backend.cpu.values import I8, I32, intrinsic
from tilejit.ir.types import DType
from tilejit.records import dataclass

STEPS = 16
"""Steps of k from one turn of copying to the next; depth blocks are multiples of it."""


@dataclass(frozen=True)
class PanelCopy:
    """A panel of ``depth`` rows to be copied from ``source`` to ``destination``, one after the other, while
    the blocks of rows of the one before are computed; ``rows`` are copied a turn. Unless it ``exists``, which
    is an i1, nothing is copied.
    """

    source: Operand
    destination: ir.Value
    exists: ir.Value
    depth: int
    columns: int
    rows: int
    wanted: DType

    def step(self, lanes: int, line_bytes: int) -> RowCopy:
        """What a micro-kernel is made for that copies a part of the panel."""
        source = self.source
        return RowCopy(
            self.rows, self.columns, lanes, source.dtype, self.wanted, static(source.row_stride), line_bytes
        )

    def part(self, builder: ir.IRBuilder, blocks_before: int, blocks: int) -> list[ir.Value]:
        """What such a micro-kernel is called with; nothing where the blocks before have copied all."""
        turns_a_block = self.depth // STEPS
        first = blocks_before * turns_a_block
        turns = min(self.depth // self.rows - first, blocks * turns_a_block)
        if turns <= 0:
            return []
        row = first * self.rows
        place = advance(builder, self.destination, row * self.columns, self.wanted.itemsize)
        left = builder.select(self.exists, index(turns), index(0))
        return [index(self.source.row_stride), self.source.at(builder, row, 0).pointer, place, left]


def rows_a_turn(blocks: int) -> int:
    """How many rows are copied at a time so that ``blocks`` blocks of rows copy a panel: a power of two."""
    rows = 1
    while rows * blocks < STEPS:
        rows *= 2
    return rows


@dataclass(frozen=True)
class RowCopy:
    """``rows`` rows of ``columns`` elements that are copied at a time, next to each other, as ``wanted``.

    Units: ``stride`` in elements of the source, None where known only at run time.
    """

    rows: int
    columns: int
    lanes: int
    dtype: DType
    wanted: DType
    stride: int | None
    line_bytes: int

    @property
    def offsets(self) -> list[int]:
        """Where the vectors of a row start; the last one overlaps where they do not divide it."""
        return [min(start, self.columns - self.lanes) for start in range(0, self.columns, self.lanes)]

    @property
    def name(self) -> str:
        stride = "r" if self.stride is None else self.stride
        return f".copy{self.rows}x{self.columns}by{self.lanes}.{self.dtype}x{stride}"

    def emit(
        self, builder: ir.IRBuilder, state: Sequence[ir.Value], stride: ir.Value, ahead: ir.Value
    ) -> list[ir.Value]:
        """Copy the next rows unless none are left, and ask for those ``ahead`` rows further on.

        ``state``: where the rows come from, where they go, how often there still are some.
        """
        source, destination, left = state
        step: int | ir.Value = stride if self.stride is None else self.stride
        before = builder.block
        copying, after = builder.append_basic_block("copy"), builder.append_basic_block("copied")
        builder.cbranch(builder.icmp_signed(">", left, index(0)), copying, after)
        builder.position_at_end(copying)
        rows = Operand(source, self.dtype, step, 1)
        places = Operand(destination, self.wanted, self.columns, 1)
        following = rows.at(builder, ahead, 0)
        for row in range(self.rows):
            for offset in self.offsets:
                place = rows.at(builder, row, offset).pointer
                vector = load_vector(builder, place, self.dtype, self.lanes, self.wanted)
                packed = places.at(builder, row, offset).pointer
                builder.store(vector, packed, align=self.wanted.itemsize)
            self._fetch(builder, following.at(builder, row, 0).pointer)
        moved = [
            advance(builder, source, scale(builder, self.rows, step), self.dtype.itemsize),
            advance(builder, destination, self.rows * self.columns, self.wanted.itemsize),
            builder.sub(left, index(1)),
        ]
        builder.branch(after)
        builder.position_at_end(after)
        merged = [builder.phi(value.type) for value in state]
        for phi, old, new in zip(merged, state, moved, strict=True):
            phi.add_incoming(old, before)
            phi.add_incoming(new, copying)
        return merged

    def _fetch(self, builder: ir.IRBuilder, row: ir.Value) -> None:
        """Ask for the lines of a row."""
        numbers = [ir.Constant(I32, n) for n in (0, 3, 1)]  # read, kept in all caches, data
        size_bytes = self.columns * self.dtype.itemsize
        for start in (*range(0, size_bytes, self.line_bytes), size_bytes - 1):
            place = builder.gep(row, [index(start)], source_etype=I8)
            intrinsic(builder, "llvm.prefetch.p0", ir.VoidType(), [place, *numbers])
