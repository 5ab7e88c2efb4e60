"""Stores of sums: the accumulator in L0C goes to global memory, cast on the way.

An accumulator that no dot has added to stands for zeros, though it holds anything. Its int32 bits times 0
are zeros of any type: fixpipe scales them to bytes.
"""

from __future__ import annotations

from tilejit.ir.core import Value
from tilejit.ir.types import FP32, INT8, INT32, INT64, PointerType
from tilejit.ops import ATOMIC_RMW, CmpPredicate
from tilejit.ops.machine.cube import FIXPIPE, Quant
from tilejit.ops.machine.rules import FRACTAL_ROWS
from tilejit.ops.machine.sync import SET_ATOMIC, StoreAtomic
from tilejit.passes.access_walk import run_time_stride
from tilejit.passes.cube_work import Output
from tilejit.passes.fixpipe_stores import QUANTS
from tilejit.passes.lower_dot import Accumulator, Zero
from tilejit.passes.lowering import Lowering
from tilejit.passes.machine_builder import Index
from tilejit.passes.tile_lanes import pointer_lane
from tilejit.passes.tile_reach import Reach

_LARGEST_STRIDE = ((1 << 32) - 1) // FP32.itemsize
"""Elements from row to row that fixpipe can hold, also when they are counted in bytes."""


def lower_fixpipe(lowering: Lowering, output: Output, reach: Reach, source: Accumulator, zero: Zero) -> None:
    """Store a sum, or combine it with memory."""
    _Store(lowering, output, reach, source).run(zero)


class _Store:
    """One store of a sum."""

    def __init__(self, lowering: Lowering, output: Output, reach: Reach, source: Accumulator) -> None:
        self._lowering = lowering
        self._builder = lowering.builder
        self._output = output
        self._source = source
        pointer = output.op.operand("pointer")
        assert isinstance(pointer.type.element, PointerType)
        self._element = pointer.type.element.element
        self._rows = reach.holds(lowering, reach.count(lowering, output.row_dim))
        self._columns = reach.count(lowering, output.column_dim)
        self._pointer = pointer

    def run(self, zero: Zero) -> None:
        builder = self._builder
        if isinstance(zero, bool):
            (self._store_zeros if zero else self._store_sum)()
        else:
            builder.when(zero, self._store_zeros, self._store_sum)

    def _store_sum(self) -> None:
        builder, element = self._builder, self._element
        quant = QUANTS[self._source.element, element]
        if self._is_atomic:
            builder.op(SET_ATOMIC, {"kind": StoreAtomic.ADD, "element": element})
        self._by_rows(self._source.pointer, self._pointer_to(0), quant)
        if self._is_atomic:
            builder.op(SET_ATOMIC, {"kind": StoreAtomic.NONE, "element": element})

    def _store_zeros(self) -> None:
        if not self._is_atomic:
            source = self._builder.reinterpret(self._source.pointer, INT32)
            self._by_rows(source, self._pointer_to(0), Quant.REQ_B8)

    @property
    def _is_atomic(self) -> bool:
        return self._output.op.name == ATOMIC_RMW.name

    def _pointer_to(self, row: Index) -> Value:
        indices: list[Index] = [0] * self._pointer.type.rank
        indices[self._output.row_dim] = row
        return pointer_lane(self._lowering, self._pointer, indices)

    def _by_rows(self, source: Value, start: Value, quant: Quant) -> None:
        """Store all rows with one instruction, or one by one where the distance of rows does not fit."""
        builder, dim = self._builder, self._output.row_dim
        stride = self._lowering.analysis.stride(self._pointer, dim)
        if self._pointer.type.shape[dim] == 1:
            self._store(source, start, self._rows, self._columns, quant)
        elif stride is None:
            builder.loop(self._rows, lambda row: self._store_row(source, self._pointer_to(row), row, quant))
        elif stride.constant is not None and 1 <= stride.constant <= _LARGEST_STRIDE:
            self._store(source, start, self._rows, stride.constant, quant)
        else:
            distance = run_time_stride(self._lowering, stride)
            held = builder.minimum(builder.maximum(distance, 1), _LARGEST_STRIDE)
            builder.when(
                builder.compare(CmpPredicate.EQ, held, distance),
                lambda: self._store(source, start, self._rows, held, quant),
                lambda: builder.loop(
                    self._rows,
                    lambda row: self._store_row(source, self._moved(start, row, distance), row, quant),
                ),
            )

    def _store_row(self, source: Value, address: Value, row: Value, quant: Quant) -> None:
        place = self._builder.mul(row, FRACTAL_ROWS)
        self._store(self._builder.move(source, place), address, 1, self._columns, quant)

    def _store(self, source: Value, start: Value, rows: Index, distance: Index, quant: Quant) -> None:
        builder, columns = self._builder, self._columns
        operands = {"src": source, "n": columns, "m": rows, "src_stride": self._source.m}
        if quant is not Quant.REQ_B8:
            builder.make(FIXPIPE, {"dst": start, **operands, "dst_stride": distance}, {"quant": quant})
            return
        # An accumulator has as many columns as the tile: as many bytes at a time are zeros.
        size, target = self._element.itemsize, builder.reinterpret(start, INT8)
        scaled = {**operands, "dst_stride": builder.mul(distance, size), "scale": builder.constant(0.0, FP32)}
        for piece in range(size):
            place = builder.move(target, builder.mul(columns, piece))
            builder.make(FIXPIPE, {"dst": place, **scaled}, {"quant": quant})

    def _moved(self, start: Value, row: Value, distance: Index) -> Value:
        builder = self._builder
        return builder.move(start, builder.mul(builder.value(row, INT64), distance))
