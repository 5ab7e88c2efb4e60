"""What elementwise ops mean on single Python numbers, written without numpy and without the op records."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from tilejit.ir.types import FP32, FP64, DType

Number = int | float


def expected(name: str, dtype: DType, *operands: np.ndarray) -> np.ndarray:
    """Apply the reference of op ``name`` to arrays of ``dtype``, element by element."""
    meaning = _float_meaning(name, dtype) if dtype.is_floating() else _integer_meaning(name, dtype)
    if dtype.is_floating():
        operands = tuple(x.astype(np.float64) for x in operands)
    lists = [x.reshape(-1).tolist() for x in operands]
    results = [meaning(*lane) for lane in zip(*lists, strict=True)]
    return np.array(results, dtype.numpy).reshape(operands[0].shape)


def _integer_meaning(name: str, dtype: DType) -> Callable[..., Number]:
    exact = _INTEGER[name]

    def wrap(*operands: int) -> int:
        bits = exact(dtype.bits, *operands) & ((1 << dtype.bits) - 1)
        negative = bits >> (dtype.bits - 1) and dtype.is_int_signed()
        return bits - (1 << dtype.bits) if negative else bits

    return wrap


def _truncated_quotient(a: int, b: int) -> int:
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def _shift(bits: int, x: int, amount: int, left: bool) -> int:
    amount = amount & ((1 << bits) - 1)
    if amount >= bits:
        return 0 if left or x >= 0 else -1
    return x << amount if left else x >> amount


_INTEGER: dict[str, Callable[..., int]] = {
    "add": lambda bits, a, b: a + b,
    "sub": lambda bits, a, b: a - b,
    "mul": lambda bits, a, b: a * b,
    "idiv": lambda bits, a, b: _truncated_quotient(a, b) if b else a,
    "irem": lambda bits, a, b: a - _truncated_quotient(a, b) * b if b else 0,
    "umulhi": lambda bits, a, b: (a * b) >> bits,
    "min": lambda bits, a, b: min(a, b),
    "max": lambda bits, a, b: max(a, b),
    "and": lambda bits, a, b: a & b,
    "or": lambda bits, a, b: a | b,
    "xor": lambda bits, a, b: a ^ b,
    "shl": lambda bits, a, b: _shift(bits, a, b, left=True),
    "shr": lambda bits, a, b: _shift(bits, a, b, left=False),
    "not": lambda bits, a: ~a,
    "abs": lambda bits, a: abs(a),
}


def _float_meaning(name: str, dtype: DType) -> Callable[..., Number]:
    if name == "fma":
        return lambda a, b, c: _fused(dtype, a, b, c)
    exact = _FLOAT[name]

    def compute(*operands: float) -> float:
        try:
            return exact(*operands)
        except OverflowError:
            return math.inf
        except ValueError:
            return math.nan

    # Rounding fp64 results once more, to the type, is harmless for + - * / and sqrt of shorter operands.
    return compute


def _fused(dtype: DType, a: float, b: float, c: float) -> float:
    if not all(map(math.isfinite, (a, b, c))):
        return a * b + c if math.isfinite(c) or not (math.isfinite(a) and math.isfinite(b)) else c
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        return a * b + c if 0 in (a, b) else 0.0
    compute = FP64 if dtype == FP64 else FP32
    return round_fraction(exact, compute)


def round_fraction(exact: Fraction, dtype: DType) -> float:
    """Round a non-zero number once, to nearest even, to fp32 or fp64."""
    exponent_limit = 1023 if dtype == FP64 else 127
    exponent = exact.numerator.bit_length() - exact.denominator.bit_length()
    if abs(exact) < Fraction(2) ** exponent:
        exponent -= 1
    exponent = max(exponent, 1 - exponent_limit)
    step = Fraction(2) ** (exponent - dtype.mantissa_bits)
    rounded = round(exact / step) * step
    if abs(rounded) >= Fraction(2) ** (exponent_limit + 1):
        return math.inf if exact > 0 else -math.inf
    return float(rounded) if rounded else math.copysign(0.0, exact)


def _divide(a: float, b: float) -> float:
    if b != 0:
        return a / b
    sign = math.copysign(1.0, a) * math.copysign(1.0, b)
    return math.nan if a == 0 or math.isnan(a) else sign * math.inf


def _choose(a: float, b: float, better: Callable[[float, float], float]) -> float:
    return b if math.isnan(a) else a if math.isnan(b) else better(a, b)


def _rounded_to_integer(x: float, rounding: Callable[[float], int]) -> float:
    return math.copysign(float(rounding(x)), x) if math.isfinite(x) else x


def _log(x: float, log: Callable[[float], float]) -> float:
    return log(x) if x else -math.inf


def _inverse_root(x: float) -> float:
    return 1.0 / math.sqrt(x) if x else math.copysign(math.inf, x)


_FLOAT: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": _divide,
    "frem": math.fmod,
    "min": lambda a, b: _choose(a, b, min),
    "max": lambda a, b: _choose(a, b, max),
    "neg": lambda a: -a,
    "abs": abs,
    "floor": lambda a: _rounded_to_integer(a, math.floor),
    "ceil": lambda a: _rounded_to_integer(a, math.ceil),
    "sqrt": math.sqrt,
    "exp": math.exp,
    "exp2": math.exp2,
    "log": lambda a: _log(a, math.log),
    "log2": lambda a: _log(a, math.log2),
    "sin": math.sin,
    "cos": math.cos,
    "erf": math.erf,
    "rsqrt": _inverse_root,
}
