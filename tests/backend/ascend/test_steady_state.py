"""Time-only simulation that skips repeated iterations, against full runs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from benchmarks.machine_programs.data_copy import DataCopy, data_copy_kernel
from tests.backend.ascend.matmul_text import MATMUL
from tests.backend.ascend.texts import RELAY, RELAY_WORKSPACE_BYTES, VECTOR_ADD, kernel
from tilejit.backend.ascend.result import SimulationResult
from tilejit.backend.ascend.simulator import ArgumentValue, simulate
from tilejit.diagnostics import InternalError
from tilejit.ir.machine import MachineKernel
from tilejit.target.ascend import ASCEND_910B1
from tilejit.target.spaces import Space


def both(
    made: MachineKernel, arguments: Mapping[str, ArgumentValue], tasks: int, blocks: int
) -> tuple[SimulationResult, SimulationResult]:
    """A full run and one that skips."""
    full, quick = (
        simulate(made, arguments, (tasks, 1, 1), ASCEND_910B1, blocks=blocks, values=False, extrapolate=skips)
        for skips in (False, True)
    )
    assert not full.findings and not quick.findings
    assert full.skipped_cycles == 0
    return full, quick


def assert_close(full: SimulationResult, quick: SimulationResult, tolerance: float) -> None:
    """Work is the same, time nearly so."""
    assert quick.skipped_cycles > 0.3 * full.cycles
    assert quick.cycles == pytest.approx(full.cycles, rel=tolerance)
    assert quick.instructions == full.instructions
    assert quick.path_bytes == full.path_bytes
    assert (quick.l2_bytes, quick.hbm_bytes) == (full.l2_bytes, full.hbm_bytes)
    for key, busy in full.busy.items():
        assert quick.busy[key] == pytest.approx(busy, rel=2 * tolerance, abs=1)


def vector_add(text: str, tiles: int, blocks: int) -> tuple[SimulationResult, SimulationResult]:
    x = np.zeros(tiles * 1024, np.float32)
    return both(kernel(text), {"x": x, "y": x, "out": x.copy(), "n": x.size}, tiles, blocks)


def test_a_loop_on_one_core_is_exact() -> None:
    full, quick = vector_add(VECTOR_ADD, 200, 1)
    assert_close(full, quick, 1e-9)


def test_cores_that_share_bandwidth() -> None:
    assert_close(*vector_add(VECTOR_ADD, 48 * 50, 48), 0.01)


def test_queues_that_fill_up_are_not_steady() -> None:
    """The scalar unit issues the first loads at its own pace, a third of the time that they take."""
    shape = DataCopy(Space.L1, 64, 64, 24, rows=24 * 64)
    x = np.zeros((shape.rows, shape.columns), np.float16)
    assert_close(*both(data_copy_kernel(shape), {"x": x}, shape.cores, shape.cores), 0.005)


def test_cores_with_unequal_shares_of_the_work() -> None:
    full, quick = vector_add(VECTOR_ADD, 4 * 60 + 3, 4)
    assert_close(full, quick, 0.01)


@pytest.mark.parametrize(("tiles", "blocks"), [(150, 1), (3 * 60 + 1, 3)])
def test_cores_tied_by_flags(tiles: int, blocks: int) -> None:
    x = np.zeros(tiles * 2048, np.float32)
    made = kernel(RELAY, RELAY_WORKSPACE_BYTES)
    assert_close(*both(made, {"x": x, "out": x.copy(), "n": tiles}, tiles, blocks), 0.005)


def test_an_inner_loop() -> None:
    a, b = np.zeros((128, 8192), np.float16), np.zeros((8192, 512), np.float16)
    c = np.zeros((128, 512), np.float32)
    arguments = {"a": a, "b": b, "c": c, "m": 128, "n": 512, "k": 8192}
    assert_close(*both(kernel(MATMUL), arguments, 2, 1), 0.005)


def test_an_outer_loop_whose_iterations_are_long() -> None:
    """Steps of k are too few to skip; whole tiles repeat."""
    m, n, k = 128, 256 * 40, 640
    a, b, c = np.zeros((m, k), np.float16), np.zeros((k, n), np.float16), np.zeros((m, n), np.float32)
    arguments = {"a": a, "b": b, "c": c, "m": m, "n": n, "k": k}
    assert_close(*both(kernel(MATMUL), arguments, 40, 1), 0.01)


def test_an_iteration_that_issues_more_is_not_skipped() -> None:
    more = """\
    vadd(%sc, %sa, %sb, %count)
    %odd = cmp(%i, %special) {predicate=eq} : int1
    if(%odd) {
    then():
      pipe_barrier() {pipe=all}
      yield()
    else():
      yield()
    }
"""
    text = VECTOR_ADD.replace("    vadd(%sc, %sa, %sb, %count)\n", more)
    text = text.replace(
        "  %block = ", "  %special = constant() {value=100, dtype=int32} : int32\n  %block = "
    )
    plain, _ = vector_add(VECTOR_ADD, 200, 1)
    full, quick = vector_add(text, 200, 1)
    assert full.cycles > plain.cycles
    assert_close(full, quick, 1e-3)


GATHER = """\
func aiv @gather(%rows: ptr<const int32>, %x: ptr<const fp32>, %out: ptr<fp32>, %n: int32) {
  %a = buffer() {space=ub, element=fp32, elements=1024, address=0} : ptr<ub fp32>
  %zero = constant() {value=0, dtype=int32} : int32
  %one = constant() {value=1, dtype=int32} : int32
  %tile = constant() {value=1024, dtype=int32} : int32
  %bytes = constant() {value=4096, dtype=int32} : int32
  set_flag(%zero) {source=mte3, target=mte2}
  for(%zero, %n, %one) {
  body(%i: int32):
    %pr = addptr(%rows, %i) : ptr<const int32>
    %row = load(%pr) : int32
    %from = mul(%row, %tile) : int32
    %to = mul(%i, %tile) : int32
    %px = addptr(%x, %from) : ptr<const fp32>
    %po = addptr(%out, %to) : ptr<fp32>
    wait_flag(%zero) {source=mte3, target=mte2}
    copy_in(%a, %px, %one, %bytes)
    set_flag(%zero) {source=mte2, target=mte3}
    wait_flag(%zero) {source=mte2, target=mte3}
    copy_out(%po, %a, %one, %bytes)
    set_flag(%zero) {source=mte3, target=mte2}
    yield()
  }
  wait_flag(%zero) {source=mte3, target=mte2}
  return()
}
"""


def test_addresses_from_memory_are_read_ahead() -> None:
    rows = np.random.default_rng(0).permutation(200).astype(np.int32)
    x = np.random.default_rng(1).normal(size=(200, 1024)).astype(np.float32)
    out = np.zeros_like(x)
    arguments = {"rows": rows, "x": x, "out": out, "n": 200}
    full, quick = both(kernel(GATHER), arguments, 1, 1)
    assert_close(full, quick, 0.01)
    simulate(kernel(GATHER), arguments, (1, 1, 1), ASCEND_910B1).check()
    np.testing.assert_array_equal(out, x[rows])


def test_short_loops_are_run_in_full() -> None:
    full, quick = vector_add(VECTOR_ADD, 20, 1)
    assert quick.skipped_cycles == 0
    assert quick.cycles == full.cycles


def test_values_cannot_be_skipped() -> None:
    with pytest.raises(InternalError, match="only time can be extrapolated"):
        simulate(kernel(VECTOR_ADD), {}, (1, 1, 1), ASCEND_910B1, extrapolate=True)
