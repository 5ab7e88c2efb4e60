"""Statements that combine elements along an axis, and matrix products."""

from __future__ import annotations

from collections.abc import Callable

from tilejit import ops
from tilejit.ir.core import Block, Value
from tilejit.ir.opdef import Attribute, OpDef
from tilejit.ir.types import FP16, FP32, FP64, INT32, DType, TileType, product
from tilejit.ops import CmpPredicate, InputPrecision, ReduceKind
from tilejit.ops.type_rules import FLOATS, FP8S, INTEGERS, INTEGERS_AND_BOOL, NUMBERS

from .facts import EXACT, Fact, Level, bounded, largest_bound, sum_is_safe
from .kernel import Kernel, Shape
from .values import anything, below, existing, fresh, pick_dtype, pick_shape, want

_ARITHMETIC = (ReduceKind.SUM, ReduceKind.MAX, ReduceKind.MIN)
_BITWISE = (ReduceKind.XOR, ReduceKind.AND, ReduceKind.OR)


def reduce(k: Kernel) -> None:
    """A reduction of a built-in kind, often used again at the shape it came from."""
    value, axis, kind = _reducible(k)
    result = k.apply(ops.REDUCE, {"axis": axis, "kind": kind}, x=value)
    if k.chance(0.5):
        _show_along(k, result, value.type.shape, axis)


def _reducible(k: Kernel) -> tuple[Value, int, ReduceKind]:
    """A tile, an axis and a kind that is determined well enough for it."""
    shape = _tile_shape(k)
    axis = k.rng.randrange(len(shape))
    kind = k.rng.choice((*_ARITHMETIC, *_ARITHMETIC, *_BITWISE))
    dtype = pick_dtype(k, NUMBERS if kind in _ARITHMETIC else INTEGERS_AND_BOOL)
    terms = shape[axis]
    if kind is ReduceKind.SUM and dtype.is_floating():
        return want(k, dtype, shape, lambda fact: sum_is_safe(dtype, fact, terms)), axis, kind
    return want(k, dtype, shape), axis, kind


def _tile_shape(k: Kernel) -> Shape:
    for _ in range(8):
        shape = pick_shape(k)
        if shape:
            return shape
    return (37,)


def _show_along(k: Kernel, value: Value, shape: Shape, axis: int) -> Value:
    """Repeat a reduced tile along the axis it lost."""
    if len(shape) == 1:
        return k.splat(value, shape)
    single = (*shape[:axis], 1, *shape[axis + 1 :])
    value = k.apply(ops.RESHAPE, {"shape": single}, x=value)
    return value if single == shape else k.apply(ops.BROADCAST, {"shape": shape}, x=value)


def scan(k: Kernel) -> None:
    """A prefix computation of a built-in kind."""
    value, axis, kind = _reducible(k)
    k.apply(ops.SCAN, {"axis": axis, "kind": kind, "reverse": k.chance(0.4)}, x=value)


# Combine functions


def reduce_custom(k: Kernel) -> None:
    """A reduction with a combine function."""
    _custom(k, ops.REDUCE_CUSTOM)


def scan_custom(k: Kernel) -> None:
    """A prefix computation with a combine function."""
    _custom(k, ops.SCAN_CUSTOM)


def _custom(k: Kernel, op: OpDef) -> None:
    shape = _tile_shape(k)
    attributes: dict[str, Attribute] = {"axis": k.rng.randrange(len(shape))}
    if op is ops.SCAN_CUSTOM:
        attributes["reverse"] = k.chance(0.4)
    make = k.rng.choice((_best, _best, _bits, _affine, _counting, _maximum, _softmax))
    inputs, region, facts = make(k, shape)
    k.apply_many(op, attributes, [region], facts, x=inputs)


_Custom = tuple[list[Value], Block, list[Fact]]


def _region(k: Kernel, inputs: list[Value], fill: Callable[[list[Value]], list[Value]]) -> Block:
    types = [TileType(value.type.element) for value in inputs] * 2
    return k.region(types, [k.facts[value] for value in inputs] * 2, fill)


