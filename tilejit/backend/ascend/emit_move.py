"""Copies between memories as AscendC statements: one row per op by name."""

from __future__ import annotations

from collections.abc import Mapping

from tilejit.backend.ascend.emit_context import Emission, Emitter, pointer_of
from tilejit.ir.core import Op, Value


def call(function: str, *arguments: str) -> str:
    """A call of an AscendC function or the making of one of its parameter structs."""
    return f"AscendC::{function}({', '.join(arguments)})"


def divided(emission: Emission, value: Value, divisor: int) -> str:
    """A number that is a multiple of ``divisor``, divided by it."""
    op = value.defining_op
    if op is not None and op.name == "constant":
        number = op.attributes["value"]
        assert isinstance(number, int)
        return str(number // divisor)
    return f"{emission.text(value)} / {divisor}"


def _rows(emission: Emission, op: Op, source: str, target: str) -> str:
    """DataCopyExtParams; the gap of each side is from the end of a row to the start of the next."""
    rows, row_bytes = emission.operand(op, "rows"), emission.operand(op, "row_bytes")
    gaps = (emission.optional(op, name, "0") for name in (source, target))
    return call("DataCopyExtParams", rows, row_bytes, *gaps, "0")


def _emit_copy_in(emission: Emission, op: Op) -> str:
    element = pointer_of(op, "dst").element
    right = op.optional_operand("right")
    value = op.attributes["value"]
    assert isinstance(value, int | float)
    number = emission.number(element, value if element.is_floating() else int(value), op)
    padding = call(
        f"DataCopyPadExtParams<{emission.element(op, 'dst')}>",
        "false" if right is None else "true",
        "0",
        "0" if right is None else emission.text(right),
        number,
    )
    dst, src = emission.operand(op, "dst"), emission.operand(op, "src")
    tensor = emission.call("streamed" if op.attributes["streams"] else "global", src)
    return call("DataCopyPad", dst, tensor, _rows(emission, op, "gm_gap", "ub_gap"), padding)


def _emit_copy_out(emission: Emission, op: Op) -> str:
    dst, src = emission.gm(op, "dst"), emission.operand(op, "src")
    return call("DataCopyPad", dst, src, _rows(emission, op, "ub_gap", "gm_gap"))


MOVE_EMITTERS: Mapping[str, Emitter] = {
    "copy_in": _emit_copy_in,
    "copy_out": _emit_copy_out,
}
