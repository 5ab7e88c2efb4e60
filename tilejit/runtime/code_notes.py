"""What was found out about the code of a kernel's functions, kept on disk for the next process.

To walk over the bytecode of a kernel and of its helpers, and to digest it, is a good part of finding a
program on disk, and what comes of it depends on the code alone. One entry holds it for all code that a kernel
reaches, each under its fingerprint: a checksum over all that a code object holds, its file and lines
included. So another function of the same name, or a helper that was changed, is not in it and is walked over.
The key of the entry is made of the kernel's own fingerprint and of ``origin``: whose walk it was, over the
bytecode of which Python.
"""

from __future__ import annotations

import contextlib
import hashlib
import marshal
from collections.abc import Callable, Mapping, Sequence
from types import CodeType

from tilejit.frontend.bytecode import OutsideReads, outside_reads, remember_reads
from tilejit.store import Store, StoreError

# The digest of a code object and the fields of its ``OutsideReads``, of types that ``marshal`` knows.
_Note = tuple[
    bytes, frozenset[str], frozenset[str], Mapping[str, frozenset[object]], tuple[tuple[str, ...], ...]
]
_FORMAT = "1"
_WITHOUT_REFERENCES = 2  # the last version of ``marshal`` that writes equal objects as equal bytes


class CodeNotes:
    """What is known of code; without ``store`` nothing was kept and nothing is."""

    def __init__(self, store: Store | None = None, key: str = "") -> None:
        self._store = store
        self._key = key
        self._kept = _read(store, key)
        self._met: dict[bytes, _Note] = {}

    def digest_of(self, code: CodeType, make: Callable[[CodeType], bytes]) -> bytes:
        """The digest of code, which ``make`` makes where it is not known; what it reads is known after it."""
        mark = fingerprint(code) if self._store is not None else None
        if mark is None:
            return make(code)
        note = self._met.get(mark) or self._kept.get(mark)
        if note is None:
            reads = outside_reads(code)
            note = (make(code), reads.names, reads.changed, reads.keys, reads.chains)
            if reads.hiding:
                return note[0]
        elif mark not in self._met:
            remember_reads(code, OutsideReads(*note[1:]))
        self._met[mark] = note
        return note[0]

    def keep(self) -> None:
        """Leave on disk what was met, where the entry there lacks some of it."""
        if self._store is not None and not self._met.keys() <= self._kept.keys():
            with contextlib.suppress(StoreError):
                self._store.write(self._key, marshal.dumps(self._met))
            self._kept = self._met


def notes_of(store: Store, code: CodeType, origin: Sequence[str]) -> CodeNotes:
    """What is kept of the code that a kernel with this code reaches."""
    mark = fingerprint(code)
    if mark is None:
        return CodeNotes()
    checksum = hashlib.sha256(mark)
    for part in ("code", _FORMAT, *origin):
        checksum.update(f"{len(part)}:{part}".encode())
    return CodeNotes(store, checksum.hexdigest())


def fingerprint(code: CodeType) -> bytes | None:
    """A checksum over all that code consists of; None where it holds what no compiler puts into code."""
    try:
        return hashlib.sha256(marshal.dumps(code, _WITHOUT_REFERENCES)).digest()
    except ValueError:
        return None


def _read(store: Store | None, key: str) -> Mapping[bytes, _Note]:
    try:
        content = None if store is None else store.read(key)
    except StoreError:
        content = None
    notes: dict[bytes, _Note] = {} if content is None else marshal.loads(content)
    return notes
