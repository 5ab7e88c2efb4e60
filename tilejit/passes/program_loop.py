"""The loop in which a core runs its programs of a launch, one after the other.

Before: tile IR of one program. After: core ``block_index`` of ``block_count`` runs the programs
``block_index``, ``block_index + block_count`` and so on; the first axis of the grid runs fastest. What is the
same for all programs is computed once, before the loop.
"""

from __future__ import annotations

from collections.abc import Collection

from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.opdef import Effects
from tilejit.ir.rewrite import replace_op
from tilejit.ir.types import INT32, TileType
from tilejit.ops import (
    ADD,
    CONSTANT,
    FOR,
    IDIV,
    IREM,
    LOAD,
    MUL,
    NUM_PROGRAMS,
    PROGRAM_ID,
    RETURN,
    SUB,
    YIELD,
)
from tilejit.ops.machine.buffer import BLOCK_COUNT, BLOCK_INDEX
from tilejit.passes.access import AccessAnalysis, may_be_written
from tilejit.passes.batch_programs import Make, group_size
from tilejit.passes.tile_homes import is_view
from tilejit.passes.tile_maker import TileMaker

AXES = 3
"""Axes of a grid."""


def loop_over_programs(function: Function, at_once: int = 1, *, keep_resident: bool = True) -> Function:
    """Put the body of a function of tile IR, which is used up, into a loop over the programs of a core.

    ``at_once``: how many programs along the first axis ``function`` runs together, at most.
    ``keep_resident``: else tiles that are the same for all programs are computed by each of them.
    """
    fixed = same_for_all(function, keep_resident=keep_resident)
    outer, body = Block(), Block([TileType(INT32)], ["task"])
    outer.arguments, function.body.arguments = function.body.arguments, []
    for argument in outer.arguments:
        argument.owner = outer
    maker = TileMaker(outer, None, function.location)
    sizes = [maker.make(NUM_PROGRAMS, {"axis": axis}) for axis in range(AXES)]
    if at_once > 1:
        sizes[0] = _groups(maker.make, sizes[0], at_once)
    programs = maker.make(MUL, lhs=maker.make(MUL, lhs=sizes[0], rhs=sizes[1]), rhs=sizes[2])
    bounds = {"lower": maker.make(BLOCK_INDEX), "upper": programs, "step": maker.make(BLOCK_COUNT)}
    ids = _decode(TileMaker(body, None, function.location), body.arguments[0], sizes)
    for op in list(function.walk()):
        if op.name == PROGRAM_ID.name:
            axis = op.attributes["axis"]
            assert isinstance(axis, int)
            replace_op(op, [ids[axis]])
    for op in list(function.body.ops[:-1]):
        (outer if op in fixed else body).append(op)
    body.append(Op(YIELD, location=function.location))
    outer.append(Op(FOR, bounds, regions=(body,), location=function.location))
    outer.append(Op(RETURN, location=function.location))
    return Function(function.name, outer, list(function.arguments), function.location)


def _groups(make: Make, programs: Value, at_once: int) -> Value:
    """In how many groups ``programs`` programs run."""
    size = group_size(make, programs, at_once)
    one = make(CONSTANT, {"value": 1, "dtype": INT32})
    return make(IDIV, lhs=make(SUB, lhs=make(ADD, lhs=programs, rhs=size), rhs=one), rhs=size)


def _is_small(op: Op) -> bool:
    """Whether the results of an op take no memory for tiles."""
    return is_view(op) or all(result.type.is_scalar for result in op.results)


def same_for_all(function: Function, *, keep_resident: bool = True) -> Collection[Op]:
    """The ops of a function's body that give the same in all programs, and are run once for all of them."""
    analysis = AccessAnalysis(function)
    known, same = set(function.body.arguments), set[Op]()
    for op in function.body.ops[:-1]:
        if op.regions or op.name == PROGRAM_ID.name or not known.issuperset(op.operands):
            continue
        is_fixed = op.effects is Effects.NONE or (
            op.name == LOAD.name
            and op.effects is Effects.READ
            and not may_be_written(function, analysis, op.operand("pointer"))
        )
        if is_fixed and (keep_resident or _is_small(op)):
            known.update(op.results)
            same.add(op)
    return same


def _decode(at: TileMaker, task: Value, sizes: list[Value]) -> list[Value]:
    """Program ids from the number of a task."""
    ids, rest = [], task
    for size in sizes[:-1]:
        ids.append(at.make(IREM, lhs=rest, rhs=size))
        rest = at.make(IDIV, lhs=rest, rhs=size)
    return [*ids, rest]
