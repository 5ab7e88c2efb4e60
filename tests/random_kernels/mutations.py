"""Seeded miscompiles: each breaks one thing in the compiler that a mistake could break."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from llvmlite import ir

from tilejit.backend.cpu import accesses, combine, elementwise, emit_dots, emit_llvm, emit_nest
from tilejit.backend.cpu.casts import convert
from tilejit.backend.cpu.evaluate import Evaluator
from tilejit.backend.cpu.scope import Emitted
from tilejit.backend.cpu.values import EmitContext, LaneBuilder, constant
from tilejit.ir.core import Op
from tilejit.ir.loop_plan import CopyStep
from tilejit.ir.opdef import Effects
from tilejit.ir.types import BF16, FP16, FP32, INT32, DType
from tilejit.ops import ReduceKind, Rounding
from tilejit.ops.type_rules import INTEGERS
from tilejit.passes import access, algebra, fuse_nests, place_buffers, plan_loops, plan_values, shape_nests
from tilejit.passes import simplify as simplify_pass

from .profiles import DOTS, LOOPS, MEMORY, SHAPES, Profile

Patch = pytest.MonkeyPatch

CASTS = Profile(
    {"cast": 5, "arithmetic": 1, "load": 2, "store": 2},
    ops=(20, 50),
    dtypes=(FP32, FP32, FP16, BF16),
    shapes=((), (5,), (16,), (37,), (5, 8)),
)
INTEGER_OPS = Profile(
    {"arithmetic": 5, "compare": 3, "select": 1, "load": 1, "store": 1},
    ops=(30, 70),
    dtypes=INTEGERS,
    shapes=((), (5,), (16,), (37,), (5, 8)),
)
STORES_IN_LOOPS = Profile(
    {"for": 3, "while": 1, "load": 3, "store": 3, "update": 2, "walk": 1},
    ops=(20, 60),
    overlap=0.6,
    dtypes=(FP32, INT32),
    shapes=((), (5,), (16,), (37,)),
)
WALKING = Profile(
    {"walk": 4, "load": 1, "reduce": 1},
    ops=(15, 40),
    dtypes=(INT32,),
    shapes=((3, 64), (5, 37), (3, 130)),
)
WRAPPING = Profile(
    {"store": 3, "update": 2},
    ops=(15, 50),
    dtypes=(FP32, INT32),
    shapes=((37,), (100,), (5, 37), (16, 16)),
)
CARRYING = Profile(
    {"for": 3, "while": 1, "scan": 1, "arithmetic": 1},
    ops=(20, 60),
    dtypes=(FP32, INT32),
    shapes=((5,), (16,), (37,)),
)
REDUCING = Profile(
    {"reduce": 3, "scan": 1, "arithmetic": 1, "softmax": 1},
    ops=(15, 40),
    dtypes=(FP32, INT32),
    shapes=((5,), (37,), (100,), (5, 37), (16, 8)),
)


@dataclass(frozen=True)
class Mutation:
    """A miscompile; ``profile`` makes kernels that reach it often. ``is_quick``: it is tried by default."""

    apply: Callable[[Patch], None]
    profile: Profile
    is_quick: bool = False

    @property
    def name(self) -> str:
        return self.apply.__name__


def _always(answer: bool) -> Callable[..., bool]:
    return lambda *arguments, **named: answer


def _emitter(patch: Patch, name: str, change: Callable[[Any], Any]) -> None:
    """Replace the emitter of an elementwise op by what ``change`` makes of it."""
    patch.setitem(elementwise.EMITTERS, name, change(elementwise.EMITTERS[name]))


# Planning


def arguments_never_alias(patch: Patch) -> None:
    for module in (plan_values, fuse_nests):
        patch.setattr(module, "may_alias", lambda function, first, second: first is second)


def stores_never_change_what_was_loaded(patch: Patch) -> None:
    patch.setattr(plan_values._Planner, "_is_overwritten", _always(False))


def all_nests_of_one_shape_fuse(patch: Patch) -> None:
    patch.setattr(fuse_nests._Fuser, "_agree", _always(True))


def lanes_never_collide(patch: Patch) -> None:
    for module in (plan_values, fuse_nests, shape_nests):
        patch.setattr(module, "lanes_are_distinct", _always(True))


def rows_are_addressed_from_their_first_pointer(patch: Patch) -> None:
    patch.setattr(Evaluator, "depends_on_buffers", _always(False))


def carried_copies_merge_without_checks(patch: Patch) -> None:
    patch.setattr(place_buffers, "_target_is_dead", _always(True))


def source_of_a_copy_always_dies(patch: Patch) -> None:
    patch.setattr(place_buffers, "_source_dies", _always(True))


def swapped_carried_values_are_moved_one_by_one(patch: Patch) -> None:
    def close(self: Any, step: Any, body: Any, block: Any, arguments: Any) -> Any:
        for value, argument in zip(block.terminator.operands, arguments, strict=True):
            if argument in self.buffers and value is not argument:
                target = self.buffers[argument]
                if self.buffers.get(value) in [self.buffers.get(a) for a in arguments]:
                    body.append(CopyStep(self.buffers[value], target))
                else:
                    body.append(self.move(value, target))
        return step

    patch.setattr(plan_loops._StepPlanner, "_close", close)


def buffers_live_until_their_first_use_only(patch: Patch) -> None:
    def live_range(timeline: Any, events: Any) -> tuple[int, int]:
        return min(events.positions), min(events.positions)

    patch.setattr(place_buffers, "_live_range", live_range)


def subtracted_offsets_keep_their_sign(patch: Patch) -> None:
    patch.setitem(access._STRIDE_RULES, "sub", lambda op, strides: strides[1])


# Simplification


def loads_leave_every_loop(patch: Patch) -> None:
    original = simplify_pass._Round._hoist
    patch.setattr(
        simplify_pass._Round, "_hoist", lambda self, body, *, loads_too: original(self, body, loads_too=True)
    )


def loads_merge_across_stores(patch: Patch) -> None:
    original = simplify_pass._Round._place

    def place(self: Any, op: Op) -> None:
        epoch = self._epoch
        original(self, op)
        self._epoch = epoch if op.effects & Effects.WRITE else self._epoch

    patch.setattr(simplify_pass._Round, "_place", place)


def casts_collapse_through_any_type(patch: Patch) -> None:
    patch.setattr(algebra, "_is_one_cast", _always(True))


# Emission of nests


def tails_of_rows_are_forgotten(patch: Patch) -> None:
    original = emit_nest._widths
    patch.setattr(
        emit_nest, "_widths", lambda size, lanes: original(size, lanes)[:-1] or original(size, lanes)
    )


def masked_out_lanes_are_zero(patch: Patch) -> None:
    def other(values: Any, op: Op, point: Any) -> Emitted:
        return Emitted(constant(op.results[0].type.element, 0), 0)

    patch.setattr(accesses, "_other", other)


def masks_of_stores_are_ignored(patch: Patch) -> None:
    original = vars(accesses)["masked_store"]

    def store(*arguments: Any) -> None:
        *others, mask = arguments
        original(*others, ir.Constant(mask.type, [1] * mask.type.count))

    patch.setattr(accesses, "masked_store", store)


def offsets_are_taken_never_to_wrap(patch: Patch) -> None:
    patch.setattr(emit_nest.NestEmitter, "_guard", lambda self, dim, known: None)


def partial_results_of_tails_are_dropped(patch: Patch) -> None:
    original = emit_nest.NestEmitter._combine_parts
    patch.setattr(
        emit_nest.NestEmitter, "_combine_parts", lambda self, parts: original(self, parts[:-1] or parts)
    )


def maximum_starts_at_zero(patch: Patch) -> None:
    original = combine._identity

    def identity(kind: ReduceKind, element: DType) -> float:
        return 0 if kind is ReduceKind.MAX else original(kind, element)

    patch.setattr(combine, "_identity", identity)


# Emission of elementwise ops


def operands_of_sub_are_swapped(patch: Patch) -> None:
    _emitter(patch, "sub", lambda emit: lambda context, op, operands: emit(context, op, operands[::-1]))


def shr_is_always_logical(patch: Patch) -> None:
    def emit(context: EmitContext, op: Op, operands: Sequence[ir.Value]) -> ir.Value:
        lanes = elementwise._lanes(context, operands[0])
        fits = lanes.compare("<", operands[1], op.result.type.element.primitive_bitwidth, signed=False)
        return lanes.select(fits, context.builder.lshr(*operands), 0)

    _emitter(patch, "shr", lambda _: emit)


def integers_compare_as_signed(patch: Patch) -> None:
    original = LaneBuilder.compare

    def compare(self: Any, predicate: str, a: ir.Value, b: Any, signed: bool = True) -> ir.Value:
        return original(self, predicate, a, b, signed=True)

    def emit(inner: Any) -> Any:
        def emit_compare(context: EmitContext, op: Op, operands: Sequence[ir.Value]) -> ir.Value:
            with pytest.MonkeyPatch.context() as inside:
                inside.setattr(LaneBuilder, "compare", compare)
                return inner(context, op, operands)

        return emit_compare

    _emitter(patch, "cmp", emit)


def casts_round_toward_zero(patch: Patch) -> None:
    def emit(context: EmitContext, op: Op, operands: Sequence[ir.Value]) -> ir.Value:
        source, target = op.operands[0].type.element, op.attributes["dtype"]
        assert isinstance(source, DType) and isinstance(target, DType)
        narrows = source == FP32 and target.is_floating() and target.bits < 32
        toward_zero = narrows or op.attributes["rounding"] is Rounding.RTZ
        return convert(context.builder, operands[0], source, target, toward_zero)

    _emitter(patch, "cast", lambda _: emit)


def exponentials_are_off_by_a_thousandth(patch: Patch) -> None:
    def wrong(emit: Any) -> Any:
        def emit_wrong(context: EmitContext, op: Op, operands: Sequence[ir.Value]) -> ir.Value:
            result = emit(context, op, operands)
            if op.result.type.element != FP32:
                return result
            return elementwise._lanes(context, result).mul(result, 1.0 + 2.0**-10)

        return emit_wrong

    _emitter(patch, "exp", wrong)


# Control flow and dots


def loops_end_one_trip_early(patch: Patch) -> None:
    original = emit_llvm.emit_trip_count

    def trips(builder: ir.IRBuilder, *operands: Any) -> ir.Value:
        return builder.sub(original(builder, *operands), ir.Constant(ir.IntType(64), 1))

    patch.setattr(emit_llvm, "emit_trip_count", trips)


def transposed_operands_are_read_as_they_lie(patch: Patch) -> None:
    original = emit_dots._side
    patch.setattr(emit_dots, "_side", lambda step, name: replace(original(step, name), transposed=False))


def addends_of_dots_are_forgotten(patch: Patch) -> None:
    original = emit_dots.DotEmitter.emit
    patch.setattr(
        emit_dots.DotEmitter,
        "emit",
        lambda self, step: original(self, replace(step, starts_at_zero=True)),
    )


MUTATIONS: tuple[Mutation, ...] = (
    Mutation(arguments_never_alias, STORES_IN_LOOPS, is_quick=True),
    Mutation(stores_never_change_what_was_loaded, STORES_IN_LOOPS),
    Mutation(all_nests_of_one_shape_fuse, MEMORY),
    Mutation(lanes_never_collide, MEMORY),
    Mutation(carried_copies_merge_without_checks, CARRYING, is_quick=True),
    Mutation(source_of_a_copy_always_dies, CARRYING),
    Mutation(rows_are_addressed_from_their_first_pointer, WALKING),
    Mutation(swapped_carried_values_are_moved_one_by_one, CARRYING),
    Mutation(buffers_live_until_their_first_use_only, LOOPS),
    Mutation(subtracted_offsets_keep_their_sign, MEMORY),
    Mutation(loads_leave_every_loop, STORES_IN_LOOPS),
    Mutation(loads_merge_across_stores, STORES_IN_LOOPS),
    Mutation(casts_collapse_through_any_type, CASTS),
    Mutation(tails_of_rows_are_forgotten, SHAPES),
    Mutation(masked_out_lanes_are_zero, MEMORY, is_quick=True),
    Mutation(masks_of_stores_are_ignored, MEMORY),
    Mutation(offsets_are_taken_never_to_wrap, WRAPPING),
    Mutation(partial_results_of_tails_are_dropped, REDUCING),
    Mutation(maximum_starts_at_zero, REDUCING),
    Mutation(operands_of_sub_are_swapped, INTEGER_OPS),
    Mutation(shr_is_always_logical, INTEGER_OPS),
    Mutation(integers_compare_as_signed, INTEGER_OPS),
    Mutation(casts_round_toward_zero, CASTS),
    Mutation(exponentials_are_off_by_a_thousandth, REDUCING, is_quick=True),
    Mutation(loops_end_one_trip_early, LOOPS),
    Mutation(transposed_operands_are_read_as_they_lie, DOTS),
    Mutation(addends_of_dots_are_forgotten, DOTS),
)
