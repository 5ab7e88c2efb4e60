"""Permission to use the matrix tiles of AMX.

CPUID says whether a CPU has them, not whether a process may use them: Linux keeps their 8 KB of registers off
until a process asks for them, once, for all of its threads.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import sys

AMX_FEATURES = ("amx-bf16", "amx-int8", "amx-tile")

# Source: Linux, Documentation/arch/x86/xstate.rst, and the table of system calls of x86-64.
_SYS_ARCH_PRCTL = 158
_ARCH_REQ_XCOMP_PERM = 0x1023
_XFEATURE_XTILEDATA = 18


@functools.cache
def may_use_tiles() -> bool:
    """Ask the operating system for the tiles, once a process, and return whether they may be used.

    A child made by fork inherits the permission. It is refused where a signal stack is too small to hold the
    registers.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    libc = ctypes.CDLL(None)
    numbers = (_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA)
    return int(libc.syscall(*(ctypes.c_long(number) for number in numbers))) == 0
