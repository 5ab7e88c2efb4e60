"""The thread pool: every program once, in order of start, on several threads, whatever else happens."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from tilejit.backend.cpu import engine, pool_ir, threads
from tilejit.diagnostics import LaunchError
from tilejit.target.cpu import aarch64_neon, host

UNKNOWN_COST, SHORT_NS, LONG_NS = 0.0, 1e-3, 1e9

COUNT = """
; Adds 1 to element number program of the first argument.
define void @programs(ptr %args, i64 %first, i64 %last, i32 %gx, i32 %gy, i32 %gz, ptr %scratch) {
  %out = load ptr, ptr %args
  br label %loop
loop:
  %i = phi i64 [ %first, %0 ], [ %next, %loop ]
  %at = getelementptr i64, ptr %out, i64 %i
  atomicrmw add ptr %at, i64 1 monotonic
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %last
  br i1 %more, label %loop, label %end
end:
  ret void
}
"""

WAIT_FOR_PREVIOUS = """
; Program p waits until the first argument counts p programs, then counts itself.
define void @programs(ptr %args, i64 %first, i64 %last, i32 %gx, i32 %gy, i32 %gz, ptr %scratch) {
  %count = load ptr, ptr %args
  br label %program
program:
  %p = phi i64 [ %first, %0 ], [ %next, %count_up ]
  br label %spin
spin:
  %seen = load atomic i64, ptr %count seq_cst, align 8
  %is_turn = icmp eq i64 %seen, %p
  br i1 %is_turn, label %count_up, label %spin
count_up:
  %next = add i64 %p, 1
  store atomic i64 %next, ptr %count seq_cst, align 8
  %more = icmp slt i64 %next, %last
  br i1 %more, label %program, label %end
end:
  ret void
}
"""

USE_SCRATCH = """
; Fills the scratch with the program's number, waits, and counts the elements that still hold it.
define void @programs(ptr %args, i64 %first, i64 %last, i32 %gx, i32 %gy, i32 %gz, ptr %scratch) {
  %out = load ptr, ptr %args
  br label %program
program:
  %p = phi i64 [ %first, %0 ], [ %next, %done ]
  br label %fill
fill:
  %i = phi i64 [ 0, %program ], [ %next_i, %fill ]
  %to = getelementptr i64, ptr %scratch, i64 %i
  store volatile i64 %p, ptr %to
  %next_i = add i64 %i, 1
  %fills = icmp slt i64 %next_i, 1000
  br i1 %fills, label %fill, label %check
check:
  %j = phi i64 [ 0, %fill ], [ %next_j, %check ]
  %sum = phi i64 [ 0, %fill ], [ %new_sum, %check ]
  %from = getelementptr i64, ptr %scratch, i64 %j
  %value = load volatile i64, ptr %from
  %is_mine = icmp eq i64 %value, %p
  %one = zext i1 %is_mine to i64
  %new_sum = add i64 %sum, %one
  %next_j = add i64 %j, 1
  %checks = icmp slt i64 %next_j, 1000
  br i1 %checks, label %check, label %done
done:
  %address = ptrtoint ptr %scratch to i64
  %misaligned = and i64 %address, 63
  %result = sub i64 %new_sum, %misaligned
  %at = getelementptr i64, ptr %out, i64 %p
  store i64 %result, ptr %at
  %next = add i64 %p, 1
  %more = icmp slt i64 %next, %last
  br i1 %more, label %program, label %end
end:
  ret void
}
"""

GRID = """
; Writes the grid to the first argument.
define void @programs(ptr %args, i64 %first, i64 %last, i32 %gx, i32 %gy, i32 %gz, ptr %scratch) {
  %out = load ptr, ptr %args
  store i32 %gx, ptr %out
  %y = getelementptr i32, ptr %out, i64 1
  store i32 %gy, ptr %y
  %z = getelementptr i32, ptr %out, i64 2
  store i32 %gz, ptr %z
  ret void
}
"""


class Code:
    """A module with what a launch needs of it."""

    def __init__(self, text: str, scratch_bytes: int = 0) -> None:
        self.compiled = engine.compile_module(text, host())
        self.program = threads.ProgramCode(
            self.compiled.address("programs"), scratch_bytes, ctypes.c_double(UNKNOWN_COST)
        )

    def launch(self, out: np.ndarray, *grid: int, cost: float | None = None) -> None:
        if cost is not None:
            self.program.cost.value = cost
        x, y, z = (*grid, 1, 1)[:3]
        slots = (ctypes.c_uint64 * 1)(out.ctypes.data)
        threads.launch(self.program, ctypes.addressof(slots), (x, y, z))


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = threads.get_num_threads()
    threads.set_num_threads(4)
    yield
    threads.set_num_threads(before)


@pytest.mark.parametrize("cost", [UNKNOWN_COST, SHORT_NS, LONG_NS])
@pytest.mark.parametrize("total", [1, 2, 3, 7, 100, 1001, 100_003])
def test_every_program_runs_once(four_threads: None, total: int, cost: float) -> None:
    code, out = Code(COUNT), np.zeros(total + 10, np.int64)
    for _ in range(5):
        code.launch(out, total, cost=cost)
    assert (out[:total] == 5).all()
    assert (out[total:] == 0).all()


def test_one_thread_runs_everything() -> None:
    before = threads.get_num_threads()
    threads.set_num_threads(1)
    code, out = Code(COUNT), np.zeros(1000, np.int64)
    for _ in range(3):
        code.launch(out, 1000, cost=LONG_NS)
    threads.set_num_threads(before)
    assert (out == 3).all()


def test_programs_that_wait_for_earlier_ones_finish(four_threads: None) -> None:
    code, count = Code(WAIT_FOR_PREVIOUS), np.zeros(1, np.int64)
    for _ in range(20):
        count[0] = 0
        code.launch(count, 500, cost=LONG_NS)
        assert count[0] == 500


def test_threads_have_aligned_scratch_of_their_own(four_threads: None) -> None:
    code, out = Code(USE_SCRATCH, scratch_bytes=8000), np.zeros(500, np.int64)
    for _ in range(3):
        out[:] = 0
        code.launch(out, 500, cost=LONG_NS)
        assert (out == 1000).all()


def test_scratch_grows(four_threads: None) -> None:
    out = np.zeros(16, np.int64)
    for size in (8000, 1 << 20, 8000, 1 << 24):
        Code(USE_SCRATCH, scratch_bytes=size).launch(out, 16, cost=LONG_NS)
        assert (out == 1000).all()


def test_grid_is_passed_on() -> None:
    code, out = Code(GRID), np.zeros(3, np.int32)
    for _ in range(2):
        code.launch(out, 5, 3, 2)
        assert out.tolist() == [5, 3, 2]


def test_empty_grid_runs_nothing() -> None:
    code, out = Code(COUNT), np.zeros(4, np.int64)
    code.launch(out, 4, 0)
    assert (out == 0).all()


def test_launches_from_several_threads_at_once(four_threads: None) -> None:
    code, out = Code(COUNT), np.zeros(64, np.int64)

    def launch_often() -> None:
        for _ in range(500):
            code.launch(out, 64, cost=LONG_NS)

    launchers = [threading.Thread(target=launch_often) for _ in range(4)]
    for launcher in launchers:
        launcher.start()
    for launcher in launchers:
        launcher.join()
    assert (out == 2000).all()


def test_number_of_threads_may_change_between_launches() -> None:
    before = threads.get_num_threads()
    code, out = Code(COUNT), np.zeros(1000, np.int64)
    for count in (1, 3, 2, 6, 1, 4):
        threads.set_num_threads(count)
        assert threads.get_num_threads() == count
        code.launch(out, 1000, cost=LONG_NS)
    threads.set_num_threads(before)
    assert (out == 6).all()


def test_launches_after_pauses_of_any_length(four_threads: None) -> None:
    """Workers spin, look out patiently or sleep between them."""
    code, out = Code(COUNT), np.zeros(64, np.int64)
    pauses = [0, 1e-4, 3e-4, 3e-4, 5e-3, 3e-4, 0, 5e-3] * 5
    for pause in pauses:
        time.sleep(pause)
        code.launch(out, 64, cost=LONG_NS)
    assert (out == len(pauses)).all()


@pytest.mark.skipif(not threads.has_native_pool(), reason="counts the time of native threads")
def test_idle_workers_fall_asleep(four_threads: None) -> None:
    """They may look out for a millisecond each; four that never sleep would take a second and a half."""
    code, out = Code(COUNT), np.zeros(64, np.int64)
    for _ in range(20):
        time.sleep(2e-4)
        code.launch(out, 64, cost=LONG_NS)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.25


@pytest.mark.parametrize("count", [0, -1, True, 2.0, 5000])
def test_wrong_number_of_threads(count: int) -> None:
    with pytest.raises(LaunchError) as raised:
        threads.set_num_threads(count)
    assert raised.value.message == f"the number of threads must be an int from 1 to 4096, got {count!r}"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_launches(four_threads: None) -> None:
    code, out = Code(COUNT), np.zeros(1000, np.int64)
    code.launch(out, 1000, cost=LONG_NS)
    child = os.fork()
    if child == 0:
        out[:] = 0
        code.launch(out, 1000, cost=LONG_NS)
        code.launch(out, 1000, cost=LONG_NS)
        os._exit(0 if (out == 2).all() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_python_threads_do_the_same(four_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "has_native_pool", lambda: False)
    code, out = Code(USE_SCRATCH, scratch_bytes=8000), np.zeros(500, np.int64)
    code.launch(out, 500)
    assert (out == 1000).all()
    count = np.zeros(1, np.int64)
    Code(WAIT_FOR_PREVIOUS).launch(count, 100)
    assert count[0] == 100


def test_environment_sets_the_number_of_threads() -> None:
    text = "from tilejit.backend.cpu import threads; print(threads.get_num_threads())"
    environment = {**os.environ, "TILEJIT_NUM_THREADS": "3"}
    result = subprocess.run(
        [sys.executable, "-c", text], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "3"


def test_systems_without_fork() -> None:
    text = "import os, random, sys, ctypes, concurrent.futures.thread, numpy\n"
    text += "del os.register_at_fork\nsys.platform = 'win32'\n"
    text += "from tilejit.backend.cpu import threads; print(threads.has_native_pool())"
    result = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert (result.stdout.strip(), result.stderr) == ("False", "")


def test_pool_compiles_for_aarch64() -> None:
    compiled = engine.compile_module(pool_ir.pool_module("aarch64"), aarch64_neon(), engine.GLUE_PIPELINE)
    assert "yield" in compiled.assembly
    assert set(vars(pool_ir.SYMBOLS).values()) <= set(compiled.symbols)
