"""What rules of legalisation make ops with: numbers, polynomials, casts in steps that the unit has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

from tilejit.diagnostics import CompileError
from tilejit.ir.core import Builder, Op, Value
from tilejit.ir.opdef import Attribute, OpDef
from tilejit.ir.types import BF16, FP16, FP32, INT1, INT8, INT16, INT32, INT64, UINT8, DType, TileType
from tilejit.ops import (
    ADD,
    AND,
    BITCAST,
    BROADCAST,
    CAST,
    CMP,
    CONSTANT,
    MUL,
    SELECT,
    SHL,
    SHR,
    SPLAT,
    CmpPredicate,
)

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
}  # fmt: skip
"""What a cast goes through; every step but the last is exact, or the last gives the same all the same."""
_NARROWED: Mapping[tuple[DType, DType], tuple[DType, ...]] = {
    (INT32, INT16): (), (INT32, INT8): (FP32, FP16), (INT16, INT8): (FP16,),
}  # fmt: skip
"""Casts that wrap: the unit clamps, so the number is first brought into range by shifts."""


def element_of(value: Value) -> DType:
    """The element type of a tile or scalar of numbers."""
    element = value.type.element
    assert isinstance(element, DType)
    return element


class Maker:
    """Makes ops in front of the one that they replace."""

    def __init__(self, op: Op) -> None:
        assert op.parent is not None
        self._builder = Builder(op.parent, op, op.location)

    def make(
        self, definition: OpDef, attributes: Mapping[str, Attribute] | None = None, **operands: Value
    ) -> Value:
        """Make an op with one result."""
        return self.make_all(definition, attributes, **operands)[0]

    def make_all(
        self, definition: OpDef, attributes: Mapping[str, Attribute] | None = None, **operands: Value
    ) -> list[Value]:
        """Make an op and return its results."""
        op = Op(definition, operands, attributes, location=self._builder.location)
        return self._builder.insert(op).results

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
        if view is not None and view.name == BROADCAST.name:
            return self.make(BROADCAST, view.attributes, x=self.cast(view.operands[0], target))
        if source == INT1:
            return self._cast_from_bool(x, target)
        if target == INT1:
            wide = self.cast(x, FP32) if source.bits < FP32.bits else x
            zero = self.constant(0.0 if element_of(wide).is_floating() else 0, wide.type)
            return self.make(CMP, {"predicate": CmpPredicate.NE}, lhs=wide, rhs=zero)
        if {source, target} == {INT8, UINT8}:
            return self.make(BITCAST, {"dtype": target}, x=x)
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
            raise CompileError(
                f"Ascend: the vector unit cannot cast {source} to {target}",
                self._builder.location,
                "go through fp32 or int32",
            )
        for step in (*steps, target):
            x = self.make(CAST, {"dtype": step}, x=x)
        return x

    def _cast_from_bool(self, x: Value, target: DType) -> Value:
        type = TileType(FP32, x.type.shape)
        ones, zeros = self.constant(1.0, type), self.constant(0.0, type)
        chosen = self.make(SELECT, condition=x, true_value=ones, false_value=zeros)
        return self.cast(chosen, target)


def refuse(op: Op, element: DType) -> NoReturn:
    """Say that the unit cannot compute ``op``. Raises: CompileError."""
    raise CompileError(
        f"Ascend: the vector unit cannot compute {op.name} on {element}",
        op.location,
        "convert to fp32 or int32 first",
    )
