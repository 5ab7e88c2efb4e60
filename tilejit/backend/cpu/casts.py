"""Conversions between element types, all branch-free so that they vectorise.

16-bit floats go through fp32. fp16 uses the conversion instructions (F16C, NEON), which round to nearest
even; bf16 and the four fp8 types are converted by integer arithmetic that agrees with ml_dtypes bit for bit,
NaN payloads aside. Rounding toward zero keeps finite values finite.
"""

from __future__ import annotations

from llvmlite import ir

from tilejit.backend.cpu.round_bf16 import can_round_by_instruction, round_by_instruction
from tilejit.backend.cpu.values import (
    BFLOAT,
    F16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    POINTER,
    LaneBuilder,
    hide_origin,
    intrinsic,
    lane_numbers,
    lanes_of,
    llvm_element,
    scalar_of,
    unset_lanes,
)
from tilejit.ir.types import (
    BF16,
    FP8E4B8,
    FP8E4NV,
    FP8E5,
    FP8E5B16,
    FP16,
    FP32,
    FP64,
    DType,
    Element,
    PointerType,
)
from tilejit.records import dataclass


@dataclass(frozen=True)
class _Fp8Format:
    """The layout of an fp8 type; codes are without sign.

    ``overflow`` is what too large values become. A type without -0 uses its code for the only NaN.
    """

    mantissa_bits: int
    bias: int
    largest: int
    overflow: int
    nan: int
    has_negative_zero: bool


# Source: OCP 8-bit floating point specification 1.0, tables 1 and 2 (e5m2, e4m3fn); Noune et al., "8-bit
# numerical formats for deep neural networks", arXiv 2206.02915 (the fnuz types).
_FP8: dict[DType, _Fp8Format] = {
    FP8E5: _Fp8Format(2, 15, 0x7B, 0x7C, 0x7E, True),
    FP8E4NV: _Fp8Format(3, 7, 0x7E, 0x7F, 0x7F, True),
    FP8E4B8: _Fp8Format(3, 8, 0x7F, 0x80, 0x80, False),
    FP8E5B16: _Fp8Format(2, 16, 0x7F, 0x80, 0x80, False),
}


def computation_type(dtype: DType) -> DType:
    """Return the type in which arithmetic on ``dtype`` is done: fp32 for the smaller floats, else itself."""
    return FP32 if dtype.is_floating() and dtype.bits < 32 else dtype


def widen(builder: ir.IRBuilder, value: ir.Value, dtype: DType) -> ir.Value:
    """Convert floats exactly to the type they are computed in; other values pass unchanged."""
    lanes = LaneBuilder(builder, lanes_of(value.type))
    if dtype == FP16:
        return builder.fpext(value, lanes.type(F32))
    if dtype == BF16:
        return lanes.from_bits(lanes.shl(builder.zext(value, lanes.type(I32)), 16))
    if dtype in _FP8:
        return _decode_fp8(lanes, value, _FP8[dtype])
    return value


def narrow(builder: ir.IRBuilder, value: ir.Value, dtype: DType, toward_zero: bool = False) -> ir.Value:
    """Round what was computed for ``dtype`` (see ``computation_type``) to it; other values pass unchanged."""
    lanes = LaneBuilder(builder, lanes_of(value.type))
    if dtype == FP16:
        nearest = builder.fptrunc(value, lanes.type(F16))
        return _step_inward_fp16(lanes, value, nearest) if toward_zero else nearest
    if dtype == BF16:
        return _encode_bf16(lanes, value, toward_zero)
    if dtype in _FP8:
        return _encode_fp8(lanes, value, _FP8[dtype], toward_zero)
    return value


