"""exp, log, sine and friends on lanes.

fp32 functions are polynomials of fused multiply-adds, fitted by the Remez exchange to the least largest
relative error on the reduced range. fp64 functions call libm lane by lane. Code is free of branches, except
that sine and cosine of huge arguments, and remainders of huge quotients, leave it for libm.

Largest errors of fp32 in units in the last place, against fp64 (exp on all arguments, the others on every
61st): exp 1.06, exp2 1.01, log 0.90, log2 1.48, sin and cos 1.56, erf 1.15, rsqrt 1.49. Denormal results are
right within one unit of 2**-149. With AVX-512, exp is 13 instructions a vector, 9 of them multiply-adds, and
exp2, whose error there is 1.56 (of arguments just below 0), is 8. Where powers of two are only added up, they
come from a table, and it is 7 with the addition; the error of each is 1.43.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence

from llvmlite import ir

from tilejit.backend.cpu.values import (
    F32,
    F64,
    I1,
    I32,
    I64,
    EmitContext,
    LaneBuilder,
    intrinsic,
    lanes_of,
    number,
    rare_case_functions,
    scalar_of,
    unset_lanes,
    vector_of,
)
from tilejit.ops.approximations import COSINE, ERF, LOG2_ERFC, SINE

# Adding this to |x| < 2**22 (2**51 in fp64) rounds x to an integer, which then stands in the low bits.
_ROUNDER_F32 = 1.5 * 2**23
_ROUNDER_F32_BITS = 0x4B400000
_ROUNDER_F64 = 1.5 * 2**52

_ROUND_DOWN = 1
"""The immediate of vreduceps (Intel SDM, volume 2): no bits after the point, toward minus infinity."""
_TABLE_BITS = 5
"""Of a fraction: a permutation of two registers looks up one of 32 numbers."""
_ROUND_DOWN_TO_TABLE = _TABLE_BITS << 4 | _ROUND_DOWN
_ROUND_ADD_DOWN = 9  # of an addition: toward minus infinity, no exceptions
_LOG2_E = 1 / math.log(2)
# ln 2 and log2 e as a sum of two fp32.
_LN2_HIGH, _LN2_LOW = 0.693147182464599609375, -1.904654299957767e-09
_LOG2_E_HIGH, _LOG2_E_LOW = 1.44269502162933349609375, 1.9259629911266175e-08
# pi/2 as a sum of two fp64.
_HALF_PI_HIGH, _HALF_PI_LOW = 1.5707963267948966, 6.123233995736766e-17

# Polynomials, highest power first, with the largest relative error of the function they serve.
_EXP = (  # exp(r), |r| <= ln(2)/2: 2**-29
    0.0013836845984142676, 0.008374815804583931, 0.041668225569715535, 0.16666420169846094,
    0.499999920798152, 1.000000036323199, 1.0,
)  # fmt: skip
_EXP2 = (  # exp2(r), |r| <= 1/2: 2**-28
    0.00015594677570738416, 0.0013406643905497402, 0.009617692974814662, 0.055503105509944806,
    0.24022652782876694, 0.6931472149680402, 1.0,
)  # fmt: skip
_EXP2_FRACTION = (  # exp2(r), 0 <= r <= 1: 2**-28, and 2 at r = 1
    0.00021612914861179888, 0.0012467843480408192, 0.009675451554358006, 0.05548527464270592,
    0.2402292937040329, 0.6931470632553101, 1.0,
)  # fmt: skip
_EXP2_REST = (  # exp2(r) times _REST_SCALE, 0 <= r <= 1/32: 2**-24.1, and below 2
    0.4719030559062958,
    1.3469680547714233,
    1.9433497190475464,
)
_REST_SCALE = 1.943349612
"""What the numbers of the table are divided by. Products stay below 2, where numbers lie closest for their
size; of such scales it is one that leaves the larger numbers of the table all but whole in fp32.
"""
_LOG = (  # (ln(1 + f) - f) / f**2, |f| <= 1/3: 2**-27
    -0.12948969188246506, 0.14004756866785356, -0.12167153067435972, 0.14001160692644338,
    -0.1668230580361695, 0.2001074758892545, -0.24999717457775839, 0.3333320841695632, -0.5,
)  # fmt: skip
# Above this the quotient by pi/2 no longer fits the two-part reduction in fp64 with room to spare.
_HUGE_ANGLE = 2.0**30


def emit_function(context: EmitContext, name: str, x: ir.Value) -> ir.Value:
    """Return the function ``name`` of fp32 or fp64 values."""
    lanes = LaneBuilder(context.builder, lanes_of(x.type))
    if name == "rsqrt":
        return lanes.builder.fdiv(lanes.constant_like(x, 1.0), lanes.call("llvm.sqrt", x))
    if scalar_of(x.type) == F64:
        return _each_lane(lanes, name, x)
    return _FP32[name](context, lanes, x)


def _exp(context: EmitContext, lanes: LaneBuilder, x: ir.Value) -> ir.Value:
    """exp(x) = 2**n * exp(x - n ln 2); the clamp keeps infinities out and lets NaN through."""
    x = _clamp(lanes, x, -104.0, 89.0)
    shifted = lanes.fma(x, _LOG2_E, _ROUNDER_F32)
    n = lanes.sub(shifted, _ROUNDER_F32)
    r = lanes.fma(n, -_LN2_LOW, lanes.fma(n, -_LN2_HIGH, x))
    return _scale(context, lanes, lanes.horner(r, _EXP), shifted, n)


def _exp2(context: EmitContext, lanes: LaneBuilder, x: ir.Value) -> ir.Value:
    """AVX-512 has what is above the next lower integer as an instruction, which gives 0 for infinities, and
    one that multiplies by two to the power of that integer.
    """
    if _has_avx512(context, lanes):
        fraction = _fraction_by_instruction(lanes.builder, x)
        return _scale_by_instruction(lanes.builder, lanes.horner(fraction, _EXP2_FRACTION), x)
    return _exp2_finite(context, lanes, _clamp(lanes, x, -151.0, 129.0))


def _exp2_finite(context: EmitContext, lanes: LaneBuilder, x: ir.Value) -> ir.Value:
    """exp2 of arguments within about +-151, or NaN."""
    shifted = lanes.add(x, _ROUNDER_F32)
    n = lanes.sub(shifted, _ROUNDER_F32)
    return _scale(context, lanes, lanes.horner(lanes.sub(x, n), _EXP2), shifted, n)


def _clamp(lanes: LaneBuilder, x: ir.Value, low: float, high: float) -> ir.Value:
    """Written so that NaN stays, in the form that becomes one minimum and one maximum instruction on x86."""
    x = lanes.select(lanes.compare(">", x, high), high, x)
    return lanes.select(lanes.compare("<", x, low), low, x)


def _scale(
    context: EmitContext, lanes: LaneBuilder, mantissa: ir.Value, shifted: ir.Value, n: ir.Value
) -> ir.Value:
    """Return mantissa * 2**n, overflowing and underflowing gradually; ``shifted`` holds n in its low bits.

    AVX-512 has an instruction for it. Elsewhere two factors, normal numbers, are made from halves of n.
    """
    if _has_avx512(context, lanes):
        return _scale_by_instruction(lanes.builder, mantissa, n)
    exponent = lanes.sub(lanes.bits(shifted), _ROUNDER_F32_BITS)
    half = lanes.ashr(exponent, 1)
    scaled = lanes.mul(mantissa, _power_of_two(lanes, half))
    return lanes.mul(scaled, _power_of_two(lanes, lanes.sub(exponent, half)))


def _has_avx512(context: EmitContext, lanes: LaneBuilder) -> bool:
    """Whether there are instructions of AVX-512 for vectors of so many lanes."""
    count, target = lanes.lanes or 1, context.target
    has = target.is_x86 and target.has("avx512vl") and target.has("avx512dq")
    return has and (count in (4, 8) or count % 16 == 0)


def _scale_by_instruction(builder: ir.IRBuilder, mantissa: ir.Value, n: ir.Value) -> ir.Value:
    """vscalefps: mantissa * 2**floor(n)."""

    def scale(parts: Sequence[ir.Value], size: int) -> ir.Value:
        operands = [*parts, number(parts[0].type, 0.0), *_mask_and_rounding(size)]
        name = f"llvm.x86.avx512.mask.scalef.ps.{32 * size}"
        return intrinsic(builder, name, parts[0].type, operands)

    return _in_registers(builder, [mantissa, n], scale)


def _fraction_by_instruction(builder: ir.IRBuilder, x: ir.Value, how: int = _ROUND_DOWN) -> ir.Value:
    """vreduceps: x less the next lower integer, 1 where that rounds to it; 0 for infinities, NaN for NaN."""

    def reduce(parts: Sequence[ir.Value], size: int) -> ir.Value:
        others = number(parts[0].type, 0.0)
        operands = [*parts, ir.Constant(I32, how), others, *_mask_and_rounding(size)]
        name = f"llvm.x86.avx512.mask.reduce.ps.{32 * size}"
        return intrinsic(builder, name, parts[0].type, operands)

    return _in_registers(builder, [x], reduce)


def adds_powers_by_table(context: EmitContext, lanes: int | None) -> bool:
    """Whether ``add_powers`` knows vectors of so many lanes."""
    return lanes is not None and lanes % 16 == 0 and _has_avx512(context, LaneBuilder(context.builder, lanes))


def add_powers(builder: ir.IRBuilder, x: ir.Value, running: ir.Value) -> ir.Value:
    """Return running + 2**x for AVX-512: a power of two from a table times one below 2.

    With x = n + j/32 + r, 2**n times the scaled 2**r meets what the table has for j in one multiply-add. Were
    the number of the table multiplied by 2**n, it would be rounded below 2**-125, the smaller of the two.
    """
    powers = [ir.Constant(F32, _rounded(2.0 ** (j / 32) / _REST_SCALE)) for j in range(32)]

    def add(parts: Sequence[ir.Value], size: int) -> ir.Value:
        part, so_far = parts
        register, lanes = part.type, LaneBuilder(builder, size)
        low, high = (ir.Constant(register, powers[start : start + size]) for start in (0, size))
        rounder = number(register, _ROUNDER_F32 / 2**_TABLE_BITS)
        down = [part, rounder, ir.Constant(I32, _ROUND_ADD_DOWN)]
        grid = intrinsic(builder, "llvm.x86.avx512.add.ps.512", register, down)
        chosen = [low, lanes.bits(grid), high]
        power = intrinsic(builder, "llvm.x86.avx512.vpermi2var.ps.512", register, chosen)
        rest = lanes.horner(_fraction_by_instruction(builder, part, _ROUND_DOWN_TO_TABLE), _EXP2_REST)
        return lanes.fma(_scale_by_instruction(builder, rest, part), power, so_far)

    return _in_registers(builder, [x, running], add)


def _rounded(value: float) -> float:
    """The next number of fp32."""
    rounded: float = struct.unpack("f", struct.pack("f", value))[0]
    return rounded


def _mask_and_rounding(size: int) -> list[ir.Value]:
    """All lanes; and, which only the widest form takes, the rounding mode of the control register."""
    return [ir.Constant(ir.IntType(max(8, size)), -1), *([ir.Constant(I32, 4)] if size == 16 else [])]


def _in_registers(
    builder: ir.IRBuilder, values: Sequence[ir.Value], body: Callable[[Sequence[ir.Value], int], ir.Value]
) -> ir.Value:
    """Apply an instruction to vectors that may be longer than a register: taking these apart costs
    nothing.
    """
    count = values[0].type.count
    size = min(count, 16)
    part_type = vector_of(F32, size)
    result: ir.Value = unset_lanes(F32, count)
    for start in range(0, count, size):
        position = ir.Constant(I64, start)
        parts = [
            intrinsic(builder, "llvm.vector.extract", part_type, [whole, position], [part_type, whole.type])
            for whole in values
        ]
        part = body(parts, size)
        result = intrinsic(
            builder, "llvm.vector.insert", result.type, [result, part, position], [result.type, part_type]
        )
    return result


def _power_of_two(lanes: LaneBuilder, exponent: ir.Value) -> ir.Value:
    """2**exponent as fp32, for exponents of normal numbers."""
    return lanes.from_bits(lanes.shl(lanes.add(exponent, 127), 23))


def _split(lanes: LaneBuilder, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return e and f with x = 2**e * (1 + f), e as fp32, 2/3 <= 1 + f < 4/3, for positive finite x."""
    is_denormal = lanes.compare("<", x, 2.0**-126)
    normal = lanes.select(is_denormal, lanes.mul(x, 2.0**23), x)
    bits = lanes.bits(normal)
    two_thirds = 0x3F2AAAAB
    exponent_bits = lanes.and_(lanes.sub(bits, two_thirds), 0xFF800000)
    f = lanes.sub(lanes.from_bits(lanes.sub(bits, exponent_bits)), 1.0)
    exponent = lanes.builder.sitofp(lanes.ashr(exponent_bits, 23), lanes.type(F32))
    return lanes.select(is_denormal, lanes.sub(exponent, 23.0), exponent), f


