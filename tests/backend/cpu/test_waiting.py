"""Kernels that wait for memory to change: what a loop or another thread has to see is read every time."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

import tilejit
import tilejit.language as tl
from tilejit import Kernel

TIMEOUT_S = 30


@tilejit.kernel
def _read_twice(flag, out, BLOCK: tl.constexpr):
    places = flag + tl.arange(0, BLOCK)
    first = tl.load(places, volatile=True)
    second = tl.load(places, volatile=True)
    tl.store(out + tl.arange(0, BLOCK), first + second)


@tilejit.kernel
def _wait_volatile(flag, out):
    while tl.load(flag, volatile=True) == 0:
        pass
    tl.store(out, 1)


@tilejit.kernel
def _wait_atomic(flag, out):
    while tl.atomic_add(flag, 0) == 0:
        pass
    tl.store(out, 1)


@tilejit.kernel
def _wait_plain(flag, out):
    found = tl.load(flag)
    while tl.load(flag) == 0:
        found += 0
    tl.store(out, found + 1)


@pytest.mark.parametrize("block", [1, 16, 19])
def test_volatile_loads_stay_as_many_as_written(block: int) -> None:
    flag, out = np.ones(block, np.int32), np.zeros(block, np.int32)
    compiled = tilejit.compile(_read_twice, flag, out, BLOCK=block)
    assert compiled.asm["llvm"].count("load volatile") % 2 == 0
    assert compiled.asm["llvm"].count("load volatile") >= 2
    _read_twice[(1,)](flag, out, BLOCK=block)
    assert (out == 2).all()


@pytest.mark.parametrize("kernel", [_wait_volatile, _wait_atomic, _wait_plain], ids=lambda k: k.name)
def test_kernel_sees_what_another_thread_writes(kernel: Kernel) -> None:
    flag, out = np.zeros(1, np.int32), np.zeros(1, np.int32)
    kernel.warmup(flag, out)
    launch = threading.Thread(target=lambda: kernel[(1,)](flag, out), daemon=True)
    launch.start()
    time.sleep(0.05)
    assert out[0] == 0
    flag[0] = 1
    launch.join(TIMEOUT_S)
    assert not launch.is_alive()
    assert out[0] == 1
