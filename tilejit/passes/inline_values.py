"""Walk the inline values that a nest evaluates, keeping track of which nest dimension each of their dims
follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tilejit.ir.core import Op, Value
from tilejit.ir.loop_plan import Buffer, Materialise, Nest, ReduceRoot, Root, StoreRoot
from tilejit.ops import memory, shape
from tilejit.ops.shape import reshape_dims
from tilejit.records import dataclass

DimMap = tuple[int | None, ...]
"""For each dim of a value the nest dim it follows, None where it stays at one index or follows no single
dim.
"""


@dataclass(frozen=True)
class Leaf:
    """Something a nest reads: a load, a buffer or a scalar, seen through ``dims``."""

    value: Value
    dims: DimMap
    load: Op | None = None
    is_buffer: bool = False

    def is_identity(self, nest_shape: tuple[int, ...]) -> bool:
        """Whether element i of the value is read exactly at point i of the nest."""
        return self.value.type.shape == nest_shape and all(
            dim == i or nest_shape[i] == 1 for i, dim in enumerate(self.dims)
        )


def root_inputs(root: Root) -> list[Value]:
    """The values a root evaluates at the points of its nest."""
    match root:
        case Materialise():
            return [root.value]
        case StoreRoot(op=op):
            return [
                v for name in ("value", "mask", "pointer") if (v := op.optional_operand(name)) is not None
            ]
        case ReduceRoot(op=op):
            return list(op.operands)


def root_shape(root: Root) -> tuple[int, ...]:
    """The iteration shape of a root."""
    match root:
        case Materialise():
            return root.value.type.shape
        case StoreRoot(op=op):
            return op.operand("pointer").type.shape
        case ReduceRoot(op=op):
            return op.operands[0].type.shape


def nest_leaves(nest: Nest, buffers: Mapping[Value, Buffer]) -> Iterator[Leaf]:
    """Everything the roots of a nest read."""
    for root in nest.roots:
        yield from root_leaves(root, buffers)


def root_leaves(root: Root, buffers: Mapping[Value, Buffer]) -> Iterator[Leaf]:
    """Everything one root reads."""
    seen: set[tuple[Value, DimMap]] = set()
    identity: DimMap = tuple(range(len(root_shape(root))))
    for value in root_inputs(root):
        own = isinstance(root, Materialise) and not root.is_copy
        yield from _walk(value, identity, buffers, seen, own)


def op_leaves(op: Op, buffers: Mapping[Value, Buffer]) -> Iterator[Leaf]:
    """Everything that is read to evaluate the operands of an op which is a step of its own."""
    seen: set[tuple[Value, DimMap]] = set()
    for value in op.operands:
        yield from _walk(value, (None,) * value.type.rank, buffers, seen)


def _walk(
    value: Value,
    dims: DimMap,
    buffers: Mapping[Value, Buffer],
    seen: set[tuple[Value, DimMap]],
    look_inside: bool = False,
) -> Iterator[Leaf]:
    if (value, dims) in seen and not look_inside:
        return
    seen.add((value, dims))
    op = value.defining_op
    if value.type.is_scalar:
        yield Leaf(value, ())
        return
    if op is None or (value in buffers and not look_inside):
        yield Leaf(value, dims, is_buffer=True)
        return
    if op.name == memory.LOAD.name:
        yield Leaf(value, dims, load=op)
    for operand in op.operands:
        yield from _walk(operand, operand_dims(op, operand, dims), buffers, seen)


def operand_dims(op: Op, operand: Value, dims: DimMap) -> DimMap:
    """The dims of an operand of an inline op, given those of its result."""
    source = operand.type.shape
    if not source or op.name == shape.SPLAT.name:
        return ()
    if op.name == shape.BROADCAST.name:
        return tuple(None if size == 1 else dims[i] for i, size in enumerate(source))
    if op.name == shape.TRANSPOSE.name:
        order = op.attributes["order"]
        assert isinstance(order, tuple)
        return tuple(dims[order.index(i)] for i in range(len(source)))
    if op.name == shape.RESHAPE.name:
        mapping = reshape_dims(source, op.results[0].type.shape)
        if mapping is None:
            return tuple(None for _ in source)
        back = {s: dims[t] for t, s in enumerate(mapping) if s is not None}
        return tuple(back.get(i) for i in range(len(source)))
    if op.name == shape.JOIN.name:
        return dims[:-1]
    if op.name == shape.SPLIT.name:
        return (*dims, None)
    return dims