def _log(context: EmitContext, lanes: LaneBuilder, x: ir.Value) -> ir.Value:
    exponent, f = _split(lanes, x)
    small = lanes.fma(exponent, _LN2_LOW, lanes.mul(lanes.mul(f, f), lanes.horner(f, _LOG)))
    return _log_specials(lanes, x, lanes.fma(exponent, _LN2_HIGH, lanes.add(f, small)))


def _log2(context: EmitContext, lanes: LaneBuilder, x: ir.Value) -> ir.Value:
    exponent, f = _split(lanes, x)
    curved = lanes.mul(lanes.mul(f, f), lanes.horner(f, _LOG))
    # f and curved times log2 e; the leading product alone needs more than the precision of its factor.
    small = lanes.fma(f, _LOG2_E_LOW, lanes.mul(curved, _LOG2_E_HIGH))
    return _log_specials(lanes, x, lanes.add(exponent, lanes.fma(f, _LOG2_E_HIGH, small)))


def _log_specials(lanes: LaneBuilder, x: ir.Value, result: ir.Value) -> ir.Value:
    """Infinity and NaN give themselves, 0 gives -infinity, negative numbers give NaN."""
    result = lanes.select(lanes.compare("<", x, math.inf), result, x)
    result = lanes.select(lanes.compare("<", x, 0.0), math.nan, result)
    return lanes.select(lanes.compare("==", x, 0.0), -math.inf, result)


