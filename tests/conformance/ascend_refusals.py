"""What the Ascend backend refuses of the conformance cases, and where its results differ: each stated once.

A case that is refused without an entry fails, and so does an entry for what is no longer refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from conformance.kernels import Tolerance
from tilejit.ir.core import Op
from tilejit.ir.opdef import OpDef
from tilejit.ir.types import (
    BF16,
    FP16,
    FP32,
    FP64,
    INT1,
    INT8,
    INT32,
    INT64,
    UINT64,
    DType,
)
from tilejit.ops import (
    ABS,
    ADD,
    ATOMIC_CAS,
    ATOMIC_RMW,
    CAST,
    CEIL,
    CMP,
    COS,
    DEVICE_PRINT,
    DIV,
    DOT,
    ERF,
    EXP,
    EXP2,
    FLOOR,
    FMA,
    FOR,
    FREM,
    IDIV,
    IF,
    IREM,
    LOG,
    LOG2,
    MAX,
    MIN,
    MUL,
    NEG,
    REDUCE,
    RSQRT,
    SCAN,
    SHL,
    SHR,
    SIN,
    SQRT,
    SUB,
    UMULHI,
    WHILE,
    AtomicKind,
    ReduceKind,
    Rounding,
)
from tilejit.ops.type_rules import FP8S
from tilejit.passes.lower_transfer import ATOMIC_TYPES
from tilejit.passes.unsupported import spell_kind

Condition = Callable[[Op], bool]


@dataclass(frozen=True)
class Refusal:
    """An op that cannot be lowered where ``when`` holds.

    ``message`` is what the error says behind "Ascend: ", with {op}, what users call the op, {source} and
    {result}, the element types of its first number and of its result, {kind} and {step}, the kind of a
    reduction and the op that it repeats.
    """

    ops: tuple[OpDef, ...]
    message: str
    when: Condition

    def message_for(self, op: Op) -> str:
        """The error's text for an op that the entry applies to."""
        kind = op.attributes.get("kind")
        spelt = kind.value if isinstance(kind, AtomicKind | ReduceKind) else ""
        fields = {
            "op": spell_kind(op),
            "source": source_of(op),
            "result": op.results[0].type.element if op.results else None,
            "kind": spelt,
            "step": "add" if spelt == "sum" else spelt,
        }
        return "Ascend: " + self.message.format(**fields)


def source_of(op: Op) -> DType | None:
    """The element type that an op computes with: of its first operand that is no condition."""
    for spec, values in zip(op.definition.operands, op.named_operands().values(), strict=True):
        if spec.name not in ("condition", "mask") and values:
            element = values[0].type.element
            if isinstance(element, DType):
                return element
            if spec.name != "pointer":
                return None
    return None


def always(op: Op) -> bool:
    """The condition of ops that are never lowered."""
    return True


def _tiles_of(*elements: DType) -> Condition:
    return lambda op: source_of(op) in elements and not op.results[0].type.is_scalar


def _of(*elements: DType) -> Condition:
    """Scalars too: the scalar unit lacks what the vector unit lacks."""
    return lambda op: source_of(op) in elements


def _has_no_steps(op: Op) -> bool:
    """Casts of tiles that the unit has no way for."""
    source, target = source_of(op), op.results[0].type.element
    assert source is not None and isinstance(target, DType)
    if source == target or op.results[0].type.is_scalar or (source, target) == (FP64, INT1):
        return False
    is_fp8_to_words = any(x.is_fp8() and y in _WORDS for x, y in ((source, target), (target, source)))
    return FP64 in (source, target) or is_fp8_to_words


def _towards_zero_to_fp8(op: Op) -> bool:
    element = op.results[0].type.element
    is_tile = not op.results[0].type.is_scalar
    return is_tile and element in FP8S and op.attributes["rounding"] is Rounding.RTZ


def _is_fp64_to_bool(op: Op) -> bool:
    return op.results[0].type.element == INT1 and _tiles_of(FP64)(op)


def _combines_fp64(op: Op) -> bool:
    """Of one element nothing is computed."""
    axis = op.attributes["axis"]
    assert isinstance(axis, int)
    return source_of(op) == FP64 and op.operands[0].type.shape[axis] > 1


def _cube_lacks(op: Op) -> bool:
    types = (op.operand("a").type.element, op.operand("b").type.element, op.result.type.element)
    return types not in _CUBE_TYPES


_WORDS = (INT64, UINT64)
"""Types that are computed as two words."""
_CUBE_TYPES = ((FP16, FP16, FP32), (BF16, BF16, FP32), (FP32, FP32, FP32), (INT8, INT8, INT32))
_STORED = (AtomicKind.ADD, AtomicKind.MAX, AtomicKind.MIN)
"""Kinds of atomics that stores have."""

