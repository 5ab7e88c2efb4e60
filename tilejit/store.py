"""Files that outlive the process: bytes by key, in one folder that belongs to the user alone.

An entry is written whole under another name and then renamed, so that readers and writers of any number of
processes see all of it or nothing. It begins with a checksum over its key and its bytes: what was cut short,
damaged or renamed is no entry. The folder has mode 0700, belongs to the user and is no link, nor is any
entry; where that does not hold nothing is read or written. The entries used longest ago go first when they
take more room than is allowed.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tilejit import options
from tilejit.records import dataclass

_MAGIC = b"tilejit1"
_DIGEST_BYTES = 32
_HEAD_BYTES = len(_MAGIC) + _DIGEST_BYTES
_UNFINISHED = ".new-"  # begins the names of files being written
_ABANDONED_S = 3600.0  # a file that was not finished for so long belongs to a process that died
_KEY_DIGITS = 64

_unfinished_numbers = itertools.count()


@dataclass(frozen=True)
class Entry:
    """One entry as the folder lists it. Units: ``used_s`` are seconds since the epoch."""

    key: str
    size_bytes: int
    used_s: float


class StoreError(Exception):
    """A folder that cannot be used; the text says why."""


class Store:
    """The entries of one folder."""

    def __init__(self, folder: str | os.PathLike[str], limit_bytes: int) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes

    def read(self, key: str, *, is_use: bool = True) -> bytes | None:
        """The bytes kept under ``key``; None where there are none or they are damaged, which removes them.

        ``is_use`` False leaves the entry as old as it was.
        Raises: StoreError where the folder must not be used.
        """
        try:
            with self._open(create=False) as folder:
                return _read(folder, key, is_use)
        except FileNotFoundError:
            return None

    def write(self, key: str, content: bytes) -> None:
        """Keep ``content`` under ``key``, and drop old entries where there is no more room.

        Raises: StoreError where the folder cannot be used or written.
        """
        with self._open(create=True) as folder:
            temporary = f"{_UNFINISHED}{os.getpid()}-{next(_unfinished_numbers)}-{os.urandom(4).hex()}"
            try:
                _write_file(folder, temporary, _MAGIC + _digest(key, content) + content)
                os.rename(temporary, key, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError as error:
                _remove(folder, temporary)
                raise StoreError(f"{self.folder} cannot be written: {error.strerror}") from None
            with suppress(OSError):  # what is too much now is dropped by a later write
                self._make_room(folder, key)

    def entries(self) -> list[Entry]:
        """All entries, the one used last first. Raises: StoreError."""
        try:
            with self._open(create=False) as folder:
                found = [entry for entry in _scan(folder) if not entry.key.startswith(_UNFINISHED)]
        except FileNotFoundError:
            return []
        return sorted(found, key=lambda entry: (-entry.used_s, entry.key))

    def verify(self) -> list[str]:
        """Read every entry and remove those that are damaged; their keys. Raises: StoreError."""
        return [entry.key for entry in self.entries() if self.read(entry.key, is_use=False) is None]

    def clear(self) -> int:
        """Remove every entry and every file left by a process that died; how many. Raises: StoreError."""
        try:
            with self._open(create=False) as folder:
                return sum(_remove(folder, entry.key) for entry in _scan(folder))
        except FileNotFoundError:
            return 0

    @contextmanager
    def _open(self, *, create: bool) -> Iterator[int]:
        """A descriptor of the folder, checked. Raises: StoreError; FileNotFoundError where it is missing."""
        if sys.platform == "win32":
            raise StoreError("files relative to a folder are not available on this system")
        if create:
            try:
                os.makedirs(self.folder, mode=0o700, exist_ok=True)
            except OSError as error:
                raise StoreError(f"{self.folder} cannot be made: {error.strerror}") from None
        try:
            folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreError(f"{self.folder} is no folder of its own: {error.strerror}") from None
        try:
            facts = os.fstat(folder)
            if facts.st_uid != os.geteuid():
                raise StoreError(f"{self.folder} belongs to another user")
            if stat.S_IMODE(facts.st_mode) & 0o077:
                raise StoreError(f"{self.folder} is open to other users: its mode must be 0700")
            yield folder
        finally:
            os.close(folder)

    def _make_room(self, folder: int, newest: str) -> None:
        """Remove abandoned files, and the entries used longest ago until the rest fits."""
        found = sorted(_scan(folder), key=lambda entry: (entry.used_s, entry.key))
        now = max((entry.used_s for entry in found), default=0.0)
        kept = []
        for entry in found:
            if not entry.key.startswith(_UNFINISHED):
                kept.append(entry)
            elif now - entry.used_s > _ABANDONED_S:
                _remove(folder, entry.key)
        excess = sum(entry.size_bytes for entry in kept) - self.limit_bytes
        for entry in kept:
            if excess <= 0:
                break
            if entry.key != newest:
                _remove(folder, entry.key)
                excess -= entry.size_bytes


def open_store() -> Store | None:
    """The store that the options ask for; None where it is switched off."""
    size_mb = options.CACHE_SIZE.read()
    if not options.CACHE.read() or not size_mb:
        return None
    return Store(os.path.join(cache_folder(), "code"), size_mb << 20)


def cache_folder() -> str:
    """The folder that ``TILEJIT_CACHE_DIR`` names, else ``tilejit`` in the user's cache folder.

    It may not exist. A user without a home has none, only a path where nothing can be made.
    """
    chosen = options.CACHE_DIR.read()
    if chosen:
        return chosen
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.expanduser("~/.cache")
    return os.path.join(base if os.path.isabs(base) else os.devnull, "tilejit")


def _digest(key: str, content: bytes) -> bytes:
    checksum = hashlib.sha256(key.encode())
    checksum.update(content)
    return checksum.digest()


def _read(folder: int, key: str, is_use: bool) -> bytes | None:
    """The content of an entry, which counts as used now where ``is_use`` says so."""
    try:
        file = os.open(key, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError:  # a link, or a file that cannot be read
        _remove(folder, key)
        return None
    try:
        content = _read_file(file)
        if content is not None and is_use:
            with suppress(OSError):  # a folder that can be read only is used as it is
                os.utime(file)
    except OSError:
        content = None
    finally:
        os.close(file)
    is_sound = (
        content is not None
        and content.startswith(_MAGIC)
        and content[len(_MAGIC) : _HEAD_BYTES] == _digest(key, content[_HEAD_BYTES:])
    )
    if content is None or not is_sound:
        _remove(folder, key)
        return None
    return content[_HEAD_BYTES:]


def _read_file(file: int) -> bytes | None:
    """The bytes of a regular file of this user's; None where it is something else."""
    facts = os.fstat(file)
    if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
        return None
    parts = []
    while part := os.read(file, max(facts.st_size + 1, 4096)):
        parts.append(part)
    return b"".join(parts)


def _write_file(folder: int, name: str, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(file, view) :]
    finally:
        os.close(file)


def _scan(folder: int) -> Iterator[Entry]:
    """The entries of a folder and the files that are not finished."""
    with os.scandir(folder) as listing:
        for item in listing:
            is_entry = len(item.name) == _KEY_DIGITS and set(item.name) <= set("0123456789abcdef")
            if not is_entry and not item.name.startswith(_UNFINISHED):
                continue
            try:
                facts = item.stat(follow_symlinks=False)
            except FileNotFoundError:  # another process removed it
                continue
            yield Entry(item.name, facts.st_size, facts.st_mtime)


def _remove(folder: int, name: str) -> bool:
    try:
        os.unlink(name, dir_fd=folder)
    except OSError:
        return False
    return True