def _sin(context: EmitContext, lanes: LaneBuilder, x: ir.Value) -> ir.Value:
    result = _sine_of_quadrant(lanes, x, 0)
    # The sum of polynomial terms would lose the sign of -0.
    result = lanes.select(lanes.compare("==", x, 0.0), x, result)
    return _by_libm_where(lanes, _is_huge_angle(lanes, x), "sinf", [x], result)


def _cos(context: EmitContext, lanes: LaneBuilder, x: ir.Value) -> ir.Value:
    result = _sine_of_quadrant(lanes, x, 1)
    return _by_libm_where(lanes, _is_huge_angle(lanes, x), "cosf", [x], result)


def _is_huge_angle(lanes: LaneBuilder, x: ir.Value) -> ir.Value:
    magnitude = lanes.call("llvm.fabs", x)
    is_finite = lanes.compare("<", magnitude, math.inf)
    return lanes.and_(is_finite, lanes.compare(">=", magnitude, _HUGE_ANGLE))


def _sine_of_quadrant(lanes: LaneBuilder, x: ir.Value, turn: int) -> ir.Value:
    """sin(x + turn * pi/2).

    x = n pi/2 + r is found in fp64, where cancellation leaves r right to fp32 accuracy.
    """
    builder = lanes.builder
    wide = builder.fpext(x, lanes.type(F64))
    shifted = lanes.fma(wide, 2 / math.pi, _ROUNDER_F64)
    n = lanes.sub(shifted, _ROUNDER_F64)
    wide = lanes.fma(n, -_HALF_PI_LOW, lanes.fma(n, -_HALF_PI_HIGH, wide))
    r = builder.fptrunc(wide, lanes.type(F32))
    quadrant = lanes.add(builder.trunc(lanes.bits(shifted), lanes.type(I32)), turn)
    square = lanes.mul(r, r)
    sine = lanes.fma(lanes.mul(r, square), lanes.horner(square, SINE), r)
    half_way = lanes.fma(square, -0.5, 1.0)
    cosine = lanes.fma(lanes.mul(square, square), lanes.horner(square, COSINE), half_way)
    is_odd = lanes.compare("!=", lanes.and_(quadrant, 1), 0)
    magnitude = lanes.bits(lanes.select(is_odd, cosine, sine))
    sign = lanes.and_(lanes.shl(quadrant, 30), 0x80000000)
    return lanes.from_bits(lanes.xor(magnitude, sign))


