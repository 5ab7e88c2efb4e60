"""simplify: each rule of the algebra, with cases that look alike and must stay."""

from __future__ import annotations

import pytest

from tilejit.ir.types import DTYPE_BY_NAME, DTYPES
from tilejit.passes.algebra import RULES, is_lossless
from tilejit.passes.simplify import simplify

from .text import check_body, kernel, transform

I0 = "%k = constant() {value=0, dtype=int32} : int32\n"
I1 = "%k = constant() {value=1, dtype=int32} : int32\n"
ONES = "%k = constant() {value=-1, dtype=int32} : int32\n"
U_ONES = "%k = constant() {value=4294967295, dtype=uint32} : uint32\n"
F_ZERO = "%k = constant() {value=0.0, dtype=fp32} : fp32\n"
F_MINUS_ZERO = "%k = constant() {value=-0.0, dtype=fp32} : fp32\n"
F1 = "%k = constant() {value=1.0, dtype=fp32} : fp32\n"
TRUE = "%k = constant() {value=true, dtype=int1} : int1\n"
FALSE = "%k = constant() {value=false, dtype=int1} : int1\n"

TO_OPERAND = [
    (I0 + "%r = add(%x, %k) : int32", "%x"),
    (I0 + "%r = add(%k, %x) : int32", "%x"),
    (F_MINUS_ZERO + "%r = add(%f, %k) : fp32", "%f"),
    (I0 + "%r = sub(%x, %k) : int32", "%x"),
    (F_ZERO + "%r = sub(%f, %k) : fp32", "%f"),
    (I1 + "%r = mul(%k, %x) : int32", "%x"),
    (F1 + "%r = mul(%f, %k) : fp32", "%f"),
    (F1 + "%r = div(%f, %k) : fp32", "%f"),
    (I1 + "%r = idiv(%x, %k) : int32", "%x"),
    (I0 + "%r = idiv(%x, %k) : int32", "%x"),
    (I0 + "%r = shl(%x, %k) : int32", "%x"),
    (I0 + "%r = shr(%x, %k) : int32", "%x"),
    ("%r = min(%f, %f) : fp32", "%f"),
    ("%r = max(%x, %x) {propagate_nan=true} : int32", "%x"),
    (ONES + "%r = and(%x, %k) : int32", "%x"),
    (U_ONES + "%r = and(%u, %k) : uint32", "%u"),
    (TRUE + "%r = and(%k, %c) : int1", "%c"),
    ("%r = and(%c, %c) : int1", "%c"),
    (I0 + "%r = or(%x, %k) : int32", "%x"),
    (FALSE + "%r = or(%c, %k) : int1", "%c"),
    ("%r = or(%t, %t) : tile<4xint32>", "%t"),
    (FALSE + "%r = xor(%c, %k) : int1", "%c"),
    ("%n = not(%x) : int32\n%r = not(%n) : int32", "%x"),
    ("%n = neg(%f) : fp32\n%r = neg(%n) : fp32", "%f"),
    (I0 + "%r = addptr(%p, %k) : ptr<fp32>", "%p"),
    ("%r = select(%c, %x, %x) : int32", "%x"),
    (TRUE + "%r = select(%k, %x, %y) : int32", "%x"),
    (FALSE + "%r = select(%k, %x, %y) : int32", "%y"),
    (TRUE + "%b = constant() {value=false, dtype=int1} : int1\n%r = select(%c, %k, %b) : int1", "%c"),
    ("%r = cast(%x) {dtype=int32} : int32", "%x"),
    ("%w = cast(%x) {dtype=int64} : int64\n%r = cast(%w) {dtype=int32} : int32", "%x"),
    ("%w = cast(%h) {dtype=fp32} : fp32\n%r = cast(%w) {dtype=fp16} : fp16", "%h"),
    ("%w = bitcast(%x) {dtype=fp32} : fp32\n%r = bitcast(%w) {dtype=int32} : int32", "%x"),
    ("%r = broadcast(%t) {shape=[4]} : tile<4xint32>", "%t"),
    ("%w = reshape(%t) {shape=[2, 2]} : tile<2x2xint32>\n%r = reshape(%w) {shape=[4]} : tile<4xint32>", "%t"),
    ("%w = splat(%x) {shape=[1]} : tile<1xint32>\n%r = reshape(%w) {shape=[]} : int32", "%x"),
    ("%r = transpose(%t) {order=[0]} : tile<4xint32>", "%t"),
    (I1 + "%s = splat(%k) {shape=[4]} : tile<4xint32>\n%r = mul(%s, %t) : tile<4xint32>", "%t"),
    (TRUE + "%s = splat(%k) {shape=[4]} : tile<4xint1>\n%r = and(%m, %s) : tile<4xint1>", "%m"),
]

