"""Decides how the operands of dots go from global memory through L1 to L0A and L0B.

The left operand of mmad is rows x K, the right one K x columns; ``outer`` is the dimension of an operand that
is not K. Where the elements along K are contiguous in memory, L1 has columns of C0 elements along K, as L0A
and L0B want them; where those along the outer dimension are, L1 has columns along it and the copies to L0
transpose. L1 may then have bands of rows along K, each with its columns. Elements of 32 bits are transposed
in squares of two fractals that must lie side by side: bands have 16 rows. A left operand of 16 bits has bands
of what L0 takes at once, whose fractals lie as L0A wants them.

A sum whose stores are contiguous along its rows is computed transposed: its operands change places.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence

from tilejit.diagnostics import InternalError
from tilejit.ir.core import Op
from tilejit.ir.loop_plan import Stride
from tilejit.ir.types import BF16, FP16, FP32, INT8, INT32, DType
from tilejit.ops.machine.rules import BLOCK_BYTES, FRACTAL_ROWS
from tilejit.passes.cube_work import CubeWork, Output, Sum, origin
from tilejit.passes.lowering import Lowering
from tilejit.passes.machine_builder import Index, MachineBuilder
from tilejit.passes.tile_lanes import Bound
from tilejit.passes.tile_reach import Reach, bound_key, reach_of
from tilejit.passes.wrapped_tiles import WrappedTiles
from tilejit.records import dataclass
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Space

_ACCUMULATED = {FP16: FP32, BF16: FP32, FP32: FP32, INT8: INT32}


def round_up(number: int, unit: int) -> int:
    return -(-number // unit) * unit


@dataclass(frozen=True)
class DotOperand:
    """A loaded tile that a dot multiplies.

    ``outer`` and ``inner`` are dimensions of the load, None for one of size 1; ``is_along_k``: memory is
    contiguous along K. Units: ``extent`` is the operand's size along the outer dimension.
    """

    load: Op
    outer: int | None
    inner: int | None
    is_along_k: bool
    extent: int


@dataclass(frozen=True)
class DotPlan:
    """How one dot is computed.

    Units: elements. K goes through L0 in steps of ``k_step``, the last of which is padded to ``k_unit``;
    columns of the result are padded to ``n_unit``. ``k``: the size of the tiles along K. ``pairs``: fp32
    fractals lie in pairs along K.
    """

    dot: Op
    left: DotOperand
    right: DotOperand
    element: DType
    k: int
    k_step: int
    k_unit: int
    n_unit: int
    pairs: bool


@dataclass(frozen=True)
class SumPlan:
    """How a sum is computed; ``outputs`` have their row and column dimensions in the order of the sum."""

    rows: int
    columns: int
    element: DType
    n_unit: int
    dots: tuple[DotPlan, ...]
    outputs: tuple[Output, ...]


@dataclass(frozen=True)
class L1Layout:
    """How a loaded tile lies in L1.

    ``row_dim`` and ``column_dim`` are dimensions of the load, the second contiguous in memory. Units:
    elements; ``rows`` and ``columns`` as padded; ``pitch`` is the rows of a band.
    """

    row_dim: int | None
    column_dim: int | None
    rows: int
    columns: int
    pitch: int

    @property
    def is_banded(self) -> bool:
        return self.pitch < self.rows

    def row_start(self, builder: MachineBuilder, row: Index, c0: int) -> Index:
        """Where the first row of a band starts; any row where there is one band."""
        return builder.mul(row, self.columns if self.is_banded else c0)


class CubePlan:
    """The plans of all sums of a function."""

    def __init__(self, lowering: Lowering, work: CubeWork, target: AscendTarget) -> None:
        self._lowering = lowering
        halves = {space: target.spaces[space].capacity_bytes // 2 for space in (Space.L0A, Space.L0B)}
        dots = [dot for each in work.sums for dot in each.dots]
        self.takes_turns = len(dots) > 1 and all(_is_small(dot, halves) for dot in dots)
        """Whether dots use the halves of L0A and L0B by turns; else each has two slots of its own."""
        parts = 1 if self.takes_turns else len(dots)
        self._slot_bytes = {space: half // parts for space, half in halves.items()}
        self.half_bytes = halves
        self._wrapped = WrappedTiles(lowering.function, lowering.analysis)
        self._unwrapped = dict(self._find_unwrapped(work))
        self.sums = {each: self._plan_sum(each) for each in work.sums}
        self.dots = {plan.dot: plan for each in self.sums.values() for plan in each.dots}

    def reach(self, load: Op) -> Reach:
        """How far a loaded tile reaches: to the wrap of its offsets, if nobody stores what is behind."""
        reach, bound = reach_of(self._lowering, load), self._unwrapped.get(load)
        if bound is not None:
            reach.bounds.setdefault(bound.dim, []).append(bound)
        return reach

    def stride(self, load: Op, dim: int) -> Stride | None:
        """The distance of neighbours along a dimension of a loaded tile, as far as it reaches."""
        analysis = self._wrapped.analysis if load in self._unwrapped else self._lowering.analysis
        return analysis.stride(load.operand("pointer"), dim)

    def _find_unwrapped(self, work: CubeWork) -> Iterator[tuple[Op, Bound]]:
        """The loads whose wrapped lanes only reach elements that the masks of all stores leave out."""
        needed: dict[Op, list[Bound]] = {}
        stored: dict[Op, list[frozenset[Hashable]]] = {}
        for each in work.sums:
            reaches = [(output, reach_of(self._lowering, output.op)) for output in each.outputs]
            for dot in each.dots:
                for outer, name in enumerate("ab"):
                    found = origin(dot.operand(name))
                    load = found.value.defining_op
                    assert load is not None
                    bounds = [b for b in self._wrapped.bounds(load) or () if b.dim == found.dims[outer]]
                    needed[load] = bounds
                    stored.setdefault(load, []).extend(
                        reach.keys((output.row_dim, output.column_dim)[outer]) for output, reach in reaches
                    )
        for load, bounds in needed.items():
            if bounds and all(bound_key(bounds[0]) in keys for keys in stored[load]):
                yield load, bounds[0]

    def uses(self, load: Op) -> list[tuple[DotPlan, DotOperand]]:
        """The dots that multiply a loaded tile, and as what."""
        return [
            (plan, operand)
            for plan in self.dots.values()
            for operand in (plan.left, plan.right)
            if operand.load is load
        ]

    def layouts(self, load: Op) -> list[L1Layout]:
        """The forms in which a loaded tile is wanted in L1."""
        return list(dict.fromkeys(self.layout(plan, operand) for plan, operand in self.uses(load)))

    def layout(self, plan: DotPlan, operand: DotOperand) -> L1Layout:
        """The form that a dot reads an operand from."""
        uses, shape = self.uses(operand.load), operand.load.result.type.shape
        row_dim, column_dim = _memory_dims(operand)
        row_unit = column_unit = max(FRACTAL_ROWS, BLOCK_BYTES // plan.element.itemsize)
        for other, use in uses:
            if use.is_along_k:
                column_unit = math.lcm(column_unit, other.k_step)
            else:
                row_unit = math.lcm(row_unit, other.k_step)
        rows, columns = (1 if d is None else shape[d] for d in (row_dim, column_dim))
        rows, columns = round_up(rows, row_unit), round_up(columns, column_unit)
        pitch = rows
        if plan.element == FP32 and not operand.is_along_k:
            pitch = FRACTAL_ROWS
        elif plan.element.itemsize == 2 and all(
            use is other.left and not use.is_along_k and other.k_step == plan.k_step for other, use in uses
        ):
            pitch = plan.k_step
        return L1Layout(row_dim, column_dim, rows, columns, pitch)

    def _plan_sum(self, each: Sum) -> SumPlan:
        element = each.values[0].type.element
        assert isinstance(element, DType)
        outputs = list(each.outputs)
        swapped = {self._is_swapped(output) for output in outputs}
        if len(swapped) > 1:
            raise InternalError("one sum is stored by rows and by columns", outputs[-1].op.location)
        rows, columns = each.shape
        if True in swapped:
            rows, columns = columns, rows
            outputs = [Output(o.op, o.column_dim, o.row_dim) for o in outputs]
        dots = tuple(self._plan_dot(dot, element, True in swapped) for dot in each.dots)
        n_unit = max(plan.n_unit for plan in dots)
        return SumPlan(rows, columns, element, n_unit, dots, tuple(outputs))

    def _is_swapped(self, output: Output) -> bool:
        pointer = output.op.operand("pointer")
        strides = self._lowering.analysis.strides(pointer)
        if self._is_contiguous(pointer.type.shape, strides, output.column_dim):
            return False
        if self._is_contiguous(pointer.type.shape, strides, output.row_dim):
            return True
        raise InternalError("a store of the cube core needs contiguous elements", output.op.location)

    @staticmethod
    def _is_contiguous(shape: Sequence[int], strides: Sequence[Stride | None], dim: int | None) -> bool:
        if dim is None or shape[dim] == 1:
            return True
        stride = strides[dim]
        return stride is not None and stride.constant == 1

    def _plan_dot(self, dot: Op, to: DType, is_swapped: bool) -> DotPlan:
        a = dot.operand("a")
        element = a.type.element
        assert isinstance(element, DType)
        if _ACCUMULATED.get(element) != to:
            known = ", ".join(f"{source} (in {total})" for source, total in _ACCUMULATED.items())
            self._lowering.refuse(
                f"the cube unit multiplies {known}; got {element} in {to}",
                dot,
                "convert the operands, or accumulate in the type in brackets",
            )
        left, right = self._operand(dot, "a", 0), self._operand(dot, "b", 1)
        if is_swapped:
            left, right = right, left
        transposes = not (left.is_along_k and right.is_along_k)
        c0 = BLOCK_BYTES // element.itemsize
        pairs = element == FP32 and transposes
        k_unit = 2 * c0 if pairs else c0
        n_unit = 2 * FRACTAL_ROWS if element == INT8 and not right.is_along_k else FRACTAL_ROWS
        k = a.type.shape[1]
        extents = (round_up(left.extent, FRACTAL_ROWS), round_up(right.extent, n_unit))
        rooms = (self._slot_bytes[Space.L0A], self._slot_bytes[Space.L0B])
        k_step = _k_step(k, k_unit, extents, rooms, element)
        return DotPlan(dot, left, right, element, k, k_step, k_unit, n_unit, pairs)

    def _operand(self, dot: Op, name: str, outer: int) -> DotOperand:
        value = dot.operand(name)
        found = origin(value)
        load = found.value.defining_op
        assert load is not None
        outer_dim, inner_dim = found.dims[outer], found.dims[1 - outer]
        shape = load.operand("pointer").type.shape
        strides = [self.stride(load, d) for d in range(len(shape))]
        # Where both are, as in a single row, columns along K need no transposing copies.
        is_along_k = self._is_contiguous(shape, strides, inner_dim)
        if not is_along_k and not self._is_contiguous(shape, strides, outer_dim):
            self._lowering.refuse(
                "a tile that tl.dot multiplies needs contiguous elements along one dimension",
                load,
                "pass a stride of 1 for one dimension, or make it a tl.constexpr",
            )
        return DotOperand(load, outer_dim, inner_dim, is_along_k, value.type.shape[outer])


def _is_small(dot: Op, halves: Mapping[Space, int]) -> bool:
    """Whether both operands of a dot, padded, fit in a half of L0."""
    for space, name, outer in ((Space.L0A, "a", 0), (Space.L0B, "b", 1)):
        type = dot.operand(name).type
        if len(type.shape) != 2 or not isinstance(type.element, DType):
            return False
        unit = 2 * max(FRACTAL_ROWS, BLOCK_BYTES // type.element.itemsize)
        padded = round_up(type.shape[outer], unit) * round_up(type.shape[1 - outer], unit)
        if padded * type.element.itemsize > min(halves[space], *halves.values()):
            return False
    return True


def _memory_dims(operand: DotOperand) -> tuple[int | None, int | None]:
    """The dimensions of rows and of columns in L1."""
    return (operand.outer, operand.inner) if operand.is_along_k else (operand.inner, operand.outer)


def _k_step(k: int, unit: int, extents: Sequence[int], rooms: Sequence[int], element: DType) -> int:
    """How much of K fits in a slot of L0A and of L0B: all, or a power of two of units."""
    most = min(room // (extent * element.itemsize) for extent, room in zip(extents, rooms, strict=True))
    if round_up(k, unit) <= most:
        return round_up(k, unit)
    step = unit
    while 2 * step <= most:
        step *= 2
    return step
