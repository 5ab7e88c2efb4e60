"""Control flow, the place of a program in its grid, and ops that speak to the user."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tilejit.ir.core import Op
from tilejit.ir.opdef import AttributeKind, AttributeSpec, Effects, EvaluationCall, OpDef, TypeQuery
from tilejit.ir.types import INT1, INT32, INT64, TileType, Type
from tilejit.ops.type_rules import (
    axis_attribute,
    nothing_rule,
    operand_specs,
    require,
    require_block_arguments,
    require_element,
    require_mask,
    require_same_type,
    require_scalar,
    require_yields,
    yielded_types,
)


def _grid_op(name: str, ask: Callable[[EvaluationCall, int], int], summary: str) -> OpDef:
    def infer(query: TypeQuery) -> tuple[Type, ...]:
        axis = query.attributes["axis"]
        require(axis in (0, 1, 2), f"{name}: axis must be 0, 1 or 2; got {axis}")
        return (TileType(INT32),)

    def evaluate(call: EvaluationCall) -> Sequence[np.ndarray]:
        axis = call.op.attributes["axis"]
        assert isinstance(axis, int)
        return (np.asarray(ask(call, axis), np.int32),)

    return OpDef(name, (), infer, evaluate, (axis_attribute(),), summary=summary)


PROGRAM_ID = _grid_op(
    "program_id",
    lambda call, axis: call.context.program_id(axis),
    "index of this program along an axis of the grid",
)
NUM_PROGRAMS = _grid_op(
    "num_programs", lambda call, axis: call.context.num_programs(axis), "size of the grid along an axis"
)


def _infer_for(query: TypeQuery) -> tuple[Type, ...]:
    names = ("lower", "upper", "step")
    bounds = [query.type(name) for name in names]
    for name, bound in zip(names, bounds, strict=True):
        require_scalar("for", name, bound, (INT32, INT64))
    index = require_same_type("for", names, bounds)
    inits = query.types("inits")
    require_block_arguments("for", "body", query.regions[0], (index, *inits))
    require_yields("for", "body", query.regions[0], inits)
    return inits


def _evaluate_for(call: EvaluationCall) -> Sequence[np.ndarray]:
    lower, upper, step = (int(call.operand(name)) for name in ("lower", "upper", "step"))
    dtype = call.operand("lower").dtype
    if step == 0:
        call.context.fail(call.op, "the step of a for loop is 0")
    carried = call.operand_list("inits")
    for index in range(lower, upper, step):
        carried = tuple(call.context.run_block(call.op.regions[0], [np.asarray(index, dtype), *carried]))
    return carried


FOR = OpDef(
    name="for",
    operands=operand_specs("lower", "upper", "step", "inits*"),
    infer=_infer_for,
    evaluate=_evaluate_for,
    regions=("body",),
    summary="run body for each index of range(lower, upper, step) with carried values; step is never 0",
)


def _infer_while(query: TypeQuery) -> tuple[Type, ...]:
    inits = query.types("inits")
    condition, body = query.regions
    require_block_arguments("while", "condition", condition, inits)
    require_yields("while", "condition", condition, (TileType(INT1),))
    require_block_arguments("while", "body", body, inits)
    require_yields("while", "body", body, inits)
    return inits


def _evaluate_while(call: EvaluationCall) -> Sequence[np.ndarray]:
    condition, body = call.op.regions
    carried = call.operand_list("inits")
    while bool(call.context.run_block(condition, carried)[0]):
        carried = tuple(call.context.run_block(body, carried))
    return carried


WHILE = OpDef(
    name="while",
    operands=operand_specs("inits*"),
    infer=_infer_while,
    evaluate=_evaluate_while,
    regions=("condition", "body"),
    summary="run body as long as condition yields true, with carried values; both take all of them",
)


def _infer_if(query: TypeQuery) -> tuple[Type, ...]:
    require_scalar("if", "condition", query.type("condition"), (INT1,))
    then, other = query.regions
    results = yielded_types("if", "then", then)
    require_block_arguments("if", "then", then, ())
    require_block_arguments("if", "else", other, ())
    require_yields("if", "else", other, results)
    return results


def _evaluate_if(call: EvaluationCall) -> Sequence[np.ndarray]:
    then, other = call.op.regions
    return call.context.run_block(then if bool(call.operand("condition")) else other, ())


IF = OpDef(
    name="if",
    operands=operand_specs("condition"),
    infer=_infer_if,
    evaluate=_evaluate_if,
    regions=("then", "else"),
    summary="run one of two regions and give what it yields",
)


def _evaluate_nothing(call: EvaluationCall) -> Sequence[np.ndarray]:
    return ()


YIELD = OpDef(
    name="yield",
    operands=operand_specs("values*"),
    infer=nothing_rule,
    evaluate=_evaluate_nothing,
    is_terminator=True,
    summary="end a region and hand values to the op that holds it",
)
RETURN = OpDef(
    name="return",
    operands=(),
    infer=nothing_rule,
    evaluate=_evaluate_nothing,
    is_terminator=True,
    summary="end the kernel",
)


def _infer_device_assert(query: TypeQuery) -> tuple[Type, ...]:
    condition = query.type("condition")
    require_element("device_assert", condition, (INT1,))
    require_mask("device_assert", query.optional_type("mask"), condition.shape, "the condition")
    return ()


def _evaluate_device_assert(call: EvaluationCall) -> Sequence[np.ndarray]:
    failed, mask = ~call.operand("condition"), call.optional_operand("mask")
    if mask is not None:
        failed = failed & mask
    if failed.any():
        call.context.fail(call.op, str(call.op.attributes["message"]))
    return ()


DEVICE_ASSERT = OpDef(
    name="device_assert",
    operands=operand_specs("condition", "mask?"),
    infer=_infer_device_assert,
    evaluate=_evaluate_device_assert,
    attributes=(AttributeSpec("message", AttributeKind.STRING),),
    effects=Effects.IO,
    summary="fail with a message where condition is false in any lane that the mask lets through",
)


def _evaluate_device_print(call: EvaluationCall) -> Sequence[np.ndarray]:
    for line in printed_lines(call.op, call.operand_list("values")):
        call.context.emit(call.op, line)
    return ()


def printed_lines(op: Op, values: Sequence[np.ndarray]) -> list[str]:
    """What a device_print says of its values: one line each, the prefix alone where there are none."""
    prefix, in_hex = str(op.attributes["prefix"]), bool(op.attributes["hex"])
    return [f"{prefix}{_spell(value, in_hex)}" for value in values] or [prefix]


def _spell(value: np.ndarray, in_hex: bool) -> str:
    if not in_hex:
        return str(value)
    digits = 2 * value.dtype.itemsize
    bits = np.ascontiguousarray(value).view(f"u{value.dtype.itemsize}").reshape(value.shape)
    return np.array2string(bits, formatter={"int": lambda number: f"0x{int(number):0{digits}x}"})


DEVICE_PRINT = OpDef(
    name="device_print",
    operands=operand_specs("values*"),
    infer=nothing_rule,
    evaluate=_evaluate_device_print,
    attributes=(
        AttributeSpec("prefix", AttributeKind.STRING),
        AttributeSpec("hex", AttributeKind.BOOL, default=False),
    ),
    effects=Effects.IO,
    summary="print a text and values while the kernel runs",
)

CONTROL_OPS: tuple[OpDef, ...] = (
    PROGRAM_ID, NUM_PROGRAMS, FOR, WHILE, IF, YIELD, RETURN, DEVICE_ASSERT, DEVICE_PRINT,
)  # fmt: skip
