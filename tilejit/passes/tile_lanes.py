"""Single lanes of tiles on the scalar unit: addresses of rows, bounds of masks as counts.

Pointer tiles and masks of accesses are never built. The address of a lane is computed as a scalar, from the
ops that would have made the tile; how neighbours differ comes from access analysis. Narrow offsets are taken
not to wrap between the lanes of one tile: the hardware has no gather to fall back to, and lanes that wrap lie
outside any array.
"""

from __future__ import annotations

from collections.abc import Sequence

from tilejit.diagnostics import InternalError
from tilejit.ir.core import Block, Op, Value
from tilejit.ir.types import INT1, INT64
from tilejit.ops import (
    AND,
    ARANGE,
    BROADCAST,
    CMP,
    CONSTANT,
    IF,
    LOAD,
    RESHAPE,
    SPLAT,
    TRANSPOSE,
    YIELD,
    CmpPredicate,
)
from tilejit.ops.shape import reshape_dims
from tilejit.passes.access import AccessAnalysis
from tilejit.passes.lowering import Lowering
from tilejit.passes.machine_builder import Index
from tilejit.passes.unsupported import spell_kind
from tilejit.records import dataclass

_FLIPPED = {
    CmpPredicate.LT: CmpPredicate.GT,
    CmpPredicate.LE: CmpPredicate.GE,
    CmpPredicate.GT: CmpPredicate.LT,
    CmpPredicate.GE: CmpPredicate.LE,
}


_Lane = tuple[Value, tuple[Index, ...]]
"""A tile, and where in it the lane is."""


def lane(lowering: Lowering, value: Value, indices: Sequence[Index]) -> Value:
    """One element of a tile, as a scalar of the machine function.

    Raises: CompileError where an op on the way has no meaning on the scalar unit.
    """
    return _Lanes(lowering).of(value, tuple(indices))


