"""The trace in progress: where ops go, which Python line they come from, and which helpers are being
inlined.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from typing import NoReturn

from tilejit.diagnostics import CompileError, Location
from tilejit.frontend.outside import OutsideValues
from tilejit.frontend.positions import CodeSpans
from tilejit.frontend.signature import KernelSource
from tilejit.frontend.traced_function import ACTIVE
from tilejit.ir.core import Argument, Block, Builder, Function, Op, Value
from tilejit.ir.opdef import Attribute, OpDef, TypeRuleError
from tilejit.ir.types import TileType
from tilejit.records import dataclass


@dataclass
class Trace:
    """One kernel being traced; ``members`` are the operators and methods of tiles, ``builtins`` Python's,
    both by name.
    """

    function: Function
    members: Mapping[str, Callable[..., object]]
    builtins: Mapping[str, object]
    builder: Builder = field(init=False)
    caller: Location | None = None
    active_sources: list[KernelSource] = field(default_factory=list)
    open_blocks: set[Block] = field(default_factory=set)
    array_ranks: dict[str, int] = field(default_factory=dict)
    implicit_arguments: dict[tuple[str, str], Value] = field(default_factory=dict)
    outside: OutsideValues = field(default_factory=OutsideValues)
    spans: dict[int, CodeSpans] = field(default_factory=dict)  # of all code traced so far, by its id
    _locations: dict[tuple[int, int, int], Location] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.builder = Builder(self.function.body)
        self.open_blocks.add(self.function.body)

    def create(
        self,
        definition: OpDef,
        *,
        attributes: Mapping[str, Attribute] | None = None,
        regions: Sequence[Block] = (),
        location: Location | None = None,
        **operands: Value | Sequence[Value] | None,
    ) -> Op:
        """Append an op that came from the Python expression being run.

        Raises: CompileError where its operands do not fit, or where one is out of scope.
        """
        return self.create_from(definition, operands, attributes, regions, location)

    def create_from(
        self,
        definition: OpDef,
        operands: Mapping[str, Value | Sequence[Value] | None],
        attributes: Mapping[str, Attribute] | None = None,
        regions: Sequence[Block] = (),
        location: Location | None = None,
    ) -> Op:
        """Same as ``create``, with the operands in a mapping."""
        place = location or self.location()
        try:
            op = Op(definition, operands, attributes, regions, place)
        except TypeRuleError as error:
            raise CompileError(str(error), place) from None
        for value in op.operands:
            self._check_scope(value, place)
        return self.builder.insert(op)

    def _check_scope(self, value: Value, location: Location | None) -> None:
        owner = value.owner
        block = owner.parent if isinstance(owner, Op) else owner
        if block not in self.open_blocks:
            raise CompileError(
                "a tile made inside a loop or a branch is used outside it",
                location,
                "give it to a name that is assigned before the loop, or in both branches",
            )

    @contextmanager
    def region(self, block: Block) -> Iterator[None]:
        """Put the ops made inside the ``with`` into ``block``."""
        was_open = block in self.open_blocks
        previous = self.enter_block(block)
        try:
            yield
        finally:
            self.builder.block = previous
            if not was_open:
                self.open_blocks.discard(block)

    def enter_block(self, block: Block) -> Block:
        """Continue in ``block``; return the block left, for ``leave_block``."""
        previous = self.builder.block
        self.builder.block = block
        self.open_blocks.add(block)
        return previous

    def leave_block(self, block: Block, previous: Block) -> None:
        self.open_blocks.discard(block)
        self.builder.block = previous

    def location(self) -> Location | None:
        """Return the place in the kernel that is being run, with the calls that led there."""
        frame = sys._getframe(1)
        while frame is not None:
            spans = self.spans.get(id(frame.f_code))
            if spans is not None:
                return self.location_at(spans, frame.f_lasti)
            frame = frame.f_back  # type: ignore[assignment]
        return self.function.location

    def location_at(self, spans: CodeSpans, instruction: int) -> Location:
        """Return the place of an instruction of a function that is being traced."""
        key = (id(spans), instruction, id(self.caller))
        location = self._locations.get(key)
        if location is None:
            location = self._locations[key] = spans.location(instruction, self.caller)
        return location

    def add_argument(self, argument: Argument, type: TileType) -> Value:
        return self.function.add_argument(argument, type)


def find_active() -> Trace | None:
    """Return the trace in progress, or None outside kernels."""
    return ACTIVE.get()


def active() -> Trace:
    """Return the trace in progress. Raises CompileError outside kernels."""
    trace = ACTIVE.get()
    if trace is None:
        raise CompileError(
            "this works only inside a kernel",
            None,
            "call it in a function decorated with @tilejit.kernel that is launched as kernel[grid](...)",
        )
    return trace


@contextmanager
def tracing(trace: Trace) -> Iterator[Trace]:
    """Make ``trace`` the active one inside the ``with``."""
    token = ACTIVE.set(trace)
    try:
        yield trace
    finally:
        ACTIVE.reset(token)


def fail(message: str, hint: str | None = None) -> NoReturn:
    """Raise CompileError at the place in the kernel that is being run."""
    trace = ACTIVE.get()
    raise CompileError(message, trace.location() if trace else None, hint)
