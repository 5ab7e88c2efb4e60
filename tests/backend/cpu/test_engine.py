"""LLVM IR to machine code: linking, cross-compilation, and what is refused."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tilejit.backend.cpu import engine
from tilejit.diagnostics import InternalError
from tilejit.store import open_store
from tilejit.target.cpu import CpuTarget, aarch64_neon, generic_avx2, generic_avx512, host

DOUBLE = """
define void @double.programs(ptr %data, i64 %count) {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %at = getelementptr float, ptr %data, i64 %i
  %x = load <16 x float>, ptr %at, align 4
  %y = fadd <16 x float> %x, %x
  store <16 x float> %y, ptr %at, align 4
  %next = add i64 %i, 16
  %more = icmp slt i64 %next, %count
  br i1 %more, label %loop, label %end
end:
  ret void
}
"""


def test_code_runs() -> None:
    compiled = engine.compile_module(DOUBLE, host())
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(compiled.address("double.programs"))
    data = (ctypes.c_float * 32)(*range(32))
    function(ctypes.addressof(data), 32)
    assert list(data) == [2.0 * i for i in range(32)]


@pytest.mark.skipif(sys.platform == "win32", reason="keeps nothing there")
def test_a_kept_module_that_does_not_link_is_compiled_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TILEJIT_CACHE", "1")
    monkeypatch.setenv("TILEJIT_CACHE_DIR", str(tmp_path))
    text = "define i32 @answer() { ret i32 7 }"
    engine.compile_fixed_module(text, host(), engine.GLUE_PIPELINE)
    store = open_store()
    assert store is not None
    (entry,) = (entry for entry in store.entries() if b"answer" in (store.read(entry.key) or b""))
    other = engine.compile_module(
        "declare i32 @no_such_function()\ndefine i32 @answer() {\n %r = call i32 @no_such_function()\n"
        " ret i32 %r\n}",
        host(),
    )
    for content in (b"", b"\0", b"answer\0", b"answer\0" + other.object, b"other\0" + other.object[:80]):
        store.write(entry.key, content)
        code = engine.compile_fixed_module(text, host(), engine.GLUE_PIPELINE)
        assert ctypes.CFUNCTYPE(ctypes.c_int32)(code.address("answer"))() == 7


def test_two_modules_may_define_the_same_name() -> None:
    texts = [f"define i32 @answer() {{ ret i32 {n} }}" for n in (1, 2)]
    compiled = [engine.compile_module(text, host()) for text in texts]
    functions = [ctypes.CFUNCTYPE(ctypes.c_int32)(code.address("answer")) for code in compiled]
    assert [function() for function in functions] == [1, 2]


def test_functions_of_the_process_are_found() -> None:
    text = "declare double @hypot(double, double)\n"
    text += "define double @f(double %x, double %y) {\n"
    text += "  %r = call double @hypot(double %x, double %y)\n  ret double %r\n}\n"
    compiled = engine.compile_module(text, host())
    double = ctypes.c_double
    assert ctypes.CFUNCTYPE(double, double, double)(compiled.address("f"))(3.0, 4.0) == 5.0


@pytest.mark.parametrize(
    ("target", "register"), [(generic_avx2(), "%ymm"), (generic_avx512(), "%zmm"), (aarch64_neon(), "v0.4s")]
)
def test_other_machines(target: CpuTarget, register: str) -> None:
    compiled = engine.compile_module(DOUBLE, target)
    assert register in compiled.assembly
    assert compiled.object[:4] == b"\x7fELF"
    assert "double.programs" in compiled.llvm


def test_avx2_code_has_no_wider_registers() -> None:
    assert "%zmm" not in engine.compile_module(DOUBLE, generic_avx2()).assembly


def test_code_of_another_architecture_is_not_run() -> None:
    compiled = engine.compile_module(DOUBLE, aarch64_neon())
    with pytest.raises(InternalError, match=r"code for neon \(neoverse-v1\) cannot run on this machine"):
        compiled.address("double.programs")


@pytest.mark.parametrize(
    ("text", "routine"),
    [
        ("define i128 @f(i128 %a, i128 %b) { %c = sdiv i128 %a, %b\n ret i128 %c }", "__divti3"),
        ("define bfloat @f(float %a) { %b = fptrunc float %a to bfloat\n ret bfloat %b }", "__truncsfbf2"),
    ],
)
def test_routines_of_compiler_rt_are_refused(text: str, routine: str) -> None:
    with pytest.raises(
        InternalError, match=f"generated code calls {routine}, which a Python process does not"
    ):
        engine.compile_module(text, generic_avx2())


def test_missing_symbols_are_named() -> None:
    text = "declare void @tilejit_no_such_function()\n"
    text += "define void @f() { call void @tilejit_no_such_function()\n ret void }"
    compiled = engine.compile_module(text, host())
    with pytest.raises(InternalError, match="no symbol tilejit_no_such_function in this process"):
        compiled.address("f")


def test_unknown_function_is_named() -> None:
    compiled = engine.compile_module(DOUBLE, host())
    with pytest.raises(InternalError, match=r"the module defines double\.programs, not triple"):
        compiled.address("triple")


def test_wrong_ir_is_refused() -> None:
    with pytest.raises(InternalError, match="LLVM refused the IR"):
        engine.compile_module("define void @f() { ret i32 }", host())


def test_same_input_gives_same_object() -> None:
    first, second = (engine.compile_module(DOUBLE, host()) for _ in range(2))
    assert first.object == second.object
    assert first.llvm == second.llvm


def test_threads_link_an_object_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = engine.compile_module("define i32 @answer() { ret i32 42 }", host())
    linked: list[engine.CompiledObject] = []
    link = engine._link

    def slowly(what: engine.CompiledObject) -> object:
        linked.append(what)
        time.sleep(0.05)
        return link(what)

    monkeypatch.setattr(engine, "_link", slowly)
    addresses: list[int] = []
    run_at_once([lambda: addresses.append(compiled.address("answer"))] * 4)
    assert linked == [compiled]
    assert len(addresses) == 4 and len(set(addresses)) == 1


LINK_FROM_THREADS = """
import threading, time
from llvmlite import binding
from tilejit.backend.cpu import engine
from tilejit.target.cpu import host

made = []
create = binding.create_lljit_compiler

def slowly(*args, **kwargs):
    made.append(None)
    time.sleep(0.05)
    return create(*args, **kwargs)

binding.create_lljit_compiler = slowly
engine.load_object = lambda image: None  # as for objects that only LLVM can link
objects = [engine.compile_module(f"define i32 @f() {{ ret i32 {n} }}", host()) for n in range(3)]
workers = [threading.Thread(target=compiled.address, args=("f",)) for compiled in objects]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
print(len(made))
"""


def test_threads_share_one_linker() -> None:
    result = subprocess.run(
        [sys.executable, "-c", LINK_FROM_THREADS], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "1"


def run_at_once(jobs: Sequence[Callable[[], object]]) -> None:
    """Run each job on a thread of its own, all starting together."""
    barrier = threading.Barrier(len(jobs))

    def run(job: Callable[[], object]) -> None:
        barrier.wait()
        job()

    workers = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
