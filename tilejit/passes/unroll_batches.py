"""Turns dots of batches of matrices into dots of matrices, of which the cube unit knows nothing else.

Before: tile IR of what the cube core does, with dots of three dimensions, the first of which counts matrices.
After: each such dot is one dot a matrix, with operands, sums and stores of its own. What a tile is made from
is followed up to where one matrix can be taken: a view or an address of all becomes one of the matrix, a load
one load a matrix, and what loops and branches carry is carried matrix by matrix.
"""

from __future__ import annotations

from collections.abc import Sequence

from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.rewrite import replace_op
from tilejit.ops import (
    ARANGE,
    ATOMIC_RMW,
    BROADCAST,
    DOT,
    FOR,
    IF,
    LOAD,
    RESHAPE,
    SPLAT,
    STORE,
    TRANSPOSE,
    WHILE,
    YIELD,
)
from tilejit.ops.shape import reshape_dims
from tilejit.passes.simplify import simplify
from tilejit.passes.tile_homes import carried_groups
from tilejit.passes.tile_maker import TileMaker
from tilejit.passes.unsupported import refusal

_STORES = (STORE.name, ATOMIC_RMW.name)
_CARRYING = (FOR.name, IF.name, WHILE.name)
_BATCH = 0
_RANK = 3


def unroll_batches(function: Function) -> None:
    """Unroll dots of three dimensions, in place, with all that they read and the stores of their sums.

    Raises: CompileError where a matrix cannot be taken out of a tile.
    """
    if not any(op.name == DOT.name and op.result.type.rank == _RANK for op in function.walk()):
        return
    slicer = _Slicer()
    for op in list(function.walk()):
        if op.name in _STORES and op.operand("value").type.rank == _RANK:
            slicer.unroll(op)
    simplify(function)


