"""The library of LLVM, of 180 MB, is opened in a thread of its own while Python does something else.

The system's ``dlopen`` is called, since Python's holds the interpreter lock for the 8 ms that it takes. Then
the thread compiles a few instructions, for nothing: LLVM makes its tables for the machine when it is first
asked to, and the system brings in what is used of the library page by page. LLVM takes 15 ms for vector
addition after that, and 21 without; while Python loads the compiler another processor has nothing to do.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tilejit.backend.cpu import engine
from tilejit.backend.cpu.threads import default_threads
from tilejit.target.cpu import host
from tilejit.target.libraries import llvm_libraries
from tilejit.target.llvm_calls import is_llvm_open

# Of what kernels are made of: a loop, vectors, a mask, a variable that becomes a register.
_REHEARSAL = """
declare <16 x float> @llvm.masked.load.v16f32.p0(ptr, i32, <16 x i1>, <16 x float>)
declare i64 @llvm.smin.i64(i64, i64)

define void @rehearsal(ptr %x, i64 %n, i64 %size) {
entry:
  %variable = alloca i64
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
  store i64 %i, ptr %variable
  %part = udiv i64 %i, %size
  %least = call i64 @llvm.smin.i64(i64 %part, i64 %n)
  %number = trunc i64 %least to i32
  %one = insertelement <16 x i32> poison, i32 %number, i32 0
  %all = shufflevector <16 x i32> %one, <16 x i32> poison, <16 x i32> zeroinitializer
  %mask = icmp slt <16 x i32> %all, <i32 0, i32 1, i32 2, i32 3, i32 4, i32 5, i32 6, i32 7,
                                     i32 8, i32 9, i32 10, i32 11, i32 12, i32 13, i32 14, i32 15>
  %place = getelementptr float, ptr %x, i64 %i
  %read = call <16 x float> @llvm.masked.load.v16f32.p0(
      ptr %place, i32 4, <16 x i1> %mask, <16 x float> zeroinitializer)
  %sum = fadd <16 x float> %read, %read
  store <16 x float> %sum, ptr %place, align 4
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %n
  br i1 %more, label %loop, label %end
end:
  ret void
}
"""


@contextmanager
def llvm_loading() -> Iterator[None]:
    """Open LLVM's library in another thread while the body runs; nothing where it is open.

    Whatever goes wrong there goes wrong again, and is reported, where it is used.
    """
    if is_llvm_open() or sys.platform == "win32":
        yield
        return
    with engine.LOCK:  # no other thread forks while the system's loader is busy
        thread = threading.Thread(target=_prepare, name="tilejit-llvm")
        with suppress(RuntimeError):  # the system has no thread to give, or Python is ending
            thread.start()
        try:
            yield
        finally:
            if thread.ident is not None:
                thread.join()


def _prepare() -> None:
    with suppress(Exception):
        _open_library()
        if default_threads() > 1:  # else it would only come first
            rehearse()


def _open_library() -> None:
    process = ctypes.CDLL(None)
    process.dlopen.restype = ctypes.c_void_p
    for path in llvm_libraries():
        process.dlopen(ctypes.c_char_p(os.fsencode(path)), ctypes.c_int(os.RTLD_NOW | os.RTLD_LOCAL))


def rehearse() -> bool:
    """Compile something small for this machine; False where LLVM's functions are not called directly."""
    return engine.compile_directly(_REHEARSAL, host(), engine.KERNEL_PIPELINE) is not None
