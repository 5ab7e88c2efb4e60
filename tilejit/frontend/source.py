"""Functions that run inside a trace: kernels called as helpers, and plain Python functions that kernels
call.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import CodeType, FunctionType

from tilejit.diagnostics import CompileError, TilejitError
from tilejit.frontend import control
from tilejit.frontend.bytecode import global_names
from tilejit.frontend.constexpr import unwrap
from tilejit.frontend.context import Trace, fail, find_active
from tilejit.frontend.nodes import RUNTIME
from tilejit.frontend.python_errors import to_compile_error
from tilejit.frontend.rewrite_ast import rewrite
from tilejit.frontend.signature import KernelSource
from tilejit.frontend.tile import Composite, Tile, Undefined


class PlainFunction:
    """An undecorated function that a kernel calls: on tiles it is traced like a helper, else it simply
    runs.
    """

    def __init__(self, function: FunctionType) -> None:
        self.function = function
        functools.update_wrapper(self, function)

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Run or inline the function."""
        trace = find_active()
        if trace is None or not any(map(_holds_tiles, (*args, *kwargs.values()))):
            return self.function(*args, **kwargs)
        try:
            source = _source_of(self.function)
        except CompileError:  # no text to rewrite: it runs as it is
            return self.function(*args, **kwargs)
        return inline(trace, source, args, kwargs)


def _holds_tiles(value: object) -> bool:
    if isinstance(value, tuple | list):
        return any(map(_holds_tiles, value))
    return isinstance(value, Tile | Composite | Undefined)


class _Held:
    """An object that is equal to itself alone."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and other._value is self._value

    def __hash__(self) -> int:
        return id(self._value)


def _source_of(function: FunctionType) -> KernelSource:
    defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    return _read_source(function, function.__code__, tuple(map(_Held, defaults)))


@functools.lru_cache(maxsize=256)
def _read_source(function: FunctionType, code: CodeType, defaults: tuple[_Held, ...]) -> KernelSource:
    """The source of a function as long as it has this code and these defaults."""
    del code, defaults
    return KernelSource.of(function)


def inline(
    trace: Trace, source: KernelSource, args: tuple[object, ...], kwargs: Mapping[str, object]
) -> object:
    """Run a helper in the trace; its ops remember where it was called."""
    if source in trace.active_sources:
        fail(f"{source.name} calls itself: recursion is not supported in a kernel", "use a loop")
    try:
        arguments = source.bind(args, kwargs)
    except TypeError as error:
        fail(
            f"{source.name}(): {error}", f"its parameters are {', '.join(p.name for p in source.parameters)}"
        )
    for parameter in source.parameters:
        if parameter.is_constexpr:
            arguments[parameter.name] = _constant_argument(source, parameter.name, arguments[parameter.name])
    caller, trace.caller = trace.caller, trace.location()
    try:
        return run(trace, source, arguments)
    finally:
        trace.caller = caller


def _constant_argument(source: KernelSource, name: str, value: object) -> object:
    if not isinstance(value, Tile):
        return value
    if value.constant is None:
        fail(
            f"parameter {name} of {source.name} is tl.constexpr; got a value of type {value.tile_type} "
            "that only the run knows",
            "pass a constant, or leave the annotation of the parameter out",
        )
    return value.constant


def run(trace: Trace, source: KernelSource, arguments: Mapping[str, object]) -> object:
    """Run the rewritten function of ``source``. Every error becomes one that points into the kernel."""
    rewritten = rewrite(source)
    trace.spans.update(rewritten.spans)
    function = FunctionType(rewritten.code, _namespace(trace, source, rewritten.code), source.name)
    trace.active_sources.append(source)
    try:
        return function(**{name: _prepare(value) for name, value in arguments.items()})
    except TilejitError:
        raise
    except Exception as error:
        raise to_compile_error(error, trace) from error
    finally:
        trace.active_sources.pop()


def _namespace(trace: Trace, source: KernelSource, code: CodeType) -> dict[str, object]:
    """Return what the function's free names mean now: its closure and globals, constants unwrapped."""
    namespace: dict[str, object] = {RUNTIME: control, "__builtins__": trace.builtins}
    outside, closure = source.function.__globals__, _closure(source.function)
    trace.outside.note_reads(source.function, code)
    for name in sorted(global_names(code)):
        if name in closure:
            namespace[name] = _prepare(closure[name])
        elif name in outside:
            namespace[name] = _prepare(outside[name])
    return namespace


def _closure(function: FunctionType) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            values[name] = cell.cell_contents
        except ValueError:  # assigned later: using it now is a NameError
            continue
    return values


def _prepare(value: object) -> object:
    """Return a value from outside as a kernel sees it."""
    value = unwrap(value)
    if isinstance(value, FunctionType) and not _is_ours(value) and value.__name__ != "<lambda>":
        return PlainFunction(value)
    if isinstance(value, list):
        return tuple(map(_prepare, value))
    return value


def _is_ours(function: FunctionType) -> bool:
    module = function.__module__ or ""
    return module == "tilejit" or module.startswith("tilejit.")
