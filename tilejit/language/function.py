"""What every function of the language does before its own work."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from tilejit.diagnostics import CompileError
from tilejit.frontend.constexpr import Constexpr, unwrap
from tilejit.frontend.context import fail, find_active
from tilejit.frontend.python_errors import suggest
from tilejit.frontend.tile import Tile, Undefined

P = ParamSpec("P")
R = TypeVar("R")

Operand = Tile | bool | int | float | Constexpr


def language_function(function: Callable[P, R]) -> Callable[P, R]:
    """Make ``function`` a name of the language: it needs a kernel around it, and says which arguments it
    takes.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if find_active() is None:
            raise CompileError(
                f"tl.{function.__name__} works only inside a kernel",
                None,
                "call it in a function decorated with @tilejit.kernel that is launched as kernel[grid](...)",
            )
        for value in (*args, *kwargs.values()):
            if type(value) is Undefined:
                value.refuse()
            if type(value) is Constexpr:
                args = tuple(map(unwrap, args))  # type: ignore[assignment]
                kwargs = {name: unwrap(value) for name, value in kwargs.items()}  # type: ignore[assignment]
                break
        try:
            return function(*args, **kwargs)
        except TypeError:
            _check_call(function, args, kwargs)
            raise

    return call


def _check_call(function: Callable[P, R], args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    """Say what is wrong with the arguments of a call, if they are what is wrong."""
    signature = inspect.signature(function)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        name, parameters = function.__name__, list(signature.parameters)
        unknown = next((keyword for keyword in kwargs if keyword not in parameters), None)
        takes = f"it takes {', '.join(parameters)}" if parameters else "it takes no arguments"
        if unknown is None:
            fail(f"tl.{name}: {error}", takes)
        fail(f"tl.{name} has no parameter {unknown!r}", suggest(unknown, parameters) or takes)


def one_of(value: object, choices: dict[str, R], what: str) -> R:
    """Return the choice called ``value``."""
    if isinstance(value, str) and value in choices:
        return choices[value]
    names = ", ".join(repr(choice) for choice in choices)
    fail(f"{what} must be one of {names}; got {value!r}")
