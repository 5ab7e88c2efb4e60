"""Ordering: flags between the pipes of a core, barriers, flags between cores; and registers that change
stores.

Source: CANN documentation of SetFlag/WaitFlag, PipeBarrier, CrossCoreSetFlag/CrossCoreWaitFlag, SetAtomicAdd,
SetDeqScale, SetSaturationFlag (V220).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from tilejit.ir.core import Op
from tilejit.ir.machine import MachineFacts
from tilejit.ir.opdef import AttributeKind, AttributeSpec, OpDef, TypeQuery
from tilejit.ir.types import BF16, FP16, FP32, INT8, INT16, INT32, DType, Type
from tilejit.ops.machine.rules import AIV_ONLY, BOTH_CORES, machine_op, on, require_integers
from tilejit.ops.type_rules import require, require_scalar
from tilejit.target.spaces import Pipe


class StoreAtomic(Enum):
    """How stores to GM combine with what is there."""

    NONE = "none"
    ADD = "add"
    MAX = "max"
    MIN = "min"


def _pipe_attribute(name: str) -> AttributeSpec:
    return AttributeSpec(name, AttributeKind.ENUM, Pipe)


def _attribute_pipe(name: str) -> Callable[[Op], Pipe]:
    def pipe(op: Op) -> Pipe:
        value = op.attributes[name]
        assert isinstance(value, Pipe)
        return value

    return pipe


def _infer_flag(query: TypeQuery) -> tuple[Type, ...]:
    require_integers(query, "a flag", "id")
    source, target = query.attributes["source"], query.attributes["target"]
    require(
        source is not target and Pipe.ALL not in (source, target),
        f"a flag orders two different pipes; got {source} and {target}",
    )
    return ()


SET_FLAG = machine_op(
    "set_flag",
    ("id",),
    _infer_flag,
    MachineFacts(_attribute_pipe("source"), BOTH_CORES),
    (_pipe_attribute("source"), _pipe_attribute("target")),
    "raise flag id of the pair once all earlier work of pipe source is done; it must not be raised already",
)
WAIT_FLAG = machine_op(
    "wait_flag",
    ("id",),
    _infer_flag,
    MachineFacts(_attribute_pipe("target"), BOTH_CORES),
    (_pipe_attribute("source"), _pipe_attribute("target")),
    "hold pipe target until flag id of the pair is raised, then lower it",
)


def _infer_barrier(query: TypeQuery) -> tuple[Type, ...]:
    require(query.attributes["pipe"] is not Pipe.S, "the scalar unit needs no barrier of its own")
    return ()


PIPE_BARRIER = machine_op(
    "pipe_barrier",
    (),
    _infer_barrier,
    MachineFacts(_attribute_pipe("pipe"), BOTH_CORES),
    (_pipe_attribute("pipe"),),
    "later work of a pipe starts when its earlier work is done; pipe=all: of every pipe, and issue waits too",
)


def _infer_cross_set(query: TypeQuery) -> tuple[Type, ...]:
    require_integers(query, "cross_set", "flag")
    require(query.attributes["mode"] in (0, 1, 2), "cross_set: mode must be 0, 1 or 2")
    pipe = query.attributes["pipe"]
    require(pipe not in (Pipe.S, Pipe.ALL), f"cross_set: {pipe} is not a pipe that can set a cross-core flag")
    return ()


CROSS_SET = machine_op(
    "cross_set",
    ("flag",),
    _infer_cross_set,
    MachineFacts(_attribute_pipe("pipe"), BOTH_CORES),
    (AttributeSpec("mode", AttributeKind.INT, default=2), _pipe_attribute("pipe")),
    "count up a cross-core flag when earlier work of the pipe is done; mode 2: AIC -> both AIVs, AIVs -> AIC "
    "when both have set; mode 1: the two AIVs; mode 0: all cores of this kind",
)


def _infer_cross_wait(query: TypeQuery) -> tuple[Type, ...]:
    require_integers(query, "cross_wait", "flag")
    return ()


CROSS_WAIT = machine_op(
    "cross_wait",
    ("flag",),
    _infer_cross_wait,
    MachineFacts(on(Pipe.S), BOTH_CORES),
    summary="hold issue on this core until its counter of a cross-core flag is above 0, then count down",
)


def _infer_nothing(query: TypeQuery) -> tuple[Type, ...]:
    return ()


_SUMMED = (INT8, INT16, FP16, BF16, INT32, FP32)


def _infer_atomic(query: TypeQuery) -> tuple[Type, ...]:
    element = query.attributes["element"]
    assert isinstance(element, DType)
    spelled = ", ".join(map(str, _SUMMED))
    require(element in _SUMMED, f"set_atomic takes {spelled} on V220; got {element}")
    return ()


SET_ATOMIC = machine_op(
    "set_atomic",
    (),
    _infer_atomic,
    MachineFacts(on(Pipe.S), BOTH_CORES),
    (
        AttributeSpec("kind", AttributeKind.ENUM, StoreAtomic),
        AttributeSpec("element", AttributeKind.ELEMENT, default=FP16),
    ),
    "how later stores of MTE3 and FIX combine with GM, in elements of the given type",
)


def _infer_deq_scale(query: TypeQuery) -> tuple[Type, ...]:
    require_scalar("set_deq_scale", "scale", query.type("scale"), _DEQ_TYPES)
    return ()


_DEQ_TYPES: tuple[DType, ...] = (FP16,)
SET_DEQ_SCALE = machine_op(
    "set_deq_scale",
    ("scale",),
    _infer_deq_scale,
    MachineFacts(on(Pipe.S), AIV_ONLY),
    summary="the factor of later casts from int32 to fp16",
)
SET_SATURATION = machine_op(
    "set_saturation",
    (),
    _infer_nothing,
    MachineFacts(on(Pipe.S), BOTH_CORES),
    (AttributeSpec("on", AttributeKind.BOOL),),
    "whether inf and NaN that later arithmetic, sums in GM, casts and fixpipes make of 16-bit floats turn "
    "into the largest number or 0",
)

SYNC_OPS: tuple[OpDef, ...] = (
    SET_FLAG, WAIT_FLAG, PIPE_BARRIER, CROSS_SET, CROSS_WAIT, SET_ATOMIC, SET_DEQ_SCALE, SET_SATURATION,
)  # fmt: skip
