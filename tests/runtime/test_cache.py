"""Programs on disk: found again by the next process, and never a wrong or a stale one."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import numpy as np
import pytest

import tilejit
import tilejit.compiler
import tilejit.language as tl
from tests.runtime.test_outside_digest import module_of
from tilejit.backend.cpu import engine
from tilejit.diagnostics import KernelError, LaunchError
from tilejit.runtime import cache
from tilejit.runtime.program import program_name
from tilejit.store import Entry, Store, open_store
from tilejit.target.cpu import CpuTarget, generic_avx2, host

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs files relative to a folder")

ROOT = Path(__file__).resolve().parents[2]
STEP = 3
N = 64


@tilejit.kernel
def add_step(x):
    return x + STEP


@tilejit.kernel
def steps(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    tl.store(out_ptr + offsets, add_step(tl.load(x_ptr + offsets, mask=mask)), mask=mask)


@tilejit.kernel
def says(x_ptr, BLOCK: tl.constexpr):
    x = tl.load(x_ptr + tl.arange(0, BLOCK))
    tl.device_print("x is", x)
    tl.device_assert(x > 0, "x must be positive")
    tl.store(x_ptr + tl.arange(0, BLOCK), x - 1)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store that launches use, empty."""
    monkeypatch.setenv("TILEJIT_CACHE", "1")
    monkeypatch.setenv("TILEJIT_CACHE_DIR", str(tmp_path / "cache"))
    opened = open_store()
    assert opened is not None
    return opened


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """One entry for each module that LLVM compiles."""
    seen: list[object] = []
    compile_module = engine.compile_module

    def counted(module: str, target: CpuTarget, *rest: engine.Pipeline) -> engine.CompiledObject:
        seen.append(module)
        return compile_module(module, target, *rest)

    monkeypatch.setattr(engine, "compile_module", counted)
    return seen


def kept(store: Store) -> list[Entry]:
    """The programs on disk; the thread pool and the native entry may lie beside them."""
    entries = [(entry, store.read(entry.key)) for entry in store.entries()]
    return [entry for entry, content in entries if content is not None and program_name(content)]


def fresh(kernel: tilejit.Kernel) -> tilejit.Kernel:
    """The kernel as a new process would have it: nothing compiled, nothing loaded."""
    assert isinstance(kernel.fn, FunctionType)
    return tilejit.kernel(kernel.fn)


