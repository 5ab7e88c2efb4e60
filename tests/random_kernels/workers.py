"""Runs many kernels in child processes, since a miscompiled kernel may crash or never end."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from .check import find_problem, simplified
from .generate import generate

LONGEST_SECONDS = 120.0
"""How long one kernel may take; even large ones take a second."""


@dataclass(frozen=True)
class Outcome:
    """What came of one seed. ``op_names``: the ops of the simplified kernel."""

    seed: int
    problem: str | None
    op_names: frozenset[str] = frozenset()


@dataclass
class Summary:
    """What came of many seeds; ``op_counts`` says in how many kernels each op occurs."""

    outcomes: int = 0
    failures: list[Outcome] = field(default_factory=list)
    op_counts: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Count one more outcome."""
        self.outcomes += 1
        self.op_counts.update(outcome.op_names)
        if outcome.problem is not None:
            self.failures.append(outcome)


def run_seed(seed: int) -> Outcome:
    """Generate and check the kernel of a seed; an exception of the compiler is a problem too."""
    case = generate(seed)
    try:
        problem = find_problem(case)
        names = frozenset(op.name for op in simplified(case.function).walk())
    except Exception as error:
        return Outcome(seed, f"{type(error).__name__}: {error}")
    return Outcome(seed, problem, names)


def run_seeds(seeds: Sequence[int], processes: int) -> Iterator[Outcome]:
    """Check kernels in child processes; outcomes come as they are done."""
    pending = list(reversed(seeds))
    busy = [_Worker() for _ in range(min(max(1, processes), len(pending)))]
    for worker in busy:
        worker.give(pending)
    while busy:
        ready = wait([worker.connection for worker in busy], timeout=1.0)
        for worker in [w for w in busy if w.connection in ready or w.is_stuck]:
            outcome = worker.take()
            yield outcome
            if not worker.is_alive:
                busy[busy.index(worker)] = worker = _Worker()
            if not worker.give(pending):
                worker.stop()
                busy.remove(worker)


class _Worker:
    """One child process, which checks one seed at a time."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("fork")
        self.connection, other = context.Pipe()
        self._process: BaseProcess = context.Process(target=_work, args=(other,), daemon=True)
        self._process.start()
        other.close()
        self._seed = -1
        self._since = time.monotonic()
        self.is_alive = True

    @property
    def is_stuck(self) -> bool:
        return time.monotonic() - self._since > LONGEST_SECONDS

    def give(self, pending: list[int]) -> bool:
        """Send the next seed; return whether there was one."""
        if not pending:
            return False
        self._seed, self._since = pending.pop(), time.monotonic()
        self.connection.send(self._seed)
        return True

    def take(self) -> Outcome:
        """Receive what came of the seed; the worker is not alive afterwards if the kernel ended it."""
        try:
            if self.connection.poll():
                outcome = self.connection.recv()
                assert isinstance(outcome, Outcome)
                return outcome
            problem = f"the kernel did not end within {LONGEST_SECONDS:.0f} s"
        except EOFError:
            problem = ""
        self.stop()
        return Outcome(self._seed, problem or f"crashed with exit code {self._process.exitcode}")

    def stop(self) -> None:
        self.is_alive = False
        self.connection.close()
        self._process.kill()
        self._process.join()


def _work(connection: Connection) -> None:
    while True:
        try:
            seed = connection.recv()
        except EOFError:
            return
        connection.send(run_seed(seed))
