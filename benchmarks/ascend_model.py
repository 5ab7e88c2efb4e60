"""``python -m benchmarks ascend-model``: the simulator's times beside published measurements."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.machine_programs.profile_points import point_lines
from benchmarks.machine_programs.published import (
    PROGRAMS,
    Figure,
    assumed_effects,
    modelled,
    published_figures,
)

MEDIAN_BAR, WORST_BAR, BUSY_BAR_POINTS = 0.20, 0.40, 10.0
"""What is asked of times tagged fit or predict, and of the busy shares of the GEMM."""


@dataclass
class Errors:
    """Errors of what was compared: of times by tag, of busy shares in points, and times above a floor."""

    times: dict[str, list[float]] = field(default_factory=dict)
    busy_points: list[float] = field(default_factory=list)
    above_floor: list[str] = field(default_factory=list)

    def add(self, figure: Figure, value: float) -> str:
        """Take note of a figure and its modelled value; return the comparison in words."""
        error = value / figure.value - 1
        if figure.tag == "host_floor":
            if error > 0:
                self.above_floor.append(figure.shape)
            return "not above" if error <= 0 else "ABOVE"
        if figure.metric == "time":
            self.times.setdefault(figure.tag, []).append(abs(error))
        if figure.unit == "%":
            points = value - figure.value
            self.busy_points.append(abs(points))
            return f"{points:+6.1f} points"
        return f"{100 * error:+6.1f} %"

    def summary(self) -> list[str]:
        """Median and worst error of each tag, and of the busy shares."""
        lines = [
            f"times, {tag}: {len(of)} rows, median error {100 * statistics.median(of):.1f} %, "
            f"worst {100 * max(of):.1f} %"
            for tag, of in self.times.items()
        ]
        if self.busy_points:
            lines.append(
                f"busy shares: {len(self.busy_points)} rows, worst {max(self.busy_points):.1f} points"
            )
        return lines

    def missed_bars(self) -> list[str]:
        """Which bars are missed, in words."""
        counted = [error for tag in ("fit", "predict") for error in self.times.get(tag, [])]
        missed = [f"{shape} is above its floor" for shape in self.above_floor]
        if counted and statistics.median(counted) > MEDIAN_BAR:
            missed.append(f"median error of times above {100 * MEDIAN_BAR:.0f} %")
        if counted and max(counted) > WORST_BAR:
            missed.append(f"an error of a time above {100 * WORST_BAR:.0f} %")
        if self.busy_points and max(self.busy_points) > BUSY_BAR_POINTS:
            missed.append(f"a busy share more than {BUSY_BAR_POINTS:.0f} points off")
        return missed


def report(only: Sequence[str], skipped: Sequence[str], *, is_quick: bool) -> int:
    """Print modelled value, published value and error of every figure; 0 where no bar is missed.

    ``only`` keeps the programs whose family and shape contain one of the texts, ``skipped`` leaves them out;
    without these, profiled points of single instructions follow. ``is_quick`` skips iterations that take as
    long as those before.
    """
    programs: dict[tuple[str, str], list[Figure]] = {}
    for figure in published_figures():
        programs.setdefault((figure.family, figure.shape), []).append(figure)
    chosen = [key for key in programs if _is_chosen(key, only, skipped)]
    if not chosen:
        print("no program matches", file=sys.stderr)
        return 2
    errors = Errors()
    for key in chosen:
        result = PROGRAMS[key]().simulate(extrapolate=is_quick)
        for figure in programs[key]:
            value = modelled(figure, result)
            both = f"model {value:9.2f}  published {figure.value:9.2f} {figure.unit:3}"
            name = f"{figure.family:15} {figure.shape:74} {figure.metric:13} {figure.tag:15}"
            print(name, both, errors.add(figure, value), flush=True)
    missed = errors.missed_bars()
    if not only and not skipped:
        report_lines(point_lines())
    report_lines([*errors.summary(), *(f"MISSED: {text}" for text in missed)])
    return 1 if missed else 0


def report_sensitivity(only: Sequence[str], skipped: Sequence[str]) -> int:
    """Print how far times move when a number that nobody publishes is halved or doubled."""
    chosen = [key for key in PROGRAMS if _is_chosen(key, only, skipped)]
    for key in chosen:
        program = PROGRAMS[key]()
        print(" ".join(key))
        for effect in assumed_effects(program):
            print(f"  {effect}", flush=True)
    return 0 if chosen else 2


def report_lines(lines: Iterable[str]) -> int:
    """Print lines as they come."""
    for line in lines:
        print(line, flush=True)
    return 0


def _is_chosen(key: tuple[str, str], only: Sequence[str], skipped: Sequence[str]) -> bool:
    text = " ".join(key)
    return (not only or any(part in text for part in only)) and not any(part in text for part in skipped)
