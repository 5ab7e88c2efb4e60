"""Arrays of element types that numpy does not know, read from the capsules of DLPack's Python protocol."""

from __future__ import annotations

import ctypes

from tilejit.ir.types import BF16, FP8E4B8, FP8E4NV, FP8E5, FP8E5B16, DType
from tilejit.records import dataclass
from tilejit.runtime.tensors import DLTensor

# Type codes and bits by DLDataTypeCode in dlpack.h, version 1.3: kDLBfloat and the kinds of kDLFloat8.
_DTYPES: dict[tuple[int, int], DType] = {
    (4, 16): BF16,
    (10, 8): FP8E4NV,
    (11, 8): FP8E4B8,
    (12, 8): FP8E5,
    (13, 8): FP8E5B16,
}


@dataclass(frozen=True)
class CapsuleArray:
    """What a capsule says of an array. Units: ``strides`` are in elements. The capsule keeps it alive."""

    address: int
    dtype: DType
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    capsule: object


def read_capsule(capsule: object) -> CapsuleArray | None:
    """Read a ``dltensor`` capsule without taking it over; None for element types that are not listed here."""
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype = ctypes.c_void_p
    get_pointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
    tensor = DLTensor.from_address(get_pointer(capsule, b"dltensor"))
    code, bits, lanes = tensor.dtype & 0xFF, tensor.dtype >> 8 & 0xFF, tensor.dtype >> 16
    dtype = _DTYPES.get((code, bits))
    if dtype is None or lanes != 1:
        return None
    shape = _numbers(tensor.shape, tensor.rank)
    strides = _numbers(tensor.strides, tensor.rank) if tensor.strides else _row_major(shape)
    return CapsuleArray((tensor.data or 0) + tensor.offset_bytes, dtype, shape, strides, capsule)


def _numbers(address: int | None, count: int) -> tuple[int, ...]:
    return tuple((ctypes.c_int64 * count).from_address(address)) if address and count else ()


def _row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.insert(0, step)
        step *= size
    return tuple(strides)
