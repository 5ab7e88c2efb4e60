"""The verifier: each rule broken once."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest

from tilejit.diagnostics import InternalError, Location
from tilejit.ir.core import Function, Op
from tilejit.ir.parser import parse_function
from tilejit.ir.types import FP32, INT32, TileType
from tilejit.ir.verifier import verify

from .fake_ops import OPS, POKE, STOP

TEXT = """
func @f(%x: fp32, %y: fp32) {
  %a = plus(%x, %y) : fp32 @ "k.py":7:4-7:9 in f
  %b = plus(%a, %y) : fp32
  %r = loop(%a, inits=[%b]) : fp32 {
  test(%t: fp32):
    pass(values=[%t])
  body(%c: fp32):
    %d = plus(%c, %a) : fp32
    pass(values=[%d])
  }
  poke(%r)
  stop()
}
"""


@pytest.fixture
def function() -> Function:
    return parse_function(textwrap.dedent(TEXT), OPS)


def fails(function: Function, problem: str) -> InternalError:
    with pytest.raises(InternalError) as raised:
        verify(function)
    assert problem in raised.value.message
    assert raised.value.message.startswith("invalid IR in @f: ")
    return raised.value


def test_valid_functions_pass(function: Function) -> None:
    verify(function)


def test_use_before_definition(function: Function) -> None:
    ops = function.body.ops
    ops[0], ops[1] = ops[1], ops[0]
    error = fails(function, "plus: operand %a is not defined before it, or not in this scope")
    assert "\n  %b = plus(%a, %y) : fp32" in error.message


def test_errors_carry_the_location_of_the_op(function: Function) -> None:
    function.body.ops[0].results[0].type = TileType(INT32)
    error = fails(function, "plus: its results are (int32), its type rule gives (fp32)")
    assert error.location == Location("k.py", 7, 4, 7, 9, "f")


def test_use_out_of_a_region(function: Function) -> None:
    loop, poke = function.body.ops[2:4]
    poke.set_operand(0, loop.regions[1].arguments[0])
    fails(function, "poke: operand %c is not defined before it, or not in this scope")


def test_use_across_regions(function: Function) -> None:
    loop = function.body.ops[2]
    loop.regions[1].ops[0].set_operand(0, loop.regions[0].arguments[0])
    fails(function, "operand %t is not defined before it, or not in this scope")


def test_type_rule(function: Function) -> None:
    function.body.arguments[1].type = TileType(INT32)
    fails(function, "plus: its type rule says: operands differ: fp32 and int32")


def test_missing_terminator(function: Function) -> None:
    function.body.ops.pop()
    fails(function, "a block does not end in a terminator")


def test_terminator_in_the_middle(function: Function) -> None:
    function.body.insert_before(function.body.ops[0], Op(STOP))
    fails(function, "stop: a terminator in the middle of a block")


def test_function_hands_nothing_out(function: Function) -> None:
    body, loop = function.body, function.body.ops[2]
    body.ops.pop()
    body.append(loop.regions[0].ops.pop())
    loop.regions[0].append(Op(STOP))
    fails(function, "")
    body.ops[-1].set_operand(0, body.arguments[0])
    fails(function, "pass: nobody receives what the function's terminator passes on")


def test_op_twice(function: Function) -> None:
    function.body.ops.insert(0, function.body.ops[0])
    fails(function, "plus: it stands in the function twice")


def test_parent_of_op(function: Function) -> None:
    function.body.ops[0].parent = None
    fails(function, "plus: its parent is not the block that holds it")


def test_parent_of_region(function: Function) -> None:
    function.body.ops[2].regions[0].parent = function.body.ops[0]
    fails(function, "loop: the parent of a region is not the op that holds it")


def test_parent_of_body(function: Function) -> None:
    function.body.parent = None
    fails(function, "the body's parent is not the function")


def test_region_count(function: Function) -> None:
    loop = function.body.ops[2]
    loop.regions = loop.regions[:1]
    fails(function, "loop: it has 1 regions; expected: 2")


def test_argument_records(function: Function) -> None:
    function.arguments.pop()
    fails(function, "1 argument records for 2 arguments")


def test_users(function: Function) -> None:
    stray = Op(POKE, {"value": function.body.arguments[0]})
    fails(function, "the recorded users of %x (plus, poke) are not its users")
    stray.erase()
    verify(function)


def test_value_numbers(function: Function) -> None:
    function.body.arguments.reverse()
    fails(function, "%y does not know that it is value 0 of its owner")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("times", True),
        ("times", np.int64(1)),
        ("exact", 1),
        ("hint", 3),
        ("mode", "plain"),
        ("shape", [1, 2]),
        ("shape", (1, 2.0)),
        ("scale", np.float32(1)),
    ],
)
def test_attribute_kinds(name: str, value: object) -> None:
    function = parse_function("func @f(%x: fp32) { %y = peek(%x) : fp32 stop() }", OPS)
    verify(function)
    function.body.ops[0].attributes[name] = value  # type: ignore[assignment]
    fails(function, f"peek: attribute {name} is {value!r}, which is not of kind")


def test_attribute_names() -> None:
    function = parse_function("func @f(%x: fp32) { %y = peek(%x) : fp32 stop() }", OPS)
    del function.body.ops[0].attributes["hint"]
    fails(function, "peek: its attributes are exact, mode, scale, shape, times; expected: exact, hint,")


def test_type_of_value(function: Function) -> None:
    function.body.arguments[0].type = FP32  # type: ignore[assignment]
    fails(function, "%x has a type that is no tile type: fp32")
