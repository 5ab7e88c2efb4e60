"""Loops of a kernel while they are traced: the body runs once, on block arguments in place of the carried
names.

Carried are the names that the body assigns and that have a value before the loop. A name whose value the
body gives back unchanged is not carried after all. Names born in the body have no value after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tilejit import ops
from tilejit.diagnostics import CompileError, Location
from tilejit.frontend.carry import Mismatch, check_same_kind, leaves, rebuild_tuple, replace_leaves
from tilejit.frontend.constexpr import unwrap
from tilejit.frontend.context import active, fail
from tilejit.frontend.operators import as_mask
from tilejit.frontend.promote import promote_integers
from tilejit.frontend.tile import Tile, Undefined, describe
from tilejit.frontend.values import as_number, as_tile, cast_to, make_constant, reshape_to, strong_type
from tilejit.ir.core import Block, Value
from tilejit.ir.types import INT32, INT64, DType
from tilejit.records import dataclass


@dataclass(frozen=True)
class RuntimeRange:
    """``range(...)`` or ``tl.range(...)``: a loop of the kernel, with an index that is a tile."""

    lower: object
    upper: object
    step: object

    def __iter__(self) -> Iterator[object]:
        fail(
            "range makes a loop of the kernel only in a `for` statement",
            "use tl.static_range where Python is to unroll",
        )


class _Carried:
    """The names a loop carries: their values before it, and the block arguments that stand for them."""

    def __init__(self, names: tuple[str, ...], values: tuple[object, ...]) -> None:
        self.names = names
        self.before = tuple(map(_strengthen, values))
        self.inits: list[Tile] = [tile for value in self.before for tile in leaves(value)]
        self.inside: list[tuple[object, ...]] = []  # the names' values in the loop's regions
        self.lost: dict[int, Undefined] = {}

    def add_arguments(self, block: Block) -> tuple[object, ...]:
        """Give ``block`` one argument per tile and return the names' values in it."""
        tiles = iter([Tile(block.add_argument(init.tile_type, init.value.name)) for init in self.inits])
        inside = tuple(replace_leaves(value, tiles) for value in self.before)
        self.inside.append(inside)
        return inside

    def check(self, after: tuple[object, ...], location: Location | None) -> list[Value]:
        """Check that every name leaves the body as it entered, and return the tiles to carry."""
        carried: list[Value] = []
        for position, (name, end) in enumerate(zip(self.names, after, strict=True)):
            before, new = self.inside[-1][position], _strengthen(end)
            if isinstance(before, Undefined):
                continue
            if isinstance(new, Undefined):
                self._lose(position, new, location)
                new = before
            try:
                check_same_kind(before, new)
            except Mismatch as mismatch:
                raise CompileError(
                    f"name {name!r} changes in the loop: {mismatch}",
                    _made_at(new) or location,
                    "give it its final type before the loop, or convert it back, for example with .to()",
                ) from None
            carried += [tile.value for tile in leaves(new)]
        return carried

    def _lose(self, position: int, end: Undefined, location: Location | None) -> None:
        """Let a name end in the body, if nothing reads what it was: it then has no value after the loop."""
        if any(tile.value.use_count for inside in self.inside for tile in leaves(inside[position])):
            raise CompileError(
                f"name {end.name!r} has no value at the end of an iteration: {end.reason}",
                location,
                "assign it on every path through the loop, or use another name",
            )
        self.lost[position] = end

    def after(self, results: Iterator[Tile], location: Location | None) -> tuple[object, ...]:
        """Return the names' values after the loop."""
        values: list[object] = []
        for position, before in enumerate(self.before):
            value = replace_leaves(before, results)
            if isinstance(before, Undefined):
                value = _born_in_loop(before.name, location)
            values.append(self.lost.get(position, value))
        return tuple(values)


def _strengthen(value: object) -> object:
    """Return a value as a loop carries it: a Python number (a parameter equal to 1, say) becomes a scalar."""
    if isinstance(value, tuple):
        return rebuild_tuple(value, [_strengthen(item) for item in value])
    number = as_number(value)
    return value if number is None else as_tile(number)


def _born_in_loop(name: str, location: Location | None) -> Undefined:
    return Undefined(
        name, f"only the loop in line {location.line if location else 0} assigns it, and it may not run"
    )


def _made_at(value: object) -> Location | None:
    for tile in leaves(value):
        if tile.value.defining_op is not None:
            return tile.value.defining_op.location
    return None


