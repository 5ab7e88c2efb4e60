"""Conversions agree with numpy and ml_dtypes bit for bit, on all codes of the small types."""

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

from tilejit.backend.cpu.values import constant, llvm_element, llvm_storage
from tilejit.ir.core import Op
from tilejit.ir.opdef import TypeRuleError
from tilejit.ir.types import (
    BF16,
    DTYPES,
    FP8E4B8,
    FP8E4NV,
    FP8E5,
    FP8E5B16,
    FP16,
    FP32,
    FP64,
    INT1,
    INT32,
    INT64,
    UINT64,
    DType,
    Element,
    PointerType,
)
from tilejit.ops.elementwise import BITCAST, CAST, Rounding
from tilejit.target.cpu import CpuTarget, aarch64_neon, generic_avx2, generic_avx512, runs_here

FP8S = (FP8E5, FP8E4NV, FP8E4B8, FP8E5B16)
SMALL_FLOATS = (FP16, BF16, *FP8S)
FLOATS = (*SMALL_FLOATS, FP32, FP64)
INTEGERS = tuple(dtype for dtype in DTYPES if dtype.is_int())
POINTER = PointerType(FP16)


def _casts() -> Iterator[Op]:
    for source in DTYPES:
        for target in DTYPES:
            for rounding in Rounding:
                try:
                    yield make_op(CAST, [source], {"dtype": target, "rounding": rounding})
                except TypeRuleError:
                    continue


def _bitcasts() -> Iterator[Op]:
    elements: tuple[Element, ...] = (*DTYPES, POINTER)
    for source in elements:
        for target in elements:
            try:
                yield make_op(BITCAST, [source], {"dtype": target})
            except TypeRuleError:
                continue


def _name(op: Op) -> str:
    return "-".join([str(op.operands[0].type), *(str(value) for value in op.attributes.values())])


CASTS, BITCASTS = list(_casts()), list(_bitcasts())


def _cast(source: DType, target: DType, rounding: Rounding = Rounding.RTNE) -> Op:
    return make_op(CAST, [source], {"dtype": target, "rounding": rounding})


def _all_codes(dtype: DType) -> np.ndarray:
    return np.arange(1 << dtype.bits).astype(f"u{dtype.itemsize}").view(dtype.numpy)


def _around_ties(target: DType) -> np.ndarray:
    """fp32 next to every value of ``target``, every midpoint between two, and beyond the largest."""
    with np.errstate(invalid="ignore"):
        values = _all_codes(target).astype(np.float64)
    values = np.unique(values[np.isfinite(values)])
    beyond = values[-1] + (values[-1] - values[-2])
    values = np.concatenate([[-beyond], values, [beyond, 2 * beyond]])
    with np.errstate(over="ignore"):
        points = np.concatenate([values, (values[1:] + values[:-1]) / 2]).astype(np.float32)
    neighbours = [np.nextafter(points, np.float32(direction)) for direction in (-np.inf, np.inf)]
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 1e-45, -1e-45, 3e38], np.float32)
    return np.concatenate([points, *neighbours, special])


@pytest.mark.sample(one_in=3)
@pytest.mark.parametrize("op", CASTS, ids=_name)
def test_cast_agrees_with_its_record(op: Op) -> None:
    operand = sample(op.operands[0].type.element, 2048, seed=0)
    check(op, CompiledOp(op, 16)(operand), [operand])
    check(op, CompiledOp(op, None)(operand), [operand])


@pytest.mark.parametrize("op", BITCASTS, ids=_name)
def test_bitcast_agrees_with_its_record(op: Op) -> None:
    operand = sample(op.operands[0].type.element, 256, seed=0)
    check(op, CompiledOp(op, 16)(operand), [operand])


@pytest.mark.parametrize("target", FLOATS, ids=str)
@pytest.mark.parametrize("source", SMALL_FLOATS, ids=str)
def test_all_codes_of_small_floats(source: DType, target: DType) -> None:
    op = _cast(source, target)
    check(op, CompiledOp(op)(_all_codes(source)), [_all_codes(source)])


