"""One view of every kind of array that a kernel can be given.

numpy arrays (ml_dtypes element types included), PyTorch CPU tensors, objects with ``__array_interface__``
and objects with ``__dlpack__``: the launcher sees an address, an element type, a shape and strides. Nothing
is copied.
"""

from __future__ import annotations

import ctypes
import sys
from types import ModuleType
from typing import Protocol, runtime_checkable

import numpy as np

from tilejit.diagnostics import LaunchError
from tilejit.ir.types import DTYPES, DType, dtype_from_numpy
from tilejit.records import dataclass
from tilejit.runtime.dlpack import CapsuleArray, read_capsule

SUPPORTED_DTYPES = ", ".join(dtype.name for dtype in DTYPES)


@dataclass(frozen=True)
class ArrayView:
    """Where an array lies and what it holds.

    Units: ``address`` is that of element 0, ``strides`` are in bytes. ``owner`` keeps the memory alive.
    """

    address: int
    dtype: DType
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    writable: bool
    owner: object

    @property
    def extent(self) -> tuple[int, int]:
        """The first byte of the array and the one after its last; equal where it has no elements."""
        if 0 in self.shape:
            return self.address, self.address
        spans = [(size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True)]
        low = self.address + sum(span for span in spans if span < 0)
        high = self.address + sum(span for span in spans if span > 0) + self.dtype.itemsize
        return low, high

    def element_stride(self, dimension: int) -> int:
        """Elements between neighbours along ``dimension``."""
        return self.strides[dimension] // self.dtype.itemsize


@runtime_checkable
class _HasArrayInterface(Protocol):
    """What numpy's array interface asks of an object."""

    __array_interface__: dict[str, object]


@runtime_checkable
class _HasDlpack(Protocol):
    """What DLPack's Python protocol asks of an object."""

    def __dlpack__(self) -> object: ...

    def __dlpack_device__(self) -> tuple[int, int]: ...


@runtime_checkable
class _OnCuda(Protocol):
    """What GPU arrays of any library offer."""

    __cuda_array_interface__: dict[str, object]


_DLPACK_CPU = 1  # kDLCPU in dlpack.h

# Element types of tensors by the name PyTorch prints.
_TORCH_DTYPES: dict[str, str] = {
    "torch.bool": "int1", "torch.int8": "int8", "torch.int16": "int16", "torch.int32": "int32",
    "torch.int64": "int64", "torch.uint8": "uint8", "torch.uint16": "uint16", "torch.uint32": "uint32",
    "torch.uint64": "uint64", "torch.float16": "fp16", "torch.bfloat16": "bf16", "torch.float32": "fp32",
    "torch.float64": "fp64", "torch.float8_e5m2": "fp8e5", "torch.float8_e4m3fn": "fp8e4nv",
    "torch.float8_e4m3fnuz": "fp8e4b8", "torch.float8_e5m2fnuz": "fp8e5b16",
}  # fmt: skip
_DTYPE_BY_NAME = {dtype.name: dtype for dtype in DTYPES}


def as_array_view(value: object) -> ArrayView | None:
    """View ``value`` as an array; None where it is none.

    Raises: LaunchError for an array that kernels cannot take, the text saying why without naming the
    parameter.
    """
    if isinstance(value, np.ndarray):
        return _view_numpy(value, value)
    if isinstance(value, (int, float, str, bytes, list, tuple, dict, type(None), np.generic)):
        return None
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return _view_torch(value, torch)
    if isinstance(value, _OnCuda):
        raise LaunchError("the array is on a device", "copy it to the host; kernels run on CPU memory here")
    if isinstance(value, _HasArrayInterface):
        return _view_numpy(np.asarray(value), value)
    if isinstance(value, _HasDlpack):
        return _view_dlpack(value)
    return None


def as_numpy(view: ArrayView) -> np.ndarray:
    """A numpy array on the memory of ``view``."""
    if isinstance(view.owner, np.ndarray):
        return view.owner
    low, high = view.extent
    memory = memoryview((ctypes.c_char * (high - low)).from_address(low)).cast("B")
    array = np.ndarray(view.shape, view.dtype.numpy, memory, view.address - low, view.strides)
    array.flags.writeable = view.writable
    return array


