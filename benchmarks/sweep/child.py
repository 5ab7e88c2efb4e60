"""The process in which candidates run: ``python -m benchmarks.sweep.child``, made and killed by `worker`.

It reads a job and then requests from its standard input, one JSON text a line, and writes to its standard
output which phase it is in and what came out. What candidates print goes to standard error.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import tilejit
from benchmarks.problems.record import Setting
from benchmarks.sweep import timers
from benchmarks.sweep.machine_lock import MachineLock
from benchmarks.sweep.outcome import Job, Outcome, State, decode_candidate, encode_outcome
from benchmarks.sweep.space import Candidate, Space
from benchmarks.sweep.tunable import Bench, Choice, Model, find

WAIT, COMPILE, MEASURE = "wait", "compile", "measure"
"""The phases; the wait for the machine may take long."""

_PR_SET_PDEATHSIG = 1  # of Linux's prctl: which signal comes when the parent dies


class Child:
    """Tries candidates of one job; ``say_phase`` is told which phase begins."""

    def __init__(self, job: Job, say_phase: Callable[[str], None]) -> None:
        self._job = job
        self._say_phase = say_phase
        self._lock = MachineLock(Path(job.lock_folder))
        self._space = Space.parse(job.space)
        with self._turn(COMPILE):
            self._solution = _open(job)

    def default(self) -> Choice:
        """What is chosen where nothing better is known."""
        return self._solution.default

    def try_out(self, candidate: Candidate) -> Outcome:
        """Compile, run and check a candidate, then time it."""
        try:
            return self._try_out(candidate)
        except (tilejit.CompileError, tilejit.LaunchError, ValueError) as error:
            return Outcome(candidate, State.REFUSED, reason=_first_line(error))
        except Exception as error:
            reason = f"{type(error).__name__}: {_first_line(error)}"
            return Outcome(candidate, State.RAISED, reason=reason)

    def rank(self, candidates: list[Candidate]) -> list[Outcome]:
        """Time candidates against each other."""
        with self._turn(COMPILE):
            for candidate in candidates:
                self._bench.call(dict(candidate))()
        with self._turn(MEASURE):
            times = timers.compare_by_clock(self._bench, candidates)
        return [
            Outcome(candidate, State.TIMED, time.score, time.time_us, worst=time.worst)
            for candidate, time in zip(candidates, times, strict=True)
        ]

    def keep(self, candidate: Candidate, time_us: float) -> str:
        """Record a choice where launches look; return the file."""
        return str(self._solution.keep(dict(candidate), time_us))

    @property
    def _bench(self) -> Bench:
        assert isinstance(self._solution, Bench)
        return self._solution

    def _try_out(self, candidate: Candidate) -> Outcome:
        choice = dict(candidate)
        if isinstance(self._solution, Model):
            with self._turn(COMPILE):
                time_us = self._solution.time_us(choice)
            return Outcome(candidate, State.TIMED, time_us, time_us)
        bench = self._bench
        with self._turn(COMPILE):
            bench.spoil()
            bench.call(choice)()
            error = bench.measured_error()
        if not error <= bench.tolerance:  # NaN is wrong too
            reason = f"relative error {error:.1e} exceeds {bench.tolerance:.0e}"
            return Outcome(candidate, State.WRONG, reason=reason)
        if self._job.timer == "cost":
            time = timers.seeded_cost(self._space, candidate, self._job.seed)
        else:
            with self._turn(MEASURE):
                time = timers.time_by_clock(bench, candidate)
        return Outcome(candidate, State.TIMED, time.score, time.time_us)

    @contextmanager
    def _turn(self, phase: str) -> Iterator[None]:
        """Wait for the machine, then say that the phase begins."""
        self._say_phase(WAIT)
        with self._lock.to_measure() if phase == MEASURE else self._lock.to_compile():
            self._say_phase(phase)
            yield
            self._say_phase(WAIT)


def _open(job: Job) -> Bench | Model:
    tunable = find(job.tunable)
    shapes = {shape.name: shape for shape in tunable.place(job.target).shapes}
    setting = Setting(shapes[job.shape], job.dtype, job.threads)
    if job.timer == "model":
        assert tunable.open_model is not None
        return tunable.open_model(setting, job.target)
    assert tunable.open is not None
    return tunable.open(setting)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _die_with_parent(parent: int) -> None:
    """Have the system end this process when its parent dies, whatever it is doing then (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(1)


def _take_over_output() -> TextIO:
    """A stream to what was standard output; what candidates print goes to standard error from now on."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def main() -> None:
    """Answer requests until there are no more."""
    _die_with_parent(int(sys.argv[1]))
    answers = _take_over_output()

    def say(**fields: object) -> None:
        print(json.dumps(fields), file=answers, flush=True)

    job = Job(**json.loads(sys.stdin.readline()))
    tilejit.set_num_threads(job.threads)
    try:
        child = Child(job, lambda phase: say(phase=phase))
    except Exception as error:
        say(fatal=f"{type(error).__name__}: {error}")
        return
    say(ready=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            say(answer=_answer(child, request))
        except Exception as error:
            say(fatal=f"{type(error).__name__}: {error}")


def _answer(child: Child, request: dict[str, Any]) -> object:
    candidates = [decode_candidate(pairs) for pairs in request["candidates"]]
    if request["kind"] == "default":
        return child.default()
    if request["kind"] == "keep":
        return child.keep(candidates[0], request["time_us"])
    outcomes = child.rank(candidates) if request["kind"] == "rank" else [child.try_out(candidates[0])]
    return [encode_outcome(outcome) for outcome in outcomes]


if __name__ == "__main__":
    main()
