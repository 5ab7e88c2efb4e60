"""Have dots that read memory themselves fetch the next tile while they compute.

Holds before: a plan whose dots may stream operands. Holds after: in a loop, each such dot names the load
whose rows the next streaming dot will read, in this trip or, after the last dot of the body, in the next.
Caches are the second buffer: the fetches are spread over the arithmetic of the dot. The next trip's
addresses come from computing the scalars they depend on again, also those by which a loop moves pointers on;
where that is not possible - they depend on tiles that the loop carries, or on memory that it writes - nothing
is fetched. Nor is it during dots of many rows, which use what they read so often that waiting for it does not
show, nor where hardware prefetchers find the rows: long ones at places that follow from the loop's index. Of
two operands that could be fetched, the larger is, and the first of equal ones.
"""

from __future__ import annotations

from collections.abc import Iterator

from tilejit.ir.core import Block, Op, Value
from tilejit.ir.loop_plan import DotStep, ForStep, LoopPlan, Prefetch, Step, dots_of, nested_steps
from tilejit.ir.opdef import Effects
from tilejit.ops import memory, shape
from tilejit.passes.access import AccessAnalysis, may_alias, orders_memory
from tilejit.passes.manager import PassContext

_INLINE_LIMIT = 64
"""Ops of an address computation, beyond which it is not worth repeating."""
_MOST_ROWS = 64
"""Rows of a dot up to which it fetches: more of them compute for so long on what was fetched that memory is
not what they wait for.
"""
_FEW_ROWS = 8
"""Rows of a dot up to which memory is what it waits for all the time, so that prefetchers stay ahead."""
_LONG_ROW_BYTES = 512
"""Rows that are read sooner where nothing is fetched: hardware prefetchers keep many lines under way beside
the second-level cache, a fetch holds one of the core's few line buffers: ``benchmarks run skinny_matmul_kn``.
"""
_VIEWS = frozenset(
    definition.name
    for definition in (shape.SPLAT, shape.BROADCAST, shape.RESHAPE, shape.TRANSPOSE, shape.JOIN, shape.SPLIT)
)


def double_buffer(plan: LoopPlan, analysis: AccessAnalysis, context: PassContext) -> None:
    """Plan prefetches in all loops; ``context`` is told of those that cannot be."""
    _visit(plan, analysis, context, plan.steps)


def _visit(plan: LoopPlan, analysis: AccessAnalysis, context: PassContext, steps: list[Step]) -> None:
    for step in steps:
        for nested in nested_steps(step):
            _visit(plan, analysis, context, nested)
        if isinstance(step, ForStep):
            _plan_loop(plan, analysis, context, step)


def _plan_loop(plan: LoopPlan, analysis: AccessAnalysis, context: PassContext, loop: ForStep) -> None:
    streaming = [step for step in dots_of(loop.body) if any(_loads(step))]
    next_trip = NextTrip(plan, analysis, loop.op) if streaming else None
    for number, step in enumerate(streaming):
        is_last = number + 1 == len(streaming)
        following = streaming[0] if is_last else streaming[number + 1]
        # The smaller of two operands is the likelier to be in the cache already.
        for load in sorted(_loads(following), key=_size_bytes, reverse=True):
            rows = step.op.operand("a").type.shape[-2]
            if step.prefetch is not None or (rows <= _FEW_ROWS and _is_followed(load, loop.op)):
                break
            if not _has_rows(plan, load):
                continue
            if rows > _MOST_ROWS:
                continue
            if not is_last and _is_computed_before(load, step.op):
                step.prefetch = Prefetch(load, next_trip=False)
            elif is_last and next_trip is not None and next_trip.knows(load.operand("pointer"), carried=True):
                step.prefetch = Prefetch(load, next_trip=True)
            elif is_last:
                message = "the tile of the next trip is not fetched ahead: where it lies is not known before"
                context.remark(message, load.location)


def _loads(step: DotStep) -> Iterator[Op]:
    for side in (step.a, step.b):
        if side.load is not None:
            yield side.load


