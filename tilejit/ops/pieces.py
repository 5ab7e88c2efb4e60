"""Ops on parts of tiles that only passes make: no function of the language gives them.

Rows say how a combination of many elements is made of elementwise ops; words, how 64 bits are made of 32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tilejit.ir.opdef import AttributeKind, AttributeSpec, EvaluationCall, OpDef, TypeQuery
from tilejit.ir.types import INT32, INT64, UINT64, DType, Type
from tilejit.ops.type_rules import operand_specs, require, require_element, storage_dtype


def _int(query: TypeQuery | EvaluationCall, name: str) -> int:
    attributes = query.attributes if isinstance(query, TypeQuery) else query.op.attributes
    value = attributes[name]
    assert isinstance(value, int)
    return value


def _infer_rows(query: TypeQuery) -> tuple[Type, ...]:
    x, start, size, step = query.type("x"), *(_int(query, name) for name in ("start", "size", "step"))
    require(x.rank == 2, f"rows are those of a matrix; got {x}")
    last = start + (size - 1) * step
    require(0 <= start <= last < x.shape[0], f"rows {start} to {last} are not all in {x}")
    return (x.with_shape((size, x.shape[1])),)


def _evaluate_rows(call: EvaluationCall) -> Sequence[np.ndarray]:
    start, size, step = (_int(call, name) for name in ("start", "size", "step"))
    return (call.operand("x")[start : start + (size - 1) * step + 1 : step],)


ROWS = OpDef(
    name="rows",
    operands=operand_specs("x"),
    infer=_infer_rows,
    evaluate=_evaluate_rows,
    attributes=(
        AttributeSpec("start", AttributeKind.INT),
        AttributeSpec("size", AttributeKind.INT),
        AttributeSpec("step", AttributeKind.INT, default=1),
    ),
    summary="size rows of a matrix, from start on, step apart",
)


def _infer_stack(query: TypeQuery) -> tuple[Type, ...]:
    lhs, rhs = query.type("lhs"), query.type("rhs")
    alike = lhs.rank == rhs.rank == 2 and lhs.shape[1] == rhs.shape[1] and lhs.element == rhs.element
    require(alike, f"stacked matrices have rows of one length; got {lhs} and {rhs}")
    return (lhs.with_shape((lhs.shape[0] + rhs.shape[0], lhs.shape[1])),)


def _evaluate_stack(call: EvaluationCall) -> Sequence[np.ndarray]:
    return (np.concatenate((call.operand("lhs"), call.operand("rhs"))),)


STACK = OpDef(
    name="stack",
    operands=operand_specs("lhs", "rhs"),
    infer=_infer_stack,
    evaluate=_evaluate_stack,
    summary="the rows of lhs, then those of rhs",
)


def _infer_column(query: TypeQuery) -> tuple[Type, ...]:
    x = query.type("x")
    require(x.rank == 2, f"a column is one of a matrix; got {x}")
    return (x.with_shape(x.shape[:1]),)


def _evaluate_column(call: EvaluationCall) -> Sequence[np.ndarray]:
    return (np.asarray(call.operand("x")[:, 0]),)


COLUMN = OpDef(
    name="column",
    operands=operand_specs("x"),
    infer=_infer_column,
    evaluate=_evaluate_column,
    summary="the first element of each row",
)

_WIDE = (INT64, UINT64)


def _infer_word(query: TypeQuery) -> tuple[Type, ...]:
    x = query.type("x")
    require_element("word", x, _WIDE)
    require(_int(query, "number") in (0, 1), "64 bits have words 0 and 1")
    return (x.with_element(INT32),)


def _evaluate_word(call: EvaluationCall) -> Sequence[np.ndarray]:
    shifted = np.right_shift(call.operand("x"), call.operand("x").dtype.type(32 * _int(call, "number")))
    return (np.asarray(shifted).astype(np.int32),)


WORD = OpDef(
    name="word",
    operands=operand_specs("x"),
    infer=_infer_word,
    evaluate=_evaluate_word,
    attributes=(AttributeSpec("number", AttributeKind.INT),),
    summary="the lower (number=0) or upper 32 bits of integers of 64 bits",
)


def _infer_wide(query: TypeQuery) -> tuple[Type, ...]:
    low, high = query.type("low"), query.type("high")
    require_element("wide", low, (INT32,))
    require(low == high, f"words have one type; got {low} and {high}")
    element = query.attributes["dtype"]
    assert isinstance(element, DType)
    return (low.with_element(element),)


def _evaluate_wide(call: EvaluationCall) -> Sequence[np.ndarray]:
    low, high = call.operand("low"), call.operand("high")
    joined = high.astype(np.int64) * (1 << 32) + np.ascontiguousarray(low).view(np.uint32)
    return (joined.view(storage_dtype(call.op.results[0].type.element)),)


WIDE = OpDef(
    name="wide",
    operands=operand_specs("low", "high"),
    infer=_infer_wide,
    evaluate=_evaluate_wide,
    attributes=(AttributeSpec("dtype", AttributeKind.ELEMENT),),
    summary="integers of 64 bits from their words",
)

PIECE_OPS: tuple[OpDef, ...] = (ROWS, STACK, COLUMN, WORD, WIDE)
