"""A few rows times a large matrix of weights, bound by memory: one token of a linear layer, or a few."""

from __future__ import annotations

import math
from collections.abc import Callable

import ml_dtypes
import numpy as np

from benchmarks.problems.record import (
    DTYPES,
    Arm,
    Bar,
    Limit,
    Prepared,
    Problem,
    Setting,
    Shape,
    Unavailable,
    Unit,
    Work,
    aligned,
    cached,
    example,
    normal,
    rounding,
    sizes_name,
    torch_for,
)
from benchmarks.problems.torch_views import tensor_of

_SIZE = 4096
_SHAPES = [(rows, _SIZE, _SIZE) for rows in (1, 4, 16)]
# Not powers of two, and larger than the caches of most machines.
_SHAPES += [(rows, *sizes) for sizes in ((_SIZE, 11008), (11008, _SIZE)) for rows in (1, 4)]
# Relative to the norm: roundings of sums of K products; bf16 rounds the result; int8 weights meet rows of 16
# bits.
_TOLERANCE = {"bf16": 5e-3, "int8": 1e-4}
_ROWS = {"f32": "f32", "bf16": "bf16", "int8": "f32"}


def _prepare(by_output: bool) -> Callable[[Setting], Prepared]:
    """Weights are [N, K] in memory, as linear layers keep them, or [K, N]."""

    def prepare(setting: Setting) -> Prepared:
        (rows, n, k), dtype = (setting.shape[name] for name in "MNK"), setting.dtype
        tolerance = _TOLERANCE.get(dtype, math.sqrt(k) * rounding("f32"))
        x = normal((rows, k), _ROWS[dtype], 0)
        stored = normal((n, k) if by_output else (k, n), dtype, 1)
        weights = stored.T if by_output else stored
        expected = cached(lambda: x.astype(np.float64) @ weights.astype(np.float64))

        def tilejit() -> Arm:
            out = np.zeros((rows, n), x.dtype)
            skinny_matmul = example("skinny_matmul").skinny_matmul
            return Arm(lambda: skinny_matmul(x, weights, out), lambda: out, expected, tolerance)

        def torch() -> Arm:
            module = torch_for(setting.threads)
            out = np.zeros((rows, n), x.dtype)
            left, right, result = (tensor_of(module, array) for array in (x, stored, out))
            matrix = module.transpose(right, 0, 1) if by_output else right
            run = lambda: module.matmul(left, matrix, out=result)  # noqa: E731
            return Arm(run, lambda: out, expected, max(tolerance, 2e-6))

        def torch_int8() -> Arm:
            """Weights of int8 with a scale for each output: bf16 rows, and [N, K] only."""
            module = torch_for(setting.threads)
            if not by_output or not hasattr(module, "_weight_int8pack_mm"):
                raise Unavailable("torch multiplies int8 weights of [N, K] only, in newer versions")
            ones = np.ones(n, dtype=ml_dtypes.bfloat16)
            operands = (x.astype(DTYPES["bf16"]), stored, ones)
            # The function reads its operands with aligned loads and crashes where they are not.
            left, right, scales = (tensor_of(module, aligned(operand)) for operand in operands)
            results: list[object] = []

            def run() -> None:
                results[:] = [module._weight_int8pack_mm(left, right, scales)]

            return Arm(run, lambda: results[0].float().numpy(), expected, 2e-2)  # type: ignore[attr-defined]

        work = Work(float(stored.nbytes), 0.0, 2.0 * rows * n * k, Unit.FMA)
        return Prepared({"tilejit": tilejit, "torch": torch_int8 if dtype == "int8" else torch}, work)

    return prepare


def _problem(name: str, summary: str, by_output: bool) -> Problem:
    return Problem(
        name, "skinny", summary,
        shapes=tuple(
            Shape(sizes_name(m, n, k), {"M": m, "N": n, "K": k}, quick=(m, n, k) == (1, _SIZE, _SIZE))
            for m, n, k in _SHAPES
        ),
        dtypes=("f32", "bf16", "int8"),
        peers=("torch",),
        prepare=_prepare(by_output),
        bars=(
            Bar(Limit.MEMORY, 0.75, shapes=tuple(sizes_name(m, n, k) for m, n, k in _SHAPES if m < 16)),
            Bar("torch", 1.0, shapes=(sizes_name(16, _SIZE, _SIZE),)),
        ),
    )  # fmt: skip


PROBLEMS: tuple[Problem, ...] = (
    _problem("skinny_matmul", "few rows times weights that lie [N, K]", by_output=True),
    _problem("skinny_matmul_kn", "few rows times weights that lie [K, N]", by_output=False),
)
