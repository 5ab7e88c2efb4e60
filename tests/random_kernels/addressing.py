"""Addresses of tiles: strided, gathered, masked, through one or several addptr, always within their array."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tilejit import ops
from tilejit.ir.core import Value
from tilejit.ir.types import INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, DType, TileType, product
from tilejit.ops import CmpPredicate

from .facts import Fact, Level
from .kernel import Address, Array, Kernel, Ranged, Shape
from .memory_data import contents


@dataclass(frozen=True)
class _Index:
    """Integers along one dimension, of type int32, with their range, both ends included."""

    value: Value
    low: int
    high: int
    is_distinct: bool = True


@dataclass(frozen=True)
class _Term:
    """One dimension's share in an offset: ``stride`` times an index."""

    index: _Index
    stride: int

    @property
    def low(self) -> int:
        return min(self.index.low * self.stride, self.index.high * self.stride)

    @property
    def high(self) -> int:
        return max(self.index.low * self.stride, self.index.high * self.stride)


def read_address(k: Kernel, dtype: DType, shape: Shape, is_calm: bool) -> Address:
    """Pointers into a new array that is only read."""
    with k.aside():
        return _read_address(k, dtype, shape, is_calm)


def _read_address(k: Kernel, dtype: DType, shape: Shape, is_calm: bool) -> Address:
    terms = _terms(k, shape, None)
    low, high = sum(t.low for t in terms), sum(t.high for t in terms)
    room = k.rng.choice((0, 0, 1, 7))
    length = high - low + 1 + room
    data, fact = contents(k.data, dtype, length * k.programs, is_calm)
    array = k.array(data, fact, writable=False, const=k.chance(0.5))
    return _build(k, array, shape, terms, -low + k.rng.randint(0, room), None)


def address_in(k: Kernel, array: Array, shape: Shape) -> Address:
    """Pointers into an array that is there: strided where that fits, else masked or gathered."""
    with k.aside():
        return _address_in(k, array, shape)


def _address_in(k: Kernel, array: Array, shape: Shape) -> Address:
    if shape and k.chance(0.12):
        return _scattered(k, array, shape)
    terms = _terms(k, shape, array.length)
    low, high = sum(t.low for t in terms), sum(t.high for t in terms)
    if high - low < array.length and not k.chance(0.15):
        base = k.rng.choice((-low, -low, k.rng.randint(-low, array.length - 1 - high)))
        return _build(k, array, shape, terms, base, _harmless_mask(k, terms, shape))
    if not shape:
        offset = k.constant(INT32, k.rng.randrange(array.length))
        return _finish(k, array, k.apply(ops.ADDPTR, pointer=array.pointer, offset=offset), None, True)
    return _bounded(k, array, shape, terms)


def walking_address(k: Kernel, array: Array, shape: Shape, step: int, trips: int) -> Address | None:
    """Pointers that may move by ``step`` elements ``trips`` times; None where the array is too short."""
    terms = _terms(k, shape, array.length)
    low = sum(t.low for t in terms) + min(0, step * trips)
    high = sum(t.high for t in terms) + max(0, step * trips)
    if high - low >= array.length:
        return None
    return _build(k, array, shape, terms, k.rng.randint(-low, array.length - 1 - high), None)


def varying_steps(k: Kernel, shape: Shape, step: int) -> Value:
    """A tile of steps between 0 and ``step``, read from memory, that differ along one dimension."""
    dim = k.rng.randrange(len(shape))
    numbers = k.data.integers(min(0, step), max(0, step) + 1, shape[dim] * k.programs)
    array = k.array(numbers.astype(np.int32), Fact(), writable=False)
    value = k.apply(ops.LOAD, pointer=row_major(k, array.pointer, (shape[dim],)), facts=[Fact()])
    return _spread(k, value, dim, shape)


# Choosing indices and strides


