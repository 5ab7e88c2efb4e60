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


# Tiles of 2048 elements go from x through L1 of the AIC to two slots of GM workspace, and from there to the
# two AIVs, each of which doubles half a tile. Cross-core flag 0: the tile is there; 1: it is read. The AIC
# waits for flag 1 from the third tile on; the AIVs raise it while a tile waits for the slot.
RELAY = """\
func aic @relay(%x: ptr<const fp32>, %out: ptr<fp32>, %n: int32) {
  %ws = buffer() {space=gm, element=fp32, elements=2048, slots=2, slot_bytes=8192, address=0} : ptr<fp32>
  %l1 = buffer() {space=l1, element=fp32, elements=2048, slots=2, slot_bytes=8192, address=0} : ptr<l1 fp32>
  %zero = constant() {value=0, dtype=int32} : int32
  %one = constant() {value=1, dtype=int32} : int32
  %two = constant() {value=2, dtype=int32} : int32
  %tile = constant() {value=2048, dtype=int32} : int32
  %blocks = constant() {value=256, dtype=int32} : int32
  %core = block_index() : int32
  %cores = block_count() : int32
  set_flag(%zero) {source=mte3, target=mte2}
  set_flag(%one) {source=mte3, target=mte2}
  %last = for(%core, %n, %cores, inits=[%zero]) : int32 {
  body(%t: int32, %i: int32):
    %id = irem(%i, %two) : int32
    %start = mul(%t, %tile) : int32
    %px = addptr(%x, %start) : ptr<const fp32>
    %in = slot(%l1, %i) : ptr<l1 fp32>
    %to = slot(%ws, %i) : ptr<fp32>
    wait_flag(%id) {source=mte3, target=mte2}
    load_l1(%in, %px, %blocks)
    set_flag(%id) {source=mte2, target=mte3}
    wait_flag(%id) {source=mte2, target=mte3}
    %again = cmp(%i, %two) {predicate=ge} : int1
    if(%again) {
    then():
      cross_wait(%one)
      yield()
    else():
      yield()
    }
    store_l1(%to, %in, %blocks)
    cross_set(%zero) {pipe=mte3}
    set_flag(%id) {source=mte3, target=mte2}
    %next = add(%i, %one) : int32
    yield(values=[%next])
  }
  wait_flag(%zero) {source=mte3, target=mte2}
  wait_flag(%one) {source=mte3, target=mte2}
  return()
}
func aiv @relay(%x: ptr<const fp32>, %out: ptr<fp32>, %n: int32) {
  %ws = buffer() {space=gm, element=fp32, elements=2048, slots=2, slot_bytes=8192, address=0} : ptr<fp32>
  %ub = buffer() {space=ub, element=fp32, elements=1024, slots=2, slot_bytes=4096, address=0} : ptr<ub fp32>
  %zero = constant() {value=0, dtype=int32} : int32
  %one = constant() {value=1, dtype=int32} : int32
  %two = constant() {value=2, dtype=int32} : int32
  %tile = constant() {value=2048, dtype=int32} : int32
  %half = constant() {value=1024, dtype=int32} : int32
  %bytes = constant() {value=4096, dtype=int32} : int32
  %core = block_index() : int32
  %cores = block_count() : int32
  %sub = sub_block_index() : int32
  %offset = mul(%sub, %half) : int32
  set_flag(%zero) {source=mte3, target=mte2}
  set_flag(%one) {source=mte3, target=mte2}
  %last = for(%core, %n, %cores, inits=[%zero]) : int32 {
  body(%t: int32, %i: int32):
    %id = irem(%i, %two) : int32
    %tile_start = mul(%t, %tile) : int32
    %start = add(%tile_start, %offset) : int32
    %po = addptr(%out, %start) : ptr<fp32>
    %slot = slot(%ws, %i) : ptr<fp32>
    %from = addptr(%slot, %offset) : ptr<fp32>
    %at = slot(%ub, %i) : ptr<ub fp32>
    wait_flag(%id) {source=mte3, target=mte2}
    cross_wait(%zero)
    copy_in(%at, %from, %one, %bytes)
    set_flag(%id) {source=mte2, target=v}
    %jump = mul(%two, %cores) : int32
    %after = add(%t, %jump) : int32
    %more = cmp(%after, %n) {predicate=lt} : int1
    if(%more) {
    then():
      cross_set(%one) {pipe=mte2}
      yield()
    else():
      yield()
    }
    wait_flag(%id) {source=mte2, target=v}
    vadd(%at, %at, %at, %half)
    set_flag(%id) {source=v, target=mte3}
    wait_flag(%id) {source=v, target=mte3}
    copy_out(%po, %at, %one, %bytes)
    set_flag(%id) {source=mte3, target=mte2}
    %next = add(%i, %one) : int32
    yield(values=[%next])
  }
  wait_flag(%zero) {source=mte3, target=mte2}
  wait_flag(%one) {source=mte3, target=mte2}
  return()
}
"""
RELAY_WORKSPACE_BYTES = 16384
