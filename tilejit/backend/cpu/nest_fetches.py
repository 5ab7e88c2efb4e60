"""Rows that are brought into the cache while a nest computes on others, a few lines with every chunk."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from llvmlite import ir

from tilejit.backend.cpu.accesses import address_along
from tilejit.backend.cpu.evaluate import Evaluator, NextTripEvaluator
from tilejit.backend.cpu.fetch import fetch_lines
from tilejit.backend.cpu.scope import START, Point, Scope
from tilejit.backend.cpu.values import I8, I64
from tilejit.ir.core import Op
from tilejit.ir.loop_plan import Fetch, Nest

_FIRST_LEVEL, _SECOND_LEVEL = 3, 2
"""The localities of LLVM's prefetch for all caches, and for all but the first."""
_NEAR_BYTES = 1024
"""How far ahead of its place a nest that alone walks its rows has their lines brought from the second-level
cache into the first: the arithmetic of a few lines fills the scheduler, and the loads of others wait outside.
Sapphire Rapids, two threads, speed with it and with fetches spread over the chunks to that without, cross
entropy 1.05 (bf16) and 1.07 (fp32), rope 1.11 (bf16) and 1.01, x / (1 + exp(-x)) 0.99 and 1.13, a copy 0.99.
Nests that share rows have all lines asked for before the first chunk: spread they lose 1 % (rms_norm, bf16).
"""


class RowFetches:
    """The fetches of one nest, whose own places ``values`` gives."""

    def __init__(self, scope: Scope, nest: Nest, values: Evaluator) -> None:
        self.scope = scope
        self.nest = nest
        self.values = values
        self.ahead = {
            whose: NextTripEvaluator(scope, scope.ahead[whose])
            for whose in dict.fromkeys(fetch.ahead for fetch in nest.fetches)
        }
        self._parts: list[list[_Line]] = []

    def prepare(self) -> None:
        """Compute once what is the same for all rows."""
        start = (START,) * len(self.nest.shape)
        for fetch in self.nest.fetches:
            self.ahead[fetch.ahead].at(fetch.load.operand("pointer"), start)

    def begin(
        self, point: Callable[[ir.Value], Point], base: ir.Value, elements: int, length: ir.Value
    ) -> None:
        """Begin to fetch, of rows of ``length`` elements, what belongs to ``elements`` indices from ``base``.

        ``point`` is where an index along the vector dimension lies. Into the second-level cache: in the first
        it would take the place of the rows in use. What comes before each chunk, ``emit_part`` asks for.
        """
        self._parts = [[] for _ in range(self.nest.unroll)]
        for fetch in self.nest.fetches:
            size = elements * fetch.load.result.type.element.itemsize
            index = self._index(fetch, base, length)
            ahead = self._address(self.ahead[fetch.ahead], fetch.load, point(index))
            is_alone = fetch.share == 1
            self._add_lines(ahead, 0, int(fetch.share * size), _SECOND_LEVEL, is_spread=is_alone)
            if is_alone and self._is_dense(fetch.load):
                here = self._address(self.values, fetch.load, point(base))
                self._add_lines(here, _NEAR_BYTES, size, _FIRST_LEVEL, is_spread=True)

    def emit_part(self) -> None:
        """Ask for the lines that go with the next chunk, if any do."""
        builder = self.scope.builder
        for line in self._parts.pop(0) if self._parts else ():
            place = builder.gep(line.pointer, [ir.Constant(I64, line.offset)], source_etype=I8)
            fetch_lines(builder, place, 1, self.scope.target.cache_line_bytes, line.locality)

    def _is_dense(self, load: Op) -> bool:
        """Whether the nest reads half of the memory it walks over: what is a little ahead is of use."""
        nest, strides = self.nest, self.scope.plan.accesses[load].strides
        reach = nest.shape[nest.vector_dim]
        for dim in reversed(nest.order):
            if dim == nest.vector_dim or nest.shape[dim] == 1:
                continue
            stride = strides[dim]
            if stride is None or stride.constant is None or not 0 < stride.constant <= 2 * reach:
                return False
            reach = stride.constant * nest.shape[dim]
        return True

    def _add_lines(self, pointer: ir.Value, first: int, size: int, locality: int, *, is_spread: bool) -> None:
        """Add the lines of ``size`` bytes from ``first`` bytes behind ``pointer`` on: to all parts or one."""
        line_bytes = self.scope.target.cache_line_bytes
        count = -(-size // line_bytes)
        for number in range(count):
            part = number * len(self._parts) // count if is_spread else 0
            self._parts[part].append(_Line(pointer, first + number * line_bytes, locality))

    def _address(self, values: Evaluator, load: Op, point: Point) -> ir.Value:
        # What is computed of the address on one way through a nest is not there on another one.
        values.enter_branch()
        address = address_along(values, load.operand("pointer"), point, self.nest.vector_dim)
        values.leave_branch()
        return address.value

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


class _Line(NamedTuple):
    """A line to ask for: ``offset`` bytes behind a pointer."""

    pointer: ir.Value
    offset: int
    locality: int
