"""Lets a core run several programs of a kernel at once: their tiles become rows of larger ones.

A program that works on one row spends most of its time waiting: each instruction of the vector unit starts
when the one before has given its result, whatever the row's length. With several rows side by side the same
instructions do more work each, and DMAs move more.

Before: a simplified function without control flow that knows its program by ``program_id(0)`` alone. After:
``program_id(0)`` counts groups of programs; what differs between the programs of a group has a new first
dimension of ``count``. A group has fewer where the launch has too few for all cores (``group_size``), and the
last one may have fewer still: every access that differs has a mask more. A kernel
whose masks bound lanes by the program (``program_id(0) * BLOCK + lanes < n``) is not batched: its rows would
differ in length, and its blocks can be made larger instead. Nor is one with effects other than stores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from tilejit.ir.core import Block, Builder, Function, Op, Value
from tilejit.ir.opdef import Attribute, Effects, OpDef
from tilejit.ir.types import INT32
from tilejit.ops import (
    ADD,
    AND,
    ARANGE,
    BROADCAST,
    CMP,
    CONSTANT,
    IDIV,
    LOAD,
    MAX,
    MIN,
    MUL,
    NUM_PROGRAMS,
    PROGRAM_ID,
    REDUCE,
    RESHAPE,
    RETURN,
    SPLAT,
    STORE,
    SUB,
    TRANSPOSE,
    CmpPredicate,
)
from tilejit.ops.machine.buffer import BLOCK_COUNT
from tilejit.passes.tile_homes import is_view
from tilejit.passes.tile_lanes import conjuncts

_ACCESSES = (LOAD.name, STORE.name)
_SHAPED = (SPLAT.name, BROADCAST.name, RESHAPE.name, TRANSPOSE.name, REDUCE.name)


class Make(Protocol):
    """Inserts an op with one result."""

    def __call__(
        self, definition: OpDef, attributes: Mapping[str, Attribute] | None = None, **operands: Value
    ) -> Value: ...


def group_size(make: Make, programs: Value, count: int) -> Value:
    """How many of a launch's ``programs`` form a group: ``count``, fewer where cores would lack work."""
    one, most = (make(CONSTANT, {"value": number, "dtype": INT32}) for number in (1, count))
    cores = make(BLOCK_COUNT)
    share = make(IDIV, lhs=make(ADD, lhs=programs, rhs=make(SUB, lhs=cores, rhs=one)), rhs=cores)
    return make(MAX, lhs=make(MIN, lhs=share, rhs=most), rhs=one)


def can_batch(function: Function) -> bool:
    """Whether the programs of ``function`` can become rows."""
    differing: set[Value] = set()
    for op in function.body.ops[:-1]:
        differs = _is_first_id(op) or any(value in differing for value in op.operands)
        if op.regions or (op.name == PROGRAM_ID.name and not differs):
            return False
        if differs:
            differing.update(op.results)
        if op.name in _ACCESSES:
            parts = conjuncts(op.optional_operand("mask"))
            if any(part in differing and not _is_uniform(part) for part in parts):
                return False
        if op.name == STORE.name:
            if op.operand("pointer") not in differing:
                return False  # which of the programs stores last shows
        elif op.effects & ~Effects.READ or (differs and not _is_first_id(op) and not _is_batchable(op)):
            return False
    return bool(differing)


def _is_first_id(op: Op) -> bool:
    return op.name == PROGRAM_ID.name and op.attributes["axis"] == 0


def _is_uniform(value: Value) -> bool:
    """Whether all elements of a tile are alike."""
    while value.type.size > 1 and value.defining_op is not None and is_view(value.defining_op):
        value = value.defining_op.operands[0]
    return value.type.size == 1


def _is_batchable(op: Op) -> bool:
    return op.definition.is_elementwise or op.name in (LOAD.name, *_SHAPED)


def batch_programs(function: Function, count: int) -> Function:
    """Return ``function`` for groups of ``count`` programs; ``can_batch`` must hold."""
    return _Batcher(function, count).run()


