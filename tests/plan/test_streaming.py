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
