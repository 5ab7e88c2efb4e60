"""Mark the nests whose stores may go to memory past the caches, where a launch stores more than they hold.

Holds before: shaped nests. Holds after: a nest is marked where it does nothing but store whole rows once, and
nothing in the kernel reads them or tells other threads of them: stores past the caches are slow to read back,
and are not ordered with the stores and atomics that follow.
"""

from __future__ import annotations

from collections.abc import Iterator

from tilejit.ir.core import Op, Value
from tilejit.ir.loop_plan import IfStep, LoopPlan, Nest, Step, StoreRoot, Streaming
from tilejit.ir.opdef import Effects
from tilejit.ir.types import product
from tilejit.ops import memory
from tilejit.passes.access import lanes_are_distinct, orders_memory
from tilejit.passes.shape_nests import FEWEST_CHUNKS

_ATOMICS = (memory.ATOMIC_RMW.name, memory.ATOMIC_CAS.name)


def stream_stores(plan: LoopPlan) -> None:
    """Mark nests outside of loops: a loop may store to one place again and again."""
    memory_ops = [op for op in plan.function.walk() if not op.regions and op.effects & _MEMORY]
    if any(orders_memory(op) or op.name in _ATOMICS for op in memory_ops):
        return
    read: set[Value | None] = {plan.accesses[op].root for op in memory_ops if op.name == memory.LOAD.name}
    for nest in _nests_outside_loops(plan.steps):
        stores = [root.op for root in nest.roots if isinstance(root, StoreRoot)]
        if (
            len(stores) == len(nest.roots)
            and nest.lanes > 1
            and nest.shape[nest.vector_dim] % nest.lanes == 0
            and all(_is_row(plan, nest, op, read) for op in stores)
        ):
            nest.streams = _kind(nest)


def _kind(nest: Nest) -> Streaming:
    """Rows of several dimensions may be short; looking for an aligned part of each would take too long."""
    if nest.shape[nest.vector_dim] >= FEWEST_CHUNKS * nest.lanes:
        return Streaming.STRETCHES
    is_long = product(nest.shape) >= FEWEST_CHUNKS * nest.lanes
    return Streaming.ROWS if is_long and not nest.bounds else Streaming.NO


_MEMORY = Effects.READ | Effects.WRITE


def _nests_outside_loops(steps: list[Step]) -> Iterator[Nest]:
    for step in steps:
        if isinstance(step, Nest):
            yield step
        elif isinstance(step, IfStep):
            yield from _nests_outside_loops(step.then_steps)
            yield from _nests_outside_loops(step.else_steps)


def _is_row(plan: LoopPlan, nest: Nest, store: Op, read: set[Value | None]) -> bool:
    """Whether a store writes neighbours, each once, under bounds alone, to what the kernel only writes."""
    access = plan.accesses[store]
    along = access.strides[nest.vector_dim]
    if access.root is None or access.root in read or along is None or along.constant != 1:
        return False
    if not lanes_are_distinct(access.strides, nest.shape, trust_scalars=True):
        return False
    known = {bound.value for bound in nest.bounds}
    return not access.has_other_mask and all(bound.value in known for bound in access.bounds)
