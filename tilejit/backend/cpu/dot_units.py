"""What computes the products of a dot: the units of a CPU, and how a step of each is spelled.

A unit works on *words*: one element, or as many neighbours along k as one lane takes at a time - pairs of
16-bit elements, four bytes. Operands of such units are matrices of words, in which the members of a word lie
next to each other; ``pack_words`` makes them.
"""

from __future__ import annotations

from enum import Enum

from llvmlite import ir

from tilejit.backend.cpu.values import BFLOAT, I8, I16, intrinsic, number
from tilejit.diagnostics import InternalError
from tilejit.ir.types import BF16, FP32, FP64, INT8, INT16, INT32, UINT8, DType, Kind
from tilejit.target.cpu import CpuTarget

TILE_ROWS = 16
TILE_ROW_BYTES = 64


class Unit(Enum):
    """How a step of k is computed.

    Pairs of bf16 and of int16 and quads of int8 are summed in each lane, tiles in the matrix registers of
    AMX. Mixed quads multiply unsigned bytes by signed ones: where A and B are both signed or both unsigned, B
    is shifted by ``MIXED_SHIFT``. Products of int8 and int16 are exact, sums wrap as in int32. Products of
    bf16 are exact where the unit does not round them (AMX; Arm rounds the sum of a pair once); ``vdpbf16ps``
    adds each product with one rounding. All of bf16's units take denormals for zero, operands and sums: an
    error of at most 2^-126 for each step.
    """

    FP32 = "fp32"
    FP64 = "fp64"
    INT32 = "int32"
    BF16_PAIRS = "bf16 pairs"
    INT16_PAIRS = "int16 pairs"
    INT8_QUADS = "int8 quads"
    MIXED_QUADS = "mixed int8 quads"
    BF16_TILES = "bf16 tiles"
    INT8_TILES = "int8 tiles"

    @property
    def group(self) -> int:
        """How many neighbours along k make a word."""
        return _GROUPS.get(self, 1)

    @property
    def is_tiles(self) -> bool:
        return self in (Unit.BF16_TILES, Unit.INT8_TILES)

    @property
    def accumulator(self) -> DType:
        """What sums are kept in."""
        if self is Unit.FP64:
            return FP64
        return FP32 if self in (Unit.FP32, Unit.BF16_PAIRS, Unit.BF16_TILES) else INT32

    @property
    def word(self) -> DType:
        """What a word of an operand is when it is loaded or broadcast; of groups, the integer of its bits."""
        return self.accumulator if self.group == 1 else INT32

    def element(self, dtype: DType) -> DType:
        """What elements of an operand of ``dtype`` are brought to before the unit takes them."""
        if self.group == 1:
            return self.word
        if self in (Unit.BF16_PAIRS, Unit.BF16_TILES):
            return BF16
        return INT16 if self is Unit.INT16_PAIRS else dtype


_GROUPS = {
    Unit.BF16_PAIRS: 2,
    Unit.INT16_PAIRS: 2,
    Unit.INT8_QUADS: 4,
    Unit.MIXED_QUADS: 4,
    Unit.BF16_TILES: 2,
    Unit.INT8_TILES: 4,
}
MIXED_SHIFT = 128
"""What makes unsigned bytes of signed ones when it is added, and signed ones of unsigned when subtracted: the
uppermost bit changes. The sums of a row change by as many times the sum of A's row.
"""
_BYTES = (INT8, UINT8)
_FEWEST_QUAD_COLUMNS = 4
"""The instructions for mixed quads have vectors of 128 bits at least."""
_FEWEST_ROWS = 2
"""Rows of A from which on bringing B into words, one shuffle a vector, is paid back."""
_FEWEST_TILE_ROWS = 5
"""Rows of A from which on tiles are faster than pairs, though they are not full.

Source: a Sapphire Rapids, 256 columns of B by rows, k 512, time in pairs over time in tiles for 2, 5, 8 and
12 rows: bf16 0.70, 1.27, 1.81 and 2.39, int8 0.69, 0.98, 1.28 and 1.33; above 1 with B contiguous along k.
"""

