"""Have dots that read memory themselves fetch the next tile while they compute.

Holds before: a plan whose dots may stream operands. Holds after: in a loop, each such dot names the load
whose rows the next streaming dot will read, in this trip or, after the last dot of the body, in the next.
Caches are the second buffer: the fetches are spread over the arithmetic of the dot. The next trip's
addresses come from computing the scalars they depend on again; where that is not possible - they depend on
values that the loop carries - nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Iterator

from tilejit.ir.core import Block, Op, Value
from tilejit.ir.loop_plan import DotStep, ForStep, LoopPlan, Prefetch, Step, nested_steps
from tilejit.ops import memory

_INLINE_LIMIT = 64
"""Ops of an address computation, beyond which it is not worth repeating."""


def double_buffer(plan: LoopPlan) -> None:
    """Plan prefetches in all loops."""
    _visit(plan, plan.steps)


def _visit(plan: LoopPlan, steps: list[Step]) -> None:
    for step in steps:
        for nested in nested_steps(step):
            _visit(plan, nested)
        if isinstance(step, ForStep):
            _plan_loop(plan, step)


def _plan_loop(plan: LoopPlan, loop: ForStep) -> None:
    streaming = [step for step in loop.body if isinstance(step, DotStep) and any(_loads(step))]
    for number, step in enumerate(streaming):
        is_last = number + 1 == len(streaming)
        following = streaming[0] if is_last else streaming[number + 1]
        for load in _loads(following):
            if not is_last and _is_computed_before(load, step.op):
                step.prefetches.append(Prefetch(load, next_trip=False))
            elif is_last and _is_repeatable(plan, loop.op, load.operand("pointer")):
                step.prefetches.append(Prefetch(load, next_trip=True))


def _loads(step: DotStep) -> Iterator[Op]:
    for side in (step.a, step.b):
        if side.load is not None:
            yield side.load


def _is_computed_before(load: Op, dot: Op) -> bool:
    """Whether the load stands before the dot, so that its address is known there."""
    block = load.parent
    return block is not None and block is dot.parent and block.ops.index(load) < block.ops.index(dot)


def _is_repeatable(plan: LoopPlan, loop: Op, pointer: Value) -> bool:
    """Whether a pointer in the loop's body follows from the loop's index and what is known outside."""
    body = loop.regions[0]
    seen: set[Value] = set()

    def follows(value: Value) -> bool:
        if value in seen or not _is_inside(value, body):
            return True
        seen.add(value)
        op = value.defining_op
        if op is None:
            return value is body.arguments[0]
        if value in plan.buffers or op.regions or len(seen) > _INLINE_LIMIT:
            return False
        if op.name == memory.LOAD.name and (value.type.rank or op.optional_operand("mask") is not None):
            return False
        if op.parent is not body or op.name in (memory.ATOMIC_RMW.name, memory.ATOMIC_CAS.name):
            return False
        return all(follows(operand) for operand in op.operands)

    return follows(pointer)


def _is_inside(value: Value, body: Block) -> bool:
    block = value.owner if isinstance(value.owner, Block) else value.owner.parent
    while block is not None:
        if block is body:
            return True
        holder = block.parent
        block = holder.parent if isinstance(holder, Op) else None
    return False
