"""Who runs the programs of a launch: the caller's thread alone, or with a persistent pool of threads.

The pool is native code (``pool_ir``), compiled when the first launch needs it and started with one thread
less than ``get_num_threads()``, since the launching thread works too. Where the system is not Linux, Python
threads do the same.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tilejit import options
from tilejit.backend.cpu import engine, pool_ir
from tilejit.diagnostics import InternalError, LaunchError
from tilejit.records import dataclass
from tilejit.target.cpu import host

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

Grid = tuple[int, int, int]

_PROGRAMS = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int32, ctypes.c_int32, ctypes.c_int32,
    ctypes.c_void_p,
)  # fmt: skip
_LAUNCH = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int32,
    ctypes.c_int32, ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p,
)  # fmt: skip
_CACHE_LINE_BYTES = 64
# The pool is compiled at the second launch, or when the first has taken as long as compiling takes: a
# program that runs one small kernel does not pay for it.
_FIRST_LAUNCH_NS = 5_000_000


class LaunchCell(ctypes.Structure):
    """What compiled launchers read: the pool's launch function, or null while there is none to call."""

    _fields_ = (("launch", ctypes.c_void_p),)


@dataclass
class ProgramCode:
    """The compiled programs of a kernel and what their launches learn of them.

    ``address`` is that of the ``programs`` function; ``cost`` is the time of one program in nanoseconds, 0
    if unknown.
    """

    address: int
    scratch_bytes: int
    cost: ctypes.c_double


class _NativePool:
    """The pool of this process: compiled once, reset in forked children."""

    def __init__(self) -> None:
        compiled = engine.compile_fixed_module(
            pool_ir.pool_module(host().architecture), host(), engine.GLUE_PIPELINE
        )
        symbols = pool_ir.SYMBOLS
        self._compiled = compiled  # keeps the code alive: its threads never end
        self.launch_address = compiled.address(symbols.launch)
        self.launch = _LAUNCH(self.launch_address)
        self._worker = compiled.address(symbols.worker)
        self._configure = ctypes.CFUNCTYPE(None, ctypes.c_int32, ctypes.c_int32)(
            compiled.address(symbols.configure)
        )
        self._reset = ctypes.CFUNCTYPE(None)(compiled.address(symbols.reset))
        self._process = ctypes.CDLL(None)
        self._key = ctypes.c_uint32()
        free_arena = compiled.address(symbols.free_arena)
        if self._process.pthread_key_create(ctypes.byref(self._key), ctypes.c_void_p(free_arena)) != 0:
            raise InternalError("pthread_key_create failed")
        self._started = 0

    def resize(self, threads: int) -> None:
        """Let launches use that many threads, the caller's included."""
        while self._started < threads - 1 and self._start_worker():
            self._started += 1
        self._configure(self._key.value, min(threads - 1, self._started))

    def reset(self) -> None:
        self._reset()
        self._started = 0

    def _start_worker(self) -> bool:
        """Start one thread; False where the system has none to give."""
        thread = ctypes.c_size_t()
        # Signals are for Python's threads: a sleeping main thread must be the one that Ctrl-C interrupts.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            failed = self._process.pthread_create(
                ctypes.byref(thread), None, ctypes.c_void_p(self._worker), None
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if failed:
            return False
        self._process.pthread_detach(thread)
        return True


class _Threads:
    """The process's choice and state. ``cell`` is what compiled code reads."""

    def __init__(self) -> None:
        self.cell = LaunchCell()
        self.lock = threading.RLock()
        self.chosen: int | None = None
        self.native: _NativePool | None = None
        self.executor: ThreadPoolExecutor | None = None
        self.has_launched = False
        self.local = threading.local()
        if sys.platform != "win32":
            os.register_at_fork(after_in_child=self.forget)

    def count(self) -> int:
        if self.chosen is None:
            self.chosen = default_threads()
        return self.chosen

    def start(self) -> _NativePool:
        """The running pool, compiled and started where it was not."""
        with self.lock:
            if self.native is None:
                self.native = _NativePool()
            if not self.cell.launch:
                self.native.resize(self.count())
                self.cell.launch = self.native.launch_address
            return self.native

    def choose(self, threads: int) -> None:
        with self.lock:
            self.chosen = threads
            self.executor = None
            if self.native is not None and self.cell.launch:
                self.native.resize(threads)

    def python_pool(self) -> ThreadPoolExecutor:
        with self.lock:
            if self.executor is None:
                from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - not used on Linux

                self.executor = ThreadPoolExecutor(self.count(), thread_name_prefix="tilejit")
            return self.executor

    def forget(self) -> None:
        """In a forked child: its threads are gone and locks may be held by threads that no longer exist."""
        self.lock = threading.RLock()
        self.executor = None
        self.cell.launch = None
        if self.native is not None:
            self.native.reset()


