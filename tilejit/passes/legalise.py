"""Element types that the vector unit of V220 computes: ops on others are widened, casts go in legal steps.

Before: tile IR. After: tile IR with the same meaning, bit for bit but for sin, cos and erf, in which every
elementwise op that has to be computed in UB works on int16, int32, fp16 or fp32, and every cast is one that
the unit has. What it lacks is made of what it has (``legal_floats``, ``legal_integers``, ``legal_wide``).
bf16 is computed in fp32 and rounded, as its meaning says; so are fp16 functions that the unit knows only
approximately. Integers of 8 bits are computed in 16 bits and wrapped by shifts.

Addresses and masks of accesses are not computed in UB and stay what they are. Scalars of 16 bits on the
scalar unit are computed in fp32.

Source of the legal casts: CANN documentation of Cast (V220).
"""

from __future__ import annotations

from collections.abc import Mapping

from tilejit.diagnostics import CompileError
from tilejit.ir.core import Function, Op
from tilejit.ir.rewrite import replace_op
from tilejit.ir.types import (
    BF16,
    FP16,
    FP32,
    FP64,
    INT1,
    INT8,
    INT16,
    INT32,
    INT64,
    UINT8,
    UINT16,
    UINT32,
    DType,
)
from tilejit.ops import (
    ABS,
    ADD,
    AND,
    BITCAST,
    BROADCAST,
    CAST,
    CMP,
    COS,
    ERF,
    EXP,
    EXP2,
    FMA,
    FREM,
    IDIV,
    IREM,
    JOIN,
    LOAD,
    LOG,
    LOG2,
    MAX,
    MIN,
    MUL,
    NEG,
    NOT,
    OR,
    REDUCE,
    RESHAPE,
    RSQRT,
    SELECT,
    SHL,
    SHR,
    SIN,
    SPLAT,
    SPLIT,
    SQRT,
    SUB,
    TRANSPOSE,
    UMULHI,
    XOR,
    ReduceKind,
    Rounding,
)
from tilejit.passes import legal_floats, legal_integers, legal_small_floats, legal_wide
from tilejit.passes.access import AccessAnalysis
from tilejit.passes.algebra import constant_value
from tilejit.passes.dead_code import remove_dead
from tilejit.passes.legal_values import (
    DIRECT,
    Maker,
    Rule,
    element_of,
    instead_of_cast,
    instead_of_type,
    refuse,
)
from tilejit.passes.manager import PassContext
from tilejit.passes.tile_homes import TileHomes, affine_steps, is_view
from tilejit.passes.unsupported import refusal

_NATIVE_FP16 = frozenset(op.name for op in (ADD, SUB, MUL, MAX, MIN, NEG, ABS))
"""Ops whose fp16 form gives what fp32 and one rounding give."""
_BITWISE = frozenset(op.name for op in (AND, OR, XOR, NOT))
_MOVES = frozenset(op.name for op in (SPLAT, BROADCAST, RESHAPE, TRANSPOSE, JOIN, SPLIT))
_BOOL_OPS = frozenset(op.name for op in (AND, OR, XOR, NOT, CMP))

_NUMERIC_KINDS = (ReduceKind.SUM, ReduceKind.MAX, ReduceKind.MIN)
_BEFORE_VIEWS = frozenset(op.name for op in (CAST, NEG, ABS, SQRT, RSQRT, EXP, EXP2, LOG, LOG2))


def legalise(function: Function, context: PassContext) -> None:
    """Rewrite ``function`` in place. Raises: CompileError for element types that the unit cannot compute."""
    homes = TileHomes(function)
    for op in list(function.walk()):
        if op.name == LOAD.name and op.result in homes.demanded:
            _load(Maker(op), op)
        elif op.name in _BEFORE_VIEWS and op.result in homes.demanded:
            _compute_before_view(Maker(op), op)
    homes = TileHomes(function)  # what is selected by a mask of a load has become a demand
    for op in list(function.walk()):
        if op.name in _MOVES and any(result in homes.demanded for result in op.results):
            _move_bools(op)
    remove_dead(function)
    homes = TileHomes(function)
    analysis = AccessAnalysis(function)
    comparisons = [op for op in function.walk() if op.name == CMP.name]
    follows_index = {op for op in comparisons if affine_steps(analysis, op) is not None}
    for op in list(function.walk()):
        if op not in follows_index and _has_number(op):
            apply = _legalise_cast if _is_cast_of_numbers(op) else _legalise_op
            apply(op, homes, is_demanded=op.result in homes.demanded)


