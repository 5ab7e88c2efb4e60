"""What the micro-kernels of dots (``dot_outer``, ``dot_inner``) share: their calls, tiles that they fetch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from tilejit.backend.cpu.dot_units import Unit
from tilejit.backend.cpu.fetch import FetchTile, call_fetching
from tilejit.backend.cpu.loops import index
from tilejit.backend.cpu.operand import Stride, advance, lanes_type, load_vector
from tilejit.backend.cpu.values import number, splat
from tilejit.records import dataclass


@dataclass(frozen=True)
class Fetching:
    """A tile that is fetched during ``steps`` equal steps of a micro-kernel's loops."""

    tile: FetchTile
    steps: int


def chosen_strides(known: Sequence[int | None], given: Sequence[ir.Value]) -> list[Stride]:
    """The strides that a kernel is made for, and those that it is given where it is made for any."""
    return [value if fixed is None else fixed for fixed, value in zip(known, given, strict=True)]


def own_fetching(fetching: Fetching | None, tile: FetchTile | None) -> Fetching | None:
    """What is fetched, as the function knows it that fetches."""
    return None if fetching is None or tile is None else Fetching(tile, fetching.steps)


def call_kernel(
    builder: ir.IRBuilder,
    name: str,
    places: Sequence[ir.Value],
    numbers: Sequence[ir.Value],
    strides: Sequence[Stride],
    fetching: Fetching | None,
    build: Callable[[ir.IRBuilder, Sequence[ir.Value], FetchTile | None], None],
) -> None:
    """Call the internal function ``name`` on pointers, numbers and strides, as ``build`` fills it; a tile
    that is given is fetched meanwhile.
    """
    values = [*places, *numbers, *(index(stride) for stride in strides)]
    if fetching is None:
        call_fetching(builder, name, values, None, build)
    else:
        call_fetching(builder, f"{name}.in{fetching.steps}", values, fetching.tile, build)


def fetch_step(builder: ir.IRBuilder, fetching: Fetching | None, step: ir.Value) -> None:
    """Ask for the lines that go with a step, if any do."""
    if fetching is not None:
        fetching.tile.emit_part(builder, step, fetching.steps)


def row_value(builder: ir.IRBuilder, unit: Unit, pointer: ir.Value, row: int, lanes: int) -> ir.Value:
    """The number of a row of C in every lane."""
    place = advance(builder, pointer, row, unit.accumulator.itemsize)
    scalar = load_vector(builder, place, unit.accumulator, 1, unit.accumulator)
    return splat(builder, scalar, lanes if lanes > 1 else None)


def load_or_zero(
    builder: ir.IRBuilder,
    unit: Unit,
    places: Sequence[ir.Value],
    lanes: Sequence[int],
    accumulate: ir.Value,
) -> list[ir.Value]:
    """The values of C to start from."""
    before = builder.block
    loading = builder.append_basic_block("c.load")
    after = builder.append_basic_block("c.loaded")
    builder.cbranch(accumulate, loading, after)
    builder.position_at_end(loading)
    loaded = [
        load_vector(builder, place, unit.accumulator, count, unit.accumulator)
        for place, count in zip(places, lanes, strict=True)
    ]
    builder.branch(after)
    builder.position_at_end(after)
    phis = []
    for value, count in zip(loaded, lanes, strict=True):
        phi = builder.phi(value.type)
        phi.add_incoming(number(lanes_type(unit.accumulator, count), 0), before)
        phi.add_incoming(value, loading)
        phis.append(phi)
    return phis
