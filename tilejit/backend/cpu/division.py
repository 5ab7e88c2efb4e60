"""Division of fp32 vectors by one number, which is the same in many of them: by its reciprocal, and exact.

A vector division takes ten cycles or more and cannot overlap with another one; two corrections of a product
with the reciprocal take four multiply-adds. The result is that of the division, bit by bit:

With y = RN(1 / b), RN rounding to nearest,

    q0 = RN(a * y)
    r0 = RN(a - b * q0)    q1 = RN(q0 + r0 * y)
    r1 = RN(a - b * q1)    q = RN(q1 + r1 * y)

- q0 is within 1.5 units in the last place (ulp) of a / b: y is within half an ulp of 1 / b, which a * y takes
  to one ulp at most, and rounding adds half of one.
- q0 + r0 * y before it is rounded is off by 2**-22 of that error at most. So q1 is one of the two numbers
  next to a / b, or a / b itself.
- Markstein's theorem (IBM Journal of Research and Development 34, 1990; also in the Handbook of
  Floating-Point Arithmetic): for such a q1 and the correctly rounded reciprocal y, r1 is exact and q is
  RN(a / b).

All that holds while nothing underflows or overflows, as for 2**-40 <= |b| < 2**40 and 2**-84 <= |a| < 2**84:
y is a normal number, quotients lie between 2**-124 and 2**124, and remainders are multiples of 2**-132, which
fp32 has down to 2**-149. A dividend of +0 gives zeros of the right sign in every step, which -0 does not.
Vectors with any other element, and all vectors for any other divisor, are divided.
"""

from __future__ import annotations

import math

from llvmlite import ir

from tilejit.backend.cpu.values import F32, I1, I32, LaneBuilder, lanes_of, number, scalar_of
from tilejit.records import dataclass
from tilejit.target.cpu import CpuTarget

_BIAS, _FRACTION_BITS, _MAGNITUDE = 127, 23, 0x7FFFFFFF
_DIVISOR, _DIVIDEND = 40, 84
"""Exponents up to which, and from minus which on, the corrected product is known to be the quotient."""


@dataclass(frozen=True)
class Divisor:
    """What is computed of a divisor once: its reciprocal, and whether it is in range."""

    reciprocal: ir.Value
    is_usable: ir.Value


def pays(target: CpuTarget, divisor: ir.Value) -> bool:
    """Whether to divide by way of the reciprocal.

    With AVX-512 a vector of quotients takes longer than the multiply-adds that replace it. LLVM knows better
    for constants whose reciprocal is exact.
    """
    if not target.has("avx512f") or scalar_of(divisor.type) != F32:
        return False
    known = divisor.constant if isinstance(divisor, ir.Constant) else None
    return not (isinstance(known, float) and abs(math.frexp(known)[0]) == 0.5)


def prepare(builder: ir.IRBuilder, divisor: ir.Value) -> Divisor:
    """The reciprocal of a scalar, and whether vectors may be divided by way of it."""
    reciprocal = builder.fdiv(ir.Constant(F32, 1.0), divisor)
    return Divisor(reciprocal, _is_in_range(builder, divisor, _DIVISOR))


def divide(
    builder: ir.IRBuilder, dividend: ir.Value, divisor: ir.Value, reciprocal: ir.Value, is_usable: ir.Value
) -> ir.Value:
    """The quotients of a vector, given divisor and reciprocal in all lanes."""
    function = _function(builder.module, dividend.type)
    return builder.call(function, [dividend, divisor, reciprocal, is_usable])


def _is_in_range(builder: ir.IRBuilder, value: ir.Value, exponent: int) -> ir.Value:
    """Whether 2**-exponent <= |value| < 2**exponent."""
    lanes = LaneBuilder(builder, lanes_of(value.type))
    magnitude = lanes.and_(lanes.bits(value), _MAGNITUDE)
    lowest = (_BIAS - exponent) << _FRACTION_BITS
    return lanes.compare("<", lanes.sub(magnitude, lowest), 2 * exponent << _FRACTION_BITS, signed=False)


def _function(module: ir.Module, vector: ir.VectorType) -> ir.Function:
    """The inlined function that divides a vector; one branch for all of its elements."""
    name = f"tilejit.divide.v{vector.count}f32"
    existing = module.globals.get(name)
    if existing is not None:
        return existing
    function = ir.Function(module, ir.FunctionType(vector, [vector, vector, vector, I1]), name)
    function.linkage = "internal"
    function.attributes.add("alwaysinline")
    function.attributes.add("nounwind")
    blocks = [function.append_basic_block(label) for label in ("entry", "product", "division", "end")]
    entry, product, division, end = (ir.IRBuilder(block) for block in blocks)
    dividend, divisor, reciprocal, is_usable = function.args
    is_zero = entry.icmp_unsigned("==", LaneBuilder(entry, vector.count).bits(dividend), _zeros(vector))
    fits = entry.or_(_is_in_range(entry, dividend, _DIVIDEND), is_zero)
    bits = entry.bitcast(fits, ir.IntType(vector.count))
    all_fit = entry.and_(is_usable, entry.icmp_unsigned("==", bits, number(bits.type, -1)))
    entry.cbranch(all_fit, blocks[1], blocks[2]).set_weights([1000, 1])
    lanes = LaneBuilder(product, vector.count)
    quotient = product.fmul(dividend, reciprocal)
    for _ in range(2):
        remainder = lanes.fma(product.fneg(divisor), quotient, dividend)
        quotient = lanes.fma(remainder, reciprocal, quotient)
    product.branch(blocks[3])
    divided = division.fdiv(dividend, divisor)
    division.branch(blocks[3])
    result = end.phi(vector)
    result.add_incoming(quotient, blocks[1])
    result.add_incoming(divided, blocks[2])
    end.ret(result)
    return function


def _zeros(vector: ir.VectorType) -> ir.Constant:
    return number(ir.VectorType(I32, vector.count), 0)