_threads = _Threads()


def set_num_threads(threads: int) -> None:
    """Let launches use ``threads`` threads, that of the caller included; 1 runs everything on the caller's.

    Raises: LaunchError where ``threads`` is not a positive int.
    """
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= 4096:
        raise LaunchError(f"the number of threads must be an int from 1 to 4096, got {threads!r}")
    _threads.choose(threads)


def get_num_threads() -> int:
    """Threads that a launch may use: as set, else ``TILEJIT_NUM_THREADS``, else our CPUs."""
    return _threads.count()


def default_threads() -> int:
    """Threads that a launch uses where none were set: ``TILEJIT_NUM_THREADS``, else our CPUs."""
    return options.NUM_THREADS.read() or _usable_cpus()


def launch_cell_address() -> int:
    """Address of the process's ``LaunchCell``, which stays where it is."""
    return ctypes.addressof(_threads.cell)


def launch(code: ProgramCode, slots: int, grid: Grid) -> None:
    """Run every program of ``grid``; ``slots`` is the address of the argument slots.

    Raises: MemoryError where there is no memory for scratch; nothing has run then.
    """
    total = grid[0] * grid[1] * grid[2]
    if total == 0:
        return
    if not has_native_pool():
        _run_on_python_threads(code, slots, total, grid)
        return
    first = 0
    if not _threads.has_launched:
        _threads.has_launched = True
        first = _run_for_a_while(code, slots, total, grid)
        if first == total:
            return
    pool = _threads.start()
    cost = ctypes.addressof(code.cost)
    if pool.launch(code.address, slots, first, total, *grid, code.scratch_bytes, cost):
        raise MemoryError(f"no memory for {code.scratch_bytes} bytes of scratch")


def has_native_pool() -> bool:
    """True where launches can use the native pool: on Linux, on the architectures it is written for."""
    return sys.platform == "linux" and pool_ir.supports(host().architecture)


def _run_for_a_while(code: ProgramCode, slots: int, total: int, grid: Grid) -> int:
    """Run programs on this thread until time is up; the first one not run."""
    programs = _PROGRAMS(code.address)
    began = time.perf_counter_ns()
    first, length = 0, max(1, total // 8)
    with _scratch(code.scratch_bytes) as scratch:
        while first < total and (first == 0 or time.perf_counter_ns() - began < _FIRST_LAUNCH_NS):
            last = min(first + length, total)
            programs(slots, first, last, *grid, scratch)
            first = last
    code.cost.value = (time.perf_counter_ns() - began) / first
    return first


def _run_on_python_threads(code: ProgramCode, slots: int, total: int, grid: Grid) -> None:
    threads = get_num_threads()
    length = max(1, total // (4 * threads))
    runs = itertools.count(0, length)  # next() is atomic under the GIL: runs start in increasing order

    def work() -> None:
        programs = _PROGRAMS(code.address)
        with _scratch(code.scratch_bytes) as scratch:
            while (first := next(runs)) < total:
                programs(slots, first, min(first + length, total), *grid, scratch)

    helpers = [_threads.python_pool().submit(work) for _ in range(min(threads, total) - 1)]
    work()
    for helper in helpers:
        if not helper.cancel():
            helper.result()


@contextmanager
def _scratch(size_bytes: int) -> Iterator[int]:
    """Address of scratch of at least that size for a launch on this thread, aligned to a cache line.

    It grows and stays. A launch made meanwhile, by what prints, takes its own.
    """
    local = _threads.local.__dict__
    buffer = local.pop("buffer", None)
    if buffer is None or len(buffer) < size_bytes + _CACHE_LINE_BYTES:
        buffer = (ctypes.c_char * (size_bytes + _CACHE_LINE_BYTES))()
    try:
        yield -(-ctypes.addressof(buffer) // _CACHE_LINE_BYTES) * _CACHE_LINE_BYTES
    finally:
        local["buffer"] = buffer


def _usable_cpus() -> int:
    """CPUs that this process may keep busy: its affinity, less where a container's quota is smaller."""
    if sys.platform != "linux":
        return os.cpu_count() or 1
    return max(1, min(len(os.sched_getaffinity(0)), _quota_cpus()))


def _quota_cpus() -> int:
    """Whole CPUs of the control group's quota (``cpu.max``, cgroup v2); many where there is none."""
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
    except (OSError, ValueError):
        return 1 << 16
    return -(-int(quota) // int(period)) if quota.isdigit() and period.isdigit() else 1 << 16
