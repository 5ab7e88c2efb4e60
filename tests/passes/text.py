"""Helpers of pass tests: text in, text out."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

from tilejit.ir.core import Function, Value
from tilejit.ir.loop_plan import print_plan
from tilejit.ir.parser import parse_function
from tilejit.ir.printer import print_function, value_names
from tilejit.ir.verifier import verify
from tilejit.ops import OP_BY_NAME
from tilejit.passes.plan_loops import plan_loops


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


ARGUMENTS = (
    "%x: int32, %y: int32, %u: uint32, %f: fp32, %h: fp16, %c: int1, %d: int1, %t: tile<4xint32>, "
    "%ft: tile<4xfp32>, %m: tile<4xint1>, %p: ptr<fp32>, %q: ptr<fp32>, %pt: tile<4xptr<fp32>>"
)


def kernel(body: str) -> str:
    """A function with one argument of each common type around ``body``; ``use`` lines keep values alive.

    ``use %a, %b`` stands for a print of the values.
    """
    lines = []
    for line in textwrap.dedent(body).strip().splitlines():
        stripped = line.strip()
        if stripped.startswith("use "):
            values = stripped.removeprefix("use ")
            line = line.replace(stripped, f'device_print(values=[{values}]) {{prefix=""}}')
        lines.append("  " + line)
    return f"func @f({ARGUMENTS}) {{\n" + "\n".join(lines) + "\n  return()\n}\n"


def check_body(before: str, after: str, run: Callable[[Function], object]) -> None:
    """``check`` on bodies put into ``kernel``."""
    check(kernel(before), kernel(after), run)


def named(function: Function, name: str) -> Value:
    """The value ``%name`` of a parsed function."""
    values = [*function.body.arguments]
    for op in function.walk():
        values += [*op.results, *(argument for region in op.regions for argument in region.arguments)]
    (found,) = [value for value in values if value.name == name]
    return found


def plan_lines(body: str, *starts: str, vector_bytes: int = 64) -> list[str]:
    """The steps of the plan of ``kernel(body)`` that begin with one of ``starts``, without what they hold."""
    function = function_of(kernel(body))
    text = print_plan(plan_loops(function, vector_bytes), value_names(function))
    lines = [line.strip().removesuffix(" {") for line in text.splitlines()]
    return [line for line in lines if line.startswith(starts)]
