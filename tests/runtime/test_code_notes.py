"""What is kept on disk of walks over code: found again, and never of other code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType

import pytest

import tilejit
from tests.runtime.test_outside_digest import HEAD, KERNEL, module_of
from tilejit.frontend import bytecode
from tilejit.frontend.outside import OutsideValues
from tilejit.runtime import cache
from tilejit.runtime.code_notes import CodeNotes, fingerprint, notes_of
from tilejit.runtime.outside_digest import digest_outside
from tilejit.store import Store

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs files relative to a folder")

HELPERS = (
    "SIZES = {'a': 1, 'b': 2}\nclass Holder:\n    step = 3\n"
    "def plain(x):\n    return x + SIZES['a'] + Holder.step\n"
    "@tilejit.kernel\ndef helper(x):\n    return plain(x) + (lambda y: y + SIZES['b'])(1)\n"
)
ORIGIN = ("sources", "cpython-311 30b07f0")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", 1 << 20)


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of functions that were walked over."""
    names: list[str] = []
    walk = bytecode._walk

    def counted(code: CodeType) -> bytecode.OutsideReads:
        names.append(code.co_name)
        return walk(code)

    monkeypatch.setattr(bytecode, "_walk", counted)
    return names


def kernel_of(text: str, folder: Path) -> tilejit.Kernel:
    kernel = module_of(HEAD + text + KERNEL.format("helper(1)"), folder).k
    assert isinstance(kernel, tilejit.Kernel)
    return kernel


def digested(
    kernel: tilejit.Kernel, store: Store, origin: tuple[str, ...] = ORIGIN
) -> tuple[bytes, list[str]]:
    """The digest by a process that knows nothing but what the store holds, and the places that it noted."""
    bytecode._reads.clear()
    notes = notes_of(store, kernel.source.function.__code__, origin)
    noted = OutsideValues()
    digest = digest_outside(kernel.source, (), noted, notes)
    notes.keep()
    return digest, [str(constant.way) for constant in noted.constants]


def test_the_next_process_walks_over_nothing(store: Store, walks: list[str], tmp_path: Path) -> None:
    kernel = kernel_of(HELPERS, tmp_path)
    plain = OutsideValues()
    digest = digest_outside(kernel.source, (), plain)
    expected = digest, [str(constant.way) for constant in plain.constants]
    assert {"SIZES['a']", "SIZES['b']", "Holder.step"} <= set(expected[1])
    walks.clear()
    assert digested(kernel, store) == expected and sorted(walks) == ["helper", "k", "plain"]
    walks.clear()
    (entry,) = store.entries()
    content = store.read(entry.key)
    assert digested(kernel, store) == expected and walks == []
    assert store.read(entry.key) == content


def test_damaged_notes_are_made_again(store: Store, walks: list[str], tmp_path: Path) -> None:
    kernel = kernel_of(HELPERS, tmp_path)
    expected = digested(kernel, store)
    (entry,) = store.entries()
    file = Path(store.folder, entry.key)
    whole = file.read_bytes()
    for place in range(0, len(whole), 61):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        walks.clear()
        assert digested(kernel, store) == expected and len(walks) == 3
        assert len(file.read_bytes()) == len(whole)
    file.write_bytes(whole[:-1])
    walks.clear()
    assert digested(kernel, store) == expected and len(walks) == 3


def test_other_sources_and_another_python_have_notes_of_their_own(
    store: Store, walks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = kernel_of(HELPERS, tmp_path)
    expected = digested(kernel, store)
    for number, origin in enumerate((("other sources", ORIGIN[1]), (ORIGIN[0], "cpython-312 30c00f0")), 2):
        walks.clear()
        assert digested(kernel, store, origin) == expected and len(walks) == 3
        assert len(store.entries()) == number
    cache._versions.cache_clear()
    before = cache._versions()
    try:
        monkeypatch.setattr(sys, "hexversion", sys.hexversion + 1)
        cache._versions.cache_clear()
        assert cache._versions()[0] != before[0]
    finally:
        cache._versions.cache_clear()


CHANGES: list[tuple[str, str, list[str]]] = [
    ("SIZES['a'] + Holder", "SIZES['b'] + Holder", ["plain"]),  # one name, another constant
    ("+ Holder.step", "+ Holder.stop", ["plain"]),
    ("    step = 3", "    step = 4", []),  # the code is the same, what it reads is not
    ("{'a': 1", "{'a': 9", []),
    ("y + SIZES", "y - SIZES", ["helper"]),  # in a function inside
]


@pytest.mark.parametrize(("old", "new", "walked"), CHANGES)
def test_code_of_the_same_name_is_walked_over(
    old: str, new: str, walked: list[str], store: Store, walks: list[str], tmp_path: Path
) -> None:
    first = digested(kernel_of(HELPERS, tmp_path), store)
    walks.clear()
    changed = kernel_of(HELPERS.replace(old, new), tmp_path)
    assert changed.source.function.__code__.co_name == "k" and HELPERS.count(old) == 1
    found = digested(changed, store)
    assert walks == walked
    assert found[0] != first[0] and found[0] == digest_outside(changed.source)
    walks.clear()
    assert digested(changed, store) == found and walks == []


def test_what_hides_its_reads_is_refused_whatever_is_kept(store: Store, tmp_path: Path) -> None:
    text = HELPERS.replace("    return x + SIZES", "    import os\n    return x + SIZES")
    kernel = kernel_of(text, tmp_path)
    for _ in range(2):
        with pytest.raises(Exception, match="plain imports a module while it runs"):
            digested(kernel, store)
    assert store.entries() == []


def test_fingerprints_tell_code_apart() -> None:
    codes = [
        compile(text, name, "eval")
        for text, name in (
            ("a + 1", "f"),
            ("a + 1.0", "f"),
            ("a + True", "f"),
            ("b + 1", "f"),
            ("a + 1", "g"),
        )
    ]
    codes += [compile("(a + 0.0, x)", "f", "eval"), compile("(a + -0.0, x)", "f", "eval")]
    assert len({fingerprint(code) for code in codes}) == len(codes)
    assert fingerprint(codes[0]) == fingerprint(compile("a + 1", "f", "eval"))


def test_code_that_no_compiler_makes_is_not_kept(store: Store) -> None:
    code = compile("1", "f", "eval").replace(co_consts=(object(),))
    make: Callable[[CodeType], bytes] = lambda code: code.co_name.encode()  # noqa: E731
    assert fingerprint(code) is None
    notes = notes_of(store, code, ORIGIN)
    assert notes.digest_of(code, make) == b"<module>"
    whole = compile("1", "f", "eval")
    notes = notes_of(store, whole, ORIGIN)
    assert notes.digest_of(code, make) == b"<module>" and CodeNotes().digest_of(whole, make) == b"<module>"
    notes.keep()
    assert store.entries() == []
