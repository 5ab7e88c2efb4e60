"""Have nests that read rows fetch those of the next program, or of the next trip of a loop.

Holds before: shaped nests, of which one may be late: it fetches nothing. Holds after: the nests that walk the
rows of a load - all but the first find them in the cache - and those like them that follow name the load,
whose rows at the next program's place, or in a loop at the next trip's, are to be fetched. One thread runs
programs in increasing order, several in a row. Without this, memory waits while a program computes on what it
has read, and the program after it waits for memory. Even of one nest the instructions in flight reach only a
few lines ahead.

Each of several nests fetches a part of every row, so that memory is never idle. The last walk fetches most:
it mostly computes most, or stores, and memory takes reads and writes together in less time than one after
the other. Loops are those of nests, scalars and choices between them only; dots fetch their own operands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

from tilejit.ir.core import Op, Value
from tilejit.ir.loop_plan import (
    Ahead,
    Fetch,
    ForStep,
    IfStep,
    LoopPlan,
    Nest,
    ReduceRoot,
    ScalarStep,
    Step,
    WhileStep,
)
from tilejit.ir.types import product
from tilejit.ops import control, shape
from tilejit.passes.access import AccessAnalysis
from tilejit.passes.double_buffer import NextTrip
from tilejit.passes.inline_values import nest_leaves

FEWEST_BYTES = 4096
"""Rows worth fetching: shorter ones the hardware has fetched before these instructions are through."""
MOST_BYTES = 64 * 1024
"""Rows that find room in a quarter of the smallest second-level cache, 256 KB, beside those in use."""
_PARTS_OF_TWO, _PARTS = 8, 4
"""Into how many parts the rows are cut that two nests share, or more of them: the last walk has what the
others leave, one part each. Sapphire Rapids, two threads, 4096 columns, share of a copy's speed: softmax 0.81
where the second of three nests fetches all, 0.90 in parts of 1, 2, 1; layer_norm 0.78, and 0.84 in parts of
1, 1, 2; rms_norm 0.95, 1.01 in parts of 1, 3 and 3 % more in parts of 1, 7. Three nests lose by eighths.
"""
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


def fetch_ahead(plan: LoopPlan, analysis: AccessAnalysis) -> None:
    """Plan the fetches of a kernel.

    Of one with loops the rows of the next program are fetched at most at the last trip of its only loop:
    it has computed long since what its first loads read.
    """
    loops = [step for step in plan.steps if isinstance(step, ForStep | WhileStep)]
    if not loops:
        _plan(plan, plan.steps, lambda load: Ahead.PROGRAM if _moves_on(plan, load) else None)
    for loop in _plain_loops(plan.steps):
        trips = NextTrip(plan, analysis, loop.op)

        def ahead(load: Op, loop: ForStep = loop, trips: NextTrip = trips) -> Ahead | None:
            pointer, index = load.operand("pointer"), loop.op.regions[0].arguments[0]
            if not trips.knows(pointer) or not _depends_on(pointer, index):
                return None
            wraps = loops == [loop] and _moves_on(plan, load, index) and _is_fixed(loop.op.operand("lower"))
            return Ahead.TRIP_OR_PROGRAM if wraps else Ahead.TRIP

        _plan(plan, loop.body, ahead)


def _plain_loops(steps: list[Step]) -> Iterator[ForStep]:
    for step in steps:
        if isinstance(step, ForStep) and all(_is_plain_step(inner) for inner in step.body):
            yield step


def _is_plain_step(step: Step) -> bool:
    """Whether a step is a nest, a scalar, or a choice between such: nests in branches fetch nothing."""
    if isinstance(step, IfStep):
        return all(_is_plain_step(inner) for inner in (*step.then_steps, *step.else_steps))
    return isinstance(step, Nest | ScalarStep)


def _plan(plan: LoopPlan, steps: list[Step], ahead: Callable[[Op], Ahead | None]) -> None:
    """Have the nests that walk the rows of a load, and those after them, fetch its rows."""
    walks: dict[Op, list[Nest]] = {}
    for step in steps:
        if isinstance(step, Nest) and not step.is_late:
            for load in dict.fromkeys(_rows(plan, step)):
                walks.setdefault(load, []).append(step)
    for load, nests in walks.items():
        whose = ahead(load)
        if whose is not None:
            _share(load, whose, nests, steps)


def _share(load: Op, whose: Ahead, walks: list[Nest], steps: list[Step]) -> None:
    """Spread the fetches of a load over the nests from the first that walks its rows on: the last walk is
    given most.
    """
    last = walks[-1]
    later = [
        step for step in steps[steps.index(last) + 1 :] if isinstance(step, Nest) and _is_like(step, last)
    ]
    nests = [*walks, *later]
    parts = _PARTS_OF_TWO if len(nests) == 2 else max(_PARTS, 1 << (len(nests) - 1).bit_length())
    small = Fraction(1, parts)
    first = Fraction(0)
    for nest in nests:
        share = 1 - small * (len(nests) - 1) if nest is last else small
        nest.fetches.append(Fetch(load, whose, first, share))
        first += share


def _is_like(nest: Nest, other: Nest) -> bool:
    """Whether two nests walk the same dimensions in vectors."""
    is_same = nest.shape == other.shape and nest.vector_dim == other.vector_dim
    return is_same and _walks_vectors(nest) and not nest.is_late


def _rows(plan: LoopPlan, nest: Nest) -> Iterator[Op]:
    """The loads that a nest walks along contiguous rows of a fitting size, point by point."""
    if not _walks_vectors(nest):
        return
    for leaf in nest_leaves(nest, plan.buffers):
        if leaf.load is None or not leaf.is_identity(nest.shape):
            continue
        along = plan.accesses[leaf.load].strides[nest.vector_dim]
        row_bytes = product(nest.shape) * leaf.value.type.element.itemsize
        if along is not None and along.constant == 1 and FEWEST_BYTES <= row_bytes <= MOST_BYTES:
            yield leaf.load


def _walks_vectors(nest: Nest) -> bool:
    """Whether the innermost loop of a nest is that over vectors."""
    axis = next((root.axis for root in nest.roots if isinstance(root, ReduceRoot)), None)
    return nest.lanes > 1 and axis in (None, nest.vector_dim)


def _moves_on(plan: LoopPlan, load: Op, index: Value | None = None) -> bool:
    """Whether the address depends on the program, and follows from it, the arguments and ``index`` alone."""
    depends = False
    pending, seen = [load.operand("pointer")], set[Value]()
    while pending:
        value = pending.pop()
        op = value.defining_op
        if value in seen or value is index or (op is None and value in plan.function.body.arguments):
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


def _depends_on(pointer: Value, index: Value) -> bool:
    """Whether an address follows from the index of a loop."""
    pending, seen = [pointer], set[Value]()
    while pending:
        value = pending.pop()
        if value is index:
            return True
        if value not in seen and value.defining_op is not None:
            pending += value.defining_op.operands
        seen.add(value)
    return False


def _is_fixed(value: Value) -> bool:
    """Whether a scalar is the same for all programs."""
    op = value.defining_op
    return op is None or op.name == shape.CONSTANT.name


def _is_plain(op: Op) -> bool:
    """Whether a view of a tile is a tile."""
    return op.results[0].type.rank > 0 or not op.operands
