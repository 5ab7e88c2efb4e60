"""How far a simulated time rests on numbers that nobody publishes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tilejit.backend.ascend.simulator import ArgumentValue, Grid, simulate
from tilejit.ir.machine import MachineKernel
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
        return f"{self.assumption}: {100 * (self.lower - 1):+.1f}% to {100 * (self.higher - 1):+.1f}%"


def assumption_effects(
    kernel: MachineKernel,
    arguments: Mapping[str, ArgumentValue],
    grid: Grid,
    target: AscendTarget,
    *,
    blocks: int | None = None,
) -> tuple[Effect, ...]:
    """Simulate a launch with each assumption halved and doubled; only time, arrays stay as they are."""

    def cycles(chip: AscendTarget) -> float:
        return simulate(kernel, arguments, grid, chip, blocks=blocks, values=False, extrapolate=True).cycles

    base = cycles(target)
    effects: list[Effect] = []
    for name, scaled in ASSUMPTIONS.items():
        times = []
        for factor in (1 / FACTOR, FACTOR):
            chip = replace(target, timing=scaled(target.timing, factor))
            times.append(cycles(chip) / base if base else 1.0)
        effects.append(Effect(name, *times))
    return tuple(effects)
