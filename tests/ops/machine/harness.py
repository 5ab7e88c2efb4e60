"""Runs single instructions on memories of their own, outside any program."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from tilejit.ir.core import Block, Op, Value
from tilejit.ir.machine import Access, CoreState, Instruction
from tilejit.ir.opdef import Attribute, TypeRuleError
from tilejit.ir.types import FP32, INT1, INT32, DType, PointerType, TileType
from tilejit.ops.machine import MACHINE_LEVEL_OPS
from tilejit.target.ascend import ASCEND_910B2
from tilejit.target.spaces import Space

GM_BYTES = 1 << 17
PLAIN = CoreState()


class At:
    """A pointer operand: where it points and at what."""

    def __init__(self, space: Space, element: DType, address: int = 0) -> None:
        self.space, self.element, self.address = space, element, address


class Scalar:
    """A scalar operand that is no int32."""

    def __init__(self, value: float | int, element: DType) -> None:
        self.value, self.element = value, element


Operand = At | Scalar | int | float | bool


class Memories:
    """All memories of one core, filled with bytes that no test writes."""

    def __init__(self, fill: int = 0xA5) -> None:
        sizes = {space: spec.capacity_bytes for space, spec in ASCEND_910B2.spaces.items()}
        self.bytes = {
            space: np.full(size, fill, np.uint8) for space, size in {**sizes, Space.GM: GM_BYTES}.items()
        }

    def view(self, space: Space, start: int, size_bytes: int) -> np.ndarray:
        memory = self.bytes[space]
        assert start >= 0 and start + size_bytes <= len(memory), f"{space} [{start}, +{size_bytes})"
        return memory[start : start + size_bytes]

    def put(self, at: At, values: np.ndarray) -> None:
        """Store an array's elements one after the other."""
        flat = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        self.view(at.space, at.address, flat.size)[...] = flat

    def get(self, at: At, count: int) -> np.ndarray:
        """``count`` elements from a place on."""
        size = count * at.element.itemsize
        return self.view(at.space, at.address, size).copy().view(at.element.numpy)


def instruction(
    name: str,
    attributes: Mapping[str, Attribute] | None = None,
    state: CoreState = PLAIN,
    **operands: Operand,
) -> Instruction:
    """One issue of a machine op."""
    values: dict[str, int | float] = {}
    typed: dict[str, Value] = {}
    for operand, given in operands.items():
        if isinstance(given, At):
            typed[operand] = _value(PointerType(given.element, space=given.space))
            values[operand] = given.address
        elif isinstance(given, Scalar):
            typed[operand], values[operand] = _value(given.element), given.value
        elif isinstance(given, bool):
            typed[operand], values[operand] = _value(INT1), int(given)
        else:
            typed[operand] = _value(FP32 if isinstance(given, float) else INT32)
            values[operand] = given
    return Instruction(Op(MACHINE_LEVEL_OPS[name], typed, attributes), values, state)


def _value(element: DType | PointerType) -> Value:
    return Block([TileType(element)], [""]).arguments[0]


def run(
    memories: Memories,
    name: str,
    attributes: Mapping[str, Attribute] | None = None,
    state: CoreState = PLAIN,
    **operands: Operand,
) -> None:
    """Execute one instruction; it must be within its limits and write only what its accesses say."""
    issued = instruction(name, attributes, state, **operands)
    facts = issued.op.definition.machine
    assert facts is not None
    assert list(facts.check(issued, ASCEND_910B2)) == []
    before = {space: memory.copy() for space, memory in memories.bytes.items()}
    facts.execute(issued, memories)
    accesses = facts.accesses(issued)
    for space, memory in memories.bytes.items():
        changed = memory != before[space]
        allowed = np.zeros(len(memory), bool)
        for access in accesses:
            if access.space is space and access.is_write:
                allowed[touched(access)] = True
        assert not (changed & ~allowed).any(), f"{name} writes outside its accesses in {space}"
    if not state.atomic:  # what an atomic store adds to is no read of its own
        _check_reads(issued, before, memories)


def _check_reads(issued: Instruction, before: Mapping[Space, np.ndarray], after: Memories) -> None:
    """Bytes outside the read accesses must not change what is written."""
    facts = issued.op.definition.machine
    assert facts is not None
    accesses = facts.accesses(issued)
    other = Memories()
    for space, memory in before.items():
        other.bytes[space] = memory ^ 0x5A
        for access in accesses:
            if access.space is space and not access.is_write:
                where = touched(access)
                other.bytes[space][where] = memory[where]
    facts.execute(issued, other)
    for access in accesses:
        if access.is_write:
            where = touched(access)
            written = after.bytes[access.space][where] != before[access.space][where]
            same = other.bytes[access.space][where] == after.bytes[access.space][where]
            assert same[written].all(), f"{issued.op.name} depends on bytes it does not say it reads"


def touched(access: Access) -> np.ndarray:
    """The addresses of all bytes of an access."""
    addresses = np.arange(access.run_bytes) + access.start
    for count, stride in reversed(access.dims):
        addresses = (np.arange(count)[:, None] * stride + addresses.reshape(1, -1)).reshape(-1)
    return addresses


def complaints(
    name: str, attributes: Mapping[str, Attribute] | None = None, **operands: Operand
) -> list[str]:
    """What breaks a limit of the target."""
    issued = instruction(name, attributes, **operands)
    facts = issued.op.definition.machine
    assert facts is not None
    return list(facts.check(issued, ASCEND_910B2))


def refusal(name: str, attributes: Mapping[str, Attribute] | None = None, **operands: Operand) -> str:
    """The text of the TypeRuleError that an op raises."""
    with pytest.raises(TypeRuleError) as caught:
        instruction(name, attributes, **operands)
    return str(caught.value)
