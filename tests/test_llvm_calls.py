"""LLVM's functions called directly do what llvmlite does with them."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from tilejit.diagnostics import InternalError
from tilejit.target import llvm_calls
from tilejit.target.libraries import llvm_libraries

_POINTER = type(ctypes.POINTER(ctypes.c_char_p))
_TEXTS = (ctypes.c_char_p, ctypes.POINTER(ctypes.c_char_p))


@pytest.fixture(scope="module")
def calls() -> llvm_calls.LlvmCalls:
    (path,) = llvm_libraries()
    return llvm_calls.LlvmCalls(path)


def _plain(kind: object) -> object:
    """A declared type, with all pointers to LLVM's objects taken as one."""
    is_handle = kind is ctypes.c_void_p or (isinstance(kind, _POINTER) and kind not in _TEXTS)
    return "handle" if is_handle else kind


def test_declarations_are_those_of_llvmlite() -> None:
    import llvmlite.binding  # noqa: PLC0415 - would be there for the other tests of this process, too

    known = llvmlite.binding.ffi.lib
    compared = 0
    for name, (result, *parameters) in llvm_calls._DECLARATIONS.items():
        theirs = getattr(known, f"LLVMPY_{name}")
        if theirs.argtypes is None:  # llvmlite says nothing of those without parameters, and of DisposeString
            assert not parameters or name == "DisposeString"
        else:
            assert [*map(_plain, parameters)] == [*map(_plain, theirs.argtypes)], name
            compared += 1
        is_told = theirs.restype not in (ctypes.c_int, None)  # c_int is also where nothing is said
        assert _plain(theirs.restype) == _plain(result) if is_told else result in (None, ctypes.c_int), name
    assert compared > 30


_SAME_CODE = """
import sys
from tilejit.backend.cpu import engine
from tilejit.target.cpu import aarch64_neon, generic_avx2, host

text = '''
@shared = global i32 7
@hidden = internal global i32 8
declare i32 @other(i32)
define internal i32 @inner(i32 %x) alwaysinline { %y = add i32 %x, 1 ret i32 %y }
define i32 @outer(i32 %x) {
  %slot = alloca i32
  store i32 %x, ptr %slot
  %y = load i32, ptr %slot
  %z = call i32 @inner(i32 %y)
  %h = load i32, ptr @hidden
  %s = add i32 %z, %h
  ret i32 %s
}
define void @second() { ret void }
'''
assert engine.compile_module(text, host()).symbols == ("outer", "second", "shared")
assert "llvmlite.binding" not in sys.modules
for target in (host(), generic_avx2(), aarch64_neon()):
    for pipeline in (engine.KERNEL_PIPELINE, engine.GLUE_PIPELINE):
        direct = engine.compile_directly(text, target, pipeline)
        assert direct == engine._compile(text, target, pipeline), (target, pipeline)
        assert direct[1] == ("outer", "second", "shared")
from llvmlite import binding
from tilejit.target.llvm_calls import llvm_calls
asked = (binding.get_process_triple(), binding.get_host_cpu_name(), dict(binding.get_host_cpu_features()))
assert llvm_calls().this_machine() == asked
"""


def test_the_code_is_that_of_llvmlite() -> None:
    finished = subprocess.run([sys.executable, "-c", _SAME_CODE], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("define void @f() { ret i32 }", "LLVM refused the IR: LLVM IR parsing error\n<string>:1:"),
        ("define i32 @f() { entry: br label %entry }", "Entry block to function must not have predecessors"),
    ],
)
def test_wrong_ir_is_refused(calls: llvm_calls.LlvmCalls, text: str, problem: str) -> None:
    triple, cpu, _ = calls.this_machine()
    with pytest.raises(InternalError) as raised:
        calls.compile(text, calls.machine(triple, cpu, "", 2), ())
    assert problem in str(raised.value)


def test_unknown_targets_are_refused(calls: llvm_calls.LlvmCalls) -> None:
    with pytest.raises(InternalError, match="LLVM has no target nothing-at-all: "):
        calls.machine("nothing-at-all", "", "", 2)


@pytest.mark.parametrize(
    "prelude",
    [
        "import llvmlite.binding",
        "import llvmlite; llvmlite.__version__ = '0.51.0'",
        "from tilejit.target import llvm_calls; llvm_calls.LlvmCalls = lambda path: ctypes.CDLL('/none')",
    ],
)
def test_otherwise_llvmlite_compiles(prelude: str) -> None:
    program = (
        f"import ctypes\n{prelude}\n"
        "from tilejit.backend.cpu.engine import compile_module\n"
        "from tilejit.target.cpu import host\n"
        "from tilejit.target.llvm_calls import llvm_calls\n"
        "import sys\n"
        "print(compile_module('define void @f() { ret void }', host()).symbols, llvm_calls(),"
        " 'llvmlite.binding' in sys.modules)"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert finished.stdout.strip() == "('f',) None True", finished.stderr
