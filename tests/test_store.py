"""The store: whole entries or none, whatever happens to the files, and nothing of or for other users."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tilejit.diagnostics import LaunchError
from tilejit.store import Store, StoreError, cache_folder, open_store

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs files relative to a folder")

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 1 << 30


def key_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def content_of(text: str) -> bytes:
    """What the tests keep under a text's key: long, and different at every place."""
    return random.Random(text).randbytes(200_000)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store whose folder does not exist yet."""
    return Store(tmp_path / "kept" / "code", LIMIT)


def test_an_entry_is_read_as_it_was_written(store: Store) -> None:
    key = key_of("a")
    assert store.read(key) is None
    store.write(key, content_of("a"))
    assert store.read(key) == content_of("a")
    assert store.read(key_of("b")) is None
    store.write(key, b"")
    assert store.read(key) == b""
    assert store.folder.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in store.folder.iterdir()] == [key]
    assert (store.folder / key).stat().st_mode & 0o777 == 0o600


def test_a_missing_folder_is_empty(store: Store) -> None:
    assert (store.entries(), store.verify(), store.clear()) == ([], [], 0)
    assert not store.folder.exists()


def damages() -> list[tuple[str, bytes]]:
    """Ways to damage the file of an entry: every part of it flipped, cut short, longer."""
    whole = b"tilejit1" + bytes(32) + content_of("a")
    flips = [(f"bit {bit} of byte {byte}", byte, bit) for byte in (0, 9, 39, 40, 5000) for bit in (0, 7)]
    made = [(name, bytes([0] * byte + [1 << bit])) for name, byte, bit in flips]
    assert len(whole) > 5000
    return [*made, ("cut short", b"cut"), ("empty", b""), ("longer", b"longer")]


@pytest.mark.parametrize(("name", "mask"), damages(), ids=[name for name, _ in damages()])
def test_a_damaged_entry_is_none(store: Store, name: str, mask: bytes) -> None:
    key = key_of("a")
    store.write(key, content_of("a"))
    file = store.folder / key
    whole = file.read_bytes()
    if name == "cut short":
        damaged = whole[:-1]
    elif name == "longer":
        damaged = whole + b"\0"
    elif name == "empty":
        damaged = b""
    else:
        damaged = bytes(a ^ b for a, b in zip(whole, mask.ljust(len(whole), b"\0"), strict=True))
    file.write_bytes(damaged)
    assert store.read(key) is None
    assert not file.exists()
    store.write(key, content_of("a"))
    assert store.read(key) == content_of("a")


def test_an_entry_under_the_key_of_another_is_none(store: Store) -> None:
    store.write(key_of("a"), content_of("a"))
    (store.folder / key_of("a")).rename(store.folder / key_of("b"))
    assert store.verify() == [key_of("b")]
    assert store.entries() == []


def test_verify_removes_what_is_damaged_and_nothing_else(store: Store) -> None:
    for text in "abc":
        store.write(key_of(text), content_of(text))
    (store.folder / key_of("b")).write_bytes(b"tilejit1")
    assert store.verify() == [key_of("b")]
    assert {entry.key for entry in store.entries()} == {key_of("a"), key_of("c")}
    assert store.verify() == []
    assert store.clear() == 2
    assert store.entries() == []


def test_the_entries_used_longest_ago_go_first(store: Store) -> None:
    for number, text in enumerate("abcd"):
        store.write(key_of(text), content_of(text))
        os.utime(store.folder / key_of(text), (number, number))
    assert store.read(key_of("a")) is not None  # used now: the newest
    store.limit_bytes = 3 * 201_000
    store.write(key_of("e"), content_of("e"))
    assert {entry.key for entry in store.entries()} == {key_of(text) for text in "ade"}


def test_a_limit_below_one_entry_keeps_the_newest(tmp_path: Path) -> None:
    store = Store(tmp_path / "code", 1000)
    for text in "ab":
        store.write(key_of(text), content_of(text))
    assert [entry.key for entry in store.entries()] == [key_of("b")]


def test_files_of_writers_that_died_are_removed(store: Store) -> None:
    store.write(key_of("a"), content_of("a"))
    old, new = store.folder / ".new-1-0-00", store.folder / ".new-1-1-00"
    old.write_bytes(b"half")
    os.utime(old, (1, 1))
    new.write_bytes(b"half")
    store.write(key_of("b"), content_of("b"))
    assert not old.exists() and new.exists()
    assert store.clear() == 3


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701, 0o707])
def test_a_folder_open_to_others_is_refused(store: Store, mode: int) -> None:
    store.write(key_of("a"), content_of("a"))
    store.folder.chmod(mode)
    message = f"{store.folder} is open to other users: its mode must be 0700"
    for use in (lambda: store.read(key_of("a")), lambda: store.write(key_of("a"), b"")):
        with pytest.raises(StoreError) as caught:
            use()
        assert str(caught.value) == message


def test_a_folder_of_another_user_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(key_of("a"), content_of("a"))
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    with pytest.raises(StoreError, match="belongs to another user"):
        store.read(key_of("a"))


def test_links_are_not_followed(store: Store, tmp_path: Path) -> None:
    store.write(key_of("a"), content_of("a"))
    linked = Store(tmp_path / "link", LIMIT)
    linked.folder.symlink_to(store.folder)
    with pytest.raises(StoreError, match="is no folder of its own"):
        linked.read(key_of("a"))
    outside = tmp_path / "outside"
    (store.folder / key_of("a")).rename(outside)
    (store.folder / key_of("a")).symlink_to(outside)
    assert store.read(key_of("a")) is None
    store.write(key_of("a"), b"new")
    assert store.read(key_of("a")) == b"new"
    assert outside.stat().st_size > 200_000


def test_an_entry_that_is_no_file_is_none(store: Store) -> None:
    store.write(key_of("a"), content_of("a"))
    os.mkfifo(store.folder / key_of("b"))
    assert store.read(key_of("b")) is None


def test_a_folder_that_cannot_be_made_or_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file/code cannot be made: "):
        Store(tmp_path / "file" / "code", LIMIT).write(key_of("a"), b"")
    with pytest.raises(StoreError, match="is no folder of its own: "):
        Store(tmp_path / "file", LIMIT).read(key_of("a"))


def test_a_full_disk_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(key_of("a"), content_of("a"))

    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", refuse)
        with pytest.raises(StoreError, match="cannot be written: No space left on device"):
            store.write(key_of("b"), content_of("b"))
    assert [path.name for path in store.folder.iterdir()] == [key_of("a")]


_WRITER = """
import sys
from tests.test_store import *
store = Store(Path(sys.argv[1]), LIMIT)
texts = [f"shared {number}" for number in range(8)]
print("ready", flush=True)
while True:
    for text in texts:
        store.write(key_of(text), content_of(text))
        for other in texts:
            found = store.read(key_of(other))
            assert found is None or found == content_of(other)
    if len(sys.argv) > 2:
        break
