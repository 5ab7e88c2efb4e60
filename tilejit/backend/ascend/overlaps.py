"""Whether a vector instruction writes over what it still has to read.

The unit works repeat by repeat, and reads the lanes of a repeat before it writes them; in the model all
sources are read before anything is written. Both give the same where target and source are apart, are the
very same bytes in the same order, or where no repeat writes what a later one reads. Anything else is refused,
but for what the documentation allows: the target as second source of a few instructions, whose repeats add
up, and a cast in place to smaller elements.

Sources: CANN's general constraints on overlapping addresses; its documentation of Cast (V220). That rows may
be folded in place, blocks of a repeat onto the first of them, is what pto-isa does (npu/a2a3/TRowReduceOps).
"""

from __future__ import annotations

from collections.abc import Sequence

from tilejit.backend.ascend.grids import grid_of, overlap
from tilejit.ir.machine import Access, Instruction
from tilejit.ir.types import FP16, FP32, INT32
from tilejit.ops.machine.lanes import Lanes, is_repeated, lanes_of
from tilejit.ops.machine.vector import VADD, VMAX, VMIN, VMUL, VSUB
from tilejit.ops.machine.vector_cast import VCAST

_FOLDING = frozenset(op.name for op in (VADD, VSUB, VMUL, VMAX, VMIN))
_FOLDED = (FP16, INT32, FP32)
_FIRST_SOURCES = ("src", "src0")


def overlap_fault(instruction: Instruction, accesses: Sequence[Access]) -> str | None:
    """What is wrong with an instruction of pipe V, in words; None where its operands keep apart."""
    for written in accesses:
        if not written.is_write:
            continue
        for read in accesses:
            if not read.is_write and read.start < written.end and written.start < read.end:
                fault = _fault(instruction, written, read)
                if fault is not None:
                    return fault
    return None


def _fault(instruction: Instruction, written: Access, read: Access) -> str | None:
    target, source = grid_of(written), grid_of(read)
    if target is None or source is None:
        return None
    name = instruction.op.name
    if target == source:
        if _meets_itself(instruction) and not _folds(instruction, read):
            return f"{name} reads in later repeats what earlier ones wrote"
        return None
    common = overlap(target, source)
    if common is None or (name == VCAST.name and _narrows_in_place(instruction)):
        return None
    if _folds_forward(instruction, read):
        return None
    return f"{name} writes ub bytes {common[0]} to {common[1]}, a part of what it reads"


def _meets_itself(instruction: Instruction) -> bool:
    """Whether repeats of an elementwise instruction write the same bytes."""
    return "count" in instruction.values and lanes_of(instruction, "dst", 0).overlaps_itself


def _folds(instruction: Instruction, read: Access) -> bool:
    """Whether the bytes that all repeats write are what the unit can add up in: its second source alone."""
    first = [instruction.values[name] for name in _FIRST_SOURCES if name in instruction.values]
    if read.start in first:
        return False
    facts = instruction.op.definition.machine
    accumulates = facts is not None and "dst" in facts.reads
    return accumulates or (instruction.op.name in _FOLDING and instruction.element("dst") in _FOLDED)


def _folds_forward(instruction: Instruction, read: Access) -> bool:
    """Whether no repeat writes between the first and the last byte that a later one reads."""
    if not is_repeated(instruction) or instruction.op.attributes.get("strides") is None:
        return False
    names = [operand for operand in ("dst", "src", "src0", "src1") if operand in instruction.values]
    position = next((place for place, name in enumerate(names) if name != "dst"
                     and instruction.values[name] == read.start), None)  # fmt: skip
    if position is None:
        return False
    target, source = lanes_of(instruction, "dst", 0), lanes_of(instruction, names[position], position)
    written = [_reach(target.single(repeat)) for repeat in range(target.repeats)]
    wanted = [_reach(source.single(repeat)) for repeat in range(source.repeats)]
    return not any(
        start < end_of_later and later < end
        for repeat, (start, end) in enumerate(written)
        for later, end_of_later in wanted[repeat + 1 :]
    )


def _reach(lanes: Lanes) -> tuple[int, int]:
    """From the first byte of one repeat to the end of the last."""
    touched = list(lanes.accesses(is_write=False))
    return min(access.start for access in touched), max(access.end for access in touched)


def _narrows_in_place(instruction: Instruction) -> bool:
    target, source = lanes_of(instruction, "dst", 0), lanes_of(instruction, "src", 1)
    smaller = target.dtype.itemsize < source.dtype.itemsize
    return smaller and target.start == source.start and target.repeat <= source.repeat
