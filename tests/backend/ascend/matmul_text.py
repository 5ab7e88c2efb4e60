"""A hand-written matrix product on the AIC: tiles of 128 x 256, steps of 64 along k, two slots each."""

from __future__ import annotations

# Operands are fp16 and row-major, sizes multiples of the tile. Counter i goes over k steps of all tiles, so
# slots and flags alternate without a break from tile to tile.
MATMUL = """\
func aic @matmul(%a: ptr<const fp16>, %b: ptr<const fp16>, %c: ptr<fp32>, %m: int32, %n: int32, %k: int32) {
  %a1 = buffer() {space=l1, element=fp16, elements=8192, slots=2, \
slot_bytes=16384, address=0} : ptr<l1 fp16>
  %b1 = buffer() {space=l1, element=fp16, elements=16384, slots=2, \
slot_bytes=32768, address=32768} : ptr<l1 fp16>
  %a0 = buffer() {space=l0a, element=fp16, elements=8192, slots=2, \
slot_bytes=16384, address=0} : ptr<l0a fp16>
  %b0 = buffer() {space=l0b, element=fp16, elements=16384, slots=2, \
slot_bytes=32768, address=0} : ptr<l0b fp16>
  %c0 = buffer() {space=l0c, element=fp32, elements=32768, address=0} : ptr<l0c fp32>
  %zero = constant() {value=0, dtype=int32} : int32
  %one = constant() {value=1, dtype=int32} : int32
  %two = constant() {value=2, dtype=int32} : int32
  %four = constant() {value=4, dtype=int32} : int32
  %rows = constant() {value=128, dtype=int32} : int32
  %columns = constant() {value=256, dtype=int32} : int32
  %step = constant() {value=64, dtype=int32} : int32
  %sixteen = constant() {value=16, dtype=int32} : int32
  %l1_band = constant() {value=256, dtype=int32} : int32
  %l0_band = constant() {value=4096, dtype=int32} : int32
  %core = block_index() : int32
  %cores = block_count() : int32
  %tile_rows = idiv(%m, %rows) : int32
  %tile_columns = idiv(%n, %columns) : int32
  %tiles = mul(%tile_rows, %tile_columns) : int32
  set_flag(%zero) {source=mte1, target=mte2}
  set_flag(%one) {source=mte1, target=mte2}
  set_flag(%zero) {source=m, target=mte1}
  set_flag(%one) {source=m, target=mte1}
  set_flag(%zero) {source=fix, target=m}
  %end = for(%core, %tiles, %cores, inits=[%zero]) : int32 {
  body(%t: int32, %i: int32):
    %ti = idiv(%t, %tile_columns) : int32
    %tj = irem(%t, %tile_columns) : int32
    %row = mul(%ti, %rows) : int32
    %column = mul(%tj, %columns) : int32
    %a_start = mul(%row, %k) : int32
    %a_tile = addptr(%a, %a_start) : ptr<const fp16>
    %b_tile = addptr(%b, %column) : ptr<const fp16>
    wait_flag(%zero) {source=fix, target=m}
    %last = for(%zero, %k, %step, inits=[%i]) : int32 {
    body(%p: int32, %j: int32):
      %id = irem(%j, %two) : int32
      %pa = addptr(%a_tile, %p) : ptr<const fp16>
      %b_row = mul(%p, %n) : int32
      %pb = addptr(%b_tile, %b_row) : ptr<const fp16>
      %a1s = slot(%a1, %j) : ptr<l1 fp16>
      %b1s = slot(%b1, %j) : ptr<l1 fp16>
      %a0s = slot(%a0, %j) : ptr<l0a fp16>
      %b0s = slot(%b0, %j) : ptr<l0b fp16>
      wait_flag(%id) {source=mte1, target=mte2}
      load_nd2nz(%a1s, %pa, %rows, %step, %k, %rows)
      load_nd2nz(%b1s, %pb, %step, %columns, %n, %step)
      set_flag(%id) {source=mte2, target=mte1}
      wait_flag(%id) {source=mte2, target=mte1}
      wait_flag(%id) {source=m, target=mte1}
      load_l0a_3d(%a0s, %a1s, %rows, %step, %rows, %step)
      for(%zero, %four, %one) {
      body(%q: int32):
        %from = mul(%q, %l1_band) : int32
        %to = mul(%q, %l0_band) : int32
        %b1q = addptr(%b1s, %from) : ptr<l1 fp16>
        %b0q = addptr(%b0s, %to) : ptr<l0b fp16>
        load_l0b(%b0q, %b1q, %sixteen, %four) {transpose=true}
        yield()
      }
      set_flag(%id) {source=mte1, target=mte2}
      set_flag(%id) {source=mte1, target=m}
      wait_flag(%id) {source=mte1, target=m}
      %first = cmp(%p, %zero) {predicate=eq} : int1
      mmad(%c0, %a0s, %b0s, %rows, %columns, %step, init=%first)
      set_flag(%id) {source=m, target=mte1}
      %following = add(%j, %one) : int32
      yield(values=[%following])
    }
    %c_row = mul(%row, %n) : int32
    %c_start = add(%c_row, %column) : int32
    %pc = addptr(%c, %c_start) : ptr<fp32>
    set_flag(%zero) {source=m, target=fix}
    wait_flag(%zero) {source=m, target=fix}
    fixpipe(%pc, %c0, %columns, %rows, %rows, %n)
    set_flag(%zero) {source=fix, target=m}
    yield(values=[%last])
  }
  wait_flag(%zero) {source=mte1, target=mte2}
  wait_flag(%one) {source=mte1, target=mte2}
  wait_flag(%zero) {source=m, target=mte1}
  wait_flag(%one) {source=m, target=mte1}
  wait_flag(%zero) {source=fix, target=m}
  return()
}
"""

_FLAGS_OF_C = ("source=m, target=fix", "source=fix, target=m}")
_LAST_OR_NOT = """\
      %beyond = add(%p, %step) : int32
      %is_last = cmp(%beyond, %k) {predicate=eq} : int1
      if(%is_last) {
      then():
        mmad(%c0, %a0s, %b0s, %rows, %columns, %step, init=%first) {unit_flag=3}
        yield()
      else():
        mmad(%c0, %a0s, %b0s, %rows, %columns, %step, init=%first) {unit_flag=2}
        yield()
      }
"""


def with_unit_flags() -> str:
    """MATMUL with unit flags in place of the flags between mmad and fixpipe."""
    lines = [line for line in MATMUL.splitlines(keepends=True) if not any(f in line for f in _FLAGS_OF_C)]
    text = "".join(_LAST_OR_NOT if line.strip().startswith("mmad") else line for line in lines)
    return text.replace("%rows, %rows, %n)\n", "%rows, %rows, %n) {unit_flag=3}\n")
