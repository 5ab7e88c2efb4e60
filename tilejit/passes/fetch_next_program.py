"""Have nests that read rows again fetch those of the next program while they compute.

Holds before: shaped nests. Holds after: in a kernel without loops, the second nest that walks the rows of a
load - they are in the cache by then - names the load, whose rows at the next program's place are to be
fetched. One thread runs programs in increasing order, several in a row. Without this, memory waits while a
program computes on what it has read, and the program after it waits for memory.
"""

from __future__ import annotations

from collections.abc import Iterator

from tilejit.ir.core import Op, Value
from tilejit.ir.loop_plan import ForStep, LoopPlan, Nest, ReduceRoot, WhileStep
from tilejit.ir.types import product
from tilejit.ops import control, shape
from tilejit.passes.inline_values import nest_leaves

FEWEST_BYTES = 4096
"""Rows worth fetching: shorter ones the hardware has fetched before these instructions are through."""
MOST_BYTES = 64 * 1024
"""Rows that find room in a quarter of the smallest second-level cache, 256 KB, beside those in use."""
_PASSED_THROUGH = frozenset(
    definition.name
    for definition in (
        shape.SPLAT,
        shape.BROADCAST,
        shape.RESHAPE,
        shape.TRANSPOSE,
        shape.ARANGE,
        shape.CONSTANT,
        control.NUM_PROGRAMS,
    )
)


def fetch_next_program(plan: LoopPlan) -> None:
    """Plan the fetches of a kernel; one with loops has computed long since what its first loads read."""
    if any(isinstance(step, ForStep | WhileStep) for step in plan.steps):
        return
    read: set[Op] = set()
    fetched: set[Op] = set()
    for step in plan.steps:
        if isinstance(step, Nest):
            loads = dict.fromkeys(_rows(plan, step))
            step.fetches = [load for load in loads if load in read - fetched and _moves_on(plan, load)]
            fetched.update(step.fetches)
            read.update(loads)


def _rows(plan: LoopPlan, nest: Nest) -> Iterator[Op]:
    """The loads that a nest walks along contiguous rows of a fitting size, point by point."""
    axis = next((root.axis for root in nest.roots if isinstance(root, ReduceRoot)), None)
    if nest.lanes == 1 or axis not in (None, nest.vector_dim):
        return
    for leaf in nest_leaves(nest, plan.buffers):
        if leaf.load is None or not leaf.is_identity(nest.shape):
            continue
        along = plan.accesses[leaf.load].strides[nest.vector_dim]
        row_bytes = product(nest.shape) * leaf.value.type.element.itemsize
        if along is not None and along.constant == 1 and FEWEST_BYTES <= row_bytes <= MOST_BYTES:
            yield leaf.load


def _moves_on(plan: LoopPlan, load: Op) -> bool:
    """Whether the address depends on the program, and follows from it and the arguments alone."""
    depends = False
    pending, seen = [load.operand("pointer")], set[Value]()
    while pending:
        value = pending.pop()
        op = value.defining_op
        if value in seen or (op is None and value.type.is_scalar):
            continue
        seen.add(value)
        if op is None or value in plan.buffers:
            return False
        if op.name == control.PROGRAM_ID.name:
            depends = True
        elif op.definition.is_elementwise or (op.name in _PASSED_THROUGH and _is_plain(op)):
            pending += op.operands
        else:
            return False
    return depends


def _is_plain(op: Op) -> bool:
    """Whether a view of a tile is a tile."""
    return op.results[0].type.rank > 0 or not op.operands