def _terms(k: Kernel, shape: Shape, length: int | None) -> list[_Term]:
    indices = [_index(k, size) for size in shape]
    kind = k.rng.choices(("rows", "columns", "gaps", "repeat", "backwards"), (8, 3, 2, 1, 1))[0]
    if length is not None and kind == "gaps" and product(shape) * 2 > length:
        kind = "rows"
    order = list(range(len(shape)))
    if kind == "columns":
        k.rng.shuffle(order)
    strides = [0] * len(shape)
    step = k.rng.choice((2, 3)) if kind == "gaps" else 1
    for dim in reversed(order):
        strides[dim] = step
        step *= max(shape[dim], indices[dim].high - indices[dim].low + 1)
        step += k.rng.choice((0, 1, 3)) if kind == "gaps" else 0
    if kind == "repeat" and shape:
        strides[k.rng.randrange(len(shape))] = 0
    if kind == "backwards" and shape:
        strides[k.rng.randrange(len(shape))] *= -1
    return [_Term(index, stride) for index, stride in zip(indices, strides, strict=True)]


def _index(k: Kernel, size: int) -> _Index:
    """An int32 tile of one dimension."""
    kind = k.rng.choices(
        ("plain", "shifted", "scalar", "backwards", "table", "computed"), (10, 1, 1, 1, 1.5, 1)
    )
    match kind[0]:
        case "shifted":
            start = k.rng.choice((1, 2, 5, -3))
            return _Index(_arange(k, start, size), start, start + size - 1)
        case "scalar" if k.scalars():
            return _moved_by_scalar(k, size)
        case "backwards":
            last = k.constant(INT32, size - 1, (size,))
            return _Index(k.apply(ops.SUB, lhs=last, rhs=_arange(k, 0, size)), 0, size - 1)
        case "table":
            return _table(k, size)
        case "computed":
            return _computed(k, (size,), size + k.rng.choice((0, 3)))
    return _Index(_arange(k, 0, size), 0, size - 1)


def _arange(k: Kernel, start: int, size: int) -> Value:
    return k.apply(ops.ARANGE, {"start": start, "end": start + size})


def _moved_by_scalar(k: Kernel, size: int) -> _Index:
    scalar = k.rng.choice(k.scalars())
    factor = k.rng.choice((1, 1, 2, size))
    moved = scalar.value
    if moved.type.element != INT32:
        moved = k.apply(ops.CAST, {"dtype": INT32}, x=moved)
    if factor != 1:
        moved = k.apply(ops.MUL, lhs=moved, rhs=k.integer(factor))
    value = k.add(k.splat(moved, (size,)), _arange(k, 0, size))
    return _Index(value, scalar.low * factor, scalar.high * factor + size - 1)


def _table(k: Kernel, size: int) -> _Index:
    """Indices read from memory, as from a page table."""
    limit = size + k.rng.choice((0, 2))
    distinct = k.chance(0.5)
    numbers = [
        k.data.permutation(limit)[:size] if distinct else k.data.integers(0, limit, size)
        for _ in range(k.programs)
    ]
    dtype = k.rng.choice((INT32, INT32, INT64, UINT8, INT16))
    array = k.array(np.concatenate(numbers).astype(dtype.numpy), Fact(), writable=False)
    pointers = k.apply(ops.ADDPTR, pointer=k.splat(array.pointer, (size,)), offset=_arange(k, 0, size))
    value = k.apply(ops.LOAD, pointer=pointers, facts=[Fact()])
    if dtype != INT32:
        value = k.apply(ops.CAST, {"dtype": INT32}, x=value)
    return _Index(value, 0, limit - 1, distinct)


def _computed(k: Kernel, shape: Shape, limit: int) -> _Index:
    """Any integers that are there, taken modulo ``limit``."""
    wide = TileType(UINT32, shape)
    found = [v for v in k.visible() if v.type.shape == shape and v.type.element in _INDEX_SOURCES]
    if found:
        value = k.rng.choice(found)
        if value.type != wide:
            value = k.apply(ops.CAST, {"dtype": UINT32}, x=value)
    else:
        array = k.array(
            k.data.integers(0, 1 << 32, product(shape) * k.programs, dtype=np.uint32), Fact(), writable=False
        )
        value = k.apply(ops.LOAD, pointer=row_major(k, array.pointer, shape), facts=[Fact()])
    value = k.apply(ops.IREM, lhs=value, rhs=k.constant(UINT32, limit, shape))
    return _Index(k.apply(ops.CAST, {"dtype": INT32}, x=value), 0, limit - 1, False)


