"""``dataclass`` of the standard library, without the text that it compiles for each class.

The library's decorator writes six methods as text and runs the compiler over each, half a millisecond for a
class: half of what importing tilejit took, and a third of the first call of a small kernel. Here methods are
closures over the names of the fields. Only ``__init__`` matters to speed, so a class that makes many objects
gets the library's after all. ``fields``, ``replace`` and ``astuple`` work as ever, on what the library makes
of a class when it is first asked for, and type checkers see the library's decorator. Every annotation is a
field: there are no class variables.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, FrozenInstanceError
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, TypeVar

T = TypeVar("T")
Method = Callable[..., object]
Values = Callable[[object], tuple[object, ...]]

# The library's ``__init__`` takes about 0.3 ms to make and saves about 1 us a call.
_CALLS_BEFORE_COMPILING = 256

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(
        kind: type[T] | None = None,
        /,
        *,
        frozen: bool = False,
        eq: bool = True,
        repr: bool = True,
        slots: bool = False,
    ) -> type[T] | Callable[[type[T]], type[T]]:
        """Like ``dataclasses.dataclass``; classes that derive from another dataclass go to that one."""

        def decorate(decorated: type[T]) -> type[T]:
            if any(map(dataclasses.is_dataclass, decorated.__mro__[1:])):
                return dataclasses.dataclass(frozen=frozen, eq=eq, repr=repr, slots=slots)(decorated)
            return _with_methods(decorated, frozen=frozen, eq=eq, repr=repr, slots=slots)

        return decorate if kind is None else decorate(kind)


def _with_methods(decorated: type[T], *, frozen: bool, eq: bool, repr: bool, slots: bool) -> type[T]:
    own = set(vars(decorated))
    if decorated.__doc__ is None:  # else the library prints the signature, which takes longest
        decorated.__doc__ = f"{decorated.__name__}."
    kind: type[T] = decorated
    if slots:
        kind = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True)(decorated)
        fields = dataclasses.fields(kind)  # type: ignore[arg-type]  # it is a dataclass now
        parameters = vars(kind)["__dataclass_params__"]
        parameters.init, parameters.repr, parameters.eq, parameters.frozen = True, repr, eq, frozen
    else:
        fields = _take_fields(kind)
        for name in ("__dataclass_fields__", "__dataclass_params__"):
            setattr(kind, name, _FromLibrary(name, kind, fields, frozen=frozen, eq=eq, repr=repr))
        if "__match_args__" not in own:
            setattr(kind, "__match_args__", tuple(field.name for field in fields if field.init))  # noqa: B010
    names = tuple(field.name for field in fields)
    values = _values_of(names)
    methods: dict[str, Method | None] = {"__init__": _make_init(kind, fields, frozen)}
    if repr:
        methods["__repr__"] = _make_repr([field.name for field in fields if field.repr])
    if eq:
        methods["__eq__"] = _make_eq(values)
        methods["__hash__"] = (lambda self: hash(values(self))) if frozen else None
    if frozen:
        methods["__setattr__"], methods["__delattr__"] = _make_refusals(kind, names)
    if frozen and slots:  # copying and unpickling would set attributes
        methods["__getstate__"], methods["__setstate__"] = lambda self: values(self), _make_setstate(names)
    if sys.version_info >= (3, 13):
        methods["__replace__"] = lambda self, /, **changes: dataclasses.replace(self, **changes)  # type: ignore[type-var]
    for name, method in methods.items():
        if name not in own:
            setattr(kind, name, method)
    return kind


def _take_fields(kind: type[object]) -> tuple[Field[object], ...]:
    """The fields that a class declares; of their defaults those that are values stay on the class."""
    own, fields = vars(kind), []
    for name, annotation in own.get("__annotations__", {}).items():
        default = own.get(name, MISSING)
        if not isinstance(default, Field):
            declared: Field[object] = dataclasses.field(default=default)
        else:
            declared = default
            if default.default is MISSING:
                delattr(kind, name)
            else:
                setattr(kind, name, default.default)
        declared.name, declared.type = name, annotation
        fields.append(declared)
    return tuple(fields)


class _FromLibrary:
    """What the library keeps of a class for ``fields`` and for classes derived from it, made when asked for:
    few classes are.
    """

    def __init__(
        self, name: str, kind: type[object], fields: Sequence[Field[object]], **parameters: bool
    ) -> None:
        self._name, self._kind, self._fields, self._parameters = name, kind, fields, parameters

    def __get__(self, record: object, owner: type[object] | None = None) -> object:
        made = vars(_twin(self._kind, self._fields, **self._parameters))
        for name in ("__dataclass_fields__", "__dataclass_params__"):
            setattr(self._kind, name, made[name])
        return made[self._name]


def _values_of(names: Sequence[str]) -> Values:
    """A function that gives the values of an object's fields."""
    if len(names) > 1:
        return attrgetter(*names)  # which gives a tuple for two names and more
    return lambda record: tuple(getattr(record, name) for name in names)


