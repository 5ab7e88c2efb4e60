"""Random machine functions at the buffer level: loops, branches, rings of slots, all pipes of a core.

The functions need not compute anything sensible, only touch memory in every order that real ones do.
"""

from __future__ import annotations

import random
from collections.abc import Callable
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
    STORE,
    WHILE,
    YIELD,
    CmpPredicate,
)
from tilejit.ops.machine.buffer import BUFFER, SLOT
from tilejit.ops.machine.move import COPY_IN, COPY_OUT
from tilejit.ops.machine.sync import SET_ATOMIC, StoreAtomic
from tilejit.ops.machine.vector import VADD, VEXP
from tilejit.target.spaces import Core, Space

GRAIN = 8  # elements of fp32 in 32 bytes
TRIP_ARGUMENTS = ("n0", "n1", "n2")
CONDITION_ARGUMENTS = ("c0", "c1", "c2")


@dataclass
class RandomBuffer:
    """A buffer of a random function and the index by which most of its accesses choose a slot."""

    value: Value
    space: Space
    elements: int
    slots: int
    ring: int  # how many of its accesses go by the usual index: 0 none to 3 all
    lead: int


@dataclass
class Scope:
    """Where the generator stands: the counters in scope, the innermost last."""

    builder: Builder
    counters: list[Value] = field(default_factory=list)
    depth: int = 0


