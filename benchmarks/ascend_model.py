"""``python -m benchmarks ascend-model``: the simulator's times beside published measurements."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.machine_programs.published import (
    PROGRAMS,
    Figure,
    assumed_effects,
    modelled,
    published_figures,
)


def report(only: Sequence[str], skipped: Sequence[str], *, is_quick: bool) -> int:
    """Print modelled value, published value and error of every figure that a program exists for.

    ``only`` keeps the programs whose family and shape contain one of the texts, ``skipped`` leaves them out.
    ``is_quick`` skips iterations that take as long as those before.
    """
    programs: dict[tuple[str, str], list[Figure]] = {}
    for figure in published_figures():
        programs.setdefault((figure.family, figure.shape), []).append(figure)
    chosen = [key for key in programs if key in PROGRAMS and _is_chosen(key, only, skipped)]
    if not chosen:
        print("no program matches", file=sys.stderr)
        return 2
    errors: dict[str, list[float]] = {}
    for key in chosen:
        result = PROGRAMS[key]().simulate(extrapolate=is_quick)
        for figure in programs[key]:
            value = modelled(figure, result)
            error = value / figure.value - 1
            if figure.metric == "time":
                errors.setdefault(figure.tag, []).append(abs(error))
            print(
                f"{figure.family:15} {figure.shape:74} {figure.metric:13} {figure.tag:8} "
                f"model {value:9.2f}  published {figure.value:9.2f} {figure.unit:3} {100 * error:+6.1f} %",
                flush=True,
            )
    for tag, of in errors.items():
        print(f"times, {tag}: mean error {100 * sum(of) / len(of):.1f} %, largest {100 * max(of):.1f} %")
    without = [key for key in programs if key not in PROGRAMS]
    print(f"{len(without)} published programs are not written at the machine level")
    return 0


def report_sensitivity(only: Sequence[str], skipped: Sequence[str]) -> int:
    """Print how far times move when a number that nobody publishes is halved or doubled."""
    chosen = [key for key in PROGRAMS if _is_chosen(key, only, skipped)]
    for key in chosen:
        program = PROGRAMS[key]()
        print(" ".join(key))
        for effect in assumed_effects(program):
            print(f"  {effect}", flush=True)
    return 0 if chosen else 2


def _is_chosen(key: tuple[str, str], only: Sequence[str], skipped: Sequence[str]) -> bool:
    text = " ".join(key)
    return (not only or any(part in text for part in only)) and not any(part in text for part in skipped)