TO_OTHER = [
    ("%r = sub(%x, %x) : int32", "%r = constant() {value=0, dtype=int32} : int32"),
    (I0 + "%r = mul(%x, %k) : int32", I0 + "use %k"),
    (I1 + "%r = irem(%x, %k) : int32", "%r = constant() {value=0, dtype=int32} : int32"),
    (I0 + "%r = and(%x, %k) : int32", I0 + "use %k"),
    (FALSE + "%r = and(%c, %k) : int1", FALSE + "use %k"),
    (TRUE + "%r = or(%c, %k) : int1", TRUE + "use %k"),
    ("%r = xor(%c, %c) : int1", "%r = constant() {value=false, dtype=int1} : int1"),
    ("%r = cmp(%x, %x) {predicate=le} : int1", "%r = constant() {value=true, dtype=int1} : int1"),
    ("%r = cmp(%p, %p) {predicate=ne} : int1", "%r = constant() {value=false, dtype=int1} : int1"),
    (
        "%r = cmp(%t, %t) {predicate=lt} : tile<4xint1>",
        "%0 = constant() {value=false, dtype=int1} : int1\n%r = splat(%0) {shape=[4]} : tile<4xint1>",
    ),
    (
        FALSE + "%b = constant() {value=true, dtype=int1} : int1\n%r = select(%c, %k, %b) : int1",
        "%r = not(%c) : int1",
    ),
    (
        "%w = cast(%h) {dtype=fp32} : fp32\n%r = cast(%w) {dtype=fp64} : fp64",
        "%r = cast(%h) {dtype=fp64} : fp64",
    ),
    (
        "%w = cast(%x) {dtype=int16} : int16\n%r = cast(%w) {dtype=int8} : int8",
        "%r = cast(%x) {dtype=int8} : int8",
    ),
    (
        "%w = bitcast(%x) {dtype=fp32} : fp32\n%r = bitcast(%w) {dtype=uint32} : uint32",
        "%r = bitcast(%x) {dtype=uint32} : uint32",
    ),
    (
        "%s = splat(%x) {shape=[1, 4]} : tile<1x4xint32>\n"
        "%r = broadcast(%s) {shape=[2, 4]} : tile<2x4xint32>",
        "%r = splat(%x) {shape=[2, 4]} : tile<2x4xint32>",
    ),
    (
        "%s = reshape(%t) {shape=[1, 4, 1]} : tile<1x4x1xint32>\n"
        "%b = broadcast(%s) {shape=[2, 4, 1]} : tile<2x4x1xint32>\n"
        "%r = broadcast(%b) {shape=[2, 4, 3]} : tile<2x4x3xint32>",
        "%s = reshape(%t) {shape=[1, 4, 1]} : tile<1x4x1xint32>\n"
        "%r = broadcast(%s) {shape=[2, 4, 3]} : tile<2x4x3xint32>",
    ),
    (
        "%s = reshape(%t) {shape=[4, 1]} : tile<4x1xint32>\n"
        "%r = reshape(%s) {shape=[2, 2]} : tile<2x2xint32>",
        "%r = reshape(%t) {shape=[2, 2]} : tile<2x2xint32>",
    ),
    (
        "%s = splat(%x) {shape=[2, 3]} : tile<2x3xint32>\n%r = reshape(%s) {shape=[6]} : tile<6xint32>",
        "%r = splat(%x) {shape=[6]} : tile<6xint32>",
    ),
    ("%r = reshape(%x) {shape=[1, 1]} : tile<1x1xint32>", "%r = splat(%x) {shape=[1, 1]} : tile<1x1xint32>"),
    (
        "%s = splat(%x) {shape=[2, 3]} : tile<2x3xint32>\n"
        "%r = transpose(%s) {order=[1, 0]} : tile<3x2xint32>",
        "%r = splat(%x) {shape=[3, 2]} : tile<3x2xint32>",
    ),
    (
        "%s = reshape(%t) {shape=[1, 4, 1]} : tile<1x4x1xint32>\n"
        "%a = transpose(%s) {order=[1, 2, 0]} : tile<4x1x1xint32>\n"
        "%r = transpose(%a) {order=[1, 0, 2]} : tile<1x4x1xint32>",
        "%s = reshape(%t) {shape=[1, 4, 1]} : tile<1x4x1xint32>\n"
        "%r = transpose(%s) {order=[2, 1, 0]} : tile<1x4x1xint32>",
    ),
    (
        "%r = arange() {start=3, end=4} : tile<1xint32>",
        "%0 = constant() {value=3, dtype=int32} : int32\n%r = splat(%0) {shape=[1]} : tile<1xint32>",
    ),
    (
        "%r = constant() {value=1, dtype=fp16} : fp16",
        "%r = constant() {value=1.0, dtype=fp16} : fp16",
    ),
]

