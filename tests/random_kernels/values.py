"""Finding a visible value that fits, or making one."""

from __future__ import annotations

from collections.abc import Callable

from tilejit import ops
from tilejit.ir.core import Value
from tilejit.ir.types import DTYPES, INT1, INT8, INT32, INT64, DType, TileType
from tilejit.ops import CmpPredicate

from .addressing import read_address
from .facts import Fact, Level, is_float
from .kernel import Address, Kernel, Shape

Fits = Callable[[Fact], bool]


def anything(fact: Fact) -> bool:
    """Any value fits."""
    return True


def at_least(level: Level) -> Fits:
    """Values determined at least this exactly."""
    return lambda fact: fact.level >= level


def below(bound: float) -> Fits:
    """Floats that are no NaN and of limited magnitude."""
    return lambda fact: fact.bound is not None and fact.bound <= bound


def pick_shape(k: Kernel) -> Shape:
    """A shape, mostly one that is in use."""
    used = [value.type.shape for value in k.visible()[-30:]]
    if used and k.chance(0.75):
        return k.rng.choice(used)
    return k.rng.choice(k.profile.shapes)


def pick_dtype(k: Kernel, allowed: tuple[DType, ...] = DTYPES) -> DType:
    """An element type among ``allowed``, mostly one that is in use."""
    used = [v.type.element for v in k.visible()[-30:] if v.type.element in allowed]
    if used and k.chance(0.6):
        chosen = k.rng.choice(used)
        assert isinstance(chosen, DType)
        return chosen
    preferred = [dtype for dtype in k.profile.dtypes if dtype in allowed]
    return k.rng.choice(preferred if preferred and k.chance(0.85) else allowed)


def existing(k: Kernel, fits: Callable[[Value], bool]) -> Value | None:
    """A visible value that fits; recent ones and ones that nobody uses come first."""
    found = [value for value in k.visible() if fits(value)]
    if not found:
        return None
    unused = [value for value in found if not value.use_count]
    if unused and k.chance(0.5):
        return k.rng.choice(unused)
    return k.rng.choice(found[-6:] if k.chance(0.7) else found)


def want(k: Kernel, dtype: DType, shape: Shape, fits: Fits = anything) -> Value:
    """A value of a type with a fact that fits, visible or new."""
    type = TileType(dtype, shape)
    if k.chance(0.8):
        found = existing(k, lambda v: v.type == type and fits(k.facts[v]))
        if found is not None:
            return found
    for _ in range(3):
        made = _derived(k, dtype, shape) if k.chance(0.5) else None
        if made is not None and fits(k.facts[made]):
            return made
    return fresh(k, dtype, shape, fits)


def fresh(k: Kernel, dtype: DType, shape: Shape, fits: Fits = anything) -> Value:
    """A new value from memory or from constants and arguments."""
    if k.chance(0.25 if shape else 0.6):
        number = plain_number(k, dtype)
        scalar = k.number(dtype, number) if k.chance(0.4) else k.constant(dtype, number)
        if fits(k.facts[scalar]):
            return k.splat(scalar, shape)
    if dtype == INT32 and len(shape) == 1 and k.chance(0.3):
        start = k.rng.choice((0, 0, 0, 3, -7))
        return k.apply(ops.ARANGE, {"start": start, "end": start + shape[0]})
    is_calm = not fits(Fact(Level.BITS, None)) or k.chance(0.5)
    if len(shape) > 1 and k.chance(0.3):
        return _row(k, dtype, shape, is_calm)
    return load(k, read_address(k, dtype, shape, is_calm))


def plain_number(k: Kernel, dtype: DType) -> int | float:
    """A small number that every element type of its kind holds exactly."""
    if dtype.is_bool():
        return k.chance(0.5)
    if dtype.is_floating():
        return k.rng.choice((0.0, 1.0, -1.0, 0.5, 2.0, -1.5, 3.0, -0.0))
    small = k.rng.choice((0, 1, 2, 3, 5, 7, -1, -2, 31, dtype.max_value, dtype.min_value))
    return small if small >= dtype.min_value else -small


def load(k: Kernel, address: Address, mask: Value | None = None, other: Value | None = None) -> Value:
    """Load through an address; ``mask`` goes beside the one that the address needs."""
    fact = address.array.fact
    mask = k.both(address.mask, mask)
    if mask is None:
        other = None
    elif other is not None and is_float(address.array.dtype):
        given = k.facts[other]
        known = fact.bound is not None and given.bound is not None
        bound = max(fact.bound or 0.0, given.bound or 0.0) if known else None
        fact = Fact(min(fact.level, given.level), bound)
    attributes = {"volatile": True} if k.chance(0.04) else {}
    return k.apply(ops.LOAD, attributes, facts=[fact], pointer=address.pointer, mask=mask, other=other)


