"""By how much the addresses of an access move from trip to trip of the loops around it.

What parts of a tile do one beside the other, or one after the other, must not meet: a lane that is another
part's in the next trip may be stored too early or too late.
"""

from __future__ import annotations

from collections.abc import Iterator

from tilejit.ir.core import Block, Op, Value
from tilejit.ir.loop_plan import Stride
from tilejit.ops import ADD, ADDPTR, CAST, FOR, IF, LOAD, MUL
from tilejit.ops.machine.buffer import is_program_loop
from tilejit.passes.access import VIEW_OPS, ZERO, AccessAnalysis, scalar_source, stride_of_result
from tilejit.passes.algebra import constant_value
from tilejit.passes.program_order import holders, loops_around

_DEEPEST = 50
"""Values that a stride is derived through."""


def lanes_keep_apart(analysis: AccessAnalysis, access: Op, *, trust_unknown: bool) -> bool:
    """Whether what a lane accesses is no other lane's in another trip of a loop within the program.

    ``trust_unknown``: take that to be so where addresses follow from memory, or are not known for another
    reason. Strides that the kernel computes at run time are taken to be wide enough.
    """
    pointer = access.operand("pointer")
    moves: list[tuple[Stride | None, int | None]] = []
    for loop in loops_around(access):
        move = trip_stride(pointer, loop) if not is_program_loop(loop) else ZERO
        if move is None or not move.is_zero:
            moves.append((move, _trips(loop)))
    if not moves:
        return True
    lanes = [
        (stride, size)
        for stride, size in zip(analysis.strides(pointer), pointer.type.shape, strict=True)
        if size > 1 and (stride is None or not stride.is_zero)
    ]
    groups: dict[tuple[Value, ...], list[tuple[int, int | None]]] = {}
    for stride, count in (*lanes, *moves):
        if stride is None:
            return trust_unknown
        groups.setdefault(stride.factors, []).append((abs(stride.coefficient), count))
    return all(map(_are_distinct, groups.values()))


def _are_distinct(distances: list[tuple[int, int | None]]) -> bool:
    """Whether no two sums of multiples of distances are equal; each is taken fewer times than its count.

    One without a count, of a loop that may run for long, is taken to end before the next longer distance.
    """
    reach = 0
    for distance, count in sorted(distances, key=lambda item: item[0]):
        if distance <= reach:
            return False
        reach += distance * ((count or 1) - 1)
    return True


def _trips(loop: Op) -> int | None:
    """How often a loop runs, where its bounds are constants."""
    if loop.name != FOR.name:
        return None
    lower, upper, step = (constant_value(loop.operand(name)) for name in ("lower", "upper", "step"))
    if not isinstance(lower, int) or not isinstance(upper, int) or not isinstance(step, int) or not step:
        return None
    return max(1, -(-(upper - lower) // step))


def trip_stride(value: Value, loop: Op, depth: int = 0) -> Stride | None:
    """By how much each element of a value grows from trip to trip; None where that is not one number."""
    op = value.defining_op
    if op is None:
        return _of_argument(value, loop)
    if loop not in holders(op):
        return ZERO
    if depth == _DEEPEST or op.regions or op.name == LOAD.name:
        return None
    strides = [trip_stride(operand, loop, depth + 1) for operand in op.operands]
    if op.name in VIEW_OPS:
        return strides[0]
    if not op.definition.is_elementwise:
        return ZERO if not op.operands else None
    if op.name == MUL.name and not any(stride is not None and stride.is_zero for stride in strides):
        return None
    return stride_of_result(op, strides)


def _of_argument(value: Value, loop: Op) -> Stride | None:
    """Of a value that a loop makes anew in each trip, or of an argument of the kernel."""
    block = value.owner
    holder = block.parent if isinstance(block, Block) else None
    if not isinstance(holder, Op) or (holder is not loop and loop not in holders(holder)):
        return ZERO
    if holder.name != FOR.name:
        return None
    if holder is loop:
        if value.index == 0:
            return _as_stride(loop.operand("step"))
        return _advance(loop.regions[0].terminator.operands[value.index - 1], value, loop)
    if value.index == 0 and trip_stride(holder.operand("step"), loop) == ZERO:
        return trip_stride(holder.operand("lower"), loop)
    return None


def _advance(value: Value, start: Value, loop: Op) -> Stride | None:
    """How much more than ``start``, a value that a loop carries, is what its trip yields."""
    total = ZERO
    while value is not start:
        op = value.defining_op
        if op is not None and op.name == IF.name:  # a trip may leave it as it is
            arms = [region.terminator.operands[value.index] for region in op.regions]
            others = [arm for arm in arms if arm is not start]
            if len(others) != 1:
                return None
            value = others[0]
            continue
        if op is None or op.name not in (ADD.name, ADDPTR.name):
            return None
        step = _as_stride(op.operands[1])
        if step is None or trip_stride(op.operands[1], loop) != ZERO or not total.is_zero:
            return None
        value, total = op.operands[0], step
    return total


def _as_stride(value: Value) -> Stride | None:
    """What all elements of a value are: a product of a number and scalars."""
    source = scalar_source(value)
    if source is None:
        return None
    coefficient, factors = 1, list[Value]()
    for factor in _factors(source):
        number = constant_value(factor)
        if isinstance(number, int):
            coefficient *= number
        else:
            factors.append(factor)
    return Stride(coefficient, tuple(factors)) if coefficient else ZERO


def _factors(value: Value) -> Iterator[Value]:
    """What a scalar is the product of; casts that widen it are left out."""
    op = value.defining_op
    if op is not None and op.name == MUL.name:
        for operand in op.operands:
            yield from _factors(operand)
    elif op is not None and op.name == CAST.name and stride_of_result(op, [Stride(1)]) is not None:
        yield from _factors(op.operands[0])
    else:
        yield value
