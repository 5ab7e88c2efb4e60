"""Scalar ops as C++ expressions of the scalar unit: one row per op by name.

fp16 and bf16 are computed in fp32 and rounded once, as everywhere in the IR.
"""

from __future__ import annotations

from collections.abc import Mapping

from tilejit.backend.ascend.emit_context import (
    Emission,
    Emitter,
    cpp_type,
    memory_type,
    pointer_of,
    variable_type,
)
from tilejit.backend.ascend.emit_ranges import cannot_wrap
from tilejit.diagnostics import CompileError, InternalError
from tilejit.ir.core import Op
from tilejit.ir.types import INT1, INT32, INT64, UINT32, UINT64, DType, PointerType
from tilejit.ops import CmpPredicate, Rounding
from tilejit.target.spaces import Space

_SYMBOLS: Mapping[CmpPredicate, str] = {
    CmpPredicate.EQ: "==",
    CmpPredicate.NE: "!=",
    CmpPredicate.LT: "<",
    CmpPredicate.LE: "<=",
    CmpPredicate.GT: ">",
    CmpPredicate.GE: ">=",
}


def _number_type(op: Op) -> DType:
    element = op.results[0].type.element
    if not isinstance(element, DType):
        raise InternalError(f"{op.name} of {element}", op.location)
    cpp_type(element, op)
    return element


def _computed(emission: Emission, op: Op, name: str, element: DType) -> str:
    """An operand in the type it is computed in."""
    return emission.to_float(element, emission.operand(op, name))


def _arithmetic(symbol: str, helper: str) -> Emitter:
    """By the operator; signed integers by a helper where they may wrap."""

    def emit(emission: Emission, op: Op) -> str:
        element = _number_type(op)
        lhs, rhs = (_computed(emission, op, name, element) for name in ("lhs", "rhs"))
        if element.is_floating():
            return emission.from_float(element, f"{lhs} {symbol} {rhs}")
        is_plain = element in (UINT32, UINT64) or (element in (INT32, INT64) and cannot_wrap(op))
        return f"{lhs} {symbol} {rhs}" if is_plain else emission.call(helper, lhs, rhs)

    return emit


def _extremum(helper: str) -> Emitter:
    def emit(emission: Emission, op: Op) -> str:
        element = _number_type(op)
        lhs, rhs = (_computed(emission, op, name, element) for name in ("lhs", "rhs"))
        name = f"{helper}_or_nan" if op.attributes["propagate_nan"] else helper
        called = emission.call(name, lhs, rhs)
        return emission.from_float(element, called) if element.is_floating() else called

    return emit


def _quotient(symbol: str, helper: str) -> Emitter:
    """By the operator where the divisor is a positive constant, else by a helper that defines all cases."""

    def emit(emission: Emission, op: Op) -> str:
        element, divisor = _number_type(op), op.operand("rhs").defining_op
        lhs, rhs = emission.operand(op, "lhs"), emission.operand(op, "rhs")
        if divisor is not None and divisor.name == "constant" and element in (INT32, INT64, UINT32, UINT64):
            number = divisor.attributes["value"]
            if isinstance(number, int) and number > 0:
                return f"{lhs} {symbol} {rhs}"
        return emission.call(helper, lhs, rhs)

    return emit


def _integer_call(helper: str) -> Emitter:
    def emit(emission: Emission, op: Op) -> str:
        _number_type(op)
        return emission.call(helper, emission.operand(op, "lhs"), emission.operand(op, "rhs"))

    return emit


def _bitwise(symbol: str, on_bools: str) -> Emitter:
    def emit(emission: Emission, op: Op) -> str:
        element = _number_type(op)
        chosen = on_bools if element == INT1 else symbol
        text = f"{emission.operand(op, 'lhs')} {chosen} {emission.operand(op, 'rhs')}"
        return (
            f"static_cast<{cpp_type(element)}>({text})" if element.itemsize < 4 and element != INT1 else text
        )

    return emit


def _float_function(spelling: str, helper: bool) -> Emitter:
    def emit(emission: Emission, op: Op) -> str:
        element = _number_type(op)
        x = _computed(emission, op, "x", element)
        return emission.from_float(element, emission.call(spelling, x) if helper else f"{spelling}({x})")

    return emit


def _emit_div(emission: Emission, op: Op) -> str:
    element = _number_type(op)
    lhs, rhs = (_computed(emission, op, name, element) for name in ("lhs", "rhs"))
    return emission.from_float(element, f"{lhs} / {rhs}")


def _emit_rsqrt(emission: Emission, op: Op) -> str:
    element = _number_type(op)
    return emission.from_float(element, f"1.0f / sqrt({_computed(emission, op, 'x', element)})")


def _emit_umulhi(emission: Emission, op: Op) -> str:
    element = _number_type(op)
    lhs, rhs = emission.operand(op, "lhs"), emission.operand(op, "rhs")
    if element.bits == 64:
        return emission.call("umulhi64", lhs, rhs)
    wide = "int64_t" if element.is_int_signed() else "uint64_t"
    return emission.call("umulhi32", lhs, rhs, types=f"{cpp_type(element)}, {wide}")


