"""Cache lines of a tile that are brought into the cache while something else is computed, a few at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from llvmlite import ir

from tilejit.backend.cpu.loops import index, internal_function
from tilejit.backend.cpu.operand import Operand
from tilejit.backend.cpu.values import I8, I32, I64, POINTER, intrinsic
from tilejit.records import dataclass

_SUFFIX = ".fetch"  # in the names of functions that fetch
AHEAD_BYTES = 256
"""How far ahead in wide rows of a matrix of floats a dot asks for lines, where rows pass by side by side:
hardware prefetchers begin anew at every page. What asking gains stands with ``dot_plan``.

Source: bf16 and fp32, two threads of a Cascade Lake, calls that alternate, 4096 x 11264 bytes: 1024 bytes are
a fifth slower.
"""


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
        return f"{_SUFFIX}{self.rows}x{self.pieces}x{self.lines}at{self.locality}"

    def share(self, builder: ir.IRBuilder, number: ir.Value, parts: int) -> FetchTile:
        """The rows of the tile that part ``number`` of ``parts`` is to fetch.

        Where they are no multiple, parts overlap; none goes past the end.
        """
        rows = -(-self.rows // parts)
        skipped = builder.mul(self.row_step, _begin(builder, number, self.rows, parts))
        return replace(self, pointer=builder.gep(self.pointer, [skipped], source_etype=I8), rows=rows)

    def emit_part(self, builder: ir.IRBuilder, number: ir.Value, parts: int) -> None:
        """Ask for the lines that belong to step ``number`` of ``parts`` equal steps."""
        self.parts_from(builder, number, 1, parts)(0)

    def parts_from(
        self, builder: ir.IRBuilder, number: ir.Value, multiple: int, parts: int
    ) -> Callable[[int], None]:
        """A function that asks for the lines of step ``number * multiple`` plus its argument of ``parts``
        equal steps, at the place of the builder.

        Where such multiples begin with a row, all places within it are constants.
        """
        size, per_row = -(-self.line_count // parts), self.pieces * self.lines
        is_even = self.line_count % parts == 0
        # So many follow each other in one piece.
        run = math.gcd(size, self.lines) if is_even else 1
        if is_even and multiple * size % per_row == 0:
            rows = builder.mul(number, index(multiple * size // per_row))
            first_row = builder.gep(self.pointer, [builder.mul(self.row_step, rows)], source_etype=I8)

            def ask_from_row(offset: int) -> None:
                for start in range(offset * size, (offset + 1) * size, run):
                    place = self._constant_place(builder, first_row, start)
                    fetch_lines(builder, place, run, self.line_bytes, self.locality)

            return ask_from_row
        first_step = builder.mul(number, index(multiple)) if multiple > 1 else number

        def ask(offset: int) -> None:
            step = builder.add(first_step, index(offset)) if offset else first_step
            begin = _begin(builder, step, self.line_count, parts)
            for start in range(0, size, run):
                first = builder.add(begin, index(start))
                fetch_lines(builder, self._place(builder, first), run, self.line_bytes, self.locality)

        return ask

    def _constant_place(self, builder: ir.IRBuilder, first_row: ir.Value, number: int) -> ir.Value:
        """Where line ``number`` begins, counted from the start of a row."""
        piece, line = divmod(number, self.lines)
        row, piece = divmod(piece, self.pieces)
        place = first_row
        for count, step in ((row, self.row_step), (piece, self.piece_step), (line, index(self.line_bytes))):
            if count:
                place = builder.gep(place, [builder.mul(step, index(count))], source_etype=I8)
        return place

    def _place(self, builder: ir.IRBuilder, number: ir.Value) -> ir.Value:
        """Where line ``number`` of the tile begins, counted along the rows."""
        piece, line = builder.udiv(number, index(self.lines)), builder.urem(number, index(self.lines))
        offset = builder.mul(line, index(self.line_bytes))
        if self.pieces > 1:
            inner = builder.urem(piece, index(self.pieces))
            offset = builder.add(offset, builder.mul(inner, self.piece_step))
        row = builder.udiv(piece, index(self.pieces))
        offset = builder.add(offset, builder.mul(row, self.row_step))
        return builder.gep(self.pointer, [offset], source_etype=I8)


def _begin(builder: ir.IRBuilder, number: ir.Value, count: int, parts: int) -> ir.Value:
    """Where part ``number`` of ``parts`` of ``count`` things begins; ceil(count / parts) are there."""
    if count % parts == 0:
        return builder.mul(number, index(count // parts))
    return builder.udiv(builder.mul(number, index(count)), index(parts))


def fetch_lines(builder: ir.IRBuilder, pointer: ir.Value, count: int, line_bytes: int, locality: int) -> None:
    """Ask for ``count`` cache lines from ``pointer`` on."""
    numbers = [ir.Constant(I32, n) for n in (0, locality, 1)]  # read, ..., data
    for line in range(count):
        place = builder.gep(pointer, [index(line * line_bytes)], source_etype=I8) if line else pointer
        intrinsic(builder, "llvm.prefetch.p0", ir.VoidType(), [place, *numbers])


def fetch_columns(
    builder: ir.IRBuilder, b: Operand, depth: ir.Value, first: ir.Value, count: int, line_bytes: int
) -> None:
    """Ask for the line at ``depth`` of each of ``count`` columns from ``first`` on, for all caches."""
    for column in range(count):
        place = b.at(builder, depth, builder.add(first, index(column)))
        fetch_lines(builder, place.pointer, 1, line_bytes, locality=3)


def call_fetching(
    builder: ir.IRBuilder,
    name: str,
    values: Sequence[ir.Value],
    fetch: FetchTile | None,
    build: Callable[[ir.IRBuilder, Sequence[ir.Value], FetchTile | None], None],
    *,
    may_fetch: bool = False,
) -> None:
    """Call the module's internal function ``name`` on ``values``; a tile that is given is fetched meanwhile.

    ``build(builder, arguments, fetch)`` fills the function when it is first called. Under ``may_fetch`` a
    call with nothing to fetch uses a function that fetches where the module has one, and lets it ask for a
    line that is at hand: it is the rest of a loop that fetched, rarely taken, and code of its own would take
    a sixth of the time to compile an attention kernel.
    """
    types = [POINTER if isinstance(v.type, ir.PointerType) else v.type for v in values]
    if fetch is None and may_fetch:
        fetching = _fetching_function(builder.module, name)
        if fetching is not None:
            here = next(v for v, kind in zip(values, types, strict=True) if kind == POINTER)
            builder.call(fetching, [*values, here, index(0), index(0)])
            return
    given = [] if fetch is None else [fetch.pointer, fetch.row_step, fetch.piece_step]

    def fill(inner: ir.IRBuilder, arguments: Sequence[ir.Value]) -> None:
        own = arguments[: len(values)]
        if fetch is None:
            build(inner, own, None)
            return
        pointer, row_step, piece_step = arguments[len(values) :]
        build(inner, own, replace(fetch, pointer=pointer, row_step=row_step, piece_step=piece_step))

    full_name = name if fetch is None else name + fetch.name
    types += [POINTER, I64, I64][: len(given)]
    builder.call(internal_function(builder.module, full_name, types, fill), [*values, *given])


def _fetching_function(module: ir.Module, name: str) -> ir.Function | None:
    """The module's function that does what ``name`` does and fetches a tile; None where there is none."""
    return next((f for f in module.functions if f.name.startswith(f"{name}{_SUFFIX}")), None)
