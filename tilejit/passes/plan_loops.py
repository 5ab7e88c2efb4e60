"""Turn tile IR into a loop plan.

Holds before: simplified tile IR. Holds after: a plan whose steps compute the function; every value a step
reads is a scalar computed before, an inline value, or a buffer filled before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tilejit.diagnostics import CompileError
from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.loop_plan import (
    AtomicStep,
    Buffer,
    CopyStep,
    DotOperand,
    DotStep,
    ForStep,
    IfStep,
    LoopPlan,
    MaskedStep,
    Materialise,
    Nest,
    PrintStep,
    ReduceRoot,
    ScalarStep,
    ScanStep,
    Step,
    StoreRoot,
    WhileStep,
)
from tilejit.ir.types import BF16, FP16, FP32
from tilejit.ops import control, elementwise, memory, reduce, shape
from tilejit.options import DEFAULT_OPTIONS, CompileOptions
from tilejit.passes.access import constant_everywhere
from tilejit.passes.double_buffer import double_buffer
from tilejit.passes.drop_local_buffers import drop_local_buffers
from tilejit.passes.fetch_ahead import fetch_ahead
from tilejit.passes.fuse_nests import fuse_nests, make_nest
from tilejit.passes.inline_values import operand_dims
from tilejit.passes.late_stores import late_stores
from tilejit.passes.manager import PassContext
from tilejit.passes.pair_lanes import pair_lanes
from tilejit.passes.place_buffers import place_buffers
from tilejit.passes.plan_values import ValuePlan, dot_source, plan_values
from tilejit.passes.shape_nests import shape_nests
from tilejit.passes.stream_stores import stream_stores

_ACCESSES = (memory.LOAD.name, memory.STORE.name, memory.ATOMIC_RMW.name, memory.ATOMIC_CAS.name)


def plan_loops(
    function: Function,
    vector_bytes: int,
    chosen: CompileOptions = DEFAULT_OPTIONS,
    context: PassContext | None = None,
) -> LoopPlan:
    """Plan the loops of a function for vectors of ``vector_bytes``; ``chosen`` says which steps are at work,
    ``context`` collects what is done in a lesser way.

    Raises: CompileError for combine functions with control flow.
    """
    context = context or PassContext()
    values = plan_values(function, promotes=chosen.enables("promotion"), context=context)
    planner = _StepPlanner(values)
    steps = planner.block(function.body)
    fuse_nests(steps, function, values.buffers, values.analysis)
    if chosen.enables("promotion"):
        drop_local_buffers(steps, values)
    accesses = {op: values.analysis.access(op) for op in function.walk() if op.name in _ACCESSES}
    plan = LoopPlan(function, steps, values.buffers, accesses)
    plan.in_place = {load: tile.strides for load, tile in values.in_place.items()}
    place_buffers(plan)
    if chosen.enables("double_buffering"):
        double_buffer(plan, values.analysis, context)
    shape_nests(plan, values.analysis, vector_bytes)
    pair_lanes(plan, vector_bytes)
    stream_stores(plan)
    if chosen.enables("double_buffering"):
        late_stores(plan)
        fetch_ahead(plan, values.analysis)
    return plan


_MUCH_SMALLER = 8
"""A tile with so many times fewer elements than the other one of a dot is copied at next to no cost.

