"""Random machine functions at the buffer level: loops, branches, rings of slots, memory that is reused.

The functions need not compute anything sensible, only touch memory in every order that real ones do. What
instructions there are is up to the generator of a core kind.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tilejit.ir.core import Argument, Block, Builder, Function, Value
from tilejit.ir.machine import MachineKernel
from tilejit.ir.opdef import Attribute
from tilejit.ir.types import FP32, INT1, INT32, DType, PointerType, TileType
from tilejit.ops import (
    ADD,
    ADDPTR,
    CMP,
    CONSTANT,
    FOR,
    IF,
    IREM,
    LOAD,
    MUL,
    RETURN,
    SELECT,
    STORE,
    SUB,
    WHILE,
    YIELD,
    CmpPredicate,
)
from tilejit.ops.machine.buffer import BLOCK_COUNT, BLOCK_INDEX, BUFFER, SLOT
from tilejit.ops.machine.sync import SET_ATOMIC, StoreAtomic
from tilejit.target.spaces import Core, Space

TRIP_ARGUMENTS = ("n0", "n1", "n2")
CONDITION_ARGUMENTS = ("c0", "c1", "c2")
ROW = 32
"""Elements from one row of an argument to the next."""
PROGRAM = 1 << 20
"""Elements of an argument that belong to one program of the grid."""
_NUMBERS = (*range(33), PROGRAM)


@dataclass(frozen=True)
class RandomBuffer:
    """A buffer of a random function and the index by which most of its accesses choose a slot."""

    value: Value
    space: Space
    elements: int
    slots: int
    ring: int  # how many of its accesses go by the usual index: 0 none to 3 all
    lead: int


@dataclass(frozen=True)
class Carried:
    """A pointer that a loop hands from trip to trip, or one of two; so many elements lie behind it."""

    value: Value
    space: Space
    elements: int


@dataclass
class Scope:
    """Where the generator stands: the counters in scope, the innermost last, and pointers."""

    builder: Builder
    counters: list[Value] = field(default_factory=list)
    depth: int = 0
    pointers: list[Carried] = field(default_factory=list)
    program: Value | None = None  # elements from the start of an argument to this program's part

    def inner(self, block: Block, counters: list[Value], pointers: list[Carried] | None = None) -> Scope:
        """The scope of a block in this one."""
        known = [*self.pointers, *(pointers or [])]
        return Scope(Builder(block), [*self.counters, *counters], self.depth + 1, known, self.program)


class Generator:
    """Appends random ops to blocks."""

    core: Core
    grain: int
    """Elements by which pointers into a buffer move."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.budget = self.random.choice((4, 8, 14, 22, 30))
        self.uses_gm_twice = self.chance(0.3)
        self.uses_scalars = self.chance(0.3)

    def make_buffers(self, builder: Builder) -> list[RandomBuffer]:
        raise NotImplementedError

    def instruction(self, scope: Scope) -> None:
        raise NotImplementedError

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def kernel(self) -> MachineKernel:
        """One function, not synchronised."""
        body = Block()
        function = Function("random", body, core=self.core)
        aliases = self.random.sample("xyz", 2) if self.chance(0.2) else []
        for name in "xyz":
            alias_class = 0 if name in aliases else None
            function.add_argument(Argument(name, alias_class=alias_class), TileType(PointerType(FP32)))
        for name in TRIP_ARGUMENTS:
            function.add_argument(Argument(name), TileType(INT32))
        for name in CONDITION_ARGUMENTS:
            function.add_argument(Argument(name), TileType(INT1))
        self.arguments = {value.name: value for value in body.arguments}
        builder = Builder(body)
        self.constants = {number: self.constant(builder, number) for number in _NUMBERS}
        self.buffers = self.make_buffers(builder)
        scope = Scope(builder)
        if self.chance(0.25):
            self.program_loop(scope)
        self.block(scope)
        builder.create(SET_ATOMIC, attributes={"kind": StoreAtomic.NONE, "element": FP32})
        builder.create(RETURN)
        return MachineKernel("random", {self.core: function})

    def constant(self, builder: Builder, number: int) -> Value:
        return builder.create(CONSTANT, attributes={"value": number, "dtype": INT32}).result

    def new_buffer(
        self, builder: Builder, space: Space, element: DType, elements: int, slots: int
    ) -> RandomBuffer:
        """Make a buffer whose accesses go by an index of their own or a common one."""
        attributes: dict[str, Attribute] = {
            "space": space, "element": element, "elements": elements, "slots": slots
        }  # fmt: skip
        value = builder.create(BUFFER, attributes=attributes).result
        lead = self.random.choice((0, 0, 0, 1, 2, -1))
        return RandomBuffer(value, space, elements, slots, self.random.randint(0, 3), lead)

    # Statements.

    def block(self, scope: Scope) -> None:
        """Fill a block, without its terminator."""
        for _ in range(self.random.randint(1, 5)):
            if self.budget <= 0:
                return
            self.budget -= 1
            self.statement(scope)

    def statement(self, scope: Scope) -> None:
        choice = self.random.random()
        if choice < 0.22 and scope.depth < 3:
            self.loop(scope)
        elif choice < 0.32 and scope.depth < 4:
            self.branch(scope)
        elif choice < 0.35 and scope.depth < 2:
            self.while_loop(scope)
        elif choice < 0.38:
            self.set_atomic(scope)
        else:
            self.instruction(scope)

    def program_loop(self, scope: Scope) -> None:
        """The programs of the grid, which a core takes in steps of the number of cores."""
        create, body = scope.builder.create, Block([TileType(INT32)], ["task"])
        lower, step = create(BLOCK_INDEX).result, create(BLOCK_COUNT).result
        programs = self.arguments[self.random.choice(TRIP_ARGUMENTS)]
        upper = create(MUL, lhs=programs, rhs=self.constants[2]).result
        inner = scope.inner(body, [body.arguments[0]])
        inner.depth = 0
        inner.program = inner.builder.create(MUL, lhs=body.arguments[0], rhs=self.constants[PROGRAM]).result
        self.block(inner)
        inner.builder.create(YIELD)
        create(FOR, lower=lower, upper=upper, step=step, regions=[body])

    def loop(self, scope: Scope) -> None:
        """A for loop that carries a counter, perhaps two, and perhaps pointers that change places."""
        upper = self.arguments[self.random.choice(TRIP_ARGUMENTS)]
        if self.chance(0.2):
            upper = self.constants[self.random.choice((0, 1, 2, 3))]
        lower, step = self.constants[self.random.choice((0, 0, 0, 1))], self.random.choice((1, 1, 1, 2, 3))
        counts = 1 + self.chance(0.2)
        inits = [self.constants[0] if self.chance(0.5) else self.counter(scope) for _ in range(counts)]
        pair = self.pair(scope) if self.chance(0.15) else []
        types = [TileType(INT32)] * (1 + counts) + [pointer.value.type for pointer in pair]
        body = Block(types, ["k", *[f"count{n}" for n in range(counts)], *["p"] * len(pair)])
        index, *carried = body.arguments
        pointers = [
            Carried(value, pointer.space, pointer.elements)
            for value, pointer in zip(carried[counts:], pair, strict=True)
        ]
        counters = [index, *carried[:counts]]
        inner = scope.inner(body, self.random.sample(counters, len(counters)), pointers)
        self.block(inner)
        moved = [self.moved(inner, value) for value in carried[:counts]]
        if self.chance(0.3):
            moved.reverse()
        inner.builder.create(YIELD, values=[*moved, *reversed(carried[counts:])])
        op = scope.builder.create(
            FOR, lower=lower, upper=upper, step=self.constants[step],
            inits=[*inits, *(pointer.value for pointer in pair)], regions=[body],
        )  # fmt: skip
        scope.counters += op.results[:counts]
        scope.pointers += [
            Carried(value, pointer.space, pointer.elements)
            for value, pointer in zip(op.results[counts:], pair, strict=True)
        ]

    def moved(self, scope: Scope, count: Value) -> Value:
        """A counter at the end of a trip: one more, or as many more as an inner loop counted."""
        create = scope.builder.create
        if self.chance(0.2):
            count = self.counter(scope)
        step = self.constants[self.random.choice((1, 1, 1, 1, 0, 2, 3))]
        if self.chance(0.15):
            step = self.select(scope, step, self.constants[0])
        return create(ADD, lhs=count, rhs=step).result

    def while_loop(self, scope: Scope) -> None:
        condition, body = Block([TileType(INT32)], ["i"]), Block([TileType(INT32)], ["j"])
        limit = self.arguments[self.random.choice(TRIP_ARGUMENTS)]
        first = scope.inner(condition, [condition.arguments[0]])
        if self.chance(0.5):
            self.instruction(first)
        goes_on = first.builder.create(
            CMP, attributes={"predicate": CmpPredicate.LT}, lhs=condition.arguments[0], rhs=limit
        ).result
        first.builder.create(YIELD, values=[goes_on])
        inner = scope.inner(body, [body.arguments[0]])
        self.block(inner)
        moved = inner.builder.create(ADD, lhs=body.arguments[0], rhs=self.constants[1]).result
        inner.builder.create(YIELD, values=[moved])
        op = scope.builder.create(WHILE, inits=[self.constants[0]], regions=[condition, body])
        scope.counters.append(op.results[0])

    def branch(self, scope: Scope) -> None:
        """An if; at times its arms give a counter."""
        arms, gives_counter = [Block(), Block()], self.chance(0.3)
        for index, arm in enumerate(arms):
            inner = scope.inner(arm, [])
            if index == 0 or self.chance(0.5):
                self.block(inner)
            inner.builder.create(
                YIELD, values=[self.moved(inner, self.counter(inner))] if gives_counter else []
            )
        op = scope.builder.create(IF, condition=self.condition(scope), regions=arms)
        scope.counters += op.results

    def condition(self, scope: Scope) -> Value:
        create = scope.builder.create
        if not scope.counters or self.chance(0.3):
            return self.arguments[self.random.choice(CONDITION_ARGUMENTS)]
        counter = self.random.choice(scope.counters)
        parity = create(IREM, lhs=counter, rhs=self.constants[self.random.choice((2, 3))]).result
        predicate = self.random.choice((CmpPredicate.EQ, CmpPredicate.GT))
        return create(CMP, attributes={"predicate": predicate}, lhs=parity, rhs=self.constants[0]).result

    def select(self, scope: Scope, left: Value, right: Value) -> Value:
        condition = self.condition(scope)
        create = scope.builder.create
        return create(SELECT, condition=condition, true_value=left, false_value=right).result

    def set_atomic(self, scope: Scope) -> None:
        kind = self.random.choice((StoreAtomic.NONE, StoreAtomic.ADD, StoreAtomic.MAX))
        scope.builder.create(SET_ATOMIC, attributes={"kind": kind, "element": FP32})

    # Operands.

    def counter(self, scope: Scope) -> Value:
        return self.random.choice(scope.counters) if scope.counters else self.constants[0]

    def pair(self, scope: Scope) -> list[Carried]:
        """Two pointers that may stand for each other; none where only one buffer is like that."""
        spaces = [b.space for b in self.buffers if b.space is not Space.GM]
        space = self.random.choice(spaces)
        chosen = [b for b in self.buffers if b.space is space]
        if len(chosen) < 2:
            return []
        left, right = self.random.sample(chosen, 2)
        elements = min(left.elements, right.elements)
        return [Carried(self.slot_of(scope, buffer), space, elements) for buffer in (left, right)]

    def pointer(self, scope: Scope, space: Space) -> tuple[Value, int]:
        """A pointer into a space and how many elements lie behind it."""
        carried = [pointer for pointer in scope.pointers if pointer.space is space]
        if self.chance(0.05):
            carried = self.pair(scope)
            carried = carried if carried and carried[0].space is space else []
        if carried and self.chance(0.5):
            chosen = self.random.choice(carried)
            value, left = chosen.value, chosen.elements
            other = self.random.choice(carried)
            if other is not chosen and self.chance(0.3):
                left = min(left, other.elements)
                value = self.select(scope, value, other.value)
        else:
            buffer = self.random.choice([b for b in self.buffers if b.space is space])
            value, left = self.slot_of(scope, buffer), buffer.elements
        if left > self.grain and self.chance(0.4):
            value, left = self.within(scope, value, left)
        if left > self.grain and self.chance(0.3):
            left = self.grain
        return value, left

    def within(self, scope: Scope, pointer: Value, elements: int) -> tuple[Value, int]:
        """A pointer behind another, by a fixed distance or by a counter's remainder."""
        create, grains = scope.builder.create, elements // self.grain
        if scope.counters and self.chance(0.3):
            grains = min(grains, 4)
            turn = create(IREM, lhs=self.counter(scope), rhs=self.constants[grains]).result
            offset = create(MUL, lhs=turn, rhs=self.constant(scope.builder, self.grain)).result
            return create(ADDPTR, pointer=pointer, offset=offset).result, elements - (grains - 1) * self.grain
        moved = self.grain * self.random.randrange(grains)
        offset = self.constant(scope.builder, moved)
        return create(ADDPTR, pointer=pointer, offset=offset).result, elements - moved

    def slot_of(self, scope: Scope, buffer: RandomBuffer) -> Value:
        """A slot of a buffer: mostly by the innermost counter."""
        create = scope.builder.create
        if buffer.slots == 1:
            return buffer.value
        index = self.constants[self.random.choice((0, 1))]
        if scope.counters and self.random.randint(0, 3) <= buffer.ring:
            index = scope.counters[-1]
        elif scope.counters and self.chance(0.6):
            index = self.index(scope)
        if buffer.lead and self.chance(0.3):
            record, distance = (ADD, buffer.lead) if buffer.lead > 0 else (SUB, -buffer.lead)
            index = create(record, lhs=index, rhs=self.constants[distance]).result
        return create(SLOT, buffer=buffer.value, index=index).result

    def index(self, scope: Scope) -> Value:
        """A counter, or one that two counters, or a factor, give."""
        create, counter = scope.builder.create, self.counter(scope)
        if self.chance(0.25):
            counter = create(MUL, lhs=counter, rhs=self.constants[self.random.choice((2, 3))]).result
        if self.chance(0.25):
            counter = create(ADD, lhs=counter, rhs=self.counter(scope)).result
        if self.chance(0.1):
            counter = self.select(scope, counter, self.counter(scope))
        return counter

    def memory(self, scope: Scope, *, is_store: bool) -> tuple[Value, int]:
        """A pointer into GM and how many elements to move: of the workspace, or a row of an argument."""
        create = scope.builder.create
        if any(b.space is Space.GM for b in self.buffers) and self.chance(0.5):
            return self.pointer(scope, Space.GM)
        value = self.arguments[self.random.choice("yz" if is_store else "xz" if self.uses_gm_twice else "x")]
        if scope.program is not None:
            value = create(ADDPTR, pointer=value, offset=scope.program).result
        if scope.counters and self.chance(0.7):
            row = create(MUL, lhs=self.counter(scope), rhs=self.constants[ROW]).result
            value = create(ADDPTR, pointer=value, offset=row).result
        return value, ROW

    # What the scalar unit reads and writes.

    def scalar_access(self, scope: Scope, space: Space) -> None:
        """A scalar load or store."""
        is_store = self.chance(0.5)
        pointer, _ = (
            self.memory(scope, is_store=is_store) if space is Space.GM else self.pointer(scope, space)
        )
        if not is_store:
            scope.builder.create(LOAD, pointer=pointer)
            return
        value = scope.builder.create(CONSTANT, attributes={"value": 1.0, "dtype": FP32}).result
        scope.builder.create(STORE, pointer=pointer, value=value)
