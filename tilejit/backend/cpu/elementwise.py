"""The elementwise ops in LLVM: one emitter for each record of ``tilejit.ops.elementwise``.

An emitter gets operands in register form (see ``values``), all scalars or all vectors of one lane count, and
returns the result likewise. Nothing here traps, or moves the builder to another block. fp16 and bf16 are
computed in fp32 and rounded once; nothing is contracted or reassociated unless the context allows fusion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from tilejit.backend.cpu import vector_math
from tilejit.backend.cpu.casts import convert, narrow, reinterpret, truncate_to_bf16, widen
from tilejit.backend.cpu.values import (
    F32,
    F64,
    I64,
    EmitContext,
    LaneBuilder,
    hide_origin,
    lanes_of,
    llvm_storage,
    number,
    splat_value,
)
from tilejit.diagnostics import InternalError
from tilejit.ir.core import Op
from tilejit.ir.types import BF16, FP16, DType, Element, PointerType
from tilejit.ops.elementwise import CmpPredicate, Rounding

Emitter = Callable[[EmitContext, Op, Sequence[ir.Value]], ir.Value]


_PREDICATES: dict[CmpPredicate, str] = {
    CmpPredicate.EQ: "==",
    CmpPredicate.NE: "!=",
    CmpPredicate.LT: "<",
    CmpPredicate.LE: "<=",
    CmpPredicate.GT: ">",
    CmpPredicate.GE: ">=",
}


def emit_elementwise(context: EmitContext, op: Op, operands: Sequence[ir.Value]) -> ir.Value:
    """Emit an elementwise op on operands in register form and return its result."""
    return EMITTERS[op.name](context, op, operands)


def _element(op: Op) -> Element:
    """The element type of the first operand."""
    return op.operands[0].type.element


def _dtype(op: Op) -> DType:
    """The element type of the first operand, where it cannot be a pointer."""
    element = _element(op)
    if isinstance(element, PointerType):
        raise InternalError(f"{op.name} on pointers", op.location)
    return element


def _lanes(context: EmitContext, value: ir.Value) -> LaneBuilder:
    return LaneBuilder(context.builder, lanes_of(value.type))


def _flags(context: EmitContext) -> tuple[str, ...]:
    return ("contract",) if context.fp_fusion else ()


# Arithmetic


def _arithmetic(name: str) -> Emitter:
    """add, sub and mul, and div, which is for floats only."""

    def emit(context: EmitContext, op: Op, operands: Sequence[ir.Value]) -> ir.Value:
        dtype, builder = _dtype(op), context.builder
        if not dtype.is_floating():
            return getattr(builder, name)(operands[0], operands[1])
        lhs, rhs = (widen(builder, operand, dtype) for operand in operands)
        return narrow(builder, getattr(builder, f"f{name}")(lhs, rhs, flags=_flags(context)), dtype)

    return emit


def _emit_fma(context: EmitContext, op: Op, operands: Sequence[ir.Value]) -> ir.Value:
    dtype, builder = _dtype(op), context.builder
    a, b, c = (widen(builder, operand, dtype) for operand in operands)
    return narrow(builder, _lanes(context, a).fma(a, b, c), dtype)


def _emit_umulhi(context: EmitContext, op: Op, operands: Sequence[ir.Value]) -> ir.Value:
    dtype, builder = _dtype(op), context.builder
    lanes = _lanes(context, operands[0])
    double_width = lanes.type(ir.IntType(2 * dtype.bits))
    extend = builder.sext if dtype.is_int_signed() else builder.zext
    product = builder.mul(extend(operands[0], double_width), extend(operands[1], double_width))
    return builder.trunc(lanes.lshr(product, dtype.bits), operands[0].type)


# Integer division


def _emit_idiv(context: EmitContext, op: Op, operands: Sequence[ir.Value]) -> ir.Value:
    return _divide(_lanes(context, operands[0]), _dtype(op), operands[0], operands[1])[0]


def _emit_irem(context: EmitContext, op: Op, operands: Sequence[ir.Value]) -> ir.Value:
    lanes, dtype = _lanes(context, operands[0]), _dtype(op)
    quotient, divisor = _divide(lanes, dtype, operands[0], operands[1])
    return lanes.sub(operands[0], lanes.mul(quotient, divisor))


def _divide(
    lanes: LaneBuilder, dtype: DType, dividend: ir.Value, divisor: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """Return the quotient and the divisor used: 1 where the given one is 0 or the quotient would overflow.

    MIN / 1 is what MIN / -1 wraps to, and leaves the same remainder, 0.
    """
    divide = lanes.builder.sdiv if dtype.is_int_signed() else lanes.builder.udiv
    known = splat_value(divisor)
    if known is not None:
        minus_one = dtype.is_int_signed() and known == (1 << dtype.bits) - 1
        if minus_one:
            return lanes.sub(number(dividend.type, 0), dividend), divisor
        divisor = divisor if known else number(divisor.type, 1)
        return divide(dividend, divisor), divisor
    is_unusable = lanes.compare("==", divisor, 0)
    if dtype.is_int_signed():
        overflows = lanes.and_(
            lanes.compare("==", divisor, -1), lanes.compare("==", dividend, dtype.min_value)
        )
        is_unusable = lanes.or_(is_unusable, overflows)
    divisor = lanes.select(is_unusable, 1, divisor)
    if lanes.lanes is None or dtype.bits == 64:
        return divide(dividend, divisor), divisor
    return _divide_as_floats(lanes, dtype, dividend, divisor), divisor


def _divide_as_floats(lanes: LaneBuilder, dtype: DType, dividend: ir.Value, divisor: ir.Value) -> ir.Value:
    """Vectors have no integer division, but truncated float division is exact here.

    An inexact quotient of n-bit integers lies at least 2**-n of itself below the next integer, far more than
    half a unit in the last place: n is 32 for fp64 with 53 bits, 16 for fp32 with 24.
    """
    builder = lanes.builder
    wide = lanes.type(F64 if dtype.bits == 32 else F32)
    if dtype.is_int_signed():
        quotient = builder.fdiv(builder.sitofp(dividend, wide), builder.sitofp(divisor, wide))
        return builder.fptosi(quotient, dividend.type)
    quotient = builder.fdiv(builder.uitofp(dividend, wide), builder.uitofp(divisor, wide))
    return builder.fptoui(quotient, dividend.type)


def _emit_frem(context: EmitContext, op: Op, operands: Sequence[ir.Value]) -> ir.Value:
    dtype, builder = _dtype(op), context.builder
    lhs, rhs = (widen(builder, operand, dtype) for operand in operands)
    return narrow(builder, vector_math.emit_remainder(context, lhs, rhs), dtype)


# Minimum, maximum, signs


def _extremum(int_name: str, is_first: str) -> Emitter:
    """min or max: ``lhs`` where ``lhs is_first rhs``; the order of -0 and +0 is left open."""

    def emit(context: EmitContext, op: Op, operands: Sequence[ir.Value]) -> ir.Value:
        dtype, builder = _dtype(op), context.builder
        lanes = _lanes(context, operands[0])
        if not dtype.is_floating():
            prefix = "s" if dtype.is_int_signed() else "u"
            return lanes.call(f"llvm.{prefix}{int_name}", operands[0], operands[1])
        propagates = bool(op.attributes["propagate_nan"])
        if dtype == FP16:
            return _fp16_extremum(lanes, is_first, operands[0], operands[1], propagates)
        name = f"llvm.{int_name}imum" if propagates else f"llvm.{int_name}num"
        lhs, rhs = (widen(builder, operand, dtype) for operand in operands)
        return _narrow_exact(builder, lanes.call(name, lhs, rhs, flags=["nsz"]), dtype)

    return emit


def _fp16_extremum(
    lanes: LaneBuilder, is_first: str, lhs: ir.Value, rhs: ir.Value, propagates_nan: bool
) -> ir.Value:
    """LLVM would narrow the intrinsics to fp16 and call libm for those.

    A comparison with NaN is false and so chooses rhs, which is wrong in one case only.
    """
    wide_lhs, wide_rhs = (widen(lanes.builder, operand, FP16) for operand in (lhs, rhs))
    chosen = lanes.select(lanes.compare(is_first, wide_lhs, wide_rhs), lhs, rhs)
    return lanes.select(lanes.is_nan(wide_lhs if propagates_nan else wide_rhs), lhs, chosen)


def _narrow_exact(builder: ir.IRBuilder, value: ir.Value, dtype: DType) -> ir.Value:
    """Narrow results that ``dtype`` holds exactly, which bf16 does by cutting bits off."""
    return truncate_to_bf16(builder, value) if dtype == BF16 else narrow(builder, value, dtype)


def _emit_neg(context: EmitContext, op: Op, operands: Sequence[ir.Value]) -> ir.Value:
    dtype, lanes = _dtype(op), _lanes(context, operands[0])
    if dtype == BF16:
        return lanes.xor(operands[0], 0x8000)
    if dtype.is_floating():
        return context.builder.fneg(operands[0])
    return lanes.sub(number(operands[0].type, 0), operands[0])


def _emit_abs(context: EmitContext, op: Op, operands: Sequence[ir.Value]) -> ir.Value:
    dtype, lanes = _dtype(op), _lanes(context, operands[0])
    if dtype == BF16:
        return lanes.and_(operands[0], 0x7FFF)
    if dtype.is_floating():
        return lanes.call("llvm.fabs", operands[0])
    if not dtype.is_int_signed():
        return operands[0]
    negative = lanes.compare("<", operands[0], 0)
    return lanes.select(negative, lanes.sub(number(operands[0].type, 0), operands[0]), operands[0])


def _rounding(name: str, is_exact: bool) -> Emitter:
    """floor, ceil and sqrt; ``is_exact`` where the result needs no rounding in the type of the operand."""

    def emit(context: EmitContext, op: Op, operands: Sequence[ir.Value]) -> ir.Value:
        dtype, builder = _dtype(op), context.builder
        wide = widen(builder, operands[0], dtype)
        result = _lanes(context, wide).call(name, wide)
        return _narrow_exact(builder, result, dtype) if is_exact else narrow(builder, result, dtype)

    return emit


# Bits


def _bitwise(name: str) -> Emitter:
    def emit(context: EmitContext, op: Op, operands: Sequence[ir.Value]) -> ir.Value:
        return getattr(context.builder, name)(operands[0], operands[1])

    return emit


def _emit_not(context: EmitContext, op: Op, operands: Sequence[ir.Value]) -> ir.Value:
    return _lanes(context, operands[0]).xor(operands[0], -1)


def _emit_shl(context: EmitContext, op: Op, operands: Sequence[ir.Value]) -> ir.Value:
    x, amount = operands
    lanes = _lanes(context, x)
    fits = lanes.compare("<", amount, _dtype(op).bits, signed=False)
    return lanes.select(fits, context.builder.shl(x, amount), 0)


def _emit_shr(context: EmitContext, op: Op, operands: Sequence[ir.Value]) -> ir.Value:
    x, amount = operands
    lanes, dtype = _lanes(context, x), _dtype(op)
    fits = lanes.compare("<", amount, dtype.bits, signed=False)
    if dtype.is_int_signed():
        return context.builder.ashr(x, lanes.select(fits, amount, dtype.bits - 1))
    return lanes.select(fits, context.builder.lshr(x, amount), 0)


# Comparison, selection


def _emit_cmp(context: EmitContext, op: Op, operands: Sequence[ir.Value]) -> ir.Value:
    element, builder = _element(op), context.builder
    predicate = op.attributes["predicate"]
    if not isinstance(predicate, CmpPredicate):
        raise InternalError(f"cmp without a predicate: {predicate!r}", op.location)
    lanes = _lanes(context, operands[0])
    if isinstance(element, PointerType):
        first, second = (hide_origin(builder, operand) for operand in operands)
        return lanes.compare(_PREDICATES[predicate], first, second, signed=False)
    lhs, rhs = (widen(builder, operand, element) for operand in operands)
    return lanes.compare(_PREDICATES[predicate], lhs, rhs, signed=element.is_int_signed())


def _emit_select(context: EmitContext, op: Op, operands: Sequence[ir.Value]) -> ir.Value:
    return context.builder.select(operands[0], operands[1], operands[2])


# Functions


def _function(name: str) -> Emitter:
    """A function of vector_math, computed in fp32 for the smaller floats."""

    def emit(context: EmitContext, op: Op, operands: Sequence[ir.Value]) -> ir.Value:
        dtype, builder = _dtype(op), context.builder
        result = vector_math.emit_function(context, name, widen(builder, operands[0], dtype))
        return narrow(builder, result, dtype)

    return emit


# Conversions, pointers


def _emit_cast(context: EmitContext, op: Op, operands: Sequence[ir.Value]) -> ir.Value:
    target = op.attributes["dtype"]
    if not isinstance(target, DType):
        raise InternalError(f"cast to {target!r}", op.location)
    toward_zero = op.attributes["rounding"] is Rounding.RTZ
    return convert(context.builder, operands[0], _dtype(op), target, toward_zero)


def _emit_bitcast(context: EmitContext, op: Op, operands: Sequence[ir.Value]) -> ir.Value:
    target = op.attributes["dtype"]
    if not isinstance(target, DType | PointerType):
        raise InternalError(f"bitcast to {target!r}", op.location)
    return reinterpret(context.builder, operands[0], _element(op), target)


def _emit_addptr(context: EmitContext, op: Op, operands: Sequence[ir.Value]) -> ir.Value:
    pointer, offset = operands
    element, offset_type = _element(op), op.operands[1].type.element
    if not isinstance(element, PointerType) or not isinstance(offset_type, DType):
        raise InternalError(f"addptr of {element} and {offset_type}", op.location)
    builder = context.builder
    extend = builder.sext if offset_type.is_int_signed() else builder.zext
    wide = extend(offset, _lanes(context, offset).type(I64))
    return builder.gep(pointer, [wide], source_etype=llvm_storage(element.element))


EMITTERS: dict[str, Emitter] = {
    "add": _arithmetic("add"),
    "sub": _arithmetic("sub"),
    "mul": _arithmetic("mul"),
    "div": _arithmetic("div"),
    "idiv": _emit_idiv,
    "irem": _emit_irem,
    "frem": _emit_frem,
    "min": _extremum("min", "<"),
    "max": _extremum("max", ">"),
    "and": _bitwise("and_"),
    "or": _bitwise("or_"),
    "xor": _bitwise("xor"),
    "shl": _emit_shl,
    "shr": _emit_shr,
    "cmp": _emit_cmp,
    "select": _emit_select,
    "fma": _emit_fma,
    "umulhi": _emit_umulhi,
    "neg": _emit_neg,
    "abs": _emit_abs,
    "not": _emit_not,
    "floor": _rounding("llvm.floor", is_exact=True),
    "ceil": _rounding("llvm.ceil", is_exact=True),
    "sqrt": _rounding("llvm.sqrt", is_exact=False),
    **{name: _function(name) for name in vector_math.FUNCTIONS},
    "cast": _emit_cast,
    "bitcast": _emit_bitcast,
    "addptr": _emit_addptr,
}
