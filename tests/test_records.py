"""Dataclasses without compiled text: each does what the library's does with the same class body."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from dataclasses import field

import pytest

from tilejit import records

Decorator = Callable[..., Callable[[type], type]]


class Point:
    """Fields of all kinds."""

    x: int
    y: float = 2.0
    tags: list[str] = field(default_factory=list)
    hidden: str = field(default="h", repr=False)
    later: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "later", self.x + 1)


@records.dataclass(frozen=True, slots=True)
class Kept:
    """Copied and pickled: has a home in the module."""

    a: int
    b: str = "b"


@records.dataclass(frozen=True)
class Base:
    a: int


@dataclasses.dataclass(frozen=True)
class Derived(Base):
    b: int = 2


def pair(body: type, **settings: bool) -> tuple[type, type]:
    """The same class made by the library and by ``records``."""
    made = [type(body.__name__, (), dict(vars(body))) for _ in range(2)]
    decorators: tuple[Decorator, Decorator] = (dataclasses.dataclass, records.dataclass)
    library, ours = (decorate(**settings)(kind) for decorate, kind in zip(decorators, made, strict=True))
    return library, ours


SETTINGS: list[dict[str, bool]] = [
    {}, {"frozen": True}, {"eq": False}, {"eq": False, "slots": True}, {"frozen": True, "slots": True},
    {"frozen": True, "eq": False}, {"repr": False, "frozen": True},
]  # fmt: skip
CALLS: list[tuple[tuple[object, ...], dict[str, object]]] = [
    ((1,), {}), ((1, 3.0), {}), ((1, 3.0, ["t"]), {}), ((1, 3.0, ["t"], "other"), {}), ((), {"x": 4}),
    ((1,), {"hidden": "k"}), ((1, 3.0), {"tags": ["u"]}),
]  # fmt: skip
WRONG_CALLS: list[tuple[tuple[object, ...], dict[str, object]]] = [
    ((), {}), ((1, 2.0, [], "h", 5), {}), ((1,), {"x": 2}), ((1,), {"z": 2}), ((), {"y": 2.0}),
]  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("call", CALLS, ids=str)
def test_objects_are_those_of_the_library(
    settings: dict[str, bool], call: tuple[tuple[object, ...], dict[str, object]]
) -> None:
    library, ours = pair(Point, **settings)
    args, kwargs = call
    expected, record = library(*args, **kwargs), ours(*args, **kwargs)
    assert dataclasses.astuple(record) == dataclasses.astuple(expected)
    assert dataclasses.replace(record, x=9).later == 10
    assert (record == ours(*args, **kwargs)) == (expected == library(*args, **kwargs))
    assert record != ours(77)
    if settings.get("repr", True):
        assert repr(record) == repr(expected)


@pytest.mark.parametrize("call", WRONG_CALLS, ids=str)
def test_wrong_calls_are_refused_with_the_words_of_the_library(
    call: tuple[tuple[object, ...], dict[str, object]],
) -> None:
    library, ours = pair(Point, frozen=True)
    args, kwargs = call
    with pytest.raises(TypeError) as expected:
        library(*args, **kwargs)
    with pytest.raises(TypeError) as raised:
        ours(*args, **kwargs)
    assert str(raised.value) == str(expected.value)


def test_default_factories_make_a_new_value_each_time() -> None:
    _, ours = pair(Point)
    assert ours(1).tags is not ours(1).tags


def test_a_class_of_many_objects_gets_the_init_of_the_library() -> None:
    for settings in SETTINGS:
        library, ours = pair(Point, **settings)
        first = ours(1)
        for _ in range(records._CALLS_BEFORE_COMPILING):
            ours(1)
        assert str(inspect.signature(ours)) == str(inspect.signature(library))
        later = ours(1, hidden="k")
        assert (later.x, later.y, later.tags, later.hidden, later.later) == (1, 2.0, [], "k", 2)
        assert dataclasses.astuple(ours(1)) == dataclasses.astuple(first)


def test_frozen_objects_stay_as_they_are_and_can_be_keys() -> None:
    assert {Kept(1): "one"}[Kept(1)] == "one"
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'a'"):
        Kept(1).a = 2  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'a'"):
        del Kept(1).a  # type: ignore[misc]


def test_objects_that_compare_and_change_are_no_keys() -> None:
    library, ours = pair(Point)
    for kind in (library, ours):
        with pytest.raises(TypeError, match="unhashable"):
            hash(kind(1))


def test_a_single_field_and_no_field() -> None:
    One = records.dataclass(frozen=True)(type("One", (), {"__annotations__": {"a": float}}))
    Zero = records.dataclass(frozen=True)(type("Zero", (), {}))
    not_a_number = float("nan")
    assert One(not_a_number) == One(not_a_number)  # as in tuples, which the library compares
    assert len({One(1.0), One(1.0), One(2.0)}) == 2
    assert Zero() == Zero()
    assert Zero() != One(1.0)


def test_frozen_objects_with_slots_are_copied_and_pickled() -> None:
    assert copy.copy(Kept(1)) == copy.deepcopy(Kept(1)) == pickle.loads(pickle.dumps(Kept(1))) == Kept(1)


def test_dataclasses_of_the_library_derive_from_ours_and_ours_from_them() -> None:
    assert Derived(1) == Derived(1, 2)
    assert repr(Derived(1)) == "Derived(a=1, b=2)"
    Third = records.dataclass(frozen=True)(type("Third", (Derived,), {"__annotations__": {"c": int}, "c": 3}))
    assert dataclasses.astuple(Third(1)) == (1, 2, 3)
    assert len({Third(1), Third(1)}) == 1


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_library_knows_the_fields(settings: dict[str, bool]) -> None:
    library, ours = pair(Point, **settings)
    expected = [(f.name, f.type, f.default, f.init, f.repr) for f in dataclasses.fields(library)]
    assert [(f.name, f.type, f.default, f.init, f.repr) for f in dataclasses.fields(ours)] == expected
    assert repr(ours.__dataclass_params__) == repr(library.__dataclass_params__)
    assert ours.__match_args__ == library.__match_args__
    assert dataclasses.is_dataclass(ours(1)) and dataclasses.replace(ours(1), x=5).x == 5


def test_methods_that_a_class_has_stay() -> None:
    _, ours = pair(type("Named", (), {"__annotations__": {"a": int}, "__repr__": lambda self: "mine"}))
    assert repr(ours(1)) == "mine"


def test_factories_of_fields_that_are_no_arguments_are_refused() -> None:
    body = {"__annotations__": {"a": list}, "a": field(init=False, default_factory=list)}
    with pytest.raises(TypeError, match="has a factory for a field that is no argument"):
        records.dataclass(type("Odd", (), body))
