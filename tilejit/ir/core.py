"""Values, ops, blocks and functions: a region SSA with structured control flow.

A region is one block. Blocks end in a terminator (``yield``, ``return``); control ops hold regions and pass
values in through block arguments and out through terminator operands. Uses are tracked, so values can be
replaced in place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from enum import Enum

from tilejit.diagnostics import InternalError, Location
from tilejit.ir.opdef import Arity, Attribute, Effects, OpDef, TypeQuery
from tilejit.ir.types import TileType
from tilejit.records import dataclass
from tilejit.target.spaces import Core


class Value:
    """The result of an op or the argument of a block. ``name`` is a hint for printing only."""

    __slots__ = ("_uses", "index", "name", "owner", "type")

    def __init__(self, type: TileType, owner: Op | Block, index: int, name: str = "") -> None:
        self.type = type
        self.owner = owner
        self.index = index
        self.name = name
        self._uses: dict[Op, int] = {}

    @property
    def defining_op(self) -> Op | None:
        """The op this is a result of; None for a block argument."""
        return self.owner if isinstance(self.owner, Op) else None

    @property
    def users(self) -> list[Op]:
        """The ops that take this value, each once, in order of first use."""
        return list(self._uses)

    @property
    def use_count(self) -> int:
        return sum(self._uses.values())

    def replace_all_uses_with(self, other: Value) -> None:
        """Make every user take ``other`` instead."""
        if other is self:
            return
        for op in self.users:
            for position, operand in enumerate(op.operands):
                if operand is self:
                    op.set_operand(position, other)

    def __repr__(self) -> str:
        return f"Value(%{self.name or '?'}: {self.type})"


class Op:
    """One operation: a record, operands, attributes, regions, results and where it came from."""

    __slots__ = (
        "_operands",
        "_segments",
        "attributes",
        "definition",
        "location",
        "name",
        "parent",
        "regions",
        "results",
    )

    def __init__(
        self,
        definition: OpDef,
        operands: Mapping[str, Value | Sequence[Value] | None] | None = None,
        attributes: Mapping[str, Attribute] | None = None,
        regions: Sequence[Block] = (),
        location: Location | None = None,
        result_names: Sequence[str] = (),
    ) -> None:
        """Make an op outside any block. Raises TypeRuleError where the operands do not fit the record."""
        self.definition = definition
        self.name = definition.name
        self.location = location
        self.parent: Block | None = None
        self.attributes: dict[str, Attribute] = _complete_attributes(definition, attributes or {})
        self.regions: tuple[Block, ...] = tuple(regions)
        flat, segments = _flatten_operands(definition, operands or {})
        self._segments: tuple[int, ...] = segments
        self._operands: list[Value] = flat
        types = definition.infer(self.type_query())
        names = list(result_names) + [""] * (len(types) - len(result_names))
        self.results: list[Value] = [Value(t, self, i, names[i]) for i, t in enumerate(types)]  # type: ignore[arg-type]
        self._hold()

    def _hold(self) -> None:
        """Become a user of the operands and the parent of the regions."""
        for value in self._operands:
            value._uses[self] = value._uses.get(self, 0) + 1
        for region in self.regions:
            region.parent = self

    def copy(self, operands: Sequence[Value], regions: Sequence[Block]) -> Op:
        """A copy outside any block, with other operands, as many as this op has, and other regions."""
        made = Op.__new__(Op)
        made.definition, made.name = self.definition, self.name
        made.location, made.parent = self.location, None
        made.attributes, made.regions = dict(self.attributes), tuple(regions)
        made._operands, made._segments = list(operands), self._segments
        types: Sequence[object] = [result.type for result in self.results]
        is_alike = all(old.type == new.type for old, new in zip(self._operands, operands, strict=True))
        if regions or not is_alike:  # else the rule gives what it gave
            types = made.definition.infer(made.type_query())
        made.results = [
            Value(each, made, index, result.name)  # type: ignore[arg-type]
            for index, (each, result) in enumerate(zip(types, self.results, strict=True))
        ]
        made._hold()
        return made

    @property
    def effects(self) -> Effects:
        """Effects of this op and of everything in its regions."""
        effects_of = self.definition.effects_of
        effects = self.definition.effects if effects_of is None else effects_of(self.attributes)
        for region in self.regions:
            for op in region.ops:
                effects |= op.effects
        return effects

    @property
    def operands(self) -> tuple[Value, ...]:
        return tuple(self._operands)

    @property
    def result(self) -> Value:
        """The only result."""
        if len(self.results) != 1:
            raise InternalError(
                f"{self.name} has {len(self.results)} results, one was expected", self.location
            )
        return self.results[0]

    def operand(self, name: str) -> Value:
        """The operand of arity ONE called ``name``."""
        start, end = self._segment(name)
        if start == end:
            raise InternalError(f"{self.name} has no operand {name}", self.location)
        return self._operands[start]

    def optional_operand(self, name: str) -> Value | None:
        start, end = self._segment(name)
        return self._operands[start] if start < end else None

    def operand_list(self, name: str) -> tuple[Value, ...]:
        start, end = self._segment(name)
        return tuple(self._operands[start:end])

    def _segment(self, name: str) -> tuple[int, int]:
        """Where the operands called ``name`` begin and end in the flat list."""
        start = 0
        for spec, length in zip(self.definition.operands, self._segments, strict=True):
            if spec.name == name:
                return start, start + length
            start += length
        raise InternalError(f"{self.name} has no operand called {name}", self.location)

    def named_operands(self) -> dict[str, tuple[Value, ...]]:
        """All operands under their names, in the record's order."""
        named, start = dict[str, tuple[Value, ...]](), 0
        for spec, length in zip(self.definition.operands, self._segments, strict=True):
            named[spec.name] = tuple(self._operands[start : start + length])
            start += length
        return named

    def set_operand(self, position: int, value: Value) -> None:
        """Replace the operand at ``position`` of the flat list."""
        old = self._operands[position]
        old._uses[self] -= 1
        if not old._uses[self]:
            del old._uses[self]
        self._operands[position] = value
        value._uses[self] = value._uses.get(self, 0) + 1

    def type_query(self) -> TypeQuery:
        """The operand types, attributes and regions as the record's type rule sees them."""
        types = {name: tuple(v.type for v in values) for name, values in self.named_operands().items()}
        return TypeQuery(types, self.attributes, self.regions)

    def erase(self) -> None:
        """Remove this op, whose results must be unused, and drop what it uses."""
        for result in self.results:
            if result._uses:
                raise InternalError(
                    f"erasing {self.name}, whose result %{result.name} is used", self.location
                )
        self.drop_uses()
        if self.parent is not None:
            self.parent.ops.remove(self)
            self.parent = None

    def drop_uses(self) -> None:
        """Stop being a user of anything, here and in all regions."""
        for region in self.regions:
            for op in region.ops:
                op.drop_uses()
        for value in self._operands:
            value._uses.pop(self, None)
        self._operands = []
        self._segments = tuple(0 for _ in self._segments)

    def walk(self) -> Iterator[Op]:
        """This op and all ops in its regions, in program order."""
        yield self
        for region in self.regions:
            yield from region.walk()

    def __repr__(self) -> str:
        return f"Op({self.name})"


