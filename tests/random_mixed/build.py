"""Makes tile IR of a plan, and the memory of its launch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tests.random_mixed.kinds import KINDS, SMALL, clip
from tests.random_mixed.plan import (
    BLOCKS,
    VARIABLES,
    WIDTH,
    Branch,
    Compute,
    Dot,
    Index,
    Load,
    Loop,
    Operand,
    Plan,
    Statement,
    Store,
    assigned,
    walk,
)
from tilejit.ir.core import Argument, Block, Function, Op, Value
from tilejit.ir.opdef import Attribute, OpDef
from tilejit.ir.types import BF16, FP16, FP32, INT8, INT32, DType, PointerType, TileType
from tilejit.ops import (
    ADD,
    ADDPTR,
    AND,
    ARANGE,
    CAST,
    CMP,
    CONSTANT,
    DOT,
    FOR,
    IDIV,
    IF,
    IREM,
    LOAD,
    MUL,
    PROGRAM_ID,
    RETURN,
    SPLAT,
    STORE,
    TRANSPOSE,
    WHILE,
    YIELD,
    CmpPredicate,
)
from tilejit.passes.tile_maker import TileMaker

_ARRAYS = {"t": "x", "s": "w", "r": "v", "c": "v"}
"""Where variables start, by their letters."""
_APART = 2
"""Elements from one that is stored with gaps to the next, along either dimension."""
_SCALARS = ("n0", "n1", "valid_rows")


def shape_of(plan: Plan, variable: str) -> tuple[int, ...]:
    """The shape of a variable, or of a block of an array, by its first letter."""
    return {
        "t": (plan.rows, WIDTH), "s": (WIDTH, WIDTH), "r": (plan.rows,), "c": (WIDTH,),
        "x": (plan.rows, WIDTH), "w": (WIDTH, WIDTH), "q": (WIDTH, WIDTH),
    }[variable[0]]  # fmt: skip


def stores_of(plan: Plan) -> dict[int, Store]:
    """The stores of a plan by their outputs."""
    return {s.output: s for s in walk(plan.body) if isinstance(s, Store)}


def memory_of(plan: Plan) -> dict[str, np.ndarray | int]:
    """Fresh arguments of a launch: whole numbers, and outputs that hold what must not be left."""
    generator = np.random.default_rng(plan.seed)

    def whole(most: int, *shape: int, dtype: type = np.float32) -> np.ndarray:
        return generator.integers(-most, most + 1, shape).astype(dtype)

    small: type = BF16.numpy.type if plan.is_bf16 else np.float16
    made: dict[str, np.ndarray | int] = {
        "x": whole(2, BLOCKS, *shape_of(plan, "x"), dtype=small),
        "w": whole(2, BLOCKS, WIDTH, WIDTH, dtype=small),
        "q": whole(3, BLOCKS, WIDTH, WIDTH, dtype=np.int8),
        "v": whole(3, BLOCKS, max(plan.rows, WIDTH)),
        "counts": np.array(plan.memory_counts, np.int32),
        "flags": np.array(plan.flags, np.int32),
        "n0": plan.counts[0], "n1": plan.counts[1], "valid_rows": plan.valid_rows,
    }  # fmt: skip
    for output, store in sorted(stores_of(plan).items()):
        gaps = (_APART,) if store.way == "apart" else ()
        shape = (plan.programs, BLOCKS, *gaps, *shape_of(plan, store.source))
        made[f"out{output}"] = np.full(shape, 7, np.float32)
    return made


def build(plan: Plan) -> Function:
    """The tile IR of a plan; its arguments bear the names of ``memory_of``."""
    return _Builder(plan).function()


class _Builder:
    """Appends the ops of statements; ``_values`` has what each variable is at the moment."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._values: dict[str, Value] = {}
        self._loops: list[Value] = []
        self._block_now = Block()
        self._at = TileMaker(self._block_now, None, None)
        self._arguments: dict[str, Value] = {}

    def function(self) -> Function:
        body, arguments = Block(), []
        for alias, (name, value) in enumerate(memory_of(self._plan).items()):
            element: DType | PointerType = INT32
            if isinstance(value, np.ndarray):
                element = PointerType(self._element(name))
            self._arguments[name] = body.add_argument(TileType(element), name)
            arguments.append(Argument(name, alias_class=None if name in _SCALARS else alias))
        self._block_now, self._at = body, TileMaker(body, None, None)
        self._program = self._make(PROGRAM_ID, {"axis": 0})
        for name in VARIABLES:
            self._values[name] = self._loaded(Load(name, _ARRAYS[name[0]], Index(int(name[1]), None, True)))
        self._fill(self._plan.body)
        self._at.put(RETURN)
        return Function("random_mixed", body, arguments)

    def _element(self, name: str) -> DType:
        if name in ("x", "w"):
            return BF16 if self._plan.is_bf16 else FP16
        return {"q": INT8, "counts": INT32, "flags": INT32}.get(name, FP32)

    def _make(
        self, definition: OpDef, attributes: Mapping[str, Attribute] | None = None, **operands: Value | None
    ) -> Value:
        return self._at.make(definition, attributes, **operands)

    def _put(self, op: Op) -> Op:
        return self._block_now.append(op)

    # Statements.

    def _fill(self, body: Sequence[Statement]) -> None:
        for statement in body:
            if isinstance(statement, Load):
                self._values[statement.target] = self._loaded(statement)
            elif isinstance(statement, Dot):
                self._values[statement.target] = self._product(statement)
            elif isinstance(statement, Compute):
                self._values[statement.target] = self._computed(statement)
            elif isinstance(statement, Store):
                self._store(statement)
            elif isinstance(statement, Branch):
                self._branch(statement)
            elif statement.step:
                self._loop(statement)
            else:
                self._while(statement)

    def _region(self, block: Block, body: Sequence[Statement], names: Sequence[str]) -> list[Value]:
        """Fill a block; returns what the variables are at its end, which is still to be made."""
        outer, before = (self._block_now, self._at), dict(self._values)
        self._block_now, self._at = block, TileMaker(block, None, None)
        self._fill(body)
        ends = [self._values[name] for name in names]
        (self._block_now, self._at), self._values = outer, before
        return ends

    def _loop(self, loop: Loop) -> None:
        names, trips = assigned(loop.body), self._count(loop.count)
        start, step = self._number(loop.start), self._number(loop.step)
        upper = self._make(ADD, lhs=self._make(MUL, lhs=trips, rhs=step), rhs=start)
        inits = [self._values[name] for name in names]
        block = Block([TileType(INT32), *(value.type for value in inits)], [f"i{len(self._loops)}", *names])
        self._values.update(zip(names, block.arguments[1:], strict=True))
        self._loops.append(block.arguments[0])
        ends = self._region(block, loop.body, names)
        self._loops.pop()
        TileMaker(block, None, None).put(YIELD, values=ends)
        made = self._put(
            Op(FOR, {"lower": start, "upper": upper, "step": step, "inits": inits}, regions=[block])
        )
        self._values.update(zip(names, made.results, strict=True))

    def _while(self, loop: Loop) -> None:
        names, inits = assigned(loop.body), [self._count(loop.count)]
        inits += [self._values[name] for name in names]
        types = [value.type for value in inits]
        condition, block = Block(types, ["left", *names]), Block(types, ["left", *names])
        first = TileMaker(condition, None, None)
        goes_on = first.make(
            CMP, {"predicate": CmpPredicate.GT}, lhs=condition.arguments[0], rhs=first.number(0)
        )
        first.put(YIELD, values=[goes_on])
        self._values.update(zip(names, block.arguments[1:], strict=True))
        self._loops.append(block.arguments[0])
        ends = self._region(block, loop.body, names)
        self._loops.pop()
        last = TileMaker(block, None, None)
        left = last.make(IDIV, lhs=block.arguments[0], rhs=last.number(2))
        last.put(YIELD, values=[left, *ends])
        made = self._put(Op(WHILE, {"inits": inits}, regions=[condition, block]))
        self._values.update(zip(names, made.results[1:], strict=True))

    def _branch(self, branch: Branch) -> None:
        names = assigned((*branch.then, *branch.other))
        condition, arms = self._condition(branch.condition), [Block(), Block()]
        for arm, body in zip(arms, (branch.then, branch.other), strict=True):
            ends = self._region(arm, body, names)
            TileMaker(arm, None, None).put(YIELD, values=ends)
        made = self._put(Op(IF, {"condition": condition}, regions=arms))
        self._values.update(zip(names, made.results, strict=True))

    def _store(self, store: Store) -> None:
        shape, value = shape_of(self._plan, store.source), self._values[store.source]
        pointer = self._output_block(store, shape)
        mask = self._mask(shape) if store.source[0] in "tr" else None
        if store.way == "halves":
            value = self._make(CAST, {"dtype": FP32}, x=self._make(CAST, {"dtype": FP16}, x=value))
        if store.way != "chequered":
            self._at.put(STORE, pointer=pointer, value=value, mask=mask)
        if store.way in ("chequered", "twice", "halves"):
            larger = self._make(ADD, lhs=value, rhs=self._ones(shape)) if store.way != "chequered" else value
            white = self._chequered(shape)
            both = white if mask is None else self._make(AND, lhs=mask, rhs=white)
            self._at.put(STORE, pointer=pointer, value=larger, mask=both)

    def _output_block(self, store: Store, shape: tuple[int, ...]) -> Value:
        """Where the elements of what is stored go."""
        array = f"out{store.output}"
        if store.way not in ("columns", "apart"):
            return self._block(array, store.index, shape)
        size = int(np.prod(shape)) * (_APART if store.way == "apart" else 1)
        start = self._block_start(array, store.index, size)
        rows, columns = shape
        strides = (1, rows) if store.way == "columns" else (_APART * columns, _APART)
        pointer = self._make(SPLAT, {"shape": shape}, x=start)
        for dim, stride in enumerate(strides):
            lanes = self._make(ARANGE, {"start": 0, "end": shape[dim]})
            places = self._make(MUL, lhs=lanes, rhs=self._splat(self._number(stride), (shape[dim],)))
            pointer = self._make(ADDPTR, pointer=pointer, offset=self._at.along(places, dim, shape))
        return pointer

    def _chequered(self, shape: tuple[int, ...]) -> Value:
        """Which elements are in an even place, counted along both dimensions."""
        lanes = [
            self._at.along(self._make(ARANGE, {"start": 0, "end": size}), dim, shape)
            for dim, size in enumerate(shape)
        ]
        two, zero = (self._splat(self._number(number), shape) for number in (2, 0))
        rest = self._make(IREM, lhs=self._make(ADD, lhs=lanes[0], rhs=lanes[1]), rhs=two)
        return self._make(CMP, {"predicate": CmpPredicate.EQ}, lhs=rest, rhs=zero)

    def _ones(self, shape: tuple[int, ...]) -> Value:
        return self._splat(self._make(CONSTANT, {"value": 1.0, "dtype": FP32}), shape)

    # Scalars.

    def _number(self, number: int) -> Value:
        return self._at.number(number)

    def _count(self, count: int | str) -> Value:
        if isinstance(count, int):
            return self._number(count)
        if count in ("n0", "n1"):
            return self._arguments[count]
        number = self._loops[-1] if count == "inner" and self._loops else self._program
        return self._scalar("counts", number, len(self._plan.memory_counts))

    def _scalar(self, array: str, number: Value, length: int) -> Value:
        place = self._make(IREM, lhs=number, rhs=self._number(length))
        return self._make(LOAD, pointer=self._make(ADDPTR, pointer=self._arguments[array], offset=place))

    def _condition(self, condition: str) -> Value:
        trip = self._loops[-1] if self._loops else self._program
        if condition in ("even", "third"):
            number = self._make(IREM, lhs=trip, rhs=self._number(2 if condition == "even" else 3))
            return self._make(CMP, {"predicate": CmpPredicate.EQ}, lhs=number, rhs=self._number(0))
        number = {
            "memory": lambda: self._scalar("flags", trip, len(self._plan.flags)),
            "argument": lambda: self._arguments["n1"],
            "program": lambda: self._program,
        }[condition]()
        return self._make(CMP, {"predicate": CmpPredicate.GT}, lhs=number, rhs=self._number(0))

    # Tiles.

    def _block(self, array: str, index: Index, shape: tuple[int, ...]) -> Value:
        """The addresses of a block of an array."""
        size = max(self._plan.rows, WIDTH) if array == "v" else int(np.prod(shape))
        return self._at.addresses(self._block_start(array, index, size), shape)

    def _block_start(self, array: str, index: Index, size: int) -> Value:
        """Where a block of ``size`` elements begins."""
        number = self._number(index.offset)
        if index.loop is not None and index.loop < len(self._loops):
            number = self._make(ADD, lhs=number, rhs=self._loops[index.loop])
        if index.with_program:
            number = self._make(ADD, lhs=number, rhs=self._program)
        number = self._make(IREM, lhs=number, rhs=self._number(BLOCKS))
        if array.startswith("out"):  # each program has blocks of its own there
            first = self._make(MUL, lhs=self._program, rhs=self._number(BLOCKS))
            number = self._make(ADD, lhs=number, rhs=first)
        offset = self._make(MUL, lhs=number, rhs=self._number(size))
        return self._make(ADDPTR, pointer=self._arguments[array], offset=offset)

    def _mask(self, shape: tuple[int, ...]) -> Value | None:
        """Which rows count."""
        if not self._plan.is_masked:
            return None
        lanes = self._make(ARANGE, {"start": 0, "end": shape[0]})
        limit = self._splat(self._arguments["valid_rows"], (shape[0],))
        rows = self._make(CMP, {"predicate": CmpPredicate.LT}, lhs=lanes, rhs=limit)
        return self._at.along(rows, 0, shape)

    def _splat(self, scalar: Value, shape: tuple[int, ...]) -> Value:
        return self._make(SPLAT, {"shape": shape}, x=scalar)

    def _from_memory(self, array: str, index: Index, shape: tuple[int, ...], *, has_rows: bool) -> Value:
        mask = self._mask(shape) if has_rows else None
        pointer = self._block(array, index, shape)
        other = None
        if mask is not None:
            other = self._at.zeros(TileType(self._element(array), shape))
        return self._make(LOAD, pointer=pointer, mask=mask, other=other)

    def _loaded(self, load: Load) -> Value:
        shape = shape_of(self._plan, load.target)
        value = self._from_memory(load.array, load.index, shape, has_rows=load.target[0] in "tr")
        return value if value.type.element is FP32 else self._make(CAST, {"dtype": FP32}, x=value)

    def _operand(self, operand: Operand) -> Value:
        if operand.variable:
            element = BF16 if self._plan.is_bf16 else FP16
            small = clip(self._at, self._values[operand.variable], SMALL)
            value = self._make(CAST, {"dtype": element}, x=small)
        else:
            shape, has_rows = shape_of(self._plan, operand.array), operand.array == "x"
            value = self._from_memory(operand.array, operand.index, shape, has_rows=has_rows)
        return self._make(TRANSPOSE, {"order": (1, 0)}, x=value) if operand.is_transposed else value

    def _product(self, dot: Dot) -> Value:
        operands = {"a": self._operand(dot.a), "b": self._operand(dot.b)}
        product = self._make(DOT, {"out_dtype": FP32}, **operands)
        return self._make(ADD, lhs=self._values[dot.target], rhs=product) if dot.adds else product

    def _computed(self, compute: Compute) -> Value:
        sources = [self._values[name] for name in compute.sources]
        trip = self._loops[-1] if self._loops else self._program
        return KINDS[compute.kind].make(self._at, trip, compute.number, sources)
