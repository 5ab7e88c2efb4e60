"""Which rows of the next program a nest fetches."""

from __future__ import annotations

import textwrap

import pytest

from .text import plan_of

_MOVING = "%row = mul(%id, %n) : int32"


def _nest_lines(row: str = _MOVING, lanes: int = 2048, after: str = "") -> list[str]:
    """The heads of the nests of a kernel that divides a row by its largest element."""
    text = f"""
    func @scale(%x: ptr<fp32> {{alias_class=0}}, %out: ptr<fp32> {{alias_class=1}}, %n: int32) {{
      %id = program_id() {{axis=0}} : int32
      {row}
      %lane = arange() {{start=0, end={lanes}}} : tile<{lanes}xint32>
      %begin = addptr(%x, %row) : ptr<fp32>
      %base = splat(%begin) {{shape=[{lanes}]}} : tile<{lanes}xptr<fp32>>
      %from = addptr(%base, %lane) : tile<{lanes}xptr<fp32>>
      %value = load(%from) : tile<{lanes}xfp32>
      %most = reduce(%value) {{axis=0, kind=max}} : fp32
      %mosts = splat(%most) {{shape=[{lanes}]}} : tile<{lanes}xfp32>
      %share = div(%value, %mosts) : tile<{lanes}xfp32>
      %target = splat(%out) {{shape=[{lanes}]}} : tile<{lanes}xptr<fp32>>
      %to = addptr(%target, %lane) : tile<{lanes}xptr<fp32>>
      store(%to, %share)
{textwrap.indent(textwrap.dedent(after), "      ")}
      return()
    }}
    """
    return [line.strip() for line in plan_of(textwrap.dedent(text)).splitlines() if "nest" in line]


def test_two_walks_over_a_row_fetch_the_next_one_together() -> None:
    assert _nest_lines(lanes=8192) == [
        "nest 8192 order d0 vector d0x16 unroll 4 fetching %value from 0 to 1/8 of the next program {",
        "nest 8192 order d0 vector d0x16 streaming fetching %value from 1/8 to 1 of the next program {",
    ]


def test_the_only_walk_over_a_row_fetches_the_next_one() -> None:
    text = """
    func @twice(%x: ptr<fp32> {alias_class=0}, %out: ptr<fp32> {alias_class=1}) {
      %id = program_id() {axis=0} : int32
      %size = constant() {value=2048, dtype=int32} : int32
      %row = mul(%id, %size) : int32
      %lane = arange() {start=0, end=2048} : tile<2048xint32>
      %rows = splat(%row) {shape=[2048]} : tile<2048xint32>
      %at = add(%rows, %lane) : tile<2048xint32>
      %base = splat(%x) {shape=[2048]} : tile<2048xptr<fp32>>
      %from = addptr(%base, %at) : tile<2048xptr<fp32>>
      %value = load(%from) : tile<2048xfp32>
      %double = add(%value, %value) : tile<2048xfp32>
      %target = splat(%out) {shape=[2048]} : tile<2048xptr<fp32>>
      %to = addptr(%target, %at) : tile<2048xptr<fp32>>
      store(%to, %double)
      return()
    }
    """
    (line,) = [line for line in plan_of(textwrap.dedent(text)).splitlines() if "nest" in line]
    assert line.endswith(" streaming fetching %value of the next program {")


def test_of_three_walks_the_last_one_fetches_most() -> None:
    """It is the one that stores."""
    text = """
    func @centre(%x: ptr<fp32> {alias_class=0}, %out: ptr<fp32> {alias_class=1}, %n: int32) {
      %id = program_id() {axis=0} : int32
      %row = mul(%id, %n) : int32
      %lane = arange() {start=0, end=8192} : tile<8192xint32>
      %begin = addptr(%x, %row) : ptr<fp32>
      %base = splat(%begin) {shape=[8192]} : tile<8192xptr<fp32>>
      %from = addptr(%base, %lane) : tile<8192xptr<fp32>>
      %value = load(%from) : tile<8192xfp32>
      %sum = reduce(%value) {axis=0, kind=sum} : fp32
      %sums = splat(%sum) {shape=[8192]} : tile<8192xfp32>
      %centred = sub(%value, %sums) : tile<8192xfp32>
      %most = reduce(%centred) {axis=0, kind=max} : fp32
      %mosts = splat(%most) {shape=[8192]} : tile<8192xfp32>
      %share = mul(%centred, %mosts) : tile<8192xfp32>
      %target = splat(%out) {shape=[8192]} : tile<8192xptr<fp32>>
      %to = addptr(%target, %lane) : tile<8192xptr<fp32>>
      store(%to, %share)
      return()
    }
    """
    lines = [line for line in plan_of(textwrap.dedent(text)).splitlines() if "nest" in line]
    parts = [
        line.partition("fetching %value from ")[2].removesuffix(" of the next program {") for line in lines
    ]
    assert parts == ["0 to 1/4", "1/4 to 1/2", "1/2 to 1"]


