"""``python -m tests.random_machine --count 20000 --seed 0 --interleavings 100 --workers 2``

Even seeds make programs of vector cores, odd ones of cube cores. The first ``--interleaved`` programs run in
``--interleavings`` random orders each, the others in ``--others``; all run under vector clocks.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

from tests.random_machine.census import features
from tests.random_machine.check import judge, make_program, spell
from tilejit.target.spaces import Core

MOST_FAILURES = 10
CHUNK = 20  # programs that a worker takes at a time


@dataclass(frozen=True)
class Task:
    """One program to judge, with as many argument sets and random orders."""

    seed: int
    core: Core
    runs: int
    interleavings: int


@dataclass(frozen=True)
class Outcome:
    """What came of a task: what is wrong, the program's text if there is one, what it had in it."""

    task: Task
    problem: str | None
    text: str
    features: frozenset[str]


def run(task: Task) -> Outcome:
    """Judge one program; exceptions are problems too."""
    text, found = "", frozenset[str]()
    try:
        program = make_program(task.seed, task.core)
        text, found = spell(program), frozenset(features(program))
        problem = judge(program, task.runs, task.interleavings)
    except Exception:
        problem = traceback.format_exc()
    return Outcome(task, problem, text, found)


def core_of(seed: int) -> Core:
    """The core kind of a seed's program where both are wanted."""
    return Core.AIC if seed % 2 else Core.AIV


def outcomes(tasks: list[Task], workers: int) -> Iterator[Outcome]:
    """The outcomes in the order of the tasks."""
    if workers == 1:
        yield from map(run, tasks)
        return
    with ProcessPoolExecutor(workers) as pool:
        try:
            yield from pool.map(run, tasks, chunksize=CHUNK)
        finally:
            pool.shutdown(cancel_futures=True)


def report(found: Iterator[Outcome], show: Callable[[str], None], *, with_text: bool) -> int:
    """Show each failure and, at the end, what was tried; returns the number of failures."""
    started, failed, done = time.monotonic(), 0, Counter[str]()
    counts: dict[str, Counter[str]] = {core.value: Counter() for core in Core}
    for outcome in found:
        core = outcome.task.core.value
        done[core] += 1
        counts[core].update(outcome.features)
        if outcome.problem is not None:
            failed += 1
            show(f"seed {outcome.task.seed}, {core}: {outcome.problem}")
            if with_text:
                show(outcome.text)
            if failed == MOST_FAILURES:
                break
    seconds = time.monotonic() - started
    show(f"{done.total()} programs, {failed} failed, {seconds:.0f} s")
    for core, names in counts.items():
        if done[core]:
            spelled = ", ".join(f"{name} {names[name]}" for name in sorted(names))
            show(f"{done[core]} for {core}, of these with: {spelled}")
    return failed


def main() -> int:
    """Judge ``--count`` programs from ``--seed`` on; print those that fail."""
    parser = argparse.ArgumentParser(prog="python -m tests.random_machine", description=__doc__)
    add = partial(parser.add_argument, type=int)
    add("--count", default=1000)
    add("--seed", default=0)
    add("--runs", default=8, help="argument sets for each program")
    add("--interleavings", default=10, help="random orders for each of the first programs")
    add("--interleaved", default=2000, help="how many programs get so many")
    add("--others", default=4, help="random orders for each of the others")
    add("--workers", default=1, help="processes")
    parser.add_argument("--core", choices=[*(core.value for core in Core), "both"], default="both")
    parser.add_argument("--show", action="store_true", help="print the text of programs that fail")
    options = parser.parse_args()
    tasks = [
        Task(
            seed,
            core_of(seed) if options.core == "both" else Core(options.core),
            options.runs,
            options.interleavings if number < options.interleaved else options.others,
        )
        for number, seed in enumerate(range(options.seed, options.seed + options.count))
    ]
    failed = report(outcomes(tasks, options.workers), partial(print, flush=True), with_text=options.show)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
