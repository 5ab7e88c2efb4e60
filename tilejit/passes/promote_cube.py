"""From tile IR to the buffer level, for kernels that run on the cube cores alone.

Before: a function of tile IR whose tile work is dots of loaded tiles, their sums and stores of them
(``cube_work``), with the loop over the programs of a core (``program_loop``); no sum changes places
(``moved_sums``). After: a kernel with one AIC function: operands are buffers in L1, L0A and L0B, sums are
accumulators in L0C; no addresses, no flags, one slot a buffer.

A sum stays in one accumulator from its zeros to its stores. Which trip of which loop adds to it first may
depend on the run: beside the values that the kernel carries, loops and branches carry for each accumulator
whether it still stands for zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from tilejit.diagnostics import InternalError
from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.machine import MachineKernel
from tilejit.ir.types import INT1, UINT8, TileType
from tilejit.ops import ATOMIC_RMW, DOT, FOR, STORE
from tilejit.ops.machine.buffer import SLOT
from tilejit.ops.machine.rules import FRACTAL_ROWS
from tilejit.passes.algebra import constant_value
from tilejit.passes.cube_work import CubeWork, Sum, is_zero, readers_of_sum
from tilejit.passes.lower_dot import Accumulator, Zero, lower_dot
from tilejit.passes.lower_fixpipe import lower_fixpipe
from tilejit.passes.lower_l1 import L1Tile, load_l1
from tilejit.passes.lowering import Lowering, turn_off_saturation
from tilejit.passes.machine_builder import Index
from tilejit.passes.manager import PassContext
from tilejit.passes.moved_sums import is_last_use
from tilejit.passes.plan_cube import CubePlan, DotOperand, DotPlan, L1Layout, round_up
from tilejit.passes.promote_memory import Carried, ProgramWalker
from tilejit.passes.rotate_buffers import slots_of
from tilejit.passes.tile_lanes import is_computable
from tilejit.passes.tile_reach import Reach, reach_of
from tilejit.records import dataclass
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Core, Space


def promote_cube(function: Function, target: AscendTarget, context: PassContext) -> MachineKernel:
    """Lower a kernel whose tile work is dots to one function for cube cores.

    Raises: CompileError where the kernel does what cannot be lowered.
    """
    machine = Function(function.name, Block(), location=function.location, core=Core.AIC)
    lowering = Lowering(function, machine.body, context)
    _CubeWalker(lowering, machine, CubeWork(function), target).run()
    turn_off_saturation(machine)
    return MachineKernel(function.name, {Core.AIC: machine})


@dataclass
class _CarriedSums(Carried):
    """Also the accumulators that pass through, by position; and whether they stood for zeros before."""

    sums: dict[int, Accumulator] = field(default_factory=dict)
    zeros: dict[int, Zero] = field(default_factory=dict)


class _CubeWalker(ProgramWalker):
    """Lowers the ops of a function in program order."""

    def __init__(self, lowering: Lowering, machine: Function, work: CubeWork, target: AscendTarget) -> None:
        super().__init__(lowering, machine)
        self._work = work
        self._plan = CubePlan(lowering, work, target)
        self._l1: dict[tuple[Op, L1Layout], L1Tile] = {}
        self._accumulators: dict[Value, Accumulator] = {}
        self._zero: dict[Value, Zero] = {}
        self._halves: list[Value] = []
        self._turns = 0
        self._half_count = min(2, slots_of(lowering.context.options))
        self._extents: dict[Sum, tuple[Block, Index, Index]] = {}
        self._rules = {**self._rules, STORE.name: self._store, ATOMIC_RMW.name: self._store}

    def _visit_tile(self, op: Op) -> None:
        if op.name == DOT.name:
            self._dot(op)

    # Operands

    def _load(self, op: Op) -> None:
        if op.result.type.is_scalar:
            super()._load(op)
            return
        for layout in self._plan.layouts(op):
            self._l1[op, layout] = load_l1(self._lowering, self._plan, op, layout, self._pitch(op, layout))

    def _pitch(self, load: Op, layout: L1Layout) -> Index:
        """Rows from column to column: as many as mmad takes where that makes L0B's part one run of L1."""
        uses = self._plan.uses(load)
        sums = {self._work.sum_of(plan.dot.result) for plan, _ in uses}
        if len(sums) == 1 and all(use is plan.right and use.is_along_k for plan, use in uses):
            return self._padded(sums.pop())[1]
        return layout.pitch

    def _tile(self, plan: DotPlan, operand: DotOperand) -> L1Tile:
        return self._l1[operand.load, self._plan.layout(plan, operand)]

    # Sums

    def _padded(self, of: Sum) -> tuple[Index, Index]:
        """The m and n of a sum's mmads: its extents where the masks of its operands bound them."""
        known = self._extents.get(of)
        if known is not None and self._builder.is_open(known[0]):
            return known[1:]
        plan = self._plan.sums[of]
        m = self._extent([dot.left for dot in plan.dots], plan.rows, FRACTAL_ROWS)
        n = self._extent([dot.right for dot in plan.dots], plan.columns, plan.n_unit)
        self._extents[of] = (self._builder.block, m, n)
        return m, n

    def _extent(self, operands: Sequence[DotOperand], size: int, unit: int) -> Index:
        lowering, builder = self._lowering, self._builder
        reaches = [self._plan.reach(operand.load) for operand in operands]
        keys = [reach.keys(operand.outer) for reach, operand in zip(reaches, operands, strict=True)]
        first, dim = reaches[0], operands[0].outer
        if any(key != keys[0] for key in keys) or not keys[0] or dim is None:
            return round_up(size, unit)
        bounds = first.bounds[dim]
        if not all(is_computable(lowering, v) for b in bounds for v in (b.limit_of, b.offset_of)):
            return round_up(size, unit)
        return builder.round_up(builder.maximum(first.count(lowering, dim), 1), unit)

    def _new_accumulator(self, of: Sum) -> Accumulator:
        plan = self._plan.sums[of]
        m, n = self._padded(of)
        size = round_up(plan.rows, FRACTAL_ROWS) * round_up(plan.columns, plan.n_unit)
        name = next((value.name for value in of.values if value.name), "")
        buffer = self._builder.buffer(plan.element, size, name, Space.L0C)
        # Stands where the sum begins, so that only loops around it use another slot in each trip.
        pointer = self._builder.reinterpret(buffer, plan.element)
        return Accumulator(pointer, plan.element, m, n)

    def _accumulator(self, value: Value, of: Sum, user: Op) -> tuple[Accumulator, Zero]:
        """Where a sum's value is, for an op that changes it; new where the value is zeros."""
        if is_zero(value):
            return self._new_accumulator(of), True
        if not is_last_use(value, user, readers_of_sum(value)):
            raise InternalError("a sum of products is needed after more is added to it", user.location)
        return self._accumulators[value], self._zero[value]

    def _dot(self, op: Op) -> None:
        lowering, plan = self._lowering, self._plan.dots[op]
        of = self._work.sum_of(op.result)
        acc = op.optional_operand("acc")
        into, zero = (self._new_accumulator(of), True) if acc is None else self._accumulator(acc, of, op)
        left, right = self._tile(plan, plan.left), self._tile(plan, plan.right)
        ends = []
        for tile, operand in ((left, plan.left), (right, plan.right)):
            ends.append(tile.reach.holds(lowering, tile.reach.count(lowering, operand.inner)))
        k = self._builder.minimum(*ends)
        self._accumulators[op.result] = into
        self._zero[op.result] = lower_dot(self._builder, plan, (left, right), k, into, zero, self._turn())

    def _turn(self) -> tuple[Value, Value] | None:
        """The halves of L0A and L0B for the next dot, where dots take turns."""
        if not self._plan.takes_turns:
            return None
        builder = self._builder
        if not self._halves:
            for space, size in self._plan.half_bytes.items():
                buffer = builder.buffer(UINT8, size, f"{space.value}_half", space)
                assert buffer.defining_op is not None
                buffer.defining_op.attributes["slots"] = self._half_count
                self._halves.append(buffer)
        number, self._turns = builder.constant(self._turns % self._half_count), self._turns + 1
        left, right = (builder.op(SLOT, buffer=half, index=number).result for half in self._halves)
        return left, right

    def _store(self, op: Op) -> None:
        ((of, output),) = [
            (of, output) for of, plan in self._plan.sums.items() for output in plan.outputs if output.op is op
        ]
        reach = reach_of(self._lowering, op)
        self._check_covered(op, of, reach)
        value = self._work.stored_sum(op)
        lower_fixpipe(self._lowering, output, reach, self._accumulators[value], self._zero[value])

    def _check_covered(self, store: Op, of: Sum, reach: Reach) -> None:
        """What the masks of operands leave out must not be stored: the accumulator holds anything there."""
        plan = self._plan.sums[of]
        (output,) = [output for output in plan.outputs if output.op is store]
        for dot in plan.dots:
            for operand, dim in ((dot.left, output.row_dim), (dot.right, output.column_dim)):
                missing = self._plan.reach(operand.load).keys(operand.outer) - reach.keys(dim)
                if missing:
                    self._lowering.refuse(
                        "products that are added up leave out different rows or columns",
                        store,
                        "give the loads of what they multiply the same mask",
                    )

    # Control flow

    def _carry(self, op: Op, arguments: Sequence[Value]) -> Carried:
        carried = _CarriedSums()
        for index, init in enumerate(op.operand_list("inits")):
            argument = arguments[index]
            if argument.type.is_scalar:
                carried.scalars.append(index)
                carried.inits.append(self._lowering.scalar(init))
            elif self._work.is_sum(argument):
                of = self._work.sum_of(argument)
                carried.sums[index], carried.zeros[index] = self._accumulator(init, of, op)
        for zero in carried.zeros.values():
            carried.inits.append(self._bool(zero))
        return carried

    def _join(self, op: Op) -> Carried:
        carried = _CarriedSums()
        for index, result in enumerate(op.results):
            if result.type.is_scalar:
                carried.scalars.append(index)
            elif self._work.is_sum(result):
                carried.zeros[index] = False
        return carried

    def _enter(self, block: Block, carried: Carried, arguments: Sequence[Sequence[Value]]) -> None:
        super()._enter(block, carried, arguments)
        assert isinstance(carried, _CarriedSums)
        for index, accumulator in carried.sums.items():
            zero = block.add_argument(TileType(INT1), "zero")
            for group in arguments:
                self._accumulators[group[index]] = accumulator
                self._zero[group[index]] = zero

    def _put(self, carried: Carried, yielded: Sequence[Value]) -> list[Value]:
        assert isinstance(carried, _CarriedSums)
        zeros = []
        for index in carried.zeros:
            value, home = yielded[index], carried.sums.get(index)
            found = self._accumulators.get(value)
            if found is None or (home is not None and found.pointer is not home.pointer):
                raise InternalError(f"%{value.name} takes the place of another sum", self._builder.location)
            carried.sums[index] = found
            zeros.append(self._bool(self._zero[value]))
        return zeros

    def _leave(self, op: Op, made: Op, carried: Carried) -> None:
        super()._leave(op, made, carried)
        assert isinstance(carried, _CarriedSums)
        for index, zero in zip(carried.zeros, made.results[len(carried.scalars) :], strict=True):
            zero.name = "zero"
            result = op.results[index]
            self._accumulators[result] = carried.sums[index]
            yielded = op.regions[-1].terminator.operands[index]
            is_run = made.name == FOR.name and _surely_runs(made)
            self._zero[result] = False if is_run and self._zero[yielded] is False else zero

    def _bool(self, zero: Zero) -> Value:
        return zero if isinstance(zero, Value) else self._builder.constant(zero, INT1)


def _surely_runs(loop: Op) -> bool:
    """Whether a for loop is known to run at least once."""
    lower, upper, step = (constant_value(loop.operand(name)) for name in ("lower", "upper", "step"))
    if lower is None or upper is None or step is None:
        return False
    return lower < upper if step > 0 else lower > upper
