"""Vector instructions that place elements: copies, fills, broadcasts, gathers, transpositions.

Source: CANN documentation of DataCopy (UB to UB), Duplicate, Brcb, Gather, Transpose, TransDataTo5HD (V220).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tilejit.diagnostics import InternalError
from tilejit.ir.machine import Access, Instruction, MachineFacts, Memory
from tilejit.ir.opdef import AttributeKind, AttributeSpec, OpDef, TypeQuery
from tilejit.ir.types import BF16, FP16, FP32, INT8, INT16, INT32, UINT8, UINT16, UINT32, DType, Type
from tilejit.ops.machine.lanes import (
    STRIDES,
    check_lanes,
    check_strides,
    lanes_of,
    vector_pointers,
)
from tilejit.ops.machine.rules import (
    AIV_ONLY,
    BLOCK_BYTES,
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

_WORDS = (INT16, UINT16, FP16, BF16, INT32, UINT32, FP32)
_HALF_WORDS = (INT16, UINT16, FP16, BF16)
_BYTES = (INT8, UINT8)
_SIDE = 16
_BRCB_ELEMENTS = 8


# copy_ub


def _infer_copy(query: TypeQuery) -> tuple[Type, ...]:
    vector_pointers("copy_ub", query, ("dst", "src"), (*_BYTES, *_WORDS))
    require_integers(query, "copy_ub", "rows", "src_gap", "dst_gap")
    return ()


def _copy_dims(instruction: Instruction, name: str) -> tuple[tuple[int, int], tuple[int, int]]:
    size = instruction.integer("count") * instruction.element("dst").itemsize
    pitch = size + instruction.optional(f"{name}_gap", 0) * BLOCK_BYTES
    return (instruction.optional("rows", 1), pitch), (size, 1)


def _copy_accesses(instruction: Instruction) -> tuple[Access, ...]:
    found = []
    for name in ("src", "dst"):
        rows, (size, _) = _copy_dims(instruction, name)
        found.append(Access(Space.UB, instruction.integer(name), size, name == "dst", (rows,)))
    return tuple(found)


def _copy(instruction: Instruction, memory: Memory) -> None:
    source, target = (
        strided(memory, Space.UB, instruction.integer(name), UINT8, _copy_dims(instruction, name))
        for name in ("src", "dst")
    )
    target[...] = source


def _check_copy(instruction: Instruction, target: AscendTarget) -> Iterator[str]:
    for name in ("dst", "src"):
        yield from check_aligned(instruction, name, target.spaces[Space.UB].alignment_bytes)
    size = instruction.integer("count") * instruction.element("dst").itemsize
    most = target.limits.copy_blocks
    if size % BLOCK_BYTES or size > most * BLOCK_BYTES:
        yield f"copy_ub moves rows of {size} bytes, not 1 to {most} blocks of {BLOCK_BYTES}"
    yield from check_range(instruction, "rows", 0, target.limits.copy_rows)
    for name in ("src_gap", "dst_gap"):
        yield from check_range(instruction, name, 0, most)


COPY_UB = machine_op(
    "copy_ub",
    ("dst", "src", "count", "rows?", "src_gap?", "dst_gap?"),
    _infer_copy,
    MachineFacts(on(Pipe.V), AIV_ONLY, ("src",), ("dst",), _copy_accesses, _copy, _check_copy),
    summary="UB to UB: rows of count elements, whole blocks; gaps in blocks from end to start",
)


# vdup


def _infer_dup(query: TypeQuery) -> tuple[Type, ...]:
    element = vector_pointers("vdup", query, ("dst",), _WORDS)
    require_scalar("vdup", "scalar", query.type("scalar"), (element,))
    return ()


def _dup_accesses(instruction: Instruction) -> tuple[Access, ...]:
    return tuple(lanes_of(instruction, "dst", 0).accesses(is_write=True))


def _dup(instruction: Instruction, memory: Memory) -> None:
    lanes = lanes_of(instruction, "dst", 0)
    value = np.asarray(instruction.values["scalar"], lanes.dtype.numpy)
    lanes.write(memory, np.full((lanes.repeats, lanes.count), value))


def _check_dup(instruction: Instruction, target: AscendTarget) -> Iterator[str]:
    return check_lanes(instruction, ("dst",), target)


VDUP = machine_op(
    "vdup",
    ("dst", "scalar", "count", "repeats?"),
    _infer_dup,
    MachineFacts(on(Pipe.V), AIV_ONLY, (), ("dst",), _dup_accesses, _dup, _check_dup),
    (STRIDES,),
    "dst = scalar everywhere; strides as in lanes, of dst alone",
)


# vbrcb


def _infer_brcb(query: TypeQuery) -> tuple[Type, ...]:
    vector_pointers("vbrcb", query, ("dst", "src"), _WORDS)
    return ()


def _brcb_dims(instruction: Instruction) -> tuple[tuple[int, int], tuple[int, int]]:
    block, repeat = attribute_ints(instruction.op, "strides")
    repeats = (instruction.integer("repeats"), repeat * BLOCK_BYTES)
    return repeats, (_BRCB_ELEMENTS, block * BLOCK_BYTES)


def _brcb_accesses(instruction: Instruction) -> tuple[Access, ...]:
    size = instruction.integer("repeats") * _BRCB_ELEMENTS * instruction.element("src").itemsize
    return (
        flat(Space.UB, instruction.integer("src"), size, is_write=False),
        Access(Space.UB, instruction.integer("dst"), BLOCK_BYTES, True, _brcb_dims(instruction)),
    )


def _brcb(instruction: Instruction, memory: Memory) -> None:
    dtype, repeats = instruction.element("src"), instruction.integer("repeats")
    source = elements(memory, Space.UB, instruction.integer("src"), dtype, repeats * _BRCB_ELEMENTS)
    dims = (*_brcb_dims(instruction), (BLOCK_BYTES // dtype.itemsize, dtype.itemsize))
    target = strided(memory, Space.UB, instruction.integer("dst"), dtype, dims)
    target[...] = source.reshape(repeats, _BRCB_ELEMENTS, 1)


def _check_brcb(instruction: Instruction, target: AscendTarget) -> Iterator[str]:
    for name in ("dst", "src"):
        yield from check_aligned(instruction, name, target.spaces[Space.UB].alignment_bytes)
    yield from check_range(instruction, "repeats", 0, target.limits.repeats)
    yield from check_strides(instruction, 2, target)


VBRCB = machine_op(
    "vbrcb",
    ("dst", "src", "repeats"),
    _infer_brcb,
    MachineFacts(on(Pipe.V), AIV_ONLY, ("src",), ("dst",), _brcb_accesses, _brcb, _check_brcb),
    (AttributeSpec("strides", AttributeKind.INTS, default=(1, 8)),),
    "each element fills a block, eight a repeat; strides: of dst's blocks and of its repeats, in blocks",
)


# vgather


def _infer_gather(query: TypeQuery) -> tuple[Type, ...]:
    vector_pointers("vgather", query, ("dst", "src"), _WORDS)
    offsets = pointer_type(query, "vgather", "offsets", Space.UB).element
    require_elements("vgather", "offsets", offsets, (UINT32,))
    require_integers(query, "vgather", "base", "src_bytes")
    return ()


def _gather_accesses(instruction: Instruction) -> tuple[Access, ...]:
    count = instruction.integer("count")
    return (
        flat(
            Space.UB, instruction.integer("dst"), count * instruction.element("dst").itemsize, is_write=True
        ),
        flat(Space.UB, instruction.integer("src"), instruction.integer("src_bytes"), is_write=False),
        flat(Space.UB, instruction.integer("offsets"), count * UINT32.itemsize, is_write=False),
    )


def _gather(instruction: Instruction, memory: Memory) -> None:
    dtype, count = instruction.element("dst"), instruction.integer("count")
    size, limit = dtype.itemsize, instruction.integer("src_bytes")
    raw = elements(memory, Space.UB, instruction.integer("offsets"), UINT32, count)
    offsets = raw.astype(np.int64) + instruction.integer("base")
    if count and (offsets.min() < 0 or offsets.max() + size > limit or (offsets % size).any()):
        where = f"offsets {offsets.min()} to {offsets.max()}"
        raise InternalError(
            f"vgather reads at {where}, outside its {limit} bytes or unaligned", instruction.op.location
        )
    source = memory.view(Space.UB, instruction.integer("src"), limit // size * size).view(dtype.numpy)
    elements(memory, Space.UB, instruction.integer("dst"), dtype, count)[...] = source[offsets // size]


def _check_gather(instruction: Instruction, target: AscendTarget) -> Iterator[str]:
    for name in ("dst", "src", "offsets"):
        yield from check_aligned(instruction, name, target.spaces[Space.UB].alignment_bytes)
    yield from check_range(instruction, "count", 0, (1 << 31) - 1)
    yield from check_range(instruction, "base", 0, (1 << 32) - 1)


VGATHER = machine_op(
    "vgather",
    ("dst", "src", "offsets", "base", "count", "src_bytes"),
    _infer_gather,
    MachineFacts(
        on(Pipe.V), AIV_ONLY, ("src", "offsets"), ("dst",), _gather_accesses, _gather, _check_gather
    ),
    summary="dst[i] = the element base + offsets[i] bytes behind src; none lies past src_bytes",
)


# Transpositions


def _infer_transpose(query: TypeQuery) -> tuple[Type, ...]:
    vector_pointers("vtranspose16", query, ("dst", "src"), _HALF_WORDS)
    return ()


def _square(instruction: Instruction, memory: Memory, name: str) -> np.ndarray:
    start = instruction.integer(name)
    return elements(memory, Space.UB, start, instruction.element(name), _SIDE * _SIDE).reshape(_SIDE, _SIDE)


def _square_accesses(instruction: Instruction) -> tuple[Access, ...]:
    size = _SIDE * _SIDE * instruction.element("dst").itemsize
    return tuple(
        flat(Space.UB, instruction.integer(name), size, is_write=name == "dst") for name in ("src", "dst")
    )


def _transpose(instruction: Instruction, memory: Memory) -> None:
    _square(instruction, memory, "dst")[...] = _square(instruction, memory, "src").T.copy()


def _check_addresses(instruction: Instruction, target: AscendTarget) -> Iterator[str]:
    for name in ("dst", "src"):
        yield from check_aligned(instruction, name, target.spaces[Space.UB].alignment_bytes)


VTRANSPOSE16 = machine_op(
    "vtranspose16",
    ("dst", "src"),
    _infer_transpose,
    MachineFacts(on(Pipe.V), AIV_ONLY, ("src",), ("dst",), _square_accesses, _transpose, _check_addresses),
    summary="a 16x16 matrix of 16-bit elements, transposed",
)


def _infer_5hd(query: TypeQuery) -> tuple[Type, ...]:
    element = vector_pointers("vtranspose5hd", query, ("dst", "src"), (*_BYTES, *_WORDS))
    names = ("repeats", "src_stride", "dst_stride", "src_repeat", "dst_repeat")
    require_integers(query, "vtranspose5hd", *names)
    highs = query.attributes["src_high"] or query.attributes["dst_high"]
    require(not highs or element in _BYTES, f"vtranspose5hd: halves of blocks are for bytes; got {element}")
    return ()


def _rows_5hd(instruction: Instruction, name: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Repeats and the 16 blocks of one side."""
    repeat = instruction.optional(f"{name}_repeat", 0) * BLOCK_BYTES
    stride = instruction.integer(f"{name}_stride") * BLOCK_BYTES
    return (instruction.integer("repeats"), repeat), (_SIDE, stride)