"""


def writer(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """A process that writes and reads the same eight entries, once where an argument is given."""
    command = [sys.executable, "-c", _WRITER, str(folder), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def check_shared_entries(store: Store) -> None:
    for number in range(8):
        found = store.read(key_of(f"shared {number}"))
        assert found is None or found == content_of(f"shared {number}")


def test_killed_writers_leave_whole_entries(store: Store) -> None:
    for turn in range(3):
        process = writer(store.folder)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(0.02 + 0.013 * turn)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        check_shared_entries(store)
    assert store.verify() == []


def test_many_writers_at_once(store: Store) -> None:
    processes = [writer(store.folder, "once") for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    for process in processes:
        assert process.stdout is not None
        process.stdout.close()
    assert {entry.key for entry in store.entries()} == {key_of(f"shared {n}") for n in range(8)}
    check_shared_entries(store)
    assert not list(store.folder.glob(".new-*"))


def test_the_options_say_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TILEJIT_CACHE", "1")
    monkeypatch.setenv("TILEJIT_CACHE_DIR", str(tmp_path / "there"))
    monkeypatch.setenv("TILEJIT_CACHE_SIZE", "3")
    store = open_store()
    assert store is not None
    assert (store.folder, store.limit_bytes) == (str(tmp_path / "there" / "code"), 3 << 20)
    monkeypatch.setenv("TILEJIT_CACHE_SIZE", "0")
    assert open_store() is None
    monkeypatch.setenv("TILEJIT_CACHE_SIZE", "-1")
    with pytest.raises(LaunchError, match="TILEJIT_CACHE_SIZE=-1 is not valid: a whole number was expected"):
        open_store()
    monkeypatch.setenv("TILEJIT_CACHE", "0")
    monkeypatch.setenv("TILEJIT_CACHE_SIZE", "3")
    assert open_store() is None
    monkeypatch.delenv("TILEJIT_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == str(tmp_path / "tilejit")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == str(Path.home() / ".cache" / "tilejit")


def test_a_user_without_a_home_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(user: int) -> None:
        raise KeyError(user)

    for name in ("HOME", "XDG_CACHE_HOME", "TILEJIT_CACHE_DIR", "TILEJIT_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    opened = open_store()
    assert opened is not None
    with pytest.raises(StoreError, match="Not a directory"):
        opened.read(key_of("a"))
    with pytest.raises(StoreError, match="cannot be made: Not a directory"):
        opened.write(key_of("a"), b"a")


def test_a_folder_that_can_only_be_read_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(key_of("a"), content_of("a"))

    def refuse(*args: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    assert store.read(key_of("a")) == content_of("a")


def test_a_folder_that_cannot_be_listed_is_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "scandir", refuse)
    store.write(key_of("a"), content_of("a"))
    assert store.read(key_of("a")) == content_of("a")
