"""The kernel under construction: visible values with what is known of them, memory, and the op budget."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from tilejit import ops
from tilejit.ir.core import Argument, Block, Builder, Function, Op, Value
from tilejit.ir.opdef import Attribute, OpDef
from tilejit.ir.types import INT1, INT32, INT64, DType, PointerType, TileType, dtype_from_numpy
from tilejit.ops import CmpPredicate

from .case import ArrayInput, Case, Input, Storage
from .facts import EXACT, Fact, Level, is_float, result_fact
from .profiles import Profile

Shape = tuple[int, ...]


@dataclass(eq=False)
class Array:
    """An array argument as one program may use it: elements 0 to ``length`` - 1 from ``pointer`` on.

    ``fact`` is known of every element at any time; what is stored must be at least as well known.
    """

    pointer: Value
    dtype: DType
    length: int
    fact: Fact
    is_writable: bool


@dataclass(eq=False)
class Address:
    """Pointers of a tile that may be accessed, under ``mask`` where there is one.

    ``distinct``: no two lanes hit the same element.
    """

    pointer: Value
    array: Array
    mask: Value | None = None
    distinct: bool = False

    @property
    def shape(self) -> Shape:
        return self.pointer.type.shape


@dataclass(frozen=True)
class Ranged:
    """An integer scalar with the range that it may have, both ends included."""

    value: Value
    low: int
    high: int


@dataclass
class Scope:
    """What can be used at some place, beside what outer scopes hold."""

    values: list[Value] = field(default_factory=list)
    addresses: list[Address] = field(default_factory=list)
    scalars: list[Ranged] = field(default_factory=list)


class Kernel:
    """Collects ops, arguments and memory of one case."""

    def __init__(self, seed: int, profile: Profile) -> None:
        self.rng = random.Random(seed)
        self.data = np.random.default_rng(seed)
        self.profile = profile
        self.function = Function(f"random_{seed}", Block())
        self.facts: dict[Value, Fact] = {}
        self.scopes: list[Scope] = [Scope()]
        self.arrays: list[Array] = []
        self.op_count = 0
        self.grid = self._pick_grid()
        self._case = Case(seed, self.function, grid=self.grid)
        self.builder = Builder(self.function.body)
        anchor = self.builder.create(ops.CONSTANT, attributes={"value": 0, "dtype": INT32})
        self._prologue = Builder(self.function.body, before=anchor)
        self._program: Value | None = None
        self._alias_classes = 0

    def _pick_grid(self) -> tuple[int, int, int]:
        if self.rng.random() > self.profile.grids:
            return (1, 1, 1)
        return self.rng.choice([(3, 1, 1), (2, 2, 1), (1, 1, 3), (4, 1, 1), (2, 1, 2), (1, 3, 1)])

    @property
    def programs(self) -> int:
        return self.grid[0] * self.grid[1] * self.grid[2]

    def finish(self) -> Case:
        """End the kernel."""
        self.builder.create(ops.RETURN)
        return self._case

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    # Ops

    def apply_many(
        self,
        op: OpDef,
        attributes: Mapping[str, Attribute] | None = None,
        regions: Sequence[Block] = (),
        facts: Sequence[Fact] = (),
        **operands: Value | Sequence[Value] | None,
    ) -> list[Value]:
        """Append an op, note what is known of its results (``facts`` where given), and return them."""
        made = self.builder.insert(Op(op, operands, attributes, regions))
        self.op_count += 1
        self._learn(made, facts)
        return made.results

    def apply(
        self,
        op: OpDef,
        attributes: Mapping[str, Attribute] | None = None,
        regions: Sequence[Block] = (),
        facts: Sequence[Fact] = (),
        **operands: Value | Sequence[Value] | None,
    ) -> Value:
        """Append an op with one result and return that."""
        return self.apply_many(op, attributes, regions, facts, **operands)[0]

    def _learn(self, made: Op, facts: Sequence[Fact]) -> None:
        known = [self.facts[value] for value in made.operands]
        for index, result in enumerate(made.results):
            fact = facts[index] if facts else result_fact(made, index, known)
            self.facts[result] = fact
            self.scopes[-1].values.append(result)

    def apply_hidden(
        self,
        op: OpDef,
        attributes: Mapping[str, Attribute] | None = None,
        **operands: Value | Sequence[Value] | None,
    ) -> Value:
        """Append an op whose result no later statement may pick."""
        result = self.apply(op, attributes, (), [EXACT], **operands)
        self.scopes[-1].values.remove(result)
        return result

    def constant(self, dtype: DType, value: int | float, shape: Shape = ()) -> Value:
        """A constant, splat to ``shape``."""
        return self.splat(self.apply(ops.CONSTANT, {"value": value, "dtype": dtype}), shape)

    def splat(self, scalar: Value, shape: Shape) -> Value:
        return self.apply(ops.SPLAT, {"shape": shape}, x=scalar) if shape else scalar

    def add(self, lhs: Value, rhs: Value) -> Value:
        return self.apply(ops.ADD, lhs=lhs, rhs=rhs)

    def compare(self, predicate: CmpPredicate, lhs: Value, rhs: Value) -> Value:
        return self.apply(ops.CMP, {"predicate": predicate}, lhs=lhs, rhs=rhs)

    def both(self, first: Value | None, second: Value | None) -> Value | None:
        """The conjunction of two masks, either of which may be missing."""
        if first is None or second is None:
            return first if second is None else second
        return self.apply(ops.AND, lhs=first, rhs=second)

    # Scopes and regions

    @contextmanager
    def scope(self) -> Iterator[Scope]:
        """A scope whose values cannot be used after it."""
        self.scopes.append(Scope())
        yield self.scopes[-1]
        self.scopes.pop()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Values that are made inside are mostly kept from being picked later: there are many of them."""
        values = self.scopes[-1].values
        before, count = len(values), self.op_count
        yield
        if self.chance(0.8):
            del values[before:]
        self.op_count = (count + self.op_count) // 2

    def region(
        self,
        types: Sequence[TileType],
        facts: Sequence[Fact],
        fill: Callable[[list[Value]], Sequence[Value]],
    ) -> Block:
        """Make a region: ``fill`` gets its arguments, appends ops and returns what to yield."""
        block = Block(types)
        outer, self.builder = self.builder, Builder(block)
        with self.scope() as scope:
            for value, fact in zip(block.arguments, facts, strict=True):
                self.facts[value] = fact
                scope.values.append(value)
            yielded = fill(block.arguments)
            self.builder.create(ops.YIELD, values=list(yielded))
        self.builder = outer
        return block

    def visible(self) -> list[Value]:
        """All values that can be used here, the oldest first."""
        return [value for scope in self.scopes for value in scope.values]

    def addresses(self) -> list[Address]:
        return [address for scope in self.scopes for address in scope.addresses]

    def scalars(self) -> list[Ranged]:
        return [scalar for scope in self.scopes for scalar in scope.scalars]

    # Arguments

    def number(self, dtype: DType, value: int | float) -> Value:
        """Add a scalar argument that will have ``value``."""
        divisibility = 16 if isinstance(value, int) and value % 16 == 0 and self.chance(0.5) else 1
        fact = Fact(Level.BITS, abs(value) if is_float(dtype) else None)
        return self._argument("n", TileType(dtype), value, divisibility, None, fact)

    def integer(self, value: int, dtype: DType = INT32) -> Value:
        """An integer scalar that is ``value``, known to the compiler or not."""
        return self.number(dtype, value) if self.chance(0.4) else self.constant(dtype, value)

    def _argument(
        self,
        letter: str,
        type: TileType,
        given: Input,
        divisibility: int,
        alias_class: int | None,
        fact: Fact,
    ) -> Value:
        name = f"{letter}{len(self._case.inputs)}"
        self._case.inputs.append(given)
        argument = Argument(name, divisibility=divisibility, alias_class=alias_class)
        value = self.function.add_argument(argument, type)
        self.facts[value] = fact
        if not isinstance(type.element, PointerType):
            self.scopes[0].values.append(value)
        return value

    def array(self, data: np.ndarray, fact: Fact, *, writable: bool, const: bool = False) -> Array:
        """Add an array with memory of its own; ``data`` has the share of each program one after another."""
        storage = self._store(data, fact)
        return self.view(storage, 0, data.size, fact, self.new_alias_class(), writable, const)

    def shared(self, data: np.ndarray) -> Value:
        """Add an array that all programs work on; returns the pointer."""
        given = ArrayInput(self._store(data, EXACT), 0, dtype_of(data), data.size)
        return self._argument(
            "a", TileType(PointerType(given.dtype)), given, 1, self.new_alias_class(), EXACT
        )

    def new_alias_class(self) -> int | None:
        """A class for memory that nothing else overlaps, or none at all."""
        self._alias_classes += 1
        return None if self.chance(0.2) else self._alias_classes

    def _store(self, data: np.ndarray, fact: Fact) -> int:
        self._case.storages.append(Storage(np.ascontiguousarray(data).reshape(-1), fact.level))
        return len(self._case.storages) - 1

    def overlapping_arrays(self, data: np.ndarray, starts: Sequence[int], fact: Fact) -> list[Array]:
        """Add arrays that begin at elements ``starts`` of one storage and reach to its end."""
        storage = self._store(data, fact)
        same = self.new_alias_class()
        arrays = []
        for start in starts:
            alias_class = None if self.chance(0.5) else same
            arrays.append(self.view(storage, start, data.size - start, fact, alias_class, True, False))
        return arrays

    def view(
        self,
        storage: int,
        start: int,
        length: int,
        fact: Fact,
        alias_class: int | None,
        writable: bool,
        const: bool,
    ) -> Array:
        """Add an array argument over elements of a storage; each program gets an equal share of them."""
        data = self._case.storages[storage].data
        dtype = dtype_of(data)
        offset = start * dtype.itemsize
        given = ArrayInput(storage, offset, dtype, length)
        divisibility = 16 if offset % 16 == 0 and self.chance(0.5) else 1
        type = TileType(PointerType(dtype, const))
        pointer = self._argument("a", type, given, divisibility, alias_class, EXACT)
        share = length // self.programs
        if self.programs > 1:
            pointer = self._own_part(pointer, share)
        made = Array(pointer, dtype, share, fact, writable)
        self.arrays.append(made)
        return made

    def _own_part(self, pointer: Value, share: int) -> Value:
        """Move a pointer to what belongs to this program, in front of everything else."""
        outer, self.builder = self.builder, self._prologue
        scopes, self.scopes = self.scopes, [Scope()]
        size = self.apply(ops.CONSTANT, {"value": share, "dtype": INT64})
        program = self.apply(ops.CAST, {"dtype": INT64}, x=self._program_number())
        moved = self.apply(ops.MUL, lhs=program, rhs=size)
        result = self.apply(ops.ADDPTR, pointer=pointer, offset=moved)
        self.builder, self.scopes = outer, scopes
        return result

    def _program_number(self) -> Value:
        """The number of this program in the grid, x fastest."""
        if self._program is None:
            ids = [self.apply(ops.PROGRAM_ID, {"axis": axis}) for axis in (2, 1, 0)]
            number = ids[0]
            for axis, index in ((1, ids[1]), (0, ids[2])):
                size = self.apply(ops.NUM_PROGRAMS, {"axis": axis})
                number = self.add(self.apply(ops.MUL, lhs=number, rhs=size), index)
            self._program = number
        return self._program


def dtype_of(data: np.ndarray) -> DType:
    """The element type of an array."""
    dtype = dtype_from_numpy(data.dtype)
    assert dtype is not None
    return dtype


def is_mask(value: Value, shape: Shape) -> bool:
    """Whether ``value`` can mask accesses of ``shape``."""
    return value.type == TileType(INT1, shape)
