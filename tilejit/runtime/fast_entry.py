"""Makes native launch functions: what ``kernel[grid]`` returns once it has seen a kind of call before.

A launch function is a builtin over one ``Call`` table (see ``entry_ir``). It costs a fraction of a
microsecond where ``Kernel.launch`` costs tens, and hands every call that it was not made for to the latter.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from types import CellType, FunctionType

import numpy as np

from tilejit.backend.cpu import engine, threads
from tilejit.frontend.constexpr import Constexpr
from tilejit.frontend.outside import GONE, Lookup
from tilejit.frontend.signature import ConstantParam, PointerParam, ScalarParam
from tilejit.records import dataclass
from tilejit.runtime import entry_checks_ir, entry_ir, entry_tables
from tilejit.runtime.arrays import ArrayView
from tilejit.runtime.binding import BoundCall, SpecialisationRules
from tilejit.runtime.compiled import CompiledKernel
from tilejit.runtime.entry_tables import MAX_ENTRIES, ParamKind, SlotKind, WatchKind
from tilejit.runtime.program import ProgramSlot, SlotSource
from tilejit.runtime.tensors import reader_of
from tilejit.target.cpu import host

LaunchFunction = Callable[..., CompiledKernel]
BoundFunction = Callable[[], CompiledKernel]
Grid = tuple[int, int, int]

_METH_FASTCALL, _METH_KEYWORDS, _METH_NOARGS = 0x80, 0x02, 0x04  # CPython's methodobject.h
_EITHER = 2
_CELL_OFFSET = 16  # of what a cell holds, behind reference count and type
_KINDS = {
    "int32": ParamKind.INT32, "int64": ParamKind.INT64, "uint64": ParamKind.UINT64, "int1": ParamKind.BOOL,
    "fp32": ParamKind.FLOAT32,
}  # fmt: skip
_PYTHON_TYPES: dict[ParamKind, tuple[type, ...]] = {
    ParamKind.BOOL: (bool,),
    ParamKind.FLOAT32: (float, np.float64),
}
_SLOT_KINDS = {
    SlotSource.VALUE: SlotKind.VALUE,
    SlotSource.SHAPE: SlotKind.SHAPE,
    SlotSource.STRIDE: SlotKind.STRIDE,
}


@dataclass(frozen=True)
class CallSite:
    """A call as it was written, and what the kernel made of it.

    ``matched`` gives every parameter its argument; ``options`` are the keywords of ``kwargs`` that steer
    compilation.
    """

    parameters: Sequence[str]
    args: Sequence[object]
    kwargs: Mapping[str, object]
    matched: Mapping[str, object]
    options: Sequence[str]
    rules: SpecialisationRules

    @property
    def given(self) -> tuple[object, ...]:
        """The arguments as Python passes them to a builtin."""
        return (*self.args, *self.kwargs.values())

    def index(self, name: str) -> int:
        """The place of a parameter or option among ``given``; -1 where its default is used."""
        if name in self.kwargs:
            return len(self.args) + list(self.kwargs).index(name)
        position = list(self.parameters).index(name)
        return position if position < len(self.args) else -1


class _Ineligible(Exception):
    """A call that the native way does not know."""


class _MethodDef(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


class _Holder:
    """Everything a launch function points to, kept alive by it."""

    def __init__(self, *things: object) -> None:
        self.things = things


def make_launch_function(
    compiled: CompiledKernel, site: CallSite, grid: Grid, fallback: LaunchFunction, outside: Sequence[Lookup]
) -> LaunchFunction | None:
    """A launch function for calls like ``site``, or None where it is of a kind that has none.

    The function returns ``compiled``; ``fallback`` takes the calls it was not made for, and those after one
    of ``outside`` has changed.
    """
    if compiled.target is None or 0 in grid or not threads.has_native_pool() or not _layout_is_known():
        return None
    try:
        params, order, constants = _describe(compiled, site)
        slots = [_slot(slot, params, order) for slot in compiled.program.slots]
    except _Ineligible:
        return None
    if max(len(params), len(constants), len(slots)) > MAX_ENTRIES:
        return None
    names = (ctypes.c_void_p * len(site.kwargs))(*[id(name) for name in site.kwargs])
    param_table = (entry_tables.Param * len(params))(*params)
    constant_table = (entry_tables.Constant * len(constants))(*constants)
    slot_table = (entry_tables.Slot * len(slots))(*slots)
    watch_table = (entry_tables.Watch * len(outside))(*map(_watch, outside))
    classes = [param.alias_class for param in params if param.kind in (ParamKind.ARRAY, ParamKind.TENSOR)]
    programs, entry = compiled.program.programs, _entry()
    call = entry_tables.Call(
        launch=_launch(compiled, grid, fallback),
        positional=len(site.args),
        keywords=len(site.kwargs),
        keyword_names=ctypes.addressof(names),
        param_count=len(params),
        params=ctypes.addressof(param_table),
        constant_count=len(constants),
        constants=ctypes.addressof(constant_table),
        slot_count=len(slots),
        slots=ctypes.addressof(slot_table),
        shares_memory=len(set(classes)) < len(classes),
        array_type=id(np.ndarray),
        float64_type=id(np.float64),
        environment=entry.environment(),
        watch_count=len(outside),
        watches=ctypes.addressof(watch_table),
    )
    method = _MethodDef(compiled.name.encode(), entry.enter, _METH_FASTCALL | _METH_KEYWORDS, None)
    tables = (names, param_table, constant_table, slot_table, watch_table, method, entry)
    kept = [_kept_of(value) for value in (*site.kwargs, *site.given, *site.matched.values())]
    objects = (compiled, compiled.program, programs, fallback, kept, outside)
    return _builtin(method, call, _Holder(call, tables, objects))


def make_bound_function(
    compiled: CompiledKernel,
    slots: ctypes.Array[ctypes.c_uint64],
    grid: Grid,
    fallback: BoundFunction,
    bound_call: BoundCall,
) -> BoundFunction:
    """A function without arguments that launches with these slots and returns ``compiled``.

    ``fallback`` does the same where there is no thread pool, and looks where the arrays are: so it is for
    kinds of arrays that native code cannot ask.
    """
    if 0 in grid or not threads.has_native_pool() or not _layout_is_known():
        return fallback
    places = [_place(bound_call.given[name], view) for name, view in bound_call.arrays.items()]
    known = [place for place in places if place is not None]
    if len(known) < len(places):
        return fallback
    programs, entry = compiled.program.programs, _entry()
    table = (entry_tables.Place * len(known))(*known)
    bound = entry_tables.Bound(
        launch=_launch(compiled, grid, fallback),
        slots=ctypes.addressof(slots),
        place_count=len(known),
        places=ctypes.addressof(table),
    )
    method = _MethodDef(compiled.name.encode(), entry.run_bound, _METH_NOARGS, None)
    objects = (compiled, compiled.program, programs, fallback, bound_call, slots, table, method, entry)
    return _builtin(method, bound, _Holder(bound, objects))


def _place(array: object, view: ArrayView) -> entry_tables.Place | None:
    """Where an array is; None where native code cannot ask it."""
    reader = reader_of(array)
    if not isinstance(array, np.ndarray) and reader is None:
        return None
    describe = None if reader is None else reader.describe
    low, high = view.extent
    return entry_tables.Place(id(array), describe, len(view.shape), view.dtype.itemsize, low, high)


def _launch(
    compiled: CompiledKernel, grid: Grid, fallback: LaunchFunction | BoundFunction
) -> entry_tables.Launch:
    programs = compiled.program.programs
    return entry_tables.Launch(
        cell=threads.launch_cell_address(),
        code=programs.address,
        cost=ctypes.addressof(programs.cost),
        scratch_bytes=programs.scratch_bytes,
        total=grid[0] * grid[1] * grid[2],
        grid_x=grid[0],
        grid_y=grid[1],
        grid_z=grid[2],
        result=id(compiled),
        fallback=id(fallback),
    )


def _builtin(method: _MethodDef, call: ctypes.Structure, holder: _Holder) -> LaunchFunction:
    new_capsule = ctypes.pythonapi.PyCapsule_New
    new_capsule.restype = ctypes.py_object
    new_capsule.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    new_function = ctypes.pythonapi.PyCFunction_NewEx
    new_function.restype = ctypes.py_object
    new_function.argtypes = (ctypes.POINTER(_MethodDef), ctypes.py_object, ctypes.py_object)
    capsule = new_capsule(ctypes.addressof(call), None, None)
    function: LaunchFunction = new_function(ctypes.byref(method), capsule, holder)
    return function


def _describe(
    compiled: CompiledKernel, site: CallSite
) -> tuple[list[entry_tables.Param], dict[str, int], list[entry_tables.Constant]]:
    """The tables of runtime parameters, with their places by name, and of constants.

    Raises: _Ineligible for arguments that have no native check.
    """
    params: list[entry_tables.Param] = []
    order: dict[str, int] = {}
    constants = [_constant(site.index(name), site.kwargs[name]) for name in site.options]
    for name, param in compiled.specialisation:
        index, argument = site.index(name), site.matched[name]
        if isinstance(param, ConstantParam):
            if index >= 0:
                constants.append(_constant(index, argument))
            continue
        order[name] = len(params)
        if isinstance(param, PointerParam):
            params.append(_array_param(param, index, argument, name in compiled.written_names))
        elif isinstance(param, ScalarParam):
            params.append(_number_param(param, index, argument))
        else:
            raise _Ineligible
        entry = params[-1]
        if name in site.rules.generic:
            entry.divisible, entry.allows_one = _EITHER, 1
        elif name in site.rules.any_alignment:
            entry.divisible = _EITHER
    return params, order, constants


def _constant(index: int, value: object) -> entry_tables.Constant:
    return entry_tables.Constant(index, id(value))


def _watch(lookup: Lookup) -> entry_tables.Watch:
    place, address = lookup.place, id(lookup.place)
    kind = WatchKind.FUNCTION
    if isinstance(place, dict):
        kind = WatchKind.DICT
    elif isinstance(place, CellType):
        kind = WatchKind.CELL
    elif isinstance(place, FunctionType):  # read as if a cell lay so that it held the code or the defaults
        kind, address = WatchKind.CELL, address + _function_offset(str(lookup.key)) - _CELL_OFFSET
    expected = None if lookup.expected is GONE else id(lookup.expected)
    return entry_tables.Watch(kind, address, id(lookup.key), expected)


def _array_param(param: PointerParam, index: int, argument: object, is_written: bool) -> entry_tables.Param:
    entry = entry_tables.Param(
        index=index,
        default=id(argument) if index < 0 else None,
        divisible=param.divisible_by_16,
        is_written=is_written,
        rank=param.rank,
        itemsize=param.element.itemsize,
        alias_class=param.alias_class,
    )
    if type(argument) is np.ndarray:
        entry.kind, entry.dtype = ParamKind.ARRAY, id(argument.dtype)
        return entry
    reader = reader_of(argument)
    if reader is None:
        raise _Ineligible
    entry.kind, entry.dtype = ParamKind.TENSOR, reader.dtype(argument)
    entry.tensor_type, entry.describe, entry.is_negated = (
        id(reader.kind),
        reader.describe,
        id(reader.is_negated),
    )
    return entry


def _number_param(param: ScalarParam, index: int, argument: object) -> entry_tables.Param:
    kind = _KINDS.get(param.dtype.name)
    if (
        kind is None
        or isinstance(argument, Constexpr)
        or type(argument) not in _PYTHON_TYPES.get(kind, (int,))
    ):
        raise _Ineligible
    divisible = (
        param.divisible_by_16 if kind in (ParamKind.INT32, ParamKind.INT64, ParamKind.UINT64) else _EITHER
    )
    default = id(argument) if index < 0 else None
    return entry_tables.Param(kind=kind, index=index, default=default, divisible=divisible)


def _slot(
    slot: ProgramSlot, params: Sequence[entry_tables.Param], order: Mapping[str, int]
) -> entry_tables.Slot:
    param = order.get(slot.name)
    if param is None:
        raise _Ineligible
    kind = _SLOT_KINDS[slot.source]
    entry = params[param]
    in_bytes = kind is SlotKind.STRIDE and entry.kind == ParamKind.ARRAY  # tensors count elements
    shift = entry.itemsize.bit_length() - 1 if in_bytes else 0
    return entry_tables.Slot(kind, param, slot.dimension, shift)


def _kept_of(value: object) -> object:
    """What the tables may point to of an argument: itself, but of an array what they say of its kind."""
    return value.dtype if isinstance(value, np.ndarray) else reader_of(value) or value


@dataclass(frozen=True)
class _Entry:
    """The native functions' addresses, how to read the environment as they do, and the code of all."""

    enter: int
    run_bound: int
    environment: Callable[[], int]
    code: engine.CompiledObject