def launched(kernel: tilejit.Kernel, step: int = 3, block: int = 64) -> tilejit.CompiledKernel:
    """Launch a kernel that adds ``step``, check what it wrote and return what ran."""
    x, out = np.arange(N, dtype=np.int32), np.zeros(N, np.int32)
    compiled = kernel[(N // block,)](x, out, N, BLOCK=block)
    np.testing.assert_array_equal(out, x + step)
    return compiled


def test_the_next_process_neither_traces_nor_compiles(
    store: Store, compilations: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = launched(fresh(steps))
    assert not first.is_from_disk and len(kept(store)) == 1
    compiled = len(compilations)
    monkeypatch.setattr("tilejit.compiler.trace", None)
    again = fresh(steps)
    assert all(launched(again).is_from_disk for _ in range(4))  # the last through native code
    assert len(compilations) <= compiled + 2  # the thread pool and the native entry, once a process


def test_another_process_finds_it(store: Store) -> None:
    program = (
        "from tests.runtime.test_cache import *\n"
        "print([launched(steps).is_from_disk for _ in range(4)][-1], 'llvmlite' in sys.modules)\n"
    )
    environment = {**os.environ, "TILEJIT_CACHE_DIR": os.path.dirname(store.folder)}
    command = [sys.executable, "-c", program]
    printed = [
        subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert printed == ["False True\n", "True False\n"]  # the second also links, and starts its threads


def test_forms_of_a_program_from_disk_are_made_when_asked_for(store: Store) -> None:
    first, second = launched(fresh(steps)), launched(fresh(steps))
    assert second.is_from_disk
    for stage in tilejit.STAGES:
        assert first.ir(stage) == second.ir(stage)
    assert (first.written, first.remarks) == (second.written, second.remarks)


def test_each_kind_of_call_has_its_own(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    launched(fresh(steps))
    assert not launched(fresh(steps), block=32).is_from_disk
    monkeypatch.setenv("TILEJIT_ENABLE_FP_FUSION", "1")
    assert not launched(fresh(steps)).is_from_disk
    assert len(kept(store)) == 3


def test_switched_off(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    launched(fresh(steps))
    monkeypatch.setenv("TILEJIT_CACHE", "0")
    assert not launched(fresh(steps)).is_from_disk


def test_dumping_stages_compiles(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launched(fresh(steps))
    monkeypatch.setenv("TILEJIT_DUMP", str(tmp_path / "dump"))
    assert not launched(fresh(steps)).is_from_disk
    assert len(list((tmp_path / "dump").iterdir())) == len(tilejit.STAGES)


# Never a stale program


def test_changed_global(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    launched(fresh(steps))
    monkeypatch.setitem(globals(), "STEP", 5)
    assert not launched(fresh(steps), step=5).is_from_disk
    monkeypatch.setitem(globals(), "STEP", 3)
    assert launched(fresh(steps)).is_from_disk


@pytest.mark.parametrize("is_fast", [False, True])
def test_global_that_changes_after_the_program_was_read(
    store: Store, monkeypatch: pytest.MonkeyPatch, is_fast: bool
) -> None:
    launched(fresh(steps))
    kernel = fresh(steps)
    assert all(launched(kernel).is_from_disk for _ in range(4 if is_fast else 1))
    monkeypatch.setitem(globals(), "STEP", 5)
    with pytest.raises(LaunchError, match="the global STEP was 3 when the kernel was compiled and is 5 now"):
        launched(kernel, step=5)


def test_closure_that_changes_after_the_program_was_read(store: Store) -> None:
    step = 3

    @tilejit.kernel
    def adds(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
        at = tl.arange(0, BLOCK)
        tl.store(out_ptr + at, tl.load(x_ptr + at) + step)

    launched(fresh(adds))
    kernel = fresh(adds)
    assert launched(kernel).is_from_disk
    step = 5
    with pytest.raises(LaunchError, match="the closed-over name step was 3"):
        launched(kernel, step=5)


def _moved(x, *, by=3):
    return x + by


@tilejit.kernel
def _moves(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(out_ptr + at, _moved(tl.load(x_ptr + at)))


@pytest.mark.parametrize("is_fast", [False, True])
def test_changed_defaults(store: Store, monkeypatch: pytest.MonkeyPatch, is_fast: bool) -> None:
    launched(fresh(_moves))
    kernel = fresh(_moves)
    assert all(launched(kernel).is_from_disk for _ in range(4 if is_fast else 1))
    monkeypatch.setattr(_moved, "__kwdefaults__", {"by": 5})
    with pytest.raises(LaunchError, match="the global _moved was the function _moved when"):
        launched(kernel, step=5)
    assert not launched(fresh(_moves), step=5).is_from_disk
    assert launched(fresh(_moves), step=5).is_from_disk


def test_changed_helper(store: Store, tmp_path: Path) -> None:
    text = "import tilejit\nimport tilejit.language as tl\n{}" + (
        "@tilejit.kernel\ndef k(x_ptr, out_ptr, n, BLOCK: tl.constexpr):\n"
        "    at = tl.arange(0, BLOCK)\n    tl.store(out_ptr + at, helper(tl.load(x_ptr + at)))\n"
    )
    forms = [f"{decorator}def helper(x):\n    return x + {{}}\n" for decorator in ("", "@tilejit.kernel\n")]
    for number, form in enumerate(forms):
        for step, is_known in ((3, False), (4, False), (3, True)):
            folder = tmp_path / f"{number}{step}{is_known}"
            kernel = module_of(text.format(form.format(step)), folder).k
            assert launched(kernel, step).is_from_disk is is_known


def test_what_changes_while_it_is_compiled_is_not_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plan_loops = tilejit.compiler.plan_loops

    def meanwhile(*args: object) -> object:
        monkeypatch.setitem(globals(), "STEP", 8)
        return plan_loops(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(tilejit.compiler, "plan_loops", meanwhile)
    compiled = launched(fresh(steps))
    assert kept(store) == []
    assert [str(remark) for remark in compiled.remarks if "kept" in remark.message] == [
        "not kept on disk: what it reads outside changed while it was compiled [cache]"
    ]


def test_what_cannot_be_told_is_not_kept(store: Store) -> None:
    holder = type("Holder", (), {"step": property(lambda self: 3)})()

    def step_of(thing: object) -> int:
        return thing.step if thing is holder else 0  # type: ignore[attr-defined]

    @tilejit.kernel
    def reads_object(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
        at = tl.arange(0, BLOCK)
        tl.store(out_ptr + at, tl.load(x_ptr + at) + step_of(holder))

    for _ in range(2):
        compiled = launched(fresh(reads_object))
        assert not compiled.is_from_disk
        assert "not kept on disk: holder is an object of type Holder [cache]" in map(str, compiled.remarks)
    assert kept(store) == []


def test_new_sources_of_tilejit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    launched(fresh(steps))
    monkeypatch.setattr(cache, "sources_digest", lambda: "other")
    assert not launched(fresh(steps)).is_from_disk


def sources_taken(*modules: str) -> set[str]:
    """The sources of tilejit that these modules import, and those in turn, inside functions as well."""
    found, left = set(), list(modules)
    while left:
        path = ROOT.joinpath(*left.pop().split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        name = f"/{file.relative_to(ROOT / 'tilejit').as_posix()}"
        if name in found or not file.exists():  # a name in a module
            continue
        found.add(name)
        tree = ast.parse(file.read_text())
        tree.body = [part for part in tree.body if not ast.unparse(part).startswith("if TYPE_CHECKING")]
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "tilejit":
                left += [f"{node.module}.{alias.name}" for alias in node.names]
                left += [str(node.module)] * (node.module != "tilejit")  # which offers all there is
    return found


def test_sources_of_tilejit_written_after_they_were_loaded(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_LOADED_S", os.stat(cache.__file__).st_mtime - 1)
    compiled = launched(fresh(steps))
    assert [str(remark) for remark in compiled.remarks if "kept" in remark.message] == [
        "not kept on disk: tilejit's sources changed after this process loaded them [cache]"
    ]
    monkeypatch.setattr(cache, "_package_folder", lambda: "/missing")
    assert not launched(fresh(steps)).is_from_disk
    assert kept(store) == []


def test_a_package_without_sources(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cache.sources_digest.cache_clear()
    for folder in (str(tmp_path), str(tmp_path / "missing")):
        monkeypatch.setattr(cache, "_package_folder", lambda folder=folder: folder)
        compiled = launched(fresh(steps))
        assert "not kept on disk: tilejit's sources cannot be read [cache]" in map(str, compiled.remarks)
    assert kept(store) == []


def test_sources_are_read_again_after_a_change(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A new text of the same length and time counts, and so does one that is written while it is settling."""
    reads: list[str] = []
    folder = tmp_path / "package"
    folder.mkdir()
    read = cache._content
    monkeypatch.setattr(cache, "_package_folder", lambda: str(folder))
    monkeypatch.setattr(cache, "_content", lambda path: reads.append(path) or read(path))
    file, digest = folder / "compiler.py", cache.sources_digest.__wrapped__
    file.write_text("one")
    times = os.stat(file)
    first = digest()
    assert digest() == first and len(reads) == 2  # changed just now: not kept
    monkeypatch.setattr(cache, "_SETTLED_NS", 0)
    assert digest() == digest() == first and len(reads) == 3
    file.write_text("two")
    while os.stat(file).st_ctime_ns == times.st_ctime_ns or os.stat(file).st_mtime_ns != times.st_mtime_ns:
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))  # what it cannot set is the second time
    assert digest() != first and len(reads) == 4
    file.write_text("one")
    (folder / "more.py").write_text("")
    assert digest() != first
    (folder / "more.py").unlink()
    assert digest() == first


def test_sources_that_come_and_go(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Files are not listed again where the folders are as they were, at any depth."""
    folder = tmp_path / "package"
    monkeypatch.setattr(cache, "_package_folder", lambda: str(folder))
    monkeypatch.setattr(cache, "_SETTLED_NS", 0)
    inner = folder / "passes" / "inner"

    def digest() -> str:
        time.sleep(0.02)  # the times that systems keep of folders are that coarse
        return cache.sources_digest.__wrapped__()

    inner.mkdir(parents=True)
    (folder / "compiler.py").write_text("")
    digests = [digest()]
    (inner / "one.py").write_text("one")
    digests += [digest(), digest()]
    os.rename(inner / "one.py", inner / "two.py")
    digests += [digest(), digest()]
    (inner / "more").mkdir()
    digests.append(digest())
    (inner / "more" / "three.py").write_text("")
    digests.append(digest())
    assert [digests.index(digest) for digest in digests] == [0, 1, 1, 3, 3, 3, 6]
    with monkeypatch.context() as patched:
        patched.setattr(cache, "_places", None)
        assert digest() == digests[-1]
        os.unlink(inner / "more" / "three.py")
        with pytest.raises(TypeError):  # it lists them
            digest()
    assert digest() == digests[3]


def test_the_sources_that_count() -> None:
    names = cache._source_names(str(ROOT / "tilejit"))
    assert names == sorted(names) and len(set(names)) == len(names)
    assert {"/compiler.py", "/passes/simplify.py", "/backend/cpu/dot.py", "/target/cpu.py"} <= set(names)
    assert not any("/ascend/" in name or "__pycache__" in name for name in names)
    taken = sources_taken("tilejit.compiler", "tilejit.backend.cpu.emit_llvm", "tilejit.runtime.program")
    language = {f"/language/{path.name}" for path in (ROOT / "tilejit" / "language").glob("*.py")}
    assert len(taken) > 100
    assert taken | language <= set(names)


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_another_python_numpy_or_llvm(store: Store, monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    launched(fresh(steps))
    versions = list(cache._versions())
    versions[place] += "+"
    monkeypatch.setattr(cache, "_versions", lambda: tuple(versions))
    assert not launched(fresh(steps)).is_from_disk


# Never the program of another machine


def test_object_of_another_cpu(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    launched(fresh(steps))
    monkeypatch.setattr("tilejit.runtime.launcher.host", generic_avx2)
    assert not launched(fresh(steps)).is_from_disk
    monkeypatch.undo()
    assert len(kept(store)) == 2


def test_object_that_does_not_link(store: Store) -> None:
    compiled = launched(fresh(steps))
    content = store.read(kept(store)[0].key)
    assert content is not None
    image = compiled.program.code.object
    for damaged in (content.replace(image, b""), content.replace(image, image[:100]), content[:8]):
        store.write(kept(store)[0].key, damaged)
        assert not launched(fresh(steps)).is_from_disk
    assert launched(fresh(steps)).is_from_disk


# Never a broken one


def test_flipped_bits(store: Store) -> None:
    launched(fresh(steps))
    (entry,) = kept(store)
    file = Path(store.folder, entry.key)
    whole = file.read_bytes()
    for place in (3, 20, 60, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        assert not launched(fresh(steps)).is_from_disk
        assert file.read_bytes() == whole  # compiled anew, to the same bytes
    assert launched(fresh(steps)).is_from_disk


def forked(work: object, count: int) -> Iterator[int]:
    """The process ids of children that run ``work`` at once, each with exit code 0 where all went well."""
    assert callable(work)
    for _ in range(count):
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            code = 1
            try:
                work()
                code = 0
            finally:
                os._exit(code)
        yield child


def test_sixteen_processes_at_once(store: Store) -> None:
    def work() -> None:
        for block in (32, 64):
            launched(fresh(steps), block=block)

    children = list(forked(work, 16))
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 16
    assert (len(kept(store)), store.verify()) == (2, [])
    assert all(launched(fresh(steps), block=block).is_from_disk for block in (32, 64))


def test_killed_while_writing(store: Store) -> None:
    compiled = launched(fresh(steps))
    key, content = kept(store)[0].key, compiled.program.to_bytes()

    def work() -> None:
        while True:
            store.write(key, content)

    for turn in range(6):
        (child,) = forked(work, 1)
        time.sleep(0.01 + 0.003 * turn)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert launched(fresh(steps)).is_from_disk
    assert store.verify() == []


# Folders that must not or cannot be used


def check_not_kept(message: str) -> None:
    for _ in range(2):
        compiled = launched(fresh(steps))
        assert not compiled.is_from_disk
        (remark,) = [str(remark) for remark in compiled.remarks if remark.pass_name == "cache"]
        assert message in remark


def test_folder_that_cannot_be_written(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TILEJIT_CACHE_DIR", str(tmp_path / "file" / "inside"))
    check_not_kept("cannot be made: Not a directory")


def test_folder_of_another_user(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    launched(fresh(steps))
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    check_not_kept("belongs to another user")


def test_folder_that_others_can_write(store: Store) -> None:
    launched(fresh(steps))
    os.chmod(store.folder, 0o777)
    check_not_kept("is open to other users")


# What a program from disk says is what it said when it was compiled


def test_prints_and_assertions(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for is_from_disk in (False, True):
        x = np.ones(4, np.int32)
        kernel = fresh(says)
        assert kernel[(1,)](x, BLOCK=4, debug=True).is_from_disk is is_from_disk
        with pytest.raises(KernelError) as caught:
            kernel[(1,)](x, BLOCK=4, debug=True)
        said.append((capsys.readouterr().out, str(caught.value)))
    assert said[0] == said[1]
    assert "test_cache.py" in said[0][1] and "x is" in said[0][0]


def test_read_only_array(store: Store) -> None:
    said = []
    for _ in range(2):
        x, out = np.arange(N, dtype=np.int32), np.zeros(N, np.int32)
        kernel = fresh(steps)
        launched(kernel)
        out.flags.writeable = False
        with pytest.raises(LaunchError) as caught:
            kernel[(1,)](x, out, N, BLOCK=64)
        said.append(str(caught.value))
    assert said[0] == said[1] and f"of {__file__}" in said[0]


def test_a_program_holds_no_paths_or_addresses(store: Store, tmp_path: Path) -> None:
    text = (
        "import tilejit\nimport tilejit.language as tl\n@tilejit.kernel\n"
        "def k(x_ptr, out_ptr, n, BLOCK: tl.constexpr):\n"
        "    at = tl.arange(0, BLOCK)\n    x = tl.load(x_ptr + at)\n"
        "    tl.device_print('x', tl.sum(x))\n    tl.store(out_ptr + at, x + 3)\n"
    )
    for number, folder in enumerate(("here", "there")):
        kernel = module_of("\n" * number + text, tmp_path / folder).k
        compiled = launched(kernel)
        content = compiled.program.to_bytes()
        assert compiled.is_from_disk is bool(number)
        assert str(tmp_path).encode() not in content and b"digested" not in content
    (entry,) = kept(store)
    store.clear()
    launched(fresh(kernel))
    assert kept(store)[0].key == entry.key and store.read(entry.key) == content


def test_host_is_in_the_key(store: Store) -> None:
    source, chosen = steps.source, tilejit.options.CompileOptions()
    keys = {cache.program_key(store, source, (), target, chosen) for target in (host(), generic_avx2())}
    assert len(keys) == 2