class _Batcher:
    """Rebuilds a function with a dimension for the programs of a group."""

    def __init__(self, function: Function, count: int) -> None:
        self._function = function
        self._count = count
        self._body = Block()
        self._builder = Builder(self._body)
        self._mapping: dict[Value, Value] = {}  # what is the same for all programs
        self._batched: dict[Value, Value] = {}  # what has the new dimension
        self._programs: Value | None = None
        self._exists: Value | None = None
        self._rules: Mapping[str, Callable[[Op], None]] = {
            PROGRAM_ID.name: self._program_id,
            LOAD.name: self._load,
            STORE.name: self._store,
            SPLAT.name: lambda op: self._spread_to(op, self._batched[op.operands[0]]),
            BROADCAST.name: self._broadcast,
            RESHAPE.name: self._shaped,
            TRANSPOSE.name: self._transpose,
            REDUCE.name: self._reduce,
        }

    def run(self) -> Function:
        function = self._function
        for argument in function.body.arguments:
            self._mapping[argument] = self._body.add_argument(argument.type, argument.name)
        for op in function.body.ops[:-1]:
            self._builder.location = op.location
            if _is_first_id(op) or any(value in self._batched for value in op.operands):
                self._rules.get(op.name, self._elementwise)(op)
            else:
                self._copy(op)
        self._body.append(Op(RETURN, location=function.location))
        arguments = list(function.arguments)
        return Function(function.name, self._body, arguments, function.location, function.core)

    def _make(
        self, definition: OpDef, attributes: Mapping[str, Attribute] | None = None, **operands: Value
    ) -> Value:
        op = Op(definition, operands, attributes, location=self._builder.location)
        return self._builder.insert(op).result

    def _copy(self, op: Op) -> None:
        operands = {name: [self._mapping[v] for v in values] for name, values in op.named_operands().items()}
        names = [result.name for result in op.results]
        made = self._builder.insert(Op(op.definition, operands, op.attributes, (), op.location, names))
        self._mapping.update(zip(op.results, made.results, strict=True))

    def _give(self, value: Value, batched: Value) -> None:
        batched.name = value.name
        self._batched[value] = batched

    def _of(self, value: Value) -> Value:
        """A value with the new dimension, repeated along it where the programs share the value."""
        found = self._batched.get(value)
        if found is not None:
            return found
        mapped, shape = self._mapping[value], (self._count, *value.type.shape)
        if value.type.is_scalar:
            return self._make(SPLAT, {"shape": shape}, x=mapped)
        row = self._make(RESHAPE, {"shape": (1, *value.type.shape)}, x=mapped)
        return self._make(BROADCAST, {"shape": shape}, x=row)

    def _spread(self, programs: Value, shape: tuple[int, ...]) -> Value:
        """One value of each program, for all elements of a tile of ``shape``."""
        if not shape:
            return programs
        column = self._make(RESHAPE, {"shape": (self._count, *(1 for _ in shape))}, x=programs)
        return self._make(BROADCAST, {"shape": (self._count, *shape)}, x=column)

    # Rules

    def _program_id(self, op: Op) -> None:
        """The ids of a group's programs."""
        if self._programs is None:
            shape = {"shape": (self._count,)}
            number = self._make(NUM_PROGRAMS, {"axis": 0})
            size = group_size(self._make, number, self._count)
            first = self._make(MUL, lhs=self._make(PROGRAM_ID, {"axis": 0}), rhs=size)
            places = self._make(ARANGE, {"start": 0, "end": self._count})
            self._programs = self._make(ADD, lhs=self._make(SPLAT, shape, x=first), rhs=places)
            limit = self._make(MIN, lhs=size, rhs=self._make(SUB, lhs=number, rhs=first))
            limits = self._make(SPLAT, shape, x=limit)
            self._exists = self._make(CMP, {"predicate": CmpPredicate.LT}, lhs=places, rhs=limits)
        self._batched[op.result] = self._programs

    def _elementwise(self, op: Op) -> None:
        operands = {name: [self._of(v) for v in values] for name, values in op.named_operands().items()}
        made = Op(op.definition, operands, op.attributes, location=op.location)
        self._give(op.result, self._builder.insert(made).result)

    def _spread_to(self, op: Op, programs: Value) -> None:
        self._give(op.result, self._spread(programs, op.result.type.shape))

    def _broadcast(self, op: Op) -> None:
        shape = (self._count, *op.result.type.shape)
        self._give(op.result, self._make(BROADCAST, {"shape": shape}, x=self._batched[op.operands[0]]))

    def _shaped(self, op: Op) -> None:
        shape = (self._count, *op.result.type.shape)
        attributes = {**op.attributes, "shape": shape}
        self._give(op.result, self._make(op.definition, attributes, x=self._batched[op.operands[0]]))

    def _transpose(self, op: Op) -> None:
        order = op.attributes["order"]
        assert isinstance(order, tuple)
        new = (0, *(dim + 1 for dim in order))
        self._give(op.result, self._make(TRANSPOSE, {"order": new}, x=self._batched[op.operands[0]]))

    def _reduce(self, op: Op) -> None:
        axis = op.attributes["axis"]
        assert isinstance(axis, int)
        attributes = {**op.attributes, "axis": axis + 1}
        self._give(op.result, self._make(REDUCE, attributes, x=self._batched[op.operands[0]]))

    def _access(self, op: Op) -> dict[str, Value]:
        """The operands of an access, and that its program exists."""
        operands = {name: self._of(values[0]) for name, values in op.named_operands().items() if values}
        assert self._exists is not None
        exists = self._spread(self._exists, op.operand("pointer").type.shape)
        mask = operands.get("mask")
        operands["mask"] = exists if mask is None else self._make(AND, lhs=exists, rhs=mask)
        return operands

    def _load(self, op: Op) -> None:
        self._give(op.result, self._make(LOAD, op.attributes, **self._access(op)))

    def _store(self, op: Op) -> None:
        self._builder.insert(Op(STORE, self._access(op), op.attributes, location=op.location))
