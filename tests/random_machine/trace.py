"""Runs the scalar side of a machine function and lists what it issues, with addresses and byte ranges.

Memory has no contents here: scalar loads give 0. Conditions and trip counts come from the function's
arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tilejit.diagnostics import InternalError
from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.machine import CoreState, Instruction
from tilejit.ir.types import PointerType
from tilejit.ops import CmpPredicate
from tilejit.target.spaces import Pipe, Space

ARGUMENT_BYTES = 1 << 40
"""Room for each pointer argument; the workspace has addresses below."""


@dataclass(frozen=True)
class Touch:
    """Bytes [start, end) of a space that an event reads or writes."""

    space: Space
    start: int
    end: int
    is_write: bool


@dataclass(frozen=True)
class Event:
    """One thing that the scalar unit issues; ``flag`` is (source, target, id) of flags."""

    op: Op
    kind: str  # "work", "set", "wait", "barrier"
    pipe: Pipe
    touches: tuple[Touch, ...] = ()
    flag: tuple[Pipe, Pipe, int] | None = None
    atomic: str = ""


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
    "irem": lambda a, b: a % b,
    "idiv": lambda a, b: a // b,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
}


class Tracer:
    """Interprets one function; scalars are Python numbers, pointers byte addresses."""

    def __init__(self, function: Function, arguments: Mapping[str, int], most_events: int = 20_000) -> None:
        self.events: list[Event] = []
        self.values: dict[Value, int | float] = {}
        self.atomic = ""
        self.most_events = most_events
        for position, value in enumerate(function.body.arguments):
            is_pointer = isinstance(value.type.element, PointerType)
            self.values[value] = (
                (position + 1) * ARGUMENT_BYTES if is_pointer else arguments.get(value.name, 0)
            )
        self.block(function.body)

    def block(self, block: Block) -> list[int | float]:
        """Run a block whose arguments have values; what its terminator passes on."""
        for op in block.ops[:-1]:
            self.op(op)
        return self.operands(block.terminator)

    def operands(self, op: Op) -> list[int | float]:
        return [self.values[value] for value in op.operands]

    def op(self, op: Op) -> None:
        if len(self.events) > self.most_events:
            raise InternalError("the trace of a random program does not end", op.location)
        if op.definition.machine is not None:
            self.issue(op)
            return
        results = getattr(self, f"do_{op.name}", self.scalar)(op)
        for result, value in zip(op.results, results, strict=True):
            self.values[result] = value

    def scalar(self, op: Op) -> Sequence[int | float]:
        return [_ARITHMETIC[op.name](*self.operands(op))]  # type: ignore[arg-type]

    def do_constant(self, op: Op) -> Sequence[int | float]:
        return [op.attributes["value"]]  # type: ignore[list-item]

    def do_cast(self, op: Op) -> Sequence[int | float]:
        return self.operands(op)

    def do_cmp(self, op: Op) -> Sequence[int | float]:
        return [int(_COMPARE[op.attributes["predicate"]](*self.operands(op)))]  # type: ignore[arg-type,index]

    def do_select(self, op: Op) -> Sequence[int | float]:
        condition, left, right = self.operands(op)
        return [left if condition else right]

    def do_buffer(self, op: Op) -> Sequence[int | float]:
        return [op.attributes["address"]]  # type: ignore[list-item]

    def do_slot(self, op: Op) -> Sequence[int | float]:
        buffer = op.operand("buffer").defining_op
        assert buffer is not None
        base, index = self.operands(op)
        return [base + index % buffer.attributes["slots"] * buffer.attributes["slot_bytes"]]  # type: ignore[operator]

    def do_addptr(self, op: Op) -> Sequence[int | float]:
        pointer, offset = self.operands(op)
        return [pointer + offset * op.result.type.element.element.itemsize]  # type: ignore[union-attr]

    def do_reinterpret(self, op: Op) -> Sequence[int | float]:
        return self.operands(op)

    def do_load(self, op: Op) -> Sequence[int | float]:
        self.scalar_access(op, is_write=False)
        return [0]

    def do_store(self, op: Op) -> Sequence[int | float]:
        self.scalar_access(op, is_write=True)
        return []

    def scalar_access(self, op: Op, *, is_write: bool) -> None:
        element = op.operand("pointer").type.element
        assert isinstance(element, PointerType)
        start = int(self.values[op.operand("pointer")])
        touch = Touch(element.space, start, start + element.element.itemsize, is_write)
        self.events.append(Event(op, "work", Pipe.S, (touch,)))

    def do_for(self, op: Op) -> Sequence[int | float]:
        body = op.regions[0]
        lower, upper, step, *carried = self.operands(op)
        for index in range(int(lower), int(upper), int(step)):
            self.values.update(zip(body.arguments, [index, *carried], strict=True))
            carried = self.block(body)
        return carried

    def do_while(self, op: Op) -> Sequence[int | float]:
        condition, body = op.regions
        carried = self.operands(op)
        while True:
            self.values.update(zip(condition.arguments, carried, strict=True))
            if not self.block(condition)[0]:
                return carried
            self.values.update(zip(body.arguments, carried, strict=True))
            carried = self.block(body)

    def do_if(self, op: Op) -> Sequence[int | float]:
        return self.block(op.regions[0 if self.operands(op)[0] else 1])

    def issue(self, op: Op) -> None:
        facts = op.definition.machine
        assert facts is not None
        pipe = facts.pipe(op)
        if op.name in ("set_flag", "wait_flag"):
            flag = (op.attributes["source"], op.attributes["target"], int(self.operands(op)[0]))
            self.events.append(Event(op, op.name.removesuffix("_flag"), pipe, flag=flag))  # type: ignore[arg-type]
            return
        if op.name == "pipe_barrier":
            self.events.append(Event(op, "barrier", pipe))
            return
        if op.name == "set_atomic":
            kind = op.attributes["kind"].value  # type: ignore[union-attr]
            self.atomic = "" if kind == "none" else kind
            return
        values = {
            name: self.values[operands[0]] for name, operands in op.named_operands().items() if operands
        }
        accesses = facts.accesses(Instruction(op, values, CoreState(self.atomic)))
        touches = tuple(Touch(a.space, a.start, a.end, a.is_write) for a in accesses if not a.is_empty)
        atomic = self.atomic if pipe in (Pipe.MTE3, Pipe.FIX) else ""
        self.events.append(Event(op, "work", pipe, touches, atomic=atomic))


def trace(function: Function, arguments: Mapping[str, int]) -> list[Event]:
    """What ``function`` issues, in order, when its arguments have the given values."""
    return Tracer(function, arguments).events