@pytest.mark.parametrize("rounding", Rounding, ids=str)
@pytest.mark.parametrize("target", SMALL_FLOATS, ids=str)
def test_narrowing_rounds_ties_overflow_and_denormals(target: DType, rounding: Rounding) -> None:
    operand = np.concatenate([_around_ties(target), sample(FP32, 1 << 20, seed=1)])
    op = _cast(FP32, target, rounding)
    check(op, CompiledOp(op)(operand), [operand])


@pytest.mark.skipif(not runs_here(generic_avx2()), reason="needs AVX2")
@pytest.mark.parametrize("target", SMALL_FLOATS, ids=str)
def test_narrowing_on_avx2(target: DType) -> None:
    operand = _around_ties(target)
    op = _cast(FP32, target)
    check(op, CompiledOp(op, 8, generic_avx2())(operand), [operand])


@pytest.mark.parametrize("lanes", [16, None], ids=["vector", "scalar"])
@pytest.mark.parametrize("target", INTEGERS, ids=str)
@pytest.mark.parametrize("source", [FP16, BF16, FP32, FP64], ids=str)
def test_float_to_integer_saturates(source: DType, target: DType, lanes: int | None) -> None:
    bounds = np.array([target.min_value, target.max_value, 0, 1 << 31, 1 << 63], np.float64)
    with np.errstate(over="ignore"):
        near = (bounds[:, None] + np.array([-2, -1, -0.5, 0, 0.5, 1, 2])).ravel().astype(source.numpy)
        special = np.array([np.inf, -np.inf, np.nan, 1e30, -1e30], np.float32).astype(source.numpy)
    around = np.concatenate([np.nextafter(near, source.numpy.type(x)) for x in (-np.inf, np.inf)] + [near])
    operand = np.concatenate([around, special])
    op = _cast(source, target)
    check(op, CompiledOp(op, lanes)(operand), [operand])


def test_any_byte_but_zero_is_true() -> None:
    bytes_in_memory = np.array([0, 1, 2, 128, 255], np.uint8)
    result = CompiledOp(_cast(INT1, INT32))(bytes_in_memory.view(np.bool_))
    assert result.tolist() == [0, 1, 1, 1, 1]


def test_constants_hold_the_rounded_value() -> None:
    assert constant(BF16, 1.00390625).constant == 0x3F80  # half way between two bf16, to even
    assert constant(FP8E4NV, 448.0).constant == 0x7E
    assert constant(INT1, 2).constant == 1
    assert str(constant(FP32, 0.1, 2)) == str(constant(FP32, float(np.float32(0.1)), 2))


def test_types_in_registers_and_memory() -> None:
    assert (str(llvm_element(INT1)), str(llvm_storage(INT1))) == ("i1", "i8")
    assert [str(llvm_element(dtype)) for dtype in (FP16, BF16, FP8E5, UINT64)] == ["half", "i16", "i8", "i64"]
    assert str(llvm_element(POINTER)) == "ptr"


@pytest.mark.parametrize("target", [generic_avx2(), generic_avx512(), aarch64_neon()], ids=str)
def test_casts_call_nothing(target: CpuTarget) -> None:
    """In particular none of the compiler's run-time functions, such as __truncsfbf2."""
    module = ir.Module("all casts")
    module.triple = target.triple
    for index, op in enumerate([*CASTS, *BITCASTS]):
        for lanes in (target.vector_lanes(4), None):
            add_function(module, f"case_{index}_{lanes}", op, lanes, target)
    assert undefined_symbols(module, target) <= {"memcpy"}


def test_conversions_stay_in_vector_registers() -> None:
    for source, target in ((FP32, INT32), (FP32, BF16), (FP32, FP8E4NV), (FP8E4NV, FP32), (INT64, FP32)):
        text = assembly(build_module(_cast(source, target), 16, generic_avx512()), generic_avx512())
        assert "vpextr" not in text and "vpinsr" not in text, (source, target)
