"""Matrix products: square ones, bound by arithmetic."""

from __future__ import annotations

import numpy as np

from benchmarks.problems.record import (
    DTYPES,
    Arm,
    Bar,
    Prepared,
    Problem,
    Setting,
    Shape,
    Unit,
    Work,
    cached,
    example,
    normal,
    sizes_name,
    torch_for,
)
from benchmarks.problems.torch_views import tensor_of

# Relative to the norm: fp32 sums of K products; for bf16 the rounding of the result dominates; int8 is exact.
_TOLERANCE = {"f32": 1e-6, "bf16": 5e-3, "int8": 0.0}
_UNIT = {"f32": Unit.FMA, "bf16": Unit.BF16, "int8": Unit.INT8}
_OUT = {"f32": "f32", "bf16": "bf16", "int8": "int32"}


def _square(setting: Setting) -> Prepared:
    size = setting.shape["N"]
    a, b = (normal((size, size), setting.dtype, seed) for seed in (0, 1))
    tolerance = _TOLERANCE[setting.dtype]
    out_dtype = DTYPES[_OUT[setting.dtype]]
    expected = cached(lambda: a.astype(np.float64) @ b.astype(np.float64))

    def tilejit() -> Arm:
        out = np.zeros((size, size), out_dtype)
        matmul = example("matmul").matmul
        return Arm(lambda: matmul(a, b, out), lambda: out, expected, tolerance)

    def numpy() -> Arm:
        out = np.zeros((size, size), out_dtype)
        return Arm(lambda: np.matmul(a, b, out=out), lambda: out, expected, tolerance)

    def torch() -> Arm:
        module = torch_for(setting.threads)
        out = np.zeros((size, size), out_dtype)
        left, right, result = (tensor_of(module, array) for array in (a, b, out))
        product = module._int_mm if setting.dtype == "int8" else module.matmul
        return Arm(lambda: product(left, right, out=result), lambda: out, expected, tolerance)

    arms = {"tilejit": tilejit, "torch": torch}
    if setting.dtype == "f32":
        arms["numpy"] = numpy
    work = Work(2.0 * a.nbytes, float(size * size * out_dtype.itemsize), 2.0 * size**3, _UNIT[setting.dtype])
    return Prepared(arms, work)


PROBLEMS: tuple[Problem, ...] = (
    Problem(
        "matmul", "matmul", "square matrices, accumulated in fp32, int8 in int32",
        shapes=tuple(
            Shape(sizes_name(size, size, size), {"N": size}, quick=size == 1024) for size in (512, 1024, 2048)
        ),
        dtypes=("f32", "bf16", "int8"),
        peers=("numpy", "torch"),
        prepare=_square,
        bars=(Bar("numpy", 0.9, dtypes=("f32",)), Bar("torch", 0.9, dtypes=("f32", "bf16"))),
    ),
)  # fmt: skip
