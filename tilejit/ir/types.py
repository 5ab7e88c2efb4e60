"""Types of the IR: element types, pointers, tiles.

A tile type with an empty shape is a scalar. Names are those users write in kernels (``tl.float32`` is
``FP32`` and prints as ``fp32``), so one spelling serves the language, error messages and the text form.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from enum import Enum
from functools import cached_property

import numpy as np

from tilejit.records import dataclass
from tilejit.target.spaces import Space


class Kind(Enum):
    """What an element's bits stand for."""

    BOOL = "bool"
    SIGNED = "signed"
    UNSIGNED = "unsigned"
    FLOAT = "float"


class Type:
    """Base of everything a value can have as its type."""

    __slots__ = ()


@dataclass(frozen=True)
class DType:
    """An element type.

    Units: ``bits`` is the width of the value; a bool has 1 bit and takes one byte in memory.
    """

    name: str
    kind: Kind
    bits: int
    mantissa_bits: int = 0  # stored mantissa bits of a float, without the hidden one

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return self.name

    # What kernels ask of a dtype, under Triton's names.

    @property
    def primitive_bitwidth(self) -> int:
        return self.bits

    @property
    def int_bitwidth(self) -> int:
        return self.bits

    @property
    def fp_mantissa_width(self) -> int:
        return self.mantissa_bits

    @property
    def itemsize(self) -> int:
        """Bytes one element takes in memory."""
        return max(1, self.bits // 8)

    @property
    def scalar(self) -> DType:
        return self

    def is_floating(self) -> bool:
        return self.kind is Kind.FLOAT

    def is_int(self) -> bool:
        """True for every integer, bool included, as in Triton."""
        return self.kind is not Kind.FLOAT

    def is_int_signed(self) -> bool:
        return self.kind is Kind.SIGNED

    def is_int_unsigned(self) -> bool:
        return self.kind in (Kind.UNSIGNED, Kind.BOOL)

    def is_bool(self) -> bool:
        return self.kind is Kind.BOOL

    def is_ptr(self) -> bool:
        return False

    def is_block(self) -> bool:
        return False

    def is_fp8(self) -> bool:
        return self.kind is Kind.FLOAT and self.bits == 8

    def is_fp8e5(self) -> bool:
        return self == FP8E5

    def is_fp8e4nv(self) -> bool:
        return self == FP8E4NV

    def is_fp8e4b8(self) -> bool:
        return self == FP8E4B8

    def is_fp8e5b16(self) -> bool:
        return self == FP8E5B16

    def is_standard_floating(self) -> bool:
        return self in (FP16, BF16, FP32, FP64)

    def is_fp16(self) -> bool:
        return self == FP16

    def is_bf16(self) -> bool:
        return self == BF16

    def is_fp32(self) -> bool:
        return self == FP32

    def is_fp64(self) -> bool:
        return self == FP64

    def is_int1(self) -> bool:
        return self == INT1

    def is_int8(self) -> bool:
        return self == INT8

    def is_int16(self) -> bool:
        return self == INT16

    def is_int32(self) -> bool:
        return self == INT32

    def is_int64(self) -> bool:
        return self == INT64

    def is_uint8(self) -> bool:
        return self == UINT8

    def is_uint16(self) -> bool:
        return self == UINT16

    def is_uint32(self) -> bool:
        return self == UINT32

    def is_uint64(self) -> bool:
        return self == UINT64

    @property
    def min_value(self) -> int:
        """Smallest integer of an integer type."""
        return -(1 << (self.bits - 1)) if self.kind is Kind.SIGNED else 0

    @property
    def max_value(self) -> int:
        """Largest integer of an integer type."""
        return (1 << (self.bits - 1)) - 1 if self.kind is Kind.SIGNED else (1 << self.bits) - 1

    def get_int_max_value(self) -> int:
        return self.max_value

    @cached_property
    def numpy(self) -> np.dtype:
        """The numpy dtype that holds one element in memory (ml_dtypes for bf16 and fp8)."""
        if self.name in _NUMPY_SCALARS:
            return np.dtype(_NUMPY_SCALARS[self.name])
        import ml_dtypes  # noqa: PLC0415 - takes milliseconds that programs without such arrays do not pay

        scalar: type = vars(ml_dtypes)[_EXTENSION_SCALARS[self.name]]
        return np.dtype(scalar)


INT1 = DType("int1", Kind.BOOL, 1)
INT8 = DType("int8", Kind.SIGNED, 8)
INT16 = DType("int16", Kind.SIGNED, 16)
INT32 = DType("int32", Kind.SIGNED, 32)
INT64 = DType("int64", Kind.SIGNED, 64)
UINT8 = DType("uint8", Kind.UNSIGNED, 8)
UINT16 = DType("uint16", Kind.UNSIGNED, 16)
UINT32 = DType("uint32", Kind.UNSIGNED, 32)
UINT64 = DType("uint64", Kind.UNSIGNED, 64)
FP8E5 = DType("fp8e5", Kind.FLOAT, 8, 2)
FP8E4NV = DType("fp8e4nv", Kind.FLOAT, 8, 3)
FP8E4B8 = DType("fp8e4b8", Kind.FLOAT, 8, 3)
FP8E5B16 = DType("fp8e5b16", Kind.FLOAT, 8, 2)
FP16 = DType("fp16", Kind.FLOAT, 16, 10)
BF16 = DType("bf16", Kind.FLOAT, 16, 7)
FP32 = DType("fp32", Kind.FLOAT, 32, 23)
FP64 = DType("fp64", Kind.FLOAT, 64, 52)

_NUMPY_SCALARS: dict[str, type] = {
    "int1": np.bool_,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
    "fp16": np.float16,
    "fp32": np.float32,
    "fp64": np.float64,
}
_EXTENSION_SCALARS: dict[str, str] = {  # types of ml_dtypes
    "fp8e5": "float8_e5m2",
    "fp8e4nv": "float8_e4m3fn",
    "fp8e4b8": "float8_e4m3fnuz",
    "fp8e5b16": "float8_e5m2fnuz",
    "bf16": "bfloat16",
}

DTYPES: tuple[DType, ...] = (
    INT1, INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64,
    FP8E5, FP8E4NV, FP8E4B8, FP8E5B16, FP16, BF16, FP32, FP64,
)  # fmt: skip
DTYPE_BY_NAME: dict[str, DType] = {dtype.name: dtype for dtype in DTYPES}
_DTYPE_BY_NUMPY = {dtype.numpy: dtype for dtype in DTYPES if dtype.name in _NUMPY_SCALARS}


def dtype_from_numpy(dtype: np.dtype) -> DType | None:
    """Return the element type stored in arrays of ``dtype``, or None where tilejit has none (complex,
    strings).
    """
    found = _DTYPE_BY_NUMPY.get(dtype)
    if found is None and "ml_dtypes" in sys.modules:  # else there is no array of its types
        found = next((ours for ours in DTYPES if ours.numpy == dtype), None)
    return found


@dataclass(frozen=True)
class PointerType:
    """A pointer to elements of one type; adding an integer moves it by whole elements.

    ``space`` is GM wherever kernels see pointers; below the tile level it may be a memory of an Ascend core.
    """

    element: DType
    const: bool = False
    space: Space = Space.GM

    def __str__(self) -> str:
        space = "" if self.space is Space.GM else f"{self.space.value} "
        return f"ptr<{'const ' if self.const else ''}{space}{self.element}>"

    __repr__ = __str__

    @property
    def element_ty(self) -> DType:
        return self.element

    @property
    def scalar(self) -> PointerType:
        return self

    @property
    def primitive_bitwidth(self) -> int:
        return 64

    @property
    def itemsize(self) -> int:
        return 8

    def is_ptr(self) -> bool:
        return True

    def is_block(self) -> bool:
        return False

    def is_floating(self) -> bool:
        return False

    def is_int(self) -> bool:
        return False

    def is_bool(self) -> bool:
        return False


Element = DType | PointerType


@dataclass(frozen=True)
class TileType(Type):
    """An immutable tile of elements; ``shape == ()`` is a scalar."""

    element: Element
    shape: tuple[int, ...] = ()

    def __str__(self) -> str:
        if not self.shape:
            return str(self.element)
        return f"tile<{'x'.join(map(str, self.shape))}x{self.element}>"

    __repr__ = __str__

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return product(self.shape)

    @property
    def is_scalar(self) -> bool:
        return not self.shape

    def with_element(self, element: Element) -> TileType:
        return TileType(element, self.shape)

    def with_shape(self, shape: Iterable[int]) -> TileType:
        return TileType(self.element, tuple(shape))


def product(values: Iterable[int]) -> int:
    """Return the product of ``values``; 1 for none."""
    result = 1
    for value in values:
        result *= value
    return result
