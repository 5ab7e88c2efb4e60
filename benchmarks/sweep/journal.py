"""The file of a sweep: every outcome as soon as it is there, so that an interrupted sweep goes on."""

from __future__ import annotations

import contextlib
import fcntl
import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.sweep.outcome import Outcome, State, SweepError, decode_candidate
from benchmarks.sweep.space import Candidate

_CREATE = """
CREATE TABLE IF NOT EXISTS sweep (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS outcomes (
    round TEXT, candidate TEXT, state TEXT, score REAL, time_us REAL, reason TEXT,
    PRIMARY KEY (round, candidate));
"""
_RECORD = "INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?, ?)"
_OUTCOMES = "SELECT candidate, state, score, time_us, reason FROM outcomes WHERE round = ? ORDER BY rowid"
SEARCH, FINAL = "search", "final"
"""The rounds: each candidate on its own, then the best against each other."""


class Journal:
    """The outcomes of one sweep, in a SQLite file that one process at a time may hold."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def outcomes(self, round: str = SEARCH) -> dict[Candidate, Outcome]:
        """What is known of the candidates, in the order in which it came."""
        found: dict[Candidate, Outcome] = {}
        for text, state, score, time_us, reason in self._connection.execute(_OUTCOMES, (round,)):
            candidate = decode_candidate(json.loads(text))
            found[candidate] = Outcome(candidate, State(state), score, time_us, reason)
        return found

    def add(self, outcome: Outcome, round: str = SEARCH) -> None:
        """Keep an outcome; it is on disk when this returns."""
        row = (outcome.state.value, outcome.score, outcome.time_us, outcome.reason)
        with self._connection:
            self._connection.execute(_RECORD, (round, json.dumps(outcome.candidate), *row))


@contextlib.contextmanager
def open_journal(path: Path, facts: Mapping[str, str]) -> Iterator[Journal]:
    """The journal in a file, new or of an earlier run of the same sweep.

    Raises: SweepError where the file is of another sweep, of a sweep that is running, or no journal.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(open(path.with_name(path.name + ".lock"), "w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SweepError(f"{path} belongs to a sweep that is running") from None
        try:
            connection = stack.enter_context(contextlib.closing(sqlite3.connect(path)))
            connection.executescript(_CREATE)
            _check_facts(connection, path, facts)
        except sqlite3.Error as error:
            raise SweepError(f"{path} is no journal of a sweep: {error}") from None
        yield Journal(connection)


def _check_facts(connection: sqlite3.Connection, path: Path, facts: Mapping[str, str]) -> None:
    known = dict(connection.execute("SELECT name, value FROM sweep"))
    if not known:
        with connection:
            connection.executemany("INSERT INTO sweep VALUES (?, ?)", facts.items())
        return
    for name, value in facts.items():
        if known.get(name) != value:
            raise SweepError(f"{path} is of another sweep: its {name} is {known.get(name)}, not {value}")
