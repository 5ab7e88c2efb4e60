"""Elementwise ops become vector instructions, one table row per op.

Before: operands have element types that the unit computes (``legalise``). A scalar operand on the scalar unit
goes into the scalar form of an instruction where there is one; otherwise it is written to one block of UB,
which the instruction reads again and again.

Maximum and minimum of a number and NaN are NaN here: the unit has no other, whatever ``propagate_nan`` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tilejit.diagnostics import InternalError
from tilejit.ir.core import Op, Value
from tilejit.ir.opdef import OpDef
from tilejit.ir.types import INT16, INT32, UINT32, DType
from tilejit.ops import (
    ABS,
    ADD,
    AND,
    BITCAST,
    CAST,
    CEIL,
    DIV,
    EXP,
    EXP2,
    FLOOR,
    LOG,
    LOG2,
    MAX,
    MIN,
    MUL,
    NEG,
    NOT,
    OR,
    RSQRT,
    SHL,
    SHR,
    SQRT,
    SUB,
    XOR,
    Rounding,
)
from tilejit.ops.machine.conversions import Round
from tilejit.ops.machine.vector import (
    ARITHMETIC,
    VABS,
    VADD,
    VADDS,
    VAND,
    VDIV,
    VEXP,
    VLN,
    VMAX,
    VMAXS,
    VMIN,
    VMINS,
    VMUL,
    VMULS,
    VNOT,
    VOR,
    VSHL,
    VSHR,
    VSQRT,
    VSUB,
)
from tilejit.ops.machine.vector_cast import CAST_MODES, VCAST
from tilejit.passes.legal_values import refuse
from tilejit.passes.lowering import Lowering
from tilejit.passes.machine_builder import Operand
from tilejit.passes.tile_homes import UbTile, rounding_before
from tilejit.passes.vector_form import Source, on_tile, whole

LN_2 = 0.6931471805599453
_BINARY: Mapping[str, OpDef] = {
    ADD.name: VADD, SUB.name: VSUB, MUL.name: VMUL, DIV.name: VDIV, MAX.name: VMAX, MIN.name: VMIN,
}  # fmt: skip
_WITH_SCALAR: Mapping[str, OpDef] = {ADD.name: VADDS, MUL.name: VMULS, MAX.name: VMAXS, MIN.name: VMINS}
_LOGIC: Mapping[str, OpDef] = {AND.name: VAND, OR.name: VOR, NOT.name: VNOT}
_ANY_TYPE = frozenset(op.name for op in (CAST, BITCAST, AND, OR, XOR, NOT))
_UNARY: Mapping[str, OpDef] = {EXP.name: VEXP, LOG.name: VLN, SQRT.name: VSQRT, ABS.name: VABS}


def lower_elementwise(lowering: Lowering, op: Op) -> UbTile | None:
    """Make the instructions of an elementwise op; None where the vector unit has no such op."""
    rule = _RULES.get(op.name)
    if rule is None:
        return None
    element = op.result.type.element
    assert isinstance(element, DType)
    is_shift = op.name == SHR.name and element == UINT32
    if op.name not in _ANY_TYPE and not is_shift and element not in ARITHMETIC:
        refuse(op, element)
    return rule(lowering, op)


def _binary(lowering: Lowering, op: Op) -> UbTile:
    lhs, rhs = (lowering.source(value, op.result.type) for value in op.operands)
    with_scalar = _scalar_form(lowering, op, lhs, rhs)
    if with_scalar is not None:
        return with_scalar
    target = lowering.destination(op)
    sources = {"src0": lowering.as_source(lhs), "src1": lowering.as_source(rhs)}
    on_tile(lowering.builder, _BINARY[op.name], target, sources)
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
    on_tile(lowering.builder, definition, target, {"src": tile}, scalar=scalar)
    return target


def _unary(lowering: Lowering, op: Op) -> UbTile:
    target = lowering.destination(op)
    on_tile(lowering.builder, _UNARY[op.name], target, {"src": _operand(lowering, op)})
    return target


def _negate(lowering: Lowering, op: Op) -> UbTile:
    target = lowering.destination(op)
    minus = lowering.builder.constant(-1.0, op.result.type.element)
    on_tile(lowering.builder, VMULS, target, {"src": _operand(lowering, op)}, scalar=minus)
    return target


def _rsqrt(lowering: Lowering, op: Op) -> UbTile:
    """1 / sqrt(x): the own reciprocal square root of the unit is an approximation."""
    target = lowering.destination(op)
    on_tile(lowering.builder, VSQRT, target, {"src": _operand(lowering, op)})
    one = lowering.as_source(lowering.builder.constant(1.0, op.result.type.element))
    on_tile(lowering.builder, VDIV, target, {"src0": one, "src1": whole(target)})
    return target


def _scaled(before: float | None, function: OpDef, after: float | None) -> Callable[[Lowering, Op], UbTile]:
    """A function of another base: ``function`` with a factor before or after."""

    def lower(lowering: Lowering, op: Op) -> UbTile:
        target = lowering.destination(op)
        source, element = _operand(lowering, op), op.result.type.element
        for definition, factor in ((VMULS, before), (function, None), (VMULS, after)):
            if definition is function:
                on_tile(lowering.builder, function, target, {"src": source})
            elif factor is not None:
                scalar = lowering.builder.constant(factor, element)
                on_tile(lowering.builder, VMULS, target, {"src": source}, scalar=scalar)
            else:
                continue
            source = whole(target)
        return target

    return lower


def _cast(lowering: Lowering, op: Op) -> UbTile:
    rounding = rounding_before(op)
    if rounding is not None:
        target = lowering.destination(op)
        mode = Round.FLOOR if rounding.name == FLOOR.name else Round.CEIL
        on_tile(lowering.builder, VCAST, target, {"src": _operand(lowering, rounding)}, {"round": mode})
        return target
    source, target = _operand(lowering, op), lowering.destination(op)
    toward_zero = op.attributes["rounding"] is Rounding.RTZ or (
        source.element.is_floating() and target.element.is_int()
    )
    modes = CAST_MODES[source.element, target.element]
    wanted = Round.TRUNC if toward_zero else Round.RINT
    mode = wanted if wanted in modes else Round.NONE
    on_tile(lowering.builder, VCAST, target, {"src": source}, {"round": mode})
    return target


def _round_to_whole(mode: Round) -> Callable[[Lowering, Op], UbTile]:
    def lower(lowering: Lowering, op: Op) -> UbTile:
        target = lowering.destination(op)
        on_tile(lowering.builder, VCAST, target, {"src": _operand(lowering, op)}, {"round": mode})
        return target

    return lower


def _bitcast(lowering: Lowering, op: Op) -> UbTile:
    """The same memory; what is written there later must not be overwritten through the other name."""
    tile, element = lowering.materialise(op.operands[0]), op.result.type.element
    assert isinstance(element, DType)
    pointer = lowering.builder.reinterpret(tile.pointer, element)
    return UbTile(pointer, tile.layout, element, is_fixed=True)


def _logic(lowering: Lowering, op: Op) -> UbTile:
    """Bits of integers, as so many int16."""
    target = lowering.new_tile(op.result.type, op.result.name)
    sources = [lowering.materialise(value) for value in op.operands]
    dst, *parts = (lowering.builder.reinterpret(tile.pointer, INT16) for tile in (target, *sources))
    count = target.layout.elements * target.element.itemsize // INT16.itemsize
    names = ("src",) if len(parts) == 1 else ("src0", "src1")
    operands: dict[str, Operand] = {"dst": dst, **dict(zip(names, parts, strict=True)), "count": count}
    if op.name != XOR.name:
        lowering.builder.make(_LOGIC[op.name], operands)
        return target
    # What is in one or the other is what is in any, less what is in both.
    both = lowering.builder.reinterpret(lowering.new_like(target).pointer, INT16)
    lowering.builder.make(VOR, operands)
    lowering.builder.make(VAND, {**operands, "dst": both})
    lowering.builder.op(VSUB, dst=dst, src0=dst, src1=both, count=count)
    return target


def _shift(lowering: Lowering, op: Op) -> UbTile:
    amount = lowering.source(op.operands[1], op.result.type)
    if not isinstance(amount, Value):
        raise InternalError("a shift by a tile is left", op.location)
    target = lowering.destination(op)
    source = lowering.as_source(lowering.source(op.operands[0], op.result.type))
    scalar = lowering.builder.value(amount, INT32)
    on_tile(lowering.builder, VSHL if op.name == SHL.name else VSHR, target, {"src": source}, scalar=scalar)
    return target


def _operand(lowering: Lowering, op: Op) -> Source:
    return lowering.as_source(lowering.source(op.operands[0], op.result.type))


_RULES: Mapping[str, Callable[[Lowering, Op], UbTile]] = {
    **dict.fromkeys(_BINARY, _binary),
    **dict.fromkeys(_UNARY, _unary),
    NEG.name: _negate,
    RSQRT.name: _rsqrt,
    CAST.name: _cast,
    FLOOR.name: _round_to_whole(Round.FLOOR),
    CEIL.name: _round_to_whole(Round.CEIL),
    BITCAST.name: _bitcast,
    SHL.name: _shift,
    SHR.name: _shift,
    **dict.fromkeys((*_LOGIC, XOR.name), _logic),
    EXP2.name: _scaled(LN_2, VEXP, None),
    LOG2.name: _scaled(None, VLN, 1 / LN_2),
}
