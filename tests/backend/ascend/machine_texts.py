"""Machine kernels written by hand, with what they compute, for tests of the emitter and of the model."""

from __future__ import annotations

from tilejit.ir.machine import MachineKernel
from tilejit.ir.parser import parse_functions
from tilejit.ops.machine import MACHINE_LEVEL_OPS
from tilejit.target.spaces import Core

# Rows of 1024 elements, the last one shorter; two slots, flags primed before the loop and drained after it.
VECTOR_ADD = """\
func aiv @vector_add(%x: ptr<const fp32>, %y: ptr<const fp32>, %out: ptr<fp32>, %n: int32) {
  %a = buffer() {space=ub, element=fp32, elements=1024, slots=2, slot_bytes=4096, address=0} : ptr<ub fp32>
  %b = buffer() {space=ub, element=fp32, elements=1024, slots=2, slot_bytes=4352, address=8192} : ptr<ub fp32>
  %zero = constant() {value=0, dtype=int32} : int32
  %one = constant() {value=1, dtype=int32} : int32
  %two = constant() {value=2, dtype=int32} : int32
  %four = constant() {value=4, dtype=int32} : int32
  %block = constant() {value=1024, dtype=int32} : int32
  %round = constant() {value=1023, dtype=int32} : int32
  %padded = add(%n, %round) : int32
  %tasks = idiv(%padded, %block) : int32
  %core = block_index() : int32
  %cores = block_count() : int32
  set_flag(%zero) {source=mte3, target=mte2}
  set_flag(%one) {source=mte3, target=mte2}
  %end = for(%core, %tasks, %cores, inits=[%zero]) : int32 {
  body(%task: int32, %step: int32):
    %id = irem(%step, %two) : int32
    %start = mul(%task, %block) : int32
    %left = sub(%n, %start) : int32
    %count = min(%left, %block) : int32
    %bytes = mul(%count, %four) : int32
    %xs = addptr(%x, %start) : ptr<const fp32>
    %ys = addptr(%y, %start) : ptr<const fp32>
    %os = addptr(%out, %start) : ptr<fp32>
    %as = slot(%a, %step) : ptr<ub fp32>
    %bs = slot(%b, %step) : ptr<ub fp32>
    wait_flag(%id) {source=mte3, target=mte2}
    copy_in(%as, %xs, %one, %bytes)
    copy_in(%bs, %ys, %one, %bytes)
    set_flag(%id) {source=mte2, target=v}
    wait_flag(%id) {source=mte2, target=v}
    vadd(%as, %as, %bs, %count)
    set_flag(%id) {source=v, target=mte3}
    wait_flag(%id) {source=v, target=mte3}
    copy_out(%os, %as, %one, %bytes)
    set_flag(%id) {source=mte3, target=mte2}
    %next = add(%step, %one) : int32
    yield(values=[%next])
  }
  wait_flag(%zero) {source=mte3, target=mte2}
  wait_flag(%one) {source=mte3, target=mte2}
  return()
}
"""


def machine_kernel(text: str, *, workspace_bytes: int = 0) -> MachineKernel:
    """The kernel whose functions are written in ``text``."""
    functions = {}
    for function in parse_functions(text, MACHINE_LEVEL_OPS):
        assert isinstance(function.core, Core)
        functions[function.core] = function
    name = next(iter(functions.values())).name
    return MachineKernel(name, functions, workspace_bytes)