class _Lanes:
    """Lanes of several values at one place; those of shared operands are computed once."""

    def __init__(self, lowering: Lowering) -> None:
        self._lowering = lowering
        self._known: dict[_Lane, Value] = {}

    def of(self, value: Value, indices: tuple[Index, ...]) -> Value:
        """One lane; those that it is made of come first, however many there are."""
        if value.type.is_scalar:
            return self._lowering.scalar(value)
        wanted = (value, indices)
        pending = [wanted]
        while pending:
            lane = pending[-1]
            missing = [] if lane in self._known else self._missing(*lane)
            if missing:
                pending += reversed(missing)
                continue
            if lane not in self._known:
                self._known[lane] = self._compute(*lane)
            pending.pop()
        return self._known[wanted]

    def _missing(self, value: Value, indices: tuple[Index, ...]) -> list[_Lane]:
        """The lanes that one is made of and that are not known so far."""
        op = value.defining_op
        if op is None or value in self._lowering.homes.read_by_lane:
            return []
        sources: list[_Lane] = []
        if op.name in (BROADCAST.name, RESHAPE.name, TRANSPOSE.name):
            sources = [self._behind_view(op, indices)]
        elif op.name == LOAD.name:
            first = op.optional_operand("mask") or op.operand("pointer")
            sources = [(first, indices)]
        elif op.definition.is_elementwise:
            sources = [(operand, indices) for operand in op.operands]
        return [lane for lane in sources if not lane[0].type.is_scalar and lane not in self._known]

    def _behind_view(self, op: Op, indices: tuple[Index, ...]) -> _Lane:
        """The lane of its operand that a view shows."""
        source = op.operands[0]
        if op.name == TRANSPOSE.name:
            order = op.attributes["order"]
            assert isinstance(order, tuple)
            return source, tuple(indices[order.index(d)] for d in range(len(order)))
        if op.name == BROADCAST.name:
            sizes = zip(source.type.shape, indices, strict=True)
            return source, tuple(0 if size == 1 else i for size, i in sizes)
        return source, self._behind_reshape(op, indices)

    def _behind_reshape(self, op: Op, indices: tuple[Index, ...]) -> tuple[Index, ...]:
        source = op.operands[0]
        if source.type.is_scalar:
            return ()
        mapping = reshape_dims(source.type.shape, op.result.type.shape)
        if mapping is None:
            self._lowering.refuse(
                "an address is made of a tile whose elements reshape regroups",
                op,
                "reshape what is loaded, not its addresses",
            )
        kept: list[Index] = [0] * source.type.rank
        for dim, index in zip(mapping, indices, strict=True):
            if dim is not None:
                kept[dim] = index
        return tuple(kept)

    def _compute(self, value: Value, indices: tuple[Index, ...]) -> Value:
        """A lane, those known that it is made of."""
        lowering, op = self._lowering, value.defining_op
        builder = lowering.builder
        if value in lowering.homes.read_by_lane:
            return self._of_ub(value, indices)
        if op is not None and op.name == SPLAT.name:
            return lowering.scalar(op.operands[0])
        if op is not None and op.name in (BROADCAST.name, RESHAPE.name, TRANSPOSE.name):
            return self.of(*self._behind_view(op, indices))
        if op is not None and op.name == ARANGE.name:
            start = op.attributes["start"]
            assert isinstance(start, int)
            return builder.value(builder.add(indices[0], start))
        if op is not None and op.name == LOAD.name:
            return _load_lane(lowering, self, op, indices)
        if op is not None and op.definition.is_elementwise:
            operands = {name: self.of(v[0], indices) for name, v in op.named_operands().items()}
            return builder.op(op.definition, op.attributes, **operands).result
        name = spell_kind(op) if op is not None else "a value carried by a loop"
        lowering.refuse(
            f"an address or mask is made of {name}, which the scalar unit cannot take apart",
            op,
            "compute addresses from program ids, tl.arange and loaded indices",
        )

    def _of_ub(self, value: Value, indices: tuple[Index, ...]) -> Value:
        """An element of what has been computed, or loaded before a store may change it."""
        lowering = self._lowering
        if value.type.element == INT1 and value not in lowering.bytes:
            raise InternalError(
                "bools that a loop or a branch leaves reached a mask", lowering.builder.location
            )
        return lowering.lane(value, indices)


def load_scalar(lowering: Lowering, op: Op) -> Value:
    """Load one element where its mask lets it."""
    return _load_lane(lowering, _Lanes(lowering), op, ())


def _load_lane(lowering: Lowering, lanes: _Lanes, op: Op, indices: tuple[Index, ...]) -> Value:
    builder, pointer, mask = lowering.builder, op.operand("pointer"), op.optional_operand("mask")
    if mask is None:
        return builder.op(LOAD, pointer=lanes.of(pointer, indices)).result
    condition = lanes.of(mask, indices)
    then, other = Block(), Block()
    with builder.inside(then):
        loaded = builder.op(LOAD, pointer=_Lanes(lowering).of(pointer, indices)).result
        then.append(Op(YIELD, {"values": [loaded]}, location=builder.location))
    with builder.inside(other):
        given = op.optional_operand("other")
        if given is None:
            value = builder.constant(0, loaded.type.element)
        else:
            value = _Lanes(lowering).of(given, indices)
        other.append(Op(YIELD, {"values": [value]}, location=builder.location))
    chosen = Op(IF, {"condition": condition}, regions=(then, other), location=builder.location)
    return builder.block.append(chosen).result


def conjuncts(mask: Value | None) -> list[Value]:
    """The parts of a mask that all have to hold, views of an ``and`` taken apart too."""
    if mask is None:
        return []
    op = mask.defining_op
    if op is not None and op.name == AND.name:
        return conjuncts(op.operands[0]) + conjuncts(op.operands[1])
    return [mask]


