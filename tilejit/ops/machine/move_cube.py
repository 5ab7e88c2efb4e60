"""Copies of the cube core: GM to L1, L1 to L0A, L0B and the bias table, L1 to GM.

A fractal is 512 bytes: 16 rows of C0 elements, C0 being the elements of a 32-byte block. Layouts of a matrix:

- NZ in L1: columns of C0 elements, each column all rows one after the other: element (i, j) lies in
  block ``j // C0 * column_stride + i``.
- zZ in L0A: bands of 16 rows, in a band the fractals along k, in a fractal its 16 rows.
- in L0B: bands of C0 along k, in a band the fractals along n, in a fractal 16 columns n of C0 elements k.

Source: CANN documentation of DataCopy, Nd2NzParams, LoadData (2D, 3Dv2, with transpose) for V220.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tilejit.ir.core import Op
from tilejit.ir.machine import Access, Instruction, MachineFacts, Memory
from tilejit.ir.opdef import AttributeKind, AttributeSpec, OpDef, TypeQuery
from tilejit.ir.types import (
    BF16,
    FP16,
    FP32,
    INT8,
    INT16,
    INT32,
    UINT8,
    UINT16,
    UINT32,
    DType,
    PointerType,
    Type,
)
from tilejit.ops.machine.move import check_combined, store_combined
from tilejit.ops.machine.rules import (
    AIC_ONLY,
    BLOCK_BYTES,
    FRACTAL_BYTES,
    FRACTAL_ROWS,
    check_aligned,
    check_range,
    flat,
    machine_op,
    on,
    pointer_type,
    require_elements,
    require_integers,
    strided,
)
from tilejit.ops.type_rules import require
from tilejit.target.ascend import AscendTarget
from tilejit.target.spaces import Pipe, Space

_MOVABLE = (INT8, UINT8, INT16, UINT16, FP16, BF16, INT32, UINT32, FP32)
Dims = tuple[tuple[int, int], ...]


def _same_elements(query: TypeQuery, op: str, dst: tuple[Space, ...], src: tuple[Space, ...]) -> DType:
    to, source = pointer_type(query, op, "dst", *dst), pointer_type(query, op, "src", *src)
    require(
        to.element == source.element, f"{op} moves one element type; got {source.element} to {to.element}"
    )
    require_elements(op, "dst", to.element, _MOVABLE)
    return to.element


def _check_addresses(instruction: Instruction, target: AscendTarget) -> Iterator[str]:
    for name in ("dst", "src"):
        space = instruction.space(name)
        if space is not Space.GM:
            yield from check_aligned(instruction, name, target.spaces[space].alignment_bytes)


# Plain copies between GM and L1, in blocks of 32 bytes.


def _infer_load_l1(query: TypeQuery) -> tuple[Type, ...]:
    _same_elements(query, "load_l1", (Space.L1,), (Space.GM,))
    require_integers(query, "load_l1", "blocks", "rows", "gm_gap", "l1_gap")
    return ()


def _infer_store_l1(query: TypeQuery) -> tuple[Type, ...]:
    _same_elements(query, "store_l1", (Space.GM,), (Space.L1,))
    require_integers(query, "store_l1", "blocks", "rows", "gm_gap", "l1_gap")
    return ()


def _block_dims(instruction: Instruction, name: str) -> Dims:
    gap = "gm_gap" if instruction.space(name) is Space.GM else "l1_gap"
    pitch = (instruction.integer("blocks") + instruction.optional(gap, 0)) * BLOCK_BYTES
    return ((instruction.optional("rows", 1), pitch),)


def _block_accesses(instruction: Instruction) -> tuple[Access, ...]:
    run = instruction.integer("blocks") * BLOCK_BYTES
    return tuple(
        Access(
            instruction.space(name),
            instruction.integer(name),
            run,
            name == "dst",
            _block_dims(instruction, name),
        )
        for name in ("src", "dst")
    )


def _copy_blocks(instruction: Instruction, memory: Memory) -> None:
    run = ((instruction.integer("blocks") * BLOCK_BYTES, 1),)
    source, target = (
        strided(
            memory,
            instruction.space(name),
            instruction.integer(name),
            UINT8,
            _block_dims(instruction, name) + run,
        )
        for name in ("src", "dst")
    )
    target[...] = source


def _store_blocks(instruction: Instruction, memory: Memory) -> None:
    dtype = instruction.element("dst")
    count = instruction.integer("blocks") * BLOCK_BYTES // dtype.itemsize
    source, target = (
        strided(
            memory,
            instruction.space(name),
            instruction.integer(name),
            dtype,
            (*_block_dims(instruction, name), (count, dtype.itemsize)),
        )
        for name in ("src", "dst")
    )
    store_combined(target, source, instruction.state, dtype)


def _check_stored_blocks(instruction: Instruction, target: AscendTarget) -> Iterator[str]:
    yield from _check_blocks(instruction, target)
    yield from check_combined(instruction)


def _check_blocks(instruction: Instruction, target: AscendTarget) -> Iterator[str]:
    yield from check_range(instruction, "rows", 0, target.limits.copy_rows)
    for name in ("blocks", "gm_gap", "l1_gap"):
        yield from check_range(instruction, name, 0, target.limits.copy_blocks)
    yield from _check_addresses(instruction, target)


LOAD_L1 = machine_op(
    "load_l1",
    ("dst", "src", "blocks", "rows?", "gm_gap?", "l1_gap?"),
    _infer_load_l1,
    MachineFacts(on(Pipe.MTE2), AIC_ONLY, ("src",), ("dst",), _block_accesses, _copy_blocks, _check_blocks),
    summary="GM to L1 as it is: rows of ``blocks`` 32-byte blocks; gaps in blocks, from end to start",
)
STORE_L1 = machine_op(
    "store_l1",
    ("dst", "src", "blocks", "rows?", "gm_gap?", "l1_gap?"),
    _infer_store_l1,
    MachineFacts(
        on(Pipe.MTE3), AIC_ONLY, ("src",), ("dst",), _block_accesses, _store_blocks, _check_stored_blocks
    ),
    summary="L1 to GM as it is: rows of ``blocks`` 32-byte blocks; gaps in blocks, from end to start",
)


# GM to L1 in columns of C0 elements.


def _infer_nd2nz(query: TypeQuery) -> tuple[Type, ...]:
    _same_elements(query, "load_nd2nz", (Space.L1,), (Space.GM,))
    names = ("n", "d", "src_d", "dst_c0_stride", "dst_n_stride")
    require_integers(query, "load_nd2nz", *names, "matrices", "src_matrix_stride", "dst_matrix_stride")
    return ()


def _nd2nz_grids(instruction: Instruction) -> tuple[Dims, Dims]:
    """The (count, stride) dims of source rows and of destination blocks: matrices, columns, rows."""
    size = instruction.element("dst").itemsize
    n, matrices = instruction.integer("n"), instruction.optional("matrices", 1)
    columns = -(-instruction.integer("d") * size // BLOCK_BYTES)
    source = (
        (matrices, instruction.optional("src_matrix_stride", 0) * size),
        (n, instruction.integer("src_d") * size),
    )
    target = (
        (matrices, instruction.optional("dst_matrix_stride", 0) * size),
        (columns, instruction.integer("dst_c0_stride") * BLOCK_BYTES),
        (n, instruction.optional("dst_n_stride", 1) * BLOCK_BYTES),
    )
    return source, target


def _nd2nz_accesses(instruction: Instruction) -> tuple[Access, ...]:
    source, target = _nd2nz_grids(instruction)
    run = instruction.integer("d") * instruction.element("dst").itemsize
    blocks = target[-1][0] if target[-1][1] == BLOCK_BYTES else 1
    dims = target[:-1] if target[-1][1] == BLOCK_BYTES else target
    return (
        Access(Space.GM, instruction.integer("src"), run, False, source),
        Access(Space.L1, instruction.integer("dst"), blocks * BLOCK_BYTES, True, dims),
    )


def _load_nd2nz(instruction: Instruction, memory: Memory) -> None:
    dtype = instruction.element("dst")
    size, d = dtype.itemsize, instruction.integer("d")
    c0 = BLOCK_BYTES // size
    source, target = _nd2nz_grids(instruction)
    rows = strided(memory, Space.GM, instruction.integer("src"), dtype, (*source, (d, size)))
    matrices, columns, n = (count for count, _ in target)
    padded = np.zeros((matrices, n, columns * c0), dtype.numpy)
    padded[:, :, :d] = rows
    blocks = strided(memory, Space.L1, instruction.integer("dst"), dtype, (*target, (c0, size)))
    blocks[...] = padded.reshape(matrices, n, columns, c0).transpose(0, 2, 1, 3)


def _check_nd2nz(instruction: Instruction, target: AscendTarget) -> Iterator[str]:
    limits = target.limits
    yield from check_range(instruction, "matrices", 0, limits.nd2nz_matrices)
    yield from check_range(instruction, "n", 0, limits.nd2nz_rows)
    for name in ("d", "src_d", "src_matrix_stride", "dst_matrix_stride"):
        yield from check_range(instruction, name, 0, limits.nd2nz_columns)
    for name in ("dst_c0_stride", "dst_n_stride"):
        yield from check_range(instruction, name, 1, limits.nd2nz_stride)
    yield from _check_addresses(instruction, target)


_ND2NZ_OPERANDS = (
    "dst", "src", "n", "d", "src_d", "dst_c0_stride", "dst_n_stride?",
    "matrices?", "src_matrix_stride?", "dst_matrix_stride?",
)  # fmt: skip
LOAD_ND2NZ = machine_op(
    "load_nd2nz",
    _ND2NZ_OPERANDS,
    _infer_nd2nz,
    MachineFacts(on(Pipe.MTE2), AIC_ONLY, ("src",), ("dst",), _nd2nz_accesses, _load_nd2nz, _check_nd2nz),
    summary="GM to L1: n rows of d elements, src_d apart, to columns of C0 elements, zeros filling the last; "
    "dst strides in blocks, of columns and of rows; matrix strides in elements",
)


# L1 (or GM) to L0A and L0B by fractals.


def _load_l0(op: str, space: Space) -> OpDef:
    def infer(query: TypeQuery) -> tuple[Type, ...]:
        element = _same_elements(query, op, (space,), (Space.L1, Space.GM))
        require_integers(query, op, "repeats", "src_stride", "dst_gap", "start")
        if query.attributes["transpose"]:
            source = pointer_type(query, op, "src", Space.L1, Space.GM)
            require(source.space is Space.L1, f"{op} transposes only what comes from l1")
            require(element.bits == 16, f"{op} transposes elements of 16 bits; got {element}")
        return ()

    side = "A" if space is Space.L0A else "B"
    return machine_op(
        op,
        ("dst", "src", "repeats", "src_stride", "dst_gap?", "start?"),
        infer,
        MachineFacts(
            _pipe_of_source, AIC_ONLY, ("src",), ("dst",), _fractal_accesses, _load_fractals, _check_fractals
        ),
        (AttributeSpec("transpose", AttributeKind.BOOL, default=False),),
        f"fractals to L0{side}: repeat i takes fractal start + i * src_stride, leaves dst_gap fractals free; "
        "transpose: of each 16x16 fractal",
    )


def _pipe_of_source(op: Op) -> Pipe:
    element = op.operand("src").type.element
    assert isinstance(element, PointerType)
    return Pipe.MTE2 if element.space is Space.GM else Pipe.MTE1


def _fractal_grid(instruction: Instruction) -> tuple[int, int, int, int]:
    """Start and stride of the source, start and stride of the destination, in bytes."""
    stride = instruction.integer("src_stride") * FRACTAL_BYTES
    start = instruction.integer("src") + instruction.optional("start", 0) * FRACTAL_BYTES
    return start, stride, instruction.integer("dst"), (1 + instruction.optional("dst_gap", 0)) * FRACTAL_BYTES


def _fractal_accesses(instruction: Instruction) -> tuple[Access, ...]:
    source, source_stride, target, target_stride = _fractal_grid(instruction)
    repeats = instruction.integer("repeats")
    return (
        Access(instruction.space("src"), source, FRACTAL_BYTES, False, ((repeats, source_stride),)),
        Access(instruction.space("dst"), target, FRACTAL_BYTES, True, ((repeats, target_stride),)),
    )


def _load_fractals(instruction: Instruction, memory: Memory) -> None:
    source, source_stride, target, target_stride = _fractal_grid(instruction)
    dtype, repeats = instruction.element("dst"), instruction.integer("repeats")
    inner = ((FRACTAL_ROWS, BLOCK_BYTES), (BLOCK_BYTES // dtype.itemsize, dtype.itemsize))
    fractals = strided(memory, instruction.space("src"), source, dtype, ((repeats, source_stride), *inner))
    if instruction.op.attributes["transpose"]:
        fractals = fractals.transpose(0, 2, 1)
    strided(memory, instruction.space("dst"), target, dtype, ((repeats, target_stride), *inner))[...] = (
        fractals
    )


def _check_fractals(instruction: Instruction, target: AscendTarget) -> Iterator[str]:
    yield from check_range(instruction, "repeats", 0, target.limits.repeats)
    for name in ("src_stride", "dst_gap", "dst_fractal_gap", "start"):
        yield from check_range(instruction, name, 0, target.limits.fractal_stride)
    yield from _check_addresses(instruction, target)


LOAD_L0A = _load_l0("load_l0a", Space.L0A)
LOAD_L0B = _load_l0("load_l0b", Space.L0B)


# L1 to L0A and L0B by squares, transposed.


def _infer_transpose(query: TypeQuery) -> tuple[Type, ...]:
    _same_elements(query, "load_l0_transpose", (Space.L0A, Space.L0B), (Space.L1,))
    require_integers(
        query, "load_l0_transpose", "repeats", "src_stride", "dst_gap", "dst_fractal_gap", "start"
    )
    return ()


def _square_fractals(dtype: DType) -> int:
    """Fractals of the squares that are transposed: 32x32 of 8 bits, 16x16 of 16 and 32 bits."""
    return 1 if dtype.bits == 16 else 2


def _square_grid(
    instruction: Instruction,
) -> tuple[int, Dims, Dims]:
    """Start of the source; dims of the source's and the destination's fractals: squares, fractals in one."""
    fractals = _square_fractals(instruction.element("dst"))
    square, repeats = fractals * FRACTAL_BYTES, instruction.integer("repeats")
    start = instruction.integer("src") + instruction.optional("start", 0) * square
    source = ((repeats, instruction.integer("src_stride") * square), (fractals, FRACTAL_BYTES))
    target = (
        (repeats, (1 + instruction.optional("dst_gap", 0)) * FRACTAL_BYTES),
        (fractals, (1 + instruction.optional("dst_fractal_gap", 0)) * FRACTAL_BYTES),
    )
    return start, source, target


def _transpose_accesses(instruction: Instruction) -> tuple[Access, ...]:
    start, source, target = _square_grid(instruction)
    return (
        Access(Space.L1, start, FRACTAL_BYTES, False, source),
        Access(instruction.space("dst"), instruction.integer("dst"), FRACTAL_BYTES, True, target),
    )


def _load_transposed(instruction: Instruction, memory: Memory) -> None:
    start, source, target = _square_grid(instruction)
    dtype = instruction.element("dst")
    c0 = BLOCK_BYTES // dtype.itemsize
    inner = ((FRACTAL_ROWS, BLOCK_BYTES), (c0, dtype.itemsize))
    squares = strided(memory, Space.L1, start, dtype, (*source, *inner))
    repeats = squares.shape[0]
    if dtype.bits == 32:  # two fractals side by side, 16 x (2 * 8), before and after
        matrix = squares.transpose(0, 1, 3, 2).reshape(repeats, FRACTAL_ROWS, FRACTAL_ROWS)
        fractals = matrix.reshape(repeats, FRACTAL_ROWS, 2, c0).transpose(0, 2, 1, 3)
    else:  # fractals one below the other, (fractals * 16) x C0
        matrix = squares.reshape(repeats, c0, c0).transpose(0, 2, 1)
        fractals = matrix.reshape(repeats, -1, FRACTAL_ROWS, c0)
    at, space = instruction.integer("dst"), instruction.space("dst")
    strided(memory, space, at, dtype, (*target, *inner))[...] = fractals


LOAD_L0_TRANSPOSE = machine_op(
    "load_l0_transpose",
    ("dst", "src", "repeats", "src_stride", "dst_gap?", "dst_fractal_gap?", "start?"),
    _infer_transpose,
    MachineFacts(
        on(Pipe.MTE1), AIC_ONLY, ("src",), ("dst",), _transpose_accesses, _load_transposed, _check_fractals
    ),
    summary="squares from L1, transposed: 32x32 of 8 bits, 16x16 of 16 or 32 bits; start and src_stride "
    "count squares; dst_gap: fractals from one square's first fractal's end to the next one's first; "
    "dst_fractal_gap: between the two fractals of a square",
)


# L1 to L0A: one instruction for a whole tile.


def _infer_3d(query: TypeQuery) -> tuple[Type, ...]:
    _same_elements(query, "load_l0a_3d", (Space.L0A,), (Space.L1,))
    require_integers(query, "load_l0a_3d", "rows", "channels", "m", "k", "m_start", "k_start")
    return ()


def _tile_grids(instruction: Instruction) -> tuple[int, Dims, Dims]:
    """Start of the source; dims of its and the destination's fractals: bands of rows, columns."""
    c0 = BLOCK_BYTES // instruction.element("dst").itemsize
    rows = instruction.integer("rows")
    first = instruction.optional("k_start", 0) // c0 * rows + instruction.optional("m_start", 0)
    bands, columns = -(-instruction.integer("m") // FRACTAL_ROWS), -(-instruction.integer("k") // c0)
    source = ((bands, FRACTAL_BYTES), (columns, rows * BLOCK_BYTES))
    target = ((bands, columns * FRACTAL_BYTES), (columns, FRACTAL_BYTES))
    return instruction.integer("src") + first * BLOCK_BYTES, source, target


def _tile_accesses(instruction: Instruction) -> tuple[Access, ...]:
    start, source, target = _tile_grids(instruction)
    return (
        Access(Space.L1, start, FRACTAL_BYTES, False, source),
        flat(Space.L0A, instruction.integer("dst"), target[0][0] * target[0][1], is_write=True),
    )


def _load_tile(instruction: Instruction, memory: Memory) -> None:
    start, source, target = _tile_grids(instruction)
    inner = ((FRACTAL_BYTES, 1),)
    fractals = strided(memory, Space.L1, start, UINT8, source + inner)
    strided(memory, Space.L0A, instruction.integer("dst"), UINT8, target + inner)[...] = fractals


def _check_tile(instruction: Instruction, target: AscendTarget) -> Iterator[str]:
    c0 = BLOCK_BYTES // instruction.element("dst").itemsize
    yield from check_range(instruction, "rows", 1, target.limits.tile_rows)
    for name in ("channels", "m", "k", "m_start", "k_start"):
        yield from check_range(instruction, name, 0, target.limits.tile_extent)
    for name, unit in (("m", FRACTAL_ROWS), ("k", c0), ("m_start", FRACTAL_ROWS), ("k_start", c0)):
        if instruction.optional(name, 0) % unit:
            yield f"{name} of load_l0a_3d is {instruction.optional(name, 0)}, not a multiple of {unit}"
    for extent, start, limit in (("m", "m_start", "rows"), ("k", "k_start", "channels")):
        end = instruction.optional(start, 0) + instruction.integer(extent)
        if end > instruction.integer(limit):
            yield f"load_l0a_3d reads to {extent} = {end}, past {limit} = {instruction.integer(limit)}"
    yield from _check_addresses(instruction, target)


LOAD_L0A_3D = machine_op(
    "load_l0a_3d",
    ("dst", "src", "rows", "channels", "m", "k", "m_start?", "k_start?"),
    _infer_3d,
    MachineFacts(on(Pipe.MTE1), AIC_ONLY, ("src",), ("dst",), _tile_accesses, _load_tile, _check_tile),
    summary="an m x k tile at (m_start, k_start) of a rows x channels matrix in L1 (NZ) to L0A",
)


# L1 to the bias table.

_BIAS_UNIT = 64


def _infer_bias(query: TypeQuery) -> tuple[Type, ...]:
    to = pointer_type(query, "copy_l1_bt", "dst", Space.BT).element
    source = pointer_type(query, "copy_l1_bt", "src", Space.L1).element
    require_elements("copy_l1_bt", "dst", to, (FP32, INT32))
    fits = source == to or (source == FP16 and to == FP32)
    require(fits, f"copy_l1_bt converts fp16 to fp32 at most; got {source} to {to}")
    require_integers(query, "copy_l1_bt", "count")
    return ()


def _bias_accesses(instruction: Instruction) -> tuple[Access, ...]:
    return tuple(
        flat(
            instruction.space(name),
            instruction.integer(name),
            instruction.integer("count") * instruction.element(name).itemsize,
            is_write=name == "dst",
        )
        for name in ("src", "dst")
    )


def _copy_bias(instruction: Instruction, memory: Memory) -> None:
    source, target = (
        strided(
            memory,
            instruction.space(name),
            instruction.integer(name),
            instruction.element(name),
            ((instruction.integer("count"), instruction.element(name).itemsize),),
        )
        for name in ("src", "dst")
    )
    target[...] = source


def _check_bias(instruction: Instruction, target: AscendTarget) -> Iterator[str]:
    size = instruction.integer("count") * instruction.element("src").itemsize
    if size % _BIAS_UNIT:
        yield f"copy_l1_bt moves {size} bytes, not a multiple of {_BIAS_UNIT}"
    yield from _check_addresses(instruction, target)


COPY_L1_BT = machine_op(
    "copy_l1_bt",
    ("dst", "src", "count"),
    _infer_bias,
    MachineFacts(on(Pipe.MTE1), AIC_ONLY, ("src",), ("dst",), _bias_accesses, _copy_bias, _check_bias),
    summary="count elements from L1 to the bias table; fp16 becomes fp32",
)

CUBE_MOVE_OPS: tuple[OpDef, ...] = (
    LOAD_L1, STORE_L1, LOAD_ND2NZ, LOAD_L0A, LOAD_L0B, LOAD_L0_TRANSPOSE, LOAD_L0A_3D, COPY_L1_BT,
)  # fmt: skip
