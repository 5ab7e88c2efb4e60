"""From tile IR to the buffer level, for kernels that run on the vector cores alone.

Before: a function of tile IR without dots whose element types the vector unit computes. After: a kernel with
one AIV function: tiles are buffers in UB, accesses are DMA, tile ops are vector instructions; no addresses,
no flags, one slot a buffer.

The function is persistent: each core runs the programs ``block_index``, ``block_index + block_count`` and so
on. The numbers of programs along the axes of the grid come as arguments. What does not depend on the program
is computed once, before the loop over programs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tilejit.ir.core import Argument, ArgumentSource, Block, Function, Op, Value
from tilejit.ir.machine import MachineKernel
from tilejit.ir.types import INT32, TileType
from tilejit.ops import (
    FOR,
    IDIV,
    IREM,
    LOAD,
    MUL,
    NUM_PROGRAMS,
    PROGRAM_ID,
    RETURN,
    STORE,
    YIELD,
)
from tilejit.ops.machine.buffer import BLOCK_COUNT, BLOCK_INDEX
from tilejit.passes.lower_elementwise import lower_elementwise
from tilejit.passes.lower_transfer import lower_load, lower_store
from tilejit.passes.lowering import Lowering
from tilejit.passes.manager import PassContext
from tilejit.passes.tile_homes import is_view
from tilejit.target.spaces import Core

AXES = 3
"""Axes of a grid."""


def promote_memory(function: Function, context: PassContext) -> MachineKernel:
    """Lower a kernel without dots to one function for vector cores.

    Raises: CompileError where the kernel does what cannot be lowered.
    """
    machine = Function(function.name, Block(), location=function.location, core=Core.AIV)
    lowering = Lowering(function, machine.body, context)
    for argument, value in zip(function.arguments, function.body.arguments, strict=True):
        lowering.scalars[value] = machine.add_argument(argument, value.type)
    grid = [
        machine.add_argument(Argument("grid", ArgumentSource.GRID, axis), TileType(INT32))
        for axis in range(AXES)
    ]
    _Walker(lowering, grid).run()
    return MachineKernel(function.name, {Core.AIV: machine})


class _Walker:
    """Lowers the ops of a function in program order."""

    def __init__(self, lowering: Lowering, grid: list[Value]) -> None:
        self._lowering = lowering
        self._grid = grid
        self._program: list[Value] = []
        self._rules: Mapping[str, Callable[[Op], None]] = {
            PROGRAM_ID.name: self._program_id,
            NUM_PROGRAMS.name: self._num_programs,
            LOAD.name: self._load,
            STORE.name: lambda op: lower_store(lowering, op),
        }

    def run(self) -> None:
        builder = self._lowering.builder
        builder.location = self._lowering.function.location
        programs = builder.op(MUL, lhs=self._grid[0], rhs=self._grid[1]).result
        programs = builder.op(MUL, lhs=programs, rhs=self._grid[2]).result
        first, step = builder.op(BLOCK_INDEX).result, builder.op(BLOCK_COUNT).result
        body = Block([TileType(INT32)], ["task"])
        with builder.inside(body):
            self._decode(body.arguments[0])
            for op in self._lowering.function.body.ops[:-1]:
                self._visit(op)
            builder.location = self._lowering.function.location
            builder.op(YIELD)
        bounds = {"lower": first, "upper": programs, "step": step}
        builder.block.append(Op(FOR, bounds, regions=(body,), location=builder.location))
        builder.op(RETURN)

    def _decode(self, task: Value) -> None:
        """Program ids from the number of a task; the first axis runs fastest."""
        builder = self._lowering.builder
        rest = task
        for size in self._grid[:-1]:
            self._program.append(builder.op(IREM, lhs=rest, rhs=size).result)
            rest = builder.op(IDIV, lhs=rest, rhs=size).result
        self._program.append(rest)

    def _visit(self, op: Op) -> None:
        lowering = self._lowering
        lowering.builder.location = op.location
        rule = self._rules.get(op.name)
        if rule is not None:
            rule(op)
        elif self._is_scalar(op):
            self._clone(op)
        elif is_view(op) or not any(result in lowering.homes.demanded for result in op.results):
            return
        else:
            tile = lower_elementwise(lowering, op) if op.definition.is_elementwise else None
            if tile is None:
                lowering.refuse(f"{op.name} on tiles is not supported", op)
            lowering.tiles[op.result] = tile

    def _is_scalar(self, op: Op) -> bool:
        return not op.regions and all(
            value.type.is_scalar and not self._lowering.is_ub(value) for value in op.results
        )

    def _clone(self, op: Op) -> None:
        """A scalar op stays what it is."""
        lowering = self._lowering
        operands = {
            name: [lowering.scalar(value) for value in values] for name, values in op.named_operands().items()
        }
        names = [result.name for result in op.results]
        made = Op(op.definition, operands, op.attributes, location=op.location, result_names=names)
        lowering.builder.block.append(made)
        lowering.scalars.update(zip(op.results, made.results, strict=True))

    def _program_id(self, op: Op) -> None:
        axis = op.attributes["axis"]
        assert isinstance(axis, int)
        self._lowering.scalars[op.result] = self._program[axis]

    def _num_programs(self, op: Op) -> None:
        axis = op.attributes["axis"]
        assert isinstance(axis, int)
        self._lowering.scalars[op.result] = self._grid[axis]

    def _load(self, op: Op) -> None:
        if op.result.type.is_scalar:
            self._clone(op)
        elif op.result in self._lowering.homes.demanded:
            self._lowering.tiles[op.result] = lower_load(self._lowering, op)
