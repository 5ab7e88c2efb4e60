"""Statements that touch memory, and those that talk to the host."""

from __future__ import annotations

import numpy as np

from tilejit import ops
from tilejit.ir.core import Value
from tilejit.ir.opdef import Attribute
from tilejit.ir.types import DTYPES, INT1, INT32, INT64, UINT64, DType, PointerType, product
from tilejit.ops import AtomicKind, CmpPredicate
from tilejit.ops.type_rules import FLOATS, INTEGERS, NUMBERS

from .addressing import address_in, read_address, row_major
from .compute import elementwise, is_number
from .facts import Fact, Level, is_float
from .kernel import Address, Array, Kernel, Shape
from .memory_data import CALM_BOUND, calm, wild
from .values import at_least, existing, load, pick_dtype, pick_shape, some_mask, want

_STORED_BOUND = 128.0
"""Magnitude up to which values may be stored to arrays whose elements feed sums and products."""


def load_something(k: Kernel) -> None:
    """A load from a new array or from one that is also written."""
    arrays = [array for array in k.arrays if array.is_writable]
    if arrays and k.chance(0.7):
        array = k.rng.choice(arrays)
        address = _address_of(k, array, pick_shape(k))
    else:
        address = read_address(k, pick_dtype(k), pick_shape(k), k.chance(0.5))
    load_masked(k, address)


def load_masked(k: Kernel, address: Address) -> Value:
    """A load, at times under a mask and with a value for the other lanes."""
    shape, dtype = address.shape, address.array.dtype
    mask = some_mask(k, shape) if k.chance(k.profile.masks * 0.6) else None
    other = None
    if (mask is not None or address.mask is not None) and k.chance(0.6):
        other = want(k, dtype, shape, at_least(address.array.fact.level))
    return load(k, address, mask, other)


def _address_of(k: Kernel, array: Array, shape: Shape) -> Address:
    """An address in ``array``: one that was used before, or a new one."""
    known = [a for a in k.addresses() if a.array is array and a.shape == shape]
    if known and k.chance(0.6):
        return k.rng.choice(known)
    return address_in(k, array, shape)


def store_something(k: Kernel) -> None:
    """A store of a value that is there."""
    value = existing(k, is_number)
    if value is None or k.chance(0.15):
        value = want(k, pick_dtype(k), pick_shape(k))
    store(k, value)


def store(k: Kernel, value: Value) -> None:
    """Store ``value`` to an array that may hold it, at times under a mask."""
    address = _address_of(k, _array_for(k, value), value.type.shape)
    mask = some_mask(k, value.type.shape) if k.chance(k.profile.masks * 0.5) else None
    store_at(k, address, value, mask)


def store_at(k: Kernel, address: Address, value: Value, mask: Value | None = None) -> None:
    """Store through an address."""
    k.apply_many(ops.STORE, pointer=address.pointer, value=value, mask=k.both(address.mask, mask))


def may_hold(array: Array, fact: Fact) -> bool:
    """Whether an array may be written with values of which ``fact`` is known."""
    if not array.is_writable or array.fact.level > fact.level:
        return False
    bound = array.fact.bound
    return bound is None or (fact.bound is not None and fact.bound <= bound)


def _array_for(k: Kernel, value: Value) -> Array:
    dtype = value.type.element
    assert isinstance(dtype, DType)
    fact = k.facts[value]
    found = [array for array in k.arrays if array.dtype == dtype and may_hold(array, fact)]
    if found and k.chance(0.55):
        return k.rng.choice(found[-4:])
    return new_array(k, dtype, value.type.shape, fact)