def _row(k: Kernel, dtype: DType, shape: Shape, is_calm: bool) -> Value:
    """A load of some of the dimensions, spread over the others."""
    kept = tuple(size if k.chance(0.5) else 1 for size in shape)
    flat = tuple(size for size in kept if size != 1)
    value = load(k, read_address(k, dtype, flat, is_calm))
    value = k.apply(ops.RESHAPE, {"shape": kept}, x=value)
    return value if kept == shape else k.apply(ops.BROADCAST, {"shape": shape}, x=value)


def _derived(k: Kernel, dtype: DType, shape: Shape) -> Value | None:
    """Convert or broadcast a visible value to a type."""
    if dtype == INT1 and k.chance(0.7):
        return condition(k, shape)
    source = existing(k, lambda v: v.type.shape == shape and _converts(k, v, dtype))
    if source is not None and k.chance(0.6):
        return source if source.type.element == dtype else k.apply(ops.CAST, {"dtype": dtype}, x=source)
    for found in reversed(k.visible()[-40:]):
        if found.type.element != dtype or not shape:
            continue
        spread = _spread_to(k, found, shape)
        if spread is not None:
            return spread
    return None


def _converts(k: Kernel, value: Value, dtype: DType) -> bool:
    element = value.type.element
    if not isinstance(element, DType):
        return False
    return not element.is_floating() or can_cast(k.facts[value], dtype)


def can_cast(fact: Fact, dtype: DType) -> bool:
    """Whether a float of which ``fact`` is known may be converted to ``dtype``."""
    if fact.level > Level.APPROXIMATE:
        return True
    if not dtype.is_floating():
        return False
    # Near the largest number, what lies beside a tie may become infinite or not.
    limit = 200.0 if dtype.is_fp8() else 2.0**14
    return fact.bound is not None and fact.bound < limit


def _spread_to(k: Kernel, value: Value, shape: Shape) -> Value | None:
    have = value.type.shape
    if not have:
        return k.splat(value, shape)
    if len(have) > len(shape) or have == shape:
        return None
    remaining = list(have)
    single = [1] * len(shape)
    for dim in range(len(shape) - 1, -1, -1):
        if remaining and remaining[-1] == shape[dim]:
            single[dim] = remaining.pop()
    if remaining:
        return None
    if tuple(single) != have:
        value = k.apply(ops.RESHAPE, {"shape": tuple(single)}, x=value)
    return value if tuple(single) == shape else k.apply(ops.BROADCAST, {"shape": shape}, x=value)


def condition(k: Kernel, shape: Shape) -> Value:
    """A new int1 of a shape: a comparison of values that are exact enough."""
    dtype = pick_dtype(k, _COMPARED)
    fits = at_least(Level.ANY_ZERO)
    found = existing(k, lambda v: v.type == TileType(dtype, shape) and fits(k.facts[v]))
    lhs = found if found is not None else fresh(k, dtype, shape)
    if k.chance(0.5):
        rhs = k.constant(dtype, plain_number(k, dtype), shape)
    else:
        rhs = want(k, dtype, shape, fits)
    return k.compare(k.rng.choice(tuple(CmpPredicate)), lhs, rhs)


_COMPARED = tuple(dtype for dtype in DTYPES if not dtype.is_fp8())


def some_mask(k: Kernel, shape: Shape) -> Value:
    """A mask: any int1, the same all along a dimension, or one bit for all lanes."""
    kind = k.rng.random()
    if not shape or kind < 0.55:
        return want(k, INT1, shape)
    if kind < 0.7:
        return k.splat(want(k, INT1, ()), shape)
    kept = tuple(size if k.chance(0.5) else 1 for size in shape)
    value = want(k, INT1, kept)
    return value if kept == shape else k.apply(ops.BROADCAST, {"shape": shape}, x=value)


def small_count(k: Kernel) -> Value:
    """An integer scalar between 0 and 7 that the compiler cannot know."""
    value = want(k, k.rng.choice((INT32, INT8, INT64)), ())
    if value.type.element != INT32:
        value = k.apply(ops.CAST, {"dtype": INT32}, x=value)
    return k.apply(ops.AND, lhs=value, rhs=k.constant(INT32, 3))
