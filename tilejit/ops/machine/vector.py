"""Elementwise instructions of the vector unit.

Two forms, told apart by the operand ``repeats``:

- count form (no ``repeats``): the first ``count`` elements of dst and sources, contiguous.
- repeat form: ``repeats`` steps of eight 32-byte blocks, of which the first ``count`` elements take part. The
  attribute ``strides`` gives, for dst and then each source, the distance of neighbouring blocks, then for
  each the distance of neighbouring repeats, all in blocks: block strides first, repeat strides after. A
  source stride of 0 repeats a block: broadcast.

Source: CANN documentation of the AscendC basic vector API (V220): repeat times and repeat strides up to 255.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tilejit.ir.machine import Access, Instruction, MachineFacts, Memory
from tilejit.ir.opdef import AttributeKind, AttributeSpec, OpDef, TypeQuery
from tilejit.ir.types import FP16, FP32, INT16, INT32, DType, Type
from tilejit.ops.machine.rules import (
    AIV_ONLY,
    BLOCK_BYTES,
    REPEAT_BYTES,
    attribute_ints,
    check_aligned,
    check_range,
    elements,
    flat,
    machine_op,
    on,
    pointer_type,
    require_elements,
    require_integers,
    strided,
)
from tilejit.ops.type_rules import require, require_scalar
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Pipe, Space

Meaning = Callable[..., np.ndarray]
ARITHMETIC = (INT16, FP16, INT32, FP32)
FLOATING = (FP16, FP32)
BLOCKS_PER_REPEAT = REPEAT_BYTES // BLOCK_BYTES
MAX_REPEATS = 255
STRIDES = AttributeSpec("strides", AttributeKind.INTS, default=())


def vector_pointers(op: str, query: TypeQuery, names: Sequence[str], allowed: Sequence[DType]) -> None:
    """Check that operands point into UB at one element type that the unit computes."""
    types = [pointer_type(query, op, name, Space.UB).element for name in names]
    require_elements(op, names[0], types[0], allowed)
    for name, type in zip(names[1:], types[1:], strict=True):
        require(
            type == types[0], f"{op} needs one element type; {names[0]} has {types[0]}, {name} has {type}"
        )
    require_integers(query, op, "count", "repeats")


def is_repeated(instruction: Instruction) -> bool:
    """Whether an instruction is in the repeat form."""
    return "repeats" in instruction.values


def operand_dims(instruction: Instruction, position: int, size: int) -> tuple[tuple[int, int], ...]:
    """The grid of elements of the ``position``-th pointer operand: repeats, then blocks, then elements.

    Units: strides in bytes; ``size`` is the width of an element. A partial last block is not on the grid;
    lanes are cut by ``lane_view``.
    """
    strides = attribute_ints(instruction.op, "strides")
    pointers = len(strides) // 2
    block, repeat = strides[position], strides[pointers + position]
    return (
        (instruction.integer("repeats"), repeat * BLOCK_BYTES),
        (BLOCKS_PER_REPEAT, block * BLOCK_BYTES),
        (BLOCK_BYTES // size, size),
    )


def lane_view(
    instruction: Instruction, memory: Memory, name: str, position: int, lanes_of: DType
) -> tuple[np.ndarray, ...]:
    """Views of the lanes that take part: whole blocks of every repeat, then the rest of the last block.

    ``lanes_of`` is the widest element type of the instruction, which sets how many lanes a block has.
    """
    dtype = instruction.element(name)
    start, count = instruction.integer(name), instruction.integer("count")
    if not is_repeated(instruction):
        return (elements(memory, Space.UB, start, dtype, count),)
    (repeats, repeat), (_, block), _ = operand_dims(instruction, position, dtype.itemsize)
    lanes = BLOCK_BYTES // lanes_of.itemsize
    whole, rest = divmod(count, lanes)
    views = []
    if whole:
        dims = ((repeats, repeat), (whole, block), (lanes, dtype.itemsize))
        views.append(strided(memory, Space.UB, start, dtype, dims))
    if rest:
        dims = ((repeats, repeat), (1, block), (rest, dtype.itemsize))
        views.append(strided(memory, Space.UB, start + whole * block, dtype, dims))
    return tuple(views)


def vector_accesses(names: Sequence[str]) -> Callable[[Instruction], tuple[Access, ...]]:
    """The accesses of an instruction whose pointer operands are ``names``, the destination first."""

    def accesses(instruction: Instruction) -> tuple[Access, ...]:
        return tuple(
            access
            for position, name in enumerate(names)
            for access in _lanes_access(instruction, position, name, is_write=position == 0)
        )

    return accesses


def _lanes_access(instruction: Instruction, position: int, name: str, *, is_write: bool) -> Iterator[Access]:
    size = instruction.element(name).itemsize
    start, count = instruction.integer(name), instruction.integer("count")
    if not is_repeated(instruction):
        yield flat(Space.UB, start, count * size, is_write=is_write)
        return
    (repeats, repeat), (_, block), _ = operand_dims(instruction, position, size)
    whole, rest = divmod(count, BLOCK_BYTES // size)
    if whole:
        yield Access(Space.UB, start, BLOCK_BYTES, is_write, ((repeats, repeat), (whole, block)))
    if rest:
        yield Access(Space.UB, start + whole * block, rest * size, is_write, ((repeats, repeat),))


def vector_check(names: Sequence[str]) -> Callable[[Instruction, AscendTarget], Iterator[str]]:
    """The limits that all vector instructions share."""

    def check(instruction: Instruction, target: AscendTarget) -> Iterator[str]:
        for name in names:
            yield from check_aligned(instruction, name, target.spaces[Space.UB].alignment_bytes)
        if not is_repeated(instruction):
            yield from check_range(instruction, "count", 0, (1 << 31) - 1)
            return
        lanes = REPEAT_BYTES // max(instruction.element(name).itemsize for name in names)
        yield from check_range(instruction, "count", 1, lanes)
        yield from check_range(instruction, "repeats", 0, MAX_REPEATS)
        strides = attribute_ints(instruction.op, "strides")
        if len(strides) != 2 * len(names):
            yield f"{instruction.op.name} needs {2 * len(names)} strides, got {len(strides)}"
        for stride in strides:
            if not 0 <= stride <= MAX_REPEATS:
                yield f"a stride of {instruction.op.name} is {stride}, outside 0 to {MAX_REPEATS}"

    return check


def computed(meaning: Meaning, *values: np.ndarray) -> np.ndarray:
    """Apply ``meaning`` as the unit does: fp16 is computed in fp32 and rounded once; integers wrap."""
    dtype = values[0].dtype
    with np.errstate(all="ignore"):
        if dtype == np.float16:
            return meaning(*(value.astype(np.float32) for value in values)).astype(dtype)
        return meaning(*values).astype(dtype)


def _elementwise(
    name: str, names: tuple[str, ...], allowed: Sequence[DType], meaning: Meaning, scalar: bool, summary: str
) -> OpDef:
    def infer(query: TypeQuery) -> tuple[Type, ...]:
        vector_pointers(name, query, names, allowed)
        if scalar:
            element = pointer_type(query, name, "dst", Space.UB).element
            require_scalar(name, "scalar", query.type("scalar"), (element,))
        return ()

    def execute(instruction: Instruction, memory: Memory) -> None:
        widest = instruction.element("dst")
        views = [lane_view(instruction, memory, n, i, widest) for i, n in enumerate(names)]
        for target, *sources in zip(*views, strict=True):
            if scalar:
                sources.append(np.asarray(instruction.values["scalar"], target.dtype))
            target[...] = computed(meaning, *sources)

    operands = (*names, *(("scalar",) if scalar else ()), "count", "repeats?")
    facts = MachineFacts(
        on(Pipe.V), AIV_ONLY, names[1:], names[:1], vector_accesses(names), execute, vector_check(names)
    )
    return machine_op(name, operands, infer, facts, (STRIDES,), summary)


def _binary(name: str, allowed: Sequence[DType], meaning: Meaning, summary: str) -> OpDef:
    return _elementwise(name, ("dst", "src0", "src1"), allowed, meaning, False, summary)


def _unary(name: str, allowed: Sequence[DType], meaning: Meaning, summary: str) -> OpDef:
    return _elementwise(name, ("dst", "src"), allowed, meaning, False, summary)


def _with_scalar(name: str, allowed: Sequence[DType], meaning: Meaning, summary: str) -> OpDef:
    return _elementwise(name, ("dst", "src"), allowed, meaning, True, summary)


VADD = _binary("vadd", ARITHMETIC, np.add, "dst = src0 + src1")
VSUB = _binary("vsub", ARITHMETIC, np.subtract, "dst = src0 - src1")
VMUL = _binary("vmul", ARITHMETIC, np.multiply, "dst = src0 * src1")
VMAX = _binary("vmax", ARITHMETIC, np.maximum, "dst = larger of src0 and src1")
VMIN = _binary("vmin", ARITHMETIC, np.minimum, "dst = smaller of src0 and src1")
VDIV = _binary("vdiv", FLOATING, np.divide, "dst = src0 / src1")
VADDS = _with_scalar("vadds", ARITHMETIC, np.add, "dst = src + scalar")
VMULS = _with_scalar("vmuls", ARITHMETIC, np.multiply, "dst = src * scalar")
VMAXS = _with_scalar("vmaxs", ARITHMETIC, np.maximum, "dst = larger of src and scalar")
VMINS = _with_scalar("vmins", ARITHMETIC, np.minimum, "dst = smaller of src and scalar")
VEXP = _unary("vexp", FLOATING, np.exp, "dst = e to the power of src")
VLN = _unary("vln", FLOATING, np.log, "dst = natural logarithm of src")
VSQRT = _unary("vsqrt", FLOATING, np.sqrt, "dst = square root of src")
VRSQRT = _unary("vrsqrt", FLOATING, lambda x: 1 / np.sqrt(x), "dst = 1 / square root of src")
VREC = _unary("vrec", FLOATING, lambda x: 1 / x, "dst = 1 / src")
VABS = _unary("vabs", FLOATING, np.abs, "dst = absolute value of src")
VRELU = _unary("vrelu", (FP16, INT32, FP32), lambda x: np.maximum(x, 0), "dst = src where positive, else 0")

VECTOR_OPS: tuple[OpDef, ...] = (
    VADD, VSUB, VMUL, VMAX, VMIN, VDIV, VADDS, VMULS, VMAXS, VMINS,
    VEXP, VLN, VSQRT, VRSQRT, VREC, VABS, VRELU,
)  # fmt: skip
