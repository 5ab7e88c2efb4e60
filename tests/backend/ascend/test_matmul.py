"""The cube core: a matrix product with events and with unit flags, chains of mmads, missing flags."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backend.ascend.matmul_text import MATMUL, with_unit_flags
from tests.backend.ascend.texts import kernel
from tilejit.backend.ascend.report import FindingKind
from tilejit.backend.ascend.simulator import SimulationResult, simulate
from tilejit.target.ascend import ASCEND_910B1
from tilejit.target.spaces import Pipe

LINES = MATMUL.splitlines(keepends=True)
SYNC_LINES = [n for n, line in enumerate(LINES) if line.strip().startswith(("set_flag", "wait_flag"))]


def run(
    text: str, m: int, n: int, k: int, *, blocks: int = 1, values: bool = True, seed: int = 0
) -> tuple[SimulationResult, float]:
    """The result of a launch and its largest error."""
    rng = np.random.default_rng(k)
    a, b = (rng.normal(size=shape).astype(np.float16) for shape in ((m, k), (k, n)))
    c = np.full((m, n), np.nan, np.float32)
    arguments = {"a": a, "b": b, "c": c, "m": m, "n": n, "k": k}
    grid = (m // 128 * (n // 256), 1, 1)
    result = simulate(kernel(text), arguments, grid, ASCEND_910B1, blocks=blocks, values=values, seed=seed)
    return result, float(np.abs(c - a.astype(np.float64) @ b.astype(np.float64)).max())


# Sums of k products of normal numbers in fp32: k roundings of at most 2**-24 of sums of about sqrt(k).
TOLERANCE = 1e-4


@pytest.mark.parametrize("text", [MATMUL, with_unit_flags()], ids=["events", "unit_flags"])
@pytest.mark.parametrize("shape", [(128, 256, 64), (128, 256, 192), (256, 512, 128)])
def test_values(text: str, shape: tuple[int, int, int]) -> None:
    for seed in (0, 1):
        result, error = run(text, *shape, seed=seed)
        result.check()
        assert error < TOLERANCE


def test_tiles_on_several_cores() -> None:
    result, error = run(MATMUL, 256, 512, 128, blocks=4)
    result.check()
    assert error < TOLERANCE


@pytest.mark.parametrize("number", SYNC_LINES, ids=lambda number: f"line{number}")
def test_a_missing_flag_is_found(number: int) -> None:
    text = "".join(LINES[:number] + LINES[number + 1 :])
    assert run(text, 128, 1024, 256)[0].findings


def test_without_flags_or_unit_flags_the_tile_is_read_too_early() -> None:
    text = with_unit_flags().replace(" {unit_flag=3}", "").replace(" {unit_flag=2}", "")
    findings = run(text, 128, 512, 128)[0].findings
    kinds = {finding.kind for finding in findings}
    assert FindingKind.RACE in kinds  # and poison, where the read comes first in time too
    assert kinds <= {FindingKind.RACE, FindingKind.POISON}
    assert any("l0c bytes 0 to" in str(f) and "fixpipe" in str(f) and "mmad" in str(f) for f in findings)


def test_unit_flags_let_fixpipe_follow_the_last_mmad_at_once() -> None:
    events, _ = run(MATMUL, 128, 256 * 8, 256, values=False)
    units, _ = run(with_unit_flags(), 128, 256 * 8, 256, values=False)
    assert units.cycles < events.cycles


def test_a_fixpipe_without_a_full_tile_waits_forever() -> None:
    text = with_unit_flags().replace("unit_flag=3}\n        yield", "unit_flag=2}\n        yield")
    findings = run(text, 128, 256, 128)[0].findings
    assert [finding.kind for finding in findings] == [FindingKind.DEADLOCK]
    assert "pipe fix of aic 0 waits forever at fixpipe" in findings[0].message


SMALL = """\
func aic @f(%x: ptr<fp32>) {
  %a = buffer() {space=l0a, element=fp16, elements=4096, address=0} : ptr<l0a fp16>
  %b = buffer() {space=l0b, element=fp16, elements=4096, address=0} : ptr<l0b fp16>
  %c = buffer() {space=l0c, element=fp32, elements=16384, address=0} : ptr<l0c fp32>
  %m = constant() {value=M, dtype=int32} : int32
  %n = constant() {value=N, dtype=int32} : int32
  %k = constant() {value=16, dtype=int32} : int32
  mmad(%c, %a, %b, %m, %n, %k)
  mmad(%c, %a, %b, %m, %n, %k) {init=false}
  return()
}
"""


@pytest.mark.parametrize(("m", "n", "needs_barrier"), [(48, 48, True), (32, 80, False), (160, 16, False)])
def test_small_tiles_need_a_barrier_between_mmads(m: int, n: int, needs_barrier: bool) -> None:
    text = SMALL.replace("M,", f"{m},").replace("N,", f"{n},")
    arguments = {"x": np.zeros(1, np.float32)}
    findings = simulate(kernel(text), arguments, (1, 1, 1), ASCEND_910B1).findings
    assert [finding.kind for finding in findings] == [FindingKind.RACE] * needs_barrier
    second = "  mmad(%c, %a, %b, %m, %n, %k) {"
    text = text.replace(second, "  pipe_barrier() {pipe=m}\n" + second)
    assert not simulate(kernel(text), arguments, (1, 1, 1), ASCEND_910B1).findings


def test_the_cube_is_the_busiest_pipe_that_can_be_hidden() -> None:
    result, _ = run(MATMUL, 512, 512, 512, blocks=8, values=False)
    fractals = 512**3 // 16**3 / 8
    assert result.busy[(0, Pipe.M)] == fractals
    assert result.cycles > fractals


def test_two_fixpipes_may_empty_one_tile() -> None:
    """Two halves of the columns, each with the unit flag; the next tile waits for both."""
    store = "    fixpipe(%pc, %c0, %columns, %rows, %rows, %n) {unit_flag=3}\n"
    halves = """\
    %right = addptr(%pc, %rows) : ptr<fp32>
    %c_right = addptr(%c0, %half_tile) : ptr<l0c fp32>
    fixpipe(%pc, %c0, %rows, %rows, %rows, %n) {unit_flag=3}
    fixpipe(%right, %c_right, %rows, %rows, %rows, %n) {unit_flag=3}
"""
    constant = "  %half_tile = constant() {value=16384, dtype=int32} : int32\n  %core = "
    text = with_unit_flags().replace(store, halves).replace("  %core = ", constant)
    for seed in (0, 3):
        result, error = run(text, 256, 512, 128, seed=seed)
        result.check()
        assert error < TOLERANCE
