"""Machine functions as Python programs: expressions against the records, control flow, counting."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tilejit.backend.ascend.scalar_program import EXPRESSIONS, Place, Scalar, compile_program
from tilejit.diagnostics import InternalError, KernelError
from tilejit.ir.core import Op
from tilejit.ir.opdef import EvaluationCall
from tilejit.ir.parser import parse_function
from tilejit.ir.types import DTYPE_BY_NAME, DType
from tilejit.ops.machine import MACHINE_LEVEL_OPS
from tilejit.ops.type_rules import storage_dtype

PLACE = Place(block_index=3, block_count=8, sub_block_index=1, workspace=4096, grid=(5, 6, 7))
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def stored(text: str, *arguments: Scalar) -> list[Scalar]:
    """The values that a function stores, in order."""
    program = compile_program(parse_function(text, MACHINE_LEVEL_OPS))
    return [values["value"] for op, _, values in program.start(PLACE, arguments) if op.name == "store"]


def function_of(body: str, types: list[str], result: str) -> str:
    arguments = ", ".join(f"%a{i}: {type}" for i, type in enumerate(types))
    return f"func aiv @f(%p: ptr<{result}>, {arguments}) {{\n  {body}\n  store(%p, %r)\n  return()\n}}\n"


def corner_values(dtype: DType) -> list[int]:
    rng = random.Random(dtype.name)
    edges = [dtype.min_value, dtype.max_value, 0, 1, 2, dtype.bits - 1, dtype.bits]
    some = [rng.randint(dtype.min_value, dtype.max_value) for _ in range(6)]
    return [value for value in (*edges, -1, *some) if dtype.min_value <= value <= dtype.max_value]


def meaning(text: str, values: list[Scalar]) -> object:
    """What the record of the first op says."""
    op: Op = parse_function(text, MACHINE_LEVEL_OPS).body.ops[0]
    rest = list(values)
    operands = {
        name: tuple(np.asarray(rest.pop(0), storage_dtype(v.type.element)) for v in vs)
        for name, vs in op.named_operands().items()
    }
    call = EvaluationCall(op, operands, None)  # type: ignore[arg-type]
    return op.definition.evaluate(call)[0].item()


def agree(text: str, values: list[Scalar]) -> None:
    got, expected = stored(text, 0, *values)[0], meaning(text, values)
    assert got == expected or (got != got and expected != expected), (text, values)
    assert type(got) is type(expected), (text, values)


BINARY = ("add", "sub", "mul", "idiv", "irem", "min", "max", "and", "or", "xor", "shl", "shr")


@pytest.mark.sample(one_in=3)
@pytest.mark.parametrize("op", BINARY)
def test_integer_ops_mean_what_the_records_say(op: str) -> None:
    for name in INTEGERS:
        values = corner_values(DTYPE_BY_NAME[name])
        text = function_of(f"%r = {op}(%a0, %a1) : {name}", [name, name], name)
        for lhs in values:
            for rhs in values:
                agree(text, [lhs, rhs])


@pytest.mark.parametrize("name", ["int32", "uint32", "int64", "uint64"])
def test_the_upper_half_of_a_product(name: str) -> None:
    values = corner_values(DTYPE_BY_NAME[name])
    text = function_of(f"%r = umulhi(%a0, %a1) : {name}", [name, name], name)
    for lhs in values:
        for rhs in values:
            agree(text, [lhs, rhs])


@pytest.mark.parametrize("op", ["not", "abs"])
def test_unary_ops(op: str) -> None:
    for name in INTEGERS:
        text = function_of(f"%r = {op}(%a0) : {name}", [name], name)
        for value in corner_values(DTYPE_BY_NAME[name]):
            agree(text, [value])


@pytest.mark.parametrize("predicate", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_comparisons(predicate: str) -> None:
    for name, values in (("int32", [-1, 0, 1]), ("fp32", [-1.0, 0.0, float("nan"), float("inf")])):
        text = function_of(f"%r = cmp(%a0, %a1) {{predicate={predicate}}} : int1", [name, name], "int1")
        for lhs in values:
            for rhs in values:
                agree(text, [lhs, rhs])


@pytest.mark.parametrize("source", [*INTEGERS, "int1", "fp32", "fp16", "bf16"])
@pytest.mark.parametrize("target", [*INTEGERS, "int1", "fp32", "fp16", "bf16"])
def test_casts(source: str, target: str) -> None:
    dtype = DTYPE_BY_NAME[source]
    values: list[Scalar] = [0.0, -1.5, 2.75, 1e4, -3e4, float("nan"), float("inf")]
    if source == "bf16":
        values = [0.0, -1.5, 2.75, 16384.0, float("nan")]
    if source == "fp16":
        values = [0.0, -1.5, 2.75, 10000.0, float("nan")]
    if not dtype.is_floating():
        values = [False, True] if source == "int1" else list(corner_values(dtype))
    text = function_of(f"%r = cast(%a0) {{dtype={target}}} : {target}", [source], target)
    for value in values:
        agree(text, [value])


@pytest.mark.parametrize("op", ["add", "sub", "mul", "div", "min", "max"])
@pytest.mark.parametrize("name", ["fp32", "fp16", "bf16"])
def test_floats_round_as_the_records_say(op: str, name: str) -> None:
    text = function_of(f"%r = {op}(%a0, %a1) : {name}", [name, name], name)
    for lhs in (1.0, 0.0, -3.0, 0.0078125, 255.0, float("inf")):
        for rhs in (3.0, 0.0, 0.1015625, -7.0):
            agree(text, [lhs, rhs])


def test_select_and_pointers() -> None:
    text = function_of("%r = select(%a0, %a1, %a2) : fp32", ["int1", "fp32", "fp32"], "fp32")
    assert stored(text, 0, True, 1.5, 2.5) == [1.5]
    assert stored(text, 0, False, 1.5, 2.5) == [2.5]
    text = """\
