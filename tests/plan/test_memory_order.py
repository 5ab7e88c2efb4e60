"""A load is evaluated where it is used, unless a store that may change what it reads comes first."""

from __future__ import annotations

from .text import check_plan


def test_load_sinks_past_a_store_to_another_array() -> None:
    check_plan(
        """
        func @two_stores(%x: ptr<fp32> {alias_class=0}, %y: ptr<fp32> {alias_class=1}) {
          %lane = arange() {start=0, end=64} : tile<64xint32>
          %x_base = splat(%x) {shape=[64]} : tile<64xptr<fp32>>
          %x_at = addptr(%x_base, %lane) : tile<64xptr<fp32>>
          %y_base = splat(%y) {shape=[64]} : tile<64xptr<fp32>>
          %y_at = addptr(%y_base, %lane) : tile<64xptr<fp32>>
          %value = load(%x_at) : tile<64xfp32>
          %nothing = constant() {value=0.0, dtype=fp32} : fp32
          %zeros = splat(%nothing) {shape=[64]} : tile<64xfp32>
          store(%y_at, %zeros)
          %double = add(%value, %value) : tile<64xfp32>
          store(%x_at, %double)
          return()
        }
        """,
        """
        plan @two_stores scratch=0 {
          nest 64 order d0 vector d0x16 {
            store(%y_at, %zeros)
            store(%x_at, %double)
          }
        }
        """,
    )


def test_load_gets_a_buffer_where_arguments_may_overlap() -> None:
    check_plan(
        """
        func @two_stores(%x: ptr<fp32>, %y: ptr<fp32>) {
          %lane = arange() {start=0, end=64} : tile<64xint32>
          %x_base = splat(%x) {shape=[64]} : tile<64xptr<fp32>>
          %x_at = addptr(%x_base, %lane) : tile<64xptr<fp32>>
          %y_base = splat(%y) {shape=[64]} : tile<64xptr<fp32>>
          %y_at = addptr(%y_base, %lane) : tile<64xptr<fp32>>
          %value = load(%x_at) : tile<64xfp32>
          %nothing = constant() {value=0.0, dtype=fp32} : fp32
          %zeros = splat(%nothing) {shape=[64]} : tile<64xfp32>
          store(%y_at, %zeros)
          %double = add(%value, %value) : tile<64xfp32>
          store(%x_at, %double)
          return()
        }
        """,
        """
        plan @two_stores scratch=256 {
          buffer b0: 64xfp32 at 0
          nest 64 order d0 vector d0x16 {
            b0 = %value
          }
          nest 64 order d0 vector d0x16 {
            store(%y_at, %zeros)
          }
          nest 64 order d0 vector d0x16 {
            store(%x_at, %double)
          }
        }
        """,
    )
