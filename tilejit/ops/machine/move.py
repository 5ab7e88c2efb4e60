"""Copies between GM and UB: rows of any length, each padded to whole blocks in UB.

Source: CANN documentation of DataCopyPad (V220); ``DataCopyExtParams`` in the devkit's headers: gaps from the
end of a row to the start of the next, in bytes on the GM side and in 32-byte blocks on the UB side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tilejit.ir.machine import Access, CoreState, Instruction, MachineFacts, Memory
from tilejit.ir.opdef import AttributeKind, AttributeSpec, OpDef, TypeQuery
from tilejit.ir.types import DType, Type
from tilejit.ops.machine.conversions import saturated
from tilejit.ops.machine.rules import (
    AIV_ONLY,
    BLOCK_BYTES,
    check_aligned,
    check_range,
    machine_op,
    on,
    pointer_type,
    require_integers,
    strided,
)
from tilejit.ops.type_rules import require
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Pipe, Space

_COMBINE: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "add": np.add, "max": np.maximum, "min": np.minimum,
}  # fmt: skip


def ub_pitch(instruction: Instruction) -> int:
    """Bytes from row to row in UB: whole blocks, padding included, and the gap."""
    return _padded_bytes(instruction) + instruction.optional("ub_gap", 0) * BLOCK_BYTES


def _padded_bytes(instruction: Instruction) -> int:
    """What a row and its padding fill of UB, in whole blocks."""
    row_bytes = instruction.integer("row_bytes")
    padding = instruction.optional("right", 0) * instruction.element("dst").itemsize if row_bytes else 0
    return -(-(row_bytes + padding) // BLOCK_BYTES) * BLOCK_BYTES


def _gm_pitch(instruction: Instruction) -> int:
    return instruction.integer("row_bytes") + instruction.optional("gm_gap", 0)


def _check(instruction: Instruction, target: AscendTarget) -> Iterator[str]:
    yield from check_range(instruction, "rows", 0, target.limits.copy_rows)
    yield from check_range(instruction, "row_bytes", 0, target.limits.copy_row_bytes)
    row_bytes, size = instruction.integer("row_bytes"), instruction.element("dst").itemsize
    if row_bytes % size:
        yield f"row_bytes of {instruction.op.name} is {row_bytes}, not a multiple of {size}"
    yield from check_range(instruction, "gm_gap", 0, target.limits.copy_gap)
    yield from check_range(instruction, "ub_gap", 0, target.limits.copy_gap)
    ub = "dst" if instruction.space("dst") is Space.UB else "src"
    yield from check_aligned(instruction, ub, target.spaces[Space.UB].alignment_bytes)


def _infer_copy_in(query: TypeQuery) -> tuple[Type, ...]:
    to = pointer_type(query, "copy_in", "dst", Space.UB)
    source = pointer_type(query, "copy_in", "src", Space.GM)
    require(
        to.element == source.element, f"copy_in moves one element type; got {source.element} to {to.element}"
    )
    require_integers(query, "copy_in", "rows", "row_bytes", "gm_gap", "ub_gap", "right")
    return ()


def _copy_in_accesses(instruction: Instruction) -> tuple[Access, ...]:
    rows, row_bytes = instruction.integer("rows"), instruction.integer("row_bytes")
    gm, streams = ((rows, _gm_pitch(instruction)),), bool(instruction.op.attributes["streams"])
    return (
        Access(Space.GM, instruction.integer("src"), row_bytes, False, gm, streams),
        Access(
            Space.UB,
            instruction.integer("dst"),
            _padded_bytes(instruction),
            True,
            ((rows, ub_pitch(instruction)),),
        ),
    )


def _copy_in(instruction: Instruction, memory: Memory) -> None:
    rows, row_bytes = instruction.integer("rows"), instruction.integer("row_bytes")
    dtype = instruction.element("dst")
    size = dtype.itemsize
    count = row_bytes // size
    source, target = instruction.integer("src"), instruction.integer("dst")
    from_rows = strided(memory, Space.GM, source, dtype, ((rows, _gm_pitch(instruction)), (count, size)))
    pitch = ub_pitch(instruction)
    strided(memory, Space.UB, target, dtype, ((rows, pitch), (count, size)))[...] = from_rows
    if not row_bytes:
        return
    padding = (_padded_bytes(instruction) - row_bytes) // size
    if padding:
        pads = strided(memory, Space.UB, target + row_bytes, dtype, ((rows, pitch), (padding, size)))
        # Without a padding value the hardware repeats the row's first element.
        value = instruction.op.attributes["value"] if "right" in instruction.values else from_rows[:, :1]
        pads[...] = value


def _check_copy_in(instruction: Instruction, target: AscendTarget) -> Iterator[str]:
    yield from _check(instruction, target)
    size = instruction.element("dst").itemsize
    yield from check_range(instruction, "right", 0, BLOCK_BYTES // size)
    if size == 8 and "right" in instruction.values and instruction.op.attributes["value"] != 0:
        yield "copy_in pads elements of 64 bits with 0 alone"


COPY_IN = machine_op(
    "copy_in",
    ("dst", "src", "rows", "row_bytes", "gm_gap?", "ub_gap?", "right?"),
    _infer_copy_in,
    MachineFacts(on(Pipe.MTE2), AIV_ONLY, ("src",), ("dst",), _copy_in_accesses, _copy_in, _check_copy_in),
    (
        AttributeSpec("value", AttributeKind.NUMBER, default=0),
        AttributeSpec("streams", AttributeKind.BOOL, default=False),
    ),
    "GM to UB by rows; right: elements of padding, all value, behind each row, and to the end of its block; "
    "streams: past L2, for data that are read once",
)


def _infer_copy_out(query: TypeQuery) -> tuple[Type, ...]:
    to = pointer_type(query, "copy_out", "dst", Space.GM)
    source = pointer_type(query, "copy_out", "src", Space.UB)
    require(
        to.element == source.element, f"copy_out moves one element type; got {source.element} to {to.element}"
    )
    require_integers(query, "copy_out", "rows", "row_bytes", "gm_gap", "ub_gap")
    return ()


def _copy_out_accesses(instruction: Instruction) -> tuple[Access, ...]:
    rows, row_bytes = instruction.integer("rows"), instruction.integer("row_bytes")
    grid = ((rows, _gm_pitch(instruction)),)
    return (
        Access(Space.UB, instruction.integer("src"), row_bytes, False, ((rows, ub_pitch(instruction)),)),
        Access(Space.GM, instruction.integer("dst"), row_bytes, True, grid),
    )


def store_combined(target: np.ndarray, values: np.ndarray, state: CoreState, element: DType) -> None:
    """Store to GM as the core's atomic mode says; sums round to the element type."""
    if not state.atomic:
        target[...] = values
        return
    with np.errstate(all="ignore"):
        combined = _COMBINE[state.atomic](target, values).astype(element.numpy)
        target[...] = saturated(combined, element) if state.saturates else combined


