"""What takes off from a dot's sums that bytes of B were shifted (``MIXED_SHIFT``): a row of them is

    sum of a * (b + s) = sum of a * b + s * sum of a

so that -s times the sum of A's row is added to it, where s is 128, or -128 for unsigned bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from tilejit.backend.cpu.dot_units import MIXED_SHIFT, Unit, multiply_add
from tilejit.backend.cpu.loops import emit_loop, index, internal_function
from tilejit.backend.cpu.operand import Operand, advance, load_words, static
from tilejit.backend.cpu.values import I32, I64, POINTER, intrinsic, number, vector_of
from tilejit.ir.types import INT32
from tilejit.target.cpu import CpuTarget


def emit_row_sums(
    builder: ir.IRBuilder, a: Operand, place: ir.Value, rows: int, depth: int, target: CpuTarget
) -> None:
    """Store, for each row of A, what is to be added to its sums with a B whose bytes are shifted.

    Shapes: A is rows x depth bytes with contiguous rows, depth a multiple of 4; ``place`` takes as many int32
            as there are rows.
    """
    is_signed, lanes = a.dtype.is_int_signed(), target.vector_lanes(INT32.itemsize)
    whole, rest = divmod(depth // 4, lanes)
    type_ = vector_of(I32, lanes)
    ones = number(type_, 0x01010101)

    def build(inner: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        stride = arguments[2] if static(a.row_stride) is None else a.row_stride
        matrix = Operand(arguments[0], a.dtype, stride, 1)

        def add(own: Operand, total: ir.Value, live: int) -> ir.Value:
            words = load_words(inner, own, INT32, lanes, live)
            return multiply_add(inner, Unit.MIXED_QUADS, words, ones, total, target, is_signed=is_signed)

        def row(i: ir.Value, _: Sequence[ir.Value]) -> list[ir.Value]:
            own = matrix.at(inner, i, 0)

            def vector(j: ir.Value, totals: Sequence[ir.Value]) -> list[ir.Value]:
                return [add(own.at(inner, 0, inner.mul(j, index(4 * lanes))), totals[0], lanes)]

            (total,) = emit_loop(inner, whole, [number(type_, 0)], vector)
            if rest:
                total = add(own.at(inner, 0, whole * 4 * lanes), total, rest)
            total = intrinsic(inner, "llvm.vector.reduce.add", I32, [total], [type_])
            shift = -MIXED_SHIFT if is_signed else MIXED_SHIFT
            inner.store(inner.mul(total, number(I32, shift)), advance(inner, arguments[1], i, 4), align=4)
            return []

        emit_loop(inner, rows, [], row)

    text = "r" if static(a.row_stride) is None else a.row_stride
    function = internal_function(
        builder.module, f"tilejit.rowsums.{a.dtype}.{rows}x{depth}.{text}", [POINTER, POINTER, I64], build
    )
    builder.call(function, [a.pointer, place, index(a.row_stride)])
