"""Values that pass through loops and branches: taken apart into tiles, compared, put together again."""

from __future__ import annotations

from collections.abc import Iterator

from tilejit.frontend.context import active
from tilejit.frontend.signature import make_tuple
from tilejit.frontend.tile import Composite, Tile, Undefined, describe
from tilejit.frontend.values import broadcast_to_shape, make_constant, strong_type
from tilejit.ir.core import Block
from tilejit.records import dataclass


class Mismatch(Exception):
    """Two values of one name that cannot be one value; the text says how they differ."""


def leaves(value: object) -> Iterator[Tile]:
    """Yield the tiles in a value, in a fixed order. What is not made of tiles has none."""
    if isinstance(value, Tile):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, Composite):
        yield from value.components()


def replace_leaves(value: object, tiles: Iterator[Tile]) -> object:
    """Return ``value`` with its tiles replaced by the next ones of ``tiles``."""
    if isinstance(value, Tile):
        return next(tiles)
    if isinstance(value, tuple):
        return rebuild_tuple(value, [replace_leaves(item, tiles) for item in value])
    if isinstance(value, Composite):
        return value.with_components(tuple(next(tiles) for _ in value.components()))
    return value


def rebuild_tuple(like: tuple[object, ...], items: list[object]) -> tuple[object, ...]:
    """Return a tuple of ``items`` of the class of ``like`` (a plain or a named tuple)."""
    return make_tuple(type(like), items)


def check_same_kind(before: object, after: object) -> None:
    """Check that a loop may give ``after`` to the next iteration, which expects what ``before`` was.

    Raises: Mismatch.
    """
    if isinstance(before, Tile):
        if not isinstance(after, Tile) or after.tile_type != before.tile_type:
            raise Mismatch(f"it enters as {before.tile_type} and leaves an iteration as {describe(after)}")
    elif isinstance(before, tuple):
        if not isinstance(after, tuple) or len(after) != len(before):
            raise Mismatch(f"it enters as {describe(before)} and leaves an iteration as {describe(after)}")
        for old, new in zip(before, after, strict=True):
            check_same_kind(old, new)
    elif isinstance(before, Composite):
        if type(after) is not type(before) or after.facts() != before.facts():
            raise Mismatch(f"it enters as {before} and leaves an iteration as {describe(after)}")
        for old, new in zip(before.components(), after.components(), strict=True):
            check_same_kind(old, new)
    elif after is not before and not _same_constant(before, after):
        raise Mismatch(
            f"it enters as {describe(before)}, which is fixed at compile time, and leaves as "
            f"{describe(after)}"
        )


def is_same_kind(before: object, after: object) -> bool:
    """Tell whether ``after`` may stand where ``before`` did; a name without a value fits its like only."""
    if isinstance(before, Undefined) or isinstance(after, Undefined):
        return isinstance(before, Undefined)
    try:
        check_same_kind(before, after)
    except Mismatch:
        return False
    return True


def _same_constant(a: object, b: object) -> bool:
    if isinstance(a, Tile | tuple | Composite) or isinstance(b, Tile | tuple | Composite):
        return False
    return type(a) is type(b) and a == b


@dataclass(frozen=True)
class _Slot:
    """A tile that the ``if`` will yield."""

    index: int


@dataclass(frozen=True)
class _CompositePlan:
    """A composite value whose components may be slots."""

    like: Composite
    parts: tuple[object, ...]


class BranchMerger:
    """Collects what the two branches of an ``if`` give to each name, as pairs of tiles of one type."""

    def __init__(self, then_block: Block, else_block: Block, line: int) -> None:
        self.then_block = then_block
        self.else_block = else_block
        self.line = line
        self.pairs: list[tuple[Tile, Tile]] = []

    def plan(self, name: str, then: object, other: object) -> object:
        """Return a value with slots where the branches differ. Raises Mismatch."""
        if isinstance(then, Undefined) or isinstance(other, Undefined):
            return self._undefined(name, then, other)
        if then is other or _same_constant(then, other):
            return then
        if isinstance(then, tuple) and isinstance(other, tuple) and len(then) == len(other):
            items = [self.plan(name, a, b) for a, b in zip(then, other, strict=True)]
            return rebuild_tuple(then, items)
        if isinstance(then, Composite) and type(other) is type(then) and other.facts() == then.facts():
            parts = [
                self.plan(name, a, b) for a, b in zip(then.components(), other.components(), strict=True)
            ]
            return _CompositePlan(then, tuple(parts))
        a, b = self._as_tile(then, self.then_block), self._as_tile(other, self.else_block)
        if a is None or b is None or a.tile_type != b.tile_type:
            raise Mismatch(f"it is {describe(then)} in one branch and {describe(other)} in the other")
        if a.value is b.value:
            return a
        self.pairs.append((a, b))
        return _Slot(len(self.pairs) - 1)

    def _undefined(self, name: str, then: object, other: object) -> Undefined:
        if isinstance(then, Undefined) and isinstance(other, Undefined):
            return then if then.reason else other
        missing = "then" if isinstance(then, Undefined) else "else"
        has = "else" if missing == "then" else "then"
        return Undefined(name, f"only the {has} branch of the `if` in line {self.line} assigns it")

    def _as_tile(self, value: object, block: Block) -> Tile | None:
        if isinstance(value, Tile):
            return value
        if isinstance(value, bool | int | float):
            with active().region(block):
                return make_constant(value, strong_type(value))
        return None


def fill_slots(plan: object, results: list[Tile]) -> object:
    """Return a plan with its slots replaced by the results of the ``if``."""
    if isinstance(plan, _Slot):
        return results[plan.index]
    if isinstance(plan, _CompositePlan):
        return plan.like.with_components(tuple(_tile_of(part, results) for part in plan.parts))
    if isinstance(plan, tuple):
        return rebuild_tuple(plan, [fill_slots(item, results) for item in plan])
    return plan


def _tile_of(part: object, results: list[Tile]) -> Tile:
    tile = fill_slots(part, results)
    assert isinstance(tile, Tile)
    return tile


def placeholder(like: object, block: Block) -> object:
    """Return a value shaped like ``like`` for a branch that has none and whose value is never used."""
    with active().region(block):
        return replace_leaves(like, iter([_zero(tile) for tile in leaves(like)]))


def _zero(tile: Tile) -> Tile:
    return broadcast_to_shape(make_constant(0, tile.dtype), tile.tile_type.shape, "return")
