"""Writes the functions of mixed kernels: more control flow, scalars, a workspace.

Every op carries the Python line and function that wrote it: findings of the simulator name them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from benchmarks.machine_programs import builder
from benchmarks.machine_programs.builder import Number, Operand, Program
from tilejit.diagnostics import Location
from tilejit.ir.core import Argument, ArgumentSource, Block, Builder, Op, Value
from tilejit.ir.opdef import Attribute
from tilejit.ir.types import INT32, UINT8, DType, PointerType, TileType
from tilejit.ops.elementwise import CmpPredicate
from tilejit.ops.machine import MACHINE_LEVEL_OPS
from tilejit.target.spaces import Core

Attributes = Mapping[str, Attribute]
_OWN_FILES = frozenset(str(Path(file)) for file in (__file__, builder.__file__))


@dataclass
class Carried:
    """The values that a loop hands from iteration to iteration.

    ``now`` are those of this iteration, ``next`` must be set to those of the next one; after the loop ``now``
    are the last ones.
    """

    now: list[Value]
    next: list[Number]


class MixedProgram(Program):
    """One function of a mixed kernel while it is written."""

    def __init__(
        self, name: str, core: Core, pointers: Mapping[str, DType], scalars: Sequence[str] = ()
    ) -> None:
        super().__init__(name, core, pointers)
        self._scalars = {
            scalar: self._function.add_argument(Argument(scalar), TileType(INT32)) for scalar in scalars
        }
        workspace = Argument("workspace", ArgumentSource.WORKSPACE)
        self._workspace = self._function.add_argument(workspace, TileType(PointerType(UINT8)))

    def issue(
        self, name: str, attributes: Mapping[str, Attribute] | None = None, /, **operands: Operand
    ) -> Op:
        """Append one op with the line that asks for it; numbers become constants."""
        op = super().issue(name, attributes, **operands)
        op.location = _caller()
        return op

    def scalar(self, name: str) -> Value:
        """A scalar argument, int32."""
        return self._scalars[name]

    def constant(self, value: float, dtype: DType) -> Value:
        """A constant of a given type."""
        return self._top.create(
            MACHINE_LEVEL_OPS["constant"], attributes={"value": value, "dtype": dtype}
        ).result

    def workspace(self, element: DType, offset_bytes: Number) -> Value:
        """A place in the workspace of the launch."""
        return self.reinterpret(self.offset(self._workspace, offset_bytes), element)

    def reinterpret(self, pointer: Value, element: DType) -> Value:
        """The same address, as elements of another type."""
        return self.issue("reinterpret", {"element": element}, pointer=pointer).result

    def load(self, pointer: Value) -> Value:
        """An integer from memory, as int32."""
        loaded = self.issue("load", pointer=pointer).result
        if loaded.type.element == INT32:
            return loaded
        return self.issue("cast", {"dtype": INT32}, x=loaded).result

    # Control flow.

    @contextmanager
    def carrying_loop(
        self, lower: Number, upper: Number, inits: Sequence[Number]
    ) -> Iterator[tuple[Value, Carried]]:
        """Code for each index of range(lower, upper) with carried int32 values."""
        outer, body = self._builder, Block([TileType(INT32)] * (1 + len(inits)), ["i"])
        bounds = {"lower": self.value(lower), "upper": self.value(upper), "step": self.value(1)}
        starts = [self.value(init) for init in inits]
        carried = Carried(list(body.arguments[1:]), [])
        self._builder = Builder(body)
        yield body.arguments[0], carried
        self._end_region(carried.next)
        self._builder = outer
        op = outer.insert(Op(MACHINE_LEVEL_OPS["for"], {**bounds, "inits": starts}, regions=(body,)))
        carried.now = list(op.results)

    @contextmanager
    def carrying_while(
        self, inits: Sequence[Number], lhs: Number, predicate: CmpPredicate, rhs: int
    ) -> Iterator[Carried]:
        """Code while ``lhs predicate (carried value number rhs)``, with carried int32 values."""
        outer, types = self._builder, [TileType(INT32)] * len(inits)
        condition, body = Block(types), Block(types)
        starts = [self.value(init) for init in inits]
        self._builder = Builder(condition)
        self._end_region([self.compare(lhs, predicate, condition.arguments[rhs])])
        self._builder = Builder(body)
        carried = Carried(list(body.arguments), [])
        yield carried
        self._end_region(carried.next)
        self._builder = outer
        op = outer.insert(Op(MACHINE_LEVEL_OPS["while"], {"inits": starts}, regions=(condition, body)))
        carried.now = list(op.results)

    @contextmanager
    def when(self, condition: Value) -> Iterator[Block]:
        """Code that runs where ``condition`` holds; gives the block for ``otherwise``."""
        outer, then, other = self._builder, Block(), Block()
        self._builder = Builder(then)
        yield other
        self._end_region([])
        self._builder = Builder(other)
        self._end_region([])
        self._builder = outer
        outer.insert(Op(MACHINE_LEVEL_OPS["if"], {"condition": condition}, regions=(then, other)))

    @contextmanager
    def otherwise(self, other: Block) -> Iterator[None]:
        """Code that runs where the condition of the last ``when`` does not hold."""
        outer = self._builder
        self._builder = Builder(other, before=other.ops[-1])
        yield
        self._builder = outer

    def _end_region(self, values: Sequence[Number]) -> None:
        yielded = [self.value(value) for value in values]
        self._builder.insert(Op(MACHINE_LEVEL_OPS["yield"], {"values": yielded}))

    # Arithmetic of the scalar unit.

    def compare(self, lhs: Number, predicate: CmpPredicate, rhs: Number) -> Value:
        """Whether ``lhs predicate rhs``."""
        return self.issue("cmp", {"predicate": predicate}, lhs=lhs, rhs=rhs).result

    def total(self, *numbers: Number) -> Number:
        """The sum of some numbers."""
        result: Number = 0
        for number in numbers:
            result = number if result == 0 else self.add(result, number)
        return result

    def div_up(self, lhs: Number, rhs: int) -> Number:
        """lhs / rhs rounded up, for numbers that are not negative."""
        if isinstance(lhs, int):
            return -(-lhs // rhs)
        return lhs if rhs == 1 else self.div(self.add(lhs, rhs - 1), rhs)

    def round_up(self, lhs: Number, rhs: int) -> Number:
        """lhs rounded up to a multiple of rhs."""
        return self.mul(self.div_up(lhs, rhs), rhs)


def _caller() -> Location:
    """The innermost line that is not of a builder, and the one that called its function."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename in _OWN_FILES and frame.f_back is not None:
        frame = frame.f_back
    caller = None if frame.f_back is None else _location(frame.f_back, None)
    return _location(frame, caller)


def _location(frame: FrameType, caller: Location | None) -> Location:
    line = frame.f_lineno
    return Location(frame.f_code.co_filename, line, 0, line, 0, frame.f_code.co_name, caller)
