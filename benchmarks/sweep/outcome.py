"""What is asked of a worker and what it answers; both travel between processes."""

from __future__ import annotations

import dataclasses
import enum
import math
from dataclasses import dataclass
from typing import Any

from benchmarks.sweep.space import Candidate


@dataclass(frozen=True)
class Job:
    """What all candidates of a sweep have in common. Units: ``limit_s`` bounds each phase of a candidate."""

    tunable: str
    shape: str
    dtype: str
    target: str
    space: str
    timer: str
    seed: int
    threads: int
    limit_s: float
    lock_folder: str


class State(enum.Enum):
    """How a candidate ended."""

    TIMED = "timed"
    REFUSED = "refused"  # it does not compile, or its values are none that the problem takes
    WRONG = "wrong"
    RAISED = "raised"
    CRASHED = "crashed"
    HUNG = "hung"


@dataclass(frozen=True)
class Outcome:
    """What became of a candidate: its score and time, or why it has none; ``worst`` as in ``Time``."""

    candidate: Candidate
    state: State
    score: float = math.inf
    time_us: float = math.inf
    reason: str = ""
    worst: float = math.inf


def encode_outcome(outcome: Outcome) -> dict[str, object]:
    """An outcome as JSON holds it."""
    return {**dataclasses.asdict(outcome), "state": outcome.state.value}


def decode_outcome(fields: dict[str, Any]) -> Outcome:
    """The inverse of ``encode_outcome``."""
    known = {**fields, "candidate": decode_candidate(fields["candidate"]), "state": State(fields["state"])}
    return Outcome(**known)


def decode_candidate(pairs: list[list[Any]]) -> Candidate:
    """A candidate out of JSON, which has no tuples."""
    return tuple((name, value) for name, value in pairs)


class SweepError(Exception):
    """A sweep that cannot go on, whatever the candidate."""
