"""The API model finds what hardware would punish: races, deadlocks, flags, limits, memories."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from tests.backend.ascend.model import Snippet, SnippetLibrary

_START = "InitSocState(); LocalTensor<float> x(TPosition::VECIN, 0, 1024), y(TPosition::VECIN, 4096, 1024);"
_GLOBAL = "GlobalTensor<float> g; g.SetGlobalBuffer(reinterpret_cast<float *>(gm));"
_END = "PipeBarrier<PIPE_ALL>();"
_LOAD = "DataCopyPad(x, g, {1, 400, 0, 0, 0}, {false, 0, 0, 0.0f});"


def aiv(body: str) -> Snippet:
    """Statements between the usual first and last ones."""
    return Snippet(aiv=f"{_START}\n{_GLOBAL}\n{body}\n{_END}")


def mixed(aic: str, aiv: str) -> Snippet:
    """Statements of the AIC and of both AIVs."""
    return Snippet(aic=f"InitSocState(); {aic} {_END}", aiv=f"InitSocState(); {_GLOBAL} {aiv} {_END}", aivs=2)


# Argument orders that the vendor's headers accept, word for word.
_VENDOR = """
LocalTensor<float> z(TPosition::VECCALC, 8192, 1024);
LocalTensor<uint8_t> m(TPosition::VECCALC, 12288, 1024);
LocalTensor<uint32_t> byteOffsets(TPosition::VECCALC, 16384, 256);
GlobalTensor<float> G = g; const int n = 64, rep = 4, dstBlk = 1, dstRep = 8;
DataCopyPad(x,G,DataCopyExtParams{4,100,28,0,0},DataCopyPadExtParams<float>{true,0,7,0.0f});
PipeBarrier<PIPE_ALL>(); Duplicate(y, 1.0f, 1024); Duplicate(z, 2.0f, 1024); Duplicate(byteOffsets, 0u, 256);
Duplicate(x, 3.0f, 1024);
PipeBarrier<PIPE_V>(); WholeReduceMax(x,y,64,16,1,1,8,ReduceOrder::ORDER_ONLY_VALUE);
PipeBarrier<PIPE_V>(); BlockReduceMax(x,y,16,64,1,1,8); PipeBarrier<PIPE_V>(); Brcb(x,y,rep,{dstBlk,dstRep});
PipeBarrier<PIPE_V>(); Compare(m,x,y,CMPMODE::LT,n);
PipeBarrier<PIPE_V>(); Select(x,m,y,z,SELMODE::VSEL_TENSOR_TENSOR_MODE,n);
PipeBarrier<PIPE_V>(); Gather(x,y,byteOffsets,0,n);
"""
_QUEUES = """TPipe pipe; TQue<TPosition::VECIN, 1> in; TQue<TPosition::VECOUT, 2> out;
pipe.InitBuffer(in, 1, 400); pipe.InitBuffer(out, 2, 400);
"""
_THROUGH_QUEUES = """for (int i = 0; i < 3; ++i) {
auto a = in.AllocTensor<float>(); DataCopyPad(a, g, {1, 400, 0, 0, 0}, {false, 0, 0, 0.0f}); in.EnQue(a);
a = in.DeQue<float>(); auto b = out.AllocTensor<float>(); Adds(b, a, 1.0f, 100); in.FreeTensor(a);
out.EnQue(b); b = out.DeQue<float>(); DataCopyPad(g[128 * (i + 1)], b, {1, 400, 0, 0, 0});
out.FreeTensor(b); }
"""
_GOOD: dict[str, Snippet] = {
    "queues": Snippet(aiv=_GLOBAL + _QUEUES + _THROUGH_QUEUES),
    "the vendor's argument orders": aiv(_VENDOR),
    "a wait issued before its set": aiv(
        "WaitFlag<HardEvent::MTE2_V>(0); Adds(y, x, 1.0f, 100);" + _LOAD + "SetFlag<HardEvent::MTE2_V>(0);"
    ),
    "scalars behind a flag": aiv(
        _LOAD + "SetFlag<HardEvent::MTE2_S>(1); WaitFlag<HardEvent::MTE2_S>(1);"
        "const float v = x.GetValue(2); SetFlag<HardEvent::S_V>(0); WaitFlag<HardEvent::S_V>(0);"
        "Adds(y, y, v, 0);"
    ),
    "credits across cores": mixed(
        "CrossCoreSetFlag<2, PIPE_MTE3>(0); CrossCoreWaitFlag(1);",
        "CrossCoreWaitFlag(0); CrossCoreSetFlag<2, PIPE_MTE3>(1);",
    ),
}
_ADD = "Add(y, x, x, 100);"
_BAD: dict[str, tuple[Snippet, str]] = {
    "no InitSocState": (Snippet(aiv=_END), "PipeBarrier: comes before InitSocState"),
    "a buffer that never goes back": (
        Snippet(
            aiv=_GLOBAL + _QUEUES + _THROUGH_QUEUES.replace("in.FreeTensor(a);", "")
        ),
        "AllocTensor: no buffer of the queue is free",
    ),
    "a queue read before it is filled": (
        Snippet(aiv=_QUEUES + "in.AllocTensor<float>(); in.DeQue<float>();"), "DeQue: the queue is empty"
    ),
    "a tensor of another queue": (
        Snippet(aiv=_QUEUES + "auto a = in.AllocTensor<float>(); out.EnQue(a);"),
        "EnQue: the tensor is none that this queue has given out",
    ),
    "work past a queue": (
        Snippet(
            aiv=_GLOBAL + _QUEUES + "auto a = in.AllocTensor<float>(); "
            "DataCopyPad(a, g, {1, 400, 0, 0, 0}, {false, 0, 0, 0.0f}); Adds(a, a, 1.0f, 100);"
        ),
        "Adds: race in UB at byte 0: the write of pipe MTE2",
    ),
    "no last barrier": (Snippet(aiv="InitSocState();"), "does not end in PipeBarrier<PIPE_ALL>"),
    "no flag": (aiv(_LOAD + _ADD), "Add: race in UB at byte 0: the write of pipe MTE2 of block 0 AIV0"),
    "no barrier": (
        aiv("Adds(x, y, 1.0f, 8); Adds(y, x, 1.0f, 8);"), "Adds: race in UB at byte 0: the write of pipe V"
    ),
    "write over a read": (
        aiv("Adds(y, x, 1.0f, 8);" + _LOAD), "DataCopyPad: race in UB at byte 0: the read of pipe V"
    ),
    "flag set twice": (aiv("SetFlag<HardEvent::MTE2_V>(0);" * 2), "SetFlag: the flag is raised already"),
    "flag never set": (
        aiv("WaitFlag<HardEvent::MTE2_V>(3);"), "PipeBarrier: pipe V waits for a flag that nothing will raise"
    ),
    "flag left": (aiv("SetFlag<HardEvent::V_MTE3>(2);"), "flag 2 from V to MTE3 is still raised at the end"),
    "scalar waits for nothing": (aiv("WaitFlag<HardEvent::V_S>(0);"), "the scalar unit waits for a flag"),
    "event id": (aiv("SetFlag<HardEvent::MTE2_V>(8);"), "SetFlag: the event id is 8, outside 0 to 7"),
    "misaligned": (aiv("Add(y[1], x, x, 8);"), "Add: dst is at byte 4100, not a multiple of 32"),
    "past the tensor": (aiv("Add(y, y, y, 1025);"), "bytes 4096 to 8196 of UB leave the tensor"),
    "past GM": (aiv(_LOAD.replace("g,", "g[1000],")), "outside every argument"),
    "past the memory": (
        aiv("LocalTensor<float> z(TPosition::VECIN, 192 * 1024 - 32, 9);"), "does not lie in UB"
    ),
    "a field too narrow": (
        aiv("DataCopyPad(x, g, {65537, 4, 0, 0, 0}, {false, 0, 0, 0.0f});"),
        "DataCopyExtParams.blockCount is 65537, which its field of 16 bits cannot hold",
    ),
    "repeats": (aiv("Add(y, x, x, 64, 256, {1, 1, 1, 8, 8, 8});"), "Add: repeatTime is 256, outside 0"),
    "lanes": (aiv("Add(y, x, x, 65, 1, {1, 1, 1, 8, 8, 8});"), "Add: mask is 65, outside 1 to 64"),
    "overlap": (aiv("Add(x[8], x, y, 64);"), "a source overlaps the target without being"),
    "compared bytes": (
        aiv("LocalTensor<uint8_t> m(TPosition::VECIN, 8192, 64); Compare(m, x, y, CMPMODE::LT, 63);"),
        "Compare: 252 bytes are compared, not a multiple of 256",
    ),
    "cube on the vector core": (
        Snippet(aiv="InitSocState(); PipeBarrier<PIPE_M>();"), "PipeBarrier: this core has no pipe M"
    ),
    "UB to L1": (
        aiv("LocalTensor<float> l(TPosition::A1, 0, 64); DataCopy(l, x, DataCopyParams(1, 1, 0, 0));"),
        "V220 has no path from UB to L1",
    ),
    "a unit flag without an order": (
        Snippet(
            aic="InitSocState(); LocalTensor<float> c(TPosition::CO1, 0, 256); GlobalTensor<float> g;"
            "Fixpipe<float, float, CFG_ROW_MAJOR>(g, c, {16, 16, 16, 16, false, QuantMode_t::NoQuant, 0, 1,"
            "0, 0, 3});",
            aivs=0,
        ),
        "a unit flag needs SetMMRowMajor to GM",
    ),
    "atomic left on": (aiv("SetAtomicAdd<float>();"), "stores are still atomic at the end"),
    "cores waiting for each other": (
        mixed("CrossCoreWaitFlag(0);", "CrossCoreWaitFlag(1);"), "deadlock"
    ),
    "one AIV sets": (
        mixed("CrossCoreWaitFlag(0);", "if (GetSubBlockIdx() == 0) { CrossCoreSetFlag<2, PIPE_MTE3>(0); }"),
        "deadlock",
    ),
    "a cross-core flag left": (
        mixed("CrossCoreSetFlag<2, PIPE_MTE3>(4);", ""), "cross-core flag 4 is not zero at the end"
    ),
    "too many sets": (
        mixed("for (int i = 0; i < 16; ++i) CrossCoreSetFlag<2, PIPE_MTE3>(4);", ""), "of flag 4 of block 0"
    ),
    "AIVs write one place": (
        mixed(
            "CrossCoreSetFlag<2, PIPE_MTE3>(4);",
            "CrossCoreWaitFlag(4); LocalTensor<float> x(TPosition::VECOUT, 0, 64);"
            "DataCopyPad(g, x, {1, 32, 0, 0, 0});",
        ),
        "race in GM at byte 0: the write of pipe MTE3 of block 0 AIV0",
    ),
}  # fmt: skip


@cache
def library() -> SnippetLibrary:
    return SnippetLibrary(_GOOD | {name: snippet for name, (snippet, _) in _BAD.items()})


@pytest.mark.parametrize("name", _GOOD)
def test_what_is_right_runs(name: str) -> None:
    assert library().run(name, np.zeros(1024, np.float32)) == ""


@pytest.mark.parametrize("name", _BAD)
def test_what_is_wrong_is_reported(name: str) -> None:
    assert _BAD[name][1] in library().run(name, np.zeros(1024, np.float32))
