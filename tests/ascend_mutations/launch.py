"""Launches of machine kernels, and what their cores issue in them.

What scalar loads give is taken from a simulation of the unchanged kernel: a mutant that keeps every order
loads the same, and what changes an order is found where it happens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from unittest.mock import patch

import numpy as np

from tests.ascend_mutations.conflicts import CoreTrace
from tests.ascend_mutations.events import CrossEvent, Touch, touch_of
from tests.random_machine.trace import ARGUMENT_BYTES, Event, Tracer, own_places
from tilejit.backend.ascend.execution import Execution
from tilejit.backend.ascend.pipes import SimulatedCore
from tilejit.ir.core import Argument, ArgumentSource, Function, Op
from tilejit.ir.machine import CoreState, Instruction, MachineKernel
from tilejit.ir.opdef import EvaluationCall
from tilejit.ir.types import DType, PointerType
from tilejit.ops.type_rules import storage_dtype
from tilejit.target.spaces import Core, Space

Arguments = Mapping[str, np.ndarray | int | float]
CoreKey = tuple[Core, int, int]
Loads = Mapping[CoreKey, Iterable[int | float]]
Contents = Callable[[DType | PointerType, int], int | float]
"""What memory holds at an address, as an element of a type."""
_MOST_EVENTS = 200_000
_MOST_TRACED = 4000
"""Where a launch that is not run is cut off."""


class _Enough(Exception):
    """A trace is long enough."""


@dataclass(frozen=True)
class Launch:
    """One launch; ``arguments`` makes fresh ones. ``is_run``: the simulator can run it, else it is traced
    alone, for numbers that no memory would do for."""

    label: str
    arguments: Callable[[], Arguments]
    grid: tuple[int, int, int] = (1, 1, 1)
    blocks: int = 1
    is_run: bool = True


@contextmanager
def recorded_loads() -> Iterator[dict[CoreKey, list[int | float]]]:
    """What each core's scalar loads give while a simulation runs inside."""
    found: dict[CoreKey, list[int | float]] = defaultdict(list)
    load = Execution.load

    def keep(self: Execution, op: Op, values: Mapping[str, int | float], core: SimulatedCore) -> int | float:
        value = load(self, op, values, core)
        found[core.kind, core.block, core.sub_block].append(value)
        return value

    with patch.object(Execution, "load", keep):
        yield found


def trace_launch(kernel: MachineKernel, launch: Launch, loads: Loads | Contents) -> list[CoreTrace]:
    """What every core of a launch issues; ``loads``: what scalar loads give, in turn or by address."""
    traces = []
    for kind, function in kernel.functions.items():
        for block in range(launch.blocks):
            for sub_block in range(2 if kernel.is_mixed and kind is Core.AIV else 1):
                key = (kind, block, sub_block)
                contents = loads if callable(loads) else _in_turn(loads[key])
                tracer = _LaunchTracer(function, kernel.workspace_bytes, launch, key, contents)
                traces.append(CoreTrace(tracer.launch(), kind, block, sub_block))
    return traces


def _in_turn(loads: Iterable[int | float]) -> Contents:
    left = iter(loads)
    return lambda element, address: next(left, 0)


