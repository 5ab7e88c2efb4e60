"""Constants from outside a kernel: the code it compiles to holds their values.

They are globals, closed-over names, attributes of modules, classes and objects, and what lists, dicts, sets
and small arrays hold; of dicts that are read by constant keys, only what these name. Functions count as what
they are made of, and what they read counts, too. Each is known by the way to it from a name: a class that
was made anew is another object, but what a kernel reads of it may be the same.
"""

from __future__ import annotations

import builtins
import functools
import gc
import sys
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence, Set
from dataclasses import field
from types import CellType, CodeType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import TypeGuard

from tilejit.frontend.bytecode import all_names, outside_reads
from tilejit.frontend.constexpr import unwrap
from tilejit.frontend.sameness import (
    function_of,
    held_by,
    is_constant,
    is_container,
    is_ours,
    is_same,
    picture_of,
    picture_of_constant,
)
from tilejit.records import dataclass


class _Named:
    """Stands in a message for what has no text of its own."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


GONE = _Named("gone")
"""What a name holds that has no value any more."""
_BUILTIN = _Named("the builtin function")
_ANOTHER = _Named("another one")


@dataclass(frozen=True)
class Lookup:
    """One place to look at: it is as it was while it holds the same object.

    ``place`` is a dict, asked for ``key``; or a cell; or a function, whose code or defaults ``key`` names; or
    something to call that says whether all is as it was. ``expected`` is GONE for a key that must be missing.
    """

    place: Mapping[str, object] | CellType | FunctionType | Callable[[], bool]
    key: Hashable
    expected: object


@dataclass(frozen=True)
class Step:
    """From an object to an attribute of it, or from a dict to an item."""

    key: Hashable
    is_item: bool = False

    def follow(self, holder: object) -> object:
        """What is there, also in a slot; GONE for nothing. A method of its class that the holder has bound
        counts as that.
        """
        places = _places_of(holder) if not self.is_item else [holder] if type(holder) is dict else []
        found = self._first(places)
        if isinstance(found, MethodType) and found.__self__ is holder:
            inherited = self._first(places[1:])
            return inherited if inherited is found.__func__ else found
        return _slot(found, holder) if _is_slot_of(found, holder) else found

    def _first(self, places: Sequence[Mapping[str, object]]) -> object:
        return next((place[self.key] for place in places if self.key in place), GONE)  # type: ignore[index]

    def lookups(self, holder: object) -> Iterator[Lookup]:
        """The places that ``follow`` looks at."""
        for place in [holder] if self.is_item else _places_of(holder):
            assert isinstance(place, Mapping)
            found = place.get(self.key, GONE)
            yield Lookup(_dict_behind(place), self.key, found)
            if _is_slot_of(found, holder):
                yield Lookup(functools.partial(_holds, found, holder, _slot(found, holder)), "", None)
            if found is not GONE:
                return

    def __str__(self) -> str:
        return f"[{self.key!r}]" if self.is_item else f".{self.key}"


def _is_slot_of(found: object, holder: object) -> TypeGuard[MemberDescriptorType]:
    """Whether what a class holds stands for a slot of an object."""
    return isinstance(found, MemberDescriptorType) and isinstance(holder, found.__objclass__)


def _slot(slot: MemberDescriptorType, holder: object) -> object:
    """What an object holds in a slot; GONE for nothing."""
    try:
        return slot.__get__(holder)
    except AttributeError:
        return GONE


def _holds(slot: MemberDescriptorType, holder: object, expected: object) -> bool:
    return is_same(expected, _slot(slot, holder))


Root = dict[str, object] | CellType
"""The globals of a module, or the cell of a closed-over name."""


@dataclass(frozen=True)
class Way:
    """How something outside is found: from a name, over attributes and items."""

    root: Root
    name: str
    steps: tuple[Step, ...] = ()

    def then(self, step: Step) -> Way:
        """One step further."""
        return Way(self.root, self.name, (*self.steps, step))

    def follow(self) -> object:
        """What is there now; GONE for nothing."""
        value = _held(self.root, self.name)
        for step in self.steps:
            value = step.follow(unwrap(value))
        return unwrap(value)

    def lookups(self) -> Iterator[Lookup]:
        """All places on the way, with what they hold now."""
        value = _held(self.root, self.name)
        yield Lookup(self.root, self.name, value)
        for step in self.steps:
            yield from step.lookups(unwrap(value))
            value = step.follow(unwrap(value))

    def __str__(self) -> str:
        return self.name + "".join(map(str, self.steps))

    @property
    def kind(self) -> str:
        """What messages call it."""
        if self.steps:
            return "item" if self.steps[-1].is_item else "attribute"
        return "closed-over name" if isinstance(self.root, CellType) else "global"


@dataclass(frozen=True)
class OutsideConstant:
    """Something that compiled code holds: the way to it, and what was there, of containers as a picture."""

    way: Way
    value: object

    def lookups(self) -> Iterator[Lookup]:
        """What must be as it is now for code to be right that was compiled for it; cheap to compare."""
        yield from self.way.lookups()
        now = self.way.follow()
        if is_container(self.value):
            yield Lookup(functools.partial(is_same, self.value, now), "", None)
        function = None if is_constant(now) else function_of(now)
        if function is not None:
            yield from _lookups_of_function(function)


@dataclass(frozen=True)
class OutsideChange:
    """A name that holds another constant than the code that was compiled."""

    kind: str
    name: str
    before: object
    now: object


@dataclass
class OutsideValues:
    """The constants that traces found."""

    constants: list[OutsideConstant] = field(default_factory=list)
    _known: set[tuple[int, str, tuple[Step, ...]]] = field(default_factory=set)  # the ways to them
    _read: set[tuple[FunctionType, CodeType]] = field(default_factory=set)

    def note_reads(self, function: FunctionType, code: CodeType) -> None:
        """Remember what code with a function's globals and closure reads, and the functions that it calls.

        Of functions that fill a list or dict, or set a global, this is no constant but what they remember.
        """
        waiting = [(function, code)]
        while waiting:
            function, code = waiting.pop()
            if (function, code) in self._read:
                continue
            self._read.add((function, code))
            attributes, keys = all_names(code), outside_reads(code).keys
            for way, value in _names_of(function, code):
                if value is GONE:
                    self._note(way, GONE)
                    continue
                for called in self._note_all(way, value, attributes, keys):
                    waiting.append((called, called.__code__))

    def include(self, other: OutsideValues) -> None:
        """Remember the values of another trace too, and of containers what they hold now."""
        for constant in other.constants:
            is_picture = is_container(constant.value)
            self._note(constant.way, constant.way.follow() if is_picture else constant.value)

    def find_change(self) -> OutsideChange | None:
        """Return the first that is another one now."""
        for constant in self.constants:
            before, now = constant.value, constant.way.follow()
            if is_same(before, now):
                continue
            function = function_of(before)
            if function is not None:
                before, now = _Named(f"the function {function.__name__}"), GONE if now is GONE else _ANOTHER
            before = _BUILTIN if before is GONE else before
            return OutsideChange(constant.way.kind, str(constant.way), before, now)
        return None

    def lookups(self) -> list[Lookup]:
        """All that a launch in a hurry looks at: where nothing differs, ``find_change`` finds nothing."""
        found: dict[tuple[int, Hashable], Lookup] = {}
        calls: list[Lookup] = []
        for constant in self.constants:
            for lookup in constant.lookups():
                if isinstance(lookup.place, functools.partial):
                    calls.append(lookup)
                else:
                    found.setdefault((id(lookup.place), lookup.key), lookup)
        return [*found.values(), *calls]

    def _note_all(
        self, way: Way, value: object, attributes: Set[str], keys: Mapping[str, Set[Hashable]]
    ) -> Iterator[FunctionType]:
        """Remember what a name holds and what some attributes of it do, and theirs; yield the functions."""
        seen: set[int] = set()
        waiting = [(way, value)]
        while waiting:
            way, value = waiting.pop()
            plain = unwrap(value)
            last = str(way.steps[-1].key) if way.steps else way.name
            self._note_items(way, plain, keys.get(last, frozenset()))
            function = function_of(plain)
            if function is not None and _is_followed(function):
                yield function
            places = _places_of(plain)
            if not places or id(plain) in seen:
                continue
            seen.add(id(plain))
            for attribute in sorted(attributes & set[str]().union(*places)):
                step = Step(attribute)
                waiting.append((way.then(step), step.follow(plain)))

    def _note_items(self, way: Way, value: object, keys: Set[Hashable]) -> None:
        """Remember a constant; of a dict that is read by ``keys`` alone, what these name."""
        if type(value) is dict and keys and keys <= value.keys():
            for key in sorted(keys, key=repr):
                self._note(way.then(Step(key, is_item=True)), unwrap(value[key]))
        elif is_container(value) or is_constant(value) or function_of(value) is not None:
            self._note(way, value)

    def _note(self, way: Way, value: object) -> None:
        place = (id(way.root), way.name, way.steps)
        if place not in self._known:
            self._known.add(place)
            self.constants.append(OutsideConstant(way, picture_of_constant(value)))


def _lookups_of_function(function: FunctionType) -> Iterator[Lookup]:
    """Its code and its defaults; where it has none, calls give all arguments, whatever it gets later."""
    yield Lookup(function, "__code__", function.__code__)
    defaults, keywords = function.__defaults__, function.__kwdefaults__
    if defaults:
        yield Lookup(function, "__defaults__", defaults)
    if keywords:
        yield Lookup(function, "__kwdefaults__", keywords)
        for name, default in keywords.items():
            yield Lookup(keywords, name, default)
    held = (*(defaults or ()), *(keywords or {}).values())
    if is_container(held):
        yield Lookup(functools.partial(is_same, picture_of(held), held), "", None)


def _names_of(function: FunctionType, code: CodeType) -> Iterator[tuple[Way, object]]:
    """The free names that code reads, with what they hold; GONE for builtins."""
    closure = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    reads = outside_reads(code)
    for name in sorted((reads.names | set(code.co_freevars)) - reads.changed):
        root: Root = closure.get(name, function.__globals__)
        value = _held(root, name)
        if value is not GONE or (isinstance(root, dict) and name in vars(builtins)):
            yield Way(root, name), value


def _held(root: Root, name: str) -> object:
    if not isinstance(root, CellType):
        return root.get(name, GONE)
    held = held_by(root)
    return GONE if held is root else held


def _is_followed(function: FunctionType) -> bool:
    """Whether what a function reads may change: what the standard library and numpy read does not."""
    home = (function.__module__ or "").partition(".")[0]
    return home not in sys.stdlib_module_names and home != "numpy"


def _places_of(value: object) -> list[Mapping[str, object]]:
    """Where the attributes of an object are, in the order of Python's search; none for what is tilejit's."""
    if isinstance(value, ModuleType):
        return [] if is_ours(value.__name__) else [vars(value)]
    kind = value if isinstance(value, type) else type(value)
    if is_ours(kind.__module__):
        return []
    bodies: list[Mapping[str, object]] = [vars(k) for k in kind.__mro__ if k.__module__ != "builtins"]
    if isinstance(value, type):
        return bodies
    try:
        return [vars(value), *bodies]
    except TypeError:  # an object without names of its own
        return bodies


def _dict_behind(place: Mapping[str, object]) -> Mapping[str, object]:
    """The dict of a class, which shows itself by a proxy."""
    if isinstance(place, dict):
        return place
    (behind,) = gc.get_referents(place)
    assert isinstance(behind, dict)
    return behind
