"""Find the comparisons in the masks of a nest that hold for its first indices along the vector dimension.

``columns < n_columns`` is true up to some index and false from there on. Where that index is - the bound is
often an argument - shows when the nest runs, and up to it no chunk needs a mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tilejit.ir.core import Op, Value
from tilejit.ir.loop_plan import Buffer, MaskBound, Nest, ReduceRoot, StoreRoot
from tilejit.ir.types import DType
from tilejit.ops import elementwise as ew
from tilejit.ops import shape
from tilejit.ops.elementwise import CmpPredicate
from tilejit.passes.access import ZERO, AccessAnalysis
from tilejit.passes.inline_values import DimMap, Leaf, operand_dims

PASSED_THROUGH = frozenset(
    definition.name for definition in (ew.AND, shape.BROADCAST, shape.RESHAPE, shape.TRANSPOSE)
)
_FALLS = {CmpPredicate.LT: True, CmpPredicate.LE: True, CmpPredicate.GT: False, CmpPredicate.GE: False}
"""Whether a comparison of the rising index with a bound goes from true to false."""


def find_bounds(
    nest: Nest, leaves: Sequence[Leaf], buffers: Mapping[Value, Buffer], analysis: AccessAnalysis
) -> list[MaskBound]:
    """The comparisons with a bound in the masks of loads and stores of a nest, each once."""
    identity = tuple(range(len(nest.shape)))
    accesses = [(leaf.load, leaf.dims) for leaf in leaves if leaf.load is not None]
    accesses += [(root.op, identity) for root in nest.roots if isinstance(root, StoreRoot)]
    axis = next((root.axis for root in nest.roots if isinstance(root, ReduceRoot)), None)
    pending = [(mask, dims) for op, dims in accesses if (mask := op.optional_operand("mask")) is not None]
    seen: set[tuple[Value, DimMap]] = set()
    found: dict[Value, MaskBound] = {}
    while pending:
        value, dims = pending.pop(0)
        op = value.defining_op
        if op is None or value.type.is_scalar or value in buffers or (value, dims) in seen:
            continue
        seen.add((value, dims))
        if op.name == ew.CMP.name:
            bound = bound_along(op, dims, nest.vector_dim, axis, analysis)
            if bound is not None:
                found.setdefault(value, bound)
        elif op.name in PASSED_THROUGH:
            pending += [(operand, operand_dims(op, operand, dims)) for operand in op.operands]
    return list(found.values())


def bound_along(
    op: Op, dims: DimMap, vector_dim: int, axis: int | None, analysis: AccessAnalysis
) -> MaskBound | None:
    """The bound along ``vector_dim`` that a comparison is, None where it is none.

    ``dims``: for each dim of the comparison that of the nest; ``axis``: the one that is reduced.
    """
    element, predicate = op.operands[0].type.element, op.attributes["predicate"]
    if vector_dim not in dims or not isinstance(element, DType) or not element.is_int():
        return None
    if not isinstance(predicate, CmpPredicate) or predicate not in _FALLS:
        return None
    if element.bits == 64 and not element.is_int_signed():
        return None  # what is left of the range does not fit 64 signed bits
    used = tuple(
        None if all(analysis.stride(operand, own) == ZERO for operand in op.operands) else dim
        for own, dim in enumerate(dims)
    )
    if vector_dim not in used or used.count(vector_dim) > 1:
        return None
    if axis is not None and axis != vector_dim and axis in used:
        return None
    along = [analysis.stride(operand, used.index(vector_dim)) for operand in op.operands]
    steps = [None if stride is None else stride.constant for stride in along]
    if steps not in ([1, 0], [0, 1]):
        return None
    index_first = steps == [1, 0]
    if not _counts_straight(op.operands[0 if index_first else 1], used.index(vector_dim), analysis):
        return None
    return MaskBound(op.result, used, index_first, rises=_FALLS[predicate] != index_first)


def _counts_straight(index: Value, dim: int, analysis: AccessAnalysis) -> bool:
    """Whether ``index`` counts up by 1 along ``dim`` but for wrapping round in its own type.

    What it is made from may be narrower and wrap there, before it is widened.
    """
    pending, seen = [(index, dim)], set[tuple[Value, int]]()
    while pending:
        value, own = place = pending.pop()
        op = value.defining_op
        if place in seen or analysis.stride(value, own) == ZERO:
            continue
        seen.add(place)
        if op is None or op.regions:
            return False
        if op.name == ew.CAST.name and op.operands[0].type.element != value.type.element:
            if not analysis.is_exact(op.operands[0]):
                return False
            continue
        dims = tuple(d if d == own else None for d in range(value.type.rank))
        for operand in op.operands:
            inner = operand_dims(op, operand, dims)
            if own in inner:
                pending.append((operand, inner.index(own)))
    return True
