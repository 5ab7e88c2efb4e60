"""Finds which dimensions of the tiles of a function belong together, and cuts them into parts.

A dimension can be cut where the lanes along it have nothing to do with each other: no reduction, scan or dot
runs along it, no reshape regroups it. In a part the dimension has a fraction of its size, rounded up, and
every ``arange`` along it begins where the part does; what a last part has too many is masked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.opdef import Attribute, Effects
from tilejit.ir.rewrite import clone_function
from tilejit.ir.types import INT32, TileType
from tilejit.ops import (
    ADD,
    AND,
    ARANGE,
    BROADCAST,
    CMP,
    CONSTANT,
    LOAD,
    MUL,
    REDUCE,
    RESHAPE,
    RETURN,
    SPLAT,
    STORE,
    TRANSPOSE,
    CmpPredicate,
)
from tilejit.ops.shape import reshape_dims
from tilejit.passes.access import AccessAnalysis, lanes_are_distinct, may_alias
from tilejit.passes.tile_homes import carried_groups
from tilejit.passes.tile_maker import TileMaker
from tilejit.passes.trip_strides import lanes_keep_apart

Dim = tuple[Value, int]
_ACCESSES = (LOAD.name, STORE.name)
_VIEWS = (BROADCAST.name, RESHAPE.name, TRANSPOSE.name)
_MOST_COPIES = 8  # for each op of a function


def with_own_indices(function: Function, *, only_aranges: bool = False) -> Function:
    """A copy in which every use of indices has its own: rows and columns may be as many, and begin alike.

    Indices are what follows from aranges and scalars alone, but for pointers. ``only_aranges``: what is
    computed from aranges stays shared. ``simplify`` merges again what is the same.
    """
    function = clone_function(function)
    ops = list(function.walk())
    indices: set[Value] = set()
    for op in ops:
        if op.name == ARANGE.name or (not only_aranges and _is_index(op, indices)):
            indices.update(op.results)
    room = _MOST_COPIES * len(ops)
    for op in reversed(ops):
        users = op.result.users[1:] if op.results and op.results[0] in indices else []
        room -= len(users)
        if room < 0:
            break
        for user in users:
            own = Op(op.definition, op.named_operands(), op.attributes, (), op.location, [op.result.name])
            assert op.parent is not None
            op.parent.insert_before(op, own)
            for position, operand in enumerate(user.operands):
                if operand is op.result:
                    user.set_operand(position, own.result)
    return function


def _is_index(op: Op, indices: Collection[Value]) -> bool:
    if any(value.type.element.is_ptr() for value in op.results):
        return False
    is_computed = bool(op.operands) and (op.definition.is_elementwise or op.name in _VIEWS)
    return op.name == SPLAT.name or (is_computed and all(value in indices for value in op.operands))


class Dimensions:
    """Which dimensions of which values are one and the same, and which cannot be cut."""

    def __init__(self, function: Function) -> None:
        self._function = function
        self._parent: dict[Dim, Dim] = {}
        self._whole: set[Dim] = set()
        for op in function.walk():
            self._relate(op)
        self._members: dict[Dim, dict[Value, list[int]]] = {}
        for value in _values(function):
            for dim in range(value.type.rank):
                self._members.setdefault(self._find((value, dim)), {}).setdefault(value, []).append(dim)
        self._uncut = {self._find(dim) for dim in self._whole}

    def same_as(self, value: Value, dim: int) -> Mapping[Value, int]:
        """The dimensions that are cut where one is, by value; {} where it cannot be."""
        root = self._find((value, dim))
        members = self._members[root]
        if root in self._uncut or value.type.shape[dim] == 1 or any(len(d) > 1 for d in members.values()):
            return {}
        return {member: dims[0] for member, dims in members.items()}

    def _find(self, dim: Dim) -> Dim:
        while dim in self._parent:
            dim = self._parent[dim]
        return dim

    def _join(self, first: Dim, second: Dim) -> None:
        roots = self._find(first), self._find(second)
        if roots[0] != roots[1]:
            self._parent[roots[0]] = roots[1]

    def _keep_whole(self, *values: Value) -> None:
        for value in values:
            self._whole.update((value, d) for d in range(value.type.rank))

    def _same(self, values: Sequence[Value]) -> None:
        for value in values[1:]:
            for dim in range(value.type.rank):
                self._join((values[0], dim), (value, dim))

    def _relate(self, op: Op) -> None:
        for group in carried_groups(op):
            self._same((*group.homes, *group.sources))
        rule = self._rules().get(op.name)
        if rule is not None:
            rule(op)
        elif op.definition.is_elementwise or op.name in (LOAD.name, STORE.name):
            self._same((*op.operands, *op.results))
        elif not op.regions and not op.definition.is_terminator:
            self._keep_whole(*op.operands, *op.results)

    def _rules(self) -> Mapping[str, Callable[[Op], None]]:
        return {
            SPLAT.name: lambda op: None,
            ARANGE.name: lambda op: None,
            BROADCAST.name: self._broadcast,
            RESHAPE.name: self._reshape,
            TRANSPOSE.name: self._transpose,
            REDUCE.name: self._reduce,
        }

    def _broadcast(self, op: Op) -> None:
        x, result = op.operands[0], op.result
        for dim, size in enumerate(x.type.shape):
            if size == result.type.shape[dim]:
                self._join((x, dim), (result, dim))
            else:
                self._whole.add((x, dim))

    def _reshape(self, op: Op) -> None:
        x, result = op.operands[0], op.result
        mapping = reshape_dims(x.type.shape, result.type.shape)
        if mapping is None:
            self._keep_whole(x, result)
            return
        for dim, source in enumerate(mapping):
            if source is not None:
                self._join((x, source), (result, dim))

    def _transpose(self, op: Op) -> None:
        order = op.attributes["order"]
        assert isinstance(order, tuple)
        for dim, source in enumerate(order):
            self._join((op.operands[0], source), (op.result, dim))

    def _reduce(self, op: Op) -> None:
        x, axis = op.operands[0], op.attributes["axis"]
        assert isinstance(axis, int)
        self._whole.add((x, axis))
        for dim in range(op.result.type.rank):
            self._join((x, dim if dim < axis else dim + 1), (op.result, dim))


def other_effects(function: Function, allowed: Collection[str] = ()) -> Iterator[Op]:
    """Ops that do more than load and store, of which each part would do all; but those named in
    ``allowed``.
    """
    for op in function.walk():
        is_known = op.name == STORE.name or (op.name == LOAD.name and op.effects is Effects.READ)
        if not (is_known or op.regions or op.effects is Effects.NONE or op.name in allowed):
            yield op


def parts_are_independent(function: Function, allowed: Collection[str] = ()) -> bool:
    """Whether no part reads or overwrites what another one stores; ops named in ``allowed`` do not count."""
    analysis = AccessAnalysis(function)
    if any(other_effects(function, allowed)):
        return False
    stores = [op for op in function.walk() if op.name == STORE.name]
    loads = [op for op in function.walk() if op.name == LOAD.name]
    for number, store in enumerate(stores):
        pointer = store.operand("pointer")
        root = analysis.root(pointer)
        if not lanes_keep_apart(analysis, store, trust_unknown=True):
            return False
        for other in (*loads, *stores[:number]):
            place = other.operand("pointer")
            if (
                place is pointer
                and lanes_are_distinct(analysis.strides(pointer), pointer.type.shape, trust_scalars=True)
                and lanes_keep_apart(analysis, store, trust_unknown=False)
            ):
                continue
            if may_alias(function, root, analysis.root(place)):
                return False
    return True


def _values(function: Function) -> Iterator[Value]:
    yield from function.body.arguments
    for op in function.walk():
        yield from op.results
        for region in op.regions:
            yield from region.arguments


class Cutter:
    """Rebuilds what a function does in a part; ``cut`` gives the dimension that is cut, by value."""

    def __init__(self, function: Function, cut: Mapping[Value, int], parts: int) -> None:
        self._function = function
        self._cut = cut
        self._parts = parts
        self._mapping: dict[Value, Value] = {}
        self._part: Value | None = None

    def begin(self, body: Block) -> None:
        """Give ``body`` the arguments of the function."""
        for argument in self._function.body.arguments:
            self._mapping[argument] = body.add_argument(argument.type, argument.name)

    def fill(self, block: Block, part: Value) -> None:
        """Append what the function does in a part, the number of which is ``part``, but for its end."""
        self._part = part
        self._fill(block, self._function.body)

    def finish(self, body: Block) -> Function:
        """The function with another body."""
        function = self._function
        body.append(Op(RETURN, location=function.location))
        return Function(function.name, body, list(function.arguments), function.location, function.core)

    def _fill(self, block: Block, source: Block) -> None:
        for op in source.ops[:-1]:
            self._append(block, op)

    def _size(self, size: int) -> int:
        return -(-size // self._parts)

    def _type(self, value: Value) -> TileType:
        dim = self._cut.get(value)
        if dim is None:
            return value.type
        shape = value.type.shape
        return value.type.with_shape((*shape[:dim], self._size(shape[dim]), *shape[dim + 1 :]))

    def _append(self, block: Block, op: Op) -> None:
        if op.name == ARANGE.name and op.result in self._cut:
            self._mapping[op.result] = self._lanes(block, op, int(str(op.attributes["start"])))
            return
        regions = [self._region(region) for region in op.regions]
        operands = {name: [self._mapping[v] for v in values] for name, values in op.named_operands().items()}
        attributes: dict[str, Attribute] = dict(op.attributes)
        if "shape" in attributes:
            attributes["shape"] = self._type(op.result).shape
        if op.name in _ACCESSES:
            operands["mask"] = self._mask(block, op, operands["mask"])
        names = [result.name for result in op.results]
        made = block.append(Op(op.definition, operands, attributes, regions, op.location, names))
        self._mapping.update(zip(op.results, made.results, strict=True))

    def _region(self, region: Block) -> Block:
        block = Block()
        for argument in region.arguments:
            self._mapping[argument] = block.add_argument(self._type(argument), argument.name)
        self._fill(block, region)
        end = region.terminator
        values = [self._mapping[value] for value in end.operands]
        block.append(Op(end.definition, {"values": values}, location=end.location))
        return block

    def _mask(self, block: Block, op: Op, mask: list[Value]) -> list[Value]:
        """The mask of an access in a part: the last part of an odd number of lanes has one too many."""
        pointer = op.operand("pointer")
        dim = self._cut.get(pointer)
        if dim is None or pointer.type.shape[dim] % self._parts == 0:
            return mask
        shape, size = self._type(pointer).shape, pointer.type.shape[dim]
        arange = Op(ARANGE, {}, {"start": 0, "end": size}, (), op.location)
        lanes = self._lanes(block, arange, 0)
        make = TileMaker(block, None, op.location).make
        limit = make(SPLAT, {"shape": lanes.type.shape}, x=make(CONSTANT, {"value": size, "dtype": INT32}))
        exists = make(CMP, {"predicate": CmpPredicate.LT}, lhs=lanes, rhs=limit)
        sizes = tuple(length if d == dim else 1 for d, length in enumerate(shape))
        if exists.type.shape != sizes:
            exists = make(RESHAPE, {"shape": sizes}, x=exists)
        if exists.type.shape != shape:
            exists = make(BROADCAST, {"shape": shape}, x=exists)
        return [make(AND, lhs=exists, rhs=mask[0]) if mask else exists]

    def _lanes(self, block: Block, op: Op, start: int) -> Value:
        """The lanes of an arange in this part."""
        assert self._part is not None
        make, size = TileMaker(block, None, op.location).make, self._size(op.result.type.size)
        lanes = make(ARANGE, {"start": start, "end": start + size})
        length = make(CONSTANT, {"value": size, "dtype": INT32})
        offset = make(SPLAT, {"shape": (size,)}, x=make(MUL, lhs=self._part, rhs=length))
        return make(ADD, lhs=offset, rhs=lanes)
