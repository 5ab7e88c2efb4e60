"""Elementwise ops: arithmetic, comparison, selection, conversion, pointer arithmetic.

Operands of one op have one shape, and unless its record says otherwise one element type. Floats of 16 bits
are computed in fp32 and rounded once; floats of 8 bits are only converted, moved and selected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

import numpy as np

from tilejit.ir.opdef import (
    AttributeKind,
    AttributeSpec,
    EvaluationCall,
    OpDef,
    TypeQuery,
    TypeRuleError,
)
from tilejit.ir.types import (
    BF16,
    DTYPES,
    FP16,
    FP32,
    INT1,
    INT32,
    INT64,
    UINT32,
    UINT64,
    DType,
    PointerType,
    Type,
)
from tilejit.ops import numerics
from tilejit.ops.type_rules import (
    FLOATS,
    FP8S,
    INTEGERS,
    INTEGERS_AND_BOOL,
    NUMBERS,
    operand_specs,
    pointer_element,
    require,
    require_element,
    require_same_type,
    same_type_rule,
    spell_dtypes,
    storage_dtype,
)

Meaning = Callable[..., np.ndarray]


class CmpPredicate(Enum):
    """What ``cmp`` asks; on floats all but NE are false where an operand is NaN."""

    EQ = "eq"
    NE = "ne"
    LT = "lt"
    LE = "le"
    GT = "gt"
    GE = "ge"


class Rounding(Enum):
    """How ``cast`` narrows floats."""

    RTNE = "rtne"  # to nearest, ties to even
    RTZ = "rtz"  # toward zero


def _evaluate(names: Sequence[str], meaning: Meaning) -> Callable[[EvaluationCall], Sequence[np.ndarray]]:
    """Apply ``meaning`` to the operands in their computing type and round the result to the op's type."""

    def evaluate(call: EvaluationCall) -> Sequence[np.ndarray]:
        with np.errstate(all="ignore"):
            result = meaning(*[numerics.widen(call.operand(name)) for name in names])
            return (numerics.narrow(result, storage_dtype(call.op.results[0].type.element)),)

    return evaluate


def _elementwise(
    name: str,
    operand_names: Sequence[str],
    allowed: Sequence[DType],
    meaning: Meaning,
    summary: str,
    is_commutative: bool = False,
    is_exact: bool = True,
) -> OpDef:
    return OpDef(
        name=name,
        operands=operand_specs(*operand_names),
        infer=same_type_rule(name, operand_names, allowed),
        evaluate=_evaluate(operand_names, meaning),
        is_elementwise=True,
        is_commutative=is_commutative,
        is_exact=is_exact,
        summary=summary,
    )


def _binary(
    name: str, allowed: Sequence[DType], meaning: Meaning, summary: str, is_commutative: bool = False
) -> OpDef:
    return _elementwise(name, ("lhs", "rhs"), allowed, meaning, summary, is_commutative)


def _unary(
    name: str, allowed: Sequence[DType], meaning: Meaning, summary: str, is_exact: bool = True
) -> OpDef:
    return _elementwise(name, ("x",), allowed, meaning, summary, is_exact=is_exact)


def _approximate(name: str, meaning: Meaning, summary: str) -> OpDef:
    """A function of floats that targets may compute within a few units in the last place."""
    return _unary(name, FLOATS, numerics.in_double(meaning), summary, is_exact=False)


def _extremum(name: str, ignoring: Meaning, propagating: Meaning, summary: str) -> OpDef:
    names = ("lhs", "rhs")
    evaluate_ignoring, evaluate_propagating = _evaluate(names, ignoring), _evaluate(names, propagating)

    def evaluate(call: EvaluationCall) -> Sequence[np.ndarray]:
        propagate = call.op.attributes["propagate_nan"]
        return evaluate_propagating(call) if propagate else evaluate_ignoring(call)

    return OpDef(
        name=name,
        operands=operand_specs(*names),
        infer=same_type_rule(name, names, NUMBERS),
        evaluate=evaluate,
        attributes=(AttributeSpec("propagate_nan", AttributeKind.BOOL, default=False),),
        is_elementwise=True,
        is_commutative=True,
        summary=summary,
    )


