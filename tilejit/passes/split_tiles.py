"""Cuts the tiles of a kernel into parts, one after the other, where they are too large for a core's memory.

A dimension can be cut where the lanes along it have nothing to do with each other: no reduction, scan or dot
runs along it, no reshape regroups it. The whole program becomes a loop over parts in which the dimension has
a fraction of its size and every ``arange`` along it begins where the part does.

Loads then come after the stores of earlier parts. That changes nothing where they reach different arguments,
or one address for each lane.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.opdef import Attribute, Effects
from tilejit.ir.rewrite import clone_function
from tilejit.ir.types import INT32, TileType
from tilejit.ops import (
    ADD,
    ARANGE,
    BROADCAST,
    CONSTANT,
    FOR,
    LOAD,
    MUL,
    REDUCE,
    RESHAPE,
    RETURN,
    SPLAT,
    STORE,
    TRANSPOSE,
    YIELD,
)
from tilejit.ops.shape import reshape_dims
from tilejit.passes.access import AccessAnalysis, lanes_are_distinct, may_alias
from tilejit.passes.tile_homes import carried_groups

Dim = tuple[Value, int]


def parts_of(function: Function) -> tuple[int, ...]:
    """Into how many parts the programs of ``function`` can be cut, in increasing order; () for none."""
    size = _Dimensions(_separated(function)).size
    return tuple(n for n in range(2, size + 1) if size % n == 0) if size else ()


def split_tiles(function: Function, parts: int) -> Function:
    """Return ``function`` with its programs cut into one of the numbers of parts that ``parts_of`` gives."""
    function = _separated(function)
    return _Cutter(function, _Dimensions(function), parts).run()


def _separated(function: Function) -> Function:
    """A copy in which every use of an arange has one of its own: rows and columns may be as many."""
    function = clone_function(function)
    for op in list(function.walk()):
        if op.name == ARANGE.name and op.parent is not None:
            for user in op.result.users[1:]:
                own = op.parent.insert_before(op, Op(ARANGE, {}, op.attributes, location=op.location)).result
                for position, operand in enumerate(user.operands):
                    if operand is op.result:
                        user.set_operand(position, own)
    return function


class _Dimensions:
    """Which dimensions of which values are one and the same; ``cut`` has those that can be cut together."""

    def __init__(self, function: Function) -> None:
        self._function = function
        self._parent: dict[Dim, Dim] = {}
        self._whole: set[Dim] = set()
        for op in function.walk():
            self._relate(op)
        self.cut: frozenset[Dim] = self._choose()
        self.size = next((value.type.shape[dim] for value, dim in self.cut), 0)

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

    def _choose(self) -> frozenset[Dim]:
        """The dimension of all stores that can be cut, the first where there are several."""
        stores = [op.operand("value") for op in self._function.walk() if op.name == STORE.name]
        if not stores or not self._effects_can_move():
            return frozenset()
        whole = {self._find(dim) for dim in self._whole}
        for dim in range(stores[0].type.rank):
            root = self._find((stores[0], dim))
            found = all(
                any(self._find((value, d)) == root for d in range(value.type.rank)) for value in stores
            )
            if found and root not in whole and stores[0].type.shape[dim] > 1:
                members = frozenset(d for d in self._all_dims() if self._find(d) == root)
                if _one_dim_each(members):
                    return members
        return frozenset()

    def _all_dims(self) -> Iterator[Dim]:
        for value in _values(self._function):
            for dim in range(value.type.rank):
                yield value, dim

    def _effects_can_move(self) -> bool:
        """Whether a part's loads and stores may come before those of the part before it."""
        analysis = AccessAnalysis(self._function)
        stores: list[Op] = []
        loads: list[Op] = []
        for op in self._function.walk():
            if op.name == STORE.name:
                stores.append(op)
            elif op.name == LOAD.name and op.effects is Effects.READ:
                loads.append(op)
            elif not op.regions and op.effects is not Effects.NONE:
                return False
        for number, store in enumerate(stores):
            pointer = store.operand("pointer")
            root = analysis.root(pointer)
            for other in (*loads, *stores[:number]):
                place = other.operand("pointer")
                if place is pointer and lanes_are_distinct(
                    analysis.strides(pointer), pointer.type.shape, trust_scalars=True
                ):
                    continue
                if may_alias(self._function, root, analysis.root(place)):
                    return False
        return True


def _one_dim_each(dims: frozenset[Dim]) -> bool:
    return len({value for value, _ in dims}) == len(dims)


def _values(function: Function) -> Iterator[Value]:
    yield from function.body.arguments
    for op in function.walk():
        yield from op.results
        for region in op.regions:
            yield from region.arguments


class _Cutter:
    """Rebuilds a function with a dimension cut."""

    def __init__(self, function: Function, dimensions: _Dimensions, parts: int) -> None:
        self._function = function
        self._cut = dict(dimensions.cut)
        self._size = dimensions.size // parts
        self._parts = parts
        self._mapping: dict[Value, Value] = {}
        self._part: Value | None = None

    def run(self) -> Function:
        function = self._function
        body = Block()
        for argument in function.body.arguments:
            self._mapping[argument] = body.add_argument(argument.type, argument.name)
        loop = Block()
        self._part = loop.add_argument(TileType(INT32), "part")
        self._fill(loop, function.body)
        loop.append(Op(YIELD, location=function.location))
        operands: dict[str, Value] = {}
        for name, number in (("lower", 0), ("upper", self._parts), ("step", 1)):
            constant = Op(CONSTANT, attributes={"value": number, "dtype": INT32}, location=function.location)
            operands[name] = body.append(constant).result
        body.append(Op(FOR, operands, regions=(loop,), location=function.location))
        body.append(Op(RETURN, location=function.location))
        return Function(function.name, body, list(function.arguments), function.location, function.core)

    def _fill(self, block: Block, source: Block) -> None:
        """Append all ops of ``source`` but its terminator."""
        for op in source.ops[:-1]:
            self._append(block, op)

    def _type(self, value: Value) -> TileType:
        dim = self._cut.get(value)
        if dim is None:
            return value.type
        shape = value.type.shape
        return value.type.with_shape((*shape[:dim], self._size, *shape[dim + 1 :]))

    def _append(self, block: Block, op: Op) -> None:
        if op.name == ARANGE.name and op.result in self._cut:
            self._append_arange(block, op)
            return
        regions = [self._region(region) for region in op.regions]
        operands = {name: [self._mapping[v] for v in values] for name, values in op.named_operands().items()}
        attributes: dict[str, Attribute] = dict(op.attributes)
        if "shape" in attributes:
            attributes["shape"] = self._type(op.result).shape
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

    def _append_arange(self, block: Block, op: Op) -> None:
        """The lanes of this part."""
        start = op.attributes["start"]
        assert isinstance(start, int) and self._part is not None
        attributes: dict[str, Attribute] = {"start": start, "end": start + self._size}
        lanes = block.append(Op(ARANGE, attributes=attributes, location=op.location)).result
        size = Op(CONSTANT, attributes={"value": self._size, "dtype": INT32}, location=op.location)
        offset = Op(MUL, {"lhs": self._part, "rhs": block.append(size).result}, location=op.location)
        splat = Op(SPLAT, {"x": block.append(offset).result}, {"shape": (self._size,)}, location=op.location)
        total = Op(ADD, {"lhs": block.append(splat).result, "rhs": lanes}, location=op.location)
        self._mapping[op.result] = block.append(total).result
