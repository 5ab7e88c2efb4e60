"""Find the offsets whose wrapping would break the contiguous vectors of a nest.

Offsets of 32 bits wrap, as in Triton. A vector load takes the address of its first lane and assumes that the
others follow; that holds unless an offset wraps between two lanes. Where constants and remainders prove that
it does not, or lanes count on from a multiple of their number, a power of two, nothing is to be done; every
other offset becomes a guard, tested once per row of the nest. An address that was put into a buffer is a
guard itself, since how it came about is not known any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tilejit.ir.core import Block, Op, Value
from tilejit.ir.loop_plan import Buffer, Nest, ReduceRoot, StoreRoot, WrapGuard
from tilejit.ir.types import DType, product
from tilejit.ops import control, shape
from tilejit.ops import elementwise as ew
from tilejit.passes.access import VIEW_OPS, AccessAnalysis, scalar_source
from tilejit.passes.algebra import constant_value
from tilejit.passes.inline_values import DimMap, Leaf, operand_dims

_Place = tuple[Value, DimMap]


def find_guards(
    nest: Nest, leaves: Sequence[Leaf], buffers: Mapping[Value, Buffer], analysis: AccessAnalysis
) -> Iterator[WrapGuard]:
    """The offsets to test before the vectors of a nest may be used, each once."""
    identity = tuple(range(len(nest.shape)))
    pointers = [(leaf.load.operand("pointer"), leaf.dims) for leaf in leaves if leaf.load is not None]
    pointers += [(root.op.operand("pointer"), identity) for root in nest.roots if isinstance(root, StoreRoot)]
    axis = next((root.axis for root in nest.roots if isinstance(root, ReduceRoot)), None)
    seen: set[_Place] = set()
    for pointer, dims in pointers:
        if nest.vector_dim not in dims:
            continue
        stride = analysis.stride(pointer, dims.index(nest.vector_dim))
        if stride is None or stride.constant != 1:
            continue
        for value, value_dims in _offsets((pointer, dims), buffers, seen):
            if nest.vector_dim not in value_dims or analysis.is_exact(value) or _is_aligned_range(value):
                continue
            step = analysis.stride(value, value_dims.index(nest.vector_dim))
            if step is not None and step.constant:
                along = analysis.stride(value, value_dims.index(axis)) if axis in value_dims else None
                yield WrapGuard(value, value_dims, step.constant, None if along is None else along.constant)


def _is_aligned_range(value: Value) -> bool:
    """Whether the lanes of an integer tile count on from a multiple of a power of two up to the next one at
    most. Integers wrap at multiples of every such power, which lanes then do not cross.
    """
    while (op := value.defining_op) is not None and op.name in VIEW_OPS and not op.operands[0].type.is_scalar:
        value = op.operands[0]
    if op is None or op.name != ew.ADD.name:
        return False
    for lanes, start in (op.operands, reversed(op.operands)):
        counted, first = lanes.defining_op, scalar_source(start)
        if first is not None and counted is not None and counted.name == shape.ARANGE.name:
            low, high = counted.attributes["start"], counted.attributes["end"]
            assert isinstance(low, int) and isinstance(high, int)
            return low >= 0 and high <= _factor(first)
    return False


_LARGEST = 1 << 31
"""Half of the integers of 32 bits, at whose multiples offsets of 32 bits and more wrap."""
_DEEPEST = 6
"""Ops through which factors are followed: what programs and loops count with takes fewer."""


def _factor(value: Value, depth: int = 0) -> int:
    """A power of two that divides an integer scalar, also if it wrapped."""
    number, op = constant_value(value), value.defining_op
    if isinstance(number, int):
        return min(_LARGEST, number & -number) if number else _LARGEST
    if depth == _DEEPEST:
        return 1
    parts: Sequence[Value] = ()
    if op is None and isinstance(value.owner, Block):
        loop = value.owner.parent
        if isinstance(loop, Op) and loop.name == control.FOR.name and value.index == 0:
            parts = (loop.operand("lower"), loop.operand("step"))
    elif op is not None and op.name in (ew.ADD.name, ew.SUB.name, ew.MUL.name):
        parts = op.operands
    factors = [_factor(part, depth + 1) for part in parts]
    if op is not None and op.name == ew.MUL.name:
        return min(_LARGEST, product(factors))
    return min(factors, default=1)


def _offsets(address: _Place, buffers: Mapping[Value, Buffer], seen: set[_Place]) -> Iterator[_Place]:
    """What an address is made from: integer tiles narrower than 64 bits that are widened on the way, and
    buffers.
    """
    pending = [address]
    while pending:
        value, dims = place = pending.pop()
        op, element = value.defining_op, value.type.element
        if value.type.is_scalar or place in seen:
            continue
        seen.add(place)
        if op is None or value in buffers:
            yield place
            continue
        for operand in reversed(op.operands):
            own_place = (operand, operand_dims(op, operand, dims))
            element = operand.type.element
            is_narrow = isinstance(element, DType) and element.is_int() and element.bits < 64
            if not (is_narrow and op.name in (ew.ADDPTR.name, ew.CAST.name)):
                pending.append(own_place)
            elif not operand.type.is_scalar and own_place not in seen:
                seen.add(own_place)
                yield own_place
