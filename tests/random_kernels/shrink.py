"""Makes a failing kernel smaller while it goes on failing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from tilejit import ops
from tilejit.diagnostics import TilejitError
from tilejit.ir.core import Block, Builder, Function, Op, Value
from tilejit.ir.opdef import TypeRuleError
from tilejit.ir.rewrite import clone_function
from tilejit.ir.types import DType
from tilejit.passes.dead_code import remove_dead

from .case import Case
from .check import find_problem, simplified
from .machines import interpret

MOST_TRIALS = 1500

Change = Callable[[Function], bool]
"""Changes a function in place; returns whether there was anything to change."""


def shrink(case: Case, fails: Callable[[Case], bool] | None = None) -> Case:
    """A smaller case that fails too; ``fails`` tells, by default by comparing in a child process."""
    fails = fails or fails_in_child
    trials = 0
    changed = True
    while changed and trials < MOST_TRIALS:
        changed = False
        for candidate in _candidates(case):
            trials += 1
            if trials >= MOST_TRIALS:
                break
            if fails(candidate):
                case, changed = candidate, True
                break
    return without_unused_arguments(case)


def fails_in_child(case: Case) -> bool:
    """Whether the case is a valid one that shows a problem; a crash is a problem."""
    return in_child(lambda: _fails(case))


def in_child(question: Callable[[], bool]) -> bool:
    """The answer of a child process: true where it crashes, false where it raises."""
    child = os.fork()
    if child == 0:
        answer = False
        try:
            answer = question()
        finally:
            os._exit(int(answer))
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 1


def _fails(case: Case) -> bool:
    interpret(case, case.function)  # what raises here is no valid case
    try:
        return find_problem(case) is not None
    except Exception:
        return True


def _candidates(case: Case) -> Iterator[Case]:
    """Cases that are one step smaller, large steps first."""
    yield from _with_function(case, _simplify)
    if case.grid != (1, 1, 1):
        yield replace(case, grid=(1, 1, 1), function=clone_function(case.function))
    count = sum(1 for _ in case.function.walk())
    for change in (_remove, _flatten, _zero, _forward, _drop_optional):
        for position in reversed(range(count)):
            yield from _with_function(case, _at(position, change))


def _at(position: int, change: Callable[[Op | None], bool]) -> Change:
    return lambda function: change(_op_at(function, position))


def _simplify(function: Function) -> bool:
    before = sum(1 for _ in function.walk())
    function.body = simplified(function).body
    function.body.parent = function
    return sum(1 for _ in function.walk()) < before


def _with_function(case: Case, change: Change) -> Iterator[Case]:
    function = clone_function(case.function)
    try:
        if not change(function):
            return
        remove_dead(function)
    except (TypeRuleError, TilejitError, ValueError, KeyError):
        return
    yield replace(case, function=function)


def _op_at(function: Function, position: int) -> Op | None:
    for index, op in enumerate(function.walk()):
        if index == position:
            return op
    return None


def _remove(op: Op | None) -> bool:
    """Remove an op whose results nobody uses."""
    if op is None or op.definition.is_terminator or any(result.use_count for result in op.results):
        return False
    if op.definition.effects.is_pure and not op.regions:
        return False
    op.erase()
    return True


def _flatten(op: Op | None) -> bool:
    """Let initial values pass for the results of a loop, or one side take the place of a branch."""
    if op is None or op.name not in (ops.FOR.name, ops.WHILE.name, ops.IF.name):
        return False
    if op.name == ops.IF.name:
        values = _inline(op.regions[0], op, ())
    elif op.name == ops.FOR.name and op.regions[0].ops[:-1]:
        values = _inline(op.regions[0], op, (op.operand("lower"), *op.operand_list("inits")))
    else:
        values = op.operand_list("inits")
    for result, value in zip(op.results, values, strict=True):
        result.replace_all_uses_with(value)
    op.regions = () if op.name != ops.WHILE.name else op.regions
    op.erase()
    return True


def _inline(block: Block, anchor: Op, arguments: Sequence[Value]) -> tuple[Value, ...]:
    """Move the ops of ``block`` in front of ``anchor``, ``arguments`` in the place of its own.

    Returns what its terminator passed on. ``block`` is empty afterwards.
    """
    for parameter, value in zip(block.arguments, arguments, strict=True):
        parameter.replace_all_uses_with(value)
    terminator = block.terminator
    passed_on = terminator.operands
    terminator.erase()
    moved, block.ops = block.ops, []
    assert anchor.parent is not None
    for op in moved:
        anchor.parent.insert_before(anchor, op)
    return passed_on


def _zero(op: Op | None) -> bool:
    """Let zeros pass for the results of an op."""
    if op is None or op.name in (ops.CONSTANT.name, ops.SPLAT.name) or op.parent is None:
        return False
    changed = False
    for result in op.results:
        if not result.use_count or not isinstance(result.type.element, DType):
            continue
        result.replace_all_uses_with(_zero_like(result, op))
        changed = True
    return changed


def _zero_like(value: Value, before: Op) -> Value:
    block = before.parent
    assert isinstance(block, Block)
    builder = Builder(block, before)
    element = value.type.element
    assert isinstance(element, DType)
    number: int | float = 0.0 if element.is_floating() else False if element.is_bool() else 0
    zero = builder.create(ops.CONSTANT, attributes={"value": number, "dtype": element}).result
    if value.type.shape:
        zero = builder.create(ops.SPLAT, attributes={"shape": value.type.shape}, x=zero).result
    return zero


def _forward(op: Op | None) -> bool:
    """Let an operand of the same type pass for the result of an op."""
    if op is None or len(op.results) != 1 or not op.result.use_count or op.regions:
        return False
    for operand in op.operands:
        if operand.type == op.result.type:
            op.result.replace_all_uses_with(operand)
            return True
    return False


def _drop_optional(op: Op | None) -> bool:
    """Drop a mask, and what depends on it."""
    if op is None or op.parent is None:
        return False
    operands = dict(op.named_operands())
    if not operands.get("mask"):
        return False
    del operands["mask"]
    operands.pop("other", None)
    new = Op(op.definition, operands, op.attributes, (), op.location)
    op.parent.insert_before(op, new)
    for result, value in zip(op.results, new.results, strict=True):
        result.replace_all_uses_with(value)
    op.erase()
    return True


def without_unused_arguments(case: Case) -> Case:
    """The case without the arguments that its function does not use."""
    function = clone_function(case.function)
    used = [index for index, value in enumerate(function.body.arguments) if value.use_count]
    arguments = [function.body.arguments[index] for index in used]
    for index, value in enumerate(arguments):
        value.index = index
    function.body.arguments = arguments
    function.arguments = [function.arguments[index] for index in used]
    return replace(case, function=function, inputs=[case.inputs[index] for index in used])
