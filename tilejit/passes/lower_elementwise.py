"""Elementwise ops become vector instructions, one table row per op.

Before: operands have element types that the unit computes (``legalise``). A scalar operand on the scalar unit
goes into the scalar form of an instruction where there is one; otherwise it is written to one block of UB,
which the instruction reads again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tilejit.ir.core import Op, Value
from tilejit.ir.opdef import OpDef
from tilejit.ir.types import DType
from tilejit.ops import ABS, ADD, DIV, EXP, EXP2, LOG, LOG2, MAX, MIN, MUL, NEG, RSQRT, SQRT, SUB
from tilejit.ops.machine.vector import (
    ARITHMETIC,
    VABS,
    VADD,
    VADDS,
    VDIV,
    VEXP,
    VLN,
    VMAX,
    VMAXS,
    VMIN,
    VMINS,
    VMUL,
    VMULS,
    VSQRT,
    VSUB,
)
from tilejit.passes.lowering import Lowering, Source
from tilejit.passes.tile_homes import UbTile
from tilejit.passes.vector_form import on_tile, whole

LN_2 = 0.6931471805599453
_BINARY: Mapping[str, OpDef] = {
    ADD.name: VADD, SUB.name: VSUB, MUL.name: VMUL, DIV.name: VDIV, MAX.name: VMAX, MIN.name: VMIN,
}  # fmt: skip
_WITH_SCALAR: Mapping[str, OpDef] = {ADD.name: VADDS, MUL.name: VMULS, MAX.name: VMAXS, MIN.name: VMINS}
_UNARY: Mapping[str, OpDef] = {EXP.name: VEXP, LOG.name: VLN, SQRT.name: VSQRT, ABS.name: VABS}


def lower_elementwise(lowering: Lowering, op: Op) -> UbTile | None:
    """Make the instructions of an elementwise op; None where the vector unit has no such op."""
    rule = _RULES.get(op.name)
    if rule is None:
        return None
    element = op.result.type.element
    if not isinstance(element, DType) or element not in ARITHMETIC:
        lowering.refuse(
            f"the vector unit cannot compute {op.name} on {element}", op, "convert to fp32 or int32 first"
        )
    return rule(lowering, op)


def _binary(lowering: Lowering, op: Op) -> UbTile:
    lhs, rhs = (lowering.source(value, op.result.type) for value in op.operands)
    with_scalar = _scalar_form(lowering, op, lhs, rhs)
    if with_scalar is not None:
        return with_scalar
    target = lowering.destination(op)
    sources = {"src0": lowering.as_source(lhs), "src1": lowering.as_source(rhs)}
    on_tile(lowering, _BINARY[op.name], target, sources)
    return target


def _scalar_form(lowering: Lowering, op: Op, lhs: Source | Value, rhs: Source | Value) -> UbTile | None:
    """The instruction that takes one operand from a register of the scalar unit, where there is one."""
    if isinstance(rhs, Value) and isinstance(lhs, Source):
        tile, scalar = lhs, rhs
    elif isinstance(lhs, Value) and isinstance(rhs, Source) and op.definition.is_commutative:
        tile, scalar = rhs, lhs
    else:
        return None
    definition = _WITH_SCALAR.get(op.name)
    if op.name == SUB.name:  # x - s is x + (-s) exactly, in floats and in integers that wrap
        zero_minus = lowering.negated(scalar)
        definition, scalar = VADDS, zero_minus
    if definition is None:
        return None
    target = lowering.destination(op)
    on_tile(lowering, definition, target, {"src": tile}, scalar=scalar)
    return target


def _unary(lowering: Lowering, op: Op) -> UbTile:
    target = lowering.destination(op)
    on_tile(lowering, _UNARY[op.name], target, {"src": _operand(lowering, op)})
    return target


def _negate(lowering: Lowering, op: Op) -> UbTile:
    target = lowering.destination(op)
    minus = lowering.builder.constant(-1.0, op.result.type.element)
    on_tile(lowering, VMULS, target, {"src": _operand(lowering, op)}, scalar=minus)
    return target


def _rsqrt(lowering: Lowering, op: Op) -> UbTile:
    """1 / sqrt(x): the own reciprocal square root of the unit is an approximation."""
    target = lowering.destination(op)
    on_tile(lowering, VSQRT, target, {"src": _operand(lowering, op)})
    one = lowering.as_source(lowering.builder.constant(1.0, op.result.type.element))
    on_tile(lowering, VDIV, target, {"src0": one, "src1": whole(target)})
    return target


def _scaled(before: float | None, function: OpDef, after: float | None) -> Callable[[Lowering, Op], UbTile]:
    """A function of another base: ``function`` with a factor before or after."""

    def lower(lowering: Lowering, op: Op) -> UbTile:
        target = lowering.destination(op)
        source, element = _operand(lowering, op), op.result.type.element
        for definition, factor in ((VMULS, before), (function, None), (VMULS, after)):
            if definition is function:
                on_tile(lowering, function, target, {"src": source})
            elif factor is not None:
                scalar = lowering.builder.constant(factor, element)
                on_tile(lowering, VMULS, target, {"src": source}, scalar=scalar)
            else:
                continue
            source = whole(target)
        return target

    return lower


def _operand(lowering: Lowering, op: Op) -> Source:
    return lowering.as_source(lowering.source(op.operands[0], op.result.type))


_RULES: Mapping[str, Callable[[Lowering, Op], UbTile]] = {
    **dict.fromkeys(_BINARY, _binary),
    **dict.fromkeys(_UNARY, _unary),
    NEG.name: _negate,
    RSQRT.name: _rsqrt,
    EXP2.name: _scaled(LN_2, VEXP, None),
    LOG2.name: _scaled(None, VLN, 1 / LN_2),
}