def _is_cast_of_numbers(op: Op) -> bool:
    return op.name == CAST.name and isinstance(op.operands[0].type.element, DType)


def _has_number(op: Op) -> bool:
    return len(op.results) == 1 and not op.regions and isinstance(op.result.type.element, DType)


def _legalise_cast(op: Op, homes: TileHomes, *, is_demanded: bool) -> None:
    """As ``_legalise_op``; what has no way is refused as the kernel's cast, not as a step of it."""
    source, target = element_of(op.operands[0]), element_of(op.result)
    try:
        _legalise_op(op, homes, is_demanded=is_demanded)
    except CompileError as error:
        if op.attributes["rounding"] is not Rounding.RTNE:
            raise
        message = f"the vector unit cannot cast {source} to {target}"
        raise refusal(message, op.location, instead_of_cast(source, target)) from error


def _legalise_op(op: Op, homes: TileHomes, *, is_demanded: bool) -> None:
    """Apply the rule for ``op``, then those for the ops that took its place."""
    rule: Rule | None = None
    if op.name == REDUCE.name:
        rule = _reduce
    elif op.definition.is_elementwise and is_demanded:
        rule = legal_wide.rule(op) if legal_wide.is_wide(op) else _RULES.get(op.name, _arithmetic)
    elif op.definition.is_elementwise and op.result.type.is_scalar:
        rule = _on_scalar_unit
    if rule is None:
        return
    maker = Maker(op, homes)
    rule(maker, op)
    for made in maker.made:
        if made.parent is not None and _has_number(made):
            _legalise_op(made, homes, is_demanded=not made.result.type.is_scalar)


def _compute_before_view(maker: Maker, op: Op) -> None:
    """Let a function of a repeated tile be the repeated function: it is computed of fewer elements."""
    view = op.operands[0].defining_op
    if view is None or view.name != BROADCAST.name:
        return
    computed = maker.make(op.definition, op.attributes, x=view.operands[0])
    replace_op(op, [maker.make(BROADCAST, view.attributes, x=computed)])


def _move_bools(op: Op) -> None:
    """Let bools that change places be numbers that do, from which they are made again."""
    if op.operands[0].type.element != INT1 or (is_view(op) and _sink_view(op)):
        return
    if all(value.type.is_scalar for value in op.operands):
        return
    maker = Maker(op)
    operands = {name: maker.cast(values[0], FP32) for name, values in op.named_operands().items()}
    moved = maker.make_all(op.definition, op.attributes, **operands)
    replace_op(op, [maker.cast(value, INT1) for value in moved])


def _sink_view(view: Op) -> bool:
    """Let a view of computed bools be the same computation on views of numbers, which cost nothing."""
    producer = view.operands[0].defining_op
    if producer is None or producer.name not in _BOOL_OPS:
        return False
    maker = Maker(view)
    operands = {
        name: maker.make(view.definition, view.attributes, x=values[0])
        for name, values in producer.named_operands().items()
    }
    replace_op(view, [maker.make(producer.definition, producer.attributes, **operands)])
    for value in operands.values():
        if value.defining_op is not None and value.type.element == INT1:
            _move_bools(value.defining_op)
    return True


def _on_scalar_unit(maker: Maker, op: Op) -> None:
    """Compute scalars of 16 bits in fp32."""
    if op.name in (CAST.name, SELECT.name, BITCAST.name) or op.operands[0].type.element not in (FP16, BF16):
        return
    operands = {n: maker.make(CAST, {"dtype": FP32}, x=v[0]) for n, v in op.named_operands().items()}
    result = maker.make(op.definition, op.attributes, **operands)
    if op.name != CMP.name:
        result = maker.make(CAST, {"dtype": element_of(op.result)}, x=result)
    replace_op(op, [result])


def _arithmetic(maker: Maker, op: Op) -> None:
    element = element_of(op.operands[0])
    if element in (INT8, UINT8):
        legal_integers.widen(maker, op, INT16)
    elif element == BF16 or (element == FP16 and op.name not in _NATIVE_FP16):
        legal_integers.widen(maker, op, FP32)
    elif element in (UINT16, UINT32):
        legal_integers.unsigned_arithmetic(maker, op)
    elif element not in (FP16, FP32, INT16, INT32):
        refuse(op, element)


