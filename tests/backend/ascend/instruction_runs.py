"""Kernels made of a list of instructions, run twice: by the op records, and emitted on the API model.

Every instruction is followed by a barrier of all pipes, so that only what instructions do is compared. All
data comes from and goes to one array in GM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tests.ops.machine.harness import At, Memories, Operand, Scalar, instruction
from tilejit.ir.core import Argument, Block, Builder, Function, Value
from tilejit.ir.machine import CoreState, MachineKernel
from tilejit.ir.opdef import Attribute
from tilejit.ir.types import FP32, INT1, INT32, INT64, UINT8, DType, PointerType, TileType
from tilejit.ops import ADDPTR, CONSTANT, RETURN
from tilejit.ops.machine import MACHINE_LEVEL_OPS
from tilejit.ops.machine.buffer import BUFFER, REINTERPRET
from tilejit.ops.machine.sync import PIPE_BARRIER, StoreAtomic
from tilejit.target.ascend import ASCEND_910B2
from tilejit.target.spaces import Core, Pipe, Space


@dataclass(frozen=True)
class Step:
    """One instruction."""

    name: str
    operands: Mapping[str, Operand] = field(default_factory=dict)
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


def step(name: str, attributes: Mapping[str, Attribute] | None = None, **operands: Operand) -> Step:
    """An instruction as the harness of the records spells it."""
    return Step(name, operands, attributes or {})


def run_records(steps: Sequence[Step], gm: np.ndarray) -> None:
    """Run the steps by their records on ``gm``, which is changed."""
    memories = Memories()
    memories.bytes[Space.GM] = gm
    state = CoreState()
    for each in steps:
        state = _state_after(each, state)
        issued = instruction(each.name, each.attributes, state, **each.operands)
        facts = issued.op.definition.machine
        assert facts is not None
        assert list(facts.check(issued, ASCEND_910B2)) == []
        facts.execute(issued, memories)


def _state_after(each: Step, state: CoreState) -> CoreState:
    if each.name == "set_atomic":
        kind = each.attributes["kind"]
        assert isinstance(kind, StoreAtomic)
        return replace(state, atomic="" if kind is StoreAtomic.NONE else kind.value)
    if each.name == "set_saturation":
        return replace(state, saturates=bool(each.attributes["on"]))
    if each.name == "set_deq_scale":
        scale = each.operands["scale"]
        assert isinstance(scale, Scalar)
        return replace(state, deq_scale=float(scale.value))
    return state


def machine_kernel_of(name: str, core: Core, steps: Sequence[Step]) -> MachineKernel:
    """The steps as a machine kernel with one argument, the array ``gm``."""
    body = Block([TileType(PointerType(UINT8))], ["gm"])
    function = Function(name, body, [Argument("gm")], core=core)
    builder = Builder(body)
    for each in steps:
        values = {operand: _value(builder, given) for operand, given in each.operands.items()}
        builder.create(MACHINE_LEVEL_OPS[each.name], attributes=each.attributes, **values)
        builder.create(PIPE_BARRIER, attributes={"pipe": Pipe.ALL})
    builder.create(RETURN)
    return MachineKernel(name, {core: function})


def _value(builder: Builder, given: Operand) -> Value:
    if isinstance(given, At):
        return _pointer(builder, given)
    if isinstance(given, Scalar):
        return _constant(builder, given.value, given.element)
    if isinstance(given, bool):
        return _constant(builder, given, INT1)
    return _constant(builder, given, FP32 if isinstance(given, float) else INT32)


def _constant(builder: Builder, value: int | float, dtype: DType) -> Value:
    return builder.create(CONSTANT, attributes={"value": value, "dtype": dtype}).result


def _pointer(builder: Builder, at: At) -> Value:
    if at.space is Space.GM:
        offset = _constant(builder, at.address, INT64)
        moved = builder.create(ADDPTR, pointer=builder.block.arguments[0], offset=offset).result
        return builder.create(REINTERPRET, attributes={"element": at.element}, pointer=moved).result
    elements = (ASCEND_910B2.spaces[at.space].capacity_bytes - at.address) // at.element.itemsize
    attributes: dict[str, Attribute] = {
        "space": at.space, "element": at.element, "elements": elements, "address": at.address,
    }  # fmt: skip
    return builder.create(BUFFER, attributes=attributes).result
