"""Which loaded tiles a dot reads in place, and what it asks for before it does."""

from __future__ import annotations

import re
import textwrap

import pytest

from tests.example_kernels import compiled

from .text import plan_of


def _dot_lines(pointer: str, mask: str = "") -> list[str]:
    """The steps around the dot of a tile of A, loaded through ``pointer``, with one of B that is certain."""
    text = f"""
    func @product(%x: ptr<fp32> {{alias_class=0}}, %y: ptr<fp32> {{alias_class=1}},
                  %out: ptr<fp32> {{alias_class=2}}, %flags: ptr<int1> {{alias_class=3}},
                  %m: int32, %start: int32, %stride: int32, %wide: int64) {{
      %lane = arange() {{start=0, end=16}} : tile<16xint32>
      %across = reshape(%lane) {{shape=[1, 16]}} : tile<1x16xint32>
      %columns = broadcast(%across) {{shape=[16, 16]}} : tile<16x16xint32>
      %down = reshape(%lane) {{shape=[16, 1]}} : tile<16x1xint32>
      %starts = splat(%start) {{shape=[16, 1]}} : tile<16x1xint32>
      %moved = add(%starts, %down) : tile<16x1xint32>
      %ends = splat(%m) {{shape=[16, 1]}} : tile<16x1xint32>
      %round = irem(%moved, %ends) : tile<16x1xint32>
      %pitch = splat(%stride) {{shape=[16, 1]}} : tile<16x1xint32>
      %known = constant() {{value=16, dtype=int32}} : int32
      %sixteen = splat(%known) {{shape=[16, 1]}} : tile<16x1xint32>
      %rows = mul(%moved, %pitch) : tile<16x1xint32>
      %first = mul(%down, %sixteen) : tile<16x1xint32>
      %back = mul(%round, %sixteen) : tile<16x1xint32>
      %square = mul(%moved, %moved) : tile<16x1xint32>
      %base = splat(%x) {{shape=[16, 16]}} : tile<16x16xptr<fp32>>
      %offset_rows = broadcast({pointer}) {{shape=[16, 16]}} : tile<16x16xint32>
      %row_start = addptr(%base, %offset_rows) : tile<16x16xptr<fp32>>
      %from = addptr(%row_start, %columns) : tile<16x16xptr<fp32>>
      %inside = cmp(%moved, %ends) {{predicate=lt}} : tile<16x1xint1>
      %bounded = broadcast(%inside) {{shape=[16, 16]}} : tile<16x16xint1>
      %differs = cmp(%moved, %ends) {{predicate=ne}} : tile<16x1xint1>
      %holey = broadcast(%differs) {{shape=[16, 16]}} : tile<16x16xint1>
      %below = cmp(%columns, %offset_rows) {{predicate=lt}} : tile<16x16xint1>
      %flag = load(%flags) : int1
      %wanted = splat(%flag) {{shape=[16, 16]}} : tile<16x16xint1>
      %yes = constant() {{value=1, dtype=int1}} : int1
      %always = splat(%yes) {{shape=[16, 16]}} : tile<16x16xint1>
      %a = load(%from{mask}) : tile<16x16xfp32>
      %other_base = splat(%y) {{shape=[16, 16]}} : tile<16x16xptr<fp32>>
      %flat = broadcast(%first) {{shape=[16, 16]}} : tile<16x16xint32>
      %other_rows = addptr(%other_base, %flat) : tile<16x16xptr<fp32>>
      %other_from = addptr(%other_rows, %columns) : tile<16x16xptr<fp32>>
      %b = load(%other_from) : tile<16x16xfp32>
      %sum = dot(%a, %b) {{out_dtype=fp32}} : tile<16x16xfp32>
      %target = splat(%out) {{shape=[16, 16]}} : tile<16x16xptr<fp32>>
      %to_rows = addptr(%target, %flat) : tile<16x16xptr<fp32>>
      %to = addptr(%to_rows, %columns) : tile<16x16xptr<fp32>>
      store(%to, %sum)
      return()
    }}
    """
    lines = [line.strip() for line in plan_of(textwrap.dedent(text)).splitlines()]
    return [line for line in lines if line.startswith(("dot", "where", "} else"))]


IN_PLACE = "dot b0 = memory(%a) * memory(%b)"
TWO_WAYS = ["where %a whole {", IN_PLACE, "} else {", "dot b0 = b1 * memory(%b)"]
BUFFERED = ["dot b1 = b0 * memory(%b)"]


@pytest.mark.parametrize(
    ("pointer", "mask"), [("%first", ""), ("%first", ", mask=%always"), ("%sixteen", "")]
)
def test_tiles_that_are_certain(pointer: str, mask: str) -> None:
    assert _dot_lines(pointer, mask) == [IN_PLACE]


@pytest.mark.parametrize(
    ("pointer", "mask"),
    [
        ("%first", ", mask=%bounded"),
        ("%first", ", mask=%wanted"),
        ("%rows", ""),  # may wrap round
        ("%back", ""),
        ("%back", ", mask=%bounded"),
    ],
)
def test_tiles_that_are_asked_about(pointer: str, mask: str) -> None:
    assert _dot_lines(pointer, mask) == TWO_WAYS


@pytest.mark.parametrize(
    ("pointer", "mask"),
    [
        ("%first", ", mask=%holey"),  # no bound
        ("%first", ", mask=%below"),  # a bound that follows two dims
        ("%square", ""),  # on no grid
    ],
)
def test_tiles_that_each_lane_would_have_to_be_asked_about(pointer: str, mask: str) -> None:
    assert _dot_lines(pointer, mask) == BUFFERED


def _matmul_lines(block_m: int) -> list[str]:
    """The steps around the dot of the example, whose tiles have masks."""
    signature = "a_ptr=*fp32, b_ptr=*fp32, c_ptr=*fp32, M=i32, N=i32, K=i32, stride_am=i32, stride_bk=i32, "
    signature += f"stride_cm=i32, BLOCK_M={block_m}, BLOCK_N=64, BLOCK_K=16"
    lines = [line.strip() for line in compiled("matmul.matmul_kernel", signature).ir("plan").splitlines()]
    return [re.sub(r"b\d+|%\w+\.?\d*", "_", x) for x in lines if x.startswith(("dot", "where", "} else"))]


def test_a_large_tile_is_asked_about_by_itself_where_the_other_is_small() -> None:
    """Few rows some of which are missing: the rows are copied, the matrix is not."""
    dot = "dot _ += memory(_) * memory(_) fetching _ of the next trip"
    whole = ["where _, _ whole {", dot, "} else {"]
    assert _matmul_lines(16) == [*whole, "dot _ += _ * _"]
    large = ["where _ whole {", "dot _ += _ * memory(_)", "} else {", "dot _ += _ * _"]
    assert _matmul_lines(8) == [*whole, *large]
