"""Makes copies of kernels whose loops run as often as the verifier wants, and says what else it may trust.

A loop whose number of trips depends on the launch takes it from an argument that the copy has more: the
innermost ones as it says, those around them two at most; the loop over programs from another. A while loop
becomes a for loop that evaluates the condition before each trip and once after the last. A long loop with
constant bounds runs in full, or only as often as it takes to come back to each slot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tilejit.ir.core import Argument, ArgumentSource, Block, Function, Op, Value
from tilejit.ir.machine import MachineKernel
from tilejit.ir.rewrite import clone_function, clone_op, replace_op
from tilejit.ir.types import INT32, DType, PointerType, TileType
from tilejit.ops import ADD, CAST, CONSTANT, FOR, IDIV, IF, LOAD, MAX, MIN, MUL, SELECT, SUB, WHILE, YIELD
from tilejit.ops.machine.buffer import BUFFER, is_program_loop
from tilejit.ops.machine.sync import CROSS_SET, CROSS_WAIT
from tilejit.records import dataclass

_OUTER_TRIPS = 2
_LONG_TRIPS = 32
# Names that no parameter can have.
_TRIPS = "trips of open loops"
_PROGRAMS = "programs of the grid"
_SHORTENED = "whether long loops are cut"


@dataclass(frozen=True)
class Sample:
    """What the verifier takes for a scalar that it cannot know, for the length of the grid and open loops.

    ``cuts_loops``: long loops with constant bounds run less often than they say. ``is_listed``: every second
    integer in memory is twice the sample, as in lists of starts and ends; else all are alike.
    """

    integer: int
    programs: int
    trips: int = 0
    cuts_loops: bool = False
    is_listed: bool = False

    def of_argument(self, argument: Argument, element: DType | PointerType) -> int | float:
        """The value of an argument that is no address."""
        if argument.name == _TRIPS:
            return self.trips
        if argument.name == _PROGRAMS:
            return self.programs
        if argument.name == _SHORTENED:
            return int(self.cuts_loops)
        if argument.source is ArgumentSource.GRID:
            return (self.programs, 1, 1)[argument.dimension]
        return self.of(element)

    def of(self, element: DType | PointerType) -> int | float:
        """A value of a type."""
        if isinstance(element, DType) and element.is_floating():
            return 1.0
        if isinstance(element, DType) and element.is_bool():
            return self.integer > 1
        return self.integer & 0x7F if element.primitive_bitwidth < 32 else self.integer

    def loaded(self, element: DType | PointerType, address: int) -> int | float:
        """What memory holds at an address."""
        value = self.of(element)
        is_wide = isinstance(element, DType) and element.is_int() and element.primitive_bitwidth >= 32
        return value * (1 + address // element.itemsize % 2) if self.is_listed and is_wide else value


def with_trips(kernel: MachineKernel) -> MachineKernel:
    """A copy of ``kernel`` in which a ``Sample`` says how often open loops run."""
    functions = {}
    for core, function in kernel.functions.items():
        copy = clone_function(function)
        trips, programs, is_cut = (
            copy.add_argument(Argument(name), TileType(INT32)) for name in (_TRIPS, _PROGRAMS, _SHORTENED)
        )
        _set_trips(copy.body, trips, programs)
        _shorten_long_loops(copy, is_cut)
        functions[core] = copy
    return MachineKernel(kernel.name, functions, kernel.workspace_bytes)


def with_counted_whiles(kernel: MachineKernel) -> MachineKernel:
    """A copy of a kernel for both kinds of core in which a ``Sample`` says how often while loops run.

    Those with cross-core flags in them run as the text says, as all for loops do. Others may not end for
    arguments that no caller would pass.
    """
    functions = {}
    for core, function in kernel.functions.items():
        copy = clone_function(function)
        trips = copy.add_argument(Argument(_TRIPS), TileType(INT32))
        loops = [op for op in copy.walk() if op.name == WHILE.name]
        for loop in reversed(loops):  # from the innermost
            if not any(op.name in (CROSS_SET.name, CROSS_WAIT.name) for op in loop.walk()):
                _make_counted(loop, trips)
        functions[core] = copy
    return MachineKernel(kernel.name, functions, kernel.workspace_bytes)


def has_open_loops(kernel: MachineKernel) -> bool:
    """Whether a loop's number of trips depends on the launch, the loop over programs aside."""
    return any(
        op.name == WHILE.name or (op.name == FOR.name and not _is_closed(op) and not is_program_loop(op))
        for function in kernel.functions.values()
        for op in function.walk()
    )


