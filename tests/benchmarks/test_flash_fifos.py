"""Flash attention with FIFOs between cores: right values, no findings, published traffic."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from benchmarks.machine_programs.flash_fifos import flash_fifos_kernel
from benchmarks.machine_programs.flash_fifos_stages import HEAD, FifoFlashAttention
from tilejit.backend.ascend.report import FindingKind
from tilejit.backend.ascend.simulator import SimulationResult, simulate
from tilejit.ir.parser import parse_functions
from tilejit.ir.printer import print_function
from tilejit.ir.types import FP16
from tilejit.ops.machine import MACHINE_LEVEL_OPS
from tilejit.target.ascend import ASCEND_910B2
from tilejit.target.spaces import Space

# Means over keys of values of about 1, weighted with exponentials rounded to 11 bits.
TOLERANCE = 2e-3


def run(shape: FifoFlashAttention, blocks: int, seed: int = 0) -> tuple[SimulationResult, float]:
    """The result of a launch on random values, and its largest error."""
    rng = np.random.default_rng(seed)
    lengths = {"q": shape.s0, "k": shape.s1, "v": shape.s1}
    arrays = {name: rng.normal(size=(rows, HEAD)).astype(np.float16) for name, rows in lengths.items()}
    out = np.full((shape.s0, HEAD), np.nan, shape.out.numpy)
    kernel = flash_fifos_kernel(shape)
    result = simulate(kernel, {**arrays, "out": out}, (blocks, 1, 1), ASCEND_910B2, blocks=blocks, seed=seed)
    q, k, v = (arrays[name].astype(np.float64) for name in "qkv")
    scores = q @ k.T / HEAD**0.5
    weights = np.exp(scores - scores.max(1, keepdims=True))
    expected = weights @ v / weights.sum(1, keepdims=True)
    return result, float(np.abs(out - expected).max())


@pytest.mark.parametrize(
    ("shape", "blocks"),
    [
        (FifoFlashAttention(128, 256), 1),
        (FifoFlashAttention(128, 512, preload=1), 1),  # as many tiles ahead as there are, and one
        (FifoFlashAttention(256, 1536), 1),  # FIFOs begin anew with each task
        (FifoFlashAttention(384, 768, preload=2), 2),  # a core with two tasks, one with one
        (FifoFlashAttention(128, 4352, sync_period=2), 1),  # every slot three times
        (FifoFlashAttention(128, 2560, preload=3, sync_period=1, out=FP16), 1),
        (FifoFlashAttention(128, 2304, preload=8, sync_period=8), 1),
    ],
)
def test_values(shape: FifoFlashAttention, blocks: int) -> None:
    result, error = run(shape, blocks)
    result.check()
    assert error < TOLERANCE


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_values_whenever_flags_arrive(seed: int) -> None:
    result, error = run(FifoFlashAttention(256, 1280), 2, seed)
    result.check()
    assert error < TOLERANCE


def test_the_barriers_that_the_original_leaves_out_order_the_vector_unit() -> None:
    findings = run(FifoFlashAttention(128, 512, has_all_barriers=False), 1)[0].findings
    assert {finding.kind for finding in findings} == {FindingKind.RACE}
    locations = [op.location for finding in findings for op in finding.ops]
    assert {location.caller.function for location in locations if location and location.caller} == {
        "_softmax", "_first_softmax", "_part_of_p", "_update", "write",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"s0": 100}, "100 is not a positive multiple of 128"),
        ({"s1": 384}, "384 is not a positive multiple of 256"),
        ({"preload": 9}, "preload goes up to 8, sync_period divides 8"),
        ({"sync_period": 3}, "preload goes up to 8, sync_period divides 8"),
    ],
)
def test_shapes_that_it_refuses(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FifoFlashAttention(**({"s0": 128, "s1": 256} | change))


def test_it_round_trips_as_text() -> None:
    for function in flash_fifos_kernel(FifoFlashAttention(128, 512)).functions.values():
        text = print_function(function)
        (again,) = parse_functions(text, MACHINE_LEVEL_OPS)
        assert print_function(again) == text


def timed(s0: int, s1: int, *, keep_spans: bool = False) -> SimulationResult:
    """A launch as published: without some barriers, all arrays in L2."""
    shape = FifoFlashAttention(s0, s1, has_all_barriers=False)
    arguments = {
        name: np.zeros((rows, HEAD), np.float16) for name, rows in zip("qkv", (s0, s1, s1), strict=True)
    }
    arguments["out"] = np.zeros((s0, HEAD), np.float32)
    blocks = min(ASCEND_910B2.cube_cores, shape.tasks)
    return simulate(
        flash_fifos_kernel(shape), arguments, (blocks, 1, 1), ASCEND_910B2, blocks=blocks, values=False,
        resident=list(arguments), keep_spans=keep_spans,
    )  # fmt: skip


def test_bytes_and_products_of_a_tile() -> None:
    """Source: pto-isa's kernel: K, V, S, P and O are read, 384 KB; S, P and O written, 256 KB."""
    totals = []
    for tiles in (6, 7):
        total: Counter[str] = Counter()
        for _, instruction in timed(128, 256 * tiles, keep_spans=True).issued:
            facts = instruction.op.definition.machine
            total[instruction.op.name] += 1
            for access in () if facts is None else facts.accesses(instruction):
                if access.space is Space.GM:
                    total["written" if access.is_write else "read"] += access.total_bytes
        totals.append(total)
    totals[1].subtract(totals[0])
    assert (totals[1]["read"], totals[1]["written"]) == (384 << 10, 256 << 10)
    assert (totals[1]["mmad"], totals[1]["fixpipe"], totals[1]["load_nd2nz"]) == (4, 3, 6)
