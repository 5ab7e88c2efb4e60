"""Statements that compute element by element, and those that move elements between shapes."""

from __future__ import annotations

from collections.abc import Mapping

from tilejit import ops
from tilejit.ir.core import Value
from tilejit.ir.opdef import Attribute, OpDef
from tilejit.ir.types import (
    BF16,
    DTYPES,
    FP16,
    FP32,
    INT1,
    INT32,
    INT64,
    UINT32,
    UINT64,
    DType,
    product,
)
from tilejit.ops import Rounding
from tilejit.ops.type_rules import FLOATS, FP8S, INTEGERS, INTEGERS_AND_BOOL, NUMBERS

from .facts import Level, is_float
from .kernel import Kernel, Shape
from .values import (
    Fits,
    anything,
    at_least,
    can_cast,
    condition,
    existing,
    pick_dtype,
    pick_shape,
    some_mask,
    want,
)

MOST_ELEMENTS = 2400
"""No tile is larger."""

_ANY_ZERO, _VALUE = at_least(Level.ANY_ZERO), at_least(Level.VALUE)
_WIDE = (INT32, UINT32, INT64, UINT64)

_ARITHMETIC: tuple[tuple[OpDef, tuple[DType, ...], Mapping[str, Fits]], ...] = (
    *((op, NUMBERS, {"lhs": anything, "rhs": anything}) for op in (ops.ADD, ops.SUB, ops.MUL)),
    *((op, NUMBERS, {"lhs": anything, "rhs": anything}) for op in (ops.MIN, ops.MAX)),
    (ops.DIV, FLOATS, {"lhs": anything, "rhs": _VALUE}),
    (ops.FREM, FLOATS, {"lhs": _ANY_ZERO, "rhs": _ANY_ZERO}),
    *(
        (op, INTEGERS, {"lhs": anything, "rhs": anything})
        for op in (ops.IDIV, ops.IREM, ops.SHL, ops.SHR)
    ),
    (ops.UMULHI, _WIDE, {"lhs": anything, "rhs": anything}),
    *(
        (op, INTEGERS_AND_BOOL, {"lhs": anything, "rhs": anything})
        for op in (ops.AND, ops.OR, ops.XOR)
    ),
    (ops.FMA, FLOATS, {"a": anything, "b": anything, "c": anything}),
    (ops.NOT, INTEGERS_AND_BOOL, {"x": anything}),
    (ops.NEG, FLOATS, {"x": anything}),
    (ops.ABS, NUMBERS, {"x": anything}),
    *((op, FLOATS, {"x": _ANY_ZERO}) for op in (ops.FLOOR, ops.CEIL, ops.SQRT)),
)  # fmt: skip


def _calm_or_exact(bound: float) -> Fits:
    """Exact values, and approximate ones near which a function is not steep."""
    return lambda fact: fact.level > Level.APPROXIMATE or (fact.bound is not None and fact.bound <= bound)


_FUNCTIONS: tuple[tuple[OpDef, Fits], ...] = (
    (ops.EXP, _calm_or_exact(8.0)),
    (ops.EXP2, _calm_or_exact(8.0)),
    (ops.SIN, _calm_or_exact(64.0)),
    (ops.COS, _calm_or_exact(64.0)),
    (ops.ERF, _calm_or_exact(64.0)),
    (ops.LOG, _ANY_ZERO),
    (ops.LOG2, _ANY_ZERO),
    (ops.RSQRT, _VALUE),
)


def arithmetic(k: Kernel) -> None:
    """A chain of exact elementwise ops."""
    for _ in range(k.rng.randint(1, 6)):
        start = existing(k, lambda v: v.type.element in (INT1, *NUMBERS)) if k.chance(0.8) else None
        if start is None:
            elementwise(k, pick_shape(k))
            continue
        dtype = start.type.element
        assert isinstance(dtype, DType)
        elementwise(k, start.type.shape, dtype)


def elementwise(k: Kernel, shape: Shape, dtype: DType | None = None) -> Value:
    """The result of a random exact op of a shape."""
    if dtype is None:
        dtype = pick_dtype(k, NUMBERS)
    fitting = [entry for entry in _ARITHMETIC if dtype in entry[1]]
    op, _, needs = k.rng.choice(fitting)
    operands = {name: want(k, dtype, shape, fits) for name, fits in needs.items()}
    if "rhs" in operands and k.chance(0.08) and needs["rhs"](k.facts[operands["lhs"]]):
        operands["rhs"] = operands["lhs"]
    attributes: dict[str, Attribute] = {}
    if op in (ops.MIN, ops.MAX) and k.chance(0.3):
        attributes["propagate_nan"] = True
    return k.apply(op, attributes, (), (), **operands)


def function(k: Kernel) -> None:
    """A few functions that are approximated."""
    for _ in range(k.rng.randint(1, 3)):
        op, fits = k.rng.choice(_FUNCTIONS)
        x = existing(k, lambda v, fits=fits: v.type.element in FLOATS and fits(k.facts[v]))  # type: ignore[misc]
        k.apply(op, x=x if x is not None else want(k, pick_dtype(k, FLOATS), pick_shape(k), fits))


def cast(k: Kernel) -> None:
    """A few conversions and reinterpretations of bits."""
    for _ in range(k.rng.randint(1, 3)):
        if k.chance(0.25):
            _bitcast(k)
        else:
            _convert(k)


