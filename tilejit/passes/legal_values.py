"""What rules of legalisation make ops with: numbers, polynomials, casts in steps that the unit has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from tilejit.ir.core import Builder, Op, Value
from tilejit.ir.opdef import Attribute, OpDef
from tilejit.ir.types import (
    BF16,
    DTYPES,
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
    UINT64,
    DType,
    TileType,
)
from tilejit.ops import (
    ADD,
    AND,
    BITCAST,
    BROADCAST,
    CAST,
    CMP,
    CONSTANT,
    MAX,
    MIN,
    MUL,
    SELECT,
    SHL,
    SHR,
    SPLAT,
    SUB,
    CmpPredicate,
)
from tilejit.ops.type_rules import spell_dtypes
from tilejit.passes.tile_homes import VECTOR_ONLY_OPS, TileHomes
from tilejit.passes.unsupported import refusal, spell_kind

DIRECT: frozenset[tuple[DType, DType]] = frozenset(
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
    (INT8, INT64): (FP16, INT32), (UINT8, INT64): (FP16, INT32), (INT16, INT64): (FP32, INT32),
    (FP16, INT64): (FP32,),
}  # fmt: skip
"""What a cast goes through; every step but the last is exact, or the last gives the same all the same."""
_NARROWED: Mapping[tuple[DType, DType], tuple[DType, ...]] = {
    (INT32, INT16): (), (INT32, INT8): (FP32, FP16), (INT16, INT8): (FP16,),
}  # fmt: skip
"""Casts that wrap: the unit clamps, so the number is first brought into range by shifts."""

_SAME_BITS = ({INT8, UINT8}, {INT16, UINT16}, {INT32, UINT32}, {INT64, UINT64})


def element_of(value: Value) -> DType:
    """The element type of a tile or scalar of numbers."""
    element = value.type.element
    assert isinstance(element, DType)
    return element


class Maker:
    """Makes ops in front of the one that they replace; ``made`` are those that rules may replace in turn."""

    def __init__(self, op: Op, homes: TileHomes | None = None) -> None:
        """``homes``: known where scalars in UB must not be computed with on the scalar unit."""
        assert op.parent is not None
        self._builder = Builder(op.parent, op, op.location)
        self._homes = homes
        self.made: list[Op] = []

    def make(
        self, definition: OpDef, attributes: Mapping[str, Attribute] | None = None, **operands: Value
    ) -> Value:
        """Make an op with one result; of operands that each repeat a scalar, it is made of the scalars."""
        scalars = self._repeated(definition, operands)
        if scalars is not None:
            shape = next(iter(operands.values())).type.shape
            computed = self.make(definition, attributes, **scalars)
            return self.make(SPLAT, {"shape": shape}, x=computed)
        return self.make_all(definition, attributes, **operands)[0]

    def make_all(
        self, definition: OpDef, attributes: Mapping[str, Attribute] | None = None, **operands: Value
    ) -> list[Value]:
        """Make an op and return its results."""
        op = self._insert(Op(definition, operands, attributes, location=self._builder.location))
        self.made.append(op)
        return op.results

    def _insert(self, op: Op) -> Op:
        return self._builder.insert(op)

    def _repeated(self, definition: OpDef, operands: Mapping[str, Value]) -> dict[str, Value] | None:
        """The scalars that all operands of an elementwise op repeat; None where there are others."""
        if self._homes is None or not definition.is_elementwise or definition.name in VECTOR_ONLY_OPS:
            return None
        found: dict[str, Value] = {}
        for name, value in operands.items():
            op = value.defining_op
            if op is None or op.name != SPLAT.name or self._homes.is_ub_scalar(op.operands[0]):
                return None
            found[name] = op.operands[0]
        return found or None

    def compute(self, definition: OpDef, *operands: Value | int | float, **attributes: Attribute) -> Value:
        """Make an op of operands in their order; numbers take the type of the first tile."""
        like = next(operand for operand in operands if isinstance(operand, Value))
        values = [x if isinstance(x, Value) else self.constant(x, like.type) for x in operands]
        names = [spec.name for spec in definition.operands]
        return self.make(definition, attributes, **dict(zip(names, values, strict=True)))

    def compare(self, predicate: CmpPredicate, lhs: Value, rhs: Value | int | float) -> Value:
        """A comparison."""
        return self.compute(CMP, lhs, rhs, predicate=predicate)

    def select(self, condition: Value, chosen: Value | int | float, other: Value | int | float) -> Value:
        """Choose element by element; one of both is a tile."""
        like = chosen if isinstance(chosen, Value) else other
        assert isinstance(like, Value)
        values = [x if isinstance(x, Value) else self.constant(x, like.type) for x in (chosen, other)]
        return self.make(SELECT, condition=condition, true_value=values[0], false_value=values[1])

    def bits(self, x: Value, element: DType) -> Value:
        """The same bits as another type."""
        if element_of(x) == element:
            return x
        return self.make(BITCAST, {"dtype": element}, x=x)

    def constant(self, number: int | float, type: TileType) -> Value:
        scalar = self.make(CONSTANT, {"value": number, "dtype": type.element})
        return self.make(SPLAT, {"shape": type.shape}, x=scalar) if type.shape else scalar

    def polynomial(self, coefficients: Sequence[float], x: Value) -> Value:
        """Horner's scheme, the highest power first."""
        result = self.constant(coefficients[0], x.type)
        for coefficient in coefficients[1:]:
            product = self.make(MUL, lhs=result, rhs=x)
            result = self.make(ADD, lhs=product, rhs=self.constant(coefficient, x.type))
        return result

    def cast(self, x: Value, target: DType) -> Value:
        """Convert in legal steps, with the meaning of ``cast``. Raises: CompileError where there are none."""
        source = element_of(x)
        if source == target:
            return x
        view = x.defining_op
        if view is not None and view.name == BROADCAST.name and INT1 not in (source, target):
            return self.make(BROADCAST, view.attributes, x=self.cast(view.operands[0], target))
        if source == INT1:
            return self._cast_from_bool(x, target)
        if target == INT1:
            wide = self.cast(x, FP32) if source.bits < FP32.bits else x
            zero = self.constant(0.0 if element_of(wide).is_floating() else 0, wide.type)
            return self.make(CMP, {"predicate": CmpPredicate.NE}, lhs=wide, rhs=zero)
        if {source, target} in _SAME_BITS:
            return self.bits(x, target)
        unsigned = self._cast_unsigned(x, target)
        if unsigned is not None:
            return unsigned
        if target == UINT8 and source in (INT16, INT32):
            low = self.cast(x, INT16)
            x, source = self.make(AND, lhs=low, rhs=self.constant(255, low.type)), INT16
            steps: tuple[DType, ...] | None = (FP16,)
        elif (source, target) in _NARROWED:
            distance = self.constant(source.bits - target.bits, x.type)
            x = self.make(SHR, lhs=self.make(SHL, lhs=x, rhs=distance), rhs=distance)
            steps = _NARROWED[source, target]
        else:
            steps = () if (source, target) in DIRECT else _STEPS.get((source, target))
        if steps is None:
            raise refusal(
                f"the vector unit cannot cast {source} to {target}",
                self._builder.location,
                instead_of_cast(source, target),
            )
        for step in (*steps, target):
            x = self._insert(Op(CAST, {"x": x}, {"dtype": step}, location=self._builder.location)).result
        return x

    def _cast_unsigned(self, x: Value, target: DType) -> Value | None:
        """A cast from or to unsigned integers of 16 or 32 bits, by way of int32; None for others."""
        source = element_of(x)
        if source == UINT16:
            wide = self.compute(AND, self.cast(self.bits(x, INT16), INT32), 0xFFFF)
            return self.cast(wide, target)
        if source == UINT32:
            if not target.is_floating():
                return self.cast(self.bits(x, INT32), target)
            # Both halves are exact in fp32, so that their sum is rounded once.
            high = self.bits(self.compute(SHR, x, 16), INT32)
            low = self.compute(AND, self.bits(x, INT32), 0xFFFF)
            scaled = self.compute(MUL, self.cast(high, FP32), 65536.0)
            return self.cast(self.compute(ADD, scaled, self.cast(low, FP32)), target)
        if target not in (UINT16, UINT32):
            return None
        if source.is_int():
            narrow = INT16 if target == UINT16 else INT32
            return self.bits(self.cast(x, narrow), target)
        x = self.cast(x, FP32)
        if target == UINT16:
            whole = self.compute(MIN, self.compute(MAX, self.cast(x, INT32), 0), 0xFFFF)
            return self.bits(self.cast(whole, INT16), target)
        # Numbers from 2**31 on are brought into the range of int32, exactly.
        is_large = self.compare(CmpPredicate.GE, x, 2.0**31)
        small = self.compute(MAX, self.cast(x, INT32), 0)
        large = self.compute(ADD, self.cast(self.compute(SUB, x, 2.0**31), INT32), INT32.min_value)
        return self.bits(self.select(is_large, large, small), target)

    def _cast_from_bool(self, x: Value, target: DType) -> Value:
        type = TileType(FP32, x.type.shape)
        ones, zeros = self.constant(1.0, type), self.constant(0.0, type)
        chosen = self.make(SELECT, condition=x, true_value=ones, false_value=zeros)
        return self.cast(chosen, target)


