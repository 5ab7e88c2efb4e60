"""Runs the scalar side of a machine function and lists what it issues, with addresses and byte ranges.

Memory has no contents here: scalar loads give 0. Conditions and trip counts come from the function's
arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tests.random_machine.cells import Cells, Touch, touches_of
from tilejit.diagnostics import InternalError
from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.machine import CoreState, Instruction
from tilejit.ir.types import PointerType
from tilejit.ops import CmpPredicate
from tilejit.ops.machine.buffer import BUFFER
from tilejit.target.spaces import Pipe, Space

ARGUMENT_BYTES = 1 << 40
"""Room for each pointer argument; the workspace has addresses below."""
LONG_MMAD = 10
"""Fractals from which on the cube unit keeps mmads into one tile in order."""
BLOCK_INDEX, BLOCK_COUNT = 1, 2
"""What ``block_index`` and ``block_count`` give."""


@dataclass(frozen=True, eq=False)
class Event:
    """One thing that the scalar unit issues; ``flag`` is (source, target, id) of flags."""

    op: Op
    kind: str  # "work", "set", "wait", "barrier"
    pipe: Pipe
    touches: tuple[Touch, ...] = ()
    flag: tuple[Pipe, Pipe, int] | None = None
    atomic: str = ""
    long_tile: tuple[int, int] | None = None  # of an mmad so long that the next of its tile follows in order

    @property
    def unit_flag(self) -> bool:
        return bool(self.op.attributes.get("unit_flag", 0))


@dataclass(frozen=True)
class Trace:
    """What a run of a function issues, in order."""

    events: Sequence[Event]

    @cached_property
    def cells(self) -> Cells:
        """The memory that the events touch, cut where one of their ranges begins or ends."""
        return Cells([event.touches for event in self.events])

    def without(self, ops: Sequence[Op]) -> Trace:
        """The trace as it is when some ops are deleted."""
        gone = set(ops)
        return Trace([event for event in self.events if event.op not in gone])


@dataclass(frozen=True)
class Place:
    """Where a buffer lies, for a run."""

    address: int
    slot_bytes: int
    slots: int


def own_places(function: Function) -> dict[Op, Place]:
    """The places that the buffers of a function have by its text."""
    places = {}
    for op in function.body.ops:
        if op.name == BUFFER.name:
            numbers = [op.attributes[name] for name in ("address", "slot_bytes", "slots")]
            places[op] = Place(*numbers)  # type: ignore[arg-type]
    return places


_COMPARE: dict[CmpPredicate, Callable[[int, int], bool]] = {
    CmpPredicate.EQ: lambda a, b: a == b,
    CmpPredicate.NE: lambda a, b: a != b,
    CmpPredicate.LT: lambda a, b: a < b,
    CmpPredicate.LE: lambda a, b: a <= b,
    CmpPredicate.GT: lambda a, b: a > b,
    CmpPredicate.GE: lambda a, b: a >= b,
}
_ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "min": min,
    "max": max,
    "irem": lambda a, b: int(math.fmod(a, b)),
    "idiv": lambda a, b: int(a / b),
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
}
Number = int | float


class Tracer:
    """Interprets one function; scalars are Python numbers, pointers byte addresses.

    Arguments of one alias class are one memory.
    """

    def __init__(self, function: Function, most_events: int = 20_000) -> None:
        self.function = function
        self.most_events = most_events
        self.operands: dict[Op, tuple[Value, ...]] = {}
        self.named: dict[Op, list[tuple[str, Value]]] = {}
        self.handlers: dict[Op, Callable[[Op], Sequence[Number]] | None] = {}
        self.places: Mapping[Op, Place] = {}
        self.events: list[Event] = []
        self.values: dict[Value, Number] = {}
        self.atomic = ""

    def run(self, arguments: Mapping[str, int], places: Mapping[Op, Place] | None = None) -> Trace:
        """One run; ``places`` are those of the function's own text where none are given."""
        self.places = own_places(self.function) if places is None else places
        self.events, self.values, self.atomic = [], {}, ""
        memories: dict[object, int] = {}
        for value, record in zip(self.function.body.arguments, self.function.arguments, strict=True):
            if isinstance(value.type.element, PointerType):
                memory = value if record.alias_class is None else record.alias_class
                self.values[value] = memories.setdefault(memory, (len(memories) + 1) * ARGUMENT_BYTES)
            else:
                self.values[value] = arguments.get(value.name, 0)
        self.block(self.function.body)
        return Trace(self.events)

    def block(self, block: Block) -> list[Number]:
        """Run a block whose arguments have values; what its terminator passes on."""
        ops = block.ops
        for op in ops[:-1]:
            self.op(op)
        return self.operand_values(ops[-1])

    def operand_values(self, op: Op) -> list[Number]:
        operands = self.operands.get(op)
        if operands is None:
            operands = self.operands[op] = tuple(op.operands)
        values = self.values
        return [values[value] for value in operands]

    def op(self, op: Op) -> None:
        if op not in self.handlers:
            is_scalar = op.definition.machine is None
            self.handlers[op] = getattr(self, f"do_{op.name}", self.scalar) if is_scalar else None
        handler = self.handlers[op]
        if handler is None:
            self.issue(op)
            return
        for result, value in zip(op.results, handler(op), strict=True):
            self.values[result] = value

    def scalar(self, op: Op) -> Sequence[Number]:
        return [_ARITHMETIC[op.name](*self.operand_values(op))]  # type: ignore[arg-type]

    def do_constant(self, op: Op) -> Sequence[Number]:
        return [op.attributes["value"]]  # type: ignore[list-item]

    def do_block_index(self, op: Op) -> Sequence[Number]:
        return [BLOCK_INDEX]

    def do_block_count(self, op: Op) -> Sequence[Number]:
        return [BLOCK_COUNT]

    def do_cast(self, op: Op) -> Sequence[Number]:
        return self.operand_values(op)

    def do_cmp(self, op: Op) -> Sequence[Number]:
        left, right = self.operand_values(op)
        return [int(_COMPARE[op.attributes["predicate"]](left, right))]  # type: ignore[arg-type,index]

    def do_select(self, op: Op) -> Sequence[Number]:
        condition, left, right = self.operand_values(op)
        return [left if condition else right]

    def do_buffer(self, op: Op) -> Sequence[Number]:
        return [self.places[op].address]

    def do_slot(self, op: Op) -> Sequence[Number]:
        buffer = op.operand("buffer").defining_op
        assert buffer is not None
        place = self.places[buffer]
        base, index = self.operand_values(op)
        return [base + index % place.slots * place.slot_bytes]

    def do_addptr(self, op: Op) -> Sequence[Number]:
        pointer, offset = self.operand_values(op)
        return [pointer + offset * op.result.type.element.element.itemsize]  # type: ignore[union-attr]

    def do_reinterpret(self, op: Op) -> Sequence[Number]:
        return self.operand_values(op)

    def do_load(self, op: Op) -> Sequence[Number]:
        self.scalar_access(op, is_write=False)
        return [0]

    def do_store(self, op: Op) -> Sequence[Number]:
        self.scalar_access(op, is_write=True)
        return []

    def scalar_access(self, op: Op, *, is_write: bool) -> None:
        pointer = op.operand("pointer")
        element = pointer.type.element
        assert isinstance(element, PointerType)
        start = int(self.values[pointer])
        touch = Touch(element.space, start, start + element.element.itemsize, is_write)
        self.events.append(Event(op, "work", Pipe.S, (touch,)))

    def do_for(self, op: Op) -> Sequence[Number]:
        body = op.regions[0]
        lower, upper, step, *carried = self.operand_values(op)
        for index in range(int(lower), int(upper), int(step)):
            self.values.update(zip(body.arguments, [index, *carried], strict=True))
            carried = self.block(body)
        return carried

    def do_while(self, op: Op) -> Sequence[Number]:
        condition, body = op.regions
        carried = self.operand_values(op)
        while True:
            self.values.update(zip(condition.arguments, carried, strict=True))
            if not self.block(condition)[0]:
                return carried
            self.values.update(zip(body.arguments, carried, strict=True))
            carried = self.block(body)

    def do_if(self, op: Op) -> Sequence[Number]:
        return self.block(op.regions[0 if self.operand_values(op)[0] else 1])

    def issue(self, op: Op) -> None:
        if len(self.events) > self.most_events:
            raise InternalError("the trace of a random program does not end", op.location)
        facts = op.definition.machine
        assert facts is not None
        pipe = facts.pipe(op)
        if op.name in ("set_flag", "wait_flag"):
            flag = (op.attributes["source"], op.attributes["target"], int(self.operand_values(op)[0]))
            self.events.append(Event(op, op.name.removesuffix("_flag"), pipe, flag=flag))  # type: ignore[arg-type]
            return
        if op.name == "pipe_barrier":
            self.events.append(Event(op, "barrier", pipe))
            return
        if op.name == "set_atomic":
            kind = op.attributes["kind"].value  # type: ignore[union-attr]
            self.atomic = "" if kind == "none" else kind
            return
        if op not in self.named:
            self.named[op] = [(name, values[0]) for name, values in op.named_operands().items() if values]
        values = {name: self.values[value] for name, value in self.named[op]}
        accesses = facts.accesses(Instruction(op, values, CoreState(self.atomic)))
        atomic = self.atomic if pipe in (Pipe.MTE3, Pipe.FIX) else ""
        touches, long_tile = touches_of(accesses), None
        if op.name == "mmad" and -(-values["m"] // 16) * -(-values["n"] // 16) >= LONG_MMAD:
            long_tile = next((t.start, t.end) for t in touches if t.space is Space.L0C)
        self.events.append(Event(op, "work", pipe, touches, atomic=atomic, long_tile=long_tile))


def trace(function: Function, arguments: Mapping[str, int]) -> Trace:
    """What ``function`` issues, in order, when its arguments have the given values."""
    return Tracer(function).run(arguments)
