"""Which comparisons of masks bound a nest, so that whole chunks before them run without masks."""

from __future__ import annotations

import textwrap

import pytest

from .text import plan_of


def _nest_line(
    index: str, limit: str, *, lanes: int = 256, predicate: str = "lt", kind: str = "int32"
) -> str:
    """The head of the nest that copies what a comparison of ``index`` and ``limit`` lets through."""
    text = f"""
    func @copy(%x: ptr<fp32> {{alias_class=0}}, %out: ptr<fp32> {{alias_class=1}}, %n: {kind},
               %start: int32) {{
      %lane = arange() {{start=0, end={lanes}}} : tile<{lanes}xint32>
      %starts = splat(%start) {{shape=[{lanes}]}} : tile<{lanes}xint32>
      %moved = add(%starts, %lane) : tile<{lanes}xint32>
      %wide = cast(%moved) {{dtype=int64}} : tile<{lanes}xint64>
      %exact = cast(%lane) {{dtype=int64}} : tile<{lanes}xint64>
      %twice = add(%lane, %lane) : tile<{lanes}xint32>
      %limit = splat(%n) {{shape=[{lanes}]}} : tile<{lanes}x{kind}>
      %inside = cmp({index}, {limit}) {{predicate={predicate}}} : tile<{lanes}xint1>
      %base = splat(%x) {{shape=[{lanes}]}} : tile<{lanes}xptr<fp32>>
      %from = addptr(%base, %lane) : tile<{lanes}xptr<fp32>>
      %row = load(%from, mask=%inside) : tile<{lanes}xfp32>
      %target = splat(%out) {{shape=[{lanes}]}} : tile<{lanes}xptr<fp32>>
      %to = addptr(%target, %lane) : tile<{lanes}xptr<fp32>>
      store(%to, %row)
      return()
    }}
    """
    (line,) = [line for line in plan_of(textwrap.dedent(text)).splitlines() if "nest" in line]
    return line.strip()


@pytest.mark.parametrize("predicate", ["lt", "le", "gt", "ge"])
@pytest.mark.parametrize("sides", [("%lane", "%limit"), ("%limit", "%lane"), ("%moved", "%limit")])
def test_an_index_that_counts_up_against_a_bound(sides: tuple[str, str], predicate: str) -> None:
    line = _nest_line(*sides, predicate=predicate)
    assert line.startswith("nest 256 order d0 vector d0x16 first where %inside ")


def test_an_index_widened_where_it_cannot_have_wrapped() -> None:
    assert "first where %inside" in _nest_line("%exact", "%limit", kind="int64")


@pytest.mark.parametrize(
    ("index", "limit", "predicate", "kind"),
    [
        ("%wide", "%limit", "lt", "int64"),  # may have wrapped before it was widened
        ("%twice", "%limit", "lt", "int32"),  # skips numbers
        ("%lane", "%lane", "lt", "int32"),  # both sides count
        ("%lane", "%limit", "eq", "int32"),
        ("%lane", "%limit", "ne", "int32"),
    ],
)
def test_comparisons_that_bound_nothing(index: str, limit: str, predicate: str, kind: str) -> None:
    line = _nest_line(index, limit, predicate=predicate, kind=kind)
    assert "first where" not in line


def test_a_few_chunks_are_not_worth_two_loops() -> None:
    assert "first where" not in _nest_line("%lane", "%limit", lanes=112)
    assert "first where" in _nest_line("%lane", "%limit", lanes=128)
