"""Trace a function for given arguments and run it in the interpreter, without the runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FunctionType

import numpy as np
import pytest

from tilejit import interpreter
from tilejit.diagnostics import CompileError
from tilejit.frontend.signature import (
    ConstantParam,
    KernelSource,
    Param,
    PointerParam,
    ScalarParam,
    Specialisation,
    TupleParam,
    specialise_number,
)
from tilejit.frontend.trace import trace
from tilejit.frontend.traced_function import TracedFunction
from tilejit.interpreter import ArrayArgument, InterpreterArgument
from tilejit.ir.core import ArgumentSource, Function
from tilejit.ir.printer import print_function
from tilejit.ir.types import DType, dtype_from_numpy
from tilejit.ir.verifier import verify

Kernel = Callable[..., object] | TracedFunction


def helper(function: Callable[..., object]) -> TracedFunction:
    """Make a helper as the decorator does."""
    assert isinstance(function, FunctionType)
    return TracedFunction(KernelSource.of(function))


def _param(value: object, is_constexpr: bool) -> Param:
    if is_constexpr:
        return ConstantParam(value)
    if isinstance(value, PointerParam | ScalarParam | ConstantParam | TupleParam):
        return value
    if isinstance(value, DType):
        return PointerParam(value, rank=1)
    if isinstance(value, np.ndarray):
        dtype = dtype_from_numpy(value.dtype)
        assert dtype is not None
        return PointerParam(dtype, rank=value.ndim)
    if isinstance(value, tuple):
        return TupleParam(tuple(_param(item, False) for item in value))
    assert value is None or isinstance(value, bool | int | float)
    return specialise_number(value)


def specialise(source: KernelSource, values: Sequence[object], named: dict[str, object]) -> Specialisation:
    """Return how arguments specialise a kernel: arrays, numbers, or parameter records themselves."""
    bound = source.bind(tuple(values), named)
    return tuple((p.name, _param(bound[p.name], p.is_constexpr)) for p in source.parameters)


def trace_function(function: Kernel, *args: object, **named: object) -> Function:
    """Trace and verify a kernel."""
    kernel = function if isinstance(function, TracedFunction) else helper(function)
    traced = trace(kernel.source, specialise(kernel.source, args, named), name=kernel.source.name)
    verify(traced)
    return traced


def ir_text(function: Kernel, *args: object, **named: object) -> str:
    """Return the printed IR of a kernel."""
    return print_function(trace_function(function, *args, **named))


def run_kernel(function: Kernel, *args: object, grid: int = 1, **named: object) -> None:
    """Trace a kernel for its arguments and run it in the interpreter."""
    kernel = function if isinstance(function, TracedFunction) else helper(function)
    bound = kernel.source.bind(args, named)
    traced = trace_function(kernel, *args, **named)
    values = [_argument(a.name, a.source, a.dimension, bound) for a in traced.arguments]
    interpreter.run(traced, values, (grid, 1, 1), kernel_name=kernel.source.name)


def _argument(
    name: str, source: ArgumentSource, dimension: int, bound: dict[str, object]
) -> InterpreterArgument:
    path = name.split(".")
    value = bound[path[0]]
    if source is not ArgumentSource.VALUE:
        assert isinstance(value, np.ndarray)
        if source is ArgumentSource.SHAPE:
            return value.shape[dimension]
        return value.strides[dimension] // value.itemsize
    for index in path[1:]:
        assert isinstance(value, tuple)
        value = value[int(index)]
    if isinstance(value, np.ndarray):
        low, high = np.lib.array_utils.byte_bounds(value)
        dtype = dtype_from_numpy(value.dtype)
        assert dtype is not None
        address = value.__array_interface__["data"][0]
        return ArrayArgument(address, low, high, dtype, value.shape, value.strides, name)
    assert isinstance(value, bool | int | float)
    return value


def error_of(function: Kernel, *args: object, **named: object) -> CompileError:
    """Return the error that tracing a kernel ends with."""
    with pytest.raises(CompileError) as caught:
        trace_function(function, *args, **named)
    return caught.value
