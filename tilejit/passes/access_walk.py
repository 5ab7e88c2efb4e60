"""How an access walks memory: which dimensions are columns, rows of one copy, and loops around copies.

The last dimension longer than 1 is the columns, or the one before it where that is the contiguous one: the
tile is then turned over in UB. Columns may be a small number of elements apart. The dimension before becomes
the rows of one copy where its stride is regular; dimensions further out, and those reached through indices
(rows of a page table), become loops with one copy each. Bounds of dimensions become counts.

Where no dimension will do for columns, each element is a row by itself: the walk has one more dimension, of
one column, and so all dimensions of the tile are rows.

A row stride that is known only at run time may turn out smaller than a row, as in a broadcast array: the
copies are then made one row at a time. That is a branch of its own, so that the usual copy waits for none
before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field

from tilejit.ir.core import Op, Value
from tilejit.ir.loop_plan import Stride
from tilejit.ir.types import INT64
from tilejit.ops import LOAD, CmpPredicate
from tilejit.passes.lowering import Lowering
from tilejit.passes.machine_builder import Index
from tilejit.passes.tile_lanes import bound_count, bound_of, conjuncts, lane, pointer_lane, uniform
from tilejit.records import dataclass

MAX_ROWS = 4095
"""Rows of one copy. Source: as in ``ops.machine.move``."""
MOST_ELEMENTS = 2048
"""Elements that are moved each by itself: in UB each takes a block."""
_MOST_APART = 16
"""Distance of columns up to which it pays to copy what lies between them, in elements."""


@dataclass
class Walk:
    """How an access goes through its tile.

    ``dims`` are the dimensions longer than 1, columns last; ``is_turned``: that is not their order in the
    tile; ``is_spread``: the last is none of the tile, each element is a row. ``step`` is the distance of
    columns. ``counts`` has the valid lanes along each dimension. ``looped``
    says which are loops. ``tests`` are parts of the mask that are asked for each row.
    """

    op: Op
    pointer: Value
    dims: tuple[int, ...]
    step: int
    is_turned: bool
    is_spread: bool
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

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes in the order of ``dims``."""
        sizes = (*self.pointer.type.shape, 1)
        return tuple(sizes[d] for d in self.dims)

    @property
    def columns(self) -> Index:
        """Valid columns."""
        return self.counts[self.column] if self.column is not None else self.counts.get(-1, 1)


Copy = Callable[[Value, Index, Index, Index, Index], None]
"""Make one copy: address, offset in the tile in elements, rows, elements of a row, distance of rows.

A load's row has all elements from the first column to the last, also those between columns that are apart.
"""


def plan_walk(lowering: Lowering, op: Op) -> Walk:
    """Take the pointer and the mask of an access apart. Raises: CompileError for what is no row of memory."""
    pointer = op.operand("pointer")
    shape = pointer.type.shape
    dims = tuple(d for d, size in enumerate(shape) if size != 1)
    strides = dict(zip(range(len(shape)), lowering.analysis.strides(pointer), strict=True))
    tests = _tests(lowering, op)
    columns = _columns(dims, strides) if dims else (1, False)
    if columns is None or not _are_per_row(lowering, tests, dims, turned=columns[1]):
        columns = 1, False
        _check_size(lowering, op)
        lowering.context.remark("each element of a tile is moved by itself", op.location)
        shape, dims, strides[len(shape)] = (*shape, 1), (*dims, len(shape)), Stride(1)
        is_spread = True
    else:
        is_spread = False
    step, is_turned = columns
    if is_turned:
        dims = (*dims[:-2], dims[-1], dims[-2])
    width = (shape[dims[-1]] - 1) * step + 1 if dims else 1
    looped = _looped_dims(dims, strides, shape, width)
    if step > 1 and op.name != LOAD.name:
        looped = dims[:-1]
    counts: dict[int, Index] = {d: shape[d] for d in dims}
    walk = Walk(op, pointer, dims, step, is_turned, is_spread, counts, strides, looped)
    for part in conjuncts(op.optional_operand("mask")):
        walk.is_partial = True
        bound = bound_of(lowering.analysis, part)
        if bound is not None:
            size = walk.counts.get(bound.dim, 1)
            count = bound_count(lowering, bound, shape[bound.dim])
            is_first = size == shape[bound.dim]
            walk.counts[bound.dim] = count if is_first else lowering.builder.minimum(size, count)
        elif uniform(lowering.analysis, part):
            _apply_uniform(lowering, walk, part)
    if tests:
        walk.tests = tuple(tests)
        walk.looped = dims[:-1]
    return walk


def _tests(lowering: Lowering, op: Op) -> list[Value]:
    """The parts of a mask that neither bound a dimension nor are one number."""
    parts = conjuncts(op.optional_operand("mask"))
    return [p for p in parts if bound_of(lowering.analysis, p) is None and not uniform(lowering.analysis, p)]


