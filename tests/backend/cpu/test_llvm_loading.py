"""LLVM's library is opened by another thread while Python loads the compiler, in processes of their own."""

from __future__ import annotations

import os
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


_REHEARSED = """
import sys
from tilejit.backend.cpu import engine, llvm_loading
from tilejit.target.cpu import host

images = []
compile_directly = engine.compile_directly

def counted(*arguments):
    images.append(compile_directly(*arguments))
    return images[-1]

engine.compile_directly = counted
with llvm_loading.llvm_loading():
    pass
with llvm_loading.llvm_loading():  # it is open
    pass
print([(names, len(image) > 500) for image, names in images])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the library is opened where it is used elsewhere")
@pytest.mark.parametrize("threads", [1, 2])
def test_something_is_compiled_meanwhile_where_another_processor_can(threads: int) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", _REHEARSED],
        env={**os.environ, "TILEJIT_NUM_THREADS": str(threads), "TILEJIT_CACHE": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    expected = "[]\n" if threads == 1 else "[(('rehearsal',), True)]\n"
    assert finished.stdout == expected, finished.stderr
