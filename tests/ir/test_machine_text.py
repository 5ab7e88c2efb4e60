"""The text form of machine functions: core kinds, spaces of pointers, several functions in a text."""

from __future__ import annotations

import pytest

from tilejit.ir.parser import IRParseError, parse_function, parse_functions
from tilejit.ir.printer import print_function
from tilejit.ir.types import FP32, PointerType
from tilejit.ops.machine import MACHINE_LEVEL_OPS
from tilejit.target.spaces import Core, Space

ADD = """\
func aiv @add(%x: ptr<fp32>, %y: ptr<fp32>, %n: int32) {
  %a = buffer() {space=ub, element=fp32, elements=1024, slots=2, slot_bytes=4096, address=0} : ptr<ub fp32>
  %i = constant() {value=0, dtype=int32} : int32
  %one = constant() {value=1, dtype=int32} : int32
  %bytes = constant() {value=4096, dtype=int32} : int32
  %count = constant() {value=1024, dtype=int32} : int32
  for(%i, %n, %one) {
  body(%k: int32):
    %s = slot(%a, %k) : ptr<ub fp32>
    copy_in(%s, %x, %one, %bytes)
    set_flag(%i) {source=mte2, target=v}
    wait_flag(%i) {source=mte2, target=v}
    vadd(%s, %s, %s, %count)
    pipe_barrier() {pipe=v}
    vadd(%s, %s, %s, %count, repeats=%one) {strides=[1, 1, 1, 8, 8, 8]}
    yield()
  }
  return()
}
"""


def test_a_machine_function_round_trips() -> None:
    function = parse_function(ADD, MACHINE_LEVEL_OPS)
    assert function.core is Core.AIV
    assert print_function(function) == ADD


def test_several_functions_share_no_values() -> None:
    text = ADD + ADD.replace("aiv", "aic")
    functions = parse_functions(text, MACHINE_LEVEL_OPS)
    assert [function.core for function in functions] == [Core.AIV, Core.AIC]
    assert "".join(map(print_function, functions)) == text


def test_spaces_are_part_of_pointer_types() -> None:
    local = PointerType(FP32, space=Space.L0C)
    assert str(local) == "ptr<l0c fp32>"
    assert str(PointerType(FP32, const=True)) == "ptr<const fp32>"
    assert local != PointerType(FP32)


def test_operands_in_the_wrong_space_are_refused() -> None:
    text = "func aiv @f(%x: ptr<fp32>, %n: int32) {\n  vadd(%x, %x, %x, %n)\n  return()\n}\n"
    with pytest.raises(IRParseError, match=r"dst of vadd must be a pointer to ub; got ptr<fp32>"):
        parse_function(text, MACHINE_LEVEL_OPS)


def test_an_unknown_core_is_refused() -> None:
    with pytest.raises(IRParseError, match="expected @name, found 'gpu'"):
        parse_function("func gpu @f() {\n  return()\n}\n", MACHINE_LEVEL_OPS)
