"""The operators and methods of tiles, and Python's builtins as kernels see them: plain tables read by the
tracer.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping

from tilejit import ops
from tilejit.frontend import operators
from tilejit.frontend.tile import Tile
from tilejit.language import atomic, casts, control, math, memory, reduction, scan, shape
from tilejit.language.refused import REFUSED, refuse
from tilejit.ops import CmpPredicate

Member = Callable[..., object]


def _swapped(function: Callable[[object, object], Tile]) -> Member:
    return lambda self, other: function(other, self)


def _bitwise(symbol: str, *, swapped: bool = False) -> Member:
    definition = {"&": ops.AND, "|": ops.OR, "^": ops.XOR, "<<": ops.SHL, ">>": ops.SHR}[symbol]
    if swapped:
        return lambda self, other: operators.bitwise(definition, symbol, other, self)
    return lambda self, other: operators.bitwise(definition, symbol, self, other)


def _compare(predicate: CmpPredicate, symbol: str) -> Member:
    def function(self: Tile, other: object) -> object:
        if other is None or isinstance(
            other, str
        ):  # as in Python: never equal, so that `x == "name"` may be asked
            return predicate is CmpPredicate.NE
        return operators.compare(predicate, symbol, self, other)

    return function


_OPERATORS: dict[str, Member] = {
    "__add__": operators.add,
    "__radd__": _swapped(operators.add),
    "__sub__": operators.subtract,
    "__rsub__": _swapped(operators.subtract),
    "__mul__": operators.multiply,
    "__rmul__": _swapped(operators.multiply),
    "__truediv__": operators.true_divide,
    "__rtruediv__": _swapped(operators.true_divide),
    "__floordiv__": operators.floor_divide,
    "__rfloordiv__": _swapped(operators.floor_divide),
    "__mod__": operators.remainder,
    "__rmod__": _swapped(operators.remainder),
    "__and__": _bitwise("&"),
    "__rand__": _bitwise("&", swapped=True),
    "__or__": _bitwise("|"),
    "__ror__": _bitwise("|", swapped=True),
    "__xor__": _bitwise("^"),
    "__rxor__": _bitwise("^", swapped=True),
    "__lshift__": _bitwise("<<"),
    "__rlshift__": _bitwise("<<", swapped=True),
    "__rshift__": _bitwise(">>"),
    "__rrshift__": _bitwise(">>", swapped=True),
    "__lt__": _compare(CmpPredicate.LT, "<"),
    "__le__": _compare(CmpPredicate.LE, "<="),
    "__gt__": _compare(CmpPredicate.GT, ">"),
    "__ge__": _compare(CmpPredicate.GE, ">="),
    "__eq__": _compare(CmpPredicate.EQ, "=="),
    "__ne__": _compare(CmpPredicate.NE, "!="),
    "__neg__": operators.negate,
    "__invert__": operators.invert,
    "__getitem__": operators.index,
}

_METHOD_FUNCTIONS: tuple[Member, ...] = (
    casts.cast, shape.broadcast_to, shape.expand_dims, shape.reshape, shape.view, shape.ravel, shape.permute,
    shape.trans, shape.split, math.abs, math.ceil, math.floor, math.exp, math.exp2, math.log, math.log2,
    math.sin, math.cos, math.sqrt, math.sqrt_rn, math.rsqrt, math.erf, math.fdiv, math.sigmoid, math.cdiv,
    math.clamp, reduction.sum, reduction.max, reduction.min, reduction.xor_sum, reduction.reduce,
    reduction.softmax, scan.cumsum, scan.associative_scan, atomic.atomic_add, atomic.atomic_max,
    atomic.atomic_min, atomic.atomic_and, atomic.atomic_or, atomic.atomic_xor, atomic.atomic_xchg,
    atomic.atomic_cas, memory.store, operators.logical_and, operators.logical_or,
)  # fmt: skip

_METHODS: dict[str, Member] = {
    "to": casts.cast,
    **{function.__name__: function for function in _METHOD_FUNCTIONS},
    **{name: refuse(name) for name in REFUSED},
}

MEMBERS: Mapping[str, Member] = {**_METHODS, **_OPERATORS}


def _smaller(*values: object, **kwargs: object) -> object:
    return _choose("min", math.minimum, values, kwargs)


def _larger(*values: object, **kwargs: object) -> object:
    return _choose("max", math.maximum, values, kwargs)


def _choose(name: str, pair: Member, values: tuple[object, ...], kwargs: Mapping[str, object]) -> object:
    """Python's ``min`` and ``max``: of numbers as ever, of tiles element by element."""
    entries = values[0] if len(values) == 1 and isinstance(values[0], tuple | list) else values
    assert isinstance(entries, tuple | list)
    if not any(isinstance(value, Tile) for value in entries):
        function: Member = getattr(builtins, name)
        return function(*values, **kwargs)
    result = entries[0]
    for value in entries[1:]:
        result = pair(result, value)
    return result


BUILTINS: Mapping[str, object] = {
    **vars(builtins),
    "range": control.range,
    "print": control.kernel_print,
    "min": _smaller,
    "max": _larger,
}
