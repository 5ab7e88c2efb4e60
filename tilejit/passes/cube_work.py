"""Finds the tile work that the cube core can do: products of loaded tiles, their sums, stores of the sums.

A *sum* is what the cube keeps in one accumulator in L0C: dots that add to each other and the values that
loops and branches carry them through. It starts from zero and ends in stores, perhaps cast or transposed.
Whatever else is done with tiles needs the vector unit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field

from tilejit.diagnostics import InternalError
from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ops import ADD, ATOMIC_RMW, CAST, DOT, FOR, IF, LOAD, RESHAPE, STORE, TRANSPOSE, WHILE, YIELD
from tilejit.ops.shape import reshape_dims
from tilejit.passes.access import constant_everywhere
from tilejit.passes.tile_homes import CarriedGroup, carried_groups
from tilejit.records import dataclass

_OUTPUTS = (STORE.name, ATOMIC_RMW.name)
VIEWS = frozenset(op.name for op in (CAST, RESHAPE, TRANSPOSE))
"""Ops that change how a sum looks."""
HANDS_ON = frozenset(op.name for op in (DOT, FOR, IF, WHILE, YIELD))
"""Ops that read a sum and make more of it."""


@dataclass(frozen=True)
class Origin:
    """Where the elements of a tile come from: ``value``, seen with its dimensions in another order.

    ``dims`` gives for each dimension of the tile the one of ``value``; None for one of size 1.
    """

    value: Value
    dims: tuple[int | None, ...]


@dataclass(frozen=True)
class Output:
    """A store or an atomic of a sum; its ``row_dim`` and ``column_dim`` run along those of the sum."""

    op: Op
    row_dim: int
    column_dim: int


@dataclass(eq=False)
class Sum:
    """The values that share one accumulator, the dots that add to it and the ops that store it."""

    values: list[Value] = field(default_factory=list)
    dots: list[Op] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.values[0].type.shape
        return rows, columns


def fuse_sums(function: Function) -> None:
    """Turn sums of a tile and a dot into dots that add to the tile, in place."""
    for op in list(function.walk()):
        if op.name != ADD.name or op.result.type.is_scalar:
            continue
        for product, other in (op.operands, op.operands[::-1]):
            dot = product.defining_op
            fits = dot is not None and dot.name == DOT.name and dot.optional_operand("acc") is None
            if dot is None or not fits or dot.parent is not op.parent or product.use_count > 1:
                continue
            operands = {"a": dot.operand("a"), "b": dot.operand("b"), "acc": other}
            names = [op.result.name]
            made = Op(DOT, operands, dot.attributes, location=dot.location, result_names=names)
            assert op.parent is not None
            op.parent.insert_before(op, made)
            op.result.replace_all_uses_with(made.result)
            op.erase()
            dot.erase()
            break


def readers_of_sum(value: Value) -> Iterator[Op]:
    """The ops that read a sum, also cast or seen in another way."""
    for user in value.users:
        if user.name in VIEWS:
            yield from readers_of_sum(user.result)
        else:
            yield user


def is_zero(value: Value) -> bool:
    """Whether every element of a tile is known to be zero."""
    number = constant_everywhere(value)
    return number is not None and number == 0


def origin(value: Value) -> Origin:
    """Look through transposes and through reshapes that only add or drop dimensions of size 1."""
    dims: list[int | None] = list(range(value.type.rank))
    while True:
        op = value.defining_op
        if op is not None and op.name == TRANSPOSE.name:
            order = op.attributes["order"]
            assert isinstance(order, tuple)
            dims = [None if d is None else order[d] for d in dims]
        elif op is not None and op.name == RESHAPE.name:
            mapping = reshape_dims(op.operands[0].type.shape, value.type.shape)
            if mapping is None:
                break
            dims = [None if d is None else mapping[d] for d in dims]
        else:
            break
        value = op.operands[0]
    return Origin(value, tuple(dims))


class CubeWork:
    """The sums of a function, and what is not the cube's work."""

    def __init__(self, function: Function) -> None:
        self.sums: list[Sum] = []
        self._sum_of: dict[Value, Sum] = {}
        self.outputs: list[Op] = []
        """The stores and atomics of sums, in program order."""
        self._find_sums(function)
        vector_ops = list(self._vector_ops(function))
        self.vector_op = vector_ops[0] if vector_ops else None
        for op in self.outputs:
            self._add_output(op)

    def sum_of(self, value: Value) -> Sum:
        """The sum that a value belongs to."""
        found = self._sum_of.get(value)
        if found is None:
            raise InternalError(f"%{value.name} is no sum of products")
        return found

    def is_sum(self, value: Value) -> bool:
        return value in self._sum_of

    @staticmethod
    def is_pure(value: Value) -> bool:
        """Whether a value of a sum is what a dot makes, or what control flow hands on of other values."""
        op = value.defining_op
        return op is None or bool(op.regions) or op.name == DOT.name

    def _find_sums(self, function: Function) -> None:
        for op in function.walk():
            if op.name == DOT.name:
                self._merge([op.result, *op.operand_list("acc")])
        groups = [group for op in function.walk() for group in carried_groups(op)]
        changed = True
        while changed:
            changed = any([self._merge_carried(group) for group in groups])
        for op in function.walk():
            if op.name == DOT.name:
                self._sum_of[op.result].dots.append(op)

    def _merge_carried(self, group: CarriedGroup) -> bool:
        members = [*group.homes, *(value for value in group.sources if not is_zero(value))]
        found = {id(self._sum_of.get(value)) for value in members}
        if found == {id(None)} or len(found) == 1:
            return False
        self._merge(members)
        return True

    def _merge(self, values: list[Value]) -> None:
        """Make values members of one sum; zeros belong to none."""
        merged = Sum()
        for value in values:
            old = self._sum_of.get(value)
            if old is not None:
                merged.values += [v for v in old.values if v not in merged.values]
            elif not is_zero(value) and value not in merged.values:
                merged.values.append(value)
        for value in merged.values:
            self._sum_of[value] = merged
        self.sums = list(dict.fromkeys(self._sum_of.values()))

    def _vector_ops(self, function: Function) -> Iterator[Op]:
        """The ops that the cube core cannot do, in program order, if their results are needed.

        Notes the stores of sums on the way.
        """
        for op in function.walk():
            if op.name in _OUTPUTS and not op.operand("value").type.is_scalar:
                if self.stored_sum(op) in self._sum_of:
                    self.outputs.append(op)
                else:
                    yield _maker(op.operand("value")) or op
            elif op.name == DOT.name:
                for name in ("a", "b"):
                    maker = _maker(op.operand(name))
                    if maker is None or maker.name != LOAD.name:
                        yield maker or op
            elif (any(v in self._sum_of for v in op.results) and not op.regions) or _is_scalar_of_tiles(op):
                yield op

    def stored_sum(self, op: Op) -> Value:
        """The sum's value that an output takes."""
        value = origin(op.operand("value")).value
        if value.defining_op is not None and value.defining_op.name == CAST.name:
            value = origin(value.defining_op.operands[0]).value
        return value

    def _add_output(self, op: Op) -> None:
        """Follow a stored value back to its sum."""
        first = origin(op.operand("value"))
        value, dims = first.value, first.dims
        if value.defining_op is not None and value.defining_op.name == CAST.name:
            second = origin(value.defining_op.operands[0])
            dims = tuple(None if d is None else second.dims[d] for d in dims)
            value = second.value
        places = {d: place for place, d in enumerate(dims) if d is not None}
        spare = [place for place in range(len(dims)) if place not in places.values()]
        row = places[0] if 0 in places else spare.pop(0)
        column = places[1] if 1 in places else spare.pop()
        self._sum_of[value].outputs.append(Output(op, row, column))


def _is_scalar_of_tiles(op: Op) -> bool:
    tiles = any(not value.type.is_scalar for value in op.operands)
    return tiles and not op.regions and any(value.type.is_scalar for value in op.results)


def _maker(value: Value) -> Op | None:
    """The op that makes a tile, looked for through what carries it."""
    pending, seen, carrier = [value], set[Value](), None
    while pending:
        value = origin(pending.pop()).value
        if value in seen:
            continue
        seen.add(value)
        op = value.defining_op
        if op is not None and not op.regions:
            if not is_zero(value):
                return op
            carrier = carrier or op
            continue
        holder = op if op is not None else value.owner.parent if isinstance(value.owner, Block) else None
        if isinstance(holder, Op):
            carrier = carrier or holder
            groups = [group for group in carried_groups(holder) if value in group.homes]
            pending += [source for group in groups for source in group.sources]
    return carrier
