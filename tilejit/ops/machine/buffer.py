"""Buffers, their slots and where a core stands: what machine functions compute addresses from.

These ops cost the scalar unit a cycle or nothing and touch no memory.
"""

from __future__ import annotations

from tilejit.ir.core import Op
from tilejit.ir.opdef import AttributeKind, AttributeSpec, Effects, OpDef, TypeQuery
from tilejit.ir.types import INT32, DType, PointerType, TileType, Type
from tilejit.ops.control import FOR
from tilejit.ops.machine.rules import not_a_tile_op, require_integers
from tilejit.ops.type_rules import operand_specs, require
from tilejit.target.spaces import Space

UNPLACED = -1
"""The address of a buffer before allocation."""


def _infer_buffer(query: TypeQuery) -> tuple[Type, ...]:
    attributes = query.attributes
    element, space = attributes["element"], attributes["space"]
    assert isinstance(element, DType) and isinstance(space, Space)
    elements, slots = attributes["elements"], attributes["slots"]
    require(isinstance(elements, int) and elements > 0, f"buffer: elements must be positive; got {elements}")
    require(isinstance(slots, int) and slots > 0, f"buffer: slots must be positive; got {slots}")
    return (TileType(PointerType(element, space=space)),)


BUFFER = OpDef(
    name="buffer",
    operands=(),
    infer=_infer_buffer,
    evaluate=not_a_tile_op,
    attributes=(
        AttributeSpec("space", AttributeKind.ENUM, Space),
        AttributeSpec("element", AttributeKind.ELEMENT),
        AttributeSpec("elements", AttributeKind.INT),  # of one slot
        AttributeSpec("slots", AttributeKind.INT, default=1),
        # No trip of a loop reads in its slot what an earlier one left: the number of slots means nothing.
        AttributeSpec("rotates", AttributeKind.BOOL, default=False),
        AttributeSpec("slot_bytes", AttributeKind.INT, default=0),  # from slot to slot; 0 before allocation
        AttributeSpec("address", AttributeKind.INT, default=UNPLACED),
    ),
    effects=Effects.IO,  # two buffers of one kind are not the same: never merged
    summary="memory for a kernel's whole run: the address of its first slot; GM: of the block's workspace",
)


def _infer_slot(query: TypeQuery) -> tuple[Type, ...]:
    require_integers(query, "slot", "index")
    return (query.type("buffer"),)


SLOT = OpDef(
    name="slot",
    operands=operand_specs("buffer", "index"),
    infer=_infer_slot,
    evaluate=not_a_tile_op,
    summary="the address of slot index % slots of a buffer op's result; index counts iterations",
)


def _infer_reinterpret(query: TypeQuery) -> tuple[Type, ...]:
    pointer, element = query.type("pointer"), query.attributes["element"]
    require(
        pointer.is_scalar and isinstance(pointer.element, PointerType),
        f"reinterpret works on a pointer; got {pointer}",
    )
    assert isinstance(pointer.element, PointerType) and isinstance(element, DType)
    return (TileType(PointerType(element, pointer.element.const, pointer.element.space)),)


REINTERPRET = OpDef(
    name="reinterpret",
    operands=operand_specs("pointer"),
    infer=_infer_reinterpret,
    evaluate=not_a_tile_op,
    attributes=(AttributeSpec("element", AttributeKind.ELEMENT),),
    summary="the same address, its bytes seen as elements of another type",
)


def _place(name: str, summary: str) -> OpDef:
    return OpDef(name, (), lambda query: (TileType(INT32),), not_a_tile_op, summary=summary)


BLOCK_INDEX = _place("block_index", "which block runs: an AI core, or one AIV where the kernel has no AIC")
BLOCK_COUNT = _place("block_count", "how many blocks were launched")
SUB_BLOCK_INDEX = _place("sub_block_index", "which of an AI core's two AIVs runs: 0 or 1")


def is_program_loop(op: Op) -> bool:
    """Whether an op is a loop whose trips are the programs of the grid that a core runs."""
    if op.name != FOR.name:
        return False
    lower, step = (op.operand(name).defining_op for name in ("lower", "step"))
    return lower is not None and step is not None and (lower.name, step.name) == _PROGRAMS


_PROGRAMS = (BLOCK_INDEX.name, BLOCK_COUNT.name)

BUFFER_OPS: tuple[OpDef, ...] = (BUFFER, SLOT, REINTERPRET, BLOCK_INDEX, BLOCK_COUNT, SUB_BLOCK_INDEX)
