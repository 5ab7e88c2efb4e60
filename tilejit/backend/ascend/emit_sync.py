"""Flags, barriers and registers as AscendC statements: one row per op by name.

Source: HardEvent, SetFlag, WaitFlag, PipeBarrier, CrossCoreSetFlag, SetAtomicAdd, SetDeqScale,
SetSaturationFlag of CANN's documentation of the AscendC API (V220).
"""

from __future__ import annotations

from collections.abc import Mapping

from tilejit.backend.ascend.emit_context import Emission, Emitter, cpp_type
from tilejit.diagnostics import InternalError
from tilejit.ir.core import Op
from tilejit.ir.types import DType
from tilejit.ops.machine.sync import StoreAtomic
from tilejit.target.spaces import Pipe

_PIPES: Mapping[Pipe, str] = {pipe: f"PIPE_{pipe.value.upper()}" for pipe in Pipe}
_EVENTS: frozenset[str] = frozenset(
    {
        "MTE2_MTE1", "MTE1_MTE2", "MTE1_M", "M_MTE1", "MTE3_MTE1", "MTE1_MTE3", "MTE2_M", "M_MTE2", "M_FIX",
        "FIX_M", "MTE3_MTE2", "MTE2_MTE3", "S_MTE2", "MTE2_S", "S_MTE3", "MTE3_S", "MTE2_FIX", "FIX_MTE2",
        "FIX_S", "M_S", "FIX_MTE3", "MTE1_FIX", "FIX_MTE1", "MTE2_V", "V_MTE2", "MTE3_V", "V_MTE3", "S_V",
        "V_S",
    }
)  # fmt: skip


def _pipe(op: Op, name: str) -> str:
    pipe = op.attributes[name]
    assert isinstance(pipe, Pipe)
    return _PIPES[pipe]


def _flag(function: str) -> Emitter:
    def emit(emission: Emission, op: Op) -> str:
        source, target = (_pipe(op, name).removeprefix("PIPE_") for name in ("source", "target"))
        event = f"{source}_{target}"
        if event not in _EVENTS:
            raise InternalError(f"V220 has no flags from {source} to {target}", op.location)
        return f"AscendC::{function}<AscendC::HardEvent::{event}>({emission.operand(op, 'id')})"

    return emit


def _emit_pipe_barrier(emission: Emission, op: Op) -> str:
    return f"AscendC::PipeBarrier<{_pipe(op, 'pipe')}>()"


def _emit_cross_set(emission: Emission, op: Op) -> str:
    mode = f"0x{op.attributes['mode']}"
    return f"AscendC::CrossCoreSetFlag<{mode}, {_pipe(op, 'pipe')}>({emission.operand(op, 'flag')})"


def _emit_cross_wait(emission: Emission, op: Op) -> str:
    return f"AscendC::CrossCoreWaitFlag({emission.operand(op, 'flag')})"


def _emit_set_atomic(emission: Emission, op: Op) -> str:
    kind, element = op.attributes["kind"], op.attributes["element"]
    assert isinstance(kind, StoreAtomic) and isinstance(element, DType)
    if kind is StoreAtomic.NONE:
        return "AscendC::SetAtomicNone()"
    return f"AscendC::SetAtomic{kind.value.capitalize()}<{cpp_type(element, op)}>()"


def _emit_set_deq_scale(emission: Emission, op: Op) -> str:
    return f"AscendC::SetDeqScale({emission.operand(op, 'scale')})"


def _emit_set_saturation(emission: Emission, op: Op) -> str:
    switch = "true" if op.attributes["on"] else "false"
    return f"AscendC::SetSaturationFlag<AscendC::SaturationMode::FLOAT>({switch})"


SYNC_EMITTERS: Mapping[str, Emitter] = {
    "set_flag": _flag("SetFlag"),
    "wait_flag": _flag("WaitFlag"),
    "pipe_barrier": _emit_pipe_barrier,
    "cross_set": _emit_cross_set,
    "cross_wait": _emit_cross_wait,
    "set_atomic": _emit_set_atomic,
    "set_deq_scale": _emit_set_deq_scale,
    "set_saturation": _emit_set_saturation,
}
