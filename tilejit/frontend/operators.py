"""The operators of tiles: which type they compute in, how shapes meet, which ops they make."""

from __future__ import annotations

from collections.abc import Callable

from tilejit import ops
from tilejit.frontend.constexpr import Constexpr
from tilejit.frontend.context import fail
from tilejit.frontend.promote import PromotionError, computation_type
from tilejit.frontend.tile import NONE_HINT, Number, Tile, Undefined, describe
from tilejit.frontend.values import (
    as_number,
    broadcast_to_shape,
    broadcast_together,
    cast_to,
    check_range,
    common_shape,
    emit,
    make_constant,
    reshape_to,
    strong_type,
    wrap_integer,
)
from tilejit.ir.opdef import OpDef
from tilejit.ir.types import FP32, INT1, DType, PointerType
from tilejit.ops import CmpPredicate
from tilejit.records import dataclass


@dataclass(frozen=True)
class _Operand:
    """One side of an operator: a tile, or a number that is still weak."""

    tile: Tile | None
    number: Number

    @property
    def is_weak(self) -> bool:
        return self.tile is None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tile.tile_type.shape if self.tile is not None else ()

    @property
    def element(self) -> DType | PointerType:
        return self.tile.dtype if self.tile is not None else strong_type(self.number)


def _operand(value: object, symbol: str) -> _Operand:
    if isinstance(value, Tile):
        return _Operand(value, 0)
    number = as_number(value)
    if number is None:
        if isinstance(value, Undefined):
            value.refuse()
        hint = NONE_HINT if value is None else None
        fail(f"{symbol} works on tiles and numbers; got {describe(value)}", hint)
    return _Operand(None, number)


_ORDERINGS = frozenset({"<", "<=", ">", ">="})


def _refuse_pointers(symbol: str, *operands: _Operand) -> None:
    if not any(isinstance(operand.element, PointerType) for operand in operands):
        return
    # Python asks the array first, whichever side it is on, since its class is derived from that of tiles.
    name = "a comparison" if symbol in _ORDERINGS else symbol
    given = " and ".join(str(o.element if o.tile is None else o.tile.tile_type) for o in operands)
    fail(f"{name} does not work on pointers; got {given}", "load the values first with tl.load(pointer)")


def meet(symbol: str, lhs: object, rhs: object, *, is_division: bool = False) -> tuple[Tile, Tile]:
    """Convert two operands to the type they compute in and to one shape."""
    a, b = _operand(lhs, symbol), _operand(rhs, symbol)
    _refuse_pointers(symbol, a, b)
    assert isinstance(a.element, DType) and isinstance(b.element, DType)
    try:
        dtype = computation_type(a.element, a.is_weak, b.element, b.is_weak, is_division=is_division)
    except PromotionError as error:
        fail(f"{symbol}: {error}", error.hint)
    if a.shape != b.shape:
        shape = common_shape((a.shape, b.shape), symbol)
    else:
        shape = a.shape
    return _settle(a, dtype, shape, symbol), _settle(b, dtype, shape, symbol)


def _settle(operand: _Operand, dtype: DType, shape: tuple[int, ...], symbol: str) -> Tile:
    if operand.tile is not None:
        return broadcast_to_shape(cast_to(operand.tile, dtype), shape, symbol)
    if not dtype.is_floating():
        check_range(int(operand.number), dtype, symbol)
    return broadcast_to_shape(make_constant(operand.number, dtype), shape, symbol)


def _fold(symbol: str, a: Tile, b: Tile) -> Tile | None:
    """Compute on integer scalars known at compile time, with the meaning the op has at run time."""
    dtype, x, y = a.dtype, a.constant, b.constant
    if x is None or y is None or not isinstance(dtype, DType) or dtype.is_floating() or dtype.is_bool():
        return None
    function = _FOLDS.get(symbol)
    if function is None:
        return None
    return make_constant(wrap_integer(function(int(x), int(y)), dtype), dtype)


def _truncated_quotient(x: int, y: int) -> int:
    if y == 0:
        return x
    quotient = abs(x) // abs(y)
    return quotient if (x < 0) == (y < 0) else -quotient


_FOLDS: dict[str, Callable[[int, int], int]] = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "//": _truncated_quotient,
    "%": lambda x, y: x - _truncated_quotient(x, y) * y if y else 0,
    "&": lambda x, y: x & y,
    "|": lambda x, y: x | y,
    "^": lambda x, y: x ^ y,
    "minimum": min,
    "maximum": max,
}


def arithmetic(
    definition: OpDef, symbol: str, lhs: object, rhs: object, *, on_bool: OpDef | None = None
) -> Tile:
    """Make an arithmetic op; fp8 computes in fp32, int1 with the op that does the same to single bits."""
    a, b = meet(symbol, lhs, rhs)
    return compute(definition, symbol, a, b, on_bool=on_bool)


