"""Ops on the memory that the caller passed: load, store, atomics.

Addresses are reached through the evaluation context, which checks bounds. Masked-out lanes touch no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum

import numpy as np

from tilejit.ir.opdef import (
    Attribute,
    AttributeKind,
    AttributeSpec,
    Effects,
    EvaluationCall,
    OpDef,
    TypeQuery,
)
from tilejit.ir.types import TileType, Type
from tilejit.ops import numerics
from tilejit.ops.type_rules import (
    FLOATS,
    INTEGERS,
    NUMBERS,
    operand_specs,
    pointer_element,
    require,
    require_element,
    require_mask,
    require_writable,
)

_CACHE_MODIFIER = AttributeSpec("cache_modifier", AttributeKind.STRING, default="")
_EVICTION_POLICY = AttributeSpec("eviction_policy", AttributeKind.STRING, default="")
_SEMANTICS = AttributeSpec("sem", AttributeKind.STRING, default="acq_rel")
_SCOPE = AttributeSpec("scope", AttributeKind.STRING, default="gpu")


class AtomicKind(Enum):
    """What ``atomic_rmw`` does to the element in memory."""

    ADD = "add"
    MAX = "max"
    MIN = "min"
    AND = "and"
    OR = "or"
    XOR = "xor"
    XCHG = "xchg"


def _pointee(op: str, pointer: TileType) -> TileType:
    return pointer.with_element(pointer_element(op, pointer))


def _infer_load(query: TypeQuery) -> tuple[Type, ...]:
    pointer = query.type("pointer")
    result = _pointee("load", pointer)
    require_mask("load", query.optional_type("mask"), pointer.shape, "the pointer")
    other = query.optional_type("other")
    require(other in (None, result), f"other of load must be {result}, as the loaded value is; got {other}")
    return (result,)


def _load_effects(attributes: Mapping[str, Attribute]) -> Effects:
    return Effects.READ | Effects.WRITE if attributes["volatile"] else Effects.READ


def _evaluate_load(call: EvaluationCall) -> Sequence[np.ndarray]:
    mask, other = call.optional_operand("mask"), call.optional_operand("other")
    return (call.context.load(call.op, call.operand("pointer"), mask, other),)


LOAD = OpDef(
    name="load",
    operands=operand_specs("pointer", "mask?", "other?"),
    infer=_infer_load,
    evaluate=_evaluate_load,
    attributes=(
        _CACHE_MODIFIER,
        _EVICTION_POLICY,
        AttributeSpec("volatile", AttributeKind.BOOL, default=False),
    ),
    effects=Effects.READ,
    effects_of=_load_effects,
    summary="read memory; masked-out lanes give other, or 0 without it; volatile loads are never merged",
)


def _infer_store(query: TypeQuery) -> tuple[Type, ...]:
    pointer, value = query.type("pointer"), query.type("value")
    expected = _pointee("store", pointer)
    require_writable("store", pointer)
    require(value == expected, f"the value of store must be {expected} to fit {pointer}; got {value}")
    require_mask("store", query.optional_type("mask"), pointer.shape, "the pointer")
    return ()


def _evaluate_store(call: EvaluationCall) -> Sequence[np.ndarray]:
    call.context.store(call.op, call.operand("pointer"), call.operand("value"), call.optional_operand("mask"))
    return ()


STORE = OpDef(
    name="store",
    operands=operand_specs("pointer", "value", "mask?"),
    infer=_infer_store,
    evaluate=_evaluate_store,
    attributes=(_CACHE_MODIFIER, _EVICTION_POLICY),
    effects=Effects.WRITE,
    summary="write memory in increasing lane order",
)

_FLOAT_KINDS = (AtomicKind.ADD, AtomicKind.MAX, AtomicKind.MIN, AtomicKind.XCHG)


def _infer_atomic_rmw(query: TypeQuery) -> tuple[Type, ...]:
    pointer, value, kind = query.type("pointer"), query.type("value"), query.attributes["kind"]
    assert isinstance(kind, AtomicKind)
    expected, op = _pointee("atomic_rmw", pointer), f"atomic {kind.value}"
    require_writable(op, pointer)
    require_element(op, expected, NUMBERS if kind in _FLOAT_KINDS else INTEGERS)
    require(value == expected, f"the value of {op} must be {expected} to fit {pointer}; got {value}")
    require_mask(op, query.optional_type("mask"), pointer.shape, "the pointer")
    return (expected,)


_COMBINE: dict[AtomicKind, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    AtomicKind.ADD: np.add,
    AtomicKind.MAX: np.fmax,
    AtomicKind.MIN: np.fmin,
    AtomicKind.AND: np.bitwise_and,
    AtomicKind.OR: np.bitwise_or,
    AtomicKind.XOR: np.bitwise_xor,
    AtomicKind.XCHG: lambda old, value: value,
}


def _evaluate_atomic_rmw(call: EvaluationCall) -> Sequence[np.ndarray]:
    kind = call.op.attributes["kind"]
    assert isinstance(kind, AtomicKind)
    meaning = _COMBINE[kind]

    def combine(old: np.ndarray, value: np.ndarray, lane: int) -> np.ndarray:
        with np.errstate(all="ignore"):
            return numerics.narrow(meaning(numerics.widen(old), numerics.widen(value)), old.dtype)

    mask = call.optional_operand("mask")
    return (call.context.update(call.op, call.operand("pointer"), call.operand("value"), mask, combine),)


ATOMIC_RMW = OpDef(
    name="atomic_rmw",
    operands=operand_specs("pointer", "value", "mask?"),
    infer=_infer_atomic_rmw,
    evaluate=_evaluate_atomic_rmw,
    attributes=(AttributeSpec("kind", AttributeKind.ENUM, AtomicKind), _SEMANTICS, _SCOPE),
    effects=Effects.READ | Effects.WRITE,
    summary="atomically combine value into memory, in lane order; give the old elements, 0 where masked out",
)


def _infer_atomic_cas(query: TypeQuery) -> tuple[Type, ...]:
    pointer = query.type("pointer")
    expected = _pointee("atomic_cas", pointer)
    require_writable("atomic_cas", pointer)
    require_element("atomic_cas", expected, (*INTEGERS, *FLOATS))
    for name in ("compare", "value"):
        given = query.type(name)
        require(given == expected, f"{name} of atomic_cas must be {expected} to fit {pointer}; got {given}")
    return (expected,)


def _evaluate_atomic_cas(call: EvaluationCall) -> Sequence[np.ndarray]:
    compare = numerics.unsigned(np.ascontiguousarray(call.operand("compare"))).reshape(-1)

    def combine(old: np.ndarray, value: np.ndarray, lane: int) -> np.ndarray:
        return value if numerics.unsigned(old) == compare[lane] else old

    return (call.context.update(call.op, call.operand("pointer"), call.operand("value"), None, combine),)


ATOMIC_CAS = OpDef(
    name="atomic_cas",
    operands=operand_specs("pointer", "compare", "value"),
    infer=_infer_atomic_cas,
    evaluate=_evaluate_atomic_cas,
    attributes=(_SEMANTICS, _SCOPE),
    effects=Effects.READ | Effects.WRITE,
    summary="atomically store value where memory holds compare's bits, in lane order; give the old elements",
)

MEMORY_OPS: tuple[OpDef, ...] = (LOAD, STORE, ATOMIC_RMW, ATOMIC_CAS)