def _set_trips(block: Block, trips: Value, programs: Value) -> bool:
    """Let the open loops of a block run as often as is asked for; whether it has any."""
    is_open = False
    for op in list(block.ops):
        inner = [_set_trips(region, trips, programs) for region in op.regions]
        is_open |= any(inner)
        limit = _OUTER_TRIPS if any(inner) else None
        if op.name == WHILE.name:
            _make_counted(op, _limited(op, trips, limit))
            is_open = True
        elif op.name == FOR.name and not _is_closed(op):
            wanted = _limited(op, _limited(op, trips, limit), _most_trips(op))
            _set_upper(op, programs if is_program_loop(op) else wanted)
            is_open = True
    return is_open


def _shorten_long_loops(function: Function, is_cut: Value) -> None:
    """Let long loops with constant bounds run less often where ``is_cut`` is 1.

    What remains comes round each ring of slots twice and ends at the slot at which the whole loop ends.
    """
    slots = [op.attributes["slots"] for op in function.walk() if op.name == BUFFER.name]
    rings = [count for count in slots if isinstance(count, int)] or [1]
    period, least = math.lcm(*rings), 2 * max(rings) + 1
    for op in list(function.walk()):
        if op.name != FOR.name or not _is_closed(op):
            continue
        lower, upper, step = (_number(op.operand(name)) or 0 for name in ("lower", "upper", "step"))
        trips = max(0, -(-(upper - lower) // step)) if step > 0 else 0
        spared = (trips - least) // period * period
        if trips <= _LONG_TRIPS or spared <= 0:
            continue
        bound = op.operand("upper").type.element
        is_cut_here = is_cut if bound == INT32 else _insert(op, CAST, {"dtype": bound}, x=is_cut)
        less = _insert(op, MUL, {}, lhs=is_cut_here, rhs=_constant(op, spared * step, bound))
        op.set_operand(1, _insert(op, SUB, {}, lhs=op.operand("upper"), rhs=less))


def _limited(before: Op, trips: Value, limit: int | None) -> Value:
    return trips if limit is None else _insert(before, MIN, {}, lhs=trips, rhs=_constant(before, limit))


def _number(value: Value) -> int | None:
    op = value.defining_op
    number = op.attributes["value"] if op is not None and op.name == CONSTANT.name else None
    return number if isinstance(number, int) else None


def _is_closed(loop: Op) -> bool:
    return all(_number(loop.operand(name)) is not None for name in ("lower", "upper", "step"))


def _most_trips(loop: Op) -> int | None:
    """The most trips that a loop can have, where its bound shows some."""
    lower, step = _number(loop.operand("lower")), _number(loop.operand("step"))
    if lower is None or not step or step < 0:
        return None
    limit = at_most(loop.operand("upper"))
    return None if limit is None else max(0, -(-(limit - lower) // step))


def at_most(value: Value) -> int | None:
    """What a scalar cannot exceed, where the ops that compute it show it."""
    number, op = _number(value), value.defining_op
    if number is not None or op is None:
        return number
    if op.name == CAST.name:
        return at_most(op.operands[0])
    sources = op.operands[1:] if op.name == SELECT.name else op.operands
    limits = [at_most(operand) for operand in sources]
    known = [limit for limit in limits if limit is not None]
    if op.name == MIN.name:
        return min(known, default=None)
    if len(known) < len(limits) or not known:
        return None
    divisor = _number(op.operands[-1])
    if op.name in (MAX.name, SELECT.name):
        return max(known)
    if op.name == ADD.name:
        return sum(known)
    if op.name == IDIV.name and divisor is not None and divisor > 0 <= known[0]:
        return known[0] // divisor
    if op.name == MUL.name and divisor is not None and divisor >= 0:
        return known[0] * divisor
    return None


def _insert(before: Op, record: object, attributes: dict[str, object], **operands: Value) -> Value:
    assert before.parent is not None
    op = Op(record, operands, attributes, (), before.location)  # type: ignore[arg-type]
    return before.parent.insert_before(before, op).result


def _constant(before: Op, number: int, element: DType | PointerType = INT32) -> Value:
    return _insert(before, CONSTANT, {"value": number, "dtype": element})


def _set_upper(loop: Op, trips: Value) -> None:
    lower, step = loop.operand("lower"), loop.operand("step")
    if step.type != trips.type:
        trips = _insert(loop, CAST, {"dtype": step.type.element}, x=trips)
    reach = _insert(loop, MUL, {}, lhs=step, rhs=trips)
    loop.set_operand(1, _insert(loop, ADD, {}, lhs=lower, rhs=reach))


def _make_counted(loop: Op, trips: Value) -> None:
    """Replace a while loop by a for loop."""
    condition, body = loop.regions
    index = TileType(INT32)
    counted = Block([index, *(value.type for value in body.arguments)], ["trip"])
    carried = counted.arguments[1:]
    for op in _copied(condition, carried)[0]:
        counted.append(op)
    ops, passed_on = _copied(body, carried)
    for op in ops:
        counted.append(op)
    counted.append(Op(YIELD, {"values": passed_on}))
    bounds = {"lower": _constant(loop, 0), "upper": trips, "step": _constant(loop, 1)}
    new = Op(FOR, {**bounds, "inits": loop.operand_list("inits")}, {}, [counted], loop.location)
    assert loop.parent is not None
    loop.parent.insert_before(loop, new)
    for op in _copied(condition, new.results)[0]:
        loop.parent.insert_before(loop, op)
    replace_op(loop, new.results)


def _copied(block: Block, arguments: Sequence[Value]) -> tuple[list[Op], list[Value]]:
    """Copies of the ops of a block for some arguments, and of what it passes on."""
    mapping: dict[Value, Value] = dict(zip(block.arguments, arguments, strict=True))
    ops = [clone_op(op, mapping) for op in block.ops[:-1]]
    return ops, [mapping.get(value, value) for value in block.terminator.operands]


def open_values(function: Function) -> set[Value]:
    """The scalars of a function that depend on the launch: on its arguments or on memory."""
    found = {value for value in function.body.arguments if not isinstance(value.type.element, PointerType)}
    while True:
        before = len(found)
        _spread(function.body, found)
        if len(found) == before:
            return found


def _spread(block: Block, found: set[Value]) -> None:
    for op in block.ops:
        if op.regions:
            _spread_into_regions(op, found)
        elif op.name == LOAD.name or any(value in found for value in op.operands):
            found.update(op.results)


def _spread_into_regions(op: Op, found: set[Value]) -> None:
    if op.name == IF.name:
        for region in op.regions:
            for result, value in zip(op.results, region.terminator.operands, strict=True):
                if value in found or op.operand("condition") in found:
                    found.add(result)
    else:
        first = 1 if op.name == FOR.name else 0
        if first and any(op.operand(name) in found for name in ("lower", "step")):
            found.add(op.regions[0].arguments[0])
        is_open = op.name == WHILE.name and op.regions[0].terminator.operands[0] in found
        for carried in (op.operand_list("inits"), op.regions[-1].terminator.operands):
            for position, value in enumerate(carried):
                if value in found or is_open:
                    found.add(op.results[position])
                    found.update(region.arguments[position + first] for region in op.regions)
    for region in op.regions:
        _spread(region, found)
