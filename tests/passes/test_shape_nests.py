"""Which dimension of a nest runs in lanes, how many lanes, in which order the loops stand."""

from __future__ import annotations

import pytest

from .text import plan_lines

# Offsets of 8 x 64 elements: %across with rows of 1024 elements, %down with columns of 1024.
OFFSETS = """
    %pitch = constant() {value=1024, dtype=int32} : int32
    %pitches = splat(%pitch) {shape=[8, 64]} : tile<8x64xint32>
    %i = arange() {start=0, end=8} : tile<8xint32>
    %j = arange() {start=0, end=64} : tile<64xint32>
    %ic = reshape(%i) {shape=[8, 1]} : tile<8x1xint32>
    %jr = reshape(%j) {shape=[1, 64]} : tile<1x64xint32>
    %row = broadcast(%ic) {shape=[8, 64]} : tile<8x64xint32>
    %column = broadcast(%jr) {shape=[8, 64]} : tile<8x64xint32>
    %far_rows = mul(%row, %pitches) : tile<8x64xint32>
    %far_columns = mul(%column, %pitches) : tile<8x64xint32>
    %across = add(%far_rows, %column) : tile<8x64xint32>
    %down = add(%far_columns, %row) : tile<8x64xint32>
    %from = splat(%p) {shape=[8, 64]} : tile<8x64xptr<fp32>>
    %to = splat(%q) {shape=[8, 64]} : tile<8x64xptr<fp32>>
    %from_across = addptr(%from, %across) : tile<8x64xptr<fp32>>
    %from_down = addptr(%from, %down) : tile<8x64xptr<fp32>>
    %to_across = addptr(%to, %across) : tile<8x64xptr<fp32>>
    %to_down = addptr(%to, %down) : tile<8x64xptr<fp32>>
"""
# A row of 256 numbers.
ROW = """
    %i = arange() {start=0, end=256} : tile<256xint32>
    %base = splat(%p) {shape=[256]} : tile<256xptr<fp32>>
    %at = addptr(%base, %i) : tile<256xptr<fp32>>
    %v = load(%at) : tile<256xfp32>
"""


def nests(body: str, vector_bytes: int = 64) -> list[str]:
    return plan_lines(body, "nest", vector_bytes=vector_bytes)


def doubled(layout: str) -> str:
    """The nest that doubles a tile where it lies."""
    lines = f"""
    %v = load(%from_{layout}) : tile<8x64xfp32>
    %double = add(%v, %v) : tile<8x64xfp32>
    store(%from_{layout}, %double)
    """
    (nest,) = nests(OFFSETS + lines)
    return nest


def test_lanes_run_along_contiguous_memory() -> None:
    assert doubled("across") == "nest 8x64 order d0,d1 vector d1x16"
    assert doubled("down") == "nest 8x64 order d1,d0 vector d0x8"


def test_of_two_directions_that_are_as_good_the_last_has_the_lanes() -> None:
    """A tile that lies across in a buffer goes down to memory."""
    lines = """
    %v = load(%from_across) : tile<8x64xfp32>
    store(%to_down, %v)
    """
    assert nests(OFFSETS + lines)[-1] == "nest 8x64 order d0,d1 vector d1x16"


@pytest.mark.parametrize(("vector_bytes", "lanes"), [(16, 4), (32, 8), (64, 16)])
def test_lanes_fill_a_register(vector_bytes: int, lanes: int) -> None:
    body = (
        ROW
        + """
    %double = add(%v, %v) : tile<256xfp32>
    store(%at, %double)
    """
    )
    assert nests(body, vector_bytes)[-1] == f"nest 256 order d0 vector d0x{lanes}"


@pytest.mark.parametrize(("element", "lanes"), [("int8", 32), ("int16", 32), ("fp16", 32), ("bf16", 32)])
def test_narrow_elements_take_more_lanes(element: str, lanes: int) -> None:
    """Also those that are computed on in fp32: stores past the caches fill whole lines then."""
    body = f"""
    %i = arange() {{start=0, end=256}} : tile<256xint32>
    %narrow = bitcast(%p) {{dtype=ptr<{element}>}} : ptr<{element}>
    %base = splat(%narrow) {{shape=[256]}} : tile<256xptr<{element}>>
    %at = addptr(%base, %i) : tile<256xptr<{element}>>
    %v = load(%at) : tile<256x{element}>
    %double = add(%v, %v) : tile<256x{element}>
    store(%at, %double)
    """
    assert nests(body)[-1] == f"nest 256 order d0 vector d0x{lanes}"


def test_reductions_have_several_accumulators() -> None:
    body = (
        ROW
        + """
    %sum = reduce(%v) {axis=0, kind=sum} : fp32
    use %sum
    """
    )
    assert nests(body) == ["nest 256 order d0 vector d0x16 unroll 4"]


def test_reduced_axis_goes_innermost_where_lanes_run_along_the_other() -> None:
    body = (
        OFFSETS
        + """
    %v = load(%from_across) : tile<8x64xfp32>
    %sums = reduce(%v) {axis=0, kind=sum} : tile<64xfp32>
    use %sums
    """
    )
    assert nests(body) == ["nest 8x64 order d1,d0 vector d1x16 unroll 4"]


def test_combine_functions_run_in_lanes_too() -> None:
    body = (
        ROW
        + """
    %last = reduce_custom(x=[%v]) {axis=0} : fp32 {
      combine(%left: fp32, %right: fp32):
      %twice = add(%left, %left) : fp32
      %next = add(%twice, %right) : fp32
      yield(values=[%next])
    }
    use %last
    """
    )
    assert nests(body) == ["nest 256 order d0 vector d0x16 unroll 4"]


def test_stores_that_collide_run_along_the_last_dimension() -> None:
    """What is stored last stays: lanes of one row may not overtake those of another."""
    body = (
        OFFSETS.replace("%down = add(%far_columns, %row)", "%down = add(%row, %row)")
        + """
    %one = constant() {value=1.0, dtype=fp32} : fp32
    %ones = splat(%one) {shape=[8, 64]} : tile<8x64xfp32>
    store(%to_down, %ones)
    """
    )
    assert nests(body)[-1] == "nest 8x64 order d0,d1 vector d1x16"


def test_short_rows_are_not_worth_lanes_of_their_own() -> None:
    body = """
    %i = arange() {start=0, end=64} : tile<64xint32>
    %columns = reshape(%i) {shape=[64, 1]} : tile<64x1xint32>
    %wide = broadcast(%columns) {shape=[64, 2]} : tile<64x2xint32>
    %base = splat(%p) {shape=[64, 2]} : tile<64x2xptr<fp32>>
    %at = addptr(%base, %wide) : tile<64x2xptr<fp32>>
    %v = load(%at) : tile<64x2xfp32>
    %sums = reduce(%v) {axis=1, kind=sum} : tile<64xfp32>
    use %sums
    """
    assert nests(body) == ["nest 64x2 order d0,d1 vector d0x16 unroll 4"]
