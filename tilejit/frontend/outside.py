"""Constants from outside a kernel: the code it compiles to holds their values.

They are globals, closed-over names, attributes of modules, classes and namespaces, and what lists, dicts,
sets and small arrays hold. Functions count as what they are made of.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import field
from operator import is_
from types import CellType, FunctionType, ModuleType, SimpleNamespace
from typing import Protocol, runtime_checkable

import numpy as np

from tilejit.frontend.constexpr import unwrap
from tilejit.ir.types import DType, PointerType
from tilejit.records import dataclass


class _Gone:
    """Stands for a name that has no value any more."""

    def __repr__(self) -> str:
        return "gone"


class _Another:
    """Stands for a function that is not the one that was inlined."""

    def __repr__(self) -> str:
        return "another one"


class _TheFunction:
    """Stands for a function by its name: where it lies in memory says nothing."""

    def __init__(self, function: FunctionType) -> None:
        self.name = function.__name__

    def __repr__(self) -> str:
        return f"the function {self.name}"


_GONE = _Gone()
_ANOTHER = _Another()


@runtime_checkable
class _Decorated(Protocol):
    """A kernel or helper, with the function that it was made of."""

    fn: object


def function_of(value: object) -> FunctionType | None:
    """The function that a kernel would inline or call for a value from outside; None where it is none."""
    if isinstance(value, ModuleType | type):
        return None
    function = (
        value if isinstance(value, FunctionType) else value.fn if isinstance(value, _Decorated) else None
    )
    if not isinstance(function, FunctionType) or _is_ours(function.__module__ or ""):
        return None
    return function


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


class ClassBody:
    """The attributes of a class, asked like the globals of a module."""

    def __init__(self, kind: type) -> None:
        self.kind = kind

    def get(self, name: str, default: object = None) -> object:
        """Return what the class, without its bases, has under a name."""
        return vars(self.kind).get(name, default)


Place = dict[str, object] | ClosedOver | ClassBody


class Contents:
    """What a list, dict or set holds, asked by the name it goes by.

    The answer is the picture that was made of it, as long as it holds the same.
    """

    def __init__(self, place: Place, container: object) -> None:
        self.place = place
        self.picture = _picture(container)

    def get(self, name: str, default: object = None) -> object:
        """Return the picture, or what the name holds now where that differs."""
        now = unwrap(self.place.get(name, default))
        return self.picture if _is_same(self.picture, now) else now


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
    ``owners`` says of which object an entry, by its number, is an attribute.
    """

    entries: list[tuple[Place | Contents, str, object]] = field(default_factory=list)
    owners: dict[int, str] = field(default_factory=dict)

    @property
    def holds_values(self) -> bool:
        """Whether there is anything but functions."""
        return any(function_of(unwrap(value)) is None for _, _, value in self.entries)

    def note(self, place: Place, name: str, value: object, owner: str = "") -> None:
        """Remember a value, if it is a constant or a container; ``owner`` is what it is an attribute of."""
        plain = unwrap(value)
        is_container = isinstance(plain, list | dict | set) or _is_table(plain)
        function = function_of(plain)
        # Plain functions of other modules are as many as a kernel uses names that these have, too.
        is_helper = function is not None and (not owner or function is not plain)
        if not is_container and not _is_constant(plain) and not is_helper:
            return
        if any(name == known and _is_same_place(place, other) for other, known, _ in self.entries):
            return
        if owner:
            self.owners[len(self.entries)] = owner
        if is_container:
            contents = Contents(place, plain)
            self.entries.append((contents, name, contents.picture))
        else:
            self.entries.append((place, name, value))

    def note_attributes(self, value: object, names: Set[str], owner: str) -> None:
        """Remember what a module, class or namespace has under some of ``names``, and theirs in turn."""
        seen: set[int] = set()
        waiting = [(value, owner)]
        while waiting:
            value, owner = waiting.pop()
            if id(value) in seen:
                continue
            seen.add(id(value))
            for place, attributes in _places_of(value):
                for name in sorted(attributes & names):
                    found = place.get(name)
                    self.note(place, name, found, owner)
                    waiting.append((found, f"{owner}.{name}"))

    def include(self, other: OutsideValues) -> None:
        """Remember the values of another trace too, and of containers what they hold now."""
        for number, (place, name, value) in enumerate(other.entries):
            if isinstance(place, Contents):
                place = place.place
                value = place.get(name)
            self.note(place, name, value, other.owners.get(number, ""))

    def find_change(self) -> OutsideChange | None:
        """Return the first name that holds another value now."""
        for number, (place, name, value) in enumerate(self.entries):
            before, now = unwrap(value), unwrap(place.get(name, _GONE))
            if _is_same(before, now):
                continue
            if function_of(before) is not None:
                now = _GONE if now is _GONE else _ANOTHER
            if number in self.owners:
                return OutsideChange("attribute", f"{self.owners[number]}.{name}", _shown(before), now)
            home = place.place if isinstance(place, Contents) else place
            kind = "closed-over name" if isinstance(home, ClosedOver) else "global"
            return OutsideChange(kind, name, _shown(before), now)
        return None


