"""How far a backend may be from the interpreter, for the ops whose records are not exact."""

from __future__ import annotations

import numpy as np

from conformance.kernels import EXACT, Tolerance
from tilejit.ir.opdef import OpDef
from tilejit.ir.types import BF16, FP16, FP32, FP64, DType
from tilejit.ops import InputPrecision

# Vector functions are held to 4 units in the last place. 16-bit floats are computed in fp32 and rounded, so
# that only a result beside a tie may go the other way.
_FUNCTION_ULPS: dict[DType, int] = {FP64: 4, FP32: 4, FP16: 1, BF16: 1}

_PRODUCT_EPSILON: dict[InputPrecision, float] = {
    InputPrecision.IEEE: 0.0,
    InputPrecision.TF32: 2.0**-10,
    InputPrecision.TF32X3: 2.0**-20,
    InputPrecision.BF16X3: 2.0**-15,
    InputPrecision.BF16X6: 2.0**-21,
    InputPrecision.INT8X2: 0.0,  # of fp32 operands, which none of the cases makes from int8
}


def of_op(op: OpDef, dtype: DType) -> Tolerance:
    """Tolerance of an elementwise op."""
    if not op.is_exact and dtype.is_floating():
        return Tolerance(ulps=_FUNCTION_ULPS[dtype])
    return Tolerance(any_zero_sign=True) if op.name in ("min", "max") else EXACT


def epsilon(dtype: DType) -> float:
    """Distance from 1 to the next number."""
    return 2.0**-dtype.mantissa_bits


def of_sum(magnitudes: np.ndarray, terms: int, dtype: DType) -> Tolerance:
    """Tolerance of a float sum in any order: ``terms`` roundings of the accumulator, one of the result.

    ``magnitudes`` are the sums of the absolute values.
    """
    accumulator = FP64 if dtype == FP64 else FP32
    bound = (terms * epsilon(accumulator) + epsilon(dtype)) * magnitudes.astype(np.float64)
    return Tolerance(ulps=1, absolute=np.where(np.isfinite(bound), bound, 0.0))


def of_dot(magnitudes: np.ndarray, depth: int, out: DType, precision: InputPrecision) -> Tolerance:
    """Tolerance of a matrix product; ``magnitudes`` are |a| @ |b| + |acc|."""
    accumulator = FP64 if out == FP64 else FP32
    relative = (depth + 1) * epsilon(accumulator) + epsilon(out) + 2 * _PRODUCT_EPSILON[precision]
    return Tolerance(ulps=1, absolute=relative * magnitudes.astype(np.float64))
