"""Statements with regions: loops that carry tiles, scalars and pointers, and branches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from tilejit import ops
from tilejit.ir.core import Block, Value
from tilejit.ir.types import FP32, INT1, INT32, INT64, DType, TileType
from tilejit.ops import CmpPredicate, ReduceKind
from tilejit.ops.type_rules import FLOATS, INTEGERS, NUMBERS

from .addressing import varying_steps, walking_address
from .compute import elementwise, is_number
from .facts import EXACT, Fact, Level, is_float
from .kernel import Address, Array, Kernel, Ranged, Shape
from .memory import may_hold, new_array, store_at
from .memory_data import CALM_BOUND, contents
from .values import at_least, existing, load, pick_dtype, pick_shape, some_mask, want

Body = Callable[[Kernel, int], None]
"""Appends statements until about so many more ops are there."""


@dataclass(frozen=True)
class _Bounds:
    lower: Value
    upper: Value
    step: Value
    indices: range

    @property
    def index_range(self) -> tuple[int, int]:
        return (min(self.indices), max(self.indices)) if len(self.indices) else (0, 0)


def _bounds(k: Kernel, trips: int) -> _Bounds:
    """Bounds of a loop of so many trips, known to the compiler or not."""
    dtype = k.rng.choice((INT32, INT32, INT32, INT64))
    step = k.rng.choice((1, 1, 1, 2, 3, 16, -1, -2))
    lower = k.rng.choice((0, 0, 0, 1, 5, -4))
    slack = k.rng.randrange(abs(step)) if trips else k.rng.choice((0, 3))
    upper = lower + step * trips - (slack if step > 0 else -slack)
    by = k.constant(dtype, step) if step < 0 or k.chance(0.7) else k.number(dtype, step)
    start, stop = (k.integer(bound, dtype) for bound in (lower, upper))
    return _Bounds(start, stop, by, range(lower, upper, step))


def carried_fact(k: Kernel, fact: Fact, value: Value) -> Fact:
    """What is to hold of a carried value in every trip, given what holds of its initial value."""
    if not is_float(value.type.element):
        return EXACT
    if fact.level is Level.APPROXIMATE or k.chance(0.2):
        return Fact(Level.APPROXIMATE)
    return Fact(fact.level if fact.level < Level.VALUE or k.chance(0.3) else Level.ANY_ZERO)


def for_loop(k: Kernel, body: Body) -> None:
    """A counted loop."""
    inits = _inits(k)
    facts = [carried_fact(k, k.facts[v], v) for v in inits]
    bounds = _bounds(k, k.rng.choice((0, 1, 2, 2, 3, 5)))

    def fill(v: list[Value]) -> list[Value]:
        k.scopes[-1].scalars.append(Ranged(v[0], *bounds.index_range))
        body(k, k.rng.randint(4, 20))
        return _following(k, v[1:], facts)

    types = [bounds.lower.type, *(v.type for v in inits)]
    region = k.region(types, [EXACT, *facts], fill)
    make_for(k, bounds, inits, region, facts)


def make_for(
    k: Kernel, bounds: _Bounds, inits: Sequence[Value], region: Block, facts: Sequence[Fact]
) -> list[Value]:
    """Append the loop."""
    operands = {"lower": bounds.lower, "upper": bounds.upper, "step": bounds.step}
    return k.apply_many(ops.FOR, {}, [region], facts, inits=list(inits), **operands)


def _inits(k: Kernel) -> list[Value]:
    """Initial values of what a loop carries; some types and some values occur twice."""
    inits: list[Value] = []
    for _ in range(k.rng.choice((0, 1, 1, 2, 2, 3))):
        if inits and k.chance(0.2):
            inits.append(k.rng.choice(inits))
        elif inits and k.chance(0.35):
            element, shape = inits[-1].type.element, inits[-1].type.shape
            assert isinstance(element, DType)
            inits.append(want(k, element, shape))
        else:
            found = existing(k, is_number) if k.chance(0.6) else None
            inits.append(found or want(k, pick_dtype(k), pick_shape(k)))
    return inits


def _following(k: Kernel, carried: list[Value], facts: Sequence[Fact]) -> list[Value]:
    """What the next trip gets: new values, carried ones in other places, the same again."""
    return [_next_value(k, carried, index, facts[index]) for index in range(len(carried))]


def _next_value(k: Kernel, carried: list[Value], index: int, fact: Fact) -> Value:
    own = carried[index]
    fits = at_least(fact.level)
    kind = k.rng.random()
    if kind < 0.08:
        return own
    swapped = [v for v in carried if v.type == own.type and v is not own and fits(k.facts[v])]
    if swapped and kind < 0.35:
        return k.rng.choice(swapped)
    inside = [v for v in k.scopes[-1].values if v.type == own.type and v not in carried and fits(k.facts[v])]
    if inside and kind < 0.75:
        return inside[-1] if k.chance(0.6) else k.rng.choice(inside)
    return changed(k, own, fits)


def changed(k: Kernel, value: Value, fits: Callable[[Fact], bool]) -> Value:
    """A value made from ``value``."""
    element, shape = value.type.element, value.type.shape
    assert isinstance(element, DType)
    other = want(k, element, shape, fits)
    if element in NUMBERS and k.chance(0.75):
        made = k.apply(k.rng.choice((ops.ADD, ops.SUB, ops.MAX)), lhs=value, rhs=other)
    elif element in INTEGERS:
        made = elementwise(k, shape, element)
    else:
        made = k.apply(ops.SELECT, condition=some_mask(k, shape), true_value=value, false_value=other)
    return made if fits(k.facts[made]) else value


def while_loop(k: Kernel, body: Body) -> None:
    """A loop on a condition that counts, and at times looks at data as well."""
    counter = want(k, INT32, ()) if k.chance(0.3) else k.integer(0)
    if k.chance(0.5):
        counter = k.apply(ops.AND, lhs=counter, rhs=k.constant(INT32, 3))
    inits = [counter, *_inits(k)]
    facts = [EXACT, *(carried_fact(k, k.facts[v], v) for v in inits[1:])]
    trips = k.integer(k.rng.choice((0, 1, 2, 3)))
    end = k.add(counter, trips)
    types = [v.type for v in inits]

    def condition(v: list[Value]) -> list[Value]:
        goes_on = k.compare(CmpPredicate.LT, v[0], end)
        if k.chance(0.35):
            goes_on = k.apply(ops.AND, lhs=goes_on, rhs=_question(k, v[1:]))
        return [goes_on]

    def fill(v: list[Value]) -> list[Value]:
        body(k, k.rng.randint(4, 16))
        return [k.add(v[0], k.constant(INT32, 1)), *_following(k, v[1:], facts[1:])]

    regions = [k.region(types, facts, condition), k.region(types, facts, fill)]
    k.apply_many(ops.WHILE, {}, regions, facts, inits=inits)


def _question(k: Kernel, carried: Sequence[Value]) -> Value:
    """A bit computed from data, from a carried tile where there is one."""
    tiles = [v for v in carried if v.type.rank == 1 and v.type.element in INTEGERS]
    if not tiles:
        return want(k, INT1, ())
    tile = k.rng.choice(tiles)
    most = k.apply(ops.REDUCE, {"axis": 0, "kind": k.rng.choice((ReduceKind.MAX, ReduceKind.XOR))}, x=tile)
    element = most.type.element
    assert isinstance(element, DType)
    return k.compare(k.rng.choice((CmpPredicate.GT, CmpPredicate.NE)), most, k.constant(element, 3))


def branch(k: Kernel, body: Body) -> None:
    """A branch that yields scalars and tiles, or has effects only."""
    condition = want(k, INT1, ())
    models = [
        v for v in (existing(k, is_number) for _ in range(k.rng.choice((0, 1, 1, 2, 3)))) if v is not None
    ]
    facts = [carried_fact(k, k.facts[v], v) for v in models]

    def fill(_: list[Value]) -> list[Value]:
        if k.chance(0.8):
            body(k, k.rng.randint(2, 12))
        yielded = []
        for model, fact in zip(models, facts, strict=True):
            element = model.type.element
            assert isinstance(element, DType)
            yielded.append(want(k, element, model.type.shape, at_least(fact.level)))
        return yielded

    regions = [k.region([], [], fill) for _ in range(2)]
    k.apply_many(ops.IF, {}, regions, facts, condition=condition)


# Pointers that move


def walk(k: Kernel) -> None:
    """A loop that carries pointers along an array, loads or updates there, and carries a result."""
    dtype, shape = pick_dtype(k, NUMBERS), pick_shape(k)
    trips = k.rng.choice((0, 1, 2, 3, 5))
    step = k.rng.choice((1, 3, max(1, TileType(dtype, shape).size), 8, -2))
    arrays = [_walked_array(k, dtype, shape, abs(step) * trips) for _ in range(k.rng.choice((1, 1, 2)))]
    starts = [walking_address(k, array, shape, step, trips) for array in arrays]
    addresses = [start for start in starts if start is not None]
    if not addresses:
        return
    axis = None  # sums along it are carried
    if len(shape) > 1 and dtype in INTEGERS and k.chance(0.4):
        axis = k.rng.randrange(len(shape))
    total = want(k, dtype, tuple(size for d, size in enumerate(shape) if d != axis))
    fact = carried_fact(k, k.facts[total], total)
    fact = (
        Fact(min([fact.level, *(a.array.fact.level for a in addresses), Level.ANY_ZERO]))
        if is_float(dtype)
        else fact
    )
    inits = [*(address.pointer for address in addresses), total]
    bounds = _bounds(k, trips)
    swaps = len({(a.array.fact, a.pointer.type) for a in addresses}) < len(addresses) and k.chance(0.4)
    if shape and k.chance(0.25):  # pointers that come together in time
        addresses = [replace(address, distinct=False) for address in addresses]
        move = partial(_moved_apart, k, step=step)
    else:
        move = partial(_moved, k, step=step)

    def fill(v: list[Value]) -> list[Value]:
        pointers, running = v[1:-1], v[-1]
        here = [Address(p, a.array, None, a.distinct) for p, a in zip(pointers, addresses, strict=True)]
        for address in here:
            running = _visit(k, address, running, axis)
        moved = [move(pointer) for pointer in pointers]
        return [*(reversed(moved) if swaps else moved), running]

    facts = [*(EXACT for _ in addresses), fact]
    if k.chance(0.3):
        results = _count_up(k, trips, inits, facts, fill)
    else:
        types = [bounds.lower.type, *(v.type for v in inits)]
        results = make_for(k, bounds, inits, k.region(types, [EXACT, *facts], fill), facts)
    if k.chance(0.4) and not (swaps and trips % 2):
        for result, address in zip(results[:-1], addresses, strict=True):
            k.scopes[-1].addresses.append(Address(result, address.array, None, address.distinct))


def _count_up(
    k: Kernel,
    trips: int,
    inits: Sequence[Value],
    facts: Sequence[Fact],
    fill: Callable[[list[Value]], list[Value]],
) -> list[Value]:
    """A while loop of so many trips whose body gets a counter and the carried values."""
    counter, end = k.integer(0), k.integer(trips)
    types = [counter.type, *(v.type for v in inits)]

    def body(v: list[Value]) -> list[Value]:
        return [k.add(v[0], k.constant(INT32, 1)), *fill(v)]

    known = [EXACT, *facts]
    regions = [
        k.region(types, known, lambda v: [k.compare(CmpPredicate.LT, v[0], end)]),
        k.region(types, known, body),
    ]
    return k.apply_many(ops.WHILE, {}, regions, known, inits=[counter, *inits])[1:]


def _walked_array(k: Kernel, dtype: DType, shape: Shape, distance: int) -> Array:
    size = TileType(dtype, shape).size + distance + 4
    fits = [a for a in k.arrays if a.dtype == dtype and a.length >= size]
    if fits and k.chance(0.6):
        return k.rng.choice(fits)
    if k.chance(0.5):
        fact = Fact(Level.ANY_ZERO) if dtype.is_floating() else Fact()
        return new_array(k, dtype, (size,), fact)
    data, fact = contents(k.data, dtype, size * k.programs, True)
    return k.array(data, fact, writable=False)


def _visit(k: Kernel, address: Address, running: Value, axis: int | None) -> Value:
    """Load at a place, mix that or its sums into the running value, and at times store there."""
    value = mixed_in = load(k, address)
    if axis is not None:
        mixed_in = k.apply(ops.REDUCE, {"axis": axis, "kind": ReduceKind.SUM}, x=value)
    mixed = k.apply(k.rng.choice((ops.ADD, ops.MAX, ops.SUB)), lhs=running, rhs=mixed_in)
    if address.array.is_writable and k.chance(0.6):
        stored = k.rng.choice((mixed, value, running)) if axis is None else value
        if may_hold(address.array, k.facts[stored]):
            mask = some_mask(k, address.shape) if k.chance(0.3) else None
            store_at(k, address, stored, mask)
    return mixed


def _moved(k: Kernel, pointer: Value, step: int) -> Value:
    return k.apply(ops.ADDPTR, pointer=pointer, offset=k.splat(k.integer(step), pointer.type.shape))


def _moved_apart(k: Kernel, pointer: Value, step: int) -> Value:
    """Up to ``step`` elements on, not all pointers equally far."""
    return k.apply(ops.ADDPTR, pointer=pointer, offset=varying_steps(k, pointer.type.shape, step))


# Loops of dots


def dot_loop(k: Kernel) -> None:
    """A matrix product over chunks of the inner dimension, with the accumulator carried."""
    m, n, depth = (k.rng.choice((1, 3, 8, 16, 20)) for _ in range(3))
    trips = k.rng.choice((0, 1, 2, 4))
    dtype = k.rng.choice((*FLOATS, FP32, FP32))
    out = dtype if dtype.bits == 64 else FP32
    arrays = []
    for rows, columns in ((m, depth * max(trips, 1)), (depth * max(trips, 1), n)):
        data, fact = contents(k.data, dtype, rows * columns * k.programs, True)
        arrays.append(k.array(data, fact, writable=False))
    strides = (depth * max(trips, 1), n)
    starts = [
        _matrix_pointers(k, array.pointer, shape, stride)
        for array, shape, stride in zip(arrays, ((m, depth), (depth, n)), strides, strict=True)
    ]
    rescales = k.chance(0.3)
    acc_bound = CALM_BOUND**2 * depth * (trips + 1)
    acc_fact = Fact(Level.APPROXIMATE, acc_bound)
    inits = [*starts, k.constant(out, 0.0, (m, n))]
    bounds = _bounds(k, trips)

    def fill(v: list[Value]) -> list[Value]:
        _, a_at, b_at, acc = v
        sides = [
            k.apply(ops.LOAD, facts=[array.fact], pointer=at)
            for array, at in zip(arrays, (a_at, b_at), strict=True)
        ]
        if rescales:
            acc = k.apply(ops.MUL, lhs=acc, rhs=k.constant(out, 0.5, (m, n)))
        total = k.apply(ops.DOT, {"out_dtype": out}, a=sides[0], b=sides[1], acc=acc)
        return [_moved(k, a_at, depth), _moved(k, b_at, depth * n), total]

    types = [bounds.lower.type, *(v.type for v in inits)]
    facts = [EXACT, EXACT, acc_fact]
    make_for(k, bounds, inits, k.region(types, [EXACT, *facts], fill), facts)


def _matrix_pointers(k: Kernel, pointer: Value, shape: Shape, stride: int) -> Value:
    rows = k.apply(ops.ARANGE, {"start": 0, "end": shape[0]})
    columns = k.apply(ops.ARANGE, {"start": 0, "end": shape[1]})
    row_starts = k.apply(ops.MUL, lhs=rows, rhs=k.splat(k.integer(stride), (shape[0],)))
    across = k.apply(ops.RESHAPE, {"shape": (shape[0], 1)}, x=row_starts)
    along = k.apply(ops.RESHAPE, {"shape": (1, shape[1])}, x=columns)
    wide = [
        k.apply(ops.BROADCAST, {"shape": shape}, x=v) if v.type.shape != shape else v for v in (across, along)
    ]
    return k.apply(ops.ADDPTR, pointer=k.splat(pointer, shape), offset=k.add(*wide))


def attention(k: Kernel) -> None:
    """The skeleton of flash attention: two dots, a running maximum, a rescaled sum and accumulator."""
    m, n, size = k.rng.choice((1, 5, 16)), k.rng.choice((3, 8, 16)), k.rng.choice((3, 8, 16))
    trips = k.rng.choice((1, 2, 3))
    keys, values = (
        k.array(*contents(k.data, FP32, n * trips * size * k.programs, True), writable=False)
        for _ in range(2)
    )
    queries = want(k, FP32, (m, size), lambda fact: fact.bound is not None and fact.bound <= 0.5)
    near = Fact(Level.APPROXIMATE)
    inits = [
        k.constant(FP32, float("-inf"), (m,)),
        k.constant(FP32, 0.0, (m,)),
        k.constant(FP32, 0.0, (m, size)),
    ]
    facts = [near, near, near]
    bounds = _bounds(k, trips)
    bounded = Fact(Level.APPROXIMATE, 1.0)

    def fill(v: list[Value]) -> list[Value]:
        index, most, total, acc = v
        row = k.apply(ops.SUB, lhs=index, rhs=bounds.lower)
        row = k.apply(ops.IDIV, lhs=row, rhs=bounds.step)
        row = row if row.type.element == INT32 else k.apply(ops.CAST, {"dtype": INT32}, x=row)
        moved = k.apply(ops.MUL, lhs=row, rhs=k.constant(INT32, n * size))
        tiles = []
        for array in (keys, values):
            start = k.apply(ops.ADDPTR, pointer=array.pointer, offset=moved)
            at = _matrix_pointers(k, start, (n, size), size)
            tiles.append(k.apply(ops.LOAD, facts=[array.fact], pointer=at))
        turned = k.apply(ops.TRANSPOSE, {"order": (1, 0)}, x=tiles[0])
        scores = k.apply(ops.DOT, {"out_dtype": FP32}, a=queries, b=turned)
        here = k.apply(
            ops.MAX, lhs=most, rhs=k.apply(ops.REDUCE, {"axis": 1, "kind": ReduceKind.MAX}, x=scores)
        )
        scale = k.apply(ops.EXP, facts=[bounded], x=k.apply(ops.SUB, lhs=most, rhs=here))
        powers = k.apply(ops.SUB, lhs=scores, rhs=_columns(k, here, n))
        powers = k.apply(ops.EXP, facts=[bounded], x=powers)
        sums = k.apply(ops.REDUCE, {"axis": 1, "kind": ReduceKind.SUM}, x=powers)
        total = k.add(k.apply(ops.MUL, lhs=total, rhs=scale), sums)
        acc = k.apply(ops.MUL, lhs=acc, rhs=_columns(k, scale, size))
        acc = k.apply(ops.DOT, {"out_dtype": FP32}, a=powers, b=tiles[1], acc=acc)
        return [here, total, acc]

    types = [bounds.lower.type, *(v.type for v in inits)]
    region = k.region(types, [EXACT, *facts], fill)
    _, total, acc = make_for(k, bounds, inits, region, facts)
    k.apply(ops.DIV, facts=[near], lhs=acc, rhs=_columns(k, total, size))


def _columns(k: Kernel, value: Value, count: int) -> Value:
    """Repeat a column ``count`` times."""
    single = k.apply(ops.RESHAPE, {"shape": (value.type.shape[0], 1)}, x=value)
    return k.apply(ops.BROADCAST, {"shape": (value.type.shape[0], count)}, x=single)