class Block:
    """A straight list of ops with arguments; the body of a region or of a function."""

    __slots__ = ("arguments", "ops", "parent")

    def __init__(self, argument_types: Sequence[TileType] = (), names: Sequence[str] = ()) -> None:
        padded = list(names) + [""] * (len(argument_types) - len(names))
        self.arguments: list[Value] = [Value(t, self, i, padded[i]) for i, t in enumerate(argument_types)]
        self.ops: list[Op] = []
        self.parent: Op | Function | None = None

    @property
    def terminator(self) -> Op:
        if not self.ops or not self.ops[-1].definition.is_terminator:
            raise InternalError("a block without a terminator")
        return self.ops[-1]

    def add_argument(self, type: TileType, name: str = "") -> Value:
        value = Value(type, self, len(self.arguments), name)
        self.arguments.append(value)
        return value

    def append(self, op: Op) -> Op:
        op.parent = self
        self.ops.append(op)
        return op

    def insert_before(self, anchor: Op, op: Op) -> Op:
        op.parent = self
        self.ops.insert(self.ops.index(anchor), op)
        return op

    def walk(self) -> Iterator[Op]:
        for op in list(self.ops):
            yield op
            for region in op.regions:
                yield from region.walk()


class ArgumentSource(Enum):
    """Where a launch takes the value of a function argument from."""

    VALUE = "value"  # the parameter itself: a number, or the address of an array
    SHAPE = "shape"  # .shape[dimension] of an array parameter
    STRIDE = "stride"  # .stride(dimension) of an array parameter, in elements
    GRID = "grid"  # number of programs along axis ``dimension``; machine level
    WORKSPACE = "workspace"  # address of the scratch that belongs to the launch; machine level


