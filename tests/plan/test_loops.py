"""What loops carry stays in one buffer, which every trip updates in place."""

from __future__ import annotations

from .text import check_plan


def test_accumulator_is_updated_in_place() -> None:
    check_plan(
        """
        func @accumulate(%x: ptr<fp32>, %out: ptr<fp32>, %n: int32) {
          %zero = constant() {value=0, dtype=int32} : int32
          %step = constant() {value=128, dtype=int32} : int32
          %lane = arange() {start=0, end=128} : tile<128xint32>
          %nothing = constant() {value=0.0, dtype=fp32} : fp32
          %start = splat(%nothing) {shape=[128]} : tile<128xfp32>
          %sum = for(%zero, %n, %step, inits=[%start]) : tile<128xfp32> {
            body(%i: int32, %acc: tile<128xfp32>):
            %block = addptr(%x, %i) : ptr<fp32>
            %base = splat(%block) {shape=[128]} : tile<128xptr<fp32>>
            %from = addptr(%base, %lane) : tile<128xptr<fp32>>
            %part = load(%from) : tile<128xfp32>
            %more = add(%acc, %part) : tile<128xfp32>
            yield(values=[%more])
          }
          %target = splat(%out) {shape=[128]} : tile<128xptr<fp32>>
          %to = addptr(%target, %lane) : tile<128xptr<fp32>>
          store(%to, %sum)
          return()
        }
        """,
        """
        plan @accumulate scratch=512 {
          buffer b0: 128xfp32 at 0
          nest 128 order d0 vector d0x16 {
            b0 = %start
          }
          for %i carries (b0) {
            scalar %block = addptr(%x, %i)
            nest 128 order d0 vector d0x16 {
              b0 = %more
            }
          }
          nest 128 order d0 vector d0x16 streaming {
            store(%to, %sum)
          }
        }
        """,
    )


def test_dot_accumulates_in_place() -> None:
    """The accumulator needs no copy, a transposed operand is read as it lies, which also offsets decide."""
    check_plan(
        """
        func @matmul(%a: ptr<fp32> {alias_class=0}, %b: ptr<fp32> {alias_class=1}, %c: ptr<fp32> {alias_class=2}, %k: int32) {
          %zero = constant() {value=0, dtype=int32} : int32
          %step = constant() {value=64, dtype=int32} : int32
          %row = arange() {start=0, end=64} : tile<64xint32>
          %rows = reshape(%row) {shape=[64, 1]} : tile<64x1xint32>
          %columns = reshape(%row) {shape=[1, 64]} : tile<1x64xint32>
          %strides = splat(%k) {shape=[64, 1]} : tile<64x1xint32>
          %starts = mul(%rows, %strides) : tile<64x1xint32>
          %down = broadcast(%starts) {shape=[64, 64]} : tile<64x64xint32>
          %along = broadcast(%columns) {shape=[64, 64]} : tile<64x64xint32>
          %place = add(%down, %along) : tile<64x64xint32>
          %nothing = constant() {value=0.0, dtype=fp32} : fp32
          %start = splat(%nothing) {shape=[64, 64]} : tile<64x64xfp32>
          %sum = for(%zero, %k, %step, inits=[%start]) : tile<64x64xfp32> {
            body(%i: int32, %acc: tile<64x64xfp32>):
            %a_block = addptr(%a, %i) : ptr<fp32>
            %a_base = splat(%a_block) {shape=[64, 64]} : tile<64x64xptr<fp32>>
            %a_at = addptr(%a_base, %place) : tile<64x64xptr<fp32>>
            %a_tile = load(%a_at) : tile<64x64xfp32>
            %b_block = addptr(%b, %i) : ptr<fp32>
            %b_base = splat(%b_block) {shape=[64, 64]} : tile<64x64xptr<fp32>>
            %b_at = addptr(%b_base, %place) : tile<64x64xptr<fp32>>
            %b_tile = load(%b_at) : tile<64x64xfp32>
            %turned = transpose(%b_tile) {order=[1, 0]} : tile<64x64xfp32>
            %more = dot(%a_tile, %turned, acc=%acc) {out_dtype=fp32} : tile<64x64xfp32>
            yield(values=[%more])
          }
          %target = splat(%c) {shape=[64, 64]} : tile<64x64xptr<fp32>>
          %to = addptr(%target, %place) : tile<64x64xptr<fp32>>
          store(%to, %sum)
          return()
        }
        """,  # noqa: E501 - one op to a line
        """
        plan @matmul scratch=49152 {
          buffer b0: 64x64xfp32 at 0
          buffer b1: 64x64xfp32 at 16384
          buffer b2: 64x64xfp32 at 32768
          nest 64x64 order d0,d1 vector d1x16 {
            b0 = %start
          }
          for %i carries (b0) {
            scalar %a_block = addptr(%a, %i)
            scalar %b_block = addptr(%b, %i)
            where %a_tile, %b_tile whole {
              dot b0 += memory(%a_tile) * memory(%b_tile)^T fetching %a_tile of the next trip
            } else {
              nest 64x64 order d0,d1 vector d1x16 if %place does not wrap {
                b1 = %a_tile
                b2 = %b_tile
              }
              dot b0 += b1 * b2^T
            }
          }
          nest 64x64 order d0,d1 vector d1x16 if %place does not wrap streaming aligned rows {
            store(%to, %sum)
          }
        }
        """,
    )


