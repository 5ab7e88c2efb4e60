"""Gives flags their event ids; where a pair of pipes has too few, makes fewer flags of many.

Each ordered pair of pipes has ids of its own. Flags get different ones while there are enough. Then flags of
one id each share where the wait of one is certainly through before the other is set. When that does not do,
in this order, one step at a time, each with a remark:

- two flags become one that is set with the later and waited for with the earlier,
- flags with an id for each slot get one for several slots; where the slots cannot be divided evenly, a flag
  takes turns with two ids and gets a credit; then one id must do,
- a flag goes, and what it ordered is ordered by barriers of all pipes.

After all of these but that of a flag with fewer ids than it might have, pipes wait for more than they must.
"""

from __future__ import annotations

from collections.abc import Iterator

from tilejit.diagnostics import InternalError
from tilejit.passes.manager import PassContext
from tilejit.passes.program_order import blocks_around, holder_in, loops_around
from tilejit.passes.sync_hazards import SlotKey
from tilejit.passes.sync_order import Flag, Point, Rank, outermost_loop
from tilejit.passes.sync_placement import Placement, first_and_last
from tilejit.records import dataclass
from tilejit.target.spaces import Pipe

PipePair = tuple[Pipe, Pipe]
_MOST_ROUNDS = 1000  # each makes a flag or its ids fewer


@dataclass(frozen=True)
class Relief:
    """What made flags need fewer ids, in words; ``orders_more``: pipes wait for more than they must."""

    text: str
    orders_more: bool


def assign_events(placement: Placement, ids: int, context: PassContext) -> int:
    """Give every flag of ``placement`` a base id below ``ids``, changing flags where they are too many.

    Returns how many of the changes let pipes wait for more than they must.
    """
    needless = 0
    for _ in range(_MOST_ROUNDS):
        placement.protect()
        crowded = next(
            (pair for pair in _pipe_pairs(placement) if not _assign_pair(placement, pair, ids)), None
        )
        if crowded is None:
            return needless
        widest = _most_ids(placement, crowded)
        placement.unprotect()
        relief = _relieve(placement, crowded, widest)
        context.remark(f"{crowded[0].value} -> {crowded[1].value} has {ids} event ids: {relief.text}")
        needless += relief.orders_more
    raise InternalError(f"event ids are not found in {_MOST_ROUNDS} rounds")


def _flags(placement: Placement, pair: PipePair) -> list[Flag]:
    return [
        sync
        for sync in placement.orders.syncs
        if isinstance(sync, Flag) and (sync.source, sync.target) == pair
    ]


def _pipe_pairs(placement: Placement) -> list[PipePair]:
    pairs = {(sync.source, sync.target): None for sync in placement.orders.syncs if isinstance(sync, Flag)}
    return list(pairs)


def _assign_pair(placement: Placement, pair: PipePair, ids: int) -> bool:
    """Give the flags of a pair of pipes their ids; False where there are too few."""
    flags = _flags(placement, pair)
    if sum(flag.ids for flag in flags) <= ids:
        base = 0
        for flag in flags:
            flag.base = base
            base += flag.ids
        return True
    taken: list[list[Flag]] = [[] for _ in range(ids)]
    for flag in sorted(flags, key=lambda flag: -flag.ids):
        base = next((base for base in range(ids) if _fits(placement, flag, taken, base)), -1)
        if base < 0:
            return False
        flag.base = base
        for number in range(base, base + flag.ids):
            taken[number].append(flag)
    return True


def _fits(placement: Placement, flag: Flag, taken: list[list[Flag]], base: int) -> bool:
    if base + flag.ids > len(taken):
        return False
    others = [other for number in range(base, base + flag.ids) for other in taken[number]]
    return all(_never_meet(placement, flag, other) for other in others)


def _never_meet(placement: Placement, left: Flag, right: Flag) -> bool:
    """Whether two flags of one id each are never raised at the same time, whatever the timing."""
    if left.ids > 1 or right.ids > 1:
        return False
    position = placement.orders.position
    if position(first_and_last(left)[0]) > position(first_and_last(right)[0]):
        left, right = right, left
    (_, left_end), (right_start, right_end) = first_and_last(left), first_and_last(right)
    left_start = first_and_last(left)[0]
    if position(left_end) > position(right_start):
        return False
    around = loops_around(left_start.anchor)
    common = [loop for loop in loops_around(right_start.anchor) if loop in around]
    if not placement.is_lowered_before(left_end, left, right_start, None, None):
        return False
    return all(
        placement.is_lowered_before(right_end, right, left_start, loop, None)
        and placement.is_lowered_before(left_end, left, right_start, loop, None)
        for loop in common
    )


