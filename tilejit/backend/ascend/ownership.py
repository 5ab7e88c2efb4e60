"""Whose data local memory holds.

Buffers that are not needed at the same time lie on the same bytes. What one of them reads there of another's
data is as unknown to it as memory that nobody has written: while the instruction runs, such bytes hold
garbage that differs between the two images of memory, so that what depends on them is poison.

Bytes belong to the buffer through whose pointers they were written last: slots, steps and other element types
of a buffer are the buffer. A pointer whose buffer cannot be told sees everything, and what is written through
it belongs to nobody. GM is left out: both kinds of core name the same workspace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tilejit.backend.ascend.memory import CoreMemory, items_of
from tilejit.backend.ascend.report import spell_op
from tilejit.backend.ascend.verify_control import root_of
from tilejit.ir.core import Function, Op, Value
from tilejit.ir.machine import Access
from tilejit.ir.types import DType
from tilejit.ops import LOAD, STORE
from tilejit.ops.machine.buffer import BUFFER
from tilejit.records import dataclass
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Space

_NOBODY = 0
_GARBAGE = (0xFF, 0x5A)  # of the two images


@dataclass(frozen=True)
class Owner:
    """A buffer in local memory. ``shares``: it has bytes in common with another one."""

    number: int
    buffer: Op
    space: Space
    start: int
    end: int
    shares: bool

    def holds(self, access: Access) -> bool:
        """Whether an access begins in this buffer."""
        return access.space is self.space and self.start <= access.start < self.end


@dataclass(frozen=True)
class Hidden:
    """Bytes of an access that were replaced by garbage: which ones, and what all of them were."""

    memory: CoreMemory
    access: Access
    where: np.ndarray
    bytes: np.ndarray


class Buffers:
    """The buffers of one function in local memory, and through which of them its instructions work."""

    def __init__(self, function: Function, target: AscendTarget) -> None:
        placed = [
            (op, *_span(op, target))
            for op in function.walk()
            if op.name == BUFFER.name and op.attributes["space"] is not Space.GM
        ]
        self.owners: dict[Op, Owner] = {}
        for number, (op, space, start, end) in enumerate(placed, 1):
            others = [other for other in placed if other[0] is not op and other[1] is space]
            shares = any(low < end and start < high for _, _, low, high in others)
            self.owners[op] = Owner(number, op, space, start, end, shares)
        self._sides: dict[tuple[Op, bool], tuple[Owner, ...]] = {}

    def of(self, op: Op, access: Access) -> Owner | None:
        """The buffer that an instruction touches with an access; None where it cannot be told."""
        key = (op, access.is_write)
        sides = self._sides.get(key)
        if sides is None:
            sides = self._sides[key] = tuple(self._named(op, is_write=access.is_write))
        return next((owner for owner in sides if owner.holds(access)), None)

    def _named(self, op: Op, *, is_write: bool) -> Iterator[Owner]:
        """The buffers of the operands that an op writes; or of those that it reads, its targets last."""
        facts = op.definition.machine
        if facts is None:
            assert op.name in (LOAD.name, STORE.name)
            names: tuple[str, ...] = ("pointer",)
        else:
            names = facts.writes if is_write else (*facts.reads, *facts.writes)
        for name in names:
            for pointer in op.operand_list(name):
                root = self._root(pointer)
                if root is not None:
                    yield root

    def _root(self, pointer: Value) -> Owner | None:
        root = root_of(pointer)
        op = root.defining_op if root is not None else None
        return self.owners.get(op) if op is not None else None


class Ownership:
    """Who wrote each byte of one core's memories last."""

    def __init__(self, buffers: Buffers, target: AscendTarget) -> None:
        self._buffers = buffers
        self._maps: dict[Space, np.ndarray] = {}
        self._names = {owner.number: owner for owner in buffers.owners.values()}
        self.hint = ""  # the first read of another buffer's data, in words
        for owner in buffers.owners.values():
            capacity = target.spaces[owner.space].capacity_bytes
            owned = self._maps.setdefault(owner.space, np.zeros(capacity, np.uint16))
            if not owner.shares:
                owned[owner.start : owner.end] = owner.number

    def overreach(self, op: Op, access: Access) -> str | None:
        """What is wrong with an access that writes past the end of its buffer, in words."""
        owner = self._buffers.of(op, access) if access.is_write else None
        if owner is None or access.end <= owner.end:
            return None
        where = f"{owner.space.value} bytes {access.start} to {access.end}"
        beyond = access.end - owner.end
        return f"{where} reach {beyond} bytes beyond the end of %{owner.buffer.result.name}"

    def act(
        self,
        op: Op,
        accesses: Sequence[Access],
        memories: Sequence[CoreMemory],
        effect: Callable[[CoreMemory], None],
    ) -> None:
        """Let an instruction act on ``memories``, other buffers' data hidden from it."""
        hidden: list[Hidden] = []
        for access in accesses:
            where = None if access.is_write else self.foreign(op, access)
            if where is not None:
                hidden += [_hide(memory, access, where, number) for number, memory in enumerate(memories)]
        for memory in memories:
            effect(memory)
        for each in reversed(hidden):
            _show(each, [a for a in accesses if a.is_write and a.space is each.access.space])
        for access in accesses:
            if access.is_write:
                self.take(op, access)

    def foreign(self, op: Op, access: Access) -> np.ndarray | None:
        """Which bytes of a read belong to other buffers; None where none do."""
        owner = self._buffers.of(op, access)
        if owner is None or access.is_empty or not (owner.shares or access.end > owner.end):
            return None
        owned = items_of(self._maps[access.space], access, access.start)
        where = (owned != owner.number) & (owned != _NOBODY)
        if not where.any():
            return None
        if not self.hint:
            other = self._names[int(owned[where][0])].buffer.result.name
            self.hint = f"; {spell_op(op)} read of %{owner.buffer.result.name} what was written to %{other}"
        return np.asarray(where)

    def take(self, op: Op, access: Access) -> None:
        """Take note of a write."""
        if access.space not in self._maps or access.is_empty:
            return
        owner = self._buffers.of(op, access)
        if owner is None or owner.shares:
            items_of(self._maps[access.space], access, access.start)[...] = (
                _NOBODY if owner is None else owner.number
            )


