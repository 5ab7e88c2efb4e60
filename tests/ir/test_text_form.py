"""Printer and parser: text that round-trips, and errors that point into the text."""

from __future__ import annotations

import textwrap

import pytest

from tilejit.diagnostics import Location, TilejitError
from tilejit.ir.core import Argument, ArgumentSource, Block, Builder, Function
from tilejit.ir.parser import IRParseError, parse_function
from tilejit.ir.printer import print_function, print_op
from tilejit.ir.types import BF16, FP32, INT32, INT64, PointerType, TileType
from tilejit.ir.verifier import verify

from .fake_ops import NUMBER, OPS, PLUS, STOP

EVERYTHING = r"""
func @kernel(%x: ptr<const fp32> {divisibility=16, alias_class=0}, %x.stride1: int64 {source=stride, parameter="x", dimension=1}, %t: tile<4x8xptr<bf16>>) @ "dir/a b.py":1:0-9:3 in kernel {
  %c = number() {value=-1.5e-07, dtype=fp32} : fp32 @ "a.py":1:2-3:4 in helper from "a.py":10:2-10:4 in "<lambda>"
  %0 = number() {value=-inf, dtype=fp32} : fp32
  %1 = number() {value=nan, dtype=fp32} : fp32
  %2 = number() {value=-0.0, dtype=fp32} : fp32
  %3 = number() {value=-7, dtype=int32} : int32
  %4 = number() {value=true, dtype=int1} : int1
  %5 = number() {value=0, dtype=ptr<const fp32>} : ptr<const fp32>
  %c_1 = plus(%c, %0) : fp32
  %p, %q = pair(%c, %x) : fp32, ptr<const fp32>
  %6 = peek(%t, other=%c) {hint="a \"q\" %\n\u00e9", shape=[1, 2], exact=true, mode="3 x", times=-2, scale=-0.0} : tile<4x8xptr<bf16>>
  %7 = peek(%t, mask=%4, other=%c) : tile<4x8xptr<bf16>>
  %a = loop(%c, inits=[%c_1]) {times=2} : fp32 @ "a.py":4:2-8:4 in kernel {
  test(%k: fp32):
    pass(values=[%k])
  body(%m: fp32):
    loop(%c) {
    test():
      pass()
    body():
      pass()
    }
    poke(%m)
    pass(values=[%m])
  }
  stop()
}
"""  # noqa: E501


def parse(text: str) -> Function:
    return parse_function(textwrap.dedent(text), OPS)


def test_everything_round_trips() -> None:
    function = parse(EVERYTHING)
    verify(function)
    assert print_function(function, locations=True) == EVERYTHING.lstrip()


def test_text_without_locations_round_trips() -> None:
    text = print_function(parse(EVERYTHING))
    assert " @ " not in text
    assert print_function(parse(text)) == text


def test_locations_are_read_back() -> None:
    function = parse(EVERYTHING)
    caller = Location("a.py", 10, 2, 10, 4, "<lambda>")
    assert function.body.ops[0].location == Location("a.py", 1, 2, 3, 4, "helper", caller)
    assert function.body.ops[1].location is None
    assert function.location == Location("dir/a b.py", 1, 0, 9, 3, "kernel")


def test_arguments_are_read_back() -> None:
    function = parse(EVERYTHING)
    assert function.arguments == [
        Argument("x", divisibility=16, alias_class=0),
        Argument("x", ArgumentSource.STRIDE, dimension=1),
        Argument("t"),
    ]
    assert [value.type for value in function.body.arguments] == [
        TileType(PointerType(FP32, const=True)),
        TileType(INT64),
        TileType(PointerType(BF16), (4, 8)),
    ]


def test_hints_become_unique_names_and_stay() -> None:
    body = Block([TileType(INT32), TileType(INT32)], ["x", "x"])
    function = Function("f", body, [Argument("x"), Argument("x")])
    builder = Builder(body)
    for name in ("x_1", "", "two words", "9", "3d"):
        builder.create(NUMBER, attributes={"value": 0, "dtype": INT32}, names=[name])
    builder.create(STOP)
    text = print_function(function)
    assert [line.split(" =")[0].strip() for line in text.splitlines()[1:-2]] == [
        "%x_1_1", "%0", "%two_words", "%_9", "%_3d",
    ]  # fmt: skip
    assert text.startswith('func @f(%x: int32, %x_1: int32 {parameter="x"}) {')
    assert print_function(parse(text)) == text


def test_comments_and_layout_are_free() -> None:
    text = "func @f() { # a kernel\n\n %a = number()\n  {value=1,dtype=int32}:int32 stop() }"
    assert print_function(parse(text)) == (
        "func @f() {\n  %a = number() {value=1, dtype=int32} : int32\n  stop()\n}\n"
    )


