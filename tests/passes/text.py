"""Helpers of pass tests: text in, text out."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

from tilejit.ir.core import Function
from tilejit.ir.parser import parse_function
from tilejit.ir.printer import print_function
from tilejit.ir.verifier import verify
from tilejit.ops import OP_BY_NAME


def function_of(text: str) -> Function:
    """Parse and verify IR text."""
    function = parse_function(textwrap.dedent(text), OP_BY_NAME)
    verify(function)
    return function


def transform(text: str, run: Callable[[Function], object], *, locations: bool = False) -> str:
    """Run a pass on IR text, check what it leaves and return its text."""
    function = function_of(text)
    run(function)
    verify(function)
    return print_function(function, locations=locations)


def check(before: str, after: str, run: Callable[[Function], object]) -> None:
    """Check that a pass turns one text into the other, and that it finds nothing more to do."""
    expected = print_function(function_of(after))
    assert transform(before, run) == expected
    assert transform(expected, run) == expected