Source: 20 rows in tiles of 24 times 4096 x 4096, two threads of a Cascade Lake, calls that alternate, time of
copying both tiles over that of copying the rows alone: fp32 1.3 to 1.7, bf16 1.3, int8 1.25 to 1.55.
"""


class _StepPlanner:
    def __init__(self, values: ValuePlan) -> None:
        self.values = values
        self.buffers = values.buffers

    def block(self, block: Block) -> list[Step]:
        """The steps of a block, its terminator excepted."""
        steps: list[Step] = []
        for op in block.ops:
            if not op.definition.is_terminator:
                steps += self.op(op)
        return steps

    def op(self, op: Op) -> list[Step]:
        special = _PLANNERS.get(op.name)
        if special is not None:
            return special(self, op)
        if op.name == shape.CONSTANT.name:
            return []
        if all(v.type.is_scalar for v in (*op.results, *op.operands)):
            return [ScalarStep(op)]
        if op.results and op.results[0].type.is_scalar:
            return [ScalarStep(op)]  # a one-element tile viewed as a scalar
        return [
            make_nest(Materialise(result, self.buffers[result]))
            for result in op.results
            if result in self.buffers and op not in self.values.in_place
        ]

    def move(self, value: Value, buffer: Buffer) -> Step:
        """Put a value into a buffer that is not its own."""
        return make_nest(Materialise(value, buffer, is_copy=value in self.buffers))

    def store(self, op: Op) -> list[Step]:
        return [ScalarStep(op)] if op.operand("pointer").type.is_scalar else [make_nest(StoreRoot(op))]

    def atomic(self, op: Op) -> list[Step]:
        return [ScalarStep(op)] if op.result.type.is_scalar else [AtomicStep(op, self.buffers.get(op.result))]

    def print(self, op: Op) -> list[Step]:
        return [PrintStep(op)]

    def reduction(self, op: Op) -> list[Step]:
        _check_combine(op)
        axis = op.attributes["axis"]
        assert isinstance(axis, int)
        buffers = tuple(self.buffers[r] if r.type.rank else None for r in op.results)
        return [make_nest(ReduceRoot(op, axis, buffers))]

    def scan(self, op: Op) -> list[Step]:
        _check_combine(op)
        return [ScanStep(op, tuple(self.buffers[r] for r in op.results))]

    def dot(self, op: Op) -> list[Step]:
        accumulator = self.buffers[op.result]
        if op.result.type.element in (FP16, BF16):
            accumulator.element = FP32  # accumulates in fp32; whoever reads it rounds
        steps: list[Step] = []
        addend = op.optional_operand("acc")
        starts_at_zero = addend is None or constant_everywhere(addend) == 0
        row_scale = None
        if addend is not None and not starts_at_zero:
            scaled, row_scale = self._row_scale(op, addend)
            steps.append(self.move(scaled, accumulator))
        whole, cut = [], []  # operands as they are in memory; and where tiles are not whole
        fills: dict[Op, Nest] = {}
        for name in ("a", "b"):
            source, transposed = dot_source(op.operand(name))
            load = self.values.streamed.get(source)
            whole.append(DotOperand(None if load else self.buffers[source], transposed, load))
            if load is not None and not self.values.in_place[load].is_certain:
                buffer = self.buffers[load.result]
                fills[load] = make_nest(Materialise(load.result, buffer))
                cut.append(DotOperand(buffer, transposed, filled_by=load))
            else:
                cut.append(replace(whole[-1]))

        def multiply(a: DotOperand, b: DotOperand) -> DotStep:
            return DotStep(op, a, b, accumulator, starts_at_zero, row_scale)

        tiles = {load: self.values.in_place[load] for load in fills}
        in_buffers: list[Step] = [*fills.values(), multiply(*cut)]
        small = _much_smaller(*fills) if len(fills) == 2 else None
        if small is not None:
            large = {load: tile for load, tile in tiles.items() if load is not small}
            mixed = [copy if own.load is small else own for own, copy in zip(whole, cut, strict=True)]
            fill = fills.pop(small)
            in_buffers = [fill, MaskedStep(large, [multiply(*mixed)], [*fills.values(), multiply(*cut)])]
        return [*steps, MaskedStep(tiles, [multiply(*whole)], in_buffers) if tiles else multiply(*whole)]

    def _row_scale(self, dot: Op, addend: Value) -> tuple[Value, Buffer | None]:
        """A tile in a buffer whose rows, each times an element of another buffer, are what a dot adds to.

        The addend itself, and None, where it is no such product. While a dot of fp32 adds to a row it can
        multiply it as well: attention does so with all that it has summed, at every step.
        """
        op, sources = addend.defining_op, [dot_source(dot.operand(name))[0] for name in ("a", "b")]
        loads = [self.values.streamed[source].result for source in sources if source in self.values.streamed]
        is_fp32 = all(value.type.element == FP32 for value in (addend, *sources, *loads))
        if op is None or op.name != elementwise.MUL.name or addend in self.buffers or not is_fp32:
            return addend, None
        for tile, factor in (op.operands, op.operands[::-1]):
            scale = self._along_rows(factor)
            if tile in self.buffers and scale is not None:
                return tile, scale
        return addend, None

    def _along_rows(self, tile: Value) -> Buffer | None:
        """The buffer with an element for each row of a matrix whose rows are of one number each."""
        value, dims = tile, tuple[int | None, ...](range(tile.type.rank))
        while value not in self.buffers:
            op = value.defining_op
            if op is None or op.name not in (shape.BROADCAST.name, shape.RESHAPE.name):
                return None
            dims = operand_dims(op, op.operands[0], dims)
            value = op.operands[0]
        is_row = tile.type.rank == 2 and dims == (0,) and value.type.shape == tile.type.shape[:1]
        return self.buffers[value] if is_row else None

    def for_loop(self, op: Op) -> list[Step]:
        arguments = op.regions[0].arguments[1:]
        carried = [self.buffers.get(a) for a in arguments]
        step = ForStep(op, carried, self.block(op.regions[0]))
        return [*self._enter(op, arguments), self._close(step, step.body, op.regions[0], arguments)]

    def while_loop(self, op: Op) -> list[Step]:
        # Both regions see the same carried values: one buffer serves the arguments of both.
        for argument, partner in zip(op.regions[0].arguments, op.regions[1].arguments, strict=True):
            if argument in self.buffers:
                self.buffers[partner] = self.buffers[argument]
        arguments = op.regions[1].arguments
        carried = [self.buffers.get(a) for a in arguments]
        step = WhileStep(op, carried, self.block(op.regions[0]), self.block(op.regions[1]))
        return [*self._enter(op, arguments), self._close(step, step.body, op.regions[1], arguments)]

    def branch(self, op: Op) -> list[Step]:
        results = [self.buffers.get(r) for r in op.results]
        sides = []
        for region in op.regions:
            steps = self.block(region)
            for value, buffer in zip(region.terminator.operands, results, strict=True):
                if buffer is not None:
                    steps.append(self.move(value, buffer))
            sides.append(steps)
        return [IfStep(op, results, sides[0], sides[1])]

    def _enter(self, op: Op, arguments: Sequence[Value]) -> list[Step]:
        """Fill the carried buffers, which the loop's results share."""
        steps: list[Step] = []
        for value, argument, result in zip(op.operand_list("inits"), arguments, op.results, strict=True):
            if argument in self.buffers:
                self.buffers[result] = self.buffers[argument]
                steps.append(self.move(value, self.buffers[argument]))
        return steps

    def _close(
        self, step: ForStep | WhileStep, body: list[Step], block: Block, arguments: Sequence[Value]
    ) -> Step:
        """Move the yielded values into the carried buffers, as if all at once."""
        moves = [
            (value, argument)
            for value, argument in zip(block.terminator.operands, arguments, strict=True)
            if argument in self.buffers and value is not argument
        ]
        targets = {self.buffers[argument] for _, argument in moves}
        late: list[Step] = []
        for value, argument in moves:
            target = self.buffers[argument]
            if self.buffers.get(value) in targets:  # swapped carried values: through a temporary
                temporary = Buffer("", target.shape, target.element)
                body.append(self.move(value, temporary))
                late.append(CopyStep(temporary, target))
            else:
                late.append(self.move(value, target))
        body += late
        return step


