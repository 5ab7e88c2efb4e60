"""Outcomes as PNG files: for each problem the ratios to peers and the shares of limits, with intervals."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from benchmarks.measure import Interval
from benchmarks.problems.record import Bar, Limit
from benchmarks.runner import Outcome

_WIDTH_IN = 1.6  # of a setting
_LEAST_WIDTH_IN = 6.0
_HEIGHT_IN = 4.0
_GROUP_WIDTH = 0.8


class _Axes(Protocol):
    """What is used of matplotlib's axes."""

    def bar(
        self, x: Sequence[float], height: Sequence[float], width: float, **keywords: object
    ) -> object: ...

    def hlines(self, y: float, xmin: float, xmax: float, **keywords: object) -> object: ...

    def axhline(self, y: float, **keywords: object) -> object: ...

    def set_xticks(self, ticks: Sequence[float], labels: Sequence[str], **keywords: object) -> object: ...

    def set_ylabel(self, label: str) -> object: ...

    def set_title(self, title: str) -> object: ...

    def legend(self) -> object: ...


def is_available() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def write(folder: Path, outcomes: Sequence[Outcome]) -> list[Path]:
    """Draw every problem that has figures; the files."""
    folder.mkdir(parents=True, exist_ok=True)
    by_problem: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.comparison is not None:
            by_problem.setdefault(outcome.problem.name, []).append(outcome)
    files = []
    for name, group in by_problem.items():
        ratios = [dict(outcome.comparison.ratios) if outcome.comparison else {} for outcome in group]
        shares = [{limit.value: share for limit, share in outcome.fractions.items()} for outcome in group]
        for kind, values in (("peers", ratios), ("limits", shares)):
            if any(values):
                file = folder / f"{name}_{kind}.png"
                _draw(file, kind, group, values)
                files.append(file)
    return files


def _draw(file: Path, kind: str, group: Sequence[Outcome], values: Sequence[Mapping[str, Interval]]) -> None:
    figure_module = importlib.import_module("matplotlib.figure")
    figure = figure_module.Figure(
        figsize=(max(_LEAST_WIDTH_IN, _WIDTH_IN * len(group)), _HEIGHT_IN), layout="constrained"
    )
    axes: _Axes = figure.subplots()
    names = list(dict.fromkeys(name for value in values for name in value))
    width = _GROUP_WIDTH / len(names)
    for number, name in enumerate(names):
        _draw_series(axes, name, [value.get(name) for value in values], number * width, width)
    for place, outcome in enumerate(group):
        _draw_bars(axes, kind, outcome, names, place, width)
    labels = [f"{outcome.setting.shape.name}\n{outcome.setting.dtype}" for outcome in group]
    axes.set_xticks([place + (_GROUP_WIDTH - width) / 2 for place in range(len(group))], labels)
    if kind == "peers":
        axes.axhline(1.0, color="black", linewidth=0.8)
        axes.set_ylabel("time of the peer / time of tilejit")
    else:
        axes.set_ylabel("share of the limit")
    axes.set_title(f"{group[0].problem.name}: {group[0].problem.summary}")
    axes.legend()
    figure.savefig(file, dpi=120)


def _draw_series(
    axes: _Axes, name: str, intervals: Sequence[Interval | None], shift: float, width: float
) -> None:
    """One bar for each setting that has a figure, with its interval."""
    there = [(place, interval) for place, interval in enumerate(intervals) if interval is not None]
    axes.bar(
        [place + shift for place, _ in there],
        [interval.median for _, interval in there],
        width,
        yerr=(
            [interval.median - interval.low for _, interval in there],
            [interval.high - interval.median for _, interval in there],
        ),
        capsize=3,
        label=name,
    )


def _draw_bars(
    axes: _Axes, kind: str, outcome: Outcome, names: Sequence[str], place: int, width: float
) -> None:
    """What must be reached, as a line over the column that it is held against."""
    for verdict in outcome.verdicts:
        bar = verdict.bar
        if not isinstance(bar, Bar):
            continue
        is_limit = isinstance(bar.against, Limit)
        against = bar.against.value if isinstance(bar.against, Limit) else bar.against
        if is_limit != (kind == "limits") or against not in names:
            continue
        left = place + (names.index(against) - 0.5) * width
        axes.hlines(bar.at_least, left, left + width, colors="red", linestyles="dashed")
