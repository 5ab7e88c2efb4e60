"""Walk the inline values that a nest evaluates, keeping track of which nest dimension each of their dims
follows.
"""

from __future__ import annotations

from collections.abc import Mapping

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


def nest_leaves(nest: Nest, buffers: Mapping[Value, Buffer]) -> list[Leaf]:
    """Everything the roots of a nest read."""
    return [leaf for root in nest.roots for leaf in root_leaves(root, buffers)]


def root_leaves(root: Root, buffers: Mapping[Value, Buffer]) -> list[Leaf]:
    """Everything one root reads."""
    walk = _Walk(buffers)
    identity: DimMap = tuple(range(len(root_shape(root))))
    own = isinstance(root, Materialise) and not root.is_copy
    for value in root_inputs(root):
        walk.visit(value, identity, own)
    return walk.leaves


def op_leaves(op: Op, buffers: Mapping[Value, Buffer]) -> list[Leaf]:
    """Everything that is read to evaluate the operands of an op which is a step of its own."""
    walk = _Walk(buffers)
    for value in op.operands:
        walk.visit(value, (None,) * value.type.rank)
    return walk.leaves


class _Walk:
    """Gathers the leaves below values, each value seen through the same dims once."""

    def __init__(self, buffers: Mapping[Value, Buffer]) -> None:
        self.leaves: list[Leaf] = []
        self._buffers = buffers
        self._seen: set[tuple[Value, DimMap]] = set()

    def visit(self, value: Value, dims: DimMap, look_inside: bool = False) -> None:
        """Gather what ``value`` reads; ``look_inside`` even where it is in a buffer."""
        key = (value, dims)
        if key in self._seen and not look_inside:
            return
        self._seen.add(key)
        op = value.defining_op
        if value.type.is_scalar:
            self.leaves.append(Leaf(value, ()))
            return
        if op is None or (value in self._buffers and not look_inside):
            self.leaves.append(Leaf(value, dims, is_buffer=True))
            return
        if op.name == memory.LOAD.name:
            self.leaves.append(Leaf(value, dims, load=op))
        for operand in op.operands:
            self.visit(operand, operand_dims(op, operand, dims))


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
