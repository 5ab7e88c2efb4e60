"""Cases of loads, stores, pointers and atomics."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from conformance import inputs
from conformance.elementwise_cases import spell
from conformance.kernels import EXACT, CaseSpec, KernelBuilder, Shape, Tolerance
from tilejit import ops
from tilejit.ir.core import Value
from tilejit.ir.types import DTYPES, FP32, INT1, INT32, DType
from tilejit.ops import AtomicKind, CmpPredicate
from tilejit.ops.type_rules import FLOATS, INTEGERS

_SHAPES: tuple[Shape, ...] = ((), (37,), (64,), (5, 24), (2, 3, 8))
_FLOAT_KINDS = (AtomicKind.ADD, AtomicKind.MAX, AtomicKind.MIN, AtomicKind.XCHG)
_EXTREMA = (AtomicKind.MAX, AtomicKind.MIN)  # of zeros, either sign may win


def cases() -> Iterator[CaseSpec]:
    """All memory cases."""
    for shape in _SHAPES:
        for dtype in DTYPES:
            is_quick = shape == (37,) or (dtype == FP32 and shape == (5, 24))
            name = f"memory-{dtype}-{spell(shape)}"
            yield CaseSpec(name, lambda k, d=dtype, s=shape: _memory_case(k, d, s), is_quick)
        for dtype in (*INTEGERS, *FLOATS):
            name = f"atomic-{dtype}-{spell(shape)}"
            yield CaseSpec(name, lambda k, d=dtype, s=shape: _atomic_case(k, d, s), shape == (37,))
        yield CaseSpec(f"pointer-{spell(shape)}", lambda k, s=shape: _pointer_case(k, s))


def _memory_case(k: KernelBuilder, dtype: DType, shape: Shape) -> None:
    data, other = (inputs.values(k.rng, dtype, shape) for _ in range(2))
    size = int(np.prod(shape))
    source = k.pointer(data)
    addresses = k.addresses(source, shape)
    bits, fallback = inputs.values(k.rng, INT1, shape), k.input(other)
    mask, bound = k.input(bits), k.number(INT32, size - size // 3)
    inside = k.apply(ops.CMP, {"predicate": CmpPredicate.LT}, lhs=k.offsets(shape), rhs=k.splat(bound, shape))
    within = np.arange(size).reshape(shape) < size - size // 3
    zero = np.zeros(shape, dtype.numpy)

    k.output(k.apply(ops.LOAD, pointer=addresses), "load", EXACT, data)
    k.output(k.apply(ops.LOAD, {"volatile": True}, pointer=addresses), "volatile load", EXACT, data)
    for label, value, lanes in (("mask", mask, bits), ("tail", inside, within)):
        plain = k.apply(ops.LOAD, pointer=addresses, mask=value)
        k.output(plain, f"load, {label}", EXACT, np.where(lanes, data, zero))
        filled = k.apply(ops.LOAD, pointer=addresses, mask=value, other=fallback)
        k.output(filled, f"load, {label}, other", EXACT, np.where(lanes, data, other))
        target = k.pointer(other.copy())
        k.apply_many(ops.STORE, pointer=k.addresses(target, shape), value=filled, mask=value)
        k.compare(target, f"store, {label}", EXACT, np.where(lanes, data, other))
    if shape:
        _indirect(k, source, data, mask)


def _indirect(k: KernelBuilder, source: Value, data: np.ndarray, mask: Value) -> None:
    shape, size = data.shape, data.size
    indices = k.rng.integers(0, size, shape).astype(np.int32)
    index = k.input(indices)
    spots = k.apply(ops.ADDPTR, pointer=k.splat(source, shape), offset=index)
    gathered = data.reshape(-1)[indices]
    k.output(k.apply(ops.LOAD, pointer=spots), "gather", EXACT, gathered)
    k.output(k.apply(ops.LOAD, pointer=spots, mask=mask), "gather, mask")
    values = k.input(data)
    for label, active in (("", None), (", mask", mask)):
        target = k.pointer(np.zeros_like(data))
        spots = k.apply(ops.ADDPTR, pointer=k.splat(target, shape), offset=index)
        k.apply_many(ops.STORE, pointer=spots, value=values, mask=active)
        k.compare(target, f"scatter, the last lane stays{label}")
    # In place, shifted by one: every element is loaded before any is stored.
    shifted = k.pointer(np.concatenate([data.reshape(-1), data.reshape(-1)[:1]]))
    loaded = k.apply(ops.LOAD, pointer=k.addresses(shifted, shape))
    one = k.apply(ops.ADDPTR, pointer=shifted, offset=k.constant(INT32, 1))
    k.apply_many(ops.STORE, pointer=k.addresses(one, shape), value=loaded)
    flat = data.reshape(-1)
    k.compare(shifted, "overlapping load and store", EXACT, np.concatenate([flat[:1], flat]))


def _atomic_case(k: KernelBuilder, dtype: DType, shape: Shape) -> None:
    make = inputs.floats if dtype.is_floating() else inputs.integers
    data, operand = make(k.rng, dtype, shape), make(k.rng, dtype, shape)
    size = int(np.prod(shape))
    value, mask = k.input(operand), k.input(inputs.values(k.rng, INT1, shape))
    crowded = k.input(k.rng.integers(0, max(1, size // 4), shape).astype(np.int32))
    for kind in _FLOAT_KINDS if dtype.is_floating() else AtomicKind:
        target = k.pointer(data.copy())
        old = k.apply(ops.ATOMIC_RMW, {"kind": kind}, pointer=k.addresses(target, shape), value=value)
        tolerance = Tolerance(any_zero_sign=True) if kind in _EXTREMA else EXACT
        k.output(old, f"atomic {kind.value}, old elements", EXACT, data)
        k.compare(target, f"atomic {kind.value}", tolerance)
        target = k.pointer(data.copy())
        spots = k.apply(ops.ADDPTR, pointer=k.splat(target, shape), offset=crowded)
        old = k.apply(ops.ATOMIC_RMW, {"kind": kind}, pointer=spots, value=value, mask=mask)
        k.output(old, f"atomic {kind.value}, crowded, old elements", tolerance)
        k.compare(target, f"atomic {kind.value}, crowded", tolerance)
    guess = k.input(np.asarray(np.where(k.rng.random(shape) < 0.5, data, operand)))
    target = k.pointer(data.copy())
    old = k.apply(ops.ATOMIC_CAS, pointer=k.addresses(target, shape), compare=guess, value=value)
    k.output(old, "atomic cas, old elements", EXACT, data)
    k.compare(target, "atomic cas")


def _pointer_case(k: KernelBuilder, shape: Shape) -> None:
    size = int(np.prod(shape))
    first = np.arange(3 * size + 300, dtype=np.float32)
    start = k.pointer(first)
    middle = k.apply(ops.ADDPTR, pointer=start, offset=k.constant(INT32, 150))
    addresses = k.addresses(middle, shape)
    for dtype in INTEGERS:
        steps = k.rng.integers(-120 if dtype.is_int_signed() else 0, 120, shape).astype(dtype.numpy)
        moved = k.apply(ops.ADDPTR, pointer=addresses, offset=k.input(steps))
        indices = 150 + np.arange(size).reshape(shape) + steps.astype(np.int64)
        k.output(k.apply(ops.LOAD, pointer=moved), f"addptr by {dtype}", EXACT, first[indices])
    second = k.addresses(k.pointer(-first), shape)
    chosen = inputs.values(k.rng, INT1, shape)
    condition = k.input(chosen)
    either = k.apply(ops.SELECT, condition=condition, true_value=addresses, false_value=second)
    place = np.arange(size).reshape(shape)
    reference = np.where(chosen, first[150 + place], -first[place])
    k.output(k.apply(ops.LOAD, pointer=either), "select of pointers", EXACT, reference)
    for predicate, same in ((CmpPredicate.EQ, chosen), (CmpPredicate.NE, ~chosen)):
        result = k.apply(ops.CMP, {"predicate": predicate}, lhs=either, rhs=addresses)
        k.output(result, f"cmp {predicate.value} of pointers", EXACT, same)