def _run_5hd(instruction: Instruction, name: str) -> tuple[int, int]:
    """Offset and length of what takes part of each block: 16 bytes where elements are bytes."""
    if instruction.element(name) not in _BYTES:
        return 0, BLOCK_BYTES
    high = instruction.op.attributes[f"{name}_high"]
    return (_SIDE if high else 0), _SIDE


def _accesses_5hd(instruction: Instruction) -> tuple[Access, ...]:
    found = []
    for name in ("src", "dst"):
        offset, run = _run_5hd(instruction, name)
        start = instruction.integer(name) + offset
        found.append(Access(Space.UB, start, run, name == "dst", _rows_5hd(instruction, name)))
    return tuple(found)


def _view_5hd(instruction: Instruction, memory: Memory, name: str) -> np.ndarray:
    offset, run = _run_5hd(instruction, name)
    dtype: DType = instruction.element(name)
    dims = (*_rows_5hd(instruction, name), (run // dtype.itemsize, dtype.itemsize))
    return strided(memory, Space.UB, instruction.integer(name) + offset, dtype, dims)


def _transpose_5hd(instruction: Instruction, memory: Memory) -> None:
    source = _view_5hd(instruction, memory, "src").copy()
    target = _view_5hd(instruction, memory, "dst")
    columns = source.transpose(0, 2, 1)  # [repeat, column, 16]; a 32-bit column fills two blocks
    target[...] = columns.reshape(target.shape)


def _check_5hd(instruction: Instruction, target: AscendTarget) -> Iterator[str]:
    yield from _check_addresses(instruction, target)
    yield from check_range(instruction, "repeats", 1, target.limits.repeats)
    for name in ("src_repeat", "dst_repeat"):
        yield from check_range(instruction, name, 0, target.limits.copy_blocks)


VTRANSPOSE5HD = machine_op(
    "vtranspose5hd",
    ("dst", "src", "repeats", "src_stride", "dst_stride", "src_repeat?", "dst_repeat?"),
    _infer_5hd,
    MachineFacts(on(Pipe.V), AIV_ONLY, ("src",), ("dst",), _accesses_5hd, _transpose_5hd, _check_5hd),
    (
        AttributeSpec("src_high", AttributeKind.BOOL, default=False),
        AttributeSpec("dst_high", AttributeKind.BOOL, default=False),
    ),
    "16 blocks of src, transposed, to 16 blocks of dst: column c to block c (16 bits), to blocks 2c and "
    "2c + 1 (32 bits), to a half of block c from a half of each block (8 bits); strides in blocks",
)

VECTOR_MOVE_OPS: tuple[OpDef, ...] = (COPY_UB, VDUP, VBRCB, VGATHER, VTRANSPOSE16, VTRANSPOSE5HD)
