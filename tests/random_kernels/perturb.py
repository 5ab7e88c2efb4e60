"""How far results may lie apart, measured: the interpreter runs again with every open result moved.

The language leaves some leeway to functions, float sums and dots. A perturbed run moves each of their
results by all the leeway there is, and every float computed from them by one unit in the last place, since
its rounding may go the other way. What this does to the outputs, over runs that move everything up, down and
at random, says how far a correct program may be from the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from tilejit import ops
from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.opdef import EvaluationCall
from tilejit.ir.rewrite import clone_function
from tilejit.ir.types import BF16, FP16, FP32, FP64, DType
from tilejit.ops import InputPrecision, ReduceKind

from .case import ArrayInput, Case
from .facts import Level, is_float, region_is_inexact
from .machines import interpret

SAFETY = 8.0
"""Times the measured deviation that is allowed: the worst signs of errors are seldom met at random."""

_FUNCTION_ULPS: dict[DType, float] = {FP64: 4, FP32: 4, FP16: 1, BF16: 1}
_PRODUCT_EPSILON: dict[InputPrecision, float] = {
    InputPrecision.IEEE: 0.0,
    InputPrecision.TF32: 2.0**-10,
    InputPrecision.TF32X3: 2.0**-20,
    InputPrecision.BF16X3: 2.0**-15,
    InputPrecision.BF16X6: 2.0**-21,
    InputPrecision.INT8X2: 0.0,
}
_MOVES = frozenset(
    op.name
    for op in (
        ops.SELECT, ops.SPLAT, ops.BROADCAST, ops.RESHAPE, ops.TRANSPOSE, ops.JOIN, ops.SPLIT, ops.LOAD,
        ops.FOR, ops.WHILE, ops.IF, ops.NEG, ops.ABS, ops.MIN, ops.MAX, ops.ATOMIC_RMW, ops.ATOMIC_CAS,
    )
)  # fmt: skip

_CONTROL = (ops.FOR.name, ops.WHILE.name, ops.IF.name)

Direction = Callable[[tuple[int, ...]], np.ndarray]
Evaluate = Callable[[EvaluationCall], Sequence[np.ndarray]]


def tolerances(case: Case) -> list[np.ndarray | None]:
    """For every storage how far each element may be from the reference; None where it must be equal.

    Units: absolute; NaN where nothing can be said of an element.
    """
    if not any(storage.level is Level.APPROXIMATE for storage in case.storages):
        return [None for _ in case.storages]
    rng = np.random.default_rng(case.seed)
    directions: list[Direction] = [
        lambda shape: np.ones(shape),
        lambda shape: -np.ones(shape),
        lambda shape: rng.choice((-1.0, 1.0), shape),
        lambda shape: rng.uniform(-1.0, 1.0, shape),
        lambda shape: rng.choice((-1.0, 1.0), shape),
    ]
    base = interpret(case, case.function).storages
    moved = [interpret(case, perturbed(case, direction)).storages for direction in directions]
    found: list[np.ndarray | None] = []
    for index, storage in enumerate(case.storages):
        if storage.level is not Level.APPROXIMATE:
            found.append(None)
            continue
        dtype = storage.data.dtype
        reference = base[index].view(dtype).astype(np.float64)
        others = [run[index].view(dtype).astype(np.float64) for run in moved]
        found.append(_spread(reference, others, _dtype(case, index)))
    return found


def _dtype(case: Case, storage: int) -> DType:
    return next(g.dtype for g in case.inputs if isinstance(g, ArrayInput) and g.storage == storage)


def _spread(reference: np.ndarray, others: Sequence[np.ndarray], dtype: DType) -> np.ndarray:
    with np.errstate(all="ignore"):
        deviation = np.max([np.abs(other - reference) for other in others], axis=0)
        same = np.all([(o == reference) | (np.isnan(o) & np.isnan(reference)) for o in others], axis=0)
        allowed = SAFETY * deviation + 2 * _ulp(reference, dtype)
    # An infinity or a NaN is compared where all runs agree on it.
    finite = np.isfinite(reference)
    return np.where(finite & np.isfinite(allowed), allowed, np.where(same, 0.0, np.nan))


def perturbed(case: Case, direction: Direction) -> Function:
    """A copy of the case's function whose open results are moved along ``direction``."""
    function = clone_function(case.function)
    inexact = _inexact_values(case, function)
    for op in function.walk():
        if any(result in inexact for result in op.results) and op.name not in _MOVES:
            leeway = _leeway_of(op)
            if leeway is not None:
                meaning = _moved(op.definition.evaluate, leeway, direction)
                op.definition = replace(op.definition, evaluate=meaning)
    return function


Leeway = Callable[[EvaluationCall, np.ndarray], np.ndarray]


def _leeway_of(op: Op) -> Leeway | None:
    element = op.results[0].type.element
    if not isinstance(element, DType) or not element.is_floating():
        return None
    if op.name in (ops.REDUCE_CUSTOM.name, ops.SCAN_CUSTOM.name):
        return None  # the ops of their regions are moved one by one
    if op.name in (ops.REDUCE.name, ops.SCAN.name):
        return _sum_leeway if op.attributes["kind"] is ReduceKind.SUM else None
    if op.name == ops.DOT.name:
        return _dot_leeway
    steps = 1.0 if op.definition.is_exact else _FUNCTION_ULPS[element]
    return lambda call, result: steps * _ulp(result.astype(np.float64), element)


