"""From tile IR to the buffer level, for kernels that run on the vector cores alone.

Before: a function of tile IR without dots whose element types the vector unit computes, with the loop over
the programs of a core (``program_loop``). After: a kernel with one AIV function: tiles are buffers in UB,
accesses are DMA, tile ops are vector instructions; no addresses, no flags, one slot a buffer. The numbers of
programs along the axes of the grid come as arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field

from tilejit.ir.core import Argument, ArgumentSource, Block, Function, Op, Value
from tilejit.ir.machine import MachineKernel
from tilejit.ir.opdef import Effects
from tilejit.ir.types import INT1, INT32, PointerType, TileType
from tilejit.ops import (
    ARANGE,
    ATOMIC_RMW,
    DEVICE_ASSERT,
    FOR,
    IF,
    JOIN,
    LOAD,
    NUM_PROGRAMS,
    REDUCE,
    RESHAPE,
    RETURN,
    SELECT,
    SPLIT,
    STORE,
    TRANSPOSE,
    WHILE,
    YIELD,
)
from tilejit.ops.machine.buffer import BLOCK_COUNT, BLOCK_INDEX, BUFFER, SLOT, SUB_BLOCK_INDEX
from tilejit.ops.machine.sync import CROSS_SET, CROSS_WAIT
from tilejit.passes.lower_bytes import bits_of_bytes
from tilejit.passes.lower_elementwise import lower_elementwise
from tilejit.passes.lower_masks import is_affine_comparison, lower_bits, lower_select
from tilejit.passes.lower_pieces import LOWER_PIECES
from tilejit.passes.lower_rearrange import (
    is_written_out,
    lower_join,
    lower_repetition,
    lower_reshape,
    lower_split,
)
from tilejit.passes.lower_reduce import lower_reduce
from tilejit.passes.lower_transfer import lower_atomic, lower_load, lower_store
from tilejit.passes.lower_transpose import lower_transpose
from tilejit.passes.lowering import Lowering, turn_off_saturation
from tilejit.passes.manager import PassContext
from tilejit.passes.program_loop import AXES
from tilejit.passes.tile_homes import UbTile, is_view
from tilejit.passes.tile_lanes import load_scalar
from tilejit.passes.unsupported import instead_of, spell_kind
from tilejit.passes.vector_form import copy_tile, whole
from tilejit.records import dataclass
from tilejit.target.spaces import Core

_MACHINE_OPS = (BUFFER, SLOT, BLOCK_INDEX, BLOCK_COUNT, SUB_BLOCK_INDEX, CROSS_SET, CROSS_WAIT)
"""Machine ops that tile IR may have: a kernel for both kinds of core has been split."""
_ON_SCALAR_UNIT = frozenset(op.name for op in (LOAD, DEVICE_ASSERT))
"""Ops of scalars that the scalar unit does as they are, though they do more than read."""
_REARRANGE: Mapping[str, Callable[[Lowering, Op], UbTile]] = {
    TRANSPOSE.name: lower_transpose, RESHAPE.name: lower_reshape, JOIN.name: lower_join, **LOWER_PIECES,
}  # fmt: skip


def promote_memory(
    function: Function,
    context: PassContext,
    *,
    keep_resident: bool = True,
    overwrites_loads: bool = False,
) -> MachineKernel:
    """Lower a kernel without dots to one function for vector cores.

    ``keep_resident``: else loads wait for their first use.
    ``overwrites_loads``: results may take the place of loaded tiles: memory is scarce.
    Raises: CompileError where the kernel does what cannot be lowered.
    """
    machine = Function(function.name, Block(), location=function.location, core=Core.AIV)
    lowering = Lowering(function, machine.body, context, overwrites_loads=overwrites_loads)
    ProgramWalker(lowering, machine, keep_resident=keep_resident).run()
    turn_off_saturation(machine)
    return MachineKernel(function.name, {Core.AIV: machine})


class ProgramWalker:
    """Lowers the ops of a function in program order to ``machine``, an empty function."""

    def __init__(self, lowering: Lowering, machine: Function, *, keep_resident: bool = True) -> None:
        """See ``promote_memory``."""
        function = lowering.function
        self._keeps_resident = keep_resident
        self._late: dict[Value, Op] = {}  # loads that nothing has asked for so far
        for argument, value in zip(function.arguments, function.body.arguments, strict=True):
            lowering.scalars[value] = machine.add_argument(argument, value.type)
        self._lowering = lowering
        self._builder = lowering.builder
        self._grid = [
            machine.add_argument(Argument("grid", ArgumentSource.GRID, axis), TileType(INT32))
            for axis in range(AXES)
        ]
        self._rules: Mapping[str, Callable[[Op], None]] = {
            NUM_PROGRAMS.name: self._num_programs,
            LOAD.name: self._load,
            STORE.name: lambda op: lower_store(lowering, op),
            ATOMIC_RMW.name: lambda op: lower_atomic(lowering, op),
            FOR.name: self._for,
            WHILE.name: self._while,
            IF.name: self._if,
            **{record.name: self._copy for record in _MACHINE_OPS},
        }

    def run(self) -> None:
        self._builder.location = self._lowering.function.location
        for op in self._lowering.function.body.ops[:-1]:
            self._visit(op)
        self._builder.op(RETURN)

    def _visit(self, op: Op) -> None:
        if not self._keeps_resident and self._is_late(op):
            return
        self._builder.location = op.location
        rule = self._rules.get(op.name)
        if rule is not None:
            rule(op)
        elif self._is_scalar(op):
            self._clone(op)
        else:
            self._visit_tile(op)

    def _is_late(self, op: Op) -> bool:
        """Whether ``op`` is a load that waits for its first use: memory is scarce."""
        if op.name == LOAD.name and op.result in self._lowering.homes.read_by_lane:
            return False
        if op.name == LOAD.name and not op.result.type.is_scalar and op.result not in self._late:
            self._late[op.result] = op
            return True
        touches_all = bool(op.regions) or bool(op.effects & Effects.WRITE)
        self._load_now(self._late if touches_all else [self._lowering.base_of(v)[0] for v in op.operands])
        return False

    def _load_now(self, values: Iterable[Value]) -> None:
        """Lower the loads among ``values`` that have waited so far."""
        for value in list(values):
            load = self._late.pop(value, None)
            if load is not None:
                self._builder.location = load.location
                self._load(load)

    def _visit_tile(self, op: Op) -> None:
        """Lower an op that makes tiles."""
        lowering = self._lowering
        if op.name == SPLIT.name:
            self._split(op)
            return
        if op.regions or len(op.results) != 1 or op.effects & Effects.WRITE:
            lowering.refuse(f"{spell_kind(op)} is not supported", op, instead_of(op))
        if op.result not in lowering.homes.demanded:
            return
        if is_view(op):
            if is_written_out(lowering, op.result):
                lowering.tiles[op.result] = lower_repetition(lowering, op.result)
            return
        if isinstance(op.result.type.element, PointerType):
            lowering.refuse("tiles of addresses cannot be computed with", op, "load and store through them")
        if is_affine_comparison(lowering, op):
            return  # made where it is asked for, if it is not taken apart there
        if op.result.type.element == INT1:
            lowering.bits[op.result] = lower_bits(lowering, op)
        elif op.name != ARANGE.name:
            lowering.tiles[op.result] = self._tile_op(op)

    def _split(self, op: Op) -> None:
        """Take a tile apart, where both halves, or either, are asked for."""
        lowering = self._lowering
        if any(half in lowering.homes.demanded for half in op.results):
            lowering.tiles.update(zip(op.results, lower_split(lowering, op), strict=True))

    def _tile_op(self, op: Op) -> UbTile:
        """Compute a tile."""
        lowering = self._lowering
        rearrange = _REARRANGE.get(op.name)
        if rearrange is not None:
            return rearrange(lowering, op)
        if op.name == SELECT.name:
            return lower_select(lowering, op)
        if op.name == REDUCE.name:
            return lower_reduce(lowering, op)
        tile = lower_elementwise(lowering, op) if op.definition.is_elementwise else None
        if tile is None:
            lowering.refuse(f"the vector unit has no {spell_kind(op)}", op, instead_of(op))
        return tile

    # Scalars

    def _is_scalar(self, op: Op) -> bool:
        values = op.operands if op.name == DEVICE_ASSERT.name else op.results
        return not op.regions and all(
            value.type.is_scalar and not self._lowering.is_ub(value) for value in values
        )

    def _clone(self, op: Op) -> None:
        """A scalar op stays what it is."""
        lowering = self._lowering
        if op.effects & ~Effects.READ and op.name not in _ON_SCALAR_UNIT:
            lowering.refuse(f"{spell_kind(op)} is not supported", op, instead_of(op))
        self._copy(op)

    def _copy(self, op: Op) -> None:
        lowering = self._lowering
        operands = {
            name: [lowering.scalar(value) for value in values] for name, values in op.named_operands().items()
        }
        names = [result.name for result in op.results]
        made = Op(op.definition, operands, op.attributes, location=op.location, result_names=names)
        self._builder.block.append(made)
        lowering.scalars.update(zip(op.results, made.results, strict=True))

    def _num_programs(self, op: Op) -> None:
        axis = op.attributes["axis"]
        assert isinstance(axis, int)
        self._lowering.scalars[op.result] = self._grid[axis]

    def _load(self, op: Op) -> None:
        lowering = self._lowering
        if not op.result.type.is_scalar:
            if op.result not in lowering.homes.demanded:
                return
            tile = lower_load(lowering, op)
            if op.result.type.element == INT1:
                lowering.bytes[op.result] = tile
                lowering.bits[op.result] = bits_of_bytes(lowering, tile, op.result.type)
            else:
                lowering.tiles[op.result] = tile
        elif op.optional_operand("mask") is None:
            self._clone(op)
        else:
            lowering.scalars[op.result] = load_scalar(lowering, op)

    # Control flow

    def _for(self, op: Op) -> None:
        lowering, body = self._lowering, op.regions[0]
        carried = self._carry(op, body.arguments[1:])
        names = [argument.name for argument in body.arguments]
        block = Block([body.arguments[0].type], names[:1])
        lowering.scalars[body.arguments[0]] = block.arguments[0]
        self._enter(block, carried, [body.arguments[1:]])
        self._region(body, block, carried)
        bounds = {name: lowering.scalar(op.operand(name)) for name in ("lower", "upper", "step")}
        operands: dict[str, Value | Sequence[Value] | None] = {**bounds, "inits": carried.inits}
        made = Op(FOR, operands, regions=(block,), location=op.location)
        self._leave(op, made, carried)

    def _while(self, op: Op) -> None:
        condition, body = op.regions
        carried = self._carry(op, body.arguments)
        blocks = [Block(), Block()]
        for block, region in zip(blocks, (condition, body), strict=True):
            self._enter(block, carried, [region.arguments])
        with self._builder.inside(blocks[0]):
            for inner in condition.ops[:-1]:
                self._visit(inner)
            holds = self._lowering.scalar(condition.terminator.operands[0])
            blocks[0].append(Op(YIELD, {"values": [holds]}, location=op.location))
        self._region(body, blocks[1], carried)
        made = Op(WHILE, {"inits": carried.inits}, regions=tuple(blocks), location=op.location)
        self._leave(op, made, carried)

    def _if(self, op: Op) -> None:
        condition = self._lowering.scalar(op.operand("condition"))
        carried = self._join(op)
        blocks = [Block(), Block()]
        for block, region in zip(blocks, op.regions, strict=True):
            self._region(region, block, carried)
        made = Op(IF, {"condition": condition}, regions=tuple(blocks), location=op.location)
        self._leave(op, made, carried)

    def _join(self, op: Op) -> Carried:
        """Find where each result of an if lives."""
        lowering, carried = self._lowering, Carried()
        for index, result in enumerate(op.results):
            if not lowering.is_ub(result):
                carried.scalars.append(index)
            elif result in lowering.homes.demanded:
                self._refuse_bools(result, op)
                carried.tiles[index] = self._joined_tile(op, result, carried)
        return carried

    def _joined_tile(self, op: Op, result: Value, carried: Carried) -> UbTile:
        """The tile of a result of an if: where an arm finds it carried, if nothing reads that later."""
        lowering = self._lowering
        taken = [other.pointer for other in carried.tiles.values()]
        for region in op.regions:
            value = region.terminator.operands[result.index]
            tile = lowering.tiles.get(value)
            if tile is None or tile.pointer not in lowering.carried or tile.pointer in taken:
                continue
            if lowering.homes.is_last_use(value, op):
                return tile
        return lowering.new_tile(result.type, result.name)

    def _carry(self, op: Op, arguments: Sequence[Value]) -> Carried:
        """Find where each value that a loop carries lives, and put its initial value there."""
        lowering, carried = self._lowering, Carried()
        for index, init in enumerate(op.operand_list("inits")):
            argument = arguments[index]
            if not lowering.is_ub(argument):
                carried.scalars.append(index)
                carried.inits.append(lowering.scalar(init))
            elif argument in lowering.homes.demanded:
                self._refuse_bools(argument, op)
                carried.tiles[index] = self._carried_tile(op, init, argument, carried)
        return carried

    def _refuse_bools(self, value: Value, op: Op) -> None:
        if value.type.element == INT1:
            self._lowering.refuse(
                "tiles of bools cannot pass through control flow",
                op,
                "let it leave numbers, and compare them where the bools are used",
            )

    def _carried_tile(self, op: Op, init: Value, argument: Value, carried: Carried) -> UbTile:
        """The tile of the initial value where nothing else needs it, else one of its own."""
        lowering = self._lowering
        tile = lowering.tiles.get(init)
        taken = [other.pointer for other in carried.tiles.values()]
        is_needed = not lowering.homes.is_last_use(init, op) or lowering.homes.is_read_within(init, op)
        if tile is None or tile.is_fixed or tile.pointer in taken or is_needed:
            tile = lowering.new_tile(argument.type, argument.name)
            lowering.write(init, tile)
        lowering.carried.add(tile.pointer)
        return tile

    def _enter(self, block: Block, carried: Carried, arguments: Sequence[Sequence[Value]]) -> None:
        """Give a block the arguments for what is carried on the scalar unit."""
        for group in arguments:
            for index in carried.scalars:
                value = group[index]
                self._lowering.scalars[value] = block.add_argument(value.type, value.name)
            for index, tile in carried.tiles.items():
                self._lowering.tiles[group[index]] = tile

    def _region(self, region: Block, block: Block, carried: Carried) -> None:
        """Lower a region into ``block``, which ends by putting what it yields where it is carried."""
        lowering = self._lowering
        with self._builder.inside(block):
            for op in region.ops[:-1]:
                self._visit(op)
            self._load_now(self._late)
            self._builder.location = region.terminator.location
            yielded = region.terminator.operands
            more = self._put(carried, yielded)
            values = [lowering.scalar(yielded[index]) for index in carried.scalars] + more
            block.append(Op(YIELD, {"values": values}, location=self._builder.location))

    def _put(self, carried: Carried, yielded: Sequence[Value]) -> list[Value]:
        """Copy yielded tiles to where they are carried; those that lie where another goes are saved first.

        Returns the scalars that are handed on beside those that the kernel carries.
        """
        lowering = self._lowering
        homes = {tile.pointer for tile in carried.tiles.values()}
        saved: dict[int, UbTile] = {}
        for index, tile in carried.tiles.items():
            found = lowering.tiles.get(lowering.base_of(yielded[index])[0])
            if found is not None and found.pointer in homes and found.pointer is not tile.pointer:
                saved[index] = lowering.new_like(tile)
                lowering.write(yielded[index], saved[index])
        for index, tile in carried.tiles.items():
            found = lowering.tiles.get(yielded[index])
            if index in saved:
                copy_tile(self._builder, tile, whole(saved[index]))
            elif found is None or found.pointer is not tile.pointer:
                lowering.write(yielded[index], tile)
        return []

    def _leave(self, op: Op, made: Op, carried: Carried) -> None:
        """Append a control op; its results are what it carried."""
        self._builder.block.append(made)
        for index, value in zip(carried.scalars, made.results, strict=False):
            value.name = op.results[index].name
            self._lowering.scalars[op.results[index]] = value
        for index, tile in carried.tiles.items():
            self._lowering.tiles[op.results[index]] = tile


@dataclass
class Carried:
    """What passes through a control op: by position, scalars of the machine function and tiles in UB."""

    scalars: list[int] = field(default_factory=list)
    inits: list[Value] = field(default_factory=list)
    tiles: dict[int, UbTile] = field(default_factory=dict)