def _size_bytes(load: Op) -> int:
    return load.result.type.size * load.result.type.element.itemsize


def _has_rows(plan: LoopPlan, load: Op) -> bool:
    """Whether the elements of a row lie side by side, so that its lines can be fetched."""
    return plan.in_place[load][-1].constant == 1


def _is_followed(load: Op, loop: Op) -> bool:
    """Whether hardware prefetchers find the rows by themselves: long ones, at places that no table gives."""
    tile = load.result.type
    if tile.shape[-1] * tile.element.itemsize < _LONG_ROW_BYTES:
        return False
    body = loop.regions[0]
    pending, seen = [load.operand("pointer")], set[Value]()
    while pending:
        value = pending.pop()
        op = value.defining_op
        if value in seen or op is None or not _is_inside(value, body):
            continue
        if op.name == memory.LOAD.name:
            return False
        seen.add(value)
        pending += op.operands
    return True


def _is_computed_before(load: Op, dot: Op) -> bool:
    """Whether the load stands before the dot, so that its address is known there."""
    block = load.parent
    return block is not None and block is dot.parent and block.ops.index(load) < block.ops.index(dot)


class NextTrip:
    """What can be computed, in one trip of a loop, as the next trip will compute it."""

    def __init__(self, plan: LoopPlan, analysis: AccessAnalysis, loop: Op) -> None:
        self._plan = plan
        self._analysis = analysis
        self._body = loop.regions[0]
        self._writes = [op for op in loop.walk() if not op.regions and Effects.WRITE in op.effects]

    def knows(self, pointer: Value, *, carried: bool = False) -> bool:
        """Whether a pointer in the loop's body follows from the loop's index and what is known outside.

        ``carried``: or from scalars that the loop carries, as pointers that each trip moves on.
        """
        seen: set[Value] = set()
        pending = [pointer]
        while pending:
            value = pending.pop()
            if value in seen or not _is_inside(value, self._body):
                continue
            seen.add(value)
            op = value.defining_op
            if op is None and value is not self._body.arguments[0] and not (carried and self._moves(value)):
                return False
            if op is not None:
                if len(seen) > _INLINE_LIMIT or not self._is_repeatable(op, value):
                    return False
                pending += op.operands
        return True

    def _moves(self, argument: Value) -> bool:
        """Whether the next trip's value of what a loop carries is one of scalars and arithmetic of this
        trip.
        """
        seen: set[Value] = set()
        pending = [self._body.terminator.operands[argument.index - 1]] if argument.owner is self._body else []
        is_known = bool(pending)
        while pending and is_known:
            value = pending.pop()
            op = value.defining_op
            if value in seen or not _is_inside(value, self._body) or op is None:
                is_known = value.type.is_scalar
                continue
            seen.add(value)
            pending += op.operands
            is_known = value.type.is_scalar and op.definition.is_elementwise and op.parent is self._body
        return is_known and len(seen) <= _INLINE_LIMIT

    def _is_repeatable(self, op: Op, value: Value) -> bool:
        """Whether an op of the body can be computed again, given its operands."""
        if op.parent is not self._body or value in self._plan.buffers:
            return False
        if op.name == memory.LOAD.name:
            return value.type.is_scalar and op.optional_operand("mask") is None and not self._is_written(op)
        if op.definition.is_elementwise or not op.operands:
            return True
        return op.name in _VIEWS and not value.type.is_scalar

    def _is_written(self, load: Op) -> bool:
        """Whether the loop may write what ``load`` reads: what it read now might lead anywhere."""
        root = self._analysis.root(load.operand("pointer"))
        return any(
            orders_memory(op)
            or may_alias(self._plan.function, root, self._analysis.root(op.operand("pointer")))
            for op in self._writes
        )


def _is_inside(value: Value, body: Block) -> bool:
    block = value.owner if isinstance(value.owner, Block) else value.owner.parent
    while block is not None:
        if block is body:
            return True
        holder = block.parent
        block = holder.parent if isinstance(holder, Op) else None
    return False
