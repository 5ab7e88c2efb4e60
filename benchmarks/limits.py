"""What the machine can do at most, measured in the run that reports it: fp32 FMA and streaming memory.

Both loops are LLVM IR of their own, compiled by llvmlite without any part of tilejit.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import llvmlite.binding as llvm
import numpy as np

_LANES = 16
_ACCUMULATORS = 12
_STREAM_BYTES = 256 * 1024 * 1024
_REPEATS = 15


@dataclass(frozen=True)
class Limits:
    """Measured with the given number of threads. Units: GFLOP/s (an FMA counts two) and GB/s."""

    threads: int
    fma_gflops: float
    read_gbs: float

    def __str__(self) -> str:
        return (
            f"limits with {self.threads} threads: fp32 FMA {self.fma_gflops:.0f} GFLOP/s, "
            f"streaming read {self.read_gbs:.1f} GB/s"
        )


def measure_limits(threads: int) -> Limits:
    """Run both loops on ``threads`` threads and keep the best of a few repetitions."""
    engine = _compile(_fma_loop() + _read_loop())
    fma = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_int64)(engine.get_function_address("fma_loop"))
    read = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64)(
        engine.get_function_address("read_loop")
    )
    turns = 2_000_000
    array = np.ones(_STREAM_BYTES // 4, dtype=np.int32)
    part = array.size // threads // (4 * _LANES) * (4 * _LANES)
    address = array.ctypes.data
    with ThreadPoolExecutor(threads) as pool:
        fma_s = _best(lambda: list(pool.map(fma, [turns] * threads)))
        read_s = _best(
            lambda: list(
                pool.map(lambda i: read(address + 4 * part * i, part // (4 * _LANES)), range(threads))
            )
        )
    return Limits(
        threads,
        2e-9 * threads * turns * _ACCUMULATORS * _LANES / fma_s,
        4e-9 * threads * part / read_s,
    )


def _best(run: Callable[[], object]) -> float:
    run()
    times = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times)


def _compile(text: str) -> llvm.ExecutionEngine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features().flatten()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=features, opt=3)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(text), machine)
    engine.finalize_object()
    return engine


def _fma_loop() -> str:
    """A loop of independent FMAs, enough of them to hide the latency."""
    vector = f"<{_LANES} x float>"
    phis = "\n".join(
        f"  %a{i} = phi {vector} [ zeroinitializer, %entry ], [ %b{i}, %loop ]" for i in range(_ACCUMULATORS)
    )
    steps = "\n".join(
        f"  %b{i} = call {vector} @llvm.fma.v{_LANES}f32({vector} %a{i}, {vector} %x, {vector} %y)"
        for i in range(_ACCUMULATORS)
    )
    total = "\n".join(
        f"  %s{i} = fadd {vector} {f'%s{i - 1}' if i > 1 else '%b0'}, %b{i}" for i in range(1, _ACCUMULATORS)
    )
    return f"""
declare {vector} @llvm.fma.v{_LANES}f32({vector}, {vector}, {vector})
define float @fma_loop(i64 %n) {{
entry:
  %seed = sitofp i64 %n to float
  %small = fmul float %seed, 0x3E45798EE0000000
  %x0 = insertelement {vector} poison, float %small, i32 0
  %x = shufflevector {vector} %x0, {vector} poison, <{_LANES} x i32> zeroinitializer
  %y = fadd {vector} %x, %x
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
{phis}
{steps}
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %loop, label %exit
exit:
{total}
  %result = extractelement {vector} %s{_ACCUMULATORS - 1}, i32 0
  ret float %result
}}
"""


def _read_loop() -> str:
    """A loop that loads four vectors a turn and combines them."""
    vector = f"<{_LANES} x i32>"
    body = "\n".join(
        f"  %p{i} = getelementptr {vector}, ptr %base, i64 {i}\n"
        f"  %v{i} = load {vector}, ptr %p{i}, align 16\n"
        f"  %b{i} = or {vector} %a{i}, %v{i}"
        for i in range(4)
    )
    phis = "\n".join(
        f"  %a{i} = phi {vector} [ zeroinitializer, %entry ], [ %b{i}, %loop ]" for i in range(4)
    )
    return f"""
define i32 @read_loop(ptr %data, i64 %n) {{
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
{phis}
  %offset = mul i64 %i, 4
  %base = getelementptr {vector}, ptr %data, i64 %offset
{body}
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %loop, label %exit
exit:
  %c = or {vector} %b0, %b1
  %d = or {vector} %b2, %b3
  %e = or {vector} %c, %d
  %result = extractelement {vector} %e, i32 0
  ret i32 %result
}}
"""
