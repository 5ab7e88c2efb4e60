"""Attention over contiguous keys and values (prefill)."""

from __future__ import annotations

import numpy as np

from benchmarks.problems.record import (
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
    torch_for,
)
from benchmarks.problems.torch_views import Tensor, tensor_of

_TOLERANCE = {"f32": 1e-5, "bf16": 1e-2}
_UNIT = {"f32": Unit.FMA, "bf16": Unit.BF16}


def _flash_attention(setting: Setting) -> Prepared:
    heads, length, head_dim = (setting.shape[letter] for letter in "HSD")
    q, k, v = (normal((heads, length, head_dim), setting.dtype, seed) for seed in range(3))
    tolerance = _TOLERANCE[setting.dtype]
    expected = cached(lambda: example("flash_attention").reference(q, k, v, causal=True))

    def tilejit() -> Arm:
        out = np.zeros_like(q)
        flash_attention = example("flash_attention").flash_attention
        return Arm(lambda: flash_attention(q, k, v, out, causal=True), lambda: out, expected, tolerance)

    def torch_sdpa() -> Arm:
        module = torch_for(setting.threads)
        tensors = [tensor_of(module, array[None]) for array in (q, k, v)]
        attend = module.nn.functional.scaled_dot_product_attention
        results: list[Tensor] = []

        def run() -> None:
            results[:] = [attend(*tensors, is_causal=True)]

        return Arm(run, lambda: results[0].float().numpy()[0], expected, tolerance)

    pairs = heads * length * (length + 1) / 2
    work = Work(3.0 * q.nbytes, float(q.nbytes), 4.0 * pairs * head_dim, _UNIT[setting.dtype])
    return Prepared({"tilejit": tilejit, "torch-sdpa": torch_sdpa}, work)


PROBLEMS: tuple[Problem, ...] = (
    Problem(
        "flash_attention", "attention", "causal attention of whole sequences",
        shapes=(
            Shape("1x16x1024x64", {"H": 16, "S": 1024, "D": 64}, quick=True),
            Shape("1x32x2048x128", {"H": 32, "S": 2048, "D": 128}),
        ),
        dtypes=("f32", "bf16"),
        peers=("torch-sdpa",),
        prepare=_flash_attention,
        bars=(Bar("torch-sdpa", 1.2),),
    ),
)  # fmt: skip
