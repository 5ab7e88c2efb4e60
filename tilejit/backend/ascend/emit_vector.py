"""Vector instructions as AscendC statements: one row per op by name.

The count form is ``Add(dst, src0, src1, count)``; the repeat form takes the lanes of a repeat, the number of
repeats and the strides in blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tilejit.backend.ascend.emit_context import Emission, Emitter
from tilejit.diagnostics import InternalError
from tilejit.ir.core import Op

_BINARY = ("dst", "src0", "src1")
_UNARY = ("dst", "src")


def strides_of(op: Op) -> tuple[int, ...]:
    """The strides attribute: block strides, then repeat strides, dst first in each."""
    strides = op.attributes["strides"]
    assert isinstance(strides, tuple)
    return strides


def repeat_arguments(emission: Emission, op: Op) -> list[str]:
    """Count of the count form, or lanes, repeats and strides of the repeat form."""
    count, repeats = emission.operand(op, "count"), op.optional_operand("repeats")
    if repeats is None:
        return [count]
    strides = strides_of(op)
    kind = {4: "UnaryRepeatParams", 6: "BinaryRepeatParams"}.get(len(strides))
    if kind is None:
        raise InternalError(f"{op.name} with {len(strides)} strides", op.location)
    return [count, emission.text(repeats), f"AscendC::{kind}({', '.join(map(str, strides))})"]


def _elementwise(function: str, names: Sequence[str], *, scalar: bool = False) -> Emitter:
    operands = (*names, *(("scalar",) if scalar else ()))

    def emit(emission: Emission, op: Op) -> str:
        arguments = [*(emission.operand(op, name) for name in operands), *repeat_arguments(emission, op)]
        return f"AscendC::{function}({', '.join(arguments)})"

    return emit


VECTOR_EMITTERS: Mapping[str, Emitter] = {
    "vadd": _elementwise("Add", _BINARY),
    "vsub": _elementwise("Sub", _BINARY),
    "vmul": _elementwise("Mul", _BINARY),
    "vdiv": _elementwise("Div", _BINARY),
    "vmax": _elementwise("Max", _BINARY),
    "vmin": _elementwise("Min", _BINARY),
    "vadds": _elementwise("Adds", _UNARY, scalar=True),
    "vmuls": _elementwise("Muls", _UNARY, scalar=True),
    "vmaxs": _elementwise("Maxs", _UNARY, scalar=True),
    "vmins": _elementwise("Mins", _UNARY, scalar=True),
    "vexp": _elementwise("Exp", _UNARY),
    "vln": _elementwise("Ln", _UNARY),
    "vsqrt": _elementwise("Sqrt", _UNARY),
    "vrsqrt": _elementwise("Rsqrt", _UNARY),
    "vrec": _elementwise("Reciprocal", _UNARY),
    "vabs": _elementwise("Abs", _UNARY),
    "vrelu": _elementwise("Relu", _UNARY),
}