def _make_init(kind: type[object], fields: Sequence[Field[object]], frozen: bool) -> Method:
    asked = tuple(field.name for field in fields if field.init)
    if any(not f.init and f.default_factory is not MISSING for f in fields):
        raise TypeError(f"{kind.__name__} has a factory for a field that is no argument")
    defaults = {field.name: field.default for field in fields if field.init and field.default is not MISSING}
    factories = {f.name: f.default_factory for f in fields if f.default_factory is not MISSING}
    fewest = len(asked)  # arguments of a call that leaves nothing to look up
    while fewest and asked[fewest - 1] in defaults:
        fewest -= 1
    last = tuple(defaults.get(name) for name in asked)
    has_post_init = hasattr(kind, "__post_init__")
    put = object.__setattr__
    calls_left = _CALLS_BEFORE_COMPILING

    def match(self: object, args: Sequence[object], kwargs: Mapping[str, object]) -> dict[str, object]:
        given = dict(zip(asked, args, strict=False))
        values = {**defaults, **given, **kwargs}
        values.update((name, make()) for name, make in factories.items() if name not in values)
        if len(given) < len(args) or given.keys() & kwargs.keys() or values.keys() != set(asked):
            _library_init(kind, fields, frozen)(self, *args, **kwargs)  # raises, and says what is wrong
        return values

    def __init__(self: object, /, *args: object, **kwargs: object) -> None:
        nonlocal calls_left
        calls_left -= 1
        if not calls_left:
            setattr(kind, "__init__", _library_init(kind, fields, frozen))  # noqa: B010 - it is a new one
        if not kwargs and fewest <= len(args) <= len(asked):
            for name, value in zip(asked, args + last[len(args) :], strict=True):
                put(self, name, value)
        else:
            for name, value in match(self, args, kwargs).items():
                put(self, name, value)
        if has_post_init:
            vars(kind)["__post_init__"](self)

    return __init__


def _library_init(kind: type[object], fields: Sequence[Field[object]], frozen: bool) -> Method:
    """The ``__init__`` that the library makes, taken from a class of the same fields."""
    made: Method = vars(_twin(kind, fields, repr=False, eq=False, frozen=frozen))["__init__"]
    return made


def _twin(kind: type[object], fields: Sequence[Field[object]], **parameters: bool) -> type[object]:
    """A class of the library with the same fields."""
    body: dict[str, object] = {field.name: field for field in fields}
    body["__annotations__"] = {field.name: field.type for field in fields}
    body["__doc__"], body["__qualname__"] = kind.__doc__, kind.__qualname__
    body["__module__"] = kind.__module__
    if hasattr(kind, "__post_init__"):
        body["__post_init__"] = None  # that there is one makes the library's call it
    twin: type[object] = type(kind.__name__, (), body)
    return dataclasses.dataclass(**parameters)(twin)


def _make_repr(names: Sequence[str]) -> Method:
    @recursive_repr()
    def __repr__(self: object) -> str:
        return f"{type(self).__qualname__}({', '.join(f'{n}={getattr(self, n)!r}' for n in names)})"

    return __repr__


def _make_eq(values: Values) -> Method:
    def __eq__(self: object, other: object) -> bool:
        if self is other:
            return True
        return values(self) == values(other) if type(other) is type(self) else NotImplemented

    return __eq__


def _make_refusals(kind: type[object], names: Sequence[str]) -> tuple[Method, Method]:
    """``__setattr__`` and ``__delattr__`` of a frozen class."""

    def __setattr__(self: object, name: str, value: object) -> None:
        if type(self) is kind or name in names:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        object.__setattr__(self, name, value)

    def __delattr__(self: object, name: str) -> None:
        if type(self) is kind or name in names:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        object.__delattr__(self, name)

    return __setattr__, __delattr__


def _make_setstate(names: Sequence[str]) -> Method:
    def __setstate__(self: object, state: Sequence[object]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    return __setstate__
