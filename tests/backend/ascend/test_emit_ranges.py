"""Integers that cannot wrap are computed by plain operators; what is read once stands in place."""

from __future__ import annotations

import pytest

from tests.backend.ascend.test_emit_ascendc import statements
from tilejit.backend.ascend.emit_function import without_needless_parentheses

CLAMPED = """\
  %zero = constant() {value=0, dtype=int32} : int32
  %top = constant() {value=64, dtype=int32} : int32
  %by = constant() {value=16, dtype=int32} : int32
  %minus = constant() {value=-16, dtype=int32} : int32
  %large = constant() {value=100000000, dtype=int32} : int32
  %low = max(%n, %zero) : int32
  %size = min(%low, %top) : int32
"""


@pytest.mark.parametrize(
    ("op", "text"),
    [
        ("add(%size, %by)", "size + 16"),
        ("sub(%zero, %size)", "0 - size"),
        ("mul(%size, %by)", "size * 16"),
        ("mul(%size, %large)", "tile::mul(size, 100000000)"),
        ("add(%n, %by)", "tile::add(n, 16)"),
        ("sub(%low, %by)", "low - 16"),
        ("sub(%low, %minus)", "tile::sub(low, -16)"),
        ("idiv(%n, %by)", "n / 16"),
        ("irem(%n, %by)", "n % 16"),
        ("idiv(%n, %minus)", "tile::idiv(n, -16)"),
        ("irem(%n, %size)", "tile::irem(n, size)"),
    ],
)
def test_operators(op: str, text: str) -> None:
    assert statements(f"{CLAMPED}  %a = {op} : int32", "%n: int32")[-1] == f"const int32_t a = {text};"


@pytest.mark.parametrize(
    ("inner", "text"),
    [
        ("irem(%n, %by)", "r * 134217728"),  # from -15 to 15
        ("idiv(%n, %by)", "tile::mul(r, 134217728)"),
        ("min(%size, %by)", "tile::mul(r, 134217728)"),  # to 16, which gives 2 to the power of 31
        ("select(%k, %minus, %zero)", "r * 134217728"),  # -16 gives the least int32
    ],
)
def test_ranges_are_exact_at_their_ends(inner: str, text: str) -> None:
    body = f"""{CLAMPED}  %huge = constant() {{value=134217728, dtype=int32}} : int32
  %r = {inner} : int32
  %a = mul(%r, %huge) : int32"""
    assert statements(body, "%n: int32, %k: int1")[-1] == f"const int32_t a = {text};"


def test_an_index_lies_between_the_bounds_of_its_loop() -> None:
    body = f"""{CLAMPED}  for(%zero, %size, %by, inits=[]) {{
  body(%i: int32):
    %a = mul(%i, %large) : int32
    %b = mul(%i, %by) : int32
    yield(values=[])
  }}"""
    lines = statements(body, "%n: int32")
    assert "const int32_t a = tile::mul(i, 100000000);" in lines
    assert "const int32_t b = i * 16;" in lines


def test_what_is_read_once_and_has_no_name_stands_in_place() -> None:
    body = """\
  %0 = mul(%n, %m) : int32
  %1 = add(%0, %n) : int32
  %2 = cmp(%1, %m) {predicate=lt} : int1
  %3 = addptr(%p, %n) : ptr<fp32>
  %4 = addptr(%3, %1) : ptr<fp32>
  if(%2) {
  then():
    store(%4, %x)
    yield(values=[])
  else():
    yield(values=[])
  }"""
    assert statements(body, "%n: int32, %m: int32, %p: ptr<fp32>, %x: fp32")[4:] == [
        "const int32_t v = tile::add(tile::mul(n, m), n);",
        "__gm__ float *const p_1 = (p + n) + v;",  # read in another block
        "if (v < m) {",
        "tile::store_global(p_1, x);",
        "}",
    ]


@pytest.mark.parametrize(
    ("text", "shorter"),
    [
        ("f((a + b), (c))", "f(a + b, c)"),
        ("x[(i * 16)] = ((a + b));", "x[i * 16] = a + b;"),
        ("((a + b) * c)", "((a + b) * c)"),
        ("if (a == (b & c)) {", "if (a == (b & c)) {"),
        ("f(a - (b - c))", "f(a - (b - c))"),
    ],
)
def test_needless_parentheses(text: str, shorter: str) -> None:
    assert without_needless_parentheses(text) == shorter


def test_a_buffer_that_nothing_uses_is_left_out() -> None:
    body = "  %a = buffer() {space=ub, element=fp32, elements=64, slot_bytes=256, address=0} : ptr<ub fp32>"
    assert not any("LocalTensor" in line for line in statements(body, "%n: int32"))
