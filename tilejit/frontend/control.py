"""What the rewritten code of a kernel calls: assignments, conditions, asserts.

Branches and loops are in ``branches`` and ``loops``; all are reached through this module (see
``rewrite_ast``).
"""

from __future__ import annotations

from typing import NoReturn

from tilejit import ops
from tilejit.frontend.branches import if_, leaving, python_truth, ternary
from tilejit.frontend.carry import rebuild_tuple
from tilejit.frontend.constexpr import unwrap
from tilejit.frontend.context import active, fail
from tilejit.frontend.loops import for_, while_
from tilejit.frontend.operators import as_mask, bitwise
from tilejit.frontend.operators import invert as invert_mask
from tilejit.frontend.structure_returns import RETURN_VALUE
from tilejit.frontend.tile import Tile, Undefined, describe
from tilejit.frontend.values import as_number, as_tile
from tilejit.ir.types import DType, PointerType

__all__ = ["for_", "if_", "leaving", "ternary", "while_"]


# Assignments.


def undefined(names: tuple[str, ...]) -> tuple[Undefined, ...]:
    """Return what the names of a function hold before they are assigned."""
    return tuple(Undefined(name) for name in names)


def bind(value: object, name: str) -> object:
    """Return what an assignment stores: numbers become strong scalars, lists become tuples."""
    if isinstance(value, Tile):
        _name(value, name)
        return value
    if isinstance(value, Undefined):
        value.refuse()
    number = as_number(value)
    if number is not None:
        tile = as_tile(number)
        _name(tile, name)
        return tile
    if isinstance(value, tuple):
        return rebuild_tuple(value, [bind(item, "") for item in value])
    if isinstance(value, list):
        return tuple(bind(item, "") for item in value)
    return unwrap(value)


def _name(tile: Tile, name: str) -> None:
    """Let a value print under the name a kernel gives it first."""
    value = tile.value
    if name and not value.name and "." not in name:
        value.name = name


def constant(value: object, name: str) -> object:
    """Return what ``name: tl.constexpr = value`` stores: a Python value known while tracing."""
    if isinstance(value, Undefined):
        value.refuse()
    if isinstance(value, Tile):
        if value.constant is None:
            fail(
                f"{name} is annotated tl.constexpr but its value of type {value.tile_type} is known "
                "only when the kernel runs",
                "leave the annotation out, or compute it from tl.constexpr parameters",
            )
        return value.constant
    if isinstance(value, tuple):
        return rebuild_tuple(value, [constant(item, name) for item in value])
    if isinstance(value, list):
        return tuple(constant(item, name) for item in value)
    return unwrap(value)


def unpack(value: object, count: int) -> object:
    """Check that a value can be unpacked into ``count`` names and return it."""
    if isinstance(value, Tile):
        fail(
            f"a tile of type {value.tile_type} cannot be unpacked into {count} names",
            "use tl.split, or index a tuple",
        )
    if isinstance(value, tuple) and len(value) != count:
        fail(
            f"a tuple of {len(value)} values cannot be unpacked into {count} names",
            "give as many names as values",
        )
    if not isinstance(value, tuple):
        fail(f"{describe(value)} cannot be unpacked into {count} names")
    return value


def value_of(value: object) -> object:
    """Return what ``x.value`` gives: a compile-time value, which Triton would have wrapped, gives itself."""
    if value is None or type(value) in (bool, int, float, str, tuple) or isinstance(value, DType):
        return value
    if isinstance(value, Tile | Undefined):
        fail(f"a value of type {describe(value)} has no attribute 'value': only the run knows what it is")
    return value.value  # type: ignore[attr-defined]  # an enum's, a named tuple's, or Python's own error


def result(value: object) -> object:
    """Return what a function gives to its caller."""
    if isinstance(value, Undefined):
        if value.name != RETURN_VALUE:
            value.refuse()
        return None
    if isinstance(value, list):
        return tuple(value)
    return unwrap(value)


def refuse(message: str, hint: str) -> NoReturn:
    """Stand where a kernel has a statement that is not supported."""
    fail(message, hint)


# Conditions.


def not_(value: object) -> object:
    """``not value``: of a mask, the other lanes."""
    if isinstance(value, Tile):
        return (
            not bool(value.constant)
            if value.constant is not None
            else invert_mask(as_mask(value, "the operand of not"))
        )
    return not python_truth(value)


def _is_open(value: object) -> bool:
    return isinstance(value, Tile) and value.constant is None


def and_needs_right(left: object) -> bool:
    """Tell whether ``left and right`` looks at its right side."""
    return _is_open(left) or python_truth(left)


def or_needs_right(left: object) -> bool:
    """Tell whether ``left or right`` looks at its right side."""
    return _is_open(left) or not python_truth(left)


def and_(left: object, right: object) -> object:
    """``left and right`` once both are there; of tiles, lane by lane."""
    return _logical(left, right, is_and=True)


def or_(left: object, right: object) -> object:
    """``left or right`` once both are there; of tiles, lane by lane."""
    return _logical(left, right, is_and=False)


def _logical(left: object, right: object, *, is_and: bool) -> object:
    if not _is_open(left):
        return right
    word = "and" if is_and else "or"
    a = as_mask(left, f"the left side of {word}")
    if not _is_open(right):
        known = python_truth(right)
        return a if known == is_and else known
    b = as_mask(right, f"the right side of {word}")
    return bitwise(ops.AND if is_and else ops.OR, "&" if is_and else "|", a, b)


def is_(left: object, right: object) -> bool:
    """``left is right``, looking through ``tl.constexpr``."""
    for side in (left, right):
        if isinstance(side, Undefined):
            side.refuse()
    a, b = unwrap(left), unwrap(right)
    return a is b or (isinstance(a, bool) and isinstance(b, Tile) and b.constant is a) or _same_known(a, b)


def _same_known(a: object, b: object) -> bool:
    if isinstance(b, bool) and isinstance(a, Tile):
        return a.constant is b
    return isinstance(a, DType | PointerType) and a == b


def is_not(left: object, right: object) -> bool:
    """``left is not right``."""
    return not is_(left, right)


def in_(item: object, container: object) -> bool:
    """``item in container`` of Python values; a container may hold types and constants."""
    if isinstance(container, Tile):
        return item in container  # refused there
    if _is_open(item):
        fail(
            f"`in` needs a value known at compile time; got {describe(item)}",
            "compare with == and combine the results with |",
        )
    known = item.constant if isinstance(item, Tile) else unwrap(item)
    values = unwrap(container)
    if isinstance(values, tuple | list):
        return any(
            known == (entry.constant if isinstance(entry, Tile) else unwrap(entry)) for entry in values
        )
    return known in values  # type: ignore[operator]


def not_in(item: object, container: object) -> bool:
    """``item not in container``."""
    return not in_(item, container)


def assert_(condition: object, message: object) -> None:
    """``assert``: checked now where the condition is known, else when the kernel runs."""
    if not _is_open(condition):
        if not python_truth(condition):
            fail(f"assertion failed: {message}" if message else "assertion failed")
        return
    mask = as_mask(condition, "the condition of assert")
    active().create(ops.DEVICE_ASSERT, attributes={"message": str(message)}, condition=mask.value)


def converter(called: object) -> object:
    """Return what ``tl.float32(x)`` calls: a conversion where it is a type, else itself."""
    if isinstance(called, DType):
        dtype = called
        return lambda value: active().members["to"](value, dtype)
    return called