def _best(k: Kernel, shape: Shape) -> _Custom:
    """The largest (or smallest) element and its place; the later of equals."""
    dtype = pick_dtype(k, NUMBERS)
    fits = below(100.0) if dtype.is_floating() else anything  # a NaN would make it depend on the order
    values = want(k, dtype, shape, lambda fact: fits(fact) and fact.level >= Level.ANY_ZERO)
    places = want(k, INT32, shape)
    predicate = k.rng.choice((CmpPredicate.GT, CmpPredicate.LT))

    def fill(v: list[Value]) -> list[Value]:
        keeps = k.compare(predicate, v[0], v[2])
        return [k.apply(ops.SELECT, condition=keeps, true_value=v[i], false_value=v[2 + i]) for i in (0, 1)]

    fact = k.facts[values]
    kept = Fact(min(fact.level, Level.ANY_ZERO), fact.bound) if dtype.is_floating() else EXACT
    return [values, places], _region(k, [values, places], fill), [kept, EXACT]


def _bits(k: Kernel, shape: Shape) -> _Custom:
    """One associative integer op."""
    dtype = pick_dtype(k, INTEGERS)
    value = want(k, dtype, shape)
    op = k.rng.choice((ops.ADD, ops.MUL, ops.XOR, ops.AND, ops.OR, ops.MAX, ops.MIN))
    return [value], _region(k, [value], lambda v: [k.apply(op, lhs=v[0], rhs=v[1])]), [EXACT]


def _affine(k: Kernel, shape: Shape) -> _Custom:
    """Composition of x -> a x + b: associative, not commutative."""
    dtype = pick_dtype(k, INTEGERS)
    inputs = [want(k, dtype, shape) for _ in range(2)]

    def fill(v: list[Value]) -> list[Value]:
        scaled = k.apply(ops.MUL, lhs=v[2], rhs=v[1])
        return [k.apply(ops.MUL, lhs=v[0], rhs=v[2]), k.add(scaled, v[3])]

    return inputs, _region(k, inputs, fill), [EXACT, EXACT]


def _counting(k: Kernel, shape: Shape) -> _Custom:
    """a + b + c with a scalar c from outside: it counts how often the function runs."""
    dtype = pick_dtype(k, INTEGERS)
    value, outside = want(k, dtype, shape), want(k, dtype, ())
    two = k.constant(dtype, 2)

    def fill(v: list[Value]) -> list[Value]:
        return [k.add(k.add(v[0], v[1]), k.apply(ops.MUL, lhs=outside, rhs=two))]

    return [value], _region(k, [value], fill), [EXACT]


def _maximum(k: Kernel, shape: Shape) -> _Custom:
    """The largest float, beside a sum of integers."""
    dtype = pick_dtype(k, FLOATS)
    values, counts = want(k, dtype, shape), want(k, INT32, shape)

    def fill(v: list[Value]) -> list[Value]:
        return [k.apply(ops.MAX, lhs=v[0], rhs=v[2]), k.add(v[1], v[3])]

    fact = k.facts[values]
    kept = Fact(min(fact.level, Level.ANY_ZERO), fact.bound)
    return [values, counts], _region(k, [values, counts], fill), [kept, EXACT]


def _softmax(k: Kernel, shape: Shape) -> _Custom:
    """Running maximum and rescaled sum of exponentials."""
    dtype = k.rng.choice((FP32, FP32, FP64))
    values = want(k, dtype, shape, below(8.0))
    ones = k.constant(dtype, 1.0, shape)

    def fill(v: list[Value]) -> list[Value]:
        most = k.apply(ops.MAX, lhs=v[0], rhs=v[2])
        parts = []
        for maximum, total in ((v[0], v[1]), (v[2], v[3])):
            scale = k.apply(ops.EXP, x=k.apply(ops.SUB, lhs=maximum, rhs=most))
            parts.append(k.apply(ops.MUL, lhs=total, rhs=scale))
        return [most, k.add(*parts)]

    fact = k.facts[values]
    facts = [Fact(Level.APPROXIMATE, fact.bound), Fact(Level.APPROXIMATE, float(product(shape)))]
    return [values, ones], _region(k, [values, ones], fill), facts


# Dots

_DOT_TYPES: tuple[DType, ...] = tuple(
    dtype for dtype in (*INTEGERS, *FLOATS) if dtype.bits == 8 or dtype.is_floating()
)


