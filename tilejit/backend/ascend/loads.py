"""How much of a launch's time each resource works, and which one binds it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tilejit.records import dataclass
from tilejit.target.spaces import Pipe

if TYPE_CHECKING:
    from tilejit.backend.ascend.result import SimulationResult


@dataclass(frozen=True)
class Load:
    """The part of the time that a resource works: on average over the cores, and on the busiest one.

    ``occupied`` is the average part in which something was under way, latency included. What all cores share
    (``is_shared``) has one figure, the part of its rate that is used.
    """

    resource: str
    average: float
    busiest: float
    occupied: float
    is_shared: bool = False


def loads(result: SimulationResult) -> tuple[Load, ...]:
    """The pipes and scalar units of each kind of core, then L2 and HBM."""
    if not result.cycles:
        return ()
    return (*_loads_of_cores(result), *_loads_of_memory(result))


def _loads_of_cores(result: SimulationResult) -> Iterator[Load]:
    for kind in result.kernel.functions:
        numbers = [number for number, core in enumerate(result.cores) if core.kind is kind]
        for pipe in Pipe:
            busy = [result.busy.get((number, pipe), 0.0) / result.cycles for number in numbers]
            occupied = [result.occupied.get((number, pipe), 0.0) / result.cycles for number in numbers]
            if any(busy):
                average = sum(busy) / len(busy)
                yield Load(f"{kind.value} {pipe.value}", average, max(busy), sum(occupied) / len(busy))
        issuing = [result.issuing[number] / result.cycles for number in numbers]
        average = sum(issuing) / len(issuing)
        yield Load(f"{kind.value} issue", average, max(issuing), average)


def _loads_of_memory(result: SimulationResult) -> Iterator[Load]:
    timing = result.target.timing
    for name, moved, rate in (
        ("l2", result.l2_bytes, timing.l2_total_bytes_per_second),
        ("hbm", result.hbm_bytes, timing.hbm_bytes_per_second),
    ):
        share = moved / rate / (result.microseconds * 1e-6)
        yield Load(name, share, share, share, is_shared=True)