UNCHANGED = [
    F_ZERO + "%r = add(%f, %k) : fp32",  # -0 + 0 is 0
    F_MINUS_ZERO + "%r = sub(%f, %k) : fp32",
    F_ZERO + "%r = mul(%f, %k) : fp32",  # NaN, and the sign of zero
    "%r = sub(%f, %f) : fp32",  # NaN
    "%r = div(%f, %f) : fp32",
    "%r = idiv(%x, %x) : int32",  # 0 / 0 is 0
    "%r = cmp(%f, %f) {predicate=eq} : int1",  # NaN
    I0 + "%r = sub(%k, %x) : int32",
    I1 + "%r = idiv(%k, %x) : int32",
    I1 + "%r = and(%x, %k) : int32",
    ONES + "%r = xor(%x, %k) : int32",
    I1 + "%r = shl(%k, %x) : int32",
    I1 + "%r = addptr(%p, %k) : ptr<fp32>",
    "%a = addptr(%p, %x) : ptr<fp32>\n%r = addptr(%a, %y) : ptr<fp32>",  # %x + %y might wrap
    "%r = select(%c, %x, %y) : int32",
    "%w = cast(%x) {dtype=int8} : int8\n%r = cast(%w) {dtype=int32} : int32",
    "%w = cast(%x) {dtype=fp32} : fp32\n%r = cast(%w) {dtype=int32} : int32",  # 24 bits of mantissa
    "%w = cast(%x) {dtype=fp64} : fp64\n%r = cast(%w) {dtype=int8} : int8",  # saturates
    "%w = cast(%u) {dtype=int32} : int32\n%r = cast(%w) {dtype=int64} : int64",
    "%w = cast(%x) {dtype=int1} : int1\n%r = cast(%w) {dtype=int32} : int32",
    "%w = cast(%f) {dtype=fp16} : fp16\n%r = cast(%w) {dtype=fp32} : fp32",
    "%w = cast(%h) {dtype=fp32} : fp32\n%r = cast(%w) {dtype=bf16, rounding=rtz} : bf16",
    "%w = reshape(%t) {shape=[2, 2]} : tile<2x2xint32>\n%r = transpose(%w) {order=[1, 0]} : tile<2x2xint32>",
    "%r = splat(%x) {shape=[1]} : tile<1xint32>",
]


@pytest.mark.parametrize(("body", "operand"), TO_OPERAND)
def test_becomes_an_operand(body: str, operand: str) -> None:
    check_body(body + "\nuse %r", f"use {operand}", simplify)


@pytest.mark.parametrize(("before", "after"), TO_OTHER)
def test_becomes_something_simpler(before: str, after: str) -> None:
    after = after if "use" in after else after + "\nuse %r"
    check_body(before + "\nuse %r", after, simplify)


@pytest.mark.parametrize("body", UNCHANGED)
def test_stays(body: str) -> None:
    check_body(body + "\nuse %r", body + "\nuse %r", simplify)


def test_every_rule_is_tested() -> None:
    texts = [case[0] for case in TO_OPERAND] + [case[0] for case in TO_OTHER]
    assert [name for name in RULES if not any(f"= {name}(" in text for text in texts)] == []


def test_new_ops_take_the_location_of_what_they_replace() -> None:
    before = kernel(
        """
        %s = splat(%x) {shape=[4]} : tile<4xint32> @ "k.py":1:0-1:9 in f
        %q2 = splat(%y) {shape=[4]} : tile<4xint32> @ "k.py":2:0-2:9 in f
        %r = mul(%s, %q2) : tile<4xint32> @ "k.py":3:0-3:9 in f
        use %r
        """
    )
    text = transform(before, simplify, locations=True)
    made = [line.strip() for line in text.splitlines()[1:3]]
    assert made == [
        '%0 = mul(%x, %y) : int32 @ "k.py":3:0-3:9 in f',
        '%r = splat(%0) {shape=[4]} : tile<4xint32> @ "k.py":3:0-3:9 in f',
    ]


LOSSLESS = {
    "int1": "all",
    "int8": "int8 int16 int32 int64 fp16 bf16 fp32 fp64",
    "uint8": "int16 int32 int64 uint8 uint16 uint32 uint64 fp16 bf16 fp32 fp64",
    "int16": "int16 int32 int64 fp32 fp64",
    "uint16": "int32 int64 uint16 uint32 uint64 fp32 fp64",
    "int32": "int32 int64 fp64",
    "uint32": "int64 uint32 uint64 fp64",
    "int64": "int64",
    "uint64": "uint64",
    "fp8e5": "fp8e5 fp16 bf16 fp32 fp64",
    "fp8e4nv": "fp8e4nv fp16 bf16 fp32 fp64",
    "fp8e4b8": "fp8e4b8 fp16 bf16 fp32 fp64",
    "fp8e5b16": "fp8e5b16 fp16 bf16 fp32 fp64",
    "fp16": "fp16 fp32 fp64",
    "bf16": "bf16 fp32 fp64",
    "fp32": "fp32 fp64",
    "fp64": "fp64",
}


@pytest.mark.parametrize("source", LOSSLESS)
def test_lossless_casts(source: str) -> None:
    targets = {target.name for target in DTYPES if is_lossless(DTYPE_BY_NAME[source], target)}
    wanted = {dtype.name for dtype in DTYPES} if LOSSLESS[source] == "all" else set(LOSSLESS[source].split())
    assert targets == wanted