def compute(definition: OpDef, symbol: str, a: Tile, b: Tile, *, on_bool: OpDef | None = None) -> Tile:
    """Make an op of two tiles of one type and shape; ``on_bool`` does the same to single bits."""
    dtype = a.dtype
    assert isinstance(dtype, DType)
    folded = _fold(symbol, a, b)
    if folded is not None:
        return folded
    if dtype.is_bool():
        if on_bool is None:
            return _compute_bits(symbol, a, b)
        definition = on_bool
    if dtype.is_fp8():
        return cast_to(emit(definition, lhs=cast_to(a, FP32), rhs=cast_to(b, FP32)), dtype)
    return emit(definition, lhs=a, rhs=b)


def _compute_bits(symbol: str, a: Tile, b: Tile) -> Tile:
    """Divide or shift single bits: x // 1 and x // 0 are x, x % 1 is 0, and a shift by 1 leaves nothing."""
    if symbol == "//":
        return a
    if symbol == "%":
        return emit(ops.XOR, lhs=a, rhs=a)
    return emit(ops.AND, lhs=a, rhs=invert(b))


def _is_pointer(value: object) -> bool:
    return isinstance(value, Tile) and isinstance(value.dtype, PointerType)


def add(lhs: object, rhs: object) -> Tile:
    """``lhs + rhs``: numbers, or a pointer and an integer offset in elements."""
    if _is_pointer(rhs) and not _is_pointer(lhs):
        lhs, rhs = rhs, lhs
    if _is_pointer(lhs):
        return _move_pointer(lhs, rhs, "+")
    return arithmetic(ops.ADD, "+", lhs, rhs, on_bool=ops.XOR)


def subtract(lhs: object, rhs: object) -> Tile:
    """``lhs - rhs``: numbers, or a pointer less an integer offset in elements."""
    if _is_pointer(lhs):
        if _is_pointer(rhs):
            fail(
                "pointers cannot be subtracted from each other",
                "convert both with .to(tl.int64) to get bytes",
            )
        return _move_pointer(lhs, negate(rhs) if isinstance(rhs, Tile) else subtract(0, rhs), "-")
    return arithmetic(ops.SUB, "-", lhs, rhs, on_bool=ops.XOR)


def _move_pointer(pointer: object, offset: object, symbol: str) -> Tile:
    assert isinstance(pointer, Tile)
    steps = _operand(offset, symbol)
    if isinstance(steps.element, PointerType):
        fail(
            f"pointers cannot be added: {pointer.tile_type} {symbol} {describe(offset)}",
            "add an integer offset",
        )
    if steps.element.is_floating():
        fail(
            f"a pointer moves by whole elements; got {pointer.tile_type} {symbol} {describe(offset)}",
            "use an integer offset: // instead of /, or .to(tl.int32)",
        )
    moves = steps.tile if steps.tile is not None else make_constant(steps.number, steps.element)
    if moves.dtype == INT1:
        moves = cast_to(moves, strong_type(0))
    pointer, moves = broadcast_together(symbol, pointer, moves)
    return emit(ops.ADDPTR, pointer=pointer, offset=moves)


def multiply(lhs: object, rhs: object) -> Tile:
    """``lhs * rhs``."""
    return arithmetic(ops.MUL, "*", lhs, rhs, on_bool=ops.AND)


def true_divide(lhs: object, rhs: object) -> Tile:
    """``lhs / rhs`` in fp32, or fp64 if either side is; integers divide as fp32."""
    a, b = meet("/", lhs, rhs, is_division=True)
    if isinstance(a.dtype, DType) and a.dtype.is_int():
        a, b = cast_to(a, FP32), cast_to(b, FP32)
    return compute(ops.DIV, "/", a, b)


def floor_divide(lhs: object, rhs: object) -> Tile:
    """``lhs // rhs`` of integers, truncated toward zero as in C."""
    _refuse_float_division(lhs, rhs)
    a, b = meet("//", lhs, rhs, is_division=True)
    return compute(ops.IDIV, "//", a, b)


def _refuse_float_division(lhs: object, rhs: object) -> None:
    elements = [_operand(side, "//").element for side in (lhs, rhs)]
    if any(isinstance(element, DType) and element.is_floating() for element in elements):
        fail(
            f"// works on integers; got {elements[0]} // {elements[1]}",
            "use / and tl.floor, or cast to an integer type",
        )


def remainder(lhs: object, rhs: object) -> Tile:
    """``lhs % rhs`` with the sign of ``lhs``, as in C."""
    a, b = meet("%", lhs, rhs, is_division=True)
    assert isinstance(a.dtype, DType)
    return compute(ops.FREM if a.dtype.is_floating() else ops.IREM, "%", a, b)


def bitwise(definition: OpDef, symbol: str, lhs: object, rhs: object) -> Tile:
    """Make an op on bits, which works on integers only."""
    elements = [_operand(side, symbol).element for side in (lhs, rhs)]
    for element in elements:
        if isinstance(element, DType) and element.is_floating():
            fail(
                f"{symbol} works on integers and masks; got {elements[0]} {symbol} {elements[1]}",
                "compare to make a mask, or cast to an integer type",
            )
    a, b = meet(symbol, lhs, rhs)
    return compute(definition, symbol, a, b, on_bool=definition if symbol in "&|^" else None)


