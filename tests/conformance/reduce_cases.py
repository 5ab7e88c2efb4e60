"""Cases of reductions, scans and matrix products."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from conformance import inputs
from conformance.elementwise_cases import spell
from conformance.kernels import EXACT, CaseSpec, KernelBuilder, Shape, Tolerance
from conformance.tolerances import of_dot, of_sum
from tilejit import ops
from tilejit.ir.core import Value
from tilejit.ir.types import (
    BF16,
    FP8E4NV,
    FP8E5,
    FP16,
    FP32,
    FP64,
    INT1,
    INT8,
    INT32,
    UINT8,
    DType,
    TileType,
)
from tilejit.ops import CmpPredicate, InputPrecision, ReduceKind
from tilejit.ops.type_rules import FLOATS, FP8S, INTEGERS

_SHAPES: tuple[Shape, ...] = ((1,), (37,), (64,), (5, 24), (24, 5), (2, 3, 8), (3, 200))
_QUICK_SHAPES: tuple[Shape, ...] = ((37,), (5, 24))
_ARITHMETIC = (ReduceKind.SUM, ReduceKind.MAX, ReduceKind.MIN)
_BITWISE = (ReduceKind.XOR, ReduceKind.AND, ReduceKind.OR)
_DOT_SHAPES = ((1, 1, 1), (5, 7, 3), (16, 16, 16), (1, 64, 32), (33, 17, 20), (16, 48, 130))


def cases() -> Iterator[CaseSpec]:
    """All cases of reduce.py."""
    for shape in _SHAPES:
        for dtype in (INT1, *INTEGERS, *FLOATS):
            is_quick = shape in _QUICK_SHAPES
            name = f"reduce-{dtype}-{spell(shape)}"
            yield CaseSpec(name, lambda k, d=dtype, s=shape: _reduce_case(k, d, s), is_quick)
        for dtype in (INT32, FP32):
            name = f"custom-{dtype}-{spell(shape)}"
            yield CaseSpec(name, lambda k, d=dtype, s=shape: _custom_case(k, d, s))
    for dtype in (INT8, UINT8, *FP8S, FP16, BF16, FP32, FP64):
        for size in _DOT_SHAPES:
            is_quick = size in ((5, 7, 3), (16, 16, 16), (33, 17, 20))
            name = f"dot-{dtype}-{spell(size)}"
            yield CaseSpec(name, lambda k, d=dtype, s=size: _dot_case(k, d, d, s, ()), is_quick)
        name = f"dot-{dtype}-batched"
        yield CaseSpec(name, lambda k, d=dtype: _dot_case(k, d, d, (8, 12, 16), (3,)))
    yield CaseSpec("dot-mixed-fp8", lambda k: _dot_case(k, FP8E4NV, FP8E5, (8, 12, 16), ()))


def _reduce_case(k: KernelBuilder, dtype: DType, shape: Shape) -> None:
    data = inputs.values(k.rng, dtype, shape)
    x = k.input(data)
    calm_data = inputs.ordinary_floats(k.rng, dtype, shape) if dtype.is_floating() else data
    calm = k.input(calm_data)
    bitwise = () if dtype.is_floating() else _BITWISE
    for kind in (*(() if dtype.is_bool() else _ARITHMETIC), *bitwise):
        # Special values would make a sum depend on its order.
        is_float_sum = kind is ReduceKind.SUM and dtype.is_floating()
        value, array = (calm, calm_data) if is_float_sum else (x, data)
        for axis in range(len(shape)):
            tolerance = _tolerance(array, axis, dtype, scan=False) if is_float_sum else _any_zero(kind)
            result = k.apply(ops.REDUCE, {"axis": axis, "kind": kind}, x=value)
            k.output(result, f"reduce {kind.value} axis {axis}", tolerance)
            for reverse in (False, True):
                if is_float_sum:
                    tolerance = _tolerance(array, axis, dtype, scan=True, reverse=reverse)
                attributes = {"axis": axis, "kind": kind, "reverse": reverse}
                label = f"scan {kind.value} axis {axis}{' reverse' if reverse else ''}"
                k.output(k.apply(ops.SCAN, attributes, x=value), label, tolerance)
    if dtype.is_floating():
        for special in (np.nan, np.inf):
            spoiled = calm_data.copy()
            spoiled[(0,) * len(shape)] = special
            tolerance = _tolerance(calm_data, 0, dtype, scan=False)
            result = k.apply(ops.REDUCE, {"axis": 0, "kind": ReduceKind.SUM}, x=k.input(spoiled))
            k.output(result, f"reduce sum with {special}", tolerance)


def _any_zero(kind: ReduceKind) -> Tolerance:
    return Tolerance(any_zero_sign=True) if kind in (ReduceKind.MAX, ReduceKind.MIN) else EXACT


def _tolerance(array: np.ndarray, axis: int, dtype: DType, scan: bool, reverse: bool = False) -> Tolerance:
    magnitudes = np.abs(array.astype(np.float64))
    if not scan:
        return of_sum(magnitudes.sum(axis=axis), array.shape[axis], dtype)
    ordered = np.flip(magnitudes, axis) if reverse else magnitudes
    running = np.cumsum(ordered, axis=axis)
    return of_sum(np.flip(running, axis) if reverse else running, array.shape[axis], dtype)


def _custom_case(k: KernelBuilder, dtype: DType, shape: Shape) -> None:
    data = (
        inputs.ordinary_floats(k.rng, dtype, shape)
        if dtype.is_floating()
        else inputs.integers(k.rng, dtype, shape)
    )
    x, positions = k.input(data), k.offsets(shape)
    number, index = TileType(dtype), TileType(INT32)

    def later_of_greater(v: list[Value]) -> list[Value]:
        keep_left = k.apply(ops.CMP, {"predicate": CmpPredicate.GT}, lhs=v[0], rhs=v[2])
        return [
            k.apply(ops.SELECT, condition=keep_left, true_value=v[i], false_value=v[2 + i]) for i in (0, 1)
        ]

    def affine(v: list[Value]) -> list[Value]:
        """Compose x -> a x + b, left first; not commutative."""
        scaled = k.apply(ops.MUL, lhs=v[2], rhs=v[1])
        return [k.apply(ops.MUL, lhs=v[0], rhs=v[2]), k.apply(ops.ADD, lhs=scaled, rhs=v[3])]

    for axis in range(len(shape)):
        for op, reverses in ((ops.REDUCE_CUSTOM, (None,)), (ops.SCAN_CUSTOM, (False, True))):
            for reverse in reverses:
                attributes: dict[str, int | bool] = {"axis": axis}
                if reverse is not None:
                    attributes["reverse"] = reverse
                label = f"{op.name} axis {axis}{' reverse' if reverse else ''}"
                region = k.region([number, index] * 2, later_of_greater)
                for result in k.apply_many(op, attributes, [region], x=[x, positions]):
                    k.output(result, f"{label}: argmax")
                if dtype == INT32:
                    region = k.region([number] * 4, affine)
                    for result in k.apply_many(op, attributes, [region], x=[x, x]):
                        k.output(result, f"{label}: affine")


def _dot_case(k: KernelBuilder, left: DType, right: DType, size: tuple[int, int, int], batch: Shape) -> None:
    m, n, depth = size
    a_data, b_data = _matrix(k, left, (*batch, m, depth)), _matrix(k, right, (*batch, depth, n))
    a, b = k.input(a_data), k.input(b_data)
    outs = (INT32,) if left.is_int() else (FP64,) if left == FP64 else (FP32,)
    outs = (*outs, FP16) if left == FP16 or left.is_fp8() else outs
    product = np.abs(a_data.astype(np.float64)) @ np.abs(b_data.astype(np.float64))
    for out in outs:
        acc_data = _matrix(k, out, (*batch, m, n))
        acc = k.input(acc_data)
        magnitudes = product + np.abs(acc_data.astype(np.float64))
        for precision in InputPrecision if left == FP32 else (InputPrecision.IEEE,):
            tolerance = EXACT if out.is_int() else of_dot(magnitudes, depth, out, precision)
            attributes = {"input_precision": precision, "out_dtype": out}
            k.output(k.apply(ops.DOT, attributes, a=a, b=b), f"dot to {out}, {precision.value}", tolerance)
            result = k.apply(ops.DOT, attributes, a=a, b=b, acc=acc)
            k.output(result, f"dot with acc to {out}, {precision.value}", tolerance)


def _matrix(k: KernelBuilder, dtype: DType, shape: Shape) -> np.ndarray:
    if not dtype.is_floating():
        return k.rng.integers(dtype.min_value, dtype.max_value, shape, dtype=dtype.numpy, endpoint=True)
    return inputs.ordinary_floats(k.rng, dtype, shape)