_INDEX_SOURCES = (INT32, UINT32, INT64, INT16, UINT16, UINT8, INT8)


def row_major(k: Kernel, pointer: Value, shape: Shape) -> Value:
    """Pointers to the elements of a row-major tile that starts at ``pointer``."""
    if not shape:
        return pointer
    offset = _arange(k, 0, product(shape))
    if len(shape) > 1:
        offset = k.apply(ops.RESHAPE, {"shape": shape}, x=offset)
    return k.apply(ops.ADDPTR, pointer=k.splat(pointer, shape), offset=offset)


# Building addresses


def _scaled(k: Kernel, term: _Term) -> Value:
    """The index times its stride, which is a constant or a number that the compiler does not know."""
    value, shape = term.index.value, term.index.value.type.shape
    stride = term.stride
    if stride == 1 and k.chance(0.85):
        return value
    if stride > 1 and stride & (stride - 1) == 0 and k.chance(0.3):
        return k.apply(ops.SHL, lhs=value, rhs=k.constant(INT32, stride.bit_length() - 1, shape))
    factor = k.number(INT32, stride) if k.chance(0.35) else k.constant(INT32, stride)
    return k.apply(ops.MUL, lhs=value, rhs=k.splat(factor, shape))


def _spread(k: Kernel, value: Value, dim: int, shape: Shape, *, full: bool = True) -> Value:
    """Show a one-dimensional tile along ``dim`` of ``shape``."""
    if len(shape) > 1:
        single = tuple(size if d == dim else 1 for d, size in enumerate(shape))
        value = k.apply(ops.RESHAPE, {"shape": single}, x=value)
    if full and value.type.shape != shape:
        value = k.apply(ops.BROADCAST, {"shape": shape}, x=value)
    return value


def _build(
    k: Kernel, array: Array, shape: Shape, terms: list[_Term], base: int, mask: Value | None
) -> Address:
    """Pointers at ``base`` plus the terms."""
    pointer = array.pointer
    if base or k.chance(0.1):
        offset = k.integer(base, INT64 if k.chance(0.2) else INT32)
        pointer = k.apply(ops.ADDPTR, pointer=pointer, offset=offset)
    distinct = _is_distinct(terms)
    if not shape:
        return _finish(k, array, pointer, mask, True)
    if k.chance(0.3):
        pointers = _pointer_by_pointer(k, pointer, shape, terms)
    else:
        offsets = _sum_of_terms(k, shape, terms)
        low, high = sum(t.low for t in terms), sum(t.high for t in terms)
        offsets = _retyped(k, offsets, low, high)
        pointers = k.apply(ops.ADDPTR, pointer=k.splat(pointer, shape), offset=offsets)
    return _finish(k, array, pointers, mask, distinct)


def _finish(k: Kernel, array: Array, pointer: Value, mask: Value | None, distinct: bool) -> Address:
    address = Address(pointer, array, mask, distinct)
    k.scopes[-1].addresses.append(address)
    return address


def _is_distinct(terms: list[_Term]) -> bool:
    reach = 0
    for term in sorted(terms, key=lambda t: abs(t.stride)):
        if term.index.low == term.index.high:
            continue
        if not term.index.is_distinct or abs(term.stride) <= reach:
            return False
        reach += term.high - term.low
    return True


def _sum_of_terms(k: Kernel, shape: Shape, terms: list[_Term]) -> Value:
    total: Value | None = None
    for dim, term in enumerate(terms):
        part = _spread(k, _scaled(k, term), dim, shape)
        total = part if total is None else k.add(total, part)
    assert total is not None
    return total