def test_a_nest_after_the_last_walk_fetches_too() -> None:
    """Softmax: what the second walk keeps is scaled and stored by a third nest, while memory is written."""
    text = """
    func @softmax(%x: ptr<fp32> {alias_class=0}, %out: ptr<fp32> {alias_class=1}, %n: int32) {
      %id = program_id() {axis=0} : int32
      %row = mul(%id, %n) : int32
      %lane = arange() {start=0, end=8192} : tile<8192xint32>
      %begin = addptr(%x, %row) : ptr<fp32>
      %base = splat(%begin) {shape=[8192]} : tile<8192xptr<fp32>>
      %from = addptr(%base, %lane) : tile<8192xptr<fp32>>
      %value = load(%from) : tile<8192xfp32>
      %most = reduce(%value) {axis=0, kind=max} : fp32
      %mosts = splat(%most) {shape=[8192]} : tile<8192xfp32>
      %less = sub(%value, %mosts) : tile<8192xfp32>
      %power = exp2(%less) : tile<8192xfp32>
      %sum = reduce(%power) {axis=0, kind=sum} : fp32
      %sums = splat(%sum) {shape=[8192]} : tile<8192xfp32>
      %share = div(%power, %sums) : tile<8192xfp32>
      %target = splat(%out) {shape=[8192]} : tile<8192xptr<fp32>>
      %to = addptr(%target, %lane) : tile<8192xptr<fp32>>
      store(%to, %share)
      return()
    }
    """
    lines = [line for line in plan_of(textwrap.dedent(text)).splitlines() if "nest" in line]
    parts = [
        line.partition("fetching %value from ")[2].removesuffix(" of the next program {") for line in lines
    ]
    assert parts == ["0 to 1/4", "1/4 to 3/4", "3/4 to 1"]


_FOUND = """
  %place = bitcast(%out) {dtype=ptr<int32>} : ptr<int32>
  %at = addptr(%place, %id) : ptr<int32>
  %row = load(%at) : int32
"""
_LOOP = """
    %none = constant() {value=0, dtype=int32} : int32
    %one = constant() {value=1, dtype=int32} : int32
    for(%none, %n, %one) {
      body(%i: int32):
        yield()
    }
"""


def _loop_lines(place: str, lower: str = "%none") -> list[str]:
    """The heads of the nests of a loop that finds the largest element of blocks and adds up the rest."""
    text = f"""
    func @walk(%x: ptr<fp32> {{alias_class=0}}, %out: ptr<fp32> {{alias_class=1}}, %n: int32) {{
      %id = program_id() {{axis=0}} : int32
      %row = mul(%id, %n) : int32
      %begin = addptr(%x, %row) : ptr<fp32>
      %lane = arange() {{start=0, end=2048}} : tile<2048xint32>
      %none = constant() {{value=0, dtype=int32}} : int32
      %step = constant() {{value=2048, dtype=int32}} : int32
      %zero = constant() {{value=0.0, dtype=fp32}} : fp32
      %total = for({lower}, %n, %step, inits=[%zero]) : fp32 {{
        body(%i: int32, %so_far: fp32):
          {place}
          %base = splat(%at) {{shape=[2048]}} : tile<2048xptr<fp32>>
          %from = addptr(%base, %lane) : tile<2048xptr<fp32>>
          %value = load(%from) : tile<2048xfp32>
          %most = reduce(%value) {{axis=0, kind=max}} : fp32
          %mosts = splat(%most) {{shape=[2048]}} : tile<2048xfp32>
          %less = sub(%value, %mosts) : tile<2048xfp32>
          %sum = reduce(%less) {{axis=0, kind=sum}} : fp32
          %more = add(%so_far, %sum) : fp32
          yield(values=[%more])
      }}
      store(%out, %total)
      return()
    }}
    """
    return [line.strip() for line in plan_of(textwrap.dedent(text)).splitlines() if "nest" in line]


_BY_SUM = """%where = cast(%so_far) {dtype=int32} : int32
          %at = addptr(%begin, %where) : ptr<fp32>"""
_BY_INDEX = "%at = addptr(%begin, %i) : ptr<fp32>"


def test_a_loop_fetches_the_next_trip_and_at_its_end_the_next_program() -> None:
    nest = "nest 2048 order d0 vector d0x16 unroll 4 fetching %value from"
    assert _loop_lines(_BY_INDEX) == [
        f"{nest} 0 to 1/8 of the next trip or program {{",
        f"{nest} 1/8 to 1 of the next trip or program {{",
    ]


def test_a_loop_that_begins_where_the_program_says() -> None:
    """The next program begins elsewhere."""
    lines = _loop_lines(_BY_INDEX, lower="%id")
    assert lines[1].endswith("fetching %value from 1/8 to 1 of the next trip {")


@pytest.mark.parametrize(
    "place",
    ["%at = addptr(%begin, %n) : ptr<fp32>", _BY_SUM],
    ids=["the same at every trip", "carried by the loop"],
)
def test_loops_that_fetch_nothing(place: str) -> None:
    lines = _loop_lines(place)
    assert len(lines) == 2
    assert not any("fetching" in line for line in lines)


@pytest.mark.parametrize(
    ("row", "lanes", "after"),
    [
        ("%row = add(%n, %n) : int32", 2048, ""),
        (_FOUND, 2048, ""),
        (_MOVING, 1008, ""),
        (_MOVING, 32768, ""),
        (_MOVING, 2048, _LOOP),
    ],
    ids=["the same for all programs", "found in memory", "short rows", "long rows", "a kernel with a loop"],
)
def test_rows_that_are_not_fetched(row: str, lanes: int, after: str) -> None:
    lines = _nest_lines(row, lanes, after)
    assert len(lines) == 2
    assert not any("fetching" in line for line in lines)