class _Slicer:
    """Takes slices of tiles: lanes of one index along a dimension, which they do not have any more."""

    def __init__(self) -> None:
        self._slices: dict[tuple[Value, int, int], Value] = {}

    def unroll(self, op: Op) -> None:
        """Let an op without used results work matrix by matrix."""
        at = _before(op)
        for index in range(op.operand("value").type.shape[_BATCH]):
            operands = {
                name: [self._slice(value, _BATCH, index) for value in values]
                for name, values in op.named_operands().items()
            }
            at.put(op.definition, op.attributes, **operands)
        op.erase()

    def _slice(self, value: Value, dim: int, index: int) -> Value:
        key = (value, dim, index)
        if key not in self._slices:
            op = value.defining_op
            holder = op if op is not None else value.owner.parent
            if isinstance(holder, Op) and holder.name in _CARRYING:
                if value.type.rank != _RANK or dim != _BATCH:
                    raise refusal(
                        "the matrices that tl.dot multiplies depend on a tile that control flow hands on",
                        holder.location,
                        "compute the tile where it is multiplied",
                    )
                self._carry(holder)
            else:
                assert op is not None
                self._slices[key] = self._made(op, dim, index)
                self._slices[key].name = value.name
        return self._slices[key]

    def _made(self, op: Op, dim: int, index: int) -> Value:
        """A slice of the result of an op that carries nothing."""
        at, shape = _before(op), _without(op.result.type.shape, dim)
        if op.name == ARANGE.name:
            start = op.attributes["start"]
            assert isinstance(start, int)
            return at.number(start + index)
        if op.name == SPLAT.name:
            return at.make(SPLAT, {"shape": shape}, x=op.operands[0]) if shape else op.operands[0]
        if op.name == BROADCAST.name:
            source = op.operands[0]
            part = self._slice(source, dim, index if source.type.shape[dim] > 1 else 0)
            return part if part.type.shape == shape else at.make(BROADCAST, {"shape": shape}, x=part)
        if op.name == RESHAPE.name:
            return self._reshaped(op, dim, index, shape)
        if op.name == TRANSPOSE.name:
            return self._transposed(op, dim, index)
        is_batch = op.name == DOT.name and dim == _BATCH
        if not is_batch and op.name != LOAD.name and not op.definition.is_elementwise:
            raise refusal(
                f"the matrices that tl.dot multiplies cannot be taken out of what {op.name} makes",
                op.location,
                "multiply matrix by matrix: the first dimension becomes an axis of the grid, or a loop",
            )
        operands = {
            name: [self._slice(value, dim, index) for value in values]
            for name, values in op.named_operands().items()
        }
        return at.make(op.definition, op.attributes, **operands)

    def _reshaped(self, op: Op, dim: int, index: int, shape: tuple[int, ...]) -> Value:
        source = op.operands[0]
        mapping = reshape_dims(source.type.shape, op.result.type.shape)
        if mapping is None:
            raise refusal(
                "the matrices that tl.dot multiplies are regrouped",
                op.location,
                "load and store tiles of three dimensions, or multiply matrix by matrix",
            )
        along = mapping[dim]
        part = source if along is None else self._slice(source, along, index)
        return part if part.type.shape == shape else _before(op).make(RESHAPE, {"shape": shape}, x=part)

    def _transposed(self, op: Op, dim: int, index: int) -> Value:
        order = op.attributes["order"]
        assert isinstance(order, tuple)
        along = order[dim]
        part = self._slice(op.operands[0], along, index)
        rest: tuple[int, ...] = tuple(d - (d > along) for d in _without(order, dim))
        if rest == tuple(range(len(rest))):
            return part
        return _before(op).make(TRANSPOSE, {"order": rest}, x=part)

    def _carry(self, op: Op) -> None:
        """Have a loop or branch carry slices beside its tiles, which then have no readers."""
        groups = [
            (number, group) for number, group in enumerate(carried_groups(op)) if _is_batch(group.homes[0])
        ]
        inits: list[Value] = [] if op.name == IF.name else list(op.operand_list("inits"))
        names = [result.name for result in op.results]
        for number, group in groups:
            for index in range(group.homes[0].type.shape[_BATCH]):
                if inits:
                    inits.append(self._slice(inits[number], _BATCH, index))
                names.append(names[number])
            for region in op.regions if inits else ():
                argument = next(home for home in group.homes if home in region.arguments)
                self._add_arguments(region, argument)
        for region in op.regions if op.name == IF.name else op.regions[-1:]:
            self._extend_terminator(region, [number for number, _ in groups])
        operands: dict[str, Sequence[Value]] = dict(op.named_operands())
        if inits:
            operands["inits"] = inits
        regions, op.regions = op.regions, ()
        made = Op(op.definition, operands, op.attributes, regions, op.location, names)
        assert op.parent is not None
        op.parent.insert_before(op, made)
        place = len(op.results)
        for number, group in groups:
            for index in range(group.homes[0].type.shape[_BATCH]):
                self._slices[made.results[number], _BATCH, index] = made.results[place]
                self._slices[op.results[number], _BATCH, index] = made.results[place]
                place += 1
        replace_op(op, made.results[: len(op.results)])

    def _add_arguments(self, region: Block, argument: Value) -> None:
        type = argument.type.with_shape(_without(argument.type.shape, _BATCH))
        for index in range(argument.type.shape[_BATCH]):
            self._slices[argument, _BATCH, index] = region.add_argument(type, argument.name)

    def _extend_terminator(self, region: Block, numbers: Sequence[int]) -> None:
        old = region.terminator
        values = list(old.operands)
        for number in numbers:
            value = old.operands[number]
            values += [
                self._slice(value, _BATCH, index) for index in range(value.type.shape[_BATCH])
            ]  # loops and branches within may be made anew meanwhile
            values[: len(old.operands)] = old.operands
        made = Op(YIELD, {"values": values}, location=old.location)
        region.insert_before(old, made)
        old.erase()


def _is_batch(value: Value) -> bool:
    return value.type.rank == _RANK


def _without(sizes: Sequence[int], dim: int) -> tuple[int, ...]:
    return (*sizes[:dim], *sizes[dim + 1 :])


def _before(op: Op) -> TileMaker:
    assert op.parent is not None
    return TileMaker(op.parent, op, op.location)
