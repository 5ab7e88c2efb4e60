"""What an executor runs: functions of a job that have a child process try candidates.

A child lives as long as its candidates behave; one that crashes or passes a time limit is killed, and costs
no other candidate anything. A child that crashed after other candidates may have been damaged by them: its
last candidate gets a second try in a new one.
"""

from __future__ import annotations

import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.sweep.outcome import Job, Outcome, State, SweepError, decode_outcome
from benchmarks.sweep.space import Candidate
from benchmarks.sweep.tunable import Choice

_ROOT = Path(__file__).resolve().parents[2]
_WAIT = "wait"
_START_LIMIT_S = 120.0
_WAIT_LIMIT_S = 3600.0
_END_LIMIT_S = 10.0
_MESSAGES = {"answer", "fatal", "phase", "ready"}  # what messages of a child hold one of


def try_out(job: Job, candidate: Candidate) -> Outcome:
    """Try one candidate. Raises: SweepError where no candidate of the job can be tried."""
    while True:
        child = _CHILDREN.take(job)
        is_first = child.answered == 0
        try:
            answer = child.ask({"kind": "try", "candidates": [candidate]})
        except _Died as death:
            if death.state is State.CRASHED and not is_first:
                continue
            return Outcome(candidate, death.state, reason=str(death))
        _CHILDREN.give_back(child)
        return decode_outcome(answer[0])


def rank(job: Job, candidates: Sequence[Candidate]) -> list[Outcome]:
    """Time candidates that work against each other. Raises: SweepError where one does not work."""
    request: dict[str, object] = {"kind": "rank", "candidates": list(candidates)}
    return [decode_outcome(fields) for fields in _ask(job, request, 1 + len(candidates))]


def keep(job: Job, candidate: Candidate, time_us: float) -> str:
    """Record a candidate where launches look; return the file. Raises: SweepError."""
    return str(_ask(job, {"kind": "keep", "candidates": [candidate], "time_us": time_us}))


def default(job: Job) -> Choice:
    """What is chosen where nothing better is known. Raises: SweepError."""
    choice: Choice = _ask(job, {"kind": "default", "candidates": []})
    return choice


def end_children() -> None:
    """End the children of this process that wait for candidates."""
    _CHILDREN.end()


def _ask(job: Job, request: dict[str, object], candidates: int = 1) -> Any:
    """The answer of a child that has the time of so many candidates."""
    child = _CHILDREN.take(job)
    try:
        answer = child.ask(request, candidates)
    except _Died as death:
        raise SweepError(f"the process that should {request['kind']} {death}") from None
    _CHILDREN.give_back(child)
    return answer


class _Died(Exception):
    """A child is gone, and what its candidate is to blame for."""

    def __init__(self, state: State, reason: str) -> None:
        super().__init__(reason)
        self.state = state


class _Child:
    """A process that tries candidates of one job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.answered = 0
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sweep.child", str(os.getpid())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, cwd=_ROOT, bufsize=0,
            env={**os.environ, "PYTHONPATH": path, "TILEJIT_NUM_THREADS": str(job.threads)},
        )  # fmt: skip
        self._buffer = b""
        try:
            self._send(dataclasses.asdict(job))
            self._receive(_START_LIMIT_S)
        except _Died as death:
            words = self._last_words()
            self.end()
            raise SweepError(f"a worker process {death} before its first candidate: {words}") from None

    def ask(self, request: dict[str, object], candidates: int = 1) -> Any:
        """Send a request and return the answer; each phase may take the time of so many candidates.

        Raises: _Died where the process crashed, or was killed because a phase took too long; SweepError
                where it says that the request cannot be answered.
        """
        try:
            self._send(request)
            answer = self._receive(candidates * self.job.limit_s)["answer"]
        except BaseException:  # whatever it was: the child is not where the next request expects it
            self.end()
            raise
        self.answered += 1
        return answer

    def end(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._errors.close()

    def _send(self, fields: dict[str, object]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(fields).encode() + b"\n")
        except BrokenPipeError:
            raise self._death() from None

    def _receive(self, limit_s: float) -> dict[str, Any]:
        """The next message that is no phase; the limit holds for each phase but the wait for the machine."""
        phase, finish = "start", time.monotonic() + limit_s
        while True:
            line = self._line(finish)
            if line is None:
                self._process.kill()
                raise _Died(State.HUNG, f"was killed after {limit_s:g} s in phase {phase}")
            message = _decode(line)
            if "fatal" in message:
                raise SweepError(str(message["fatal"]))
            if "phase" not in message:
                return message
            phase = message["phase"]
            finish = time.monotonic() + (_WAIT_LIMIT_S if phase == _WAIT else limit_s)

    def _line(self, finish: float) -> bytes | None:
        """The next line of the process; None where it does not come in time."""
        assert self._process.stdout is not None
        while b"\n" not in self._buffer:
            left = max(0.0, finish - time.monotonic())
            if not select.select([self._process.stdout], [], [], left)[0]:
                return None
            piece = os.read(self._process.stdout.fileno(), 65536)
            if not piece:
                raise self._death()
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _death(self) -> _Died:
        """What became of a process that closed its output or input; one that lives on is killed."""
        try:
            code = self._process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return _Died(State.CRASHED, "closed its output without ending")
        if code >= 0:
            return _Died(State.CRASHED, f"ended with exit code {code}")
        return _Died(State.CRASHED, f"was ended by {signal.Signals(-code).name}")

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def _decode(line: bytes) -> dict[str, Any]:
    """A message of a child. Raises: _Died where something else was written in its place."""
    try:
        message = json.loads(line)
    except ValueError:
        message = None
    if not isinstance(message, dict) or message.keys().isdisjoint(_MESSAGES):
        raise _Died(State.CRASHED, f"wrote {line[:60]!r} in place of an answer")
    return message


class _Children:
    """The children that wait for work, by job."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[Job, list[_Child]] = {}

    def take(self, job: Job) -> _Child:
        """A child of the job that waits, or a new one. Raises: SweepError where none can be started."""
        with self._lock:
            waiting = self._waiting.get(job)
            if waiting:
                return waiting.pop()
        return _Child(job)

    def give_back(self, child: _Child) -> None:
        """Let a child wait for more work."""
        with self._lock:
            self._waiting.setdefault(child.job, []).append(child)

    def end(self) -> None:
        """End all that wait."""
        with self._lock:
            for children in self._waiting.values():
                for child in children:
                    child.end()
            self._waiting.clear()


_CHILDREN = _Children()
