"""Element types that the vector unit of V220 computes: ops on others are widened, casts go in legal steps.

Before: tile IR. After: tile IR with the same meaning, bit for bit, in which every elementwise op that has to
be computed in UB works on int16, int32, fp16 or fp32, and every cast is one that the unit has. bf16 is
computed in fp32 and rounded, as its meaning says; so are fp16 functions that the unit knows only
approximately. Integers of 8 bits are computed in 16 bits and wrapped by shifts.

Addresses and masks of accesses are not computed in UB and stay what they are. Scalars of 16 bits on the
scalar unit are computed in fp32.

Source of the legal casts: CANN documentation of Cast (V220).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NoReturn

from tilejit.diagnostics import CompileError
from tilejit.ir.core import Builder, Function, Op, Value
from tilejit.ir.opdef import Attribute, OpDef
from tilejit.ir.rewrite import replace_op
from tilejit.ir.types import (
    BF16,
    FP16,
    FP32,
    INT1,
    INT8,
    INT16,
    INT32,
    INT64,
    UINT8,
    UINT16,
    UINT32,
    DType,
    TileType,
)
from tilejit.ops import (
    ABS,
    ADD,
    AND,
    BITCAST,
    CAST,
    CMP,
    CONSTANT,
    FMA,
    MAX,
    MIN,
    MUL,
    NEG,
    NOT,
    OR,
    REDUCE,
    SELECT,
    SHL,
    SHR,
    SPLAT,
    SUB,
    XOR,
    CmpPredicate,
    Rounding,
)
from tilejit.passes.manager import PassContext
from tilejit.passes.tile_homes import TileHomes

_NATIVE_FP16 = frozenset(op.name for op in (ADD, SUB, MUL, MAX, MIN, NEG, ABS, CMP))
"""Ops whose fp16 form gives what fp32 and one rounding give."""
_BITWISE = frozenset(op.name for op in (AND, OR, XOR, NOT))
_SAME_WIDTH: Mapping[DType, DType] = {BF16: FP16, INT16: FP16, UINT16: FP16, INT32: FP32, UINT32: FP32}
"""The float type as which the unit moves elements of other types."""

_DIRECT: frozenset[tuple[DType, DType]] = frozenset(
    {
        (FP16, FP32), (FP16, INT32), (FP16, INT16), (FP16, INT8), (FP16, UINT8),
        (FP32, FP16), (FP32, BF16), (FP32, INT16), (FP32, INT32), (FP32, INT64),
        (BF16, FP32), (BF16, INT32), (INT16, FP16), (INT16, FP32),
        (INT32, FP32), (INT32, INT64), (INT64, FP32), (INT8, FP16), (UINT8, FP16),
    }
)  # fmt: skip
_STEPS: Mapping[tuple[DType, DType], tuple[DType, ...]] = {
    (FP16, BF16): (FP32,), (BF16, FP16): (FP32,), (BF16, INT16): (FP32,),
    (BF16, INT8): (FP32, INT16, FP16), (BF16, UINT8): (FP32, INT16, FP16), (BF16, INT64): (FP32,),
    # Two roundings through fp16 would not be one to int8: whole numbers first.
    (FP32, INT8): (INT16, FP16), (FP32, UINT8): (INT16, FP16),
    (INT8, FP32): (FP16,), (INT8, BF16): (FP16, FP32), (INT8, INT16): (FP16,), (INT8, INT32): (FP16,),
    (UINT8, FP32): (FP16,), (UINT8, BF16): (FP16, FP32), (UINT8, INT16): (FP16,), (UINT8, INT32): (FP16,),
    (INT16, BF16): (FP32,), (INT16, INT32): (FP32,),
    (INT32, FP16): (FP32,), (INT32, BF16): (FP32,),
}  # fmt: skip
"""What a cast goes through; every step but the last is exact, or the last gives the same all the same."""
_NARROWED: Mapping[tuple[DType, DType], tuple[DType, ...]] = {
    (INT32, INT16): (FP32,), (INT32, INT8): (FP32, FP16), (INT16, INT8): (FP16,),
}  # fmt: skip
"""Casts that wrap: the unit clamps, so the number is first brought into range by shifts."""


def legalise(function: Function, context: PassContext) -> None:
    """Rewrite ``function`` in place. Raises: CompileError for element types that the unit cannot compute."""
    homes = TileHomes(function)
    for op in list(function.walk()):
        if len(op.results) != 1 or op.regions or not isinstance(op.result.type.element, DType):
            continue
        if op.name == REDUCE.name:
            _reduce(op)
        elif op.definition.is_elementwise:
            if op.result in homes.demanded:
                _in_ub(op)
            elif op.result.type.is_scalar:
                _on_scalar_unit(op)


class _Maker:
    """Makes ops in front of the one that they replace."""

    def __init__(self, op: Op) -> None:
        assert op.parent is not None
        self._builder = Builder(op.parent, op, op.location)

    def make(
        self, definition: OpDef, attributes: Mapping[str, Attribute] | None = None, **operands: Value
    ) -> Value:
        op = Op(definition, operands, attributes, location=self._builder.location)
        return self._builder.insert(op).result

    def cast(self, x: Value, dtype: DType) -> Value:
        return x if x.type.element == dtype else self.make(CAST, {"dtype": dtype}, x=x)

    def constant(self, number: int | float, type: TileType) -> Value:
        scalar = self.make(CONSTANT, {"value": number, "dtype": type.element})
        return self.make(SPLAT, {"shape": type.shape}, x=scalar) if type.shape else scalar


def _element(value: Value) -> DType:
    element = value.type.element
    assert isinstance(element, DType)
    return element


def _in_ub(op: Op) -> None:
    """Rewrite an op that the vector unit has to compute."""
    rule = _RULES.get(op.name, _arithmetic)
    rule(op)


def _on_scalar_unit(op: Op) -> None:
    """Compute scalars of 16 bits in fp32."""
    if op.name not in (CAST.name, SELECT.name, BITCAST.name) and _element(op.operands[0]) in (FP16, BF16):
        _widen(op, FP32)


def _widen(op: Op, wide: DType) -> Value:
    """Compute ``op`` on operands of another type and cast back; return its result in the wide type."""
    maker = _Maker(op)
    operands = {name: maker.cast(values[0], wide) for name, values in op.named_operands().items()}
    result = maker.make(op.definition, op.attributes, **operands)
    narrow = result if op.name == CMP.name else maker.cast(result, _element(op.result))
    replace_op(op, [narrow])
    return result


def _arithmetic(op: Op) -> None:
    element = _element(op.operands[0])
    if element in (INT8, UINT8):
        _in_16_bits(op)
    elif element == BF16 or (element == FP16 and op.name not in _NATIVE_FP16):
        _widen(op, FP32)
    elif element not in (FP16, FP32, INT16, INT32, INT1):
        _refuse(op, element)


def _in_16_bits(op: Op) -> None:
    """Compute on 8-bit integers in 16 bits; the cast back wraps."""
    maker = _Maker(op)
    operands = {name: maker.cast(values[0], INT16) for name, values in op.named_operands().items()}
    wide = maker.make(op.definition, op.attributes, **operands)
    if op.name == CMP.name:
        replace_op(op, [wide])
        return
    back = Op(CAST, {"x": wide}, {"dtype": _element(op.result)}, location=op.location)
    assert op.parent is not None
    op.parent.insert_before(op, back)
    replace_op(op, [back.result])
    for made in [*(value.defining_op for value in operands.values()), back]:
        if made is not None and made.name == CAST.name:
            _cast(made)


def _fma(op: Op) -> None:
    """Products of 16-bit floats are exact in fp32, so that two instructions round as one."""
    element = _element(op.result)
    if element not in (FP16, BF16):
        _refuse(op, element)
    maker = _Maker(op)
    a, b, c = (maker.cast(value, FP32) for value in op.operands)
    total = maker.make(ADD, lhs=maker.make(MUL, lhs=a, rhs=b), rhs=c)
    replace_op(op, [maker.cast(total, element)])


def _select(op: Op) -> None:
    """Elements are moved by their bits, as floats of the same width."""
    element = _element(op.result)
    if element in (FP16, FP32):
        return
    maker = _Maker(op)
    condition, *values = op.operands
    if element == INT1:
        chosen = maker.make(AND, lhs=condition, rhs=values[0])
        other = maker.make(AND, lhs=maker.make(NOT, x=condition), rhs=values[1])
        replace_op(op, [maker.make(OR, lhs=chosen, rhs=other)])
        return
    if element in (INT8, UINT8):
        moved = [maker.cast(value, FP16) for value in values]
        result = maker.make(SELECT, condition=condition, true_value=moved[0], false_value=moved[1])
        replace_op(op, [maker.cast(result, element)])
        return
    same = _SAME_WIDTH.get(element)
    if same is None:
        _refuse(op, element)
    moved = [maker.make(BITCAST, {"dtype": same}, x=value) for value in values]
    result = maker.make(SELECT, condition=condition, true_value=moved[0], false_value=moved[1])
    replace_op(op, [maker.make(BITCAST, {"dtype": element}, x=result)])


def _cast(op: Op) -> None:
    source, target = _element(op.operands[0]), _element(op.result)
    if source == INT1:
        _cast_from_bool(op)
        return
    maker, x = _Maker(op), op.operands[0]
    if target == INT1:
        if source in (INT8, UINT8, BF16):
            x = maker.cast(x, FP32 if source == BF16 else FP16)
        zero = maker.constant(0.0 if _element(x).is_floating() else 0, x.type)
        replace_op(op, [maker.make(CMP, {"predicate": CmpPredicate.NE}, lhs=x, rhs=zero)])
        return
    if op.attributes["rounding"] is not Rounding.RTNE and target not in (FP16, BF16):
        _refuse(op, target)
    if (source, target) in _DIRECT:
        return
    if {source, target} == {INT8, UINT8}:
        replace_op(op, [maker.make(BITCAST, {"dtype": target}, x=x)])
        return
    if target == UINT8 and source in (INT16, INT32):
        _cast_to_byte(op)
        return
    steps = _STEPS.get((source, target))
    if steps is None:
        steps = _NARROWED.get((source, target))
        if steps is None:
            hint = "go through fp32 or int32"
            raise CompileError(f"Ascend: the vector unit cannot cast {source} to {target}", op.location, hint)
        distance = maker.constant(source.bits - target.bits, x.type)
        x = maker.make(SHR, lhs=maker.make(SHL, lhs=x, rhs=distance), rhs=distance)
    for step in (*steps, target):
        x = maker.cast(x, step)
    replace_op(op, [x])


def _cast_to_byte(op: Op) -> None:
    """Take the lowest eight bits of an integer."""
    maker, x = _Maker(op), op.operands[0]
    if _element(x) == INT32:
        x = maker.cast(x, INT16)
        assert x.defining_op is not None
        narrowing = x.defining_op
    else:
        narrowing = None
    low = maker.make(AND, lhs=x, rhs=maker.constant(255, x.type))
    replace_op(op, [maker.cast(maker.cast(low, FP16), UINT8)])
    if narrowing is not None:
        _cast(narrowing)


def _cast_from_bool(op: Op) -> None:
    target = _element(op.result)
    if target == INT1:
        return
    maker = _Maker(op)
    computed = FP16 if target.bits == 8 else FP32 if target.bits == 32 else FP16
    if target.bits == 64:
        _refuse(op, target)
    type = TileType(computed, op.result.type.shape)
    ones, zeros = maker.constant(1.0, type), maker.constant(0.0, type)
    chosen = maker.make(SELECT, condition=op.operands[0], true_value=ones, false_value=zeros)
    cast = maker.make(CAST, {"dtype": target}, x=chosen) if target != computed else chosen
    replace_op(op, [cast])
    if cast.defining_op is not None and cast is not chosen:
        _cast(cast.defining_op)


def _bits(op: Op) -> None:
    element = _element(op.result)
    if element not in (INT1, INT16, INT32):
        _refuse(op, element)


def _shift(op: Op) -> None:
    element = _element(op.result)
    if element not in (INT16, INT32):
        _refuse(op, element)


def _keep(op: Op) -> None:
    """A bitcast is a view."""


def _reduce(op: Op) -> None:
    """Reductions of 16-bit floats are taken in fp32, which is faster too."""
    element = _element(op.result)
    if element in (FP16, BF16):
        _widen(op, FP32)
    elif element not in (FP32, INT32):
        hint = "reduce in fp32 or int32"
        raise CompileError(f"Ascend: the vector unit cannot reduce {element}", op.location, hint)


def _refuse(op: Op, element: DType) -> NoReturn:
    raise CompileError(
        f"Ascend: the vector unit cannot compute {op.name} on {element}",
        op.location,
        "convert to fp32 or int32 first",
    )


_RULES: Mapping[str, Callable[[Op], None]] = {
    SELECT.name: _select,
    CAST.name: _cast,
    FMA.name: _fma,
    BITCAST.name: _keep,
    SHL.name: _shift,
    SHR.name: _shift,
    **dict.fromkeys(_BITWISE, _bits),
}
