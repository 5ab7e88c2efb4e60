"""Block pointers: a window of fixed shape that moves over an array. They become a tile of pointers and a
mask.

Offsets are computed in int64, so that they do not wrap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NoReturn

from tilejit import ops
from tilejit.frontend.context import active, fail
from tilejit.frontend.operators import add, bitwise, compare, multiply
from tilejit.frontend.tile import Composite, Tile, describe
from tilejit.frontend.values import (
    as_axis,
    as_int,
    as_shape,
    as_tile,
    broadcast_to_shape,
    cast_to,
    make_constant,
    reshape_to,
)
from tilejit.ir.types import INT32, INT64, DType, PointerType
from tilejit.language.function import language_function
from tilejit.ops import CmpPredicate


def index_along(offset: Tile, size: int, dimension: int, rank: int) -> Tile:
    """Return ``offset + arange(size)`` as int64, laid along one dimension of a tile with ``rank``
    dimensions.
    """
    lanes = Tile(active().create(ops.ARANGE, attributes={"start": 0, "end": size}).result)
    positions = add(cast_to(offset, INT64), cast_to(lanes, INT64))
    return reshape_to(positions, tuple(size if d == dimension else 1 for d in range(rank)))


def window_pointers(
    base: Tile, indices: Sequence[Tile], strides: Sequence[Tile], shape: tuple[int, ...]
) -> Tile:
    """Return the pointers to the elements at ``indices`` (one tile per dimension)."""
    offsets = multiply(indices[0], strides[0])
    for index, stride in zip(indices[1:], strides[1:], strict=True):
        offsets = add(offsets, multiply(index, stride))
    return add(base, broadcast_to_shape(offsets, shape, "a window"))


def window_mask(
    indices: Sequence[Tile], limits: Sequence[Tile | None], shape: tuple[int, ...]
) -> Tile | None:
    """Return where every index lies within 0 .. limit - 1; dimensions without a limit are not checked."""
    mask: Tile | None = None
    for index, limit in zip(indices, limits, strict=True):
        if limit is None:
            continue
        inside = bitwise(
            ops.AND,
            "&",
            compare(CmpPredicate.GE, ">=", index, 0),
            compare(CmpPredicate.LT, "<", index, limit),
        )
        mask = inside if mask is None else bitwise(ops.AND, "&", mask, inside)
    return None if mask is None else broadcast_to_shape(mask, shape, "a window")


def padding_value(option: object, dtype: DType, shape: tuple[int, ...]) -> Tile | None:
    """Return what fills the elements outside: zeros (None, as loads do on their own) or NaN."""
    if option in ("", "zero", None):
        return None
    if option != "nan":
        fail(f"padding_option must be '', 'zero' or 'nan'; got {option!r}")
    if not dtype.is_floating():
        fail(f"padding_option 'nan' needs floats; the elements are {dtype}", "use 'zero'")
    return broadcast_to_shape(make_constant(math.nan, dtype), shape, "padding_option")


def as_scalars(values: object, what: str, *, narrow: bool = False) -> tuple[Tile, ...]:
    """Return a tuple of int64 scalars; with ``narrow``, of int32 for those that fit it by their type."""
    if not isinstance(values, tuple | list):
        fail(f"{what} must be a tuple or a list; got {describe(values)}")
    scalars = []
    for value in values:
        tile = as_tile(value, f"every entry of {what}")
        if tile.tile_type.size != 1 or not isinstance(tile.dtype, DType) or not tile.dtype.is_int():
            fail(f"every entry of {what} must be an integer scalar; got {tile.tile_type}")
        fits = narrow and (tile.dtype == INT32 or tile.dtype.bits < 32)
        scalars.append(cast_to(reshape_to(tile, ()), INT32 if fits else INT64))
    return tuple(scalars)


def check_lengths(what: str, rank: int, **entries: Sequence[object]) -> None:
    """Check that each of ``entries`` has one value per dimension."""
    for name, values in entries.items():
        if len(values) != rank:
            fail(f"{what}: {name} has {len(values)} entries, but the block has {rank} dimensions")


class BlockPointer(Composite):
    """A window of ``block_shape`` at ``offsets`` of an array."""

    def __init__(
        self,
        base: Tile,
        shape: tuple[Tile, ...],
        strides: tuple[Tile, ...],
        offsets: tuple[Tile, ...],
        block_shape: tuple[int, ...],
    ) -> None:
        self.base = base
        self.shape = shape
        self.strides = strides
        self.offsets = offsets
        self.block_shape = block_shape

    @property
    def dtype(self) -> PointerType:
        """The type of a pointer to one element."""
        element = self.base.dtype
        assert isinstance(element, PointerType)
        return element

    @property
    def type(self) -> PointerType:
        """Same as ``dtype``."""
        return self.dtype

    def advance(self, offsets: object) -> BlockPointer:
        """Same as ``tl.advance(pointer, offsets)``."""
        moves = as_scalars(offsets, "offsets of tl.advance")
        check_lengths("tl.advance", len(self.block_shape), offsets=moves)
        moved = tuple(add(offset, move) for offset, move in zip(self.offsets, moves, strict=True))
        return BlockPointer(self.base, self.shape, self.strides, moved, self.block_shape)

    def __add__(self, other: object) -> NoReturn:
        fail(f"a {self} does not move by + and -", "use tl.advance(pointer, offsets), one per dimension")

    __radd__ = __sub__ = __add__

    def components(self) -> tuple[Tile, ...]:
        return (self.base, *self.shape, *self.strides, *self.offsets)

    def with_components(self, components: tuple[Tile, ...]) -> BlockPointer:
        base, rank = components[0], len(self.block_shape)
        rest = [components[1 + rank * part : 1 + rank * (part + 1)] for part in range(3)]
        return BlockPointer(base, rest[0], rest[1], rest[2], self.block_shape)

    def facts(self) -> tuple[object, ...]:
        return (self.dtype, self.block_shape)

    def __str__(self) -> str:
        return f"block pointer of shape {self.block_shape} to {self.dtype.element}"

    def access(self, boundary_check: object, padding_option: object) -> tuple[Tile, Tile | None, Tile | None]:
        """Return the pointers, the mask and the padding of an access."""
        rank = len(self.block_shape)
        given = boundary_check if isinstance(boundary_check, tuple | list) else (boundary_check,)
        checked = {as_axis(axis, rank, "boundary_check") for axis in given}
        indices = [
            index_along(o, s, d, rank)
            for d, (o, s) in enumerate(zip(self.offsets, self.block_shape, strict=True))
        ]
        limits = [size if d in checked else None for d, size in enumerate(self.shape)]
        pointers = window_pointers(self.base, indices, self.strides, self.block_shape)
        mask = window_mask(indices, limits, self.block_shape)
        padding = padding_value(padding_option, self.dtype.element, self.block_shape)
        return pointers, mask, padding if mask is not None else None


@language_function
def make_block_ptr(
    base: Tile, shape: object, strides: object, offsets: object, block_shape: object, order: object = None
) -> BlockPointer:
    """Return a pointer to the block of ``block_shape`` at ``offsets`` of an array.

    Units: strides and offsets in elements. ``order`` (how the array lies in memory) is accepted and not
    needed.
    """
    if not isinstance(base, Tile) or not isinstance(base.dtype, PointerType) or base.tile_type.shape:
        fail(f"base of tl.make_block_ptr must be a pointer; got {describe(base)}", "pass an array argument")
    sizes = as_shape(block_shape, "block_shape of tl.make_block_ptr")
    extents = as_scalars(shape, "shape of tl.make_block_ptr")
    steps = as_scalars(strides, "strides of tl.make_block_ptr")
    starts = as_scalars(offsets, "offsets of tl.make_block_ptr")
    check_lengths("tl.make_block_ptr", len(sizes), shape=extents, strides=steps, offsets=starts)
    if order is not None:
        entries = order if isinstance(order, tuple | list) else (order,)
        if sorted(as_int(entry, "order of tl.make_block_ptr") for entry in entries) != list(
            range(len(sizes))
        ):
            fail(f"order of tl.make_block_ptr must name each of the {len(sizes)} dimensions once")
    return BlockPointer(Tile(base.value), extents, steps, starts, sizes)


@language_function
def advance(base: BlockPointer, offsets: object) -> BlockPointer:
    """Return the block pointer moved by ``offsets`` elements per dimension."""
    if not isinstance(base, BlockPointer):
        fail(
            f"base of tl.advance must be a block pointer; got {describe(base)}",
            "make one with tl.make_block_ptr",
        )
    return base.advance(offsets)