def _moved(evaluate: Evaluate, leeway: Leeway, direction: Direction) -> Evaluate:
    def meaning(call: EvaluationCall) -> Sequence[np.ndarray]:
        results = []
        for result, value in zip(evaluate(call), call.op.results, strict=True):
            assert isinstance(value.type.element, DType)
            if not value.type.element.is_floating():
                results.append(result)
                continue
            wide = np.asarray(result).astype(np.float64)
            with np.errstate(all="ignore"):
                distance = np.maximum(leeway(call, result), _ulp(wide, value.type.element))
                if call.op.definition.is_exact:
                    distance = np.where(wide == 0, 0.0, distance)
                shifted = wide + direction(wide.shape) * distance
                results.append(np.where(np.isfinite(wide), shifted, wide).astype(result.dtype))
        return results

    return meaning


def _ulp(x: np.ndarray, dtype: DType) -> np.ndarray:
    """Distance between neighbours of the element type around ``x``."""
    exponent = np.frexp(np.abs(x))[1] - 1
    smallest = {FP64: -1022, FP16: -14}.get(dtype, -126 if dtype.bits > 8 else -6)
    finite = np.where(np.isfinite(x), exponent, 0)
    return np.asarray(np.ldexp(1.0, np.maximum(finite, smallest) - dtype.mantissa_bits))


def _accumulator_epsilon(dtype: DType) -> float:
    return 2.0**-52 if dtype == FP64 else 2.0**-23


def _sum_leeway(call: EvaluationCall, result: np.ndarray) -> np.ndarray:
    """One rounding of the accumulator for each term, one of the result."""
    axis = call.op.attributes["axis"]
    assert isinstance(axis, int)
    element = call.op.results[0].type.element
    assert isinstance(element, DType)
    x = np.abs(call.operand("x").astype(np.float64))
    if call.op.name == ops.REDUCE.name:
        magnitude = x.sum(axis=axis)
    elif call.op.attributes["reverse"]:
        magnitude = np.flip(np.cumsum(np.flip(x, axis), axis=axis), axis)
    else:
        magnitude = np.cumsum(x, axis=axis)
    relative = x.shape[axis] * _accumulator_epsilon(element) + 2.0**-element.mantissa_bits
    return np.asarray(relative * magnitude)


def _dot_leeway(call: EvaluationCall, result: np.ndarray) -> np.ndarray:
    a, b, acc = call.operand("a"), call.operand("b"), call.optional_operand("acc")
    magnitude = np.abs(a.astype(np.float64)) @ np.abs(b.astype(np.float64))
    if acc is not None:
        magnitude = magnitude + np.abs(acc.astype(np.float64))
    out, precision = call.op.results[0].type.element, call.op.attributes["input_precision"]
    assert isinstance(out, DType) and isinstance(precision, InputPrecision)
    relative = (a.shape[-1] + 1) * _accumulator_epsilon(out) + 2.0**-out.mantissa_bits
    leeway = (relative + 2 * _PRODUCT_EPSILON[precision]) * magnitude
    if precision is InputPrecision.INT8X2:
        # Rows of a are rounded by up to 2 ** -15 of their largest magnitude.
        largest = np.abs(a.astype(np.float64)).max(axis=-1, keepdims=True)
        leeway = leeway + 2.0**-15 * largest * np.abs(b.astype(np.float64)).sum(axis=-2, keepdims=True)
    return np.asarray(leeway)


# Which values are not exact


def _inexact_values(case: Case, function: Function) -> set[Value]:
    """The values that depend on an approximated result, through values or through memory."""
    approximate = {
        argument
        for argument, given in zip(function.body.arguments, case.inputs, strict=True)
        if isinstance(given, ArrayInput) and case.storages[given.storage].level is Level.APPROXIMATE
    }
    inexact: set[Value] = set()
    while True:
        before = len(inexact)
        for op in function.walk():
            if op.name not in _CONTROL and (_is_source(op) or any(v in inexact for v in op.operands)):
                inexact.update(op.results)
            if op.name == ops.LOAD.name and any(a in approximate for a in _origins(op.operand("pointer"))):
                inexact.update(op.results)
            _follow_regions(op, inexact)
        if len(inexact) == before:
            return inexact


def _is_source(op: Op) -> bool:
    if op.definition.is_exact or not any(is_float(result.type.element) for result in op.results):
        return False
    if op.name in (ops.REDUCE.name, ops.SCAN.name):
        return op.attributes["kind"] is ReduceKind.SUM
    if op.name in (ops.REDUCE_CUSTOM.name, ops.SCAN_CUSTOM.name):
        return region_is_inexact(op)
    return True


def _follow_regions(op: Op, inexact: set[Value]) -> None:
    """Carry inexactness into regions, around loops and out of branches."""
    if op.name in (ops.FOR.name, ops.WHILE.name):
        first = 1 if op.name == ops.FOR.name else 0
        yielded = op.regions[-1].terminator.operands
        for index, init in enumerate(op.operand_list("inits")):
            arguments = [region.arguments[index + first] for region in op.regions]
            if inexact & {init, yielded[index], *arguments}:
                inexact.update((op.results[index], *arguments))
    elif op.name == ops.IF.name:
        for index, result in enumerate(op.results):
            if any(region.terminator.operands[index] in inexact for region in op.regions):
                inexact.add(result)
    elif op.regions and any(result in inexact for result in op.results):
        for region in op.regions:
            inexact.update(region.arguments)


def _origins(pointer: Value) -> Iterator[Value]:
    """All values that a pointer may be made from."""
    seen: set[Value] = set()
    pending = [pointer]
    while pending:
        value = pending.pop()
        if value in seen:
            continue
        seen.add(value)
        yield value
        owner = value.owner
        if isinstance(owner, Op):
            pending += owner.operands
            pending += [v for region in owner.regions for v in region.terminator.operands]
        elif isinstance(owner, Block) and isinstance(owner.parent, Op):
            pending += owner.parent.operands
            pending += [v for region in owner.parent.regions for v in region.terminator.operands]