def _drop_unchanged(
    blocks: Sequence[Block], skip: int, inits: list[Tile], carried: list[Value]
) -> dict[int, Tile]:
    """Remove the carried values that the body hands on as they came; return them by position.

    ``blocks`` take the same arguments after the first ``skip`` of the last block; it is the one that yields
    ``carried``.
    """
    body = blocks[-1]
    unchanged = {i: init for i, init in enumerate(inits) if carried[i] is body.arguments[i + skip]}
    for block in blocks:
        first = skip if block is body else 0
        for position, init in unchanged.items():
            block.arguments[position + first].replace_all_uses_with(init.value)
        dropped = {position + first for position in unchanged}
        block.arguments = [a for i, a in enumerate(block.arguments) if i not in dropped]
        for index, argument in enumerate(block.arguments):
            argument.index = index
    replaced = {
        id(body_value): init.value
        for body_value, init in ((carried[i], init) for i, init in unchanged.items())
    }
    kept = [replaced.get(id(value), value) for i, value in enumerate(carried) if i not in unchanged]
    carried[:] = kept
    inits[:] = [init for i, init in enumerate(inits) if i not in unchanged]
    return unchanged


def _with_unchanged(results: Sequence[Value], unchanged: dict[int, Tile]) -> Iterator[Tile]:
    """Yield the loop's results and the values it did not change, in the order of the carried names."""
    fresh = iter(results)
    for position in range(len(results) + len(unchanged)):
        yield unchanged[position] if position in unchanged else Tile(next(fresh))


class StaticLoop:
    """A ``for`` over Python values: the body is traced once per value."""

    def __init__(self, values: Iterable[object]) -> None:
        self.values = values

    def steps(self) -> Iterable[object]:
        """Return the values to run the body for."""
        return self.values

    def enter(self, values: tuple[object, ...]) -> tuple[object, ...]:
        return values

    def leave(self, values: tuple[object, ...]) -> None:
        pass

    def exit(self, values: tuple[object, ...]) -> tuple[object, ...]:
        return values


class ForLoop:
    """A ``for`` over a range of the kernel."""

    def __init__(self, bounds: RuntimeRange, names: tuple[str, ...], targets: tuple[str, ...]) -> None:
        self.trace = active()
        self.location = self.trace.location()
        self.names = names
        self.targets = targets
        self.index_type, self.bounds = _loop_bounds(bounds)
        self.body = Block()
        self.outer = self.trace.builder.block
        self.carried = _Carried((), ())
        self.results: tuple[object, ...] = ()

    def steps(self) -> Iterator[Tile]:
        """Yield the index once: the body is traced once."""
        if len(self.targets) != 1:
            fail("the index of a range is one value; it cannot be unpacked")
        self.trace.enter_block(self.body)
        index = self.body.add_argument(self.bounds[0].tile_type, self.targets[0])
        yield cast_to(Tile(index), self.index_type)

    def enter(self, values: tuple[object, ...]) -> tuple[object, ...]:
        """Return the names' values at the start of an iteration."""
        with self.trace.region(self.outer):
            self.carried = _Carried(self.names, values)
        return self.carried.add_arguments(self.body)

    def leave(self, values: tuple[object, ...]) -> None:
        """Close the body with the names' values at the end of an iteration, and make the op."""
        carried = self.carried.check(values, self.location)
        inits = self.carried.inits
        unchanged = _drop_unchanged([self.body], 1, inits, carried)
        self.trace.create(ops.YIELD, location=self.location, values=carried)
        self.trace.leave_block(self.body, self.outer)
        lower, upper, step = (bound.value for bound in self.bounds)
        op = self.trace.create(
            ops.FOR, regions=(self.body,), location=self.location,
            lower=lower, upper=upper, step=step, inits=[init.value for init in inits],
        )  # fmt: skip
        self.results = self.carried.after(_with_unchanged(op.results, unchanged), self.location)

    def exit(self, values: tuple[object, ...]) -> tuple[object, ...]:
        """Return the values of the carried names and of the index after the loop."""
        return (*self.results, *(_born_in_loop(name, self.location) for name in self.targets))


def _loop_bounds(bounds: RuntimeRange) -> tuple[DType, tuple[Tile, Tile, Tile]]:
    """Return the type of the index, in which start, end and step meet, and the three as int32 or int64.

    Unsigned indices count in int64.
    """
    entries = (("start", bounds.lower), ("end", bounds.upper), ("step", bounds.step))
    index_type = INT32
    for name, value in entries:
        index_type = promote_integers(index_type, _bound_type(value, name))
    if _is_zero(bounds.step):
        fail("the step of a range must not be 0")
    counted = INT32 if index_type == INT32 else INT64
    lower, upper, step = (_bound(value, counted) for _, value in entries)
    return index_type, (lower, upper, step)