def _view_numpy(array: np.ndarray, owner: object) -> ArrayView:
    if not array.dtype.isnative:
        raise LaunchError(
            f"its dtype {array.dtype.str} is not in the byte order of this machine",
            "convert the array: array.astype(array.dtype.newbyteorder('='))",
        )
    dtype = dtype_from_numpy(array.dtype)
    if dtype is None:
        raise LaunchError(f"its dtype {array.dtype} is not supported", f"use one of {SUPPORTED_DTYPES}")
    if any(s % dtype.itemsize and n > 1 for n, s in zip(array.shape, array.strides, strict=True)):
        raise LaunchError(
            f"its strides {array.strides} (in bytes) are not multiples of its element size {dtype.itemsize}",
            "pass a copy: array.copy()",
        )
    if not array.flags.aligned:
        raise _misaligned(dtype, "array.copy()")
    return ArrayView(array.ctypes.data, dtype, array.shape, array.strides, array.flags.writeable, owner)


def _misaligned(dtype: DType, copy: str) -> LaunchError:
    return LaunchError(
        f"its first element is not at a multiple of its size {dtype.itemsize}", f"pass a copy: {copy}"
    )


class _Tensor(Protocol):
    """The part of ``torch.Tensor`` that is needed."""

    device: object
    dtype: object
    layout: object
    shape: tuple[int, ...]

    def data_ptr(self) -> int: ...

    def is_neg(self) -> bool: ...

    def stride(self) -> tuple[int, ...]: ...

    def untyped_storage(self) -> object: ...


def _view_torch(tensor: _Tensor, torch: ModuleType) -> ArrayView:
    if str(tensor.device) != "cpu":
        raise LaunchError(f"the tensor is on a device ({tensor.device})", "copy it to the host: tensor.cpu()")
    if tensor.layout is not torch.strided:
        raise LaunchError(f"the tensor has layout {tensor.layout}", "pass a dense tensor: tensor.to_dense()")
    name = _TORCH_DTYPES.get(str(tensor.dtype))
    if name is None:
        raise LaunchError(f"its dtype {tensor.dtype} is not supported", f"use one of {SUPPORTED_DTYPES}")
    dtype = _DTYPE_BY_NAME[name]
    if tensor.is_neg():
        raise LaunchError(
            "the tensor is negated lazily: its memory holds the opposite values", "pass tensor.resolve_neg()"
        )
    address = tensor.data_ptr()
    if address % dtype.itemsize:
        raise _misaligned(dtype, "tensor.clone()")
    strides = tuple(stride * dtype.itemsize for stride in tensor.stride())
    # The tensor itself may be given other memory: parameter.data = ...
    return ArrayView(address, dtype, tuple(tensor.shape), strides, True, tensor.untyped_storage())


_REFUSALS = (BufferError, RuntimeError, TypeError)  # what libraries raise where they do not export an array


def _view_dlpack(value: _HasDlpack) -> ArrayView:
    device, _ = value.__dlpack_device__()
    if device != _DLPACK_CPU:
        raise LaunchError(f"the array is on a device (DLPack type {device})", "copy it to the host")
    try:
        array = np.from_dlpack(value)  # type: ignore[arg-type]
    except _REFUSALS as error:
        found = _read_dlpack(value)
        if found is not None:
            if found.address % found.dtype.itemsize:
                raise _misaligned(found.dtype, "array.copy()") from None
            strides = tuple(stride * found.dtype.itemsize for stride in found.strides)
            return ArrayView(found.address, found.dtype, found.shape, strides, True, found.capsule)
        raise LaunchError(f"numpy cannot view it through DLPack: {error}", "pass a numpy array") from None
    # The array shares the memory and holds what keeps it alive.
    return _view_numpy(array, array)


def _read_dlpack(value: _HasDlpack) -> CapsuleArray | None:
    """Read an array of a type that numpy lacks; None where it is of another, or is not exported."""
    try:
        return read_capsule(value.__dlpack__())
    except _REFUSALS:
        return None
