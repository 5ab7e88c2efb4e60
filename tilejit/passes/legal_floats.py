"""Functions of floats from what the vector unit has."""

from __future__ import annotations

from tilejit.ir.core import Op
from tilejit.ir.rewrite import replace_op
from tilejit.ir.types import BF16, FP16, FP32
from tilejit.ops import ABS, ADD, CMP, EXP2, MIN, MUL, SELECT, SUB, CmpPredicate
from tilejit.ops.approximations import ERF as ERF_POLYNOMIAL
from tilejit.ops.approximations import LOG2_ERFC
from tilejit.passes.legal_values import Maker, element_of, refuse


def erf(op: Op) -> None:
    """Near 0 an odd polynomial, beyond 1 the complement 1 - 2**p(|x|), beyond 4 one."""
    maker, element = Maker(op), element_of(op.result)
    if element not in (FP16, BF16, FP32):
        refuse(op, element)
    x = maker.cast(op.operands[0], FP32)
    zero, one, four = (maker.constant(number, x.type) for number in (0.0, 1.0, 4.0))
    magnitude = maker.make(ABS, x=x)
    slope = maker.polynomial(ERF_POLYNOMIAL, maker.make(MUL, lhs=x, rhs=x))
    near = maker.make(ADD, lhs=x, rhs=maker.make(MUL, lhs=x, rhs=slope))
    logarithm = maker.polynomial(LOG2_ERFC, maker.make(MIN, lhs=magnitude, rhs=four))
    complement = maker.make(EXP2, x=logarithm)
    above, below = maker.make(SUB, lhs=one, rhs=complement), maker.make(SUB, lhs=complement, rhs=one)
    is_near, is_below = (
        maker.make(CMP, {"predicate": CmpPredicate.LT}, lhs=lhs, rhs=rhs)
        for lhs, rhs in ((magnitude, one), (x, zero))
    )
    far = maker.make(SELECT, condition=is_below, true_value=below, false_value=above)
    result = maker.make(SELECT, condition=is_near, true_value=near, false_value=far)
    replace_op(op, [maker.cast(result, element)])


def fma(op: Op) -> None:
    """Products of 16-bit floats are exact in fp32, so that two instructions round as one."""
    element = element_of(op.result)
    if element not in (FP16, BF16):
        refuse(op, element)
    maker = Maker(op)
    a, b, c = (maker.cast(value, FP32) for value in op.operands)
    total = maker.make(ADD, lhs=maker.make(MUL, lhs=a, rhs=b), rhs=c)
    replace_op(op, [maker.cast(total, element)])