def _bound_type(value: object, name: str) -> DType:
    """Return the type of a bound. Raises CompileError for what is no integer scalar."""
    number = as_number(value)
    element = strong_type(number) if number is not None else value.dtype if isinstance(value, Tile) else None
    if (
        not isinstance(element, DType)
        or element.is_floating()
        or (isinstance(value, Tile) and value.tile_type.size != 1)
    ):
        fail(
            f"the {name} of a range must be an integer scalar; got {describe(value)}",
            "convert it with .to(tl.int32)",
        )
    return element


def _bound(value: object, dtype: DType) -> Tile:
    number = as_number(value)
    if number is not None:
        return make_constant(number, dtype)
    return cast_to(reshape_to(as_tile(value), ()), dtype)


def _is_zero(value: object) -> bool:
    number = value.constant if isinstance(value, Tile) else as_number(value)
    return number is not None and number == 0


def for_(iterable: object, names: tuple[str, ...], targets: tuple[str, ...]) -> ForLoop | StaticLoop:
    """Begin a ``for`` statement that assigns ``names`` in its body and ``targets`` as its index."""
    if isinstance(iterable, RuntimeRange):
        return ForLoop(iterable, names, targets)
    values = unwrap(iterable)
    if isinstance(values, Undefined):
        values.refuse()
    if isinstance(values, Tile) or not isinstance(values, Iterable):
        fail(
            f"a `for` loop runs over range, tl.range, tl.static_range or a tuple; got {describe(values)}",
            "loop over range(n) and load what each iteration needs",
        )
    return StaticLoop(values)


class WhileLoop:
    """A ``while`` loop; the condition has a region of its own, which runs before every iteration."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.trace = active()
        self.location = self.trace.location()
        self.names = names
        self.condition = Block()
        self.body = Block()
        self.outer = self.trace.builder.block
        self.carried = _Carried((), ())
        self.results: tuple[object, ...] = ()
        self.test_value: Tile | None = None

    def open(self, values: tuple[object, ...]) -> tuple[object, ...]:
        """Open the condition's region; return the names' values in it."""
        self.carried = _Carried(self.names, values)
        self.trace.enter_block(self.condition)
        return self.carried.add_arguments(self.condition)

    def test(self, value: object) -> None:
        """Close the condition's region with the condition."""
        if isinstance(value, Undefined):
            value.refuse()
        if not isinstance(value, Tile) or value.constant is not None:
            truth = bool(value.constant) if isinstance(value, Tile) else bool(unwrap(value))
            if truth:
                fail(
                    "the condition of this while is always true",
                    "let it depend on a value that the loop changes",
                )
        else:
            if value.tile_type.size != 1:
                fail(
                    f"the condition of while must be a single value; got a tile of type {value.tile_type}",
                    "reduce the tile, for example with tl.max",
                )
            self.test_value = as_mask(reshape_to(value, ()), "the condition of while")
            self.trace.create(ops.YIELD, location=self.location, values=[self.test_value.value])
        self.trace.leave_block(self.condition, self.outer)

    def runs(self) -> bool:
        """Open the body; False where the condition is known to be false."""
        if self.test_value is not None:
            self.trace.enter_block(self.body)
        return self.test_value is not None

    def enter(self) -> tuple[object, ...]:
        """Return the names' values at the start of an iteration."""
        return self.carried.add_arguments(self.body)

    def leave(self, values: tuple[object, ...]) -> None:
        """Close the body with the names' values at the end of an iteration, and make the op."""
        carried = self.carried.check(values, self.location)
        inits = self.carried.inits
        unchanged = _drop_unchanged([self.condition, self.body], 0, inits, carried)
        self.trace.create(ops.YIELD, location=self.location, values=carried)
        self.trace.leave_block(self.body, self.outer)
        op = self.trace.create(
            ops.WHILE,
            regions=(self.condition, self.body),
            location=self.location,
            inits=[i.value for i in inits],
        )
        self.results = self.carried.after(_with_unchanged(op.results, unchanged), self.location)

    def exit(self, values: tuple[object, ...]) -> tuple[object, ...]:
        """Return the names' values after the loop."""
        return self.results if self.test_value is not None else self.carried.before


def while_(names: tuple[str, ...]) -> WhileLoop:
    """Begin a ``while`` statement whose body assigns ``names``."""
    return WhileLoop(names)