@dataclass(frozen=True)
class Argument:
    """What is known of a function argument besides its type.

    ``name`` is the kernel's parameter; several arguments may come from one array parameter.
    ``divisibility``: the value (for a pointer, the address in bytes) is a multiple of it.
    ``alias_class``: pointers of different classes never overlap; None means that it may overlap anything.
    """

    name: str
    source: ArgumentSource = ArgumentSource.VALUE
    dimension: int = 0
    divisibility: int = 1
    alias_class: int | None = None


@dataclass
class Function:
    """A kernel: its body's block arguments are described one by one by ``arguments``.

    ``core`` says which kind of core of an Ascend runs it; None above the buffer level.
    """

    name: str
    body: Block
    arguments: list[Argument] = field(default_factory=list)
    location: Location | None = None
    core: Core | None = None

    def __post_init__(self) -> None:
        self.body.parent = self

    def walk(self) -> Iterator[Op]:
        """All ops in program order, nested ones after the op that holds them."""
        return self.body.walk()

    def add_argument(self, argument: Argument, type: TileType) -> Value:
        self.arguments.append(argument)
        return self.body.add_argument(type, argument.name)


class Builder:
    """Creates ops at an insertion point, giving each the current location."""

    def __init__(self, block: Block, before: Op | None = None, location: Location | None = None) -> None:
        self.block = block
        self.before = before
        self.location = location

    def create(
        self,
        definition: OpDef,
        *,
        attributes: Mapping[str, Attribute] | None = None,
        regions: Sequence[Block] = (),
        names: Sequence[str] = (),
        **operands: Value | Sequence[Value] | None,
    ) -> Op:
        """Make an op and insert it. Raises TypeRuleError where the operands do not fit."""
        op = Op(definition, operands, attributes, regions, self.location, names)
        return self.insert(op)

    def insert(self, op: Op) -> Op:
        if self.before is None:
            return self.block.append(op)
        return self.block.insert_before(self.before, op)


def _flatten_operands(
    definition: OpDef, operands: Mapping[str, Value | Sequence[Value] | None]
) -> tuple[list[Value], tuple[int, ...]]:
    unknown = set(operands) - {spec.name for spec in definition.operands}
    if unknown:
        raise InternalError(f"{definition.name} has no operand {', '.join(sorted(unknown))}")
    flat: list[Value] = []
    segments: list[int] = []
    for spec in definition.operands:
        given = operands.get(spec.name)
        values = [] if given is None else [given] if isinstance(given, Value) else list(given)
        if (spec.arity is Arity.ONE and len(values) != 1) or (
            spec.arity is Arity.OPTIONAL and len(values) > 1
        ):
            raise InternalError(
                f"{definition.name}: operand {spec.name} ({spec.arity.value}) got {len(values)} values"
            )
        flat += values
        segments.append(len(values))
    return flat, tuple(segments)


def _complete_attributes(definition: OpDef, given: Mapping[str, Attribute]) -> dict[str, Attribute]:
    unknown = set(given) - definition.attribute_names
    if unknown:
        raise InternalError(f"{definition.name} has no attribute {', '.join(sorted(unknown))}")
    complete: dict[str, Attribute] = {}
    for spec in definition.attributes:
        value = given.get(spec.name, spec.default)
        if value is None:
            raise InternalError(f"{definition.name}: attribute {spec.name} is missing")
        complete[spec.name] = value
    return complete
