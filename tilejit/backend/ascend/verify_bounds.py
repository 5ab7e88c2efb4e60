"""How far an instruction reaches at most whose operands depend on the launch.

Lengths of tails are the lesser of something and a constant: what computes them shows the greatest.
"""

from __future__ import annotations

from collections.abc import Collection

from tilejit.backend.ascend.verify_trips import at_most
from tilejit.ir.core import Value
from tilejit.ir.machine import Access, CoreState, Instruction
from tilejit.ir.types import DType, PointerType
from tilejit.target.spaces import Space

_APART = 1 << 48
"""Addresses of pointer operands while a record is asked: no two accesses meet."""


def longest_accesses(instruction: Instruction, unknown: Collection[Value]) -> dict[str, tuple[int, int]]:
    """For pointer operands that are known, the bytes from their addresses on that can be touched at most.

    ``unknown`` has the scalars that depend on the launch. Empty where an operand has no bound.
    """
    op = instruction.op
    facts = op.definition.machine
    assert facts is not None
    values: dict[str, int | float] = {}
    pointers: list[str] = []
    for name, given in op.named_operands().items():
        if not given:
            continue
        element = given[0].type.element
        if isinstance(element, PointerType):
            pointers.append(name)
            values[name] = len(pointers) * _APART
        elif given[0] not in unknown or (isinstance(element, DType) and element.is_floating()):
            values[name] = instruction.values[name]
        elif isinstance(element, DType) and element.is_bool():
            values[name] = False
        else:
            bound = at_most(given[0])
            if bound is None:
                return {}
            values[name] = max(bound, 0)
    reached: dict[str, tuple[int, int]] = {}
    for access in facts.accesses(Instruction(op, values, CoreState())):
        if access.is_empty:
            continue
        number = (access.start + _APART // 2) // _APART
        name = pointers[number - 1]
        low, high = access.start - number * _APART, access.end - number * _APART
        before = reached.get(name, (low, high))
        reached[name] = (min(low, before[0]), max(high, before[1]))
    return {name: span for name, span in reached.items() if op.operand(name) not in unknown}


def span(space: Space, address: int, reach: tuple[int, int], *, is_write: bool) -> Access:
    """The access of all bytes in a reach."""
    return Access(space, address + reach[0], reach[1] - reach[0], is_write)
