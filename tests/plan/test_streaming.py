"""Which stores may go to memory past the caches."""

from __future__ import annotations

import textwrap

import pytest

from .text import plan_of


def _nest_lines(body: str, lanes: int = 256) -> list[str]:
    """The heads of the nests of a kernel that reads %x and stores to %to."""
    text = f"""
    func @copy(%x: ptr<fp32> {{alias_class=0}}, %out: ptr<fp32> {{alias_class=1}}, %n: int32) {{
      %lane = arange() {{start=0, end={lanes}}} : tile<{lanes}xint32>
      %limit = splat(%n) {{shape=[{lanes}]}} : tile<{lanes}xint32>
      %inside = cmp(%lane, %limit) {{predicate=lt}} : tile<{lanes}xint1>
      %base = splat(%x) {{shape=[{lanes}]}} : tile<{lanes}xptr<fp32>>
      %from = addptr(%base, %lane) : tile<{lanes}xptr<fp32>>
      %target = splat(%out) {{shape=[{lanes}]}} : tile<{lanes}xptr<fp32>>
      %to = addptr(%target, %lane) : tile<{lanes}xptr<fp32>>
      %row = load(%from) : tile<{lanes}xfp32>
{textwrap.indent(textwrap.dedent(body), "      ")}
      return()
    }}
    """
    return [line.strip() for line in plan_of(textwrap.dedent(text)).splitlines() if "nest" in line]


def test_a_row_that_is_only_written() -> None:
    assert _nest_lines("store(%to, %row)") == ["nest 256 order d0 vector d0x16 streaming {"]


def test_a_row_up_to_a_bound() -> None:
    (line,) = _nest_lines("store(%to, %row, mask=%inside)")
    assert line == "nest 256 order d0 vector d0x16 first where %inside streaming {"


@pytest.mark.parametrize(
    "body",
    [
        "store(%from, %row)",  # in place
        "%old = load(%to) : tile<256xfp32>\n%new = add(%old, %row) : tile<256xfp32>\nstore(%to, %new)",
        """
        %zero = constant() {value=0.0, dtype=fp32} : fp32
        %zeros = splat(%zero) {shape=[256]} : tile<256xfp32>
        %positive = cmp(%row, %zeros) {predicate=gt} : tile<256xint1>
        store(%to, %row, mask=%positive)
        """,
        """
        store(%to, %row)
        %one = constant() {value=1, dtype=int32} : int32
        %flag = bitcast(%x) {dtype=ptr<int32>} : ptr<int32>
        %old = atomic_rmw(%flag, %one) {kind=add, sem="release", scope="gpu"} : int32
        """,
        """
        %none = constant() {value=0, dtype=int32} : int32
        %one = constant() {value=1, dtype=int32} : int32
        for(%none, %n, %one) {
          body(%i: int32):
            store(%to, %row)
            yield()
        }
        """,
    ],
    ids=["in place", "read back", "own mask", "then an atomic", "in a loop"],
)
def test_stores_that_stay_in_the_caches(body: str) -> None:
    lines = _nest_lines(body)
    assert lines
    assert not any("streaming" in line for line in lines)


@pytest.mark.parametrize("lanes", [112, 264])
def test_rows_that_are_short_or_no_whole_chunks(lanes: int) -> None:
    (line,) = _nest_lines("store(%to, %row)", lanes)
    assert "streaming" not in line


def _halves(offset: int, lanes: int = 32) -> list[str]:
    """The heads of the nests of a kernel that stores two tiles of 4 rows, ``offset`` elements apart."""
    tile = f"4x{lanes}"
    text = f"""
    func @halves(%x: ptr<fp32> {{alias_class=0}}, %out: ptr<fp32> {{alias_class=1}}) {{
      %row = arange() {{start=0, end=4}} : tile<4xint32>
      %rows = reshape(%row) {{shape=[4, 1]}} : tile<4x1xint32>
      %distance = constant() {{value={2 * lanes}, dtype=int32}} : int32
      %distances = splat(%distance) {{shape=[4, 1]}} : tile<4x1xint32>
      %starts = mul(%rows, %distances) : tile<4x1xint32>
      %lane = arange() {{start=0, end={lanes}}} : tile<{lanes}xint32>
      %columns = reshape(%lane) {{shape=[1, {lanes}]}} : tile<1x{lanes}xint32>
      %down = broadcast(%starts) {{shape=[4, {lanes}]}} : tile<{tile}xint32>
      %along = broadcast(%columns) {{shape=[4, {lanes}]}} : tile<{tile}xint32>
      %place = add(%down, %along) : tile<{tile}xint32>
      %base = splat(%x) {{shape=[4, {lanes}]}} : tile<{tile}xptr<fp32>>
      %from = addptr(%base, %place) : tile<{tile}xptr<fp32>>
      %value = load(%from) : tile<{tile}xfp32>
      %double = add(%value, %value) : tile<{tile}xfp32>
      %target = splat(%out) {{shape=[4, {lanes}]}} : tile<{tile}xptr<fp32>>
      %to = addptr(%target, %place) : tile<{tile}xptr<fp32>>
      %offset = constant() {{value={offset}, dtype=int32}} : int32
      %offsets = splat(%offset) {{shape=[4, {lanes}]}} : tile<{tile}xint32>
      %other = addptr(%to, %offsets) : tile<{tile}xptr<fp32>>
      store(%to, %value)
      store(%other, %double)
      return()
    }}
    """
    return [line.strip() for line in plan_of(textwrap.dedent(text)).splitlines() if "nest" in line]


@pytest.mark.parametrize("offset", [32, -32, 96, 256, -224])
def test_stores_beside_each_other_are_one_nest(offset: int) -> None:
    assert _halves(offset) == ["nest 4x32 order d0,d1 vector d1x16 streaming aligned rows {"]


@pytest.mark.parametrize("offset", [0, 1, 31, -31, 64, 65, 223, -192])
def test_stores_that_may_meet_keep_their_order(offset: int) -> None:
    assert len(_halves(offset)) == 2


def test_a_tile_of_few_elements_is_stored_as_usual() -> None:
    assert "streaming" not in _halves(16, lanes=16)[0]