def new_array(k: Kernel, dtype: DType, shape: Shape, fact: Fact) -> Array:
    """A new array that may be written with values of which ``fact`` is known; at times one of several that
    overlap.
    """
    length = product(shape) * k.rng.choice((1, 1, 1, 2)) + k.rng.choice((0, 0, 3, 16))
    held, is_calm = _held_fact(k, dtype, fact)
    total = length * k.programs
    if not k.chance(k.profile.overlap):
        make = calm if is_calm else wild
        return k.array(make(k.data, dtype, total), held, writable=True)
    count = k.rng.choice((2, 2, 3))
    starts = [0] * count
    if k.programs == 1 and k.chance(0.7):
        starts = [k.rng.choice((0, 1, 2, 5, 8, length // 2)) for _ in range(count)]
        starts[0] = 0
    data = (calm if is_calm else wild)(k.data, dtype, total + max(starts))
    arrays = k.overlapping_arrays(data, starts, held)
    return k.rng.choice(arrays)


def _held_fact(k: Kernel, dtype: DType, fact: Fact) -> tuple[Fact, bool]:
    """What is to hold of a new array's elements, and whether it starts with calm contents."""
    if not is_float(dtype):
        return Fact(), False
    level = fact.level
    if level is Level.VALUE or (level is Level.BITS and k.chance(0.6)):
        level = Level.ANY_ZERO
    is_bounded = fact.bound is not None and fact.bound <= _STORED_BOUND and k.chance(0.6)
    if is_bounded:
        return Fact(level, max(fact.bound or 0.0, CALM_BOUND * 1.25)), True
    return Fact(level), level is Level.APPROXIMATE or k.chance(0.5)


def update(k: Kernel) -> None:
    """Load, compute and store back: to the same place, beside it, or to an array that may overlap."""
    arrays = [array for array in k.arrays if array.is_writable and array.dtype in NUMBERS]
    if not arrays or k.chance(0.3):
        dtype, shape = pick_dtype(k, NUMBERS), pick_shape(k)
        array = new_array(k, dtype, shape, Fact(Level.ANY_ZERO) if is_float(dtype) else Fact())
    else:
        array, shape = k.rng.choice(arrays), pick_shape(k)
    source = _address_of(k, array, shape)
    value = load_masked(k, source)
    for _ in range(k.rng.randint(0, 2)):
        operand = elementwise(k, shape, array.dtype)
        value = k.apply(k.rng.choice((ops.ADD, ops.SUB)), lhs=value, rhs=operand)
    target = source
    if k.chance(0.4):
        target = _address_of(k, k.rng.choice([a for a in k.arrays if a.dtype == array.dtype]), shape)
    if not may_hold(target.array, k.facts[value]):
        return
    mask = some_mask(k, shape) if k.chance(k.profile.masks * 0.4) else None
    store_at(k, target, value, mask)


# Atomics


def atomic(k: Kernel) -> None:
    """An atomic update of distinct or of repeated elements."""
    if k.programs > 1 and k.chance(0.6):
        _shared_counter(k)
        return
    dtype = pick_dtype(k, NUMBERS)
    shape = pick_shape(k)
    address = _atomic_address(k, dtype, shape)
    value = want(k, dtype, shape, at_least(address.array.fact.level))
    if not may_hold(address.array, k.facts[value]):
        return
    kinds = _FLOAT_KINDS if dtype.is_floating() else tuple(AtomicKind)
    mask = some_mask(k, shape) if k.chance(k.profile.masks) else None
    _modify(k, address, value, k.rng.choice(kinds), mask)


_FLOAT_KINDS = (AtomicKind.ADD, AtomicKind.MAX, AtomicKind.MIN, AtomicKind.XCHG)
_COMMUTATIVE = tuple(kind for kind in AtomicKind if kind is not AtomicKind.XCHG)


def _modify(k: Kernel, address: Address, value: Value, kind: AtomicKind, mask: Value | None) -> Value:
    attributes: dict[str, Attribute] = {"kind": kind}
    mask = k.both(address.mask, mask)
    fact = address.array.fact
    return k.apply(ops.ATOMIC_RMW, attributes, facts=[fact], pointer=address.pointer, value=value, mask=mask)


def _atomic_address(k: Kernel, dtype: DType, shape: Shape) -> Address:
    fits = [
        array
        for array in k.arrays
        if array.is_writable
        and array.dtype == dtype
        and array.fact.bound is None
        and array.fact.level is (Level.ANY_ZERO if dtype.is_floating() else Level.BITS)
    ]
    if fits and k.chance(0.6):
        return _address_of(k, k.rng.choice(fits), shape)
    fact = Fact(Level.ANY_ZERO) if dtype.is_floating() else Fact()
    data = wild(k.data, dtype, max(1, product(shape)) * k.programs)
    return _address_of(k, k.array(data, fact, writable=True), shape)


def _shared_counter(k: Kernel) -> None:
    """An update that all programs make to the same elements, in an order that does not show."""
    dtype = pick_dtype(k, INTEGERS)
    shape = pick_shape(k)
    data = wild(k.data, dtype, product(shape))
    pointer = k.shared(data)
    value = want(k, dtype, shape)
    mask = some_mask(k, shape) if k.chance(k.profile.masks) else None
    attributes: dict[str, Attribute] = {"kind": k.rng.choice(_COMMUTATIVE)}
    k.apply_hidden(ops.ATOMIC_RMW, attributes, pointer=row_major(k, pointer, shape), value=value, mask=mask)


def compare_and_swap(k: Kernel) -> None:
    """A compare and swap that succeeds in some lanes."""
    dtype = pick_dtype(k, (*INTEGERS, *FLOATS))
    shape = pick_shape(k)
    size = product(shape) * k.programs
    data = wild(k.data, dtype, size)
    array = k.array(data, Fact(), writable=True)
    guess = np.where(k.data.random(size) < 0.5, data, wild(k.data, dtype, size))
    guesses = k.array(np.asarray(guess), Fact(), writable=False)
    compared = k.apply(ops.LOAD, facts=[Fact()], pointer=row_major(k, guesses.pointer, shape))
    address = _address_of(k, array, shape)
    if address.mask is not None:
        return
    value = want(k, dtype, shape, at_least(Level.BITS))
    k.apply(ops.ATOMIC_CAS, facts=[Fact()], pointer=address.pointer, compare=compared, value=value)


# Pointers


def pointers(k: Kernel) -> None:
    """Pointers that are chosen, moved, compared, reshaped or pass for integers."""
    found = [address for address in k.addresses() if address.pointer.type.rank or k.chance(0.3)]
    if not found:
        return
    address = k.rng.choice(found)
    kind = k.rng.choice(("choose", "integer", "retype", "shape", "compare", "move"))
    made = _POINTER_STATEMENTS[kind](k, address)
    if made is None:
        return
    k.scopes[-1].addresses.append(made)
    value = load_masked(k, made)
    if k.chance(0.5) and may_hold(made.array, k.facts[value]):
        store_at(k, made, want(k, made.array.dtype, made.shape, lambda fact: may_hold(made.array, fact)))


def _choose(k: Kernel, first: Address) -> Address | None:
    others = [
        other
        for other in k.addresses()
        if other.pointer.type == first.pointer.type
        and other is not first
        and other.array.fact == first.array.fact
        and other.array.is_writable == first.array.is_writable
    ]
    if not others:
        return None
    second = k.rng.choice(others)
    if k.chance(0.4):
        sides = [k.region([], [], lambda _, side=side: [side.pointer]) for side in (first, second)]  # type: ignore[misc]
        chosen = k.apply(ops.IF, {}, sides, [Fact()], condition=want(k, INT1, ()))
    else:
        mask = some_mask(k, first.shape)
        chosen = k.apply(ops.SELECT, condition=mask, true_value=first.pointer, false_value=second.pointer)
    return Address(chosen, first.array, k.both(first.mask, second.mask))


def _integer(k: Kernel, address: Address) -> Address:
    dtype = k.rng.choice((INT64, UINT64))
    number = k.apply_hidden(ops.BITCAST, {"dtype": dtype}, x=address.pointer)
    back = k.apply(ops.BITCAST, {"dtype": address.pointer.type.element}, x=number)
    return Address(back, address.array, address.mask, address.distinct)


def _retype(k: Kernel, address: Address) -> Address | None:
    array = address.array
    if array.fact.level is not Level.BITS or array.dtype.is_bool():
        return None
    same = [dtype for dtype in DTYPES if dtype.bits == array.dtype.bits and not dtype.is_bool()]
    dtype = k.rng.choice(same)
    element = address.pointer.type.element
    assert isinstance(element, PointerType)
    view = Array(array.pointer, dtype, array.length, Fact(), array.is_writable and array.fact.bound is None)
    pointer = k.apply(ops.BITCAST, {"dtype": PointerType(dtype, element.const)}, x=address.pointer)
    return Address(pointer, view, address.mask, address.distinct)


def _shape(k: Kernel, address: Address) -> Address | None:
    if address.mask is not None or not address.shape:
        return None
    if address.pointer.type.rank > 1 and k.chance(0.6):
        order = list(range(address.pointer.type.rank))
        k.rng.shuffle(order)
        pointer = k.apply(ops.TRANSPOSE, {"order": tuple(order)}, x=address.pointer)
    else:
        flat = product(address.shape)
        shape = (flat,) if address.pointer.type.rank > 1 else (1, flat)
        pointer = k.apply(ops.RESHAPE, {"shape": shape}, x=address.pointer)
    return Address(pointer, address.array, None, address.distinct)


def _compare(k: Kernel, first: Address) -> None:
    others = [
        other
        for other in k.addresses()
        if other.array is first.array and other.pointer.type == first.pointer.type
    ]
    predicate = k.rng.choice((CmpPredicate.EQ, CmpPredicate.NE))
    k.compare(predicate, first.pointer, k.rng.choice(others).pointer)


def _move(k: Kernel, address: Address) -> Address:
    """Move pointers away and back again."""
    distance = k.rng.choice((1, 7, 64))
    away = k.apply(ops.ADDPTR, pointer=address.pointer, offset=k.splat(k.integer(distance), address.shape))
    back = k.apply(ops.ADDPTR, pointer=away, offset=k.splat(k.integer(-distance, INT32), address.shape))
    return Address(back, address.array, address.mask, address.distinct)


_POINTER_STATEMENTS = {
    "choose": _choose,
    "integer": _integer,
    "retype": _retype,
    "shape": _shape,
    "compare": _compare,
    "move": _move,
}


# What the host sees


def check(k: Kernel) -> None:
    """An assertion that holds."""
    shape, dtype = pick_shape(k), pick_dtype(k, INTEGERS)
    value = want(k, dtype, shape)
    limit = k.constant(dtype, 100, shape)
    low = k.apply(ops.IREM, lhs=k.apply(ops.AND, lhs=value, rhs=k.constant(dtype, 127, shape)), rhs=limit)
    holds = k.compare(CmpPredicate.LT, low, limit)
    mask = some_mask(k, shape) if k.chance(k.profile.masks) else None
    k.apply_many(ops.DEVICE_ASSERT, {"message": "never"}, condition=holds, mask=mask)


def show(k: Kernel) -> None:
    """A print, which keeps values alive."""
    values = [v for v in (existing(k, is_number) for _ in range(k.rng.randint(0, 2))) if v is not None]
    k.apply_many(ops.DEVICE_PRINT, {"prefix": "values: ", "hex": k.chance(0.2)}, values=values)
