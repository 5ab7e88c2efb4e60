"""The IR of every example, before and after the tile passes, reads back as it was printed."""

from __future__ import annotations

import pytest

from tests.example_kernels import CASES, EXAMPLES, SIGNATURES, compiled
from tilejit.ir.core import Function
from tilejit.ir.parser import parse_function
from tilejit.ir.printer import print_function
from tilejit.ir.rewrite import clone_function
from tilejit.ir.verifier import verify
from tilejit.ops import OP_BY_NAME
from tilejit.passes.simplify import simplify


def assert_round_trip(function: Function) -> None:
    verify(function)
    for locations in (False, True):
        text = print_function(function, locations=locations)
        parsed = parse_function(text, OP_BY_NAME)
        verify(parsed)
        assert print_function(parsed, locations=locations) == text


def text_without_names(function: Function) -> str:
    """The text with all values numbered: printing gives a number to a name that two values share."""
    for op in function.walk():
        for value in [*op.results, *(argument for region in op.regions for argument in region.arguments)]:
            value.name = ""
    return print_function(function)


@pytest.mark.parametrize(("name", "signature"), CASES)
def test_traced_and_tile_ir_round_trip(name: str, signature: str) -> None:
    code = compiled(name, signature)
    assert_round_trip(code.traced)
    assert_round_trip(code.tile)


@pytest.mark.parametrize(("name", "signature"), CASES)
def test_parsed_text_simplifies_as_the_function_does(name: str, signature: str) -> None:
    traced = compiled(name, signature).traced
    function, parsed = clone_function(traced), parse_function(print_function(traced), OP_BY_NAME)
    simplify(function)
    simplify(parsed)
    verify(function)
    assert text_without_names(parsed) == text_without_names(function)
    assert all(op.location is not None for op in function.walk())


def test_every_example_is_here() -> None:
    examples = {path.stem for path in EXAMPLES.glob("*.py") if "@tilejit.kernel" in path.read_text()}
    assert examples == {name.split(".")[0] for name in SIGNATURES}
