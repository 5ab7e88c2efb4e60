"""The tables that describe one kind of call to the native launch function of ``entry_ir``."""

from __future__ import annotations

import ctypes
from enum import IntEnum

MAX_ENTRIES = 64  # of every table: the scratch arrays of the function are that long


class ParamKind(IntEnum):
    """What an argument must be."""

    ARRAY = 0
    INT32 = 1
    INT64 = 2
    UINT64 = 3
    BOOL = 4
    FLOAT32 = 5
    TENSOR = 6


class SlotKind(IntEnum):
    """What a slot is filled with."""

    VALUE = 0  # the number, or the address of the array
    SHAPE = 1
    STRIDE = 2


class Param(ctypes.Structure):
    """One runtime parameter.

    ``index`` counts arguments as Python passes them, keywords after positions; -1 takes ``default``.
    ``divisible`` is 0 or 1 as the value must be a multiple of 16 or must not, 2 where it does not matter.
    ``allows_one`` is 0 where 1 would be a constant. The rest is of arrays: ``dtype`` is the address of the
    numpy dtype object, or for tensors DLPack's 32 bits for it. ``tensor_type`` and what follows are of
    tensors: the class, DLPack's function that describes one, and the method that tells a lazily negated one.
    """

    _fields_ = (
        ("kind", ctypes.c_int64),
        ("index", ctypes.c_int64),
        ("default", ctypes.c_void_p),
        ("divisible", ctypes.c_int64),
        ("allows_one", ctypes.c_int64),
        ("dtype", ctypes.c_void_p),
        ("is_written", ctypes.c_int64),
        ("rank", ctypes.c_int64),
        ("itemsize", ctypes.c_int64),
        ("alias_class", ctypes.c_int64),
        ("tensor_type", ctypes.c_void_p),
        ("describe", ctypes.c_void_p),
        ("is_negated", ctypes.c_void_p),
    )


class Constant(ctypes.Structure):
    """One argument that must be what the code was made for: the same object, or an equal int or float."""

    _fields_ = (("index", ctypes.c_int64), ("expected", ctypes.c_void_p))


class WatchKind(IntEnum):
    """What a place outside is."""

    DICT = 0
    CELL = 1
    FUNCTION = 2


class Watch(ctypes.Structure):
    """A place outside that must hold what it held: a dict under a key, a cell, a function that answers True.

    ``expected`` is null where the dict must not have the key.
    """

    _fields_ = (
        ("kind", ctypes.c_int64),
        ("place", ctypes.c_void_p),
        ("key", ctypes.c_void_p),
        ("expected", ctypes.c_void_p),
    )


class Slot(ctypes.Structure):
    """One argument of the compiled function. ``shift``: log2 of the element size, for strides."""

    _fields_ = (
        ("kind", ctypes.c_int64),
        ("param", ctypes.c_int64),
        ("dimension", ctypes.c_int64),
        ("shift", ctypes.c_int64),
    )


class Launch(ctypes.Structure):
    """What is launched: code over one grid.

    ``cell`` is that of ``threads``, ``result`` what the launch returns, ``fallback`` what takes it over.
    """

    _fields_ = (
        ("cell", ctypes.c_void_p),
        ("code", ctypes.c_void_p),
        ("cost", ctypes.c_void_p),
        ("scratch_bytes", ctypes.c_int64),
        ("total", ctypes.c_int64),
        ("grid_x", ctypes.c_int64),
        ("grid_y", ctypes.c_int64),
        ("grid_z", ctypes.c_int64),
        ("result", ctypes.c_void_p),
        ("fallback", ctypes.c_void_p),
    )


class Call(ctypes.Structure):
    """One kind of call of one kernel over one grid."""

    _fields_ = (
        ("launch", Launch),
        ("positional", ctypes.c_int64),
        ("keywords", ctypes.c_int64),
        ("keyword_names", ctypes.c_void_p),
        ("param_count", ctypes.c_int64),
        ("params", ctypes.c_void_p),
        ("constant_count", ctypes.c_int64),
        ("constants", ctypes.c_void_p),
        ("slot_count", ctypes.c_int64),
        ("slots", ctypes.c_void_p),
        ("shares_memory", ctypes.c_int64),  # 1 where some arrays have one alias class
        ("array_type", ctypes.c_void_p),
        ("float64_type", ctypes.c_void_p),
        ("environment", ctypes.c_int64),  # the number of the variables that the code was chosen under
        ("watch_count", ctypes.c_int64),
        ("watches", ctypes.c_void_p),
    )


class Place(ctypes.Structure):
    """An array of a bound call, and the bytes from its first to its last when it was bound.

    ``describe`` is DLPack's function that describes a tensor, 0 for numpy arrays.
    """

    _fields_ = (
        ("array", ctypes.c_void_p),
        ("describe", ctypes.c_void_p),
        ("rank", ctypes.c_int64),
        ("itemsize", ctypes.c_int64),
        ("low", ctypes.c_int64),
        ("high", ctypes.c_int64),
    )


class Bound(ctypes.Structure):
    """One call, its arguments in slots."""

    _fields_ = (
        ("launch", Launch),
        ("slots", ctypes.c_void_p),
        ("place_count", ctypes.c_int64),
        ("places", ctypes.c_void_p),
    )
