"""Computations for the vector cores that random mixed kernels are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tilejit.ir.core import Value
from tilejit.ir.types import FP32, TileType
from tilejit.ops import (
    ADD,
    ARANGE,
    CAST,
    CMP,
    MAX,
    MIN,
    MUL,
    REDUCE,
    SELECT,
    SPLAT,
    SUB,
    CmpPredicate,
    ReduceKind,
)
from tilejit.passes.tile_maker import TileMaker

SMALL, LARGE = 4, 2048
"""Bounds of what dots multiply, so that 16-bit floats hold it, and of other numbers: every sum is exact."""


def constant(at: TileMaker, number: int, like: Value) -> Value:
    """A number everywhere in a tile of fp32 of a shape."""
    return at.make(SPLAT, {"shape": like.type.shape}, x=at.number(float(number), FP32))


def clip(at: TileMaker, value: Value, most: int) -> Value:
    """A value between two bounds."""
    above = at.make(MAX, lhs=value, rhs=constant(at, -most, value))
    return at.make(MIN, lhs=above, rhs=constant(at, most, value))


Make = Callable[[TileMaker, Value, int, list[Value]], Value]
"""Computes from a maker of ops, the number of the innermost trip, a small number and the sources."""


@dataclass(frozen=True)
class Kind:
    """A computation: the letters of its result and of its sources (``*``: any, the same everywhere)."""

    target: str
    sources: str
    make: Make


def _relu(at: TileMaker, trip: Value, number: int, of: list[Value]) -> Value:
    return at.make(MAX, lhs=of[0], rhs=constant(at, number, of[0]))


def _scale(at: TileMaker, trip: Value, number: int, of: list[Value]) -> Value:
    return clip(at, at.make(MUL, lhs=of[0], rhs=constant(at, number, of[0])), LARGE)


def _add(at: TileMaker, trip: Value, number: int, of: list[Value]) -> Value:
    return clip(at, at.make(ADD, lhs=of[0], rhs=of[1]), LARGE)


def _largest(at: TileMaker, trip: Value, number: int, of: list[Value]) -> Value:
    return at.make(MAX, lhs=of[0], rhs=of[1])


def _choose(at: TileMaker, trip: Value, number: int, of: list[Value]) -> Value:
    condition = at.make(CMP, {"predicate": CmpPredicate.GT}, lhs=of[0], rhs=of[1])
    return at.make(SELECT, condition=condition, true_value=of[2], false_value=of[0])


def _less(dim: int) -> Make:
    def make(at: TileMaker, trip: Value, number: int, of: list[Value]) -> Value:
        wide = at.along(of[1], dim, of[0].type.shape)
        return clip(at, at.make(SUB, lhs=of[0], rhs=wide), LARGE)

    return make


def _times(dim: int) -> Make:
    def make(at: TileMaker, trip: Value, number: int, of: list[Value]) -> Value:
        wide = at.along(clip(at, of[1], SMALL), dim, of[0].type.shape)
        return clip(at, at.make(MUL, lhs=of[0], rhs=wide), LARGE)

    return make


def _reduced(axis: int, kind: ReduceKind) -> Make:
    def make(at: TileMaker, trip: Value, number: int, of: list[Value]) -> Value:
        return clip(at, at.make(REDUCE, {"axis": axis, "kind": kind}, x=clip(at, of[0], LARGE)), LARGE)

    return make


def _add_trip(at: TileMaker, trip: Value, number: int, of: list[Value]) -> Value:
    wide = at.make(SPLAT, {"shape": of[0].type.shape}, x=at.make(CAST, {"dtype": FP32}, x=trip))
    return clip(at, at.make(ADD, lhs=of[0], rhs=wide), LARGE)


def _first_columns(at: TileMaker, trip: Value, number: int, of: list[Value]) -> Value:
    rows, columns = of[0].type.shape
    limit = at.make(ADD, lhs=trip, rhs=at.number(number))
    lanes = at.make(ARANGE, {"start": 0, "end": columns})
    inside = at.make(
        CMP, {"predicate": CmpPredicate.LT}, lhs=lanes, rhs=at.make(SPLAT, {"shape": (columns,)}, x=limit)
    )
    condition = at.along(inside, 1, (rows, columns))
    zeros = at.zeros(TileType(FP32, (rows, columns)))
    return at.make(SELECT, condition=condition, true_value=of[0], false_value=zeros)


KINDS: Mapping[str, Kind] = {
    "relu": Kind("*", "*", _relu),
    "scale": Kind("*", "*", _scale),
    "add": Kind("*", "**", _add),
    "largest": Kind("*", "**", _largest),
    "choose": Kind("*", "***", _choose),
    "less_rows": Kind("t", "tr", _less(0)),
    "times_rows": Kind("t", "tr", _times(0)),
    "less_columns": Kind("t", "tc", _less(1)),
    "scale_square": Kind("s", "sc", _times(0)),
    "row_max": Kind("r", "t", _reduced(1, ReduceKind.MAX)),
    "row_sum": Kind("r", "t", _reduced(1, ReduceKind.SUM)),
    "column_max": Kind("c", "t", _reduced(0, ReduceKind.MAX)),
    "column_sum": Kind("c", "t", _reduced(0, ReduceKind.SUM)),
    "add_trip": Kind("*", "*", _add_trip),
    "first_columns": Kind("t", "t", _first_columns),
}
