"""The loops that find the limits of the machine move and compute what they say."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from benchmarks import limit_loops, limits
from benchmarks.limits import Streams


@pytest.mark.parametrize(("reads", "writes"), [(1, 0), (1, 1), (2, 1), (0, 1), (2, 2)])
@pytest.mark.parametrize("past_caches", [False, True])
def test_a_stream_writes_what_it_read(reads: int, writes: int, past_caches: bool) -> None:
    vector_bytes = limits._vector_bytes()
    step = limit_loops.stream_step(vector_bytes)
    arrays = [limits._aligned(4 * step) for _ in range(reads + writes)]
    for number, array in enumerate(arrays):
        array[:] = (np.arange(array.size) << (4 * number)) if number < reads else -1
    addresses = (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
    limits._stream_function(reads, writes, vector_bytes, past_caches)(addresses, step, 3 * step)
    expected = np.bitwise_or.reduce(arrays[:reads], axis=0) if reads else np.zeros_like(arrays[0])
    for array in arrays[reads:]:
        inside = array[step : 3 * step]
        np.testing.assert_array_equal(inside | 1, expected[step : 3 * step] | 1)
        assert (array[:step] == -1).all()
        assert (array[3 * step :] == -1).all()


def test_reads_alone_see_every_element() -> None:
    vector_bytes = limits._vector_bytes()
    step = limit_loops.stream_step(vector_bytes)
    array = limits._aligned(4 * step)
    array[:] = 0
    array[:: vector_bytes // 4] = 1 << np.arange(4 * step * 4 // vector_bytes)
    address = (ctypes.c_void_p * 1)(array.ctypes.data)
    read = limits._stream_function(1, 0, vector_bytes, False)
    assert read(address, 0, array.size) == (1 << 16) - 1
    assert read(address, step, 2 * step) == 0xF0


@pytest.mark.parametrize(("reads", "writes", "total"), [(1, 1, 1 << 16), (2, 1, 1 << 20), (3, 0, 5 << 20)])
def test_streams_move_about_as_much_as_asked(reads: int, writes: int, total: int) -> None:
    streams = Streams(reads, writes, total, 1)
    assert len(streams.arms) == (2 if writes else 1)
    for arm in streams.arms.values():
        arm()
    calls = max(1, round(streams.bytes / total))
    assert abs(streams.bytes / calls - total) < total / 4
    assert streams.bytes >= limits._SMALL_BYTES or calls == 1


def test_loops_of_arithmetic_compile_for_a_cpu_with_all_units() -> None:
    import llvmlite.binding as llvm  # noqa: PLC0415

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple("x86_64-unknown-linux-gnu").create_target_machine(cpu="sapphirerapids")
    for loop, instruction in (
        (limit_loops.fp32_fma(64), "vfmadd"),
        (limit_loops.bf16_dot(), "vdpbf16ps"),
        (limit_loops.int8_dot(), "vpdpbusd"),
        (limit_loops.amx_dot("amx_bf16_dot", "tdpbf16ps", 32), "tdpbf16ps"),
        (limit_loops.amx_dot("amx_int8_dot", "tdpbssd", 64), "tdpbssd"),
    ):
        module = llvm.parse_assembly(loop.text)
        module.triple = "x86_64-unknown-linux-gnu"
        assert instruction in machine.emit_assembly(module)