Rule = Callable[[Maker, Op], None]
"""Replaces an op by ops that the unit computes, or leaves it where it is one."""


def refuse(op: Op, element: DType) -> NoReturn:
    """Say that the unit cannot compute ``op``. Raises: CompileError."""
    raise refusal(
        f"the vector unit cannot compute {spell_kind(op)} on {element}",
        op.location,
        instead_of_type(element),
    )


def instead_of_type(element: DType) -> str:
    """What to do where the vector unit lacks an instruction for elements of a type."""
    if _has_cast(element, FP32) or element in (UINT16, UINT32):
        return "convert to fp32 first"
    return f"pass fp32 or int32 arrays: the vector unit has no {element}"


def _has_cast(source: DType, target: DType) -> bool:
    return (source, target) in DIRECT or (source, target) in _STEPS or (source, target) in _NARROWED


def instead_of_cast(source: DType, target: DType) -> str:
    """What to do where the vector unit has no way from one type to another."""
    if not any(_has_cast(dtype, target) for dtype in DTYPES):
        return f"pass fp32 or int32 arrays: the vector unit has no {target}"
    if _has_cast(source, FP32) and _has_cast(FP32, target):
        return "go through fp32"
    known = [dtype for dtype in DTYPES if _has_cast(source, dtype)]
    if known:
        return f"convert to {spell_dtypes(known)}"
    return f"convert on the host: the vector unit has no {source}"
