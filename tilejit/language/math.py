"""Arithmetic on elements. Everything here is also ``tl.math``."""

from __future__ import annotations

from enum import Enum
from inspect import isfunction

from tilejit import ops
from tilejit.frontend.context import fail, find_active
from tilejit.frontend.operators import (
    add as add_operands,
)
from tilejit.frontend.operators import (
    as_mask,
    compute,
    floor_divide,
    meet,
    subtract,
    true_divide,
)
from tilejit.frontend.operators import (
    multiply as multiply_operands,
)
from tilejit.frontend.python_errors import suggest
from tilejit.frontend.tile import Tile
from tilejit.frontend.values import as_number, as_tile, broadcast_together, cast_to, emit, strong_type
from tilejit.ir.opdef import OpDef
from tilejit.ir.types import FP32, DType, PointerType
from tilejit.language.function import Operand, language_function
from tilejit.language.refused import NO_LIBRARY, REFUSED_MATH


class PropagateNan(Enum):
    """What ``maximum``, ``minimum`` and ``clamp`` do with NaN: NONE takes the other side, ALL gives NaN."""

    NONE = 0
    ALL = 0xFFFF


def _propagates(option: object, name: str) -> bool:
    if isinstance(option, PropagateNan):
        return option is PropagateNan.ALL
    if isinstance(option, bool):
        return option
    fail(f"propagate_nan of tl.{name} must be tl.PropagateNan.NONE or tl.PropagateNan.ALL; got {option!r}")


def _float_function(definition: OpDef, name: str, x: object) -> Tile:
    """Apply a function of floats; other types are refused with the cast that helps."""
    tile = as_tile(x, f"x of tl.{name}")
    if isinstance(tile.dtype, PointerType) or not tile.dtype.is_floating():
        fail(f"tl.{name} works on floats; got {tile.tile_type}", "convert it first with .to(tl.float32)")
    if tile.dtype.is_fp8():
        return cast_to(emit(definition, x=cast_to(tile, FP32)), tile.dtype)
    return emit(definition, x=tile)


@language_function
def exp(x: Operand) -> Tile:
    """Return e to the power ``x``."""
    return _float_function(ops.EXP, "exp", x)


@language_function
def exp2(x: Operand) -> Tile:
    """Return 2 to the power ``x``."""
    return _float_function(ops.EXP2, "exp2", x)


@language_function
def log(x: Operand) -> Tile:
    """Return the natural logarithm of ``x``."""
    return _float_function(ops.LOG, "log", x)


@language_function
def log2(x: Operand) -> Tile:
    """Return the logarithm of ``x`` to base 2."""
    return _float_function(ops.LOG2, "log2", x)


@language_function
def sin(x: Operand) -> Tile:
    """Return the sine of ``x``, in radians."""
    return _float_function(ops.SIN, "sin", x)


@language_function
def cos(x: Operand) -> Tile:
    """Return the cosine of ``x``, in radians."""
    return _float_function(ops.COS, "cos", x)


@language_function
def sqrt(x: Operand) -> Tile:
    """Return the square root of ``x``."""
    return _float_function(ops.SQRT, "sqrt", x)


@language_function
def sqrt_rn(x: Operand) -> Tile:
    """Return the square root of ``x``, rounded to nearest even (as ``sqrt`` is too)."""
    return _float_function(ops.SQRT, "sqrt_rn", x)


@language_function
def rsqrt(x: Operand) -> Tile:
    """Return one over the square root of ``x``."""
    return _float_function(ops.RSQRT, "rsqrt", x)


@language_function
def erf(x: Operand) -> Tile:
    """Return the error function of ``x``."""
    return _float_function(ops.ERF, "erf", x)


@language_function
def floor(x: Operand) -> Tile:
    """Return the largest whole number not above ``x``."""
    return _float_function(ops.FLOOR, "floor", x)


@language_function
def ceil(x: Operand) -> Tile:
    """Return the smallest whole number not below ``x``."""
    return _float_function(ops.CEIL, "ceil", x)


@language_function
def abs(x: Operand) -> Tile:
    """Return ``x`` without its sign."""
    tile = as_tile(x, "x of tl.abs")
    if isinstance(tile.dtype, PointerType):
        fail(f"tl.abs works on numbers; got {tile.tile_type}")
    if tile.dtype.is_int_unsigned():
        return tile
    if tile.dtype.is_fp8():
        return cast_to(emit(ops.ABS, x=cast_to(tile, FP32)), tile.dtype)
    return emit(ops.ABS, x=tile)


@language_function
def add(x: Operand, y: Operand, sanitize_overflow: bool = True) -> Tile:
    """Return ``x + y``."""
    return add_operands(x, y)


@language_function
def sub(x: Operand, y: Operand, sanitize_overflow: bool = True) -> Tile:
    """Return ``x - y``."""
    return subtract(x, y)


@language_function
def mul(x: Operand, y: Operand, sanitize_overflow: bool = True) -> Tile:
    """Return ``x * y``."""
    return multiply_operands(x, y)


@language_function
def cdiv(x: Operand, div: Operand) -> object:
    """Return ``x / div`` rounded up, for non-negative integers: ``(x + div - 1) // div``."""
    a, b = as_number(x), as_number(div)
    if a is not None and b is not None:
        return (a + b - 1) // b
    return floor_divide(subtract(add_operands(x, div), 1), div)


