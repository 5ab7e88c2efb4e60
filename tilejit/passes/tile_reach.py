"""How far an access of the cube core reaches along each dimension of its tile.

Masks of comparisons that bound dimensions from above become counts; one that is the same for the whole tile
lets all rows through or none. The cube core has no other masks.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import field

from tilejit.ir.core import Op, Value
from tilejit.ops import LOAD
from tilejit.passes.access import VIEW_OPS
from tilejit.passes.lowering import Lowering
from tilejit.passes.machine_builder import Index
from tilejit.passes.tile_lanes import Bound, bound_count, bound_of, conjuncts, lane, uniform
from tilejit.records import dataclass


@dataclass
class Reach:
    """By dimension, the comparisons that bound an access; ``conditions`` let all of it through or nothing."""

    op: Op
    shape: tuple[int, ...]
    bounds: dict[int, list[Bound]] = field(default_factory=dict)
    conditions: list[Value] = field(default_factory=list)

    def keys(self, dim: int | None) -> frozenset[Hashable]:
        """What bounds a dimension, so that bounds of different tiles can be compared."""
        return frozenset(bound_key(bound) for bound in self.bounds.get(-1 if dim is None else dim, ()))

    def count(self, lowering: Lowering, dim: int | None) -> Index:
        """How many elements along a dimension are accessed; the first dimension takes the conditions."""
        if dim is None:
            return 1
        size = self.shape[dim]
        count: Index = size
        for bound in self.bounds.get(dim, ()):
            count = lowering.builder.minimum(count, bound_count(lowering, bound, size))
        return count

    def holds(self, lowering: Lowering, count: Index) -> Index:
        """``count``, or 0 where a condition does not hold."""
        for part in self.conditions:
            condition = lane(lowering, part, (0,) * part.type.rank)
            count = lowering.builder.select(condition, count, 0)
        return count


def reach_of(lowering: Lowering, op: Op) -> Reach:
    """Take the mask of an access apart. Raises: CompileError where it is no comparison of that kind."""
    reach = Reach(op, op.operand("pointer").type.shape)
    for part in conjuncts(op.optional_operand("mask")):
        bound = bound_of(lowering.analysis, part)
        if bound is not None:
            reach.bounds.setdefault(bound.dim, []).append(bound)
        elif uniform(lowering.analysis, part):
            reach.conditions.append(part)
        else:
            what = "a tile that tl.dot multiplies" if op.name == LOAD.name else "a sum of products"
            lowering.refuse(
                f"the mask of {what} must bound its dimensions from above",
                op,
                "mask with comparisons like `rows[:, None] < m`",
            )
    return reach


def bound_key(bound: Bound) -> Hashable:
    """What two bounds of tiles of different shapes have in common if they are the same comparison."""
    return (_base(bound.limit_of), _base(bound.offset_of), bound.step, bound.extra)


def _base(value: Value) -> Value:
    """The value behind views."""
    while value.defining_op is not None and value.defining_op.name in VIEW_OPS:
        value = value.defining_op.operands[0]
    return value
