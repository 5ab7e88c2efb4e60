"""Problems that touch every element once."""

from __future__ import annotations

import numpy as np

from benchmarks.problems.numba_arms import parallel_add_function
from benchmarks.problems.record import (
    Arm,
    Bar,
    Limit,
    Prepared,
    Problem,
    Setting,
    Shape,
    Work,
    cached,
    example,
    normal,
    power_of_two_name,
    rounding,
    torch_for,
)
from benchmarks.problems.torch_views import tensor_of


def _vector_add(setting: Setting) -> Prepared:
    size = setting.shape["N"]
    x, y = normal((2, size), setting.dtype)
    tolerance = rounding(setting.dtype)
    expected = cached(lambda: x.astype(np.float64) + y.astype(np.float64))

    def tilejit() -> Arm:
        out = np.zeros_like(x)
        vector_add = example("vector_add").vector_add
        return Arm(lambda: vector_add(x, y, out), lambda: out, expected, tolerance)

    def numpy() -> Arm:
        out = np.zeros_like(x)
        return Arm(lambda: np.add(x, y, out=out), lambda: out, expected, tolerance)

    def torch() -> Arm:
        module = torch_for(setting.threads)
        out = np.zeros_like(x)
        left, right, result = (tensor_of(module, array) for array in (x, y, out))
        return Arm(lambda: module.add(left, right, out=result), lambda: out, expected, tolerance)

    def numba() -> Arm:
        add = parallel_add_function(setting.threads)
        out = np.zeros_like(x)
        return Arm(lambda: add(x, y, out), lambda: out, expected, tolerance)

    arms = {"tilejit": tilejit, "numpy": numpy, "torch": torch, "numba": numba}
    work = Work(read_bytes=2.0 * x.nbytes, written_bytes=float(x.nbytes), operations=float(size))
    return Prepared(arms, work)


PROBLEMS: tuple[Problem, ...] = (
    Problem(
        "vector_add", "elementwise", "z = x + y",
        shapes=tuple(
            Shape(power_of_two_name(size), {"N": size}, quick=quick)
            for size, quick in ((16 << 20, True), (128 << 20, False))
        ),
        dtypes=("f32",),
        peers=("numpy", "torch", "numba"),
        prepare=_vector_add,
        bars=(Bar("numpy", 0.9), Bar(Limit.MEMORY, 0.85, shapes=("128Mi",))),
    ),
)  # fmt: skip
