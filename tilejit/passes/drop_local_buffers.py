"""Take buffers from values that only the nest which computes them reads, at the points where it does.

Holds before: fused nests, buffers not yet placed. Holds after: such values are inline; their nest computes
them once a point as before, and nothing is stored. Before nests were fused, these readers stood in loops of
their own. Addresses and the integers that they are made from keep their buffers: a nest guards itself against
their wrapping.
"""

from __future__ import annotations

from collections.abc import Iterator

from tilejit.ir.core import Op, Value
from tilejit.ir.loop_plan import (
    AtomicStep,
    DotStep,
    MaskedStep,
    Materialise,
    Nest,
    PrintStep,
    Root,
    ScalarStep,
    ScanStep,
    Step,
    nested_steps,
    step_buffers,
)
from tilejit.ir.types import DType
from tilejit.passes.inline_values import Leaf, op_leaves, root_leaves
from tilejit.passes.plan_values import ValuePlan


def drop_local_buffers(steps: list[Step], values: ValuePlan) -> None:
    """Take such buffers away, in all steps; a nest keeps one root at least."""
    found = list(_all_steps(steps))
    for step in found:
        if isinstance(step, Nest):
            for root in [*step.roots]:
                if isinstance(root, Materialise) and _is_local(root, step, found, values):
                    step.roots.remove(root)
                    del values.buffers[root.value]


def _all_steps(steps: list[Step]) -> Iterator[Step]:
    for step in steps:
        yield step
        for nested in nested_steps(step):
            yield from _all_steps(nested)


def _is_local(root: Materialise, nest: Nest, steps: list[Step], values: ValuePlan) -> bool:
    value, buffer = root.value, root.buffer
    element = value.type.element
    if value in values.too_deep or not isinstance(element, DType) or not element.is_floating():
        return False
    if root.is_copy or len(nest.roots) == 1 or values.buffers.get(value) is not buffer:
        return False
    if any(other is buffer and owner is not value for owner, other in values.buffers.items()):
        return False
    for step in steps:
        uses = step_buffers(step)
        if buffer in uses and (step is not nest or uses.count(buffer) > 1):
            return False
        if isinstance(step, Nest) and any(_moves(other, value) for other in step.roots):
            return False
        for leaf in _leaves(step, root, values):
            if leaf.value is value and (step is not nest or not leaf.is_identity(nest.shape)):
                return False
    return True


def _moves(root: Root, value: Value) -> bool:
    """Whether a root takes ``value`` from its buffer to another one."""
    return isinstance(root, Materialise) and root.is_copy and root.value is value


def _leaves(step: Step, but: Materialise, values: ValuePlan) -> Iterator[Leaf]:
    """What a step reads, the root ``but`` excepted."""
    if isinstance(step, Nest):
        for root in step.roots:
            if root is not but:
                yield from root_leaves(root, values.buffers)
        return
    ops: list[Op] = []
    match step:
        case ScalarStep(op=op) | PrintStep(op=op):
            ops = [op]
        case ScanStep() | AtomicStep():
            ops = [step.op]
        case DotStep():
            ops = [side.load for side in (step.a, step.b) if side.load is not None]
        case MaskedStep():
            ops = [*step.tiles]
        case _:
            pass
    for op in ops:
        yield from op_leaves(op, values.buffers)
