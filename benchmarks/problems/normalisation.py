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
    zeros_like,
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
        out = zeros_like(x)
        softmax = example("softmax").softmax
        return Arm(lambda: softmax(x, out), lambda: out, expected, tolerance)

    def torch() -> Arm:
        module = torch_for(setting.threads)
        out = zeros_like(x)
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
        out = zeros_like(x)
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


def _rms_norm(setting: Setting) -> Prepared:
    columns = setting.shape["N"]
    x = normal((setting.shape["M"], columns), setting.dtype)
    weight = normal((columns,), setting.dtype, seed=1)
    tolerance = _TOLERANCE[setting.dtype]
    expected = cached(lambda: example("rms_norm").reference(x, weight))

    def tilejit() -> Arm:
        out = zeros_like(x)
        rms_norm = example("rms_norm").rms_norm
        return Arm(lambda: rms_norm(x, weight, out), lambda: out, expected, tolerance)

    def torch() -> Arm:
        module = torch_for(setting.threads)
        tensor, scale = tensor_of(module, x), tensor_of(module, weight)
        results: list[Tensor] = []

        def run() -> None:
            results[:] = [module.nn.functional.rms_norm(tensor, (columns,), scale, 1e-6)]

        return Arm(run, lambda: results[0].float().numpy(), expected, tolerance)

    return Prepared({"tilejit": tilejit, "torch": torch}, _once_in_once_out(x))


def _cross_entropy(setting: Setting) -> Prepared:
    rows, classes = setting.shape["M"], setting.shape["N"]
    logits = normal((rows, classes), setting.dtype)
    targets = np.random.default_rng(1).integers(0, classes, rows)
    expected = cached(lambda: example("cross_entropy").reference(logits, targets))

    def tilejit() -> Arm:
        loss = np.zeros(rows, dtype=np.float32)
        cross_entropy = example("cross_entropy").cross_entropy
        return Arm(lambda: cross_entropy(logits, targets, loss), lambda: loss, expected, 1e-6)

    def torch() -> Arm:
        module = torch_for(setting.threads)
        tensor, chosen = tensor_of(module, logits), module.from_numpy(targets)
        results: list[Tensor] = []

        def run() -> None:
            results[:] = [module.nn.functional.cross_entropy(tensor, chosen, reduction="none")]

        # PyTorch rounds its losses to the dtype of the logits.
        tolerance = max(1e-6, _TOLERANCE[setting.dtype])
        return Arm(run, lambda: results[0].float().numpy(), expected, tolerance)

    work = Work(read_bytes=float(logits.nbytes), written_bytes=4.0 * rows)
    return Prepared({"tilejit": tilejit, "torch": torch}, work)


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
    Problem(
        "rms_norm", "normalisation", "RMS normalisation of every row, with weight",
        shapes=_SHAPES, dtypes=("f32", "bf16"), peers=("torch",), prepare=_rms_norm, bars=_BARS,
    ),
    Problem(
        "cross_entropy", "normalisation", "loss of every row of logits",
        shapes=(
            Shape("512x32000", {"M": 512, "N": 32000}, quick=True),
            Shape("4096x32000", {"M": 4096, "N": 32000}),
        ),
        dtypes=("f32", "bf16"), peers=("torch",), prepare=_cross_entropy,
        bars=(Bar("torch", 1.2), Bar(Limit.MEMORY, 0.85, shapes=("4096x32000",))),
    ),
)  # fmt: skip
