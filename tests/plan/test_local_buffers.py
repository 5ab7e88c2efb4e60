"""Values that one nest computes and reads need no buffer."""

from __future__ import annotations

import numpy as np

from .text import check_plan, check_run

WEIGHTS = """
    func @weights(
        %x: ptr<fp32> {alias_class=0}, %y: ptr<fp32> {alias_class=1}, %z: ptr<fp32> {alias_class=2}
    ) {
      %lane = arange() {start=0, end=64} : tile<64xint32>
      %x_base = splat(%x) {shape=[64]} : tile<64xptr<fp32>>
      %y_base = splat(%y) {shape=[64]} : tile<64xptr<fp32>>
      %x_at = addptr(%x_base, %lane) : tile<64xptr<fp32>>
      %y_at = addptr(%y_base, %lane) : tile<64xptr<fp32>>
      %value = load(%x_at) : tile<64xfp32>
      %root = sqrt(%value) : tile<64xfp32>
      %ratio = div(%root, %value) : tile<64xfp32>
      %weight = div(%ratio, %root) : tile<64xfp32>
      %most = reduce(%weight) {kind=max, axis=0} : fp32
      AFTER
      store(%z, %most)
      return()
    }
    """


def test_a_value_read_where_it_is_computed_is_not_stored() -> None:
    text = WEIGHTS.replace("AFTER", "store(%y_at, %weight)")
    check_plan(
        text,
        """
        plan @weights scratch=0 {
          nest 64 order d0 vector d0x16 unroll 4 {
            %most = reduce(%weight) over d0
            store(%y_at, %weight)
          }
          scalar store(%z, %most)
        }
        """,
    )
    x, y, z = np.linspace(1, 3, 64, dtype=np.float32), np.zeros(64, np.float32), np.zeros(1, np.float32)
    check_run(text, x, y, z)


def test_a_value_read_elsewhere_keeps_its_buffer() -> None:
    text = WEIGHTS.replace(
        "AFTER",
        """%all = splat(%most) {shape=[64]} : tile<64xfp32>
      %share = mul(%weight, %all) : tile<64xfp32>
      store(%y_at, %share)""",
    )
    check_plan(
        text,
        """
        plan @weights scratch=256 {
          buffer b0: 64xfp32 at 0
          nest 64 order d0 vector d0x16 unroll 4 {
            b0 = %weight
            %most = reduce(%weight) over d0
          }
          nest 64 order d0 vector d0x16 {
            store(%y_at, %share)
          }
          scalar store(%z, %most)
        }
        """,
    )
