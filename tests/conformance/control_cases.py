"""Cases of control flow, grids and assertions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from conformance import inputs
from conformance.elementwise_cases import spell
from conformance.kernels import EXACT, CaseSpec, KernelBuilder, Shape
from tilejit import ops
from tilejit.ir.core import Value
from tilejit.ir.types import DTYPES, FP32, INT1, INT32, INT64, DType, TileType
from tilejit.ops import CmpPredicate

_SHAPES: tuple[Shape, ...] = ((), (37,), (5, 24))


def cases() -> Iterator[CaseSpec]:
    """All control-flow cases."""
    for dtype in (INT32, INT64):
        for bounds in ((0, 5, 1), (3, 3, 1), (7, 2, 1), (-4, 9, 3), (10, -3, -4), (0, -5, -1)):
            name = f"for-{dtype}-{'_'.join(map(str, bounds))}".replace("--", "-m").replace("_-", "_m")
            yield CaseSpec(name, lambda k, d=dtype, b=bounds: _for_case(k, d, b))
    for dtype in DTYPES:
        for shape in _SHAPES:
            name = f"carry-{dtype}-{spell(shape)}"
            yield CaseSpec(name, lambda k, d=dtype, s=shape: _carry_case(k, d, s), shape == (37,))
    yield CaseSpec("while", _while_case)
    yield CaseSpec("if", _if_case)
    yield CaseSpec("nested", _nested_case)
    yield CaseSpec("pointer-carry", _pointer_carry_case)
    yield CaseSpec("grid", _grid_case, grid=(3, 2, 4))
    yield CaseSpec("assert", _assert_case)


def _add(k: KernelBuilder, lhs: Value, rhs: Value) -> Value:
    return k.apply(ops.ADD, lhs=lhs, rhs=rhs)


def _less(k: KernelBuilder, lhs: Value, rhs: Value) -> Value:
    return k.apply(ops.CMP, {"predicate": CmpPredicate.LT}, lhs=lhs, rhs=rhs)


def _loop_types(inits: list[Value], index: DType) -> list[TileType]:
    return [TileType(index), *(value.type for value in inits)]


def _for_case(k: KernelBuilder, dtype: DType, bounds: tuple[int, int, int]) -> None:
    """Sum and count the indices, with bounds from arguments and from constants; a step < 0 is constant."""
    lower, upper, step = bounds
    for source in ("argument", "constant"):
        start, stop = (
            k.number(dtype, b) if source == "argument" else k.constant(dtype, b) for b in (lower, upper)
        )
        runtime_step = source == "argument" and step > 0
        by = k.number(dtype, step) if runtime_step else k.constant(dtype, step)
        inits = [k.constant(dtype, 0), k.constant(FP32, 0.5, (5,))]

        def body(v: list[Value]) -> list[Value]:
            return [_add(k, v[1], v[0]), _add(k, v[2], k.constant(FP32, 1.0, (5,)))]

        region = k.region(_loop_types(inits, dtype), body)
        total, count = k.apply_many(ops.FOR, {}, [region], lower=start, upper=stop, step=by, inits=inits)
        indices = range(lower, upper, step)
        k.output(total, f"sum of indices, {source}", EXACT, np.asarray(sum(indices), dtype.numpy))
        k.output(count, f"trip count, {source}", EXACT, np.full((5,), len(indices) + 0.5, np.float32))


def _carry_case(k: KernelBuilder, dtype: DType, shape: Shape) -> None:
    """Swap two carried tiles an odd number of times, and choose between them by ``if``."""
    data, other = (inputs.values(k.rng, dtype, shape) for _ in range(2))
    inits = [k.input(data), k.input(other)]
    one, trips = k.constant(INT32, 1), k.number(INT32, 3)
    swap = k.region(_loop_types(inits, INT32), lambda v: [v[2], v[1]])
    x, y = k.apply_many(ops.FOR, {}, [swap], lower=k.constant(INT32, 0), upper=trips, step=one, inits=inits)
    k.output(x, "swapped, first", EXACT, other)
    k.output(y, "swapped, second", EXACT, data)
    for chosen in (0, 1):
        condition = k.number(INT1, chosen)
        regions = [k.region([], lambda _: [x]), k.region([], lambda _: [y])]
        k.output(
            k.apply(ops.IF, {}, regions, condition=condition),
            f"if {chosen}",
            EXACT,
            other if chosen else data,
        )


def _while_case(k: KernelBuilder) -> None:
    """The length of Collatz sequences, beside a carried tile; and a loop that never runs."""
    for start, length in ((1, 0), (7, 16), (27, 111)):
        number = k.number(INT64, start)
        inits = [number, k.constant(INT32, 0), k.constant(INT32, 0, (5,))]
        types = [value.type for value in inits]
        one = k.constant(INT64, 1)

        def step(v: list[Value], one: Value = one) -> list[Value]:
            odd = k.apply(ops.CAST, {"dtype": INT1}, x=k.apply(ops.AND, lhs=v[0], rhs=one))
            tripled = _add(k, k.apply(ops.MUL, lhs=v[0], rhs=k.constant(INT64, 3)), one)
            halved = k.apply(ops.SHR, lhs=v[0], rhs=one)
            following = k.apply(ops.SELECT, condition=odd, true_value=tripled, false_value=halved)
            return [following, _add(k, v[1], k.constant(INT32, 1)), _add(k, v[2], k.constant(INT32, 2, (5,)))]

        condition = k.region(types, lambda v, one=one: [_less(k, one, v[0])])
        body = k.region(types, step)
        last, count, tile = k.apply_many(ops.WHILE, {}, [condition, body], inits=inits)
        k.output(last, f"last number from {start}", EXACT, np.asarray(1, np.int64))
        k.output(count, f"steps from {start}", EXACT, np.asarray(length, np.int32))
        k.output(tile, f"tile from {start}", EXACT, np.full((5,), 2 * length, np.int32))


def _if_case(k: KernelBuilder) -> None:
    """Branches with stores, with no results, with several results, with one empty branch."""
    for chosen in (0, 1):
        condition = k.number(INT1, chosen)
        target = k.pointer(np.zeros(5, np.int32))

        def store(number: int, target: Value = target) -> None:
            value = k.constant(INT32, number, (5,))
            k.apply_many(ops.STORE, pointer=k.addresses(target, (5,)), value=value)

        regions = [k.region([], lambda _, s=store: s(3) or []), k.region([], lambda _: [])]
        k.apply_many(ops.IF, {}, regions, condition=condition)
        k.compare(target, f"store under if {chosen}", EXACT, np.full(5, 3 * chosen, np.int32))
        regions = [
            k.region([], lambda _: [k.constant(INT32, 1), k.constant(FP32, 2.0, (3,))]),
            k.region([], lambda _: [k.constant(INT32, 10), k.constant(FP32, 20.0, (3,))]),
        ]
        number, tile = k.apply_many(ops.IF, {}, regions, condition=condition)
        k.output(number, f"number of if {chosen}", EXACT, np.asarray(1 if chosen else 10, np.int32))
        k.output(tile, f"tile of if {chosen}", EXACT, np.full(3, 2.0 if chosen else 20.0, np.float32))


def _nested_case(k: KernelBuilder) -> None:
    """Two loops and a branch that depends on both indices; stores inside, an outer value used within."""
    size = (4, 6)
    target = k.pointer(np.zeros(size, np.int32))
    zero, one = k.constant(INT32, 0), k.constant(INT32, 1)
    rows, columns = k.number(INT32, size[0]), k.number(INT32, size[1])

    def outer(v: list[Value]) -> list[Value]:
        row, total = v

        def inner(w: list[Value]) -> list[Value]:
            column, running = w
            sides = [k.region([], lambda _: [running]), k.region([], lambda _: [_add(k, running, row)])]
            chosen = k.apply(ops.IF, {}, sides, condition=_less(k, column, row))
            offset = _add(k, k.apply(ops.MUL, lhs=row, rhs=columns), column)
            k.apply_many(ops.STORE, pointer=k.apply(ops.ADDPTR, pointer=target, offset=offset), value=chosen)
            return [chosen]

        region = k.region(_loop_types([total], INT32), inner)
        return k.apply_many(ops.FOR, {}, [region], lower=zero, upper=columns, step=one, inits=[total])

    region = k.region(_loop_types([zero], INT32), outer)
    total = k.apply(ops.FOR, {}, [region], lower=zero, upper=rows, step=one, inits=[zero])
    reference, running = np.zeros(size, np.int32), 0
    for row in range(size[0]):
        for column in range(size[1]):
            running += 0 if column < row else row
            reference[row, column] = running
    k.output(total, "total", EXACT, np.asarray(running, np.int32))
    k.compare(target, "stores", EXACT, reference)


def _pointer_carry_case(k: KernelBuilder) -> None:
    """A loop that carries a tile of pointers and a scalar pointer."""
    data = inputs.ordinary_floats(k.rng, FP32, (8, 16))
    start = k.pointer(data)
    inits = [k.addresses(start, (16,)), start, k.constant(FP32, 0.0, (16,)), k.constant(FP32, 0.0)]

    def body(v: list[Value]) -> list[Value]:
        _, row, first, tile, scalar = v
        step = k.constant(INT32, 16)
        tile = _add(k, tile, k.apply(ops.LOAD, pointer=row))
        scalar = _add(k, scalar, k.apply(ops.LOAD, pointer=first))
        row = k.apply(ops.ADDPTR, pointer=row, offset=k.splat(step, (16,)))
        return [row, k.apply(ops.ADDPTR, pointer=first, offset=step), tile, scalar]

    region = k.region(_loop_types(inits, INT32), body)
    bounds = {"lower": k.constant(INT32, 0), "upper": k.number(INT32, 8), "step": k.constant(INT32, 1)}
    _, _, tile, scalar = k.apply_many(ops.FOR, {}, [region], inits=inits, **bounds)
    running = np.zeros(16, np.float32)
    for row in data:
        running = running + row
    k.output(tile, "sum over rows", EXACT, running)
    k.output(scalar, "sum over first elements", EXACT, np.asarray(running[0]))


def _grid_case(k: KernelBuilder) -> None:
    """Each program writes what it knows of its place at its own place."""
    grid = (3, 2, 4)
    target = k.pointer(np.zeros((4, 2, 3, 6), np.int32))
    x, y, z = (k.apply(ops.PROGRAM_ID, {"axis": axis}) for axis in range(3))
    width, height, depth = (k.apply(ops.NUM_PROGRAMS, {"axis": axis}) for axis in range(3))
    linear = _add(k, k.apply(ops.MUL, lhs=z, rhs=height), y)
    linear = _add(k, k.apply(ops.MUL, lhs=linear, rhs=width), x)
    start = k.apply(ops.MUL, lhs=linear, rhs=k.constant(INT32, 6))
    for position, value in enumerate((x, y, z, width, height, depth)):
        offset = _add(k, start, k.constant(INT32, position))
        k.apply_many(ops.STORE, pointer=k.apply(ops.ADDPTR, pointer=target, offset=offset), value=value)
    places = [(x, y, z, *grid) for z in range(4) for y in range(2) for x in range(3)]
    k.compare(target, "places", EXACT, np.array(places, np.int32).reshape(4, 2, 3, 6))


def _assert_case(k: KernelBuilder) -> None:
    """Assertions that hold, also where only the mask saves them."""
    data = inputs.values(k.rng, INT1, (37,))
    condition = k.input(data)
    k.apply_many(ops.DEVICE_ASSERT, {"message": "never"}, condition=condition, mask=condition)
    k.apply_many(ops.DEVICE_ASSERT, {"message": "never"}, condition=k.constant(INT1, 1))
    k.output(condition, "value after assertions", EXACT, data)
