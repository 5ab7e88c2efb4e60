"""Loads and nothing else: tiles of a matrix to UB or L1, one after the other into the same place.

Each core takes its rows of the matrix, tile by tile along a row of tiles, or ``parts`` of the columns one
after the other, each ``repeats`` times. A tile goes to L1 as columns of blocks.

Source: CANN, asc-devkit, best practice data_copy (tiles, cores and measured times in its README).
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.machine_programs.builder import Number, Program
from tilejit.ir.core import Value
from tilejit.ir.machine import MachineKernel
from tilejit.ir.types import FP16
from tilejit.target.spaces import Core, Space


@dataclass(frozen=True)
class DataCopy:
    """Loads of a fp16 matrix of ``rows`` x ``columns`` by tiles of ``tile_rows`` x ``tile_columns``.

    ``to`` is UB or L1. Units: elements; rows are shared out whole.
    """

    to: Space
    tile_rows: int
    tile_columns: int
    cores: int
    rows: int = 12288
    columns: int = 12288
    parts: int = 1
    repeats: int = 1


def data_copy_kernel(shape: DataCopy) -> MachineKernel:
    """The kernel for one shape; its argument is x [rows, columns]."""
    core = Core.AIV if shape.to is Space.UB else Core.AIC
    program = Program("data_copy", core, {"x": FP16})
    tile = program.buffer(shape.to, FP16, shape.tile_rows * shape.tile_columns, address=0)
    own = shape.rows // shape.cores
    first = program.mul(program.block_index, own)
    width = shape.columns // shape.parts
    whole = width // shape.tile_columns * shape.tile_columns
    with (
        program.loop(0, shape.parts) as part,
        program.loop(0, shape.repeats),
        program.loop(0, own, shape.tile_rows) as row,
    ):
        start = program.mul(program.add(first, row), shape.columns)
        start = program.add(start, program.mul(part, width))
        with program.loop(0, whole, shape.tile_columns) as column:
            _load(program, shape, tile, program.add(start, column), shape.tile_columns)
        if whole < width:
            _load(program, shape, tile, program.add(start, whole), width - whole)
    return program.kernel()


def _load(program: Program, shape: DataCopy, tile: Value, start: Number, width: int) -> None:
    """One tile, behind the one before: they share their place."""
    source, rows = program.offset("x", start), shape.tile_rows
    if shape.to is Space.UB:
        gap, size = (shape.columns - width) * 2, width * 2
        program.issue("copy_in", dst=tile, src=source, rows=rows, row_bytes=size, gm_gap=gap)
        return
    pitch = -(-rows // 16) * 16
    program.issue(
        "load_nd2nz", dst=tile, src=source, n=rows, d=width, src_d=shape.columns, dst_c0_stride=pitch
    )
