"""Whether code that was made for one value from outside is right for another."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from enum import Enum
from operator import is_
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Protocol, runtime_checkable

import numpy as np

from tilejit.ir.types import DType, PointerType

_MAX_DEPTH = 8  # of containers in containers, which may hold themselves
_MAX_TABLE_BYTES = 1 << 16
"""Of arrays whose items are compared at every launch; what larger ones hold may not change."""


# Tuples, since to make a union of types at each call takes longer than the rest of it.
_NO_FUNCTIONS = (ModuleType, type)
_CONTAINERS = (list, dict, set)
_CONSTANTS = (bool, int, float, str, Enum, DType, PointerType, np.generic)
# Most values, none of which stands for a function; to ask a protocol takes 10 us.
_PLAIN_KINDS = frozenset((type(None), bool, int, float, str, tuple, list, dict, set, np.ndarray))


class Decorated:
    """A kernel or helper, with the function that it was made of."""

    fn: object


@runtime_checkable
class _DecoratedByOthers(Protocol):
    """The same of another library."""

    fn: object


@runtime_checkable
class _Wrapper(Protocol):
    """What ``functools.wraps`` made, as ``functools.cache`` does."""

    __wrapped__: object


class WrapperPicture(Decorated):
    """What stands for a function, such as a static or bound method, a property or a partial function, with a
    picture of that function. Of a picture ``function_of`` tells the function as it was.
    """

    def __init__(self, wrapper: object, fn: FunctionType) -> None:
        self.wrapper, self.fn = wrapper, fn


def function_of(value: object) -> FunctionType | None:
    """The function that a value from outside stands for, as kernels, methods and wrappers do; or None."""
    if type(value) in _PLAIN_KINDS or isinstance(value, _NO_FUNCTIONS):
        return None
    while isinstance(value, functools.partial):
        value = value.func
    if isinstance(value, staticmethod | classmethod | MethodType):
        value = value.__func__
    elif isinstance(value, property):
        value = value.fget
    elif isinstance(value, functools.cached_property):
        value = value.func
    if not isinstance(value, FunctionType):
        value = (
            value.fn
            if isinstance(value, (Decorated, _DecoratedByOthers))
            else value.__wrapped__
            if isinstance(value, _Wrapper)
            else None
        )
    return None if not isinstance(value, FunctionType) or is_ours(value.__module__ or "") else value


def is_ours(module: str) -> bool:
    """True for the name of a module of tilejit."""
    return module == "tilejit" or module.startswith("tilejit.")


def is_container(value: object) -> bool:
    """True for what holds values that may change while it stays the same object."""
    if type(value) is tuple:
        return any(map(is_container, value))
    return isinstance(value, _CONTAINERS) or _is_table(value)


def is_constant(value: object) -> bool:
    """True for what code can hold and what never changes itself: numbers, texts, types, tuples of them."""
    if isinstance(value, tuple):
        return all(map(is_constant, value))
    return value is None or isinstance(value, _CONSTANTS)


def picture_of(value: object, depth: int = 0) -> object:
    """A copy that keeps what lists, dicts, sets and small arrays hold, and a function's code and defaults."""
    if depth == _MAX_DEPTH:
        return value
    if isinstance(value, FunctionType):
        return _picture_of_function(value)
    if isinstance(value, dict):
        return {key: picture_of(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [picture_of(item, depth + 1) for item in value]
    if type(value) is tuple:
        return tuple([picture_of(item, depth + 1) for item in value])
    if isinstance(value, np.ndarray):
        return value.copy() if _is_table(value) else value
    return set(value) if isinstance(value, set) else value


def picture_of_constant(value: object) -> object:
    """``picture_of`` of a constant itself, not of an item of one; of what stands for a function too, whose
    code others may replace.
    """
    if isinstance(value, FunctionType | WrapperPicture) or is_constant(value) or is_container(value):
        return picture_of(value)
    function = function_of(value)
    return value if function is None else WrapperPicture(value, _picture_of_function(function))


def is_same(before: object, now: object) -> bool:
    """Whether code made for one constant is right for the other: -0.0 is not 0.0, and 1 is not True."""
    if isinstance(before, WrapperPicture):
        old, new = function_of(before), function_of(now)
        has_code = old is not None and new is not None and _is_same_function(old, new)
        return has_code and is_same(before.wrapper, now)
    if now is before:
        return True
    if isinstance(before, dict) and isinstance(now, dict):
        return _are_same([*before, *before.values()], [*now, *now.values()])
    if isinstance(before, list) and isinstance(now, list):
        return _are_same(before, now)
    if isinstance(before, Enum) and isinstance(now, Enum):
        return _is_same_member(before, now)
    if type(now) is not type(before):
        return False
    if isinstance(before, np.ndarray | np.generic) and isinstance(now, np.ndarray | np.generic):
        return _is_same_array(before, now)
    if isinstance(before, functools.partial) and isinstance(now, functools.partial):
        parts = [[part.func, part.args, part.keywords] for part in (before, now)]
        return all(map(is_same, *parts))
    old, new = function_of(before), function_of(now)
    if old is not None and new is not None:
        return _is_same_function(old, new)
    if isinstance(before, tuple) and isinstance(now, tuple):
        return _are_same(before, now)
    if isinstance(before, float):
        return repr(now) == repr(before)
    return (is_constant(before) or isinstance(before, set)) and now == before


def held_by(cell: CellType) -> object:
    """What a cell holds; an empty one holds itself."""
    try:
        return cell.cell_contents
    except ValueError:
        return cell


def _picture_of_function(function: FunctionType) -> FunctionType:
    """Tools that load changed files again put new code and defaults into the functions that there are."""
    copy = FunctionType(
        function.__code__, function.__globals__, function.__name__, closure=function.__closure__
    )
    if function.__defaults__ is not None:
        copy.__defaults__ = tuple(map(picture_of, function.__defaults__))
    if function.__kwdefaults__ is not None:
        copy.__kwdefaults__ = {name: picture_of(value) for name, value in function.__kwdefaults__.items()}
    return copy


def _are_same(before: Sequence[object], now: Sequence[object]) -> bool:
    return len(before) == len(now) and (all(map(is_, before, now)) or all(map(is_same, before, now)))


def _is_same_member(before: Enum, now: Enum) -> bool:
    """Whether an enumeration that was made anew has the same member."""
    kinds = [f"{type(member).__module__}.{type(member).__qualname__}" for member in (before, now)]
    return kinds[0] == kinds[1] and before.name == now.name and is_same(before.value, now.value)


def _is_same_array(before: np.ndarray | np.generic, now: np.ndarray | np.generic) -> bool:
    has_form = (before.dtype, before.shape) == (now.dtype, now.shape)
    return has_form and not before.dtype.hasobject and before.tobytes() == now.tobytes()


def _is_same_function(before: FunctionType, now: FunctionType) -> bool:
    """Whether one was made of the same text as the other, with the same values that it closes over."""
    if before.__code__ != now.__code__ or before.__globals__ is not now.__globals__:
        return False
    held = [[held_by(cell) for cell in function.__closure__ or ()] for function in (before, now)]
    defaults = [[function.__defaults__, function.__kwdefaults__] for function in (before, now)]
    return all(map(is_same, *held)) and all(map(is_same, *defaults))


def _is_table(value: object) -> bool:
    return isinstance(value, np.ndarray) and not value.dtype.hasobject and value.nbytes <= _MAX_TABLE_BYTES
