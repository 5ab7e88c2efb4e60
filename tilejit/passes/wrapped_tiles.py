"""Loads whose offsets wrap around the end of a matrix, as in ``rows = (start + tl.arange(0, M)) % m``.

Kernels wrap offsets so that loads need no mask; what they load behind the end is never stored. Where that is
so, the load may as well be bounded: its rows are those that do not wrap.
"""

from __future__ import annotations

from tilejit.ir.core import Function, Op, Value
from tilejit.ops import IREM
from tilejit.passes.access import AccessAnalysis, scalar_source
from tilejit.passes.tile_lanes import Bound


class WrappedTiles:
    """The strides of a function's pointer tiles as far as their offsets do not wrap."""

    def __init__(self, function: Function, analysis: AccessAnalysis) -> None:
        self._plain = analysis
        self._wraps = [op for op in function.walk() if _wraps(op, analysis)]
        self.analysis = AccessAnalysis(function, [op.result for op in self._wraps])

    def bounds(self, load: Op) -> list[Bound] | None:
        """The comparison that keeps a load before the wrap, if any; None where there is no single one."""
        pointer = load.operand("pointer")
        dims = [d for d in range(pointer.type.rank) if self._is_wrapped(pointer, d)]
        if not dims:
            return []
        wraps = [op for op in self._wraps if _is_made_of(pointer, op.result)]
        if len(dims) > 1 or len(wraps) != 1:
            return None
        offsets, size = wraps[0].operands
        return [Bound(dims[0], size, offsets, 1, 0)]

    def _is_wrapped(self, pointer: Value, dim: int) -> bool:
        return self._plain.stride(pointer, dim) is None and self.analysis.stride(pointer, dim) is not None


def _wraps(op: Op, analysis: AccessAnalysis) -> bool:
    """Whether a tile is the remainders of consecutive numbers."""
    if op.name != IREM.name or op.result.type.is_scalar or scalar_source(op.operands[1]) is None:
        return False
    strides = [analysis.stride(op.operands[0], d) for d, size in enumerate(op.result.type.shape) if size != 1]
    return len(strides) == 1 and strides[0] is not None and strides[0].constant == 1


def _is_made_of(value: Value, part: Value) -> bool:
    pending, seen = [value], set[Value]()
    while pending:
        value = pending.pop()
        if value is part:
            return True
        if value not in seen and value.defining_op is not None and not value.defining_op.regions:
            seen.add(value)
            pending += value.defining_op.operands
    return False
