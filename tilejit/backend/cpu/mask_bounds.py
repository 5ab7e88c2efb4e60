"""Where the masks of a nest hold: how many indices from the first on, computed as the nest begins."""

from __future__ import annotations

from collections.abc import Mapping

from llvmlite import ir

from tilejit.backend.cpu.scope import START, Coordinate, Point, Values
from tilejit.backend.cpu.values import I64, LaneBuilder, intrinsic
from tilejit.diagnostics import InternalError
from tilejit.ir.core import Value
from tilejit.ir.loop_plan import MaskBound
from tilejit.ir.types import DType
from tilejit.ops.elementwise import CmpPredicate
from tilejit.records import dataclass


@dataclass(frozen=True)
class Holding:
    """A comparison that holds at all lanes which run along one of its dims while the others are at ``point``.

    None in ``point``: the comparison does not depend on that dim. ``level``: of the loop in which that is
    known.
    """

    value: Value
    dim: int
    point: tuple[Coordinate | None, ...]
    level: int

    def is_at(self, point: Point) -> bool:
        """Whether this speaks of all the lanes of ``point``."""
        return point[self.dim].lanes is not None and all(
            place is None or own == self.dim or place == point[own] for own, place in enumerate(self.point)
        )


def hold(values: Values, bound: MaskBound, vector_dim: int, known: Mapping[int, Coordinate]) -> Holding:
    """What a bound says of the chunks before its count, at the place of the outer dimensions."""
    point = tuple(None if d is None else known.get(d, START) for d in bound.dims)
    return Holding(bound.value, bound.dims.index(vector_dim), point, len(values.scope.builders) - 1)


def leading_count(
    values: Values, bound: MaskBound, vector_dim: int, known: Mapping[int, Coordinate], size: int
) -> ir.Value:
    """For how many indices from 0 on, ``size`` at most, a bound holds for certain.

    Where the index would wrap round along the dimension, that is none.
    """
    op, builder = bound.value.defining_op, values.scope.builder
    if op is None:
        raise InternalError("a bound that is no comparison")
    element, predicate = op.operands[0].type.element, op.attributes["predicate"]
    if not isinstance(element, DType):
        raise InternalError("a bound of pointers", op.location)
    point = tuple(START if d is None or d == vector_dim else known[d] for d in bound.dims)
    lanes = LaneBuilder(builder, None)
    is_signed = element.is_int_signed()
    sides = []
    for operand in op.operands if bound.index_first else reversed(op.operands):
        side = values.at(operand, point).value
        if element.bits < 64:
            side = builder.sext(side, I64) if is_signed else builder.zext(side, I64)
        sides.append(side)
    first, limit = sides
    includes = predicate in (CmpPredicate.LE, CmpPredicate.GE)
    if bound.rises:
        starts = lanes.compare(">=" if includes else ">", first, limit)
        count = lanes.select(starts, ir.Constant(I64, size), 0)
    else:
        distance = intrinsic(builder, "llvm.ssub.sat", I64, [limit, first], [I64])
        lowest = -1 if includes else 0
        distance = lanes.call("llvm.smax", distance, ir.Constant(I64, lowest))
        count = lanes.call("llvm.smin", distance, ir.Constant(I64, size + lowest))
        count = lanes.sub(count, lowest)
    fits = lanes.compare("<=", first, element.max_value - (size - 1))
    return lanes.select(fits, count, 0)