_PLANNERS = {
    memory.STORE.name: _StepPlanner.store,
    memory.ATOMIC_RMW.name: _StepPlanner.atomic,
    memory.ATOMIC_CAS.name: _StepPlanner.atomic,
    reduce.REDUCE.name: _StepPlanner.reduction,
    reduce.REDUCE_CUSTOM.name: _StepPlanner.reduction,
    reduce.SCAN.name: _StepPlanner.scan,
    reduce.SCAN_CUSTOM.name: _StepPlanner.scan,
    reduce.DOT.name: _StepPlanner.dot,
    control.FOR.name: _StepPlanner.for_loop,
    control.WHILE.name: _StepPlanner.while_loop,
    control.IF.name: _StepPlanner.branch,
    control.DEVICE_ASSERT.name: _StepPlanner.print,
    control.DEVICE_PRINT.name: _StepPlanner.print,
}


def _much_smaller(left: Op, right: Op) -> Op | None:
    """The one of two loads whose tile costs next to nothing to copy beside the other.

    Where it is not whole the other may be: few rows of which some are missing, times a large matrix.
    """
    small, large = sorted((left, right), key=lambda load: load.result.type.size)
    return small if _MUCH_SMALLER * small.result.type.size <= large.result.type.size else None


def _check_combine(op: Op) -> None:
    for region in op.regions:
        for inner in region.walk():
            if not (
                inner.definition.is_elementwise or inner.name in (control.YIELD.name, shape.CONSTANT.name)
            ):
                raise CompileError(
                    f"a combine function may only compute with its arguments, but this one uses {inner.name}",
                    inner.location or op.location,
                    "write choices with tl.where instead of control flow, and load before the reduction",
                )