class _LaunchTracer(Tracer):
    """Runs one core's function on the arguments of a launch."""

    def __init__(
        self,
        function: Function,
        workspace_bytes: int,
        launch: Launch,
        key: CoreKey,
        contents: Contents,
    ) -> None:
        super().__init__(function, _MOST_EVENTS if launch.is_run else _MOST_TRACED)
        self._workspace_bytes, self._launch, self._key = workspace_bytes, launch, key
        self._contents = contents
        self._given = launch.arguments()

    def launch(self) -> list[Event]:
        """What the function issues."""
        self.places = own_places(self.function)
        arguments = zip(self.function.body.arguments, self.function.arguments, strict=True)
        for position, (value, record) in enumerate(arguments):
            is_pointer = isinstance(value.type.element, PointerType)
            self.values[value] = (position + 1) * ARGUMENT_BYTES if is_pointer else self._passed(record)
        try:
            self.block(self.function.body)
        except _Enough:
            assert not self._launch.is_run, "the trace of a launch does not end"
        return self.events

    def _passed(self, argument: Argument) -> int | float:
        """The number passed for an argument that is no address."""
        source = argument.source
        if source is ArgumentSource.GRID:
            return self._launch.grid[argument.dimension]
        value = self._given.get(argument.name, 0)
        if not isinstance(value, np.ndarray):
            return value
        if source is ArgumentSource.SHAPE:
            return int(value.shape[argument.dimension])
        return value.strides[argument.dimension] // value.itemsize

    def issue(self, op: Op) -> None:
        facts = op.definition.machine
        assert facts is not None
        if len(self.events) >= self.most_events:
            raise _Enough
        if op.name in ("cross_set", "cross_wait"):
            flag, mode = int(self.values[op.operand("flag")]), int(op.attributes.get("mode", 2))  # type: ignore[call-overload]
            self.events.append(CrossEvent(op, op.name, facts.pipe(op), flag_id=flag, mode=mode))
        elif op.name not in ("set_deq_scale", "set_saturation"):
            super().issue(op)
            if self.events and self.events[-1].op is op and self.events[-1].kind == "work":
                self.events[-1] = replace(self.events[-1], touches=self._touches(op))

    def _touches(self, op: Op) -> tuple[Touch, ...]:
        facts = op.definition.machine
        assert facts is not None
        values = {name: self.values[value] for name, value in self.named[op]}
        accesses = facts.accesses(Instruction(op, values, CoreState(self.atomic)))
        return tuple(touch_of(access) for access in accesses if not access.is_empty)

    def scalar(self, op: Op) -> Sequence[int | float]:
        operands = {
            name: tuple(np.asarray(self.values[v], storage_dtype(v.type.element)) for v in values)
            for name, values in op.named_operands().items()
        }
        # Elementwise meanings ask nothing of their context.
        return [op.definition.evaluate(EvaluationCall(op, operands, None))[0].item()]  # type: ignore[arg-type]

    do_cast = do_cmp = do_select = scalar

    def do_block_index(self, op: Op) -> Sequence[int]:
        return [self._key[1]]

    def do_block_count(self, op: Op) -> Sequence[int]:
        return [self._launch.blocks]

    def do_sub_block_index(self, op: Op) -> Sequence[int]:
        return [self._key[2]]

    def do_num_programs(self, op: Op) -> Sequence[int]:
        return [self._launch.grid[op.attributes["axis"]]]  # type: ignore[index]

    def do_device_assert(self, op: Op) -> Sequence[int]:
        return []

    do_device_print = do_device_assert

    def do_buffer(self, op: Op) -> Sequence[int | float]:
        is_shared = op.attributes["space"] is Space.GM
        start = self._key[1] * self._workspace_bytes if is_shared else 0
        return [start + address for address in super().do_buffer(op)]

    def do_load(self, op: Op) -> Sequence[int | float]:
        if not self._is_active(op):
            other = op.optional_operand("other")
            return [0 if other is None else self.values[other]]
        self.scalar_access(op, is_write=False)
        address = int(self.values[op.operand("pointer")])
        return [self._contents(op.result.type.element, address)]

    def do_store(self, op: Op) -> Sequence[int | float]:
        if self._is_active(op):
            self.scalar_access(op, is_write=True)
        return []

    def scalar_access(self, op: Op, *, is_write: bool) -> None:
        super().scalar_access(op, is_write=is_write)
        event = self.events[-1]
        touches = tuple(Touch(t.space, t.start, t.end, t.is_write, t.end - t.start) for t in event.touches)
        self.events[-1] = replace(event, touches=touches)  # type: ignore[arg-type]

    def _is_active(self, op: Op) -> bool:
        mask = op.optional_operand("mask")
        return mask is None or bool(self.values[mask])
