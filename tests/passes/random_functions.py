"""Random tile IR with a taste for what simplify looks at: special constants, splats, known branches.

Every value that a block makes may be stored, so that two runs of a function can be compared.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from tilejit.ir.core import Argument, Block, Builder, Function, Value
from tilejit.ir.opdef import AttributeKind, OpDef, TypeRuleError
from tilejit.ir.types import (
    BF16,
    FP16,
    FP32,
    FP64,
    INT1,
    INT8,
    INT32,
    INT64,
    UINT32,
    DType,
    PointerType,
    TileType,
)
from tilejit.ops import (
    ADD,
    ADDPTR,
    AND,
    ARANGE,
    BROADCAST,
    CAST,
    CMP,
    CONSTANT,
    ELEMENTWISE_OPS,
    FOR,
    IDIV,
    IF,
    LOAD,
    MUL,
    OR,
    REDUCE,
    RESHAPE,
    RETURN,
    SELECT,
    SPLAT,
    STORE,
    SUB,
    TRANSPOSE,
    WHILE,
    XOR,
    YIELD,
    CmpPredicate,
    ReduceKind,
)

ELEMENTS: tuple[DType, ...] = (INT1, INT8, INT32, INT64, UINT32, FP16, BF16, FP32, FP64)
SHAPES: tuple[tuple[int, ...], ...] = ((), (), (4,), (1, 4), (4, 1), (2, 2), (1,))
BUFFER_LENGTH = 4096
MAX_DEPTH = 3

_INTEGERS = (0, 0, 1, 1, -1, 2, 7, 31, 127, 16777217)
_FLOATS = (0.0, -0.0, 1.0, -1.0, 2.5, float("inf"), float("nan"), 1e9)
_MEMORY: tuple[DType, ...] = (INT32, FP32)  # what is loaded, so that loads often are of equal addresses
_OFTEN: tuple[OpDef, ...] = (ADD, SUB, MUL, IDIV, AND, OR, XOR, CMP, SELECT, CAST, CAST)
_MOSTLY: tuple[DType, ...] = (*ELEMENTS, INT32, INT32, INT32, FP32, FP32, FP32)


def random_function(seed: int, steps: int = 40) -> Function:
    """Return a valid function: one pointer per element type to ``BUFFER_LENGTH`` elements, then two int32."""
    return _Generator(seed).function(steps)


class _Generator:
    """Appends random ops to a block, drawing operands from the values that are visible there."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.buffers: dict[DType, Value] = {}
        self.offsets = {element: 64 for element in ELEMENTS}  # what lies below is read as well

    def function(self, steps: int) -> Function:
        function = Function("f", Block())
        for element in ELEMENTS:
            name = f"{element.name}_buffer"
            self.buffers[element] = function.add_argument(Argument(name), TileType(PointerType(element)))
        numbers = [function.add_argument(Argument(name), TileType(INT32)) for name in ("n", "k")]
        self.block(function.body, numbers, steps, 0)
        Builder(function.body).create(RETURN)
        return function

    def block(self, block: Block, visible: Sequence[Value], steps: int, depth: int) -> list[Value]:
        """Fill ``block``; return the values visible at its end."""
        pool = list(visible)
        builder = Builder(block)
        kinds: list[Callable[[Builder, list[Value]], object]] = [self.constant, self.splat, self.shape]
        kinds += [self.elementwise] * 6 + [self.load] * 3 + [self.store, self.reduce]
        for _ in range(steps):
            if depth < MAX_DEPTH and self.random.random() < 0.08:
                control = self.random.choice([self.branch, self.loop, self.bounded_while])
                pool += control(builder, pool, steps // 3, depth + 1)
                continue
            before = len(block.ops)
            self.random.choice(kinds)(builder, pool)
            made = [result for op in block.ops[before:] for result in op.results]
            pool += [value for value in made if isinstance(value.type.element, DType)]
        for value in self.random.sample(pool[len(visible) :], min(8, len(pool) - len(visible))):
            self.store_value(builder, value)
        return pool

    # One op

    def constant(self, builder: Builder, pool: list[Value]) -> Value:
        return self.special(builder, TileType(self.random.choice(_MOSTLY)))

    def special(self, builder: Builder, type: TileType) -> Value:
        """A constant that rules care about, as a scalar or a tile."""
        element = type.element
        assert isinstance(element, DType)
        number: int | float | bool
        if element == INT1:
            number = self.random.random() < 0.5
        elif element.is_floating():
            number = self.random.choice(_FLOATS)
        else:
            fitting = [n for n in _INTEGERS if element.min_value <= n <= element.max_value]
            number = self.random.choice([*fitting, element.max_value])
        scalar = builder.create(CONSTANT, attributes={"value": number, "dtype": element}).result
        return self.spread(builder, scalar, type.shape)

    def spread(self, builder: Builder, scalar: Value, shape: tuple[int, ...]) -> Value:
        return builder.create(SPLAT, attributes={"shape": shape}, x=scalar).result if shape else scalar

    def pick(self, builder: Builder, pool: list[Value], type: TileType) -> Value:
        """A visible value of one type, or a constant."""
        fitting = [value for value in pool if value.type == type]
        if fitting and self.random.random() < 0.5:
            return self.random.choice(fitting[-6:])
        return self.special(builder, type)

    def splat(self, builder: Builder, pool: list[Value]) -> Value:
        scalars = [value for value in pool if value.type.is_scalar]
        return self.spread(builder, self.random.choice(scalars), self.random.choice(SHAPES[2:]))

    def elementwise(self, builder: Builder, pool: list[Value]) -> None:
        definition = self.random.choice(self.random.choice([ELEMENTWISE_OPS, _OFTEN]))
        if definition is ADDPTR:
            return
        first = self.random.choice(pool[-8:] if self.random.random() < 0.6 else pool)
        operands = {spec.name: self.pick(builder, pool, first.type) for spec in definition.operands}
        operands[self.random.choice(definition.operands).name] = first
        if self.random.random() < 0.1:
            operands = dict.fromkeys(operands, first)
        if "condition" in operands:
            operands["condition"] = self.pick(builder, pool, first.type.with_element(INT1))
            if operands["true_value"].type != operands["false_value"].type:
                return
        self.attempt(builder, definition, self.attributes(definition), operands)

    def attributes(self, definition: OpDef) -> dict[str, object]:
        chosen: dict[str, object] = {}
        for spec in definition.attributes:
            if spec.kind is AttributeKind.ENUM and spec.choices is not None:
                chosen[spec.name] = self.random.choice(list(spec.choices))
            elif spec.kind is AttributeKind.BOOL:
                chosen[spec.name] = self.random.random() < 0.5
            elif spec.kind is AttributeKind.ELEMENT:
                chosen[spec.name] = self.random.choice(ELEMENTS)
        return chosen

    def attempt(
        self, builder: Builder, definition: OpDef, attributes: dict[str, object], operands: dict[str, Value]
    ) -> None:
        try:
            builder.create(definition, attributes=attributes, **operands)  # type: ignore[arg-type]
        except TypeRuleError:
            return

    def shape(self, builder: Builder, pool: list[Value]) -> None:
        value = self.random.choice(pool)
        definition = self.random.choice([RESHAPE, BROADCAST, TRANSPOSE, ARANGE])
        if definition is TRANSPOSE:
            order = self.random.sample(range(value.type.rank), value.type.rank)
            self.attempt(builder, TRANSPOSE, {"order": tuple(order)}, {"x": value})
        elif definition is ARANGE:
            self.attempt(builder, ARANGE, {"start": 3, "end": self.random.choice([4, 7])}, {})
        else:
            shape = self.random.choice([*SHAPES, (4, 4), (2, 4)])
            self.attempt(builder, definition, {"shape": shape}, {"x": value})

    def reduce(self, builder: Builder, pool: list[Value]) -> None:
        value = self.random.choice(pool)
        if isinstance(value.type.element, DType) and value.type.element.is_int():
            attributes = {"axis": 0, "kind": self.random.choice([ReduceKind.XOR, ReduceKind.MAX])}
            self.attempt(builder, REDUCE, dict(attributes), {"x": value})

    # Memory

    def addresses(self, builder: Builder, element: DType, shape: tuple[int, ...], start: int) -> Value:
        size = TileType(element, shape).size
        pointers = self.spread(builder, self.buffers[element], shape)
        lanes = builder.create(ARANGE, attributes={"start": start, "end": start + size}).result
        offsets = builder.create(RESHAPE, attributes={"shape": shape}, x=lanes).result
        return builder.create(ADDPTR, pointer=pointers, offset=offsets).result

    def load(self, builder: Builder, pool: list[Value]) -> None:
        element, shape = self.random.choice(_MEMORY), self.random.choice(SHAPES[:3])
        pointer = self.addresses(builder, element, shape, self.random.randrange(2))
        mask = other = None
        if self.random.random() < 0.3:
            mask = self.pick(builder, pool, TileType(INT1, shape))
            if self.random.random() < 0.5:
                other = self.pick(builder, pool, TileType(element, shape))
        builder.create(LOAD, pointer=pointer, mask=mask, other=other)

    def store(self, builder: Builder, pool: list[Value]) -> None:
        """Write where loads read."""
        value = self.random.choice([value for value in pool if value.type.element in _MEMORY])
        element = value.type.element
        assert isinstance(element, DType)
        pointer = self.addresses(builder, element, value.type.shape, self.random.randrange(2))
        use_mask = self.random.random() < 0.5
        mask = self.pick(builder, pool, value.type.with_element(INT1)) if use_mask else None
        builder.create(STORE, pointer=pointer, value=value, mask=mask)

    def store_value(self, builder: Builder, value: Value) -> None:
        """Write ``value`` to a place of its own."""
        element = value.type.element
        assert isinstance(element, DType)
        start = self.offsets[element]
        self.offsets[element] += value.type.size
        assert self.offsets[element] <= BUFFER_LENGTH
        pointer = self.addresses(builder, element, value.type.shape, start)
        builder.create(STORE, pointer=pointer, value=value)

    # Control flow

    def branch(self, builder: Builder, pool: list[Value], steps: int, depth: int) -> list[Value]:
        condition = self.pick(builder, pool, TileType(INT1))
        arms = [Block(), Block()]
        types = [self.random.choice(pool).type for _ in range(self.random.randrange(3))]
        for arm in arms:
            inner = self.block(arm, pool, self.random.choice([0, steps]), depth)
            self.finish(arm, inner, types)
        return builder.create(IF, regions=arms, condition=condition).results

    def finish(self, block: Block, pool: list[Value], types: Sequence[TileType]) -> None:
        builder = Builder(block)
        builder.create(YIELD, values=[self.pick(builder, pool, type) for type in types])

    def loop(self, builder: Builder, pool: list[Value], steps: int, depth: int) -> list[Value]:
        inits = [self.random.choice(pool) for _ in range(self.random.randrange(4))]
        bounds = [
            self.number(builder, n) for n in self.random.choice([(0, 0, 1), (0, 1, 1), (3, 0, -2), (1, 4, 1)])
        ]
        if self.random.random() < 0.3:
            bounds[1] = builder.create(
                ADD, lhs=bounds[0], rhs=pool[1]
            ).result  # pool[1] is %k, which is small
            bounds[2] = self.number(builder, 1)
        body = Block([TileType(INT32), *(init.type for init in inits)])
        inner = self.block(body, [*pool, *body.arguments], steps, depth)
        self.carry_on(body, inner, body.arguments[1:], inits)
        lower, upper, step = bounds
        return builder.create(FOR, regions=[body], lower=lower, upper=upper, step=step, inits=inits).results

    def carry_on(
        self, body: Block, pool: list[Value], carried: Sequence[Value], inits: Sequence[Value]
    ) -> None:
        builder = Builder(body)
        passed_on: list[Value] = []
        for value, init in zip(carried, inits, strict=True):
            chance = self.random.random()
            fresh = self.pick(builder, pool, value.type)
            passed_on.append(value if chance < 0.2 else init if chance < 0.3 else fresh)
        builder.create(YIELD, values=passed_on)

    def number(self, builder: Builder, number: int) -> Value:
        return builder.create(CONSTANT, attributes={"value": number, "dtype": INT32}).result

    def bounded_while(self, builder: Builder, pool: list[Value], steps: int, depth: int) -> list[Value]:
        """A while that counts, so that it ends."""
        inits = [
            self.number(builder, 0),
            *(self.random.choice(pool) for _ in range(self.random.randrange(3))),
        ]
        types = [init.type for init in inits]
        condition, body = Block(types), Block(types)
        self.block(condition, [*pool, *condition.arguments], steps // 3, depth)
        asking = Builder(condition)
        limit = self.number(asking, self.random.randrange(3))
        goes_on = self.create_cmp(asking, condition.arguments[0], limit)
        asking.create(YIELD, values=[goes_on])
        inner = self.block(body, [*pool, *body.arguments], steps, depth)
        counting = Builder(body)
        count = counting.create(ADD, lhs=body.arguments[0], rhs=self.number(counting, 1)).result
        rest = [self.pick(counting, inner, type) for type in types[1:]]
        counting.create(YIELD, values=[count, *rest])
        return builder.create(WHILE, regions=[condition, body], inits=inits).results

    def create_cmp(self, builder: Builder, lhs: Value, rhs: Value) -> Value:
        return builder.create(CMP, attributes={"predicate": CmpPredicate.LT}, lhs=lhs, rhs=rhs).result
