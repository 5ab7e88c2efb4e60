"""Conversion of element types on the vector unit.

V220 has a Cast for some pairs only; ``cast_route`` finds a way for the others. fp32 to int8 goes through
int16: straight to fp16 would round twice (126.97 becomes 127.0 in fp16, so 127 toward zero instead of 126).

Source: CANN documentation of Cast and SetDeqScale, pairs and rounding modes of V220; the devkit's headers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tilejit.ir.machine import Access, Instruction, MachineFacts, Memory
from tilejit.ir.opdef import AttributeKind, AttributeSpec, OpDef, TypeQuery
from tilejit.ir.types import BF16, FP16, FP32, INT8, INT16, INT32, INT64, UINT8, DType, Type
from tilejit.ops.machine.conversions import Round, convert, round_to_float
from tilejit.ops.machine.lanes import STRIDES, Lanes, check_lanes, for_each_step, lane_accesses, lanes_of
from tilejit.ops.machine.rules import AIV_ONLY, machine_op, on, pointer_type, require_integers
from tilejit.ops.type_rules import require
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Pipe, Space

_EXACT = (Round.NONE,)
_WHOLE = (Round.RINT, Round.FLOOR, Round.CEIL, Round.ROUND, Round.TRUNC)
_ANY = (Round.NONE, *_WHOLE)

CAST_MODES: Mapping[tuple[DType, DType], tuple[Round, ...]] = {
    (FP16, FP32): _EXACT,
    (FP16, INT32): _WHOLE,
    (FP16, INT16): _WHOLE,
    (FP16, INT8): _ANY,
    (FP16, UINT8): _ANY,
    (FP32, FP32): _WHOLE,
    (FP32, FP16): (*_ANY, Round.ODD),
    (FP32, BF16): _WHOLE,
    (FP32, INT16): _WHOLE,
    (FP32, INT32): _WHOLE,
    (FP32, INT64): _WHOLE,
    (BF16, FP32): _EXACT,
    (BF16, INT32): _WHOLE,
    (INT16, FP16): _ANY,
    (INT16, FP32): _EXACT,
    (INT32, FP32): (Round.NONE, Round.RINT),
    (INT32, INT16): _EXACT,
    (INT32, INT64): _EXACT,
    (INT32, FP16): _EXACT,  # times the scale of set_deq_scale
    (INT64, INT32): _EXACT,
    (INT64, FP32): (Round.RINT,),
    (INT8, FP16): _EXACT,
    (UINT8, FP16): _EXACT,
}
"""The pairs that one vcast converts, with the rounding modes it takes; int4, and integers to fp32 by another
rule than the nearest, are left out.
"""

_TYPES = tuple(dict.fromkeys(dtype for pair in CAST_MODES for dtype in pair))


def cast_route(source: DType, target: DType) -> tuple[DType, ...] | None:
    """The shortest chain of casts from ``source`` to ``target`` that rounds once, both ends included.

    None where V220 has no way. Only the first cast that narrows rounds, or the ones behind it are exact for
    all values that fit the target. int32 to fp16 goes through fp32, so that no scale is needed.
    """
    routes: list[tuple[DType, ...]] = [(source,)]
    seen = {source}
    while routes:
        route = routes.pop(0)
        if route[-1] == target:
            return route
        for following in _TYPES:
            step = (route[-1], following)
            scales = step == (INT32, FP16)
            rounds_twice = step == (FP32, FP16) and not target.is_floating()
            if step in CAST_MODES and following not in seen and not scales and not rounds_twice:
                seen.add(following)
                routes.append((*route, following))
    return None


def _infer(query: TypeQuery) -> tuple[Type, ...]:
    to, source = (pointer_type(query, "vcast", name, Space.UB).element for name in ("dst", "src"))
    require_integers(query, "vcast", "count", "repeats")
    modes = CAST_MODES.get((source, to))
    if modes is None:
        route = cast_route(source, to)
        way = "there is no way" if route is None else f"go {' -> '.join(map(str, route))}"
        require(False, f"V220 has no cast from {source} to {to}; {way}")
        return ()
    mode = query.attributes["round"]
    assert isinstance(mode, Round)
    spelled = ", ".join(each.value for each in modes)
    require(mode in modes, f"the cast from {source} to {to} takes round={spelled}; got {mode.value}")
    return ()


_POINTERS = ("dst", "src")


def _accesses(instruction: Instruction) -> tuple[Access, ...]:
    return lane_accesses(instruction, _POINTERS)


def _execute(instruction: Instruction, memory: Memory) -> None:
    source, to = instruction.element("src"), instruction.element("dst")
    mode = instruction.op.attributes["round"]
    assert isinstance(mode, Round)
    state = instruction.state

    def step(lanes: Sequence[Lanes]) -> None:
        target, values = lanes[0], lanes[1].read(memory)
        if (source, to) == (INT32, FP16):
            with np.errstate(all="ignore"):
                scaled = values.astype(np.float32) * np.float32(state.deq_scale)
            target.write(memory, round_to_float(scaled, FP16, Round.RINT, state.saturates))
            return
        target.write(memory, convert(values, source, to, mode, state.saturates))

    for_each_step([lanes_of(instruction, name, i) for i, name in enumerate(_POINTERS)], step)


def _check(instruction: Instruction, target: AscendTarget) -> Iterator[str]:
    return check_lanes(instruction, _POINTERS, target)


VCAST = machine_op(
    "vcast",
    ("dst", "src", "count", "repeats?"),
    _infer,
    MachineFacts(on(Pipe.V), AIV_ONLY, ("src",), ("dst",), _accesses, _execute, _check),
    (AttributeSpec("round", AttributeKind.ENUM, Round, default=Round.NONE), STRIDES),
    "dst = src converted to its element type; integers clamp; int32 to fp16 is times the deq scale",
)

CAST_OPS: tuple[OpDef, ...] = (VCAST,)
