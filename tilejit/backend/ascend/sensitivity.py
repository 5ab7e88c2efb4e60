"""How far a simulated time rests on numbers that nobody publishes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tilejit.records import dataclass
from tilejit.target.ascend import AscendTarget
from tilejit.target.ascend_timing import ASSUMPTIONS

FACTOR = 2.0


@dataclass(frozen=True)
class Effect:
    """What one assumption does to the time of a launch.

    Units: ``lower`` and ``higher`` are times with the number divided and multiplied by FACTOR, relative to
    the time with the number as it is.
    """

    assumption: str
    lower: float
    higher: float

    def __str__(self) -> str:
        return f"{self.assumption}: {100 * (self.lower - 1):+.2f}% to {100 * (self.higher - 1):+.2f}%"


def assumption_effects(
    simulated_cycles: Callable[[AscendTarget], float], target: AscendTarget
) -> tuple[Effect, ...]:
    """Halve and double each assumption about ``target``; ``simulated_cycles`` times a launch on a chip."""
    base = simulated_cycles(target)
    effects: list[Effect] = []
    for name, scaled in ASSUMPTIONS.items():
        lower, higher = (
            simulated_cycles(replace(target, timing=scaled(target.timing, factor))) / base
            for factor in (1 / FACTOR, FACTOR)
        )
        effects.append(Effect(name, lower, higher))
    return tuple(effects)
