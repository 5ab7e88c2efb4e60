"""Ops that combine elements of a tile: reductions, scans, matrix products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

import numpy as np

from tilejit.ir.core import Block
from tilejit.ir.opdef import AttributeKind, AttributeSpec, EvaluationCall, OpDef, TypeQuery, TypeRuleError
from tilejit.ir.types import BF16, FP16, FP32, FP64, INT8, INT32, UINT8, DType, TileType, Type
from tilejit.ops import numerics
from tilejit.ops.type_rules import (
    FP8S,
    INTEGERS_AND_BOOL,
    NUMBERS,
    axis_attribute,
    operand_specs,
    require,
    require_axis,
    require_block_arguments,
    require_element,
    require_yields,
    spell_dtypes,
)


class ReduceKind(Enum):
    """How ``reduce`` and ``scan`` combine two elements."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"
    XOR = "xor"
    AND = "and"
    OR = "or"


class InputPrecision(Enum):
    """The least precision in which ``dot`` may read its operands.

    INT8X2: where the first operand is fp32 and the second holds int8 or bf16 values, each row of the first
    may be rounded to 16 bits of fixed point, which is off by at most 2 ** -15 of its largest magnitude. Other
    operands, the same two the other way round among them, are read as they are.
    """

    IEEE = "ieee"
    TF32 = "tf32"
    TF32X3 = "tf32x3"
    BF16X3 = "bf16x3"
    BF16X6 = "bf16x6"
    INT8X2 = "int8x2"


_ARITHMETIC = (ReduceKind.SUM, ReduceKind.MAX, ReduceKind.MIN)
_UFUNCS: dict[ReduceKind, np.ufunc] = {
    ReduceKind.SUM: np.add,
    ReduceKind.MAX: np.fmax,
    ReduceKind.MIN: np.fmin,
    ReduceKind.XOR: np.bitwise_xor,
    ReduceKind.AND: np.bitwise_and,
    ReduceKind.OR: np.bitwise_or,
}
_KIND = AttributeSpec("kind", AttributeKind.ENUM, ReduceKind)
_REVERSE = AttributeSpec("reverse", AttributeKind.BOOL, default=False)


def _axis(attributes_of: TypeQuery | EvaluationCall) -> int:
    attributes = (
        attributes_of.attributes if isinstance(attributes_of, TypeQuery) else attributes_of.op.attributes
    )
    axis = attributes["axis"]
    assert isinstance(axis, int)
    return axis


def _check_kind(op: str, query: TypeQuery) -> TileType:
    x, kind = query.type("x"), query.attributes["kind"]
    assert isinstance(kind, ReduceKind)
    require_element(f"{op} {kind.value}", x, NUMBERS if kind in _ARITHMETIC else INTEGERS_AND_BOOL)
    require_axis(op, _axis(query), x)
    return x


def _infer_reduce(query: TypeQuery) -> tuple[Type, ...]:
    return (_without_axis(_check_kind("reduce", query), _axis(query)),)


def _without_axis(type: TileType, axis: int) -> TileType:
    return type.with_shape(type.shape[:axis] + type.shape[axis + 1 :])