def compare(predicate: CmpPredicate, symbol: str, lhs: object, rhs: object) -> Tile:
    """Make a comparison; the result is a mask of int1."""
    if _is_pointer(lhs) and _is_pointer(rhs) and predicate in (CmpPredicate.EQ, CmpPredicate.NE):
        assert isinstance(lhs, Tile) and isinstance(rhs, Tile)
        a, b = broadcast_together(symbol, lhs, rhs)
    else:
        a, b = meet(symbol, lhs, rhs)
    if a.constant is not None and b.constant is not None:
        return make_constant(_COMPARE[predicate](a.constant, b.constant), INT1)
    if isinstance(a.dtype, DType) and a.dtype.is_fp8():
        a, b = cast_to(a, FP32), cast_to(b, FP32)
    return emit(ops.CMP, {"predicate": predicate}, lhs=a, rhs=b)


_COMPARE: dict[CmpPredicate, Callable[[Number, Number], bool]] = {
    CmpPredicate.EQ: lambda x, y: x == y,
    CmpPredicate.NE: lambda x, y: x != y,
    CmpPredicate.LT: lambda x, y: x < y,
    CmpPredicate.LE: lambda x, y: x <= y,
    CmpPredicate.GT: lambda x, y: x > y,
    CmpPredicate.GE: lambda x, y: x >= y,
}


def negate(x: Tile) -> Tile:
    """``-x``."""
    if isinstance(x.dtype, PointerType):
        fail(f"- does not work on pointers; got {x.tile_type}")
    if x.dtype.is_floating():
        if x.dtype.is_fp8():
            return cast_to(negate(cast_to(x, FP32)), x.dtype)
        return make_constant(-x.constant, x.dtype) if x.constant is not None else emit(ops.NEG, x=x)
    zero = broadcast_to_shape(make_constant(0, x.dtype), x.tile_type.shape, "-")
    return compute(ops.SUB, "-", zero, x, on_bool=ops.XOR)


def invert(x: Tile) -> Tile:
    """``~x``: the other bits; of a mask, the other lanes."""
    if isinstance(x.dtype, PointerType) or x.dtype.is_floating():
        fail(f"~ works on integers and masks; got {x.tile_type}", "compare to make a mask, or use -x")
    return emit(ops.NOT, x=x)


def logical_and(x: Tile, other: object) -> Tile:
    """``x.logical_and(other)``: of masks, lane by lane."""
    return bitwise(ops.AND, "&", as_mask(x, "x of logical_and"), as_mask(other, "other of logical_and"))


def logical_or(x: Tile, other: object) -> Tile:
    """``x.logical_or(other)``: of masks, lane by lane."""
    return bitwise(ops.OR, "|", as_mask(x, "x of logical_or"), as_mask(other, "other of logical_or"))


def as_mask(value: object, what: str) -> Tile:
    """Return a tile of int1: itself, or whether its elements differ from 0."""
    tile = value if isinstance(value, Tile) else None
    if tile is None:
        number = as_number(value)
        if number is None:
            fail(f"{what} must be a mask of int1; got {describe(value)}", "make one with a comparison")
        return make_constant(bool(number), INT1)
    if isinstance(tile.dtype, PointerType):
        fail(f"{what} must be a mask of int1; got {tile.tile_type}", "make one with a comparison")
    return tile if tile.dtype == INT1 else compare(CmpPredicate.NE, "!=", tile, 0)


def index(tile: Tile, key: object) -> Tile:
    """``x[:, None]``: add dimensions of size 1."""
    keys = key if isinstance(key, tuple) else (key,)
    is_pointer = isinstance(tile.dtype, PointerType) and not tile.tile_type.shape
    if is_pointer and any(entry is not None for entry in keys):
        fail(f"a pointer cannot be indexed; got {tile.tile_type}", "use tl.load(pointer + offsets)")
    shape = list(tile.tile_type.shape)
    result: list[int] = []
    for entry in keys:
        if isinstance(entry, Constexpr):
            entry = entry.value
        if entry is None:
            result.append(1)
        elif entry is Ellipsis:
            for _ in range(tile.rank - sum(isinstance(k, slice) for k in keys)):
                result.append(shape.pop(0))
        elif isinstance(entry, slice) and entry == slice(None) and shape:
            result.append(shape.pop(0))
        else:
            _refuse_index(tile, entry)
    return reshape_to(tile, (*result, *shape))


def _refuse_index(tile: Tile, entry: object) -> None:
    if isinstance(entry, slice) and entry == slice(None):
        fail(
            f"too many : for a tile of shape {tile.tile_type.shape}",
            "use one : for each dimension and None for new ones",
        )
    text = "a slice with bounds" if isinstance(entry, slice) else describe(entry)
    fail(
        f"tiles are indexed with : and None only; got {text}",
        "load the part that is needed, or pick with tl.sum(tl.where(index == i, x, 0))",
    )
