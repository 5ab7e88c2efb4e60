"""Every message to users has a test: the fixed parts of its text stand in some test or golden file."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = (
    "frontend", "language", "runtime", "interpreter.py", "options.py", "compiler.py", "ascend_compiler.py",
    "passes", "backend", "ops/machine", "__main__.py",
)  # fmt: skip
SOURCES = sorted(
    path
    for part in PARTS
    for path in (
        [ROOT / "tilejit" / part] if part.endswith(".py") else (ROOT / "tilejit" / part).rglob("*.py")
    )
)
RAISING = {
    "CompileError", "LaunchError", "UnknownKeywordError", "KernelError", "fail", "_refuse", "refuse",
    "refusal", "require", "_refused",
}  # fmt: skip
SHORTEST = 4  # shorter pieces between values, like ": ", say nothing


def fixed_parts(text: ast.expr) -> Iterator[str]:
    """The pieces of a message that do not depend on values; both sides of a choice."""
    if isinstance(text, ast.Constant) and isinstance(text.value, str):
        yield text.value
    for child in ast.iter_child_nodes(text):
        if isinstance(child, ast.expr) and not isinstance(text, ast.FormattedValue | ast.Call | ast.Compare):
            yield from fixed_parts(child)


def messages(source: str) -> Iterator[tuple[int, str]]:
    """The lines of a source on which errors are made, each with one fixed part of its message."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if name in RAISING:
            for argument in node.args:
                for part in fixed_parts(argument):
                    if len(part.strip(" :;")) >= SHORTEST:
                        yield node.lineno, part.strip(" :;")


def texts(source: str) -> Iterator[str]:
    """The texts in a test; values in them cut them up, and escapes of regular expressions are undone."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value.replace("\\", "")


@functools.cache
def all_texts() -> str:
    """Everything that tests compare with, one text behind the other."""
    tests = sorted((ROOT / "tests").rglob("*"))
    python = [text for path in tests if path.suffix == ".py" for text in texts(path.read_text())]
    golden = [path.read_text() for path in tests if path.suffix == ".txt"]
    return "\0".join([*python, *golden])


def untested(source: str, corpus: str) -> list[str]:
    """The fixed parts of messages that are not in ``corpus``."""
    return [f"line {line}: {part}" for line, part in messages(source) if part not in corpus]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_messages_are_tested(path: Path) -> None:
    assert untested(path.read_text(), all_texts()) == []


def test_an_untested_message_is_found() -> None:
    source = 'fail(f"{what} is odd; got {value}", "give an even one")'
    assert untested(source, "x is odd; got 3, fix: give an even one") == []
    assert untested(source, "x is odd; got 3") == ["line 1: give an even one"]
    assert untested(source, "") == ["line 1: is odd; got", "line 1: give an even one"]
