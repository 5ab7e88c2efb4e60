"""Ops that make tiles and move their elements without computing on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tilejit.ir.opdef import AttributeKind, AttributeSpec, EvaluationCall, OpDef, TypeQuery, TypeRuleError
from tilejit.ir.types import INT32, DType, Element, PointerType, TileType, Type, product
from tilejit.ops import numerics
from tilejit.ops.type_rules import (
    operand_specs,
    require,
    require_same_type,
    require_shape,
    storage_dtype,
)

_SHAPE = AttributeSpec("shape", AttributeKind.INTS)


def _ints(query: TypeQuery, name: str) -> tuple[int, ...]:
    value = query.attributes[name]
    assert isinstance(value, tuple)
    return value


def _result_shape(call: EvaluationCall) -> tuple[int, ...]:
    return call.op.results[0].type.shape


def _infer_constant(query: TypeQuery) -> tuple[Type, ...]:
    value, element = query.attributes["value"], query.attributes["dtype"]
    if not isinstance(element, DType | PointerType):
        raise TypeRuleError(f"constant needs an element type; got {element}")
    if isinstance(element, DType) and element.is_floating():
        fits = isinstance(value, int | float)
    elif isinstance(element, DType):
        fits = isinstance(value, int) and element.min_value <= value <= element.max_value
    else:
        fits = isinstance(value, int) and not isinstance(value, bool)
    require(fits, f"a constant of type {element} cannot hold {value!r}")
    return (TileType(element),)


def _evaluate_constant(call: EvaluationCall) -> Sequence[np.ndarray]:
    element, value = call.op.results[0].type.element, call.op.attributes["value"]
    assert isinstance(value, int | float)
    return (constant_array(element, value),)


def constant_array(element: Element, value: int | float) -> np.ndarray:
    """Return ``value`` as a 0-d array; small floats are rounded through fp32 as by ``cast``."""
    dtype = storage_dtype(element)
    with np.errstate(all="ignore"):
        if isinstance(element, DType) and element.is_floating():
            return numerics.narrow(np.asarray(float(value), np.float64), dtype)
        return np.asarray(value, dtype)


CONSTANT = OpDef(
    name="constant",
    operands=(),
    infer=_infer_constant,
    evaluate=_evaluate_constant,
    attributes=(
        AttributeSpec("value", AttributeKind.NUMBER),
        AttributeSpec("dtype", AttributeKind.ELEMENT),
    ),
    summary="a scalar known at compile time",
)


def _infer_arange(query: TypeQuery) -> tuple[Type, ...]:
    start, end = query.attributes["start"], query.attributes["end"]
    assert isinstance(start, int) and isinstance(end, int)
    require(end > start, f"arange needs an end greater than its start; got start {start} and end {end}")
    fits = start >= INT32.min_value and end <= INT32.max_value
    require(fits, f"arange gives int32 numbers; got start {start} and end {end}")
    return (TileType(INT32, require_shape("arange", (end - start,))),)


def _evaluate_arange(call: EvaluationCall) -> Sequence[np.ndarray]:
    start, end = call.op.attributes["start"], call.op.attributes["end"]
    assert isinstance(start, int) and isinstance(end, int)
    return (np.arange(start, end, dtype=np.int32),)


ARANGE = OpDef(
    name="arange",
    operands=(),
    infer=_infer_arange,
    evaluate=_evaluate_arange,
    attributes=(AttributeSpec("start", AttributeKind.INT), AttributeSpec("end", AttributeKind.INT)),
    summary="the int32 numbers from start up to end, without end",
)


def _infer_splat(query: TypeQuery) -> tuple[Type, ...]:
    x, shape = query.type("x"), require_shape("splat", _ints(query, "shape"))
    require(x.is_scalar, f"splat needs a scalar; got {x}")
    require(bool(shape), "splat needs a shape with at least one dimension; got ()")
    return (x.with_shape(shape),)


def _evaluate_broadcast(call: EvaluationCall) -> Sequence[np.ndarray]:
    return (np.broadcast_to(call.operand("x"), _result_shape(call)),)


SPLAT = OpDef(
    name="splat",
    operands=operand_specs("x"),
    infer=_infer_splat,
    evaluate=_evaluate_broadcast,
    attributes=(_SHAPE,),
    summary="a tile whose elements all are the scalar x",
)


def _infer_broadcast(query: TypeQuery) -> tuple[Type, ...]:
    x, shape = query.type("x"), require_shape("broadcast", _ints(query, "shape"))
    require(x.rank == len(shape), f"broadcast keeps the number of dimensions; got {x} and shape {shape}")
    for have, want in zip(x.shape, shape, strict=True):
        require(have in (1, want), f"broadcast expands dimensions of size 1 only; got {x} and shape {shape}")
    return (x.with_shape(shape),)


BROADCAST = OpDef(
    name="broadcast",
    operands=operand_specs("x"),
    infer=_infer_broadcast,
    evaluate=_evaluate_broadcast,
    attributes=(_SHAPE,),
    summary="x with its dimensions of size 1 repeated",
)


def _infer_reshape(query: TypeQuery) -> tuple[Type, ...]:
    x, shape = query.type("x"), require_shape("reshape", _ints(query, "shape"))
    require(
        x.size == product(shape),
        f"reshape keeps the number of elements; {x} has {x.size}, shape {shape} has {product(shape)}",
    )
    return (x.with_shape(shape),)


def _evaluate_reshape(call: EvaluationCall) -> Sequence[np.ndarray]:
    return (call.operand("x").reshape(_result_shape(call)),)


RESHAPE = OpDef(
    name="reshape",
    operands=operand_specs("x"),
    infer=_infer_reshape,
    evaluate=_evaluate_reshape,
    attributes=(_SHAPE,),
    summary="the elements of x in row-major order under another shape; also between a scalar and one element",
)


def _infer_transpose(query: TypeQuery) -> tuple[Type, ...]:
    x, order = query.type("x"), _ints(query, "order")
    is_permutation = sorted(order) == list(range(x.rank))
    require(
        is_permutation,
        f"transpose needs each dimension of {x} once in its order; got {order}",
    )
    return (x.with_shape(x.shape[dimension] for dimension in order),)


def _evaluate_transpose(call: EvaluationCall) -> Sequence[np.ndarray]:
    order = call.op.attributes["order"]
    assert isinstance(order, tuple)
    return (np.transpose(call.operand("x"), order),)


TRANSPOSE = OpDef(
    name="transpose",
    operands=operand_specs("x"),
    infer=_infer_transpose,
    evaluate=_evaluate_transpose,
    attributes=(AttributeSpec("order", AttributeKind.INTS),),
    summary="x with its dimensions reordered: dimension i of the result is dimension order[i] of x",
)


def _infer_join(query: TypeQuery) -> tuple[Type, ...]:
    joined = require_same_type("join", ("lhs", "rhs"), (query.type("lhs"), query.type("rhs")))
    return (joined.with_shape((*joined.shape, 2)),)


def _evaluate_join(call: EvaluationCall) -> Sequence[np.ndarray]:
    return (np.stack((call.operand("lhs"), call.operand("rhs")), axis=-1),)


JOIN = OpDef(
    name="join",
    operands=operand_specs("lhs", "rhs"),
    infer=_infer_join,
    evaluate=_evaluate_join,
    summary="lhs and rhs side by side in a new last dimension of size 2",
)


def _infer_split(query: TypeQuery) -> tuple[Type, ...]:
    x = query.type("x")
    require(bool(x.shape) and x.shape[-1] == 2, f"split needs a last dimension of size 2; got {x}")
    half = x.with_shape(x.shape[:-1])
    return (half, half)


def _evaluate_split(call: EvaluationCall) -> Sequence[np.ndarray]:
    x = call.operand("x")
    return (np.asarray(x[..., 0]), np.asarray(x[..., 1]))


SPLIT = OpDef(
    name="split",
    operands=operand_specs("x"),
    infer=_infer_split,
    evaluate=_evaluate_split,
    summary="the two halves of a tile whose last dimension has size 2",
)

SHAPE_OPS: tuple[OpDef, ...] = (CONSTANT, ARANGE, SPLAT, BROADCAST, RESHAPE, TRANSPOSE, JOIN, SPLIT)


def reshape_dims(source: tuple[int, ...], target: tuple[int, ...]) -> list[int | None] | None:
    """Map each target dim to the source dim it shows, where a reshape only adds or drops dims of size 1.

    Target dims of size 1 map to None. Returns None where the reshape regroups elements.
    """
    kept = [d for d, size in enumerate(source) if size != 1]
    if [source[d] for d in kept] != [size for size in target if size != 1]:
        return None
    remaining = iter(kept)
    return [None if size == 1 else next(remaining) for size in target]