def _retyped(k: Kernel, offsets: Value, low: int, high: int) -> Value:
    """Offsets in another integer type that holds them."""
    if k.chance(0.7):
        return offsets
    fitting = [t for t in (INT64, UINT32, INT16, UINT16, INT8) if t.min_value <= low and high <= t.max_value]
    return k.apply(ops.CAST, {"dtype": k.rng.choice(fitting)}, x=offsets)


def _pointer_by_pointer(k: Kernel, pointer: Value, shape: Shape, terms: list[_Term]) -> Value:
    """Move pointers along one dimension after the other, widening the tile as it goes."""
    current = tuple(1 for _ in shape)
    pointers = k.splat(pointer, current)
    dims = list(range(len(shape)))
    k.rng.shuffle(dims)
    for dim in dims:
        part = _spread(k, _scaled(k, terms[dim]), dim, shape, full=False)
        current = tuple(
            size if d == dim else have for d, (size, have) in enumerate(zip(shape, current, strict=True))
        )
        pointers = _broadcast(k, pointers, current)
        pointers = k.apply(ops.ADDPTR, pointer=pointers, offset=_broadcast(k, part, current))
    return pointers


def _broadcast(k: Kernel, value: Value, shape: Shape) -> Value:
    return value if value.type.shape == shape else k.apply(ops.BROADCAST, {"shape": shape}, x=value)


def _scattered(k: Kernel, array: Array, shape: Shape) -> Address:
    """Any elements of an array, in no order and with repetitions."""
    index = _computed(k, shape, array.length)
    pointers = k.apply(ops.ADDPTR, pointer=k.splat(array.pointer, shape), offset=index.value)
    return _finish(k, array, pointers, None, False)


# Masks that keep accesses within bounds


def _bounded(k: Kernel, array: Array, shape: Shape, terms: list[_Term]) -> Address:
    """Pointers that leave the array, under a mask that keeps those lanes from being used."""
    low, high = sum(t.low for t in terms), sum(t.high for t in terms)
    middle = (low + high) // 2
    base = -middle + array.length // 2 if k.chance(0.5) else -low
    offsets = _sum_of_terms(k, shape, terms)
    if base:
        offsets = k.add(offsets, k.splat(k.integer(base), shape))
    mask: Value | None = None
    limit = array.length - k.rng.choice((0, 0, 1)) if array.length > 1 else 1
    if high + base >= limit or k.chance(0.5):
        mask = k.compare(CmpPredicate.LT, offsets, k.splat(k.integer(limit), shape))
    if low + base < 0 or mask is None:
        at_least = k.compare(CmpPredicate.GE, offsets, k.constant(INT32, 0, shape))
        mask = k.both(mask, at_least)
    if k.chance(0.4):  # negative ones become huge, in lanes that are masked out
        offsets = k.apply(ops.CAST, {"dtype": k.rng.choice((UINT32, INT64))}, x=offsets)
    pointers = k.apply(ops.ADDPTR, pointer=k.splat(array.pointer, shape), offset=offsets)
    return _finish(k, array, pointers, mask, _is_distinct(terms))


def _harmless_mask(k: Kernel, terms: list[_Term], shape: Shape) -> Value | None:
    """At times a bound along single dimensions, as of tails of rows and columns."""
    mask: Value | None = None
    for dim, term in enumerate(terms):
        if not k.chance(0.15):
            continue
        limit = k.integer(k.rng.randint(term.index.low, term.index.high + 1))
        size = shape[dim]
        part = k.compare(CmpPredicate.LT, term.index.value, k.splat(limit, (size,)))
        mask = k.both(mask, _spread(k, part, dim, shape))
    return mask


def ranged_program_id(k: Kernel) -> Ranged:
    """The place of the program along one axis of the grid."""
    axis = k.rng.randrange(3)
    value = k.apply(ops.PROGRAM_ID, {"axis": axis})
    return Ranged(value, 0, k.grid[axis] - 1)


def level_of_writes(k: Kernel) -> Level:
    """How exact an array of floats is to be that will be written."""
    return k.rng.choice((Level.ANY_ZERO, Level.ANY_ZERO, Level.BITS))