def _compare(maker: Maker, op: Op) -> None:
    """Comparisons are of 32 bits; wider integers have to follow the index."""
    if not isinstance(op.operands[0].type.element, DType):
        raise refusal("tiles of addresses cannot be compared", op.location, "compare indices")
    element = element_of(op.operands[0])
    if element == UINT32:
        legal_integers.compare_unsigned(maker, op)
    elif element.bits < FP32.bits:
        legal_integers.widen(maker, op, FP32)


def _select(maker: Maker, op: Op) -> None:
    """Elements are chosen as 32-bit floats: their bits, or narrower numbers, which fp32 holds exactly."""
    element = element_of(op.result)
    condition, *values = op.operands
    if element == FP32:
        return
    if element == INT1:
        chosen = maker.make(AND, lhs=condition, rhs=values[0])
        other = maker.make(AND, lhs=maker.make(NOT, x=condition), rhs=values[1])
        replace_op(op, [maker.make(OR, lhs=chosen, rhs=other)])
        return
    if element in (INT32, UINT32):
        result = maker.select(condition, *(maker.bits(value, FP32) for value in values))
        replace_op(op, [maker.bits(result, element)])
        return
    if element == FP64:
        result = maker.select(condition, *(maker.bits(value, INT64) for value in values))
        replace_op(op, [maker.bits(result, element)])
        return
    if element.is_fp8():
        values = [maker.bits(value, UINT8) for value in values]
    elif element.bits > FP32.bits:
        refuse(op, element)
    result = maker.select(condition, *(maker.cast(value, FP32) for value in values))
    narrow = maker.cast(result, UINT8 if element.is_fp8() else element)
    replace_op(op, [maker.bits(narrow, element)])


def _cast(maker: Maker, op: Op) -> None:
    source, target = element_of(op.operands[0]), element_of(op.result)
    if source.is_fp8() or target.is_fp8():
        legal_small_floats.cast(maker, op)
    elif op.attributes["rounding"] is not Rounding.RTNE:
        if target not in (FP16, BF16):
            refuse(op, target)
    elif (source, target) not in DIRECT:
        replace_op(op, [maker.cast(op.operands[0], target)])


def _absolute(maker: Maker, op: Op) -> None:
    floating = element_of(op.result).is_floating()
    (_arithmetic if floating else legal_integers.absolute)(maker, op)


def _keep(maker: Maker, op: Op) -> None:
    """A bitcast is a view; bits are combined 16 at a time, whatever they belong to."""


def _load(maker: Maker, op: Op) -> None:
    """What stands in for masked-out lanes is a number; a tile is selected from afterwards."""
    other, mask = op.optional_operand("other"), op.optional_operand("mask")
    if other is None or mask is None or op.result.type.is_scalar or constant_value(other) is not None:
        return
    loaded = maker.make(LOAD, op.attributes, pointer=op.operand("pointer"), mask=mask)
    replace_op(op, [maker.make(SELECT, condition=mask, true_value=loaded, false_value=other)])


def _reduce(maker: Maker, op: Op) -> None:
    """16-bit floats are reduced in fp32, which is faster too, narrow integers where nothing is lost."""
    element = element_of(op.result)
    if element in (FP16, BF16):
        legal_integers.widen(maker, op, FP32)
    elif element in (INT8, UINT8, INT16) and op.attributes["kind"] in _NUMERIC_KINDS:
        legal_integers.widen(maker, op, INT32 if op.attributes["kind"] is ReduceKind.SUM else FP32)
    elif element not in (FP32, INT32):
        raise refusal(f"the vector unit cannot reduce {element}", op.location, instead_of_type(element))


_RULES: Mapping[str, Rule] = {
    SELECT.name: _select,
    CAST.name: _cast,
    FMA.name: legal_floats.fma,
    FREM.name: legal_floats.frem,
    ERF.name: legal_floats.erf,
    SIN.name: legal_floats.sine,
    COS.name: legal_floats.sine,
    ABS.name: _absolute,
    CMP.name: _compare,
    SHL.name: legal_integers.shift,
    SHR.name: legal_integers.shift,
    IDIV.name: legal_integers.divide,
    IREM.name: legal_integers.divide,
    UMULHI.name: legal_integers.multiply_high,
    **dict.fromkeys((BITCAST.name, *_BITWISE), _keep),
}
