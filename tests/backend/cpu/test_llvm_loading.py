"""LLVM's library is opened by another thread while Python loads the compiler, in processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

_BODY = """
import sys, threading
from tilejit.backend.cpu import llvm_loading

def mapped():
    return any("llvmlite." in line for line in open("/proc/self/maps"))

def fail():
    raise OSError("no such folder")

before = mapped()
if {fails}:
    llvm_loading.llvm_libraries = fail
with llvm_loading.llvm_loading():
    inside = "llvmlite.binding" in sys.modules
print(before, inside, mapped(), threading.active_count())
from tilejit.backend.cpu.engine import compile_module
from tilejit.target.cpu import host
print(compile_module("define void @f() {{ ret void }}", host()).symbols)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks at what the process has mapped")
@pytest.mark.parametrize("fails", [False, True])
def test_library_is_open_after_the_body_and_the_thread_gone(fails: bool) -> None:
    """Where it cannot be opened, llvmlite still does."""
    finished = subprocess.run(
        [sys.executable, "-c", _BODY.format(fails=fails)], capture_output=True, text=True, check=False
    )
    assert finished.stdout.splitlines() == [f"False False {not fails} 1", "('f',)"], finished.stderr
