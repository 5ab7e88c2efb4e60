"""Who may use the machine: many who compile, or one who measures.

Locks on two files, which the system releases when a process dies, however it dies. Whoever waits to measure
keeps newcomers out, so that it has to wait for running compilations only.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class MachineLock:
    """The lock whose files lie in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder

    @contextmanager
    def to_compile(self) -> Iterator[None]:
        """Work beside others, but not while someone measures."""
        with self._held(fcntl.LOCK_SH):
            yield

    @contextmanager
    def to_measure(self) -> Iterator[None]:
        """Work alone."""
        with self._held(fcntl.LOCK_EX):
            yield

    @contextmanager
    def _held(self, kind: int) -> Iterator[None]:
        gate, machine = self._open("gate"), self._open("machine")
        try:
            fcntl.flock(gate, fcntl.LOCK_EX)
            fcntl.flock(machine, kind)
            fcntl.flock(gate, fcntl.LOCK_UN)
            yield
        finally:
            os.close(gate)
            os.close(machine)

    def _open(self, name: str) -> int:
        return os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
