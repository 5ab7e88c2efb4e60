"""Rows that are brought into the cache while a nest computes on others, a few lines with every group of
chunks.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from tilejit.backend.cpu.evaluate import NextTripEvaluator
from tilejit.backend.cpu.fetch import fetch_lines
from tilejit.backend.cpu.scope import START, Point, Scope
from tilejit.backend.cpu.values import I64
from tilejit.ir.loop_plan import Fetch, Nest

_SECOND_LEVEL = 2
"""The locality of LLVM's prefetch that leaves the first-level cache out."""


class RowFetches:
    """The fetches of one nest."""

    def __init__(self, scope: Scope, nest: Nest) -> None:
        self.scope = scope
        self.nest = nest
        self.ahead = {
            whose: NextTripEvaluator(scope, scope.ahead[whose])
            for whose in dict.fromkeys(fetch.ahead for fetch in nest.fetches)
        }

    def prepare(self) -> None:
        """Compute once what is the same for all rows."""
        start = (START,) * len(self.nest.shape)
        for fetch in self.nest.fetches:
            self.ahead[fetch.ahead].at(fetch.load.operand("pointer"), start)

    def emit(
        self, point: Callable[[ir.Value], Point], base: ir.Value, elements: int, length: ir.Value
    ) -> None:
        """Fetch, of rows of ``length`` elements, what belongs to ``elements`` indices from ``base`` on.

        ``point`` is where an index along the vector dimension lies. Into the second-level cache: in the first
        it would take the place of the rows in use.
        """
        line, builder = self.scope.target.cache_line_bytes, self.scope.builder
        for fetch in self.nest.fetches:
            values = self.ahead[fetch.ahead]
            index = self._index(fetch, base, length)
            # What is computed of the address on one way through a nest is not there on another one.
            values.enter_branch()
            address = values.at(fetch.load.operand("pointer"), point(index)).value
            values.leave_branch()
            size = int(fetch.share * elements * fetch.load.result.type.element.itemsize)
            fetch_lines(builder, address, -(-size // line), line, _SECOND_LEVEL)

    def _index(self, fetch: Fetch, base: ir.Value, length: ir.Value) -> ir.Value:
        """Where, in the part of a row that is fetched here, what belongs to index ``base`` begins."""
        builder = self.scope.builder
        if fetch.share == 1:
            return base
        first, offset = (
            builder.udiv(
                builder.mul(value, ir.Constant(I64, part.numerator)), ir.Constant(I64, part.denominator)
            )
            for value, part in ((length, fetch.first), (base, fetch.share))
        )
        return builder.add(first, offset)
