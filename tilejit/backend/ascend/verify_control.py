"""Whether all cores take the same way to the cross-core flags of a mixed kernel.

Both cores of a kernel count the same flags; a bound or a condition that differs between them leaves one
waiting. It may depend on the launch's arguments, on the loops around, and on memory that the kernel never
writes; not on which of the two AIVs runs, nor on memory that is written while the kernel runs.
"""

from __future__ import annotations

from collections.abc import Iterator

from tilejit.ir.core import ArgumentSource, Block, Function, Op, Value
from tilejit.ir.machine import MachineKernel
from tilejit.ops import FOR, IF, LOAD, STORE, WHILE
from tilejit.ops.machine.buffer import SUB_BLOCK_INDEX
from tilejit.ops.machine.sync import CROSS_SET, CROSS_WAIT


def uneven_control(kernel: MachineKernel) -> Iterator[tuple[str, Op]]:
    """What decides over a cross-core flag and may differ between cores, with the op that it decides over."""
    written = {name for function in kernel.functions.values() for name in _written_arguments(function)}
    for function in kernel.functions.values():
        names = dict(zip(function.body.arguments, function.arguments, strict=True))
        for op in function.walk():
            if op.name not in (CROSS_SET.name, CROSS_WAIT.name):
                continue
            for source in _deciders(op):
                if source.name == SUB_BLOCK_INDEX.name:
                    yield "which of the two AIVs runs decides over a cross-core flag", op
                if source.name != LOAD.name:
                    continue
                root = root_of(source.operand("pointer"))
                argument = names.get(root) if root is not None else None
                if (
                    argument is None
                    or argument.source is not ArgumentSource.VALUE
                    or argument.name in written
                ):
                    yield "a scalar from memory that the kernel writes decides over a cross-core flag", op


def root_of(pointer: Value) -> Value | None:
    """The argument or the buffer op's result that a pointer is made from; None where it cannot be told."""
    while True:
        op = pointer.defining_op
        if op is None:
            holder = pointer.owner.parent if isinstance(pointer.owner, Block) else None
            if not isinstance(holder, Op):
                return pointer
            position = pointer.index - (1 if holder.name == FOR.name else 0)
            if position < 0:
                return None
            pointer = holder.operand_list("inits")[position]
            continue
        if op.regions or not op.operands:
            return None if op.regions else pointer
        sources = [value for value in op.operands if value.type.element.is_ptr()] or op.operands[:1]
        if len(sources) != 1:
            return None  # a select
        (pointer,) = sources


def _written_arguments(function: Function) -> Iterator[str]:
    names = dict(zip(function.body.arguments, function.arguments, strict=True))
    for op in function.walk():
        facts = op.definition.machine
        pointers = facts.writes if facts is not None else ("pointer",) if op.name == STORE.name else ()
        for name in pointers:
            root = root_of(op.operand(name))
            if root is not None and root in names:
                yield names[root].name


def _deciders(op: Op) -> Iterator[Op]:
    """The ops whose results decide whether ``op`` runs, and how often."""
    pending: list[Value] = []
    block = op.parent
    while block is not None and isinstance(block.parent, Op):
        holder = block.parent
        if holder.name == IF.name:
            pending.append(holder.operand("condition"))
        elif holder.name == WHILE.name:
            pending += holder.regions[0].terminator.operands
        else:
            pending += [holder.operand(name) for name in ("lower", "upper", "step")]
        block = holder.parent
    seen: set[Value] = set()
    while pending:
        value = pending.pop()
        if value in seen:
            continue
        seen.add(value)
        if value.defining_op is not None:
            yield value.defining_op
        pending += _made_from(value)


def _made_from(value: Value) -> list[Value]:
    """What a value depends on; of branches and loops, what this one of their values is made of."""
    source = value.defining_op
    if source is None:
        holder = value.owner.parent if isinstance(value.owner, Block) else None
        if not isinstance(holder, Op):
            return []
        source, index = holder, value.index - (1 if holder.name == FOR.name else 0)
    else:
        index = value.index
    if source.name == IF.name:
        return [source.operand("condition"), *(arm.terminator.operands[index] for arm in source.regions)]
    if source.name == FOR.name:
        bounds = [source.operand(name) for name in ("lower", "upper", "step")]
        if index < 0:
            return bounds
        return [*bounds, source.operand_list("inits")[index], source.regions[0].terminator.operands[index]]
    if source.name == WHILE.name:
        condition, body = (region.terminator.operands for region in source.regions)
        return [*condition, source.operand_list("inits")[index], body[index]]
    return list(source.operands)
