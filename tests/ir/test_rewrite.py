"""Cloning, replacing, moving, inlining and erasing."""

from __future__ import annotations

import textwrap

import pytest

from tilejit.diagnostics import InternalError
from tilejit.ir.core import Function, Op
from tilejit.ir.parser import parse_function
from tilejit.ir.printer import print_function
from tilejit.ir.rewrite import (
    clone_block,
    clone_function,
    erase_dead,
    inline_block_before,
    move_before,
    remove_arguments,
    replace_op,
    replace_with_new,
)
from tilejit.ir.verifier import verify

from .fake_ops import LOOP, OPS, PAIR, POKE

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


def test_clone_block_maps_values() -> None:
    function = parse(TEXT)
    add, loop = function.body.ops[:2]
    mapping = {add.result: function.body.arguments[1]}
    copy = clone_block(loop.regions[1], mapping)
    assert copy.ops[0].operands == (copy.arguments[0], function.body.arguments[1])
    assert mapping[loop.regions[1].ops[0].result] is copy.ops[0].result


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


def test_new_op_takes_location_and_names() -> None:
    function = parse(TEXT)
    add = function.body.ops[0]
    location = add.location
    new = replace_with_new(add, add.definition, lhs=add.operands[1], rhs=add.operands[1])
    assert new.location == location
    assert '%a = plus(%y, %y) : fp32 @ "k.py":2:4-2:9 in f' in printed(function)


def test_new_op_takes_regions_over() -> None:
    function = parse(TEXT)
    loop = function.body.ops[1]
    inits = loop.operand_list("inits")
    new = replace_with_new(
        loop, LOOP, attributes={"times": 1}, regions=loop.regions, count=loop.operand("count"), inits=inits
    )
    assert new.regions[0].parent is new
    assert printed(function) == TEXT.replace(" {times=3}", "").lstrip()


def test_move() -> None:
    function = parse("func @f(%x: fp32) { %a = plus(%x, %x) : fp32 %b = plus(%x, %x) : fp32 stop() }")
    first, second = function.body.ops[:2]
    move_before(second, first)
    assert [op.results[0].name for op in function.body.ops[:2]] == ["b", "a"]
    verify(function)
    with pytest.raises(InternalError, match="moving poke where there is no block"):
        move_before(Op(POKE, {"value": first.result}), first)


def test_inline() -> None:
    function = parse(TEXT)
    add, loop = function.body.ops[:2]
    passed_on = inline_block_before(loop.regions[1], loop, [add.result])
    replace_op(loop, passed_on)
    assert [str(line).strip() for line in print_function(function).splitlines()[1:-1]] == [
        "%a = plus(%x, %y) : fp32",
        "%d = plus(%a, %a) : fp32",
        "poke(%d)",
        "stop()",
    ]


def test_remove_arguments() -> None:
    function = parse("func @f(%x: fp32, %y: int32, %z: fp32) { poke(%z) stop() }")
    remove_arguments(function.body, [0, 1])
    del function.arguments[:2]
    verify(function)
    with pytest.raises(InternalError, match="removing the block argument %z, which is used"):
        remove_arguments(function.body, [0])


def test_erase_dead_removes_chains_and_reads_but_no_writes() -> None:
    function = parse(
        """
        func @f(%x: fp32) {
          %a = plus(%x, %x) : fp32
          %b = plus(%a, %a) : fp32
          %c = peek(%b) : fp32
          %d, %e = pair(%x, %x) : fp32, fp32
          poke(%e)
          loop(%x) {
          test():
            %g = plus(%x, %x) : fp32
            pass()
          body():
            poke(%x)
            pass()
          }
          loop(%x) {
          test():
            pass()
          body():
            pass()
          }
          stop()
        }
        """
    )
    assert erase_dead(function.body)
    verify(function)
    assert [op.name for op in function.walk()] == ["pair", "poke", "loop", "pass", "poke", "pass", "stop"]
    assert function.body.ops[0].definition is PAIR
    assert not erase_dead(function.body)
