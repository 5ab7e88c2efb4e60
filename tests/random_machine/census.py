"""What a random program has in it, so that a run can say what it has tried."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from tests.random_machine.check import Program
from tilejit.ir.core import Block, Op, Value
from tilejit.ir.types import PointerType
from tilejit.ops import FOR, IF, LOAD, SELECT, STORE
from tilejit.ops.machine.buffer import BLOCK_INDEX, BUFFER, SLOT
from tilejit.ops.machine.sync import PIPE_BARRIER, SET_ATOMIC, SET_FLAG, StoreAtomic
from tilejit.passes.program_order import LOOPS, holders
from tilejit.target.spaces import Space

EVERYWHERE = (
    "loop", "nested loops", "while loop", "branch in a loop", "loop in a branch", "loop over programs",
    "carried pointers", "chosen pointers", "counter from a branch", "step of more than one", "flags",
    "barriers", "slots: 2", "slots: 3", "slots: 4", "slots by different indices",
    "global memory written and read", "aliased arguments", "atomic stores", "scalar access to gm",
    "shared memory", "fewer slots", "merged flags",
)  # fmt: skip
"""Features that programs of both core kinds have."""
OF_CORE = {
    "aiv": ("scalar access to ub", "two rows", "counts that grow"),
    "aic": ("unit flags", "long mmads", "mmads that a condition starts", "pairs of pipes without flags"),
}

UNRESOLVED = {
    "chosen pointers", "carried pointers", "counter from a branch", "counts that grow", "two rows",
    "step of more than one",
}  # fmt: skip
"""Features for which the text of a program does not tell exactly what meets in memory."""


def features(program: Program) -> set[str]:
    """The names of what a program has."""
    ops = list(program.function.walk())
    return {
        *_control(ops), *_pointers(ops), *_instructions(ops), *_memory(program, ops), *_sync(program, ops)
    }  # fmt: skip


def _control(ops: list[Op]) -> Iterator[str]:
    for op in ops:
        around = {holder.name for holder in holders(op)}
        if op.name in LOOPS:
            yield "loop"
            if around & set(LOOPS):
                yield "nested loops"
            if IF.name in around:
                yield "loop in a branch"
        if op.name == "while":
            yield "while loop"
        if op.name == IF.name:
            if around & set(LOOPS):
                yield "branch in a loop"
            if op.results:
                yield "counter from a branch"
        if op.name == BLOCK_INDEX.name:
            yield "loop over programs"
        if op.name == FOR.name:
            step = op.operand("step").defining_op
            if step is not None and step.attributes.get("value", 1) != 1:
                yield "step of more than one"


def _pointers(ops: list[Op]) -> Iterator[str]:
    for op in ops:
        if op.name == SELECT.name and _is_pointer(op.result):
            yield "chosen pointers"
        if op.name in LOOPS and any(_is_pointer(value) for value in op.results):
            yield "carried pointers"
        if op.name == BUFFER.name and op.attributes["slots"] != 1:
            yield f"slots: {op.attributes['slots']}"
    indices: dict[Value, set[Value]] = {}
    for op in ops:
        if op.name == SLOT.name and isinstance(op.operand("index").owner, Block):
            indices.setdefault(op.operand("buffer"), set()).add(op.operand("index"))
    if any(len(found) > 1 for found in indices.values()):
        yield "slots by different indices"


def _is_pointer(value: Value) -> bool:
    return isinstance(value.type.element, PointerType)


def _instructions(ops: list[Op]) -> Iterator[str]:
    for op in ops:
        if op.name in (LOAD.name, STORE.name):
            pointer = op.operand("pointer").type.element
            assert isinstance(pointer, PointerType)
            yield f"scalar access to {pointer.space.value}"
        if op.name == SET_ATOMIC.name and op.attributes["kind"] is not StoreAtomic.NONE:
            yield "atomic stores"
        if op.attributes.get("unit_flag", 0):
            yield "unit flags"
        if op.name == "mmad":
            size = op.operand("m").defining_op
            if size is not None and size.attributes["value"] == 64:
                yield "long mmads"
            if op.optional_operand("init") is not None:
                yield "mmads that a condition starts"
        if op.optional_operand("rows") is not None if op.name.startswith("copy_") else False:
            rows = op.operand("rows").defining_op
            if rows is not None and rows.attributes["value"] == 2:
                yield "two rows"
        if op.name == "min":
            yield "counts that grow"


def _memory(program: Program, ops: list[Op]) -> Iterator[str]:
    buffers = [op for op in ops if op.name == BUFFER.name]
    if any(record.alias_class is not None for record in program.function.arguments):
        yield "aliased arguments"
    if any(op.attributes["space"] is Space.GM for op in buffers):
        yield "global memory written and read"
    spans = [
        (
            op.attributes["space"],
            op.attributes["address"],
            op.attributes["slots"],
            op.attributes["slot_bytes"],
        )
        for op in buffers
    ]
    spans.sort(key=lambda span: (span[0].value, span[1]))  # type: ignore[union-attr]
    for (space, start, slots, size), (other, behind, *_) in pairwise(spans):
        if space is other and start + slots * size > behind:  # type: ignore[operator]
            yield "shared memory"
    if any(" slots: " in remark for remark in program.remarks):
        yield "fewer slots"


def _sync(program: Program, ops: list[Op]) -> Iterator[str]:
    if any(op.name == SET_FLAG.name for op in ops):
        yield "flags"
    if any(op.name == PIPE_BARRIER.name for op in ops):
        yield "barriers"
    for remark in program.remarks:
        if "event ids: " in remark:
            yield "merged flags"
        if remark.startswith("there are no flags"):
            yield "pairs of pipes without flags"
