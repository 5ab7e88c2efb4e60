"""Slots for buffers that a DMA fills or empties in a loop."""

from __future__ import annotations

from tilejit.ir.parser import parse_function
from tilejit.ir.printer import print_function
from tilejit.ir.verifier import verify
from tilejit.ops.machine import MACHINE_LEVEL_OPS
from tilejit.options import CompileOptions
from tilejit.passes.manager import PassContext
from tilejit.passes.rotate_buffers import rotate_buffers

NESTED = """\
func aiv @f(%x: ptr<fp32>, %y: ptr<fp32>, %n: int32, %c: int1) {
  %a = buffer() {space=ub, element=fp32, elements=64} : ptr<ub fp32>
  %t = buffer() {space=ub, element=fp32, elements=64} : ptr<ub fp32>
  %acc = buffer() {space=ub, element=fp32, elements=64} : ptr<ub fp32>
  %0 = constant() {value=0, dtype=int32} : int32
  %1 = constant() {value=1, dtype=int32} : int32
  %b = constant() {value=256, dtype=int32} : int32
  %k = constant() {value=64, dtype=int32} : int32
  for(%0, %n, %1) {
  body(%i: int32):
    vsub(%acc, %acc, %acc, %k)
    if(%c) {
    then():
      for(%0, %n, %1) {
      body(%j: int32):
        copy_in(%a, %x, %1, %b)
        vexp(%t, %a, %k)
        vadd(%acc, %acc, %t, %k)
        yield()
      }
      yield()
    else():
      yield()
    }
    copy_out(%y, %acc, %1, %b)
    yield()
  }
  return()
}
"""


def _rotated(text: str, slots: int = 2) -> str:
    function = parse_function(text, MACHINE_LEVEL_OPS)
    rotate_buffers(function, PassContext(options=CompileOptions(slots=slots)))
    verify(function)
    return print_function(function)


def test_each_buffer_rotates_in_the_innermost_loop_around_its_uses() -> None:
    text = _rotated(NESTED)
    assert "%a = buffer() {space=ub, element=fp32, elements=64, slots=2, rotates=true}" in text
    assert "%t = buffer() {space=ub, element=fp32, elements=64} :" in text, "no DMA touches it"
    assert "%acc = buffer() {space=ub, element=fp32, elements=64, slots=2, rotates=true}" in text


def test_the_counter_of_an_inner_loop_goes_on_over_the_outer_one() -> None:
    lines = [line.strip() for line in _rotated(NESTED).splitlines()]
    outer = next(line for line in lines if line.startswith("%count") and "= for(" in line)
    assert outer.count("int32") == 2, "both counters are carried by the outer loop"
    branch = next(line for line in lines if "= if(" in line)
    assert branch.endswith("int32 {"), "the inner counter leaves the branch"
    slot = next(line for line in lines if "= slot(%a," in line)
    counter = slot.split(", ")[1].split(")")[0]
    body = next(line for line in lines if line.startswith("body(%j"))
    assert counter in body


def test_one_slot_changes_nothing() -> None:
    assert _rotated(NESTED, slots=1) == NESTED


def test_a_buffer_used_outside_all_loops_stays_single() -> None:
    text = """\
func aiv @f(%x: ptr<fp32>, %n: int32) {
  %a = buffer() {space=ub, element=fp32, elements=64} : ptr<ub fp32>
  %0 = constant() {value=0, dtype=int32} : int32
  %1 = constant() {value=1, dtype=int32} : int32
  copy_in(%a, %x, %1, %n)
  for(%0, %n, %1) {
  body(%i: int32):
    copy_out(%x, %a, %1, %n)
    yield()
  }
  return()
}
"""
    assert _rotated(text) == text