def dot(k: Kernel) -> None:
    """A matrix product, at times of a product."""
    m, n, depth = (k.rng.choice((1, 3, 5, 8, 16, 16, 20, 37)) for _ in range(3))
    batch: Shape = (k.rng.choice((1, 2, 3)),) if k.chance(0.2) else ()
    left = existing(k, lambda v: _may_multiply(k, v)) if k.chance(0.5) else None
    if left is not None:
        dtype = left.type.element
        assert isinstance(dtype, DType)
        *outer, m, depth = left.type.shape
        batch = tuple(outer)
    else:
        dtype = k.rng.choice((*_DOT_TYPES, FP32, FP32, *FP8S))
        left = operand(k, dtype, (*batch, m, depth))
    right_type = k.rng.choice(FP8S) if dtype.is_fp8() else dtype
    right = operand(k, right_type, (*batch, depth, n))
    product_of(k, left, right, _result_type(k, dtype))


_OPERAND_BOUND = 64.0


def _may_multiply(k: Kernel, value: Value) -> bool:
    element = value.type.element
    if value.type.rank not in (2, 3) or not isinstance(element, DType) or element not in (*_DOT_TYPES, *FP8S):
        return False
    return element.is_int() or (k.facts[value].bound or 1e9) <= _OPERAND_BOUND


def _result_type(k: Kernel, dtype: DType) -> DType:
    if dtype.is_int():
        return INT32
    if dtype == FP64:
        return FP64
    return FP16 if (dtype == FP16 or dtype.is_fp8()) and k.chance(0.3) else FP32


def operand(k: Kernel, dtype: DType, shape: Shape) -> Value:
    """A tile that may be multiplied, at times a transposed one."""
    fits = below(_OPERAND_BOUND) if dtype.is_floating() else anything
    if k.chance(0.35):
        swapped = (*shape[:-2], shape[-1], shape[-2])
        order = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
        return k.apply(ops.TRANSPOSE, {"order": order}, x=want(k, dtype, swapped, fits))
    return want(k, dtype, shape, fits)


def product_of(k: Kernel, left: Value, right: Value, out: DType, acc: Value | None = None) -> Value | None:
    """The product of two operands with ``acc``, some other addend or none; None where it might overflow."""
    shape = (*left.type.shape[:-1], right.type.shape[-1])
    terms = left.type.shape[-1]
    bounds = [k.facts[v].bound for v in (left, right)]
    if not out.is_int():
        assert bounds[0] is not None and bounds[1] is not None
        if terms * bounds[0] * bounds[1] * 2 > largest_bound(out):
            return None
    if acc is None and k.chance(0.5):
        acc = k.constant(out, 0 if out.is_int() else 0.0, shape) if k.chance(0.3) else None
        if acc is None:
            acc = want(k, out, shape, below(1000.0) if out.is_floating() else anything)
    precision = InputPrecision.IEEE
    if left.type.element == FP32 and k.chance(0.2):
        precision = k.rng.choice(tuple(InputPrecision))
    return k.apply(ops.DOT, {"input_precision": precision, "out_dtype": out}, a=left, b=right, acc=acc)


def softmax(k: Kernel) -> None:
    """exp(x - max) / sum, along one axis."""
    shape = _tile_shape(k)
    axis = k.rng.randrange(len(shape))
    dtype = k.rng.choice((FP32, FP32, FP64, FP16))
    x = want(k, dtype, shape, below(8.0))
    most = k.apply(ops.REDUCE, {"axis": axis, "kind": ReduceKind.MAX}, x=x)
    shifted = k.apply(ops.SUB, lhs=x, rhs=_show_along(k, most, shape, axis))
    powers = k.apply(ops.EXP, x=shifted, facts=[Fact(Level.APPROXIMATE, 1.0)])
    total = k.apply(ops.REDUCE, {"axis": axis, "kind": ReduceKind.SUM}, x=powers)
    fact = Fact(Level.APPROXIMATE, bounded(dtype, 2.0))
    k.apply(ops.DIV, facts=[fact], lhs=powers, rhs=_show_along(k, total, shape, axis))


def calm_tile(k: Kernel, dtype: DType, shape: Shape) -> Value:
    """A new tile of floats of unit scale."""
    return fresh(k, dtype, shape, lambda fact: fact.level >= Level.BITS and below(_OPERAND_BOUND)(fact))