def _by_libm_where(
    lanes: LaneBuilder, condition: ir.Value, symbol: str, operands: Sequence[ir.Value], result: ir.Value
) -> ir.Value:
    """Replace lanes of ``result`` where the condition holds, which should be rare, by calls of libm.

    The branch sits in a function of its own that is always inlined, so that the builder stays in its block.
    """
    repair = _repair_function(lanes, symbol, [operand.type for operand in (condition, result, *operands)])
    return lanes.builder.call(repair, [condition, result, *operands])


def _repair_function(lanes: LaneBuilder, symbol: str, types: Sequence[ir.Type]) -> ir.Function:
    module = lanes.builder.module
    name = f"tilejit.repair.{symbol}.{lanes.lanes or 'scalar'}"
    existing = module.globals.get(name)
    if existing is not None:
        return existing
    signature = ir.FunctionType(types[1], types)
    slow, function = rare_case_functions(module, name, signature)
    _fill_slow_path(slow, symbol)
    condition, result = function.args[:2]
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    repair, done = function.append_basic_block("repair"), function.append_basic_block("done")
    holds_somewhere = condition
    if lanes.lanes is not None:
        holds_somewhere = intrinsic(builder, "llvm.vector.reduce.or", I1, [condition], [condition.type])
    builder.cbranch(holds_somewhere, repair, done).set_weights([1, 1000])
    builder.position_at_end(repair)
    builder.ret(builder.call(slow, function.args))
    builder.position_at_end(done)
    builder.ret(result)
    return function


