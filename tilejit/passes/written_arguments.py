"""Which pointer arguments a function stores through.

A store may go to everything its pointer can be made from: address arithmetic is followed back through
operands, selections, branches and loops to the function's arguments. Loads end the search: what they read is
data.
"""

from __future__ import annotations

from tilejit.diagnostics import Location
from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.opdef import Effects
from tilejit.ops.control import FOR, IF, WHILE


def written_arguments(function: Function) -> dict[str, Location | None]:
    """The names of the pointer arguments that may be stored to, each with the first place that does."""
    written: dict[str, Location | None] = {}
    for op in function.walk():
        if op.regions or Effects.WRITE not in op.effects or not op.operands:
            continue
        for index in sorted(_source_arguments(op.operand("pointer"), function)):
            written.setdefault(function.arguments[index].name, op.location)
    return written


def _source_arguments(pointer: Value, function: Function) -> set[int]:
    """Indices of the function arguments that the value is computed from."""
    found: set[int] = set()
    seen: set[Value] = set()
    todo = [pointer]
    while todo:
        value = todo.pop()
        if value in seen:
            continue
        seen.add(value)
        if value.owner is function.body:
            if isinstance(value.owner, Block) and _is_pointer(value):
                found.add(value.index)
            continue
        todo += _made_from(value)
    return found


def _is_pointer(value: Value) -> bool:
    return value.type.element.is_ptr()


def _made_from(value: Value) -> list[Value]:
    owner = value.owner
    if isinstance(owner, Op):
        if Effects.READ in owner.definition.effects:
            return []
        return _made_by_control(owner, value.index) if owner.regions else list(owner.operands)
    loop = owner.parent
    if not isinstance(loop, Op) or loop.name not in (FOR.name, WHILE.name):
        return []
    carried = value.index - (1 if loop.name == FOR.name else 0)  # a for loop's body takes the counter first
    return _made_by_control(loop, carried) if carried >= 0 else []


def _made_by_control(op: Op, index: int) -> list[Value]:
    """What one result of a loop or branch, or one value that a loop carries, is made from."""
    if op.name in (FOR.name, WHILE.name):
        return [op.operand_list("inits")[index], op.regions[-1].terminator.operands[index]]
    if op.name == IF.name:
        return [region.terminator.operands[index] for region in op.regions]
    return list(op.operands)
