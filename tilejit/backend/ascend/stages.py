"""The stages of a mixed kernel, told from the order in which its cores take tiles and hand them on.

In a trip of a loop a core may take or give a later tile of one channel than of another: it is *ahead* there.
Where it is equally far ahead, a stage ends and the next begins where it takes a tile after it has given one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import field

from tilejit.backend.ascend.channels import Channel, Stream
from tilejit.ir.core import Op
from tilejit.ir.machine import MachineKernel
from tilejit.ops import FOR, WHILE
from tilejit.records import dataclass
from tilejit.target.spaces import Core


@dataclass(frozen=True)
class Stage:
    """What a kind of core does between the tiles it takes and those it gives.

    ``lead`` is how many tiles it is ahead of the last stage of its core in one trip of their loop, None where
    its core comes to nothing else in these trips; ``runs`` counts how often one core ran it.
    """

    core: Core
    takes: tuple[Channel, ...]
    gives: tuple[Channel, ...]
    lead: int | None
    runs: int


_End = tuple[Channel, bool]
"""An end of a channel; true where the core gives tiles."""


@dataclass(eq=False)
class _Trip:
    """The ends that a core comes to in a trip of a loop, each with the number of the tile."""

    loop: Op | None
    tiles: dict[_End, int] = field(default_factory=dict)
    last_place: int = -1


def find_stages(
    kernel: MachineKernel, streams: Sequence[Stream], channels: Sequence[Channel]
) -> tuple[Stage, ...]:
    """The stages of a launch in the order in which tiles go through them."""
    found: list[Stage] = []
    for stream in streams:
        if stream.sub_block == 0:
            places = {op: number for number, op in enumerate(kernel.functions[stream.core].walk())}
            ends = list(_ends(stream, channels))
            runs = Counter(end for end, _ in ends)
            found += _stages_of(stream.core, list(_trips(ends, places)), runs)
    return tuple(_in_order(found))


def _ends(stream: Stream, channels: Sequence[Channel]) -> Iterator[tuple[_End, Op]]:
    for instruction in stream.issued:
        for channel in channels:
            if instruction.op in channel.gives and stream.core is channel.producer:
                yield (channel, True), instruction.op
            elif instruction.op in channel.takes and stream.core is channel.consumer:
                yield (channel, False), instruction.op


def _trips(ends: Sequence[tuple[_End, Op]], places: dict[Op, int]) -> Iterator[_Trip]:
    """The trips of each loop, cut where a core goes back in the text."""
    tiles: Counter[_End] = Counter()
    open_trips: dict[Op | None, _Trip] = {}
    for end, op in ends:
        loop = _loop_around(op)
        trip = open_trips.setdefault(loop, _Trip(loop))
        if places[op] <= trip.last_place:
            yield trip
            trip = open_trips[loop] = _Trip(loop)
        trip.tiles.setdefault(end, tiles[end])
        trip.last_place = places[op]
        tiles[end] += 1
    yield from open_trips.values()


def _loop_around(op: Op) -> Op | None:
    """The innermost loop that an op is in."""
    block = op.parent
    while block is not None and isinstance(block.parent, Op):
        if block.parent.name in (FOR.name, WHILE.name):
            return block.parent
        block = block.parent.parent
    return None


def _stages_of(core: Core, trips: Sequence[_Trip], runs: Counter[_End]) -> Iterator[Stage]:
    leads = _leads(trips, runs)
    fullest = max((trip.tiles for trip in trips), key=len, default={})
    order = list(dict.fromkeys([*fullest, *runs]))
    for lead, count in dict.fromkeys((leads[end], runs[end]) for end in order):
        stage: list[_End] = []
        for end in (end for end in order if (leads[end], runs[end]) == (lead, count)):
            _, gives = end
            if stage and not gives and stage[-1][1]:
                yield _stage(core, stage, lead, count)
                stage = []
            stage.append(end)
        yield _stage(core, stage, lead, count)


def _stage(core: Core, ends: Sequence[_End], lead: int | None, runs: int) -> Stage:
    taken, given = (tuple(channel for channel, gives in ends if gives is way) for way in (False, True))
    return Stage(core, taken, given, lead, runs)


def _leads(trips: Sequence[_Trip], runs: Counter[_End]) -> dict[_End, int | None]:
    """How far a core is ahead at each end, of ends that it comes to as often and in the same trips.

    It is taken from the loop that brings the end most often, and is the most there: trips between which the
    core comes to nothing look like one, in which it seems less far ahead.
    """
    ahead: dict[_End, dict[Op | None, list[int]]] = {end: {} for end in runs}
    for trip in trips:
        for end, tile in trip.tiles.items():
            alike = [other for one, other in trip.tiles.items() if runs[one] == runs[end]]
            if len(alike) > 1:
                ahead[end].setdefault(trip.loop, []).append(tile - min(alike))
    usual = {end: sorted(loops.values(), key=len)[-1:] for end, loops in ahead.items()}
    return {end: max(counts[0]) if counts else None for end, counts in usual.items()}


def _in_order(stages: Sequence[Stage]) -> Iterator[Stage]:
    """First those that take nothing, then those whose tiles earlier ones give; else as they come."""
    waiting, given = list(stages), set[Channel]()
    while waiting:
        ready = [stage for stage in waiting if given.issuperset(stage.takes)]
        stage = ready[0] if ready else waiting[0]
        waiting.remove(stage)
        given.update(stage.gives)
        yield stage
