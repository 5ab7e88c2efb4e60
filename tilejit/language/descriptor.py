"""Tensor descriptors: an array with its shape and strides, read and written in blocks.

Elements outside the array read as zero (or NaN) and are not written. A descriptor becomes a tile of
pointers and a mask; offsets are computed in int64.
"""

from __future__ import annotations

from tilejit import ops
from tilejit.frontend.context import active, fail
from tilejit.frontend.tile import ArrayPointer, Composite, Tile, describe
from tilejit.frontend.values import (
    as_number,
    as_shape,
    as_tile,
    broadcast_to_shape,
    cast_to,
    emit,
    reshape_to,
)
from tilejit.ir.types import INT64, DType, PointerType, product
from tilejit.language.block_pointer import (
    as_scalars,
    check_lengths,
    index_along,
    padding_value,
    window_mask,
    window_pointers,
)
from tilejit.language.function import language_function, one_of
from tilejit.language.memory import refuse_const


class TensorDescriptor(Composite):
    """An array seen in blocks of ``block_shape``."""

    def __init__(
        self,
        base: Tile,
        shape: tuple[Tile, ...],
        strides: tuple[Tile, ...],
        block_shape: tuple[int, ...],
        padding: str,
    ) -> None:
        self.base = base
        self.shape = shape  # int32 or int64, as it was given
        self.strides = strides
        self.block_shape = block_shape
        self.padding = padding

    @property
    def dtype(self) -> DType:
        """The type of one element."""
        element = self.base.dtype
        assert isinstance(element, PointerType)
        return element.element

    def components(self) -> tuple[Tile, ...]:
        return (self.base, *self.shape, *self.strides)

    def with_components(self, components: tuple[Tile, ...]) -> TensorDescriptor:
        rank = len(self.block_shape)
        shape, strides = components[1 : 1 + rank], components[1 + rank :]
        return TensorDescriptor(components[0], shape, strides, self.block_shape, self.padding)

    def facts(self) -> tuple[object, ...]:
        return (self.base.dtype, self.block_shape, self.padding)

    def __str__(self) -> str:
        return f"tensor descriptor of blocks {self.block_shape} of {self.dtype}"

    def _access(self, offsets: object, name: str) -> tuple[Tile, Tile | None]:
        entries = offsets if isinstance(offsets, tuple | list) else (offsets,)
        starts = as_scalars(tuple(entries), f"offsets of {name}")
        rank = len(self.block_shape)
        check_lengths(name, rank, offsets=starts)
        indices = [
            index_along(o, s, d, rank) for d, (o, s) in enumerate(zip(starts, self.block_shape, strict=True))
        ]
        pointers = window_pointers(self.base, indices, self.strides, self.block_shape)
        limits = [cast_to(size, INT64) for size in self.shape]
        return pointers, window_mask(indices, limits, self.block_shape)

    def load(self, offsets: object) -> Tile:
        """Read the block that starts at ``offsets``; outside the array it is zero or NaN."""
        pointers, mask = self._access(offsets, "descriptor.load")
        padding = padding_value(self.padding, self.dtype, self.block_shape)
        return emit(ops.LOAD, pointer=pointers, mask=mask, other=padding)

    def store(self, offsets: object, value: object) -> None:
        """Write a block at ``offsets``; what lies outside the array is dropped."""
        tile = as_tile(value, "value of descriptor.store")
        size = tile.tile_type.size
        if tile.tile_type.shape and size != product(self.block_shape):
            fail(f"descriptor.store needs a block of shape {self.block_shape}; got {tile.tile_type}")
        if tile.tile_type.shape:
            tile = reshape_to(tile, self.block_shape)
        pointers, mask = self._access(offsets, "descriptor.store")
        refuse_const(pointers, "descriptor.store")
        elements = broadcast_to_shape(cast_to(tile, self.dtype), self.block_shape, "descriptor.store")
        active().create(
            ops.STORE, pointer=pointers.value, value=elements.value, mask=None if mask is None else mask.value
        )

    def __getattr__(self, name: str) -> object:
        if name not in _REFUSED_METHODS:
            raise AttributeError(f"a tensor descriptor has no attribute {name!r}", name=name, obj=self)
        fail(f"{name} of a tensor descriptor is not supported yet", _REFUSED_METHODS[name])


