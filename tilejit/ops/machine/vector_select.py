"""Comparisons and selections on the vector unit: a bit for each element, the first in the lowest bit.

Source: CANN documentation of Compare, CompareScalar, Select and vsel (V220): a comparison works on whole
repeats of 256 bytes; Select modes 1 and 2 use 8 KB of UB that belong to the system. Its table of special
values: every comparison with NaN is false, "not equal" too, where IEEE 754 has it true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum

import numpy as np

from tilejit.ir.machine import Access, Instruction, MachineFacts, Memory
from tilejit.ir.opdef import AttributeKind, AttributeSpec, OpDef, TypeQuery
from tilejit.ir.types import FP16, FP32, INT32, UINT8, Type
from tilejit.ops.machine.lanes import (
    STRIDES,
    Lanes,
    check_lanes,
    for_each_step,
    is_repeated,
    lane_accesses,
    lanes_of,
    vector_pointers,
)
from tilejit.ops.machine.rules import (
    AIV_ONLY,
    REPEAT_BYTES,
    check_aligned,
    elements,
    flat,
    machine_op,
    on,
    pointer_type,
    require_elements,
)
from tilejit.ops.type_rules import require, require_scalar
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Pipe, Space

_MASK_REGISTER_BYTES = 16
_BITS_PER_BYTE = 8


class Predicate(Enum):
    """What a comparison asks."""

    EQ = "eq"
    NE = "ne"
    LT = "lt"
    LE = "le"
    GT = "gt"
    GE = "ge"


def _differ(lhs: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    return np.asarray((lhs < rhs) | (lhs > rhs))


_HOLDS: Mapping[Predicate, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    Predicate.EQ: np.equal,
    Predicate.NE: _differ,
    Predicate.LT: np.less,
    Predicate.LE: np.less_equal,
    Predicate.GT: np.greater,
    Predicate.GE: np.greater_equal,
}


def _sources(instruction: Instruction) -> tuple[str, ...]:
    """The pointer operands that are compared or selected from."""
    return tuple(name for name in ("src", "src0", "src1") if name in instruction.values)


def _operand_lanes(instruction: Instruction) -> list[Lanes]:
    """The lanes of the sources; ``strides`` also have a place for dst, whose bits are contiguous."""
    return [lanes_of(instruction, name, i + 1) for i, name in enumerate(_sources(instruction))]


def _bit_bytes(instruction: Instruction) -> int:
    repeats = instruction.integer("repeats") if is_repeated(instruction) else 1
    return instruction.integer("count") * repeats // _BITS_PER_BYTE


def _infer_compare(name: str, sources: tuple[str, ...]) -> Callable[[TypeQuery], tuple[Type, ...]]:
    def infer(query: TypeQuery) -> tuple[Type, ...]:
        element = vector_pointers(name, query, sources, (FP16, FP32, INT32))
        bits = pointer_type(query, name, "dst", Space.UB).element
        require(bits == UINT8, f"dst of {name} takes bits in uint8; got {bits}")
        predicate = query.attributes["predicate"]
        fits = element != INT32 or predicate is Predicate.EQ
        require(fits, f"{name} compares int32 for equality only on V220")
        if "src1" not in sources:
            require_scalar(name, "scalar", query.type("scalar"), (element,))
        return ()

    return infer


def _compare_accesses(instruction: Instruction) -> tuple[Access, ...]:
    found = [flat(Space.UB, instruction.integer("dst"), _bit_bytes(instruction), is_write=True)]
    for lanes in _operand_lanes(instruction):
        found += lanes.accesses(is_write=False)
    return tuple(found)


def _compare(instruction: Instruction, memory: Memory) -> None:
    values = [lanes.read(memory) for lanes in _operand_lanes(instruction)]
    if "scalar" in instruction.values:
        values.append(np.asarray(instruction.values["scalar"], values[0].dtype))
    predicate = instruction.op.attributes["predicate"]
    assert isinstance(predicate, Predicate)
    with np.errstate(invalid="ignore"):
        bits = _HOLDS[predicate](*values).reshape(-1)
    target = memory.view(Space.UB, instruction.integer("dst"), _bit_bytes(instruction))
    target[...] = np.packbits(bits, bitorder="little")


def _check_compare(instruction: Instruction, target: AscendTarget) -> Iterator[str]:
    sources = _sources(instruction)
    yield from check_lanes(instruction, ("dst", *sources), target)
    size = instruction.integer("count") * instruction.element(sources[0]).itemsize
    if size % REPEAT_BYTES:
        yield f"{instruction.op.name} compares {size} bytes, not a multiple of {REPEAT_BYTES}"


def _compare_op(name: str, sources: tuple[str, ...], scalar: bool, summary: str) -> OpDef:
    facts = MachineFacts(on(Pipe.V), AIV_ONLY, sources, ("dst",), _compare_accesses, _compare, _check_compare)
    operands = ("dst", *sources, *(("scalar",) if scalar else ()), "count", "repeats?")
    predicate = AttributeSpec("predicate", AttributeKind.ENUM, Predicate)
    return machine_op(name, operands, _infer_compare(name, sources), facts, (predicate, STRIDES), summary)


VCMP = _compare_op("vcmp", ("src0", "src1"), False, "bits of dst = src0 predicate src1; NaN is not even ne")
VCMPS = _compare_op("vcmps", ("src",), True, "bits of dst = src predicate scalar; NaN is not even ne")


class SelectMode(Enum):
    """Where vsel takes its bits and its second source from."""

    REGISTER = "register"  # mode 0: the bits of one repeat, for every repeat; two tensors
    SCALAR = "scalar"  # mode 1: a bit for each element; a tensor and a scalar
    TENSOR = "tensor"  # mode 2: a bit for each element; two tensors


def _infer_select(query: TypeQuery) -> tuple[Type, ...]:
    scalar = query.optional_type("scalar")
    mode = query.attributes["mode"]
    assert isinstance(mode, SelectMode)
    wants_scalar = mode is SelectMode.SCALAR
    given = (scalar is not None, query.optional_type("src1") is not None)
    second = "scalar" if wants_scalar else "src1"
    require(given == (wants_scalar, not wants_scalar), f"vsel with mode={mode.value} takes {second} alone")
    names = ("dst", "src0") if wants_scalar else ("dst", "src0", "src1")
    element = vector_pointers("vsel", query, names, (FP16, FP32))
    require_elements("vsel", "mask", pointer_type(query, "vsel", "mask", Space.UB).element, (UINT8,))
    if scalar is not None:
        require_scalar("vsel", "scalar", scalar, (element,))
    return ()


def _select_names(instruction: Instruction) -> tuple[str, ...]:
    return ("dst", "src0", "src1") if "src1" in instruction.values else ("dst", "src0")


def _mask_bytes(instruction: Instruction) -> int:
    if instruction.op.attributes["mode"] is SelectMode.REGISTER:
        return _MASK_REGISTER_BYTES
    if not is_repeated(instruction):
        return -(-instruction.integer("count") // _BITS_PER_BYTE)
    return instruction.integer("repeats") * _lanes_per_repeat(instruction) // _BITS_PER_BYTE


def _lanes_per_repeat(instruction: Instruction) -> int:
    return REPEAT_BYTES // instruction.element("dst").itemsize


def _chosen(instruction: Instruction, memory: Memory) -> np.ndarray:
    """For every repeat and element, whether it comes from src0."""
    raw = elements(memory, Space.UB, instruction.integer("mask"), UINT8, _mask_bytes(instruction))
    bits = np.unpackbits(raw, bitorder="little").astype(bool)
    count, lanes = instruction.integer("count"), _lanes_per_repeat(instruction)
    if instruction.op.attributes["mode"] is SelectMode.REGISTER:
        return np.resize(bits[:lanes], count).reshape(1, count)
    if not is_repeated(instruction):
        return bits[:count].reshape(1, count)
    return bits.reshape(instruction.integer("repeats"), lanes)[:, :count]


def _select_accesses(instruction: Instruction) -> tuple[Access, ...]:
    mask = flat(Space.UB, instruction.integer("mask"), _mask_bytes(instruction), is_write=False)
    return (*lane_accesses(instruction, _select_names(instruction)), mask)


def _select(instruction: Instruction, memory: Memory) -> None:
    chosen = _chosen(instruction, memory)

    def step(lanes: Sequence[Lanes]) -> None:
        values = [source.read(memory) for source in lanes[1:]]
        if len(values) == 1:
            values.append(np.asarray(instruction.values["scalar"], values[0].dtype))
        lanes[0].write(memory, np.where(chosen, values[0], values[1]))

    lanes = [lanes_of(instruction, name, i) for i, name in enumerate(_select_names(instruction))]
    for_each_step(lanes, step)


def _check_select(instruction: Instruction, target: AscendTarget) -> Iterator[str]:
    yield from check_lanes(instruction, _select_names(instruction), target)
    yield from check_aligned(instruction, "mask", target.spaces[Space.UB].alignment_bytes)


VSEL = machine_op(
    "vsel",
    ("dst", "mask", "src0", "src1?", "scalar?", "count", "repeats?"),
    _infer_select,
    MachineFacts(
        on(Pipe.V), AIV_ONLY, ("mask", "src0", "src1"), ("dst",), _select_accesses, _select, _check_select
    ),
    (AttributeSpec("mode", AttributeKind.ENUM, SelectMode, default=SelectMode.REGISTER), STRIDES),
    "dst = src0 where the mask's bit is set, else src1 or scalar; mode=register: the bits of one repeat "
    "serve every repeat",
)

SELECT_OPS: tuple[OpDef, ...] = (VCMP, VCMPS, VSEL)
