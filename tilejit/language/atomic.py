"""Read-modify-write of memory that no other program can interrupt. All return what memory held before.

``sem`` and ``scope`` are accepted as in Triton; the CPU always gives the strongest order.
"""

from __future__ import annotations

from tilejit import ops
from tilejit.frontend.context import active, fail
from tilejit.frontend.tile import Tile
from tilejit.frontend.values import as_tile
from tilejit.ir.opdef import Attribute
from tilejit.ir.types import PointerType
from tilejit.language.function import Operand, language_function, one_of
from tilejit.language.memory import elements_for, lanes_for, pointee, pointers_of
from tilejit.ops import AtomicKind

_SEMANTICS = {name: name for name in ("relaxed", "acquire", "release", "acq_rel")}
_SCOPES = {name: name for name in ("cta", "gpu", "sys")}


def _ordering(sem: object, scope: object, name: str) -> dict[str, Attribute]:
    return {
        "sem": one_of(sem or "acq_rel", _SEMANTICS, f"sem of {name}"),
        "scope": one_of(scope or "gpu", _SCOPES, f"scope of {name}"),
    }


def _atomic(kind: AtomicKind, pointer: object, val: object, mask: object, sem: object, scope: object) -> Tile:
    name = f"tl.atomic_{kind.value}"
    pointers = pointers_of(pointer, name)
    dtype = pointee(pointers)
    only_integers = kind in (AtomicKind.AND, AtomicKind.OR, AtomicKind.XOR)
    if dtype.is_bool() or dtype.is_fp8() or (only_integers and dtype.is_floating()):
        kinds = "integers" if only_integers else "integers and floats of at least 16 bits"
        fail(f"{name} works on {kinds}; got {pointers.tile_type}")
    given = as_tile(val, f"val of {name}")
    if isinstance(given.dtype, PointerType):
        fail(f"val of {name} must be a number; got {given.tile_type}")
    value, lanes = elements_for(pointers, val, name, "val"), lanes_for(pointers, mask, name)
    attributes: dict[str, Attribute] = {"kind": kind, **_ordering(sem, scope, name)}
    op = active().create(
        ops.ATOMIC_RMW,
        attributes=attributes,
        pointer=pointers.value,
        value=value.value,
        mask=None if lanes is None else lanes.value,
    )
    return Tile(op.result)


@language_function
def atomic_add(
    pointer: Tile, val: Operand, mask: Operand | None = None, sem: str | None = None, scope: str | None = None
) -> Tile:
    """Add ``val`` to memory."""
    return _atomic(AtomicKind.ADD, pointer, val, mask, sem, scope)


@language_function
def atomic_max(
    pointer: Tile, val: Operand, mask: Operand | None = None, sem: str | None = None, scope: str | None = None
) -> Tile:
    """Store the larger of memory and ``val``."""
    return _atomic(AtomicKind.MAX, pointer, val, mask, sem, scope)


@language_function
def atomic_min(
    pointer: Tile, val: Operand, mask: Operand | None = None, sem: str | None = None, scope: str | None = None
) -> Tile:
    """Store the smaller of memory and ``val``."""
    return _atomic(AtomicKind.MIN, pointer, val, mask, sem, scope)


@language_function
def atomic_and(
    pointer: Tile, val: Operand, mask: Operand | None = None, sem: str | None = None, scope: str | None = None
) -> Tile:
    """Store the bitwise and of memory and ``val``."""
    return _atomic(AtomicKind.AND, pointer, val, mask, sem, scope)


@language_function
def atomic_or(
    pointer: Tile, val: Operand, mask: Operand | None = None, sem: str | None = None, scope: str | None = None
) -> Tile:
    """Store the bitwise or of memory and ``val``."""
    return _atomic(AtomicKind.OR, pointer, val, mask, sem, scope)


@language_function
def atomic_xor(
    pointer: Tile, val: Operand, mask: Operand | None = None, sem: str | None = None, scope: str | None = None
) -> Tile:
    """Store the bitwise exclusive or of memory and ``val``."""
    return _atomic(AtomicKind.XOR, pointer, val, mask, sem, scope)


@language_function
def atomic_xchg(
    pointer: Tile, val: Operand, mask: Operand | None = None, sem: str | None = None, scope: str | None = None
) -> Tile:
    """Store ``val``."""
    return _atomic(AtomicKind.XCHG, pointer, val, mask, sem, scope)


@language_function
def atomic_cas(
    pointer: Tile, cmp: Operand, val: Operand, sem: str | None = None, scope: str | None = None
) -> Tile:
    """Store ``val`` where memory holds ``cmp``."""
    name = "tl.atomic_cas"
    pointers = pointers_of(pointer, name)
    compare, value = elements_for(pointers, cmp, name, "cmp"), elements_for(pointers, val, name, "val")
    op = active().create(
        ops.ATOMIC_CAS,
        attributes=_ordering(sem, scope, name),
        pointer=pointers.value,
        compare=compare.value,
        value=value.value,
    )
    return Tile(op.result)
