"""How exactly a value is determined, and how large it may get.

Kernels are compared bit for bit wherever the language determines the bits. It leaves open the sign of a zero
that ``min`` and ``max`` give and the payload of computed NaNs, and gives functions, sums and dots some
leeway. The generator follows that through every op, so that nothing discontinuous - a comparison, an address,
a conversion to an integer - ever depends on what is left open.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from tilejit import ops
from tilejit.ir.core import Op
from tilejit.ir.types import DType, Element, product
from tilejit.ops import ReduceKind


class Level(IntEnum):
    """How much of a value is determined; more is greater."""

    APPROXIMATE = 0  # a number near it
    ANY_ZERO = 1  # the number; the sign of a zero and the bits of a NaN are open
    VALUE = 2  # the number; the bits of a NaN are open
    BITS = 3


@dataclass(frozen=True)
class Fact:
    """``bound`` is a limit of the magnitude of floats that are never NaN; None for all others."""

    level: Level = Level.BITS
    bound: float | None = None


EXACT = Fact()
_MOVES = frozenset(
    op.name
    for op in (
        ops.SELECT,
        ops.BITCAST,
        ops.SPLAT,
        ops.BROADCAST,
        ops.RESHAPE,
        ops.TRANSPOSE,
        ops.JOIN,
        ops.SPLIT,
    )
)
_FLOAT_REGION_OPS = frozenset(
    op.name for op in ops.ALL_OPS if op.is_elementwise and op not in (ops.SELECT, ops.CMP, ops.MIN, ops.MAX)
)


def largest_bound(element: Element) -> float:
    """Up to which magnitude values of ``element`` take part in sums and products without overflow."""
    if isinstance(element, DType) and element.is_floating():
        return 2.0**14 if element.bits <= 16 and not element.is_bf16() else 2.0**60
    return math.inf


def bounded(element: Element, bound: float | None) -> float | None:
    """``bound`` where values of ``element`` keep clear of overflow under it."""
    if bound is None or not (isinstance(element, DType) and element.is_floating()):
        return None
    limit = 200.0 if element.is_fp8() else largest_bound(element)
    return bound if bound <= limit else None


def is_float(element: Element) -> bool:
    """Whether ``element`` is a float type."""
    return isinstance(element, DType) and element.is_floating()


def result_fact(op: Op, index: int, facts: Sequence[Fact]) -> Fact:
    """What is known of a result, given what is known of the operands. Not for loads and control flow."""
    element = op.results[index].type.element
    if not is_float(element):
        return EXACT
    floats = [fact for fact, v in zip(facts, op.operands, strict=True) if is_float(v.type.element)]
    level = min((fact.level for fact in floats), default=Level.BITS)
    bound = bounded(element, _bound(op, facts))
    return Fact(_level(op, level), bound)


def region_is_inexact(op: Op) -> bool:
    """Whether a combine region computes with floats, so that the order of combining shows."""
    return any(
        inner.name in _FLOAT_REGION_OPS and any(is_float(r.type.element) for r in inner.results)
        for region in op.regions
        for inner in region.ops
    )


def _level(op: Op, level: Level) -> Level:
    name, attributes = op.name, op.attributes
    if name in _MOVES:
        return level
    if name in (ops.REDUCE.name, ops.SCAN.name):
        return Level.APPROXIMATE if attributes["kind"] is ReduceKind.SUM else min(level, Level.ANY_ZERO)
    if name in (ops.REDUCE_CUSTOM.name, ops.SCAN_CUSTOM.name):
        return Level.APPROXIMATE if region_is_inexact(op) else min(level, Level.ANY_ZERO)
    if not op.definition.is_exact:
        return Level.APPROXIMATE
    if name in (ops.MIN.name, ops.MAX.name):
        return min(level, Level.ANY_ZERO)
    return min(level, Level.VALUE)


def _bound(op: Op, facts: Sequence[Fact]) -> float | None:
    rule = _BOUNDS.get(op.name)
    if rule is not None:
        return rule(op, [fact.bound for fact in facts])
    if op.name in _MOVES and op.name != ops.BITCAST.name:
        return _most([f.bound for f, v in zip(facts, op.operands, strict=True) if is_float(v.type.element)])
    return None


def _most(bounds: Sequence[float | None]) -> float | None:
    known = [bound for bound in bounds if bound is not None]
    return max(known) if len(known) == len(bounds) and known else None


def _sum(op: Op, bounds: Sequence[float | None]) -> float | None:
    known = [bound for bound in bounds if bound is not None]
    return sum(known) if len(known) == len(bounds) else None


def _product(op: Op, bounds: Sequence[float | None]) -> float | None:
    known = [bound for bound in bounds if bound is not None]
    return product_of(known) if len(known) == len(bounds) else None


def product_of(numbers: Sequence[float]) -> float:
    """The product of some numbers."""
    result = 1.0
    for number in numbers:
        result *= number
    return result


def _fma(op: Op, bounds: Sequence[float | None]) -> float | None:
    a, b, c = bounds
    return None if a is None or b is None or c is None else a * b + c


def _cast(op: Op, bounds: Sequence[float | None]) -> float | None:
    source = op.operands[0].type.element
    assert isinstance(source, DType)
    if source.is_floating():
        return None if bounds[0] is None else bounds[0] * 1.25  # 8-bit floats round far
    return 2.0**source.bits


def _exponential(op: Op, bounds: Sequence[float | None]) -> float | None:
    return None if bounds[0] is None or bounds[0] > 20 else math.exp(bounds[0])


def _unit(op: Op, bounds: Sequence[float | None]) -> float | None:
    return None if bounds[0] is None else 1.0


def _constant(op: Op, bounds: Sequence[float | None]) -> float | None:
    number = op.attributes["value"]
    assert isinstance(number, int | float)
    return None if math.isnan(number) else abs(number)


def _along_axis(op: Op, bounds: Sequence[float | None]) -> float | None:
    axis = op.attributes["axis"]
    assert isinstance(axis, int)
    if bounds[0] is None:
        return None
    return bounds[0] * (op.operands[0].type.shape[axis] if op.attributes["kind"] is ReduceKind.SUM else 1)


def _dot(op: Op, bounds: Sequence[float | None]) -> float | None:
    if any(bound is None for bound in bounds):
        return None
    a, b, *acc = [bound for bound in bounds if bound is not None]
    return op.operand("a").type.shape[-1] * a * b + sum(acc)


def _any_operand(op: Op, bounds: Sequence[float | None]) -> float | None:
    return _most(bounds)


_BOUNDS: dict[str, Callable[[Op, Sequence[float | None]], float | None]] = {
    ops.ADD.name: _sum,
    ops.SUB.name: _sum,
    ops.MUL.name: _product,
    ops.FMA.name: _fma,
    ops.NEG.name: _any_operand,
    ops.ABS.name: _any_operand,
    ops.MIN.name: _any_operand,
    ops.MAX.name: _any_operand,
    ops.CAST.name: _cast,
    ops.EXP.name: _exponential,
    ops.EXP2.name: _exponential,
    ops.SIN.name: _unit,
    ops.COS.name: _unit,
    ops.ERF.name: _unit,
    ops.CONSTANT.name: _constant,
    ops.REDUCE.name: _along_axis,
    ops.SCAN.name: _along_axis,
    ops.DOT.name: _dot,
}


def sum_is_safe(element: Element, fact: Fact, terms: int) -> bool:
    """Whether sums of ``terms`` such values give the same infinities and NaNs in every order."""
    return fact.bound is not None and fact.bound * terms <= largest_bound(element)


def shape_size(shape: Sequence[int]) -> int:
    """Number of elements of a tile."""
    return product(shape)