def check_combined(instruction: Instruction) -> Iterator[str]:
    """Yield a text where a store to GM combines elements of another type than the core was told."""
    state, element = instruction.state, instruction.element("dst")
    if state.atomic and state.atomic_element not in (None, element):
        yield f"{instruction.op.name} stores {element}, but set_atomic was given {state.atomic_element}"


def _check_copy_out(instruction: Instruction, target: AscendTarget) -> Iterator[str]:
    yield from _check(instruction, target)
    yield from check_combined(instruction)


def _copy_out(instruction: Instruction, memory: Memory) -> None:
    rows, row_bytes = instruction.integer("rows"), instruction.integer("row_bytes")
    dtype = instruction.element("src")
    size = dtype.itemsize
    count = row_bytes // size
    source = strided(
        memory,
        Space.UB,
        instruction.integer("src"),
        dtype,
        ((rows, ub_pitch(instruction)), (count, size)),
    )
    grid = ((rows, _gm_pitch(instruction)), (count, size))
    target = strided(memory, Space.GM, instruction.integer("dst"), dtype, grid)
    store_combined(target, source, instruction.state, dtype)


COPY_OUT = machine_op(
    "copy_out",
    ("dst", "src", "rows", "row_bytes", "gm_gap?", "ub_gap?"),
    _infer_copy_out,
    MachineFacts(on(Pipe.MTE3), AIV_ONLY, ("src",), ("dst",), _copy_out_accesses, _copy_out, _check_copy_out),
    summary="UB to GM by rows; exactly the rows' bytes are written",
)

MOVE_OPS: tuple[OpDef, ...] = (COPY_IN, COPY_OUT)
