"""Numbers become constants, shapes are made equal, elements are cast: what every language function does
first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tilejit import ops
from tilejit.frontend.constexpr import Constexpr
from tilejit.frontend.context import active, fail
from tilejit.frontend.promote import PromotionError, number_type
from tilejit.frontend.tile import Number, Tile, Undefined, describe
from tilejit.ir.core import Value
from tilejit.ir.opdef import Attribute, OpDef
from tilejit.ir.types import FP32, INT1, INT64, UINT64, DType, Element, PointerType, product
from tilejit.ops import Rounding

Shape = tuple[int, ...]


def emit(
    definition: OpDef,
    attributes: dict[str, Attribute] | None = None,
    **operands: Tile | Sequence[Tile] | None,
) -> Tile:
    """Make an op with one result from tiles."""
    values: dict[str, Value | Sequence[Value] | None] = {}
    for name, operand in operands.items():
        if isinstance(operand, Tile):
            values[name] = operand.value
        elif operand is not None:
            values[name] = [tile.value for tile in operand]
    return Tile(active().create_from(definition, values, attributes).result)


def as_number(value: object) -> Number | None:
    """Return a Python number for numbers of any sort (also ``tl.constexpr`` and numpy scalars), None for
    others.
    """
    if isinstance(value, bool | int | float):
        return value
    if type(value) is Constexpr:
        return as_number(value.value)
    if isinstance(value, np.generic):
        return as_number(value.item())
    return None


def as_tile(value: object, what: str = "value") -> Tile:
    """Return ``value`` as a tile; a number becomes a strong scalar."""
    if isinstance(value, Tile):
        return value
    number = as_number(value)
    if number is None:
        fail(f"{what} must be a tile or a number; got {describe(value)}")
    return make_constant(number, strong_type(number))


def strong_type(number: Number) -> DType:
    """Return the type a number has on its own."""
    try:
        return number_type(number)
    except PromotionError as error:
        fail(str(error), error.hint)


def make_constant(number: Number, dtype: Element) -> Tile:
    """Return a scalar of a type whose value is known; integers must fit, floats are rounded when they are
    used.
    """
    value: Number = number
    if isinstance(dtype, DType) and dtype.is_floating():
        value = float(number)
    elif isinstance(dtype, DType):
        if isinstance(number, float):
            if not math.isfinite(number) or dtype.is_bool():
                value = (
                    bool(number) if dtype.is_bool() else 0 if math.isnan(number) else _saturate(number, dtype)
                )
            else:
                value = int(_saturate(number, dtype))
        check_range(int(value), dtype)
        value = bool(value) if dtype.is_bool() else int(value)
    op = active().create(ops.CONSTANT, attributes={"value": value, "dtype": dtype})
    return Tile(op.result, value)


def wrap_integer(number: int, dtype: DType) -> int:
    """Return the integer of ``dtype`` that has the low bits of ``number``."""
    return (number - dtype.min_value) % (1 << dtype.bits) + dtype.min_value


def _saturate(number: float, dtype: DType) -> int:
    return (
        dtype.max_value
        if number >= dtype.max_value
        else dtype.min_value
        if number <= dtype.min_value
        else int(number)
    )


def check_range(number: int, dtype: DType, what: str = "") -> None:
    """Refuse an integer that ``dtype`` does not hold; ``what`` is an operator or function named in the
    message.
    """
    if dtype.min_value <= number <= dtype.max_value:
        return
    lead = f"{what}: " if what else ""
    if number < 0 and dtype.is_int_unsigned():
        fail(
            f"{lead}the negative number {number} meets a tile of unsigned type {dtype}",
            "cast the tile to a signed type first",
        )
    fail(
        f"{lead}the number {number} is out of range for {dtype} ({dtype.min_value} to {dtype.max_value})",
        "cast the tile to a wider type first",
    )


# Shapes.


def as_int(value: object, what: str) -> int:
    """Return an integer known at compile time."""
    if isinstance(value, Undefined):
        value.refuse()
    known = value.constant if isinstance(value, Tile) else as_number(value)
    if known is None or isinstance(known, float):
        if isinstance(value, Tile) and known is None:
            fail(
                f"{what} must be known at compile time; got a value of type {value.tile_type} that "
                "only the run knows",
                "pass it to the kernel as a tl.constexpr parameter",
            )
        fail(f"{what} must be an integer known at compile time; got {describe(value)}")
    return int(known)


def as_shape(shape: object, what: str = "shape") -> Shape:
    """Return a shape from an integer, or a tuple or list of integers known at compile time."""
    if isinstance(shape, Constexpr):
        shape = shape.value
    if isinstance(shape, tuple | list):
        sizes = tuple(as_int(size, f"every entry of {what}") for size in shape)
    else:
        sizes = (as_int(shape, what),)
    for size in sizes:
        if size < 1:
            fail(f"every entry of {what} must be positive; got {sizes}")
    return sizes


def as_shape_arguments(shape: tuple[object, ...], what: str = "shape") -> tuple[object, ...]:
    """Return the entries of ``f(x, 2, 4)`` or ``f(x, (2, 4))`` alike."""
    if len(shape) == 1:
        first = shape[0].value if isinstance(shape[0], Constexpr) else shape[0]
        if isinstance(first, tuple | list):
            return tuple(first)
    return shape


def as_axis(axis: object, rank: int, what: str, *, extra: int = 0) -> int:
    """Return an axis between 0 and rank - 1 (+ ``extra``), counting negative ones from the end."""
    if isinstance(axis, tuple | list):
        fail(
            f"{what}: axis is one dimension; got {describe(tuple(axis))}",
            "take one dimension after the other, or all with axis=None where that is allowed",
        )
    number, limit = as_int(axis, f"{what}: axis"), rank + extra
    if not -limit <= number < limit:
        fail(f"{what}: axis {number} does not exist; the tile has {rank} dimension{'s' * (rank != 1)}")
    return number % limit


def reshape_to(tile: Tile, shape: Shape) -> Tile:
    """Give a tile another shape of equal size."""
    if tile.tile_type.shape == shape:
        return tile
    return emit(ops.RESHAPE, {"shape": shape}, x=tile)


def broadcast_to_shape(tile: Tile, shape: Shape, what: str) -> Tile:
    """Expand a tile: scalars and dimensions of size 1 are repeated, leading dimensions added."""
    have = tile.tile_type.shape
    if have == shape:
        return tile
    if not have:
        return emit(ops.SPLAT, {"shape": shape}, x=tile)
    if len(have) > len(shape):
        fail(f"{what}: a tile of shape {have} does not broadcast to {shape}: it has more dimensions")
    padded = (1,) * (len(shape) - len(have)) + have
    for dimension, (size, wanted) in enumerate(zip(padded, shape, strict=True)):
        if size not in (1, wanted):
            fail(
                f"{what}: a tile of shape {have} does not broadcast to {shape}: dimension {dimension} "
                f"is {size}, not {wanted}"
            )
    tile = reshape_to(tile, padded)
    return tile if padded == shape else emit(ops.BROADCAST, {"shape": shape}, x=tile)


def common_shape(shapes: Sequence[Shape], what: str) -> Shape:
    """Return the shape that all of ``shapes`` broadcast to."""
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    result = []
    for dimension in range(rank):
        sizes = list(dict.fromkeys(shape[dimension] for shape in padded if shape[dimension] != 1))
        if len(sizes) > 1:
            given = " and ".join(map(str, shapes))
            clash = " and ".join(map(str, sizes))
            fail(
                f"{what}: shapes {given} do not match: dimension {dimension} is {clash}",
                "make the sizes equal, or one of them 1 with x[:, None] or x[None, :]",
            )
        result.append(sizes[0] if sizes else 1)
    return tuple(result)


def broadcast_together(what: str, *tiles: Tile) -> tuple[Tile, ...]:
    """Expand tiles to their common shape."""
    shapes = [tile.tile_type.shape for tile in tiles]
    if all(shape == shapes[0] for shape in shapes):
        return tiles
    shape = common_shape(shapes, what)
    return tuple(broadcast_to_shape(tile, shape, what) for tile in tiles)


# Casts.


def cast_to(tile: Tile, dtype: Element, rounding: Rounding = Rounding.RTNE) -> Tile:
    """Convert the elements of a tile to another type by value; pointers convert to and from 64-bit
    integers.
    """
    have = tile.dtype
    if have == dtype:
        return tile
    if isinstance(have, PointerType) or isinstance(dtype, PointerType):
        return _cast_pointer(tile, dtype)
    if tile.constant is not None and rounding is Rounding.RTNE and _is_foldable(tile.constant, dtype):
        return make_constant(tile.constant, dtype)
    attributes: dict[str, Attribute] = {"dtype": dtype}
    if rounding is not Rounding.RTNE:
        attributes["rounding"] = rounding
    return emit(ops.CAST, attributes, x=tile)


def _is_foldable(constant: Number, dtype: DType) -> bool:
    if dtype.is_bool():
        return isinstance(constant, bool)
    if isinstance(constant, float):
        return dtype.is_floating() and dtype == FP32
    return (dtype.is_floating() and abs(constant) < 1 << 24) or (
        not dtype.is_floating() and dtype.min_value <= constant <= dtype.max_value
    )


def _cast_pointer(tile: Tile, dtype: Element) -> Tile:
    have = tile.dtype
    if isinstance(have, PointerType) and dtype == INT1:
        fail(
            f"a pointer does not convert to int1; got {tile.tile_type}",
            "compare it with 0 after .to(tl.int64)",
        )
    if isinstance(dtype, PointerType) and isinstance(have, DType) and have.is_int() and have.bits < 64:
        tile, have = cast_to(tile, INT64), INT64
    allowed = (INT64, UINT64)
    if not all(isinstance(element, PointerType) or element in allowed for element in (have, dtype)):
        fail(
            f"{tile.tile_type} does not convert to {dtype}: pointers convert to pointers, int64 and "
            "uint64 only",
            "go by way of .to(tl.int64)",
        )
    return emit(ops.BITCAST, {"dtype": dtype}, x=tile)


def size_of(shape: Shape) -> int:
    """Return the number of elements of a shape."""
    return product(shape)
