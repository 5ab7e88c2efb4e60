"""Reading and writing memory through pointers, block pointers and descriptors."""

from __future__ import annotations

from tilejit import ops
from tilejit.frontend.context import active, fail
from tilejit.frontend.operators import as_mask
from tilejit.frontend.tile import NONE_HINT, Tile, describe
from tilejit.frontend.values import (
    as_tile,
    broadcast_to_shape,
    cast_to,
    common_shape,
    emit,
)
from tilejit.ir.opdef import Attribute
from tilejit.ir.types import DType, PointerType
from tilejit.language.block_pointer import BlockPointer
from tilejit.language.function import Operand, language_function, one_of

_LOAD_CACHE_MODIFIERS = {name: name for name in ("", ".ca", ".cg", ".cs", ".cv")}
_STORE_CACHE_MODIFIERS = {name: name for name in ("", ".wb", ".cg", ".cs", ".wt")}
_EVICTION_POLICIES = {name: name for name in ("", "evict_normal", "evict_first", "evict_last")}


@language_function
def load(
    pointer: Operand | BlockPointer,
    mask: Operand | None = None,
    other: Operand | None = None,
    boundary_check: object = (),
    padding_option: str = "",
    cache_modifier: str = "",
    eviction_policy: str = "",
    volatile: bool = False,
) -> Tile:
    """Read what ``pointer`` points to: a scalar, or one element per pointer of a tile.

    Where ``mask`` is false nothing is read and the element is ``other``, or 0 without it. For block
    pointers, ``boundary_check`` lists the dimensions to check and ``padding_option`` ("", "zero" or "nan")
    fills what is outside.
    """
    attributes = _cache_hints("tl.load", cache_modifier, _LOAD_CACHE_MODIFIERS, eviction_policy)
    attributes["volatile"] = bool(volatile)
    if isinstance(pointer, BlockPointer):
        if mask is not None or other is not None:
            fail(
                "tl.load of a block pointer takes no mask and no other",
                "use boundary_check and padding_option",
            )
        pointers, inside, padding = pointer.access(boundary_check, padding_option)
        return emit(ops.LOAD, attributes, pointer=pointers, mask=inside, other=padding)
    _refuse_block_options("tl.load", boundary_check, padding_option)
    pointers = _as_pointers(pointer, "tl.load")
    return load_masked(pointers, mask, other, attributes)


def load_masked(pointers: Tile, mask: object, other: object, attributes: dict[str, Attribute]) -> Tile:
    """Make a load. A tile of pointers grows to the shape of a mask or of an ``other``, a scalar must not."""
    if mask is None and other is not None:
        fail(
            "other is given without mask",
            "other fills the lanes that mask leaves out: add mask=, or drop other=",
        )
    if pointers.tile_type.shape:
        pointers = _grown(_grown(pointers, mask, "mask of tl.load"), other, "other of tl.load")
    lanes = None if mask is None else _as_lanes(mask, pointers, "tl.load")
    filling = None
    if other is not None:
        filling = _as_elements(other, pointers, "other of tl.load")
    return emit(ops.LOAD, attributes, pointer=pointers, mask=lanes, other=filling)


def _grown(pointers: Tile, other: object, what: str) -> Tile:
    """Expand a tile of pointers to the shape that it has together with ``other``."""
    if not isinstance(other, Tile):
        return pointers
    return broadcast_to_shape(
        pointers, common_shape((other.tile_type.shape, pointers.tile_type.shape), what), what
    )


@language_function
def store(
    pointer: Operand | BlockPointer,
    value: Operand,
    mask: Operand | None = None,
    boundary_check: object = (),
    cache_modifier: str = "",
    eviction_policy: str = "",
) -> None:
    """Write ``value``, converted to the pointer's element type, where ``mask`` is true.

    Lanes that point to one address write in increasing order. ``boundary_check``: as for ``load``.
    """
    attributes = _cache_hints("tl.store", cache_modifier, _STORE_CACHE_MODIFIERS, eviction_policy)
    if isinstance(pointer, BlockPointer):
        if mask is not None:
            fail("tl.store to a block pointer takes no mask", "use boundary_check")
        pointers, lanes, _ = pointer.access(boundary_check, "")
    else:
        _refuse_block_options("tl.store", boundary_check, "")
        pointers = _as_pointers(pointer, "tl.store")
        lanes = None if mask is None else _as_lanes(mask, pointers, "tl.store")
    refuse_const(pointers, "tl.store")
    elements = _as_elements(value, pointers, "value of tl.store")
    active().create(
        ops.STORE,
        attributes=attributes,
        pointer=pointers.value,
        value=elements.value,
        mask=None if lanes is None else lanes.value,
    )


