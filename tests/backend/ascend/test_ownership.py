"""Buffers on the same bytes: what one reads of another's data is poison, and nothing else is."""

from __future__ import annotations

import numpy as np

from tests.backend.ascend.texts import kernel
from tilejit.backend.ascend.report import FindingKind
from tilejit.backend.ascend.simulator import SimulationResult, simulate
from tilejit.target.ascend import ASCEND_910B1

HEAD = """\
func aiv @f(%x: ptr<fp32>, %y: ptr<fp32>) {
  %a = buffer() {space=ub, element=fp32, elements=64, address=0} : ptr<ub fp32>
  %b = buffer() {space=ub, element=fp32, elements=64, slots=2, slot_bytes=256, address=0} : ptr<ub fp32>
  %c = buffer() {space=ub, element=fp32, elements=64, address=1024} : ptr<ub fp32>
  %zero = constant() {value=0, dtype=int32} : int32
  %one = constant() {value=1, dtype=int32} : int32
  %half = constant() {value=32, dtype=int32} : int32
  %count = constant() {value=64, dtype=int32} : int32
  %part = constant() {value=128, dtype=int32} : int32
  %bytes = constant() {value=256, dtype=int32} : int32
  %all = constant() {value=512, dtype=int32} : int32
"""
LOAD, BARRIER = "copy_in({0}, %x, %one, {1})\n", "pipe_barrier() {pipe=all}\n"
STORE = "copy_out(%y, {0}, %one, {1})\n"


def run(*lines: str) -> tuple[SimulationResult, np.ndarray]:
    """The steps one after the other; and what they leave in y, which holds zeros before."""
    x, y = np.arange(1, 129, dtype=np.float32), np.zeros(128, np.float32)
    text = HEAD + "".join("  " + line + "  " + BARRIER for line in lines) + "  return()\n}\n"
    return simulate(kernel(text), {"x": x, "y": y}, (1, 1, 1), ASCEND_910B1, blocks=1), y


def test_reading_what_was_written_to_another_buffer_is_poison() -> None:
    result, _ = run(LOAD.format("%a", "%bytes"), STORE.format("%b", "%bytes"))
    (finding,) = result.findings
    assert finding.kind is FindingKind.POISON
    assert "byte 0 (element 0) of y gets a value that depends on memory that was never written" in str(
        finding
    )
    assert "copy_out(%y, %b, %one, %bytes) read of %b what was written to %a" in str(finding)


def test_it_begins_where_the_own_data_end() -> None:
    lines = (LOAD.format("%a", "%bytes"), LOAD.format("%b", "%part"))
    (finding,) = run(*lines, STORE.format("%b", "%bytes"))[0].findings
    assert "byte 128 (element 32) of y" in str(finding)
    result, y = run(*lines, STORE.format("%b", "%part"))
    result.check()
    assert y[:33].tolist() == [*range(1, 33), 0]


def test_slots_steps_and_types_of_a_buffer_are_the_buffer() -> None:
    result, y = run(
        LOAD.format("%b", "%all"),
        "%s = slot(%b, %one) : ptr<ub fp32>\n",
        "%t = addptr(%s, %half) : ptr<ub fp32>\n",
        "%w = reinterpret(%y) {element=int16} : ptr<int16>\n",
        "%u = reinterpret(%t) {element=int16} : ptr<ub int16>\n",
        "copy_out(%w, %u, %one, %part)\n",
    )
    result.check()
    assert y[:32].tolist() == list(range(97, 129))


def test_what_is_read_in_vain_is_no_fault_and_stays_as_it_is() -> None:
    result, y = run(
        LOAD.format("%a", "%bytes"),
        "vadd(%c, %b, %b, %count)\n",
        STORE.format("%a", "%bytes"),
    )
    result.check()
    assert y[:64].tolist() == list(range(1, 65))


def test_results_in_place_of_hidden_bytes_stay() -> None:
    result, y = run(
        LOAD.format("%a", "%bytes"),
        LOAD.format("%b", "%part"),
        "vadd(%b, %b, %b, %count)\n",
        STORE.format("%b", "%part"),
    )
    result.check()
    assert y[:32].tolist() == list(range(2, 66, 2))


def test_a_scalar_of_another_buffer_is_poison() -> None:
    flag = "set_flag(%zero) {source=mte2, target=s}\n  wait_flag(%zero) {source=mte2, target=s}\n"
    result, _ = run(LOAD.format("%a", "%bytes"), flag, "%v = load(%b) : fp32\n")
    (finding,) = result.findings
    assert finding.kind is FindingKind.POISON
    assert "%v = load(%b) : fp32 read of %b what was written to %a" in str(finding)


def test_a_write_past_the_end_of_a_buffer() -> None:
    (finding,) = run(LOAD.format("%a", "%all"))[0].findings
    assert finding.kind is FindingKind.BOUNDS
    assert "ub bytes 0 to 512 reach 256 bytes beyond the end of %a, in copy_in" in str(finding)
