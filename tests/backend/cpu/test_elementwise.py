"""Every elementwise op, on every element type it takes, agrees with its record on vectors and on scalars."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from emitter_harness import (
    CompiledOp,
    add_function,
    assembly,
    build_module,
    check,
    make_op,
    sample,
    undefined_symbols,
)
from llvmlite import ir

from tilejit.backend.cpu.elementwise import EMITTERS, emit_elementwise
from tilejit.backend.cpu.values import EmitContext
from tilejit.ir.core import Op
from tilejit.ir.opdef import Attribute, OpDef, TypeRuleError
from tilejit.ir.types import (
    BF16,
    DTYPES,
    FP16,
    FP32,
    INT1,
    INT8,
    INT16,
    INT32,
    INT64,
    UINT8,
    UINT16,
    UINT32,
    UINT64,
    DType,
    Element,
    PointerType,
)
from tilejit.ops import elementwise
from tilejit.ops.elementwise import ELEMENTWISE_OPS, CmpPredicate
from tilejit.target.cpu import CpuTarget, aarch64_neon, generic_avx2, generic_avx512, runs_here

COUNT = 2048
INTEGERS = (INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64)
SPECIAL_ON_AVX2 = ("idiv", "irem", "shr", "min", "umulhi")
POINTER_TO_FP16 = PointerType(FP16)
ELEMENTS: tuple[Element, ...] = (*DTYPES, POINTER_TO_FP16)
TESTED_ELSEWHERE = ("cast", "bitcast", "exp", "exp2", "log", "log2", "sin", "cos", "erf", "rsqrt")


def _attribute_choices(definition: OpDef) -> list[dict[str, Attribute]]:
    if definition.name == "cmp":
        return [{"predicate": predicate} for predicate in CmpPredicate]
    if definition.name in ("min", "max"):
        return [{"propagate_nan": False}, {"propagate_nan": True}]
    return [{}]


def _operand_elements(definition: OpDef, element: Element) -> list[Element]:
    if definition.name == "select":
        return [INT1, element, element]
    if definition.name == "addptr":
        return [POINTER_TO_FP16, element]
    return [element] * len(definition.operands)


def _cases() -> Iterator[Op]:
    for definition in ELEMENTWISE_OPS:
        if definition.name in TESTED_ELSEWHERE:
            continue
        for element in ELEMENTS:
            for attributes in _attribute_choices(definition):
                try:
                    yield make_op(definition, _operand_elements(definition, element), attributes)
                except TypeRuleError:
                    continue


def _name(op: Op) -> str:
    attributes = "-".join(str(value) for value in op.attributes.values())
    return f"{op.name}-{op.operands[-1].type}-{attributes}".rstrip("-")


CASES = list(_cases())


def test_every_record_has_an_emitter() -> None:
    assert set(EMITTERS) == {definition.name for definition in ELEMENTWISE_OPS}


@pytest.mark.sample(one_in=5)
@pytest.mark.parametrize("lanes", [16, None], ids=["vector", "scalar"])
@pytest.mark.parametrize("op", CASES, ids=_name)
def test_op_agrees_with_its_record(op: Op, lanes: int | None) -> None:
    operands = [sample(value.type.element, COUNT, seed=i) for i, value in enumerate(op.operands)]
    check(op, CompiledOp(op, lanes)(*operands), operands)


@pytest.mark.parametrize(
    "op", [op for op in CASES if op.name in ("idiv", "irem", "shr", "min", "umulhi")], ids=_name
)
@pytest.mark.skipif(not runs_here(generic_avx2()), reason="needs AVX2")
def test_op_agrees_on_avx2(op: Op) -> None:
    operands = [sample(value.type.element, COUNT, seed=i) for i, value in enumerate(op.operands)]
    check(op, CompiledOp(op, 8, generic_avx2())(*operands), operands)


@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 32, 64])
def test_other_lane_counts(lanes: int) -> None:
    for definition, dtype in ((elementwise.ADD, BF16), (elementwise.IDIV, INT32), (elementwise.EXP, FP32)):
        op = make_op(definition, [dtype] * len(definition.operands))
        operands = [sample(dtype, COUNT, seed=i) for i in range(len(definition.operands))]
        check(op, CompiledOp(op, lanes)(*operands), operands, ulps=0 if op.definition.is_exact else 2)


@pytest.mark.parametrize("lanes", [16, None], ids=["vector", "scalar"])
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("definition", [elementwise.IDIV, elementwise.IREM], ids=lambda d: d.name)
def test_constant_divisors(definition: OpDef, dtype: DType, lanes: int | None) -> None:
    op = make_op(definition, [dtype, dtype])
    dividend = sample(dtype, COUNT, seed=0)
    for divisor in (0, 1, 3, 7, 64, -1, -3, dtype.min_value, dtype.max_value):
        operands = [dividend, np.full(COUNT, divisor).astype(dtype.numpy)]
        check(op, CompiledOp(op, lanes, constants={1: divisor})(dividend), operands)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("definition", [elementwise.IDIV, elementwise.IREM], ids=lambda d: d.name)
def test_division_near_multiples_of_the_divisor(definition: OpDef, dtype: DType) -> None:
    random = np.random.default_rng(0)
    operands = [
        random.integers(dtype.min_value, dtype.max_value, COUNT, dtype.numpy, endpoint=True) for _ in "ab"
    ]
    operands[1] >>= random.integers(0, dtype.bits, COUNT).astype(dtype.numpy)
    operands[1][operands[1] == 0] = 1
    off_by = random.integers(0, 2, COUNT).astype(dtype.numpy)
    with np.errstate(over="ignore"):
        operands[0] = operands[0] // operands[1] * operands[1] - off_by
    op = make_op(definition, [dtype, dtype])
    check(op, CompiledOp(op)(*operands), operands)


def test_remainder_of_floats_is_exact() -> None:
    random = np.random.default_rng(0)
    op = make_op(elementwise.FREM, [FP32, FP32])
    run = CompiledOp(op)
    divisor = random.integers(1 << 23, 1 << 24, 1 << 16).astype(np.float32)
    for exponents in (20, 52, 100):
        scale = np.ldexp(np.float32(1), random.integers(0, exponents, divisor.size))
        dividend = random.integers(1 << 23, 1 << 24, divisor.size).astype(np.float32) * scale
        check(op, run(dividend, divisor), [dividend, divisor])
    multiples = divisor * random.integers(0, 1 << 20, divisor.size).astype(np.float32)
    check(op, run(multiples, divisor), [multiples, divisor])


@pytest.mark.parametrize("fused", [False, True], ids=["exact", "fused"])
def test_fusion_makes_one_instruction_of_two_ops(fused: bool) -> None:
    target = generic_avx2()
    vector = ir.VectorType(ir.FloatType(), 8)
    module = ir.Module("multiply and add")
    module.triple = target.triple
    function = ir.Function(module, ir.FunctionType(vector, [vector] * 3), "apply")
    builder = ir.IRBuilder(function.append_basic_block())
    context = EmitContext(builder, target, fused)
    a, b, c = function.args
    product = emit_elementwise(context, make_op(elementwise.MUL, [FP32, FP32]), [a, b])
    builder.ret(emit_elementwise(context, make_op(elementwise.ADD, [FP32, FP32]), [product, c]))
    assert ("vfmadd" in assembly(module, target)) == fused


def test_saturated_shift_and_division_cost_no_scalar_code() -> None:
    for definition, dtype in ((elementwise.IDIV, INT32), (elementwise.SHL, INT32), (elementwise.MAX, FP32)):
        op = make_op(definition, [dtype, dtype])
        text = assembly(build_module(op, 16, generic_avx512()), generic_avx512())
        assert "vpextr" not in text and "vpinsr" not in text


@pytest.mark.parametrize("target", [generic_avx2(), generic_avx512(), aarch64_neon()], ids=str)
def test_code_calls_nothing_but_libm(target: CpuTarget) -> None:
    """All ops in one object for a foreign CPU: only the functions of C's math library stay undefined."""
    module = ir.Module("all ops")
    module.triple = target.triple
    for index, op in enumerate(CASES):
        for lanes in (target.vector_lanes(4), None):
            add_function(module, f"case_{index}_{lanes}", op, lanes, target)
    assert undefined_symbols(module, target) <= {"fmod", "fmodf", "memcpy"}
