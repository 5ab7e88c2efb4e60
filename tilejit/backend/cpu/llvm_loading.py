"""The library of LLVM, of 180 MB, is opened in a thread of its own while Python does something else.

The system's ``dlopen`` is called, since Python's holds the interpreter lock for the 8 ms that it takes.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tilejit.backend.cpu import engine
from tilejit.target.libraries import llvm_libraries
from tilejit.target.llvm_calls import is_llvm_open


@contextmanager
def llvm_loading() -> Iterator[None]:
    """Open LLVM's library in another thread while the body runs; nothing where it is open.

    Whatever goes wrong there goes wrong again, and is reported, where it is used.
    """
    if is_llvm_open() or sys.platform == "win32":
        yield
        return
    with engine.LOCK:  # no other thread forks while the system's loader is busy
        thread = threading.Thread(target=_open_library, name="tilejit-llvm")
        with suppress(RuntimeError):  # the system has no thread to give, or Python is ending
            thread.start()
        try:
            yield
        finally:
            if thread.ident is not None:
                thread.join()


def _open_library() -> None:
    with suppress(Exception):
        process = ctypes.CDLL(None)
        process.dlopen.restype = ctypes.c_void_p
        for path in llvm_libraries():
            process.dlopen(ctypes.c_char_p(os.fsencode(path)), ctypes.c_int(os.RTLD_NOW | os.RTLD_LOCAL))
