"""Puts flags and barriers into machine functions, so that hazards are ordered and the rest runs free.

Before: machine functions without flags and barriers, in which the order of the text is what is meant; buffers
may have addresses or not. After: every hazard (``sync_hazards``) is ordered by flags and barriers
(``sync_placement``), with event ids that the target has (``sync_events``); every flag is set and waited for
alternately and lowered in the end, on every path; no flag or barrier is there that the others make needless.

What is ordered is proved by ``sync_order``; nothing is assumed of how long anything takes. Loops may run zero
times, arms may be missed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tilejit.diagnostics import InternalError
from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.machine import MachineKernel
from tilejit.ir.opdef import Attribute, OpDef
from tilejit.ir.types import INT32, INT64
from tilejit.ops import ADD, CAST, CONSTANT, IREM, MUL
from tilejit.ops.machine.buffer import BUFFER
from tilejit.ops.machine.sync import PIPE_BARRIER, SET_FLAG, WAIT_FLAG
from tilejit.passes.manager import PassContext
from tilejit.passes.sync_events import assign_events
from tilejit.passes.sync_hazards import Hazard, SlotKey, lowest_index
from tilejit.passes.sync_order import Flag, Point, Sync, prime_and_drain
from tilejit.passes.sync_placement import Placement
from tilejit.records import dataclass
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Core, Space


@dataclass(frozen=True)
class Inserted:
    """A flag or barrier that the pass put in: its ops, all of which go or stay together."""

    sync: Sync
    ops: tuple[Op, ...]


@dataclass(frozen=True)
class Synchronised:
    """What was put into a function, and how often pipes wait for more than they must for lack of ids."""

    inserted: Sequence[Inserted]
    needless: int


def insert_sync(
    kernel: MachineKernel, target: AscendTarget, context: PassContext, cores: Collection[Core] = tuple(Core)
) -> Mapping[Core, Synchronised]:
    """Synchronise the pipes of ``kernel`` on some kinds of core, in place; returns what was put in."""
    shared = _shared_buffers(kernel)
    return {
        core: synchronise(function, target, context, shared)
        for core, function in kernel.functions.items()
        if core in cores
    }


def synchronise(
    function: Function, target: AscendTarget, context: PassContext, shared: frozenset[str] = frozenset()
) -> Synchronised:
    """Synchronise one function in place; ``shared`` names GM buffers that the other core touches too."""
    placement = Placement(function, target, shared)
    if context.options.enables_on_ascend("sync_pruning"):
        placement.place_all()
        placement.prune()
    else:
        placement.stop_all_pipes()
    needless = assign_events(placement, target.emitted_event_ids, context)
    for (source, waiting), wanted in placement.lacking.items():
        op = wanted.later if isinstance(wanted, Hazard) else wanted.wait_point.anchor
        context.remark(
            f"there are no flags from {source.value} to {waiting.value}: a barrier of all pipes", op.location
        )
    for hazard in placement.hazards:
        if placement.proof(hazard) is None:
            raise InternalError(
                f"{hazard.earlier.name} and {hazard.later.name} are left unordered", hazard.later.location
            )
    return Synchronised(_Writer(function, placement).write(), needless)


def _shared_buffers(kernel: MachineKernel) -> frozenset[str]:
    """The names of the GM buffers that both functions of a mixed kernel have."""
    names = [
        {
            op.result.name
            for op in function.body.ops
            if op.name == BUFFER.name and op.attributes["space"] is Space.GM
        }
        for function in kernel.functions.values()
    ]
    return frozenset(names[0] & names[1]) if len(names) == 2 else frozenset()


class _Writer:
    """Turns syncs into ops."""

    def __init__(self, function: Function, placement: Placement) -> None:
        self.function = function
        self.placement = placement
        self.constants: dict[int, Value] = {}
        self.ids: list[tuple[Block, SlotKey, int, Value]] = []

    def write(self) -> list[Inserted]:
        syncs = self.placement.orders.syncs
        position = self.placement.orders.position
        wanted: list[tuple[int, int, Point, Op, OpDef, Sync]] = []
        for number, sync in enumerate(syncs):
            for point, record in _points(sync):
                wanted.append((position(point), number, point, _op_behind(point), record, sync))
        made: dict[Sync, list[Op]] = {sync: [] for sync in syncs}
        for _, _, point, before, record, sync in sorted(wanted, key=lambda item: item[:2]):
            made[sync] += self._put(point, before, record, sync)
        return [Inserted(sync, tuple(ops)) for sync, ops in made.items()]

    def _put(self, point: Point, before: Op, record: OpDef, sync: Sync) -> list[Op]:
        if not isinstance(sync, Flag):
            return [self._op(before, point, record, {"pipe": sync.pipe})]
        attributes = {"source": sync.source, "target": sync.target}
        if sync.key is None:
            return [self._op(before, point, record, attributes, id=self._constant(sync.base))]
        if point in prime_and_drain(sync) if sync.is_returning else False:
            return [
                self._op(before, point, record, attributes, id=self._constant(sync.base + number))
                for number in range(sync.ids)
            ]
        return [self._op(before, point, record, attributes, id=self._slot_id(sync, before))]

    def _op(
        self, before: Op, point: Point, record: OpDef, attributes: Mapping[str, Attribute], **operands: Value
    ) -> Op:
        op = Op(record, operands, attributes, (), point.anchor.location)
        assert before.parent is not None
        return before.parent.insert_before(before, op)

    def _constant(self, number: int) -> Value:
        found = self.constants.get(number)
        if found is None:
            first = self.function.body.ops[0]
            attributes: dict[str, Attribute] = {"value": number, "dtype": INT32}
            op = Op(CONSTANT, {}, attributes, (), first.location, [f"event{number}"])
            found = self.constants[number] = self.function.body.insert_before(first, op).result
        return found

    def _slot_id(self, flag: Flag, before: Op) -> Value:
        """The id of a flag for the slot of this trip, computed once in a block, before its first use."""
        assert flag.key is not None and before.parent is not None
        key, home = flag.key, before.parent
        for block, other, base, value in self.ids:
            if block is home and base == flag.base and other.serves(key) and key.serves(other):
                return value
        value = self._index(key, before)
        modulus = self._constant_like(key.modulus, value)
        value = _scalar(before, IREM, lhs=value, rhs=modulus)
        lowest = lowest_index(key)
        if lowest is None or lowest < 0:
            value = _scalar(before, IREM, lhs=_scalar(before, ADD, lhs=value, rhs=modulus), rhs=modulus)
        if flag.base:
            value = _scalar(before, ADD, lhs=value, rhs=self._constant_like(flag.base, value))
        value.name = "event"
        self.ids.append((home, key, flag.base, value))
        return value

    def _index(self, key: SlotKey, before: Op) -> Value:
        """The index of a key as a value before an op; only its remainder counts."""
        is_wide = any(value.type.element == INT64 for value in key.index.terms)
        total: Value | None = None
        for value, factor in key.index.terms.items():
            if value.type.element != (INT64 if is_wide else INT32):
                value = _scalar(before, CAST, {"dtype": INT64 if is_wide else INT32}, x=value)
            if factor != 1:
                value = _scalar(before, MUL, lhs=value, rhs=self._constant_like(factor, value))
            total = value if total is None else _scalar(before, ADD, lhs=total, rhs=value)
        if total is None:
            return self._constant(key.index.constant % key.modulus)
        if key.index.constant % key.modulus:
            shift = self._constant_like(key.index.constant % key.modulus, total)
            total = _scalar(before, ADD, lhs=total, rhs=shift)
        return total

    def _constant_like(self, number: int, value: Value) -> Value:
        constant = self._constant(number)
        if value.type == constant.type:
            return constant
        assert constant.defining_op is not None
        first = constant.defining_op
        return _scalar(self.function.body.ops[self.function.body.ops.index(first) + 1], CAST,
                       {"dtype": INT64}, x=constant)  # fmt: skip


def _points(sync: Sync) -> list[tuple[Point, OpDef]]:
    """Every place where a sync has ops, and which."""
    if not isinstance(sync, Flag):
        return [(sync.point, PIPE_BARRIER)]
    points = [(sync.set_point, SET_FLAG), (sync.wait_point, WAIT_FLAG)]
    if sync.is_returning:
        prime, drain = prime_and_drain(sync)
        points += [(prime, SET_FLAG), (drain, WAIT_FLAG)]
    return points


def _op_behind(point: Point) -> Op:
    """The op of the original program before which a point stands."""
    if not point.is_behind:
        return point.anchor
    ops = point.block.ops
    return ops[ops.index(point.anchor) + 1]


def _scalar(
    before: Op, record: OpDef, attributes: Mapping[str, Attribute] | None = None, **operands: Value
) -> Value:
    assert before.parent is not None
    op = Op(record, operands, attributes, (), before.location)
    return before.parent.insert_before(before, op).result
