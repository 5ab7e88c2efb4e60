"""A sweep: a search asks for candidates, an executor has them tried, the journal keeps what came out."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass

from benchmarks.sweep import worker
from benchmarks.sweep.journal import FINAL, Journal
from benchmarks.sweep.outcome import Job, Outcome, State, SweepError
from benchmarks.sweep.search import Search
from benchmarks.sweep.space import Candidate

_FINALISTS = 5
_FINAL_MARGIN = 1.15


@dataclass(frozen=True)
class Budget:
    """When to stop asking for candidates: after so many, or after so long in this run."""

    candidates: int | None = None
    seconds: float | None = None

    @staticmethod
    def parse(text: str) -> Budget:
        """Read ``200`` (candidates), ``90s`` or ``10m``. Raises: ValueError for another text."""
        unit = {"s": 1.0, "m": 60.0}.get(text[-1:])
        number = text[:-1] if unit else text
        if not number.isdigit() or int(number) < 1:
            raise ValueError(
                f"cannot read the budget '{text}': write 200 for candidates, or a time: 90s, 10m"
            )
        return Budget(seconds=int(number) * unit) if unit else Budget(candidates=int(number))


@dataclass(frozen=True)
class Findings:
    """What a sweep found: all outcomes of this search, and those of the best once more side by side."""

    outcomes: dict[Candidate, Outcome]
    finals: dict[Candidate, Outcome]

    @property
    def ranked(self) -> list[Outcome]:
        """The candidates with a score, the best first; equal ones in the order of their texts."""
        timed = [
            self.finals.get(c, outcome)
            for c, outcome in self.outcomes.items()
            if outcome.state is State.TIMED
        ]
        return sorted(timed, key=lambda o: (o.candidate not in self.finals, o.score, str(o.candidate)))

    def chosen(self, default: Candidate) -> Outcome:
        """The best; of those timed side by side the best that is faster than the default beyond noise."""
        best = self.ranked[0]
        if best.candidate not in self.finals:
            return best
        faster = [outcome for outcome in self.ranked[: len(self.finals)] if outcome.worst < 1.0]
        kept = [outcome for outcome in self.ranked if outcome.candidate == default]
        return (faster or kept or [best])[0]


class Sweep:
    """Tries what a search asks for; ``after_candidate`` is called for each outcome, old ones included."""

    def __init__(
        self,
        job: Job,
        executor: Executor,
        workers: int,
        journal: Journal,
        budget: Budget,
        after_candidate: Callable[[], None] = lambda: None,
    ) -> None:
        self._job = job
        self._executor = executor
        self._workers = workers
        self._journal = journal
        self._budget = budget
        self._after_candidate = after_candidate
        self._finish = time.monotonic() + budget.seconds if budget.seconds else None

    def run(self, search: Search) -> Findings:
        """Go through the search until its end or that of the budget, then compare the best.

        Raises: SweepError where no candidate can be tried.
        """
        known = self._journal.outcomes()
        outcomes: dict[Candidate, Outcome] = {}
        left = self._budget.candidates
        batch = next(search, None)
        while batch:
            batch = batch if left is None else batch[: left - len(outcomes)]
            found = self._try_all(batch, known)
            outcomes.update(found)
            is_cut = len(found) < len(batch) or len(outcomes) == left
            try:
                batch = None if is_cut else search.send({c: outcome.score for c, outcome in found.items()})
            except StopIteration:
                batch = None
        return Findings(outcomes, self._compare_best(outcomes))

    def _try_all(
        self, batch: Sequence[Candidate], known: dict[Candidate, Outcome]
    ) -> dict[Candidate, Outcome]:
        """The outcomes of a batch, in its order; fewer where the time is over."""
        found: dict[Candidate, Outcome] = {}
        waiting = iter([candidate for candidate in batch if candidate not in known])
        running: set[Future[Outcome]] = set()
        while True:
            free = 0 if self._is_over() else self._workers - len(running)
            for candidate in itertools.islice(waiting, free):
                running.add(self._executor.submit(worker.try_out, self._job, candidate))
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                outcome = future.result()
                self._journal.add(outcome)
                known[outcome.candidate] = outcome
                self._after_candidate()
        for candidate in batch:
            if candidate in known:
                found[candidate] = known[candidate]
        return found

    def _is_over(self) -> bool:
        return self._finish is not None and time.monotonic() >= self._finish

    def _compare_best(self, outcomes: dict[Candidate, Outcome]) -> dict[Candidate, Outcome]:
        """Time the best side by side: one by one, the machine was not the same for all."""
        best = Findings(outcomes, {}).ranked[:_FINALISTS]
        near = [o.candidate for o in best if o.score <= _FINAL_MARGIN * best[0].score]
        if self._job.timer != "wall" or len(near) < 2:
            return {}
        kept = self._journal.outcomes(FINAL)
        if set(kept) != set(near):
            future = self._executor.submit(worker.rank, self._job, near)
            try:
                kept = {outcome.candidate: outcome for outcome in future.result()}
            except SweepError:  # one of them crashes now and then: the scores of the search must do
                return {}
            for outcome in kept.values():
                self._journal.add(outcome, FINAL)
        return {candidate: kept[candidate] for candidate in near}
