"""Machine kernels written by hand, and how tests run them."""

from __future__ import annotations

from tilejit.diagnostics import InternalError
from tilejit.ir.machine import MachineKernel
from tilejit.ir.parser import parse_functions
from tilejit.ops.machine import MACHINE_LEVEL_OPS

# Tiles of 1024 elements, each buffer with two slots. Flags by slot: mte2 -> v "sources are there" and back
# "sources are read", v -> mte3 "the sum is there" and back "the sum is stored".
VECTOR_ADD = """\
func aiv @vector_add(%x: ptr<const fp32>, %y: ptr<const fp32>, %out: ptr<fp32>, %n: int32, \
%tiles: int32 {source=grid, parameter="grid", dimension=0}) {
  %a = buffer() {space=ub, element=fp32, elements=1024, slots=2, \
slot_bytes=4096, address=0} : ptr<ub fp32>
  %b = buffer() {space=ub, element=fp32, elements=1024, slots=2, \
slot_bytes=4096, address=8448} : ptr<ub fp32>
  %c = buffer() {space=ub, element=fp32, elements=1024, slots=2, \
slot_bytes=4096, address=81920} : ptr<ub fp32>
  %zero = constant() {value=0, dtype=int32} : int32
  %one = constant() {value=1, dtype=int32} : int32
  %two = constant() {value=2, dtype=int32} : int32
  %four = constant() {value=4, dtype=int32} : int32
  %tile = constant() {value=1024, dtype=int32} : int32
  %block = block_index() : int32
  %blocks = block_count() : int32
  set_flag(%zero) {source=v, target=mte2}
  set_flag(%one) {source=v, target=mte2}
  set_flag(%zero) {source=mte3, target=v}
  set_flag(%one) {source=mte3, target=v}
  %last = for(%block, %tiles, %blocks, inits=[%zero]) : int32 {
  body(%t: int32, %i: int32):
    %start = mul(%t, %tile) : int32
    %left = sub(%n, %start) : int32
    %count = min(%left, %tile) : int32
    %bytes = mul(%count, %four) : int32
    %id = irem(%i, %two) : int32
    %px = addptr(%x, %start) : ptr<const fp32>
    %py = addptr(%y, %start) : ptr<const fp32>
    %po = addptr(%out, %start) : ptr<fp32>
    %sa = slot(%a, %i) : ptr<ub fp32>
    %sb = slot(%b, %i) : ptr<ub fp32>
    %sc = slot(%c, %i) : ptr<ub fp32>
    wait_flag(%id) {source=v, target=mte2}
    copy_in(%sa, %px, %one, %bytes)
    copy_in(%sb, %py, %one, %bytes)
    set_flag(%id) {source=mte2, target=v}
    wait_flag(%id) {source=mte2, target=v}
    wait_flag(%id) {source=mte3, target=v}
    vadd(%sc, %sa, %sb, %count)
    pipe_barrier() {pipe=v}
    vmuls(%sc, %sc, %half, %count)
    set_flag(%id) {source=v, target=mte2}
    set_flag(%id) {source=v, target=mte3}
    wait_flag(%id) {source=v, target=mte3}
    copy_out(%po, %sc, %one, %bytes)
    set_flag(%id) {source=mte3, target=v}
    %next = add(%i, %one) : int32
    yield(values=[%next])
  }
  wait_flag(%zero) {source=v, target=mte2}
  wait_flag(%one) {source=v, target=mte2}
  wait_flag(%zero) {source=mte3, target=v}
  wait_flag(%one) {source=mte3, target=v}
  return()
}
""".replace("  %block = ", "  %half = constant() {value=0.5, dtype=fp32} : fp32\n  %block = ", 1)


def kernel(text: str, workspace_bytes: int = 0) -> MachineKernel:
    """The machine kernel that a text of one or two functions spells."""
    functions = parse_functions(text, MACHINE_LEVEL_OPS)
    by_core = {function.core: function for function in functions if function.core is not None}
    if len(by_core) != len(functions):
        raise InternalError("every machine function needs its own kind of core")
    return MachineKernel(functions[0].name, by_core, workspace_bytes)
