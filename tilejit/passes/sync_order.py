"""Which orders a set of flags and barriers gives: the reasoning of ``insert_sync``.

A flag has a set on its source pipe and a wait on its target pipe, both in one block, its home. Two kinds:

- a *forward* flag is set and then waited for, in every run of its home;
- a *returning* flag is waited for and then set; it is set once before the outermost loop around it and waited
  for once after that loop. Each wait thus takes the set of the run before.

A flag may have several ids, chosen by a slot index: then it is one such flag for each slot.

Whether something is ordered is asked for two points of the program, within a trip or from a trip of a loop to
a later one. Points on the way count only where they are certainly passed: behind the first point in a block
around it, or before the second point in a block around that. Loops may run zero times, ifs either way.
What is known about a pipe's work travels with its flags, so one walk over the flags in program order, the
loop laid out twice, finds when each pipe first knows.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator
from enum import IntEnum

from tilejit.ir.core import Block, Op
from tilejit.passes.program_order import ProgramOrder, loops_around
from tilejit.passes.sync_hazards import SlotKey
from tilejit.records import dataclass
from tilejit.target.spaces import Pipe


class Rank(IntEnum):
    """The order of what stands in one gap between two ops; ``STEP`` is larger than all."""

    CREDIT_WAIT = 1
    SET = 2
    LATE_SET = 6
    PRIME = 8
    DRAIN = 10
    WAIT = 12
    CREDIT_SET = 14
    BARRIER = 16


@dataclass(frozen=True)
class Point:
    """A place in a gap: behind ``anchor``, or before it, which is behind the op that precedes it."""

    anchor: Op
    is_behind: bool
    rank: Rank

    @property
    def block(self) -> Block:
        assert self.anchor.parent is not None
        return self.anchor.parent


@dataclass(eq=False)
class Flag:
    """Orders work of ``source`` before its set ahead of work of ``target`` behind its wait.

    ``loop`` is the loop around which a returning flag is primed and drained; None makes it a forward one.
    ``credit_of``: it exists for that flag, which must not be set before it was waited for. ``most_ids``: what
    it may take where ids are short.
    """

    source: Pipe
    target: Pipe
    set_point: Point
    wait_point: Point
    loop: Op | None = None
    key: SlotKey | None = None
    credit_of: Flag | None = None
    most_ids: int = 1 << 30
    base: int = -1

    @property
    def ids(self) -> int:
        return 1 if self.key is None else self.key.modulus

    @property
    def home(self) -> Block:
        return self.set_point.block

    @property
    def is_returning(self) -> bool:
        return self.loop is not None


@dataclass(eq=False)
class Barrier:
    """Work of ``pipe`` behind ``point`` starts when its work before is done."""

    pipe: Pipe
    point: Point


_ISSUED = tuple(pipe for pipe in Pipe if pipe is not Pipe.ALL)
"""The pipes that know what the issue of instructions has waited for."""

Sync = Flag | Barrier
Via = tuple[Sync, "Via | None"]


@dataclass(frozen=True)
class Place:
    """An instruction or a point of sync on a pipe, as the start or the end of an order."""

    pipe: Pipe
    position: int
    blocks: frozenset[Block]


@dataclass(frozen=True)
class _Edge:
    """Work known at ``start`` on ``source`` is known at ``end`` on ``target``; positions of two trips.

    ``key``: only where both trips name the same slot.
    """

    start: int
    end: int
    source: Pipe
    target: Pipe
    start_block: Block
    end_block: Block
    key: SlotKey | None
    sync: Sync


class Orders:
    """Answers what is ordered by the syncs it holds."""

    def __init__(self, order: ProgramOrder) -> None:
        self.order = order
        self.trip = order.end + 1000  # distance of the two layouts of a loop
        self.syncs: list[Sync] = []
        self.disabled: set[Sync] = set()  # syncs that count as not there
        self._edges: dict[Op | None, list[_Edge]] = {}

    def add(self, sync: Sync) -> None:
        self.syncs.append(sync)
        for loop, edges in self._edges.items():
            for edge in self._lay_out(sync, loop):
                bisect.insort(edges, edge, key=_when)

    def keep(self, kept: Iterable[Sync]) -> None:
        """Forget all syncs but ``kept``."""
        self.syncs = list(kept)
        self._edges.clear()

    def position(self, point: Point) -> int:
        if point.is_behind:
            return self.order.leave[point.anchor] + point.rank
        return self._gap_start(point.anchor) + point.rank

    def _gap_start(self, anchor: Op) -> int:
        """The position of what precedes ``anchor``: the op before it, or the entry of its block."""
        return self.order.gap_start[anchor]

    def place_of_op(self, op: Op, pipe: Pipe) -> Place:
        assert op.parent is not None
        return Place(pipe, self.order.enter[op], self.order.blocks[op.parent])

    def place_of_point(self, point: Point, pipe: Pipe) -> Place:
        return Place(pipe, self.position(point), self.order.blocks[point.block])

    def implied(
        self, first: Place, second: Place, loop: Op | None = None, key: SlotKey | None = None
    ) -> list[Sync] | None:
        """The syncs by which work at ``first`` is done before ``second`` starts; None where it may not be.

        ``loop`` None: within one trip of all loops around both; else ``second`` is in a later trip of it, one
        with the same slot where ``key`` is given.
        """
        known: dict[Pipe, int] = {}
        via: dict[Pipe, Via] = {}
        goal = second.position + (self.trip if loop is not None else 0)
        edges = self._edges_of(loop)
        for number in range(bisect.bisect_right(edges, first.position, key=_end), len(edges)):
            edge = edges[number]
            if edge.end >= goal:
                break
            if edge.sync in self.disabled:
                continue
            if edge.key is not None and (key is None or not edge.key.serves(key)):
                continue
            is_known = known.get(edge.source, goal) <= edge.start
            if not is_known and (edge.start <= first.position or edge.source not in (first.pipe, Pipe.ALL)):
                continue
            if not self._is_passed(edge.start, edge.start_block, first, second, loop):
                continue
            if edge.end != edge.start and not self._is_passed(edge.end, edge.end_block, first, second, loop):
                continue
            trail: Via = (edge.sync, via[edge.source] if is_known else None)
            for pipe in _ISSUED if edge.target in (Pipe.S, Pipe.ALL) else (edge.target,):
                if pipe not in known:
                    known[pipe], via[pipe] = edge.end, trail
        if second.pipe not in known:
            return None
        return list(_unwind(via[second.pipe]))

    def _is_passed(self, position: int, block: Block, first: Place, second: Place, loop: Op | None) -> bool:
        """Whether a run that passes ``first`` and then ``second`` passes ``position`` in between."""
        if loop is None:
            return position > first.position and (block in first.blocks or block in second.blocks)
        if position < self.trip:
            return position > first.position and block in first.blocks
        return block in second.blocks

    def _is_inside(self, op: Op, holder: Op) -> bool:
        """Whether ``op`` stands in a region of ``holder``, at any depth."""
        assert op.parent is not None
        around = self.order.blocks[op.parent]
        return any(region in around for region in holder.regions)

    def _edges_of(self, loop: Op | None) -> list[_Edge]:
        found = self._edges.get(loop)
        if found is None:
            edges = [edge for sync in self.syncs for edge in self._lay_out(sync, loop)]
            found = self._edges[loop] = sorted(edges, key=_when)
        return found

    def _lay_out(self, sync: Sync, loop: Op | None) -> Iterator[_Edge]:
        trips = (0,) if loop is None else (0, self.trip)
        if isinstance(sync, Barrier):
            if loop is None or self._is_inside(sync.point.anchor, loop):
                at, block = self.position(sync.point), sync.point.block
                for trip in trips:
                    yield _Edge(at + trip, at + trip, sync.pipe, sync.pipe, block, block, None, sync)
        elif sync.loop is not None:
            yield from self._lay_out_returning(sync, loop)
        elif loop is None or self._is_inside(sync.set_point.anchor, loop):
            for trip in trips:
                yield self._edge(sync, sync.set_point, trip, sync.wait_point, trip)

    def _lay_out_returning(self, flag: Flag, loop: Op | None) -> Iterator[_Edge]:
        assert flag.loop is not None
        if loop is not None and loop is not flag.loop and not self._is_inside(flag.loop, loop):
            if self._is_inside(flag.set_point.anchor, loop):
                yield self._edge(flag, flag.set_point, 0, flag.wait_point, self.trip, loop)
            return
        if loop is flag.loop:
            yield self._edge(flag, flag.set_point, 0, flag.wait_point, self.trip, loop)
            return
        prime, drain = prime_and_drain(flag)
        for trip in (0,) if loop is None else (0, self.trip):
            yield self._edge(flag, prime, trip, flag.wait_point, trip)
            yield self._edge(flag, flag.set_point, trip, drain, trip)
            yield self._edge(flag, prime, trip, drain, trip)

    def _edge(
        self, flag: Flag, start: Point, start_trip: int, end: Point, end_trip: int, between: Op | None = None
    ) -> _Edge:
        """The edge between two points; ``between``: they are in two trips of this loop."""
        # A flag with one id for each slot orders trips that name the same.
        is_keyed = between is not None and flag.key is not None and flag.key.varies_in(between)
        return _Edge(
            self.position(start) + start_trip,
            self.position(end) + end_trip,
            flag.source,
            flag.target,
            start.block,
            end.block,
            flag.key if is_keyed else None,
            flag,
        )


def _when(edge: _Edge) -> tuple[int, int]:
    return edge.end, edge.start


def _end(edge: _Edge) -> int:
    return edge.end


def prime_and_drain(flag: Flag) -> tuple[Point, Point]:
    """Where a returning flag is set first, and waited for last."""
    assert flag.loop is not None
    return Point(flag.loop, False, Rank.PRIME), Point(flag.loop, True, Rank.DRAIN)


def outermost_loop(op: Op) -> Op:
    """The outermost loop around ``op``, which has one."""
    return loops_around(op)[-1]


def _unwind(via: Via | None) -> Iterator[Sync]:
    while via is not None:
        yield via[0]
        via = via[1]
