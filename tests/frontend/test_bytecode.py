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
