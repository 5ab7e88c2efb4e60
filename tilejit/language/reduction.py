"""Functions that combine the elements of tiles along a dimension."""

from __future__ import annotations

from collections.abc import Callable

from tilejit import ops
from tilejit.frontend.context import active, fail
from tilejit.frontend.operators import subtract, true_divide
from tilejit.frontend.promote import extremum_type, sum_type
from tilejit.frontend.tile import Tile, describe
from tilejit.frontend.values import (
    as_axis,
    as_tile,
    broadcast_together,
    cast_to,
    emit,
    reshape_to,
)
from tilejit.ir.core import Block
from tilejit.ir.types import DType, Element, PointerType, TileType
from tilejit.language.creation import as_dtype
from tilejit.language.function import Operand, language_function
from tilejit.language.math import exp
from tilejit.ops import ReduceKind

Combine = Callable[..., object]


def number_tile(value: object, name: str) -> Tile:
    """Return the tile that a reduction works on: of numbers, with at least one dimension."""
    tile = as_tile(value, f"input of {name}")
    if isinstance(tile.dtype, PointerType):
        fail(f"{name} works on numbers; got {tile.tile_type}", "load the values first with tl.load")
    return tile


def _flatten(tile: Tile, axis: object, name: str) -> tuple[Tile, int]:
    """Return the tile and the dimension to reduce; without an axis, all elements in one dimension."""
    if axis is None:
        return reshape_to(tile, (tile.tile_type.size,)), 0
    return tile, as_axis(axis, tile.rank, name)


def _keep(result: Tile, shape: tuple[int, ...], axis: object, keep_dims: object, name: str) -> Tile:
    """Give a result its reduced dimensions back, with size 1."""
    if not keep_dims:
        return result
    if axis is None:
        return reshape_to(result, (1,) * len(shape))
    place = as_axis(axis, len(shape), name)
    return reshape_to(result, tuple(1 if d == place else size for d, size in enumerate(shape)))


def _reduce(kind: ReduceKind, tile: Tile, axis: object, keep_dims: object, name: str) -> Tile:
    shape = tile.tile_type.shape
    if not shape and axis is None:
        return tile
    flat, place = _flatten(tile, axis, name)
    result = emit(ops.REDUCE, {"axis": place, "kind": kind}, x=flat)
    return _keep(result, shape, axis, keep_dims, name)


@language_function
def sum(
    input: Operand, axis: int | None = None, keep_dims: bool = False, dtype: Element | None = None
) -> Tile:
    """Return the sum along ``axis``, or of all elements.

    Integers below 32 bits are added as int32 or uint32; fp16 and bf16 keep their type; ``dtype`` chooses
    another one.
    """
    tile = number_tile(input, "tl.sum")
    return _reduce(ReduceKind.SUM, widened(tile, dtype, "tl.sum"), axis, keep_dims, "tl.sum")


def widened(tile: Tile, dtype: Element | None, name: str) -> Tile:
    """Return the tile in the type in which it is added."""
    assert isinstance(tile.dtype, DType)
    wide = cast_to(tile, sum_type(tile.dtype) if dtype is None else as_dtype(dtype, f"dtype of {name}"))
    if isinstance(wide.dtype, DType) and wide.dtype.is_fp8():
        fail(f"{name} does not add {wide.dtype}", "convert it first with .to(tl.float32), or give dtype=")
    return wide


def _extremum(
    kind: ReduceKind, name: str, input: object, axis: object, return_indices: object, keep_dims: object
) -> Tile:
    if return_indices:
        fail(
            f"{name} with return_indices is not supported yet",
            f"take the {kind.value} first, then the smallest index that has it: tl.min(tl.where(x == "
            "m, index, n))",
        )
    tile = number_tile(input, name)
    assert isinstance(tile.dtype, DType)
    return _reduce(kind, cast_to(tile, extremum_type(tile.dtype)), axis, keep_dims, name)


@language_function
def max(
    input: Operand,
    axis: int | None = None,
    return_indices: bool = False,
    return_indices_tie_break_left: bool = True,
    keep_dims: bool = False,
) -> Tile:
    """Return the maximum along ``axis``, or of all elements; types below 32 bits widen to fp32 or int32;
    NaN loses.
    """
    return _extremum(ReduceKind.MAX, "tl.max", input, axis, return_indices, keep_dims)