_REFUSED_METHODS = {
    "gather": "load the rows with tl.load and computed pointers",
    "scatter": "store the rows with tl.store and computed pointers",
    **{
        f"atomic_{kind}": f"use tl.atomic_{kind} with computed pointers"
        for kind in ("add", "min", "max", "and", "or", "xor")
    },
}


_PADDINGS = {"zero": "zero", "nan": "nan", "": "zero"}


@language_function
def make_tensor_descriptor(
    base: Tile,
    shape: object = None,
    strides: object = None,
    block_shape: object = None,
    padding_option: str = "zero",
) -> TensorDescriptor:
    """Return a descriptor of the array at ``base``; for an array argument its own shape and strides are the
    default.

    Units: strides in elements; the last must be 1 where it is given. Shapes: 1 to 5 dimensions.
    """
    if not isinstance(base, Tile) or not isinstance(base.dtype, PointerType) or base.tile_type.shape:
        fail(
            f"base of tl.make_tensor_descriptor must be a pointer; got {describe(base)}",
            "pass an array argument",
        )
    if block_shape is None:
        fail(
            "tl.make_tensor_descriptor needs block_shape",
            "say which blocks to load, for example block_shape=[16, 64]",
        )
    blocks = as_shape(block_shape, "block_shape of tl.make_tensor_descriptor")
    if len(blocks) > 5:
        fail(f"tl.make_tensor_descriptor takes at most 5 dimensions; got {len(blocks)}")
    if shape is None or strides is None:
        shape, strides = _own_layout(base, shape, strides, len(blocks))
    extents = as_scalars(shape, "shape of tl.make_tensor_descriptor", narrow=True)
    _check_last_stride(strides, base)
    steps = as_scalars(strides, "strides of tl.make_tensor_descriptor")
    check_lengths("tl.make_tensor_descriptor", len(blocks), shape=extents, strides=steps)
    padding = one_of(padding_option, _PADDINGS, "padding_option of tl.make_tensor_descriptor")
    return TensorDescriptor(Tile(base.value), extents, steps, blocks, padding)


def _own_layout(base: Tile, shape: object, strides: object, rank: int) -> tuple[object, object]:
    """Return the shape and strides of the array that ``base`` came as."""
    if not isinstance(base, ArrayPointer):
        fail("tl.make_tensor_descriptor needs shape and strides", "only an array argument brings its own")
    if base.array_rank != rank:
        fail(
            f"{base.name} has {base.array_rank} dimensions, but block_shape has {rank}",
            "give shape and strides for another view of the array",
        )
    return (base.shape if shape is None else shape), (base.strides if strides is None else strides)


def _check_last_stride(strides: object, base: Tile) -> None:
    if not isinstance(strides, tuple | list) or not strides:
        return
    last = strides[-1]
    known = last.constant if isinstance(last, Tile) else as_number(last)
    if known is not None and known != 1:
        fail(
            f"the last stride of a tensor descriptor must be 1; got {known}",
            "transpose the array, or use pointers",
        )


@language_function
def load_tensor_descriptor(desc: TensorDescriptor, offsets: object) -> Tile:
    """Read the block at ``offsets``: same as ``desc.load(offsets)``."""
    return _as_descriptor(desc, "tl.load_tensor_descriptor").load(offsets)


@language_function
def store_tensor_descriptor(desc: TensorDescriptor, offsets: object, value: object) -> None:
    """Write a block at ``offsets``: same as ``desc.store(offsets, value)``."""
    _as_descriptor(desc, "tl.store_tensor_descriptor").store(offsets, value)


def _as_descriptor(value: object, name: str) -> TensorDescriptor:
    if not isinstance(value, TensorDescriptor):
        fail(
            f"{name} needs a tensor descriptor; got {describe(value)}",
            "make one with tl.make_tensor_descriptor",
        )
    return value
