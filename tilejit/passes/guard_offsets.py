"""Find the narrow offsets whose wrapping would break the contiguous vectors of a nest.

Offsets of 32 bits wrap, as in Triton. A vector load takes the address of its first lane and assumes that the
others follow; that holds unless the offset wraps between two lanes. Where constants and remainders prove
that it does not, nothing is to be done; every other offset becomes a guard, tested once per row of the nest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tilejit.ir.core import Value
from tilejit.ir.loop_plan import Buffer, Nest, StoreRoot, WrapGuard
from tilejit.ir.types import DType
from tilejit.ops import elementwise as ew
from tilejit.passes.access import AccessAnalysis
from tilejit.passes.inline_values import DimMap, Leaf, operand_dims
from tilejit.passes.intervals import never_wraps


def find_guards(
    nest: Nest, leaves: Sequence[Leaf], buffers: Mapping[Value, Buffer], analysis: AccessAnalysis
) -> Iterator[WrapGuard]:
    """The offsets to test before the vectors of a nest may be used, each once."""
    accesses: list[tuple[Value, DimMap]] = [
        (leaf.load.operand("pointer"), leaf.dims) for leaf in leaves if leaf.load is not None
    ]
    identity = tuple(range(len(nest.shape)))
    accesses += [(root.op.operand("pointer"), identity) for root in nest.roots if isinstance(root, StoreRoot)]
    seen: set[Value] = set()
    for pointer, dims in accesses:
        if nest.vector_dim not in dims:
            continue
        stride = analysis.stride(pointer, dims.index(nest.vector_dim))
        if stride is None or stride.constant != 1:
            continue
        for value, value_dims in _narrow_offsets(pointer, dims, buffers):
            if value in seen or nest.vector_dim not in value_dims:
                continue
            seen.add(value)
            step = analysis.stride(value, value_dims.index(nest.vector_dim))
            if step is not None and step.constant and not never_wraps(value):
                yield WrapGuard(value, value_dims, step.constant)


def _narrow_offsets(
    value: Value, dims: DimMap, buffers: Mapping[Value, Buffer]
) -> Iterator[tuple[Value, DimMap]]:
    """The integer tiles narrower than 64 bits that are widened on the way to an address."""
    op = value.defining_op
    if value.type.is_scalar or op is None or value in buffers:
        return
    for operand in op.operands:
        if operand.type.is_scalar:
            continue
        element = operand.type.element
        own_dims = operand_dims(op, operand, dims)
        is_widened = (
            op.name in (ew.ADDPTR.name, ew.CAST.name) and isinstance(element, DType) and element.is_int()
        )
        if is_widened and isinstance(element, DType) and element.bits < 64:
            yield operand, own_dims
        else:
            yield from _narrow_offsets(operand, own_dims, buffers)
