"""Processes that fork: parent and child launch on, whatever other threads of the parent were doing."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

import tilejit
from tests.runtime.kernels import add_kernel, scale_kernel
from tilejit import compiler

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork")

N = 4096


def exit_code_of_child(work: Callable[[], bool]) -> int:
    """Fork, run ``work`` in the child; 0 where it returns True there. A child that hangs is killed."""
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        code = 2
        try:
            code = 0 if work() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def adds(kernel: tilejit.Kernel, block: int = 64) -> bool:
    """Launch ``kernel``, made of ``add_kernel``, a few times; True where the results are right."""
    x, out = np.arange(N, dtype=np.float32), np.zeros(N, np.float32)
    for _ in range(5):
        out[:] = 0
        kernel[(N // block,)](x, x, out, N, BLOCK=block)
        if not (out == x + x).all():
            return False
    return True


def scales(kernel: tilejit.Kernel) -> bool:
    """The same for a kernel made of ``scale_kernel``."""
    x, out = np.arange(64, dtype=np.float32), np.zeros(64, np.float32)
    kernel[1](x, out, 64, 2.0)
    return bool((out == 2 * x).all())


def test_launch_fork_launch() -> None:
    kernel = tilejit.kernel(add_kernel.fn)
    assert adds(kernel)

    def in_child() -> bool:
        return adds(kernel) and adds(kernel, block=128) and scales(tilejit.kernel(scale_kernel.fn))

    assert exit_code_of_child(in_child) == 0
    assert adds(kernel) and adds(kernel, block=256)


def test_child_of_a_child_launches() -> None:
    kernel = tilejit.kernel(add_kernel.fn)
    assert adds(kernel)
    assert exit_code_of_child(lambda: adds(kernel) and exit_code_of_child(lambda: adds(kernel)) == 0) == 0


def test_first_launch_in_a_child() -> None:
    assert exit_code_of_child(lambda: adds(tilejit.kernel(add_kernel.fn))) == 0


def test_fork_during_a_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    is_compiling = threading.Event()
    plan_loops = compiler.plan_loops

    def slowly(*args: object) -> object:
        is_compiling.set()
        time.sleep(0.3)
        return plan_loops(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(compiler, "plan_loops", slowly)
    kernel = tilejit.kernel(add_kernel.fn)
    worker = threading.Thread(target=adds, args=(kernel,))
    worker.start()
    assert is_compiling.wait(10)
    assert exit_code_of_child(lambda: adds(kernel) and scales(tilejit.kernel(scale_kernel.fn))) == 0
    worker.join()


def test_fork_while_other_threads_launch() -> None:
    kernel = tilejit.kernel(add_kernel.fn)
    before = tilejit.get_num_threads()
    tilejit.set_num_threads(3)
    assert adds(kernel)
    stops = threading.Event()
    results: list[bool] = []

    def launch_on() -> None:
        while not stops.is_set():
            results.append(adds(kernel))

    workers = [threading.Thread(target=launch_on) for _ in range(2)]
    for worker in workers:
        worker.start()
    codes = [exit_code_of_child(lambda: adds(kernel)) for _ in range(10)]
    stops.set()
    for worker in workers:
        worker.join()
    tilejit.set_num_threads(before)
    assert codes == [0] * 10
    assert results and all(results)
