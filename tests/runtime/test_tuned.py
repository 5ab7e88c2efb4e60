"""Choices recorded for a kernel, and what they depend on."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tests.runtime.kernels import add_kernel, fresh
from tilejit.frontend.signature import KernelSource
from tilejit.runtime import tuned as tuned_module
from tilejit.runtime.source_digest import digest_source, stable_text
from tilejit.runtime.tuning_key import TuningKey
from tilejit.runtime.tuning_store import TuningStore

DEFAULT = {"BLOCK": 64, "EVEN": False}
KEY = {"n": 4096, "dtype": "float32"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("TILEJIT_CACHE_DIR", str(tmp_path / "cache"))
    tuned_module.forget()
    return tmp_path / "cache"


def test_nothing_is_known(folder: Path) -> None:
    assert tilejit.tuned(add_kernel, KEY, DEFAULT) == DEFAULT
    assert not folder.exists()


def test_a_choice_is_found_again() -> None:
    path = tilejit.record_tuned(add_kernel, KEY, {"BLOCK": 256}, time_us=3.5)
    assert path.is_file()
    assert tilejit.tuned(add_kernel, KEY, DEFAULT) == {"BLOCK": 256, "EVEN": False}
    assert tilejit.tuned(fresh(add_kernel), dict(reversed(KEY.items())), DEFAULT)["BLOCK"] == 256
    assert tilejit.tuned(add_kernel, {**KEY, "n": 4097}, DEFAULT) == DEFAULT
    assert tilejit.tuned(add_kernel, KEY, DEFAULT, target="ascend910b") == DEFAULT


def test_the_last_choice_counts() -> None:
    tilejit.record_tuned(add_kernel, KEY, {"BLOCK": 256}, time_us=3.5)
    assert tilejit.tuned(add_kernel, KEY, DEFAULT)["BLOCK"] == 256
    tilejit.record_tuned(add_kernel, KEY, {"BLOCK": 512}, time_us=3.0)
    assert tilejit.tuned(add_kernel, KEY, DEFAULT)["BLOCK"] == 512


def test_the_version_changes_with_what_may_be_answered() -> None:
    versions = [tilejit.tuned_version()]
    tilejit.tuned(add_kernel, KEY, DEFAULT)
    assert tilejit.tuned_version() == versions[0]
    with tilejit.try_choice(add_kernel, {"BLOCK": 32}):
        versions.append(tilejit.tuned_version())
    versions.append(tilejit.tuned_version())
    tilejit.record_tuned(add_kernel, KEY, {"BLOCK": 256}, time_us=3.5)
    versions.append(tilejit.tuned_version())
    tuned_module.forget()
    versions.append(tilejit.tuned_version())
    assert len(set(versions)) == 5


def test_a_value_of_another_type_is_not_used() -> None:
    tilejit.record_tuned(add_kernel, KEY, {"BLOCK": "256", "EVEN": 1}, time_us=3.5)
    assert tilejit.tuned(add_kernel, KEY, DEFAULT) == DEFAULT


def test_a_choice_depends_on_target_threads_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    tilejit.record_tuned(add_kernel, KEY, {"BLOCK": 256}, time_us=3.5)
    tilejit.record_tuned(add_kernel, KEY, {"BLOCK": 128}, time_us=3.5, target="ascend910b")
    assert tilejit.tuned(add_kernel, KEY, DEFAULT, target="ascend910b")["BLOCK"] == 128
    threads = tilejit.get_num_threads()
    tilejit.set_num_threads(threads + 1)
    try:
        assert tilejit.tuned(add_kernel, KEY, DEFAULT) == DEFAULT
    finally:
        tilejit.set_num_threads(threads)
    assert tilejit.tuned(add_kernel, KEY, DEFAULT)["BLOCK"] == 256
    monkeypatch.setenv("TILEJIT_ENABLE_FP_FUSION", "1")
    tuned_module.forget()
    assert tilejit.tuned(add_kernel, KEY, DEFAULT) == DEFAULT


def test_a_choice_is_tried() -> None:
    tilejit.record_tuned(add_kernel, KEY, {"BLOCK": 256}, time_us=3.5)
    with tilejit.try_choice(add_kernel, {"BLOCK": 32}) as outer:
        assert tilejit.tuned(add_kernel, KEY, DEFAULT) == {"BLOCK": 32, "EVEN": False}
        with tilejit.try_choice(add_kernel, {"BLOCK": 16}):
            assert tilejit.tuned(add_kernel, {"n": 1}, DEFAULT)["BLOCK"] == 16
        assert tilejit.tuned(add_kernel, KEY, DEFAULT)["BLOCK"] == 32
        assert tilejit.tuned(fresh(add_kernel), KEY, DEFAULT)["BLOCK"] == 256  # another kernel
    assert (outer.key, outer.default, outer.target) == (KEY, DEFAULT, "cpu")
    assert tilejit.tuned(add_kernel, KEY, DEFAULT)["BLOCK"] == 256


def test_another_process_finds_it() -> None:
    tilejit.record_tuned(add_kernel, KEY, {"BLOCK": 256}, time_us=3.5)
    program = (
        "import tilejit; from tests.runtime.kernels import add_kernel; "
        f"print(tilejit.tuned(add_kernel, {KEY}, {DEFAULT}))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, check=True, capture_output=True, text=True
    )
    assert done.stdout == "{'BLOCK': 256, 'EVEN': False}\n"


@pytest.mark.parametrize("content", [b"", b"not a database at all, but long enough to be read as one" * 20])
def test_a_broken_file_is_set_aside(folder: Path, content: bytes) -> None:
    folder.mkdir()
    (folder / "tuning.sqlite").write_bytes(content)
    assert tilejit.tuned(add_kernel, KEY, DEFAULT) == DEFAULT
    tilejit.record_tuned(add_kernel, KEY, {"BLOCK": 256}, time_us=3.5)
    assert tilejit.tuned(add_kernel, KEY, DEFAULT)["BLOCK"] == 256


@pytest.mark.parametrize("choice", ["{", 7, b"\xff", "[" * 100_000, "[1]", '{"BLOCK": 512}'])
def test_a_choice_that_was_not_recorded_is_not_used(folder: Path, choice: object) -> None:
    path = tilejit.record_tuned(add_kernel, KEY, {"BLOCK": 256}, time_us=3.5)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE best_2 SET choice = ?", (choice,))
    connection.close()
    tuned_module.forget()
    assert tilejit.tuned(add_kernel, KEY, DEFAULT) == DEFAULT


def test_a_flipped_bit_changes_no_choice(folder: Path) -> None:
    path = tilejit.record_tuned(add_kernel, KEY, {"BLOCK": 256}, time_us=3.5)
    content = path.read_bytes()
    start = content.index(b'{"BLOCK": 256}')
    for place in range(start, start + 14):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            tuned_module.forget()
            assert tilejit.tuned(add_kernel, KEY, DEFAULT) == DEFAULT
    tilejit.record_tuned(add_kernel, KEY, {"BLOCK": 128}, time_us=3.5)
    assert tilejit.tuned(add_kernel, KEY, DEFAULT)["BLOCK"] == 128


def test_bytes_that_are_wrong_are_no_error(folder: Path) -> None:
    path = tilejit.record_tuned(add_kernel, KEY, {"BLOCK": 256}, time_us=3.5)
    content = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    numbers = np.random.default_rng(5)
    for _ in range(40):
        damaged = bytearray(content[: numbers.integers(1, len(content) + 1)])
        for place in numbers.integers(0, len(damaged), 30):
            damaged[place] = numbers.integers(256)
        path.write_bytes(damaged)
        tuned_module.forget()
        assert tilejit.tuned(add_kernel, KEY, DEFAULT) in (DEFAULT, {**DEFAULT, "BLOCK": 256})


@pytest.mark.parametrize("fault", ["mode", "folder mode", "link", "owner", "kind"])
def test_a_file_that_others_may_have_written_is_not_used(
    folder: Path, fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tilejit.record_tuned(add_kernel, KEY, {"BLOCK": 256}, time_us=3.5)
    message = "can be written by other users"
    if fault == "mode":
        path.chmod(0o620)
    elif fault == "folder mode":
        folder.chmod(0o777)
    elif fault == "owner":
        monkeypatch.setattr("os.geteuid", lambda: path.stat().st_uid + 1)
        message = "belongs to another user"
    else:
        path.rename(folder / "other")
        path.symlink_to(folder / "other") if fault == "link" else path.mkdir()
        message = "is no file of its own"
    tuned_module.forget()
    assert tilejit.tuned(add_kernel, KEY, DEFAULT) == DEFAULT
    assert fault == "kind" or message in caplog.text
    with pytest.raises(tilejit.LaunchError, match="cannot be written to"):
        tilejit.record_tuned(add_kernel, KEY, {"BLOCK": 512}, time_us=3.5)
    assert message in caplog.text


def test_a_folder_that_cannot_be_written(folder: Path) -> None:
    folder.write_text("a file where the folder should be")
    with pytest.raises(tilejit.LaunchError) as raised:
        tilejit.record_tuned(add_kernel, KEY, {"BLOCK": 256}, time_us=3.5)
    assert raised.value.message == (
        f"the choice for kernel add_kernel cannot be written to {folder / 'tuning.sqlite'}"
    )
    assert raised.value.hint == "name a folder that can be written in TILEJIT_CACHE_DIR"
    assert tilejit.tuned(add_kernel, KEY, DEFAULT) == DEFAULT


def test_keys_are_numbers_and_texts(folder: Path) -> None:
    tilejit.record_tuned(add_kernel, {"n": np.int64(64)}, {"BLOCK": 256}, time_us=3.5)
    assert tilejit.tuned(add_kernel, {"n": 64}, DEFAULT)["BLOCK"] == 256
    with pytest.raises(tilejit.LaunchError) as raised:
        tilejit.record_tuned(add_kernel, {"n": object()}, {"BLOCK": 256}, time_us=3.5)
    assert raised.value.message == "kernel add_kernel: n is object in a key of tuned choices"
    assert raised.value.hint == "use numbers and texts"


def test_processes_write_at_once(folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tilejit.runtime.tuning_key import TuningKey\n"
        "from tilejit.runtime.tuning_store import TuningStore\n"
        "store = TuningStore(Path(sys.argv[1]) / 'tuning.sqlite')\n"
        "for i in range(20):\n"
        "    key = TuningKey('k', sys.argv[2], '', '', str(i), '')\n"
        "    assert store.record(key, {'i': i}, 1.0) and store.find(key) == {'i': i}\n"
    )
    root = Path(__file__).resolve().parents[2]
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(folder), str(i)], cwd=root) for i in range(2)
    ]
    assert [writer.wait() for writer in writers] == [0] * 2
    store = TuningStore(folder / "tuning.sqlite")
    for i in range(2):
        for j in range(20):
            assert store.find(TuningKey("k", str(i), "", "", str(j), "")) == {"i": j}


# What the digest of a kernel covers

FACTOR = 2


@tilejit.kernel
def helper(x):
    return x * FACTOR


@tilejit.kernel
def calls_a_helper(x_ptr):
    tl.store(x_ptr, helper(tl.load(x_ptr)))


def test_the_digest_covers_helpers_and_constants(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest_source(calls_a_helper.source)
    assert digest_source(fresh(calls_a_helper).source) == before
    monkeypatch.setitem(globals(), "FACTOR", 3)
    changed = digest_source(calls_a_helper.source)
    monkeypatch.setitem(globals(), "FACTOR", 2)
    text = "def helper(x):\n    return x + FACTOR\n"
    monkeypatch.setattr(helper, "source", KernelSource.of(helper.fn, text))
    assert len({before, changed, digest_source(calls_a_helper.source)}) == 3


def test_stable_texts() -> None:
    assert stable_text((1, 2.5, "a", None, True)) == "(1, 2.5, 'a', None, True)"
    assert stable_text(tl.constexpr(3)) == "3"
    assert stable_text(tl.float32) == "fp32"
    assert stable_text(object()) is None
    assert stable_text([1, object()]) is None
