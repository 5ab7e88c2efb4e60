"""Tiles on their way from one kind of core to the other, while both are one function of tile IR.

``send`` and ``receive`` with the same number belong together: each run of the one is for one run of the
other, in order. ``lower_crossings`` makes stores, loads and flags of them.
"""

from __future__ import annotations

from tilejit.ir.opdef import AttributeKind, AttributeSpec, Effects, OpDef, TypeQuery
from tilejit.ir.types import DType, TileType, Type
from tilejit.ops.machine.rules import not_a_tile_op
from tilejit.ops.type_rules import operand_specs, require
from tilejit.target.spaces import Core

_NUMBER = AttributeSpec("crossing", AttributeKind.INT)
_PRODUCER = AttributeSpec("producer", AttributeKind.ENUM, Core)


def _infer_send(query: TypeQuery) -> tuple[Type, ...]:
    value = query.type("value")
    require(not value.is_scalar, f"send takes a tile; got {value}")
    return ()


SEND = OpDef(
    name="send",
    operands=operand_specs("value", "mask?"),
    infer=_infer_send,
    evaluate=not_a_tile_op,
    attributes=(_NUMBER, _PRODUCER),
    effects=Effects.IO,
    summary="hand a tile to the other kind of core, as far as the mask holds",
)


def _infer_receive(query: TypeQuery) -> tuple[Type, ...]:
    element, shape = query.attributes["dtype"], query.attributes["shape"]
    assert isinstance(element, DType) and isinstance(shape, tuple)
    return (TileType(element, tuple(int(str(size)) for size in shape)),)


RECEIVE = OpDef(
    name="receive",
    operands=operand_specs("mask?"),
    infer=_infer_receive,
    evaluate=not_a_tile_op,
    attributes=(
        _NUMBER,
        _PRODUCER,
        AttributeSpec("shape", AttributeKind.INTS),
        AttributeSpec("dtype", AttributeKind.ELEMENT),
    ),
    effects=Effects.IO,
    summary="take the next tile that the other kind of core sent; 0 where the mask does not hold",
)

CROSS_OPS: tuple[OpDef, ...] = (SEND, RECEIVE)
