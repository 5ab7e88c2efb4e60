"""The problems that are timed, a module for each group."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.problems import (
    ascend,
    attention,
    compile,
    elementwise,
    launch,
    matmul,
    normalisation,
    paged,
    skinny,
)
from benchmarks.problems.record import Problem

PROBLEMS: tuple[Problem, ...] = (
    *elementwise.PROBLEMS,
    *normalisation.PROBLEMS,
    *matmul.PROBLEMS,
    *skinny.PROBLEMS,
    *attention.PROBLEMS,
    *paged.PROBLEMS,
    *launch.PROBLEMS,
    *compile.PROBLEMS,
    *ascend.PROBLEMS,
)


def find(names: Iterable[str]) -> tuple[Problem, ...]:
    """The problems with these names, in the order of the table.

    A name that no problem has stands for its group; ``all`` for every problem.
    Raises: ValueError with the names that are neither.
    """
    by_name = {problem.name: (problem,) for problem in PROBLEMS}
    chosen: set[str] = set()
    unknown = []
    for name in names:
        found = by_name.get(name) or tuple(p for p in PROBLEMS if name in ("all", p.group))
        chosen |= {problem.name for problem in found}
        if not found:
            unknown.append(name)
    if unknown:
        raise ValueError(f"no case named {', '.join(unknown)}; see: python -m benchmarks list")
    return tuple(problem for problem in PROBLEMS if problem.name in chosen)
