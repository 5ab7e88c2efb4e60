"""Cuts the tiles of a kernel into parts, one after the other, where they are too large for a core's memory.

The whole program becomes a loop over parts in which one dimension of all that is stored has a fraction of its
size (``cut_tiles``). Loads then come after the stores of earlier parts. That changes nothing where they reach
different arguments, or one address for each lane.
"""

from __future__ import annotations

from collections.abc import Mapping

from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.types import INT32, TileType
from tilejit.ops import CONSTANT, FOR, STORE, YIELD
from tilejit.passes.cut_tiles import Cutter, Dimensions, parts_are_independent, with_own_indices


def parts_of(function: Function) -> tuple[int, ...]:
    """Into how many parts the programs of ``function`` can be cut, in increasing order; () for none."""
    cut = _common_dimension(with_own_indices(function, only_aranges=True))
    size = next((value.type.shape[dim] for value, dim in cut.items()), 0)
    return tuple(n for n in range(2, size + 1) if size % n == 0) if size else ()


def split_tiles(function: Function, parts: int) -> Function:
    """Return ``function`` with its programs cut into one of the numbers of parts that ``parts_of`` gives."""
    function = with_own_indices(function, only_aranges=True)
    cutter, body, loop = Cutter(function, _common_dimension(function), parts), Block(), Block()
    cutter.begin(body)
    cutter.fill(loop, loop.add_argument(TileType(INT32), "part"))
    loop.append(Op(YIELD, location=function.location))
    operands: dict[str, Value] = {}
    for name, number in (("lower", 0), ("upper", parts), ("step", 1)):
        constant = Op(CONSTANT, attributes={"value": number, "dtype": INT32}, location=function.location)
        operands[name] = body.append(constant).result
    body.append(Op(FOR, operands, regions=(loop,), location=function.location))
    return cutter.finish(body)


def _common_dimension(function: Function) -> Mapping[Value, int]:
    """The dimension of all stores that can be cut, the first where there are several."""
    stores = [op.operand("value") for op in function.walk() if op.name == STORE.name]
    if not stores or not parts_are_independent(function):
        return {}
    dimensions = Dimensions(function)
    for dim in range(stores[0].type.rank):
        cut = dimensions.same_as(stores[0], dim)
        if all(value in cut for value in stores):
            return cut
    return {}
