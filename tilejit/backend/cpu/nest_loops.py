"""Loops and branches around the points of a nest.

Loops stay open while their bodies are emitted: a value that an inner loop needs and an outer one knows is
appended to the outer body, before the inner loop begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from llvmlite import ir

from tilejit.backend.cpu.loops import index
from tilejit.backend.cpu.scope import START, Coordinate, Scope
from tilejit.backend.cpu.values import I64

LoopBody = Callable[[ir.Value, list[ir.Value]], list[ir.Value]]
ZERO = ir.Constant(I64, 0)


class Branching(Protocol):
    """What keeps the values of a nest; see ``Evaluator``."""

    def enter_branch(self) -> None: ...

    def leave_branch(self) -> None: ...


def loop(
    scope: Scope,
    count: int | ir.Value,
    carried: Sequence[ir.Value],
    body: LoopBody,
    first: ir.Value = ZERO,
) -> list[ir.Value]:
    """Emit a loop of trips ``first`` to ``count`` - 1, one at least; ``body`` gets the trip number and the
    carried values.
    """
    outer = scope.builder
    function = outer.function
    block = function.append_basic_block("loop")
    exit_block = function.append_basic_block("done")
    inner = ir.IRBuilder(block)
    trip = inner.phi(I64)
    phis = [inner.phi(value.type) for value in carried]
    scope.builders.append(inner)
    results = body(trip, list(phis))
    scope.builders.pop()
    following = inner.add(trip, ir.Constant(I64, 1), flags=("nuw", "nsw"))
    inner.cbranch(inner.icmp_unsigned("<", following, index(count)), block, exit_block)
    trip.add_incoming(first, outer.block)
    trip.add_incoming(following, inner.block)
    for phi, start, result in zip(phis, carried, results, strict=True):
        phi.add_incoming(start, outer.block)
        phi.add_incoming(result, inner.block)
    outer.branch(block)
    outer.position_at_end(exit_block)
    return results


def when(
    scope: Scope,
    values: Branching,
    condition: ir.Value,
    otherwise: list[ir.Value],
    emit: Callable[[], list[ir.Value]],
) -> list[ir.Value]:
    """What ``emit`` returns where a condition holds, else ``otherwise``; nothing else is kept of it."""
    builder = scope.builder
    inside, after = (builder.function.append_basic_block(name) for name in ("some", "after"))
    before = builder.block
    builder.cbranch(condition, inside, after)
    builder.position_at_end(inside)
    values.enter_branch()
    results = emit()
    values.leave_branch()
    end = builder.block
    builder.branch(after)
    builder.position_at_end(after)
    phis = [builder.phi(value.type) for value in otherwise]
    for phi, value, result in zip(phis, otherwise, results, strict=True):
        phi.add_incoming(value, before)
        phi.add_incoming(result, end)
    return list(phis)


def for_each(
    scope: Scope, shape: Sequence[int], dims: Sequence[int], body: Callable[[dict[int, Coordinate]], None]
) -> None:
    """Emit loops over ``dims``, the first outermost, with ``body`` inside."""

    def nested(depth: int, known: dict[int, Coordinate]) -> None:
        if depth == len(dims):
            body(known)
            return
        if shape[dims[depth]] == 1:
            nested(depth + 1, {**known, dims[depth]: START})
            return

        def trip_body(trip: ir.Value, _: list[ir.Value]) -> list[ir.Value]:
            nested(depth + 1, {**known, dims[depth]: Coordinate(trip, len(scope.builders) - 1)})
            return []

        loop(scope, shape[dims[depth]], [], trip_body)

    nested(0, {})
