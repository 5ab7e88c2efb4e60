"""Which pointer arguments are stored through, as text."""

from __future__ import annotations

import pytest

from tilejit.ir.parser import parse_function
from tilejit.ops import OP_BY_NAME
from tilejit.passes.drop_assertions import drop_assertions
from tilejit.passes.written_arguments import written_arguments

ARGUMENTS = "%x: ptr<fp32>, %y: ptr<fp32>, %i: ptr<int32>, %n: int32, %c: int1"


def written(body: str) -> list[str]:
    return list(
        written_arguments(parse_function(f"func @f({ARGUMENTS}) {{\n{body}\n return()\n}}", OP_BY_NAME))
    )


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ("%v = load(%x) : fp32\n store(%y, %v)", ["y"]),
        ("%v = load(%x) : fp32\n %o = atomic_rmw(%y, %v) {kind=add} : fp32", ["y"]),
        ("%v = load(%x) : fp32\n %p = addptr(%y, %n) : ptr<fp32>\n store(%p, %v)", ["y"]),
        # What is loaded is data: an index read through %i does not make %i written.
        (
            "%v = load(%x) : fp32\n %k = load(%i) : int32\n %p = addptr(%y, %k) : ptr<fp32>\n store(%p, %v)",
            ["y"],
        ),
        ("%v = load(%x) : fp32\n %p = select(%c, %x, %y) : ptr<fp32>\n store(%p, %v)", ["x", "y"]),
        ("%v = load(%x) : fp32", []),
    ],
)
def test_straight_code(body: str, names: list[str]) -> None:
    assert written(body) == names


def test_loop_carries_one_pointer_to_load_and_one_to_store() -> None:
    body = """
  %a, %b = for(%n, %n, %n, inits=[%x, %y]) : ptr<fp32>, ptr<fp32> {
    body(%k: int32, %p: ptr<fp32>, %q: ptr<fp32>):
    %v = load(%p) : fp32
    store(%q, %v)
    %p2 = addptr(%p, %k) : ptr<fp32>
    %q2 = addptr(%q, %k) : ptr<fp32>
    yield(values=[%p2, %q2])
  }"""
    assert written(body) == ["y"]
    assert written(body + "\n  %w = load(%b) : fp32\n  store(%a, %w)") == ["y", "x"]


def test_pointers_that_a_loop_exchanges() -> None:
    body = """
  %a, %b = for(%n, %n, %n, inits=[%x, %y]) : ptr<fp32>, ptr<fp32> {
    body(%k: int32, %p: ptr<fp32>, %q: ptr<fp32>):
    %v = load(%p) : fp32
    store(%q, %v)
    yield(values=[%q, %p])
  }"""
    assert sorted(written(body)) == ["x", "y"]


def test_branches() -> None:
    body = """
  %p = if(%c) : ptr<fp32> {
    then():
    yield(values=[%x])
    else():
    yield(values=[%y])
  }
  %v = load(%y) : fp32
  store(%p, %v)"""
    assert sorted(written(body)) == ["x", "y"]


def test_assertions_are_dropped_and_nothing_else() -> None:
    body = 'device_assert(%c) {message="m"}\n device_print(values=[%n]) {prefix=""}\n return()'
    function = parse_function(f"func @f({ARGUMENTS}) {{\n {body}\n}}", OP_BY_NAME)
    drop_assertions(function)
    assert [op.name for op in function.walk()] == ["device_print", "return"]
