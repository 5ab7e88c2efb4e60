"""Rows of a matrix multiplied by numbers, in place."""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from tilejit.backend.cpu.loops import emit_loop, index, internal_function
from tilejit.backend.cpu.operand import Operand, load_vector
from tilejit.backend.cpu.pack import power_of_two_below
from tilejit.backend.cpu.values import I64, POINTER, splat
from tilejit.target.cpu import CpuTarget


def emit_scaled_rows(
    builder: ir.IRBuilder, c: Operand, row_scale: ir.Value, rows: int, columns: int, target: CpuTarget
) -> None:
    """Multiply each row of C, which is row-major, by the number of ``row_scale`` for it."""
    lanes = min(target.vector_lanes(c.dtype.itemsize), power_of_two_below(columns))
    whole, rest = divmod(columns, lanes)

    def build(inner: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        matrix = Operand(arguments[0], c.dtype, arguments[2], 1)
        scales = Operand(arguments[1], c.dtype, 1, 1)

        def row(i: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
            own, place = matrix.at(inner, i, 0), scales.at(inner, i, 0).pointer
            scalar = load_vector(inner, place, c.dtype, 1, c.dtype)

            def multiply(at: Operand, width: int) -> None:
                factor = splat(inner, scalar, width if width > 1 else None)
                value = load_vector(inner, at.pointer, c.dtype, width, c.dtype)
                inner.store(inner.fmul(value, factor), at.pointer, align=c.dtype.itemsize)

            def vector(j: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
                multiply(own.at(inner, 0, inner.mul(j, index(lanes))), lanes)
                return []

            emit_loop(inner, whole, [], vector)
            for column in range(columns - rest, columns):
                multiply(own.at(inner, 0, column), 1)
            return []

        emit_loop(inner, rows, [], row)

    name = f"tilejit.scale.{c.dtype}.{rows}x{columns}"
    function = internal_function(builder.module, name, [POINTER, POINTER, I64], build)
    builder.call(function, [c.pointer, row_scale, index(c.row_stride)])
