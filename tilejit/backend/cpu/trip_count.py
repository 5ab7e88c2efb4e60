"""How often a counted loop runs."""

from __future__ import annotations

from llvmlite import ir

from tilejit.backend.cpu.values import I64
from tilejit.ir.core import Op, Value
from tilejit.ops import shape


def emit_trip_count(
    builder: ir.IRBuilder, op: Op, lower: ir.Value, upper: ir.Value, step: ir.Value
) -> ir.Value:
    """How often the body of a for loop runs: ceil(|upper - lower| / |step|) where the step leads there, else
    0.

    Units: an unsigned number of 64 bits, which holds the distance of any two bounds. A step of 0, which
    no loop may have, runs nothing.
    """
    zero, one = ir.Constant(I64, 0), ir.Constant(I64, 1)
    lower, upper, step = (builder.sext(v, I64) if v.type != I64 else v for v in (lower, upper, step))
    rises, falls = builder.icmp_signed("<", lower, upper), builder.icmp_signed(">", lower, upper)
    up, down = builder.sub(upper, lower), builder.sub(lower, upper)
    number = _constant_of(op.operand("step"))
    if number is not None:
        runs, distance = (rises, up) if number > 0 else (falls, down)
        stride = ir.Constant(I64, max(1, abs(number)))
    else:
        is_up, is_down = builder.icmp_signed(">", step, zero), builder.icmp_signed("<", step, zero)
        runs = builder.or_(builder.and_(rises, is_up), builder.and_(falls, is_down))
        distance = builder.select(is_up, up, down)
        stride = builder.select(is_up, step, builder.select(is_down, builder.neg(step), one))
    if number not in (1, -1):
        distance = builder.add(builder.udiv(builder.sub(distance, one), stride), one)
    return builder.select(runs, distance, zero)


def _constant_of(value: Value) -> int | None:
    """The integer that a scalar is, None where it is not known when compiling."""
    op = value.defining_op
    number = op.attributes["value"] if op is not None and op.name == shape.CONSTANT.name else None
    return number if isinstance(number, int) else None
