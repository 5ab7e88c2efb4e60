"""The bytes that the ops of a machine function read and write, before any value is known.

The records give the bytes of an instruction whose operands are numbers. Here every operand that the text does
not fix takes the largest value it can have, so the range found covers each range of the run; where there is
no largest value, it is the whole slot or the whole argument.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tilejit.ir.core import Op, Value
from tilejit.ir.machine import CoreState, Instruction
from tilejit.ir.types import INT1, DType, PointerType
from tilejit.ops import LOAD, STORE
from tilejit.ops.machine.buffer import BUFFER
from tilejit.passes.machine_pointers import Affine, Pointer, ScalarFacts, Slot
from tilejit.records import dataclass
from tilejit.target.spaces import Pipe, Space

_APART = 1 << 50
"""Addresses given to pointer operands while a record is asked, so far apart that no two are confused."""
_UNIT_FLAG = "unit_flag"


@dataclass(frozen=True)
class StaticAccess:
    """What one operand of an op touches: at most the bytes [low, high) from the pointer on.

    ``base`` is the pointer's offset from its slot's start (None: unknown, and then so is the range).
    ``extent``: the range [low, high) within the slot, whatever the unknown scalars are; None where unbounded.
    ``has_unit_flag``: the hardware itself orders mmad and fixpipe, fractal by fractal.
    Units: bytes.
    """

    op: Op
    pipe: Pipe
    is_write: bool
    space: Space
    pointer: Pointer
    low: int = 0
    high: int | None = None  # None: to the end of the slot or the argument
    has_unit_flag: bool = False
    extent: tuple[int, int] | None = None

    @property
    def root(self) -> Value | None:
        return self.pointer.root

    @property
    def base(self) -> Affine | None:
        return self.pointer.offset


def with_slots(access: StaticAccess, slots: int) -> StaticAccess:
    """An access as it is where its buffer has so many slots."""
    pointer = access.pointer
    slot = None if pointer.slot is None or slots == 1 else Slot(pointer.slot.index, slots)
    return replace(access, pointer=Pointer(pointer.root, slot, pointer.offset))


def pipe_of(op: Op) -> Pipe:
    """The pipe that runs an op: scalar ops run on the scalar unit."""
    return op.definition.machine.pipe(op) if op.definition.machine is not None else Pipe.S


class Accesses:
    """What the ops of a function touch, each looked at once; ``facts`` tells where their pointers point.

    A snapshot, which later changes of the function make stale.
    """

    def __init__(self) -> None:
        self.facts = ScalarFacts()
        self._found: dict[Op, tuple[StaticAccess, ...]] = {}

    def of(self, op: Op) -> tuple[StaticAccess, ...]:
        """What ``op`` itself, without its regions, reads and writes."""
        found = self._found.get(op)
        if found is None:
            found = self._found[op] = tuple(self._look_at(op))
        return found

    def touched_buffers(self, op: Op) -> Iterator[tuple[Op, StaticAccess]]:
        """The buffer op behind each access of ``op``; one whose pointer cannot be followed has none."""
        for access in self.of(op):
            if access.root is not None and access.root.defining_op is not None:
                yield access.root.defining_op, access

    def _look_at(self, op: Op) -> Iterator[StaticAccess]:
        if op.name in (LOAD.name, STORE.name):
            element = op.operand("pointer").type.element
            assert isinstance(element, PointerType)
            whole = (0, element.element.itemsize)
            yield from self._through(op, "pointer", Pipe.S, op.name == STORE.name, whole)
            return
        facts = op.definition.machine
        if facts is None or not (facts.reads or facts.writes):
            return
        pipe, ranges = facts.pipe(op), _operand_ranges(op, self.facts)
        for names, is_write in ((facts.reads, False), (facts.writes, True)):
            for name in names:
                if not op.operand_list(name):
                    continue
                found = (0, None) if ranges is None else ranges.get((name, is_write))
                if found is not None:
                    yield from self._through(op, name, pipe, is_write, found)

    def _through(
        self, op: Op, name: str, pipe: Pipe, is_write: bool, found: tuple[int, int | None]
    ) -> Iterator[StaticAccess]:
        """The accesses through one pointer operand, one for each place where it may point."""
        value, is_flagged = op.operand(name), bool(op.attributes.get(_UNIT_FLAG, 0))
        element, (low, high) = value.type.element, found
        assert isinstance(element, PointerType)
        for pointer in self.facts.pointers(value):
            reach = None if pointer.offset is None else self.facts.affine_bounds(pointer.offset)
            extent = None if reach is None or high is None else (reach[0] + low, reach[1] + high)
            yield StaticAccess(op, pipe, is_write, element.space, pointer, low, high, is_flagged, extent)


def _operand_ranges(op: Op, known: ScalarFacts) -> dict[tuple[str, bool], tuple[int, int | None]] | None:
    """The bytes from each pointer operand on that the op touches at most; None where nothing bounds them."""
    facts = op.definition.machine
    assert facts is not None
    names: list[str] = []
    values: dict[str, int | float] = {}
    for name, operands in op.named_operands().items():
        if not operands:
            continue
        element = operands[0].type.element
        if isinstance(element, PointerType):
            names.append(name)
            values[name] = len(names) * _APART
        elif isinstance(element, DType) and element.is_floating():
            values[name] = 0.0
        elif element == INT1:
            values[name] = 0  # of mmad: it adds to what is there, and so reads it
        else:
            limits = known.bounds(operands[0])
            if limits is None or limits[1] >= 1 << 31:
                return None
            values[name] = max(limits[1], 0)
    found: dict[tuple[str, bool], tuple[int, int | None]] = {}
    for access in facts.accesses(Instruction(op, values, CoreState())):
        if access.is_empty:
            continue
        owner = (access.start + _APART // 2) // _APART
        start = access.start - owner * _APART
        end = access.end - owner * _APART
        start += sum((count - 1) * stride for count, stride in access.dims if stride < 0)
        key = (names[owner - 1], access.is_write)
        low, high = found.get(key, (start, end))
        found[key] = (min(low, start), max(high or end, end))
    return found


def slot_size(buffer: Op) -> int:
    """Bytes that one slot of a buffer op holds."""
    elements, element = buffer.attributes["elements"], buffer.attributes["element"]
    assert isinstance(elements, int) and isinstance(element, DType)
    return elements * element.itemsize


def buffers_of(ops: Iterator[Op]) -> list[Op]:
    """The buffer ops among ``ops``, in order."""
    return [op for op in ops if op.name == BUFFER.name]
