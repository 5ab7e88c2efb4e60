"""Let nests over rows of bf16 take the numbers of a vector in another order: the even ones, then the odd.

Holds before: shaped nests. Holds after: a nest is marked where its full chunks may do so. Two neighbours are
the halves of a 32-bit word, which a shift and a mask take apart: in order, widening 32 numbers takes four
instructions, so two. Order must not matter: all that is computed is floats, each from the numbers at one
place, and is summed up, or rounded to bf16 again and stored as neighbours.
"""

from __future__ import annotations

from tilejit.ir.core import Op, Value
from tilejit.ir.loop_plan import LoopPlan, Nest, ReduceRoot, StoreRoot
from tilejit.ir.types import BF16, FP32, DType
from tilejit.ops import elementwise as ew
from tilejit.ops import memory, reduce, shape
from tilejit.passes.shape_nests import nests_of

_HALF_BYTES = 2


def pair_lanes(plan: LoopPlan, vector_bytes: int) -> None:
    """Mark nests in ``plan`` whose chunks are one register of bf16."""
    for nest in nests_of(plan.steps):
        if nest.lanes * _HALF_BYTES == vector_bytes:
            nest.in_pairs = _Order(plan, nest).does_not_matter()


class _Order:
    def __init__(self, plan: LoopPlan, nest: Nest) -> None:
        self.plan = plan
        self.nest = nest
        self.held = {bound.value for bound in nest.bounds}
        self.seen: set[Value] = set()
        self.loads = 0

    def does_not_matter(self) -> bool:
        """Whether every root may take its numbers in any order, and some are bf16 from memory."""
        for root in self.nest.roots:
            if isinstance(root, ReduceRoot):
                is_any = root.op.name == reduce.REDUCE.name and root.axis == self.nest.vector_dim
                values = list(root.op.operands)
            elif isinstance(root, StoreRoot):
                rounded = root.op.operand("value").defining_op
                is_any = rounded is not None and _casts(rounded, FP32, BF16) and self._is_row(root.op)
                values = list(rounded.operands) if rounded is not None else []
            else:
                return False
            if not is_any or not all(self._is_apt(value) for value in values):
                return False
        return self.loads > 0

    def _is_apt(self, value: Value) -> bool:
        """Whether a value is made of floats at one place each, or is the same everywhere, or held true."""
        op = value.defining_op
        if value in self.seen or value in self.held or value.type.is_scalar:
            return True
        self.seen.add(value)
        if op is None or value in self.plan.buffers or value.type.shape != self.nest.shape:
            return False
        if op.name == shape.SPLAT.name or (op.name == shape.CONSTANT.name and value.type.element == FP32):
            return True
        if _casts(op, BF16, FP32):
            return self._is_loaded(op.operands[0])
        element = value.type.element
        is_float = isinstance(element, DType) and (element == FP32 or element.is_bool())
        return is_float and op.definition.is_elementwise and all(self._is_apt(v) for v in op.operands)

    def _is_loaded(self, value: Value) -> bool:
        """Whether a value comes from neighbours in memory, and from nowhere else in full chunks."""
        op = value.defining_op
        if op is None or op.name != memory.LOAD.name or value in self.plan.buffers:
            return False
        self.loads += 1
        return value.type.shape == self.nest.shape and not op.attributes["volatile"] and self._is_row(op)

    def _is_row(self, op: Op) -> bool:
        """Whether an access is one of neighbours, under masks that are known to be full."""
        access = self.plan.accesses[op]
        along = access.strides[self.nest.vector_dim]
        is_row = along is not None and along.constant == 1
        return is_row and not access.has_other_mask and all(b.value in self.held for b in access.bounds)


def _casts(op: Op, source: DType, target: DType) -> bool:
    is_cast = op.name == ew.CAST.name
    return is_cast and op.operands[0].type.element == source and op.result.type.element == target
