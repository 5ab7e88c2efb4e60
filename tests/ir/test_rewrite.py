"""Cloning, replacing and erasing."""

from __future__ import annotations

import textwrap

import pytest

from tilejit.diagnostics import InternalError
from tilejit.ir.core import Function
from tilejit.ir.parser import parse_function
from tilejit.ir.printer import print_function
from tilejit.ir.rewrite import clone_function, remove_arguments, replace_op
from tilejit.ir.verifier import verify

from .fake_ops import OPS

TEXT = """
func @f(%x: fp32, %y: fp32 {divisibility=4}) @ "k.py":1:0-9:0 in f {
  %a = plus(%x, %y) : fp32 @ "k.py":2:4-2:9 in f
  %r = loop(%x, inits=[%a]) {times=3} : fp32 {
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


def parse(text: str) -> Function:
    return parse_function(textwrap.dedent(text), OPS)


def printed(function: Function) -> str:
    verify(function)
    return print_function(function, locations=True)


def test_clone_is_equal_and_independent() -> None:
    function = parse(TEXT)
    before = printed(function)
    clone = clone_function(function)
    assert printed(clone) == before
    clone.body.ops[2].erase()
    assert printed(function) == before
    assert not {id(op) for op in function.walk()} & {id(op) for op in clone.walk()}


def test_replace_op_hands_over_uses_and_names() -> None:
    function = parse(
        "func @f(%x: fp32) { %a = plus(%x, %x) : fp32 %0 = plus(%a, %a) : fp32 poke(%a) stop() }"
    )
    first, second = function.body.ops[:2]
    second.set_operand(0, function.body.arguments[0])
    second.set_operand(1, function.body.arguments[0])
    function.body.ops.reverse()
    function.body.ops.sort(key=lambda op: (op.name != "plus", op.name))
    replace_op(first, [second.result])
    assert (
        print_function(function)
        == "func @f(%x: fp32) {\n  %a = plus(%x, %x) : fp32\n  poke(%a)\n  stop()\n}\n"
    )


def test_remove_arguments() -> None:
    function = parse("func @f(%x: fp32, %y: int32, %z: fp32) { poke(%z) stop() }")
    remove_arguments(function.body, [0, 1])
    del function.arguments[:2]
    verify(function)
    with pytest.raises(InternalError, match="removing the block argument %z, which is used"):
        remove_arguments(function.body, [0])
