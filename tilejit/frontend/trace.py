"""Run a kernel once with symbolic arguments and return the tile IR that it builds."""

from __future__ import annotations

from tilejit import ops
from tilejit.diagnostics import CompileError, Location
from tilejit.frontend.context import Trace, tracing
from tilejit.frontend.signature import (
    ConstantParam,
    KernelSource,
    Param,
    PointerParam,
    ScalarParam,
    Specialisation,
    make_tuple,
)
from tilejit.frontend.source import run
from tilejit.frontend.tile import ArrayPointer, Tile
from tilejit.ir.core import Argument, Block, Function
from tilejit.ir.types import PointerType, TileType
from tilejit.language.members import BUILTINS, MEMBERS


def trace(source: KernelSource, specialisation: Specialisation, *, name: str) -> Function:
    """Return the IR of a kernel for one specialisation of its parameters.

    Arguments of the function: one per pointer or number in the order of the parameters (items of a tuple
    one by one), then those the kernel asks for: shapes and strides of arrays.
    Raises: CompileError that points into the kernel.
    """
    line = source.def_line
    location = Location(source.file, line, 0, line, 0, source.name)
    function = Function(name, Block(), location=location)
    active = Trace(function, MEMBERS, BUILTINS)
    arguments = {parameter: _argument(active, parameter, param) for parameter, param in specialisation}
    with tracing(active):
        result = run(active, source, arguments)
        if result is not None:
            raise CompileError(
                f"kernel {source.name} returns a value",
                location,
                "store results with tl.store, and return nothing",
            )
        active.create(ops.RETURN, location=location)
    source.outside.include(active.outside)
    return function


def _argument(active: Trace, name: str, param: Param) -> object:
    """Add the arguments that one parameter takes and return what the kernel sees of it."""
    if isinstance(param, ConstantParam):
        return param.value
    if isinstance(param, ScalarParam):
        argument = Argument(name, divisibility=16 if param.divisible_by_16 else 1)
        return Tile(active.add_argument(argument, TileType(param.dtype)))
    if isinstance(param, PointerParam):
        divisibility = 16 if param.divisible_by_16 else 1
        argument = Argument(name, divisibility=divisibility, alias_class=param.alias_class)
        value = active.add_argument(argument, TileType(PointerType(param.element, param.const)))
        active.array_ranks[name] = param.rank
        return ArrayPointer(value, name)
    items = [_argument(active, f"{name}.{i}", item) for i, item in enumerate(param.items)]
    return make_tuple(param.kind, items)
