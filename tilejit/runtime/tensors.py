"""How native code reads PyTorch tensors: through the C functions that PyTorch offers with DLPack.

A class of tensors has a table of functions in ``__dlpack_c_exchange_api__`` (``DLPackExchangeAPI`` in
DLPack's header dlpack.h, version 1.3). One of them describes a tensor without taking hold of it, in some tens
of nanoseconds; reading the attributes from Python takes a microsecond.
"""

from __future__ import annotations

import ctypes
import functools
import sys

from tilejit.records import dataclass

_DLPACK_MAJOR_VERSION = 1


class _ExchangeApi(ctypes.Structure):
    """The beginning of DLPack's ``DLPackExchangeAPI``."""

    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("previous", ctypes.c_void_p),
        ("allocate", ctypes.c_void_p),
        ("export", ctypes.c_void_p),
        ("adopt", ctypes.c_void_p),
        ("describe", ctypes.c_void_p),
    )


class DLTensor(ctypes.Structure):
    """DLPack's ``DLTensor``; ``dtype`` holds code, bits and lanes."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("dtype", ctypes.c_uint32),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("offset_bytes", ctypes.c_uint64),
    )


@dataclass(frozen=True)
class TensorReader:
    """How to read the tensors of one class: the address of DLPack's function and the method ``is_neg``."""

    kind: type
    describe: int
    is_negated: object

    def dtype(self, tensor: object) -> int:
        """DLPack's number for the element type of a tensor."""
        description = DLTensor()
        describe = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.POINTER(DLTensor))
        describe(self.describe)(tensor, ctypes.byref(description))  # raises where PyTorch does
        return int(description.dtype)


def reader_of(value: object) -> TensorReader | None:
    """How to read ``value`` and other tensors of its class; None where it is none that native code can read.

    Subclasses may be anything and are left out, parameters of modules excepted.
    """
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.Tensor):
        return None
    kind: type = value.__class__
    if kind not in (torch.Tensor, torch.nn.Parameter):
        return None
    return _reader(kind, torch.Tensor.__dict__.get("__dlpack_c_exchange_api__"))


@functools.cache
def _reader(kind: type, capsule: object) -> TensorReader | None:
    if capsule is None:  # an older PyTorch
        return None
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype = ctypes.c_void_p
    get_pointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
    api = _ExchangeApi.from_address(get_pointer(capsule, b"dlpack_exchange_api"))
    if api.major != _DLPACK_MAJOR_VERSION or not api.describe:
        return None
    return TensorReader(kind, api.describe, kind.is_neg)  # type: ignore[attr-defined]