def _convert(k: Kernel) -> None:
    value = existing(k, lambda v: isinstance(v.type.element, DType))
    if value is None or k.chance(0.3):
        value = want(k, pick_dtype(k), pick_shape(k))
    target = k.rng.choice(DTYPES) if k.chance(0.6) else pick_dtype(k)
    source = value.type.element
    if is_float(source) and not can_cast(k.facts[value], target):
        return
    attributes: dict[str, Attribute] = {"dtype": target}
    if source == FP32 and target in (FP16, BF16, *FP8S) and k.chance(0.5):
        attributes["rounding"] = Rounding.RTZ
    k.apply(ops.CAST, attributes, x=value)


def _bitcast(k: Kernel) -> None:
    shape = pick_shape(k)
    source = pick_dtype(k, tuple(dtype for dtype in DTYPES if not dtype.is_bool()))
    targets = [dtype for dtype in DTYPES if dtype.bits == source.bits and dtype != source]
    value = want(k, source, shape, at_least(Level.BITS))
    k.apply(ops.BITCAST, {"dtype": k.rng.choice(targets)}, x=value)


def compare(k: Kernel) -> None:
    """A comparison."""
    condition(k, pick_shape(k))


def select(k: Kernel) -> None:
    """A choice between two values, lane by lane."""
    shape = pick_shape(k)
    dtype = pick_dtype(k)
    chosen = some_mask(k, shape)
    sides = [want(k, dtype, shape) for _ in range(2)]
    k.apply(ops.SELECT, condition=chosen, true_value=sides[0], false_value=sides[1])


# Shapes


def _a_tile(k: Kernel, rank: int = 1) -> Value:
    """A tile of numbers of at least this rank."""
    found = existing(k, lambda v: v.type.rank >= rank and isinstance(v.type.element, DType))
    if found is not None and k.chance(0.85):
        return found
    shapes = [shape for shape in k.profile.shapes if len(shape) >= rank]
    return want(k, pick_dtype(k), k.rng.choice(shapes))


def reshape(k: Kernel) -> None:
    """The same elements in another shape."""
    value = _a_tile(k)
    k.apply(ops.RESHAPE, {"shape": other_shape(k, value.type.shape)}, x=value)


def other_shape(k: Kernel, shape: Shape) -> Shape:
    """A shape with as many elements."""
    size = product(shape)
    kind = k.rng.random()
    if size == 1 and kind < 0.3:
        return ()
    if kind < 0.3 or len(shape) == 3:
        return (size,)
    if kind < 0.55:
        at = k.rng.randint(0, len(shape))
        return (*shape[:at], 1, *shape[at:])
    if kind < 0.7 and 1 in shape and len(shape) > 1:
        at = shape.index(1)
        return (*shape[:at], *shape[at + 1 :])
    factors = [factor for factor in (2, 3, 4, 5, 8) if size % factor == 0 and size > factor]
    if not factors:
        return (size,)
    factor = k.rng.choice(factors)
    return (factor, size // factor) if k.chance(0.5) else (size // factor, factor)


def transpose(k: Kernel) -> None:
    """Dimensions in another order."""
    value = _a_tile(k, 2)
    order = list(range(value.type.rank))
    k.rng.shuffle(order)
    k.apply(ops.TRANSPOSE, {"order": tuple(order)}, x=value)


def join(k: Kernel) -> None:
    """Two tiles side by side."""
    value = _a_tile(k)
    if value.type.rank == 3 or value.type.size > MOST_ELEMENTS // 2:
        return
    dtype = value.type.element
    assert isinstance(dtype, DType)
    other = want(k, dtype, value.type.shape)
    joined = k.apply(ops.JOIN, lhs=value, rhs=other)
    if k.chance(0.4):
        k.apply(ops.RESHAPE, {"shape": (*value.type.shape[:-1], value.type.shape[-1] * 2)}, x=joined)


def split(k: Kernel) -> None:
    """Even and odd elements."""
    value = existing(k, lambda v: bool(v.type.shape) and v.type.shape[-1] == 2)
    if value is None or k.chance(0.4):
        value = existing(k, lambda v: v.type.rank in (1, 2) and v.type.shape[-1] % 2 == 0)
        if value is None:
            value = want(k, pick_dtype(k), (16,))
        shape = value.type.shape
        value = k.apply(ops.RESHAPE, {"shape": (*shape[:-1], shape[-1] // 2, 2)}, x=value)
    k.apply_many(ops.SPLIT, facts=[k.facts[value]] * 2, x=value)


def broadcast(k: Kernel) -> None:
    """A tile repeated along new dimensions."""
    value = existing(k, lambda v: v.type.rank < 3 and isinstance(v.type.element, DType))
    if value is None:
        return
    if value.type.is_scalar:
        k.splat(value, k.rng.choice([shape for shape in k.profile.shapes if shape]))
        return
    at = k.rng.randint(0, value.type.rank)
    shape = (*value.type.shape[:at], 1, *value.type.shape[at:])
    times = k.rng.choice((3, 5, 8, 16))
    wide = (*shape[:at], times, *shape[at + 1 :])
    if product(wide) <= MOST_ELEMENTS:
        single = k.apply(ops.RESHAPE, {"shape": shape}, x=value)
        k.apply(ops.BROADCAST, {"shape": wide}, x=single)


def is_number(value: Value) -> bool:
    """Whether a value holds numbers, not pointers."""
    return isinstance(value.type.element, DType)
