"""Where tiles come from: the grid, ranges of numbers, constants."""

from __future__ import annotations

from tilejit import ops
from tilejit.frontend.context import active, fail
from tilejit.frontend.tile import BlockType, Tile, describe
from tilejit.frontend.values import (
    as_int,
    as_number,
    as_shape,
    as_tile,
    broadcast_to_shape,
    cast_to,
    make_constant,
    reshape_to,
    wrap_integer,
)
from tilejit.ir.types import DType, Element, PointerType
from tilejit.language.function import Operand, language_function

_SPELLINGS = frozenset(
    {
        "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "bfloat16",
        "float32", "float64",
    }
)  # fmt: skip


def as_dtype(dtype: object, what: str) -> Element:
    """Return an element type from ``tl.float32``, a pointer type or a block type."""
    if isinstance(dtype, DType | PointerType):
        return dtype
    if isinstance(dtype, BlockType):
        return dtype.element_ty
    name = dtype.__name__ if isinstance(dtype, type) else str(dtype)  # a numpy dtype, or its name
    hint = f"use tl.{name}" if name in _SPELLINGS else None
    fail(f"{what} must be a type such as tl.float32; got {describe(dtype)}", hint)


@language_function
def program_id(axis: int) -> Tile:
    """Return the index of this program along ``axis`` (0, 1 or 2) of the grid, an int32 scalar."""
    number = as_int(axis, "tl.program_id: axis")
    return Tile(active().create(ops.PROGRAM_ID, attributes={"axis": number}).result)


@language_function
def num_programs(axis: int) -> Tile:
    """Return the size of the grid along ``axis`` (0, 1 or 2), an int32 scalar."""
    number = as_int(axis, "tl.num_programs: axis")
    return Tile(active().create(ops.NUM_PROGRAMS, attributes={"axis": number}).result)


@language_function
def arange(start: int, end: int) -> Tile:
    """Return the int32 numbers ``start .. end - 1``; both known at compile time.

    Shapes: [end - start], not only powers of two.
    """
    attributes = {"start": as_int(start, "start of tl.arange"), "end": as_int(end, "end of tl.arange")}
    return Tile(active().create(ops.ARANGE, attributes=attributes).result)


@language_function
def full(shape: object, value: Operand, dtype: Element) -> Tile:
    """Return a tile of ``shape`` whose elements all are ``value``, converted to ``dtype``.

    A number may also spell the bits of a signed type: 0xFFFFFFFF as tl.int32 is -1.
    """
    element = as_dtype(dtype, "dtype of tl.full")
    number = as_number(value)
    if isinstance(number, int) and isinstance(element, DType) and element.is_int_signed():
        number = wrap_integer(number, element) if 0 <= number < 1 << element.bits else number
    scalar = (
        make_constant(number, element)
        if number is not None
        else cast_to(as_tile(value, "value of tl.full"), element)
    )
    if scalar.tile_type.size != 1:
        fail(f"value of tl.full must be a scalar; got {scalar.tile_type}", "use tl.broadcast_to for a tile")
    return broadcast_to_shape(reshape_to(scalar, ()), as_shape(shape, "the shape of tl.full"), "tl.full")


@language_function
def zeros(shape: object, dtype: Element) -> Tile:
    """Return a tile of zeros; ``()`` is the shape of a scalar."""
    element = as_dtype(dtype, "dtype of tl.zeros")
    return broadcast_to_shape(make_constant(0, element), as_shape(shape, "the shape of tl.zeros"), "tl.zeros")


@language_function
def zeros_like(input: Tile) -> Tile:
    """Return zeros in the type and shape of ``input``."""
    tile = as_tile(input, "input of tl.zeros_like")
    return broadcast_to_shape(make_constant(0, tile.dtype), tile.tile_type.shape, "tl.zeros_like")


@language_function
def to_tensor(x: Operand) -> Tile:
    """Return a number as a strong scalar."""
    return as_tile(x, "x of tl.to_tensor")
