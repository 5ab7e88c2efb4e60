"""Source locations and the errors tilejit raises.

Users' mistakes are ``CompileError`` (wrong kernel) and ``LaunchError`` (wrong call); both say what is wrong,
what was expected and how to fix it. A broken invariant of tilejit itself is ``InternalError``, which asks
for a report.
"""

from __future__ import annotations

import linecache

from tilejit.records import dataclass


@dataclass(frozen=True)
class Location:
    """A span of Python source; ``caller`` is the call site where the span lies in an inlined helper.

    Units: lines from 1, columns from 0 in characters, ``end_column`` exclusive.
    """

    file: str
    line: int
    column: int
    end_line: int
    end_column: int
    function: str
    caller: Location | None = None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column + 1}"


class TilejitError(Exception):
    """Base of all errors that tilejit raises on purpose."""


class CompileError(TilejitError):
    """A kernel that cannot be compiled; the text shows the line with a caret, the problem and the fix."""

    def __init__(self, message: str, location: Location | None = None, hint: str | None = None) -> None:
        self.message = message
        self.location = location
        self.hint = hint
        super().__init__(render(message, location, hint))


class LaunchError(TilejitError):
    """A call that does not fit the kernel; raised before anything is written."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        self.message = message
        self.hint = hint
        super().__init__(render(message, None, hint))


class KernelError(TilejitError):
    """A kernel that went wrong while it ran: an access out of bounds, a failed device_assert."""

    def __init__(self, message: str, location: Location | None = None, hint: str | None = None) -> None:
        self.message = message
        self.location = location
        self.hint = hint
        super().__init__(render(message, location, hint))


class InternalError(TilejitError):
    """A broken invariant of tilejit; never the user's fault."""

    def __init__(self, message: str, location: Location | None = None) -> None:
        self.message = message
        self.location = location
        super().__init__(
            render(f"internal error: {message}", location, "this is a bug in tilejit; please report it")
        )


def render(message: str, location: Location | None, hint: str | None) -> str:
    """Return the text of an error: message, source line with caret, chain of callers, fix."""
    lines = [message]
    if location is not None:
        lines += _render_span(location)
        caller = location.caller
        while caller is not None:
            lines.append(f"called from {caller.file}:{caller.line}, in {caller.function}")
            lines += _source_lines(caller)
            caller = caller.caller
    if hint:
        lines.append(f"fix: {hint}")
    return "\n".join(lines)


def _render_span(location: Location) -> list[str]:
    return [f"  at {location.file}:{location.line}, in {location.function}", *_source_lines(location)]


def _source_lines(location: Location) -> list[str]:
    source = linecache.getline(location.file, location.line).rstrip("\n")
    if not source:
        return []
    stripped = source.lstrip()
    indent = len(source) - len(stripped)
    end = location.end_column if location.end_line == location.line else len(source)
    width = max(1, min(end, len(source)) - location.column)
    return [f"    {stripped}", "    " + " " * max(0, location.column - indent) + "^" * width]