def _are_per_row(lowering: Lowering, tests: Sequence[Value], dims: Sequence[int], *, turned: bool) -> bool:
    """Whether parts of a mask are the same along the columns."""
    if not tests:
        return True
    column = dims[-2] if turned else dims[-1]
    return all(lowering.analysis.stride_of_mask(part, column) is not None for part in tests)


def _check_size(lowering: Lowering, op: Op) -> None:
    type = op.operand("pointer").type
    if type.size > MOST_ELEMENTS:
        what = "loads" if op.name == LOAD.name else "stores"
        lowering.refuse(
            f"{what} of {type.size} elements need contiguous ones along one of the last two dimensions",
            op,
            f"let a dimension run over contiguous memory, or use tiles of at most {MOST_ELEMENTS} elements",
        )


def copied_columns(lowering: Lowering, walk: Walk) -> Index:
    """Valid elements of a row in UB: a load's with those between its columns."""
    builder, columns = lowering.builder, walk.columns
    if walk.step == 1 or walk.op.name != LOAD.name:
        return columns
    last = builder.mul(builder.sub(columns, 1), walk.step)
    return builder.maximum(builder.add(last, 1), 0)


def _columns(dims: tuple[int, ...], strides: dict[int, Stride | None]) -> tuple[int, bool] | None:
    """The distance of columns, and whether they are the last dimension but one; None where there are none."""
    apart = [stride.constant if stride is not None else None for stride in map(strides.get, dims)]
    if apart[-1] != 1 and len(dims) > 1 and apart[-2] == 1:
        return 1, True
    if apart[-1] is not None and 0 < apart[-1] <= _MOST_APART:
        return apart[-1], False
    return None


def _looped_dims(
    dims: Sequence[int], strides: dict[int, Stride | None], shape: Sequence[int], width: int
) -> tuple[int, ...]:
    """The dimensions that become loops: all but the last two, and the last but one where it is irregular."""
    looped = list(dims[:-2])
    if len(dims) > 1:
        stride = strides[dims[-2]]
        constant = stride.constant if stride is not None else None
        narrow = constant is not None and constant < width
        if stride is None or narrow or shape[dims[-2]] > MAX_ROWS:
            looped.append(dims[-2])
    return tuple(looped)


def _apply_uniform(lowering: Lowering, walk: Walk, part: Value) -> None:
    """A mask that is one number for the whole tile lets all rows through, or none."""
    builder = lowering.builder
    condition = lane(lowering, part, (0,) * part.type.rank)
    dim = walk.dims[0] if walk.dims else -1
    walk.counts[dim] = builder.select(condition, walk.counts.get(dim, 1), 0)


def for_each_copy(lowering: Lowering, walk: Walk, pitch: int, copy: Copy) -> None:
    """Run ``copy`` for every group of rows that one instruction moves; rows are ``pitch`` elements apart."""
    walk.indices = [0] * walk.pointer.type.rank
    _nest(lowering, walk, pitch, copy, list(walk.looped), 0)


def _nest(lowering: Lowering, walk: Walk, pitch: int, copy: Copy, looped: list[int], offset: Index) -> None:
    builder, shape = lowering.builder, (*walk.pointer.type.shape, 1)
    if not looped:
        _copy_rows(lowering, walk, pitch, copy, offset)
        return
    dim, rest = looped[0], looped[1:]
    rows_below = 1
    for inner in walk.dims[walk.dims.index(dim) + 1 : -1]:
        rows_below *= shape[inner]

    def body(index: Value) -> None:
        walk.indices[dim] = index
        step = builder.mul(index, rows_below * pitch)
        _nest(lowering, walk, pitch, copy, rest, builder.add(offset, step))

    builder.loop(walk.counts[dim], body)


def _copy_rows(lowering: Lowering, walk: Walk, pitch: int, copy: Copy, offset: Index) -> None:
    builder = lowering.builder
    columns = copied_columns(lowering, walk)
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
    distance = run_time_stride(lowering, stride)

    def one_by_one() -> None:
        def body(index: Value) -> None:
            start = builder.move(address, builder.mul(builder.value(index, INT64), distance))
            copy(start, builder.add(offset, builder.mul(index, pitch)), 1, columns, columns)

        builder.loop(rows, body)

    # Rows that overlap, or run backwards, cannot be one copy: its gap would be negative.
    apart = builder.compare(CmpPredicate.GE, distance, columns)
    builder.when(apart, lambda: copy(address, offset, rows, columns, distance), one_by_one)


def run_time_stride(lowering: Lowering, stride: Stride) -> Value:
    """A stride as an int64 scalar."""
    builder = lowering.builder
    distance: Index = stride.coefficient
    for factor in stride.factors:
        distance = builder.mul(distance, builder.value(lowering.scalar(factor), INT64))
    return builder.value(distance, INT64)
