"""The stages of a mixed kernel, told from the order in which its cores take tiles and hand them on.

In a trip of a loop a core may take or give a later tile of one channel than of another: it is *ahead* there.
Where it is equally far ahead, a stage ends and the next begins where it takes a tile after it has given one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from tilejit.backend.ascend.channels import ACROSS, Channel, Stream
from tilejit.ir.core import Op
from tilejit.ir.machine import MachineKernel
from tilejit.ops.machine.sync import CROSS_SET, CROSS_WAIT
from tilejit.records import dataclass
from tilejit.target.spaces import Core


@dataclass(frozen=True)
class Stage:
    """What a kind of core does between the tiles it takes and those it gives.

    ``lead`` is how many tiles it is ahead of the last stage of its core in one trip of their loop; ``runs``
    counts how often one core ran it.
    """

    core: Core
    takes: tuple[Channel, ...]
    gives: tuple[Channel, ...]
    lead: int
    runs: int


_End = tuple[Channel, bool]
"""An end of a channel; true where the core gives tiles."""


def find_stages(
    kernel: MachineKernel, streams: Sequence[Stream], channels: Sequence[Channel]
) -> tuple[Stage, ...]:
    """The stages of a launch in the order in which tiles go through them."""
    found: list[Stage] = []
    for stream in streams:
        if stream.sub_block == 0:
            places = {op: number for number, op in enumerate(kernel.functions[stream.core].walk())}
            found += _stages_of(stream.core, list(_trips(stream, channels, places)))
    return tuple(_in_order(found))


def _trips(stream: Stream, channels: Sequence[Channel], places: dict[Op, int]) -> Iterator[list[_End]]:
    """The ends that a core comes to, cut where it goes back in the text."""
    trip: list[_End] = []
    last = -1
    for end, op in _ends(stream, channels):
        if places[op] <= last:
            yield trip
            trip = []
        trip.append(end)
        last = places[op]
    if trip:
        yield trip


def _ends(stream: Stream, channels: Sequence[Channel]) -> Iterator[tuple[_End, Op]]:
    for instruction in stream.issued:
        op = instruction.op
        gives = op.name == CROSS_SET.name and op.attributes["mode"] == ACROSS
        if not gives and op.name != CROSS_WAIT.name:
            continue
        flag = instruction.integer("flag")
        for channel in channels:
            if flag in channel.ready and stream.core is (channel.producer if gives else channel.consumer):
                yield (channel, gives), op


def _stages_of(core: Core, trips: Sequence[list[_End]]) -> Iterator[Stage]:
    runs = Counter(end for trip in trips for end in trip)
    leads = _leads(trips)
    fullest = max(trips, key=lambda trip: len(set(trip)), default=[])
    order = dict.fromkeys([*fullest, *runs])
    for lead in sorted(set(leads.values()), reverse=True):
        stage: list[_End] = []
        for end in (end for end in order if leads[end] == lead):
            _, gives = end
            if stage and not gives and stage[-1][1]:
                yield _stage(core, stage, lead, runs)
                stage = []
            stage.append(end)
        yield _stage(core, stage, lead, runs)


def _stage(core: Core, ends: Sequence[_End], lead: int, runs: Counter[_End]) -> Stage:
    taken, given = (tuple(channel for channel, gives in ends if gives is way) for way in (False, True))
    return Stage(core, taken, given, lead, max(runs[end] for end in ends))


def _leads(trips: Sequence[list[_End]]) -> dict[_End, int]:
    """How far a core is ahead at each end, in most of the trips in which it comes to several."""
    runs: Counter[_End] = Counter()
    seen: dict[_End, Counter[int]] = {}
    for trip in trips:
        tiles = {end: runs[end] for end in dict.fromkeys(trip)}
        runs.update(trip)
        for end, tile in tiles.items():
            ahead = seen.setdefault(end, Counter())
            if len(tiles) > 1:
                ahead[tile - min(tiles.values())] += 1
    return {end: ahead.most_common(1)[0][0] if ahead else 0 for end, ahead in seen.items()}


def _in_order(stages: Sequence[Stage]) -> Iterator[Stage]:
    """First those that take nothing, then those whose tiles earlier ones give; else as they come."""
    waiting, given = list(stages), set[Channel]()
    while waiting:
        ready = [stage for stage in waiting if given.issuperset(stage.takes)]
        stage = ready[0] if ready else waiting[0]
        waiting.remove(stage)
        given.update(stage.gives)
        yield stage
