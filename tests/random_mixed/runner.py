"""Judges many plans, in several processes."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from tests.random_mixed.check import Verdict, judge
from tests.random_mixed.generate import generate
from tests.random_mixed.plan import Branch, Dot, Loop, Plan, Statement, Store, parts, walk
from tests.random_mixed.shrink import shrink

_CHUNK = 10  # seeds that a process takes at a time


@dataclass(frozen=True)
class Outcome:
    """What came of one seed, and what its plan has in it."""

    seed: int
    verdict: Verdict
    features: frozenset[str] = frozenset()


@dataclass
class Summary:
    """What came of many seeds."""

    done: int = 0
    failures: list[Outcome] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    features: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Count one more outcome."""
        self.done += 1
        if outcome.verdict.problem is not None:
            self.failures.append(outcome)
        elif outcome.verdict.refusal is not None:
            self.refusals[outcome.verdict.refusal] += 1
        self.features.update(outcome.features)


def judged(plan: Plan) -> Verdict:
    """The verdict on a plan; whatever the compiler raises is a problem, too."""
    try:
        return judge(plan)
    except Exception:
        return Verdict(traceback.format_exc())


def run_seed(seed: int) -> Outcome:
    """Judge the plan of a seed."""
    plan = generate(seed)
    verdict = judged(plan)
    return Outcome(seed, verdict, frozenset(features(plan, verdict)))


def run_seeds(seeds: Sequence[int], jobs: int) -> Iterator[Outcome]:
    """Judge plans in ``jobs`` processes; outcomes come in the order of the seeds."""
    if jobs == 1:
        yield from map(run_seed, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(run_seed, seeds, chunksize=_CHUNK)


def smallest(plan: Plan) -> Plan:
    """What a failing plan shrinks to."""
    return shrink(plan, lambda smaller: judged(smaller).problem is not None)


def features(plan: Plan, verdict: Verdict) -> Iterator[str]:
    """The names of what a plan has, and of what the compiler did with it."""
    statements = list(walk(plan.body))
    loops = [s for s in statements if isinstance(s, Loop)]
    yield from ("masked rows",) if plan.is_masked else ()
    yield from ("odd rows",) if plan.rows % 2 else ()
    yield from ("several programs",) if plan.programs > 1 else ()
    yield from ("loop",) if loops else ()
    yield from ("nested loops",) if any(_holds(loop.body, Loop) for loop in loops) else ()
    yield from ("while loop",) if any(not loop.step for loop in loops) else ()
    yield from ("no trips",) if any(_trips(plan, loop) == 0 for loop in loops) else ()
    yield from ("count from memory",) if any(loop.count in ("memory", "inner") for loop in loops) else ()
    yield from ("product in nested loops",) if _deepest_dot(plan.body) > 1 else ()
    yield from ("branch",) if any(isinstance(s, Branch) for s in statements) else ()
    branches = [s for s in statements if isinstance(s, Branch)]
    yield from ("product in a branch",) if any(_holds((*b.then, *b.other), Dot) for b in branches) else ()
    yield from ("store in a loop",) if any(_holds(loop.body, Store) for loop in loops) else ()
    crossings = sum(" goes from " in remark for remark in verdict.remarks)
    yield from ("mixed",) if verdict.is_mixed and crossings else ()
    yield from ("several crossings",) if crossings > 1 else ()
    for stages in (2, 3, 4):
        text = f"the loop is skewed: {stages} stages"
        yield from (f"skewed, {stages} stages",) if any(text in r for r in verdict.remarks) else ()


def _holds(body: tuple[Statement, ...], kind: type) -> bool:
    return any(isinstance(statement, kind) for statement in walk(body))


def _trips(plan: Plan, loop: Loop) -> int | None:
    if isinstance(loop.count, int):
        return loop.count
    return {"n0": plan.counts[0], "n1": plan.counts[1]}.get(loop.count)


def _deepest_dot(body: tuple[Statement, ...], depth: int = 0) -> int:
    """In how many loops a product lies, at most."""
    found = [depth] if any(isinstance(statement, Dot) for statement in body) else []
    for statement in body:
        inner = depth + isinstance(statement, Loop)
        found += [_deepest_dot(part, inner) for part in parts(statement)]
    return max(found, default=0)