def _combine_along_axis(
    call: EvaluationCall, ufunc_method: Callable[[np.ufunc, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Apply a method of the kind's ufunc; sums of floats below fp64 are taken in fp64 and rounded."""
    x, kind = call.operand("x"), call.op.attributes["kind"]
    assert isinstance(kind, ReduceKind)
    with np.errstate(all="ignore"):
        wide = numerics.widen(x)
        if kind is ReduceKind.SUM and wide.dtype == np.float32:
            wide = wide.astype(np.float64)
        return numerics.narrow(ufunc_method(_UFUNCS[kind], wide), x.dtype)


def _evaluate_reduce(call: EvaluationCall) -> Sequence[np.ndarray]:
    axis = _axis(call)
    return (
        _combine_along_axis(call, lambda ufunc, x: np.asarray(ufunc.reduce(x, axis=axis, dtype=x.dtype))),
    )


REDUCE = OpDef(
    name="reduce",
    operands=operand_specs("x"),
    infer=_infer_reduce,
    evaluate=_evaluate_reduce,
    attributes=(axis_attribute(), _KIND),
    is_exact=False,
    summary="combine all elements along an axis; float sums in any order, ints wrap, NaN loses in max, min",
)


def _infer_scan(query: TypeQuery) -> tuple[Type, ...]:
    return (_check_kind("scan", query),)


def _evaluate_scan(call: EvaluationCall) -> Sequence[np.ndarray]:
    axis, reverse = _axis(call), bool(call.op.attributes["reverse"])

    def accumulate(ufunc: np.ufunc, x: np.ndarray) -> np.ndarray:
        ordered = np.flip(x, axis) if reverse else x
        running = np.asarray(ufunc.accumulate(ordered, axis=axis, dtype=x.dtype))
        return np.flip(running, axis) if reverse else running

    return (_combine_along_axis(call, accumulate),)


SCAN = OpDef(
    name="scan",
    operands=operand_specs("x"),
    infer=_infer_scan,
    evaluate=_evaluate_scan,
    attributes=(axis_attribute(), _KIND, _REVERSE),
    is_exact=False,
    summary="combine each element with all before it along an axis, or all after it in reverse",
)


def _check_custom(op: str, query: TypeQuery) -> tuple[TileType, ...]:
    inputs = query.types("x")
    require(bool(inputs), f"{op} needs at least one tile; got none")
    for other in inputs[1:]:
        require(
            other.shape == inputs[0].shape,
            f"{op} needs tiles of one shape; got {inputs[0]} and {other}",
        )
    require_axis(op, _axis(query), inputs[0])
    scalars = [TileType(x.element) for x in inputs]
    require_block_arguments(op, "combine", query.regions[0], [*scalars, *scalars])
    require_yields(op, "combine", query.regions[0], scalars)
    return inputs


def _infer_reduce_custom(query: TypeQuery) -> tuple[Type, ...]:
    return tuple(_without_axis(x, _axis(query)) for x in _check_custom("reduce_custom", query))


def _infer_scan_custom(query: TypeQuery) -> tuple[Type, ...]:
    return _check_custom("scan_custom", query)


Slices = list[np.ndarray]


def _running_combinations(call: EvaluationCall, reverse: bool) -> list[Slices]:
    """Return for each index along the axis the combination of all elements up to it, axis removed."""
    axis = _axis(call)
    inputs = [np.moveaxis(x, axis, 0) for x in call.operand_list("x")]
    if reverse:
        inputs = [x[::-1] for x in inputs]
    combine = _combiner(call)
    running: list[Slices] = [[np.asarray(x[0]) for x in inputs]]
    for index in range(1, inputs[0].shape[0]):
        running.append(combine(running[-1], [np.asarray(x[index]) for x in inputs]))
    return running


def _combiner(call: EvaluationCall) -> Callable[[Slices, Slices], Slices]:
    """Return a function that runs the region on two lists of arrays, all lanes at once where it can."""
    block = call.op.regions[0]
    if _works_on_arrays(block):

        def combine(left: Slices, right: Slices) -> Slices:
            results = call.context.run_block(block, [*left, *right])
            return [np.broadcast_to(r, x.shape) for r, x in zip(results, left, strict=True)]

        return combine

    def combine_each(left: Slices, right: Slices) -> Slices:
        results = [np.empty(x.shape, x.dtype) for x in left]
        for lane in np.ndindex(left[0].shape):
            scalars = [np.asarray(x[lane]) for x in (*left, *right)]
            for result, value in zip(results, call.context.run_block(block, scalars), strict=True):
                result[lane] = value
        return results

    return combine_each


def _works_on_arrays(block: Block) -> bool:
    """Tell whether the scalar code of ``block`` means the same on arrays, element by element."""
    return all(
        op.definition.is_elementwise or op.definition.is_terminator or not op.operands for op in block.ops
    )


def _evaluate_reduce_custom(call: EvaluationCall) -> Sequence[np.ndarray]:
    return tuple(_running_combinations(call, reverse=False)[-1])


def _evaluate_scan_custom(call: EvaluationCall) -> Sequence[np.ndarray]:
    axis, reverse = _axis(call), bool(call.op.attributes["reverse"])
    running = _running_combinations(call, reverse)
    if reverse:
        running.reverse()
    return tuple(np.stack(slices, axis=axis) for slices in zip(*running, strict=True))


REDUCE_CUSTOM = OpDef(
    name="reduce_custom",
    operands=operand_specs("x*"),
    infer=_infer_reduce_custom,
    evaluate=_evaluate_reduce_custom,
    attributes=(axis_attribute(),),
    regions=("combine",),
    is_exact=False,
    summary="combine the elements of n tiles along an axis with a region that is assumed to be associative: "
    "(n left scalars, n right scalars) -> n scalars",
)
SCAN_CUSTOM = OpDef(
    name="scan_custom",
    operands=operand_specs("x*"),
    infer=_infer_scan_custom,
    evaluate=_evaluate_scan_custom,
    attributes=(axis_attribute(), _REVERSE),
    regions=("combine",),
    is_exact=False,
    summary="running combinations of n tiles along an axis, with a region as in reduce_custom",
)

_DOT_OPERANDS: tuple[DType, ...] = (INT8, UINT8, *FP8S, FP16, BF16, FP32, FP64)


def _dot_results(element: DType) -> tuple[DType, ...]:
    """Return the legal result types of a product of ``element``, the usual one first."""
    if element.is_int():
        return (INT32,)
    if element == FP64:
        return (FP64,)
    return (FP32, FP16) if element == FP16 or element.is_fp8() else (FP32,)


def _infer_dot(query: TypeQuery) -> tuple[Type, ...]:
    a, b, out = query.type("a"), query.type("b"), query.attributes["out_dtype"]
    for operand in (a, b):
        require_element("dot", operand, _DOT_OPERANDS)
    left, right = a.element, b.element
    assert isinstance(left, DType) and isinstance(right, DType)
    alike = left == right or (left.is_fp8() and right.is_fp8())
    require(alike, f"dot needs operands of one element type; got {a} and {b}")
    if not isinstance(out, DType) or out not in _dot_results(left):
        raise TypeRuleError(f"dot of {left} gives {spell_dtypes(_dot_results(left))}; got out_dtype {out}")
    require(
        a.rank == b.rank and a.rank in (2, 3),
        f"dot needs two tiles with 2 dimensions, or 3 with a leading batch; got {a} and {b}",
    )
    require(a.shape[:-2] == b.shape[:-2], f"dot needs operands of one batch size; got {a} and {b}")
    require(
        a.shape[-1] == b.shape[-2],
        f"dot needs as many columns in a as rows in b; got {a.shape[-1]} and {b.shape[-2]} in {a} and {b}",
    )
    result = TileType(out, (*a.shape[:-1], b.shape[-1]))
    acc = query.optional_type("acc")
    require(acc in (None, result), f"acc of dot must be {result}, as the result is; got {acc}")
    return (result,)


def _evaluate_dot(call: EvaluationCall) -> Sequence[np.ndarray]:
    a, b, acc = call.operand("a"), call.operand("b"), call.optional_operand("acc")
    out = call.op.results[0].type.element
    assert isinstance(out, DType)
    # Products of fp32 and smaller floats are exact in fp64; those of int8 and their sums wrap in int32.
    compute = np.int32 if out.is_int() else np.float64
    with np.errstate(all="ignore"):
        total = np.matmul(numerics.widen(a).astype(compute), numerics.widen(b).astype(compute))
        if acc is not None:
            total = total + numerics.widen(acc).astype(compute)
        return (numerics.narrow(total, out.numpy),)


DOT = OpDef(
    name="dot",
    operands=operand_specs("a", "b", "acc?"),
    infer=_infer_dot,
    evaluate=_evaluate_dot,
    attributes=(
        AttributeSpec("input_precision", AttributeKind.ENUM, InputPrecision, InputPrecision.IEEE),
        AttributeSpec("out_dtype", AttributeKind.ELEMENT),
    ),
    is_exact=False,
    summary="a @ b + acc for [M, K] and [K, N], or batches of them; int8 sums wrap in int32, floats sum in "
    "fp32 or better and round to out_dtype",
)

REDUCE_OPS: tuple[OpDef, ...] = (REDUCE, REDUCE_CUSTOM, SCAN, SCAN_CUSTOM, DOT)
