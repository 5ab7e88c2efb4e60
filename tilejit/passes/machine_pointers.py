"""Where the pointers of a machine function point, as far as its text tells.

A pointer is followed through ``addptr``, ``slot``, ``reinterpret``, selects and carried values to the buffers
and arguments it can come from. Its offset is an affine form over scalars that the text does not resolve, so
that two pointers can be compared: across the trips of a loop, or lane by lane of one trip. Offsets are taken
not to wrap: they count elements of real memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from tilejit.ir.core import Block, Op, Value
from tilejit.ir.types import DType
from tilejit.ops import ADD, ADDPTR, CAST, CONSTANT, FOR, IDIV, IF, IREM, MAX, MIN, MUL, SELECT, SHL, SUB
from tilejit.ops.machine.buffer import BLOCK_COUNT, BLOCK_INDEX, BUFFER, REINTERPRET, SLOT, SUB_BLOCK_INDEX
from tilejit.records import dataclass

Bounds = tuple[int, int]
_DEEPEST = 64


@dataclass(frozen=True)
class Affine:
    """``constant`` plus each scalar times its factor."""

    constant: int = 0
    terms: Mapping[Value, int] = field(default_factory=dict)

    def plus(self, other: Affine, factor: int = 1) -> Affine:
        """This form and ``factor`` times another."""
        terms = dict(self.terms)
        for value, count in other.terms.items():
            terms[value] = terms.get(value, 0) + factor * count
        kept = {value: count for value, count in terms.items() if count}
        return Affine(self.constant + factor * other.constant, kept)

    def times(self, factor: int) -> Affine:
        return Affine().plus(self, factor)

    def distance_from(self, other: Affine) -> int | None:
        """How much larger this form is than another; None where that is not one number."""
        return self.constant - other.constant if self.terms == other.terms else None

    @property
    def is_constant(self) -> bool:
        return not self.terms


@dataclass(frozen=True)
class Slot:
    """Which slot of a buffer: ``index`` modulo ``slots``; None is any."""

    index: Affine | None
    slots: int


@dataclass(frozen=True)
class Pointer:
    """One place where a pointer may point.

    ``root``: the result of a buffer op, or an argument of the function; None where it cannot be told.
    ``slot`` is None for roots of one slot. Units: ``offset`` in bytes from the slot's start; None is unknown.
    """

    root: Value | None
    slot: Slot | None = None
    offset: Affine | None = None


class ScalarFacts:
    """What is known of the scalars and pointers of a function, each looked at once.

    A snapshot, which later changes of the function make stale.
    """

    def __init__(self) -> None:
        self._affine: dict[Value, Affine] = {}
        self._bounds: dict[Value, Bounds | None] = {}
        self._pointers: dict[Value, tuple[Pointer, ...]] = {}

    def affine(self, value: Value) -> Affine:
        """The affine form of an integer scalar; the value itself where nothing is known."""
        found = self._affine.get(value)
        if found is None:
            found = self._affine[value] = _affine(value, 0)
        return found

    def bounds(self, value: Value) -> Bounds | None:
        """The smallest and the largest value that an integer scalar can have; None where nothing is known."""
        if value not in self._bounds:
            self._bounds[value] = _bounds(self, value, 0, {})
        return self._bounds[value]

    def affine_bounds(self, form: Affine) -> Bounds | None:
        """The range of an affine form."""
        low = high = form.constant
        for value, factor in form.terms.items():
            found = self.bounds(value)
            if found is None:
                return None
            corners = (found[0] * factor, found[1] * factor)
            low, high = low + min(corners), high + max(corners)
        return (low, high)

    def pointers(self, value: Value) -> tuple[Pointer, ...]:
        """The places where a scalar pointer may point, at least one."""
        found = self._pointers.get(value)
        if found is None:
            found = self._pointers[value] = tuple(_follow(self, value, frozenset(), 0)) or (Pointer(None),)
        return found


def _affine(value: Value, depth: int) -> Affine:
    op = value.defining_op
    if op is None or depth > _DEEPEST:
        return Affine(0, {value: 1})
    name = op.name
    if name == CONSTANT.name:
        number = op.attributes["value"]
        return Affine(number) if isinstance(number, int) else Affine(0, {value: 1})
    if name in (ADD.name, SUB.name):
        left, right = (_affine(operand, depth + 1) for operand in op.operands)
        return left.plus(right, 1 if name == ADD.name else -1)
    if name == CAST.name and _is_integer(op.operands[0]) and _is_integer(value):
        return _affine(op.operands[0], depth + 1)
    if name in (MUL.name, SHL.name):
        left, right = (_affine(operand, depth + 1) for operand in op.operands)
        if right.is_constant and 0 <= right.constant < 1 << 31:
            return left.times(right.constant if name == MUL.name else 1 << right.constant % 64)
        if left.is_constant and name == MUL.name:
            return right.times(left.constant)
    return Affine(0, {value: 1})


def _is_integer(value: Value) -> bool:
    element = value.type.element
    return isinstance(element, DType) and not element.is_floating()


def _bounds(facts: ScalarFacts, value: Value, depth: int, found: dict[Value, Bounds]) -> Bounds | None:
    """The range of a value at some depth; ``found`` has what is known of values that several ops use."""
    if depth > _DEEPEST:
        return None
    if value not in found:
        known = _bounds_of(facts, value, depth, found)
        if known is None:
            return None
        found[value] = known
    return found[value]


def _bounds_of(facts: ScalarFacts, value: Value, depth: int, known: dict[Value, Bounds]) -> Bounds | None:
    op = value.defining_op
    if op is None:
        return _argument_bounds(facts, value)
    if op.name == CONSTANT.name:
        number = op.attributes["value"]
        return (number, number) if isinstance(number, int) else None
    if op.name in (BLOCK_INDEX.name, BLOCK_COUNT.name):
        return (0, (1 << 16) - 1)
    if op.name == SUB_BLOCK_INDEX.name:
        return (0, 1)
    found = [
        _bounds(facts, operand, depth + 1, known) if _is_integer(operand) else None for operand in op.operands
    ]
    if op.name == SELECT.name:
        found = found[1:]
    return _combined(op, found)


def _combined(op: Op, found: list[Bounds | None]) -> Bounds | None:
    known = [item for item in found if item is not None]
    if op.name == MIN.name and known:
        low = min(b[0] for b in known) if len(known) == len(found) else -(1 << 62)
        return (low, min(b[1] for b in known))
    if op.name == MAX.name and known:
        high = max(b[1] for b in known) if len(known) == len(found) else 1 << 62
        return (max(b[0] for b in known), high)
    if op.name == IREM.name and found[1] is not None and found[1][0] > 0:
        limit = found[1][1] - 1
        is_positive = found[0] is not None and found[0][0] >= 0
        return (0 if is_positive else -limit, limit)
    if not known or len(known) != len(found):
        return None
    if op.name == CAST.name and _is_integer(op.result):
        return known[0]
    if op.name == SELECT.name:
        return (min(b[0] for b in known), max(b[1] for b in known))
    if op.name == ADD.name:
        return (known[0][0] + known[1][0], known[0][1] + known[1][1])
    if op.name == SUB.name:
        return (known[0][0] - known[1][1], known[0][1] - known[1][0])
    if op.name == MUL.name:
        corners = [a * b for a in known[0] for b in known[1]]
        return (min(corners), max(corners))
    if op.name == IDIV.name and known[1][0] > 0 and known[0][0] >= 0:
        return (known[0][0] // known[1][1], known[0][1] // known[1][0])
    return None


def _argument_bounds(facts: ScalarFacts, value: Value) -> Bounds | None:
    """The range of the index of a for loop with known bounds, or of a counter that only rises."""
    loop = value.owner.parent if isinstance(value.owner, Block) else None
    if not isinstance(loop, Op) or not loop.regions:
        return None
    if loop.name != FOR.name or value.index != 0:
        return _counter_bounds(facts, value, loop)
    lower, upper, step = (facts.bounds(loop.operand(name)) for name in ("lower", "upper", "step"))
    if lower is None or step is None or step[0] <= 0:
        return None
    highest = (1 << 62) if upper is None else max(upper[1] - 1, lower[0])
    return (lower[0], highest)


def _counter_bounds(facts: ScalarFacts, value: Value, loop: Op) -> Bounds | None:
    position = value.index - (1 if loop.name == FOR.name else 0)
    first = facts.bounds(loop.operand_list("inits")[position])
    passed_on = loop.regions[-1].terminator.operands[position]
    if first is None or not _only_rises(facts, passed_on, loop.regions[-1].arguments[value.index], 0):
        return None
    return (first[0], 1 << 62)


def _only_rises(facts: ScalarFacts, value: Value, start: Value, depth: int) -> bool:
    """Whether ``value`` is never less than ``start``, however often loops in between run."""
    if value is start:
        return True
    op = value.defining_op
    if op is None or depth > _DEEPEST:
        return False
    if op.name == ADD.name:
        left, right = op.operands
        steps = (facts.affine(left), facts.affine(right))
        if steps[1].is_constant and steps[1].constant >= 0:
            return _only_rises(facts, left, start, depth + 1)
        return steps[0].is_constant and steps[0].constant >= 0 and _only_rises(facts, right, start, depth + 1)
    if op.name == FOR.name:
        inner = op.regions[0].arguments[value.index + 1]
        passed_on = op.regions[0].terminator.operands[value.index]
        entered = op.operand_list("inits")[value.index]
        return _only_rises(facts, passed_on, inner, depth + 1) and _only_rises(
            facts, entered, start, depth + 1
        )
    if op.name == IF.name:
        arms = [region.terminator.operands[value.index] for region in op.regions]
        return all(_only_rises(facts, arm, start, depth + 1) for arm in arms)
    return False


def _follow(facts: ScalarFacts, value: Value, visiting: frozenset[Value], depth: int) -> list[Pointer]:
    if value in visiting:
        return []
    if depth > _DEEPEST:
        return [Pointer(None)]
    op = value.defining_op
    if op is None:
        return _follow_argument(facts, value, visiting, depth)
    if op.name == BUFFER.name:
        slots = op.attributes["slots"]
        assert isinstance(slots, int)
        return [Pointer(value, Slot(Affine(), slots) if slots > 1 else None, Affine())]
    if op.name == ADDPTR.name:
        pointer_type = value.type.element
        assert not isinstance(pointer_type, DType)
        moved = facts.affine(op.operand("offset")).times(pointer_type.element.itemsize)
        return [
            Pointer(p.root, p.slot, None if p.offset is None else p.offset.plus(moved))
            for p in _follow(facts, op.operand("pointer"), visiting, depth + 1)
        ]
    if op.name == REINTERPRET.name:
        return _follow(facts, op.operand("pointer"), visiting, depth + 1)
    if op.name == SLOT.name:
        index = facts.affine(op.operand("index"))
        return [
            Pointer(p.root, None if p.slot is None else Slot(index, p.slot.slots), p.offset)
            for p in _follow(facts, op.operand("buffer"), visiting, depth + 1)
        ]
    if op.name == SELECT.name:
        sources = [op.operands[1], op.operands[2]]
    elif op.name == IF.name:
        sources = [region.terminator.operands[value.index] for region in op.regions]
    elif op.regions:  # a loop: what it starts with, and what a trip hands on
        sources = [op.operand_list("inits")[value.index], op.regions[-1].terminator.operands[value.index]]
    else:
        return [Pointer(None)]
    return _merged(facts, sources, visiting | {value}, depth)


def _follow_argument(
    facts: ScalarFacts, value: Value, visiting: frozenset[Value], depth: int
) -> list[Pointer]:
    holder = value.owner.parent if isinstance(value.owner, Block) else None
    if not isinstance(holder, Op):
        return [Pointer(value, None, Affine())]
    position = value.index - (1 if holder.name == FOR.name else 0)
    if position < 0 or not holder.definition.regions:
        return [Pointer(None)]
    sources = [holder.operand_list("inits")[position], holder.regions[-1].terminator.operands[position]]
    return _merged(facts, sources, visiting | {value}, depth)


def _merged(
    facts: ScalarFacts, sources: list[Value], visiting: frozenset[Value], depth: int
) -> list[Pointer]:
    """The places of several pointers of which one is taken: where they differ, the offset is unknown."""
    found: list[Pointer] = []
    for source in sources:
        found += _follow(facts, source, visiting, depth + 1)
    merged: dict[Value | None, Pointer] = {}
    for pointer in found:
        slot = None if pointer.slot is None else Slot(None, pointer.slot.slots)
        merged[pointer.root] = Pointer(pointer.root, slot, None)
    return list(merged.values())