class Generator:
    """Appends random ops to blocks."""

    def __init__(self, seed: int, core: Core = Core.AIV) -> None:
        self.random = random.Random(seed)
        self.core = core
        self.budget = self.random.choice((4, 8, 14, 22))
        self.uses_gm_twice = self.random.random() < 0.3
        self.uses_scalars = self.random.random() < 0.3

    def kernel(self) -> MachineKernel:
        """One function, not synchronised."""
        body = Block()
        function = Function("random", body, core=self.core)
        for name in ("x", "y", "z"):
            function.add_argument(Argument(name), TileType(PointerType(FP32)))
        for name in TRIP_ARGUMENTS:
            function.add_argument(Argument(name), TileType(INT32))
        for name in CONDITION_ARGUMENTS:
            function.add_argument(Argument(name), TileType(INT1))
        self.arguments = {value.name: value for value in body.arguments}
        builder = Builder(body)
        self.constants = {number: self._constant(builder, number) for number in range(0, 33)}
        self.buffers = self.make_buffers(builder)
        self.block(Scope(builder))
        builder.create(RETURN)
        return MachineKernel("random", {self.core: function})

    def _constant(self, builder: Builder, number: int) -> Value:
        return builder.create(CONSTANT, attributes={"value": number, "dtype": INT32}).result

    def make_buffers(self, builder: Builder) -> list[RandomBuffer]:
        """The buffers of the function: one in UB at least."""
        spaces = [Space.UB]
        for _ in range(self.random.randint(1, 5)):
            spaces.append(Space.GM if self.random.random() < 0.15 else Space.UB)
        return [
            self.new_buffer(
                builder,
                space,
                FP32,
                GRAIN * self.random.choice((1, 1, 2, 4)),
                self.random.choice((1, 1, 2, 2, 3, 4)),
            )
            for space in spaces
        ]

    def new_buffer(
        self, builder: Builder, space: Space, element: DType, elements: int, slots: int
    ) -> RandomBuffer:
        """Make a buffer whose accesses go by an index of their own or a common one."""
        attributes: dict[str, Attribute] = {
            "space": space, "element": element, "elements": elements, "slots": slots
        }  # fmt: skip
        value = builder.create(BUFFER, attributes=attributes).result
        lead = self.random.choice((0, 0, 0, 1, 2))
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

    def loop(self, scope: Scope) -> None:
        create = scope.builder.create
        lower, step = self.constants[0], self.constants[1]
        upper = self.arguments[self.random.choice(TRIP_ARGUMENTS)]
        if self.random.random() < 0.2:
            upper = self.constants[self.random.choice((1, 2, 3))]
        carried = [self.constants[0]]
        if scope.counters and self.random.random() < 0.5:
            carried = [scope.counters[-1]]
        body = Block([TileType(INT32), TileType(INT32)], ["k", "count"])
        inner = Scope(
            Builder(body), [*scope.counters, *self.random.sample(body.arguments, 2)], scope.depth + 1
        )
        self.block(inner)
        moved = inner.builder.create(ADD, lhs=body.arguments[1], rhs=self.constants[1]).result
        inner.builder.create(YIELD, values=[moved])
        op = create(FOR, lower=lower, upper=upper, step=step, inits=carried, regions=[body])
        scope.counters.append(op.results[0])

    def while_loop(self, scope: Scope) -> None:
        condition, body = Block([TileType(INT32)], ["i"]), Block([TileType(INT32)], ["j"])
        limit = self.arguments[self.random.choice(TRIP_ARGUMENTS)]
        first = Scope(Builder(condition), [*scope.counters, condition.arguments[0]], 4)
        if self.random.random() < 0.5:
            self.instruction(first)
        goes_on = first.builder.create(
            CMP, attributes={"predicate": CmpPredicate.LT}, lhs=condition.arguments[0], rhs=limit
        ).result
        first.builder.create(YIELD, values=[goes_on])
        inner = Scope(Builder(body), [*scope.counters, body.arguments[0]], scope.depth + 1)
        self.block(inner)
        moved = inner.builder.create(ADD, lhs=body.arguments[0], rhs=self.constants[1]).result
        inner.builder.create(YIELD, values=[moved])
        scope.builder.create(WHILE, inits=[self.constants[0]], regions=[condition, body])

    def branch(self, scope: Scope) -> None:
        arms = [Block(), Block()]
        for index, arm in enumerate(arms):
            inner = Scope(Builder(arm), list(scope.counters), scope.depth + 1)
            if index == 0 or self.random.random() < 0.5:
                self.block(inner)
            inner.builder.create(YIELD)
        scope.builder.create(IF, condition=self.condition(scope), regions=arms)

    def condition(self, scope: Scope) -> Value:
        create = scope.builder.create
        if not scope.counters or self.random.random() < 0.3:
            return self.arguments[self.random.choice(CONDITION_ARGUMENTS)]
        counter = self.random.choice(scope.counters)
        parity = create(IREM, lhs=counter, rhs=self.constants[self.random.choice((2, 3))]).result
        predicate = self.random.choice((CmpPredicate.EQ, CmpPredicate.GT))
        return create(CMP, attributes={"predicate": predicate}, lhs=parity, rhs=self.constants[0]).result

    def set_atomic(self, scope: Scope) -> None:
        kind = self.random.choice((StoreAtomic.NONE, StoreAtomic.ADD))
        scope.builder.create(SET_ATOMIC, attributes={"kind": kind, "element": FP32})

    # Instructions and their operands.

    def instruction(self, scope: Scope) -> None:
        kinds: list[Callable[[Scope], None]] = [self.copy_in, self.vector, self.vector, self.copy_out]
        if self.uses_scalars:
            kinds += [self.scalar_load, self.scalar_store]
        self.random.choice(kinds)(scope)

    def local(self, scope: Scope) -> tuple[Value, int]:
        """A pointer into a buffer in UB and how many elements lie behind it."""
        locals_ = [b for b in self.buffers if b.space is Space.UB]
        return self.pointer(scope, self.random.choice(locals_))

    def pointer(self, scope: Scope, buffer: RandomBuffer) -> tuple[Value, int]:
        create = scope.builder.create
        value, left = self.slot_of(scope, buffer), buffer.elements
        if left > GRAIN and self.random.random() < 0.4:
            moved = GRAIN * self.random.randrange(left // GRAIN)
            value = create(ADDPTR, pointer=value, offset=self.constants[min(moved, 24)]).result
            left -= min(moved, 24)
        if left > GRAIN and self.random.random() < 0.3:
            left = GRAIN
        return value, left

    def slot_of(self, scope: Scope, buffer: RandomBuffer) -> Value:
        """A slot of a buffer: mostly by the innermost counter."""
        create, value = scope.builder.create, buffer.value
        if buffer.slots > 1:
            index = self.constants[self.random.choice((0, 1))]
            if scope.counters and self.random.randint(0, 3) <= buffer.ring:
                index = scope.counters[-1]
            elif scope.counters and self.random.random() < 0.5:
                index = self.random.choice(scope.counters)
            if buffer.lead and self.random.random() < 0.3:
                index = create(ADD, lhs=index, rhs=self.constants[buffer.lead]).result
            value = create(SLOT, buffer=value, index=index).result
        return value

    def memory(self, scope: Scope, is_store: bool) -> tuple[Value, int]:
        """A pointer into GM and how many elements to move."""
        create = scope.builder.create
        kept = [b for b in self.buffers if b.space is Space.GM]
        if kept and self.random.random() < 0.5:
            return self.pointer(scope, self.random.choice(kept))
        name = self.random.choice("yz" if is_store else "xz" if self.uses_gm_twice else "x")
        value = self.arguments[name]
        if scope.counters and self.random.random() < 0.7:
            counter = self.random.choice(scope.counters)
            row = create(MUL, lhs=counter, rhs=self.constants[32]).result
            value = create(ADDPTR, pointer=value, offset=row).result
        return value, 32

    def copy_in(self, scope: Scope) -> None:
        (to, room), (source, there) = self.local(scope), self.memory(scope, is_store=False)
        size = self._bytes(scope, min(room, there))
        scope.builder.create(COPY_IN, dst=to, src=source, rows=self.constants[1], row_bytes=size)

    def copy_out(self, scope: Scope) -> None:
        (source, there), (to, room) = self.local(scope), self.memory(scope, is_store=True)
        size = self._bytes(scope, min(room, there))
        scope.builder.create(COPY_OUT, dst=to, src=source, rows=self.constants[1], row_bytes=size)

    def _bytes(self, scope: Scope, elements: int) -> Value:
        return self._constant(scope.builder, 4 * elements)

    def vector(self, scope: Scope) -> None:
        to, room = self.local(scope)
        sources = [self.local(scope) for _ in range(self.random.randint(1, 2))]
        count = self.constants[min([room, *(there for _, there in sources)])]
        if len(sources) == 1:
            scope.builder.create(VEXP, dst=to, src=sources[0][0], count=count)
        else:
            scope.builder.create(VADD, dst=to, src0=sources[0][0], src1=sources[1][0], count=count)

    def scalar_load(self, scope: Scope) -> None:
        pointer, _ = self.local(scope)
        scope.builder.create(LOAD, pointer=pointer)

    def scalar_store(self, scope: Scope) -> None:
        pointer, _ = self.local(scope)
        value = scope.builder.create(CONSTANT, attributes={"value": 1.0, "dtype": FP32}).result
        scope.builder.create(STORE, pointer=pointer, value=value)
