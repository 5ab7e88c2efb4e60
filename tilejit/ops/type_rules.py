"""What type rules share: sets of element types and the checks that raise TypeRuleError.

The messages reach users through the frontend, so each says what the op needs and what it got.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from tilejit.ir.core import Block
from tilejit.ir.opdef import Arity, AttributeKind, AttributeSpec, OperandSpec, TypeQuery, TypeRuleError
from tilejit.ir.types import (
    BF16,
    DTYPES,
    FP16,
    FP32,
    FP64,
    INT1,
    DType,
    Element,
    PointerType,
    TileType,
    Type,
)

TypeRule = Callable[[TypeQuery], tuple[Type, ...]]

FLOATS: tuple[DType, ...] = (FP16, BF16, FP32, FP64)
FP8S: tuple[DType, ...] = tuple(dtype for dtype in DTYPES if dtype.is_fp8())
INTEGERS: tuple[DType, ...] = tuple(dtype for dtype in DTYPES if dtype.is_int() and not dtype.is_bool())
INTEGERS_AND_BOOL: tuple[DType, ...] = (INT1, *INTEGERS)
NUMBERS: tuple[DType, ...] = (*INTEGERS, *FLOATS)

MAX_DIMENSION = (1 << 31) - 1  # lane numbers are int32, as arange's elements are


def operand_specs(*names: str) -> tuple[OperandSpec, ...]:
    """Make operand specs from names: ``x`` is one value, ``x?`` at most one, ``x*`` any number."""
    arities = {"?": Arity.OPTIONAL, "*": Arity.VARIADIC}
    return tuple(OperandSpec(name.rstrip("?*"), arities.get(name[-1], Arity.ONE)) for name in names)


def axis_attribute() -> AttributeSpec:
    """The attribute that names one dimension of a tile, or one axis of the grid."""
    return AttributeSpec("axis", AttributeKind.INT)


def storage_dtype(element: Element) -> np.dtype:
    """Return the numpy dtype that holds ``element`` in evaluation; a pointer is an int64 address."""
    return np.dtype(np.int64) if isinstance(element, PointerType) else element.numpy


def require(condition: bool, message: str) -> None:
    """Raise TypeRuleError with ``message`` unless ``condition`` holds."""
    if not condition:
        raise TypeRuleError(message)


def spell_dtypes(dtypes: Iterable[Element]) -> str:
    """Return ``a, b or c`` for an error message."""
    names = [str(dtype) for dtype in dtypes]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def require_element(op: str, type: TileType, allowed: Sequence[DType]) -> None:
    """Check that the elements of ``type`` are among ``allowed``."""
    if type.element not in allowed:  # the text is made only where it is needed: this runs for every op
        raise TypeRuleError(f"{op} works on {spell_dtypes(allowed)}; got {type}")


def require_same_type(op: str, names: Sequence[str], types: Sequence[TileType]) -> TileType:
    """Check that all ``types`` are one type and return it."""
    first = types[0]
    for name, type in zip(names[1:], types[1:], strict=True):
        require(
            type == first,
            f"{op} needs operands of one type; got {first} for {names[0]} and {type} for {name}",
        )
    return first


def require_mask(op: str, mask: TileType | None, shape: tuple[int, ...], of: str) -> None:
    """Check that an optional mask is boolean and has the shape of what it masks."""
    if mask is None:
        return
    expected = TileType(INT1, shape)
    require(mask == expected, f"the mask of {op} must be {expected}, int1 in the shape of {of}; got {mask}")


def require_scalar(op: str, name: str, type: TileType, allowed: Sequence[DType]) -> None:
    """Check that an operand is a scalar of one of the allowed element types."""
    message = f"{name} of {op} must be a scalar of type {spell_dtypes(allowed)}; got {type}"
    require(type.is_scalar and type.element in allowed, message)


def require_shape(op: str, shape: Sequence[int]) -> tuple[int, ...]:
    """Check that every dimension of a tile is a positive integer."""
    for dimension in shape:
        require(
            0 < dimension <= MAX_DIMENSION,
            f"{op}: dimensions of a tile must be positive; got shape {tuple(shape)}",
        )
    return tuple(shape)


def require_axis(op: str, axis: int, type: TileType) -> int:
    """Check that ``axis`` names a dimension of ``type``."""
    require(not type.is_scalar, f"{op} needs a tile with at least one dimension; got the scalar type {type}")
    limit = type.rank
    require(
        0 <= axis < limit,
        f"{op}: axis must be between 0 and {limit - 1} for {type}; got {axis}",
    )
    return axis


def pointer_element(op: str, type: TileType) -> DType:
    """Return what the pointers of ``type`` point to."""
    element = type.element
    if not isinstance(element, PointerType):
        raise TypeRuleError(f"{op} needs a pointer or a tile of pointers; got {type}")
    return element.element


def require_writable(op: str, type: TileType) -> None:
    """Refuse pointers to constant data."""
    const = isinstance(type.element, PointerType) and type.element.const
    require(not const, f"{op} writes to memory, but {type} points to constant data")


def same_type_rule(op: str, names: Sequence[str], allowed: Sequence[DType]) -> TypeRule:
    """A rule: all operands have one type with an allowed element, and the result has it too."""

    def infer(query: TypeQuery) -> tuple[Type, ...]:
        types = [query.type(name) for name in names]
        for type in types:
            require_element(op, type, allowed)
        return (require_same_type(op, names, types),)

    return infer


def nothing_rule(query: TypeQuery) -> tuple[Type, ...]:
    """The rule of ops without results whose operands may be anything."""
    return ()


def require_block_arguments(op: str, region: str, block: Block, expected: Sequence[TileType]) -> None:
    """Check the argument types of a region's body."""
    got = [argument.type for argument in block.arguments]
    require(
        len(got) == len(expected),
        f"region {region} of {op} must take {len(expected)} arguments; it takes {len(got)}",
    )
    for index, (want, have) in enumerate(zip(expected, got, strict=True)):
        name = block.arguments[index].name or f"number {index}"
        require(
            want == have,
            f"argument {name} of region {region} of {op} must be {want}; got {have}",
        )


def yielded_types(op: str, region: str, block: Block) -> tuple[TileType, ...]:
    """Return the types that a region hands out; it must end in ``yield``."""
    ends_well = bool(block.ops) and block.ops[-1].name == "yield"
    require(ends_well, f"region {region} of {op} must end in yield")
    return tuple(value.type for value in block.ops[-1].operands)


def require_yields(op: str, region: str, block: Block, expected: Sequence[TileType]) -> None:
    """Check that a region yields values of the expected types."""
    got = yielded_types(op, region, block)
    require(
        len(got) == len(expected),
        f"region {region} of {op} must yield {len(expected)} values; it yields {len(got)}",
    )
    for index, (want, have) in enumerate(zip(expected, got, strict=True)):
        require(
            want == have,
            f"region {region} of {op} must yield {want} as value number {index}; got {have}",
        )
