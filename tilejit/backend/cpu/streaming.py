"""Stores past the caches: when, and from which element on.

An ordinary store reads the line it changes first. A store past the caches does not, if it fills the line; it
has to be aligned: of a long row, a stretch between two aligned places is; short rows are where all of them
begin aligned. Such stores are not ordered with others: a program that makes some ends with a fence.
"""

from __future__ import annotations

from collections.abc import Mapping

from llvmlite import ir

from tilejit.backend.cpu.scope import START, Coordinate, Scope, Values
from tilejit.backend.cpu.values import I32, I64, LaneBuilder, intrinsic, number
from tilejit.ir.core import Op
from tilejit.ir.loop_plan import LoopPlan, Nest, Step, StoreRoot, Streaming, nested_steps
from tilejit.ir.types import product
from tilejit.ops import control
from tilejit.records import dataclass
from tilejit.target.cpu import CpuTarget

_FEWEST_BYTES = 16
"""The narrowest vector that x86 stores past the caches (movntps)."""


@dataclass(frozen=True)
class Stretch:
    """The aligned part of a row: from element ``first`` on, ``groups`` groups of chunks.

    ``past_caches``: for each store whether it is to pass the caches, and the alignment that it has then.
    """

    first: ir.Value
    groups: ir.Value
    past_caches: dict[Op, tuple[ir.Value, int]]


def can_stream(target: CpuTarget) -> bool:
    """Whether the target has stores past the caches that the emitter knows how to order."""
    return target.is_x86


def aligned_stretch(values: Values, nest: Nest, known: Mapping[int, Coordinate], count: ir.Value) -> Stretch:
    """Where, within the first ``count`` elements, the rows of a nest are to pass the caches.

    Where the launch stores little, that is a stretch from the first element on which does not.
    """
    scope, builder = values.scope, values.scope.builder
    lanes = LaneBuilder(builder, None)
    stores = [root.op for root in nest.roots if isinstance(root, StoreRoot)]
    is_large = _is_large(scope, nest, stores)
    places = [_place(values, op, nest, known) for op in stores]
    size, unit = _sizes(scope, nest, stores[0])
    ahead = lanes.and_(builder.neg(places[0]), unit - 1)
    first = builder.select(is_large, lanes.lshr(ahead, size.bit_length() - 1), number(I64, 0))
    is_enough = builder.icmp_unsigned(">", count, first)
    groups = builder.udiv(builder.sub(count, first), number(I64, nest.lanes * nest.unroll))
    groups = builder.select(is_enough, groups, number(I64, 0))
    first = builder.select(builder.icmp_unsigned(">", groups, number(I64, 0)), first, number(I64, 0))
    past_caches = {}
    for op, place in zip(stores, places, strict=True):
        size, unit = _sizes(scope, nest, op)
        if unit < _FEWEST_BYTES:
            continue
        begin = builder.add(place, lanes.mul(first, size))
        is_aligned = lanes.compare("==", lanes.and_(begin, unit - 1), 0)
        past_caches[op] = (builder.and_(is_large, is_aligned), unit)
    return Stretch(first, groups, past_caches)


def aligned_rows(values: Values, nest: Nest) -> dict[Op, tuple[ir.Value, int]]:
    """For each store of a nest of short rows whether all rows pass the caches: all begin with a cache line.

    They are whole lines: of a line that is filled in parts, far apart in time, each part would go to memory.
    """
    scope, builder = values.scope, values.scope.builder
    lanes = LaneBuilder(builder, None)
    stores = [root.op for root in nest.roots if isinstance(root, StoreRoot)]
    is_large = _is_large(scope, nest, stores)
    line = scope.target.cache_line_bytes
    past_caches = {}
    for op in stores:
        size, unit = _sizes(scope, nest, op)
        if unit < _FEWEST_BYTES or nest.shape[nest.vector_dim] * size % line:
            continue
        first = _place(values, op, nest, {})
        places = first
        for dim, stride in enumerate(scope.plan.accesses[op].strides):
            constant = None if stride is None else stride.constant
            if dim == nest.vector_dim or nest.shape[dim] == 1:
                continue
            if constant is None or constant * size % line:
                second = _place(values, op, nest, {dim: Coordinate(1)})
                places = builder.or_(places, builder.sub(second, first))
        is_aligned = lanes.compare("==", lanes.and_(places, line - 1), 0)
        past_caches[op] = (builder.and_(is_large, is_aligned), unit)
    return past_caches


def store_past_caches(
    builder: ir.IRBuilder, value: ir.Value, address: ir.Value, align: int, chosen: tuple[ir.Value, int]
) -> None:
    """Store a vector past the caches where that was chosen, else as usual."""
    condition, own_align = chosen
    past, usual, after = (builder.function.append_basic_block(name) for name in ("past", "usual", "after"))
    builder.cbranch(condition, past, usual)
    builder.position_at_end(past)
    store = builder.store(value, address, align=own_align)
    store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(I32, 1)]))
    builder.branch(after)
    builder.position_at_end(usual)
    builder.store(value, address, align=align)
    builder.branch(after)
    builder.position_at_end(after)


def emit_fence(builder: ir.IRBuilder, plan: LoopPlan, target: CpuTarget) -> None:
    """Order the stores past the caches of a plan, if it has some, before all that follows."""
    if can_stream(target) and any(_streams(step) for step in plan.steps):
        intrinsic(builder, "llvm.x86.sse.sfence", ir.VoidType(), [])


def _streams(step: Step) -> bool:
    if isinstance(step, Nest):
        return step.streams is not Streaming.NO
    return any(_streams(inner) for nested in nested_steps(step) for inner in nested)


def _is_large(scope: Scope, nest: Nest, stores: list[Op]) -> ir.Value:
    """Whether all programs together store so much that it will not stay in the caches."""
    builder = scope.builder
    programs: ir.Value = number(I64, 1)
    for size in scope.grid[control.NUM_PROGRAMS.name]:
        programs = builder.mul(programs, builder.zext(size, I64))
    stored = product(nest.shape) * sum(op.operand("value").type.element.itemsize for op in stores)
    fewest = -(-scope.target.streaming_bytes // stored)
    return builder.icmp_unsigned(">=", programs, number(I64, fewest))


def _place(values: Values, op: Op, nest: Nest, known: Mapping[int, Coordinate]) -> ir.Value:
    """The address of the first element of a row as a number."""
    point = tuple(known.get(d, START) for d in range(len(nest.shape)))
    return values.scope.builder.ptrtoint(values.at(op.operand("pointer"), point).value, I64)


def _sizes(scope: Scope, nest: Nest, op: Op) -> tuple[int, int]:
    """Bytes of an element of a store, and of what one instruction stores."""
    size = op.operand("value").type.element.itemsize
    return size, min(nest.lanes * size, scope.target.vector_bytes)