def _span(buffer: Op, target: AscendTarget) -> tuple[Space, int, int]:
    """Where a buffer lies, to the end of its last unit of alignment."""
    attributes = buffer.attributes
    space, element, elements = attributes["space"], attributes["element"], attributes["elements"]
    start, slots, slot_bytes = attributes["address"], attributes["slots"], attributes["slot_bytes"]
    assert isinstance(space, Space) and isinstance(element, DType) and isinstance(elements, int)
    assert isinstance(start, int) and isinstance(slots, int) and isinstance(slot_bytes, int)
    unit = target.spaces[space].alignment_bytes
    return space, start, start + (slots - 1) * slot_bytes + -(-elements * element.itemsize // unit) * unit


def _hide(memory: CoreMemory, access: Access, where: np.ndarray, image: int) -> Hidden:
    view = items_of(memory.whole(access.space), access, access.start)
    hidden = Hidden(memory, access, where, view.copy())
    view[where] = _GARBAGE[image]
    return hidden


def _show(hidden: Hidden, writes: Sequence[Access]) -> None:
    """Put bytes back that the instruction has not written itself."""
    memory = hidden.memory.whole(hidden.access.space)
    written = np.zeros(memory.size, bool)
    for access in writes:
        items_of(written, access, access.start)[...] = True
    where = hidden.where & ~items_of(written, hidden.access, hidden.access.start)
    items_of(memory, hidden.access, hidden.access.start)[where] = hidden.bytes[where]
