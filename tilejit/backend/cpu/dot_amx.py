"""Dots on the matrix registers of AMX.

Eight registers hold 16 rows of 64 bytes each. One instruction adds, to 16 x 16 sums of 32 bits, the products
of 16 rows of A, 64 bytes along k, and 16 rows of B's words, which are 16 columns wide. Products take twice as
long as loads that hit L1.

Behind the eight registers stand more, so that loads need not wait for the products before them; a register
that is cleared takes none. How many more there are depends on what else the core runs: with few, every tile
that is kept costs time. Each is cleared after its last use, and blocks of sums are small. Source: a core of
a Sapphire Rapids in a shared machine, bf16, all in L1, cycles for a product in its fast and in its slow
state: blocks of 2 x 2 tiles 21 and 92, cleared 21 and 53; of 1 x 2 tiles, cleared, 21 and 42.

The registers' shapes are set once for all programs that a thread runs together (``enclose_tiles``): all of
them full. A kernel for rows or columns that fill no tile sets its own, and sets them back. Where tiles were
left in use, the system would save them at every switch of threads. Python that a
kernel calls may use tiles of its own, and free them: the shapes are set again after such calls.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from tilejit.backend.cpu.dot_units import TILE_ROW_BYTES, TILE_ROWS, Unit
from tilejit.backend.cpu.loops import emit_loop, index, internal_function
from tilejit.backend.cpu.operand import advance, scale
from tilejit.backend.cpu.values import I1, I8, I64, POINTER, intrinsic
from tilejit.ir.types import DType
from tilejit.records import dataclass

_REGISTERS = 8
_SHAPES_NAME = "tilejit.tiles"
_PRODUCTS = {
    (True, True): "llvm.x86.tdpbssd",
    (True, False): "llvm.x86.tdpbsud",
    (False, True): "llvm.x86.tdpbusd",
    (False, False): "llvm.x86.tdpbuud",
}


@dataclass(frozen=True)
class TileKernel:
    """Blocks of ``rows`` x ``columns`` sums below each other, over a depth given at run time.

    The last tile of rows, or of columns, may be a part of one.
    """

    unit: Unit
    rows: int
    columns: int
    a_dtype: DType
    b_dtype: DType

    @property
    def name(self) -> str:
        return f"tilejit.dot.tiles.{self.a_dtype}.{self.b_dtype}.{self.rows}x{self.columns}"

    @property
    def product(self) -> str:
        if self.unit is Unit.BF16_TILES:
            return "llvm.x86.tdpbf16ps"
        return _PRODUCTS[self.a_dtype.is_int_signed(), self.b_dtype.is_int_signed()]

    @property
    def heights(self) -> tuple[int, ...]:
        """The rows of each row of tiles."""
        return _cut(self.rows)

    @property
    def widths(self) -> tuple[int, ...]:
        """The columns of each column of tiles."""
        return _cut(self.columns)

    @property
    def is_full(self) -> bool:
        return self.rows % TILE_ROWS == self.columns % TILE_ROWS == 0

    def sums(self, row: int, column: int) -> int:
        """The register of a tile of sums."""
        return row * len(self.widths) + column

    def a_tile(self, row: int) -> int:
        """The register of a tile of A."""
        return len(self.heights) * len(self.widths) + row

    def b_tile(self, column: int) -> int:
        """The register of a tile of B."""
        return len(self.heights) * (len(self.widths) + 1) + column


def _cut(size: int) -> tuple[int, ...]:
    """Whole tiles, then what is left."""
    whole, rest = divmod(size, TILE_ROWS)
    return (TILE_ROWS,) * whole + ((rest,) if rest else ())


def tile_function(module: ir.Module, kernel: TileKernel) -> ir.Function:
    """The function ``(a, b, c, blocks, steps, accumulate, a_row_bytes, b_row_bytes, c_row_bytes)``.

    ``steps``: depth in tiles, 64 bytes of A's rows each. ``accumulate`` 0: C is not read.
    """

    def build(builder: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        a, b, c, blocks, steps, accumulate, a_row, b_row, c_row = arguments
        if not kernel.is_full:
            _set_shapes(builder, _shapes(module, kernel))

        def block(_: ir.Value, places: Sequence[ir.Value]) -> list[ir.Value]:
            _start(builder, kernel, places[1], c_row, accumulate)

            def step(_: ir.Value, pointers: Sequence[ir.Value]) -> list[ir.Value]:
                _multiply(builder, kernel, pointers[0], a_row, pointers[1], b_row)
                following = advance(builder, pointers[1], scale(builder, TILE_ROWS, b_row), 1)
                return [advance(builder, pointers[0], TILE_ROW_BYTES, 1), following]

            emit_loop(builder, steps, [places[0], b], step)
            for row, column, place in _places(builder, kernel, places[1], c_row):
                _call(builder, "llvm.x86.tilestored64", kernel.sums(row, column), place, c_row)
                clear_tile(builder, kernel.sums(row, column))
            return [
                advance(builder, place, scale(builder, kernel.rows, stride), 1)
                for place, stride in zip(places, (a_row, c_row), strict=True)
            ]

        emit_loop(builder, blocks, [a, c], block)
        if not kernel.is_full:
            _set_shapes(builder, _shapes(module, None))

    return internal_function(module, kernel.name, [POINTER] * 3 + [I64, I64, I1] + [I64] * 3, build)


def enclose_tiles(begin: ir.IRBuilder, end: ir.IRBuilder, callbacks: Sequence[ir.Instruction] = ()) -> None:
    """Where the module uses tiles, set their shapes at ``begin`` and after ``callbacks``, free them at
    ``end``.
    """
    module = begin.module
    if not any(name.startswith("tilejit.dot.tiles.") for name in module.globals):
        return
    shapes = _shapes(module, None)
    _set_shapes(begin, shapes)
    for call in callbacks:
        after = ir.IRBuilder()
        after.position_after(call)
        _set_shapes(after, shapes)
    intrinsic(end, "llvm.x86.tilerelease", ir.VoidType(), [])


def _set_shapes(builder: ir.IRBuilder, shapes: ir.Value) -> None:
    intrinsic(builder, "llvm.x86.ldtilecfg", ir.VoidType(), [shapes])


def _shapes(module: ir.Module, kernel: TileKernel | None) -> ir.Value:
    """The operand of ``ldtilecfg``: palette 1; from byte 16 on the bytes of a row, from 48 on the rows.

    Without a kernel all registers are full.
    """
    rows, row_bytes = [TILE_ROWS] * _REGISTERS, [TILE_ROW_BYTES] * _REGISTERS
    name = _SHAPES_NAME
    if kernel is not None:
        name += f".{kernel.rows}x{kernel.columns}"
        for row, height in enumerate(kernel.heights):
            rows[kernel.a_tile(row)] = height
            for column, width in enumerate(kernel.widths):
                rows[kernel.sums(row, column)] = height
                row_bytes[kernel.sums(row, column)] = row_bytes[kernel.b_tile(column)] = 4 * width
    existing = module.globals.get(name)
    if existing is not None:
        return existing
    shapes = ir.GlobalVariable(module, ir.ArrayType(I8, 64), name)
    shapes.linkage, shapes.global_constant, shapes.align = "internal", True, 64
    text = bytes([1]).ljust(16, b"\0") + b"".join(size.to_bytes(2, "little") for size in row_bytes)
    text = (text.ljust(48, b"\0") + bytes(rows)).ljust(64, b"\0")
    shapes.initializer = ir.Constant(shapes.value_type, bytearray(text))
    return shapes


def _places(
    builder: ir.IRBuilder, kernel: TileKernel, c: ir.Value, c_row: ir.Value
) -> list[tuple[int, int, ir.Value]]:
    """Row, column and address of each tile of sums."""
    found = []
    for row in range(len(kernel.heights)):
        start = advance(builder, c, scale(builder, row * TILE_ROWS, c_row), 1)
        for column in range(len(kernel.widths)):
            found.append((row, column, advance(builder, start, column * TILE_ROW_BYTES, 1)))
    return found


def _start(
    builder: ir.IRBuilder, kernel: TileKernel, c: ir.Value, c_row: ir.Value, accumulate: ir.Value
) -> None:
    loading, clearing, after = (builder.append_basic_block(name) for name in ("c.load", "c.zero", "c.ready"))
    builder.cbranch(accumulate, loading, clearing)
    builder.position_at_end(loading)
    for row, column, place in _places(builder, kernel, c, c_row):
        _call(builder, "llvm.x86.tileloadd64", kernel.sums(row, column), place, c_row)
    builder.branch(after)
    builder.position_at_end(clearing)
    for number in range(len(kernel.heights) * len(kernel.widths)):
        clear_tile(builder, number)
    builder.branch(after)
    builder.position_at_end(after)


def _multiply(
    builder: ir.IRBuilder, kernel: TileKernel, a: ir.Value, a_row: ir.Value, b: ir.Value, b_row: ir.Value
) -> None:
    """One step of depth; each tile is loaded just before its first product, and cleared after its last."""
    for row in range(len(kernel.heights)):
        place = advance(builder, a, scale(builder, row * TILE_ROWS, a_row), 1)
        _call(builder, "llvm.x86.tileloadd64", kernel.a_tile(row), place, a_row)
        for column in range(len(kernel.widths)):
            if row == 0:
                place = advance(builder, b, column * TILE_ROW_BYTES, 1)
                _call(builder, "llvm.x86.tileloadd64", kernel.b_tile(column), place, b_row)
            registers = (kernel.sums(row, column), kernel.a_tile(row), kernel.b_tile(column))
            operands = [ir.Constant(I8, number) for number in registers]
            intrinsic(builder, kernel.product, ir.VoidType(), operands)
            if row == len(kernel.heights) - 1:
                clear_tile(builder, kernel.b_tile(column))
        clear_tile(builder, kernel.a_tile(row))


def clear_tile(builder: ir.IRBuilder, register: int) -> None:
    """Set a tile to zero, which gives the register behind it back."""
    intrinsic(builder, "llvm.x86.tilezero", ir.VoidType(), [ir.Constant(I8, register)])


def _call(builder: ir.IRBuilder, name: str, register: int, place: ir.Value, row_bytes: ir.Value) -> None:
    intrinsic(builder, name, ir.VoidType(), [ir.Constant(I8, register), place, index(row_bytes)])