def _fill_slow_path(function: ir.Function, symbol: str) -> None:
    condition, result, *operands = function.args
    lanes = LaneBuilder(ir.IRBuilder(function.append_basic_block("entry")), lanes_of(result.type))
    # Ones are cheap for libm in the lanes that it need not compute.
    safe = [lanes.select(condition, operand, 1.0) for operand in operands]
    lanes.builder.ret(lanes.select(condition, _call_lanes(lanes, symbol, safe), result))


def emit_remainder(context: EmitContext, lhs: ir.Value, rhs: ir.Value) -> ir.Value:
    """Return C's fmod of fp32 or fp64 values.

    For fp32 the quotient is truncated in fp64. Rounding may have made it one too large, which leaves a
    negative remainder; the product of 53 and 24 bits is exact within the multiply-add. Quotients of 2**53 and
    more are left to libm.
    """
    builder = context.builder
    lanes = LaneBuilder(builder, lanes_of(lhs.type))
    if scalar_of(lhs.type) == F64:
        return builder.frem(lhs, rhs)
    wide = lanes.type(F64)
    dividend, divisor = (lanes.call("llvm.fabs", builder.fpext(operand, wide)) for operand in (lhs, rhs))
    quotient = lanes.call("llvm.trunc", builder.fdiv(dividend, divisor))
    remainder = lanes.fma(builder.fneg(quotient), divisor, dividend)
    remainder = lanes.select(lanes.compare("<", remainder, 0.0), lanes.add(remainder, divisor), remainder)
    # Zero times infinity is no number, but anything finite is its own remainder by infinity.
    is_small = lanes.compare("<", dividend, divisor)
    narrow = builder.fptrunc(lanes.select(is_small, dividend, remainder), lhs.type)
    result = lanes.call("llvm.copysign", narrow, lhs)
    is_finite = lanes.compare("<", quotient, math.inf)
    is_huge = lanes.and_(is_finite, lanes.compare(">=", quotient, 2.0**53))
    return _by_libm_where(lanes, is_huge, "fmodf", [lhs, rhs], result)


def _erf(context: EmitContext, lanes: LaneBuilder, x: ir.Value) -> ir.Value:
    """Near 0 an odd polynomial, beyond 1 the complement 1 - 2**p(|x|), beyond 4 one."""
    magnitude = lanes.call("llvm.fabs", x)
    near = lanes.fma(x, lanes.horner(lanes.mul(x, x), ERF), x)
    limited = lanes.select(lanes.compare(">", magnitude, 4.0), 4.0, magnitude)
    complement = _exp2_finite(context, lanes, lanes.horner(limited, LOG2_ERFC))
    far = lanes.call("llvm.copysign", lanes.sub(lanes.f32(1.0), complement), x)
    return lanes.select(lanes.compare("<", magnitude, 1.0), near, far)


def _each_lane(lanes: LaneBuilder, name: str, x: ir.Value) -> ir.Value:
    """An fp64 function by libm; where LLVM knows it, as an intrinsic, which becomes the same calls."""
    if name == "erf":
        return _call_lanes(lanes, name, [x])
    return lanes.call(f"llvm.{name}", x)


def _call_lanes(lanes: LaneBuilder, symbol: str, operands: Sequence[ir.Value]) -> ir.Value:
    """Call libm's ``symbol`` on each lane."""
    builder = lanes.builder
    result_type = operands[0].type
    scalar = scalar_of(result_type)
    function = builder.module.globals.get(symbol)
    if function is None:
        signature = ir.FunctionType(scalar, [scalar] * len(operands))
        function = ir.Function(builder.module, signature, symbol)
        function.attributes.add("nounwind")
    if lanes.lanes is None:
        return builder.call(function, list(operands))
    result: ir.Value = unset_lanes(scalar, lanes.lanes)
    for lane in range(lanes.lanes):
        index = ir.Constant(I32, lane)
        value = builder.call(function, [builder.extract_element(operand, index) for operand in operands])
        result = builder.insert_element(result, value, index)
    return result


_FP32: dict[str, Callable[[EmitContext, LaneBuilder, ir.Value], ir.Value]] = {
    "exp": _exp,
    "exp2": _exp2,
    "log": _log,
    "log2": _log2,
    "sin": _sin,
    "cos": _cos,
    "erf": _erf,
}

FUNCTIONS: tuple[str, ...] = (*_FP32, "rsqrt")