ADD = _binary("add", NUMBERS, np.add, "lhs + rhs; integers wrap", is_commutative=True)
SUB = _binary("sub", NUMBERS, np.subtract, "lhs - rhs; integers wrap")
MUL = _binary("mul", NUMBERS, np.multiply, "lhs * rhs; integers wrap", is_commutative=True)
DIV = _binary("div", FLOATS, np.true_divide, "lhs / rhs as IEEE 754 defines it")
IDIV = _binary("idiv", INTEGERS, numerics.integer_divide, "lhs / rhs, truncated; x / 0 is x, MIN / -1 is MIN")
IREM = _binary(
    "irem",
    INTEGERS,
    numerics.integer_remainder,
    "remainder of idiv, with the sign of lhs; 0 for a divisor of 0",
)
FREM = _binary("frem", FLOATS, np.fmod, "C's fmod: the remainder has the sign of lhs")
UMULHI = _binary(
    "umulhi",
    (INT32, UINT32, INT64, UINT64),
    numerics.multiply_high,
    "upper half of the double-width product, signed or not as the type is",
    is_commutative=True,
)
MIN = _extremum(
    "min", np.fmin, np.minimum, "the smaller operand; a NaN loses, or wins where propagate_nan is set"
)
MAX = _extremum(
    "max", np.fmax, np.maximum, "the larger operand; a NaN loses, or wins where propagate_nan is set"
)
AND = _binary("and", INTEGERS_AND_BOOL, np.bitwise_and, "bitwise and", is_commutative=True)
OR = _binary("or", INTEGERS_AND_BOOL, np.bitwise_or, "bitwise or", is_commutative=True)
XOR = _binary("xor", INTEGERS_AND_BOOL, np.bitwise_xor, "bitwise exclusive or", is_commutative=True)
SHL = _binary(
    "shl", INTEGERS, numerics.shift_left, "lhs << rhs; 0 where rhs, read as unsigned, is the width or more"
)
SHR = _binary(
    "shr",
    INTEGERS,
    numerics.shift_right,
    "lhs >> rhs, arithmetic on signed types; large rhs shift everything out",
)
FMA = _elementwise(
    "fma",
    ("a", "b", "c"),
    FLOATS,
    numerics.fused_multiply_add,
    "a * b + c rounded once; 16-bit floats round the fp32 result",
)

NOT = _unary("not", INTEGERS_AND_BOOL, np.invert, "bitwise complement")
NEG = _unary("neg", FLOATS, np.negative, "x with its sign flipped")
ABS = _unary("abs", NUMBERS, np.absolute, "x without its sign; MIN stays MIN")
FLOOR = _unary("floor", FLOATS, np.floor, "largest integer not above x")
CEIL = _unary("ceil", FLOATS, np.ceil, "smallest integer not below x")
SQRT = _unary("sqrt", FLOATS, np.sqrt, "correctly rounded square root")
EXP = _approximate("exp", np.exp, "e to the power x")
EXP2 = _approximate("exp2", np.exp2, "2 to the power x")
LOG = _approximate("log", np.log, "natural logarithm")
LOG2 = _approximate("log2", np.log2, "logarithm to base 2")
SIN = _approximate("sin", np.sin, "sine of x in radians")
COS = _approximate("cos", np.cos, "cosine of x in radians")
ERF = _approximate("erf", numerics.error_function, "error function")
RSQRT = _approximate("rsqrt", numerics.reciprocal_square_root, "1 / sqrt(x)")

_PREDICATES: dict[CmpPredicate, Meaning] = {
    CmpPredicate.EQ: np.equal,
    CmpPredicate.NE: np.not_equal,
    CmpPredicate.LT: np.less,
    CmpPredicate.LE: np.less_equal,
    CmpPredicate.GT: np.greater,
    CmpPredicate.GE: np.greater_equal,
}


def _infer_cmp(query: TypeQuery) -> tuple[Type, ...]:
    lhs, rhs = query.type("lhs"), query.type("rhs")
    if isinstance(lhs.element, PointerType):
        equality = query.attributes["predicate"] in (CmpPredicate.EQ, CmpPredicate.NE)
        require(equality, f"pointers can only be compared with == and !=; got {lhs} and {rhs}")
    else:
        require_element("cmp", lhs, (INT1, *NUMBERS))
    return (require_same_type("cmp", ("lhs", "rhs"), (lhs, rhs)).with_element(INT1),)


def _evaluate_cmp(call: EvaluationCall) -> Sequence[np.ndarray]:
    predicate = call.op.attributes["predicate"]
    assert isinstance(predicate, CmpPredicate)
    with np.errstate(all="ignore"):
        lhs, rhs = numerics.widen(call.operand("lhs")), numerics.widen(call.operand("rhs"))
        return (np.asarray(_PREDICATES[predicate](lhs, rhs)),)


CMP = OpDef(
    name="cmp",
    operands=operand_specs("lhs", "rhs"),
    infer=_infer_cmp,
    evaluate=_evaluate_cmp,
    attributes=(AttributeSpec("predicate", AttributeKind.ENUM, CmpPredicate),),
    is_elementwise=True,
    summary="compare; false on NaN, except ne, which is true",
)


def _infer_select(query: TypeQuery) -> tuple[Type, ...]:
    values = (query.type("true_value"), query.type("false_value"))
    result = require_same_type("select", ("true_value", "false_value"), values)
    condition, expected = query.type("condition"), result.with_element(INT1)
    require(condition == expected, f"the condition of select must be {expected}; got {condition}")
    return (result,)


def _evaluate_select(call: EvaluationCall) -> Sequence[np.ndarray]:
    chosen = np.where(call.operand("condition"), call.operand("true_value"), call.operand("false_value"))
    return (np.asarray(chosen),)