@functools.cache
def _entry() -> _Entry:
    code = engine.compile_fixed_module(entry_ir.entry_module(), host(), engine.GLUE_PIPELINE)
    environment = ctypes.PYFUNCTYPE(ctypes.c_int64)(code.address(entry_checks_ir.ENVIRONMENT))
    return _Entry(code.address(entry_ir.ENTER), code.address(entry_ir.RUN_BOUND), environment, code)


@functools.cache
def _function_offset(attribute: str) -> int:
    """Where a function keeps its code, or its defaults."""

    def sample(first: float = 0.5, *, second: float = 0.25) -> None:
        del first, second

    return 8 * _words(sample, sys.getsizeof(sample) // 8).index(id(getattr(sample, attribute)))


@functools.cache
def _layout_is_known() -> bool:
    """True where CPython and numpy keep what the native function reads where it reads it."""
    if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return False
    array = np.zeros((2, 6), np.float32)[:, ::2]
    frozen = np.zeros(3, np.int64)
    frozen.flags.writeable = False
    pair, number, cell = (object(), object()), 1.5, CellType(frozen)
    return (
        _array_is_as_read(array)
        and _array_is_as_read(frozen)
        and _words(pair, 5)[1:] == (id(tuple), 2, id(pair[0]), id(pair[1]))
        and _words(cell, 3)[1:] == (id(CellType), id(frozen))
        and _words(number, 2)[1] == id(float)
        and ctypes.c_double.from_address(id(number) + 16).value == number
        and _words(np.float64(number), 2)[1] == id(np.float64)
        and _words(7, 2)[1] == id(int)
    )


def _array_is_as_read(array: np.ndarray) -> bool:
    _, kind, data, _, shape, strides, _, dtype = _words(array, 8)
    rank = ctypes.c_int.from_address(id(array) + 24).value
    flags = ctypes.c_int.from_address(id(array) + 64).value
    numbers = ctypes.c_ssize_t * array.ndim
    return (
        (kind, data, rank, dtype) == (id(np.ndarray), array.ctypes.data, array.ndim, id(array.dtype))
        and tuple(numbers.from_address(shape)) == array.shape
        and tuple(numbers.from_address(strides)) == array.strides
        and bool(flags & 0x400) == array.flags.writeable
        and bool(flags & 0x100) == array.flags.aligned
    )


def _words(value: object, count: int) -> tuple[int, ...]:
    """The first 8-byte words of an object."""
    return tuple((ctypes.c_size_t * count).from_address(id(value)))
