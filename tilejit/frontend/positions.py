"""Which place in the source an instruction of rewritten code comes from.

CPython keeps the line and the columns of every instruction, so the place of an op is known without any help
from the rewriting: it is that of the instruction which the innermost frame of a kernel is running.
"""

from __future__ import annotations

import linecache
from types import CodeType

from tilejit.diagnostics import Location
from tilejit.records import dataclass

Span = tuple[int, int, int, int]  # line, end line, column, end column; columns count UTF-8 bytes


@dataclass(frozen=True)
class CodeSpans:
    """The code of a rewritten function or of a comprehension in it, with a span per instruction."""

    code: CodeType
    file: str
    function: str
    spans: tuple[Span, ...]

    def location(self, instruction: int, caller: Location | None) -> Location:
        """Return the place of the instruction at a byte offset of the code."""
        line, end_line, column, end_column = self.spans[instruction // 2]
        start, end = _characters(self.file, line, column), _characters(self.file, end_line, end_column)
        return Location(self.file, line, start, end_line, end, self.function, caller)


@dataclass(frozen=True)
class RewrittenFunction:
    """A function ready to be run in a trace. ``spans`` is by id: hashing a code object walks all of it."""

    code: CodeType
    spans: dict[int, CodeSpans]


def rewritten_function(code: CodeType, file: str, name: str, first_line: int) -> RewrittenFunction:
    """Collect the spans of ``code`` and of all code nested in it."""
    spans: dict[int, CodeSpans] = {}
    pending = [code]
    while pending:
        current = pending.pop()
        spans[id(current)] = CodeSpans(current, file, name, _spans(current, first_line))
        pending += [constant for constant in current.co_consts if isinstance(constant, CodeType)]
    return RewrittenFunction(code, spans)


def _spans(code: CodeType, first_line: int) -> tuple[Span, ...]:
    return tuple(
        (line or first_line, end_line or line or first_line, column or 0, end_column or 0)
        for line, end_line, column, end_column in code.co_positions()
    )


def _characters(file: str, line: int, column: int) -> int:
    """Turn a column in UTF-8 bytes into one in characters."""
    text = linecache.getline(file, line)
    return column if text.isascii() else len(text.encode()[:column].decode(errors="ignore"))
