"""Vector instructions as AscendC statements: one row per op by name.

The count form is ``Add(dst, src0, src1, count)``; the repeat form takes the lanes of a repeat, the number of
repeats and the strides in blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tilejit.backend.ascend.emit_context import Emission, Emitter, pointer_of
from tilejit.backend.ascend.emit_move import call, divided
from tilejit.diagnostics import InternalError
from tilejit.ir.core import Op
from tilejit.ops.machine.conversions import Round
from tilejit.ops.machine.rules import BLOCK_BYTES
from tilejit.ops.machine.vector_reduce import Reduction
from tilejit.ops.machine.vector_select import Predicate, SelectMode

_BINARY = ("dst", "src0", "src1")
_UNARY = ("dst", "src")
_SELECT_MODES: Mapping[SelectMode, str] = {
    SelectMode.REGISTER: "VSEL_CMPMASK_SPR",
    SelectMode.SCALAR: "VSEL_TENSOR_SCALAR_MODE",
    SelectMode.TENSOR: "VSEL_TENSOR_TENSOR_MODE",
}


def _strides(op: Op, length: int) -> tuple[int, ...]:
    """The strides attribute: block strides, then repeat strides, dst first in each."""
    strides = op.attributes["strides"]
    if not isinstance(strides, tuple) or len(strides) != length:
        raise InternalError(f"{op.name} needs {length} strides; it has {strides}", op.location)
    return strides


def _repeat_params(pointers: int, strides: Sequence[int]) -> str:
    kind = "BinaryRepeatParams" if pointers == 3 else "UnaryRepeatParams"
    return call(kind, *map(str, strides))


def _extent(emission: Emission, op: Op, pointers: int) -> list[str]:
    """The count, or in the repeat form lanes, repeats and strides of so many pointers."""
    count, repeats = emission.operand(op, "count"), op.optional_operand("repeats")
    if repeats is None:
        return [count]
    return [count, emission.text(repeats), _repeat_params(pointers, _strides(op, 2 * pointers))]


def _elementwise(function: str, names: Sequence[str], *, scalar: bool = False) -> Emitter:
    operands = (*names, *(("scalar",) if scalar else ()))

    def emit(emission: Emission, op: Op) -> str:
        arguments = [emission.operand(op, name) for name in operands]
        return call(function, *arguments, *_extent(emission, op, len(names)))

    return emit


def _shift(function: str) -> Emitter:
    def emit(emission: Emission, op: Op) -> str:
        amount = f"static_cast<{emission.element(op, 'dst')}>({emission.operand(op, 'scalar')})"
        dst, src = emission.operand(op, "dst"), emission.operand(op, "src")
        return call(function, dst, src, amount, *_extent(emission, op, 2))

    return emit


def _emit_cast(emission: Emission, op: Op) -> str:
    mode = op.attributes["round"]
    assert isinstance(mode, Round)
    rounding = f"AscendC::RoundMode::CAST_{mode.value.upper()}"
    dst, src = emission.operand(op, "dst"), emission.operand(op, "src")
    return call("Cast", dst, src, rounding, *_extent(emission, op, 2))


def _compare(function: str, sources: Sequence[str]) -> Emitter:
    def emit(emission: Emission, op: Op) -> str:
        predicate = op.attributes["predicate"]
        assert isinstance(predicate, Predicate)
        asked = f"AscendC::CMPMODE::{predicate.value.upper()}"
        arguments = [emission.operand(op, name) for name in ("dst", *sources)]
        pointers = 1 + sum(name != "scalar" for name in sources)
        return call(function, *arguments, asked, *_extent(emission, op, pointers))

    return emit


def _emit_select(emission: Emission, op: Op) -> str:
    mode = op.attributes["mode"]
    assert isinstance(mode, SelectMode)
    second = "scalar" if mode is SelectMode.SCALAR else "src1"
    arguments = [emission.operand(op, name) for name in ("dst", "mask", "src0", second)]
    arguments.append(f"AscendC::SELMODE::{_SELECT_MODES[mode]}")
    repeats = op.optional_operand("repeats")
    if repeats is None or mode is not SelectMode.SCALAR:
        return call("Select", *arguments, *_extent(emission, op, 3))
    # The scalar has no strides, but the struct a place for them.
    dst_block, src_block, dst_repeat, src_repeat = _strides(op, 4)
    strides = (dst_block, src_block, 1, dst_repeat, src_repeat, 8)
    count = emission.operand(op, "count")
    return call("Select", *arguments, count, emission.text(repeats), _repeat_params(3, strides))


def _reduction(op: Op) -> Reduction:
    kind = op.attributes["kind"]
    assert isinstance(kind, Reduction)
    return kind


def _emit_reduce_whole(emission: Emission, op: Op) -> str:
    kind = _reduction(op)
    arguments = [emission.operand(op, name) for name in ("dst", "src", "count", "repeats")]
    arguments += map(str, _strides(op, 3))
    if kind is not Reduction.SUM:
        order = "ORDER_VALUE_INDEX" if op.attributes["index"] else "ORDER_ONLY_VALUE"
        arguments.append(f"AscendC::ReduceOrder::{order}")
    return call(f"WholeReduce{kind.value.capitalize()}", *arguments)


def _emit_reduce_block(emission: Emission, op: Op) -> str:
    arguments = [emission.operand(op, name) for name in ("dst", "src", "repeats", "count")]
    return call(f"BlockReduce{_reduction(op).value.capitalize()}", *arguments, *map(str, _strides(op, 3)))


def _emit_reduce_pair(emission: Emission, op: Op) -> str:
    arguments = [emission.operand(op, name) for name in ("dst", "src", "repeats", "count")]
    return call("PairReduceSum", *arguments, *map(str, _strides(op, 3)))


def _emit_copy(emission: Emission, op: Op) -> str:
    blocks = divided(emission, op.operand("count"), BLOCK_BYTES // pointer_of(op, "dst").element.itemsize)
    rows = emission.optional(op, "rows", "1")
    gaps = (emission.optional(op, name, "0") for name in ("src_gap", "dst_gap"))
    dst, src = emission.operand(op, "dst"), emission.operand(op, "src")
    return call("DataCopy", dst, src, call("DataCopyParams", rows, blocks, *gaps))


def _emit_dup(emission: Emission, op: Op) -> str:
    arguments = [emission.operand(op, name) for name in ("dst", "scalar", "count")]
    repeats = op.optional_operand("repeats")
    if repeats is not None:
        arguments += [emission.text(repeats), *map(str, _strides(op, 2))]
    return call("Duplicate", *arguments)


def _emit_brcb(emission: Emission, op: Op) -> str:
    arguments = [emission.operand(op, name) for name in ("dst", "src", "repeats")]
    return call("Brcb", *arguments, call("BrcbRepeatParams", *map(str, _strides(op, 2))))


def _emit_gather(emission: Emission, op: Op) -> str:
    return call(
        "Gather", *(emission.operand(op, name) for name in ("dst", "src", "offsets", "base", "count"))
    )


def _emit_transpose(emission: Emission, op: Op) -> str:
    return call("Transpose", emission.operand(op, "dst"), emission.operand(op, "src"))


def _emit_transpose_5hd(emission: Emission, op: Op) -> str:
    halves = ("true" if op.attributes[name] else "false" for name in ("dst_high", "src_high"))
    repeats = (emission.optional(op, name, "0") for name in ("dst_repeat", "src_repeat"))
    params = call("TransDataTo5HDParams", *halves, emission.operand(op, "repeats"), *repeats)
    names = ("dst", "src", "dst_stride", "src_stride")
    return emission.call("transpose_blocks", *(emission.operand(op, name) for name in names), params)


VECTOR_EMITTERS: Mapping[str, Emitter] = {
    "vadd": _elementwise("Add", _BINARY),
    "vsub": _elementwise("Sub", _BINARY),
    "vmul": _elementwise("Mul", _BINARY),
    "vdiv": _elementwise("Div", _BINARY),
    "vmax": _elementwise("Max", _BINARY),
    "vmin": _elementwise("Min", _BINARY),
    "vand": _elementwise("And", _BINARY),
    "vor": _elementwise("Or", _BINARY),
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
    "vnot": _elementwise("Not", _UNARY),
    "vshl": _shift("ShiftLeft"),
    "vshr": _shift("ShiftRight"),
    "vaxpy": _elementwise("Axpy", _UNARY, scalar=True),
    "vmuladd": _elementwise("MulAddDst", _BINARY),
    "vcast": _emit_cast,
    "vcmp": _compare("Compare", ("src0", "src1")),
    "vcmps": _compare("Compares", ("src", "scalar")),
    "vsel": _emit_select,
    "reduce_whole": _emit_reduce_whole,
    "reduce_block": _emit_reduce_block,
    "reduce_pair": _emit_reduce_pair,
    "copy_ub": _emit_copy,
    "vdup": _emit_dup,
    "vbrcb": _emit_brcb,
    "vgather": _emit_gather,
    "vtranspose16": _emit_transpose,
    "vtranspose5hd": _emit_transpose_5hd,
}