def _cache_hints(
    name: str, modifier: object, modifiers: dict[str, str], policy: object
) -> dict[str, Attribute]:
    """Return what a load or a store says about caches: hints for GPUs, which must be spelled right."""
    return {
        "cache_modifier": one_of(modifier or "", modifiers, f"cache_modifier of {name}"),
        "eviction_policy": one_of(policy or "", _EVICTION_POLICIES, f"eviction_policy of {name}"),
    }


def _refuse_block_options(name: str, boundary_check: object, padding_option: object) -> None:
    if boundary_check not in ((), [], None) or padding_option not in ("", None):
        fail(
            f"{name}: boundary_check and padding_option are for block pointers",
            "give a mask, or use tl.make_block_ptr",
        )


def _as_pointers(pointer: object, name: str) -> Tile:
    if isinstance(pointer, Tile) and isinstance(pointer.dtype, PointerType):
        return pointer
    hint = NONE_HINT if pointer is None else "add the offsets to a pointer argument: x_ptr + offsets"
    if isinstance(pointer, Tile) and pointer.dtype.is_int():
        hint = f"{hint}, or turn addresses into pointers with .to(tl.pointer_type(...))"
    fail(f"{name} needs a pointer or a tile of pointers; got {describe(pointer)}", hint)


def refuse_const(pointers: Tile, name: str) -> None:
    """Refuse to write through pointers to constant data. Raises: CompileError."""
    if isinstance(pointers.dtype, PointerType) and pointers.dtype.const:
        fail(
            f"{name} writes through a pointer to constant data; got {pointers.tile_type}",
            "drop the tl.const annotation",
        )


def _as_lanes(mask: object, pointers: Tile, name: str) -> Tile:
    """Return a mask in the shape of the pointers."""
    tile = as_mask(mask, f"mask of {name}")
    _refuse_growth(tile, pointers, "mask", name)
    return broadcast_to_shape(tile, pointers.tile_type.shape, f"mask of {name}")


def _refuse_growth(tile: Tile, pointers: Tile, what: str, name: str) -> None:
    shape, pointed = tile.tile_type.shape, pointers.tile_type.shape
    if common_shape((shape, pointed), f"{what} of {name}") != pointed:
        fail(
            f"{what} of {name} has shape {shape}, which does not fit the pointer's shape {pointed}",
            "give the pointer that shape first: add a tile of offsets to it, or use tl.broadcast_to",
        )


def _as_elements(value: object, pointers: Tile, what: str) -> Tile:
    """Return a value in the element type and the shape of the pointers."""
    element = pointers.dtype
    assert isinstance(element, PointerType)
    tile = cast_to(as_tile(value, what), element.element)
    name = what.split(" of ")[1]
    _refuse_growth(tile, pointers, what.split(" of ")[0], name)
    return broadcast_to_shape(tile, pointers.tile_type.shape, what)


def pointee(pointers: Tile) -> DType:
    """Return what the pointers of a tile point to."""
    element = pointers.dtype
    assert isinstance(element, PointerType)
    return element.element


def elements_for(pointers: Tile, value: object, name: str, what: str) -> Tile:
    """Return an operand of an atomic in the element type and the shape of its pointers."""
    return _as_elements(value, pointers, f"{what} of {name}")


def lanes_for(pointers: Tile, mask: object, name: str) -> Tile | None:
    """Return the mask of an atomic in the shape of its pointers."""
    return None if mask is None else _as_lanes(mask, pointers, name)


def pointers_of(pointer: object, name: str) -> Tile:
    """Return the pointers that an atomic works on. Raises CompileError for anything else."""
    pointers = _as_pointers(pointer, name)
    refuse_const(pointers, name)
    return pointers
