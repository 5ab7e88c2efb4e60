"""Paged attention over an int8 cache, written by hand: right values and tasks, no findings but the known."""

from __future__ import annotations

import re

import numpy as np
import pytest

from benchmarks.machine_programs.antiquant import antiquant_kernel
from benchmarks.machine_programs.antiquant_tasks import AntiquantAttention
from tests.benchmarks.antiquant_reference import Launch, emulated, exact, random_launch
from tilejit.backend.ascend.report import FindingKind
from tilejit.backend.ascend.simulator import SimulationResult, simulate
from tilejit.ir.printer import print_function
from tilejit.ir.types import BF16, FP16, DType
from tilejit.target.ascend import ASCEND_910B1

# P and the output are rounded to the element type, scores to fp16; outputs are at most about 2.
TOLERANCE = {FP16: 2e-3, BF16: 1e-2}
ULP = {FP16: 2.0**-10, BF16: 2.0**-7}

# Flags that the original raises again while nothing but the length of a transfer says that the wait before
# has lowered them: Q and K(0), V and P; S and O. All other findings would be news.
RAISED_EARLY = re.compile(r"flag (mte2 -> mte1 [01] of aic|mte2 -> v 0 of aiv) [0-9.]+ is set again")


def attention(
    heads: int, kv_heads: int, size: int, block: int = 128, element: DType = FP16
) -> AntiquantAttention:
    return AntiquantAttention(heads, kv_heads, size, block, 20, 1 / size**0.5, element)


def run(launch: Launch, blocks: int, seed: int = 0) -> SimulationResult:
    kernel = antiquant_kernel(launch.shape)
    return simulate(kernel, launch.arguments, (blocks, 1, 1), ASCEND_910B1, blocks=blocks, seed=seed)


def check(launch: Launch, result: SimulationResult) -> None:
    news = [str(finding) for finding in result.findings if not RAISED_EARLY.search(finding.message)]
    assert news == []
    element, out = launch.shape.element, launch.arrays["out"]
    expected, rounded = exact(launch), emulated(launch)
    assert (np.isnan(out) == np.isnan(expected)).all()
    out32 = out.astype(np.float32)
    np.testing.assert_allclose(out32, expected, rtol=TOLERANCE[element], atol=TOLERANCE[element])
    # The order of sums inside products is not fixed, all else is: nearly all elements are equal to the bit.
    assert ((out == rounded) | np.isnan(expected)).mean() > 0.95
    np.testing.assert_allclose(out32, rounded.astype(np.float32), rtol=2 * ULP[element], atol=ULP[element])


@pytest.mark.sample(one_in=5)
@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("kv", [0, 1, 15, 128, 129, 300])
@pytest.mark.parametrize("q", [1, 3, 16, 130])
def test_one_request(size: int, kv: int, q: int) -> None:
    launch = random_launch(attention(1, 1, size), [q], [kv], seed=q + kv)
    check(launch, run(launch, 2))


RAGGED = [
    (attention(4, 2, 128), [1, 3, 16, 130], [300, 129, 15, 128], 3),
    (attention(4, 1, 64, 64), [3, 1, 0, 16], [129, 1, 7, 300], 2),
    (attention(2, 2, 128), [16, 1, 3], [129, 15, 0], 6),  # no keys in the last request
    (attention(4, 2, 128, element=BF16), [1, 3, 16], [300, 1, 129], 2),
    (attention(2, 1, 64, 16), [3, 17], [33, 15], 1),  # steps of a page of 16
    (attention(2, 1, 80, 32), [5, 1], [40, 100], 2),  # head size in 64 lanes and a rest, padded in UB
    (attention(1, 1, 256, 256), [65], [300], 2),  # pages of several steps, tasks of 64 rows
    (attention(1, 1, 40, 160), [2], [165], 1),  # steps of 80
]


@pytest.mark.parametrize("number", range(len(RAGGED)))
def test_ragged_batches(number: int) -> None:
    shape, q, kv, blocks = RAGGED[number]
    launch = random_launch(shape, q, kv, seed=number)
    check(launch, run(launch, blocks))


@pytest.mark.parametrize("seed", range(1, 5))
def test_values_whenever_flags_arrive(seed: int) -> None:
    launch = random_launch(attention(2, 1, 128), [3, 1], [300, 129], seed)
    check(launch, run(launch, 1, seed))


def test_loads_of_q_are_not_ordered_where_no_keys_follow() -> None:
    """A hazard of the original: the next task's Q lands in the same place, and no step orders the loads."""
    launch = random_launch(attention(1, 1, 128), [2, 2], [0, 15])
    races = [finding for finding in run(launch, 1).findings if finding.kind is FindingKind.RACE]
    assert len(races) == 1
    assert {op.location.function for op in races[0].ops if op.location is not None} == {"_load_q"}


@pytest.mark.parametrize(
    ("size", "q_step", "kv_steps", "chunk_rows"),
    [
        (64, 128, (16, 32, 64, 96, 128, 80, 128, 128), 128),
        (80, 128, (16, 32, 64, 96, 128, 80, 128, 128), 85),
        (128, 128, (16, 32, 64, 96, 128, 80, 128, 128), 64),
        (160, 96, (16, 32, 64, 96, 64, 80, 64, 64), 51),
        (192, 80, (16, 32, 64, 48, 64, 80, 64, 64), 42),
        (256, 64, (16, 32, 64, 48, 64, 40, 64, 64), 32),
        (384, 32, (16, 32, 32, 24, 32, 20, 32, 32), 21),
    ],
)
def test_steps(size: int, q_step: int, kv_steps: tuple[int, ...], chunk_rows: int) -> None:
    """Steps of the original's tiling for pages of 16 to 512 tokens."""
    shapes = [attention(1, 1, size, block) for block in (16, 32, 64, 96, 128, 160, 256, 512)]
    assert tuple(shape.seq_step_kv for shape in shapes) == kv_steps
    assert {(shape.seq_step_q, shape.chunk_rows) for shape in shapes} == {(q_step, chunk_rows)}


def test_workspace() -> None:
    assert attention(1, 1, 128).workspace_bytes * 24 == 18_874_368


def test_every_op_names_its_line() -> None:
    for function in antiquant_kernel(attention(1, 1, 128)).functions.values():
        assert print_function(function)
        issued = [op for op in function.walk() if op.definition.machine is not None]
        assert all(op.location is not None and "antiquant" in op.location.file for op in issued)