_FEWEST_BF16_ROWS = 5
"""The same for bf16 on x86, where FMA takes B in place: a shift makes fp32 of it."""


def unit_for(accumulator: DType, a: DType, b: DType, shape: tuple[int, int, int], target: CpuTarget) -> Unit:
    """The unit that computes products of ``a`` and ``b`` into ``accumulator``.

    Shapes: (m, n, k).
    Raises: InternalError for types that no unit takes.
    """
    narrow = _narrow_unit(accumulator, a, b, shape, target)
    if narrow is not None:
        return narrow
    if accumulator == FP32 and _converts_exactly(a) and _converts_exactly(b):
        return Unit.FP32
    if accumulator == FP64 and a.kind is Kind.FLOAT and b.kind is Kind.FLOAT:
        return Unit.FP64
    if accumulator == INT32 and a.kind is not Kind.FLOAT and b.kind is not Kind.FLOAT:
        return Unit.INT32
    raise InternalError(f"no dot of {a} and {b} into {accumulator}")


def _narrow_unit(
    accumulator: DType, a: DType, b: DType, shape: tuple[int, int, int], target: CpuTarget
) -> Unit | None:
    """The unit for products of bf16 or of bytes, where the target has one and the shape fits it."""
    m, n, k = shape
    is_wide = m >= _FEWEST_ROWS and n >= 4
    tiles = _tiles_for(accumulator, a, b, target)
    if tiles is not None and _misfit(tiles, shape) is None:
        return tiles
    if accumulator == FP32 and a == b == BF16:
        has_pairs = target.has("avx512bf16") or (target.has("bf16") and not target.is_x86)
        is_wide &= not target.is_x86 or m >= _FEWEST_BF16_ROWS
        return Unit.BF16_PAIRS if has_pairs and is_wide and k % 2 == 0 else None
    if accumulator == INT32 and a in _BYTES and b in _BYTES:
        if target.is_x86:
            has_quads = target.has("avx512vnni") or target.has("avxvnni")
            # Also for one row: multiplying words of int32 takes longer than bringing bytes of B into words.
            if has_quads and n >= _FEWEST_QUAD_COLUMNS and k % Unit.MIXED_QUADS.group == 0:
                return Unit.MIXED_QUADS
            return Unit.INT16_PAIRS if target.has("avx2") and is_wide and k % 2 == 0 else None
        has_quads = target.has("dotprod") and a == b
        return Unit.INT8_QUADS if has_quads and is_wide and k % 4 == 0 else None
    return None


def missed_tiles(
    accumulator: DType, a: DType, b: DType, shape: tuple[int, int, int], target: CpuTarget
) -> str | None:
    """What a dot is computed in, and why not in tiles, where the target has tiles for its types."""
    tiles = _tiles_for(accumulator, a, b, target)
    reason = None if tiles is None else _misfit(tiles, shape)
    if tiles is None or reason is None:
        return None
    unit = unit_for(accumulator, a, b, shape, target)
    m, n, k = shape
    return f"a dot of {m}x{n}x{k} is computed in {unit.value}, not in {tiles.value}: {reason}"


def _tiles_for(accumulator: DType, a: DType, b: DType, target: CpuTarget) -> Unit | None:
    """The tiles that the target has for products of ``a`` and ``b``."""
    if accumulator == FP32 and a == b == BF16 and target.has("amx-bf16"):
        return Unit.BF16_TILES
    is_bytes = accumulator == INT32 and a in _BYTES and b in _BYTES
    return Unit.INT8_TILES if is_bytes and target.has("amx-int8") else None


def _misfit(tiles: Unit, shape: tuple[int, int, int]) -> str | None:
    """Why tiles cannot compute a dot, or not fast; None where they can."""
    m, n, k = shape
    depth = TILE_ROW_BYTES * tiles.group // 4
    if k % depth:
        return f"k must be a multiple of {depth}"
    if n < TILE_ROWS:
        return f"they need {TILE_ROWS} columns"
    return f"they are slower below {_FEWEST_TILE_ROWS} rows" if m < _FEWEST_TILE_ROWS else None