SELECT = OpDef(
    name="select",
    operands=operand_specs("condition", "true_value", "false_value"),
    infer=_infer_select,
    evaluate=_evaluate_select,
    is_elementwise=True,
    summary="true_value where condition holds, else false_value; any element type",
)


def _infer_cast(query: TypeQuery) -> tuple[Type, ...]:
    x, target = query.type("x"), query.attributes["dtype"]
    require_element("cast", x, DTYPES)
    if not isinstance(target, DType):
        raise TypeRuleError(f"cast converts between numbers; {target} is reached by bitcast from int64")
    if query.attributes["rounding"] is Rounding.RTZ:
        narrows = x.element == FP32 and target in (FP16, BF16, *FP8S)
        smaller = spell_dtypes((FP16, BF16, *FP8S))
        require(
            narrows, f"rounding toward zero needs a cast from fp32 to {smaller}; got {x.element} to {target}"
        )
    return (x.with_element(target),)


def _evaluate_cast(call: EvaluationCall) -> Sequence[np.ndarray]:
    source, target = call.op.operand("x").type.element, call.op.attributes["dtype"]
    assert isinstance(source, DType) and isinstance(target, DType)
    toward_zero = call.op.attributes["rounding"] is Rounding.RTZ
    with np.errstate(all="ignore"):
        return (np.asarray(numerics.convert(call.operand("x"), source, target, toward_zero)),)


CAST = OpDef(
    name="cast",
    operands=operand_specs("x"),
    infer=_infer_cast,
    evaluate=_evaluate_cast,
    attributes=(
        AttributeSpec("dtype", AttributeKind.ELEMENT),
        AttributeSpec("rounding", AttributeKind.ENUM, Rounding, Rounding.RTNE),
    ),
    is_elementwise=True,
    summary="convert: integers wrap, floats round, float to integer truncates and saturates with NaN giving "
    "0, to int1 is != 0; integers and fp64 reach 16- and 8-bit floats through fp32",
)


def _infer_bitcast(query: TypeQuery) -> tuple[Type, ...]:
    x, target = query.type("x"), query.attributes["dtype"]
    if not isinstance(target, DType | PointerType):
        raise TypeRuleError(f"bitcast needs an element type; got {target}")
    source = x.element
    widths = (source.primitive_bitwidth, target.primitive_bitwidth)
    require(
        widths[0] == widths[1],
        f"bitcast needs types of one width; got {source} ({widths[0]} bits) and {target} ({widths[1]} bits)",
    )
    for one, other in ((source, target), (target, source)):
        if isinstance(one, PointerType):
            legal = isinstance(other, PointerType) or other in (INT64, UINT64)
            require(
                legal,
                f"a pointer can be bitcast to and from int64, uint64 or a pointer; got {source} to {target}",
            )
    return (x.with_element(target),)


def _evaluate_bitcast(call: EvaluationCall) -> Sequence[np.ndarray]:
    return (call.operand("x").view(storage_dtype(call.op.results[0].type.element)),)


BITCAST = OpDef(
    name="bitcast",
    operands=operand_specs("x"),
    infer=_infer_bitcast,
    evaluate=_evaluate_bitcast,
    attributes=(AttributeSpec("dtype", AttributeKind.ELEMENT),),
    is_elementwise=True,
    summary="the same bits as another type of equal width",
)


def _infer_addptr(query: TypeQuery) -> tuple[Type, ...]:
    pointer, offset = query.type("pointer"), query.type("offset")
    pointer_element("addptr", pointer)
    require_element("the offset of addptr", offset, INTEGERS)
    require(
        pointer.shape == offset.shape,
        f"addptr needs pointer and offset of one shape; got {pointer} and {offset}",
    )
    return (pointer,)


def _evaluate_addptr(call: EvaluationCall) -> Sequence[np.ndarray]:
    element = pointer_element("addptr", call.op.results[0].type)
    offset = call.operand("offset").astype(np.int64)  # sign- or zero-extends; uint64 wraps
    with np.errstate(all="ignore"):
        return (np.asarray(call.operand("pointer") + offset * np.int64(element.itemsize)),)


ADDPTR = OpDef(
    name="addptr",
    operands=operand_specs("pointer", "offset"),
    infer=_infer_addptr,
    evaluate=_evaluate_addptr,
    is_elementwise=True,
    summary="move a pointer by offset elements; the offset is extended to 64 bits as its signedness says",
)

ELEMENTWISE_OPS: tuple[OpDef, ...] = (
    ADD, SUB, MUL, DIV, IDIV, IREM, FREM, UMULHI, MIN, MAX, AND, OR, XOR, SHL, SHR, FMA,
    NOT, NEG, ABS, FLOOR, CEIL, SQRT, EXP, EXP2, LOG, LOG2, SIN, COS, ERF, RSQRT,
    CMP, SELECT, CAST, BITCAST, ADDPTR,
)  # fmt: skip
