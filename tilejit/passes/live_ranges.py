"""When the buffers of a machine function hold something that is still needed.

A buffer lives from its first touch to its last. Loops stretch that: what is touched in a loop lives through
the whole loop, unless each trip begins by writing it, so that nothing passes from trip to trip. That is so
where

- all touches lie in the loop's body and name the same slot (a ring that is filled in one trip and read in a
  later one passes data on),
- the first touch in program order writes without reading, and whatever conditions stand around it stand
  around all touches,
- what is read is at most what was written before, as far as constant ranges tell.

The last rule trusts where ranges depend on the run: a pass that makes buffers keeps in one, from trip to
trip, only what it first wrote before the loop.
"""

from __future__ import annotations

from dataclasses import field

from tilejit.ir.core import Block, Function, Op
from tilejit.ops import IF
from tilejit.ops.machine.buffer import BUFFER
from tilejit.passes.machine_accesses import Accesses, StaticAccess, slot_size, with_slots
from tilejit.passes.program_order import LOOPS, ProgramOrder, holders, loops_around
from tilejit.records import dataclass
from tilejit.target.spaces import Pipe, Space


@dataclass
class LiveRange:
    """The positions [start, end] in ``ProgramOrder`` at which a buffer op's memory is in use, and by whom.

    ``loops``: those around all touches.
    ``passes_data_on``: different slots are named, or a trip reads what an earlier one left in its slot: the
    number of slots is part of what the program means.
    """

    buffer: Op
    start: int = 0
    end: int = 0
    pipes: frozenset[Pipe] = frozenset()
    loops: frozenset[Op] = frozenset()
    passes_data_on: bool = False
    touches: list[StaticAccess] = field(default_factory=list)

    def overlaps(self, other: LiveRange) -> bool:
        return self.start <= other.end and other.start <= self.end

    def is_in_other_loop_than(self, other: LiveRange) -> bool:
        """Whether each is used in a loop that is not around the other."""
        return bool(self.loops - other.loops) and bool(other.loops - self.loops)


class LiveRanges:
    """The live range of every buffer of a function; one that nothing touches lives where it stands.

    A snapshot, as ``accesses`` is, which later changes of the function make stale but those made here.
    """

    def __init__(self, function: Function) -> None:
        self.accesses = Accesses()
        self._order = order = ProgramOrder(function)
        self._of = {
            op: LiveRange(op, order.enter[op], order.leave[op]) for op in order.ops if op.name == BUFFER.name
        }
        for op in order.ops:
            for buffer, access in self.accesses.touched_buffers(op):
                self._of[buffer].touches.append(access)
        for found in self._of.values():
            if found.touches:
                _fill(found, order)

    def within(self, space: Space) -> list[LiveRange]:
        """The live ranges of the buffers in one memory, in program order."""
        return [live for op, live in self._of.items() if op.attributes["space"] is space]

    def leave_slots(self, buffer: Op, slots: int) -> None:
        """Give a buffer of the function another number of slots."""
        buffer.attributes["slots"] = slots
        found = self._of[buffer]
        if found.touches:
            found.touches = [with_slots(access, slots) for access in found.touches]
            _fill(found, self._order)


def _fill(found: LiveRange, order: ProgramOrder) -> None:
    found.pipes = frozenset(access.pipe for access in found.touches)
    found.loops = frozenset.intersection(*(frozenset(loops_around(access.op)) for access in found.touches))
    found.passes_data_on = not _names_one_slot(found.touches)
    home = _home(found)
    is_known_fresh = home is not None or found.buffer.attributes["rotates"] is True
    found.passes_data_on |= not is_known_fresh and _turns(found.touches[0])
    starts, ends = [], []
    for access in found.touches:
        op = access.op
        for holder in holders(access.op):
            if holder is home:
                break
            if holder.name in LOOPS:
                op = holder
        starts.append(order.enter[op])
        ends.append(order.leave[op])
    found.start, found.end = min(starts), max(ends)


def _home(found: LiveRange) -> Op | None:
    """The innermost loop whose trips do not pass the buffer's contents on; None is the function."""
    common: list[Op] | None = None
    for access in found.touches:
        around = list(holders(access.op))
        common = around if common is None else [holder for holder in common if holder in around]
    for loop in common or []:
        if loop.name in LOOPS and _is_fresh_each_trip(found, loop):
            return loop
    return None


def _is_fresh_each_trip(found: LiveRange, loop: Op) -> bool:
    touches = found.touches
    first = touches[0].op
    if found.passes_data_on or any(access.op is first and not access.is_write for access in touches):
        return False
    body = loop.regions[-1]
    for holder in holders(first):
        if holder is loop:
            break
        if holder.name == IF.name and not _all_within(touches, _arm(holder, first)):
            return False
    if not _all_within(touches, body):
        return False
    return _reads_follow_writes(found)


def _reads_follow_writes(found: LiveRange) -> bool:
    """Whether every read with a known range lies in what writes before it may have covered."""
    written: list[tuple[int, int]] = []
    whole = (0, slot_size(found.buffer))
    for access in found.touches:
        extent = access.extent or whole
        if access.is_write:
            written.append(extent)
        elif access.extent is not None and not _is_covered(access.extent, written):
            return False
    return True


def _is_covered(wanted: tuple[int, int], ranges: list[tuple[int, int]]) -> bool:
    reached = wanted[0]
    for low, high in sorted(ranges):
        if low <= reached < high:
            reached = high
    return reached >= wanted[1]


def _names_one_slot(touches: list[StaticAccess]) -> bool:
    slots = [access.pointer.slot for access in touches]
    first = slots[0]
    if first is None:
        return True
    return first.index is not None and all(slot is not None and slot.index == first.index for slot in slots)


def _turns(access: StaticAccess) -> bool:
    """Whether an access in a loop names one slot after the other."""
    slot = access.pointer.slot
    is_fixed = slot is None or (slot.index is not None and slot.index.is_constant)
    return not is_fixed and any(holder.name in LOOPS for holder in holders(access.op))


def _arm(holder: Op, inner: Op) -> Block:
    for region in holder.regions:
        if _is_within(inner, region):
            return region
    raise AssertionError("an op is in one of its holder's regions")


def _is_within(op: Op, block: Block) -> bool:
    return op.parent is block or any(holder.parent is block for holder in holders(op))


def _all_within(touches: list[StaticAccess], block: Block) -> bool:
    return all(_is_within(access.op, block) for access in touches)
