"""The simulator on a double-buffered vector add: values, tails, every flag and barrier missing in turn."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backend.ascend.texts import VECTOR_ADD, kernel
from tilejit.backend.ascend.report import FindingKind
from tilejit.backend.ascend.simulator import SimulationResult, simulate
from tilejit.target.ascend import ASCEND_910B1
from tilejit.target.spaces import Pipe

TILE = 1024
LINES = VECTOR_ADD.splitlines(keepends=True)
SYNC_LINES = [
    number
    for number, line in enumerate(LINES)
    if line.strip().startswith(("set_flag", "wait_flag", "pipe_barrier"))
]


def run(
    text: str, n: int, *, blocks: int = 1, values: bool = True, seed: int = 0
) -> tuple[SimulationResult, np.ndarray, np.ndarray]:
    """The result of a launch on ``n`` elements, what it stored and what it should store."""
    rng = np.random.default_rng(n)
    x, y = (rng.normal(size=n).astype(np.float32) for _ in range(2))
    out = np.full(n, 7, np.float32)
    grid = (-(-n // TILE), 1, 1)
    arguments = {"x": x, "y": y, "out": out, "n": n}
    result = simulate(kernel(text), arguments, grid, ASCEND_910B1, blocks=blocks, values=values, seed=seed)
    return result, out, (x + y) * np.float32(0.5)


@pytest.mark.parametrize("n", [1, 1023, 1024, 1025, 2048, 3 * 1024, 5 * 1024 + 17])
@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_values(n: int, blocks: int) -> None:
    result, out, expected = run(VECTOR_ADD, n, blocks=blocks)
    result.check()
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("number", SYNC_LINES, ids=lambda number: f"line{number}")
@pytest.mark.parametrize("seed", [0, 1])
def test_a_missing_line_of_synchronisation_is_found(number: int, seed: int) -> None:
    text = "".join(LINES[:number] + LINES[number + 1 :])
    result, _, _ = run(text, 5 * TILE, seed=seed)
    assert result.findings


def test_a_missing_barrier_is_a_race_that_names_both_ops_and_the_bytes() -> None:
    result, _, _ = run(VECTOR_ADD.replace("    pipe_barrier() {pipe=v}\n", ""), 2 * TILE)
    (race,) = result.findings
    assert race.kind is FindingKind.RACE
    assert "kernel vector_add: a write of ub bytes 81920 to 86016 by vmuls(%sc, %sc, %half, %count)" in str(
        race
    )
    assert "and a write by vadd(%sc, %sa, %sb, %count)" in str(race)
    assert "(aiv 0.0, pipe v)" in str(race)


def test_the_second_iteration_of_a_slot_races_where_the_free_flag_is_ignored() -> None:
    lines = [line for line in LINES if "source=v, target=mte2" not in line]
    kinds = {finding.kind for finding in run("".join(lines), 4 * TILE)[0].findings}
    assert kinds == {FindingKind.RACE, FindingKind.FLAG}  # mte2 raises its flag before v took it
    assert not run("".join(lines), 2 * TILE)[0].findings  # both slots used once


def test_time_alone_agrees_and_leaves_arrays_as_they_are() -> None:
    full, _, _ = run(VECTOR_ADD, 9 * TILE, blocks=2)
    quick, out, _ = run(VECTOR_ADD, 9 * TILE, blocks=2, values=False)
    assert quick.cycles == full.cycles
    assert quick.busy == full.busy
    assert (out == 7).all()


def test_double_buffering_hides_the_loads() -> None:
    single = VECTOR_ADD.replace("slots=2", "slots=1").replace("%id = irem(%i, %two)", "%id = irem(%i, %one)")
    single = "".join(
        line
        for line in single.splitlines(keepends=True)
        if not line.startswith("  wait_flag(%one)") and not line.startswith("  set_flag(%one)")
    )
    one, out, expected = run(single, 32 * TILE)
    one.check()
    np.testing.assert_array_equal(out, expected)
    two, _, _ = run(VECTOR_ADD, 32 * TILE)
    assert two.cycles < 0.75 * one.cycles


def test_many_cores_share_the_bandwidth_of_hbm() -> None:
    few, _, _ = run(VECTOR_ADD, 96 * TILE, blocks=4, values=False)
    many, _, _ = run(VECTOR_ADD, 96 * TILE, blocks=48, values=False)
    assert many.cycles < few.cycles
    loaded = 2 * 96 * TILE * 4
    floor = loaded / ASCEND_910B1.timing.hbm_bytes_per_second * ASCEND_910B1.clock_ghz * 1e9
    assert many.cycles > floor
    assert 0 < many.busy_share(Pipe.V) < many.busy_share(Pipe.MTE2) <= 1
    assert many.busy_share(Pipe.M) == 0


def test_two_runs_are_alike() -> None:
    first, second = (run(VECTOR_ADD, 20 * TILE, blocks=5, seed=3)[0] for _ in range(2))
    assert first.cycles == second.cycles
    assert first.cycles != run(VECTOR_ADD, 20 * TILE, blocks=5, seed=4)[0].cycles
