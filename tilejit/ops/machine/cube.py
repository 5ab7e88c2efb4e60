"""The cube unit and the way out of its accumulator.

An accumulator tile in L0C is NZ of 16x16 fractals of 32 bits: element (i, j) lies at element
``(j // 16 * column_stride + i) * 16 + j % 16``, where mmad's column stride is m rounded up to 16.

Source: CANN documentation of Mmad, MmadParams, Fixpipe, FixpipeParamsV220, SetQuantPre (V220).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum

import numpy as np

from tilejit.ir.machine import Access, Instruction, MachineFacts, Memory
from tilejit.ir.opdef import AttributeKind, AttributeSpec, OpDef, TypeQuery
from tilejit.ir.types import BF16, FP16, FP32, INT1, INT8, INT32, UINT8, UINT64, DType, Type
from tilejit.ops.machine.conversions import Round, clamp_to_integers, round_to_float, scaled
from tilejit.ops.machine.move import check_combined, store_combined
from tilejit.ops.machine.rules import (
    AIC_ONLY,
    BLOCK_BYTES,
    FRACTAL_BYTES,
    FRACTAL_ROWS,
    check_aligned,
    check_range,
    elements,
    flat,
    machine_op,
    on,
    pointer_type,
    require_integers,
    strided,
)
from tilejit.ops.type_rules import require, require_scalar
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Pipe, Space

_ACCUMULATOR_BYTES = 4
_ACCUMULATOR_FRACTAL = FRACTAL_ROWS * FRACTAL_ROWS * _ACCUMULATOR_BYTES
_PRODUCTS: dict[DType, DType] = {FP16: FP32, BF16: FP32, FP32: FP32, INT8: INT32}


def _fractals(extent: int, unit: int = FRACTAL_ROWS) -> int:
    return -(-extent // unit)


# mmad


def _infer_mmad(query: TypeQuery) -> tuple[Type, ...]:
    to = pointer_type(query, "mmad", "dst", Space.L0C).element
    a, b = (
        pointer_type(query, "mmad", "a", Space.L0A).element,
        pointer_type(query, "mmad", "b", Space.L0B).element,
    )
    spelled = ", ".join(f"({source}, {source}, {product})" for source, product in _PRODUCTS.items())
    require(a == b and _PRODUCTS.get(a) == to, f"mmad takes (a, b, dst) of {spelled}; got ({a}, {b}, {to})")
    require_integers(query, "mmad", "m", "n", "k")
    init = query.optional_type("init")
    if init is not None:
        require_scalar("mmad", "init", init, (INT1,))
    if query.optional_type("bias") is not None:
        bias = pointer_type(query, "mmad", "bias", Space.BT).element
        require(bias == to, f"bias of mmad must have the elements of dst, {to}; got {bias}")
    require(query.attributes["unit_flag"] in (0, 2, 3), "mmad: unit_flag must be 0, 2 or 3")
    require(
        not query.attributes["k_aligned"] or a == FP32, f"mmad: k_aligned is for fp32; the operands are {a}"
    )
    return ()


def mmad_extents(instruction: Instruction) -> tuple[int, int, int, int]:
    """Fractals along m, n and k of one mmad, and the elements of a fractal along k."""
    c0 = BLOCK_BYTES // instruction.element("a").itemsize
    k = instruction.integer("k")
    bands = 2 * _fractals(k, 2 * c0) if instruction.op.attributes["k_aligned"] else _fractals(k, c0)
    return _fractals(instruction.integer("m")), _fractals(instruction.integer("n")), bands, c0


def starts_from_zero(instruction: Instruction) -> bool:
    """Whether an mmad ignores what its destination holds, and has no bias."""
    if "init" in instruction.values:
        return bool(instruction.values["init"])
    return bool(instruction.op.attributes["init"])


def _is_gemv(instruction: Instruction) -> bool:
    """With m = 1 the unit reads the left operand as a plain row."""
    return instruction.integer("m") == 1


def _mmad_accesses(instruction: Instruction) -> tuple[Access, ...]:
    m, n, k, _ = mmad_extents(instruction)
    if not m or not n or not k:
        return ()
    start = instruction.integer("dst")
    grid: tuple[tuple[int, int], ...] = ()
    if _is_gemv(instruction):
        row = instruction.integer("k") * instruction.element("a").itemsize
        a_bytes = _fractals(row, BLOCK_BYTES) * BLOCK_BYTES
        grid = ((n, _ACCUMULATOR_FRACTAL),)
        run = FRACTAL_ROWS * _ACCUMULATOR_BYTES
    else:
        a_bytes, run = m * k * FRACTAL_BYTES, m * n * _ACCUMULATOR_FRACTAL
    accesses = [
        flat(Space.L0A, instruction.integer("a"), a_bytes, is_write=False),
        flat(Space.L0B, instruction.integer("b"), n * k * FRACTAL_BYTES, is_write=False),
        Access(Space.L0C, start, run, True, grid),
    ]
    if not starts_from_zero(instruction):
        if "bias" in instruction.values:
            size = n * FRACTAL_ROWS * _ACCUMULATOR_BYTES
            accesses.append(flat(Space.BT, instruction.integer("bias"), size, is_write=False))
        else:
            accesses.append(Access(Space.L0C, start, run, False, grid))
    return tuple(accesses)


def _left_operand(instruction: Instruction, memory: Memory) -> np.ndarray:
    """The left operand in whole bands of rows, true k columns."""
    m, _, bands, c0 = mmad_extents(instruction)
    dtype, k, start = instruction.element("a"), instruction.integer("k"), instruction.integer("a")
    if _is_gemv(instruction):
        return elements(memory, Space.L0A, start, dtype, k).reshape(1, k)
    fractals = elements(memory, Space.L0A, start, dtype, m * bands * FRACTAL_ROWS * c0)
    matrix = fractals.reshape(m, bands, FRACTAL_ROWS, c0).transpose(0, 2, 1, 3)
    return matrix.reshape(m * FRACTAL_ROWS, bands * c0)[:, :k]


def _right_operand(instruction: Instruction, memory: Memory) -> np.ndarray:
    """The right operand, true k rows, whole fractals of columns."""
    _, n, bands, c0 = mmad_extents(instruction)
    dtype, start = instruction.element("b"), instruction.integer("b")
    fractals = elements(memory, Space.L0B, start, dtype, n * bands * FRACTAL_ROWS * c0)
    matrix = fractals.reshape(bands, n, FRACTAL_ROWS, c0).transpose(0, 3, 1, 2)
    return matrix.reshape(bands * c0, n * FRACTAL_ROWS)[: instruction.integer("k")]


def _product(a: np.ndarray, b: np.ndarray, to: DType) -> np.ndarray:
    with np.errstate(all="ignore"):
        if to == INT32:  # exact in fp64: |product| <= 2**14, k <= 4095
            return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)
        return a.astype(np.float32) @ b.astype(np.float32)


def _mmad(instruction: Instruction, memory: Memory) -> None:
    m, n, k, _ = mmad_extents(instruction)
    if not m or not n or not k:
        return
    to = instruction.element("dst")
    result = _product(_left_operand(instruction, memory), _right_operand(instruction, memory), to)
    row = FRACTAL_ROWS * _ACCUMULATOR_BYTES
    rows = result.shape[0]
    dims = ((n, m * FRACTAL_ROWS * row), (rows, row), (FRACTAL_ROWS, _ACCUMULATOR_BYTES))
    target = strided(memory, Space.L0C, instruction.integer("dst"), to, dims)
    summand = result.reshape(rows, n, FRACTAL_ROWS).transpose(1, 0, 2)
    with np.errstate(all="ignore"):
        if not starts_from_zero(instruction):
            start: np.ndarray = target
            if "bias" in instruction.values:
                bias = elements(memory, Space.BT, instruction.integer("bias"), to, n * FRACTAL_ROWS)
                start = bias.reshape(n, 1, FRACTAL_ROWS)
            summand = summand + start
        target[...] = summand.astype(to.numpy)


def _check_mmad(instruction: Instruction, target: AscendTarget) -> Iterator[str]:
    for name in ("m", "n", "k"):
        yield from check_range(instruction, name, 0, target.limits.mmad_extent)
    for name in ("dst", "a", "b"):
        yield from check_aligned(instruction, name, target.spaces[instruction.space(name)].alignment_bytes)


MMAD = machine_op(
    "mmad",
    ("dst", "a", "b", "m", "n", "k", "init?", "bias?"),
    _infer_mmad,
    MachineFacts(on(Pipe.M), AIC_ONLY, ("a", "b", "bias"), ("dst",), _mmad_accesses, _mmad, _check_mmad),
    (
        AttributeSpec("init", AttributeKind.BOOL, default=True),
        AttributeSpec("unit_flag", AttributeKind.INT, default=0),
        AttributeSpec("k_aligned", AttributeKind.BOOL, default=False),
    ),
    "dst = a @ b (init), or added to dst or to the bias; operand init overrides the attribute; the rows and "
    "columns that fill fractals up are computed too, those of k are not; m = 1: a is a plain row; k_aligned: "
    "fp32 operands lie in pairs of fractals along k",
)


# fixpipe


class Quant(Enum):
    """What fixpipe does to elements on their way out."""

    NONE = "none"  # fp32 to fp32, int32 to int32
    F32_F16 = "f32_f16"
    F32_BF16 = "f32_bf16"
    DEQ_F16 = "deq_f16"  # int32 * scale to fp16
    F32_B8 = "f32_b8"  # fp32 * scale to int8 or uint8
    REQ_B8 = "req_b8"  # int32 * scale to int8 or uint8
    VECTOR_DEQ_F16 = "vdeq_f16"  # the same with a scale for each column
    VECTOR_F32_B8 = "vf32_b8"
    VECTOR_REQ_B8 = "vreq_b8"


_BYTES = (INT8, UINT8)
_CONVERSIONS: dict[Quant, tuple[tuple[DType, ...], tuple[DType, ...]]] = {
    Quant.NONE: ((FP32, INT32), (FP32, INT32)),
    Quant.F32_F16: ((FP32,), (FP16,)),
    Quant.F32_BF16: ((FP32,), (BF16,)),
    Quant.DEQ_F16: ((INT32,), (FP16,)),
    Quant.F32_B8: ((FP32,), _BYTES),
    Quant.REQ_B8: ((INT32,), _BYTES),
    Quant.VECTOR_DEQ_F16: ((INT32,), (FP16,)),
    Quant.VECTOR_F32_B8: ((FP32,), _BYTES),
    Quant.VECTOR_REQ_B8: ((INT32,), _BYTES),
}
_VECTOR_QUANTS = (Quant.VECTOR_DEQ_F16, Quant.VECTOR_F32_B8, Quant.VECTOR_REQ_B8)
_SCALAR_QUANTS = (Quant.DEQ_F16, Quant.F32_B8, Quant.REQ_B8)


def _infer_fixpipe(op: str, space: Space) -> Callable[[TypeQuery], tuple[Type, ...]]:
    def infer(query: TypeQuery) -> tuple[Type, ...]:
        to = pointer_type(query, op, "dst", space).element
        source = pointer_type(query, op, "src", Space.L0C).element
        quant = query.attributes["quant"]
        assert isinstance(quant, Quant)
        sources, targets = _CONVERSIONS[quant]
        fits = source in sources and to in targets and (quant is not Quant.NONE or source == to)
        require(fits, f"{op} with quant={quant.value} cannot make {to} from {source}")
        narrows = quant is not Quant.NONE
        require(space is Space.GM or narrows, f"{op} must narrow: L0C goes to L1 as 16 or 8 bits only")
        require_integers(query, op, "n", "m", "src_stride", "dst_stride")
        scale, scales = query.optional_type("scale"), query.optional_type("scales")
        require(
            (scale is not None) == (quant in _SCALAR_QUANTS), f"{op}: quant={quant.value} and scale disagree"
        )
        require(
            (scales is not None) == (quant in _VECTOR_QUANTS),
            f"{op}: quant={quant.value} and scales disagree",
        )
        if scale is not None:
            require_scalar(op, "scale", scale, (FP32,))
        if scales is not None:
            element = pointer_type(query, op, "scales", Space.L1).element
            require(element == UINT64, f"scales of {op} are fp32 bits in uint64; got {element}")
        require(query.attributes["unit_flag"] in (0, 2, 3), f"{op}: unit_flag must be 0, 2 or 3")
        return ()

    return infer


def _source_dims(instruction: Instruction) -> tuple[tuple[int, int], ...]:
    row = FRACTAL_ROWS * _ACCUMULATOR_BYTES
    columns = _fractals(instruction.integer("n"))
    return ((columns, instruction.integer("src_stride") * row), (instruction.integer("m"), row))


def _read_accesses(instruction: Instruction) -> tuple[Access, ...]:
    (columns, stride), (m, row) = _source_dims(instruction)
    accesses = [Access(Space.L0C, instruction.integer("src"), m * row, False, ((columns, stride),))]
    if "scales" in instruction.values:
        size = instruction.integer("n") * UINT64.itemsize
        accesses.append(flat(Space.L1, instruction.integer("scales"), size, is_write=False))
    return tuple(accesses)


def _scales(instruction: Instruction, memory: Memory) -> np.ndarray | float:
    if "scales" in instruction.values:
        raw = elements(memory, Space.L1, instruction.integer("scales"), UINT64, instruction.integer("n"))
        return (raw & np.uint64(0xFFFFFFFF)).astype(np.uint32).view(np.float32)
    return float(instruction.values.get("scale", 1.0))


def _converted(instruction: Instruction, memory: Memory) -> np.ndarray:
    """The m x n elements of the tile as fixpipe puts them out."""
    source, to = instruction.element("src"), instruction.element("dst")
    dims = (*_source_dims(instruction), (FRACTAL_ROWS, _ACCUMULATOR_BYTES))
    fractals = strided(memory, Space.L0C, instruction.integer("src"), source, dims)
    m, n = instruction.integer("m"), instruction.integer("n")
    columns, _, width = fractals.shape
    tile = fractals.transpose(1, 0, 2).reshape(m, columns * width)[:, :n]
    quant = instruction.op.attributes["quant"]
    if instruction.op.attributes["relu"]:
        tile = np.maximum(tile, tile.dtype.type(0))
    if quant is Quant.NONE:
        return tile
    if quant in _SCALAR_QUANTS or quant in _VECTOR_QUANTS:
        tile = scaled(tile, _scales(instruction, memory))
    if to in _BYTES:
        return clamp_to_integers(np.rint(tile), to)
    return round_to_float(tile, to, Round.RINT, instruction.state.saturates)


def _fixpipe_accesses(instruction: Instruction) -> tuple[Access, ...]:
    size = instruction.element("dst").itemsize
    grid = ((instruction.integer("m"), instruction.integer("dst_stride") * size),)
    run = instruction.integer("n") * size
    return (
        *_read_accesses(instruction),
        Access(Space.GM, instruction.integer("dst"), run, True, grid),
    )


def _fixpipe(instruction: Instruction, memory: Memory) -> None:
    to = instruction.element("dst")
    m, n, size = instruction.integer("m"), instruction.integer("n"), to.itemsize
    dims = ((m, instruction.integer("dst_stride") * size), (n, size))
    target = strided(memory, Space.GM, instruction.integer("dst"), to, dims)
    store_combined(target, _converted(instruction, memory), instruction.state, to)


def _check_source(instruction: Instruction, target: AscendTarget) -> Iterator[str]:
    yield from check_range(instruction, "n", 0, target.limits.fixpipe_columns)
    yield from check_range(instruction, "src_stride", 0, target.limits.fixpipe_stride)
    yield from check_aligned(instruction, "src", 64)
    if "scales" in instruction.values:
        yield from check_aligned(instruction, "scales", target.spaces[Space.L1].alignment_bytes)


def _check_fixpipe(instruction: Instruction, target: AscendTarget) -> Iterator[str]:
    yield from _check_source(instruction, target)
    yield from check_combined(instruction)
    yield from check_range(instruction, "m", 0, target.limits.fixpipe_rows)
    yield from check_range(instruction, "dst_stride", 1, (1 << 32) - 1)


_FIXPIPE_ATTRIBUTES = (
    AttributeSpec("quant", AttributeKind.ENUM, Quant, default=Quant.NONE),
    AttributeSpec("relu", AttributeKind.BOOL, default=False),
    AttributeSpec("unit_flag", AttributeKind.INT, default=0),
)
_FIXPIPE_OPERANDS = ("dst", "src", "n", "m", "src_stride", "dst_stride", "scale?", "scales?")

FIXPIPE = machine_op(
    "fixpipe",
    _FIXPIPE_OPERANDS,
    _infer_fixpipe("fixpipe", Space.GM),
    MachineFacts(
        on(Pipe.FIX), AIC_ONLY, ("src", "scales"), ("dst",), _fixpipe_accesses, _fixpipe, _check_fixpipe
    ),
    _FIXPIPE_ATTRIBUTES,
    "an m x n tile from L0C to rows of GM: src_stride is its rows with those between columns (16 elements "
    "each), dst_stride elements of a row of dst; scale for all or scales by column where quant has them",
)


def _nz_dims(instruction: Instruction) -> tuple[tuple[int, int], ...]:
    """Blocks of the NZ tile in L1: columns of C0 elements, rows."""
    c0 = BLOCK_BYTES // instruction.element("dst").itemsize
    columns = _fractals(instruction.integer("n"), c0)
    pitch = instruction.integer("dst_stride") * BLOCK_BYTES
    return ((columns, pitch), (instruction.integer("m"), BLOCK_BYTES))


def _fixpipe_l1_accesses(instruction: Instruction) -> tuple[Access, ...]:
    column, (m, block) = _nz_dims(instruction)
    return (
        *_read_accesses(instruction),
        Access(Space.L1, instruction.integer("dst"), m * block, True, (column,)),
    )


def _fixpipe_l1(instruction: Instruction, memory: Memory) -> None:
    to = instruction.element("dst")
    c0 = BLOCK_BYTES // to.itemsize
    dims = _nz_dims(instruction)
    target = strided(memory, Space.L1, instruction.integer("dst"), to, (*dims, (c0, to.itemsize)))
    m, columns = instruction.integer("m"), dims[0][0]
    target[...] = _converted(instruction, memory).reshape(m, columns, c0).transpose(1, 0, 2)


def _check_fixpipe_l1(instruction: Instruction, target: AscendTarget) -> Iterator[str]:
    yield from _check_source(instruction, target)
    c0 = BLOCK_BYTES // instruction.element("dst").itemsize
    if instruction.integer("n") % c0:
        yield f"n of fixpipe_l1 is {instruction.integer('n')}, not a multiple of {c0}"
    yield from check_range(instruction, "m", 0, target.limits.fixpipe_nz_rows)
    yield from check_range(instruction, "dst_stride", 1, (1 << 32) - 1)
    yield from check_aligned(instruction, "dst", target.spaces[Space.L1].alignment_bytes)


FIXPIPE_L1 = machine_op(
    "fixpipe_l1",
    _FIXPIPE_OPERANDS,
    _infer_fixpipe("fixpipe_l1", Space.L1),
    MachineFacts(
        on(Pipe.FIX),
        AIC_ONLY,
        ("src", "scales"),
        ("dst",),
        _fixpipe_l1_accesses,
        _fixpipe_l1,
        _check_fixpipe_l1,
    ),
    _FIXPIPE_ATTRIBUTES,
    "an m x n tile from L0C to L1 as NZ: src_stride as in fixpipe, dst_stride blocks from column to column",
)

CUBE_OPS: tuple[OpDef, ...] = (MMAD, FIXPIPE, FIXPIPE_L1)
