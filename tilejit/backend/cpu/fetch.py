"""Cache lines of a tile that are brought into the cache while something else is computed, a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from llvmlite import ir

from tilejit.backend.cpu.loops import index, internal_function
from tilejit.backend.cpu.operand import FetchRows
from tilejit.backend.cpu.values import I8, I32, POINTER, intrinsic
from tilejit.records import dataclass


@dataclass(frozen=True)
class FetchTile:
    """A tile in memory: ``rows`` rows of ``pieces`` pieces of ``lines`` cache lines next to each other.

    Units: steps in bytes. ``locality`` is that of LLVM's prefetch: 3 for all caches, 2 for all but the first.
    """

    pointer: ir.Value
    row_step: ir.Value
    piece_step: ir.Value
    rows: int
    pieces: int
    lines: int
    line_bytes: int
    locality: int

    @property
    def line_count(self) -> int:
        return self.rows * self.pieces * self.lines

    @property
    def name(self) -> str:
        """What code that fetches depends on."""
        return f".fetch{self.rows}x{self.pieces}x{self.lines}at{self.locality}"

    def share(self, builder: ir.IRBuilder, number: ir.Value, parts: int) -> FetchTile:
        """The rows of the tile that part ``number`` of ``parts`` is to fetch."""
        rows = -(-self.rows // parts)
        skipped = builder.mul(self.row_step, builder.mul(number, index(rows)))
        return replace(self, pointer=builder.gep(self.pointer, [skipped], source_etype=I8), rows=rows)

    @property
    def as_rows(self) -> FetchRows | None:
        """The same for loops that fetch plain rows; None where there is more than one piece a row."""
        return FetchRows(self.pointer, self.row_step, self.rows, self.lines) if self.pieces == 1 else None

    def emit_part(self, builder: ir.IRBuilder, number: ir.Value, parts: int) -> None:
        """Ask for the lines that belong to step ``number`` of ``parts`` equal steps."""
        for line in range(-(-self.line_count // parts)):
            position = builder.mul(number, index(-(-self.line_count // parts)))
            self._fetch(builder, builder.add(position, index(line)))

    def _fetch(self, builder: ir.IRBuilder, number: ir.Value) -> None:
        """Ask for line ``number`` of the tile, counted along the rows."""
        piece, line = builder.udiv(number, index(self.lines)), builder.urem(number, index(self.lines))
        offset = builder.mul(line, index(self.line_bytes))
        if self.pieces > 1:
            inner = builder.urem(piece, index(self.pieces))
            offset = builder.add(offset, builder.mul(inner, self.piece_step))
        row = builder.udiv(piece, index(self.pieces))
        offset = builder.add(offset, builder.mul(row, self.row_step))
        place = builder.gep(self.pointer, [offset], source_etype=I8)
        numbers = [ir.Constant(I32, n) for n in (0, self.locality, 1)]  # read, ..., data
        intrinsic(builder, "llvm.prefetch.p0", ir.VoidType(), [place, *numbers])


def call_fetching(
    builder: ir.IRBuilder,
    name: str,
    values: Sequence[ir.Value],
    fetch: FetchTile | None,
    build: Callable[[ir.IRBuilder, Sequence[ir.Value], FetchTile | None], None],
) -> None:
    """Call the module's internal function ``name`` on ``values``; a tile that is given is fetched meanwhile.

    ``build(builder, arguments, fetch)`` fills the function when it is first called.
    """
    given = [] if fetch is None else [fetch.pointer, fetch.row_step, fetch.piece_step]

    def fill(inner: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        own = arguments[: len(values)]
        if fetch is None:
            build(inner, own, None)
            return
        pointer, row_step, piece_step = arguments[len(values) :]
        build(inner, own, replace(fetch, pointer=pointer, row_step=row_step, piece_step=piece_step))

    full_name = name if fetch is None else name + fetch.name
    types = [POINTER if isinstance(v.type, ir.PointerType) else v.type for v in (*values, *given)]
    builder.call(internal_function(builder.module, full_name, types, fill), [*values, *given])
