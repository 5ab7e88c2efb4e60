"""Cases of elementwise ops: arithmetic on every type, comparison, selection, conversion."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from conformance import inputs
from conformance.kernels import EXACT, CaseSpec, KernelBuilder, Shape, Tolerance
from conformance.references import expected
from conformance.tolerances import of_op
from tilejit import ops
from tilejit.ir.core import Value
from tilejit.ir.opdef import OpDef
from tilejit.ir.types import BF16, DTYPES, FP16, FP32, INT1, INT64, UINT64, DType
from tilejit.ops import CmpPredicate, Rounding
from tilejit.ops.type_rules import FLOATS, FP8S, INTEGERS

_Fill = Callable[[KernelBuilder, DType, Shape], None]

SHAPES: tuple[Shape, ...] = ((), (37,), (64,), (5, 24), (2, 3, 8))
QUICK_SHAPES: tuple[Shape, ...] = ((37,), (5, 24))

FLOAT_UNARY = (ops.NEG, ops.ABS, ops.FLOOR, ops.CEIL, ops.SQRT)
FUNCTIONS = (ops.EXP, ops.EXP2, ops.LOG, ops.LOG2, ops.SIN, ops.COS, ops.ERF, ops.RSQRT)
FLOAT_BINARY = (ops.ADD, ops.SUB, ops.MUL, ops.DIV, ops.FREM, ops.MIN, ops.MAX)
INTEGER_UNARY = (ops.NOT, ops.ABS)
INTEGER_BINARY = (ops.ADD, ops.SUB, ops.MUL, ops.IDIV, ops.IREM, ops.MIN, ops.MAX, ops.AND, ops.OR, ops.XOR)
BITWISE = (ops.AND, ops.OR, ops.XOR)


def spell(shape: Shape) -> str:
    """Return a shape as part of a case's name."""
    return "x".join(map(str, shape)) or "scalar"


def cases() -> Iterator[CaseSpec]:
    """All elementwise cases."""
    for shape in SHAPES:
        is_quick = shape in QUICK_SHAPES
        for dtype in FLOATS:
            yield _spec("float", dtype, shape, _float_case, is_quick)
            yield _spec("functions", dtype, shape, _function_case, is_quick)
        for dtype in INTEGERS:
            yield _spec("integer", dtype, shape, _integer_case, is_quick)
        for dtype in DTYPES:
            yield _spec("cast", dtype, shape, _cast_case, shape == (37,))
            yield _spec("bitcast", dtype, shape, _bitcast_case, shape == (37,))
        yield _spec("bool", INT1, shape, _bool_case, is_quick)


def _spec(family: str, dtype: DType, shape: Shape, fill: _Fill, is_quick: bool) -> CaseSpec:
    name = f"{family}-{dtype}-{spell(shape)}"
    return CaseSpec(name, lambda k: fill(k, dtype, shape), is_quick)


def _check(
    k: KernelBuilder, op: OpDef, dtype: DType, data: Sequence[np.ndarray], values: Sequence[Value]
) -> None:
    """Apply ``op`` and compare it also with its reference on Python numbers."""
    names = [spec.name for spec in op.operands]
    result = k.apply(op, **dict(zip(names, values, strict=True)))
    with np.errstate(all="ignore"):
        reference = expected(op.name, dtype, *data)
    k.output(result, op.name, of_op(op, dtype), reference)


def _float_case(k: KernelBuilder, dtype: DType, shape: Shape) -> None:
    data = [inputs.floats(k.rng, dtype, shape) for _ in range(3)]
    x, y, z = (k.input(array) for array in data)
    for op in FLOAT_UNARY:
        _check(k, op, dtype, data[:1], [x])
    for op in FLOAT_BINARY:
        _check(k, op, dtype, data[:2], [x, y])
    _check(k, ops.FMA, dtype, data, [x, y, z])
    for op in (ops.MIN, ops.MAX):
        result = k.apply(op, {"propagate_nan": True}, lhs=x, rhs=y)
        k.output(result, f"{op.name} propagate_nan", Tolerance(any_zero_sign=True))
    _comparisons(k, x, y, data[0], data[1])
    _selection(k, x, y, shape)


def _function_case(k: KernelBuilder, dtype: DType, shape: Shape) -> None:
    data = inputs.floats(k.rng, dtype, shape)
    x = k.input(data)
    for op in FUNCTIONS:
        _check(k, op, dtype, [data], [x])


