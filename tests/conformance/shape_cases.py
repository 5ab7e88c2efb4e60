"""Cases of ops that make tiles and move their elements."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np

from conformance import inputs
from conformance.elementwise_cases import spell
from conformance.kernels import EXACT, CaseSpec, KernelBuilder, Shape
from tilejit import ops
from tilejit.ir.types import DTYPES, FP32, INT32, DType

_SHAPES: tuple[Shape, ...] = ((37,), (64,), (5, 24), (2, 3, 8))


def cases() -> Iterator[CaseSpec]:
    """All shape cases: every type, since layouts depend on its width."""
    for dtype in DTYPES:
        yield CaseSpec(f"make-{dtype}", lambda k, d=dtype: _make_case(k, d))
        for shape in _SHAPES:
            is_quick = shape == (5, 24) or dtype in (FP32, INT32)
            yield CaseSpec(
                f"move-{dtype}-{spell(shape)}", lambda k, d=dtype, s=shape: _move_case(k, d, s), is_quick
            )
    yield CaseSpec("arange", _arange_case)
    yield CaseSpec("reshape-scalar", _reshape_scalar_case)


def _make_case(k: KernelBuilder, dtype: DType) -> None:
    numbers: list[int | float] = [0, 1]
    if dtype.is_floating():
        numbers += [-0.0, 0.1, -2.5, float("inf"), float("-inf"), float("nan"), 1e-7]
    elif not dtype.is_bool():
        numbers += [dtype.min_value, dtype.max_value, 100]
    for number in numbers:
        with np.errstate(all="ignore"):
            reference = np.asarray(np.float32(number) if dtype.bits < 32 else number).astype(dtype.numpy)
        k.output(k.constant(dtype, number), f"constant {number}", EXACT, reference)
        k.output(k.constant(dtype, number, (5,)), f"splat {number}", EXACT, np.full((5,), reference))
    scalar = k.number(dtype, 1)
    k.output(k.splat(scalar, (3, 4, 2)), "splat of an argument", EXACT, np.ones((3, 4, 2), dtype.numpy))


def _move_case(k: KernelBuilder, dtype: DType, shape: Shape) -> None:
    data, other = (inputs.values(k.rng, dtype, shape) for _ in range(2))
    x, y = k.input(data), k.input(other)
    size = int(np.prod(shape))
    for target in ((size,), (size, 1), (1, size), (1, *shape), *_factored(size)):
        k.output(
            k.apply(ops.RESHAPE, {"shape": target}, x=x), f"reshape {target}", EXACT, data.reshape(target)
        )
    for order in permutations(range(len(shape))):
        moved = k.apply(ops.TRANSPOSE, {"order": order}, x=x)
        k.output(moved, f"transpose {order}", EXACT, np.transpose(data, order))
    for axis in range(len(shape) + 1):
        single, wide = (*shape[:axis], 1, *shape[axis:]), (*shape[:axis], 3, *shape[axis:])
        spread = k.apply(ops.BROADCAST, {"shape": wide}, x=k.apply(ops.RESHAPE, {"shape": single}, x=x))
        k.output(spread, f"broadcast {wide}", EXACT, np.broadcast_to(data.reshape(single), wide))
    joined = k.apply(ops.JOIN, lhs=x, rhs=y)
    k.output(joined, "join", EXACT, np.stack((data, other), axis=-1))
    for half, value, array in zip(
        ("first", "second"), k.apply_many(ops.SPLIT, x=joined), (data, other), strict=True
    ):
        k.output(value, f"split, {half} of a join", EXACT, array)
    if size % 2 == 0:
        pairs = k.apply(ops.RESHAPE, {"shape": (size // 2, 2)}, x=x)
        for index, value in enumerate(k.apply_many(ops.SPLIT, x=pairs)):
            k.output(value, f"split, number {index}", EXACT, data.reshape(-1, 2)[:, index])


def _factored(size: int) -> list[Shape]:
    return [(size // d, d) for d in (2, 3, 4, 8) if size % d == 0]


def _arange_case(k: KernelBuilder) -> None:
    for start, end in ((0, 1), (0, 37), (5, 64), (-7, 3)):
        value = k.apply(ops.ARANGE, {"start": start, "end": end})
        k.output(value, f"arange {start} to {end}", EXACT, np.arange(start, end, dtype=np.int32))


def _reshape_scalar_case(k: KernelBuilder) -> None:
    scalar = k.input(np.asarray(2.5, np.float32))
    tile = k.apply(ops.RESHAPE, {"shape": (1, 1)}, x=scalar)
    k.output(tile, "scalar to tile", EXACT, np.full((1, 1), 2.5, np.float32))
    k.output(
        k.apply(ops.RESHAPE, {"shape": ()}, x=tile), "tile to scalar", EXACT, np.float32(2.5).reshape(())
    )
    joined = k.apply(ops.JOIN, lhs=scalar, rhs=scalar)
    k.output(joined, "join of scalars", EXACT, np.full((2,), 2.5, np.float32))
    k.output(k.apply_many(ops.SPLIT, x=joined)[1], "split to scalars", EXACT, np.float32(2.5).reshape(()))
