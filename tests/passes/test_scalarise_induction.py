"""Carried tiles that only have scalars added become a scalar."""

from __future__ import annotations

from tilejit.ir.parser import parse_function
from tilejit.ir.printer import print_function
from tilejit.ir.verifier import verify
from tilejit.ops import OP_BY_NAME
from tilejit.passes.scalarise_induction import scalarise_induction
from tilejit.passes.simplify import simplify


def _run(text: str) -> str:
    function = parse_function(text, OP_BY_NAME)
    scalarise_induction(function)
    verify(function)
    simplify(function)
    verify(function)
    return print_function(function)


POINTER_LOOP = """func @walk(%p: ptr<fp32>, %q: ptr<fp32>, %n: int32) {
  %zero = constant() {value=0, dtype=int32} : int32
  %one = constant() {value=1, dtype=int32} : int32
  %i = arange() {start=0, end=8} : tile<8xint32>
  %base = splat(%p) {shape=[8]} : tile<8xptr<fp32>>
  %start = addptr(%base, %i) : tile<8xptr<fp32>>
  %out = splat(%q) {shape=[8]} : tile<8xptr<fp32>>
  %f = constant() {value=0.0, dtype=fp32} : fp32
  %acc0 = splat(%f) {shape=[8]} : tile<8xfp32>
  %ptrs, %acc = for(%zero, %n, %one, inits=[%start, %acc0]) : tile<8xptr<fp32>>, tile<8xfp32> {
    body(%k: int32, %ptr: tile<8xptr<fp32>>, %sum: tile<8xfp32>):
    %x = load(%ptr) : tile<8xfp32>
    %next_sum = add(%sum, %x) : tile<8xfp32>
    %step = splat(%n) {shape=[8]} : tile<8xint32>
    %next = addptr(%ptr, %step) : tile<8xptr<fp32>>
    yield(values=[%next, %next_sum])
  }
  %target = addptr(%out, %i) : tile<8xptr<fp32>>
  store(%target, %acc)
  return()
}
"""


def test_a_pointer_tile_becomes_a_scalar_offset() -> None:
    text = _run(POINTER_LOOP)
    header = next(line for line in text.splitlines() if " for(" in line)
    assert header.endswith(": tile<8xfp32>, int64 {"), text
    assert "cast(%n) {dtype=int64}" in text


def test_a_tile_that_is_scaled_stays() -> None:
    text = POINTER_LOOP.replace("%next_sum = add(%sum, %x)", "%next_sum = mul(%sum, %x)")
    header = next(line for line in _run(text).splitlines() if " for(" in line)
    assert "tile<8xfp32>" in header


def test_the_value_after_the_loop_is_rebuilt() -> None:
    text = _run(POINTER_LOOP.replace("store(%target, %acc)", "store(%ptrs, %acc)"))
    lines = [line.strip() for line in text.splitlines()]
    store = next(line for line in lines if line.startswith("store("))
    pointer = store[len("store(") :].split(",")[0]
    assert any(line.startswith(f"{pointer} = addptr(") for line in lines), text
