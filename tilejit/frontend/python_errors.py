"""Turn what Python raises while it runs a kernel into errors that point into the kernel."""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import ModuleType, TracebackType

from tilejit.diagnostics import CompileError, Location
from tilejit.frontend.context import Trace
from tilejit.frontend.tile import Composite, Tile
from tilejit.ir.types import DType, PointerType


def to_compile_error(error: Exception, trace: Trace) -> CompileError:
    """Return the CompileError that says what ``error`` says, at the line of the kernel that raised it."""
    location, names = _innermost(error.__traceback__, trace)
    message, hint = _explain(error, names, trace)
    return CompileError(message, location, hint)


def _innermost(traceback: TracebackType | None, trace: Trace) -> tuple[Location | None, set[str]]:
    """Return where in a kernel the error arose, and the names known there."""
    location, names = trace.function.location, set[str]()
    while traceback is not None:
        spans = trace.spans.get(id(traceback.tb_frame.f_code))
        if spans is not None:
            location = trace.location_at(spans, traceback.tb_lasti)
            frame = traceback.tb_frame
            names = {
                name for name in (*frame.f_locals, *frame.f_globals, *trace.builtins) if name.isidentifier()
            }
        traceback = traceback.tb_next
    return location, names


def _explain(error: Exception, names: set[str], trace: Trace) -> tuple[str, str | None]:
    if isinstance(error, NameError) and error.name:
        return f"name {error.name!r} is not defined", suggest(error.name, names)
    if isinstance(error, AttributeError) and error.name:
        owner = error.obj
        known = [*dir(owner), *(trace.members if isinstance(owner, Tile) else ())]
        return f"{_spell_owner(owner)} has no attribute {error.name!r}", suggest(error.name, known)
    if isinstance(error, RecursionError):
        return "the kernel calls functions too deeply", "use a loop instead of recursion"
    if "does not support ufuncs" in str(error):
        return "functions of numpy do not work on tiles", "use those of tl, for example tl.exp"
    return f"{type(error).__name__}: {_spell_classes(str(error))}", None


# What Python's messages call by the name of a class, and what kernels know it as.
_CLASSES = {
    "ArrayPointer": "pointer",
    "TensorDescriptor": "tensor descriptor",
    "BlockPointer": "block pointer",
    "Tile": "tile",
}


def _spell_classes(text: str) -> str:
    return re.sub(r"\b\w+\b", lambda word: _CLASSES.get(word[0], word[0]), text)


def _spell_owner(owner: object) -> str:
    if isinstance(owner, ModuleType):
        return f"module {owner.__name__}"
    if isinstance(owner, Tile):
        return f"a value of type {owner.tile_type}"
    if isinstance(owner, Composite):
        return f"a {owner}"
    if isinstance(owner, DType | PointerType):
        return f"the type {owner}"
    return f"a value of type {type(owner).__name__}"


def suggest(name: str, known: Iterable[str]) -> str | None:
    """Return a hint with the known name that looks most like ``name``, if one does."""
    import difflib  # noqa: PLC0415 - for what goes wrong

    close = difflib.get_close_matches(name, sorted(set(known)), n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else None