def widen_pairs(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Convert a vector of bf16 to fp32, the even elements first: they are the lower halves of words."""
    count = lanes_of(value.type)
    assert count is not None
    words = builder.bitcast(value, ir.VectorType(I32, count // 2))
    lanes = LaneBuilder(builder, count // 2)
    even, odd = lanes.shl(words, 16), lanes.and_(words, 0xFFFF0000)
    return LaneBuilder(builder, count).from_bits(
        builder.shuffle_vector(even, odd, lane_numbers(*range(count)))
    )


def narrow_pairs(builder: ir.IRBuilder, value: ir.Value, toward_zero: bool = False) -> ir.Value:
    """Round fp32, as ``widen_pairs`` orders it, to bf16 in order."""
    count = lanes_of(value.type)
    assert count is not None
    rounded = narrow(builder, value, BF16, toward_zero)
    order = [half + number for number in range(count // 2) for half in (0, count // 2)]
    return builder.shuffle_vector(rounded, unset_lanes(I16, count), lane_numbers(*order))


def convert(
    builder: ir.IRBuilder, value: ir.Value, source: DType, target: DType, toward_zero: bool = False
) -> ir.Value:
    """Convert elements: integers wrap, floats round, float to integer saturates with NaN giving 0."""
    if source == target:
        return value
    lanes = LaneBuilder(builder, lanes_of(value.type))
    if target.is_bool():
        return lanes.compare("!=", widen(builder, value, source), 0)
    if source.is_floating() and target.is_floating():
        return _float_to_float(lanes, value, source, target, toward_zero)
    if source.is_floating():
        return _float_to_int(lanes, widen(builder, value, source), target)
    if target.is_floating():
        return _int_to_float(lanes, value, source, target, toward_zero)
    return _int_to_int(lanes, value, source, target)


def reinterpret(builder: ir.IRBuilder, value: ir.Value, source: Element, target: Element) -> ir.Value:
    """Read the bits of elements as another type of the same width; pointers are 64-bit integers."""
    lanes = LaneBuilder(builder, lanes_of(value.type))
    from_pointer, to_pointer = isinstance(source, PointerType), isinstance(target, PointerType)
    if from_pointer and to_pointer:
        return value
    if from_pointer:
        number = builder.ptrtoint(hide_origin(builder, value), lanes.type(I64))
        return builder.bitcast(number, lanes.type(llvm_element(target)))
    if to_pointer:
        return builder.inttoptr(builder.bitcast(value, lanes.type(I64)), lanes.type(POINTER))
    return builder.bitcast(value, lanes.type(llvm_element(target)))


def _int_to_int(lanes: LaneBuilder, value: ir.Value, source: DType, target: DType) -> ir.Value:
    result = lanes.type(llvm_element(target))
    if target.bits < source.bits:
        return lanes.builder.trunc(value, result)
    if target.bits == source.bits:
        return value
    extend = lanes.builder.sext if source.is_int_signed() else lanes.builder.zext
    return extend(value, result)


def _int_to_float(
    lanes: LaneBuilder, value: ir.Value, source: DType, target: DType, toward_zero: bool
) -> ir.Value:
    """Floats below fp32 are reached through fp32, as numpy does it; above 2**24 that rounds twice."""
    to_float = lanes.builder.sitofp if source.is_int_signed() else lanes.builder.uitofp
    if target == FP64:
        return to_float(value, lanes.type(F64))
    return narrow(lanes.builder, to_float(value, lanes.type(F32)), target, toward_zero)


def _float_to_float(
    lanes: LaneBuilder, value: ir.Value, source: DType, target: DType, toward_zero: bool
) -> ir.Value:
    wide = widen(lanes.builder, value, source)
    if target == FP64:
        return lanes.builder.fpext(wide, lanes.type(F64))
    if source == FP64:
        wide = lanes.builder.fptrunc(wide, lanes.type(F32))
    return narrow(lanes.builder, wide, target, toward_zero)


def _float_to_int(lanes: LaneBuilder, value: ir.Value, target: DType) -> ir.Value:
    """Truncate fp32 or fp64, saturating.

    Bounds that the float holds exactly are met by clamping. Otherwise lanes out of range are replaced after
    the conversion, whose undefined results in those lanes are never selected. LLVM's own saturating
    conversions become scalar code on x86.
    """
    builder, signed = lanes.builder, target.is_int_signed()
    result_type = lanes.type(llvm_element(target))
    convert_lanes = builder.fptosi if signed else builder.fptoui
    if target.bits < (24 if scalar_of(value.type) == F32 else 53):
        defined = lanes.select(lanes.is_nan(value), 0.0, value)
        low = lanes.select(lanes.compare("<", defined, target.min_value), target.min_value, defined)
        clamped = lanes.select(lanes.compare(">", low, target.max_value), target.max_value, low)
        if target.bits == 32:
            return convert_lanes(clamped, result_type)
        return builder.trunc(builder.fptosi(clamped, lanes.type(I32)), result_type)
    is_low = lanes.compare("<=", value, target.min_value)
    is_high = lanes.compare(">=", value, float(target.max_value + 1))
    result = lanes.select(lanes.is_nan(value), 0, convert_lanes(value, result_type))
    result = lanes.select(is_low, target.min_value, result)
    return lanes.select(is_high, target.max_value, result)


def _step_inward_fp16(lanes: LaneBuilder, value: ir.Value, nearest: ir.Value) -> ir.Value:
    """From round-to-nearest to round-toward-zero: one step back where the magnitude grew.

    Magnitudes are ordered as their codes, infinity being one above the largest finite value.
    """
    back = lanes.builder.fpext(nearest, lanes.type(F32))
    grew = lanes.compare(">", lanes.call("llvm.fabs", back), lanes.call("llvm.fabs", value))
    code = lanes.bits(nearest)
    return lanes.from_bits(lanes.select(grew, lanes.sub(code, 1), code))


def _encode_bf16(lanes: LaneBuilder, value: ir.Value, toward_zero: bool) -> ir.Value:
    """The upper half of the fp32 bits; adding just under half, one more on odd codes, rounds to even."""
    if not toward_zero and can_round_by_instruction(lanes):
        return round_by_instruction(lanes, value, lambda inner, x: _encode_bf16_bits(inner, x, False))
    return _encode_bf16_bits(lanes, value, toward_zero)


def _encode_bf16_bits(lanes: LaneBuilder, value: ir.Value, toward_zero: bool) -> ir.Value:
    bits = lanes.bits(value)
    upper = lanes.lshr(bits, 16)
    rounded = upper
    if not toward_zero:
        rounded = lanes.lshr(lanes.add(lanes.add(bits, 0x7FFF), lanes.and_(upper, 1)), 16)
    quiet_nan = lanes.or_(upper, 0x40)
    return lanes.builder.trunc(lanes.select(lanes.is_nan(value), quiet_nan, rounded), lanes.type(I16))


def truncate_to_bf16(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Convert fp32 values that bf16 holds exactly (or NaN already quiet) to bf16."""
    lanes = LaneBuilder(builder, lanes_of(value.type))
    return builder.trunc(lanes.lshr(lanes.bits(value), 16), lanes.type(I16))


def narrow_for_dot(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Round fp32 vectors to bf16 with denormals taken for zero, which units for bf16 do in any case.

    One instruction of AVX-512 BF16 for 4, 8 or 16 lanes, against eight.
    """
    count = lanes_of(value.type)
    if count not in (4, 8, 16):
        return narrow(builder, value, BF16)
    if count == 4:  # the narrowest form returns eight lanes
        unused = unset_lanes(F32, 4)
        value = builder.shuffle_vector(value, unused, lane_numbers(*range(8)))
    width = 8 if count == 4 else count
    result_type = ir.VectorType(BFLOAT, width)
    name = f"llvm.x86.avx512bf16.cvtneps2bf16.{32 * width}"
    bits = builder.bitcast(intrinsic(builder, name, result_type, [value]), ir.VectorType(I16, width))
    if count == 4:
        return builder.shuffle_vector(bits, unset_lanes(I16, 8), lane_numbers(*range(4)))
    return bits


def _decode_fp8(lanes: LaneBuilder, code: ir.Value, form: _Fp8Format) -> ir.Value:
    """fp8 to fp32, exactly.

    A code with at most four exponent bits, or IEEE's five, is an fp16 with other bias: the conversion
    instruction does the denormals, a multiplication by a power of two the bias. e5m2 of bias 16 fits no fp16.
    """
    builder = lanes.builder
    if form.bias == 15:
        half = lanes.from_bits(lanes.shl(builder.zext(code, lanes.type(I16)), 8))
        return builder.fpext(half, lanes.type(F32))
    magnitude_code = lanes.and_(code, 0x7F)
    if form.mantissa_bits == 3:
        half = lanes.from_bits(lanes.shl(builder.zext(magnitude_code, lanes.type(I16)), 7))
        magnitude = lanes.mul(builder.fpext(half, lanes.type(F32)), 2.0 ** (15 - form.bias))
    else:
        wide = builder.zext(magnitude_code, lanes.type(I32))
        normal = lanes.from_bits(lanes.add(lanes.shl(wide, 21), (127 - form.bias) << 23))
        denormal = lanes.mul(
            builder.sitofp(wide, lanes.type(F32)), 2.0 ** (1 - form.bias - form.mantissa_bits)
        )
        magnitude = lanes.select(lanes.compare("<", wide, 1 << form.mantissa_bits), denormal, normal)
    is_nan = lanes.compare("==", code if not form.has_negative_zero else magnitude_code, form.nan)
    sign = lanes.shl(builder.zext(lanes.and_(code, 0x80), lanes.type(I32)), 24)
    bits = lanes.select(is_nan, lanes.i32(0x7FC00000), lanes.bits(magnitude))
    return lanes.from_bits(lanes.or_(bits, sign))


def _encode_fp8(lanes: LaneBuilder, value: ir.Value, form: _Fp8Format, toward_zero: bool) -> ir.Value:
    """fp32 to fp8: the normal range rounds the bits, the denormal range is a count of the smallest unit."""
    bits = lanes.bits(value)
    magnitude_bits = lanes.and_(bits, 0x7FFFFFFF)
    dropped = 23 - form.mantissa_bits
    rounded = magnitude_bits
    if not toward_zero:
        odd = lanes.and_(lanes.lshr(magnitude_bits, dropped), 1)
        rounded = lanes.add(lanes.add(magnitude_bits, (1 << (dropped - 1)) - 1), odd)
    normal = lanes.sub(lanes.lshr(rounded, dropped), (127 - form.bias) << form.mantissa_bits)
    denormal = _denormal_code(lanes, lanes.from_bits(magnitude_bits), form, toward_zero)
    is_denormal = lanes.compare("<", magnitude_bits, (128 - form.bias) << 23)
    code = lanes.select(is_denormal, denormal, normal)
    overflows = lanes.compare(">", code, form.largest)
    if toward_zero:
        code = lanes.select(overflows, form.largest, code)
        overflows = lanes.compare("==", magnitude_bits, 0x7F800000)
    code = lanes.select(overflows, form.overflow, code)
    code = lanes.select(lanes.compare(">", magnitude_bits, 0x7F800000), form.nan, code)
    sign = lanes.and_(lanes.lshr(bits, 24), 0x80)
    if not form.has_negative_zero:
        sign = lanes.select(lanes.compare("==", code, 0), 0, sign)
    return lanes.builder.trunc(lanes.or_(code, sign), lanes.type(I8))


def _denormal_code(lanes: LaneBuilder, magnitude: ir.Value, form: _Fp8Format, toward_zero: bool) -> ir.Value:
    """How many smallest units ``magnitude`` holds; meaningful only below the smallest normal number."""
    unit_exponent = 1 - form.bias - form.mantissa_bits
    if toward_zero:
        # Clamped because converting a float beyond the integers is undefined.
        limit = lanes.f32(2.0 ** (1 - form.bias))
        small = lanes.select(lanes.compare("<", magnitude, limit), magnitude, limit)
        return lanes.builder.fptosi(lanes.mul(small, 2.0**-unit_exponent), lanes.type(I32))
    # The unit in the last place of this number is the smallest unit of the type: the addition rounds to it.
    shifter = 2.0 ** (unit_exponent + 23)
    return lanes.sub(lanes.bits(lanes.add(magnitude, shifter)), (unit_exponent + 23 + 127) << 23)
