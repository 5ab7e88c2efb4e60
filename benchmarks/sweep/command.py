"""``python -m benchmarks sweep NAME``: reads what is asked, runs the sweep, reports and keeps the best."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import tilejit
from benchmarks.progress import progress
from benchmarks.sweep import report, tunables, worker
from benchmarks.sweep.driver import Budget, Sweep
from benchmarks.sweep.executors import EXECUTORS
from benchmarks.sweep.journal import open_journal
from benchmarks.sweep.outcome import Job, SweepError
from benchmarks.sweep.search import SEARCHES
from benchmarks.sweep.space import Space, spell
from benchmarks.sweep.tunable import find, is_ascend


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of ``python -m benchmarks``."""
    sweep = commands.add_parser("sweep", help="find the best configuration of a kernel and keep it")
    names = ", ".join(tunables.NAMES)
    sweep.add_argument("name", metavar="NAME", help=f"{names}, or package.module:TUNABLE")
    sweep.add_argument("--shape", help="one of the problem's shapes (the first)")
    sweep.add_argument("--dtype", help="one of the problem's dtypes (the first)")
    sweep.add_argument("--target", default="cpu", help="cpu, or a simulated chip: ascend910b (cpu)")
    sweep.add_argument("--space", help="'BLOCK=16:256:*2; STAGES=1,2,3' (the problem's own)")
    sweep.add_argument("--search", choices=tuple(SEARCHES), default="pattern", help="default: pattern")
    sweep.add_argument("--budget", default="200", help="200 candidates, or a time: 90s, 10m (200)")
    sweep.add_argument("--workers", type=int, default=2, help="candidates compiled at a time (2)")
    sweep.add_argument("--executor", choices=tuple(EXECUTORS), default="processes", help="default: processes")
    sweep.add_argument(
        "--timer", choices=("wall", "cost"), default="wall", help="the clock, or made-up times"
    )
    sweep.add_argument("--seed", type=int, default=0, help="of the search and of made-up times (0)")
    sweep.add_argument(
        "--limit", type=float, default=60.0, help="seconds to compile or to time a candidate (60)"
    )
    sweep.add_argument(
        "--threads", type=int, default=tilejit.get_num_threads(), help="of a candidate's calls"
    )
    sweep.add_argument(
        "--resume", type=Path, metavar="FILE", help="keep outcomes in FILE; go on where it has some"
    )
    sweep.add_argument(
        "--keep", action=argparse.BooleanOptionalAction,
        help="record the best where launches look; made-up times are not recorded by default",
    )  # fmt: skip
    sweep.add_argument("--json", type=Path, metavar="FILE", help="also write all outcomes to this file")


def run(options: argparse.Namespace) -> int:
    """Run the sweep; 0 where some candidate could be timed."""
    try:
        return _run(options)
    except (SweepError, ValueError, tilejit.TilejitError) as error:
        print(error, file=sys.stderr)
        return 2


def _run(options: argparse.Namespace) -> int:
    job = _job(options)
    space, budget = Space.parse(job.space), Budget.parse(options.budget)
    facts = {
        "problem": f"{job.tunable} {job.shape} {job.dtype}", "target": job.target, "space": job.space,
        "timer": job.timer, "search": options.search, "seed": str(options.seed), "threads": str(job.threads),
    }  # fmt: skip
    path = options.resume or Path(tempfile.mkdtemp(prefix="tilejit-sweep-")) / "outcomes.sqlite"
    tilejit.set_num_threads(job.threads)
    with open_journal(path, facts) as journal, EXECUTORS[options.executor](options.workers) as executor:
        start = space.near(executor.submit(worker.default, job).result())
        search = SEARCHES[options.search](space, start, options.seed)
        known = len(journal.outcomes())
        print(f"{space.size} candidates, {known} of them known; outcomes in {path}", flush=True)
        with progress(f"sweep of {job.tunable} {job.shape} {job.dtype}") as shown:
            shown.plan(max(0, min(budget.candidates or space.size, space.size) - known))
            sweep = Sweep(job, executor, options.workers, journal, budget, shown.step)
            findings = sweep.run(search)
        print(*report.lines(findings, start), sep="\n")
        if options.json is not None:
            options.json.write_text(json.dumps({**facts, **report.record(findings, start)}, indent=1))
        if not findings.ranked:
            return 1
        if options.keep or (options.keep is None and job.timer != "cost"):
            best = findings.chosen(start)
            file = executor.submit(worker.keep, job, best.candidate, best.time_us).result()
            why = "" if best == findings.ranked[0] else ", the default: none is faster beyond noise"
            print(f"kept {spell(best.candidate)} in {file}{why}")
    return 0


def _job(options: argparse.Namespace) -> Job:
    """What is asked for, checked. Raises: ValueError naming what there is."""
    tunable = find(options.name)
    place = tunable.place(options.target)
    shapes = [shape.name for shape in place.shapes]
    shape, dtype = options.shape or shapes[0], options.dtype or place.dtypes[0]
    for kind, wanted, known in (("shape", shape, shapes), ("dtype", dtype, place.dtypes)):
        if wanted not in known:
            raise ValueError(f"no {kind} named {wanted}; there are: {', '.join(known)}")
    for name in ("workers", "threads", "limit"):
        if vars(options)[name] <= 0:
            raise ValueError(f"--{name} is {vars(options)[name]}; a positive number was expected")
    space = Space.parse(options.space or place.space)
    return Job(
        options.name, shape, dtype, options.target, str(space),
        "model" if is_ascend(options.target) else options.timer, options.seed, options.threads,
        options.limit, str(_lock_folder()),
    )  # fmt: skip


def _lock_folder() -> Path:
    """One for all sweeps of a user on this machine: they must not measure at the same time."""
    return Path(tempfile.gettempdir()) / f"tilejit-machine-{os.getuid()}"
