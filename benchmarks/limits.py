"""What the machine can do at most, measured in the run that reports it: memory streams and arithmetic.

The loops are LLVM IR of their own, compiled by llvmlite without any part of tilejit. ``Streams`` moves as
many bytes as a problem does, in the same mix of reads and writes, on the same number of threads; its variants
are arms to time beside the problem, of which the fastest counts.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import llvmlite.binding as llvm
import numpy as np
from numpy.typing import NDArray

from benchmarks import limit_loops
from benchmarks.limit_loops import Arithmetic

Arm = Callable[[], object]

_STREAM_BYTES = 256 * 1024 * 1024
_REPEATS = 15
_TURNS_S = 0.02  # how long one call of a loop of arithmetic is to run
_RUNS_A_THREAD = 16  # of a stream, handed out as threads become free
_SMALL_BYTES = 128 * 1024 * 1024
"""What one call of a stream moves at least: waking its threads takes 0.1 ms, so that 16 MB a call came out a
quarter slower than the same loop without.
"""
# arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA): Linux, Documentation/arch/x86/xstate.rst.
_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XTILEDATA = 158, 0x1023, 18


@dataclass(frozen=True)
class Limits:
    """Measured with the given number of threads; 0.0 where the CPU has no such instruction.

    Units: GFLOP/s or GOP/s (a multiply-add counts two) and GB/s.
    """

    threads: int
    fma_gflops: float
    read_gbs: float
    copy_gbs: float = 0.0
    bf16_gflops: float = 0.0
    int8_gops: float = 0.0
    amx_bf16_gflops: float = 0.0
    amx_int8_gops: float = 0.0

    @property
    def best_bf16_gflops(self) -> float:
        return max(self.bf16_gflops, self.amx_bf16_gflops)

    @property
    def best_int8_gops(self) -> float:
        return max(self.int8_gops, self.amx_int8_gops)

    def __str__(self) -> str:
        return (
            f"limits with {self.threads} threads: fp32 FMA {self.fma_gflops:.0f} GFLOP/s, bf16 dot "
            f"{self.bf16_gflops:.0f} (AMX {self.amx_bf16_gflops:.0f}), int8 dot {self.int8_gops:.0f} "
            f"(AMX {self.amx_int8_gops:.0f}), read {self.read_gbs:.1f} GB/s, copy {self.copy_gbs:.1f} GB/s"
        )


def measure_limits(threads: int) -> Limits:
    """Run every loop on ``threads`` threads and keep the best of a few repetitions."""
    features = llvm.get_host_cpu_features()
    vector_bytes = _vector_bytes()
    may_use_amx = features.get("amx-tile", False) and _request_amx()

    def rate(is_there: bool, loop: Arithmetic) -> float:
        return 1e-9 * _operations_a_second(loop, threads) if is_there else 0.0

    return Limits(
        threads,
        rate(True, limit_loops.fp32_fma(vector_bytes)),
        _best_gbs(Streams(1, 0, _STREAM_BYTES, threads)),
        _best_gbs(Streams(1, 1, _STREAM_BYTES, threads)),
        rate(features.get("avx512bf16", False), limit_loops.bf16_dot()),
        rate(features.get("avx512vnni", False), limit_loops.int8_dot()),
        rate(
            may_use_amx and features.get("amx-bf16", False),
            limit_loops.amx_dot("amx_bf16_dot", "tdpbf16ps", 32),
        ),
        rate(
            may_use_amx and features.get("amx-int8", False),
            limit_loops.amx_dot("amx_int8_dot", "tdpbssd", 64),
        ),
    )


class Streams:
    """Loops that read ``reads`` arrays and write ``writes`` others, together ``total_bytes``.

    ``arms`` has one for ordinary stores and one for stores past the caches; reads alone have one. ``bytes``
    is what one call of an arm moves: ``total_bytes`` in whole turns, several times over where that is
    little.
    """

    def __init__(self, reads: int, writes: int, total_bytes: int, threads: int) -> None:
        vector_bytes = _vector_bytes()
        step = limit_loops.stream_step(vector_bytes) * threads * _RUNS_A_THREAD
        count = max(1, round(total_bytes / (4 * (reads + writes)) / step)) * step
        self._arrays = [_aligned(count) for _ in range(reads + writes)]
        self._addresses = (ctypes.c_void_p * len(self._arrays))(*(a.ctypes.data for a in self._arrays))
        self._part = count // (threads * _RUNS_A_THREAD)
        self._runs = range(threads * _RUNS_A_THREAD)
        self._threads = threads
        self._repeats = max(1, -(-_SMALL_BYTES // (4 * count * len(self._arrays))))
        self.bytes = 4 * count * len(self._arrays) * self._repeats
        self.name = f"{reads} read, {writes} written"
        kinds = {"ordinary stores": False, "stores past the caches": True} if writes else {"reads": False}
        self.arms: Mapping[str, Arm] = {
            kind: self._arm(_stream_function(reads, writes, vector_bytes, past))
            for kind, past in kinds.items()
        }

    def _arm(self, function: Callable[[object, int, int], int]) -> Arm:
        def work(runs: Sequence[int]) -> None:
            for _ in range(self._repeats):
                for run in runs:
                    function(self._addresses, run * self._part, (run + 1) * self._part)

        # Neighbouring runs go to different threads, which so walk through memory together.
        shares = [self._runs[thread :: self._threads] for thread in range(self._threads)]
        return lambda: list(_pool(self._threads).map(work, shares))


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


def _aligned(count: int) -> NDArray[np.int32]:
    """An array of ones that starts at a page."""
    memory = np.ones(count + 1024, dtype=np.int32)
    first = -memory.ctypes.data // 4 % 1024
    return memory[first : first + count]


def _vector_bytes() -> int:
    features = llvm.get_host_cpu_features()
    if features.get("avx512f", False):
        return 64
    return 32 if features.get("avx2", False) else 16


def _best_gbs(streams: Streams) -> float:
    return 1e-9 * streams.bytes / min(_best(arm) for arm in streams.arms.values())


def _operations_a_second(loop: Arithmetic, threads: int) -> float:
    function = _function(loop.text, loop.name)
    turns = 1000
    while (seconds := _timed(functools.partial(function, turns))) < _TURNS_S / 4:
        turns *= 2
    turns = max(1, int(turns * _TURNS_S / seconds))
    best = _best(lambda: list(_pool(threads).map(function, [turns] * threads)))
    return loop.operations * turns * threads / best


def _best(run: Arm) -> float:
    run()
    return min(_timed(run) for _ in range(_REPEATS))


def _timed(run: Arm) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


@functools.cache
def _stream_function(
    reads: int, writes: int, vector_bytes: int, past_caches: bool
) -> Callable[[object, int, int], int]:
    name = f"stream_{reads}_{writes}_{'past' if past_caches else 'usual'}"
    text = limit_loops.stream_loop(name, reads, writes, vector_bytes=vector_bytes, past_caches=past_caches)
    address = _engine(text).get_function_address(name)
    prototype = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    return prototype(address)


@functools.cache
def _function(text: str, name: str) -> Callable[[int], int]:
    return ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int64)(_engine(text).get_function_address(name))


@functools.cache
def _engine(text: str) -> llvm.ExecutionEngine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features().flatten()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=features, opt=3)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(text), machine)
    engine.finalize_object()
    return engine


def _request_amx() -> bool:
    """Ask Linux for the right to use AMX's tiles; True where it was given."""
    if sys.platform != "linux":
        return False
    syscall = ctypes.CDLL(None).syscall
    return bool(syscall(_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XTILEDATA) == 0)
