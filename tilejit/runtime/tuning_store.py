"""Which configurations are the fastest, kept from run to run in one SQLite file.

Processes share it: each access is one short transaction, and waits a while for those of others. A result is
no more than a hint, so whatever is wrong with the file costs only the hint: each row bears a checksum of what
it says, and a file that is no database is set aside when something is recorded. A file that is a link,
belongs to another user or can be written by others is not used.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import astuple
from pathlib import Path

from tilejit.runtime.source_digest import digest_text
from tilejit.runtime.tuning_key import TuningKey

LOGGER = logging.getLogger("tilejit.tuning")

_BUSY_SECONDS = 5.0
# The number in the name changes with the meaning of the columns.
_CREATE = """
CREATE TABLE IF NOT EXISTS best_2 (
    kernel TEXT, source TEXT, machine TEXT, options TEXT, call TEXT, space TEXT,
    choice TEXT NOT NULL, time_us REAL NOT NULL, checksum TEXT NOT NULL,
    PRIMARY KEY (kernel, source, machine, options, call, space))
"""
_FIND = (
    "SELECT choice, checksum FROM best_2 "
    "WHERE kernel = ? AND source = ? AND machine = ? AND options = ? AND call = ? AND space = ?"
)
_RECORD = "INSERT OR REPLACE INTO best_2 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


class TuningStore:
    """The results in one file; the file may be missing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, key: TuningKey) -> dict[str, object] | None:
        """The choice that was recorded; None where there is none, or none that can be read."""
        try:
            if not self._is_usable():
                return None
            with self._transaction() as connection:
                row = connection.execute(_FIND, astuple(key)).fetchone()
            if row is None:
                return None
            text, checksum = row
            if checksum != digest_text(*astuple(key), text):
                raise ValueError("a choice in it is damaged")
            choice = json.loads(text)
        except (sqlite3.Error, OSError, ValueError, TypeError, RecursionError) as error:
            LOGGER.warning("%s is not used: %s", self.path, error)
            return None
        return choice if isinstance(choice, dict) else None

    def record(self, key: TuningKey, choice: Mapping[str, object], time_us: float) -> bool:
        """Keep a choice in place of the one before; False where that was not possible.

        A file that is no database is set aside under another name.
        """
        text = json.dumps(choice, sort_keys=True)
        row = (*astuple(key), text, time_us, digest_text(*astuple(key), text))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self._is_usable():
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL, 0o600))
            try:
                self._insert(row)
            except sqlite3.OperationalError:  # busy, read-only, full: not the file's fault
                raise
            except sqlite3.DatabaseError:
                os.replace(self.path, self.path.with_suffix(".broken"))
                self._insert(row)
        except (sqlite3.Error, OSError) as error:
            LOGGER.warning("%s cannot be written: %s", self.path, error)
            return False
        return True

    def _is_usable(self) -> bool:
        """True for a file of this user's that nobody else can write; False where there is none.

        Raises: OSError for any other, as for a folder in which others can put one in its place.
        """
        if sys.platform == "win32":  # which has other owners and modes
            return self.path.is_file()
        for path, is_right, kind in (
            (self.path.parent, stat.S_ISDIR, "folder"),
            (self.path, stat.S_ISREG, "file"),
        ):
            try:
                facts = path.lstat() if kind == "file" else path.stat()
            except (FileNotFoundError, NotADirectoryError):
                return False
            if not is_right(facts.st_mode):
                raise OSError(f"{path} is no {kind} of its own")
            if facts.st_uid != os.geteuid():
                raise OSError(f"{path} belongs to another user")
            if stat.S_IMODE(facts.st_mode) & 0o022:
                raise OSError(f"{path} can be written by other users")
        return True

    def _insert(self, row: tuple[object, ...]) -> None:
        with self._transaction() as connection:
            connection.execute(_CREATE)
            connection.execute(_RECORD, row)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self.path, timeout=_BUSY_SECONDS)) as connection, connection:
            yield connection