def _converts_exactly(dtype: DType) -> bool:
    """True for floats up to fp32, and for integers all of which fp32 can hold."""
    return dtype.kind is Kind.FLOAT or dtype.bits <= FP32.mantissa_bits


def add_values(builder: ir.IRBuilder, unit: Unit, x: ir.Value, y: ir.Value) -> ir.Value:
    """x + y in the unit's accumulator type."""
    return builder.fadd(x, y) if unit.accumulator in (FP32, FP64) else builder.add(x, y)


def add_byte_products(
    builder: ir.IRBuilder, unsigned: ir.Value, signed: ir.Value, total: ir.Value
) -> ir.Value:
    """total + the products of the unsigned bytes of one vector and the signed ones of another, by words."""
    name = f"llvm.x86.avx512.vpdpbusd.{32 * total.type.count}"
    return intrinsic(builder, name, total.type, [total, unsigned, signed])


def add_int16_products(builder: ir.IRBuilder, x: ir.Value, y: ir.Value, total: ir.Value) -> ir.Value:
    """total + the products of the signed integers of 16 bits of two vectors, by words. Needs (AVX-)VNNI."""
    bits = 32 * total.type.count
    vector = ir.VectorType(I16, bits // 16)
    x, y = builder.bitcast(x, vector), builder.bitcast(y, vector)
    return intrinsic(builder, f"llvm.x86.avx512.vpdpwssd.{bits}", total.type, [total, x, y])


def flip(builder: ir.IRBuilder, words: ir.Value) -> ir.Value:
    """Words whose bytes are shifted by ``MIXED_SHIFT``."""
    return builder.xor(words, number(words.type, 0x80808080))


def multiply_add(
    builder: ir.IRBuilder,
    unit: Unit,
    x: ir.Value,
    y: ir.Value,
    total: ir.Value,
    target: CpuTarget,
    *,
    is_signed: bool = True,
) -> ir.Value:
    """total + x * y, as the unit does it; of words, the sum of the products of their members.

    ``is_signed``: whether the bytes of x are signed. Those of y are the same, of mixed quads the opposite.
    """
    if unit in (Unit.FP32, Unit.FP64):
        return intrinsic(builder, "llvm.fma", total.type, [x, y, total], [total.type])
    if unit is Unit.INT32:
        return builder.add(total, builder.mul(x, y))
    bits = 32 * total.type.count
    if unit is Unit.MIXED_QUADS:
        return add_byte_products(builder, *((y, x) if is_signed else (x, y)), total)
    if unit is Unit.BF16_PAIRS:
        name = (
            f"llvm.x86.avx512bf16.dpbf16ps.{bits}"
            if target.is_x86
            else "llvm.aarch64.neon.bfdot.v4f32.v8bf16"
        )
        member: ir.Type = BFLOAT
    elif unit is Unit.INT8_QUADS:
        name = f"llvm.aarch64.neon.{'sdot' if is_signed else 'udot'}.v4i32.v16i8"
        member = I8
    else:
        return _add_int16_pairs(builder, x, y, total, target)
    vector = ir.VectorType(member, bits // (16 if unit is Unit.BF16_PAIRS else 8))
    x, y = builder.bitcast(x, vector), builder.bitcast(y, vector)
    return intrinsic(builder, name, total.type, [total, x, y])


def _add_int16_pairs(
    builder: ir.IRBuilder, x: ir.Value, y: ir.Value, total: ir.Value, target: CpuTarget
) -> ir.Value:
    """Two exact products of 16 bits a lane: in one instruction with AVX-VNNI or AVX-512 VNNI, else in two."""
    bits = 32 * total.type.count
    if target.has("avx512vnni") or (target.has("avxvnni") and bits <= 256):
        return add_int16_products(builder, x, y, total)
    vector = ir.VectorType(I16, bits // 16)
    x, y = builder.bitcast(x, vector), builder.bitcast(y, vector)
    names = {
        128: "llvm.x86.sse2.pmadd.wd",
        256: "llvm.x86.avx2.pmadd.wd",
        512: "llvm.x86.avx512.pmaddw.d.512",
    }
    return builder.add(total, intrinsic(builder, names[bits], total.type, [x, y]))