def _emit_not(emission: Emission, op: Op) -> str:
    element = _number_type(op)
    x = emission.operand(op, "x")
    return f"!{x}" if element == INT1 else f"static_cast<{cpp_type(element)}>(~{x})"


def _emit_neg(emission: Emission, op: Op) -> str:
    element = _number_type(op)
    return emission.from_float(element, f"-({_computed(emission, op, 'x', element)})")


def _emit_abs(emission: Emission, op: Op) -> str:
    element = _number_type(op)
    x = _computed(emission, op, "x", element)
    if element.is_floating():
        return emission.from_float(element, emission.call("fabs", x))
    return x if element.is_int_unsigned() else emission.call("abs", x)


def _emit_cmp(emission: Emission, op: Op) -> str:
    predicate, element = op.attributes["predicate"], op.operand("lhs").type.element
    assert isinstance(predicate, CmpPredicate)
    if isinstance(element, PointerType):
        texts = [_address(emission, op, name) for name in ("lhs", "rhs")]
    else:
        cpp_type(element, op)
        texts = [_computed(emission, op, name, element) for name in ("lhs", "rhs")]
    return f"{texts[0]} {_SYMBOLS[predicate]} {texts[1]}"


def _address(emission: Emission, op: Op, name: str) -> str:
    text = emission.operand(op, name)
    return text if pointer_of(op, name).space is Space.GM else f"{text}.GetPhyAddr()"


def _emit_select(emission: Emission, op: Op) -> str:
    condition, yes, no = (emission.operand(op, name) for name in ("condition", "true_value", "false_value"))
    return f"{condition} ? {yes} : {no}"


def _emit_cast(emission: Emission, op: Op) -> str:
    source, target = op.operand("x").type.element, _number_type(op)
    assert isinstance(source, DType)
    cpp_type(source, op)
    if op.attributes["rounding"] is Rounding.RTZ:
        raise CompileError(
            "casts that round toward zero are not available for scalars on Ascend 910B",
            op.location,
            "cast without rounding=, or cast tiles",
        )
    x = _computed(emission, op, "x", source)
    if target == source:
        return emission.operand(op, "x")
    if target == INT1:
        return f"{x} != 0"
    if target.is_floating():
        return emission.from_float(target, x if source.is_floating() else f"static_cast<float>({x})")
    if not source.is_floating():
        return f"static_cast<{cpp_type(target)}>({x})"
    bounds = (emission.number(target, bound, op) for bound in (target.min_value, target.max_value))
    return emission.call("saturate", x, *bounds, types=cpp_type(target))


def _emit_bitcast(emission: Emission, op: Op) -> str:
    source, target = op.operand("x").type.element, op.results[0].type.element
    x = emission.operand(op, "x")
    if isinstance(source, PointerType) and isinstance(target, PointerType):
        return _reinterpreted(source, target, x)
    if isinstance(source, PointerType) or isinstance(target, PointerType):
        return f"reinterpret_cast<{variable_type(target, op)}>({x})"
    return emission.call("bits_of", x, types=cpp_type(target, op))


def _reinterpreted(source: PointerType, target: PointerType, text: str) -> str:
    if source.space is Space.GM:
        return f"reinterpret_cast<{variable_type(target)}>({text})"
    return f"{text}.ReinterpretCast<{memory_type(target.element)}>()"


def _emit_reinterpret(emission: Emission, op: Op) -> str:
    target = op.results[0].type.element
    assert isinstance(target, PointerType)
    return _reinterpreted(pointer_of(op, "pointer"), target, emission.operand(op, "pointer"))


def _emit_addptr(emission: Emission, op: Op) -> str:
    pointer, offset = emission.operand(op, "pointer"), emission.operand(op, "offset")
    if pointer_of(op, "pointer").space is Space.GM:
        return f"{pointer} + {offset}"
    return f"{pointer}[{offset}]"


def _emit_load(emission: Emission, op: Op) -> str:
    pointer = emission.tensor(op, "pointer")
    text = f"{pointer}.GetValue(0)"
    if op.attributes["volatile"] and emission.space(op, "pointer") is Space.GM:
        text = emission.call("load_fresh", emission.operand(op, "pointer"))
    if op.optional_operand("mask") is None:
        return text
    element = op.results[0].type.element
    other = emission.optional(op, "other", emission.number(element, 0, op))
    return f"{emission.optional(op, 'mask', '')} ? {text} : {other}"


def _emit_store(emission: Emission, op: Op) -> str:
    value = emission.operand(op, "value")
    if emission.space(op, "pointer") is Space.GM:
        text = emission.call("store_global", emission.operand(op, "pointer"), value)
    else:
        text = f"{emission.operand(op, 'pointer')}.SetValue(0, {value})"
    mask = op.optional_operand("mask")
    return text if mask is None else f"if ({emission.text(mask)}) {text}"


