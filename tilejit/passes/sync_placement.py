"""Chooses the flags and barriers of a function: enough for all hazards, none that others make needless.

Hazards are taken from the innermost block outwards, near ones first. One that the syncs chosen so far do not
order gets one of its own in the innermost block around both ops: a barrier before the later op, or a flag
whose set stands behind what holds the earlier op and whose wait stands before what holds the later one. In
the end each sync is taken away again if all hazards are ordered without it.

A flag is one bit: it must not be set before the wait for its last set is through. Mostly the flags in the
other direction see to that. Else the flag takes one id for each slot of the buffers concerned, and if that
does not help, it gets a flag back, its credit.
"""

from __future__ import annotations

from collections.abc import Iterator

from tilejit.ir.core import Block, Function, Op, Value
from tilejit.passes.machine_accesses import pipe_of
from tilejit.passes.program_order import ProgramOrder, blocks_around, holder_in, loops_around
from tilejit.passes.sync_hazards import Hazard, SlotKey, find_hazards
from tilejit.passes.sync_order import (
    Barrier,
    Flag,
    Orders,
    Point,
    Rank,
    Sync,
    outermost_loop,
    prime_and_drain,
)
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Pipe


class Placement:
    """The syncs of one function while they are being chosen.

    Where a core has no flags from one pipe to another, a barrier of all pipes takes their place.
    """

    def __init__(
        self, function: Function, target: AscendTarget, shared: frozenset[str] = frozenset()
    ) -> None:
        self.order = ProgramOrder(function)
        self.orders = Orders(self.order)
        self.most_ids = target.emitted_event_ids
        self.pairs = None if function.core is None else target.flag_pairs[function.core]
        self.lacking: dict[tuple[Pipe, Pipe], Hazard | Flag] = {}  # pairs without flags, and who wants one
        self.hazards = find_hazards(function, self.order, target, shared)
        self.hazards.sort(key=self._urgency)
        self.keys = list(_distinct_keys(self.hazards))
        self._proofs: list[list[tuple[Sync, SlotKey | None]] | None] = [None] * len(self.hazards)

    def _urgency(self, hazard: Hazard) -> tuple[bool, int, int]:
        distance = abs(self.order.enter[hazard.later] - self.order.enter[hazard.earlier])
        return hazard.loop is not None, -len(blocks_around_both(hazard)), distance

    # What is ordered.

    def proof(self, hazard: Hazard) -> list[Sync] | None:
        """The syncs that order a hazard; None where they do not."""
        first = self.orders.place_of_op(hazard.earlier, pipe_of(hazard.earlier))
        second = self.orders.place_of_op(hazard.later, pipe_of(hazard.later))
        return self.orders.implied(
            first, second, hazard.loop, hazard.key if hazard.loop is not None else None
        )

    def place_all(self) -> None:
        """Add syncs until every hazard is ordered."""
        for hazard in self.hazards:
            if self.proof(hazard) is None:
                self.orders.add(self._sync_for(hazard))

    def stop_all_pipes(self) -> list[Hazard]:
        """Order what is not ordered by barriers of all pipes; return what that was.

        A proof holds as long as its syncs are there with the keys they had, whatever else comes or goes.
        """
        unordered, present = [], set(self.orders.syncs)
        for index, hazard in enumerate(self.hazards):
            known = self._proofs[index]
            if known is not None and all(sync in present and _key_of(sync) is key for sync, key in known):
                continue
            found = self.proof(hazard)
            if found is None:
                unordered.append(hazard)
                barrier = Barrier(Pipe.ALL, Point(self._later_holder(hazard), False, Rank.BARRIER))
                self.orders.add(barrier)
                present.add(barrier)
                found = [barrier]
            self._proofs[index] = [(sync, _key_of(sync)) for sync in found]
        return unordered

    def prune(self) -> None:
        """Take away syncs without which every hazard is still ordered."""
        proofs = [set(self.proof(hazard) or ()) for hazard in self.hazards]
        for sync in reversed(self.orders.syncs):
            self.orders.disabled.add(sync)
            new: dict[int, set[Sync]] = {}
            for index, used in enumerate(proofs):
                if sync in used:
                    found = self.proof(self.hazards[index])
                    if found is None:
                        self.orders.disabled.remove(sync)
                        break
                    new[index] = set(found)
            else:
                for index, used in new.items():
                    proofs[index] = used
        kept = [sync for sync in self.orders.syncs if sync not in self.orders.disabled]
        self.orders.disabled.clear()
        self.orders.keep(kept)

    # One sync for one hazard.

    def _later_holder(self, hazard: Hazard) -> Op:
        """The op before which to wait: in the innermost common block, or in the later op's arm."""
        block = blocks_around_both(hazard)[0]
        holder = holder_in(hazard.later, block)
        if holder.regions and holder is holder_in(hazard.earlier, block):
            return holder_in(hazard.later, region_around(holder, hazard.later))
        return holder

    def _sync_for(self, hazard: Hazard) -> Sync:
        source, target = pipe_of(hazard.earlier), pipe_of(hazard.later)
        point = Point(self._later_holder(hazard), False, Rank.BARRIER)
        if source is target:
            return Barrier(source, point)
        if not self._has_flags(source, target):
            self.lacking.setdefault((source, target), hazard)
            return Barrier(Pipe.ALL, point)
        block = blocks_around_both(hazard)[0]
        first, second = holder_in(hazard.earlier, block), holder_in(hazard.later, block)
        if first is second:
            # Different arms of an if, or condition and body of a while: both ends behind the earlier op.
            last = region_around(first, hazard.earlier).terminator
            return Flag(source, target, Point(last, False, Rank.LATE_SET), Point(last, False, Rank.WAIT))
        set_point, wait_point = Point(first, True, Rank.SET), Point(second, False, Rank.WAIT)
        if self.order.enter[first] < self.order.enter[second]:
            return Flag(source, target, set_point, wait_point)
        loop = outermost_loop(first)
        flag = Flag(source, target, set_point, wait_point, loop)
        if hazard.key is not None:
            flag.key = self._key_for(flag, hazard.key)
        return flag

    def _has_flags(self, source: Pipe, target: Pipe) -> bool:
        return self.pairs is None or (source, target) in self.pairs

    def _key_for(self, flag: Flag, wanted: SlotKey) -> SlotKey | None:
        """A key for one id per slot, or per group of slots where those are too many; None: one id."""
        for modulus in range(min(wanted.modulus, self.most_ids), 1, -1):
            if wanted.modulus % modulus == 0 and self._is_available(wanted, flag):
                return SlotKey(wanted.index, modulus)
        return None

    def _is_available(self, key: SlotKey, flag: Flag) -> bool:
        """Whether the index of ``key`` can be computed before the first point of ``flag``."""
        first = min(self.orders.position(flag.set_point), self.orders.position(flag.wait_point))
        around = blocks_around(flag.set_point.anchor)
        return all(self._is_visible(value, first, around) for value in key.index.terms)

    def _is_visible(self, value: Value, position: int, around: list[Block]) -> bool:
        if isinstance(value.owner, Block):
            return value.owner in around
        return value.owner.parent in around and self.order.leave[value.owner] < position

    # Flags must not be set twice.

    def protect(self) -> None:
        """Give flags the ids or the credits by which none is set before its last set was waited for."""
        pending = [sync for sync in self.orders.syncs if isinstance(sync, Flag)]
        while pending:
            flag = pending.pop(0)
            if self._is_safe(flag):
                continue
            if self._has_flags(flag.target, flag.source):
                credit = self._credit(flag)
                self.orders.add(credit)
                pending.append(credit)
                continue
            self.lacking.setdefault((flag.target, flag.source), flag)
            self.orders.keep([sync for sync in self.orders.syncs if sync is not flag])
            self.orders.add(Barrier(Pipe.ALL, Point(flag.wait_point.anchor, False, Rank.BARRIER)))
            self.stop_all_pipes()  # what waits behind a loop for the flag's last set
            pending = [sync for sync in self.orders.syncs if isinstance(sync, Flag)]

    def unprotect(self) -> None:
        """Take credits and the ids of forward flags away again."""
        self.orders.keep([s for s in self.orders.syncs if isinstance(s, Barrier) or s.credit_of is None])
        for sync in self.orders.syncs:
            if isinstance(sync, Flag) and not sync.is_returning:
                sync.key = None

    def _is_safe(self, flag: Flag) -> bool:
        if flag.is_returning:
            return self.is_lowered_before(flag.wait_point, flag, flag.set_point, None, None)
        for key in (None, *self.keys):
            if key is not None and not self._may_have(flag, key):
                continue
            if all(
                self.is_lowered_before(
                    flag.wait_point, flag, flag.set_point, loop, key if key and key.varies_in(loop) else None
                )
                for loop in loops_around(flag.set_point.anchor)
            ):
                flag.key = key
                return True
        return False

    def is_lowered_before(
        self, wait: Point, flag: Flag, set_point: Point, loop: Op | None, key: SlotKey | None
    ) -> bool:
        """Whether a wait of ``flag`` is through before a set at ``set_point`` on its source pipe."""
        first = self.orders.place_of_point(wait, flag.target)
        second = self.orders.place_of_point(set_point, flag.source)
        return self.orders.implied(first, second, loop, key) is not None

    def _may_have(self, flag: Flag, key: SlotKey) -> bool:
        return key.modulus <= min(self.most_ids, flag.most_ids) and self._is_available(key, flag)

    def limit_key(self, key: SlotKey, modulus: int) -> None:
        """Let every flag that has an id for each slot of ``key`` have no more than ``modulus``."""
        less = SlotKey(key.index, modulus) if modulus > 1 else None
        for sync in self.orders.syncs:
            if isinstance(sync, Flag) and sync.key is not None and _is_same(sync.key, key):
                sync.key = less
        others = [other for other in self.keys if not _is_same(other, key)]
        self.keys = others if less is None else [less, *others]
        self.orders.keep(self.orders.syncs)

    def _credit(self, flag: Flag) -> Flag:
        """A flag from behind the wait of ``flag`` to before its set.

        Where ``flag`` has fewer ids than there are slots, both get one id for several slots.
        """
        set_point = Point(flag.wait_point.anchor, flag.wait_point.is_behind, Rank.CREDIT_SET)
        wait_point = Point(flag.set_point.anchor, flag.set_point.is_behind, Rank.CREDIT_WAIT)
        loop = None if flag.is_returning else outermost_loop(flag.set_point.anchor)
        if flag.most_ids > 1 and not flag.is_returning:
            shared = [SlotKey(key.index, flag.most_ids) for key in self.keys if key.modulus > flag.most_ids]
            flag.key = next((key for key in shared if self._may_have(flag, key)), None)
        return Flag(flag.target, flag.source, set_point, wait_point, loop, flag.key, credit_of=flag)


def _distinct_keys(hazards: list[Hazard]) -> Iterator[SlotKey]:
    found: list[SlotKey] = []
    for hazard in hazards:
        key = hazard.key
        if key is not None and not any(_is_same(key, other) for other in found):
            found.append(key)
            yield key


def _key_of(sync: Sync) -> SlotKey | None:
    return sync.key if isinstance(sync, Flag) else None


def _is_same(key: SlotKey, other: SlotKey) -> bool:
    return key.serves(other) and other.serves(key)


def blocks_around_both(hazard: Hazard) -> list[Block]:
    """The blocks that hold both ops of a hazard, from the innermost."""
    around = set(blocks_around(hazard.earlier))
    return [block for block in blocks_around(hazard.later) if block in around]


def region_around(holder: Op, inner: Op) -> Block:
    """The region of ``holder`` that ``inner`` stands in."""
    around = blocks_around(inner)
    return next(region for region in holder.regions if region in around)


def first_and_last(flag: Flag) -> tuple[Point, Point]:
    """Where a flag is first set and where it is last waited for."""
    return prime_and_drain(flag) if flag.is_returning else (flag.set_point, flag.wait_point)
