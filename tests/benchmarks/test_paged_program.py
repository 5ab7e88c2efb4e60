"""Paged attention over a cache of 16-bit floats, written by hand: right values, no findings, emitted too."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.machine_programs.paged_attention import paged_attention_kernel
from benchmarks.machine_programs.paged_tasks import HEAD, PagedAttention
from tilejit.backend.ascend.simulator import SimulationResult, simulate
from tilejit.backend.ascend.verify import find_faults
from tilejit.ir.types import BF16, FP16
from tilejit.target.ascend import ASCEND_910B2

# P is rounded to 8 or 11 bits, and with splits the output.
TOLERANCE = {FP16: 2e-3, BF16: 1.6e-2}


def launch(shape: PagedAttention, seed: int = 0) -> dict[str, np.ndarray]:
    """Random values on permuted pages; what is to be written is NaN."""
    rng = np.random.default_rng(seed)
    total = shape.batch * shape.pages
    cache = (total, shape.block_size, shape.kv_heads, HEAD)
    arrays = {
        "query": rng.normal(size=(shape.batch, shape.heads, HEAD)).astype(shape.element.numpy),
        "key": rng.normal(size=cache).astype(shape.element.numpy),
        "value": rng.normal(size=cache).astype(shape.element.numpy),
        "block_table": rng.permutation(total).astype(np.int32).reshape(shape.batch, -1),
        "out": np.full((shape.batch, shape.heads, HEAD), np.nan, shape.out.numpy),
    }
    if shape.is_split:
        parts = (shape.batch, shape.heads, shape.splits)
        arrays["partial"] = np.full((*parts, HEAD), np.nan, np.float32)
        arrays["sums"] = np.full(parts, np.nan, np.float32)
    return arrays


def expected(shape: PagedAttention, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Attention in fp64."""
    tokens = {
        name: arrays[name][arrays["block_table"]].astype(np.float64).reshape(
            shape.batch, shape.context, shape.kv_heads, HEAD
        ).repeat(shape.group, 2)
        for name in ("key", "value")
    }  # fmt: skip
    scores = np.einsum("bhd,bthd->bht", arrays["query"].astype(np.float64), tokens["key"]) / HEAD**0.5
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bht,bthd->bhd", weights, tokens["value"]) / weights.sum(-1)[..., None]


def run(shape: PagedAttention, blocks: int, seed: int = 0) -> tuple[SimulationResult, float]:
    arrays = launch(shape, seed)
    kernel = paged_attention_kernel(shape)
    result = simulate(kernel, arrays, (blocks, 1, 1), ASCEND_910B2, blocks=blocks, seed=seed)
    return result, float(np.abs(arrays["out"].astype(np.float64) - expected(shape, arrays)).max())


WHOLE = [
    PagedAttention(3, 16, 1, 128, 384),  # a core with two requests
    PagedAttention(2, 64, 1, 64, 256),
    PagedAttention(1, 32, 1, 64, 64, FP16),  # one page
]
SPLIT = [
    PagedAttention(1, 32, 8, 128, 1408, FP16, splits=4),  # three pages each, the last one two
    PagedAttention(2, 32, 4, 64, 256, FP16, splits=2),
    PagedAttention(1, 32, 2, 128, 256, BF16, splits=2),  # groups of sixteen, a page each
]


@pytest.mark.parametrize("shape", WHOLE + SPLIT)
def test_values(shape: PagedAttention) -> None:
    result, error = run(shape, 2)
    result.check()
    assert error < TOLERANCE[shape.element]


@pytest.mark.parametrize("shape", [WHOLE[0], SPLIT[0]])
@pytest.mark.parametrize("seed", [1, 2])
def test_values_whenever_flags_arrive(shape: PagedAttention, seed: int) -> None:
    result, error = run(shape, 3, seed)
    result.check()
    assert error < TOLERANCE[shape.element]


@pytest.mark.parametrize("shape", [WHOLE[0], SPLIT[0]])
def test_the_verifier_accepts_it(shape: PagedAttention) -> None:
    assert find_faults(paged_attention_kernel(shape), ASCEND_910B2) == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context": 100}, "needs whole pages of 64 or 128 tokens"),
        ({"heads": 48}, "without splits, one KV head has 16, 32 or 64 heads"),
        ({"heads": 16, "splits": 2}, "with splits, heads come by 32, groups divide 16"),
        ({"heads": 32, "kv_heads": 8, "splits": 5}, "a split has no pages"),
    ],
)
def test_shapes_that_it_refuses(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PagedAttention(
            **({"batch": 1, "heads": 16, "kv_heads": 1, "block_size": 128, "context": 1024} | change)
        )
