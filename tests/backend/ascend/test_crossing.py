"""Mixed kernels: cross-core flags between an AIC and its two AIVs, in whatever order sets arrive."""

from __future__ import annotations

import numpy as np
import pytest

from tests.backend.ascend.texts import RELAY, RELAY_WORKSPACE_BYTES, kernel
from tilejit.backend.ascend.report import FindingKind
from tilejit.backend.ascend.simulator import SimulationResult, simulate
from tilejit.target.ascend import ASCEND_910B1

TILE = 2048
LINES = RELAY.splitlines(keepends=True)
SYNC_LINES = [
    number
    for number, line in enumerate(LINES)
    if line.strip().startswith(("set_flag", "wait_flag", "cross_"))
]


def run(
    text: str, tiles: int, *, blocks: int = 1, seed: int = 0, values: bool = True
) -> tuple[SimulationResult, bool]:
    """The result of a launch, and whether it stored what it should."""
    x = np.random.default_rng(tiles).normal(size=tiles * TILE).astype(np.float32)
    out = np.zeros_like(x)
    result = simulate(
        kernel(text, RELAY_WORKSPACE_BYTES),
        {"x": x, "out": out, "n": tiles},
        (tiles, 1, 1),
        ASCEND_910B1,
        blocks=blocks,
        seed=seed,
        values=values,
    )
    return result, bool((out == 2 * x).all())


@pytest.mark.parametrize("tiles", [0, 1, 2, 3, 5, 9, 40])
@pytest.mark.parametrize("blocks", [1, 2])
def test_values(tiles: int, blocks: int) -> None:
    result, is_right = run(RELAY, tiles, blocks=blocks)
    result.check()
    assert is_right


@pytest.mark.parametrize("seed", range(1, 13))
def test_values_whenever_flags_arrive(seed: int) -> None:
    result, is_right = run(RELAY, 7, blocks=2, seed=seed)
    result.check()
    assert is_right


@pytest.mark.parametrize("number", SYNC_LINES, ids=lambda number: f"line{number}")
@pytest.mark.parametrize("seed", [0, 1])
def test_a_missing_line_of_synchronisation_is_found(number: int, seed: int) -> None:
    text = "".join(LINES[:number] + LINES[number + 1 :])
    assert run(text, 7, seed=seed)[0].findings


def test_workspace_needs_the_reverse_flag() -> None:
    """Without credits the AIC overwrites what an AIV may still read, and counts the flag up without bound."""
    text = "".join(line for line in LINES if "%one)" not in line or "cross_" not in line)
    findings = run(text, 20)[0].findings
    races = [str(finding) for finding in findings if finding.kind is FindingKind.RACE]
    assert any("of the workspace" in text and "store_l1" in text and "copy_in" in text for text in races)
    assert any("may count beyond 15" in str(f) for f in findings if f.kind is FindingKind.FLAG)


def test_a_set_by_one_of_two_vector_cores_is_not_enough() -> None:
    text = RELAY.replace("cross_set(%one) {pipe=mte2}", "SET")
    first = """%first = cmp(%sub, %zero) {predicate=eq} : int1
      if(%first) {
      then():
        cross_set(%one) {pipe=mte2}
        yield()
      else():
        yield()
      }"""
    findings = run(text.replace("SET", first), 5)[0].findings
    assert {finding.kind for finding in findings} == {FindingKind.DEADLOCK}
    assert any("waits forever for cross-core flag 1 at cross_wait(%one)" in str(f) for f in findings)


def test_a_set_that_nobody_takes_is_left_over() -> None:
    text = RELAY.replace("  return()\n}\nfunc aiv", "  cross_set(%two) {pipe=mte3}\n  return()\n}\nfunc aiv")
    messages = [finding.message for finding in run(text, 2)[0].findings]
    assert len(messages) == 1
    assert "cross-core flag 2 of aiv 0.0 ends at 1, not 0" in messages[0]


ALL_CORES = """\
func aiv @f(%x: ptr<fp32>, %out: ptr<fp32>) {
  %a = buffer() {space=ub, element=fp32, elements=8, address=0} : ptr<ub fp32>
  %eight = constant() {value=8, dtype=int32} : int32
  %bytes = constant() {value=32, dtype=int32} : int32
  %one = constant() {value=1, dtype=int32} : int32
  %mine = block_index() : int32
  %cores = block_count() : int32
  %value = cast(%mine) {dtype=fp32} : fp32
  %start = mul(%mine, %eight) : int32
  %to = addptr(%x, %start) : ptr<fp32>
  vdup(%a, %value, %eight)
  set_flag(%one) {source=v, target=mte3}
  wait_flag(%one) {source=v, target=mte3}
  copy_out(%to, %a, %one, %bytes)
  cross_set(%one) {mode=0, pipe=mte3}
  cross_wait(%one)
  %other = add(%mine, %one) : int32
  %wrapped = irem(%other, %cores) : int32
  %behind = mul(%wrapped, %eight) : int32
  %from = addptr(%x, %behind) : ptr<fp32>
  %po = addptr(%out, %start) : ptr<fp32>
  set_flag(%one) {source=mte3, target=mte2}
  wait_flag(%one) {source=mte3, target=mte2}
  copy_in(%a, %from, %one, %bytes)
  set_flag(%one) {source=mte2, target=mte3}
  wait_flag(%one) {source=mte2, target=mte3}
  copy_out(%po, %a, %one, %bytes)
  return()
}
"""


@pytest.mark.parametrize("seed", range(3))
def test_all_cores_of_a_kind_meet(seed: int) -> None:
    x, out = np.zeros(48 * 8, np.float32), np.zeros(48 * 8, np.float32)
    text = kernel(ALL_CORES)
    simulate(text, {"x": x, "out": out}, (48, 1, 1), ASCEND_910B1, seed=seed).check()
    expected = np.repeat((np.arange(48) + 1) % 48, 8)
    np.testing.assert_array_equal(out, expected)


def test_without_the_meeting_cores_race() -> None:
    text = ALL_CORES.replace("  cross_set(%one) {mode=0, pipe=mte3}\n  cross_wait(%one)\n", "")
    x, out = np.zeros(16, np.float32), np.zeros(16, np.float32)
    findings = simulate(kernel(text), {"x": x, "out": out}, (2, 1, 1), ASCEND_910B1).findings
    assert FindingKind.RACE in {finding.kind for finding in findings}


def test_time_alone_agrees() -> None:
    assert run(RELAY, 9, blocks=3)[0].cycles == run(RELAY, 9, blocks=3, values=False)[0].cycles