def _extremum(definition: OpDef, name: str, x: object, y: object, propagate_nan: object) -> Tile:
    a, b = meet(name, x, y)
    assert isinstance(a.dtype, DType)
    if a.dtype.is_floating() and _propagates(propagate_nan, name):
        return emit(definition, {"propagate_nan": True}, lhs=a, rhs=b)
    on_bool = ops.AND if definition is ops.MIN else ops.OR
    return compute(definition, name, a, b, on_bool=on_bool)


@language_function
def maximum(x: Operand, y: Operand, propagate_nan: PropagateNan = PropagateNan.NONE) -> Tile:
    """Return the larger of two elements."""
    return _extremum(ops.MAX, "maximum", x, y, propagate_nan)


@language_function
def minimum(x: Operand, y: Operand, propagate_nan: PropagateNan = PropagateNan.NONE) -> Tile:
    """Return the smaller of two elements."""
    return _extremum(ops.MIN, "minimum", x, y, propagate_nan)


@language_function
def clamp(x: Operand, min: Operand, max: Operand, propagate_nan: PropagateNan = PropagateNan.NONE) -> Tile:
    """Return ``x`` limited to ``min .. max``, in the type in which all three meet."""
    tile = as_tile(x, "x of tl.clamp")
    low, tile = meet("tl.clamp", min, tile)
    high, tile = meet("tl.clamp", max, tile)
    raised = _extremum(ops.MAX, "clamp", tile, low, propagate_nan)
    return _extremum(ops.MIN, "clamp", raised, high, propagate_nan)


@language_function
def where(condition: Operand, x: Operand, y: Operand) -> Tile:
    """Return ``x`` where ``condition`` is true, else ``y``; both are evaluated."""
    mask = as_mask(condition, "condition of tl.where")
    if _points(x) or _points(y):
        a, b = as_tile(x, "x of tl.where"), as_tile(y, "y of tl.where")
        if a.dtype != b.dtype:
            fail(f"tl.where needs two pointers of one type; got {a.tile_type} and {b.tile_type}")
    else:
        a, b = meet("tl.where", x, y)
    mask, a, b = broadcast_together("tl.where", mask, a, b)
    return emit(ops.SELECT, condition=mask, true_value=a, false_value=b)


def _points(value: object) -> bool:
    return isinstance(value, Tile) and isinstance(value.dtype, PointerType)


@language_function
def fdiv(x: Operand, y: Operand, ieee_rounding: bool = False, approx: bool = False) -> Tile:
    """Return ``x / y`` of floats; always correctly rounded."""
    return _divide_floats("fdiv", x, y)


@language_function
def div_rn(x: Operand, y: Operand) -> Tile:
    """Return ``x / y`` of floats, rounded to nearest even."""
    return _divide_floats("div_rn", x, y)


def _divide_floats(name: str, x: object, y: object) -> Tile:
    for operand in (x, y):
        number = as_number(operand)
        element = (
            strong_type(number) if number is not None else as_tile(operand, f"operand of tl.{name}").dtype
        )
        if isinstance(element, PointerType) or not (element.is_floating() or number is not None):
            fail(f"tl.{name} works on floats; got {element}", "use /, which converts integers")
    return true_divide(x, y)


@language_function
def fma(x: Operand, y: Operand, z: Operand) -> Tile:
    """Return ``x * y + z`` of floats, rounded once."""
    a, b = meet("tl.fma", x, y)
    c, a = meet("tl.fma", z, a)
    c, b = meet("tl.fma", c, b)
    a, b, c = broadcast_together("tl.fma", a, b, c)
    if isinstance(a.dtype, PointerType) or not a.dtype.is_floating():
        fail(f"tl.fma works on floats; got {a.tile_type}", "write x * y + z for integers")
    return emit(ops.FMA, a=a, b=b, c=c)


@language_function
def umulhi(x: Operand, y: Operand) -> Tile:
    """Return the upper half of the product's bits, of 32- and 64-bit integers."""
    a, b = meet("tl.umulhi", x, y)
    if isinstance(a.dtype, PointerType) or not a.dtype.is_int() or a.dtype.bits < 32:
        fail(f"tl.umulhi works on 32- and 64-bit integers; got {a.tile_type}", "cast both sides to tl.uint32")
    return emit(ops.UMULHI, lhs=a, rhs=b)


@language_function
def sigmoid(x: Operand) -> Tile:
    """Return ``1 / (1 + exp(-x))``."""
    tile = as_tile(x, "x of tl.sigmoid")
    if isinstance(tile.dtype, PointerType) or not tile.dtype.is_floating():
        fail(f"tl.sigmoid works on floats; got {tile.tile_type}", "convert it first with .to(tl.float32)")
    return true_divide(1.0, add_operands(emit(ops.EXP, x=emit(ops.NEG, x=tile)), 1.0))


def __getattr__(name: str) -> object:
    """Refuse the functions of libdevice, which older kernels reach through ``tl.math``."""
    if find_active() is None or name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    own = [key for key, value in globals().items() if isfunction(value) and value.__module__ == __name__]
    hint = REFUSED_MATH.get(name) or suggest(name, [key for key in own if not key.startswith("_")])
    fail(f"tl.math.{name} is not supported yet", hint or NO_LIBRARY)
