"""Branches of a kernel while they are traced.

An ``if`` or a ternary whose condition is known while tracing simply runs one branch. Otherwise both run, each
into a region of its own, and names that differ afterwards become results of an ``if`` op.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tilejit import ops
from tilejit.diagnostics import CompileError, Location
from tilejit.frontend.carry import (
    BranchMerger,
    Mismatch,
    fill_slots,
    is_same_kind,
    leaves,
    placeholder,
)
from tilejit.frontend.constexpr import unwrap
from tilejit.frontend.context import Trace, active, fail
from tilejit.frontend.operators import as_mask
from tilejit.frontend.structure_returns import RETURN_DONE, RETURN_VALUE
from tilejit.frontend.tile import Tile, Undefined
from tilejit.frontend.values import cast_to, emit, reshape_to
from tilejit.ir.core import Block, Op, Value
from tilejit.ir.types import INT64, PointerType
from tilejit.records import dataclass


def condition_of(value: object, what: str) -> Tile | bool:
    """Return a condition as a scalar mask, or as a bool where it is known while tracing."""
    if isinstance(value, Undefined):
        value.refuse()
    if not isinstance(value, Tile):
        return bool(unwrap(value))
    if value.constant is not None:
        return bool(value.constant)
    if value.tile_type.size != 1:
        fail(
            f"the condition of {what} must be a single value; got a tile of type {value.tile_type}",
            "use tl.where to choose element by element, or reduce the tile, for example with tl.max",
        )
    scalar = reshape_to(value, ())
    if isinstance(scalar.dtype, PointerType):  # `if pointer:` asks whether it is null
        scalar = cast_to(scalar, INT64)
    return as_mask(scalar, f"the condition of {what}")


def python_truth(value: object) -> bool:
    """Return whether Python takes a value for true."""
    if isinstance(value, Undefined):
        value.refuse()
    return bool(unwrap(value))


@dataclass(frozen=True)
class Leaving:
    """Which names matter after an ``if`` that had a ``return`` in it (see ``structure_returns``)."""

    is_last: bool = False
    then_leaves: bool = False
    else_leaves: bool = False


NOT_LEAVING = Leaving()


def leaving(is_last: bool, then_leaves: bool, else_leaves: bool) -> Leaving:
    """Describe the ``if`` that follows."""
    return Leaving(is_last, then_leaves, else_leaves)


class Branches:
    """One ``if`` or ternary while it is traced.

    ``known`` is its condition where that is known; then every method lets the names pass unchanged.
    """

    def __init__(
        self,
        condition: Tile | bool,
        names: tuple[str, ...],
        values: tuple[object, ...],
        leaving: Leaving = NOT_LEAVING,
    ) -> None:
        self.trace: Trace = active()
        self.known = condition if isinstance(condition, bool) else None
        self.condition = condition if isinstance(condition, Tile) else None
        self.location: Location | None = self.trace.location() if self.known is None else None
        self.leaving = leaving
        self.names = names
        self.before = values
        self.then_values: tuple[object, ...] = values
        self.else_values: tuple[object, ...] = values
        self.then_block = Block()
        self.else_block = Block()
        self.outer: Block = self.trace.builder.block

    def then(self) -> bool:
        """Open the first branch; False where it is not traced."""
        if self.known is None:
            self.trace.enter_block(self.then_block)
        return self.known is not False

    def otherwise(self) -> bool:
        """Open the ``else`` branch; False where it is not traced."""
        if self.known is None:
            self.trace.enter_block(self.else_block)
        return self.known is not True

    def restore(self, values: tuple[object, ...]) -> tuple[object, ...]:
        """Return the names as they were before the ``if``."""
        return values if self.known is not None else self.before

    def end_then(self, values: object) -> None:
        """Close the first branch with the values its names have."""
        if self.known is None:
            self.trace.leave_block(self.then_block, self.outer)
        self.then_values = _as_values(values)

    def end_else(self, values: object) -> None:
        """Close the ``else`` branch with the values its names have."""
        if self.known is None:
            self.trace.leave_block(self.else_block, self.outer)
        self.else_values = _as_values(values)

    def merge(self, values: tuple[object, ...]) -> tuple[object, ...]:
        """Make the ``if`` op and return the values of the names after it."""
        if self.known is not None:
            return values
        self._follow_returns()
        line = self.location.line if self.location else 0
        merger = BranchMerger(self.then_block, self.else_block, line)
        plans = [
            self._plan(merger, *entry)
            for entry in zip(self.names, self.then_values, self.else_values, strict=True)
        ]
        results = self._make_op(merger.pairs)
        return tuple(fill_slots(plan, results) for plan in plans)

    def _follow_returns(self) -> None:
        """Note a branch that leaves by a ``return`` under a condition known while tracing."""
        if RETURN_DONE in self.names:
            done = self.names.index(RETURN_DONE)
            self.leaving = replace(
                self.leaving,
                then_leaves=self.leaving.then_leaves or _is_known_true(self.then_values[done]),
                else_leaves=self.leaving.else_leaves or _is_known_true(self.else_values[done]),
            )

    def _plan(self, merger: BranchMerger, name: str, then: object, other: object) -> object:
        if self.leaving.is_last and name != RETURN_VALUE:
            return Undefined(name, "the function has returned")
        try:
            return merger.plan(name, *self._complete(name, then, other))
        except Mismatch as mismatch:
            if name == RETURN_VALUE:
                message = f"the branches return different things: {mismatch}"
                hint = "make them agree, for example with .to()"
                if then is None or other is None:
                    hint = "return a value on every path"
            else:
                message = f"name {name!r} has two types after this `if`: {mismatch}"
                hint = "give both branches one type and shape, for example with .to(), or use two names"
            raise CompileError(message, self._blame(then, other), hint) from None

    def _complete(self, name: str, then: object, other: object) -> tuple[object, object]:
        """Fill in where a branch has no value, or one of another type, that nobody will use."""
        if name == RETURN_VALUE:  # RETURN_DONE keeps what is filled in here from being used
            fill_then, fill_other = isinstance(then, Undefined), isinstance(other, Undefined)
        else:
            fill_then, fill_other = self.leaving.then_leaves, self.leaving.else_leaves
        if name == RETURN_DONE or fill_then == fill_other:
            return then, other
        if fill_then and not is_same_kind(other, then):
            then = placeholder(other, self.then_block)
        elif fill_other and not is_same_kind(then, other):
            other = placeholder(then, self.else_block)
        return then, other

    def _blame(self, *values: object) -> Location | None:
        """Return where a value of a name was made, rather than where the ``if`` stands."""
        for value in reversed(values):
            for tile in leaves(value):
                op = tile.value.defining_op
                if op is not None and op.parent in (self.then_block, self.else_block):
                    return op.location
        return self.location

    def _make_op(self, pairs: Sequence[tuple[Tile, Tile]]) -> list[Tile]:
        assert self.condition is not None
        self._yield(self.then_block, [pair[0].value for pair in pairs])
        self._yield(self.else_block, [pair[1].value for pair in pairs])
        if len(self.then_block.ops) == 1 and len(self.else_block.ops) == 1 and not pairs:
            return []
        op = self.trace.create(
            ops.IF,
            regions=(self.then_block, self.else_block),
            location=self.location,
            condition=self.condition.value,
        )
        return [Tile(value) for value in op.results]

    def _yield(self, block: Block, values: list[Value]) -> None:
        previous = self.trace.enter_block(block)
        self.trace.create(ops.YIELD, location=self.location, values=values)
        self.trace.leave_block(block, previous)


def _is_known_true(value: object) -> bool:
    return isinstance(value, Tile) and bool(value.constant)


def _as_values(values: object) -> tuple[object, ...]:
    assert isinstance(values, tuple)
    return values


def if_(
    condition: object, names: tuple[str, ...], values: tuple[object, ...], leaving: Leaving = NOT_LEAVING
) -> Branches:
    """Begin an ``if`` statement that assigns ``names``."""
    return Branches(condition_of(condition, "if"), names, values, leaving)


class Ternary(Branches):
    """``a if condition else b`` while it is traced."""

    def __init__(self, condition: Tile | bool) -> None:
        super().__init__(condition, ("value",), (None,))

    def end_then(self, values: object) -> None:
        """Close the first branch with its value."""
        super().end_then((values,))

    def end_else(self, values: object) -> None:
        """Close the second branch with its value."""
        super().end_else((values,))

    def value(self) -> object:
        """Return the value of the whole expression."""
        if self.known is not None:
            return (self.then_values if self.known else self.else_values)[0]
        return self.merge(())[0]

    def _plan(self, merger: BranchMerger, name: str, then: object, other: object) -> object:
        for side in (then, other):
            if isinstance(side, Undefined):
                side.refuse()
        try:
            return merger.plan(name, then, other)
        except Mismatch as mismatch:
            message = f"the two sides of this conditional expression do not agree: {mismatch}"
            hint = "give both sides one type and shape, for example with .to(), or use tl.where"
            raise CompileError(message, self.location, hint) from None

    def _make_op(self, pairs: Sequence[tuple[Tile, Tile]]) -> list[Tile]:
        """Choose with ``select`` where both sides are cheap and pure: it keeps the code straight."""
        if not all(map(_is_cheap, (*self.then_block.ops, *self.else_block.ops))) or any(
            p[0].tile_type.shape for p in pairs
        ):
            return super()._make_op(pairs)
        assert self.condition is not None
        for block in (self.then_block, self.else_block):
            for op in block.ops:
                self.outer.append(op)
        condition = self.condition
        return [emit(ops.SELECT, condition=condition, true_value=a, false_value=b) for a, b in pairs]


def _is_cheap(op: Op) -> bool:
    return op.effects.is_pure and not op.regions and not op.results[0].type.shape


def ternary(condition: object) -> Ternary:
    """Begin ``a if condition else b``."""
    return Ternary(condition_of(condition, "a conditional expression"))