def _shown(value: object) -> object:
    function = function_of(value)
    return value if function is None else _TheFunction(function)


def _places_of(value: object) -> list[tuple[Place, Set[str]]]:
    """Where a module, class or namespace has its attributes, and their names; none for what is tilejit's."""
    if isinstance(value, type):
        return [] if _is_ours(value.__module__) else [(ClassBody(k), vars(k).keys()) for k in value.__mro__]
    is_namespace = isinstance(value, SimpleNamespace) or (
        isinstance(value, ModuleType) and not _is_ours(value.__name__)
    )
    return [(vars(value), vars(value).keys())] if is_namespace else []


def _is_ours(module: str) -> bool:
    return module == "tilejit" or module.startswith("tilejit.")


def _is_same_place(a: Place, b: Place | Contents) -> bool:
    b = b.place if isinstance(b, Contents) else b
    if isinstance(a, ClosedOver) and isinstance(b, ClosedOver):
        return a.cell is b.cell
    if isinstance(a, ClassBody) and isinstance(b, ClassBody):
        return a.kind is b.kind
    return a is b


_MAX_DEPTH = 8  # of containers in containers, which may hold themselves
_MAX_TABLE_BYTES = 1 << 16
"""Of arrays whose items are compared at every launch; what larger ones hold may not change."""


def _picture(value: object, depth: int = 0) -> object:
    """A copy that keeps what lists, dicts and sets hold."""
    if depth == _MAX_DEPTH:
        return value
    if isinstance(value, dict):
        return {key: _picture(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_picture(item, depth + 1) for item in value]
    if type(value) is tuple:
        return tuple([_picture(item, depth + 1) for item in value])
    if isinstance(value, np.ndarray):
        return value.copy() if _is_table(value) else value
    return set(value) if isinstance(value, set) else value


def _is_same(before: object, now: object) -> bool:
    """Whether code made for one constant is right for the other: -0.0 is not 0.0, and 1 is not True."""
    if now is before:
        return True
    if isinstance(before, dict) and isinstance(now, dict):
        return _are_same([*before, *before.values()], [*now, *now.values()])
    if isinstance(before, list) and isinstance(now, list):
        return _are_same(before, now)
    if type(now) is not type(before):
        return False
    if isinstance(before, np.ndarray | np.generic) and isinstance(now, np.ndarray | np.generic):
        return _is_same_array(before, now)
    old, new = function_of(before), function_of(now)
    if old is not None and new is not None:
        return _is_same_function(old, new)
    if isinstance(before, tuple) and isinstance(now, tuple):
        return _are_same(before, now)
    if isinstance(before, float):
        return repr(now) == repr(before)
    return (_is_constant(before) or isinstance(before, set)) and now == before


def _are_same(before: list[object] | tuple[object, ...], now: list[object] | tuple[object, ...]) -> bool:
    return len(before) == len(now) and (all(map(is_, before, now)) or all(map(_is_same, before, now)))


def _is_same_array(before: np.ndarray | np.generic, now: np.ndarray | np.generic) -> bool:
    has_form = (before.dtype, before.shape) == (now.dtype, now.shape)
    return has_form and not before.dtype.hasobject and before.tobytes() == now.tobytes()


def _is_same_function(before: FunctionType, now: FunctionType) -> bool:
    """Whether one was made of the same text as the other, with the same values that it closes over."""
    if before.__code__ != now.__code__ or before.__globals__ is not now.__globals__:
        return False
    held = [[ClosedOver(cell).get("") for cell in f.__closure__ or ()] for f in (before, now)]
    return before.__defaults__ == now.__defaults__ and all(map(_is_same, *held))


def _is_table(value: object) -> bool:
    return isinstance(value, np.ndarray) and not value.dtype.hasobject and value.nbytes <= _MAX_TABLE_BYTES


def _is_constant(value: object) -> bool:
    """True for what code can hold and what never changes itself: numbers, texts, types, tuples of them."""
    if isinstance(value, tuple):
        return all(map(_is_constant, value))
    return value is None or isinstance(value, bool | int | float | str | DType | PointerType | np.generic)
