"""A kernel's text and all it calls, as a short digest that is equal for equal kernels, wherever they lie."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterator
from types import FunctionType

from tilejit.diagnostics import CompileError
from tilejit.frontend.bytecode import global_names
from tilejit.frontend.constexpr import unwrap
from tilejit.frontend.signature import KernelSource
from tilejit.frontend.traced_function import TracedFunction
from tilejit.ir.types import DType, PointerType

_DIGITS = 32


def digest_text(*parts: str) -> str:
    """The digest of some texts in order."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_DIGITS]


def stable_text(value: object) -> str | None:
    """A constant as text that is the same in every process; None for what has no such text."""
    value = unwrap(value)
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, DType | PointerType):
        return str(value)
    if isinstance(value, tuple | list):
        items = [stable_text(item) for item in value]
        return None if None in items else f"({', '.join(map(str, items))})"
    return None


def digest_source(source: KernelSource) -> str:
    """The digest of a kernel, of the functions it calls and of the constants that they read outside.

    What a kernel reaches through modules and classes is left out.
    """
    texts: dict[str, None] = {}
    _collect(source, texts, {source.function})
    return digest_text(*texts)


def _collect(source: KernelSource, texts: dict[str, None], seen: set[FunctionType]) -> None:
    texts[source.text] = None
    for name, value in _outside(source.function):
        inner = _source_of(value)
        if inner is None:
            text = stable_text(value)
            if text is not None:
                texts[f"{name} = {text}"] = None
        elif inner.function not in seen:
            seen.add(inner.function)
            _collect(inner, texts, seen)


def _outside(function: FunctionType) -> Iterator[tuple[str, object]]:
    """The globals and closed-over names that a function may read, with what they hold."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # assigned later
            continue
    for name in sorted(global_names(function.__code__)):
        if name in function.__globals__:
            yield name, function.__globals__[name]


def _source_of(value: object) -> KernelSource | None:
    """The source of a helper; None for what is no function, and for those of tilejit."""
    if isinstance(value, TracedFunction):
        return value.source
    if isinstance(value, FunctionType) and not (value.__module__ or "").startswith("tilejit."):
        try:
            return KernelSource.of(value)
        except CompileError:  # no text to read
            return None
    return None