func aiv @f(%p: ptr<int64>, %q: ptr<fp16>, %n: int32) {
  %m = addptr(%q, %n) : ptr<fp16>
  %b = reinterpret(%m) {element=int32} : ptr<int32>
  %o = addptr(%b, %n) : ptr<int32>
  %r = bitcast(%o) {dtype=int64} : int64
  store(%p, %r)
  return()
}
"""
    assert stored(text, 0, 1000, -3) == [1000 - 6 - 12]


def test_every_expression_is_tested() -> None:
    tested = {*BINARY, "umulhi", "not", "abs", "cmp", "cast", "select", "addptr", "bitcast"}
    assert tested == set(EXPRESSIONS)


CONTROL = """\
func aiv @f(%p: ptr<int32>, %n: int32) {
  %zero = constant() {value=0, dtype=int32} : int32
  %one = constant() {value=1, dtype=int32} : int32
  %three = constant() {value=3, dtype=int32} : int32
  %sum, %last = for(%zero, %n, %one, inits=[%zero, %one]) : int32, int32 {
  body(%i: int32, %acc: int32, %other: int32):
    %rest = irem(%i, %three) : int32
    %skip = cmp(%rest, %zero) {predicate=eq} : int1
    %more = if(%skip) : int32 {
    then():
      yield(values=[%acc])
    else():
      %grown = add(%acc, %i) : int32
      yield(values=[%grown])
    }
    yield(values=[%more, %acc])
  }
  store(%p, %sum)
  store(%p, %last)
  %halved = while(inits=[%sum]) : int32 {
  condition(%x: int32):
    %large = cmp(%x, %three) {predicate=gt} : int1
    yield(values=[%large])
  body(%y: int32):
    %half = shr(%y, %one) : int32
    yield(values=[%half])
  }
  store(%p, %halved)
  return()
}
"""


@pytest.mark.parametrize("n", [0, 1, 2, 10])
def test_control_flow(n: int) -> None:
    total, last = 0, 1
    for i in range(n):
        total, last = (total if i % 3 == 0 else total + i), total
    halved = total
    while halved > 3:
        halved >>= 1
    assert stored(CONTROL, 0, n) == [total, last, halved]


def test_scalar_ops_are_counted_where_they_run() -> None:
    program = compile_program(parse_function(CONTROL, MACHINE_LEVEL_OPS))
    counts = [[n for _, n, _ in program.start(PLACE, (0, trips))] for trips in (0, 1, 2)]
    assert counts[0][0] == 0
    # An iteration counts and compares, then irem, cmp and if; the second one adds as well.
    assert counts[1][0] == 5
    assert counts[2][0] == 11


PLACES = """\
func aiv @f(%p: ptr<int32>, %n: int32) {
  %gm = buffer() {space=gm, element=fp32, elements=4, address=64} : ptr<fp32>
  %ub = buffer() {space=ub, element=fp32, elements=8, slots=3, slot_bytes=96, address=32} : ptr<ub fp32>
  %s = slot(%ub, %n) : ptr<ub fp32>
  %b = block_index() : int32
  %c = block_count() : int32
  %k = sub_block_index() : int32
  %g = num_programs() {axis=2} : int32
  copy_in(%s, %gm, %n, %n)
  store(%p, %b)
  store(%p, %c)
  store(%p, %k)
  store(%p, %g)
  return()
}
"""


def test_places_and_slots() -> None:
    program = compile_program(parse_function(PLACES, MACHINE_LEVEL_OPS))
    requests = list(program.start(PLACE, (0, 7)))
    assert requests[0][2] == {"dst": 32 + 96, "src": 4096 + 64, "rows": 7, "row_bytes": 7}
    assert [values["value"] for _, _, values in requests[1:]] == [3, 8, 1, 7]


def test_a_buffer_without_address_is_refused() -> None:
    function = parse_function(PLACES.replace(", slot_bytes=96, address=32", ""), MACHINE_LEVEL_OPS)
    with pytest.raises(InternalError, match="buffer %ub has no address: allocation comes first"):
        compile_program(function)


def test_an_op_on_tiles_is_refused() -> None:
    text = "func aiv @f() {\n  %r = arange() {start=0, end=4} : tile<4xint32>\n  return()\n}\n"
    with pytest.raises(InternalError, match="the scalar unit has no op arange"):
        compile_program(parse_function(text, MACHINE_LEVEL_OPS))


def test_a_step_of_zero_is_an_error() -> None:
    text = """\
func aiv @f(%n: int32) {
  %zero = constant() {value=0, dtype=int32} : int32
  for(%zero, %n, %zero) {
  body(%i: int32):
    yield()
  }
  return()
}
"""
    program = compile_program(parse_function(text, MACHINE_LEVEL_OPS))
    with pytest.raises(KernelError, match="the step of a for loop is 0"):
        list(program.start(PLACE, (3,)))