def _emit_buffer(emission: Emission, op: Op) -> str:
    attributes = op.attributes
    element = attributes["element"]
    assert isinstance(element, DType)
    address, elements, slots = (attributes[name] for name in ("address", "elements", "slots"))
    assert isinstance(address, int) and isinstance(elements, int) and isinstance(slots, int)
    if address < 0:
        raise InternalError("a buffer without an address reached the emitter", op.location)
    if attributes["space"] is Space.GM:
        if not emission.workspace:
            raise InternalError("a buffer in GM, but the kernel has no workspace", op.location)
        offset = f"{block_index(emission)} * {emission.workspace_bytes}LL + {address}"
        kind = variable_type(op.results[0].type.element, op)
        return f"reinterpret_cast<{kind}>({emission.workspace} + ({offset}))"
    slot_bytes = attributes["slot_bytes"]
    assert isinstance(slot_bytes, int)
    step = slot_bytes // element.itemsize
    reach = f"{slots} * {step}" if slots > 1 and step == elements else str(elements + (slots - 1) * step)
    tensor = variable_type(op.results[0].type.element, op)
    return f"{tensor}({emission.position(op)}, {address}, {reach})"


def _emit_slot(emission: Emission, op: Op) -> str:
    source = op.operand("buffer").defining_op
    if source is None or source.name != "buffer":
        raise InternalError("slot of something that is no buffer", op.location)
    element, slot_bytes, slots = (source.attributes[n] for n in ("element", "slot_bytes", "slots"))
    assert isinstance(element, DType) and isinstance(slot_bytes, int)
    if slot_bytes % element.itemsize:
        raise InternalError(f"slots of {slot_bytes} bytes do not hold whole {element}", op.location)
    index = f"static_cast<uint32_t>({emission.operand(op, 'index')}) % {slots}u"
    offset = f"{index} * {slot_bytes // element.itemsize}u"
    buffer = emission.operand(op, "buffer")
    if source.attributes["space"] is Space.GM:
        return f"{buffer} + {offset}"
    return f"{buffer}[{offset}]"


def block_index(emission: Emission) -> str:
    """The index of the block a core belongs to; GetBlockIdx counts vector cores on a mixed kernel's AIV."""
    if emission.is_mixed and emission.core.value == "aiv":
        return "AscendC::GetBlockIdx() / 2"
    return "AscendC::GetBlockIdx()"


def _emit_block_index(emission: Emission, op: Op) -> str:
    return f"static_cast<int32_t>({block_index(emission)})"


def _emit_block_count(emission: Emission, op: Op) -> str:
    return "static_cast<int32_t>(AscendC::GetBlockNum())"


def _emit_sub_block_index(emission: Emission, op: Op) -> str:
    return "static_cast<int32_t>(AscendC::GetSubBlockIdx())" if emission.is_mixed else "0"


def _emit_device_assert(emission: Emission, op: Op) -> str:
    condition, mask = emission.operand(op, "condition"), op.optional_operand("mask")
    holds = condition if mask is None else f"!{emission.text(mask)} || {condition}"
    return f"if (!({holds})) AscendC::Trap()"


def _refused(what: str) -> Emitter:
    def emit(emission: Emission, op: Op) -> str:
        raise CompileError(
            f"the scalar unit of Ascend 910B has no {what}", op.location, "compute it on a tile instead"
        )

    return emit


def _refused_print(emission: Emission, op: Op) -> str:
    raise CompileError(
        "device_print is not available on Ascend 910B", op.location, "run the kernel on the CPU to print"
    )


SCALAR_EMITTERS: Mapping[str, Emitter] = {
    "add": _arithmetic("+", "add"),
    "sub": _arithmetic("-", "sub"),
    "mul": _arithmetic("*", "mul"),
    "div": _emit_div,
    "idiv": _quotient("/", "idiv"),
    "irem": _quotient("%", "irem"),
    "frem": _refused("floating remainder"),
    "umulhi": _emit_umulhi,
    "min": _extremum("min"),
    "max": _extremum("max"),
    "and": _bitwise("&", "&&"),
    "or": _bitwise("|", "||"),
    "xor": _bitwise("^", "!="),
    "shl": _integer_call("shl"),
    "shr": _integer_call("shr"),
    "fma": _refused("fused multiply-add"),
    "not": _emit_not,
    "neg": _emit_neg,
    "abs": _emit_abs,
    "floor": _float_function("floor", True),
    "ceil": _float_function("ceil", True),
    "sqrt": _float_function("sqrt", False),
    "exp": _refused("exponential function"),
    "exp2": _refused("exponential function"),
    "log": _refused("logarithm"),
    "log2": _refused("logarithm"),
    "sin": _refused("sine"),
    "cos": _refused("cosine"),
    "erf": _refused("error function"),
    "rsqrt": _emit_rsqrt,
    "cmp": _emit_cmp,
    "select": _emit_select,
    "cast": _emit_cast,
    "bitcast": _emit_bitcast,
    "addptr": _emit_addptr,
    "load": _emit_load,
    "store": _emit_store,
    "device_assert": _emit_device_assert,
    "device_print": _refused_print,
    "buffer": _emit_buffer,
    "slot": _emit_slot,
    "reinterpret": _emit_reinterpret,
    "block_index": _emit_block_index,
    "block_count": _emit_block_count,
    "sub_block_index": _emit_sub_block_index,
}