def _most_ids(placement: Placement, pair: PipePair) -> tuple[Flag, SlotKey] | None:
    """The flag of a pair of pipes with the most ids, if that is more than one."""
    keyed = [(flag, flag.key) for flag in _flags(placement, pair) if flag.key is not None]
    return max(keyed, key=lambda item: item[0].ids, default=None)


def _relieve(placement: Placement, pair: PipePair, widest: tuple[Flag, SlotKey] | None) -> Relief:
    """Make the flags of a pair of pipes need fewer ids."""
    flags = _flags(placement, pair)
    merged = min(_mergers(placement, flags), key=lambda merger: merger[0], default=None)
    if merged is not None:
        _, first, second, both = merged
        kept = [sync for sync in placement.orders.syncs if sync not in (first, second)]
        placement.orders.keep([*kept, both])
        return Relief("two flags became one", orders_more=True)
    if widest is not None:
        flag, key = widest
        modulus = max(m for m in range(1, key.modulus) if key.modulus % m == 0)
        main = flag.credit_of or flag
        if not main.is_returning and (modulus == 1 or main.most_ids == 2):
            main.most_ids = 2 if main.most_ids > 2 and key.modulus > 2 else 1
            text = "a flag takes turns with two ids" if main.most_ids == 2 else "a flag has one id"
            return Relief(text, orders_more=False)
        placement.limit_key(key, modulus)
        return Relief(f"one id for {key.modulus // modulus} slots", orders_more=True)
    if not flags:  # its ids are taken by credits of the flags in the other direction
        if not _flags(placement, (pair[1], pair[0])):
            raise InternalError(f"no flag of {pair[0].value} -> {pair[1].value} can go")
        return _relieve(placement, (pair[1], pair[0]), None)
    victim = min(flags, key=lambda flag: len(blocks_around(flag.set_point.anchor)))
    placement.orders.keep([sync for sync in placement.orders.syncs if sync is not victim])
    placement.stop_all_pipes()
    return Relief("a barrier of all pipes takes the place of a flag", orders_more=True)


def _mergers(placement: Placement, flags: list[Flag]) -> Iterator[tuple[int, Flag, Flag, Flag]]:
    """Pairs of flags that one can stand for, and that one; first how much further it reaches."""
    position = placement.orders.position
    for index, first in enumerate(flags):
        for second in flags[index + 1 :]:
            both = _merged(placement, first, second)
            if both is None:
                continue
            reach = sum(
                abs(position(both.set_point) - position(flag.set_point))
                + abs(position(both.wait_point) - position(flag.wait_point))
                for flag in (first, second)
            )
            yield reach, first, second, both


def _merged(placement: Placement, first: Flag, second: Flag) -> Flag | None:
    if first.loop is not second.loop:
        return None
    if (first.key is None) is not (second.key is None):
        return None
    if first.key is not None and second.key is not None:
        same = first.key.serves(second.key) and second.key.serves(first.key)
        if not same or first.home is not second.home:
            return None
    if loops_around(first.set_point.anchor) != loops_around(second.set_point.anchor):
        return None  # one of them orders trips that the other does not see
    around = blocks_around(first.set_point.anchor)
    home = next(block for block in blocks_around(second.set_point.anchor) if block in around)
    if not first.is_returning and not first.home is second.home is home:
        return None
    position = placement.orders.position
    sets = [_lifted(flag.set_point, home) for flag in (first, second)]
    waits = [_lifted(flag.wait_point, home) for flag in (first, second)]
    set_point, wait_point = max(sets, key=position), min(waits, key=position)
    is_in_order = position(set_point) < position(wait_point)
    if is_in_order is first.is_returning:
        return None
    loop = None if first.loop is None else outermost_loop(set_point.anchor)
    return Flag(first.source, first.target, set_point, wait_point, loop, first.key)


def _lifted(point: Point, home: object) -> Point:
    """The same end of what holds a point in an outer block."""
    if point.block is home:
        return point
    anchor = point.anchor
    holder = holder_in(anchor, home)  # type: ignore[arg-type]
    is_set = point.rank in (Rank.SET, Rank.LATE_SET)
    return Point(holder, is_set, Rank.SET if is_set else Rank.WAIT)