@dataclass(frozen=True)
class Bound:
    """A part of a mask that holds for the first lanes along ``dim`` of the accessed tile.

    ``step * i < limit`` where ``limit`` is ``limit_of`` minus ``offset_of``, both at index 0, plus ``extra``.
    """

    dim: int
    limit_of: Value
    offset_of: Value
    step: int
    extra: int


def bound_of(analysis: AccessAnalysis, part: Value) -> Bound | None:
    """How a part of a mask bounds one dimension from above; None where it does something else."""
    dims = [d for d in range(part.type.rank) if analysis.stride_of_mask(part, d) is None]
    if len(dims) != 1:
        return None
    dim, inner = behind_views(part, dims[0])
    op = inner.defining_op
    if dim is None or op is None or op.name != CMP.name:
        return None
    predicate = op.attributes["predicate"]
    assert isinstance(predicate, CmpPredicate)
    lhs, rhs = op.operands
    strides = analysis.stride(lhs, dim), analysis.stride(rhs, dim)
    if predicate not in _FLIPPED or strides[0] is None or strides[1] is None:
        return None
    if not all(d == dim or analysis.stride_of_mask(inner, d) is not None for d in range(inner.type.rank)):
        return None
    if strides[0].constant is None or strides[1].constant is None:
        return None
    step = strides[0].constant - strides[1].constant
    if step < 0:
        lhs, rhs, step, predicate = rhs, lhs, -step, _FLIPPED[predicate]
    if step == 0 or predicate not in (CmpPredicate.LT, CmpPredicate.LE):
        return None
    return Bound(dims[0], rhs, lhs, step, 1 if predicate is CmpPredicate.LE else 0)


def behind_views(value: Value, dim: int) -> tuple[int | None, Value]:
    """The value behind views, and the dim of it that shows along ``dim``; None where none does."""
    mapped: int | None = dim
    while mapped is not None and value.defining_op is not None:
        op = value.defining_op
        if op.name == BROADCAST.name:
            mapped = mapped if op.operands[0].type.shape[mapped] != 1 else None
        elif op.name == TRANSPOSE.name:
            order = op.attributes["order"]
            assert isinstance(order, tuple)
            mapped = order[mapped]
        elif op.name == RESHAPE.name:
            mapping = reshape_dims(op.operands[0].type.shape, op.result.type.shape)
            mapped = mapping[mapped] if mapping is not None else None
        else:
            break
        value = op.operands[0]
    return mapped, value


def bound_count(lowering: Lowering, bound: Bound, size: int) -> Index:
    """How many of the ``size`` lanes along the dimension of ``bound`` it lets through, as int32."""
    builder = lowering.builder
    lanes = _Lanes(lowering)
    limit, offset = (
        builder.value(lanes.of(v, (0,) * v.type.rank), INT64) for v in (bound.limit_of, bound.offset_of)
    )
    room = builder.maximum(builder.add(builder.sub(limit, offset), bound.extra), 0)
    return builder.value(builder.minimum(builder.ceil_divide(room, bound.step), size))


def pointer_lane(lowering: Lowering, pointer: Value, indices: Sequence[Index]) -> Value:
    """The address of one lane of a pointer tile."""
    found = lane(lowering, pointer, indices)
    assert found.type.element.is_ptr()
    return found


def is_computable(lowering: Lowering, value: Value) -> bool:
    """Whether all scalars that a tile is made of have been lowered: its lanes can be computed here."""
    pending, seen = [value], set[Value]()
    while pending:
        value = pending.pop()
        if value in seen or value in lowering.scalars:
            continue
        seen.add(value)
        op = value.defining_op
        if op is None or op.regions or (value.type.is_scalar and op.name != CONSTANT.name):
            return False
        pending += op.operands
    return True


def uniform(analysis: AccessAnalysis, part: Value) -> bool:
    """Whether a part of a mask is the same for all lanes."""
    return all(analysis.stride_of_mask(part, d) is not None for d in range(part.type.rank))
