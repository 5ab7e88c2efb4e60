"""Which names bytecode reads."""

from __future__ import annotations

import argparse
import dataclasses
import dis
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, ModuleType

import pytest

from tilejit.frontend import bytecode


def code_objects(module: ModuleType) -> Iterator[CodeType]:
    """The code of a module's file, and of all functions and classes in it."""
    assert module.__file__ is not None
    found = [compile(Path(module.__file__).read_text(), module.__file__, "exec")]
    while found:
        code = found.pop()
        yield code
        found += [constant for constant in code.co_consts if isinstance(constant, CodeType)]


@pytest.mark.parametrize("module", [argparse, dataclasses, bytecode], ids=lambda module: module.__name__)
def test_names_read_as_dis_tells_them(module: ModuleType) -> None:
    """Long functions need extended arguments, for jumps at least."""
    told = bytecode.READS | bytecode.ATTRIBUTES | bytecode.OUTER_READS
    for code in code_objects(module):
        expected = [
            (instruction.opname, str(instruction.argval) if instruction.opname in told else "")
            for instruction in dis.get_instructions(code)
            if instruction.opname != "EXTENDED_ARG"
        ]
        assert list(bytecode.names_read(code)) == expected


def test_attributes_are_no_globals() -> None:
    code = compile("def f(x):\n    return [x.width * scale for x in items.inner]", "f.py", "exec")
    (function,) = bytecode.inner_codes(code)
    assert bytecode.global_names(function) == {"scale", "items"}
    assert bytecode.all_names(function) == {"scale", "items", "width", "inner"}


def test_names_that_a_function_changes() -> None:
    code = compile(
        "def f(x):\n    global count\n    count = 1\n    memo[x, 1] = x\n    log.append(TABLE[x])\n"
        "    x[0] = SIZE\n    DONE['x'] += 1\n    return (SIZE, x[1])\n",
        "f.py",
        "exec",
    )
    (function,) = bytecode.inner_codes(code)
    assert bytecode.outside_reads(function).changed == {"count", "memo", "log", "DONE"}


def test_keys_of_names_that_are_read_by_constant_keys_alone() -> None:
    text = (
        "def f(x):\n    return A['a'] + A['b'] + B['a'] + B[x] + len(C) + (lambda: D[1] + A['c'] + m.E['e'])"
    )
    (function,) = bytecode.inner_codes(compile(text, "f.py", "exec"))
    assert bytecode.outside_reads(function).keys == {"A": {"a", "b", "c"}, "D": {1}, "E": {"e"}}