@language_function
def min(
    input: Operand,
    axis: int | None = None,
    return_indices: bool = False,
    return_indices_tie_break_left: bool = True,
    keep_dims: bool = False,
) -> Tile:
    """Return the minimum along ``axis``, or of all elements; types below 32 bits widen to fp32 or int32;
    NaN loses.
    """
    return _extremum(ReduceKind.MIN, "tl.min", input, axis, return_indices, keep_dims)


@language_function
def xor_sum(input: Operand, axis: int | None = None, keep_dims: bool = False) -> Tile:
    """Return the exclusive or of integers along ``axis``, or of all elements."""
    tile = number_tile(input, "tl.xor_sum")
    assert isinstance(tile.dtype, DType)
    if tile.dtype.is_floating():
        fail(f"tl.xor_sum works on integers; got {tile.tile_type}", "cast it to an integer type")
    return _reduce(ReduceKind.XOR, tile, axis, keep_dims, "tl.xor_sum")


@language_function
def reduce(input: object, axis: int | None, combine_fn: Combine, keep_dims: bool = False) -> object:
    """Combine elements along ``axis`` (None: all) with ``combine_fn``.

    ``input`` is a tile or a tuple of tiles; ``combine_fn`` takes the elements of the left side, then of the
    right side, and returns as many. It must be associative: the order of combining is not fixed.
    """
    tiles, is_tuple = combined_tiles(input, "tl.reduce")
    shape = tiles[0].tile_type.shape
    flat = [_flatten(tile, axis, "tl.reduce") for tile in tiles]
    region = combine_region([tile.dtype for tile in tiles], combine_fn, "tl.reduce")
    op = active().create(
        ops.REDUCE_CUSTOM,
        attributes={"axis": flat[0][1]},
        regions=(region,),
        x=[tile.value for tile, _ in flat],
    )
    results = tuple(_keep(Tile(value), shape, axis, keep_dims, "tl.reduce") for value in op.results)
    return results if is_tuple else results[0]


def combined_tiles(input: object, name: str) -> tuple[tuple[Tile, ...], bool]:
    """Return the tiles that a custom reduction or scan combines, and whether they came as a tuple."""
    is_tuple = isinstance(input, tuple | list)
    values = tuple(input) if isinstance(input, tuple | list) else (input,)
    if not values:
        fail(f"{name} needs at least one tile; got an empty tuple")
    tiles = broadcast_together(name, *(number_tile(value, name) for value in values))
    if not tiles[0].rank:
        fail(f"{name} needs a tile with at least one dimension; got {tiles[0].tile_type}")
    return tiles, is_tuple


def combine_region(elements: list[Element], combine_fn: Combine, name: str) -> Block:
    """Trace the function that combines two sets of elements into a region."""
    if not callable(combine_fn):
        fail(
            f"combine_fn of {name} must be a function; got {describe(combine_fn)}",
            "pass a helper, not its result",
        )
    trace = active()
    block = Block([TileType(element) for element in elements] * 2)
    with trace.region(block):
        result = combine_fn(*map(Tile, block.arguments))
        outputs = tuple(result) if isinstance(result, tuple | list) else (result,)
        if len(outputs) != len(elements):
            fail(f"combine_fn of {name} must return {len(elements)} values; got {len(outputs)}")
        values = []
        for output, element in zip(outputs, elements, strict=True):
            tile = as_tile(output, f"what combine_fn of {name} returns")
            if tile.tile_type != TileType(element):
                fail(
                    f"combine_fn of {name} must return what it takes: {element} was expected; got "
                    f"{tile.tile_type}",
                    "convert the result with .to()",
                )
            values.append(tile.value)
        trace.create(ops.YIELD, values=values)
    return block


@language_function
def softmax(x: Operand, dim: int | None = None, keep_dims: bool = False, ieee_rounding: bool = False) -> Tile:
    """Return the softmax of ``x`` along ``dim``, which is 0 by default."""
    tile = number_tile(x, "tl.softmax")
    axis = 0 if dim is None else dim
    shifted = subtract(tile, max(tile, axis, keep_dims=True))
    weights = exp(shifted)
    return true_divide(weights, sum(weights, axis, keep_dims=True))