def test_one_op_prints_alone() -> None:
    op = parse(EVERYTHING).body.ops[7]
    assert op.definition is PLUS
    assert print_op(op) == "%c_1 = plus(%c, %0) : fp32"


def test_invalid_functions_still_print() -> None:
    function = parse("func @f() { %a = number() {value=1, dtype=int32} : int32 poke(%a) stop() }")
    function.body.ops.reverse()
    assert print_function(function).splitlines()[2] == "  poke(%a)"
    function.body.add_argument(TileType(INT32), "late")
    assert "%late: int32" in print_function(function)


HEAD = "func @f(%x: fp32) {\n"
INVALID = [
    ("fun @f() {", 1, 1, "expected 'func', found 'fun'"),
    ("func f() {", 1, 6, "expected @name, found 'f'"),
    ("func @f(%x: fp32", 1, 17, "expected ')', found the end of the text"),
    ("func @f(%x: fp33) {", 1, 13, "'fp33' is not a type; did you mean fp32?"),
    ("func @f(%x: tile<4xfp33>) {", 1, 13, "'tile<4xfp33>' is not a type; did you mean fp32?"),
    ("func @f(%x: fp32 {size=3}) {", 1, 19, "unknown fact about an argument: size"),
    (
        "func @f(%x: fp32 {source=size}) {",
        1,
        26,
        "expected one of value, shape, stride, grid, workspace; found 'size'",
    ),
    ("func @f() ^ {", 1, 11, "unexpected character '^'"),
    ("func @f() {\n  stop()\n", 3, 1, "expected an op, found the end of the text"),
    ("func @f(%x:", 1, 12, "the text ends here, in the middle of the function"),
    ("func @f() {\n  stop()\n} }", 3, 3, "text after the end of the function"),
    (HEAD + "  plux(%x, %x)", 2, 3, "unknown op plux; did you mean plus?"),
    (HEAD + "  poke(%y)", 2, 8, "%y is not defined"),
    (HEAD + "  poke(%x, %x)", 2, 12, "poke: too many positional operands"),
    (HEAD + "  %y = plus(%x) : fp32", 2, 12, "plus: operand rhs is missing"),
    (HEAD + "  %y = plus(%x, %x) : int32", 2, 8, "plus gives fp32, the text says int32"),
    (HEAD + "  plus(%x, %x) : fp32", 2, 3, "plus has 1 results, the text names 0"),
    (HEAD + "  %y = plus(%x, %x)\n", 2, 8, "plus gives fp32, the text says nothing"),
    (HEAD + "  %x = plus(%x, %x) : fp32", 2, 3, "%x is defined twice"),
    (
        HEAD + "  %y = number() {value=1, dtype=int32} : int32\n  %z = plus(%x, %y) : fp32",
        3,
        8,
        "plus: operands differ: fp32 and int32",
    ),
    (HEAD + "  %y = number() {value=1} : fp32", 2, 8, "number: number: attribute dtype is missing"),
    (
        HEAD + "  %y = number() {valu=1, dtype=fp32} : fp32",
        2,
        18,
        "number has no attribute valu; did you mean value?",
    ),
    (HEAD + '  %y = number() {value="1", dtype=fp32} : fp32', 2, 24, "expected a number, found '\"1\"'"),
    (HEAD + "  %y = peek(%x, msk=%x) : fp32", 2, 17, "peek takes no operand msk"),
    (HEAD + "  %y = peek(%x, mask=%x, mask=%x) : fp32", 2, 26, "peek takes no second operand mask"),
    (HEAD + "  %y = peek(%x) {exact=1} : fp32", 2, 24, "expected true or false, found '1'"),
    (HEAD + "  %y = peek(%x) {times=1.5} : fp32", 2, 24, "expected an integer, found 1.5"),
    (HEAD + "  %y = peek(%x) {mode=plane} : fp32", 2, 23, "expected one of plain, 3 x; found 'plane'"),
    (HEAD + "  loop(%x) {\n  body():\n", 3, 3, "expected 'test', found 'body'"),
    (
        HEAD + "  loop(%x) {\n  test(%t: fp32):\n  pass()\n  body():\n  poke(%t)\n",
        6,
        8,
        "%t is defined in a region that has ended",
    ),
]


@pytest.mark.parametrize(("text", "line", "column", "problem"), INVALID)
def test_errors_point_into_the_text(text: str, line: int, column: int, problem: str) -> None:
    with pytest.raises(IRParseError) as raised:
        parse_function(text, OPS)
    error = raised.value
    assert (error.line, error.column, error.problem) == (line, column, problem)


def test_error_text_shows_the_line() -> None:
    with pytest.raises(TilejitError) as raised:
        parse_function(HEAD + "  poke(%y)\n}", OPS)
    assert str(raised.value) == "IR text, line 2, column 8: %y is not defined\n      poke(%y)\n           ^"
