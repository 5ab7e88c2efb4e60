"""Finds which instructions of a machine function must wait for which: its hazards.

Two accesses conflict where they may share a byte and one of them writes. Bytes are compared as ranges: within
a buffer by slot and by offset, between buffers by address (``allocate`` may have let them share memory), in
GM by argument. Two arguments overlap only where their alias classes are equal.

A conflict is a hazard within one trip of the loops around both ops, or from trip to trip of one of these
loops. Where both name the slot with one index that changes from trip to trip, only trips with the same slot
conflict: such a hazard carries the slot as its ``key``.

No hazards are:

- a write after a read on one pipe: pipes start in order;
- two stores to GM that combine in the same way, and mmads long enough to follow each other in order;
- mmad and fixpipe under a unit flag, which the hardware orders;
- accesses of two programs to an argument, which no kernel may rely on: the loop over programs runs from
  ``block_index`` in steps of ``block_count``;
- two writes of one pipe to a GM buffer that the other function of a mixed kernel touches too: between them
  that function reads, and cross-core flags order it with both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from tilejit.ir.core import ArgumentSource, Block, Function, Op, Value
from tilejit.ops import CONSTANT, FOR
from tilejit.ops.machine.buffer import UNPLACED, is_program_loop
from tilejit.ops.machine.sync import SET_ATOMIC, StoreAtomic
from tilejit.passes.machine_accesses import Accesses, StaticAccess, slot_size
from tilejit.passes.machine_pointers import Affine, ScalarFacts
from tilejit.passes.program_order import LOOPS, ProgramOrder, blocks_around, holders, loops_around
from tilejit.records import dataclass
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Pipe, Space

_FRACTAL_ROWS = 16


@dataclass(frozen=True)
class SlotKey:
    """A slot that an index names: ``index`` modulo ``modulus``."""

    index: Affine
    modulus: int

    def serves(self, other: SlotKey) -> bool:
        """Whether equal slots of ``other`` are equal slots of this."""
        difference = self.index.distance_from(other.index)
        return other.modulus % self.modulus == 0 and difference is not None and difference % self.modulus == 0

    def varies_in(self, loop: Op) -> bool:
        """Whether the index may change from trip to trip of ``loop``."""
        return any(is_defined_in(value, loop) for value in self.index.terms)


@dataclass(frozen=True)
class Hazard:
    """``later`` must not start before ``earlier`` is done.

    ``loop`` is None within one trip; else the hazard goes from a trip of this loop to later ones. ``key``:
    the slot that both name; of a carried hazard it means that only trips with the same slot conflict.
    """

    earlier: Op
    later: Op
    loop: Op | None = None
    key: SlotKey | None = None


def is_defined_in(value: Value, loop: Op) -> bool:
    """Whether ``value`` is made in ``loop``, so that it may differ from trip to trip."""
    owner = value.owner
    if isinstance(owner, Op):
        return any(holder is loop for holder in holders(owner))
    return owner.parent is loop or (
        isinstance(owner.parent, Op) and any(holder is loop for holder in holders(owner.parent))
    )


def find_hazards(
    function: Function, order: ProgramOrder, target: AscendTarget, shared: Collection[str] = ()
) -> list[Hazard]:
    """All hazards of a function but those that others imply by the order of a pipe in one block.

    ``shared`` names the GM buffers that another core touches too.
    """
    finder = _Finder(function, order, target.mmad_barrier_fractals, shared)
    return list(_strongest(finder.hazards(), order))


class _Finder:
    """Compares accesses that may reach the same memory."""

    def __init__(
        self, function: Function, order: ProgramOrder, long_mmad: int, shared: Collection[str]
    ) -> None:
        self.order = order
        self.long_mmad = long_mmad
        self.shared = shared
        self.arguments = {
            value: record for value, record in zip(function.body.arguments, function.arguments, strict=True)
        }
        self.atomic = _atomic_modes(function)
        self._known_blocks: dict[tuple[Block, Block], tuple[bool, list[Op]]] = {}
        accesses = Accesses()
        self.facts = accesses.facts
        self.accesses = [access for op in order.ops for access in accesses.of(op)]

    def hazards(self) -> Iterator[Hazard]:
        """Hazards between every two accesses, in program order of the later one's op."""
        groups: dict[tuple[Space, Value | None], list[StaticAccess]] = {}
        for access in self.accesses:
            groups.setdefault((access.space, access.root), []).append(access)
        keys = list(groups)
        for position, left in enumerate(keys):
            for right in keys[position:]:
                if left[0] is not right[0] or not self._may_meet(left[1], right[1]):
                    continue
                for first, second in _pairs(groups[left], groups[right]):
                    yield from self._between(first, second)

    def _may_meet(self, left: Value | None, right: Value | None) -> bool:
        """Whether memory that two roots stand for has common bytes."""
        if left is right or left is None or right is None:
            return True
        left_buffer, right_buffer = left.defining_op, right.defining_op
        if left_buffer is not None and right_buffer is not None:
            (a, b), (c, d) = _span(left_buffer), _span(right_buffer)
            return a >= 0 and c >= 0 and a < d and c < b
        if left_buffer is None and right_buffer is None:
            classes = (self.arguments[left].alias_class, self.arguments[right].alias_class)
            return classes[0] is not None and classes[0] == classes[1]
        argument = self.arguments[left if left_buffer is None else right]
        return argument.source is ArgumentSource.WORKSPACE

    def _between(self, first: StaticAccess, second: StaticAccess) -> Iterator[Hazard]:
        if not (first.is_write or second.is_write):
            return
        if self.order.enter[first.op] > self.order.enter[second.op]:
            first, second = second, first
        waits, is_waited_for = self._needs_order(first, second), self._needs_order(second, first)
        if not (waits or is_waited_for):
            return
        are_exclusive, common = self._blocks_of_both(first.op, second.op)
        within_trip: Hazard | None = None
        if waits and first.op is not second.op and not are_exclusive:
            within_trip = self._hazard(first, second, None)
        if within_trip is not None:
            yield within_trip
            waits = False  # what waits within a trip waits in later trips too
        for loop in common:
            for earlier, later, needs_order in ((second, first, is_waited_for), (first, second, waits)):
                found = self._hazard(earlier, later, loop) if needs_order else None
                if found is not None:
                    yield found

    def _blocks_of_both(self, first: Op, second: Op) -> tuple[bool, list[Op]]:
        """Whether two ops lie in different arms of an if, and the loops around both, from the innermost."""
        assert first.parent is not None and second.parent is not None
        blocks = (first.parent, second.parent)
        found = self._known_blocks.get(blocks)
        if found is None:
            inner = set(loops_around(first))
            common = [loop for loop in loops_around(second) if loop in inner]
            found = self._known_blocks[blocks] = (_are_exclusive(first, second), common)
        return found

    def _hazard(self, earlier: StaticAccess, later: StaticAccess, loop: Op | None) -> Hazard | None:
        """The hazard between two accesses whose roots meet, if they do in this loop."""
        conflict, key = self._conflict(earlier, later, loop)
        return Hazard(earlier.op, later.op, loop, key) if conflict else None

    def _needs_order(self, earlier: StaticAccess, later: StaticAccess) -> bool:
        """Whether hardware leaves these two, if they conflict, unordered."""
        if earlier.pipe is later.pipe:
            if later.pipe is Pipe.S or not earlier.is_write:
                return False
            if earlier.op.name == later.op.name == "mmad" and self._follow_in_order(earlier, later):
                return False
        elif earlier.has_unit_flag and later.has_unit_flag:
            return False
        if earlier.space is Space.GM and earlier.is_write and later.is_write:
            modes = {self._combines(earlier), self._combines(later)}
            if len(modes) == 1 and modes & {StoreAtomic.ADD, StoreAtomic.MAX, StoreAtomic.MIN}:
                return False
            root = earlier.root
            if earlier.pipe is later.pipe and root is not None and root is later.root:
                return root.defining_op is None or root.name not in self.shared
        return True

    def _combines(self, access: StaticAccess) -> StoreAtomic | None:
        """How a store combines with what is there; one of the scalar unit never does."""
        return StoreAtomic.NONE if access.pipe is Pipe.S else self.atomic.get(access.op)

    def _follow_in_order(self, earlier: StaticAccess, later: StaticAccess) -> bool:
        """Whether two mmads work on one tile of so many fractals that the cube unit keeps their order."""
        fractals = 1
        for name in ("m", "n"):
            sizes = {self.facts.bounds(access.op.operand(name)) for access in (earlier, later)}
            size = sizes.pop()
            if sizes or size is None or size[0] != size[1]:
                return False
            fractals *= -(-size[0] // _FRACTAL_ROWS)
        same_tile = (earlier.root, earlier.base, earlier.pointer.slot) == (
            later.root, later.base, later.pointer.slot
        )  # fmt: skip
        return same_tile and fractals >= self.long_mmad

    def _conflict(
        self, earlier: StaticAccess, later: StaticAccess, loop: Op | None
    ) -> tuple[bool, SlotKey | None]:
        """Whether two accesses whose roots meet may share a byte, and the slot which they then both name."""
        root = earlier.root
        if root is None or root is not later.root:
            return True, None
        argument = self.arguments.get(root)
        is_of_caller = argument is not None and argument.source is ArgumentSource.VALUE
        if loop is not None and is_of_caller and is_program_loop(loop):
            return False, None
        slot, other = earlier.pointer.slot, later.pointer.slot
        if slot is None or other is None:
            return self._offsets_meet(earlier, later, loop), None
        if slot.index is None or other.index is None:
            return _extents_meet(earlier, later), None
        difference = other.index.distance_from(slot.index)
        key = SlotKey(slot.index, slot.slots)
        if difference is None or (loop is not None and difference % slot.slots and key.varies_in(loop)):
            return _extents_meet(earlier, later), None
        if difference % slot.slots:
            return False, None
        if loop is None:
            return self._offsets_meet(earlier, later, None), key
        return self._offsets_meet(earlier, later, loop), key if key.varies_in(loop) else None

    def _offsets_meet(self, earlier: StaticAccess, later: StaticAccess, loop: Op | None) -> bool:
        """Whether two accesses to one slot may share a byte, in one trip or from trip to trip of ``loop``."""
        if earlier.base is None or later.base is None or earlier.high is None or later.high is None:
            return _extents_meet(earlier, later)
        distance = later.base.distance_from(earlier.base)
        if distance is None:
            return _extents_meet(earlier, later)
        # The later one starts `distance` behind the earlier; they meet for distances between these bounds.
        lowest, highest = earlier.low - later.high + 1, earlier.high - later.low - 1
        if loop is None:
            return lowest <= distance <= highest
        step = self._step_per_trip(later.base, loop)
        if step is None:
            return _extents_meet(earlier, later)
        if step < 0:
            lowest, highest, distance, step = -highest, -lowest, -distance, -step
        if step == 0:
            return lowest <= distance <= highest
        # Any whole number of trips of at least one.
        trips = max(1, -((distance - lowest) // step))
        return distance + trips * step <= highest

    def _step_per_trip(self, form: Affine, loop: Op) -> int | None:
        """How far an offset moves with each trip of ``loop``; None where that is not one number."""
        moved = 0
        for value, factor in form.terms.items():
            if not is_defined_in(value, loop):
                continue
            step = self._value_step(value, loop)
            if step is None:
                return None
            moved += factor * step
        return moved

    def _value_step(self, value: Value, loop: Op) -> int | None:
        body = loop.regions[-1]
        if value.owner is not body:
            return None
        position = value.index
        if loop.name == FOR.name:
            if position == 0:
                step = loop.operand("step").defining_op
                number = step.attributes["value"] if step is not None and step.name == CONSTANT.name else None
                return number if isinstance(number, int) else None
            position -= 1
        return self.facts.affine(body.terminator.operands[position]).distance_from(Affine(0, {value: 1}))


def _pairs(
    left: Sequence[StaticAccess], right: Sequence[StaticAccess]
) -> Iterator[tuple[StaticAccess, StaticAccess]]:
    """Pairs of accesses to two roots that may share a byte, as far as addresses tell; or to one root."""
    if left is right:
        for position, first in enumerate(left):
            for second in right[position:]:
                yield first, second
        return
    others = [(second, _address_ranges(second)) for second in right]
    for first in left:
        own = _address_ranges(first)
        for second, ranges in others:
            if own is None or ranges is None or any(a < d and c < b for a, b in own for c, d in ranges):
                yield first, second


def _span(buffer: Op) -> tuple[int, int]:
    """The addresses of a buffer with all its slots; negative before allocation."""
    address, slots = buffer.attributes["address"], buffer.attributes["slots"]
    slot_bytes = buffer.attributes["slot_bytes"]
    assert isinstance(address, int) and isinstance(slots, int) and isinstance(slot_bytes, int)
    size = max(slots * slot_bytes, slot_size(buffer))
    return (UNPLACED, UNPLACED) if address == UNPLACED else (address, address + size)


def _address_ranges(access: StaticAccess) -> list[tuple[int, int]] | None:
    """The address ranges that an access to a placed buffer may lie in: one for each slot it may name.

    None for what is no access to a buffer.
    """
    buffer = access.root.defining_op if access.root is not None else None
    if buffer is None:
        return None
    address, _ = _span(buffer)
    low, high = access.extent or (0, slot_size(buffer))
    slot_bytes = buffer.attributes["slot_bytes"]
    assert isinstance(slot_bytes, int)
    slot = access.pointer.slot
    numbers: Sequence[int] = range(1 if slot is None else slot.slots)
    if slot is not None and slot.index is not None and slot.index.is_constant:
        numbers = [slot.index.constant % slot.slots]
    return [(address + number * slot_bytes + low, address + number * slot_bytes + high) for number in numbers]


def _extents_meet(left: StaticAccess, right: StaticAccess) -> bool:
    """Whether two accesses to one root may share a byte, whatever trips they are in."""
    first, second = left.extent, right.extent
    if first is None or second is None:
        return True
    return first[0] < second[1] and second[0] < first[1]


def _are_exclusive(left: Op, right: Op) -> bool:
    """Whether two ops lie in different arms of an if."""
    around = blocks_around(left)
    for block in blocks_around(right):
        if block in around:
            return False
        parent = block.parent
        is_shared = isinstance(parent, Op) and any(other.parent is parent for other in around)
        if is_shared and isinstance(parent, Op) and parent.name not in LOOPS:
            return True
    return False


def _atomic_modes(function: Function) -> dict[Op, StoreAtomic | None]:
    """The mode in which each instruction that may store is issued; None where it depends on the run."""
    modes: dict[Op, StoreAtomic | None] = {}

    def run(block: Block, mode: StoreAtomic | None) -> StoreAtomic | None:
        for op in block.ops:
            if op.name == SET_ATOMIC.name:
                kind = op.attributes["kind"]
                assert isinstance(kind, StoreAtomic)
                mode = kind
            modes[op] = mode
            if op.regions:
                entered = None if op.name in LOOPS and any(map(_changes_mode, op.regions)) else mode
                ends = {run(region, entered) for region in op.regions}
                if op.name in LOOPS:
                    ends.add(mode)
                mode = ends.pop() if len(ends) == 1 else None
        return mode

    run(function.body, StoreAtomic.NONE)
    return modes


def _changes_mode(block: Block) -> bool:
    return any(op.name == SET_ATOMIC.name for op in block.walk())


def _strongest(hazards: Iterator[Hazard], order: ProgramOrder) -> Iterator[Hazard]:
    """Drop hazards that another one of the same pipes and blocks implies.

    In one block, what waits for the last op of a pipe waits for those before it, and what is behind the first
    op of a pipe that waits starts behind it.
    """
    pipes: Mapping[Op, Pipe] = _Pipes()
    latest: dict[object, Hazard] = {}
    for hazard in hazards:
        earlier = hazard.earlier
        group = (hazard.loop, hazard.later, earlier.parent, pipes[earlier], _spell(hazard))
        best = latest.get(group)
        if best is None or order.enter[best.earlier] < order.enter[earlier]:
            latest[group] = hazard
    first: dict[object, Hazard] = {}
    for hazard in latest.values():
        later = hazard.later
        group = (hazard.loop, hazard.earlier, later.parent, pipes[later], _spell(hazard))
        best = first.get(group)
        if best is None or order.enter[best.later] > order.enter[later]:
            first[group] = hazard
    yield from first.values()


def _spell(hazard: Hazard) -> object:
    """What tells keys of carried hazards apart."""
    if hazard.loop is None or hazard.key is None:
        return None
    key = hazard.key
    return key.modulus, key.index.constant % key.modulus, frozenset(key.index.terms.items())


class _Pipes(dict[Op, Pipe]):
    def __missing__(self, op: Op) -> Pipe:
        facts = op.definition.machine
        self[op] = found = Pipe.S if facts is None else facts.pipe(op)
        return found


def lowest_index(key: SlotKey) -> int | None:
    """The smallest value of a key's index, its constant reduced; None where nothing is known."""
    found = ScalarFacts().affine_bounds(Affine(key.index.constant % key.modulus, key.index.terms))
    return None if found is None else found[0]