REFUSALS: tuple[Refusal, ...] = (
    # Types that the vector unit does not compute
    Refusal(
        (ADD, SUB, MUL, MIN, MAX, ABS, NEG, FLOOR, CEIL, DIV),
        "the vector unit cannot compute {op} on {source}",
        _tiles_of(FP64),
    ),
    Refusal(
        (FREM, FMA, ERF, SIN, COS, SQRT, RSQRT, EXP, EXP2, LOG, LOG2),
        "the vector unit cannot compute {op} on {source}",
        _of(FP64),
    ),
    Refusal(
        (IDIV, IREM, UMULHI, SHL, SHR), "the vector unit cannot compute {op} on {source}", _tiles_of(*_WORDS)
    ),
    Refusal((CMP,), "tiles of {source} cannot be compared", _tiles_of(FP64)),
    Refusal(
        (CMP,),
        "tiles of addresses cannot be compared",
        lambda op: source_of(op) is None and not op.results[0].type.is_scalar,
    ),
    Refusal((CAST,), "the vector unit cannot cast {source} to {result}", _has_no_steps),
    Refusal((CAST,), "tiles of {source} cannot be compared", _is_fp64_to_bool),
    Refusal((CAST,), "the vector unit cannot compute cast on {result}", _towards_zero_to_fp8),
    # Reductions and scans
    Refusal((REDUCE,), "the vector unit cannot reduce {source}", _of(FP64)),
    Refusal((SCAN,), "the vector unit cannot compute {step} on {source}", _combines_fp64),
    # Atomics
    Refusal(
        (ATOMIC_RMW,),
        "the old elements of an atomic are not known",
        lambda op: op.result.use_count > 0,
    ),
    Refusal(
        (ATOMIC_RMW,),
        "there is no atomic {kind} of {source}",
        lambda op: op.attributes["kind"] not in _STORED or source_of(op) not in ATOMIC_TYPES,
    ),
    Refusal((ATOMIC_CAS, DEVICE_PRINT), "{op} is not supported", always),
    # The cube unit
    Refusal(
        (DOT,),
        "the cube unit multiplies fp16 (in fp32), bf16 (in fp32), fp32 (in fp32), int8 (in int32); got "
        "{source} in {result}",
        _cube_lacks,
    ),
    # Control flow
    Refusal(
        (FOR, WHILE, IF),
        "tiles of bools cannot pass through control flow",
        lambda op: any(r.type.element == INT1 and not r.type.is_scalar for r in op.results),
    ),
)


@dataclass(frozen=True)
class Difference:
    """A result that is not the interpreter's, in a way that ``stated`` tells users of.

    Results are compared for the numbers that ``inputs`` makes of a case's arrays, or with the ``tolerance``
    that it gives for the expected result.
    """

    ops: tuple[OpDef, ...]
    stated: str
    when: Condition
    inputs: Callable[[np.ndarray], np.ndarray] | None = None
    tolerance: Callable[[np.ndarray], Tolerance] | None = None

    def applies(self, op: Op) -> bool:
        return op.definition in self.ops and self.when(op)


def _is_extremum(op: Op) -> bool:
    """Largest and smallest of floats, where the language drops NaN."""
    element = source_of(op)
    if element is None or not element.is_floating() or op.attributes.get("propagate_nan"):
        return False
    return op.attributes.get("kind") in (None, *_EXTREMA)


_EXTREMA = (ReduceKind.MAX, ReduceKind.MIN, AtomicKind.MAX, AtomicKind.MIN)


def _of_magnitude(low: float, high: float) -> Callable[[np.ndarray], np.ndarray]:
    """Replace numbers, other than 0, whose magnitude is not between two bounds."""

    def replaced(array: np.ndarray) -> np.ndarray:
        size = np.abs(array.astype(np.float64))
        return np.where((size != 0) & ((size < low) | (size > high)), array.dtype.type(1), array)

    return replaced


def _without_nan(array: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(array), array.dtype.type(1), array)


def _exp2_tolerance(expected: np.ndarray) -> Tolerance:
    """exp(x ln 2): the product is rounded, by half a unit of a number of the size of x, beside exp itself."""
    with np.errstate(all="ignore"):
        size = np.abs(expected.astype(np.float64))
        bound = size * (np.abs(np.log2(size)) + 4) * 2.0**-23
    return Tolerance(ulps=4, absolute=np.where(np.isfinite(bound), bound, 0.0))


def _any_sign_of_zero(expected: np.ndarray) -> Tolerance:
    return Tolerance(any_zero_sign=True)


DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        (MAX, MIN, REDUCE, SCAN, ATOMIC_RMW),
        "maxima and minima of floats keep NaN",
        _is_extremum,
        inputs=_without_nan,
    ),
    Difference((EXP2,), "exp2(x) is off by up to |x| units", _of(FP32), tolerance=_exp2_tolerance),
    Difference((FLOOR, CEIL), "floor and ceil of zeros are +0", always, tolerance=_any_sign_of_zero),
    Difference((SIN, COS), "sin and cos are NaN beyond 2**18", always, inputs=_of_magnitude(0, 2.0**18)),
    Difference(
        (FREM,),
        "x % y of floats is NaN for quotients beyond 2**44",
        always,
        inputs=_of_magnitude(2.0**-20, 2.0**20),
    ),
    Difference(
        (FMA,),
        "fma rounds twice below 2**-100, and gives +0 for zero",
        _of(FP32),
        inputs=_of_magnitude(2.0**-50, math.inf),
        tolerance=_any_sign_of_zero,
    ),
)
