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
    zeros_like,
)
from benchmarks.problems.torch_views import tensor_of


def _vector_add(setting: Setting) -> Prepared:
    size = setting.shape["N"]
    x, y = normal((2, size), setting.dtype)
    tolerance = rounding(setting.dtype)
    expected = cached(lambda: x.astype(np.float64) + y.astype(np.float64))

    def tilejit() -> Arm:
        out = zeros_like(x)
        vector_add = example("vector_add").vector_add
        return Arm(lambda: vector_add(x, y, out), lambda: out, expected, tolerance)

    def numpy() -> Arm:
        out = zeros_like(x)
        return Arm(lambda: np.add(x, y, out=out), lambda: out, expected, tolerance)

    def torch() -> Arm:
        module = torch_for(setting.threads)
        out = zeros_like(x)
        left, right, result = (tensor_of(module, array) for array in (x, y, out))
        return Arm(lambda: module.add(left, right, out=result), lambda: out, expected, tolerance)

    def numba() -> Arm:
        add = parallel_add_function(setting.threads)
        out = zeros_like(x)
        return Arm(lambda: add(x, y, out), lambda: out, expected, tolerance)

    arms = {"tilejit": tilejit, "numpy": numpy, "torch": torch, "numba": numba}
    work = Work(read_bytes=2.0 * x.nbytes, written_bytes=float(x.nbytes), operations=float(size))
    return Prepared(arms, work)


def _rope(setting: Setting) -> Prepared:
    tokens, heads, head_dim = (setting.shape[letter] for letter in "THD")
    rope = example("rope")
    x = normal((tokens, heads, head_dim), setting.dtype)
    turns = rope.angles(np.arange(tokens), head_dim)
    cos, sin = np.cos(turns).astype(np.float32), np.sin(turns).astype(np.float32)
    # The angles are rounded too: theirs is the error of fp32.
    tolerance = max(2e-7, 2 * rounding(setting.dtype))
    expected = cached(lambda: rope.reference(x, turns))

    def tilejit() -> Arm:
        out = zeros_like(x)
        return Arm(lambda: rope.rope(x, cos, sin, out), lambda: out, expected, tolerance)

    def torch() -> Arm:
        """PyTorch has no such operation: two products and two more added in place."""
        module = torch_for(setting.threads)
        out = zeros_like(x)
        first, second, out_first, out_second = (
            tensor_of(module, array)[..., part]
            for array in (x, out)
            for part in (slice(None, head_dim // 2), slice(head_dim // 2, None))
        )
        turn, across = (module.from_numpy(array).to(first.dtype)[:, None] for array in (cos, sin))

        def run() -> None:
            module.mul(first, turn, out=out_first)
            module.addcmul(out_first, second, across, value=-1, out=out_first)
            module.mul(second, turn, out=out_second)
            module.addcmul(out_second, first, across, out=out_second)

        return Arm(run, lambda: out, expected, 4 * tolerance)

    work = Work(read_bytes=float(x.nbytes + cos.nbytes + sin.nbytes), written_bytes=float(x.nbytes))
    return Prepared({"tilejit": tilejit, "torch": torch}, work)


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
    Problem(
        "rope", "elementwise", "pairs of elements of every head turned by the token's angles",
        shapes=(
            Shape("4096x32x128", {"T": 4096, "H": 32, "D": 128}, quick=True),
            Shape("32768x32x128", {"T": 32768, "H": 32, "D": 128}),
        ),
        dtypes=("f32", "bf16"), peers=("torch",), prepare=_rope,
        bars=(Bar("torch", 1.2), Bar(Limit.MEMORY, 0.85, shapes=("32768x32x128",))),
    ),
)  # fmt: skip
