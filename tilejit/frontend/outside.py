"""Constants from outside a kernel, its globals and closures: the code it compiles to holds their values."""

from __future__ import annotations

from dataclasses import field
from types import CellType

from tilejit.frontend.constexpr import unwrap
from tilejit.ir.types import DType, PointerType
from tilejit.records import dataclass


class _Gone:
    """Stands for a name that has no value any more."""

    def __repr__(self) -> str:
        return "gone"


_GONE = _Gone()


class ClosedOver:
    """A cell of a closure, asked like the globals of a module."""

    def __init__(self, cell: CellType) -> None:
        self.cell = cell

    def get(self, name: str, default: object = None) -> object:
        """Return what the cell holds."""
        try:
            return self.cell.cell_contents
        except ValueError:  # an empty cell
            return default


@dataclass(frozen=True)
class OutsideChange:
    """A name that holds another constant than the code that was compiled."""

    kind: str
    name: str
    before: object
    now: object


@dataclass
class OutsideValues:
    """The constants that traces found: where, by which name, and the object.

    A caller that is in a hurry compares the objects and asks ``find_change`` only where they differ.
    """

    entries: list[tuple[dict[str, object] | ClosedOver, str, object]] = field(default_factory=list)

    def note(self, place: dict[str, object] | ClosedOver, name: str, value: object) -> None:
        """Remember a value, if it is a constant."""
        if _is_constant(unwrap(value)) and not any(
            name == known and _is_same_place(place, other) for other, known, _ in self.entries
        ):
            self.entries.append((place, name, value))

    def include(self, other: OutsideValues) -> None:
        """Remember the values of another trace too."""
        for place, name, value in other.entries:
            self.note(place, name, value)

    def find_change(self) -> OutsideChange | None:
        """Return the first name that holds another value now."""
        for place, name, value in self.entries:
            before, now = unwrap(value), unwrap(place.get(name, _GONE))
            if not _is_same(before, now):
                kind = "closed-over name" if isinstance(place, ClosedOver) else "global"
                return OutsideChange(kind, name, before, now)
        return None


def _is_same_place(a: dict[str, object] | ClosedOver, b: dict[str, object] | ClosedOver) -> bool:
    if isinstance(a, ClosedOver) and isinstance(b, ClosedOver):
        return a.cell is b.cell
    return a is b


def _is_same(before: object, now: object) -> bool:
    """Whether code made for one constant is right for the other: -0.0 is not 0.0, and 1 is not True."""
    if now is before or type(now) is not type(before):
        return now is before
    if isinstance(before, tuple) and isinstance(now, tuple):
        return len(before) == len(now) and all(map(_is_same, before, now))
    return repr(now) == repr(before) if isinstance(before, float) else now == before


def _is_constant(value: object) -> bool:
    """True for what code can hold and what never changes itself: numbers, texts, types, tuples of them."""
    if isinstance(value, tuple):
        return all(map(_is_constant, value))
    return value is None or isinstance(value, bool | int | float | str | DType | PointerType)
