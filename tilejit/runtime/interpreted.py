"""Launches in the interpreter."""

from __future__ import annotations

from tilejit import interpreter
from tilejit.ir.core import Argument, ArgumentSource
from tilejit.runtime.binding import BoundCall
from tilejit.runtime.compiled import CompiledKernel


def interpret(compiled: CompiledKernel, call: BoundCall, grid: tuple[int, int, int]) -> None:
    """Run every program of ``grid``. Raises: KernelError where the kernel is at fault."""
    function = compiled.runnable
    arguments = [_argument(argument, call) for argument in function.arguments]
    interpreter.run(function, arguments, grid, kernel_name=compiled.name)


def _argument(argument: Argument, call: BoundCall) -> interpreter.InterpreterArgument:
    name, view = argument.name, call.arrays.get(argument.name)
    if view is None:
        return call.numbers[name]
    if argument.source is ArgumentSource.SHAPE:
        return view.shape[argument.dimension]
    if argument.source is ArgumentSource.STRIDE:
        return view.element_stride(argument.dimension)
    low, high = view.extent
    return interpreter.ArrayArgument(
        view.address, low, high, view.dtype, view.shape, view.strides, name, view.writable
    )
