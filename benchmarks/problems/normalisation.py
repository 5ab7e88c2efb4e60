"""Problems that reduce every row of a matrix and scale it."""

from __future__ import annotations

import numpy as np

from benchmarks.problems.record import (
    Arm,
    Array,
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
    torch_for,
)
from benchmarks.problems.torch_views import Tensor, tensor_of

# Errors are norms of differences: roundings of sums of a few thousand terms average out.
_TOLERANCE = {"f32": 1e-6, "bf16": 4e-3, "f16": 5e-4}


def _softmax(setting: Setting) -> Prepared:
    x = normal((setting.shape["M"], setting.shape["N"]), setting.dtype)
    tolerance = _TOLERANCE[setting.dtype]

    @cached
    def expected() -> Array:
        exponentials = np.exp(x.astype(np.float64))
        result: Array = exponentials / exponentials.sum(axis=1, keepdims=True)
        return result

    def tilejit() -> Arm:
        out = np.zeros_like(x)
        softmax = example("softmax").softmax
        return Arm(lambda: softmax(x, out), lambda: out, expected, tolerance)

    def torch() -> Arm:
        module = torch_for(setting.threads)
        out = np.zeros_like(x)
        tensor, result = tensor_of(module, x), tensor_of(module, out)
        return Arm(lambda: module.softmax(tensor, 1, out=result), lambda: out, expected, tolerance)

    return Prepared({"tilejit": tilejit, "torch": torch}, _once_in_once_out(x))


def _layer_norm(setting: Setting) -> Prepared:
    columns = setting.shape["N"]
    x = normal((setting.shape["M"], columns), setting.dtype)
    weight, bias = normal((2, columns), setting.dtype, seed=1)
    tolerance = _TOLERANCE[setting.dtype]
    expected = cached(lambda: example("layer_norm").reference(x, weight, bias))

    def tilejit() -> Arm:
        out = np.zeros_like(x)
        layer_norm = example("layer_norm").layer_norm
        return Arm(lambda: layer_norm(x, weight, bias, out), lambda: out, expected, tolerance)

    def torch() -> Arm:
        module = torch_for(setting.threads)
        tensor, scale, shift = (tensor_of(module, array) for array in (x, weight, bias))
        results: list[Tensor] = []

        def run() -> None:
            results[:] = [module.nn.functional.layer_norm(tensor, (columns,), scale, shift, 1e-5)]

        return Arm(run, lambda: results[0].float().numpy(), expected, tolerance)

    return Prepared({"tilejit": tilejit, "torch": torch}, _once_in_once_out(x))


def _once_in_once_out(x: Array) -> Work:
    return Work(read_bytes=float(x.nbytes), written_bytes=float(x.nbytes))


_SHAPES = (
    Shape("4096x4096", {"M": 4096, "N": 4096}, quick=True),
    Shape("32768x4096", {"M": 32768, "N": 4096}),
)
_BARS = (Bar("torch", 1.2), Bar(Limit.MEMORY, 0.85, shapes=("32768x4096",)))

PROBLEMS: tuple[Problem, ...] = (
    Problem(
        "softmax", "normalisation", "softmax of every row",
        shapes=_SHAPES, dtypes=("f32",), peers=("torch",), prepare=_softmax, bars=_BARS,
    ),
    Problem(
        "layer_norm", "normalisation", "layer normalisation of every row, with weight and bias",
        shapes=_SHAPES, dtypes=("f32",), peers=("torch",), prepare=_layer_norm, bars=_BARS,
    ),
)  # fmt: skip