def test_flash_attention() -> None:
    """Maximum, sum and accumulator are updated in place; keys and values are streamed from memory."""
    check_plan(
        """
        func @attention(%q: ptr<fp32> {alias_class=0}, %k: ptr<fp32> {alias_class=1}, %v: ptr<fp32> {alias_class=2}, %out: ptr<fp32> {alias_class=3}, %n: int32) {
          %zero = constant() {value=0, dtype=int32} : int32
          %step = constant() {value=32, dtype=int32} : int32
          %lane = arange() {start=0, end=32} : tile<32xint32>
          %rows = reshape(%lane) {shape=[32, 1]} : tile<32x1xint32>
          %columns = reshape(%lane) {shape=[1, 32]} : tile<1x32xint32>
          %widths = splat(%step) {shape=[32, 1]} : tile<32x1xint32>
          %starts = mul(%rows, %widths) : tile<32x1xint32>
          %down = broadcast(%starts) {shape=[32, 32]} : tile<32x32xint32>
          %along = broadcast(%columns) {shape=[32, 32]} : tile<32x32xint32>
          %place = add(%down, %along) : tile<32x32xint32>
          %q_base = splat(%q) {shape=[32, 32]} : tile<32x32xptr<fp32>>
          %q_at = addptr(%q_base, %place) : tile<32x32xptr<fp32>>
          %queries = load(%q_at) : tile<32x32xfp32>
          %nothing = constant() {value=0.0, dtype=fp32} : fp32
          %low = constant() {value=-inf, dtype=fp32} : fp32
          %lows = splat(%low) {shape=[32]} : tile<32xfp32>
          %zeros = splat(%nothing) {shape=[32]} : tile<32xfp32>
          %start = splat(%nothing) {shape=[32, 32]} : tile<32x32xfp32>
          %most, %total, %sum = for(%zero, %n, %step, inits=[%lows, %zeros, %start]) : tile<32xfp32>, tile<32xfp32>, tile<32x32xfp32> {
            body(%i: int32, %m: tile<32xfp32>, %l: tile<32xfp32>, %acc: tile<32x32xfp32>):
            %offset = mul(%i, %step) : int32
            %k_block = addptr(%k, %offset) : ptr<fp32>
            %k_base = splat(%k_block) {shape=[32, 32]} : tile<32x32xptr<fp32>>
            %k_at = addptr(%k_base, %place) : tile<32x32xptr<fp32>>
            %keys = load(%k_at) : tile<32x32xfp32>
            %turned = transpose(%keys) {order=[1, 0]} : tile<32x32xfp32>
            %scores = dot(%queries, %turned) {out_dtype=fp32} : tile<32x32xfp32>
            %best = reduce(%scores) {axis=1, kind=max} : tile<32xfp32>
            %m_new = max(%m, %best) : tile<32xfp32>
            %m_down = sub(%m, %m_new) : tile<32xfp32>
            %scale = exp(%m_down) : tile<32xfp32>
            %m_column = reshape(%m_new) {shape=[32, 1]} : tile<32x1xfp32>
            %m_wide = broadcast(%m_column) {shape=[32, 32]} : tile<32x32xfp32>
            %shifted = sub(%scores, %m_wide) : tile<32x32xfp32>
            %p = exp(%shifted) : tile<32x32xfp32>
            %p_sum = reduce(%p) {axis=1, kind=sum} : tile<32xfp32>
            %l_scaled = mul(%l, %scale) : tile<32xfp32>
            %l_new = add(%l_scaled, %p_sum) : tile<32xfp32>
            %scale_column = reshape(%scale) {shape=[32, 1]} : tile<32x1xfp32>
            %scale_wide = broadcast(%scale_column) {shape=[32, 32]} : tile<32x32xfp32>
            %rescaled = mul(%acc, %scale_wide) : tile<32x32xfp32>
            %v_block = addptr(%v, %offset) : ptr<fp32>
            %v_base = splat(%v_block) {shape=[32, 32]} : tile<32x32xptr<fp32>>
            %v_at = addptr(%v_base, %place) : tile<32x32xptr<fp32>>
            %values = load(%v_at) : tile<32x32xfp32>
            %acc_new = dot(%p, %values, acc=%rescaled) {out_dtype=fp32} : tile<32x32xfp32>
            yield(values=[%m_new, %l_new, %acc_new])
          }
          %l_column = reshape(%total) {shape=[32, 1]} : tile<32x1xfp32>
          %l_wide = broadcast(%l_column) {shape=[32, 32]} : tile<32x32xfp32>
          %share = div(%sum, %l_wide) : tile<32x32xfp32>
          %target = splat(%out) {shape=[32, 32]} : tile<32x32xptr<fp32>>
          %to = addptr(%target, %place) : tile<32x32xptr<fp32>>
          store(%to, %share)
          return()
        }
        """,  # noqa: E501 - one op to a line
        """
        plan @attention scratch=16896 {
          buffer b0: 32xfp32 at 0
          buffer b1: 32xfp32 at 128
          buffer b2: 32x32xfp32 at 256
          buffer b3: 32x32xfp32 at 4352
          buffer b4: 32x32xfp32 at 8448
          buffer b5: 32xfp32 at 12544
          buffer b6: 32xfp32 at 12672
          buffer b7: 32x32xfp32 at 12800
          buffer b8: 32xfp32 at 12544
          nest 32 order d0 vector d0x16 {
            b0 = %lows
            b1 = %zeros
          }
          nest 32x32 order d0,d1 vector d1x16 {
            b2 = %queries
            b3 = %start
          }
          for %i carries (b0, b1, b3) {
            scalar %offset = mul(%i, %step)
            scalar %k_block = addptr(%k, %offset)
            dot b4 = b2 * memory(%keys)^T
            nest 32x32 order d0,d1 vector d1x16 unroll 2 {
              b5 = reduce(%scores) over d1
            }
            nest 32 order d0 vector d0x16 {
              b0 = %m_new
              b6 = %scale
            }
            nest 32x32 order d0,d1 vector d1x16 unroll 2 {
              b7 = %p
              b8 = reduce(%p) over d1
            }
            nest 32 order d0 vector d0x16 {
              b1 = %l_new
            }
            scalar %v_block = addptr(%v, %offset)
            dot b3 with rows by b6 += b7 * memory(%values) fetching %keys of the next trip
          }
          nest 32x32 order d0,d1 vector d1x16 streaming aligned rows {
            store(%to, %share)
          }
        }
        """,
    )
