"""A dot multiplies the rows of what it adds to, where they are a tile times one number a row."""

from __future__ import annotations

import numpy as np
import pytest

from .text import check_run, plan_of

_TEXT = """
    func @scaled(%a_base: ptr<TYPE>, %b_base: ptr<TYPE>, %out: ptr<fp32>) {
      %row = arange() {start=0, end=16} : tile<16xint32>
      %rows = reshape(%row) {shape=[16, 1]} : tile<16x1xint32>
      %columns = reshape(%row) {shape=[1, 16]} : tile<1x16xint32>
      %width = constant() {value=16, dtype=int32} : int32
      %widths = splat(%width) {shape=[16, 1]} : tile<16x1xint32>
      %skipped = mul(%rows, %widths) : tile<16x1xint32>
      %down = broadcast(%skipped) {shape=[16, 16]} : tile<16x16xint32>
      %along = broadcast(%columns) {shape=[16, 16]} : tile<16x16xint32>
      %place = add(%down, %along) : tile<16x16xint32>
      %a_start = splat(%a_base) {shape=[16, 16]} : tile<16x16xptr<TYPE>>
      %a_at = addptr(%a_start, %place) : tile<16x16xptr<TYPE>>
      %a = load(%a_at) : tile<16x16xTYPE>
      %b_start = splat(%b_base) {shape=[16, 16]} : tile<16x16xptr<TYPE>>
      %b_at = addptr(%b_start, %place) : tile<16x16xptr<TYPE>>
      %b = load(%b_at) : tile<16x16xTYPE>
      %sums = dot(%a, %b) {out_dtype=fp32} : tile<16x16xfp32>
      %best = reduce(%sums) {axis=AXIS, kind=max} : tile<16xfp32>
      %column = reshape(%best) {shape=[DIMS]} : tile<DIMSxfp32>
      %factor = broadcast(%column) {shape=[16, 16]} : tile<16x16xfp32>
      %product = mul(LEFT, RIGHT) : tile<16x16xfp32>
      %total = dot(%a, %b, acc=%product) {out_dtype=fp32} : tile<16x16xfp32>
      %out_start = splat(%out) {shape=[16, 16]} : tile<16x16xptr<fp32>>
      %to = addptr(%out_start, %place) : tile<16x16xptr<fp32>>
      store(%to, %total)
      return()
    }
"""


def text(dtype: str = "fp32", axis: int = 1, dims: tuple[int, int] = (16, 1), *, turned: bool = False) -> str:
    left, right = ("%factor", "%sums") if turned else ("%sums", "%factor")
    tile = "x".join(map(str, dims))
    result = _TEXT.replace("TYPE", dtype).replace("AXIS", str(axis)).replace("<DIMS", f"<{tile}")
    result = result.replace("[DIMS]", str(list(dims)))
    return result.replace("LEFT", left).replace("RIGHT", right)


@pytest.mark.parametrize("turned", [False, True])
def test_rows_are_scaled_by_the_dot(turned: bool) -> None:
    case = text(turned=turned)
    assert "dot b2 with rows by b3 += b0 * b1" in plan_of(case)
    numbers = np.arange(256, dtype=np.float32) % 7 - 3
    check_run(case, numbers, numbers[::-1].copy(), np.zeros(256, np.float32))


@pytest.mark.parametrize(
    "case", [text("bf16"), text(axis=0, dims=(1, 16)), text(axis=1, dims=(1, 16))], ids=["bf16", "0", "1"]
)
def test_other_products_are_tiles_first(case: str) -> None:
    assert "with rows by" not in plan_of(case)
    assert " = %product" in plan_of(case)
