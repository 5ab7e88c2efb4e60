"""Checks that a function keeps the rules of the IR; every pass expects and leaves a function that passes.

What is structural is checked here, for all ops alike: values are defined before they are used and in a scope
that reaches the use, every block ends in its only terminator, parents, uses and result numbers are right,
attributes have the kind their record names. What an op demands of its operands, regions and carried values is
its record's type rule, which is run again and must give the result types the op has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from tilejit.diagnostics import InternalError, Location
from tilejit.ir.core import Block, Function, Op, Value
from tilejit.ir.opdef import Arity, Attribute, AttributeKind, AttributeSpec, TypeRuleError
from tilejit.ir.printer import print_op
from tilejit.ir.types import DType, PointerType, TileType


def verify(function: Function) -> None:
    """Check ``function``. Raises InternalError naming the first op that breaks a rule, with its location."""
    _Verifier(function).run()


class _Verifier:
    """Walks a function once, keeping the values in scope and the uses seen."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self._visible: set[Value] = set()
        self._defined: list[Value] = []
        self._uses: dict[Value, dict[Op, int]] = {}
        self._seen: set[Op] = set()

    def run(self) -> None:
        function = self.function
        values = function.body.arguments
        if len(function.arguments) != len(values):
            self._fail(
                f"{len(function.arguments)} argument records for {len(values)} arguments", function.location
            )
        if function.body.parent is not function:
            self._fail("the body's parent is not the function", function.location)
        self._block(function.body, function.location)
        if function.body.terminator.operands:
            self._fail_op(
                function.body.terminator, "nobody receives what the function's terminator passes on"
            )
        for value in self._defined:
            users = {user: user.operands.count(value) for user in value.users}
            if users != self._uses.get(value, {}) or value.use_count != sum(users.values()):
                names = ", ".join(user.name for user in users) or "nothing"
                self._fail(f"the recorded users of %{value.name} ({names}) are not its users", _place(value))

    def _block(self, block: Block, location: Location | None) -> None:
        outer = len(self._defined)
        self._define(block.arguments, block, location)
        if not block.ops or not block.ops[-1].definition.is_terminator:
            self._fail(
                "a block does not end in a terminator", block.ops[-1].location if block.ops else location
            )
        for op in block.ops:
            if op.parent is not block:
                self._fail_op(op, "its parent is not the block that holds it")
            self._op(op)
            if op.definition.is_terminator and op is not block.ops[-1]:
                self._fail_op(op, "a terminator in the middle of a block")
        self._visible.difference_update(self._defined[outer:])

    def _op(self, op: Op) -> None:
        if op in self._seen:
            self._fail_op(op, "it stands in the function twice")
        self._seen.add(op)
        self._operands(op)
        self._attributes(op)
        self._regions(op)
        try:
            types = op.definition.infer(op.type_query())
        except TypeRuleError as error:
            self._fail_op(op, f"its type rule says: {error}")
        found = tuple(result.type for result in op.results)
        if types != found:
            self._fail_op(op, f"its results are {_list(found)}, its type rule gives {_list(types)}")
        self._define(op.results, op, op.location)

    def _operands(self, op: Op) -> None:
        named = op.named_operands()
        if sum(map(len, named.values())) != len(op.operands):
            self._fail_op(op, "its operands do not fill its segments")
        for spec in op.definition.operands:
            count = len(named[spec.name])
            if (spec.arity is Arity.ONE and count != 1) or (spec.arity is Arity.OPTIONAL and count > 1):
                self._fail_op(op, f"operand {spec.name} ({spec.arity.value}) has {count} values")
        for value in op.operands:
            if value not in self._visible:
                self._fail_op(
                    op, f"operand %{value.name or '?'} is not defined before it, or not in this scope"
                )
            uses = self._uses.setdefault(value, {})
            uses[op] = uses.get(op, 0) + 1

    def _attributes(self, op: Op) -> None:
        if op.attributes.keys() != op.definition.attribute_names:
            expected = ", ".join(sorted(op.definition.attribute_names))
            self._fail_op(op, f"its attributes are {', '.join(sorted(op.attributes))}; expected: {expected}")
        for spec in op.definition.attributes:
            value = op.attributes[spec.name]
            if not _fits(spec, value):
                self._fail_op(
                    op, f"attribute {spec.name} is {value!r}, which is not of kind {spec.kind.value}"
                )

    def _regions(self, op: Op) -> None:
        if len(op.regions) != len(op.definition.regions):
            self._fail_op(op, f"it has {len(op.regions)} regions; expected: {len(op.definition.regions)}")
        for block in op.regions:
            if block.parent is not op:
                self._fail_op(op, "the parent of a region is not the op that holds it")
            self._block(block, op.location)

    def _define(self, values: Sequence[Value], owner: Op | Block, location: Location | None) -> None:
        for index, value in enumerate(values):
            if value.owner is not owner or value.index != index:
                self._fail(
                    f"%{value.name or '?'} does not know that it is value {index} of its owner", location
                )
            if not isinstance(value.type, TileType):
                self._fail(f"%{value.name or '?'} has a type that is no tile type: {value.type!r}", location)
            self._visible.add(value)
            self._defined.append(value)

    def _fail_op(self, op: Op, problem: str) -> NoReturn:
        self._fail(f"{op.name}: {problem}\n  {print_op(op).splitlines()[0]}", op.location)

    def _fail(self, problem: str, location: Location | None) -> NoReturn:
        raise InternalError(f"invalid IR in @{self.function.name}: {problem}", location)


def _fits(spec: AttributeSpec, value: Attribute) -> bool:
    kind = spec.kind
    # Exact types: a numpy number would print differently and a bool would pass for an int.
    if kind is AttributeKind.ENUM:
        return spec.choices is not None and isinstance(value, spec.choices)
    if kind is AttributeKind.ELEMENT:
        return isinstance(value, (DType, PointerType))
    if kind is AttributeKind.INTS:
        return isinstance(value, tuple) and all(type(item) is int for item in value)
    return type(value) in _EXACT_TYPES[kind]


_EXACT_TYPES: dict[AttributeKind, tuple[type, ...]] = {
    AttributeKind.INT: (int,),
    AttributeKind.BOOL: (bool,),
    AttributeKind.NUMBER: (int, float, bool),
    AttributeKind.STRING: (str,),
}


def _place(value: Value) -> Location | None:
    op = value.defining_op
    return op.location if op is not None else None


def _list(types: Sequence[object]) -> str:
    return "(" + ", ".join(map(str, types)) + ")"