def _integer_case(k: KernelBuilder, dtype: DType, shape: Shape) -> None:
    data = [inputs.integers(k.rng, dtype, shape) for _ in range(2)]
    amounts = inputs.shift_amounts(k.rng, dtype, shape)
    x, y, amount = k.input(data[0]), k.input(data[1]), k.input(amounts)
    for op in INTEGER_UNARY:
        _check(k, op, dtype, data[:1], [x])
    for op in INTEGER_BINARY:
        _check(k, op, dtype, data, [x, y])
    for op in (ops.SHL, ops.SHR):
        _check(k, op, dtype, [data[0], amounts], [x, amount])
    if dtype.bits >= 32:
        _check(k, ops.UMULHI, dtype, data, [x, y])
    _comparisons(k, x, y, data[0], data[1])
    _selection(k, x, y, shape)


def _bool_case(k: KernelBuilder, dtype: DType, shape: Shape) -> None:
    data = [inputs.values(k.rng, dtype, shape) for _ in range(2)]
    x, y = k.input(data[0]), k.input(data[1])
    for op in BITWISE:
        _check(k, op, dtype, data, [x, y])
    k.output(k.apply(ops.NOT, x=x), "not", EXACT, ~data[0])
    _comparisons(k, x, y, data[0], data[1])
    _selection(k, x, y, shape)


_SYMBOLS = {
    CmpPredicate.EQ: lambda a, b: a == b,
    CmpPredicate.NE: lambda a, b: a != b,
    CmpPredicate.LT: lambda a, b: a < b,
    CmpPredicate.LE: lambda a, b: a <= b,
    CmpPredicate.GT: lambda a, b: a > b,
    CmpPredicate.GE: lambda a, b: a >= b,
}


def _comparisons(k: KernelBuilder, x: Value, y: Value, first: np.ndarray, second: np.ndarray) -> None:
    pairs = list(zip(first.reshape(-1).tolist(), second.reshape(-1).tolist(), strict=True))
    for predicate, meaning in _SYMBOLS.items():
        result = k.apply(ops.CMP, {"predicate": predicate}, lhs=x, rhs=y)
        reference = np.array([meaning(a, b) for a, b in pairs], np.bool_).reshape(first.shape)
        k.output(result, f"cmp {predicate.value}", EXACT, reference)


def _selection(k: KernelBuilder, x: Value, y: Value, shape: Shape) -> None:
    condition = k.input(inputs.values(k.rng, INT1, shape))
    k.output(k.apply(ops.SELECT, condition=condition, true_value=x, false_value=y), "select")


def _cast_case(k: KernelBuilder, dtype: DType, shape: Shape) -> None:
    # Few conversions apply to one lane, so a tile gets more lanes than its shape says.
    shape = (*shape[:-1], shape[-1] * 4) if shape else shape
    x = k.input(inputs.cast_sources(k.rng, dtype, shape))
    for target in DTYPES:
        k.output(k.apply(ops.CAST, {"dtype": target}, x=x), f"cast to {target}")
    if dtype == FP32:
        for target in (FP16, BF16, *FP8S):
            attributes = {"dtype": target, "rounding": Rounding.RTZ}
            k.output(k.apply(ops.CAST, attributes, x=x), f"cast to {target} toward zero")
    if dtype.is_fp8():
        _selection(k, x, k.input(inputs.values(k.rng, dtype, shape)), shape)


def _bitcast_case(k: KernelBuilder, dtype: DType, shape: Shape) -> None:
    data = inputs.values(k.rng, dtype, shape)
    x = k.input(data)
    for target in DTYPES:
        if target.bits == dtype.bits:
            result = k.apply(ops.BITCAST, {"dtype": target}, x=x)
            k.output(result, f"bitcast to {target}", EXACT, data.view(target.numpy))
    if dtype in (INT64, UINT64):
        array = inputs.values(k.rng, dtype, shape)
        pointers = k.addresses(k.pointer(array), shape)
        numbers = k.apply(ops.BITCAST, {"dtype": dtype}, x=pointers)
        back = k.apply(ops.BITCAST, {"dtype": pointers.type.element}, x=numbers)
        k.output(k.apply(ops.LOAD, pointer=back), "pointer through a number", EXACT, array)
