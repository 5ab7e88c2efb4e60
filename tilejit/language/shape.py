"""Functions that change the shape of tiles and move their elements."""

from __future__ import annotations

from tilejit import ops
from tilejit.frontend.context import active, fail
from tilejit.frontend.operators import meet
from tilejit.frontend.tile import Tile
from tilejit.frontend.values import (
    as_axis,
    as_int,
    as_number,
    as_shape,
    as_shape_arguments,
    as_tile,
    broadcast_to_shape,
    broadcast_together,
    emit,
    reshape_to,
    size_of,
)
from tilejit.ir.types import PointerType
from tilejit.language.function import Operand, language_function


@language_function
def broadcast(input: Operand, other: Operand) -> tuple[Tile, ...]:
    """Expand two tiles to their common shape and return both."""
    return broadcast_together(
        "tl.broadcast", as_tile(input, "input of tl.broadcast"), as_tile(other, "other of tl.broadcast")
    )


@language_function
def broadcast_to(input: Operand, *shape: object) -> Tile:
    """Expand ``input`` to ``shape``: scalars and dimensions of size 1 are repeated."""
    sizes = as_shape(as_shape_arguments(shape), "the shape of tl.broadcast_to")
    return broadcast_to_shape(as_tile(input, "input of tl.broadcast_to"), sizes, "tl.broadcast_to")


@language_function
def expand_dims(input: Operand, axis: object) -> Tile:
    """Insert dimensions of size 1 at ``axis`` (an integer or several; negative ones count from the end)."""
    tile = as_tile(input, "input of tl.expand_dims")
    axes = axis if isinstance(axis, tuple | list) else (axis,)
    rank = tile.rank + len(axes)
    places = {as_axis(entry, rank, "tl.expand_dims") for entry in axes}
    if len(places) != len(axes):
        fail(f"tl.expand_dims: the axes {tuple(axes)} name one dimension twice")
    sizes = iter(tile.tile_type.shape)
    return reshape_to(tile, tuple(1 if place in places else next(sizes) for place in range(rank)))


@language_function
def reshape(input: Operand, *shape: object, can_reorder: bool = False) -> Tile:
    """Return the same elements, in row-major order, in another shape of equal size."""
    return _reshape("tl.reshape", input, shape)


@language_function
def view(input: Operand, *shape: object) -> Tile:
    """Same as ``reshape``."""
    return _reshape("tl.view", input, shape)


def _reshape(name: str, input: object, shape: tuple[object, ...]) -> Tile:
    tile = as_tile(input, f"input of {name}")
    given = as_shape_arguments(shape)
    if any(size == -1 for size in map(as_number, given)):
        fail(f"{name} needs every size; got -1", "write it out, for example x.numel // 4")
    sizes = as_shape(given, f"the shape of {name}")
    if size_of(sizes) != tile.tile_type.size:
        fail(
            f"{name} keeps the number of elements; got shape {tile.tile_type.shape} "
            f"({tile.tile_type.size} elements) "
            f"and {sizes} ({size_of(sizes)} elements)"
        )
    return reshape_to(tile, sizes)


@language_function
def ravel(x: Operand, can_reorder: bool = False) -> Tile:
    """Return the elements of ``x`` in one dimension."""
    tile = as_tile(x, "x of tl.ravel")
    return reshape_to(tile, (tile.tile_type.size,))


@language_function
def permute(input: Operand, *dims: object) -> Tile:
    """Reorder the dimensions: dimension i of the result is dimension ``dims[i]`` of ``input``."""
    return _permute("tl.permute", as_tile(input, "input of tl.permute"), as_shape_arguments(dims))


@language_function
def trans(input: Operand, *dims: object) -> Tile:
    """Reorder the dimensions; without ``dims`` swap the last two."""
    tile, order = as_tile(input, "input of tl.trans"), as_shape_arguments(dims)
    if not order:
        if tile.rank < 2:
            fail(
                f"tl.trans needs a tile with at least two dimensions; got {tile.tile_type}",
                "add one with x[None, :]",
            )
        order = (*range(tile.rank - 2), tile.rank - 1, tile.rank - 2)
    return _permute("tl.trans", tile, order)


def _permute(name: str, tile: Tile, dims: tuple[object, ...]) -> Tile:
    order = tuple(as_axis(dim, tile.rank, name) if tile.rank else as_int(dim, name) for dim in dims)
    if sorted(order) != list(range(tile.rank)):
        fail(f"{name}: {order} does not name each of the {tile.rank} dimensions of {tile.tile_type} once")
    if order == tuple(range(tile.rank)):
        return tile
    return emit(ops.TRANSPOSE, {"order": order}, x=tile)


@language_function
def join(a: Operand, b: Operand) -> Tile:
    """Put two tiles side by side in a new last dimension of size 2."""
    left, right = as_tile(a, "a of tl.join"), as_tile(b, "b of tl.join")
    if isinstance(left.dtype, PointerType) or isinstance(right.dtype, PointerType):
        left, right = broadcast_together("tl.join", left, right)
    else:
        left, right = meet("tl.join", left, right)
    return emit(ops.JOIN, lhs=left, rhs=right)


@language_function
def split(a: Operand) -> tuple[Tile, ...]:
    """Take a tile apart along its last dimension, which must have size 2."""
    tile = as_tile(a, "a of tl.split")
    if not tile.rank or tile.tile_type.shape[-1] != 2:
        fail(
            f"tl.split needs a last dimension of size 2; got {tile.tile_type}",
            "reshape it first, for example to (..., 2)",
        )
    return tuple(map(Tile, active().create(ops.SPLIT, x=tile.value).results))
