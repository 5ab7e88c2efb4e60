"""Mutates every kernel, prints what is found and what is implied.

A survivor is a mutant that simulator and verifier have nothing to say of. It is implied where vector clocks
over traces of all trip counts find every conflicting pair of accesses ordered; the list says by what. Where
one of both finds what the other does not, one is wrong: it is left open, and the command fails.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from tests.ascend_mutations.cases import CASES
from tests.ascend_mutations.judge import Subject
from tests.ascend_mutations.program_cases import PROGRAM_CASES
from tests.ascend_mutations.verdicts import (
    OPEN,
    Verdict,
    dead,
    judge,
    needless,
    one_of_each_class,
    survivors,
    table,
)

LARGE = frozenset(case.name for case in PROGRAM_CASES)
_PARTS_OF_LARGE = 24
Task = tuple[str, int, int, int | None]
"""A case, which part of how many of its mutants, and the seed of a sample."""


@lru_cache(maxsize=1)
def subject(name: str) -> Subject:
    """A case made ready; a process works on one at a time."""
    return Subject(CASES[name])


def run_task(task: Task) -> tuple[list[Verdict], list[str]]:
    """Judge mutants of a case; also what is found without any."""
    name, part, parts, seed = task
    made = subject(name)
    mutants = made.mutants if seed is None else one_of_each_class(made.mutants, seed)
    return [judge(made, mutant) for mutant in mutants[part::parts]], sorted(made.baseline)


def tasks_for(names: Sequence[str], sample: int | None, seed: int) -> list[Task]:
    """All mutants of the cases, those first that take longest; or about ``sample`` over cases and classes."""
    names = sorted(names, key=lambda name: name not in LARGE)
    if sample is not None:
        chosen = random.Random(seed).sample(names, min(len(names), max(1, sample // 5)))
        return [(name, 0, 1, seed) for name in chosen]
    parts = [(name, _PARTS_OF_LARGE if name in LARGE else 1) for name in names]
    return [(name, part, count, None) for name, count in parts for part in range(count)]


def main() -> int:
    """Judge all mutants of the chosen cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=[""], help="cases whose names have one of these")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sample", type=int, help="about this many mutants, over cases and classes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, help="stop after this time with what has been judged")
    parser.add_argument("--survivors", type=Path, help="write the list of survivors to this file")
    options = parser.parse_args()
    started = time.monotonic()
    tasks = tasks_for(
        [name for name in CASES if any(part in name for part in options.only)], options.sample, options.seed
    )
    done: list[tuple[list[Verdict], list[str]]] = []
    with multiprocessing.Pool(options.workers) as pool:
        for found in pool.imap(run_task, tasks):
            done.append(found)
            if options.seconds is not None and time.monotonic() - started > options.seconds:
                break
    verdicts = [verdict for found, _ in done for verdict in found]
    baseline = {line: None for _, lines in done for line in lines}
    for line in table(verdicts):
        print(line)
    spare = needless(verdicts)
    listed = [f"{'needless' if v in spare else 'implied'}: {v}" for v in survivors(verdicts)]
    listed += [f"no launch gets there: {verdict}" for verdict in dead(verdicts)]
    if options.survivors is not None:
        options.survivors.write_text("\n".join(listed) + "\n")
    else:
        print("\n".join(listed))
    for line in baseline:
        print(f"without mutation: {line}")
    still_open = [verdict for verdict in verdicts if verdict.outcome == OPEN]
    for verdict in still_open:
        print(f"open: {verdict}")
    if len(done) < len(tasks):
        print(f"stopped: {len(tasks) - len(done)} of {len(tasks)} parts were not judged")
    print(f"{len(verdicts)} mutants of {len({v.case for v in verdicts})} kernels, {len(still_open)} open, "
          f"{time.monotonic() - started:.0f} s with {options.workers} workers")  # fmt: skip
    return 1 if still_open else 0
