"""A handful of op records for tests of the generic IR code, which knows no op by name."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import numpy as np

from tilejit.ir.opdef import (
    Arity,
    AttributeKind,
    AttributeSpec,
    Effects,
    EvaluationCall,
    OpDef,
    OperandSpec,
    TypeQuery,
    TypeRuleError,
)
from tilejit.ir.types import DType, PointerType, TileType, Type


class Mode(Enum):
    """Choices of an enum attribute; one value is no identifier."""

    PLAIN = "plain"
    STRANGE = "3 x"


def _no_meaning(call: EvaluationCall) -> Sequence[np.ndarray]:
    raise NotImplementedError


def _number_type(query: TypeQuery) -> tuple[Type, ...]:
    dtype = query.attributes["dtype"]
    assert isinstance(dtype, (DType, PointerType))
    return (TileType(dtype),)


def _same_type(query: TypeQuery) -> tuple[Type, ...]:
    if query.type("lhs") != query.type("rhs"):
        raise TypeRuleError(f"operands differ: {query.type('lhs')} and {query.type('rhs')}")
    return (query.type("lhs"),)


def _carried_types(query: TypeQuery) -> tuple[Type, ...]:
    return query.types("inits")


NUMBER = OpDef(
    "number",
    (),
    _number_type,
    _no_meaning,
    (AttributeSpec("value", AttributeKind.NUMBER), AttributeSpec("dtype", AttributeKind.ELEMENT)),
)
PLUS = OpDef("plus", (OperandSpec("lhs"), OperandSpec("rhs")), _same_type, _no_meaning, is_elementwise=True)
PAIR = OpDef(
    "pair",
    (OperandSpec("lhs"), OperandSpec("rhs")),
    lambda query: (query.type("lhs"), query.type("rhs")),
    _no_meaning,
)
PEEK = OpDef(
    "peek",
    (OperandSpec("pointer"), OperandSpec("mask", Arity.OPTIONAL), OperandSpec("other", Arity.OPTIONAL)),
    lambda query: (query.type("pointer"),),
    _no_meaning,
    (
        AttributeSpec("hint", AttributeKind.STRING, default=""),
        AttributeSpec("shape", AttributeKind.INTS, default=()),
        AttributeSpec("exact", AttributeKind.BOOL, default=False),
        AttributeSpec("mode", AttributeKind.ENUM, Mode, Mode.PLAIN),
        AttributeSpec("times", AttributeKind.INT, default=1),
        AttributeSpec("scale", AttributeKind.NUMBER, default=0.0),
    ),
    effects=Effects.READ,
)
POKE = OpDef("poke", (OperandSpec("value"),), lambda query: (), _no_meaning, effects=Effects.WRITE)
LOOP = OpDef(
    "loop",
    (OperandSpec("count"), OperandSpec("inits", Arity.VARIADIC)),
    _carried_types,
    _no_meaning,
    (AttributeSpec("times", AttributeKind.INT, default=1),),
    regions=("test", "body"),
)
PASS = OpDef(
    "pass", (OperandSpec("values", Arity.VARIADIC),), lambda query: (), _no_meaning, is_terminator=True
)
STOP = OpDef("stop", (), lambda query: (), _no_meaning, is_terminator=True)

OPS: dict[str, OpDef] = {
    definition.name: definition for definition in (NUMBER, PLUS, PAIR, PEEK, POKE, LOOP, PASS, STOP)
}
