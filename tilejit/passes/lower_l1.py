"""Loads of tiles that dots multiply: global memory to L1, in columns of C0 elements.

One instruction copies a tile whose rows lie a constant distance apart, or a band of it where L1 holds bands.
Distances that the instruction cannot hold, and rows that are reached through indices, take one instruction a
row. Rows and columns that the mask leaves out are not copied: what L1 holds there reaches only elements of
the product that nobody stores, or is cut off along K by mmad.
"""

from __future__ import annotations

from collections.abc import Callable

from tilejit.ir.core import Op, Value
from tilejit.ir.loop_plan import Stride
from tilejit.ir.types import INT64, DType
from tilejit.ops import CmpPredicate
from tilejit.ops.machine.move_cube import LOAD_ND2NZ
from tilejit.ops.machine.rules import BLOCK_BYTES
from tilejit.passes.access import constant_everywhere
from tilejit.passes.access_walk import run_time_stride
from tilejit.passes.lowering import Lowering
from tilejit.passes.machine_builder import Index
from tilejit.passes.plan_cube import CubePlan, L1Layout
from tilejit.passes.tile_lanes import pointer_lane
from tilejit.passes.tile_reach import Reach
from tilejit.records import dataclass
from tilejit.target.ascend_limits import V220_LIMITS
from tilejit.target.spaces import Space


@dataclass(frozen=True)
class L1Tile:
    """A tile in L1. Units: elements; ``pitch`` is the rows from column to column."""

    pointer: Value
    element: DType
    layout: L1Layout
    pitch: Index
    reach: Reach


def load_l1(lowering: Lowering, plan: CubePlan, op: Op, layout: L1Layout, pitch: Index) -> L1Tile:
    """Copy a tile to a buffer of its own in L1; its columns are ``pitch`` rows apart."""
    element = op.result.type.element
    assert isinstance(element, DType)
    _check_other(lowering, op)
    size = layout.rows * layout.columns
    pointer = lowering.builder.buffer(element, size, op.result.name, Space.L1)
    tile = L1Tile(pointer, element, layout, pitch, plan.reach(op))
    stride = None if layout.row_dim is None else plan.stride(op, layout.row_dim)
    _Copy(lowering, op, tile, stride).run()
    return tile


def _check_other(lowering: Lowering, op: Op) -> None:
    other = op.optional_operand("other")
    if other is not None and constant_everywhere(other) != 0:
        lowering.refuse("a tile that tl.dot multiplies is 0 where it is masked", op, "load with other=0")


class _Copy:
    """The copies of one tile."""

    def __init__(self, lowering: Lowering, op: Op, tile: L1Tile, stride: Stride | None) -> None:
        self._lowering = lowering
        self._stride = stride
        self._builder = lowering.builder
        self._pointer = op.operand("pointer")
        self._tile = tile
        self._c0 = BLOCK_BYTES // tile.element.itemsize
        reach, layout = tile.reach, tile.layout
        self._rows = reach.holds(lowering, reach.count(lowering, layout.row_dim))
        self._columns = reach.count(lowering, layout.column_dim)

    def run(self) -> None:
        builder, stride = self._builder, self._stride
        if self._tile.layout.row_dim is None:
            self._copy(self._address(0), 0, 1, 1)
        elif stride is None:
            self._by_row(lambda row: self._address(row))
        elif stride.constant is not None and 1 <= stride.constant <= V220_LIMITS.nd2nz_columns:
            self._together(self._address(0), stride.constant)
        else:
            start, distance = self._address(0), run_time_stride(self._lowering, stride)
            held = builder.minimum(builder.maximum(distance, 1), V220_LIMITS.nd2nz_columns)
            builder.when(
                builder.compare(CmpPredicate.EQ, held, distance),
                lambda: self._together(start, held),
                lambda: self._by_row(lambda row: self._moved(start, row, distance)),
            )

    def _together(self, start: Value, distance: Index) -> None:
        """Copy as many rows with one instruction as lie in the columns of L1."""
        builder, height = self._builder, self._tile.layout.pitch
        if not self._tile.layout.is_banded:
            self._copy(start, 0, self._rows, distance)
            return

        def band(number: Value) -> None:
            first = builder.mul(number, height)
            rows = builder.minimum(builder.maximum(builder.sub(self._rows, first), 0), height)
            place = builder.mul(number, height * self._tile.layout.columns)
            self._copy(self._moved(start, first, distance), place, rows, distance)

        builder.loop(builder.ceil_divide(self._rows, height), band)

    def _by_row(self, address: Callable[[Value], Value]) -> None:
        builder, layout = self._builder, self._tile.layout

        def one(row: Value) -> None:
            place = builder.mul(row, self._c0)
            if layout.is_banded:
                number = builder.divide(row, layout.pitch)
                behind = builder.mul(number, layout.pitch * (layout.columns - self._c0))
                place = builder.add(place, behind)
            self._copy(address(row), place, 1, 1)

        builder.loop(self._rows, one)

    def _copy(self, address: Value, place: Index, rows: Index, distance: Index) -> None:
        builder = self._builder
        operands = {
            "dst": builder.move(self._tile.pointer, place), "src": address, "n": rows, "d": self._columns,
            "src_d": self._columns if rows == 1 else distance, "dst_c0_stride": self._tile.pitch,
        }  # fmt: skip
        builder.make(LOAD_ND2NZ, operands)

    def _address(self, row: Index) -> Value:
        indices: list[Index] = [0] * self._pointer.type.rank
        dim = self._tile.layout.row_dim
        if dim is not None:
            indices[dim] = row
        return pointer_lane(self._lowering, self._pointer, indices)

    def _moved(self, start: Value, row: Index, distance: Index) -> Value:
        builder = self._builder
        wide = row if isinstance(row, int) else builder.value(row, INT64)
        return builder.move(start, builder.mul(wide, distance))
