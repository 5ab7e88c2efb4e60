"""Which programs leave what they store to the next one."""

from __future__ import annotations

import textwrap

import pytest

from .text import plan_of

_HEAD = "nest 2048 order d0 vector d0x16"
_TWICE = """
%double = add(%value, %value) : tile<{n}xfp32>
%sum = reduce(%double) {{axis=0, kind=sum}} : fp32
%sums = splat(%sum) {{shape=[{n}]}} : tile<{n}xfp32>
%share = div(%value, %sums) : tile<{n}xfp32>
store(%to, %share)
"""


def _nest_lines(body: str, size: int = 2048, columns: str = "%row", out: int = 1) -> list[str]:
    """The heads of the nests of a kernel that reads row %value, and stores to row %to."""
    text = f"""
    func @rows(%x: ptr<fp32> {{alias_class=0}}, %out: ptr<fp32> {{alias_class={out}}}, %n: int32) {{
      %id = program_id() {{axis=0}} : int32
      %row = mul(%id, %n) : int32
      %lane = arange() {{start=0, end={size}}} : tile<{size}xint32>
      %limit = splat({columns}) {{shape=[{size}]}} : tile<{size}xint32>
      %inside = cmp(%lane, %limit) {{predicate=lt}} : tile<{size}xint1>
      %begin = addptr(%x, %row) : ptr<fp32>
      %base = splat(%begin) {{shape=[{size}]}} : tile<{size}xptr<fp32>>
      %from = addptr(%base, %lane) : tile<{size}xptr<fp32>>
      %value = load(%from) : tile<{size}xfp32>
      %end = addptr(%out, %row) : ptr<fp32>
      %target = splat(%end) {{shape=[{size}]}} : tile<{size}xptr<fp32>>
      %to = addptr(%target, %lane) : tile<{size}xptr<fp32>>
{textwrap.indent(textwrap.dedent(body.format(n=size)), "      ")}
      return()
    }}
    """
    lines = plan_of(textwrap.dedent(text)).splitlines()
    return [line.strip().removesuffix(" {") for line in lines if "nest" in line]


def test_what_is_stored_while_the_next_row_is_summed_up() -> None:
    """The late nest fetches nothing: the one that hosts does."""
    assert _nest_lines(_TWICE) == [
        f"{_HEAD} unroll 4 storing what the last program left fetching %value of the next program",
        f"{_HEAD} streaming late",
    ]


def test_a_kept_row_is_overwritten_as_it_is_stored() -> None:
    """The nest that hosts is the one that fills the buffer."""
    body = """
    %most = reduce(%value) {{axis=0, kind=max}} : fp32
    %mosts = splat(%most) {{shape=[{n}]}} : tile<{n}xfp32>
    %less = sub(%value, %mosts) : tile<{n}xfp32>
    %power = exp2(%less) : tile<{n}xfp32>
    %sum = reduce(%power) {{axis=0, kind=sum}} : fp32
    %sums = splat(%sum) {{shape=[{n}]}} : tile<{n}xfp32>
    %share = div(%power, %sums) : tile<{n}xfp32>
    store(%to, %share)
    """
    assert _nest_lines(body) == [
        f"{_HEAD} unroll 4 fetching %value from 0 to 1/8 of the next program",
        f"{_HEAD} unroll 4 storing what the last program left"
        " fetching %value from 1/8 to 1 of the next program",
        f"{_HEAD} streaming late",
    ]


def test_bounds_that_are_the_same_for_all_programs() -> None:
    body = _TWICE.replace("store(%to, %share)", "store(%to, %share, mask=%inside)")
    (_, last) = _nest_lines(body, columns="%n")
    assert last == f"{_HEAD} first where %inside streaming late"


_MASKED_SUM = """
%zero = constant() {{value=0.0, dtype=fp32}} : fp32
%zeros = splat(%zero) {{shape=[{n}]}} : tile<{n}xfp32>
%own = load(%from, mask=%inside, other=%zeros) : tile<{n}xfp32>
%sum = reduce(%own) {{axis=0, kind=sum}} : fp32
%sums = splat(%sum) {{shape=[{n}]}} : tile<{n}xfp32>
%share = div(%value, %sums) : tile<{n}xfp32>
store(%to, %share)
"""
_OTHER_STORE = f"{_TWICE}\nstore(%out, %sum)"


@pytest.mark.parametrize(
    ("body", "size", "out"),
    [
        (_TWICE, 2048, 0),
        (_TWICE, 512, 1),
        (_TWICE, 16384, 1),
        (_MASKED_SUM, 2048, 1),
        (_OTHER_STORE, 2048, 1),
        ("store(%to, %value)", 2048, 1),
    ],
    ids=[
        "what is read and stored may overlap",
        "short rows",
        "rows that do not fit together",
        "a bound of the program's own",
        "another store",
        "no other nest",
    ],
)
def test_what_each_program_stores_itself(body: str, size: int, out: int) -> None:
    lines = _nest_lines(body, size, out=out)
    assert not any("late" in line or "left" in line for line in lines)
    assert any("streaming" in line for line in lines) or out == 0
